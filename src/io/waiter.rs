//! The task that waits for something to happen to a socket.

use std::task::{Context, Waker};

/// At most one waiting task. The waker is kept after a wake, so that a task which waits again and
/// again registers without touching a reference count.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    waker: Option<Waker>,
    waiting: bool,
}

impl Waiter {
    /// The task of `cx` waits; it replaces whoever waited.
    #[inline]
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        self.waiting = true;
        match &self.waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes the waiting task, if there is one.
    #[inline]
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.waiting)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }
}
