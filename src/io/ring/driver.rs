//! The io_uring driver: turns what the socket table wants into operations and their completions
//! into what the table knows.
//!
//! Whatever the kernel reads or writes is held by the slot's [`Operations`] (or by the pool), never
//! by a future; a slot is released only when none of its operations is left.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, opcode, squeue, types};

use super::buffers::Buffers;
use super::receive::Receives;
use super::send::{FreeBatches, Sending};
use super::tag::{Operation, pack, unpack};
use super::uring::{Completion, Uring};
use crate::buf::Pool;
use crate::io::bind::client_socket;
use crate::io::driver::CloseMode;
use crate::io::remote::Remote;
use crate::io::stream::{Fin, Phase};
use crate::io::table::SocketTable;
use crate::io::{Address, SocketOptions};

/// Completions that fit. Receives complete at most once per block between two turns, everything
/// else a few times per socket.
const CQ_ENTRIES: u32 = 16_384;

/// What the kernel posts per call if there is more (`IO_LOCAL_TW_DEFAULT_MAX`).
const COMPLETIONS_PER_CALL: usize = 20;
/// What is handled before tasks run and timers are looked at.
const COMPLETIONS_PER_TURN: usize = 512;

/// A stream's sends are expected to be done at once after so many that were.
const PROMPT_SENDS_MIN: u8 = 4;
/// If one is not, for the first time, other events wait for it no longer than this. Longer than the kernel's
/// tick, so that the timer is rarely programmed into the hardware (which costs microseconds in a guest).
const SENDS_WAIT_MAX: Duration = Duration::from_millis(5);

/// What tells a broken connection from one whose peer has nothing more to say.
const FAILURE: i32 = (libc::POLLERR | libc::POLLHUP) as i32;

/// The driver of one worker.
pub(in crate::io) struct RingDriver {
    uring: Uring,
    receives: Receives,
    /// Sends queued in this turn that the kernel will most likely do at once.
    expected_sends: u32,
    /// The kernel found no block in this turn.
    ran_out: bool,
    /// Counts turns, to tell whether a send was done at once.
    turn: u32,
    buffers: Buffers,
    /// Parallel to the table's streams. They move when the list grows: the kernel holds pointers to what they own, but
    /// none into them.
    streams: Vec<Operations>,
    /// For sends of several pieces.
    free_batches: FreeBatches,
    listeners: Vec<Accepting>,
    /// Streams whose receive found no buffer, in the order in which they are to go on.
    starved: VecDeque<u32>,
    completions: Vec<Completion>,
    /// Operations under way, all slots together.
    operations: usize,
    remote: Arc<Remote>,
    /// The registered eventfd.
    sleep_fd: Option<OwnedFd>,
    timespec: types::Timespec,
}

/// The operations of one stream's slot, and what owns the memory they use. In one cache line.
#[derive(Default)]
#[repr(align(64))]
struct Operations {
    /// Operations whose last completion has not been reaped.
    count: u32,
    receiving: bool,
    cancelling_receive: bool,
    starved: bool,
    /// The turn in which the last send was queued, and how many before it, without a break, were done at once.
    sent_in_turn: u32,
    prompt_sends: u8,
    connecting: bool,
    watching_failure: bool,
    /// What is being sent.
    sending: Sending,
    /// Where to, while `connecting`.
    address: Option<Box<socket2::SockAddrStorage>>,
}

#[derive(Default)]
struct Accepting {
    under_way: bool,
    cancelling: bool,
}

impl RingDriver {
    /// Sets up the ring.
    pub(in crate::io) fn new(pool: Rc<Pool>, remote: Arc<Remote>) -> io::Result<RingDriver> {
        let mut uring = Uring::new(CQ_ENTRIES)?;
        let receives = Receives::probe(&mut uring)?;
        let buffers = Buffers::new(&uring, pool)?;
        let mut driver = RingDriver {
            uring,
            receives,
            expected_sends: 0,
            ran_out: false,
            turn: 0,
            buffers,
            streams: Vec::new(),
            free_batches: Vec::new(),
            listeners: Vec::new(),
            starved: VecDeque::new(),
            completions: Vec::with_capacity(CQ_ENTRIES as usize / 4),
            operations: 0,
            remote,
            sleep_fd: None,
            timespec: types::Timespec::new(),
        };
        driver.watch_remote();
        Ok(driver)
    }

