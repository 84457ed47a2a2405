//! A worker's tasks: a run queue, wakers that work from any thread, and panics kept to their task.
//! Knows nothing of sockets; used with every driver.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use super::remote::{Remote, RemoteWake};

/// A task as the executor holds it.
pub(super) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Names a task; stale once the task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskId {
    index: u32,
    serial: u64,
}

/// The tasks of one worker.
pub(super) struct Executor {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    next_serial: Cell<u64>,
    live: Cell<usize>,
    remote: Arc<Remote>,
}

struct Slot {
    /// Zero while the slot is free.
    serial: u64,
    /// `None` while the task is being polled.
    future: Option<TaskFuture>,
    /// `None` while the task is being polled. Kept when the slot is reused: a late wake then costs
    /// the next task a needless poll, nothing more.
    waker: Option<Waker>,
    wake: Arc<TaskWake>,
}

/// What a task's wakers point to.
struct TaskWake {
    index: u32,
    /// In the run queue, or on its way there from another thread.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

thread_local! {
    /// The worker whose loop runs on this thread; 0 if there is none.
    static WORKER_ID: Cell<u64> = const { Cell::new(0) };
    /// The worker sleeps in its host's reactor: a wake must end that.
    static PARKED: Cell<bool> = const { Cell::new(false) };
    static READY: RefCell<VecDeque<u32>> = const { RefCell::new(VecDeque::new()) };
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.load(Ordering::Relaxed) || self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        if WORKER_ID.try_with(Cell::get).is_ok_and(|id| id == self.remote.id()) {
            READY.with_borrow_mut(|ready| ready.push_back(self.index));
            if PARKED.get() {
                self.remote.notify();
            }
        } else {
            self.remote.wake(RemoteWake::Task(self.index));
        }
    }
}

impl Executor {
    /// No tasks; this thread becomes the worker's.
    pub(super) fn new(remote: Arc<Remote>) -> Executor {
        WORKER_ID.set(remote.id());
        READY.with_borrow_mut(VecDeque::clear);
        Executor {
            slots: RefCell::default(),
            free: RefCell::default(),
            next_serial: Cell::new(1),
            live: Cell::new(0),
            remote,
        }
    }

