//! A client's side of streams: requests go out, responses come in.

use std::task::{Context, Poll};

use super::consume::receive_error;
use super::{Connection, StreamId};
use crate::buf::Chunk;
use crate::http::h2::error::{OpenError, StreamError};
use crate::http::h2::frame::{MAX_31_BITS, flag};
use crate::http::h2::message::encode_request;
use crate::http::h2::stream::{SendEnd, State, remember};
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, header};

/// A part of a response.
#[derive(Debug)]
pub enum ResponseEvent {
    /// An interim head (1xx); another head follows.
    Informational(ResponseHead),
    /// The head.
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

impl Connection {
    /// How many streams can be opened now. Zero for ever once the connection closes: then another one is needed.
    pub fn available_streams(&self) -> u32 {
        if self.is_server() || !self.closing.can_open() || self.next_stream > MAX_31_BITS {
            return 0;
        }
        let allowed = self.peer.max_concurrent_streams().min(self.settings.max_concurrent_streams);
        allowed.saturating_sub(self.open_streams)
    }

    /// Whether no stream will ever be opened any more.
    pub fn is_exhausted(&self) -> bool {
        !self.closing.can_open() || self.next_stream > MAX_31_BITS
    }

    /// Whether the peer offers extended CONNECT (RFC 8441).
    pub fn offers_extended_connect(&self) -> bool {
        self.peer.offers_extended_connect
    }

    /// Opens a stream with a request. `end_stream`: it has no body. Whoever gets the stream must [`Connection::release`] it.
    ///
    /// # Errors
    /// Nothing was sent.
    pub fn open(&mut self, head: &RequestHead, end_stream: bool) -> Result<StreamId, OpenError> {
        if self.ended().is_some() || self.next_stream > MAX_31_BITS || self.is_server() {
            return Err(OpenError::Over);
        }
        if !self.closing.can_open() {
            return Err(OpenError::Closing);
        }
        if self.available_streams() == 0 {
            return Err(OpenError::TooManyStreams);
        }
        if head.headers.contains(header::PROTOCOL) && !self.peer.offers_extended_connect {
            return Err(OpenError::ExtendedConnectNotOffered);
        }
        let id = self.next_stream;
        self.next_stream += 2;
        let window_bytes = self.settings.stream_window_bytes.into();
        let method = head.method();
        let stream = self.streams.insert(id);
        stream.receive.window_bytes = window_bytes;
        stream.receive.awaits_head = true;
        stream.receive.is_to_head = method == Method::Head;
        stream.receive.is_connect = method == Method::Connect;
        stream.send.head_sent = true;
        if end_stream {
            stream.state = State::HalfClosedLocal;
            stream.send.end = SendEnd::Plain;
        }
        self.open_streams += 1;
        let flags = if end_stream { flag::END_STREAM } else { 0 };
        self.send_headers(id, flags, |encoder, out| encode_request(head, encoder, out));
        Ok(StreamId(id))
    }

    /// The next part of the response; after its end only errors.
    ///
    /// # Errors
    /// The response will not become complete, or is.
    pub fn poll_response(
        &mut self,
        stream: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseEvent, StreamError>> {
        let id = stream.get();
        let is_server = self.is_server();
        let Some(stream) = self.streams.get_mut(id) else { return Poll::Ready(Err(StreamError::Closed)) };
        if let Some(error) = receive_error(stream, is_server) {
            return Poll::Ready(Err(error));
        }
        let receive = &mut stream.receive;
        let ends_with_data = receive.is_ended && receive.trailers.is_none();
        if let Some(head) = receive.interim_heads.pop_front() {
            return Poll::Ready(Ok(ResponseEvent::Informational(head)));
        }
        if let Some(head) = receive.head.take() {
            let end_stream = ends_with_data && receive.data.is_empty();
            receive.end_taken = end_stream;
            return Poll::Ready(Ok(ResponseEvent::Head { head, end_stream }));
        }
        if let Some(chunk) = receive.data.pop(usize::MAX) {
            let end_stream = ends_with_data && receive.data.is_empty();
            receive.end_taken = end_stream;
            self.data_taken(id, chunk.len());
            return Poll::Ready(Ok(ResponseEvent::Data { chunk, end_stream }));
        }
        if let Some(trailers) = receive.trailers.take() {
            receive.end_taken = true;
            return Poll::Ready(Ok(ResponseEvent::Trailers(trailers)));
        }
        if receive.end_taken {
            return Poll::Ready(Err(StreamError::Closed));
        }
        if receive.is_ended {
            receive.end_taken = true;
            return Poll::Ready(Ok(ResponseEvent::Data { chunk: Chunk::new(), end_stream: true }));
        }
        remember(&mut receive.waker, cx.waker());
        Poll::Pending
    }

    /// Whether anything of the response has come.
    pub fn response_started(&self, stream: StreamId) -> bool {
        self.streams.get(stream.get()).is_some_and(|stream| stream.receive.wire_bytes > 0)
    }

    /// As if all streams before this identifier had been used.
    #[cfg(test)]
    pub(in crate::http::h2) fn skip_streams_to(&mut self, id: u32) {
        self.next_stream = id;
    }
}
