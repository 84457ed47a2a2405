//! HEADERS and CONTINUATION (RFC 9113 sections 4.3, 6.2, 6.10): which message a block belongs to, and what becomes of it.
//!
//! Fields are decoded as their frames arrive and kept only within the limits. A block that goes on far beyond them is not read
//! to its end: the connection is ended instead.

use super::requests::IncomingRequest;
use super::{Connection, Role, StreamId};
use crate::base::clock::Instant;
use crate::buf::{recycle_vec, take_vec};
use crate::http::Method;
use crate::http::h2::error::{ConnectionError, ErrorCode, HeaderOverflow, InvalidMessage, StreamError};
use crate::http::h2::frame::{self, FrameHeader, HEADER_BYTES, flag};
use crate::http::h2::message::{HeaderBlock, HeaderLimits, HeaderProblem, IncomingHead, MessageKind};
use crate::http::h2::stream::{State, wake};

/// A header block of which frames are still to come.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub stream: u32,
    end_stream: bool,
    fields: HeaderBlock,
    kind: MessageKind,
    /// The beginning of a field.
    rest: Vec<u8>,
    continuation_frames: u32,
    wire_bytes: u64,
}

impl OpenBlock {
    pub(super) fn heap_bytes(&self) -> usize {
        self.rest.capacity()
    }
}

/// A block may exceed its limits so many times before the connection is ended: what follows the limit is only decoded, to
/// keep the tables equal and be able to answer.
const OVERFLOW_GRACE: u64 = 4;
/// Bytes by which a single field may exceed the limit of all.
const FIELD_GRACE_BYTES: usize = 16_384;

impl Connection {
    pub(super) fn on_headers(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let fragment = strip_padding_and_priority(header, payload)?;
        let end_stream = header.has(flag::END_STREAM);
        self.guard.on_content_frame(&self.settings.limits, fragment.is_empty() && !end_stream)?;
        let kind = self.expected_message(header.stream, now)?;
        let mut fields = HeaderBlock::new(kind);
        let is_last = header.has(flag::END_HEADERS);
        let used = self.decode(fragment, is_last, &mut fields)?;
        let wire_bytes = (HEADER_BYTES + payload.len()) as u64;
        if is_last {
            return self.end_block(header.stream, kind, fields, end_stream, wire_bytes, now);
        }
        let mut rest = take_vec();
        rest.extend_from_slice(&fragment[used..]);
        let (stream, continuation_frames) = (header.stream, 0);
        let block = OpenBlock { stream, end_stream, fields, kind, rest, continuation_frames, wire_bytes };
        self.block = Some(Box::new(block));
        Ok(())
    }

