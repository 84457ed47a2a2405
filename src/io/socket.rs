//! A connected (or connecting) stream socket: the handle that the rest of the proxy uses.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;

use super::driver::{CloseMode, Driver};
use super::sim::SimDriver;
use super::stream::{Fin, Phase, Stream};
use super::table::{SlotId, SocketTable};
use super::timer::Timer;
use super::waiter::Waiter;
use super::worker::{Reactor, try_with_worker, with_worker};
use super::{Address, SocketOptions, spawn};
use crate::buf::Chunk;

/// A TCP or unix stream socket of this worker.
///
/// Receiving runs ahead of the reader up to a limit; writes are queued and sent once per loop turn
/// as one system call. Dropping the socket, or any future that uses it, is safe at any time: unsent
/// data is discarded and the socket closed. At most one task can wait for each of receiving and
/// draining.
#[derive(Debug)]
pub struct Socket {
    id: SlotId,
    /// Belongs to the worker's thread.
    _not_send: PhantomData<*const ()>,
}

impl Socket {
    /// Begins to connect; never blocks. What is written meanwhile is sent once the connection stands.
    /// Failure, even an immediate one, is reported by every poll.
    pub fn connect(address: &Address, options: &SocketOptions) -> Socket {
        with_reactor(|reactor| {
            let Reactor { table, driver, .. } = reactor;
            let id = table.insert_stream(None, Phase::Connecting);
            if let Err(error) = driver.connect(table, id.index, address, options) {
                table.connect_failed(id.index, error);
            }
            Socket::from_id(id)
        })
    }

    /// Ready once the connection stands or has failed.
    pub fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(|stream| match (stream.phase, stream.connect_error) {
            (_, Some(error)) => Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            (Phase::Connecting, None) => {
                stream.tx.waiter.register(cx);
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        })
    }

