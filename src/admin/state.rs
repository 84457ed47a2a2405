//! What the admin server needs of the process: plain data to show, and commands to pass on.
//!
//! All methods are called on the control thread and must return at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::Runtime;
use crate::io::Address;
use crate::upstream::{HealthFlags, HostStatsTotals};

/// The process as the admin server sees it.
pub trait AdminState {
    /// For `/ready` and `/server_info`.
    fn server_state(&self) -> ServerState;

    /// For `/server_info` and `/hot_restart_version`.
    fn server_info(&self) -> ServerInfo;

    /// For `/clusters`, in the order to be shown.
    fn clusters(&self) -> Vec<ClusterStatus>;

    /// For `/listeners`: active and draining ones, with the addresses they really have.
    fn listeners(&self) -> Vec<ListenerStatus>;

    /// For `/config_dump`: one JSON object per section, each an `envoy.admin.v3.*ConfigDump` with
    /// its `@type`. Endpoints are left out unless `include_eds`.
    fn config_dump(&self, include_eds: bool) -> Vec<Value>;

    /// For `/memory`.
    fn memory(&self) -> MemoryReport;

    /// For `/runtime`.
    fn runtime(&self) -> Arc<Runtime>;

    /// For `/certs`: `envoy.admin.v3.Certificate` objects.
    fn certificates(&self) -> Vec<Value> {
        Vec::new()
    }

    /// For `/init_dump`: what start-up still waits for.
    fn unready_targets(&self) -> Vec<UnreadyTargets> {
        Vec::new()
    }

    /// Called before statistics are listed: the time to set gauges such as `server.uptime`.
    fn refresh_stats(&self) {}

    /// Makes the process fail (or pass again) its health checks, until told otherwise.
    fn set_health_check_failed(&self, failed: bool);

    /// Drains listeners; returns at once.
    fn drain_listeners(&self, request: DrainRequest);

    /// Opens access logs and the process log anew; returns at once.
    fn reopen_logs(&self);

    /// Overrides runtime values; an empty value takes an override back.
    ///
    /// # Errors
    /// With the text for the operator, e.g. if there is no admin layer.
    fn modify_runtime(&self, _overrides: &[(String, String)]) -> Result<(), String> {
        Err("No admin layer specified".to_owned())
    }

    /// Ends the process; returns at once.
    fn quit(&self);
}

/// Where the process stands (`envoy.admin.v3.ServerInfo.State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It serves.
    Live,
    /// It serves, and fails health checks.
    Draining,
    /// Clusters are not ready yet.
    PreInitializing,
    /// Listeners are not ready yet.
    Initializing,
}

impl ServerState {
    /// As Envoy prints it.
    pub const fn name(self) -> &'static str {
        match self {
            ServerState::Live => "LIVE",
            ServerState::Draining => "DRAINING",
            ServerState::PreInitializing => "PRE_INITIALIZING",
            ServerState::Initializing => "INITIALIZING",
        }
    }

    /// Value of the gauge `server.state`.
    pub const fn number(self) -> u64 {
        self as u64
    }
}

/// The process itself (`envoy.admin.v3.ServerInfo`, but for the state).
#[derive(Debug, Clone, Default)]
pub struct ServerInfo {
    /// `revision/version/status/build/TLS library`.
    pub version: String,
    /// Since this process started.
    pub uptime_current_epoch: Duration,
    /// Since the first process of a chain of hot restarts started.
    pub uptime_all_epochs: Duration,
    /// Compatibility of hot restarts; `disabled` without them.
    pub hot_restart_version: String,
    /// `envoy.admin.v3.CommandLineOptions`.
    pub command_line_options: Map<String, Value>,
    /// `envoy.config.core.v3.Node`. Facts of Ringway's own (the I/O driver) belong into
    /// `user_agent_build_version.metadata`, which may hold anything.
    pub node: Map<String, Value>,
}

