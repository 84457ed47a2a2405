//! Received bytes to frames, which are read where they lie: only what a chunk breaks off is copied. DATA is passed on as it comes,
//! without waiting for the whole frame.

use super::{Connection, Role};
use crate::base::clock::Instant;
use crate::buf::{Chunk, recycle_vec, take_vec};
use crate::http::h2::error::ConnectionError;
use crate::http::h2::frame::{FrameHeader, HEADER_BYTES, Kind, MAX_PAYLOAD_BYTES, PREFACE, flag};

/// How far the input was read.
#[derive(Debug)]
pub(super) struct Input {
    /// Bytes of the client's preface that are still to come.
    preface_left: usize,
    /// The peer's SETTINGS came, with which it has to begin.
    has_settings: bool,
    /// The beginning of a frame. Never more than one frame; empty and without memory most of the time.
    partial: Vec<u8>,
    /// A DATA frame whose payload is still coming.
    data: Option<OpenData>,
}

/// A DATA frame of which more is to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenData {
    /// The stream, or zero if nobody wants it.
    pub stream: u32,
    pub left_bytes: usize,
    pub padding_bytes: usize,
    pub is_end: bool,
}

impl Input {
    pub(super) fn new(role: Role) -> Input {
        let preface_left = if role == Role::Server { PREFACE.len() } else { 0 };
        Input { preface_left, has_settings: false, partial: Vec::new(), data: None }
    }

    pub(super) fn has_settings(&self) -> bool {
        self.has_settings
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.partial.capacity()
    }
}

impl Connection {
    /// Takes received bytes. Tasks of streams that something came for are woken; new requests wait for
    /// [`Connection::next_request`].
    ///
    /// # Errors
    /// The connection is over: all streams have ended, and GOAWAY waits to be written. Every further call returns the same.
    pub fn receive(&mut self, chunk: Chunk, now: Instant) -> Result<(), ConnectionError> {
        if let Some(error) = self.end_error() {
            return Err(error);
        }
        let result = self.read(&chunk, now).and_then(|()| self.after_input());
        if let Err(error) = result {
            self.fail(error);
        }
        result
    }

    fn read(&mut self, chunk: &Chunk, now: Instant) -> Result<(), ConnectionError> {
        let mut at = self.read_preface(chunk)?;
        while at < chunk.len() {
            at += if let Some(open) = self.input.data {
                self.read_data(open, chunk, at)
            } else if self.input.partial.is_empty() {
                self.read_frame(&chunk[at..], now)?
            } else {
                self.complete_frame(&chunk[at..], now)?
            };
        }
        Ok(())
    }

    /// RFC 9113 section 3.4. Returns how many bytes belong to the preface.
    fn read_preface(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let expected = &PREFACE[PREFACE.len() - self.input.preface_left..];
        let count = expected.len().min(bytes.len());
        if bytes[..count] != expected[..count] {
            return Err(ConnectionError::BadPreface);
        }
        self.input.preface_left -= count;
        Ok(count)
    }

    /// Reads a frame at the beginning of `bytes`, or keeps its beginning. Returns how many bytes were used.
    #[inline]
    fn read_frame(&mut self, bytes: &[u8], now: Instant) -> Result<usize, ConnectionError> {
        let wanted = self.wanted_bytes(bytes)?;
        if wanted > bytes.len() {
            self.input.partial = take_vec();
            self.input.partial.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        self.on_wanted(&bytes[..wanted], now)?;
        Ok(wanted)
    }

    /// Adds to a frame that began in an earlier chunk. Returns how many bytes were used.
    fn complete_frame(&mut self, bytes: &[u8], now: Instant) -> Result<usize, ConnectionError> {
        let mut used = 0;
        loop {
            let wanted = self.wanted_bytes(&self.input.partial)?;
            let missing = wanted - self.input.partial.len();
            if missing == 0 {
                break;
            }
            let count = missing.min(bytes.len() - used);
            if count == 0 {
                return Ok(used);
            }
            self.input.partial.extend_from_slice(&bytes[used..used + count]);
            used += count;
        }
        let frame = std::mem::take(&mut self.input.partial);
        let result = self.on_wanted(&frame, now);
        recycle_vec(frame);
        result.map(|()| used)
    }

    /// How many bytes must be there before a frame that begins with `bytes` can be acted on: all of it, or of DATA what comes
    /// before the data.
    #[inline]
    fn wanted_bytes(&self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let Some(header) = bytes.first_chunk() else { return Ok(HEADER_BYTES) };
        let header = FrameHeader::read(header);
        if header.payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(ConnectionError::FrameSize);
        }
        if header.kind == Kind::DATA {
            if header.has(flag::PADDED) && header.payload_bytes == 0 {
                return Err(ConnectionError::FrameSize);
            }
            return Ok(HEADER_BYTES + usize::from(header.has(flag::PADDED)));
        }
        Ok(HEADER_BYTES + header.payload_bytes)
    }

