//! Answers health checks (`envoy.extensions.filters.http.health_check.v3.HealthCheck`): by itself, by
//! the health of clusters, or by the origin's last answer; and tells those who ask, and those who use
//! this proxy, when it is to be drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck as HealthCheckProto;

use crate::api::{ConfigError, MessageSupport};
use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::config::FieldPath;
use crate::filters::{BuildContext, WorkerContext};
use crate::http::{HeaderMap, RequestHead, ResponseHead, header};
use crate::stream_info::ResponseFlags;

use super::convert::{HeaderConditions, convert};
use super::{
    BuiltFilter, DataAction, FilterContext, HeadAction, HttpFilter, HttpFilterDefinition, HttpFilterFactory,
    LocalReply, RouteConfig,
};

/// The health check filter's definition.
pub struct HealthCheck;

impl HttpFilterDefinition for HealthCheck {
    type Config = HealthCheckProto;
    type RouteConfig = HealthCheckProto;

    const SUPPORT: &'static [MessageSupport] =
        &[MessageSupport::all("envoy.extensions.filters.http.health_check.v3.HealthCheck")];

    fn build(
        config: HealthCheckProto,
        path: &FieldPath,
        _: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let shared = Shared::from_proto(&config, path)?;
        Ok(BuiltFilter::Filter(Arc::new(Factory(Arc::new(shared)))))
    }

    fn build_route(_: HealthCheckProto, path: &FieldPath) -> Result<RouteConfig, Vec<ConfigError>> {
        Err(vec![ConfigError::new(path.as_str(), "the health check filter has no configuration on routes")])
    }
}

/// One configured filter, on all workers.
struct Shared {
    conditions: HeaderConditions,
    pass_through: bool,
    cache: Option<Cache>,
    /// Cluster and least share of healthy hosts in whole per cent, as Envoy counts; sorted by name.
    min_healthy_percentages: Vec<(String, u64)>,
}

impl Shared {
    fn from_proto(proto: &HealthCheckProto, path: &FieldPath) -> Result<Shared, Vec<ConfigError>> {
        convert(|context| {
            let pass_through = proto.pass_through_mode.as_ref().is_some_and(|mode| mode.value);
            let cache_path = path.field("cache_time");
            let cache_time = proto.cache_time.as_ref().map(|time| context.duration(time, &cache_path));
            // Rounded to milliseconds, where zero is no cache, as in Envoy.
            let cache_time = cache_time.filter(|time| time.as_millis() > 0);
            if cache_time.is_some() && !pass_through {
                context.error(&cache_path, "must not be set when pass_through_mode is off");
            }
            let percentages = proto.cluster_min_healthy_percentages.iter();
            let mut percentages: Vec<_> =
                percentages.map(|(cluster, percent)| (cluster.clone(), percent.value as u64)).collect();
            percentages.sort();
            Shared {
                conditions: HeaderConditions::from_proto(&proto.headers, path, context),
                pass_through,
                cache: cache_time.map(Cache::new),
                min_healthy_percentages: percentages,
            }
        })
    }

    /// The answer to a health check, given by the filter itself.
    fn reply(&self, worker: &WorkerContext, now: Instant) -> LocalReply {
        if worker.server.health_check_failed() {
            return unhealthy("health_check_failed");
        }
        if let Some(cache) = &self.cache {
            let answer = cache.get(now).unwrap_or(CachedAnswer { status: 200, is_degraded: false });
            let mut reply = LocalReply::new(answer.status, "", "health_check_cached");
            if !(200..300).contains(&answer.status) {
                reply = reply.with_flags(ResponseFlags::FAILED_LOCAL_HEALTH_CHECK);
            }
            return if answer.is_degraded {
                reply.with_header(header::X_ENVOY_DEGRADED.as_str(), b"")
            } else {
                reply
            };
        }
        for (name, least) in &self.min_healthy_percentages {
            let Some(cluster) = worker.clusters.get(name) else {
                return unhealthy("health_check_failed_no_cluster_found");
            };
            let hosts = cluster.membership();
            if hosts.total == 0 && *least > 0 {
                return unhealthy("health_check_failed_cluster_empty");
            }
            if 100 * (hosts.healthy + hosts.degraded) < hosts.total * least {
                return unhealthy("health_check_failed_cluster_unhealthy");
            }
        }
        let by_cluster = !self.min_healthy_percentages.is_empty();
        LocalReply::new(
            200,
            "",
            if by_cluster { "health_check_ok_cluster_healthy" } else { "health_check_ok" },
        )
    }
}

