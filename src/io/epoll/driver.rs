//! The epoll driver: edge-triggered readiness, reads into the pool's blocks, one `sendmsg` for what
//! is queued. Operations are system calls that return at once, so slots are released at once.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::sys;
use crate::buf::{BLOCK_BYTES, BlockIndex, Chunk, Pool};
use crate::io::bind::client_socket;
use crate::io::driver::CloseMode;
use crate::io::remote::Remote;
use crate::io::stream::{Fin, Phase, Segment};
use crate::io::table::SocketTable;
use crate::io::{Address, SocketOptions};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1_024;
/// Reads of one stream, accepts of one listener, sends of one stream before others get their turn.
const FAIR_READS: usize = 16;
const FAIR_ACCEPTS: usize = 64;
const FAIR_SENDS: usize = 4;
/// Received pieces up to this size are copied, and the block is used again.
const COPY_OUT_BYTES: usize = 4_096;
/// Pieces that one send takes from a stream's queue at most.
const SLICES_MAX: usize = 32;

const STREAM_EVENTS: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
const LISTENER_EVENTS: i32 = libc::EPOLLIN | libc::EPOLLET;
const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const HUNG_UP: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
const WRITABLE: u32 = (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// The tag of the worker's eventfd.
const REMOTE_TAG: u64 = u64::MAX;
/// Set in the tags of listeners.
const LISTENER_TAG: u64 = 1 << 63;

/// The driver of one worker.
pub(in crate::io) struct EpollDriver {
    epoll: OwnedFd,
    pool: Rc<Pool>,
    /// Parallel to the table's streams.
    streams: Vec<Readiness>,
    /// Parallel to the table's listeners: a connection may be waiting.
    listeners: Vec<bool>,
    /// Streams that are readable and wanted, to be read in the next turn.
    to_read: VecDeque<u32>,
    to_accept: Vec<u32>,
    /// The block that the next read goes to.
    scratch: BlockIndex,
    events: Vec<sys::Event>,
    batch: Vec<Segment>,
    /// Keeps the watched eventfd open.
    _remote: Arc<Remote>,
}

/// What the kernel said last about a stream.
#[derive(Clone, Copy, Default)]
struct Readiness {
    readable: bool,
    /// FIN or an error was seen: read until it shows.
    ended: bool,
    writable: bool,
    /// Neither direction works any more.
    hung_up: bool,
    /// In `to_read`.
    queued: bool,
}

impl EpollDriver {
    /// Sets up the epoll instance.
    pub(in crate::io) fn new(pool: Rc<Pool>, remote: Arc<Remote>) -> io::Result<EpollDriver> {
        let epoll = sys::epoll_create()?;
        sys::epoll_add(&epoll, remote.eventfd(), libc::EPOLLIN | libc::EPOLLET, REMOTE_TAG)?;
        let scratch = pool.take_block().ok_or(ErrorKind::OutOfMemory)?;
        Ok(EpollDriver {
            epoll,
            pool,
            streams: Vec::new(),
            listeners: Vec::new(),
            to_read: VecDeque::new(),
            to_accept: Vec::new(),
            scratch,
            events: vec![sys::Event { events: 0, u64: 0 }; EVENTS_MAX],
            batch: Vec::new(),
            _remote: remote,
        })
    }

    pub(in crate::io) fn connect(
        &mut self,
        table: &mut SocketTable,
        index: u32,
        address: &Address,
        options: &SocketOptions,
    ) -> Result<(), i32> {
        let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EINVAL);
        let target = address.to_sock_addr().map_err(number)?;
        let fd = client_socket(address, options, true).map_err(number)?;
        let begun = socket2::SockRef::from(&fd).connect(&target);
        if let Err(error) = begun
            && error.raw_os_error() != Some(libc::EINPROGRESS)
        {
            return Err(number(error));
        }
        table.streams[index as usize].fd = Some(fd);
        // Also when connected already (unix sockets): the first event says so.
        self.watch(table, index).map_err(number)
    }

    #[inline]
    pub(in crate::io) fn update_receive(&mut self, table: &mut SocketTable, index: u32) {
        let readiness = self.readiness(index);
        if readiness.readable
            && table.streams[index as usize].rx.wanted
            && !std::mem::replace(&mut readiness.queued, true)
        {
            self.to_read.push_back(index);
        }
    }

    /// Hang-ups are reported anyway (`happened`); one that came before anybody asked is found here.
    pub(in crate::io) fn watch_failure(&mut self, table: &mut SocketTable, index: u32) {
        if self.readiness(index).hung_up {
            table.streams[index as usize].failed_after_end(libc::ECONNRESET);
        }
    }

    pub(in crate::io) fn close(&mut self, table: &mut SocketTable, index: u32, mode: CloseMode) {
        if let Some(fd) = table.streams[index as usize].fd.take() {
            if mode == CloseMode::Reset {
                // Fails only on sockets that are dead anyway.
                let _ = socket2::SockRef::from(&fd).set_linger(Some(Duration::ZERO));
            }
            drop(fd);
        }
        // `queued` stays if set: the entry in `to_read` finds nothing wanted.
        let queued = self.readiness(index).queued;
        *self.readiness(index) = Readiness { queued, ..Readiness::default() };
        table.release_stream(index);
    }

    pub(in crate::io) fn update_accept(&mut self, table: &mut SocketTable, index: u32) {
        if self.listeners.len() <= index as usize {
            self.listeners.resize(index as usize + 1, false);
        }
        let listener = &table.listeners[index as usize];
        if listener.wanted() && !std::mem::replace(&mut self.listeners[index as usize], true) {
            // First time, or the owner may have paused through an edge: look.
            self.to_accept.push(index);
        }
    }

    pub(in crate::io) fn listen(&mut self, table: &mut SocketTable, index: u32) -> io::Result<()> {
        let listener = &table.listeners[index as usize];
        let tag = LISTENER_TAG | tag(index, listener.generation);
        let Some(fd) = &listener.fd else { return Ok(()) };
        socket2::SockRef::from(fd).set_nonblocking(true)?;
        sys::epoll_add(&self.epoll, fd.as_fd(), LISTENER_EVENTS, tag)
    }

    pub(in crate::io) fn close_listener(&mut self, table: &mut SocketTable, index: u32) {
        if let Some(fd) = table.listeners[index as usize].fd.take() {
            // The socket may be shared with other workers: closing alone would leave it watched.
            let _ = sys::epoll_remove(&self.epoll, fd.as_fd());
        }
        table.release_listener(index);
    }

    #[inline]
    pub(in crate::io) fn turn(&mut self, table: &mut SocketTable, wait: Duration) -> io::Result<usize> {
        let mut done = 0;
        self.flush(table);
        for _ in 0..self.to_read.len() {
            let Some(index) = self.to_read.pop_front() else { break };
            self.readiness(index).queued = false;
            done += 1;
            self.read(table, index);
        }
        for index in std::mem::take(&mut self.to_accept) {
            done += 1;
            self.listeners[index as usize] = false;
            self.accept(table, index);
        }
        let busy = done > 0 || !self.to_read.is_empty() || !table.dirty.is_empty();
        let wait_ms = if busy { 0 } else { wait.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32 };
        let mut events = std::mem::take(&mut self.events);
        let count = sys::epoll_wait(&self.epoll, &mut events, wait_ms);
        for event in &events[..*count.as_ref().unwrap_or(&0)] {
            self.happened(table, event.u64, event.events);
        }
        self.events = events;
        Ok(count? + done)
    }

    fn happened(&mut self, table: &mut SocketTable, event_tag: u64, events: u32) {
        let index = (event_tag & 0xff_ffff) as u32;
        if event_tag == REMOTE_TAG {
            return;
        }
        if event_tag & LISTENER_TAG != 0 {
            let current = table.listeners.get(index as usize);
            if current
                .is_some_and(|slot| slot.open && LISTENER_TAG | tag(index, slot.generation) == event_tag)
            {
                self.accept(table, index);
            }
            return;
        }
        let stream = &mut table.streams[index as usize];
        if tag(index, stream.generation) != event_tag {
            return; // closed while the event was on its way
        }
        let readiness = self.readiness(index);
        readiness.readable |= events & READABLE != 0;
        readiness.ended |= events & ENDED != 0;
        readiness.writable |= events & WRITABLE != 0;
        readiness.hung_up |= events & HUNG_UP != 0;
        if readiness.hung_up && stream.rx.failure_wanted && stream.phase == Phase::Open {
            stream.failed_after_end(libc::ECONNRESET);
        }
        match stream.phase {
            Phase::Connecting if events & WRITABLE != 0 => {
                let error = stream.fd.as_ref().map(|fd| socket2::SockRef::from(fd).take_error());
                match error {
                    Some(Ok(None)) => table.connected(index),
                    Some(Ok(Some(error)) | Err(error)) => {
                        table.connect_failed(index, error.raw_os_error().unwrap_or(libc::ECONNREFUSED));
                    }
                    None => {}
                }
            }
            Phase::Open
                if events & WRITABLE != 0
                    && (!stream.tx.is_queue_empty() || stream.tx.fin == Fin::Wanted) =>
            {
                table.mark_dirty(index);
            }
            _ => {}
        }
        if events & READABLE != 0 {
            self.read(table, index);
        }
    }

    #[inline]
    fn read(&mut self, table: &mut SocketTable, index: u32) {
        let counters = &table.counters;
        let stream = &mut table.streams[index as usize];
        for _ in 0..FAIR_READS {
            let readiness = &mut self.streams[index as usize];
            let (true, true, Phase::Open) = (stream.rx.wanted, readiness.readable, stream.phase) else {
                return;
            };
            let Some(fd) = &stream.fd else { return };
            // SAFETY: the scratch block is held by this driver alone.
            let received = unsafe { sys::recv(fd.as_fd(), self.pool.block_ptr(self.scratch), BLOCK_BYTES) };
            match received {
                Ok(0) => return stream.rx.finish(Ok(())),
                Ok(len) => {
                    readiness.readable = len == BLOCK_BYTES || readiness.ended;
                    let (chunk, copied) = self.take_scratch(len);
                    if copied {
                        counters.blocks_copied_out.add(1);
                    }
                    if stream.rx.push(chunk) {
                        counters.rx_paused.add(1);
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        (readiness.readable, readiness.ended) = (false, false);
                        return;
                    }
                    ErrorKind::Interrupted => {}
                    _ => return stream.rx.finish(Err(error.raw_os_error().unwrap_or(libc::EIO))),
                },
            }
        }
        self.update_receive(table, index);
    }

    /// A chunk of the scratch block's first bytes; true in the second part if they were copied only
    /// because the pool runs low.
    #[inline]
    fn take_scratch(&mut self, len: usize) -> (Chunk, bool) {
        if len > COPY_OUT_BYTES
            && self.pool.usage().free_blocks >= self.pool.block_count() / 4
            && let Some(next) = self.pool.take_block()
        {
            let block = std::mem::replace(&mut self.scratch, next);
            // SAFETY: the block was ours, and nobody writes into it until the pool hands it out again.
            return (unsafe { self.pool.chunk(block, len) }, false);
        }
        // SAFETY: the block is ours, mapped, and nobody writes while we copy.
        let received = unsafe { std::slice::from_raw_parts(self.pool.block_ptr(self.scratch), len) };
        (Chunk::copy_from(received), len > COPY_OUT_BYTES)
    }

    /// Sends what was queued since the last time. May wake tasks that wait for room.
    pub(in crate::io) fn flush(&mut self, table: &mut SocketTable) {
        let mut dirty = std::mem::take(&mut table.dirty);
        for index in dirty.drain(..) {
            table.streams[index as usize].tx.dirty = false;
            self.send(table, index);
        }
        let marked_meanwhile = std::mem::replace(&mut table.dirty, dirty);
        table.dirty.extend(marked_meanwhile);
    }

    #[inline]
    fn send(&mut self, table: &mut SocketTable, index: u32) {
        let stream = &mut table.streams[index as usize];
        let Some(fd) = &stream.fd else { return };
        let readiness = slot(&mut self.streams, index);
        if stream.phase != Phase::Open {
            return;
        }
        for _ in 0..FAIR_SENDS {
            if stream.tx.is_queue_empty() {
                if stream.tx.fin == Fin::Wanted {
                    stream.tx.fin = Fin::Sent;
                    // Fails only if the connection is gone, which receiving reports.
                    let _ = socket2::SockRef::from(fd).shutdown(std::net::Shutdown::Write);
                }
                return;
            }
            if !readiness.writable {
                return;
            }
            stream.tx.take_batch(&mut self.batch);
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut total = 0;
            for (slice, segment) in slices.iter_mut().zip(&self.batch) {
                *slice = IoSlice::new(segment.bytes());
                total += segment.bytes().len();
            }
            let sent = match sys::send(fd.as_fd(), &slices[..self.batch.len()]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => {
                    self.batch.drain(..).for_each(Segment::recycle);
                    return stream.tx.fail(error.raw_os_error().unwrap_or(libc::EPIPE));
                }
            };
            readiness.writable = sent == total;
            let mut left = sent;
            let whole = self.batch.iter().take_while(|segment| {
                let fits = segment.bytes().len() <= left;
                left -= if fits { segment.bytes().len() } else { 0 };
                fits
            });
            let whole = whole.count();
            self.batch.drain(..whole).for_each(Segment::recycle);
            stream.tx.put_back(&mut self.batch, left);
            stream.tx.sent(sent);
        }
        table.mark_dirty(index);
    }

    fn accept(&mut self, table: &mut SocketTable, index: u32) {
        for _ in 0..FAIR_ACCEPTS {
            let listener = &table.listeners[index as usize];
            if !listener.wanted() {
                return;
            }
            let Some(fd) = &listener.fd else { return };
            match sys::accept(fd.as_fd()) {
                Ok(fd) => {
                    let id = table.accepted(index, Some(fd));
                    if let Err(error) = self.watch(table, id.index) {
                        let error = error.raw_os_error().unwrap_or(libc::ENOMEM);
                        table.streams[id.index as usize].rx.finish(Err(error));
                        table.streams[id.index as usize].tx.fail(error);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => table.accept_failed(index, error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        self.update_accept(table, index);
    }

    /// Begins to watch a stream that has its descriptor.
    fn watch(&mut self, table: &SocketTable, index: u32) -> io::Result<()> {
        let stream = &table.streams[index as usize];
        let queued = self.readiness(index).queued;
        let writable = stream.phase == Phase::Open;
        *self.readiness(index) = Readiness { queued, readable: writable, writable, ..Readiness::default() };
        match &stream.fd {
            Some(fd) => sys::epoll_add(&self.epoll, fd.as_fd(), STREAM_EVENTS, tag(index, stream.generation)),
            None => Ok(()),
        }
    }

    fn readiness(&mut self, index: u32) -> &mut Readiness {
        slot(&mut self.streams, index)
    }
}

impl Drop for EpollDriver {
    fn drop(&mut self) {
        self.pool.give_back(self.scratch);
    }
}

fn slot(streams: &mut Vec<Readiness>, index: u32) -> &mut Readiness {
    if streams.len() <= index as usize {
        streams.resize(index as usize + 1, Readiness::default());
    }
    &mut streams[index as usize]
}

/// `generation` in bits 24-55, `index` in 0-23.
fn tag(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 24 | u64::from(index)
}
