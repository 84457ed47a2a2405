//! The thread's freelist of header map memory. Never holds more than about a megabyte, nor one huge map.

use std::cell::RefCell;

use super::Storage;

/// Maps kept for reuse on each thread.
const KEPT_MAX: usize = 512;
/// Maps that grew beyond these are freed instead: a few large heads must not hold memory for ever.
const KEPT_MAX_BYTES: usize = 8 * 1024;
const KEPT_MAX_ENTRIES: usize = 256;

/// A usual head fits without growing.
const INITIAL_BYTES: usize = 1024;
const INITIAL_ENTRIES: usize = 24;

/// The box itself is what is recycled: it moves between map and list without an allocation.
type FreeList = Vec<Box<Storage>>;

thread_local! {
    static FREE: RefCell<FreeList> = const { RefCell::new(Vec::new()) };
}

/// Empty memory.
pub(super) fn take() -> Box<Storage> {
    let recycled = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
    recycled.unwrap_or_else(|| Box::new(Storage::with_capacity(INITIAL_BYTES, INITIAL_ENTRIES)))
}

/// Memory no longer needed.
pub(super) fn give_back(mut storage: Box<Storage>) {
    if storage.bytes.capacity() > KEPT_MAX_BYTES || storage.entries.capacity() > KEPT_MAX_ENTRIES {
        return;
    }
    storage.clear();
    // Fails only while the thread ends: the memory is freed then.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEPT_MAX {
            free.push(storage);
        }
    });
}
