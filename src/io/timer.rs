//! Timers on the worker's wheel.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::task::{Context, Poll};
use std::time::Duration;

use super::waiter::Waiter;
use super::worker::{now, try_with_worker, with_worker};
use crate::base::clock::Instant;
use crate::base::timer_wheel::TimerKey;

/// A reusable timer, owned by a connection or a stream. Millisecond granularity; never early.
///
/// It enters the worker's wheel when first waited for. Afterwards arming it later, again and again, only
/// stores the deadline.
#[derive(Debug, Default)]
pub struct Timer {
    deadline: Option<Instant>,
    key: Option<TimerKey>,
    _not_send: PhantomData<*const ()>,
}

impl Timer {
    /// Not armed; costs nothing until first waited for.
    pub const fn new() -> Timer {
        Timer { deadline: None, key: None, _not_send: PhantomData }
    }

    /// Sets the deadline, replacing an earlier one. A task that waits already is kept.
    #[inline]
    pub fn arm(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        if let Some(key) = &self.key {
            with_worker(|worker| worker.reactor.borrow_mut().timers.arm(key, deadline));
        }
    }

    /// Arms it `span` from now.
    #[inline]
    pub fn arm_after(&mut self, span: Duration) {
        self.arm(now() + span);
    }

    /// No deadline.
    #[inline]
    pub fn disarm(&mut self) {
        if self.deadline.take().is_some()
            && let Some(key) = &self.key
        {
            with_worker(|worker| worker.reactor.borrow_mut().timers.disarm(key));
        }
    }

    /// The deadline, if armed.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Ready when the deadline has passed, and until armed anew or disarmed. Never ready while not
    /// armed; the task is woken all the same if the timer is armed later and expires.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        with_worker(|worker| {
            if self.deadline.is_some_and(|deadline| deadline <= now()) {
                return Poll::Ready(());
            }
            let timers = &mut worker.reactor.borrow_mut().timers;
            let key = self.key.get_or_insert_with(|| timers.insert(TimerTarget::Task(Waiter::default())));
            if let TimerTarget::Task(waiter) = timers.value_mut(key) {
                waiter.register(cx);
            }
            if let Some(deadline) = self.deadline {
                timers.arm(key, deadline);
            }
            Poll::Pending
        })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            // No worker: it has ended, and its wheel with it.
            try_with_worker(|worker| worker.reactor.borrow_mut().timers.remove(key));
        }
    }
}

/// Completes after `span`, rounded up to whole milliseconds.
pub async fn sleep(span: Duration) {
    sleep_until(now() + span).await;
}

/// Completes at `deadline`.
pub async fn sleep_until(deadline: Instant) {
    let mut timer = Timer::new();
    timer.arm(deadline);
    poll_fn(|cx| timer.poll_expired(cx)).await;
}

/// What the wheel does when a timer expires.
#[derive(Debug)]
pub(super) enum TimerTarget {
    /// Wakes a task.
    Task(Waiter),
    /// Lets a listener accept again.
    Accept(super::table::SlotId),
}
