//! An answer that the proxy itself gives: what it says and how it is accounted.
//!
//! Envoy's `sendLocalReply`. Mapping by `local_reply_config` happens in the connection manager.

use std::borrow::Cow;

use bytes::Bytes;

use crate::http::HeaderMap;
use crate::stream_info::ResponseFlags;

/// An answer of the proxy's own.
#[derive(Debug)]
pub struct LocalReply {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Body; `text/plain` unless `headers` say otherwise.
    pub body: Bytes,
    /// Headers to set on the answer.
    pub headers: Option<Box<HeaderMap>>,
    /// What `%RESPONSE_CODE_DETAILS%` says.
    pub details: Cow<'static, str>,
    /// Flags to set.
    pub flags: ResponseFlags,
    /// `grpc-status` for gRPC requests; derived from `status` if none.
    pub grpc_status: Option<u32>,
    /// Whether the connection must end after it.
    pub close_connection: bool,
    /// Whether the route's header changes apply to it, as to answers that the route itself gives.
    pub route_changes_headers: bool,
}

impl LocalReply {
    /// An answer with a fixed body and no flags.
    pub fn new(status: u16, body: &'static str, details: &'static str) -> LocalReply {
        LocalReply {
            status,
            body: Bytes::from_static(body.as_bytes()),
            headers: None,
            details: Cow::Borrowed(details),
            flags: ResponseFlags::NONE,
            grpc_status: None,
            close_connection: false,
            route_changes_headers: false,
        }
    }

    /// The same with these flags.
    pub fn with_flags(mut self, flags: ResponseFlags) -> LocalReply {
        self.flags.insert(flags);
        self
    }

    /// The same with another body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> LocalReply {
        self.body = body.into();
        self
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: &str, value: &[u8]) -> LocalReply {
        self.headers.get_or_insert_default().set(name, value);
        self
    }

    /// The same, ending the connection.
    pub fn closing(mut self) -> LocalReply {
        self.close_connection = true;
        self
    }
}
