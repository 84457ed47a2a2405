//! Write buffers, recycled per thread so that encoding a message allocates nothing.

use std::cell::RefCell;

/// Buffers kept per thread.
const KEPT_BUFFERS: usize = 512;
/// Capacity of a new buffer: most heads fit.
const NEW_CAPACITY_BYTES: usize = 4_096;
/// Buffers that grew beyond this are freed.
const KEPT_CAPACITY_BYTES: usize = 32_768;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, recycled if there is one.
#[inline]
pub fn take_vec() -> Vec<u8> {
    FREE.try_with(|free| free.borrow_mut().pop())
        .ok()
        .flatten()
        .unwrap_or_else(|| Vec::with_capacity(NEW_CAPACITY_BYTES))
}

/// Keeps the buffer's memory for [`take_vec`], unless it is unusually large or enough are kept.
#[inline]
pub fn recycle_vec(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > KEPT_CAPACITY_BYTES {
        return;
    }
    buffer.clear();
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEPT_BUFFERS {
            free.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reused_and_large_buffers_are_not_kept() {
        let mut buffer = take_vec();
        buffer.extend_from_slice(b"abc");
        let address = buffer.as_ptr();
        recycle_vec(buffer);
        let again = take_vec();
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), address);
        recycle_vec(Vec::with_capacity(KEPT_CAPACITY_BYTES + 1));
        assert!(take_vec().capacity() <= KEPT_CAPACITY_BYTES);
    }
}
