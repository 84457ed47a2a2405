//! What the worker knows about one stream socket: its queues and their limits. Drivers move bytes
//! between these queues and the kernel; nothing here makes a system call.

use std::os::fd::OwnedFd;

use super::queue::Queue;
use super::waiter::Waiter;
use crate::buf::{Chunk, recycle_vec, take_vec};

/// Received bytes that may queue before receiving pauses, unless the socket's owner says otherwise: what
/// Envoy's `per_connection_buffer_limit_bytes` is by default.
pub const DEFAULT_RECEIVE_LIMIT_BYTES: usize = 1_024 * 1_024;

/// A queued chunk counts at least this much, so that tiny packets cannot fill the memory.
const LEAST_CHARGE_BYTES: usize = 256;
/// Chunks up to this size are copied into the write buffer: cheaper than an iovec entry of their own.
const COPY_MAX_BYTES: usize = 2_048;
/// A write buffer that reached this size is not appended to any more.
const BUFFER_FULL_BYTES: usize = 16_384;
/// What one send carries at most: bytes and pieces. Each may wake the peer, which costs more than the send.
const BATCH_BYTES: usize = 512 * 1_024;
const BATCH_PIECES: usize = 32;

/// A stream socket's slot.
#[derive(Debug)]
pub(super) struct Stream {
    /// Told apart from earlier users of the slot by this; unique per worker.
    pub(super) generation: u32,
    pub(super) phase: Phase,
    /// `None` while the slot is free (or if the driver has no descriptors).
    pub(super) fd: Option<OwnedFd>,
    pub(super) rx: Receive,
    pub(super) tx: Transmit,
    /// Why connecting failed.
    pub(super) connect_error: Option<i32>,
}

/// ```text
/// Free -> Connecting -> Open -> Closing -> Free
///              |                   ^
///              +----> Failed ------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody uses the slot.
    Free,
    Connecting,
    Open,
    /// Connecting failed; the owner has not dropped the socket yet.
    Failed,
    /// The owner is gone; kernel operations may still refer to the slot.
    Closing,
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct Receive {
    queue: Queue<Chunk>,
    charged_bytes: usize,
    bytes: usize,
    limit_bytes: usize,
    /// The owner has asked for data at least once.
    asked: bool,
    /// The driver shall receive: asked for, below the limit, and not ended.
    pub(super) wanted: bool,
    /// The peer's FIN, or an error number.
    pub(super) end: Option<Result<(), i32>>,
    /// The driver shall tell when the connection fails although the peer's FIN has come.
    pub(super) failure_wanted: bool,
    pub(super) waiter: Waiter,
    pub(super) total_bytes: u64,
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Transmit {
    queue: Queue<Segment>,
    /// Queued or being sent.
    pub(super) queued_bytes: usize,
    pub(super) error: Option<i32>,
    pub(super) fin: Fin,
    /// In the table's list of streams to be flushed.
    pub(super) dirty: bool,
    pub(super) waiter: Waiter,
    /// Wake the waiter when no more than this is queued.
    pub(super) wake_below_bytes: usize,
    pub(super) total_bytes: u64,
}

/// How far ending the sending half has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    No,
    /// To be sent after the queue.
    Wanted,
    Sent,
}

/// A piece of the sending queue.
#[derive(Debug)]
pub(super) enum Segment {
    /// Written bytes, in recycled memory.
    Buffer(Vec<u8>),
    /// Somebody's chunk.
    Chunk(Chunk),
}

impl Segment {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Segment::Buffer(buffer) => buffer,
            Segment::Chunk(chunk) => chunk,
        }
    }

    /// Gives the memory back.
    #[inline]
    pub(super) fn recycle(self) {
        if let Segment::Buffer(buffer) = self {
            recycle_vec(buffer);
        }
    }
}

impl Stream {
    /// A free slot.
    pub(super) fn free() -> Stream {
        Stream {
            generation: 0,
            phase: Phase::Free,
            fd: None,
            rx: Receive {
                queue: Queue::Empty,
                charged_bytes: 0,
                bytes: 0,
                limit_bytes: DEFAULT_RECEIVE_LIMIT_BYTES,
                asked: false,
                wanted: false,
                end: None,
                failure_wanted: false,
                waiter: Waiter::default(),
                total_bytes: 0,
            },
            tx: Transmit {
                queue: Queue::Empty,
                queued_bytes: 0,
                error: None,
                fin: Fin::No,
                dirty: false,
                waiter: Waiter::default(),
                wake_below_bytes: 0,
                total_bytes: 0,
            },
            connect_error: None,
        }
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self, generation: u32, phase: Phase) {
        let mut fresh = Stream::free();
        self.rx.queue.clear();
        self.tx.discard();
        (fresh.generation, fresh.phase) = (generation, phase);
        // A stream can be released while it is in the list of those to be flushed.
        fresh.tx.dirty = self.tx.dirty;
        *self = fresh;
    }
}

