//! The provided-buffer ring: blocks of the pool that the kernel may receive into.
//!
//! Few blocks lie in the ring, because the kernel takes the one that has lain there longest: with more of
//! them every byte of a large body would miss the cache. More of them are there for small receives from hundreds of
//! sockets at a time; large receives take these away again.

use std::io;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::uring::Uring;
use crate::buf::{BLOCK_BYTES, BlockIndex, Chunk, Pool};

/// The group under which receives find the ring.
pub(super) const GROUP: u16 = 0;

/// Received pieces up to this size are copied, and their block goes back at once.
const COPY_OUT_BYTES: usize = 4_096;
/// Blocks offered: 2 MiB, about a second-level cache.
const OFFERED_BLOCKS: usize = 128;
/// Blocks offered while small receives come by the hundred.
const OFFERED_BLOCKS_MAX: usize = 1_024;

/// The blocks offered to the kernel.
pub(super) struct Buffers {
    pool: Rc<Pool>,
    /// `capacity` entries, shared with the kernel.
    entries: *mut BufRingEntry,
    capacity: usize,
    tail: u16,
    published_tail: u16,
    /// Blocks in the ring.
    offered: usize,
    /// How many there are at least, as far as the pool has them.
    target: usize,
    /// Per block, whether it is in the ring.
    in_ring: Vec<bool>,
}

impl Buffers {
    /// Registers a ring with room for all blocks of the pool.
    pub(super) fn new(uring: &Uring, pool: Rc<Pool>) -> io::Result<Buffers> {
        let capacity = pool.block_count().next_power_of_two().min(32_768);
        let entries = map_entries(capacity)?;
        // SAFETY: the mapping holds `capacity` entries and is unmapped only after unregistering.
        let registered = unsafe {
            let submitter = uring.io().submitter();
            submitter.register_buf_ring_with_flags(entries as u64, capacity as u16, GROUP, 0)
        };
        let in_ring = vec![false; pool.block_count()];
        let target = OFFERED_BLOCKS.min(pool.block_count());
        let (tail, published_tail, offered) = (0, 0, 0);
        let mut buffers = Buffers { pool, entries, capacity, tail, published_tail, offered, target, in_ring };
        registered?;
        buffers.refill();
        Ok(buffers)
    }

    /// Blocks that the kernel can still fill.
    #[inline]
    pub(super) fn offered(&self) -> usize {
        self.offered
    }

    /// The kernel put `len` bytes into `block`: makes a chunk of them. The second part is true if
    /// they were copied only because the pool runs low.
    #[inline]
    pub(super) fn take(&mut self, block: BlockIndex, len: usize) -> (Chunk, bool) {
        self.remove(block);
        let low = self.offered + self.pool.usage().free_blocks < self.in_ring.len() / 4;
        if len <= COPY_OUT_BYTES || low {
            // SAFETY: the block is ours again, mapped, and nobody writes while we copy.
            let received = unsafe { std::slice::from_raw_parts(self.pool.block_ptr(block), len) };
            let chunk = Chunk::copy_from(received);
            self.push(block);
            return (chunk, len > COPY_OUT_BYTES);
        }
        // SAFETY: the kernel gave the block back with this completion and writes no more into it;
        // it is offered again only after the pool has handed it out again.
        (unsafe { self.pool.chunk(block, len) }, false)
    }

    /// The kernel took `block` and its bytes are not wanted.
    pub(super) fn put_back(&mut self, block: BlockIndex) {
        self.remove(block);
        self.push(block);
    }

    /// Offers more blocks if some went out, and makes all offers visible to the kernel.
    #[inline]
    pub(super) fn refill(&mut self) {
        self.offer(self.target);
        self.publish();
    }

    /// Makes all offers visible to the kernel, those of blocks that came back included.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.published_tail != self.tail {
            self.published_tail = self.tail;
            // SAFETY: the tail lies within the mapping, is aligned, and is shared only atomically.
            let shared = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
            shared.store(self.tail, Ordering::Release);
        }
    }

    /// The kernel found no block. If those it had were back at once, small receives came faster than it was offered
    /// new ones: more are offered then. Else blocks are scarce because they are in use, and are better not spread.
    pub(super) fn ran_out(&mut self) {
        if self.offered >= self.target {
            let most = OFFERED_BLOCKS_MAX.min(self.in_ring.len() / 2).max(self.target);
            self.offer((self.offered * 2).min(most));
        }
    }

    fn offer(&mut self, count: usize) {
        while self.offered < count {
            let Some(block) = self.pool.take_block() else { break };
            self.push(block);
        }
    }

    /// Takes the blocks back: only when no receive can be under way any more.
    pub(super) fn unregister(&mut self, uring: &Uring) {
        // Fails only if it was never registered.
        let _ = uring.io().submitter().unregister_buf_ring(GROUP);
        for block in 0..self.in_ring.len() {
            if std::mem::take(&mut self.in_ring[block]) {
                self.pool.give_back(block as BlockIndex);
            }
        }
        self.offered = 0;
    }

    fn remove(&mut self, block: BlockIndex) {
        let in_ring = &mut self.in_ring[usize::from(block)];
        assert!(std::mem::take(in_ring), "the kernel named a block it was not offered");
        self.offered -= 1;
    }

    #[inline]
    fn push(&mut self, block: BlockIndex) {
        self.in_ring[usize::from(block)] = true;
        self.offered += 1;
        let place = usize::from(self.tail) & (self.capacity - 1);
        // SAFETY: `place` is within the mapping, and the kernel reads entries only up to the
        // published tail, behind which this one lies: there are never more offers than entries.
        let entry = unsafe { &mut *self.entries.add(place) };
        entry.set_addr(self.pool.block_ptr(block) as u64);
        entry.set_len(BLOCK_BYTES as u32);
        entry.set_bid(block);
        self.tail = self.tail.wrapping_add(1);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: mapped with this length in `map_entries`. The kernel holds the pages on its own
        // while the ring is registered, and nobody else points into them.
        unsafe { libc::munmap(self.entries.cast(), self.capacity * size_of::<BufRingEntry>()) };
    }
}

fn map_entries(capacity: usize) -> io::Result<*mut BufRingEntry> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS | libc::MAP_PRIVATE);
    let len = capacity * size_of::<BufRingEntry>();
    // SAFETY: a new anonymous mapping; no existing memory is affected.
    let entries = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
    if entries == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(entries.cast()) }
}
