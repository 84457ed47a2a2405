//! The memory behind a chunk: every kind begins with (or is described by) a [`Header`] that holds
//! the reference count, so that cloning a chunk is one increment whatever it points to.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;

use bytes::Bytes;

use super::pool::{self, PoolInner};
use super::recycle_vec;

/// Capacities of the recycled small pieces; the largest holds everything that the drivers copy out.
pub(super) const CLASS_BYTES: [usize; 3] = [256, 1_024, 4_096];
/// The class of a piece that is freed when released.
const NO_CLASS: u8 = u8::MAX;

/// What a header describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pool's block; the header lies in the pool's table, not before the bytes.
    Block,
    /// Bytes right behind the header.
    Piece,
    /// A `Bytes` right behind the header; the chunk points into it.
    HeldBytes,
    /// A `Vec<u8>` right behind the header; the chunk points into it.
    HeldVec,
}

/// Shared by all chunks of one piece of memory.
#[derive(Debug)]
pub(super) struct Header {
    /// Chunks that point here. Zero only while nobody owns the memory.
    pub(super) refs: Cell<u32>,
    /// Block: its index. Piece: its capacity in bytes.
    pub(super) number: u32,
    kind: Cell<Kind>,
    class: u8,
    /// The pool this memory returns to; null for memory made where no pool was installed.
    pub(super) pool: *const PoolInner,
}

impl Header {
    /// The header of a pool's block; unowned.
    pub(super) fn for_block(index: u32, pool: *const PoolInner) -> Header {
        Header { refs: Cell::new(0), number: index, kind: Cell::new(Kind::Block), class: NO_CLASS, pool }
    }
}

/// Memory for `len` bytes with one reference; `copy_into` it before use.
pub(super) fn allocate(len: usize) -> NonNull<Header> {
    let class = CLASS_BYTES.iter().position(|&bytes| len <= bytes);
    let pool = pool::current();
    if let (Some(class), Some(pool)) = (class, pool)
        && let Some(header) = pool.pop_piece(class)
    {
        // SAFETY: the pool's list holds only live allocations that nobody else refers to.
        let piece = unsafe { header.as_ref() };
        piece.refs.set(1);
        piece.kind.set(Kind::Piece);
        return header;
    }
    let capacity = class.map_or(len, |class| CLASS_BYTES[class]);
    let layout = layout(capacity);
    // SAFETY: the layout is never of size zero, it holds a header at least.
    let Some(header) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else {
        handle_alloc_error(layout)
    };
    pool.inspect(|pool| pool.retain());
    // SAFETY: freshly allocated for a header and aligned for it.
    unsafe {
        header.write(Header {
            refs: Cell::new(1),
            number: capacity as u32,
            kind: Cell::new(Kind::Piece),
            class: class.map_or(NO_CLASS, |class| class as u8),
            pool: pool.map_or(std::ptr::null(), std::ptr::from_ref),
        });
    }
    header
}

/// Where the bytes of a piece begin.
pub(super) fn data(header: NonNull<Header>) -> NonNull<u8> {
    // SAFETY: a piece is allocated with its bytes right behind the header (see `layout`).
    unsafe { header.add(1).cast() }
}

/// Moves `bytes` behind a header of its own; returns it and where the contents begin.
pub(super) fn hold_bytes(bytes: Bytes) -> (NonNull<Header>, *const u8) {
    let start = bytes.as_ptr();
    (hold(bytes, Kind::HeldBytes), start)
}

/// Moves `bytes` behind a header of its own; returns it and where the contents begin.
pub(super) fn hold_vec(bytes: Vec<u8>) -> (NonNull<Header>, *const u8) {
    let start = bytes.as_ptr();
    (hold(bytes, Kind::HeldVec), start)
}

/// Whether the memory is a block of the pool.
pub(super) fn is_block(header: NonNull<Header>) -> bool {
    // SAFETY: the caller holds a reference, so the header is alive.
    unsafe { header.as_ref() }.kind.get() == Kind::Block
}

/// Whether the holder of a reference may write: it is the only one, and the memory is a block or a piece.
/// What is held for others (`Bytes`, vectors) is left alone.
pub(super) fn is_writable(header: NonNull<Header>) -> bool {
    // SAFETY: the caller holds a reference, so the header is alive.
    let header = unsafe { header.as_ref() };
    header.refs.get() == 1 && matches!(header.kind.get(), Kind::Block | Kind::Piece)
}

/// Gives the memory back: called when the last reference is gone.
#[cold]
pub(super) fn release(header: NonNull<Header>) {
    // SAFETY: the caller held the last reference, so the header is alive and nobody else uses it.
    let piece = unsafe { header.as_ref() };
    match piece.kind.get() {
        Kind::Block => {
            // SAFETY: a block's header lies in its pool, which lives as long as any block is out.
            return unsafe { PoolInner::block_released(piece.pool, piece.number) };
        }
        Kind::Piece => {}
        // SAFETY: `hold` put a `Bytes` there, which nobody has moved out.
        Kind::HeldBytes => unsafe { data(header).cast::<Bytes>().drop_in_place() },
        // SAFETY: `hold` put a `Vec` there; it is read once, since the memory is released now.
        Kind::HeldVec => recycle_vec(unsafe { data(header).cast::<Vec<u8>>().read() }),
    }
    let pool = piece.pool;
    // SAFETY: a non-null pool outlives every piece that was allocated from it.
    let kept = match unsafe { pool.as_ref() } {
        Some(pool) if piece.class != NO_CLASS => pool.keep_piece(piece.class as usize, header),
        _ => Err(header),
    };
    if kept.is_err() {
        free(header);
        if !pool.is_null() {
            // SAFETY: the reference that the piece counted.
            unsafe { PoolInner::release(pool) };
        }
    }
}

/// Frees a piece's memory.
pub(super) fn free(header: NonNull<Header>) {
    // SAFETY: the header is alive until the `dealloc` below.
    let layout = layout(unsafe { header.as_ref() }.number as usize);
    // SAFETY: allocated in `allocate` with this layout, and unreferenced.
    unsafe { dealloc(header.as_ptr().cast(), layout) }
}

fn hold<T>(value: T, kind: Kind) -> NonNull<Header> {
    const { assert!(align_of::<T>() <= align_of::<Header>()) };
    let header = allocate(size_of::<T>());
    // SAFETY: freshly allocated with room for a `T`, aligned as a header is.
    unsafe {
        data(header).cast::<T>().write(value);
        header.as_ref().kind.set(kind);
    }
    header
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(size_of::<Header>() + capacity, align_of::<Header>())
        .expect("chunks are limited to u32::MAX bytes")
}