    pub(super) fn on_continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let Some(mut block) = self.block.take() else {
            return Err(ConnectionError::Protocol("CONTINUATION without HEADERS"));
        };
        self.guard.on_content_frame(&self.settings.limits, payload.is_empty())?;
        block.continuation_frames += 1;
        if block.continuation_frames > self.settings.limits.max_continuation_frames {
            return Err(ConnectionError::ContinuationFlood);
        }
        block.wire_bytes += (HEADER_BYTES + payload.len()) as u64;
        block.rest.extend_from_slice(payload);
        let is_last = header.has(flag::END_HEADERS);
        let used = self.decode(&block.rest, is_last, &mut block.fields)?;
        if !is_last {
            block.rest.drain(..used);
            if block.rest.len() > self.settings.max_header_bytes as usize + FIELD_GRACE_BYTES {
                return Err(ConnectionError::HeaderBlockTooLarge);
            }
            self.block = Some(block);
            return Ok(());
        }
        let OpenBlock { stream, end_stream, fields, kind, rest, wire_bytes, .. } = *block;
        recycle_vec(rest);
        self.end_block(stream, kind, fields, end_stream, wire_bytes, now)
    }

    /// Decodes a part of a block. Returns how many bytes of it were used.
    #[inline]
    fn decode(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        fields: &mut HeaderBlock,
    ) -> Result<usize, ConnectionError> {
        let limits = HeaderLimits {
            max_bytes: self.settings.max_header_bytes,
            max_count: self.settings.max_header_count,
        };
        let used = self.decoder.decode(bytes, is_last, |field| fields.push(field, limits))?;
        let is_far_beyond = fields.bytes() > OVERFLOW_GRACE * u64::from(limits.max_bytes)
            || fields.count() > OVERFLOW_GRACE * u64::from(limits.max_count);
        if is_far_beyond { Err(ConnectionError::HeaderBlockTooLarge) } else { Ok(used) }
    }

    /// What a block on this stream must be.
    fn expected_message(&mut self, id: u32, now: Instant) -> Result<MessageKind, ConnectionError> {
        // RFC 9113 section 5.1.1: clients use odd identifiers, and servers open no streams.
        if id.is_multiple_of(2) {
            return Err(ConnectionError::Protocol("HEADERS on an even stream"));
        }
        if let Some(stream) = self.streams.get_mut(id) {
            if !stream.state.can_receive() {
                if stream.error.is_none() {
                    self.stream_error(id, StreamError::Protocol(ErrorCode::STREAM_CLOSED), now)?;
                }
                return Ok(MessageKind::Discarded);
            }
            if stream.is_tunnel {
                self.stream_error(id, StreamError::Protocol(ErrorCode::PROTOCOL_ERROR), now)?;
                return Ok(MessageKind::Discarded);
            }
            return Ok(match self.role {
                Role::Client if stream.receive.awaits_head => MessageKind::Response,
                _ => MessageKind::Trailers,
            });
        }
        match self.role {
            Role::Client if self.is_idle_stream(id) => {
                Err(ConnectionError::Protocol("HEADERS on an idle stream"))
            }
            Role::Client => {
                self.on_late_frame(id);
                Ok(MessageKind::Discarded)
            }
            Role::Server if self.is_idle_stream(id) => self.expected_request(id, now),
            // RFC 9113 section 6.8: streams beyond the one that GOAWAY named are ignored.
            Role::Server if self.closing.refuses(id) || self.resets.may_contain(id) => {
                Ok(MessageKind::Discarded)
            }
            Role::Server => Err(ConnectionError::Protocol("stream identifier used again")),
        }
    }

    /// A client opens a stream.
    fn expected_request(&mut self, id: u32, now: Instant) -> Result<MessageKind, ConnectionError> {
        self.last_peer_stream = id;
        let max_streams = self.settings.max_concurrent_streams;
        // Closed streams that are still in use count, too, so that their number has a bound.
        if self.open_streams >= max_streams || self.streams.len() >= 2 * max_streams as usize {
            self.counts.stream_refused_errors += 1;
            self.send_reset(id, ErrorCode::REFUSED_STREAM);
            if self.is_settings_acknowledged() {
                self.guard.on_early_reset(&self.settings.limits, now, now)?;
            }
            return Ok(MessageKind::Discarded);
        }
        Ok(MessageKind::Request { extended_connect: self.settings.allow_extended_connect })
    }

    /// A block is complete.
    fn end_block(
        &mut self,
        id: u32,
        kind: MessageKind,
        fields: HeaderBlock,
        end_stream: bool,
        wire_bytes: u64,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        match kind {
            MessageKind::Request { .. } => self.end_request_head(id, fields, end_stream, wire_bytes, now),
            MessageKind::Response => self.end_response_head(id, fields, end_stream, wire_bytes, now),
            MessageKind::Trailers => self.end_trailers(id, fields, end_stream, wire_bytes, now),
            MessageKind::Discarded => Ok(()),
        }
    }

    fn end_request_head(
        &mut self,
        id: u32,
        fields: HeaderBlock,
        end_stream: bool,
        wire_bytes: u64,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let (head, content_length, overflow) = match fields.into_request(end_stream) {
            Ok(IncomingHead { head, content_length }) => (head, content_length, None),
            Err((HeaderProblem::Overflow(overflow), head)) => (head, None, Some(overflow)),
            Err((HeaderProblem::Invalid(invalid), _)) => {
                self.check_invalid(invalid)?;
                self.send_reset(id, ErrorCode::PROTOCOL_ERROR);
                return self.guard.on_early_reset(&self.settings.limits, now, now);
            }
        };
        if let Some(overflow) = overflow {
            self.count_overflow(overflow);
        }
        let window_bytes = self.settings.stream_window_bytes.into();
        let stream = self.streams.insert(id);
        stream.state = if end_stream { State::HalfClosedRemote } else { State::Open };
        stream.opened = now;
        stream.receive.window_bytes = window_bytes;
        stream.receive.content_left = content_length;
        stream.receive.is_ended = end_stream;
        stream.receive.wire_bytes = wire_bytes;
        stream.receive.is_connect = head.method() == Method::Connect;
        self.open_streams += 1;
        self.incoming.push_back(IncomingRequest { stream: StreamId(id), head, end_stream, overflow });
        Ok(())
    }

    fn end_response_head(
        &mut self,
        id: u32,
        fields: HeaderBlock,
        end_stream: bool,
        wire_bytes: u64,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        let receive = &mut stream.receive;
        receive.wire_bytes += wire_bytes;
        match fields.into_response(end_stream, receive.is_to_head, receive.is_connect) {
            Ok(IncomingHead { head, .. }) if head.is_interim() => {
                if receive.interim_heads.len() >= self.settings.limits.max_unread_interim_heads as usize {
                    return self.stream_error(id, StreamError::Protocol(ErrorCode::ENHANCE_YOUR_CALM), now);
                }
                receive.interim_heads.push_back(head);
            }
            Ok(IncomingHead { head, content_length }) => {
                stream.is_tunnel = receive.is_connect && (200..300).contains(&head.status());
                receive.head = Some(head);
                receive.awaits_head = false;
                receive.content_left = content_length;
                if end_stream {
                    // A length there may be of a body that is not sent was judged with the head.
                    receive.content_left = None;
                    self.on_remote_end(id);
                    return Ok(());
                }
            }
            Err(problem) => return self.on_problem(id, problem, now),
        }
        wake(&mut stream.receive.waker);
        Ok(())
    }

    fn end_trailers(
        &mut self,
        id: u32,
        fields: HeaderBlock,
        end_stream: bool,
        wire_bytes: u64,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        // Envoy's statistic is about requests.
        self.counts.trailers += u64::from(self.is_server());
        let trailers = if end_stream {
            fields.into_trailers()
        } else {
            Err(HeaderProblem::Invalid(InvalidMessage::Sequence))
        };
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        stream.receive.wire_bytes += wire_bytes;
        match trailers {
            Ok(_) if stream.receive.content_left.is_some_and(|left| left > 0) => {
                self.stream_error(id, StreamError::InvalidMessage(InvalidMessage::BodyLength), now)
            }
            Ok(trailers) => {
                if !trailers.is_empty() {
                    stream.receive.trailers = Some(trailers);
                }
                self.on_remote_end(id);
                Ok(())
            }
            Err(problem) => self.on_problem(id, problem, now),
        }
    }

    /// A stream that is known got a head, or trailers, that are none.
    fn on_problem(&mut self, id: u32, problem: HeaderProblem, now: Instant) -> Result<(), ConnectionError> {
        match problem {
            HeaderProblem::Invalid(invalid) => {
                if !self.settings.stream_error_on_invalid_message {
                    return Err(invalid.into());
                }
                self.stream_error(id, StreamError::InvalidMessage(invalid), now)
            }
            HeaderProblem::Overflow(overflow) => {
                self.count_overflow(overflow);
                self.stream_error(id, StreamError::HeadersTooLarge(overflow), now)
            }
        }
    }

    /// An error if a malformed message ends the connection; else it is counted.
    fn check_invalid(&mut self, invalid: InvalidMessage) -> Result<(), ConnectionError> {
        if !self.settings.stream_error_on_invalid_message {
            return Err(invalid.into());
        }
        self.counts.rx_messaging_error += 1;
        Ok(())
    }

    fn count_overflow(&mut self, overflow: HeaderOverflow) {
        match overflow {
            HeaderOverflow::Bytes => self.counts.header_list_size_too_large += 1,
            HeaderOverflow::Count => self.counts.header_overflow += 1,
        }
    }
}

/// The part of a header block in a HEADERS frame (RFC 9113 section 6.2).
fn strip_padding_and_priority(header: FrameHeader, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    let mut fragment = payload;
    if header.has(flag::PADDED) {
        let Some((&padding, rest)) = fragment.split_first() else { return Err(ConnectionError::FrameSize) };
        let kept = rest.len().checked_sub(padding.into());
        fragment = &rest[..kept.ok_or(ConnectionError::Protocol("more padding than payload"))?];
    }
    if header.has(flag::PRIORITY) {
        fragment = fragment.get(frame::PRIORITY_BYTES..).ok_or(ConnectionError::FrameSize)?;
    }
    Ok(fragment)
}
