//! Starting and cancelling tasks of the worker.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::executor::TaskId;
use super::worker::{try_with_worker, with_worker};

pub use super::worker::set_panic_hook;

/// Starts a detached task on this worker. A panic in it ends that task only; it is counted and
/// reported to the hook of [`set_panic_hook`].
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    with_worker(|worker| worker.executor.spawn(Box::pin(future)));
}

/// Starts a task that is cancelled when the handle is dropped.
pub fn spawn_task(future: impl Future<Output = ()> + 'static) -> Task {
    let ending = Rc::new(Ending { ended: Cell::new(false), waiting: RefCell::default() });
    let guard = EndGuard(ending.clone());
    let id = with_worker(|worker| {
        worker.executor.spawn(Box::pin(async move {
            // Runs also when the future panics or is cancelled.
            let _guard = guard;
            future.await;
        }))
    });
    Task { id, ending, detached: false }
}

/// Lets every other task that can run do so first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A running task; dropping it cancels the task (its future is dropped). As a future it completes
/// when the task has ended, by whatever means.
#[derive(Debug)]
#[must_use = "dropping the handle cancels the task"]
pub struct Task {
    id: TaskId,
    ending: Rc<Ending>,
    detached: bool,
}

#[derive(Debug)]
struct Ending {
    ended: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

struct EndGuard(Rc<Ending>);

impl Task {
    /// Lets the task run on without a handle.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.ending.ended.get()
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_finished() {
            return Poll::Ready(());
        }
        *self.ending.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.detached && !self.is_finished() {
            // No worker: it has ended, and its tasks with it.
            try_with_worker(|worker| worker.executor.cancel(self.id));
        }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.ended.set(true);
        if let Some(waker) = self.0.waiting.take() {
            waker.wake();
        }
    }
}
