//! The deadlines of a stream joined to the worker's timer wheel.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::io::{self, Timer};

use super::deadlines::{Deadline, Deadlines};

/// One timer that serves all deadlines of a connection and its stream.
pub struct StreamClock {
    deadlines: Deadlines,
    timer: Timer,
    idle_timeout: Option<Duration>,
    attempt_idle_timeout: Option<Duration>,
}

impl StreamClock {
    /// Nothing is due.
    pub fn new() -> StreamClock {
        StreamClock {
            deadlines: Deadlines::new(),
            timer: Timer::new(),
            idle_timeout: None,
            attempt_idle_timeout: None,
        }
    }

    /// Sets a deadline this long from now; none unsets it.
    pub fn set(&mut self, kind: Deadline, timeout: Option<Duration>) {
        let now = io::now();
        self.deadlines.set(kind, now, timeout);
        // The task may have looked at its deadlines already and wait for a later one.
        if let Some(timeout) = timeout
            && self.timer.deadline().is_some_and(|armed| now + timeout < armed)
        {
            self.timer.arm(now + timeout);
        }
    }

    /// Unsets a deadline.
    pub fn clear(&mut self, kind: Deadline) {
        self.deadlines.clear(kind);
    }

    /// Unsets the deadlines of the stream.
    pub fn clear_stream(&mut self) {
        self.deadlines.clear_stream();
        self.idle_timeout = None;
        self.attempt_idle_timeout = None;
    }

    /// Says how long the stream may stay without activity, from now on.
    pub fn set_stream_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.idle_timeout = timeout;
        self.touch();
    }

    /// Says how long an attempt upstream may stay without activity, from now on; none ends that.
    pub fn set_attempt_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.attempt_idle_timeout = timeout;
        self.set(Deadline::PerTryIdle, timeout);
    }

    /// Something moved on the stream.
    #[inline]
    pub fn touch(&mut self) {
        if self.attempt_idle_timeout.is_some() {
            self.set(Deadline::PerTryIdle, self.attempt_idle_timeout);
        }
        if self.idle_timeout.is_some() {
            self.set(Deadline::StreamIdle, self.idle_timeout);
        }
    }

    /// Ready with a deadline that has passed; it is unset then.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Deadline> {
        loop {
            if let Some(kind) = self.deadlines.take_due(io::now()) {
                return Poll::Ready(kind);
            }
            self.timer.arm(self.deadlines.next());
            if self.timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
