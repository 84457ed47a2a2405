//! What the admin server is shown and may order: the control thread's view of the process.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::admin::{
    AdminState, CircuitBreakerLimits, ClusterStatus, DrainRequest, HostReport, ListenerStatus, MemoryReport,
    OutlierReport, ServerInfo, ServerState as AdminServerState, UnreadyTargets,
};
use crate::base::clock::UnixTime;
use crate::config::Runtime;
use crate::config::route::RoutingPriority;
use crate::config::tls::CommonTlsContext;
use crate::filters::ServerState;
use crate::io::{DriverCounters, DriverKind};
use crate::stats::Counter;
use crate::stats::groups::{ServerStats, WorkersStats};
use crate::upstream::outlier::DetectorRates;
use crate::upstream::{self, HostStatus};

use super::certificates::context_report;
use super::config_dump::config_dump;
use super::configuration::Configuration;
use super::dynamic::{Dynamic, unix_now};

/// Orders of the admin server to the control loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Drain listeners.
    Drain(DrainRequest),
    /// Reopen all logs.
    ReopenLogs,
    /// End the process.
    Quit,
}

/// The process as the control thread sees it.
pub struct Process {
    /// What was configured.
    pub configuration: Configuration,
    /// Switches that workers see.
    pub server: Arc<ServerState>,
    /// How workers do I/O.
    pub driver: DriverKind,
    /// Why it is not the ring, where `auto` was asked for.
    pub driver_fallback: Option<String>,
    /// Number of workers.
    pub concurrency: usize,
    /// What was given on the command line, as `/server_info` shows it.
    pub command_line: Map<String, Value>,
    /// When the process started.
    pub started: Instant,
    /// Where it stands.
    pub state: Cell<AdminServerState>,
    /// Its clusters, listeners and route tables.
    pub dynamic: Dynamic,
    /// When it was configured.
    pub configured: UnixTime,
    /// `server.` statistics.
    pub stats: ServerStats,
    /// `ringway.` statistics.
    pub worker_stats: WorkersStats,
    /// What was already carried over from the drivers' counters into statistics.
    pub raised: RefCell<[u64; 3]>,
    /// Counters of the drivers.
    pub counters: Vec<Arc<DriverCounters>>,
    /// To the control loop.
    pub orders: UnboundedSender<Order>,
}

/// The admin server's handle on the process.
pub struct AdminHandle(pub Rc<Process>);

impl AdminHandle {
    fn order(&self, order: Order) {
        // The receiver is gone only once the process ends.
        let _ = self.0.orders.send(order);
    }
}

impl AdminState for AdminHandle {
    fn server_state(&self) -> AdminServerState {
        match self.0.state.get() {
            AdminServerState::Live if self.0.server.health_check_failed() || self.0.server.is_draining() => {
                AdminServerState::Draining
            }
            state => state,
        }
    }

    fn server_info(&self) -> ServerInfo {
        let uptime = self.0.started.elapsed();
        let bootstrap = &self.0.configuration.bootstrap;
        let mut metadata = Map::new();
        metadata.insert("io_driver".into(), self.0.driver.name().into());
        if let Some(reason) = &self.0.driver_fallback {
            metadata.insert("io_driver_fallback".into(), reason.as_str().into());
        }
        metadata.insert("workers".into(), self.0.concurrency.into());
        let node = json!({
            "id": bootstrap.node.id,
            "cluster": bootstrap.node.cluster,
            "metadata": bootstrap.node.metadata,
            "locality": { "zone": bootstrap.node.locality.zone },
            "user_agent_name": "ringway",
            "user_agent_build_version": { "metadata": metadata },
        });
        ServerInfo {
            version: format!("{}/Ringway", env!("CARGO_PKG_VERSION")),
            uptime_current_epoch: uptime,
            uptime_all_epochs: uptime,
            hot_restart_version: "disabled".to_owned(),
            command_line_options: self.0.command_line.clone(),
            node: node.as_object().cloned().unwrap_or_default(),
        }
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        let clusters = &self.0.dynamic.clusters;
        let statuses = self.0.dynamic.around.clusters.statuses().into_iter();
        statuses
            .map(|status| {
                let added_via_api = clusters.is_dynamic(&status.info.name);
                ClusterStatus { added_via_api, ..cluster_status(status) }
            })
            .collect()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let listeners = self.0.dynamic.listeners.addresses().into_iter();
        listeners.map(|(name, addresses)| ListenerStatus { name, addresses }).collect()
    }

    fn config_dump(&self, include_eds: bool) -> Vec<Value> {
        config_dump(&self.0, include_eds)
    }

