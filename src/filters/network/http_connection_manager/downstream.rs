//! The downstream side of one stream, as the exchange sees it, whatever the codec: a request that
//! arrives in parts and a response that is sent in parts, with flow control both ways.
//!
//! HTTP/1 has one stream a connection; multiplexed codecs give each stream its own.

use std::task::{Context, Poll};

use crate::buf::Chunk;
use crate::http::{BodyEvent, HeaderMap, RequestHead, ResponseHead};

use crate::filters::http::LocalReply;

/// One stream of a downstream connection.
pub trait DownstreamStream {
    /// Whether the client is read whatever becomes of its request, so that [`DownstreamStream::poll_gone`] may be asked
    /// at any time.
    const READS_ALWAYS: bool;

    /// The next part of the request after its head. Must not be called after the end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, DownstreamError>>;

    /// The next part of the request's body, if it is here, is not the last one, and needs no decoding: a shorter way
    /// for large bodies. If there is none, `poll_body` is to be asked.
    fn take_body_part(&mut self, _cx: &mut Context<'_>) -> Option<Chunk> {
        None
    }

    /// Ready when the client has gone, while nothing more of the request is expected.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone>;

    /// Ready when the client takes more of the response: less than the buffer limit is queued.
    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamError>>;

    /// The upgrade that the request asked for is accepted, and what follows in both directions is another
    /// protocol's; or it is refused, and the request goes on as an ordinary one.
    fn resume_upgrade(&mut self, accepted: bool);

    /// Sends an interim (1xx) response.
    fn send_informational(&mut self, head: &ResponseHead);

    /// Sends the head of the final response to `request`. `persistent`: whether the connection may
    /// serve on. Returns whether it does: a body may have to end with the connection.
    fn send_head(
        &mut self,
        request: &RequestHead,
        head: &mut ResponseHead,
        end_stream: bool,
        persistent: bool,
    ) -> bool;

    /// Sends a part of the body.
    fn send_data(&mut self, chunk: Chunk);

    /// Ends the response, with trailers if there are any.
    fn send_end(&mut self, trailers: Option<&HeaderMap>);

    /// Bytes of the stream on the wire so far: received and sent, heads included.
    fn wire_bytes(&self) -> (u64, u64);
}

/// Why a stream cannot go on.
#[derive(Debug)]
pub enum DownstreamError {
    /// The client closed the connection or reset the stream.
    Gone(Gone),
    /// The client broke the protocol; it is told so if no response has begun.
    Protocol(Box<LocalReply>),
}

/// How a client went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// With its connection.
    Disconnected,
    /// It, or the codec because of what it did, ended the stream; `response_code_details`.
    Reset(&'static str),
}
