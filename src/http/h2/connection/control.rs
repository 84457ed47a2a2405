//! Frames about the connection and about streams as a whole (RFC 9113 sections 6.3 to 6.9).

use super::{Connection, writable};
use crate::base::clock::Instant;
use crate::http::h2::error::{ConnectionError, ErrorCode, StreamError};
use crate::http::h2::frame::{self, DEFAULT_WINDOW_BYTES, FrameHeader, MAX_31_BITS, flag, setting};

/// What the peer announced.
#[derive(Debug)]
pub(super) struct PeerSettings {
    has_come: bool,
    max_concurrent_streams: Option<u32>,
    pub initial_window_bytes: u32,
    pub offers_extended_connect: bool,
    /// The initial window changed, which streams have not been checked against yet.
    window_changed: bool,
}

impl Default for PeerSettings {
    fn default() -> PeerSettings {
        PeerSettings {
            has_come: false,
            max_concurrent_streams: None,
            initial_window_bytes: DEFAULT_WINDOW_BYTES,
            offers_extended_connect: false,
            window_changed: false,
        }
    }
}

impl PeerSettings {
    /// Streams that it lets us open. Until its SETTINGS are here, the number that RFC 9113 section 6.5.2 recommends at least.
    pub(super) fn max_concurrent_streams(&self) -> u32 {
        match (self.max_concurrent_streams, self.has_come) {
            (Some(count), _) => count,
            (None, true) => u32::MAX,
            (None, false) => 100,
        }
    }
}

const MIN_MAX_FRAME_SIZE: u32 = 16_384;
const MAX_MAX_FRAME_SIZE: u32 = (1 << 24) - 1;

