//! What users of streams send: data and its end, resets; and letting go of streams.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use super::{Connection, StreamId, writable};
use crate::buf::Chunk;
use crate::http::HeaderMap;
use crate::http::h2::error::{ErrorCode, StreamError};
use crate::http::h2::frame::{self, HEADER_BYTES, Kind, MAX_PAYLOAD_BYTES, flag};
use crate::http::h2::hpack::Encoder;
use crate::http::h2::message::encode_trailers;
use crate::http::h2::stream::{SendEnd, State, remember};

/// Streams that were reset by this side lately: what the peer sends on them was sent before it knew.
#[derive(Debug, Default)]
pub(super) struct RecentResets {
    ids: VecDeque<u32>,
    /// The largest identifier that was forgotten.
    forgotten: u32,
}

/// Resets that are remembered exactly.
const REMEMBERED_RESETS: usize = 32;

impl RecentResets {
    pub(super) fn add(&mut self, id: u32) {
        if self.ids.len() == REMEMBERED_RESETS
            && let Some(oldest) = self.ids.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.ids.push_back(id);
    }

    /// Whether the stream was reset, or it is not known.
    pub(super) fn may_contain(&self, id: u32) -> bool {
        id <= self.forgotten || self.ids.contains(&id)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<u32>()
    }
}

impl Connection {
    /// Ready while less than `stream_send_buffer_bytes` are queued on the stream; once more is, when half of that is left.
    ///
    /// # Errors
    /// The stream takes no more data.
    pub fn poll_send_ready(
        &mut self,
        stream: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        let limit_bytes = self.settings.stream_send_buffer_bytes as usize;
        let Some(stream) = self.streams.get_mut(stream.0) else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        if stream.send.data.len_bytes() < limit_bytes {
            return Poll::Ready(Ok(()));
        }
        remember(&mut stream.send.waker, cx.waker());
        Poll::Pending
    }

    /// Ready when everything that was sent on the stream is written.
    ///
    /// # Errors
    /// It will not be written.
    pub fn poll_flushed(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(stream) = self.streams.get_mut(stream.0) else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        if let Some(error) = stream.error {
            return Poll::Ready(Err(error));
        }
        let is_ended = matches!(stream.send.end, SendEnd::NotYet) || !stream.state.can_send();
        if stream.send.data.is_empty() && is_ended {
            return Poll::Ready(Ok(()));
        }
        remember(&mut stream.send.waker, cx.waker());
        Poll::Pending
    }

    /// Bytes that wait to be written on the stream.
    pub fn queued_bytes(&self, stream: StreamId) -> usize {
        self.streams.get(stream.0).map_or(0, |stream| stream.send.data.len_bytes())
    }

