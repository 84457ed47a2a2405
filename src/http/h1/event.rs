//! What decoders report.

use super::Framing;
use crate::buf::Chunk;
use crate::http::{HeaderMap, RequestHead, ResponseHead};

/// A part of a message. After `Head` come any `Data`, then `Trailers` or `End`, which is always the last.
#[derive(Debug)]
pub enum Event<Start> {
    /// The head.
    Head(Start),
    /// Some bytes of the body, at least one; shares the memory of the input.
    Data(Chunk),
    /// The message is complete, with these trailers (only if `enable_trailers`).
    Trailers(HeaderMap),
    /// The message is complete.
    End,
}

/// A part of a request.
pub type RequestEvent = Event<RequestStart>;

/// A part of a response.
pub type ResponseEvent = Event<ResponseStart>;

/// A request's head and what follows from it.
#[derive(Debug)]
pub struct RequestStart {
    /// The head; hop-by-hop headers are still in it.
    pub head: RequestHead,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client wants to keep the connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the client asks for another protocol (`connection: upgrade`), and this is no CONNECT. The decoder then
    /// waits after the head, see [`super::ServerDecoder::resume`].
    pub upgrade: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// How the request line named the target.
    pub form: TargetForm,
    /// Bytes of the head as received.
    pub head_bytes: u32,
}

/// The forms of a request target (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path`; authority, scheme and path are taken from it, `host` is replaced.
    Absolute,
    /// `host:port`, of CONNECT; there is no path. The decoder then waits after the head as for an upgrade.
    Authority,
    /// `*`, of OPTIONS; the path is `*`.
    Asterisk,
}

/// A response's head and what follows from it.
#[derive(Debug)]
pub struct ResponseStart {
    /// The head; hop-by-hop headers are still in it.
    pub head: ResponseHead,
    /// How the body is delimited.
    pub framing: Framing,
    /// An interim response (1xx): another head follows at once, without `End`.
    pub interim: bool,
    /// Whether the connection can serve another request once this response has ended.
    pub keep_alive: bool,
    /// Whether the head says that the host closes after this response.
    pub announces_close: bool,
    /// Bytes of the head as received.
    pub head_bytes: u32,
}
