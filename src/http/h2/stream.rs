//! One stream: its state, and what waits on it in either direction.
//!
//! Writes no frames and knows no other stream: the connection does both.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::Waker;

use super::StreamError;
use super::data_queue::DataQueue;
use crate::base::clock::Instant;
use crate::http::{HeaderMap, ResponseHead};

/// How far a stream is (RFC 9113 section 5.1). Promises are refused, so that no stream is ever reserved; an idle stream is
/// one that does not exist yet.
///
/// ```text
///                          +--------+
///                  send PP |        | recv PP
///                 ,--------+  idle  +--------.
///                /         |        |         \
///               v          +--------+          v
///        +----------+          |           +----------+
///        |          |          | send H /  |          |
/// ,------+ reserved |          | recv H    | reserved +------.
/// |      | (local)  |          |           | (remote) |      |
/// |      +---+------+          v           +------+---+      |
/// |          |             +--------+             |          |
/// |          |     recv ES |        | send ES     |          |
/// |   send H |     ,-------+  open  +-------.     | recv H   |
/// |          |    /        |        |        \    |          |
/// |          v   v         +---+----+         v   v          |
/// |      +----------+          |           +----------+      |
/// |      |   half-  |          |           |   half-  |      |
/// |      |  closed  |          | send R /  |  closed  |      |
/// |      | (remote) |          | recv R    | (local)  |      |
/// |      +----+-----+          |           +-----+----+      |
/// |           |                |                 |           |
/// |           | send ES /      |       recv ES / |           |
/// |           |  send R /      v        send R / |           |
/// |           |  recv R    +--------+   recv R   |           |
/// | send R /  `----------->|        |<-----------'  send R / |
/// | recv R                 | closed |               recv R   |
/// `----------------------->|        |<-----------------------'
///                          +--------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Both sides may send.
    #[default]
    Open,
    /// This side has sent END_STREAM.
    HalfClosedLocal,
    /// The peer has sent END_STREAM.
    HalfClosedRemote,
    /// Both have, or the stream was reset.
    Closed,
}

impl State {
    /// Whether the peer may still send.
    #[inline]
    pub fn can_receive(self) -> bool {
        matches!(self, State::Open | State::HalfClosedLocal)
    }

    /// Whether this side may still send.
    #[inline]
    pub fn can_send(self) -> bool {
        matches!(self, State::Open | State::HalfClosedRemote)
    }

    /// After END_STREAM of this side.
    #[inline]
    pub fn after_local_end(self) -> State {
        if self == State::Open { State::HalfClosedLocal } else { State::Closed }
    }

    /// After END_STREAM of the peer.
    #[inline]
    pub fn after_remote_end(self) -> State {
        if self == State::Open { State::HalfClosedRemote } else { State::Closed }
    }
}

/// One stream. It lives until it is closed and its user has let it go.
#[derive(Debug, Default)]
pub struct Stream {
    pub state: State,
    /// The user needs it no more.
    pub is_released: bool,
    /// When it was opened, if the peer did so.
    pub opened: Instant,
    /// A CONNECT was granted: from now on there is only data (RFC 9113 section 8.5).
    pub is_tunnel: bool,
    /// Why it ended before it was complete.
    pub error: Option<StreamError>,
    pub receive: ReceiveHalf,
    pub send: SendHalf,
}

/// What comes from the peer.
#[derive(Debug, Default)]
pub struct ReceiveHalf {
    /// Bytes that the peer may still send. What is missing to the full window waits here, or was taken and is not announced yet.
    pub window_bytes: i64,
    pub data: DataQueue,
    /// Bytes that the body must still have, if its length was told.
    pub content_left: Option<u64>,
    /// Interim responses not yet taken.
    pub interim_heads: VecDeque<ResponseHead>,
    /// The final response, not yet taken.
    pub head: Option<ResponseHead>,
    /// A client awaits the final response; what the request was decides how it is read.
    pub awaits_head: bool,
    pub is_to_head: bool,
    /// The request is a CONNECT.
    pub is_connect: bool,
    /// Trailers, not yet taken. They come behind the data.
    pub trailers: Option<HeaderMap>,
    /// Everything has come.
    pub is_ended: bool,
    /// A client's user was told that it has.
    pub end_taken: bool,
    /// Bytes of its frames so far.
    pub wire_bytes: u64,
    pub waker: Option<Waker>,
}

/// What goes to the peer.
#[derive(Debug, Default)]
pub struct SendHalf {
    /// How often the stream was looked at since something was last written of its data.
    pub idle_checks: u8,
    /// WINDOW_UPDATEs received less bytes sent. The peer's initial window comes on top, so that a change of it
    /// need not visit every stream; the sum may be negative (RFC 9113 section 6.9.2).
    pub credit_bytes: i64,
    pub data: DataQueue,
    /// How it ends once the data is sent.
    pub end: SendEnd,
    /// It waits for its turn to send.
    pub is_ready: bool,
    /// The final head was sent.
    pub head_sent: bool,
    /// Bytes of its frames so far.
    pub wire_bytes: u64,
    pub waker: Option<Waker>,
}