fn unhealthy(details: &'static str) -> LocalReply {
    LocalReply::new(503, "", details).with_flags(ResponseFlags::FAILED_LOCAL_HEALTH_CHECK)
}

/// What the origin last answered to a health check; shared by workers in one word: milliseconds until
/// it is forgotten (48 bits), degraded (1 bit), status (15 bits).
struct Cache {
    time: Duration,
    answer: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CachedAnswer {
    status: u16,
    is_degraded: bool,
}

impl Cache {
    fn new(time: Duration) -> Cache {
        Cache { time, answer: AtomicU64::new(0) }
    }

    fn get(&self, now: Instant) -> Option<CachedAnswer> {
        let word = self.answer.load(Ordering::Relaxed);
        let status = (word & 0x7fff) as u16;
        (now.as_millis() < word >> 16 && status > 0)
            .then_some(CachedAnswer { status, is_degraded: word & 0x8000 != 0 })
    }

    fn set(&self, answer: CachedAnswer, now: Instant) {
        let until_ms = (now + self.time).as_millis().min((1 << 48) - 1);
        let flags = u64::from(answer.is_degraded) << 15 | u64::from(answer.status & 0x7fff);
        self.answer.store(until_ms << 16 | flags, Ordering::Relaxed);
    }
}

struct Factory(Arc<Shared>);

impl HttpFilterFactory for Factory {
    fn create(&self) -> Box<dyn HttpFilter> {
        Box::new(HealthCheckFilter { shared: Arc::clone(&self.0), is_check: false, answers: false })
    }
}

struct HealthCheckFilter {
    shared: Arc<Shared>,
    /// The request is a health check.
    is_check: bool,
    /// The filter answers it, once it is complete.
    answers: bool,
}

impl HttpFilter for HealthCheckFilter {
    fn decode_head(
        &mut self,
        cx: &mut FilterContext<'_>,
        request: &mut RequestHead,
        end_stream: bool,
    ) -> HeadAction {
        if !self.shared.conditions.match_headers(&request.headers) {
            return HeadAction::Continue;
        }
        self.is_check = true;
        cx.info.health_check = true;
        self.answers = !self.shared.pass_through
            || cx.worker.server.health_check_failed()
            || self.shared.cache.as_ref().is_some_and(|cache| cache.get(cx.now).is_some());
        match (self.answers, end_stream) {
            (false, _) => HeadAction::Continue,
            (true, false) => HeadAction::Stop,
            (true, true) => HeadAction::Reply(self.shared.reply(cx.worker, cx.now)),
        }
    }

    fn decode_data(&mut self, cx: &mut FilterContext<'_>, data: &mut Chunk, end_stream: bool) -> DataAction {
        if !self.answers {
            return DataAction::Continue;
        }
        if end_stream {
            return DataAction::Reply(self.shared.reply(cx.worker, cx.now));
        }
        // Nobody reads it.
        *data = Chunk::new();
        DataAction::Hold
    }

    fn decode_trailers(&mut self, cx: &mut FilterContext<'_>, _: &mut HeaderMap) -> DataAction {
        if self.answers {
            DataAction::Reply(self.shared.reply(cx.worker, cx.now))
        } else {
            DataAction::Continue
        }
    }

