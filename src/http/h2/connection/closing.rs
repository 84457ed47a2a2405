//! How streams and the connection end (RFC 9113 sections 5.4, 6.8).

use super::{Connection, writable};
use crate::base::clock::Instant;
use crate::http::h2::error::{ConnectionError, ErrorCode, InvalidMessage, StreamError};
use crate::http::h2::frame::{self, MAX_31_BITS};
use crate::http::h2::stream::{State, Stream, wake};

/// How far the connection is on its way to the end.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// The last stream that our GOAWAY names. Later ones are ignored.
    last_served: Option<u32>,
    /// The owner opens no more streams.
    is_announced: bool,
    /// The peer's GOAWAY: the last stream it may have acted on, and why.
    peer_goaway: Option<(u32, ErrorCode)>,
    end: Option<ConnectionEnd>,
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// This side ended it.
    Error(ConnectionError),
    /// The transport ended.
    Closed,
}

impl Closing {
    /// Whether a new stream of the peer is ignored.
    pub(super) fn refuses(&self, id: u32) -> bool {
        self.last_served.is_some_and(|last| id > last)
    }

    /// Whether this side may still open streams.
    pub(super) fn can_open(&self) -> bool {
        self.end.is_none() && self.peer_goaway.is_none() && !self.is_announced
    }
}

impl Connection {
    /// First step of ending in peace: tells the peer to open no more streams. Those that are on their way are still served.
    pub fn announce_shutdown(&mut self) {
        if !self.closing.is_announced && self.closing.end.is_none() {
            self.closing.is_announced = true;
            self.put_goaway(MAX_31_BITS, ErrorCode::NO_ERROR);
        }
    }

    /// Second step, a round trip or a drain time later: names the last stream that is served, ignores later ones. Once
    /// [`Connection::is_drained`], the transport is to be closed.
    pub fn shut_down(&mut self) {
        if self.closing.last_served.is_none() && self.closing.end.is_none() {
            self.closing.is_announced = true;
            self.closing.last_served = Some(self.last_peer_stream);
            self.put_goaway(self.last_peer_stream, ErrorCode::NO_ERROR);
        }
    }

    /// Whether [`Connection::shut_down`] was called, and all streams are complete and written.
    pub fn is_drained(&self) -> bool {
        self.closing.last_served.is_some() && self.is_idle() && !self.wants_output()
    }

    /// Ends the connection at once with this code: all streams end, GOAWAY waits to be written.
    pub fn close(&mut self, code: ErrorCode) {
        self.fail(ConnectionError::Local(code));
    }

    /// The transport has ended, or failed: all streams end, nothing is to be written any more.
    pub fn transport_closed(&mut self) {
        self.end(ConnectionEnd::Closed, StreamError::Closed);
        self.control = Vec::new();
    }

    /// Whether the connection is over, and why.
    pub fn ended(&self) -> Option<ConnectionEnd> {
        self.closing.end
    }

    /// The code of the peer's GOAWAY, if one came.
    pub fn peer_goaway(&self) -> Option<ErrorCode> {
        self.closing.peer_goaway.map(|(_, code)| code)
    }

    /// The error that this side ended the connection with; `Closed` is one, too, for those who go on calling.
    pub(super) fn end_error(&self) -> Option<ConnectionError> {
        self.closing.end.map(|end| match end {
            ConnectionEnd::Error(error) => error,
            ConnectionEnd::Closed => ConnectionError::Local(ErrorCode::NO_ERROR),
        })
    }

    /// Ends the connection because of `error`.
    pub(super) fn fail(&mut self, error: ConnectionError) {
        if self.closing.end.is_none() {
            self.put_goaway(self.last_peer_stream, error.code());
            self.end(ConnectionEnd::Error(error), StreamError::Connection(error));
        }
    }

    fn end(&mut self, end: ConnectionEnd, error: StreamError) {
        if self.closing.end.is_some() {
            return;
        }
        self.closing.end = Some(end);
        // Nobody has taken these, hence nobody will let go of them.
        for request in std::mem::take(&mut self.incoming) {
            if let Some(stream) = self.streams.get_mut(request.stream.get()) {
                stream.is_released = true;
            }
        }
        self.ready.clear();
        self.block = None;
        self.open_streams = 0;
        let is_server = self.is_server();
        let mut unused = Vec::new();
        for (id, stream) in self.streams.iter_mut() {
            if stream.error.is_none() {
                drop_received(stream, is_server, &mut self.held_bytes);
                stream.send.is_ready = false;
                stream.close(error);
            }
            if stream.is_released {
                unused.push(id);
            }
        }
        unused.into_iter().for_each(|id| self.streams.remove(id));
        self.output_queued();
    }

    fn put_goaway(&mut self, last_stream: u32, code: ErrorCode) {
        self.counts.goaway_sent += 1;
        frame::put_goaway(last_stream, code, writable(&mut self.control));
        self.output_queued();
    }

