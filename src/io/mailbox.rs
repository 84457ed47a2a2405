//! Commands from other threads to a worker: an unbounded, lock-free queue whose sender wakes the
//! worker wherever it sleeps.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll};

use super::remote::{Remote, RemoteWake};
use super::worker::{try_with_worker, with_worker};

/// Makes a mailbox, on any thread. Move the [`Mailbox`] to the worker that shall receive.
pub fn mailbox<T: Send>() -> (Sender<T>, Mailbox<T>) {
    let (queue, values) = mpsc::channel();
    let bell = Arc::new(Bell { receiver: OnceLock::new(), waiting: AtomicBool::new(false) });
    let guard = LastSender(bell.clone());
    (Sender { queue: Some(queue), bell: Arc::new(guard) }, Mailbox { values, bell, registered: None })
}

/// The sending side; any thread may hold clones.
#[derive(Debug)]
pub struct Sender<T: Send> {
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<T>>,
    bell: Arc<LastSender>,
}

/// The receiving side: bound to the worker on which it is first polled.
#[derive(Debug)]
pub struct Mailbox<T: Send> {
    values: mpsc::Receiver<T>,
    bell: Arc<Bell>,
    /// The number under which the worker knows this mailbox.
    registered: Option<u32>,
}

#[derive(Debug)]
struct Bell {
    /// The worker to wake and the mailbox's number there; set at the first poll.
    receiver: OnceLock<(Arc<Remote>, u32)>,
    /// The receiver found the queue empty and waits.
    waiting: AtomicBool,
}

/// Rings once when the last sender is gone.
#[derive(Debug)]
struct LastSender(Arc<Bell>);

impl<T: Send> Sender<T> {
    /// Queues `value` and wakes the worker. Never blocks.
    ///
    /// # Errors
    /// Gives the value back if the mailbox is gone.
    pub fn send(&self, value: T) -> Result<(), T> {
        let queue = self.queue.as_ref().expect("present until dropped");
        queue.send(value).map_err(|refused| refused.0)?;
        self.bell.0.ring();
        Ok(())
    }
}

impl<T: Send> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { queue: self.queue.clone(), bell: self.bell.clone() }
    }
}

impl<T: Send> Drop for Sender<T> {
    fn drop(&mut self) {
        // Before the bell rings: the receiver must find the queue closed.
        self.queue = None;
    }
}

impl<T: Send> Mailbox<T> {
    /// The next value; `None` when all senders are gone.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.values.try_recv() {
            Ok(value) => return Poll::Ready(Some(value)),
            Err(mpsc::TryRecvError::Disconnected) => return Poll::Ready(None),
            Err(mpsc::TryRecvError::Empty) => {}
        }
        with_worker(|worker| {
            let number = *self.registered.get_or_insert_with(|| worker.add_mailbox());
            worker.register_mailbox(number, cx);
            self.bell.receiver.get_or_init(|| (worker.remote.clone(), number));
        });
        self.bell.waiting.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`: either the sender sees us waiting, or we see its value.
        fence(Ordering::SeqCst);
        match self.values.try_recv() {
            Ok(value) => Poll::Ready(Some(value)),
            Err(mpsc::TryRecvError::Disconnected) => Poll::Ready(None),
            Err(mpsc::TryRecvError::Empty) => Poll::Pending,
        }
    }

    /// As [`Mailbox::poll_recv`].
    pub async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }
}

impl<T: Send> Drop for Mailbox<T> {
    fn drop(&mut self) {
        if let Some(number) = self.registered {
            try_with_worker(|worker| worker.remove_mailbox(number));
        }
    }
}

impl Bell {
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed)
            && self.waiting.swap(false, Ordering::AcqRel)
            && let Some((remote, number)) = self.receiver.get()
        {
            remote.wake(RemoteWake::Mailbox(*number));
        }
    }
}

impl Drop for LastSender {
    fn drop(&mut self) {
        self.0.ring();
    }
}