impl Connection {
    /// RFC 9113 section 6.5.
    pub(super) fn on_settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), ConnectionError> {
        if header.stream != 0 {
            return Err(ConnectionError::Protocol("SETTINGS on a stream"));
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if header.has(flag::ACK) {
            return self.on_settings_ack(payload);
        }
        if !rest.is_empty() {
            return Err(ConnectionError::FrameSize);
        }
        for [id_high, id_low, value @ ..] in settings {
            self.on_setting(u16::from_be_bytes([*id_high, *id_low]), u32::from_be_bytes(*value))?;
        }
        self.peer.has_come = true;
        frame::put_settings_ack(writable(&mut self.control));
        self.control_queued();
        Ok(())
    }

    fn on_settings_ack(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        if !payload.is_empty() {
            return Err(ConnectionError::FrameSize);
        }
        if self.unacknowledged_settings == 0 {
            return Err(ConnectionError::Protocol("unexpected acknowledgement of SETTINGS"));
        }
        self.unacknowledged_settings -= 1;
        self.decoder.set_limit(self.settings.header_table_bytes as usize);
        Ok(())
    }

    fn on_setting(&mut self, id: u16, value: u32) -> Result<(), ConnectionError> {
        match id {
            setting::HEADER_TABLE_SIZE => self.encoder.set_peer_limit(value as usize),
            setting::ENABLE_PUSH if value > 1 || (value == 1 && !self.is_server()) => {
                return Err(ConnectionError::Protocol("invalid SETTINGS_ENABLE_PUSH"));
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.max_concurrent_streams = Some(value),
            setting::INITIAL_WINDOW_SIZE => {
                if value > MAX_31_BITS {
                    return Err(ConnectionError::FlowControl);
                }
                self.peer.window_changed |= value != self.peer.initial_window_bytes;
                self.peer.initial_window_bytes = value;
            }
            setting::MAX_FRAME_SIZE if !(MIN_MAX_FRAME_SIZE..=MAX_MAX_FRAME_SIZE).contains(&value) => {
                return Err(ConnectionError::Protocol("invalid SETTINGS_MAX_FRAME_SIZE"));
            }
            setting::ENABLE_CONNECT_PROTOCOL => {
                // RFC 8441 section 3: what was offered cannot be taken back.
                if value > 1 || (value == 0 && self.peer.offers_extended_connect) {
                    return Err(ConnectionError::Protocol("invalid SETTINGS_ENABLE_CONNECT_PROTOCOL"));
                }
                self.peer.offers_extended_connect = value == 1;
            }
            // We send frames of the smallest maximum. A limit of the header list is advice, which the origin's or
            // client's own answer makes superfluous. Unknown settings are ignored (RFC 9113 section 6.5.2).
            _ => {}
        }
        Ok(())
    }

    /// After each call of `receive`: a change of the initial window concerns all streams (RFC 9113 section 6.9.2). It is looked
    /// at once a call, so that many changes at once cost no more than one.
    pub(super) fn resume_streams(&mut self) -> Result<(), ConnectionError> {
        if !std::mem::take(&mut self.peer.window_changed) {
            return Ok(());
        }
        let initial = i64::from(self.peer.initial_window_bytes);
        for (id, stream) in self.streams.iter_mut() {
            let window = initial + stream.send.credit_bytes;
            if window > MAX_31_BITS.into() {
                return Err(ConnectionError::FlowControl);
            }
            if window > 0 && !stream.send.data.is_empty() && !stream.send.is_ready {
                stream.send.is_ready = true;
                self.ready.push_back(id);
            }
        }
        self.output_queued();
        Ok(())
    }

    /// RFC 9113 section 6.9.
    #[inline]
    pub(super) fn on_window_update(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let increment = i64::from(read_u32(payload)? & MAX_31_BITS);
        self.guard.on_window_update(&self.settings.limits, self.open_streams)?;
        let id = header.stream;
        if id == 0 {
            if increment == 0 {
                return Err(ConnectionError::Protocol("WINDOW_UPDATE by nothing"));
            }
            self.send_window_bytes += increment;
            if self.send_window_bytes > MAX_31_BITS.into() {
                return Err(ConnectionError::FlowControl);
            }
            self.output_queued();
            return Ok(());
        }
        let initial = i64::from(self.peer.initial_window_bytes);
        let Some(stream) = self.streams.get_mut(id) else {
            if self.is_idle_stream(id) {
                return Err(ConnectionError::Protocol("WINDOW_UPDATE on an idle stream"));
            }
            return Ok(());
        };
        if stream.error.is_some() {
            return Ok(());
        }
        let window = initial + stream.send.credit_bytes + increment;
        if increment == 0 {
            return self.stream_error(id, StreamError::Protocol(ErrorCode::PROTOCOL_ERROR), now);
        }
        if window > MAX_31_BITS.into() {
            return self.stream_error(id, StreamError::Protocol(ErrorCode::FLOW_CONTROL_ERROR), now);
        }
        stream.send.credit_bytes += increment;
        self.make_ready(id);
        Ok(())
    }

    /// RFC 9113 section 6.4.
    pub(super) fn on_reset(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let code = ErrorCode(read_u32(payload)?);
        let id = header.stream;
        if id == 0 || self.is_idle_stream(id) {
            return Err(ConnectionError::Protocol("RST_STREAM on an idle stream"));
        }
        if self.is_server() {
            self.guard.on_reset(&self.settings.limits, now)?;
        }
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        if stream.error.is_some() {
            return Ok(());
        }
        let is_early = !stream.send.head_sent;
        let opened = stream.opened;
        self.counts.rx_reset += 1;
        let is_refusal = code == ErrorCode::REFUSED_STREAM && !self.is_server();
        self.close_stream(id, if is_refusal { StreamError::Refused } else { StreamError::Reset(code) });
        match (self.is_server(), is_early) {
            (true, true) => self.guard.on_early_reset(&self.settings.limits, opened, now),
            (true, false) => {
                self.guard.on_stream_end();
                Ok(())
            }
            (false, _) => Ok(()),
        }
    }

    /// RFC 9113 section 6.7.
    pub(super) fn on_ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), ConnectionError> {
        let payload = <[u8; 8]>::try_from(payload).map_err(|_| ConnectionError::FrameSize)?;
        if header.stream != 0 {
            return Err(ConnectionError::Protocol("PING on a stream"));
        }
        if header.has(flag::ACK) {
            if payload == self.pings_sent.to_be_bytes() {
                self.ping_outstanding = false;
            }
            return Ok(());
        }
        frame::put_ping(payload, true, writable(&mut self.control));
        self.control_queued();
        Ok(())
    }

    /// RFC 9113 section 6.8.
    pub(super) fn on_goaway(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), ConnectionError> {
        let Some((fixed, _debug_data)) = payload.split_first_chunk::<8>() else {
            return Err(ConnectionError::FrameSize);
        };
        if header.stream != 0 {
            return Err(ConnectionError::Protocol("GOAWAY on a stream"));
        }
        let last_stream = read_u32(&fixed[..4])? & MAX_31_BITS;
        self.on_peer_closing(last_stream, ErrorCode(read_u32(&fixed[4..])?))
    }

    /// RFC 9113 section 6.3. What it says is obsolete and ignored (section 5.3).
    pub(super) fn on_priority(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::Protocol("PRIORITY on stream 0"));
        }
        self.guard.on_priority(&self.settings.limits, self.open_streams)?;
        if payload.len() == frame::PRIORITY_BYTES {
            return Ok(());
        }
        // An error of the stream; one that does not exist cannot be reset.
        match self.streams.get(header.stream) {
            Some(stream) if stream.error.is_none() => {
                self.stream_error(header.stream, StreamError::Protocol(ErrorCode::FRAME_SIZE_ERROR), now)
            }
            Some(_) => Ok(()),
            None => Err(ConnectionError::FrameSize),
        }
    }
}

fn read_u32(payload: &[u8]) -> Result<u32, ConnectionError> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| ConnectionError::FrameSize)
}