impl Stream {
    /// The connection is no more, though the peer had ended its direction in order before.
    pub(super) fn failed_after_end(&mut self, error: i32) {
        self.rx.finish(Err(error));
        self.tx.fail(error);
    }
}

impl Receive {
    /// Takes the oldest chunk. The driver must look at `wanted` afterwards if this returns true in
    /// its second part: receiving is to be resumed.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(Chunk, bool)> {
        let chunk = self.queue.pop_front()?;
        self.bytes -= chunk.len();
        self.charged_bytes -= charge(&chunk);
        let resume =
            !self.wanted && self.asked && self.end.is_none() && self.charged_bytes <= self.limit_bytes / 2;
        self.wanted |= resume;
        Some((chunk, resume))
    }

    /// Queues a chunk; returns true if receiving is to be paused.
    #[inline]
    pub(super) fn push(&mut self, chunk: Chunk) -> bool {
        self.bytes += chunk.len();
        self.total_bytes += chunk.len() as u64;
        self.charged_bytes += charge(&chunk);
        self.queue.push_back(chunk);
        self.waiter.wake();
        let pause = self.wanted && self.charged_bytes >= self.limit_bytes;
        self.wanted &= !pause;
        pause
    }

    /// The owner wants data; returns true if receiving is to be started.
    #[inline]
    pub(super) fn ask(&mut self) -> bool {
        let start = !self.asked && self.end.is_none();
        self.asked = true;
        self.wanted |= start;
        start
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self, end: Result<(), i32>) {
        self.end = Some(end);
        self.wanted = false;
        self.waiter.wake();
    }

    /// Puts bytes back in front of what is queued.
    pub(super) fn unread(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
            self.charged_bytes += charge(&chunk);
            self.queue.push_front(chunk);
        }
    }

    /// The owner wants to learn of a failure after the peer's FIN; returns true if watching is to be
    /// started.
    pub(super) fn ask_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.failure_wanted, true)
    }

    /// Drops what is queued and wants no more.
    pub(super) fn discard(&mut self) {
        self.queue.clear();
        (self.bytes, self.charged_bytes, self.wanted) = (0, 0, false);
        self.waiter = Waiter::default();
    }

    /// Changes the limit; returns true if receiving is to be resumed.
    pub(super) fn set_limit(&mut self, bytes: usize) -> bool {
        self.limit_bytes = bytes.max(1);
        let resume =
            !self.wanted && self.asked && self.end.is_none() && self.charged_bytes < self.limit_bytes;
        self.wanted |= resume;
        resume
    }

    /// What one operation may receive: what fits below the limit, or half of it where that is not worth an
    /// operation, so that one operation exceeds the limit by half at most.
    #[inline]
    pub(super) fn allowance_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.charged_bytes).max(self.limit_bytes / 2)
    }

    /// Bytes queued.
    pub(super) fn queued_bytes(&self) -> usize {
        self.bytes
    }
}