    fn certificates(&self) -> Vec<Value> {
        let (dynamic, now) = (&self.0.dynamic, unix_now());
        let report = |context: &CommonTlsContext| context_report(context, now);
        let mut reports = Vec::new();
        for listener in dynamic.listeners.active_configs() {
            let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
            let contexts = chains.filter_map(|chain| chain.transport_socket.tls());
            let fixed = contexts.filter(|context| context.discoveries().next().is_none());
            reports.extend(fixed.filter_map(|context| report(&context.common)));
        }
        for cluster in dynamic.clusters.configs() {
            let context = cluster.transport_socket.tls();
            let fixed = context.filter(|context| context.discoveries().next().is_none());
            reports.extend(fixed.and_then(|context| report(&context.common)));
        }
        reports.extend(dynamic.secrets.map_contexts(report));
        reports
    }

    fn unready_targets(&self) -> Vec<UnreadyTargets> {
        let targets = self.0.dynamic.awaited();
        targets.into_iter().map(|(name, target_names)| UnreadyTargets { name, target_names }).collect()
    }

    fn memory(&self) -> MemoryReport {
        let pages = resident_bytes();
        MemoryReport {
            allocated: pages,
            heap_size: pages,
            total_physical_bytes: pages,
            ..MemoryReport::default()
        }
    }

    fn runtime(&self) -> Arc<Runtime> {
        Arc::new(self.0.server.runtime.clone())
    }

    fn refresh_stats(&self) {
        let process = &self.0;
        process.stats.uptime.set(process.started.elapsed().as_secs());
        process.stats.live.set(u64::from(self.server_state() == AdminServerState::Live));
        process.stats.state.set(self.server_state().number());
        process.stats.concurrency.set(process.concurrency as u64);
        process.stats.memory_physical_size.set(resident_bytes());
        process.dynamic.around.clusters.refresh_gauges();
        refresh_worker_stats(process);
    }

    fn set_health_check_failed(&self, failed: bool) {
        self.0.server.set_health_check_failed(failed);
    }

    fn drain_listeners(&self, request: DrainRequest) {
        self.order(Order::Drain(request));
    }

    fn reopen_logs(&self) {
        self.order(Order::ReopenLogs);
    }

    fn quit(&self) {
        self.order(Order::Quit);
    }
}

/// Carries what the I/O drivers count over into `ringway.` statistics.
fn refresh_worker_stats(process: &Process) {
    let sum = |read: fn(&DriverCounters) -> u64| {
        process.counters.iter().map(|of_worker| read(of_worker)).sum::<u64>()
    };
    let mut raised = process.raised.borrow_mut();
    let mut raise = |index: usize, counter: Counter, total: u64| {
        counter.add(total.saturating_sub(std::mem::replace(&mut raised[index], total)));
    };
    let stats = process.worker_stats;
    raise(0, stats.panics, sum(|of| of.panics.get()));
    raise(1, stats.completion_queue_overflows, sum(|of| of.cq_overflows.get()));
    raise(2, stats.buffer_ring_exhausted, sum(|of| of.enobufs.get()));
    stats.live_sockets.set(sum(|of| of.live_sockets.get()));
    stats.live_blocks.set(sum(|of| of.live_blocks.get()));
    stats.io_driver_is_ring.set(u64::from(process.driver == DriverKind::Ring));
}

fn cluster_status(cluster: upstream::ClusterStatus) -> ClusterStatus {
    let info = &cluster.info;
    let limits = |priority| {
        let thresholds = info.config.circuit_breakers.get(priority);
        CircuitBreakerLimits {
            max_connections: thresholds.max_connections.into(),
            max_pending_requests: thresholds.max_pending_requests.into(),
            max_requests: thresholds.max_requests.into(),
            max_retries: thresholds.max_retries.into(),
        }
    };
    ClusterStatus {
        name: info.name.to_string(),
        observability_name: info.config.stat_name().to_owned(),
        added_via_api: false,
        default_priority: limits(RoutingPriority::Default),
        high_priority: limits(RoutingPriority::High),
        outlier: cluster.outlier.map(outlier_report),
        hosts: cluster.hosts.into_iter().map(host_report).collect(),
    }
}

fn outlier_report(rates: DetectorRates) -> OutlierReport {
    let (external, local) = (rates.external, rates.local);
    OutlierReport {
        success_rate_average: external.map(|found| found.average),
        success_rate_ejection_threshold: external.map(|found| found.ejection),
        local_origin_success_rate_average: local.map(|found| found.average),
        local_origin_success_rate_ejection_threshold: local.map(|found| found.ejection),
    }
}

fn host_report(status: HostStatus) -> HostReport {
    HostReport {
        address: status.address,
        hostname: status.hostname.to_string(),
        health: status.health_flags,
        counters: status.stats,
        weight: status.weight,
        region: status.locality.region.clone(),
        zone: status.locality.zone.clone(),
        sub_zone: status.locality.sub_zone.clone(),
        canary: status.is_canary,
        priority: status.priority,
        success_rate: status.rates.external,
        local_origin_success_rate: status.rates.local,
    }
}

/// Resident memory of the process; 0 where `/proc` does not tell.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}