    /// Queues some of the body. `end_stream`: it is the last. Dropped if the stream takes no more.
    pub fn send_data(&mut self, stream: StreamId, chunk: Chunk, end_stream: bool) {
        let id = stream.0;
        let initial = i64::from(self.peer.initial_window_bytes);
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.takes_data()) else { return };
        let send = &mut stream.send;
        let may_stay = self.send_window_bytes <= 0 || initial + send.credit_bytes <= 0;
        send.data.push(chunk, may_stay);
        if !send.data.is_empty() {
            if end_stream {
                send.end = SendEnd::Plain;
            }
            self.make_ready(id);
        } else if end_stream {
            send.end = SendEnd::Plain;
            send.wire_bytes += HEADER_BYTES as u64;
            frame::put_header(0, Kind::DATA, flag::END_STREAM, id, writable(&mut self.control));
            self.guard.on_data_sent();
            self.queued_frames += 1;
            self.on_local_end(id);
            self.output_queued();
        }
    }

    /// Ends the body. Does nothing if it has ended.
    pub fn send_end(&mut self, stream: StreamId) {
        self.send_data(stream, Chunk::new(), true);
    }

    /// Ends the body with trailers; without any if there are none in the map.
    pub fn send_trailers(&mut self, stream: StreamId, trailers: &HeaderMap) {
        let id = stream.0;
        if trailers.iter_without_pseudo().next().is_none() {
            return self.send_end(stream);
        }
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.takes_data()) else { return };
        if stream.send.data.is_empty() {
            stream.send.end = SendEnd::Plain;
            self.send_headers(id, flag::END_STREAM, |encoder, out| encode_trailers(trailers, encoder, out));
            self.on_local_end(id);
        } else {
            stream.send.end = SendEnd::Trailers(trailers.clone());
        }
    }

    /// Resets the stream with this code, unless it is complete. What was received or queued is dropped.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        let is_open = self.streams.get(stream.0).is_some_and(|stream| stream.state != State::Closed);
        if is_open {
            self.send_reset(stream.0, code);
            self.close_stream(stream.0, StreamError::Local(code));
            if self.is_server() {
                self.guard.on_stream_end();
            }
        }
    }

    /// Lets go of a stream: its user calls nothing more on it. What was sent is still written. A stream that is not complete is
    /// reset: by a client, which has no more use for the response; by a server that has ended its response, which has no
    /// use for the rest of the request (RFC 9113 section 8.1), and by one that has not, as failed.
    pub fn release(&mut self, stream: StreamId) {
        let id = stream.0;
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.is_released = true;
        stream.receive.waker = None;
        stream.send.waker = None;
        let held_bytes = stream.receive.data.len_bytes();
        stream.receive.data.clear();
        let (state, is_ending) = (stream.state, !matches!(stream.send.end, SendEnd::NotYet));
        if held_bytes > 0 {
            self.data_taken(id, held_bytes);
        }
        match state {
            State::Closed => self.streams.remove(id),
            State::Open | State::HalfClosedRemote if self.is_server() && is_ending => {}
            State::Open | State::HalfClosedLocal | State::HalfClosedRemote => self.abandon(id),
        }
    }

    /// Resets the responses that were let go and cannot be written because the peer does not open its window, if nothing
    /// was written of them since before the last `checks` calls. To be called now and then; how many there were.
    pub fn reset_unread_responses(&mut self, checks: u32) -> u64 {
        let mut unread = Vec::new();
        for (id, stream) in self.streams.iter_mut() {
            if !stream.is_released || !stream.state.can_send() {
                continue;
            }
            if u32::from(stream.send.idle_checks) >= checks {
                unread.push(id);
            }
            stream.send.idle_checks = stream.send.idle_checks.saturating_add(1);
        }
        unread.iter().for_each(|id| self.reset(StreamId(*id), ErrorCode::CANCEL));
        unread.len() as u64
    }

    /// Resets a stream that was let go before it was complete.
    pub(super) fn abandon(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        let code = match (self.is_server(), stream.state) {
            (false, _) => ErrorCode::CANCEL,
            (true, State::HalfClosedLocal) => ErrorCode::NO_ERROR,
            (true, _) => ErrorCode::INTERNAL_ERROR,
        };
        self.reset(StreamId(id), code);
    }

    /// Bytes of the stream's frames so far: received, sent. What waits to be written counts as sent, trailers excepted: how
    /// large they are is known when they are written.
    pub fn wire_bytes(&self, stream: StreamId) -> (u64, u64) {
        let Some(stream) = self.streams.get(stream.0) else { return (0, 0) };
        let waiting_bytes = stream.send.data.len_bytes();
        let frames = waiting_bytes.div_ceil(MAX_PAYLOAD_BYTES);
        let waiting_bytes = (waiting_bytes + frames * HEADER_BYTES) as u64;
        (stream.receive.wire_bytes, stream.send.wire_bytes + waiting_bytes)
    }

    /// Appends HEADERS, with a block that `fill` writes.
    #[inline]
    pub(super) fn send_headers(&mut self, id: u32, flags: u8, fill: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let (encoder, control) = (&mut self.encoder, writable(&mut self.control));
        let before = control.len();
        self.queued_frames += frame::put_headers(flags, id, control, |out| fill(encoder, out));
        let written = control.len() - before;
        if let Some(stream) = self.streams.get_mut(id) {
            stream.send.wire_bytes += written as u64;
        }
        self.output_queued();
    }
}