impl Transmit {
    /// Appends a copy.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.queued_bytes += bytes.len();
        if let Some(Segment::Buffer(tail)) = self.queue.back_mut()
            && tail.len() + bytes.len() <= BUFFER_FULL_BYTES
        {
            return tail.extend_from_slice(bytes);
        }
        let mut buffer = take_vec();
        buffer.extend_from_slice(bytes);
        self.queue.push_back(Segment::Buffer(buffer));
    }

    /// Appends a chunk, without copying if it is large.
    #[inline]
    pub(super) fn write_chunk(&mut self, chunk: Chunk) {
        if chunk.len() <= COPY_MAX_BYTES {
            return self.write(&chunk);
        }
        self.queued_bytes += chunk.len();
        self.queue.push_back(Segment::Chunk(chunk));
    }

    /// Lends the tail buffer; give it back with `return_tail`.
    #[inline]
    pub(super) fn take_tail(&mut self) -> Vec<u8> {
        match self.queue.pop_back() {
            Some(Segment::Buffer(tail)) if tail.len() < BUFFER_FULL_BYTES => {
                self.queued_bytes -= tail.len();
                tail
            }
            other => {
                if let Some(segment) = other {
                    self.queue.push_back(segment);
                }
                take_vec()
            }
        }
    }

    /// Puts back what `take_tail` lent.
    #[inline]
    pub(super) fn return_tail(&mut self, tail: Vec<u8>) {
        if tail.is_empty() {
            return recycle_vec(tail);
        }
        self.queued_bytes += tail.len();
        self.queue.push_back(Segment::Buffer(tail));
    }

    /// Whether nothing waits to be taken by the driver.
    #[inline]
    pub(super) fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What waits, if that is a single piece: one send carries it. The bytes stay counted until `sent`.
    #[inline]
    pub(super) fn take_only(&mut self) -> Option<Segment> {
        self.queue.pop_only()
    }

    /// Moves what one send may carry to `batch`. The bytes stay counted until `sent`.
    #[inline]
    pub(super) fn take_batch(&mut self, batch: &mut Vec<Segment>) {
        let mut bytes = 0;
        while batch.len() < BATCH_PIECES && bytes < BATCH_BYTES {
            let Some(segment) = self.queue.pop_front() else { break };
            bytes += segment.bytes().len();
            batch.push(segment);
        }
    }

    /// Puts a batch back in front, without its first `skip` bytes (of the first segment).
    pub(super) fn put_back(&mut self, batch: &mut Vec<Segment>, skip: usize) {
        while let Some(segment) = batch.pop() {
            self.queue.push_front(segment);
        }
        match self.queue.front_mut() {
            Some(Segment::Buffer(buffer)) if skip > 0 => {
                buffer.drain(..skip);
            }
            Some(Segment::Chunk(chunk)) => chunk.advance(skip),
            _ => {}
        }
    }

    /// The kernel took `bytes` of what was queued.
    #[inline]
    pub(super) fn sent(&mut self, bytes: usize) {
        self.queued_bytes -= bytes;
        self.total_bytes += bytes as u64;
        if self.queued_bytes <= self.wake_below_bytes {
            self.waiter.wake();
        }
    }

    /// Sending is not possible any more.
    pub(super) fn fail(&mut self, error: i32) {
        self.error.get_or_insert(error);
        self.discard();
        self.waiter.wake();
    }

    /// Drops what is queued.
    pub(super) fn discard(&mut self) {
        self.queued_bytes = 0;
        while let Some(segment) = self.queue.pop_front() {
            segment.recycle();
        }
    }
}

fn charge(chunk: &Chunk) -> usize {
    chunk.len().max(LEAST_CHARGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiving_pauses_at_the_limit_and_resumes_below_half() {
        let mut rx = Stream::free().rx;
        assert!(!rx.set_limit(1_000));
        assert!(rx.ask() && !rx.ask());
        assert!(!rx.push(Chunk::copy_from(&[0; 600])));
        assert!(rx.push(Chunk::copy_from(&[0; 600])), "above the limit");
        assert!(!rx.wanted);
        assert!(!rx.pop().expect("a chunk").1, "600 is above half of 1,000");
        assert!(rx.pop().expect("a chunk").1 && rx.wanted);
    }

    #[test]
    fn tiny_chunks_are_charged_for_their_overhead() {
        let mut rx = Stream::free().rx;
        rx.set_limit(10 * LEAST_CHARGE_BYTES);
        rx.ask();
        let pushed = (1..).find(|_| rx.push(Chunk::copy_from(b"x")));
        assert_eq!(pushed, Some(10));
        assert_eq!(rx.queued_bytes(), 10);
    }

    #[test]
    fn writes_coalesce_and_large_chunks_do_not() {
        let mut tx = Stream::free().tx;
        tx.write(b"head");
        tx.write_chunk(Chunk::copy_from(b"small"));
        tx.write_chunk(Chunk::copy_from(&[1; 5_000]));
        let mut tail = tx.take_tail();
        tail.extend_from_slice(b"tail");
        tx.return_tail(tail);
        assert_eq!(tx.queued_bytes, 5_013);
        let mut batch = Vec::new();
        tx.take_batch(&mut batch);
        let lens: Vec<_> = batch.iter().map(|segment| segment.bytes().len()).collect();
        assert_eq!(lens, [9, 5_000, 4]);
        tx.put_back(&mut batch, 4);
        tx.sent(4);
        tx.take_batch(&mut batch);
        assert_eq!((batch[0].bytes(), tx.queued_bytes), (&b"small"[..], 5_009));
    }

    #[test]
    fn slots_stay_small() {
        assert!(size_of::<Stream>() <= 224, "{}", size_of::<Stream>());
    }
}
