//! Asks an authorization server about each request (`envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`)
//! over HTTP. Servers that speak gRPC are refused by name.
//!
//! Envoy's statistics for each upstream cluster (`cluster.<name>.ext_authz.*`) are not kept.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    ExtAuthz as ExtAuthzProto, ExtAuthzPerRoute,
};

use crate::api::{ConfigError, MessageSupport};
use crate::buf::Chunk;
use crate::config::FieldPath;
use crate::filters::BuildContext;
use crate::filters::call_out::{self, Answer, CallError};
use crate::http::{HeaderMap, RequestHead, ResponseHead, header};
use crate::stats::groups::ExtAuthzStats;
use crate::stream_info::ResponseFlags;
use crate::upstream::Cluster;

use super::{
    BuiltFilter, DataAction, FilterContext, HeadAction, HeldHead, HttpFilter, HttpFilterDefinition,
    HttpFilterFactory, LocalReply, Pending, RouteConfig, Verdict,
};

mod check;
mod settings;

use check::Decision;
use settings::{BodySettings, RouteSettings, Settings};

/// The external authorization filter's definition.
pub struct ExtAuthz;

impl HttpFilterDefinition for ExtAuthz {
    type Config = ExtAuthzProto;
    type RouteConfig = ExtAuthzPerRoute;

    const SUPPORT: &'static [MessageSupport] = settings::SUPPORT;

    fn build(
        config: ExtAuthzProto,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let dot = if config.stat_prefix.is_empty() { "" } else { "." };
        let prefix = format!("{}ext_authz.{}{dot}", cx.stat_prefix, config.stat_prefix);
        let shared = Shared {
            settings: Settings::from_proto(&config, path)?,
            stats: ExtAuthzStats::register(cx.registry, &prefix),
        };
        Ok(BuiltFilter::Filter(Arc::new(Factory(Arc::new(shared)))))
    }

    fn build_route(config: ExtAuthzPerRoute, path: &FieldPath) -> Result<RouteConfig, Vec<ConfigError>> {
        Ok(Arc::new(RouteSettings::from_proto(&config, path)?))
    }
}

/// One configured filter, on all workers.
struct Shared {
    settings: Settings,
    stats: ExtAuthzStats,
}

impl Shared {
    /// What follows from an answer, or from its absence.
    fn conclude(
        &self,
        result: Result<Answer, CallError>,
        to_client: &RefCell<HeaderMap>,
        upstream: Option<&Rc<Cluster>>,
    ) -> Verdict {
        let settings = &self.settings;
        match settings.service.read(result) {
            Decision::Granted(grant) => {
                self.stats.ok.inc();
                *to_client.borrow_mut() = grant.to_client;
                let changes = grant.changes;
                match (changes.is_empty(), settings.clear_route_cache) {
                    (true, _) => Verdict::Continue,
                    (false, false) => Verdict::Change(Box::new(move |head| changes.apply(&mut head.headers))),
                    (false, true) => {
                        Verdict::ChangeAndRematch(Box::new(move |head| changes.apply(&mut head.headers)))
                    }
                }
            }
            Decision::Denied(reply) => {
                self.stats.denied.inc();
                if let (true, Some(cluster)) = (settings.charge_cluster_response_stats, upstream) {
                    cluster.info().charge_code(reply.status);
                }
                Verdict::Reply(reply)
            }
            Decision::Failed => {
                self.stats.error.inc();
                if !settings.failure_mode_allow {
                    return Verdict::Reply(self.error_reply());
                }
                self.stats.failure_mode_allowed.inc();
                if !settings.failure_mode_allow_header_add {
                    return Verdict::Continue;
                }
                Verdict::Change(Box::new(|head| {
                    head.headers.append(header::X_ENVOY_AUTH_FAILURE_MODE_ALLOWED, b"true");
                }))
            }
        }
    }

    fn error_reply(&self) -> LocalReply {
        LocalReply::new(self.settings.status_on_error, "", "ext_authz_error")
            .with_flags(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE)
    }
}

struct Factory(Arc<Shared>);

impl HttpFilterFactory for Factory {
    fn create(&self) -> Box<dyn HttpFilter> {
        Box::new(ExtAuthzFilter { shared: Arc::clone(&self.0), buffered: None, to_client: Rc::default() })
    }
}

