//! A listening socket of a worker.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use socket2::SockRef;

use super::driver::{CloseMode, Driver};
use super::socket::close_stream;
use super::table::{SlotId, SocketTable};
use super::worker::{Reactor, try_with_worker, with_worker};
use super::{Address, ListenOptions, Socket, bind_listener};

/// A listening socket of this worker. Dropping it closes it, together with connections that were
/// accepted and not yet taken.
#[derive(Debug)]
pub struct Listener {
    id: SlotId,
    /// Belongs to the worker's thread.
    _not_send: PhantomData<*const ()>,
}

impl Listener {
    /// Binds and listens on this worker.
    ///
    /// # Errors
    /// As [`bind_listener`].
    pub fn bind(options: &ListenOptions) -> io::Result<Listener> {
        let simulated = with_worker(|worker| {
            let Reactor { table, driver, .. } = &mut *worker.reactor.borrow_mut();
            Some(driver.simulated()?.bind(table, options))
        });
        match simulated {
            Some(bound) => bound.map(|id| Listener { id, _not_send: PhantomData }),
            None => Listener::from_fd(bind_listener(options)?),
        }
    }

    /// Takes over a socket that [`bind_listener`] made, perhaps on another thread. Several workers
    /// may have duplicates of one socket (a unix socket must be shared so).
    ///
    /// # Errors
    /// If the descriptor is no socket or cannot be watched.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Listener> {
        with_worker(|worker| {
            let Reactor { table, driver, .. } = &mut *worker.reactor.borrow_mut();
            let id = table.insert_listener(Some(fd));
            // Closes it if the driver refuses.
            let listener = Listener { id, _not_send: PhantomData };
            match driver.listen(table, id.index) {
                Ok(()) => Ok(listener),
                Err(error) => {
                    std::mem::forget(listener);
                    table.listener(id).open = false;
                    driver.close_listener(table, id.index);
                    Err(error)
                }
            }
        })
    }

    /// Where it listens, with the port that the kernel chose. A system call.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_address(&self) -> io::Result<Address> {
        with_worker(|worker| {
            let Reactor { table, driver, .. } = &mut *worker.reactor.borrow_mut();
            if let Some(network) = driver.simulated() {
                return network.listener_address(self.id.index);
            }
            match &table.listener(self.id).fd {
                Some(fd) => Ok(Address::from_sock_addr(&SockRef::from(fd).local_addr()?)),
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        })
    }

    /// The next connection. Failed connections are skipped; when descriptors run out it waits a
    /// while and tries again (both are counted).
    ///
    /// # Errors
    /// If the listening socket itself fails.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        with_worker(|worker| {
            let Reactor { table, driver, .. } = &mut *worker.reactor.borrow_mut();
            let listener = table.listener(self.id);
            listener.ask();
            let taken = listener.pop();
            let error = listener.error;
            if taken.is_none() {
                listener.waiter.register(cx);
            }
            driver.update_accept(table, self.id.index);
            match (taken, error) {
                (Some(id), _) => Poll::Ready(Ok(Socket::from_id(id))),
                (None, Some(error)) => Poll::Ready(Err(io::Error::from_raw_os_error(error))),
                (None, None) => Poll::Pending,
            }
        })
    }

    /// As [`Listener::poll_accept`].
    pub async fn accept(&mut self) -> io::Result<Socket> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Stops (`true`) or resumes taking connections from the kernel, where they queue up to the
    /// backlog; those already taken are still returned.
    pub fn set_paused(&mut self, paused: bool) {
        with_worker(|worker| {
            let Reactor { table, driver, .. } = &mut *worker.reactor.borrow_mut();
            table.listener(self.id).set_paused(paused);
            driver.update_accept(table, self.id.index);
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // No worker, or another one: it has ended, and its sockets with it.
        try_with_worker(|worker| {
            let Reactor { table, driver, .. } = &mut *worker.reactor.borrow_mut();
            close_listener(table, driver, self.id);
        });
    }
}

/// The owner of a listener is gone.
pub(super) fn close_listener(table: &mut SocketTable, driver: &mut Driver, id: SlotId) {
    let Some(listener) = table.listeners.get_mut(id.index as usize) else { return };
    if listener.generation != id.generation || !listener.open {
        return;
    }
    listener.open = false;
    while let Some(waiting) = table.listener(id).pop() {
        close_stream(table, driver, waiting, CloseMode::Normal);
    }
    driver.close_listener(table, id.index);
}