/// What comes behind the data to be sent.
#[derive(Debug, Default)]
pub enum SendEnd {
    /// More data, perhaps.
    #[default]
    NotYet,
    /// END_STREAM.
    Plain,
    /// Trailers.
    Trailers(HeaderMap),
}

impl Stream {
    /// Whether its user may still send.
    #[inline]
    pub fn is_sending(&self) -> bool {
        self.state.can_send() && self.error.is_none() && matches!(self.send.end, SendEnd::NotYet)
    }

    /// Whether its user may add data, or end it: there is a head before.
    #[inline]
    pub fn takes_data(&self) -> bool {
        self.is_sending() && self.send.head_sent
    }

    /// Ends it at once: nothing more comes or goes.
    pub fn close(&mut self, error: StreamError) {
        self.state = State::Closed;
        self.error = Some(error);
        self.send.data.clear();
        self.send.end = SendEnd::NotYet;
        self.wake();
    }

    /// Wakes its user, whatever it waits for.
    pub fn wake(&mut self) {
        wake(&mut self.receive.waker);
        wake(&mut self.send.waker);
    }

    /// As new, but with the memory of its queues.
    fn clear(&mut self) {
        let Stream { state, is_released, opened, is_tunnel, error, receive, send } = self;
        *state = State::default();
        *is_released = false;
        *opened = Instant::default();
        *is_tunnel = false;
        *error = None;
        receive.clear();
        send.clear();
    }
}

impl ReceiveHalf {
    fn clear(&mut self) {
        // Taken apart so that no field is forgotten; making a new one would cost more.
        let ReceiveHalf {
            window_bytes,
            data,
            content_left,
            interim_heads,
            head,
            awaits_head,
            is_to_head,
            is_connect,
            trailers,
            is_ended,
            end_taken,
            wire_bytes,
            waker,
        } = self;
        *window_bytes = 0;
        data.clear();
        *content_left = None;
        interim_heads.clear();
        *head = None;
        *trailers = None;
        (*awaits_head, *is_to_head, *is_connect) = (false, false, false);
        (*is_ended, *end_taken) = (false, false);
        *wire_bytes = 0;
        *waker = None;
    }
}

impl SendHalf {
    fn clear(&mut self) {
        let SendHalf { idle_checks, credit_bytes, data, end, is_ready, head_sent, wire_bytes, waker } = self;
        *idle_checks = 0;
        *credit_bytes = 0;
        data.clear();
        *end = SendEnd::NotYet;
        (*is_ready, *head_sent) = (false, false);
        *wire_bytes = 0;
        *waker = None;
    }
}

/// Wakes who waits, once.
#[inline]
pub fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Remembers whom to wake.
#[inline]
pub fn remember(waker: &mut Option<Waker>, new: &Waker) {
    match waker {
        Some(known) if known.will_wake(new) => {}
        _ => *waker = Some(new.clone()),
    }
}

/// Streams kept for reuse on each thread.
const KEPT_STREAMS: usize = 1_024;

thread_local! {
    // The box itself is what is recycled.
    #[allow(clippy::vec_box)]
    static FREE: RefCell<Vec<Box<Stream>>> = const { RefCell::new(Vec::new()) };
}

/// A fresh stream, from the thread's freelist if there is one.
pub fn take_stream() -> Box<Stream> {
    FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_default()
}

/// Keeps a stream's memory for [`take_stream`].
pub fn recycle_stream(mut stream: Box<Stream>) {
    stream.clear();
    // Fails only while the thread ends: the memory is freed then.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEPT_STREAMS {
            free.push(stream);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_both_sides_close() {
        assert_eq!(State::Open.after_local_end().after_remote_end(), State::Closed);
        assert_eq!(State::Open.after_remote_end(), State::HalfClosedRemote);
        assert_eq!(State::HalfClosedRemote.after_local_end(), State::Closed);
        assert!(State::HalfClosedLocal.can_receive() && !State::HalfClosedLocal.can_send());
        assert!(State::HalfClosedRemote.can_send() && !State::HalfClosedRemote.can_receive());
    }

    #[test]
    fn streams_are_small_and_come_back_clean() {
        assert!(size_of::<Stream>() <= 384, "{}", size_of::<Stream>());
        let mut stream = take_stream();
        stream.send.data.push_copy(b"abc");
        stream.receive.trailers = Some(HeaderMap::new());
        stream.is_released = true;
        let address = std::ptr::from_ref(&*stream);
        recycle_stream(stream);
        let stream = take_stream();
        assert_eq!(std::ptr::from_ref(&*stream), address);
        assert!(stream.send.data.is_empty() && stream.receive.trailers.is_none() && !stream.is_released);
    }
}
