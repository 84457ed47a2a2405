//! What is known about one stream (a request, or a raw connection) while it passes through:
//! what access logs, header formatters and statistics read. It decides nothing.
//!
//! Field names follow Envoy's `StreamInfo` and `data.accesslog.v3.AccessLogCommon`.

mod connection;
mod flags;
mod timing;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

pub use connection::{ConnectionInfo, PeerAddress};
pub use flags::ResponseFlags;
pub use timing::Timing;

use crate::http::Version;
use crate::tls::HandshakeFacts;

/// Facts about one stream, filled in as it goes.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// The downstream connection.
    pub connection: Rc<ConnectionInfo>,
    /// Protocol of the downstream request; none for raw connections.
    pub protocol: Option<Version>,
    /// When which part of the exchange happened.
    pub timing: Timing,
    /// Remote address after trusted `x-forwarded-for` hops; the connection's own if none.
    pub downstream_remote_address: PeerAddress,
    /// Status sent downstream; none while there is no response.
    pub response_code: Option<u16>,
    /// Why the response is what it is, e.g. `via_upstream` or `route_not_found`.
    pub response_code_details: Cow<'static, str>,
    /// Envoy's response flags.
    pub response_flags: ResponseFlags,
    /// Body bytes from downstream.
    pub bytes_received: u64,
    /// Body bytes to downstream.
    pub bytes_sent: u64,
    /// All bytes, heads and framing included, by side.
    pub wire_bytes: WireBytes,
    /// Head bytes alone, by side.
    pub header_bytes: WireBytes,
    /// Name of the matched route.
    pub route_name: Option<Arc<str>>,
    /// The upstream cluster chosen by the route.
    pub upstream_cluster: Option<Arc<str>>,
    /// Its `alt_stat_name`, which logs prefer; none if it has none.
    pub upstream_cluster_alt_name: Option<Arc<str>>,
    /// Name of the virtual cluster that the request belongs to.
    pub virtual_cluster_name: Option<Arc<str>>,
    /// Identifies the trace that the request is part of.
    pub trace_id: Option<Arc<str>>,
    /// The upstream side of the last attempt.
    pub upstream: Option<UpstreamInfo>,
    /// Attempts made to send the request upstream, the first included.
    pub attempt_count: u32,
    /// Value of `x-request-id` where the proxy made or kept one.
    pub request_id: Option<Arc<str>>,
    /// Whether the health-check filter recognised the request as a health check.
    pub health_check: bool,
    /// Why TLS or TCP to upstream failed.
    pub upstream_transport_failure_reason: Option<Cow<'static, str>>,
}

/// The upstream side of one attempt.
#[derive(Debug, Clone)]
pub struct UpstreamInfo {
    /// Address of the host that was picked.
    pub host_address: PeerAddress,
    /// Its hostname, if the configuration names one; else empty.
    pub hostname: Arc<str>,
    /// Our end of the upstream connection.
    pub local_address: Option<SocketAddr>,
    /// Identifies the upstream connection within the process.
    pub connection_id: u64,
    /// Protocol spoken upstream.
    pub protocol: Option<Version>,
    /// What the TLS handshake with the host has settled; none on a plain connection.
    pub tls: Option<Rc<HandshakeFacts>>,
}

/// Bytes on the wire by side.
#[derive(Debug, Clone, Copy, Default)]
pub struct WireBytes {
    /// From downstream, heads included.
    pub downstream_received: u64,
    /// To downstream, heads included.
    pub downstream_sent: u64,
    /// From upstream, heads included.
    pub upstream_received: u64,
    /// To upstream, heads included.
    pub upstream_sent: u64,
}

impl StreamInfo {
    /// A stream that begins with `timing` on `connection`.
    // Inlined, so that it is made where it will be: it is large, and every request makes one.
    #[inline(always)]
    pub fn new(connection: Rc<ConnectionInfo>, protocol: Option<Version>, timing: Timing) -> StreamInfo {
        let downstream_remote_address = connection.remote_address.clone();
        StreamInfo {
            connection,
            protocol,
            timing,
            downstream_remote_address,
            response_code: None,
            response_code_details: Cow::Borrowed(""),
            response_flags: ResponseFlags::NONE,
            bytes_received: 0,
            bytes_sent: 0,
            wire_bytes: WireBytes::default(),
            header_bytes: WireBytes::default(),
            route_name: None,
            upstream_cluster: None,
            upstream_cluster_alt_name: None,
            virtual_cluster_name: None,
            trace_id: None,
            upstream: None,
            attempt_count: 0,
            request_id: None,
            health_check: false,
            upstream_transport_failure_reason: None,
        }
    }
}
