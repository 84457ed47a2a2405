//! How other threads reach a worker: a queue of wakes and an eventfd that ends the worker's sleep.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};

use super::epoll::sys;

/// What another thread wants the worker to look at.
#[derive(Debug, Clone, Copy)]
pub(super) enum RemoteWake {
    /// The task with this index.
    Task(u32),
    /// The mailbox registered under this number.
    Mailbox(u32),
}

/// The part of a worker that other threads may touch. Lock-free.
#[derive(Debug)]
pub(super) struct Remote {
    /// Unique in the process.
    id: u64,
    wakes: mpsc::Sender<RemoteWake>,
    /// The eventfd has been written and the worker has not looked yet.
    notified: AtomicBool,
    /// A `File` only because it can be written without unsafe code.
    eventfd: File,
    /// Ends the sleep inside a host executor, if the worker has one.
    sleep_fd: OnceLock<File>,
    /// The worker sleeps on `sleep_fd`, or is about to.
    asleep: AtomicBool,
}

impl Remote {
    /// The shared part, and the receiving end for the worker.
    pub(super) fn new() -> io::Result<(Remote, mpsc::Receiver<RemoteWake>)> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let (wakes, receiver) = mpsc::channel();
        let remote = Remote {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            wakes,
            notified: AtomicBool::new(false),
            eventfd: File::from(sys::eventfd(true)?),
            sleep_fd: OnceLock::new(),
            asleep: AtomicBool::new(false),
        };
        Ok((remote, receiver))
    }

    /// Tells workers apart.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Readable once notified; drivers watch it for edges and never read it.
    pub(super) fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// From any thread. Nothing happens if the worker has ended.
    pub(super) fn wake(&self, what: RemoteWake) {
        if self.wakes.send(what).is_ok() {
            self.notify();
        }
    }

    /// Ends the worker's wait or sleep.
    ///
    /// A worker that sleeps inside its host is woken on the descriptor it sleeps on. To write the
    /// watched eventfd and let the ring announce that on the other is not enough: the kernel puts off an
    /// announcement that is caused by an eventfd write, and loses it the second time (seen on 6.18).
    pub(super) fn notify(&self) {
        if self.notified.swap(true, Ordering::SeqCst) {
            return;
        }
        let sleep_fd = self.sleep_fd.get().filter(|_| self.asleep.load(Ordering::SeqCst));
        let mut fd = sleep_fd.unwrap_or(&self.eventfd);
        // Fails only when the counter is full, and then the worker has been notified anyway.
        let _ = fd.write_all(&1_u64.to_ne_bytes());
    }

    /// On the worker: whether it was notified since the last call.
    #[inline]
    pub(super) fn take_notice(&self) -> bool {
        // The plain load keeps the locked instruction off the ordinary turn.
        self.notified.load(Ordering::Relaxed) && self.notified.swap(false, Ordering::AcqRel)
    }

    /// Names the descriptor on which the worker will sleep. Once.
    pub(super) fn set_sleep_fd(&self, fd: OwnedFd) {
        // A second one is ignored: there is one loop per worker.
        let _ = self.sleep_fd.set(File::from(fd));
    }

    /// On the worker, before and after a sleep. False if it must not sleep: it was notified.
    pub(super) fn set_asleep(&self, asleep: bool) -> bool {
        self.asleep.store(asleep, Ordering::SeqCst);
        // Pairs with `notify`: one of the two sees the other's store.
        !self.notified.load(Ordering::SeqCst)
    }
}
