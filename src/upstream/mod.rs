//! Clusters: hosts, and how one of them is picked, reached and given up on. What happens upstream of the
//! router filter.
//!
//! Two sides: the control thread builds immutable host sets and sends them as [`ClusterCommand`]s; each worker
//! keeps its own balancers, pools and counters. Only circuit breakers and the health of hosts are shared
//! between threads, as atomics.

pub mod breaker;
pub mod discovery;
pub mod health;
pub mod lb;
pub mod outlier;
pub mod retry;

mod alarm;
mod cluster;
mod cluster_info;
mod cluster_manager;
mod control;
mod event_log;
mod host;
mod host_health;
mod host_pools;
mod host_set;
mod host_stats;
mod peer_name;
mod pool;
mod reset;
#[cfg(test)]
mod testing;

pub use alarm::{AlarmBell, Alarms, HostAlarms};
pub use cluster::{Cluster, HostPick};
pub use cluster_info::{ClusterInfo, ClusterStats};
pub use cluster_manager::{ClusterCommand, ClusterManager};
pub use control::{ClusterControl, ClusterError, ClusterStatus, Endpoints, WarmingCluster};
pub use event_log::{EventLog, EventLogs};
pub use host::Host;
pub use host_health::{HealthEpoch, HealthFlags, HostHealth};
pub use host_set::{
    HostEntry, HostHealthCheck, HostKey, HostSet, HostSetBuilder, HostShared, HostStatus, HostTemplate,
    Membership,
};
pub use host_stats::{HostCounter, HostCounters, HostStats, HostStatsTotals};
pub use pool::{CheckOut, H1Stream, H2Stream, TcpConnect, TcpConnection, UpstreamEvent, UpstreamStream};
pub use reset::{PoolFailure, UpstreamReset};
