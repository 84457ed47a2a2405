//! A worker's receive memory: one mapped region of 16 KiB blocks, touched only when used, and lists
//! of recycled small pieces.
//!
//! Blocks are lent to the driver (`take_block`), which lets the kernel write into them and either
//! gives them back or turns them into chunks; the last chunk gives the block back. The region is
//! unmapped when the `Pool` is dropped and the last block and piece are back, whichever is later.

use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::{self, NonNull};

use super::Chunk;
use super::memory::{self, CLASS_BYTES, Header};

/// Size of a block: what one receive can fill.
pub const BLOCK_BYTES: usize = 16_384;

/// Bytes of recycled small pieces that are kept per class.
const KEPT_PIECE_BYTES: usize = 1 << 20;

/// The number of a block within its pool.
pub type BlockIndex = u16;

/// A worker's blocks; the thread's chunks come from it until it is dropped.
#[derive(Debug)]
pub struct Pool {
    inner: NonNull<PoolInner>,
}

/// How much of a pool is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolUsage {
    /// Blocks that chunks refer to.
    pub live_blocks: usize,
    /// The largest value of `live_blocks` so far.
    pub peak_blocks: usize,
    /// Blocks that neither chunks nor the driver hold.
    pub free_blocks: usize,
}

impl Pool {
    /// Maps `blocks` blocks (1 to 32,768) and makes them this thread's pool. No memory is touched.
    ///
    /// # Errors
    /// If the region cannot be mapped, or the thread has a pool already.
    pub fn install(blocks: usize) -> io::Result<Pool> {
        if !(1..=32_768).contains(&blocks) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pool has 1 to 32,768 blocks"));
        }
        if current().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the thread has a pool already"));
        }
        let inner = PoolInner::map(blocks)?;
        CURRENT.set(inner.as_ptr());
        Ok(Pool { inner })
    }

    /// Takes a free block for the driver, the most recently used one first (it is warm in the cache).
    #[inline]
    pub fn take_block(&self) -> Option<BlockIndex> {
        let block = self.inner().free.borrow_mut().pop()?;
        self.inner().retain();
        Some(block)
    }

    /// Gives back a block that the driver took and did not turn into a chunk.
    #[inline]
    pub fn give_back(&self, block: BlockIndex) {
        debug_assert!(!self.inner().free.borrow().contains(&block), "a block given back twice");
        self.inner().free.borrow_mut().push(block);
        // SAFETY: the reference that `take_block` counted; the handle's own keeps the pool alive.
        unsafe { PoolInner::release(self.inner.as_ptr()) };
    }

    /// Where the block's bytes begin; valid for `BLOCK_BYTES` while the driver holds the block.
    #[inline]
    pub fn block_ptr(&self, block: BlockIndex) -> *mut u8 {
        self.inner().block_ptr(u32::from(block))
    }

    /// Turns the first `len` bytes of a block that the driver took into a chunk.
    ///
    /// # Safety
    /// The driver holds the block, and from now on neither it nor the kernel writes into it until the
    /// pool hands it out again.
    #[inline]
    pub unsafe fn chunk(&self, block: BlockIndex, len: usize) -> Chunk {
        assert!(len <= BLOCK_BYTES, "more bytes than a block holds");
        let inner = self.inner();
        let header = &inner.headers[usize::from(block)];
        assert!(header.refs.get() == 0, "a chunk of a block in use");
        header.refs.set(1);
        inner.live.set(inner.live.get() + 1);
        inner.peak.set(inner.peak.get().max(inner.live.get()));
        let start = NonNull::new(inner.block_ptr(u32::from(block))).expect("the region is mapped");
        // SAFETY: the bytes are mapped (zeroed at first, hence initialised), the header counts one
        // reference, and the caller promises that nobody writes.
        unsafe { Chunk::from_raw(start, len as u32, NonNull::from(header)) }
    }

    /// Copies `bytes` (at most [`BLOCK_BYTES`]) into a block of their own, as if they had been received
    /// there; none if no block is free.
    ///
    /// # Panics
    /// If there are more bytes than a block holds.
    pub fn copy_to_block(&self, bytes: &[u8]) -> Option<Chunk> {
        assert!(bytes.len() <= BLOCK_BYTES, "more bytes than a block holds");
        let block = self.take_block()?;
        // SAFETY: the block is ours and large enough; `bytes` cannot lie in it, because nobody refers
        // to a free block. After the copy nobody writes until the pool hands the block out again.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.block_ptr(block), bytes.len());
            Some(self.chunk(block, bytes.len()))
        }
    }

    /// Blocks in all.
    pub fn block_count(&self) -> usize {
        self.inner().headers.len()
    }

    /// How much is in use.
    #[inline]
    pub fn usage(&self) -> PoolUsage {
        let inner = self.inner();
        PoolUsage {
            live_blocks: inner.live.get() as usize,
            peak_blocks: inner.peak.get() as usize,
            free_blocks: inner.free.borrow().len(),
        }
    }

    #[inline]
    fn inner(&self) -> &PoolInner {
        // SAFETY: the handle counts as one reference, so the pool is alive.
        unsafe { self.inner.as_ref() }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        CURRENT.set(ptr::null());
        self.inner().closed.set(true);
        let pieces: Vec<_> = self.inner().pieces.iter().flat_map(RefCell::take).collect();
        for piece in pieces {
            memory::free(piece);
            // SAFETY: the reference that the piece counted.
            unsafe { PoolInner::release(self.inner.as_ptr()) };
        }
        // SAFETY: the handle's own reference; the handle is gone after this.
        unsafe { PoolInner::release(self.inner.as_ptr()) };
    }
}

