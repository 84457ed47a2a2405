//! Waiting for a connection.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::UpstreamStream;
use super::pending::Pending;
use crate::upstream::breaker::Permit;
use crate::upstream::host::Host;
use crate::upstream::reset::PoolFailure;

type Outcome = Result<UpstreamStream, PoolFailure>;

/// A request's wait for a connection. Dropping it gives up the place in the queue; a connection that was
/// assigned meanwhile goes to the next one in the queue, or back to the pool.
#[must_use = "nothing is had before it is polled"]
pub struct CheckOut(State);

enum State {
    Ready(Outcome),
    Queued(Rc<Waiter>, Rc<Pending>),
    Taken,
}

impl CheckOut {
    pub(super) fn ready(outcome: Outcome) -> CheckOut {
        CheckOut(State::Ready(outcome))
    }

    pub(super) fn queued(waiter: Rc<Waiter>, queue: Rc<Pending>) -> CheckOut {
        CheckOut(State::Queued(waiter, queue))
    }

    /// As polling the future; [`PoolFailure::Overflow`] if the outcome was taken before.
    pub fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let State::Queued(waiter, _) = &self.0 {
            let Some(outcome) = waiter.outcome.take() else {
                waiter.set_waker(cx.waker());
                return Poll::Pending;
            };
            self.0 = State::Taken;
            return Poll::Ready(outcome);
        }
        match std::mem::replace(&mut self.0, State::Taken) {
            State::Ready(outcome) => Poll::Ready(outcome),
            _ => Poll::Ready(Err(PoolFailure::Overflow)),
        }
    }
}

impl Future for CheckOut {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.poll_stream(cx)
    }
}

impl Drop for CheckOut {
    fn drop(&mut self) {
        if let State::Queued(waiter, queue) = &self.0 {
            queue.cancel(waiter);
            // Dropped with the outcome's cell empty, as the stream's own drop may come back to the pool.
            drop(waiter.outcome.take());
        }
    }
}

/// One place in the queue.
pub(super) struct Waiter {
    host: Rc<Host>,
    permit: Cell<Option<Permit>>,
    outcome: Cell<Option<Outcome>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiter {
    pub fn new(host: Rc<Host>, permit: Permit) -> Waiter {
        Waiter { host, permit: Cell::new(Some(permit)), outcome: Cell::new(None), waker: RefCell::new(None) }
    }

    pub fn host(&self) -> &Rc<Host> {
        &self.host
    }

    pub fn give_back_permit(&self) {
        self.permit.set(None);
    }

    pub fn complete(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}