    /// Acts on a frame, or on what of DATA comes before the data.
    #[inline]
    fn on_wanted(&mut self, bytes: &[u8], now: Instant) -> Result<(), ConnectionError> {
        let Some((header, payload)) = bytes.split_first_chunk() else { return Ok(()) };
        let header = FrameHeader::read(header);
        if !self.input.has_settings {
            if header.kind != Kind::SETTINGS || header.has(flag::ACK) {
                return Err(ConnectionError::Protocol("connection does not begin with SETTINGS"));
            }
            self.input.has_settings = true;
        }
        if let Some(block) = &self.block
            && (header.kind != Kind::CONTINUATION || header.stream != block.stream)
        {
            return Err(ConnectionError::Protocol("header block interrupted"));
        }
        match header.kind {
            Kind::DATA => {
                let padding = payload.first().copied().unwrap_or(0);
                self.input.data = self.begin_data(header, padding.into(), now)?;
                Ok(())
            }
            Kind::HEADERS => self.on_headers(header, payload, now),
            Kind::CONTINUATION => self.on_continuation(header, payload, now),
            Kind::WINDOW_UPDATE => self.on_window_update(header, payload, now),
            Kind::RST_STREAM => self.on_reset(header, payload, now),
            Kind::SETTINGS => self.on_settings(header, payload),
            Kind::PING => self.on_ping(header, payload),
            Kind::GOAWAY => self.on_goaway(header, payload),
            Kind::PRIORITY => self.on_priority(header, payload, now),
            Kind::METADATA => {
                let is_last = header.has(flag::END_HEADERS);
                self.guard.on_metadata(&self.settings.limits, payload.len(), is_last)
            }
            // Clients refuse promises by SETTINGS, and servers never get one.
            Kind::PUSH_PROMISE => Err(ConnectionError::Protocol("PUSH_PROMISE")),
            // RFC 9113 section 5.5: frames of unknown kinds are ignored.
            _ => Ok(()),
        }
    }

    /// Passes on what `chunk` has at `at` of a DATA frame. Returns how many bytes were used.
    fn read_data(&mut self, mut open: OpenData, chunk: &Chunk, at: usize) -> usize {
        let rest = chunk.len() - at;
        let data_bytes = open.left_bytes.min(rest);
        if data_bytes > 0 {
            self.take_data(open.stream, chunk, at, data_bytes);
            open.left_bytes -= data_bytes;
        }
        let padding_bytes = open.padding_bytes.min(rest - data_bytes);
        open.padding_bytes -= padding_bytes;
        self.input.data = Some(open);
        if open.left_bytes == 0 && open.padding_bytes == 0 {
            self.input.data = None;
            self.end_data(open);
        }
        data_bytes + padding_bytes
    }

    /// After each call of `receive`: answers that pile up because the peer does not read them end the connection.
    fn after_input(&mut self) -> Result<(), ConnectionError> {
        self.resume_streams()?;
        let limits = &self.settings.limits;
        if self.queued_control_frames > limits.max_outbound_control_frames {
            return Err(ConnectionError::OutboundControlFlood);
        }
        if self.queued_frames > limits.max_outbound_frames {
            return Err(ConnectionError::OutboundFlood);
        }
        Ok(())
    }
}