    pub(in crate::io) fn operations(&self) -> usize {
        self.operations
    }

    pub(in crate::io) fn has_queued(&mut self) -> bool {
        self.uring.has_queued()
    }

    /// Lets completions be announced on `fd`, once `prepare_sleep` was called.
    pub(super) fn register_sleep_fd(&mut self, fd: OwnedFd) -> io::Result<()> {
        self.uring.io().submitter().register_eventfd(fd.as_raw_fd())?;
        self.uring.set_eventfd_enabled(false);
        self.sleep_fd = Some(fd);
        Ok(())
    }

    /// From now on completions are announced; `deadline` from now one is produced if none came.
    /// Turn once more before sleeping: completions that came before are not announced.
    pub(super) fn prepare_sleep(&mut self, deadline: Option<Duration>) {
        self.uring.set_eventfd_enabled(true);
        if let Some(wait) = deadline {
            self.timespec = types::Timespec::new().sec(wait.as_secs()).nsec(wait.subsec_nanos());
            let entry = opcode::Timeout::new(&self.timespec).build();
            // SAFETY: the kernel reads the time on submission, which is the next call; the driver is
            // boxed and does not move meanwhile.
            unsafe { self.uring.push(&entry.user_data(pack(Operation::Timeout, 0, 0))) };
        }
    }

    /// Completions are not announced any more, and the end of the sleep is called off.
    pub(super) fn end_sleep(&mut self, with_deadline: bool) {
        self.uring.set_eventfd_enabled(false);
        if with_deadline {
            let entry = opcode::TimeoutRemove::new(pack(Operation::Timeout, 0, 0)).build();
            let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(pack(Operation::Ignored, 0, 0));
            // SAFETY: points to nothing.
            unsafe { self.uring.push(&entry) };
        }
    }

    pub(in crate::io) fn connect(
        &mut self,
        table: &mut SocketTable,
        index: u32,
        address: &Address,
        options: &SocketOptions,
    ) -> Result<(), i32> {
        let (fd, target) = client_socket(address, options, false)
            .and_then(|fd| Ok((fd, address.to_sock_addr()?)))
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        let stream = &mut table.streams[index as usize];
        let (raw_fd, tag) = (fd.as_raw_fd(), pack(Operation::Connect, index, stream.generation));
        stream.fd = Some(fd);
        let operations = slot(&mut self.streams, index);
        let address_len = target.len();
        let storage = operations.address.insert(Box::new(target.as_storage()));
        let address = (&raw const **storage).cast();
        operations.connecting = true;
        let entry = opcode::Connect::new(types::Fd(raw_fd), address, address_len).build();
        // SAFETY: the address lies in a box that is neither changed nor freed while `connecting`.
        unsafe { self.start(index, &entry.user_data(tag)) };
        Ok(())
    }

    #[inline]
    pub(in crate::io) fn update_receive(&mut self, table: &mut SocketTable, index: u32) {
        let stream = &table.streams[index as usize];
        let operations = slot(&mut self.streams, index);
        if stream.rx.wanted {
            if operations.receiving || operations.starved || stream.phase != Phase::Open {
                return;
            }
            let Some(fd) = &stream.fd else { return };
            operations.receiving = true;
            let tag = pack(Operation::Receive, index, stream.generation);
            let entry = self.receives.entry(fd.as_raw_fd(), stream.rx.allowance_bytes());
            // SAFETY: points to nothing; the kernel writes into blocks that were offered to it.
            unsafe { self.start(index, &entry.user_data(tag)) };
        } else if operations.receiving && !operations.cancelling_receive {
            operations.cancelling_receive = true;
            self.cancel(pack(Operation::Receive, index, stream.generation));
        }
    }