/// One cluster (`envoy.admin.v3.ClusterStatus`).
#[derive(Debug, Clone, Default)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Its `alt_stat_name`, or else its name.
    pub observability_name: String,
    /// Whether a control plane sent it.
    pub added_via_api: bool,
    /// Limits of the default priority.
    pub default_priority: CircuitBreakerLimits,
    /// Limits of the high priority.
    pub high_priority: CircuitBreakerLimits,
    /// Outlier detection, if it is on.
    pub outlier: Option<OutlierReport>,
    /// Its hosts.
    pub hosts: Vec<HostReport>,
}

/// Limits of one priority.
#[derive(Debug, Clone, Copy, Default)]
pub struct CircuitBreakerLimits {
    /// Connections.
    pub max_connections: u64,
    /// Requests that wait for a connection.
    pub max_pending_requests: u64,
    /// Requests.
    pub max_requests: u64,
    /// Retries.
    pub max_retries: u64,
}

/// Thresholds of outlier detection in per cent; none while there is too little traffic.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutlierReport {
    /// Average success rate.
    pub success_rate_average: Option<f64>,
    /// Hosts below are ejected.
    pub success_rate_ejection_threshold: Option<f64>,
    /// The same for connection errors alone.
    pub local_origin_success_rate_average: Option<f64>,
    /// The same for connection errors alone.
    pub local_origin_success_rate_ejection_threshold: Option<f64>,
}

/// One host (`envoy.admin.v3.HostStatus`).
#[derive(Debug, Clone)]
pub struct HostReport {
    /// Where it is.
    pub address: Address,
    /// As configured; may be empty.
    pub hostname: String,
    /// What is wrong with it.
    pub health: HealthFlags,
    /// Its counters.
    pub counters: HostStatsTotals,
    /// Load-balancing weight.
    pub weight: u32,
    /// May be empty.
    pub region: String,
    /// May be empty.
    pub zone: String,
    /// May be empty.
    pub sub_zone: String,
    /// Whether it is a canary.
    pub canary: bool,
    /// 0 is the highest.
    pub priority: u32,
    /// Per cent; none while there is too little traffic.
    pub success_rate: Option<f64>,
    /// The same for connection errors alone.
    pub local_origin_success_rate: Option<f64>,
}

/// One listener (`envoy.admin.v3.ListenerStatus`).
#[derive(Debug, Clone)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Where it really listens: the address, then the additional ones.
    pub addresses: Vec<Address>,
}

/// Memory of the process in bytes (`envoy.admin.v3.Memory`).
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryReport {
    /// In use.
    pub allocated: u64,
    /// Taken from the system.
    pub heap_size: u64,
    /// Given back to the system, but still mapped.
    pub pageheap_unmapped: u64,
    /// Free in the allocator.
    pub pageheap_free: u64,
    /// In caches of threads.
    pub total_thread_cache: u64,
    /// Resident.
    pub total_physical_bytes: u64,
}

impl MemoryReport {
    /// What the kernel says of this process (`/proc/self/status`): private memory as allocated, data
    /// and stack as heap. Zeros where it does not tell.
    pub fn of_process() -> MemoryReport {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        MemoryReport {
            allocated: bytes("RssAnon"),
            heap_size: bytes("VmData"),
            total_physical_bytes: bytes("VmRSS"),
            ..MemoryReport::default()
        }
    }
}

/// Something that start-up waits for.
#[derive(Debug, Clone)]
pub struct UnreadyTargets {
    /// Who waits.
    pub name: String,
    /// For what.
    pub target_names: Vec<String>,
}

/// Parameters of `/drain_listeners`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainRequest {
    /// Discourage new requests for the drain time before listeners close.
    pub graceful: bool,
    /// Only listeners whose traffic direction is inbound.
    pub inbound_only: bool,
    /// Drain connections, but never stop listening.
    pub skip_exit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_our_memory() {
        let memory = MemoryReport::of_process();
        assert!(memory.allocated > 0 && memory.heap_size > 0);
        assert!(memory.total_physical_bytes >= memory.allocated);
    }
}
