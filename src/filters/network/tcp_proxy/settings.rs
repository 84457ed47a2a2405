//! The TCP proxy's configuration.

#![allow(deprecated, reason = "deprecated fields of the API are still read, as Envoy reads them")]

use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as proto;

use crate::api::MessageSupport;
use crate::base::rng::Rng;
use crate::config::{AccessLog, Context, FieldPath};

/// Default of `idle_timeout`.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Default of `backoff_options.base_interval`: no pause between attempts to connect.
const NO_BACKOFF: Duration = Duration::ZERO;

pub(super) const SUPPORT: &[MessageSupport] = &[
    MessageSupport {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        honoured: &[
            "stat_prefix",
            "cluster",
            "weighted_clusters",
            "idle_timeout",
            "access_log",
            "max_connect_attempts",
            "backoff_options",
            "max_downstream_connection_duration",
            "max_downstream_connection_duration_jitter_percentage",
            "access_log_flush_interval",
            "flush_access_log_on_connected",
            "access_log_options",
        ],
        // It matters to balancers that hash, of which there are none yet.
        no_effect: &["hash_policy"],
    },
    MessageSupport {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster",
        honoured: &["clusters"],
        no_effect: &[],
    },
    MessageSupport {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
        honoured: &["name", "weight"],
        no_effect: &[],
    },
    MessageSupport::all("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions"),
    MessageSupport::all("envoy.config.core.v3.BackoffStrategy"),
];

/// A TCP proxy's settings. A time that is none is off.
pub(super) struct Settings {
    /// By weight; never empty.
    clusters: Vec<(String, u32)>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connect_attempts: u32,
    backoff: Backoff,
    max_duration: Option<Duration>,
    /// Up to so many per cent are added to `max_duration`.
    max_duration_jitter_percent: f64,
    pub(super) log_interval: Option<Duration>,
    pub(super) logs_on_connected: bool,
    /// Taken away once compiled.
    pub(super) access_log: Vec<AccessLog>,
}

/// Pauses between attempts to connect: exponential, with full jitter.
struct Backoff {
    base: Duration,
    max: Duration,
}

