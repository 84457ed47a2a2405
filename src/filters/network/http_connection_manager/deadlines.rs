//! All deadlines of one stream and its connection in one table, so that a single timer serves
//! them and arming one is a store. It reads no clock.

use std::time::Duration;

use crate::base::clock::Instant;

/// What happens when nothing else happens in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The connection had no stream for `idle_timeout`.
    ConnectionIdle,
    /// The connection reached `max_connection_duration`.
    ConnectionDuration,
    /// The request's head did not come within `request_headers_timeout`.
    RequestHeaders,
    /// The request did not come whole within `request_timeout`.
    Request,
    /// Nothing moved on the stream for `stream_idle_timeout`.
    StreamIdle,
    /// The stream reached `max_stream_duration`.
    StreamDuration,
    /// The response did not come whole within the route's `timeout`.
    Route,
    /// The attempt did not answer within `per_try_timeout`.
    PerTry,
    /// The upstream sent nothing for `per_try_idle_timeout`.
    PerTryIdle,
    /// The grace between the notice and the end of a HTTP/2 connection is over (`drain_timeout`).
    Drain,
    /// The next PING of `connection_keepalive` is due, or the answer to the last one.
    Keepalive,
}

const KINDS: [Deadline; 11] = [
    Deadline::ConnectionIdle,
    Deadline::ConnectionDuration,
    Deadline::RequestHeaders,
    Deadline::Request,
    Deadline::StreamIdle,
    Deadline::StreamDuration,
    Deadline::Route,
    Deadline::PerTry,
    Deadline::PerTryIdle,
    Deadline::Drain,
    Deadline::Keepalive,
];

/// The table; unset deadlines lie in the far future.
#[derive(Debug)]
pub struct Deadlines {
    at: [Instant; KINDS.len()],
}

impl Deadlines {
    /// Nothing is due.
    pub const fn new() -> Deadlines {
        Deadlines { at: [Instant::FAR_FUTURE; KINDS.len()] }
    }

    /// Sets a deadline `timeout` after `now`; none unsets it.
    pub fn set(&mut self, kind: Deadline, now: Instant, timeout: Option<Duration>) {
        self.at[kind as usize] = timeout.map_or(Instant::FAR_FUTURE, |timeout| now + timeout);
    }

    /// Unsets a deadline.
    pub fn clear(&mut self, kind: Deadline) {
        self.at[kind as usize] = Instant::FAR_FUTURE;
    }

    /// Unsets all that belong to a stream rather than to the connection.
    pub fn clear_stream(&mut self) {
        for kind in KINDS {
            if kind != Deadline::ConnectionDuration {
                self.clear(kind);
            }
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Instant {
        self.at.iter().copied().min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Takes one deadline that has passed at `now`, the earliest first.
    pub fn take_due(&mut self, now: Instant) -> Option<Deadline> {
        let kind = KINDS.into_iter().min_by_key(|kind| self.at[*kind as usize])?;
        if self.at[kind as usize] > now {
            return None;
        }
        self.clear(kind);
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_deadlines_come_earliest_first_and_once() {
        let start = Instant::from_nanos(0);
        let mut deadlines = Deadlines::new();
        assert_eq!(deadlines.next(), Instant::FAR_FUTURE);
        deadlines.set(Deadline::Route, start, Some(Duration::from_secs(15)));
        deadlines.set(Deadline::StreamIdle, start, Some(Duration::from_secs(5)));
        deadlines.set(Deadline::PerTry, start, None);
        assert_eq!(deadlines.take_due(start), None);
        let late = start + Duration::from_secs(20);
        assert_eq!(deadlines.take_due(late), Some(Deadline::StreamIdle));
        assert_eq!(deadlines.take_due(late), Some(Deadline::Route));
        assert_eq!(deadlines.take_due(late), None);
    }

    #[test]
    fn ending_a_stream_keeps_the_connections_own_deadline() {
        let mut deadlines = Deadlines::new();
        let now = Instant::from_nanos(0);
        for kind in KINDS {
            deadlines.set(kind, now, Some(Duration::from_secs(1)));
        }
        deadlines.clear_stream();
        assert_eq!(deadlines.take_due(now + Duration::from_secs(2)), Some(Deadline::ConnectionDuration));
        assert_eq!(deadlines.next(), Instant::FAR_FUTURE);
    }
}
