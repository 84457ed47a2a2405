//! A server's side of streams: requests come in, responses go out.

use std::collections::VecDeque;

use super::{Connection, StreamId};
use crate::base::clock::Instant;
use crate::http::h2::error::{HeaderOverflow, StreamError};
use crate::http::h2::frame::flag;
use crate::http::h2::message::encode_response;
use crate::http::h2::stream::SendEnd;
use crate::http::{RequestHead, ResponseHead};

/// A request that a client has begun.
#[derive(Debug)]
pub struct IncomingRequest {
    /// Its stream. Whoever takes the request must [`Connection::release`] it.
    pub stream: StreamId,
    /// Its head: complete and checked, unless there is an overflow. An extended CONNECT has `:protocol`.
    pub head: RequestHead,
    /// It has no body.
    pub end_stream: bool,
    /// The head exceeds a limit, and has only the fields up to there, none of them checked together. To be answered with 431,
    /// or refused ([`Connection::refuse`]), as Envoy does.
    pub overflow: Option<HeaderOverflow>,
}

/// Places for requests that are kept between bursts.
const KEPT_REQUESTS: usize = 64;

impl Connection {
    /// The next request that has come, oldest first.
    pub fn next_request(&mut self) -> Option<IncomingRequest> {
        let request = self.incoming.pop_front();
        // Room for a burst is not kept for ever.
        if self.incoming.is_empty() && self.incoming.capacity() > KEPT_REQUESTS {
            self.incoming = VecDeque::new();
        }
        request
    }

    /// Sends an interim response (1xx).
    pub fn send_informational(&mut self, stream: StreamId, head: &ResponseHead) {
        self.send_response_head(stream, head, false);
    }

    /// Sends the head of the response. `end_stream`: it has no body.
    pub fn send_response(&mut self, stream: StreamId, head: &ResponseHead, end_stream: bool) {
        self.send_response_head(stream, head, end_stream);
    }

    /// Resets a stream whose head exceeds a limit ([`IncomingRequest::overflow`]): a mistake of the client's.
    pub fn refuse(&mut self, stream: StreamId, overflow: HeaderOverflow, now: Instant) {
        if let Err(error) = self.stream_error(stream.get(), StreamError::HeadersTooLarge(overflow), now) {
            self.fail(error);
        }
    }

    fn send_response_head(&mut self, stream: StreamId, head: &ResponseHead, end_stream: bool) {
        let id = stream.get();
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.is_sending()) else { return };
        if stream.send.head_sent {
            return;
        }
        let is_interim = head.status() < 200;
        stream.send.head_sent = !is_interim;
        stream.is_tunnel = stream.receive.is_connect && (200..300).contains(&head.status());
        let end_stream = end_stream && !is_interim;
        if end_stream {
            stream.send.end = SendEnd::Plain;
        }
        let flags = if end_stream { flag::END_STREAM } else { 0 };
        self.send_headers(id, flags, |encoder, out| encode_response(head, encoder, out));
        if end_stream {
            self.on_local_end(id);
        }
    }

    /// The stream that a peer opens first.
    #[cfg(test)]
    pub(in crate::http::h2) fn first_stream(&self) -> StreamId {
        StreamId(1)
    }
}