impl Settings {
    pub(super) fn from_proto(
        proto: &proto::TcpProxy,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Settings {
        let options = proto.access_log_options.as_ref();
        let options_path = path.field("access_log_options");
        let (interval, interval_path) =
            match options.and_then(|options| options.access_log_flush_interval.as_ref()) {
                Some(interval) => (Some(interval), options_path.field("access_log_flush_interval")),
                None => (proto.access_log_flush_interval.as_ref(), path.field("access_log_flush_interval")),
            };
        let duration = proto.max_downstream_connection_duration.as_ref();
        Settings {
            clusters: clusters(proto, path, context),
            idle_timeout: match &proto.idle_timeout {
                None => Some(DEFAULT_IDLE_TIMEOUT),
                Some(given) => Some(context.duration(given, &path.field("idle_timeout")))
                    .filter(|timeout| !timeout.is_zero()),
            },
            max_connect_attempts: proto
                .max_connect_attempts
                .as_ref()
                .map_or(1, |attempts| attempts.value.max(1)),
            backoff: Backoff::from_proto(proto, path, context),
            max_duration: duration
                .map(|given| context.duration(given, &path.field("max_downstream_connection_duration"))),
            max_duration_jitter_percent: proto
                .max_downstream_connection_duration_jitter_percentage
                .as_ref()
                .map_or(0.0, |percent| percent.value),
            log_interval: interval.map(|given| context.duration(given, &interval_path)),
            logs_on_connected: proto.flush_access_log_on_connected
                || options.is_some_and(|options| options.flush_access_log_on_connected),
            access_log: AccessLog::list(&proto.access_log, path, "access_log", context),
        }
    }

    /// The cluster for a connection, by chance.
    pub(super) fn choose_cluster(&self, rng: &mut Rng) -> &str {
        let total: u64 = self.clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = rng.below(total.max(1));
        for (name, weight) in &self.clusters {
            match left.checked_sub((*weight).into()) {
                None => return name,
                Some(rest) => left = rest,
            }
        }
        self.clusters.first().map_or("", |(name, _)| name)
    }

    /// The pause before attempt number `attempt` (from 2) to connect.
    pub(super) fn pause_before(&self, attempt: u32, rng: &mut Rng) -> Duration {
        let doubled = self.backoff.base.saturating_mul(1 << (attempt.saturating_sub(2)).min(20));
        let most = doubled.min(self.backoff.max).as_nanos() as u64;
        Duration::from_nanos(if most == 0 { 0 } else { rng.below(most) })
    }

    /// How long a connection may last.
    pub(super) fn draw_max_duration(&self, rng: &mut Rng) -> Option<Duration> {
        let jitter = rng.below(10_001) as f64 / 10_000.0 * self.max_duration_jitter_percent / 100.0;
        self.max_duration.map(|duration| duration.mul_f64(1.0 + jitter))
    }
}

impl Backoff {
    fn from_proto(proto: &proto::TcpProxy, path: &FieldPath, context: &mut Context<'_>) -> Backoff {
        let Some(options) = &proto.backoff_options else {
            return Backoff { base: NO_BACKOFF, max: NO_BACKOFF };
        };
        let path = path.field("backoff_options");
        let base = options.base_interval.as_ref();
        let base = base.map_or(NO_BACKOFF, |given| context.duration(given, &path.field("base_interval")));
        let max = options.max_interval.as_ref();
        let max = max.map_or(base * 10, |given| context.duration(given, &path.field("max_interval")));
        if max < base {
            context.error(&path, "max_interval must not be less than base_interval");
        }
        Backoff { base, max }
    }
}

fn clusters(proto: &proto::TcpProxy, path: &FieldPath, context: &mut Context<'_>) -> Vec<(String, u32)> {
    use proto::tcp_proxy::ClusterSpecifier;
    match &proto.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name.clone(), 1)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.weight)).collect()
        }
        None => {
            context.error(path, "one of `cluster` and `weighted_clusters` is necessary");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(proto: &proto::TcpProxy) -> Settings {
        let read = |_: crate::config::ExternalData<'_>| Err(std::io::ErrorKind::NotFound.into());
        let mut context = Context::new(&read);
        let settings = Settings::from_proto(proto, &FieldPath::root(), &mut context);
        assert!(context.errors().is_empty(), "{:?}", context.errors());
        settings
    }

    #[test]
    fn clusters_are_chosen_by_weight() {
        use proto::tcp_proxy::weighted_cluster::ClusterWeight;
        use proto::tcp_proxy::{ClusterSpecifier, WeightedCluster};
        let cluster =
            |name: &str, weight| ClusterWeight { name: name.into(), weight, ..ClusterWeight::default() };
        let clusters = vec![cluster("a", 1), cluster("b", 3)];
        let settings = settings(&proto::TcpProxy {
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster { clusters })),
            ..proto::TcpProxy::default()
        });
        let mut rng = Rng::from_seed(7);
        let hits = (0..4_000).filter(|_| settings.choose_cluster(&mut rng) == "b").count();
        assert!((2_850..3_150).contains(&hits), "{hits} of 4,000");
    }

    #[test]
    fn pauses_double_up_to_the_largest() {
        use envoy_types::pb::envoy::config::core::v3::BackoffStrategy;
        let seconds = |seconds| Some(envoy_types::pb::google::protobuf::Duration { seconds, nanos: 0 });
        let cluster_specifier = Some(proto::tcp_proxy::ClusterSpecifier::Cluster("a".into()));
        let settings = settings(&proto::TcpProxy {
            cluster_specifier,
            backoff_options: Some(BackoffStrategy { base_interval: seconds(1), max_interval: seconds(3) }),
            ..proto::TcpProxy::default()
        });
        let mut rng = Rng::from_seed(7);
        let mut longest =
            |attempt| (0..1_000).map(|_| settings.pause_before(attempt, &mut rng)).max().unwrap_or_default();
        assert!(longest(2) < Duration::from_secs(1) && longest(3) > Duration::from_secs(1));
        assert!(longest(30) > Duration::from_millis(2_900) && longest(30) < Duration::from_secs(3));
    }
}
