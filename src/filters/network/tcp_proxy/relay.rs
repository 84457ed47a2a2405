//! Two streams joined: what one receives, the other sends, as fast as it takes it.
//!
//! Received pieces are passed on, not copied. An end of one direction is passed on as an end; the other
//! direction goes on.

use std::task::{Context, Poll, ready};

use crate::transport::Stream;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Downstream,
    Upstream,
}

/// A connection is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) Side);

/// One direction.
#[derive(Debug)]
pub(super) struct Direction {
    from: Side,
    /// The sender has ended; the end was passed on.
    is_ended: bool,
    is_paused: bool,
    /// Unsent bytes above which the sender is not read.
    high_watermark_bytes: usize,
    /// Bytes passed on since the last look.
    passed_bytes: u64,
    /// How often the sender was not read because the receiver took no more, and read again, since the last
    /// look.
    pauses: u64,
    resumptions: u64,
}

impl Direction {
    pub(super) fn new(from: Side, high_watermark_bytes: usize) -> Direction {
        Direction {
            from,
            is_ended: false,
            is_paused: false,
            high_watermark_bytes: high_watermark_bytes.max(1),
            passed_bytes: 0,
            pauses: 0,
            resumptions: 0,
        }
    }

    /// Moves what can be moved. Ready when a connection is broken; see [`Direction::is_ended`] for the other end.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Broken> {
        let to_side = match self.from {
            Side::Downstream => Side::Upstream,
            Side::Upstream => Side::Downstream,
        };
        loop {
            if self.is_ended {
                // A sender that has ended and then broke takes nothing any more either.
                return from.poll_failed(cx).map(|()| Broken(self.from));
            }
            if self.is_paused || to.queued_bytes() >= self.high_watermark_bytes {
                if !self.is_paused {
                    self.is_paused = true;
                    self.pauses += 1;
                }
                if ready!(to.poll_drained(cx, self.high_watermark_bytes / 2)).is_err() {
                    return Poll::Ready(Broken(to_side));
                }
                self.is_paused = false;
                self.resumptions += 1;
            }
            match ready!(from.poll_recv(cx)) {
                Ok(Some(chunk)) => {
                    self.passed_bytes += chunk.len() as u64;
                    to.write_chunk(chunk);
                }
                Ok(None) => {
                    to.shutdown_write();
                    self.is_ended = true;
                }
                Err(_) => return Poll::Ready(Broken(self.from)),
            }
        }
    }

    /// Whether the sender has ended.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// What happened since the last call: bytes, pauses, resumptions.
    pub(super) fn take_counts(&mut self) -> (u64, u64, u64) {
        let counts = (self.passed_bytes, self.pauses, self.resumptions);
        (self.passed_bytes, self.pauses, self.resumptions) = (0, 0, 0);
        counts
    }
}