    pub(in crate::io) fn watch_failure(&mut self, table: &mut SocketTable, index: u32) {
        let stream = &table.streams[index as usize];
        let operations = slot(&mut self.streams, index);
        let (false, Some(fd)) = (operations.watching_failure, &stream.fd) else { return };
        operations.watching_failure = true;
        let tag = pack(Operation::Failure, index, stream.generation);
        // Errors and hang-ups are reported whether asked for or not; and so is the peer's FIN, which is known
        // already: hence more than one shot.
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), FAILURE as u32).multi(true).build();
        // SAFETY: points to nothing.
        unsafe { self.start(index, &entry.user_data(tag)) };
    }

    pub(in crate::io) fn close(&mut self, table: &mut SocketTable, index: u32, mode: CloseMode) {
        let stream = &mut table.streams[index as usize];
        let generation = stream.generation;
        if let (Some(fd), CloseMode::Reset) = (&stream.fd, mode) {
            // Fails only on sockets that are dead anyway.
            let _ = socket2::SockRef::from(fd).set_linger(Some(Duration::ZERO));
        }
        let operations = slot(&mut self.streams, index);
        if operations.count == 0 {
            return self.finish_close(table, index);
        }
        let under_way = [
            (operations.receiving && !operations.cancelling_receive, Operation::Receive),
            (!operations.sending.is_none(), Operation::Send),
            (operations.connecting, Operation::Connect),
            (operations.watching_failure, Operation::Failure),
        ];
        for (_, operation) in under_way.into_iter().filter(|(under_way, _)| *under_way) {
            self.cancel(pack(operation, index, generation));
        }
    }

    pub(in crate::io) fn listen(&mut self, table: &mut SocketTable, index: u32) -> io::Result<()> {
        match &table.listeners[index as usize].fd {
            // io_uring reports EAGAIN instead of waiting if a descriptor is non-blocking.
            Some(fd) => socket2::SockRef::from(fd).set_nonblocking(false),
            None => Ok(()),
        }
    }

    pub(in crate::io) fn update_accept(&mut self, table: &mut SocketTable, index: u32) {
        if self.listeners.len() <= index as usize {
            self.listeners.resize_with(index as usize + 1, Accepting::default);
        }
        let (listener, accepting) = (&table.listeners[index as usize], &mut self.listeners[index as usize]);
        let tag = pack(Operation::Accept, index, listener.generation);
        if listener.wanted() {
            let (false, Some(fd)) = (accepting.under_way, &listener.fd) else { return };
            accepting.under_way = true;
            self.operations += 1;
            let entry = opcode::AcceptMulti::new(types::Fd(fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
            // SAFETY: points to nothing: no addresses are asked for.
            unsafe { self.uring.push(&entry.user_data(tag)) };
        } else if accepting.under_way && !accepting.cancelling {
            accepting.cancelling = true;
            self.cancel(tag);
        }
    }

    pub(in crate::io) fn close_listener(&mut self, table: &mut SocketTable, index: u32) {
        self.update_accept(table, index);
        if !self.listeners[index as usize].under_way {
            table.listeners[index as usize].fd = None;
            table.release_listener(index);
        }
    }

    #[inline]
    pub(in crate::io) fn turn(&mut self, table: &mut SocketTable, wait: Duration) -> io::Result<usize> {
        self.buffers.refill();
        let mut dirty = std::mem::take(&mut table.dirty);
        for index in dirty.drain(..) {
            table.streams[index as usize].tx.dirty = false;
            self.start_send(table, index);
        }
        // Nobody marks streams during the loop; this keeps the list's memory.
        table.dirty = dirty;
        self.resume_starved(table);
        self.await_events(wait)?;
        let mut count = self.complete_posted(table);
        if wait.is_zero() {
            count = self.complete_rest(table, count)?;
        }
        if std::mem::take(&mut self.ran_out) {
            self.buffers.ran_out();
        }
        Ok(count)
    }

    /// Kernels since 6.13 post a few completions per call. That suits a worker that waits, but one
    /// that is busy with its tasks would fall behind. Each may take a block: no more than are offered.
    /// Blocks that came back are offered again at once: with hundreds of small receives at a time the kernel
    /// would find none, and each would have to be started anew.
    fn complete_rest(&mut self, table: &mut SocketTable, mut count: usize) -> io::Result<usize> {
        let mut latest = count;
        while latest >= COMPLETIONS_PER_CALL
            && count < COMPLETIONS_PER_TURN
            && self.buffers.offered() > COMPLETIONS_PER_CALL
        {
            self.buffers.publish();
            self.uring.submit_and_wait(Duration::ZERO)?;
            latest = self.complete_posted(table);
            count += latest;
        }
        Ok(count)
    }

    /// Handles what the kernel has posted; returns how much that was.
    #[inline]
    fn complete_posted(&mut self, table: &mut SocketTable) -> usize {
        let mut completions = std::mem::take(&mut self.completions);
        table.counters.cq_overflows.add(self.uring.reap(&mut completions));
        let count = completions.len();
        for completion in completions.drain(..) {
            self.complete(table, completion);
        }
        self.completions = completions;
        count
    }

    /// Waits for the first event besides the sends that are done at once: what they say is not worth a turn.
    #[inline]
    fn await_events(&mut self, wait: Duration) -> io::Result<()> {
        self.turn = self.turn.wrapping_add(1);
        // The kernel may post as many at once.
        let expected = std::mem::take(&mut self.expected_sends).min(self.buffers.offered() as u32 / 2);
        let wait = if expected == 0 { wait } else { wait.min(SENDS_WAIT_MAX) };
        self.uring.submit_and_wait_for(1 + expected, wait)
    }

    /// One receive for every second buffer that is there, so that waiting streams do not spin, and leave some to
    /// others.
    fn resume_starved(&mut self, table: &mut SocketTable) {
        for _ in 0..self.starved.len().min(self.buffers.offered().div_ceil(2)) {
            let Some(index) = self.starved.pop_front() else { return };
            self.streams[index as usize].starved = false;
            if table.streams[index as usize].phase != Phase::Free {
                self.update_receive(table, index);
            }
        }
    }

    #[inline]
    fn start_send(&mut self, table: &mut SocketTable, index: u32) {
        let stream = &mut table.streams[index as usize];
        let operations = slot(&mut self.streams, index);
        let Some(fd) = &stream.fd else { return };
        if !operations.sending.is_none() || stream.phase != Phase::Open {
            return;
        }
        operations.sending = Sending::take(&mut stream.tx, &mut self.free_batches);
        if operations.sending.is_none() {
            if stream.tx.fin == Fin::Wanted {
                stream.tx.fin = Fin::Sent;
                // Fails only if the connection is gone, which receiving reports.
                let _ = socket2::SockRef::from(fd).shutdown(std::net::Shutdown::Write);
            }
            return;
        }
        let (fd, tag) = (fd.as_raw_fd(), pack(Operation::Send, index, stream.generation));
        if operations.prompt_sends >= PROMPT_SENDS_MIN {
            self.expected_sends += 1;
        }
        self.submit_send(index, fd, tag);
    }

    #[inline]
    fn submit_send(&mut self, index: u32, fd: RawFd, tag: u64) {
        let operations = &mut self.streams[index as usize];
        operations.sent_in_turn = self.turn;
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = match &mut operations.sending {
            Sending::None => return,
            Sending::One { segment, skip } => {
                let bytes = &segment.bytes()[*skip..];
                opcode::Send::new(types::Fd(fd), bytes.as_ptr(), bytes.len() as u32).flags(flags).build()
            }
            Sending::Many(batch) => {
                opcode::SendMsg::new(types::Fd(fd), batch.message()).flags(flags as u32).build()
            }
        };
        // SAFETY: the bytes belong to segments that `sending` owns, which are neither changed nor dropped before the
        // completion, and the message with all that it points to lies in the batch's box; none of them moves with
        // the slot.
        unsafe { self.start(index, &entry.user_data(tag)) };
    }

    fn complete(&mut self, table: &mut SocketTable, completion: Completion) {
        let (operation, index, generation) = unpack(completion.tag);
        match operation {
            Operation::Ignored | Operation::Timeout => {}
            Operation::Watch if cqueue::more(completion.flags) => {}
            Operation::Watch => self.watch_remote(),
            Operation::Accept => self.accepted(table, index, generation, completion),
            Operation::Receive | Operation::Send | Operation::Connect | Operation::Failure => {
                if table.streams.get(index as usize).is_none_or(|stream| stream.generation != generation) {
                    // Cannot happen: slots are released without operations only.
                    table.counters.late_completions.add(1);
                    cqueue::buffer_select(completion.flags).inspect(|&block| self.buffers.put_back(block));
                    return;
                }
                match operation {
                    Operation::Receive => self.received(table, index, completion),
                    Operation::Send => self.sent(table, index, completion.result),
                    Operation::Failure => self.failed(table, index, completion),
                    _ => self.connected(table, index, completion.result),
                }
                if table.streams[index as usize].phase == Phase::Closing
                    && self.streams[index as usize].count == 0
                {
                    self.finish_close(table, index);
                }
            }
        }
    }

    #[inline]
    fn received(&mut self, table: &mut SocketTable, index: u32, completion: Completion) {
        let stream = &mut table.streams[index as usize];
        let operations = &mut self.streams[index as usize];
        let ended = !cqueue::more(completion.flags);
        if ended {
            (operations.receiving, operations.cancelling_receive) = (false, false);
            operations.count -= 1;
            self.operations -= 1;
        }
        let closing = stream.phase == Phase::Closing;
        match (completion.result, cqueue::buffer_select(completion.flags)) {
            (1.., Some(block)) if !closing => {
                let (chunk, copied) = self.buffers.take(block, completion.result as usize);
                if copied {
                    table.counters.blocks_copied_out.add(1);
                }
                if stream.rx.push(chunk) {
                    table.counters.rx_paused.add(1);
                }
                return if ended || !stream.rx.wanted {
                    self.update_receive(table, index)
                };
            }
            (_, Some(block)) => self.buffers.put_back(block),
            (_, None) => {}
        }
        match -completion.result {
            _ if closing => {}
            libc::ENOBUFS => {
                table.counters.enobufs.add(1);
                self.ran_out = true;
                if stream.rx.wanted && !std::mem::replace(&mut operations.starved, true) {
                    self.starved.push_back(index);
                }
            }
            // We cancelled it ourselves, or it has to be started again.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => self.update_receive(table, index),
            0 => stream.rx.finish(Ok(())),
            error => stream.rx.finish(Err(error)),
        }
    }

    #[inline]
    fn sent(&mut self, table: &mut SocketTable, index: u32, result: i32) {
        let stream = &mut table.streams[index as usize];
        let operations = &mut self.streams[index as usize];
        let prompt = operations.sent_in_turn.wrapping_add(1) == self.turn;
        operations.prompt_sends = if prompt { operations.prompt_sends.saturating_add(1) } else { 0 };
        operations.count -= 1;
        self.operations -= 1;
        // The owner is gone, or the connection was found broken meanwhile: nothing is counted as queued.
        if stream.phase == Phase::Closing || stream.tx.error.is_some() {
            return operations.sending.recycle(&mut self.free_batches);
        }
        match result {
            0.. => {
                operations.sending.forget_sent(result as usize, &mut self.free_batches);
                stream.tx.sent(result as usize);
            }
            error if [libc::EINTR, libc::EAGAIN].contains(&-error) => {}
            error => {
                operations.sending.recycle(&mut self.free_batches);
                return stream.tx.fail(-error);
            }
        }
        if !operations.sending.is_none()
            && let Some(fd) = &stream.fd
        {
            let (fd, tag) = (fd.as_raw_fd(), pack(Operation::Send, index, stream.generation));
            self.submit_send(index, fd, tag);
        } else if !stream.tx.is_queue_empty() || stream.tx.fin == Fin::Wanted {
            table.mark_dirty(index);
        }
    }

    fn failed(&mut self, table: &mut SocketTable, index: u32, completion: Completion) {
        let stream = &mut table.streams[index as usize];
        if !cqueue::more(completion.flags) {
            let operations = &mut self.streams[index as usize];
            operations.watching_failure = false;
            operations.count -= 1;
            self.operations -= 1;
        }
        let is_failure = completion.result > 0 && completion.result & FAILURE != 0;
        if stream.phase != Phase::Closing && is_failure {
            stream.failed_after_end(libc::ECONNRESET);
        }
    }

    fn connected(&mut self, table: &mut SocketTable, index: u32, result: i32) {
        let operations = &mut self.streams[index as usize];
        operations.connecting = false;
        operations.address = None;
        operations.count -= 1;
        self.operations -= 1;
        match result {
            _ if table.streams[index as usize].phase == Phase::Closing => {}
            0.. => {
                table.connected(index);
                self.update_receive(table, index);
            }
            error => table.connect_failed(index, -error),
        }
    }

    fn accepted(&mut self, table: &mut SocketTable, index: u32, generation: u32, completion: Completion) {
        // SAFETY: the kernel made this descriptor for us with this completion.
        let fd = (completion.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(completion.result) });
        let (listener, accepting) = (&table.listeners[index as usize], &mut self.listeners[index as usize]);
        debug_assert_eq!(listener.generation, generation, "a listener released while accepting");
        if !cqueue::more(completion.flags) {
            (accepting.under_way, accepting.cancelling) = (false, false);
            self.operations -= 1;
        }
        if !listener.open {
            drop(fd);
            if !accepting.under_way {
                table.listeners[index as usize].fd = None;
                table.release_listener(index);
            }
            return;
        }
        match (fd, -completion.result) {
            (Some(fd), _) => {
                table.accepted(index, Some(fd));
            }
            (None, libc::ECANCELED) => {}
            (None, error) => table.accept_failed(index, error),
        }
        self.update_accept(table, index);
    }

    fn finish_close(&mut self, table: &mut SocketTable, index: u32) {
        let operations = &mut self.streams[index as usize];
        operations.sending.recycle(&mut self.free_batches);
        if std::mem::take(&mut operations.starved) {
            self.starved.retain(|&starved| starved != index);
        }
        if let Some(fd) = table.streams[index as usize].fd.take() {
            let entry = opcode::Close::new(types::Fd(fd.into_raw_fd())).build();
            let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(pack(Operation::Ignored, 0, 0));
            // SAFETY: points to nothing; the descriptor was ours and is not used any more.
            unsafe { self.uring.push(&entry) };
        }
        table.release_stream(index);
    }

    fn cancel(&mut self, tag: u64) {
        let entry = opcode::AsyncCancel::new(tag).build();
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(pack(Operation::Ignored, 0, 0));
        // SAFETY: points to nothing.
        unsafe { self.uring.push(&entry) };
    }

    fn watch_remote(&mut self) {
        let fd = self.remote.eventfd().as_raw_fd();
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32).multi(true).build();
        // SAFETY: points to nothing; the descriptor lives as long as the driver.
        unsafe { self.uring.push(&entry.user_data(pack(Operation::Watch, 0, 0))) };
    }

    /// Queues an operation of a stream's slot.
    ///
    /// # Safety
    /// As [`Uring::push`].
    #[inline]
    unsafe fn start(&mut self, index: u32, entry: &squeue::Entry) {
        self.streams[index as usize].count += 1;
        self.operations += 1;
        // SAFETY: the caller's promise.
        unsafe { self.uring.push(entry) };
    }
}

impl Drop for RingDriver {
    fn drop(&mut self) {
        // Closes that are still queued.
        let _ = self.uring.submit_and_wait(Duration::ZERO);
        if self.operations > 0 {
            // The kernel may still use this memory (and the pool's) for a moment after the ring is
            // closed: rather lose it. The worker counts that as leaked.
            std::mem::forget(std::mem::take(&mut self.streams));
            return;
        }
        self.buffers.unregister(&self.uring);
    }
}

fn slot(streams: &mut Vec<Operations>, index: u32) -> &mut Operations {
    while streams.len() <= index as usize {
        streams.push(Operations::default());
    }
    &mut streams[index as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_stay_small() {
        assert!(size_of::<Operations>() <= 64, "{}", size_of::<Operations>());
    }
}
