//! Stats that Envoy 1.40 has under fixed names, as groups of handles. Which of them stay zero for
//! now is said at each group.

mod cluster;
mod filters;
mod http;
mod listener;
mod server;
mod tls;

pub use cluster::{
    CircuitBreakerRemainingStats, CircuitBreakerStats, ClusterBalancerStats, ClusterMembershipStats,
    ClusterTrafficStats, EndpointMatchStats, HealthCheckStats, OutlierDetectionStats,
};
pub use filters::{
    ConnectionLimitStats, CorsStats, ExtAuthzStats, FaultStats, HttpInspectorStats, LocalRateLimitStats,
    ProxyProtocolErrorStats, ProxyProtocolStats, ProxyProtocolVersionStats, TcpProxyStats, TlsInspectorStats,
};
pub use http::{
    Http1CodecStats, Http2CodecStats, HttpConnectionStats, HttpRequestStats, RouterStats, TracingStats,
    VirtualClusterStats,
};
pub use listener::{ListenerHttpStats, ListenerStats, ListenerWorkerStats, listener_stat_name};
pub use server::{
    ClusterManagerStats, FilesystemStats, ListenerManagerStats, RuntimeStats, ServerStats, WatchdogStats,
    WorkersStats,
};
pub use tls::{TlsSocketFactoryStats, TlsStats, TlsStatsSet, set_certificate_expiry};
