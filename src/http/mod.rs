//! HTTP semantics without I/O and without a clock: header maps, message heads, paths, dates, codecs.
//!
//! Nothing here opens a socket, reads the time or decides policy; RFC 9110 says what the parts mean, `h1` adds RFC 9112,
//! `h2` RFC 9113.

pub mod date;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod header;
mod header_map;
mod message;
mod method;
pub mod path;

pub use header::{HeaderName, HeaderNameBuf, Known};
pub use header_map::{HeaderIter, HeaderMap, ValueIter};
pub use message::{BodyEvent, RequestHead, ResponseHead, reason_phrase};
pub use method::Method;

/// Protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Version {
    /// The text that Envoy's `%PROTOCOL%` prints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
            Version::Http3 => "HTTP/3",
        }
    }
}
