//! A global allocator that counts what one thread allocates: for the tests that the steady path of a request
//! allocates nothing, and that an idle connection holds little. It passes everything on to the system's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// To be installed with `#[global_allocator]`.
pub struct CountingAllocator;

/// Larger pieces are not counted as held: tables that all connections share grow in those.
const HELD_MAX_BYTES: usize = 2_048;
/// Sizes are told apart to so many bytes.
const SIZE_STEP_BYTES: usize = 8;

static COUNTED: AtomicU64 = AtomicU64::new(0);
static ALL_ARE_COUNTED: AtomicBool = AtomicBool::new(false);
/// Pieces that counted threads hold, by size.
static HELD: [AtomicI64; HELD_MAX_BYTES / SIZE_STEP_BYTES + 1] =
    [const { AtomicI64::new(0) }; HELD_MAX_BYTES / SIZE_STEP_BYTES + 1];

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// Counts the calling thread's allocations from now on.
pub fn count_this_thread() {
    IS_COUNTED.set(true);
}

/// Counts every thread's allocations from now on, for subjects that start threads of their own.
pub fn count_every_thread() {
    ALL_ARE_COUNTED.store(true, Ordering::Relaxed);
}

/// Allocations of all counted threads so far.
pub fn counted() -> u64 {
    COUNTED.load(Ordering::Relaxed)
}

/// The pieces of up to 2 KiB that counted threads have allocated and not freed since they were counted: size, rounded
/// up to 8 bytes, and number. Negative where they have freed what is older.
pub fn held() -> Vec<(usize, i64)> {
    let of_size =
        |(step, count): (usize, &AtomicI64)| (step * SIZE_STEP_BYTES, count.load(Ordering::Relaxed));
    HELD.iter().enumerate().map(of_size).collect()
}

fn is_counted() -> bool {
    ALL_ARE_COUNTED.load(Ordering::Relaxed) || IS_COUNTED.try_with(Cell::get).unwrap_or(false)
}

fn note_held(layout: Layout, change: i64) {
    if let Some(count) = HELD.get(layout.size().div_ceil(SIZE_STEP_BYTES)) {
        count.fetch_add(change, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_counted() {
            COUNTED.fetch_add(1, Ordering::Relaxed);
            note_held(layout, 1);
        }
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_counted() {
            note_held(layout, -1);
        }
        // SAFETY: `pointer` came from `alloc` above, hence from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}
