//! Writing: what is queued for the connection first, then data, one frame of each ready stream in turn.
//!
//! Data is taken out of the streams' queues only here, so that whoever writes decides how much lies in the socket's queue, and
//! a stream that sends much does not delay one that sends little.

use std::collections::VecDeque;

use super::Connection;
use crate::buf::{Chunk, recycle_vec};
use crate::http::h2::data_queue::COPY_MAX_BYTES;
use crate::http::h2::frame::{self, HEADER_BYTES, Kind, MAX_PAYLOAD_BYTES, flag};
use crate::http::h2::message::encode_trailers;
use crate::http::h2::stream::{SendEnd, wake};

/// Where a connection writes to.
pub trait Output {
    /// How many bytes should be queued in addition at present. A little more may come: a frame is always written whole, and
    /// frames of the connection itself all at once.
    fn room_bytes(&self) -> usize;

    /// The end of the queue, to append to. What it holds must stay.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// Queues a chunk behind the buffer, without copying it if possible.
    fn write_chunk(&mut self, chunk: Chunk);
}

/// Places in the order of turns that are kept between bursts.
const KEPT_TURNS: usize = 128;

impl Connection {
    /// Whether there is something to write that flow control allows.
    #[inline]
    pub fn wants_output(&self) -> bool {
        !self.control.is_empty() || (self.send_window_bytes > 0 && !self.ready.is_empty())
    }

    /// Writes frames until nothing is left, or `output` has no room.
    pub fn write_output(&mut self, output: &mut impl Output) {
        self.write_control(output);
        while self.send_window_bytes > 0
            && output.room_bytes() > 0
            && let Some(id) = self.ready.pop_front()
        {
            self.write_data(id, output);
        }
        self.write_control(output);
        // Room for a burst is not kept for ever.
        if self.ready.is_empty() && self.ready.capacity() > KEPT_TURNS {
            self.ready = VecDeque::new();
        }
    }

    fn write_control(&mut self, output: &mut impl Output) {
        if self.control.is_empty() || output.room_bytes() == 0 {
            return;
        }
        let buffer = output.buffer();
        if buffer.is_empty() {
            std::mem::swap(buffer, &mut self.control);
        } else {
            buffer.extend_from_slice(&self.control);
        }
        // An idle connection holds no buffer.
        recycle_vec(std::mem::take(&mut self.control));
        self.queued_frames = 0;
        self.queued_control_frames = 0;
    }

    /// Writes one frame of a stream's data, and what comes behind it if that was all.
    fn write_data(&mut self, id: u32, output: &mut impl Output) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let send = &mut stream.send;
        let window =
            (i64::from(self.peer.initial_window_bytes) + send.credit_bytes).min(self.send_window_bytes);
        let waiting_bytes = send.data.len_bytes();
        if window <= 0 || waiting_bytes == 0 {
            send.is_ready = false;
            return;
        }
        let payload_bytes = waiting_bytes.min(MAX_PAYLOAD_BYTES).min(window as usize);
        let is_all = payload_bytes == waiting_bytes;
        let is_end = is_all && matches!(send.end, SendEnd::Plain);
        let flags = if is_end { flag::END_STREAM } else { 0 };
        frame::put_header(payload_bytes, Kind::DATA, flags, id, output.buffer());
        let mut left_bytes = payload_bytes;
        while left_bytes > 0
            && let Some(piece) = send.data.pop(left_bytes)
        {
            left_bytes -= piece.len();
            if piece.len() <= COPY_MAX_BYTES {
                output.buffer().extend_from_slice(&piece);
            } else {
                output.write_chunk(piece);
            }
        }
        send.credit_bytes -= payload_bytes as i64;
        send.idle_checks = 0;
        send.wire_bytes += (HEADER_BYTES + payload_bytes) as u64;
        self.send_window_bytes -= payload_bytes as i64;
        self.guard.on_data_sent();
        if !is_all {
            if waiting_bytes - payload_bytes <= self.settings.stream_send_buffer_bytes as usize / 2 {
                wake(&mut send.waker);
            }
            // Its turn comes again, if its own window is not what stopped it.
            send.is_ready = i64::from(self.peer.initial_window_bytes) + send.credit_bytes > 0;
            if send.is_ready {
                self.ready.push_back(id);
            }
            return;
        }
        send.is_ready = false;
        wake(&mut send.waker);
        match std::mem::take(&mut send.end) {
            SendEnd::NotYet => {}
            SendEnd::Plain => {
                send.end = SendEnd::Plain;
                self.on_local_end(id);
            }
            SendEnd::Trailers(trailers) => {
                send.end = SendEnd::Plain;
                let encoder = &mut self.encoder;
                let buffer = output.buffer();
                let before = buffer.len();
                frame::put_headers(flag::END_STREAM, id, buffer, |out| {
                    encode_trailers(&trailers, encoder, out)
                });
                send.wire_bytes += (buffer.len() - before) as u64;
                self.on_local_end(id);
            }
        }
    }

    /// Gives a stream its turn, if it has data and a window.
    #[inline]
    pub(super) fn make_ready(&mut self, id: u32) {
        let initial = i64::from(self.peer.initial_window_bytes);
        let Some(stream) = self.streams.get_mut(id) else { return };
        let send = &mut stream.send;
        if !send.is_ready && !send.data.is_empty() && initial + send.credit_bytes > 0 {
            send.is_ready = true;
            self.ready.push_back(id);
            self.output_queued();
        }
    }
}
