//! Fault injection (`envoy.extensions.filters.http.fault.v3.HTTPFault`): delays requests, or answers
//! them with an error, by chance, by route or as their own headers ask.
//!
//! Limits of a response's rate are refused. Envoy's statistics for each value of
//! `x-envoy-downstream-service-cluster` are not kept: clients could make up any number of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;

use crate::api::{ConfigError, MessageSupport};
use crate::config::{FieldPath, Runtime};
use crate::filters::BuildContext;
use crate::http::{RequestHead, header};
use crate::io;
use crate::stats::groups::FaultStats;
use crate::stream_info::ResponseFlags;

use super::{
    BuiltFilter, FilterContext, HeadAction, HttpFilter, HttpFilterDefinition, HttpFilterFactory, LocalReply,
    RouteConfig, Verdict,
};

mod settings;

use settings::{Abort, FaultSettings};

/// The fault filter's definition.
pub struct Fault;

impl HttpFilterDefinition for Fault {
    type Config = HttpFault;
    type RouteConfig = HttpFault;

    const SUPPORT: &'static [MessageSupport] = &[
        MessageSupport {
            message: "envoy.extensions.filters.http.fault.v3.HTTPFault",
            honoured: &[
                "delay",
                "abort",
                "upstream_cluster",
                "headers",
                "downstream_nodes",
                "max_active_faults",
                "delay_percent_runtime",
                "abort_percent_runtime",
                "delay_duration_runtime",
                "abort_http_status_runtime",
                "max_active_faults_runtime",
                "abort_grpc_status_runtime",
            ],
            // They are never kept.
            no_effect: &["disable_downstream_cluster_stats"],
        },
        MessageSupport::all("envoy.extensions.filters.http.fault.v3.FaultAbort"),
        MessageSupport::all("envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort"),
        MessageSupport::all("envoy.extensions.filters.common.fault.v3.FaultDelay"),
        MessageSupport::all("envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay"),
    ];

    fn build(
        config: HttpFault,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let stats = FaultStats::register(cx.registry, &format!("{}fault.", cx.stat_prefix));
        let settings = FaultSettings::from_proto(&config, path)?;
        let shared = Arc::new(Shared { settings, stats, active: AtomicU64::new(0) });
        Ok(BuiltFilter::Filter(Arc::new(Factory(shared))))
    }

    fn build_route(config: HttpFault, path: &FieldPath) -> Result<RouteConfig, Vec<ConfigError>> {
        Ok(Arc::new(FaultSettings::from_proto(&config, path)?))
    }
}

/// One configured filter, on all workers.
struct Shared {
    settings: FaultSettings,
    stats: FaultStats,
    /// Streams with a fault now. Touched only by those.
    active: AtomicU64,
}

struct Factory(Arc<Shared>);

impl HttpFilterFactory for Factory {
    fn create(&self) -> Box<dyn HttpFilter> {
        Box::new(FaultFilter { shared: Arc::clone(&self.0), active: None })
    }
}

struct FaultFilter {
    shared: Arc<Shared>,
    active: Option<ActiveFault>,
}

/// Counts a stream as one with a fault, for as long as it lives.
struct ActiveFault(Arc<Shared>);

impl Drop for ActiveFault {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        self.0.stats.active_faults.dec();
    }
}

impl FaultFilter {
    /// Whether this stream may have a fault: one that has one already may have more.
    fn activate(&mut self, settings: &FaultSettings, runtime: &Runtime) -> bool {
        if self.active.is_some() {
            return true;
        }
        // Two workers may pass the limit together, as in Envoy.
        if self.shared.active.load(Ordering::Relaxed) >= settings.max_active_faults(runtime) {
            self.shared.stats.faults_overflow.inc();
            return false;
        }
        self.shared.active.fetch_add(1, Ordering::Relaxed);
        self.shared.stats.active_faults.inc();
        self.active = Some(ActiveFault(Arc::clone(&self.shared)));
        true
    }
}

impl HttpFilter for FaultFilter {
    fn decode_head(&mut self, cx: &mut FilterContext<'_>, request: &mut RequestHead, _: bool) -> HeadAction {
        let shared = Arc::clone(&self.shared);
        let settings = cx.route_config::<FaultSettings>().unwrap_or(&shared.settings);
        if !settings.concerns(request, || cx.route.and_then(|route| route.cluster_name(request))) {
            return HeadAction::Continue;
        }
        let runtime = &cx.worker.server.runtime;
        let caller = request.headers.get_str(header::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER);
        let caller = caller.filter(|name| !name.is_empty());
        let delay = settings.delay(&request.headers, caller, runtime, cx.random);
        let abort = settings.abort(&request.headers, caller, runtime, cx.random);
        if let Some(delay) = delay
            && self.activate(settings, runtime)
        {
            shared.stats.delays_injected.inc();
            cx.info.response_flags.insert(ResponseFlags::DELAY_INJECTED);
            let stats = shared.stats;
            return HeadAction::Await(Box::pin(async move {
                io::sleep(delay).await;
                match abort {
                    Some(abort) => Verdict::Reply(reply(abort, &stats)),
                    None => Verdict::Continue,
                }
            }));
        }
        match abort {
            Some(abort) if self.activate(settings, runtime) => HeadAction::Reply(reply(abort, &shared.stats)),
            _ => HeadAction::Continue,
        }
    }
}

fn reply(abort: Abort, stats: &FaultStats) -> LocalReply {
    stats.aborts_injected.inc();
    LocalReply {
        grpc_status: abort.grpc_status,
        ..LocalReply::new(abort.status, "", "fault_filter_abort")
            .with_body(abort.body)
            .with_flags(ResponseFlags::FAULT_INJECTED)
    }
}

#[cfg(test)]
mod tests;