    /// Adds a task and queues it.
    pub(super) fn spawn(&self, future: TaskFuture) -> TaskId {
        let serial = self.next_serial.replace(self.next_serial.get() + 1);
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let index = slots.len() as u32;
            let remote = self.remote.clone();
            let wake = Arc::new(TaskWake { index, queued: AtomicBool::new(false), remote });
            slots.push(Slot { serial: 0, future: None, waker: Some(Waker::from(wake.clone())), wake });
            index
        });
        let slot = &mut slots[index as usize];
        slot.serial = serial;
        slot.future = Some(future);
        slot.wake.wake_by_ref();
        self.live.set(self.live.get() + 1);
        TaskId { index, serial }
    }

    /// Drops a task's future, now or, if it is running, when it pauses.
    pub(super) fn cancel(&self, id: TaskId) {
        let future = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[id.index as usize];
            if slot.serial != id.serial {
                return;
            }
            slot.serial = 0;
            match slot.future.take() {
                Some(future) => future,
                None => return, // running: `poll` notices and frees the slot
            }
        };
        self.retire(id.index);
        drop(future);
    }

    /// Queues a task that another thread woke.
    pub(super) fn queue_remote(&self, index: u32) {
        READY.with_borrow_mut(|ready| ready.push_back(index));
    }

    /// Polls at most `limit` queued tasks; returns how many. `on_panic` learns of tasks that panicked.
    pub(super) fn run(&self, limit: usize, on_panic: impl Fn(&str)) -> usize {
        for polled in 0..limit {
            let Some(index) = READY.with_borrow_mut(VecDeque::pop_front) else { return polled };
            self.poll(index, &on_panic);
        }
        limit
    }

    /// Polls the queued task that `pick` chooses from their number, if there is one.
    pub(super) fn run_picked(&self, pick: impl FnOnce(usize) -> usize, on_panic: impl Fn(&str)) {
        let picked = READY.with_borrow_mut(|ready| {
            let at = if ready.is_empty() { 0 } else { pick(ready.len()) };
            ready.swap_remove_front(at)
        });
        if let Some(index) = picked {
            self.poll(index, &on_panic);
        }
    }

    /// Whether tasks are queued.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        READY.with_borrow(|ready| !ready.is_empty())
    }

    /// Says whether the worker sleeps where only an event can wake it.
    pub(super) fn set_parked(&self, parked: bool) {
        PARKED.set(parked);
    }

    /// Drops all tasks, including those that are started meanwhile (a few rounds of them).
    pub(super) fn clear(&self, on_panic: impl Fn(&str)) {
        for _ in 0..100 {
            let futures: Vec<_> = {
                let mut slots = self.slots.borrow_mut();
                let of_slot = |(index, slot): (usize, &mut Slot)| {
                    slot.serial = 0;
                    Some((index as u32, slot.future.take()?))
                };
                slots.iter_mut().enumerate().filter_map(of_slot).collect()
            };
            if futures.is_empty() {
                break;
            }
            for (index, future) in futures {
                self.retire(index);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
                    on_panic(panic_message(&*panic));
                }
            }
        }
    }

    fn poll(&self, index: u32, on_panic: &impl Fn(&str)) {
        let (serial, mut future, waker) = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index as usize];
            slot.wake.queued.store(false, Ordering::Release);
            let Some(future) = slot.future.take() else { return };
            (slot.serial, future, slot.waker.take().expect("put back after each poll"))
        };
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        let cancelled = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index as usize];
            slot.waker = Some(waker);
            if slot.serial == serial && matches!(&polled, Ok(poll) if poll.is_pending()) {
                slot.future = Some(future);
                return;
            }
            std::mem::replace(&mut slot.serial, 0) != serial
        };
        debug_assert!(cancelled || !matches!(&polled, Ok(poll) if poll.is_pending()));
        self.retire(index);
        if let Err(panic) = polled {
            on_panic(panic_message(&*panic));
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
            on_panic(panic_message(&*panic));
        }
    }

    fn retire(&self, index: u32) {
        self.live.set(self.live.get() - 1);
        self.free.borrow_mut().push(index);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = WORKER_ID.try_with(|id| id.set(0));
    }
}

/// What a panic said, if it said it in words.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without a message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn executor() -> Executor {
        let (remote, _) = Remote::new().expect("an eventfd");
        Executor::new(Arc::new(remote))
    }

    async fn yield_once() {
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return std::task::Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }

    #[test]
    fn a_panic_ends_its_task_only() {
        let executor = executor();
        let done = Rc::new(Cell::new(0));
        let messages = RefCell::new(Vec::new());
        executor.spawn(Box::pin(async { panic!("one {}", 1) }));
        let counted = done.clone();
        executor.spawn(Box::pin(async move {
            yield_once().await;
            counted.set(1);
        }));
        let polls = executor.run(100, |message| messages.borrow_mut().push(message.to_owned()));
        assert_eq!((polls, done.get(), executor.live.get()), (3, 1, 0));
        assert_eq!(*messages.borrow(), ["one 1"]);
    }

    #[test]
    fn cancelling_drops_the_future_even_from_within() {
        let executor = Rc::new(executor());
        let held = Rc::new(());
        let inside = held.clone();
        let id = executor.spawn(Box::pin(async move {
            let _held = inside;
            std::future::pending::<()>().await;
        }));
        executor.run(10, |_| {});
        executor.cancel(id);
        assert_eq!((Rc::strong_count(&held), executor.live.get()), (1, 0));
        let own = Rc::new(Cell::new(None));
        let (same, inside, own_id) = (executor.clone(), held.clone(), own.clone());
        own.set(Some(executor.spawn(Box::pin(async move {
            let _held = inside;
            same.cancel(own_id.get().expect("set before the first poll"));
            std::future::pending::<()>().await;
        }))));
        executor.run(10, |_| {});
        assert_eq!((Rc::strong_count(&held), executor.live.get()), (1, 0));
    }
}
