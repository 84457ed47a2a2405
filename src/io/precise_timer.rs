//! Timers between the ticks of the wheel, for whoever sends by a schedule. Each one bounds the loop's wait by
//! itself, so a worker has few of them. On `epoll`, whose wait counts milliseconds, they are late by up to one.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::task::{Context, Poll};

use super::waiter::Waiter;
use super::worker::{now, try_with_worker, with_worker};
use crate::base::clock::Instant;

/// A timer with the resolution of the clock; never early.
#[derive(Debug, Default)]
pub struct PreciseTimer {
    number: Option<usize>,
    /// Belongs to the worker's thread.
    _not_send: PhantomData<*const ()>,
}

impl PreciseTimer {
    /// Costs nothing until first waited for.
    pub const fn new() -> PreciseTimer {
        PreciseTimer { number: None, _not_send: PhantomData }
    }

    /// Ready once `deadline` has passed; else the task of `cx` is woken then. A later call replaces the deadline.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        with_worker(|worker| {
            if deadline <= now() {
                return Poll::Ready(());
            }
            let timers = &worker.precise;
            let number = *self.number.get_or_insert_with(|| timers.insert());
            timers.arm(number, deadline, cx);
            Poll::Pending
        })
    }
}

impl Drop for PreciseTimer {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            // No worker: it has ended, and its timers with it.
            try_with_worker(|worker| worker.precise.remove(number));
        }
    }
}

/// A worker's precise timers.
#[derive(Debug)]
pub(super) struct PreciseTimers {
    timers: RefCell<slab::Slab<Entry>>,
    /// No timer expires before this.
    next: Cell<Instant>,
}

#[derive(Debug)]
struct Entry {
    deadline: Instant,
    waiter: Waiter,
}

impl PreciseTimers {
    pub(super) fn new() -> PreciseTimers {
        PreciseTimers { timers: RefCell::default(), next: Cell::new(Instant::FAR_FUTURE) }
    }

    /// The earliest deadline.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let next = self.next.get();
        (next != Instant::FAR_FUTURE).then_some(next)
    }

    /// Wakes whoever waits for a time before `now`.
    #[inline]
    pub(super) fn expire(&self, now: Instant) {
        if self.next.get() > now {
            return;
        }
        for (_, entry) in &mut *self.timers.borrow_mut() {
            if entry.deadline <= now {
                entry.deadline = Instant::FAR_FUTURE;
                entry.waiter.wake();
            }
        }
        self.find_next();
    }

    fn insert(&self) -> usize {
        self.timers.borrow_mut().insert(Entry { deadline: Instant::FAR_FUTURE, waiter: Waiter::default() })
    }

    fn arm(&self, number: usize, deadline: Instant, cx: &Context<'_>) {
        let entry = &mut self.timers.borrow_mut()[number];
        entry.deadline = deadline;
        entry.waiter.register(cx);
        self.next.set(self.next.get().min(deadline));
    }

    fn remove(&self, number: usize) {
        self.timers.borrow_mut().remove(number);
        self.find_next();
    }

    fn find_next(&self) {
        let timers = self.timers.borrow();
        let deadlines = timers.iter().map(|(_, entry)| entry.deadline);
        self.next.set(deadlines.min().unwrap_or(Instant::FAR_FUTURE));
    }
}