    /// GOAWAY came. Streams that the peer did not look at end, so that their requests can be sent again elsewhere.
    pub(super) fn on_peer_closing(
        &mut self,
        last_stream: u32,
        code: ErrorCode,
    ) -> Result<(), ConnectionError> {
        if self.closing.peer_goaway.is_some_and(|(before, _)| last_stream > before) {
            return Err(ConnectionError::Protocol("GOAWAY names a later stream than before"));
        }
        self.closing.peer_goaway = Some((last_stream, code));
        if !self.is_server() {
            let unprocessed: Vec<u32> = self
                .streams
                .iter_mut()
                .filter(|(id, stream)| {
                    *id > last_stream && stream.error.is_none() && stream.state != State::Closed
                })
                .map(|(id, _)| id)
                .collect();
            unprocessed.into_iter().for_each(|id| self.close_stream(id, StreamError::Unprocessed));
        }
        Ok(())
    }

    /// The peer broke a rule that concerns this stream only: resets it.
    pub(super) fn stream_error(
        &mut self,
        id: u32,
        error: StreamError,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let code = match error {
            StreamError::Protocol(code) => code,
            // What Envoy sends.
            StreamError::HeadersTooLarge(_) => ErrorCode::INTERNAL_ERROR,
            _ => ErrorCode::PROTOCOL_ERROR,
        };
        // Envoy does not count bodies that contradict their length.
        if matches!(error, StreamError::InvalidMessage(what) if what != InvalidMessage::BodyLength) {
            self.counts.rx_messaging_error += 1;
        }
        let opened = self.streams.get(id).map_or(now, |stream| stream.opened);
        self.send_reset(id, code);
        self.close_stream(id, error);
        if self.is_server() {
            return self.guard.on_early_reset(&self.settings.limits, opened, now);
        }
        Ok(())
    }

    /// Appends RST_STREAM.
    pub(super) fn send_reset(&mut self, id: u32, code: ErrorCode) {
        self.counts.tx_reset += 1;
        frame::put_reset(id, code, writable(&mut self.control));
        self.control_queued();
        self.resets.add(id);
    }

    /// A frame came for a stream that is no more.
    pub(super) fn on_late_frame(&mut self, id: u32) {
        if !self.resets.may_contain(id) && !self.closing.refuses(id) {
            self.send_reset(id, ErrorCode::STREAM_CLOSED);
        }
    }

    /// Whether nobody has opened this stream yet.
    pub(super) fn is_idle_stream(&self, id: u32) -> bool {
        let is_ours = id.is_multiple_of(2) == self.is_server();
        if is_ours {
            // Servers open none.
            return self.is_server() || id >= self.next_stream;
        }
        !self.is_server() || (id > self.last_peer_stream && !self.closing.refuses(id))
    }

    /// Ends a stream before it is complete. A response that has come in full stays readable (RFC 9113 section 8.1).
    pub(super) fn close_stream(&mut self, id: u32, error: StreamError) {
        let is_server = self.is_server();
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.state != State::Closed {
            self.open_streams -= 1;
        }
        drop_received(stream, is_server, &mut self.held_bytes);
        if std::mem::take(&mut stream.send.is_ready) {
            self.ready.retain(|ready| *ready != id);
        }
        stream.close(error);
        let is_released = stream.is_released;
        // A request that nobody has seen is not handed out any more.
        let place = self.incoming.iter().rposition(|request| request.stream.get() == id);
        if let Some(place) = place {
            self.incoming.remove(place);
            self.counts.reset_before_taken += 1;
        }
        if is_released || place.is_some() {
            self.streams.remove(id);
        }
        self.open_connection_window();
    }

    /// The peer has sent everything.
    pub(super) fn on_remote_end(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.receive.is_ended = true;
        stream.state = stream.state.after_remote_end();
        wake(&mut stream.receive.waker);
        if stream.state == State::Closed {
            self.on_complete(id);
        }
    }

    /// This side has sent everything.
    pub(super) fn on_local_end(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.state = stream.state.after_local_end();
        wake(&mut stream.send.waker);
        if stream.state == State::Closed {
            self.on_complete(id);
        } else if stream.is_released {
            self.abandon(id);
        }
    }

    /// Both have.
    fn on_complete(&mut self, id: u32) {
        self.open_streams -= 1;
        if self.is_server() {
            self.guard.on_stream_end();
        }
        if self.streams.get(id).is_some_and(|stream| stream.is_released) {
            self.streams.remove(id);
        }
    }
}

/// Forgets what has come and will not be read.
fn drop_received(stream: &mut Stream, is_server: bool, held_bytes: &mut usize) {
    if is_server || !stream.receive.is_ended || stream.is_released {
        *held_bytes -= stream.receive.data.len_bytes();
        stream.receive.data.clear();
        stream.receive.trailers = None;
        stream.receive.head = None;
        stream.receive.interim_heads.clear();
    }
}
