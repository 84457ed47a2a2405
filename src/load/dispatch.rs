//! Who sends the next request, and when. In a closed loop whoever is free, at once; in an open loop whoever is free
//! when the schedule says so, and what is due while nobody is free waits, its latency counting already. Sans-io.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::base::clock::Instant;

use super::schedule::Schedule;

/// How long a run may last beyond its end to send what was due before.
const GRACE_MAX: Duration = Duration::from_secs(1);

/// A request to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    /// When it was due: latency counts from here.
    pub(super) scheduled: Instant,
    /// How late the generator was, if it had a free connection; `None` if there was none.
    pub(super) lag: Option<Duration>,
}

/// What the pacer does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pacing {
    /// Nothing is due before this.
    Until(Instant),
    /// Something is due and no connection is free: the pacer's task is woken when one is.
    WaitForConnection,
    /// The run is over.
    Over,
}

/// Work for the connections of one worker.
#[derive(Debug)]
pub(super) struct Dispatch {
    /// None in a closed loop.
    schedule: Option<Schedule>,
    end: Instant,
    /// What was due before the end and found no connection may be sent until then.
    grace_end: Instant,
    /// What is due before does not count: it takes no ticket, and nobody asks what became of it.
    counted_from: Instant,
    /// Requests that may still be begun.
    tickets: u64,
    timeout: Duration,
    /// Free connections, the longest free one first. Some may have become busy by themselves since.
    free: VecDeque<u32>,
    seats: Vec<Seat>,
    /// Jobs that connections were given and have not taken yet.
    granted: usize,
    /// Jobs of connections that broke before sending them.
    returned: VecDeque<Job>,
    pacer: Option<Waker>,
    not_sent: u64,
}

/// What the dispatch knows of a connection.
#[derive(Debug, Default)]
struct Seat {
    waker: Option<Waker>,
    /// Further requests that it can take.
    room: u32,
    /// It stands in `free`.
    queued: bool,
    granted: VecDeque<Job>,
}

impl Dispatch {
    /// For `connections` connections. Nothing is over before `set_end`.
    pub(super) fn new(connections: u32, tickets: Option<u64>, timeout: Duration) -> Dispatch {
        Dispatch {
            schedule: None,
            end: Instant::FAR_FUTURE,
            grace_end: Instant::FAR_FUTURE,
            counted_from: Instant::default(),
            tickets: tickets.unwrap_or(u64::MAX),
            timeout,
            free: VecDeque::with_capacity(connections as usize),
            seats: (0..connections).map(|_| Seat::default()).collect(),
            granted: 0,
            returned: VecDeque::new(),
            pacer: None,
            not_sent: 0,
        }
    }

    /// Makes it an open loop.
    pub(super) fn set_schedule(&mut self, schedule: Schedule) {
        self.schedule = Some(schedule);
    }

    /// Requests count that are due at `from` or later.
    pub(super) fn set_counted_from(&mut self, from: Instant) {
        self.counted_from = from;
    }

    /// No request is due at `end` or later.
    pub(super) fn set_end(&mut self, end: Instant) {
        self.end = end;
        self.grace_end = end + self.timeout.min(GRACE_MAX);
    }

    /// Whether nothing is begun any more.
    #[inline]
    pub(super) fn is_over(&self, now: Instant) -> bool {
        match &self.schedule {
            None => now >= self.end || self.tickets == 0,
            Some(schedule) => {
                let all_taken = schedule.next_due() >= self.end || self.tickets == 0;
                now >= self.grace_end || (all_taken && self.returned.is_empty())
            }
        }
    }

