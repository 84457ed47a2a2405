//! Clusters (`envoy.config.cluster.v3.Cluster`): groups of upstream hosts, how they are found, chosen and
//! connected to.

mod circuit_breakers;
mod discovery;
mod health_check;
mod http_options;
mod lb_policy;
mod load_assignment;
mod outlier_detection;

pub use circuit_breakers::{CircuitBreakers, RetryBudget, Thresholds};
pub use discovery::{DiscoveryType, DnsLookupFamily, DnsOptions, EdsOptions};
pub use health_check::{HealthCheck, HealthCheckIntervals, HealthChecker, HttpHealthCheck, TcpHealthCheck};
pub use http_options::{AutoPeerName, UpstreamProtocol};
pub use lb_policy::{CommonLbConfig, LbPolicy, LeastRequestSelection};
pub use load_assignment::{
    Endpoint, EndpointHealthCheck, HealthStatus, LoadAssignment, Locality, LocalityEndpoints,
};
pub use outlier_detection::OutlierDetection;

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;

use http_options::HttpOptions;

use super::context::wrapped_or;
use super::listener::DEFAULT_PER_CONNECTION_BUFFER_LIMIT_BYTES;
use super::upstream_proxy_protocol::UpstreamProxyProtocol;
use super::{
    BindConfig, CommonHttpOptions, Context, FieldPath, Http1Options, Http2Options, TcpKeepalive,
    UpstreamTransportSocket,
};

/// Default of `connect_timeout`.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A group of upstream hosts.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Unique name.
    pub name: String,
    /// Name in statistics; empty to use `name`.
    pub alt_stat_name: String,
    /// How its hosts are found.
    pub discovery: DiscoveryType,
    /// The configured hosts, or the names to resolve.
    pub load_assignment: LoadAssignment,
    /// How a host is chosen.
    pub lb_policy: LbPolicy,
    /// Further rules of choosing.
    pub common_lb: CommonLbConfig,
    /// Time for a connection to be made. Default 5 s.
    pub connect_timeout: Duration,
    /// Soft limit of the bytes buffered for a connection in each direction. Default 1 MiB; 0 is no limit.
    pub per_connection_buffer_limit_bytes: u32,
    /// Limits on what may be going on at once.
    pub circuit_breakers: CircuitBreakers,
    /// Options for every HTTP version, with the upstream defaults.
    pub common_http: CommonHttpOptions,
    /// Options of HTTP/1.
    pub http1: Http1Options,
    /// Options of HTTP/2.
    pub http2: Http2Options,
    /// Which of them is spoken.
    pub protocol: UpstreamProtocol,
    /// What requests decide of whom their connections are with; none if they do not.
    pub auto_peer_name: Option<AutoPeerName>,
    /// Keep-alive of connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How hosts are asked whether they can serve; none does not ask.
    pub health_check: Option<HealthCheck>,
    /// When hosts that fail are left out for a while; none never does.
    pub outlier_detection: Option<OutlierDetection>,
    /// Raw connections to a host end when it fails its health checks. Default false.
    pub close_connections_on_host_health_failure: bool,
    /// Hosts that are discovered no more go at once, not only when they fail their health checks. Default false.
    pub ignore_health_on_host_removal: bool,
    /// The server is ready only after the first resolution of names and the first health check of each host.
    /// Default true.
    pub wait_for_warm_on_init: bool,
    /// How sockets are bound before they connect.
    pub bind: BindConfig,
    /// What is written first on each connection; none for nothing.
    pub proxy_protocol: Option<UpstreamProxyProtocol>,
    /// What stands between connections and what is sent on them, behind the PROXY header.
    pub transport_socket: UpstreamTransportSocket,
    /// Where the cluster stands.
    pub path: FieldPath,
}

impl Cluster {
    /// The name under which statistics are kept.
    pub fn stat_name(&self) -> &str {
        if self.alt_stat_name.is_empty() { &self.name } else { &self.alt_stat_name }
    }
}

impl Cluster {
    /// Converts a cluster.
    pub fn from_proto(proto: &cluster::Cluster, path: &FieldPath, context: &mut Context<'_>) -> Cluster {
        let discovery = DiscoveryType::from_proto(proto, path, context);
        let HttpOptions { common: common_http, http1, http2, protocol, auto_peer_name } =
            HttpOptions::from_proto(proto, path, context);
        let load_assignment = proto.load_assignment.clone().unwrap_or_default();
        let breakers = proto.circuit_breakers.clone().unwrap_or_default();
        let connection = proto.upstream_connection_options.unwrap_or_default();
        let bind = proto.upstream_bind_config.as_ref();
        let socket_path = path.field("transport_socket");
        let (proxy_protocol, socket, socket_path) =
            UpstreamProxyProtocol::take_off(&proto.transport_socket, &socket_path, context);
        let transport_socket = UpstreamTransportSocket::from_proto(&socket, &socket_path, context);
        if protocol == UpstreamProtocol::Auto
            && transport_socket.tls().is_none()
            && context.errors().is_empty()
        {
            context.error_with_help(
                path,
                format!("ALPN configured for cluster {} which has a non-ALPN transport socket", proto.name),
                "auto_config lets the host choose within the TLS handshake: add a transport_socket with TLS",
            );
        }
        Cluster {
            name: proto.name.clone(),
            alt_stat_name: proto.alt_stat_name.clone(),
            load_assignment: LoadAssignment::from_proto(
                &load_assignment,
                &discovery,
                &path.field("load_assignment"),
                context,
            ),
            discovery,
            lb_policy: LbPolicy::from_proto(proto, path, context),
            common_lb: proto.common_lb_config.as_ref().map(CommonLbConfig::from_proto).unwrap_or_default(),
            connect_timeout: context.duration_or(
                &proto.connect_timeout,
                DEFAULT_CONNECT_TIMEOUT,
                &path.field("connect_timeout"),
            ),
            per_connection_buffer_limit_bytes: wrapped_or!(
                proto.per_connection_buffer_limit_bytes,
                DEFAULT_PER_CONNECTION_BUFFER_LIMIT_BYTES
            ),
            circuit_breakers: CircuitBreakers::from_proto(
                &breakers,
                &path.field("circuit_breakers"),
                context,
            ),
            common_http,
            http1,
            http2,
            protocol,
            auto_peer_name,
            tcp_keepalive: connection.tcp_keepalive.as_ref().map(TcpKeepalive::from_proto),
            health_check: HealthCheck::from_cluster(proto, proxy_protocol.is_some(), path, context),
            outlier_detection: proto.outlier_detection.as_ref().map(|detection| {
                OutlierDetection::from_proto(detection, &path.field("outlier_detection"), context)
            }),
            close_connections_on_host_health_failure: proto.close_connections_on_host_health_failure,
            ignore_health_on_host_removal: proto.ignore_health_on_host_removal,
            wait_for_warm_on_init: wrapped_or!(proto.wait_for_warm_on_init, true),
            bind: bind
                .map(|bind| BindConfig::from_proto(bind, &path.field("upstream_bind_config"), context))
                .unwrap_or_default(),
            proxy_protocol,
            transport_socket,
            path: path.clone(),
        }
    }
}
