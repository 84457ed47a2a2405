//! Received data and the windows it is received into (RFC 9113 sections 5.2, 6.1, 6.9).
//!
//! A stream's window is opened again as its user takes data. The connection's is opened as data arrives, while less than one
//! such window waits to be taken on all streams together, and beyond that as data is taken. So a stalled stream does
//! not stall the others, which always have the whole window, until stalled ones hold that much; and a connection never
//! holds more than twice its window. Updates are sent when half a window can be opened.

use super::input::OpenData;
use super::{Connection, writable};
use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::http::h2::data_queue::{COPY_MAX_BYTES, HALF_BLOCK_BYTES};
use crate::http::h2::error::{ConnectionError, ErrorCode, InvalidMessage, StreamError};
use crate::http::h2::frame::{self, FrameHeader, HEADER_BYTES, flag};
use crate::http::h2::stream::wake;

/// While a connection holds less than this, pieces of received blocks wait as they came. More means that somebody does not keep
/// up: then pieces that are the lesser part of their block are copied out of it.
const UNCOPIED_HELD_BYTES: usize = 256 * 1024;

impl Connection {
    /// The beginning of a DATA frame: everything is accounted here. Its payload follows, unless there is none.
    pub(super) fn begin_data(
        &mut self,
        header: FrameHeader,
        padding_bytes: usize,
        now: Instant,
    ) -> Result<Option<OpenData>, ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::Protocol("DATA on stream 0"));
        }
        let length_bytes = usize::from(header.has(flag::PADDED));
        let data_bytes = (header.payload_bytes - length_bytes)
            .checked_sub(padding_bytes)
            .ok_or(ConnectionError::Protocol("more padding than payload"))?;
        let is_end = header.has(flag::END_STREAM);
        self.guard.on_content_frame(&self.settings.limits, data_bytes == 0 && !is_end)?;
        self.receive_window_bytes -= header.payload_bytes as i64;
        if self.receive_window_bytes < 0 {
            return Err(ConnectionError::FlowControl);
        }
        let stream = self.accept_data(header, data_bytes, is_end, now)?;
        let open = OpenData { stream, left_bytes: data_bytes, padding_bytes, is_end };
        if data_bytes == 0 && padding_bytes == 0 {
            self.end_data(open);
            return Ok(None);
        }
        Ok(Some(open))
    }

    /// The stream that takes the data, or zero: then it is only read.
    fn accept_data(
        &mut self,
        header: FrameHeader,
        data_bytes: usize,
        is_end: bool,
        now: Instant,
    ) -> Result<u32, ConnectionError> {
        let id = header.stream;
        let Some(stream) = self.streams.get_mut(id) else {
            if self.is_idle_stream(id) {
                return Err(ConnectionError::Protocol("DATA on an idle stream"));
            }
            self.on_late_frame(id);
            return Ok(0);
        };
        if !stream.state.can_receive() {
            // What the peer sent before it saw our reset is no mistake.
            if stream.error.is_none() {
                self.stream_error(id, StreamError::Protocol(ErrorCode::STREAM_CLOSED), now)?;
            }
            return Ok(0);
        }
        let receive = &mut stream.receive;
        receive.wire_bytes += (HEADER_BYTES + header.payload_bytes) as u64;
        receive.window_bytes -= header.payload_bytes as i64;
        let error = if receive.window_bytes < 0 {
            StreamError::Protocol(ErrorCode::FLOW_CONTROL_ERROR)
        } else if receive.awaits_head {
            StreamError::InvalidMessage(InvalidMessage::Sequence)
        } else {
            match &mut receive.content_left {
                None => return Ok(id),
                Some(left) => match left.checked_sub(data_bytes as u64) {
                    Some(now_left) if now_left == 0 || !is_end => {
                        *left = now_left;
                        return Ok(id);
                    }
                    _ => StreamError::InvalidMessage(InvalidMessage::BodyLength),
                },
            }
        };
        self.stream_error(id, error, now)?;
        Ok(0)
    }

    /// Data of the frame that was begun: `count` bytes of `chunk` at `at`.
    pub(super) fn take_data(&mut self, id: u32, chunk: &Chunk, at: usize, count: usize) {
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.error.is_none()) else { return };
        if stream.is_released {
            return;
        }
        let queue = &mut stream.receive.data;
        let stays_in_block =
            count >= HALF_BLOCK_BYTES || (count >= COPY_MAX_BYTES && self.held_bytes < UNCOPIED_HELD_BYTES);
        if stays_in_block {
            let mut piece = chunk.clone();
            piece.advance(at);
            piece.truncate(count);
            queue.push(piece, false);
        } else {
            queue.push_copy(&chunk[at..at + count]);
        }
        self.held_bytes += count;
        wake(&mut stream.receive.waker);
    }

    /// The end of a DATA frame.
    pub(super) fn end_data(&mut self, open: OpenData) {
        self.open_connection_window();
        if open.stream != 0 {
            // Padding is taken as soon as it is there.
            self.open_stream_window(open.stream);
            if open.is_end {
                self.on_remote_end(open.stream);
            }
        }
    }

    /// The user took `bytes` of a stream's data, or they were dropped.
    #[inline]
    pub(super) fn data_taken(&mut self, id: u32, bytes: usize) {
        self.held_bytes -= bytes;
        self.open_connection_window();
        self.open_stream_window(id);
    }

    #[inline]
    pub(super) fn open_connection_window(&mut self) {
        let full = self.settings.connection_window_bytes as usize;
        let excess = self.held_bytes.saturating_sub(full);
        let target = full.saturating_sub(excess) as i64;
        let increment = target - self.receive_window_bytes;
        if increment >= (full / 2) as i64 {
            self.receive_window_bytes = target;
            frame::put_window_update(0, increment as u32, writable(&mut self.control));
            self.window_update_queued();
        }
    }

    #[inline]
    fn open_stream_window(&mut self, id: u32) {
        let full = i64::from(self.settings.stream_window_bytes);
        let Some(stream) = self.streams.get_mut(id) else { return };
        if !stream.state.can_receive() || stream.is_released {
            return;
        }
        let receive = &mut stream.receive;
        let increment = full - receive.data.len_bytes() as i64 - receive.window_bytes;
        if increment >= full / 2 {
            receive.window_bytes += increment;
            frame::put_window_update(id, increment as u32, writable(&mut self.control));
            self.window_update_queued();
        }
    }

    fn window_update_queued(&mut self) {
        self.queued_frames += 1;
        self.output_queued();
    }

    /// As if the peer had sent so much on the connection.
    #[cfg(test)]
    pub(in crate::http::h2) fn skip_window(&mut self, bytes: i64) {
        self.receive_window_bytes -= bytes;
    }
}
