//! One exchange with a host, the same for every HTTP version.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::{H1Stream, H2Stream};
use crate::buf::Chunk;
use crate::http::{HeaderMap, RequestHead, ResponseHead, Version};
use crate::io::Address;
use crate::tls::HandshakeFacts;
use crate::upstream::host::Host;
use crate::upstream::reset::UpstreamReset;

/// A part of a response.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// An interim head (1xx except 101); another head follows.
    Informational(ResponseHead),
    /// The head. Hop-by-hop headers are still in it.
    Head {
        /// The head.
        head: ResponseHead,
        /// Nothing follows.
        end_stream: bool,
    },
    /// Some of the body.
    Data {
        /// The bytes; empty only with `end_stream`.
        chunk: Chunk,
        /// Nothing follows.
        end_stream: bool,
    },
    /// The response is complete, with trailers.
    Trailers(HeaderMap),
}

impl UpstreamEvent {
    /// Whether the response is complete with this event.
    pub fn is_end(&self) -> bool {
        match self {
            UpstreamEvent::Informational(_) => false,
            UpstreamEvent::Head { end_stream, .. } | UpstreamEvent::Data { end_stream, .. } => *end_stream,
            UpstreamEvent::Trailers(_) => true,
        }
    }
}

/// One exchange: a request to send, and its response. Dropped when both are complete, the connection
/// serves others; dropped earlier, the exchange is abandoned.
#[derive(Debug)]
pub enum UpstreamStream {
    /// On a HTTP/1 connection, which belongs to this exchange until it ends.
    H1(H1Stream),
    /// On a HTTP/2 connection, beside others.
    H2(H2Stream),
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            UpstreamStream::H1($stream) => $call,
            UpstreamStream::H2($stream) => $call,
        }
    };
}

impl UpstreamStream {
    /// Sends the request's head. Hop-by-hop headers other than an upgrade's must be gone from it.
    /// `end_stream`: there is no body.
    pub fn send_head(&mut self, head: &RequestHead, end_stream: bool) {
        each!(self, stream => stream.send_head(head, end_stream));
    }

    /// Sends some of the body. What is sent after the end, or beyond the `content-length` sent, is dropped and
    /// makes the exchange fail.
    pub fn send_data(&mut self, chunk: Chunk, end_stream: bool) {
        each!(self, stream => stream.send_data(chunk, end_stream));
    }

    /// Ends the request with trailers.
    pub fn send_trailers(&mut self, trailers: &HeaderMap) {
        each!(self, stream => stream.send_trailers(trailers));
    }

    /// Pending while more than the cluster's `per_connection_buffer_limit_bytes` wait to be sent, until half of
    /// that is reached. A connection that broke is ready: [`UpstreamStream::poll_event`] tells what became of
    /// the exchange.
    pub fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        each!(self, stream => stream.poll_send_ready(cx))
    }

    /// The next part of the response; after its end only errors.
    ///
    /// # Errors
    /// The response will not become complete.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<UpstreamEvent, UpstreamReset>> {
        each!(self, stream => stream.poll_event(cx))
    }

    /// The next part of the response's body, if it is here, is not the last one, and needs no decoding: a shorter
    /// way for large bodies. If there is none, `poll_event` is to be asked.
    #[inline]
    pub fn take_body_part(&mut self, cx: &mut Context<'_>) -> Option<Chunk> {
        match self {
            UpstreamStream::H1(stream) => stream.take_body_part(cx),
            UpstreamStream::H2(_) => None,
        }
    }

    /// As [`UpstreamStream::poll_event`].
    ///
    /// # Errors
    /// The response will not become complete.
    pub async fn event(&mut self) -> Result<UpstreamEvent, UpstreamReset> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The host.
    pub fn host(&self) -> &Rc<Host> {
        each!(self, stream => stream.host())
    }

    /// Identifies the connection within the process.
    pub fn connection_id(&self) -> u64 {
        each!(self, stream => stream.connection_id())
    }

    /// This side of the connection, unless the socket is broken.
    pub fn local_address(&self) -> Option<Address> {
        each!(self, stream => stream.local_address())
    }

    /// What the TLS handshake with the host has settled; none on a plain connection.
    pub fn tls_facts(&self) -> Option<Rc<HandshakeFacts>> {
        each!(self, stream => stream.tls_facts())
    }

    /// The protocol spoken.
    pub fn version(&self) -> Version {
        match self {
            UpstreamStream::H1(_) => Version::Http11,
            UpstreamStream::H2(_) => Version::Http2,
        }
    }

    /// Whether the connection had served another exchange before, or was kept idle. If such a one ends with
    /// [`UpstreamReset::ConnectionTermination`] while [`UpstreamStream::response_started`] is false, the origin has
    /// most likely closed it while idle, and the request may be sent again if that is safe.
    pub fn is_reused(&self) -> bool {
        each!(self, stream => stream.is_reused())
    }

    /// Whether the host certainly did nothing with the request, so that it may be sent again whatever it is.
    pub fn is_unprocessed(&self) -> bool {
        match self {
            UpstreamStream::H1(_) => false,
            UpstreamStream::H2(stream) => stream.is_unprocessed(),
        }
    }

    /// Whether any byte of the response arrived.
    pub fn response_started(&self) -> bool {
        each!(self, stream => stream.response_started())
    }

    /// Bytes of this exchange on the wire so far, heads included: sent, received.
    pub fn wire_bytes(&self) -> (u64, u64) {
        each!(self, stream => stream.wire_bytes())
    }
}