    /// Whether nothing is begun any more, and what was given out is taken: the run can be finished without losing it.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.is_over(now) && (self.granted == 0 || now >= self.grace_end)
    }

    /// The next request for connection `number`, which has room for `room` more; `None` when the run is over. In an
    /// open loop the task is woken when a request is due.
    #[inline]
    pub(super) fn poll_take(
        &mut self,
        number: u32,
        room: u32,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Job>> {
        if self.schedule.is_none() {
            if self.is_over(now) {
                return Poll::Ready(None);
            }
            self.charge(now);
            return Poll::Ready(Some(Job { scheduled: now, lag: None }));
        }
        self.poll_take_scheduled(number, room, now, cx)
    }

    fn poll_take_scheduled(
        &mut self,
        number: u32,
        room: u32,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Job>> {
        let seat = &mut self.seats[number as usize];
        seat.room = room - 1;
        if let Some(job) = seat.granted.pop_front() {
            self.granted -= 1;
            return Poll::Ready(Some(job));
        }
        if self.is_over(now) {
            return Poll::Ready(None);
        }
        if let Some(scheduled) = self.take_due(now) {
            return Poll::Ready(Some(Job { scheduled, lag: None }));
        }
        let seat = &mut self.seats[number as usize];
        seat.room = room;
        match &seat.waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => seat.waker = Some(cx.waker().clone()),
        }
        if !std::mem::replace(&mut seat.queued, true) {
            self.free.push_back(number);
        }
        if let Some(pacer) = self.pacer.take() {
            pacer.wake();
        }
        if self.is_over(now) { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Gives what is due to free connections, the longest free first.
    pub(super) fn pace(&mut self, now: Instant, cx: &mut Context<'_>) -> Pacing {
        loop {
            if self.is_over(now) {
                return Pacing::Over;
            }
            let due = self.returned.front().map(|job| job.scheduled);
            let due = due.or(self.next_due()).unwrap_or(Instant::FAR_FUTURE);
            if due > now {
                return Pacing::Until(due);
            }
            let Some(number) = self.next_free() else {
                self.pacer = Some(cx.waker().clone());
                return Pacing::WaitForConnection;
            };
            let Some(scheduled) = self.take_due(now) else { continue };
            let seat = &mut self.seats[number as usize];
            seat.room -= 1;
            seat.granted.push_back(Job { scheduled, lag: Some(now.since(scheduled)) });
            self.granted += 1;
            if let Some(waker) = &seat.waker {
                waker.wake_by_ref();
            }
            if seat.room > 0 && !std::mem::replace(&mut seat.queued, true) {
                self.free.push_back(number);
            }
        }
    }

    /// Connection `number` is gone: others send what it was given.
    pub(super) fn leave(&mut self, number: u32) {
        let seat = &mut self.seats[number as usize];
        seat.room = 0;
        self.granted -= seat.granted.len();
        self.returned.append(&mut seat.granted);
        if !self.returned.is_empty()
            && let Some(pacer) = self.pacer.take()
        {
            pacer.wake();
        }
    }

    /// A connection failed instead of sending a request.
    pub(super) fn charge_failure(&mut self, now: Instant) {
        if self.schedule.is_none() {
            self.charge(now);
        }
    }

    /// Ends the run now, if it has not ended: everybody who waits is woken.
    pub(super) fn finish(&mut self, now: Instant) {
        self.end = self.end.min(now);
        self.grace_end = now;
        self.seats.iter_mut().for_each(|seat| seat.granted.clear());
        self.not_sent += (std::mem::take(&mut self.granted) + self.returned.len()) as u64;
        self.returned.clear();
        while let Some(due) = self.next_due()
            && self.tickets > 0
            && due < self.end
        {
            self.advance(due);
            self.lose(due);
        }
        self.seats.iter().filter_map(|seat| seat.waker.as_ref()).for_each(Waker::wake_by_ref);
        self.pacer.take().into_iter().for_each(Waker::wake);
    }

    /// Requests that were due and not sent since the last call.
    pub(super) fn take_not_sent(&mut self) -> u64 {
        std::mem::take(&mut self.not_sent)
    }

    /// The earliest request that is due, without those that have waited for too long.
    fn take_due(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let scheduled = match self.returned.pop_front() {
                Some(job) => job.scheduled,
                None => {
                    let due = self.next_due()?;
                    if due > now || due >= self.end || self.tickets == 0 {
                        return None;
                    }
                    self.advance(due);
                    due
                }
            };
            if scheduled + self.timeout > now {
                return Some(scheduled);
            }
            self.lose(scheduled);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.schedule.as_ref().map(Schedule::next_due)
    }

    /// The schedule goes on to the request after the one at `due`.
    fn advance(&mut self, due: Instant) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
            self.charge(due);
        }
    }

    #[inline]
    fn charge(&mut self, due: Instant) {
        if due >= self.counted_from {
            self.tickets = self.tickets.saturating_sub(1);
        }
    }

    /// A request will not be sent.
    fn lose(&mut self, due: Instant) {
        self.not_sent += u64::from(due >= self.counted_from);
    }

    fn next_free(&mut self) -> Option<u32> {
        while let Some(number) = self.free.pop_front() {
            let seat = &mut self.seats[number as usize];
            seat.queued = false;
            if seat.room > 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Arrivals;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * MS)
    }

    /// One request every 10 ms from 10 ms on.
    fn open_loop(connections: u32, tickets: Option<u64>) -> Dispatch {
        let mut dispatch = Dispatch::new(connections, tickets, Duration::from_millis(100));
        dispatch.set_schedule(Schedule::new(at(10), 100.0, Arrivals::Constant, 0.0, 1));
        dispatch.set_end(at(1_000));
        dispatch
    }

    fn take(dispatch: &mut Dispatch, number: u32, ms: u64) -> Poll<Option<Job>> {
        dispatch.poll_take(number, 1, at(ms), &mut Context::from_waker(Waker::noop()))
    }

    fn pace(dispatch: &mut Dispatch, ms: u64) -> Pacing {
        dispatch.pace(at(ms), &mut Context::from_waker(Waker::noop()))
    }

    fn job(due_ms: u64, lag_ms: Option<u64>) -> Poll<Option<Job>> {
        Poll::Ready(Some(Job { scheduled: at(due_ms), lag: lag_ms.map(Duration::from_millis) }))
    }

    #[test]
    fn a_closed_loop_never_waits_and_ends() {
        let mut dispatch = Dispatch::new(1, Some(2), Duration::from_secs(1));
        assert_eq!(take(&mut dispatch, 0, 5), job(5, None));
        dispatch.charge_failure(at(5));
        assert_eq!(take(&mut dispatch, 0, 6), Poll::Ready(None));
    }

    #[test]
    fn due_requests_go_to_the_longest_free_connection() {
        let mut dispatch = open_loop(2, None);
        assert!(take(&mut dispatch, 1, 0).is_pending() && take(&mut dispatch, 0, 0).is_pending());
        assert_eq!(pace(&mut dispatch, 0), Pacing::Until(at(10)));
        assert_eq!(pace(&mut dispatch, 12), Pacing::Until(at(20)));
        assert!(take(&mut dispatch, 0, 12).is_pending());
        assert_eq!(take(&mut dispatch, 1, 12), job(10, Some(2)));
    }

    #[test]
    fn what_waits_for_a_connection_counts_from_its_schedule() {
        let mut dispatch = open_loop(1, None);
        assert_eq!(pace(&mut dispatch, 35), Pacing::WaitForConnection);
        assert_eq!(take(&mut dispatch, 0, 35), job(10, None));
        assert_eq!(take(&mut dispatch, 0, 36), job(20, None));
        assert_eq!(take(&mut dispatch, 0, 200), job(110, None), "30 to 100 have waited for too long");
        assert_eq!(dispatch.take_not_sent(), 8);
    }

    #[test]
    fn a_broken_connection_returns_its_request() {
        let mut dispatch = open_loop(2, None);
        assert!(take(&mut dispatch, 0, 0).is_pending());
        pace(&mut dispatch, 10);
        dispatch.leave(0);
        assert_eq!(take(&mut dispatch, 1, 15), job(10, None));
    }

    #[test]
    fn a_pacer_that_waits_is_woken_by_a_connection_after_another_has_left() {
        struct Woken(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: std::sync::Arc<Woken>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let woken = std::sync::Arc::new(Woken(false.into()));
        let waker = Waker::from(woken.clone());
        let mut dispatch = open_loop(2, None);
        assert_eq!(dispatch.pace(at(10), &mut Context::from_waker(&waker)), Pacing::WaitForConnection);
        dispatch.leave(0);
        assert_eq!(take(&mut dispatch, 1, 10), job(10, None));
        assert!(take(&mut dispatch, 1, 11).is_pending());
        assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed));
    }

    #[test]
    fn a_run_is_not_settled_before_what_was_given_out_is_taken() {
        let mut dispatch = open_loop(1, Some(1));
        assert!(take(&mut dispatch, 0, 0).is_pending());
        pace(&mut dispatch, 10);
        assert!(dispatch.is_over(at(10)) && !dispatch.is_settled(at(10)));
        assert_eq!(take(&mut dispatch, 0, 11), job(10, Some(0)));
        assert!(dispatch.is_settled(at(11)));
        dispatch.finish(at(11));
        assert_eq!(dispatch.take_not_sent(), 0);
    }

    #[test]
    fn the_end_counts_what_was_due_and_not_sent() {
        let mut dispatch = open_loop(1, None);
        assert_eq!(take(&mut dispatch, 0, 10), job(10, None));
        dispatch.finish(at(45));
        assert_eq!((dispatch.take_not_sent(), take(&mut dispatch, 0, 46)), (3, Poll::Ready(None)));
        assert_eq!(pace(&mut dispatch, 46), Pacing::Over);
    }

    #[test]
    fn what_was_due_before_the_end_is_still_sent_for_a_while() {
        let mut dispatch = open_loop(1, None);
        dispatch.set_end(at(30));
        assert_eq!(take(&mut dispatch, 0, 40), job(10, None));
        assert_eq!(take(&mut dispatch, 0, 50), job(20, None));
        assert_eq!(take(&mut dispatch, 0, 60), Poll::Ready(None));
        let mut dispatch = open_loop(1, None);
        dispatch.set_end(at(30));
        assert_eq!(take(&mut dispatch, 0, 130), Poll::Ready(None), "the grace is as long as the timeout");
        dispatch.finish(at(130));
        assert_eq!(dispatch.take_not_sent(), 2);
    }

    #[test]
    fn a_count_ends_an_open_loop() {
        let mut dispatch = open_loop(1, Some(2));
        assert_eq!(take(&mut dispatch, 0, 30), job(10, None));
        assert_eq!(take(&mut dispatch, 0, 30), job(20, None));
        assert_eq!(take(&mut dispatch, 0, 30), Poll::Ready(None));
    }

    #[test]
    fn the_warm_up_takes_no_tickets_and_loses_nothing() {
        let mut closed = Dispatch::new(1, Some(1), Duration::from_secs(1));
        closed.set_counted_from(at(10));
        assert_eq!((take(&mut closed, 0, 5), take(&mut closed, 0, 9)), (job(5, None), job(9, None)));
        assert_eq!((take(&mut closed, 0, 10), take(&mut closed, 0, 11)), (job(10, None), Poll::Ready(None)));
        let mut open = open_loop(1, Some(3));
        open.set_counted_from(at(30));
        assert_eq!(take(&mut open, 0, 145), job(50, None), "10 and 20 are nobody's loss, 30 and 40 are");
        assert_eq!(open.take_not_sent(), 2);
    }

    #[test]
    fn a_connection_with_room_gets_several() {
        let mut dispatch = open_loop(1, None);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(dispatch.poll_take(0, 3, at(0), &mut cx).is_pending());
        assert_eq!(pace(&mut dispatch, 20), Pacing::Until(at(30)));
        assert_eq!(dispatch.poll_take(0, 3, at(20), &mut cx), job(10, Some(10)));
        assert_eq!(dispatch.poll_take(0, 2, at(20), &mut cx), job(20, Some(0)));
        assert!(dispatch.poll_take(0, 1, at(20), &mut cx).is_pending());
    }
}