thread_local! {
    static CURRENT: Cell<*const PoolInner> = const { Cell::new(ptr::null()) };
}

/// The pool installed on this thread.
#[inline]
pub(super) fn current() -> Option<&'static PoolInner> {
    // SAFETY: null, or the pool that this thread's live `Pool` handle keeps alive. The reference is
    // used only within calls of this module's functions, never kept.
    unsafe { CURRENT.get().as_ref() }
}

/// The pool itself, in a heap allocation of its own so that blocks can outlive the handle.
#[derive(Debug)]
pub(super) struct PoolInner {
    region: *mut u8,
    headers: Box<[Header]>,
    /// Blocks that nobody holds; last in, first out.
    free: RefCell<Vec<BlockIndex>>,
    /// Recycled pieces by class.
    pieces: [RefCell<Vec<NonNull<Header>>>; CLASS_BYTES.len()],
    live: Cell<u32>,
    peak: Cell<u32>,
    /// The handle, each block that is out, and each piece that exists: freed at zero.
    references: Cell<usize>,
    closed: Cell<bool>,
}

impl PoolInner {
    fn map(blocks: usize) -> io::Result<NonNull<PoolInner>> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping; no existing memory is affected.
        let region = unsafe { libc::mmap(ptr::null_mut(), blocks * BLOCK_BYTES, protection, flags, -1, 0) };
        if region == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let inner = Box::into_raw(Box::new(PoolInner {
            region: region.cast(),
            headers: Box::default(),
            free: RefCell::new((0..blocks).rev().map(|block| block as BlockIndex).collect()),
            pieces: Default::default(),
            live: Cell::new(0),
            peak: Cell::new(0),
            references: Cell::new(1),
            closed: Cell::new(false),
        }));
        // SAFETY: just made and not shared yet.
        unsafe {
            (*inner).headers = (0..blocks).map(|block| Header::for_block(block as u32, inner)).collect();
            Ok(NonNull::new_unchecked(inner))
        }
    }

    fn block_ptr(&self, block: u32) -> *mut u8 {
        self.region.wrapping_add(block as usize * BLOCK_BYTES)
    }

    pub(super) fn retain(&self) {
        self.references.set(self.references.get() + 1);
    }

    /// Drops one reference; the last one frees the pool.
    ///
    /// # Safety
    /// `this` is alive and the caller's reference is counted; it is not used afterwards.
    pub(super) unsafe fn release(this: *const PoolInner) {
        // SAFETY: alive, as the caller promises.
        let inner = unsafe { &*this };
        let left = inner.references.get() - 1;
        inner.references.set(left);
        if left == 0 {
            let (region, len) = (inner.region, inner.headers.len() * BLOCK_BYTES);
            // SAFETY: the region was mapped with this length in `map`, and no block is out. The pool
            // was made by `Box::into_raw`; this was the last reference to it.
            unsafe {
                libc::munmap(region.cast(), len);
                drop(Box::from_raw(this.cast_mut()));
            }
        }
    }

    /// The last chunk of a block is gone.
    ///
    /// # Safety
    /// `this` is alive and counts a reference for the block.
    #[inline]
    pub(super) unsafe fn block_released(this: *const PoolInner, block: u32) {
        // SAFETY: alive, as the caller promises.
        let inner = unsafe { &*this };
        inner.live.set(inner.live.get() - 1);
        inner.free.borrow_mut().push(block as BlockIndex);
        // SAFETY: the block's reference.
        unsafe { PoolInner::release(this) };
    }

    #[inline]
    pub(super) fn pop_piece(&self, class: usize) -> Option<NonNull<Header>> {
        self.pieces[class].borrow_mut().pop()
    }

    /// Keeps a piece for reuse; gives it back if it shall be freed.
    #[inline]
    pub(super) fn keep_piece(&self, class: usize, piece: NonNull<Header>) -> Result<(), NonNull<Header>> {
        let mut kept = self.pieces[class].borrow_mut();
        if self.closed.get() || kept.len() * CLASS_BYTES[class] >= KEPT_PIECE_BYTES {
            return Err(piece);
        }
        kept.push(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_with_its_last_chunk() {
        let pool = Pool::install(4).expect("a pool");
        let block = pool.take_block().expect("a block");
        // SAFETY: the block is held and nobody writes into it.
        let mut chunk = unsafe { pool.chunk(block, 100) };
        assert_eq!(pool.usage(), PoolUsage { live_blocks: 1, peak_blocks: 1, free_blocks: 3 });
        let front = chunk.split_to(10);
        drop(chunk);
        assert_eq!(pool.usage().live_blocks, 1);
        assert_eq!(&front[..], &[0; 10]);
        drop(front);
        assert_eq!(pool.usage(), PoolUsage { live_blocks: 0, peak_blocks: 1, free_blocks: 4 });
    }

    #[test]
    fn chunks_may_outlive_the_pool() {
        let pool = Pool::install(2).expect("a pool");
        let block = pool.take_block().expect("a block");
        // SAFETY: the block is held and nobody writes into it.
        let chunk = unsafe { pool.chunk(block, 3) };
        let copy = Chunk::copy_from(b"small");
        drop(pool);
        assert_eq!((&chunk[..], &copy[..]), (&[0, 0, 0][..], &b"small"[..]));
        drop((chunk, copy));
        assert!(Pool::install(1).is_ok());
    }

    #[test]
    fn a_thread_has_one_pool_and_exhaustion_is_none() {
        let pool = Pool::install(1).expect("a pool");
        assert!(Pool::install(1).is_err());
        let block = pool.take_block().expect("a block");
        assert_eq!(pool.take_block(), None);
        pool.give_back(block);
        assert!(pool.take_block().is_some());
        pool.give_back(block);
    }

    #[test]
    fn pieces_are_recycled() {
        let _pool = Pool::install(1).expect("a pool");
        let first = Chunk::copy_from(b"one");
        let address = first.as_ptr();
        drop(first);
        assert_eq!(Chunk::copy_from(b"two").as_ptr(), address);
    }
}