struct ExtAuthzFilter {
    shared: Arc<Shared>,
    /// The body while it is collected for the server.
    buffered: Option<(BodySettings, Vec<u8>)>,
    /// What the server wants the client to see of a granted request.
    to_client: Rc<RefCell<HeaderMap>>,
}

impl ExtAuthzFilter {
    /// Asks about `request`. `body`: what to show of its body.
    fn ask(&self, cx: &FilterContext<'_>, request: &RequestHead, body: Option<check::Body>) -> Pending {
        let shared = Arc::clone(&self.shared);
        let service = &shared.settings.service;
        let head = service.question(request, body.as_ref(), &cx.format_context());
        let body = body.map_or_else(Vec::new, |body| body.bytes);
        let timeout = service.timeout;
        let clusters = &cx.worker.clusters;
        let server = clusters.get(&service.cluster);
        let upstream = cx.route.and_then(|route| clusters.get(route.cluster_name(request)?));
        let to_client = Rc::clone(&self.to_client);
        Box::pin(async move {
            let result = match server {
                Some(server) => call_out::call(server, head, body, timeout).await,
                None => Err(CallError::NoHealthyUpstream),
            };
            shared.conclude(result, &to_client, upstream.as_ref())
        })
    }

    /// Asks with the body as far as it was collected. The request's head is held by this filter.
    fn ask_with_body(&mut self, cx: &mut FilterContext<'_>) -> DataAction {
        let Some((settings, bytes)) = self.buffered.take() else { return DataAction::Continue };
        let body = check::Body::cut(bytes, settings.max_request_bytes);
        match std::mem::replace(&mut cx.held, HeldHead::None) {
            HeldHead::Request(request) => DataAction::Await(self.ask(cx, request, Some(body))),
            // Never so: the head was stopped. If it were, nobody may pass unasked.
            HeldHead::Response(_) | HeldHead::None => DataAction::Reply(self.shared.error_reply()),
        }
    }
}

impl HttpFilter for ExtAuthzFilter {
    fn decode_head(
        &mut self,
        cx: &mut FilterContext<'_>,
        request: &mut RequestHead,
        end_stream: bool,
    ) -> HeadAction {
        let settings = &self.shared.settings;
        let route = cx.route_config::<RouteSettings>();
        if matches!(route, Some(RouteSettings::Disabled)) {
            return HeadAction::Continue;
        }
        let runtime = &cx.worker.server.runtime;
        if !runtime.fraction(&settings.filter_enabled).contains((cx.random)()) {
            self.shared.stats.disabled.inc();
            if runtime.flag(&settings.deny_at_disable) {
                return HeadAction::Reply(self.shared.error_reply());
            }
            return HeadAction::Continue;
        }
        let body = match route {
            Some(RouteSettings::Check { body: Some(body) }) => *body,
            _ => settings.body,
        };
        match body {
            Some(body) if !end_stream => {
                if !body.allow_partial_message {
                    cx.buffer_limit_bytes = Some(body.max_request_bytes);
                }
                self.buffered = Some((body, Vec::new()));
                HeadAction::Stop
            }
            _ => HeadAction::Await(self.ask(cx, request, None)),
        }
    }

    fn decode_data(&mut self, cx: &mut FilterContext<'_>, data: &mut Chunk, end_stream: bool) -> DataAction {
        let Some((settings, bytes)) = &mut self.buffered else { return DataAction::Continue };
        bytes.extend_from_slice(data);
        let is_enough = settings.allow_partial_message && bytes.len() >= settings.max_request_bytes;
        if end_stream || is_enough { self.ask_with_body(cx) } else { DataAction::Hold }
    }

    fn decode_trailers(&mut self, cx: &mut FilterContext<'_>, _: &mut HeaderMap) -> DataAction {
        self.ask_with_body(cx)
    }

    fn encode_head(&mut self, _: &mut FilterContext<'_>, response: &mut ResponseHead, _: bool) -> HeadAction {
        for (name, value) in self.to_client.borrow().iter() {
            response.headers.append(name, value);
        }
        HeadAction::Continue
    }
}

#[cfg(test)]
mod tests;