    /// As [`Socket::poll_connected`].
    pub async fn connected(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_connected(cx)).await
    }

    /// The next received bytes; `None` at the end of the peer's data. The first call arms receiving,
    /// which goes on until the receive limit is queued, and again once half of that has been taken.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        with_reactor(|reactor| {
            let Reactor { table, driver, .. } = reactor;
            let stream = table.stream(self.id);
            if let Some((chunk, resume)) = stream.rx.pop() {
                if resume {
                    driver.update_receive(table, self.id.index);
                }
                return Poll::Ready(Ok(Some(chunk)));
            }
            match stream.rx.end {
                Some(Ok(())) => return Poll::Ready(Ok(None)),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
                None => stream.rx.waiter.register(cx),
            }
            if stream.rx.ask() {
                driver.update_receive(table, self.id.index);
            }
            Poll::Pending
        })
    }

    /// As [`Socket::poll_recv`].
    pub async fn recv(&mut self) -> io::Result<Option<Chunk>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next received bytes if some are queued; never waits and does not arm receiving.
    pub fn try_recv(&mut self) -> Option<Chunk> {
        with_reactor(|reactor| {
            let Reactor { table, driver, .. } = reactor;
            let (chunk, resume) = table.stream(self.id).rx.pop()?;
            if resume {
                driver.update_receive(table, self.id.index);
            }
            Some(chunk)
        })
    }

    /// Puts bytes that were taken back, to be received again before everything else.
    pub fn unread(&mut self, chunk: Chunk) {
        self.with_stream(|stream| stream.rx.unread(chunk));
    }

    /// To be called once the peer has ended its direction: ready when the connection has failed since.
    /// So a peer that is gone altogether is told from one that has only nothing more to say, as soon as
    /// it refuses something that was sent to it.
    pub fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        with_reactor(|reactor| {
            let Reactor { table, driver, .. } = reactor;
            let stream = table.stream(self.id);
            if stream.tx.error.is_some() || matches!(stream.rx.end, Some(Err(_))) {
                return Poll::Ready(());
            }
            stream.rx.waiter.register(cx);
            if stream.rx.end.is_some() && stream.rx.ask_failure() {
                driver.watch_failure(table, self.id.index);
            }
            Poll::Pending
        })
    }

    /// Bytes received and not yet taken.
    pub fn unread_bytes(&self) -> usize {
        self.with_stream(|stream| stream.rx.queued_bytes())
    }

    /// How many received bytes may queue before receiving pauses; at least 1. What is on its way
    /// when it pauses still comes.
    pub fn set_receive_limit(&mut self, bytes: usize) {
        with_reactor(|reactor| {
            let Reactor { table, driver, .. } = reactor;
            if table.stream(self.id).rx.set_limit(bytes) {
                driver.update_receive(table, self.id.index);
            }
        });
    }

    /// Queues a copy, sent together with everything else that is queued at the end of the loop turn.
    /// Discarded if sending has failed or was shut down.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.queue(|stream| stream.tx.write(bytes));
        }
    }

    /// Queues a chunk, without copying unless it is small. Discarded as in [`Socket::write`].
    #[inline]
    pub fn write_chunk(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.queue(|stream| stream.tx.write_chunk(chunk));
        }
    }

    /// Lets `fill` append to the last queued buffer, which saves a copy when encoding. What the buffer
    /// holds already must stay. Discarded as in [`Socket::write`].
    #[inline]
    pub fn with_write_buffer<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut buffer = self.with_stream(|stream| stream.tx.take_tail());
        let filled = fill(&mut buffer);
        self.queue(|stream| stream.tx.return_tail(buffer));
        filled
    }

    /// Takes the last queued buffer away, to be appended to and given back with [`Socket::return_write_buffer`] before
    /// anything else is written: as [`Socket::with_write_buffer`], for those who cannot use a closure.
    #[inline]
    pub fn take_write_buffer(&mut self) -> Vec<u8> {
        self.with_stream(|stream| stream.tx.take_tail())
    }

    /// Queues a buffer that was taken with [`Socket::take_write_buffer`]. Discarded as in [`Socket::write`].
    #[inline]
    pub fn return_write_buffer(&mut self, buffer: Vec<u8>) {
        self.queue(|stream| stream.tx.return_tail(buffer));
    }

    /// Bytes queued and not yet taken by the kernel.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.with_stream(|stream| stream.tx.queued_bytes)
    }

    /// Ready when at most `below_bytes` are queued, or sending has failed.
    #[inline]
    pub fn poll_drained(&mut self, cx: &mut Context<'_>, below_bytes: usize) -> Poll<io::Result<()>> {
        self.with_stream(|stream| {
            let tx = &mut stream.tx;
            if let Some(error) = tx.error {
                return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
            }
            if tx.queued_bytes <= below_bytes {
                return Poll::Ready(Ok(()));
            }
            tx.wake_below_bytes = below_bytes;
            tx.waiter.register(cx);
            Poll::Pending
        })
    }

    /// As [`Socket::poll_drained`].
    pub async fn drained(&mut self, below_bytes: usize) -> io::Result<()> {
        poll_fn(|cx| self.poll_drained(cx, below_bytes)).await
    }

    /// Sends FIN after what is queued; later writes are discarded.
    pub fn shutdown_write(&mut self) {
        with_reactor(|reactor| {
            let table = &mut reactor.table;
            let stream = table.stream(self.id);
            if stream.tx.fin == Fin::No {
                stream.tx.fin = Fin::Wanted;
                table.mark_dirty(self.id.index);
            }
        });
    }

    /// Delayed close, detached: sends the rest and FIN, then discards input until the peer closes,
    /// the connection fails, or `timeout` is over. So the peer can read everything before its own
    /// late data would provoke a reset.
    pub fn close_after_flush(self, timeout: Duration) {
        spawn(self.flush_and_close(timeout));
    }

    /// As [`Socket::close_after_flush`], for those who want to know when that is done.
    pub async fn flush_and_close(mut self, timeout: Duration) {
        self.shutdown_write();
        let mut timer = Timer::new();
        timer.arm_after(timeout);
        poll_fn(|cx| {
            if timer.poll_expired(cx).is_ready() {
                return Poll::Ready(());
            }
            loop {
                match self.poll_recv(cx) {
                    Poll::Ready(Ok(Some(_))) => {}
                    Poll::Ready(Ok(None)) if self.poll_drained(cx, 0).is_pending() => {
                        return Poll::Pending;
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    /// Closes with a reset (RST); unsent data is discarded.
    pub fn reset(self) {
        close(self.id, CloseMode::Reset);
        std::mem::forget(self);
    }

    /// Connected, nothing unread or unsent, and no end or error seen: fit for another request.
    pub fn is_reusable(&self) -> bool {
        self.with_stream(|stream| {
            stream.phase == Phase::Open
                && stream.rx.end.is_none()
                && stream.rx.queued_bytes() == 0
                && stream.tx.error.is_none()
                && stream.tx.fin == Fin::No
                && stream.tx.queued_bytes == 0
        })
    }

    /// Whether the peer has ended its data or the connection has failed, even if received data is
    /// still unread.
    pub fn is_read_ended(&self) -> bool {
        self.with_stream(|stream| stream.rx.end.is_some())
    }

    /// Why sending failed, if it did.
    pub fn write_error(&self) -> Option<io::Error> {
        self.with_stream(|stream| stream.tx.error.map(io::Error::from_raw_os_error))
    }

    /// Bytes that the kernel took.
    pub fn bytes_sent(&self) -> u64 {
        self.with_stream(|stream| stream.tx.total_bytes)
    }

    /// Bytes that the kernel took, and those that are queued for it.
    pub fn bytes_written(&self) -> u64 {
        self.with_stream(|stream| stream.tx.total_bytes + stream.tx.queued_bytes as u64)
    }

    /// Bytes received from the kernel, read or not.
    pub fn bytes_received(&self) -> u64 {
        self.with_stream(|stream| stream.rx.total_bytes)
    }

    /// Bytes received and taken.
    pub fn bytes_taken(&self) -> u64 {
        self.with_stream(|stream| stream.rx.total_bytes.saturating_sub(stream.rx.queued_bytes() as u64))
    }

    /// The other side's address. A system call.
    ///
    /// # Errors
    /// If the socket is not connected.
    pub fn peer_address(&self) -> io::Result<Address> {
        self.ask_address(|network, index| network.peer_address(index), |socket| socket.peer_addr())
    }

    /// This side's address. A system call.
    ///
    /// # Errors
    /// If connecting failed at once.
    pub fn local_address(&self) -> io::Result<Address> {
        self.ask_address(|network, index| network.local_address(index), |socket| socket.local_addr())
    }

    /// Where a connection was meant to go that the kernel redirected here (`SO_ORIGINAL_DST`); none if it was
    /// not redirected. A system call.
    pub fn original_destination(&self) -> Option<SocketAddr> {
        with_reactor(|reactor| {
            let fd = reactor.table.stream(self.id).fd.as_ref()?;
            let socket = SockRef::from(fd);
            let local = socket.local_addr().ok()?.as_socket()?;
            let original = match local.ip().to_canonical() {
                IpAddr::V4(_) => socket.original_dst_v4(),
                IpAddr::V6(_) => socket.original_dst_v6(),
            };
            original.ok()?.as_socket().filter(|original| *original != local)
        })
    }

    pub(super) fn from_id(id: SlotId) -> Socket {
        Socket { id, _not_send: PhantomData }
    }

    #[inline]
    fn queue(&mut self, put: impl FnOnce(&mut Stream)) {
        with_reactor(|reactor| {
            let table = &mut reactor.table;
            let stream = table.stream(self.id);
            if stream.tx.error.is_some() || stream.tx.fin != Fin::No {
                return;
            }
            put(stream);
            table.mark_dirty(self.id.index);
        });
    }

    #[inline]
    fn with_stream<R>(&self, use_it: impl FnOnce(&mut Stream) -> R) -> R {
        with_reactor(|reactor| use_it(reactor.table.stream(self.id)))
    }

    /// Asks the simulated network if there is one, else the kernel.
    fn ask_address(
        &self,
        ask_network: impl FnOnce(&SimDriver, u32) -> io::Result<Address>,
        ask_kernel: impl FnOnce(SockRef<'_>) -> io::Result<socket2::SockAddr>,
    ) -> io::Result<Address> {
        with_reactor(|reactor| {
            if let Some(network) = reactor.driver.simulated() {
                return ask_network(network, self.id.index);
            }
            match &reactor.table.stream(self.id).fd {
                Some(fd) => Ok(Address::from_sock_addr(&ask_kernel(SockRef::from(fd))?)),
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        })
    }

    /// The slot, for [`sim`](super::sim)'s controls.
    pub(super) fn slot_index(&self) -> u32 {
        self.id.index
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        close(self.id, CloseMode::Normal);
    }
}

#[inline]
fn with_reactor<R>(use_it: impl FnOnce(&mut Reactor) -> R) -> R {
    with_worker(|worker| use_it(&mut worker.reactor.borrow_mut()))
}

fn close(id: SlotId, mode: CloseMode) {
    // No worker, or another one: it has ended, and its sockets with it.
    try_with_worker(|worker| {
        let Reactor { table, driver, .. } = &mut *worker.reactor.borrow_mut();
        close_stream(table, driver, id, mode);
    });
}

/// The owner of a stream is gone.
pub(super) fn close_stream(table: &mut SocketTable, driver: &mut Driver, id: SlotId, mode: CloseMode) {
    let Some(stream) = table.streams.get_mut(id.index as usize) else { return };
    if stream.generation != id.generation {
        return;
    }
    stream.phase = Phase::Closing;
    stream.rx.discard();
    stream.tx.discard();
    stream.tx.waiter = Waiter::default();
    driver.close(table, id.index, mode);
}
