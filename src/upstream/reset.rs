//! Why a request that was given to a cluster did not get its (whole) response.
//!
//! Names and texts are those of Envoy's `StreamResetReason`; it decides nothing about retries.

use std::rc::Rc;

use crate::stream_info::ResponseFlags;

/// Why an exchange with a host ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamReset {
    /// The connection ended before the response was complete.
    ConnectionTermination,
    /// The host reset the stream (HTTP/2 and 3).
    RemoteReset,
    /// The host refused the stream before looking at it (HTTP/2 and 3): safe to send again.
    RemoteRefusedStream,
    /// This side gave up, e.g. by a timeout.
    LocalReset,
    /// The response broke the protocol; the reason as the codec names it.
    ProtocolError(&'static str),
    /// A circuit breaker is open.
    Overflow,
    /// No connection could be made; the operating system's reason, or why TLS failed. May be empty.
    ConnectionFailure(Rc<str>),
    /// No connection within `connect_timeout`.
    ConnectionTimeout,
}

impl UpstreamReset {
    /// The text in reply bodies and, with `_` for spaces, in `response_code_details`.
    pub fn reason(&self) -> &'static str {
        match self {
            UpstreamReset::ConnectionTermination => "connection termination",
            UpstreamReset::RemoteReset => "remote reset",
            UpstreamReset::RemoteRefusedStream => "remote refused stream reset",
            UpstreamReset::LocalReset => "local reset",
            UpstreamReset::ProtocolError(_) => "protocol error",
            UpstreamReset::Overflow => "overflow",
            UpstreamReset::ConnectionFailure(_) => "remote connection failure",
            UpstreamReset::ConnectionTimeout => "connection timeout",
        }
    }

    /// The flag of the response made from this.
    pub fn response_flag(&self) -> ResponseFlags {
        match self {
            UpstreamReset::ConnectionTermination => ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
            UpstreamReset::RemoteReset | UpstreamReset::RemoteRefusedStream => {
                ResponseFlags::UPSTREAM_REMOTE_RESET
            }
            UpstreamReset::LocalReset => ResponseFlags::LOCAL_RESET,
            UpstreamReset::ProtocolError(_) => ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
            UpstreamReset::Overflow => ResponseFlags::UPSTREAM_OVERFLOW,
            UpstreamReset::ConnectionFailure(_) | UpstreamReset::ConnectionTimeout => {
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE
            }
        }
    }

    /// What `%UPSTREAM_TRANSPORT_FAILURE_REASON%` and the reply's body add, if anything.
    pub fn transport_failure_reason(&self) -> Option<&str> {
        match self {
            UpstreamReset::ConnectionFailure(reason) if !reason.is_empty() => Some(reason),
            _ => None,
        }
    }

    /// Whether the request cannot have reached the host's application.
    pub fn is_connect_failure(&self) -> bool {
        matches!(self, UpstreamReset::ConnectionFailure(_) | UpstreamReset::ConnectionTimeout)
    }
}

/// Why no connection was had for a request. It was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolFailure {
    /// A circuit breaker is open; counted as `upstream_rq_pending_overflow`.
    Overflow,
    /// No connection within `connect_timeout`.
    Timeout,
    /// No connection could be made; the operating system's reason, or why TLS failed. May be empty.
    ConnectFailure(Rc<str>),
}

impl From<PoolFailure> for UpstreamReset {
    fn from(failure: PoolFailure) -> UpstreamReset {
        match failure {
            PoolFailure::Overflow => UpstreamReset::Overflow,
            PoolFailure::Timeout => UpstreamReset::ConnectionTimeout,
            PoolFailure::ConnectFailure(reason) => UpstreamReset::ConnectionFailure(reason),
        }
    }
}