    fn encode_head(
        &mut self,
        cx: &mut FilterContext<'_>,
        response: &mut ResponseHead,
        _: bool,
    ) -> HeadAction {
        let server = &cx.worker.server;
        if self.is_check {
            if let (Some(cache), false) = (&self.shared.cache, self.answers) {
                let is_degraded = response.headers.contains(header::X_ENVOY_DEGRADED);
                cache.set(CachedAnswer { status: response.status(), is_degraded }, cx.now);
            }
            let cluster = server.node.cluster.as_bytes();
            response.headers.set(header::X_ENVOY_UPSTREAM_HEALTHCHECKED_CLUSTER, cluster);
        }
        if server.health_check_failed() {
            response.headers.set(header::X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL, b"true");
        }
        HeadAction::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::http::testing::{Stream, fields};
    use envoy_types::pb::envoy::r#type::v3::Percent;
    use envoy_types::pb::google::protobuf as pb;

    fn proto(pass_through: bool) -> HealthCheckProto {
        HealthCheckProto {
            pass_through_mode: Some(pb::BoolValue { value: pass_through }),
            ..HealthCheckProto::default()
        }
    }

    fn factory(proto: &HealthCheckProto) -> Factory {
        Factory(Arc::new(Shared::from_proto(proto, &FieldPath::root()).unwrap_or_else(|e| panic!("{e:?}"))))
    }

    fn check(factory: &Factory) -> Stream {
        let mut stream = Stream::of(vec![factory.create()]);
        stream.request_head("GET", "/", &[], true);
        stream
    }

    fn answer(stream: &Stream) -> Option<(u16, &str, String)> {
        let reply = stream.reply()?;
        Some((reply.status, &*reply.details, reply.flags.to_string()))
    }

    #[test]
    fn without_pass_through_the_filter_answers_when_the_request_is_complete() {
        let factory = factory(&proto(false));
        let stream = check(&factory);
        assert_eq!(answer(&stream), Some((200, "health_check_ok", "-".into())));
        assert!(stream.info.health_check);
        let mut stream = Stream::of(vec![factory.create()]);
        stream.request_head("POST", "/", &[], false);
        stream.request_data(&[0; Stream::LIMIT_BYTES + 1], false);
        assert!(stream.interruption.is_none());
        stream.request_data(b"", true);
        assert!(stream.reply().is_some());
    }

    #[test]
    fn a_failed_proxy_says_so_to_checks_and_to_users() {
        for pass_through in [false, true] {
            let factory = factory(&proto(pass_through));
            let mut stream = Stream::of(vec![factory.create()]);
            stream.worker.server.set_health_check_failed(true);
            stream.request_head("GET", "/", &[], true);
            assert_eq!(answer(&stream), Some((503, "health_check_failed", "LH".into())));
            stream.response_head(503, &[], true);
            assert_eq!(fields(&stream.response.headers, "x-envoy-upstream-healthchecked-cluster"), ["own"]);
            assert_eq!(fields(&stream.response.headers, "x-envoy-immediate-health-check-fail"), ["true"]);
        }
        let mut user = Stream::of(vec![factory(&proto(false)).create()]);
        user.worker.server.set_health_check_failed(true);
        user.response_head(200, &[], true);
        assert_eq!(fields(&user.response.headers, "x-envoy-immediate-health-check-fail"), ["true"]);
    }

    #[test]
    fn an_answer_is_remembered_for_its_time() {
        let cache_time = Some(pb::Duration { seconds: 1, nanos: 0 });
        let factory = factory(&HealthCheckProto { cache_time, ..proto(true) });
        let mut first = check(&factory);
        assert!(first.request_passed());
        first.response_head(429, &[("x-envoy-degraded", "")], true);
        let second = check(&factory);
        assert_eq!(answer(&second), Some((429, "health_check_cached", "LH".into())));
        let headers = second.reply().and_then(|reply| reply.headers.as_deref()).expect("headers");
        assert!(headers.contains(header::X_ENVOY_DEGRADED));
        let mut later = Stream::of(vec![factory.create()]);
        later.now = Instant::from_nanos(1_000_000_000);
        later.request_head("GET", "/", &[], true);
        assert!(later.request_passed());
    }

    #[test]
    fn a_cluster_that_does_not_exist_is_unhealthy() {
        let percentages = [("gone".to_owned(), Percent { value: 50.0 })].into();
        let factory =
            factory(&HealthCheckProto { cluster_min_healthy_percentages: percentages, ..proto(false) });
        assert_eq!(
            answer(&check(&factory)),
            Some((503, "health_check_failed_no_cluster_found", "LH".into()))
        );
    }

    #[test]
    fn caching_needs_pass_through() {
        let cache_time = Some(pb::Duration { seconds: 1, nanos: 0 });
        let proto = HealthCheckProto { cache_time, ..proto(false) };
        assert!(Shared::from_proto(&proto, &FieldPath::root()).is_err());
    }
}
