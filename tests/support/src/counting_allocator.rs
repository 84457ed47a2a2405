//! A global allocator that counts what one thread allocates: for the test that the steady path of a
//! request allocates nothing. It passes everything on to the system's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// To be installed with `#[global_allocator]`.
pub struct CountingAllocator;

static COUNTED: AtomicU64 = AtomicU64::new(0);
static ALL_ARE_COUNTED: AtomicBool = AtomicBool::new(false);

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

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ALL_ARE_COUNTED.load(Ordering::Relaxed) || IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
            COUNTED.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, hence from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}
