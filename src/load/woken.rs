//! A set of small numbers that wakers add to: which of many streams on a connection have something to say. So one task
//! can serve all streams of a codec that wakes a task for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Wake, Waker};

/// Numbers whose wakers were called.
#[derive(Debug)]
pub(super) struct Woken {
    bits: Arc<[AtomicU64]>,
    wakers: Vec<Waker>,
}

struct Number {
    bits: Arc<[AtomicU64]>,
    number: u32,
}

impl Woken {
    /// For the numbers below `count`.
    pub(super) fn new(count: u32) -> Woken {
        let bits: Arc<[AtomicU64]> = (0..count.div_ceil(u64::BITS)).map(|_| AtomicU64::new(0)).collect();
        let waker = |number| Waker::from(Arc::new(Number { bits: Arc::clone(&bits), number }));
        Woken { wakers: (0..count).map(waker).collect(), bits }
    }

    /// The waker that adds `number`.
    #[inline]
    pub(super) fn waker(&self, number: u32) -> &Waker {
        &self.wakers[number as usize]
    }

    /// Takes the numbers `64 * group` to `64 * group + 63` out, as bits.
    #[inline]
    pub(super) fn take_group(&self, group: usize) -> u64 {
        let bits = &self.bits[group];
        if bits.load(Relaxed) == 0 { 0 } else { bits.swap(0, Relaxed) }
    }

    /// How many groups there are.
    #[inline]
    pub(super) fn groups(&self) -> usize {
        self.bits.len()
    }
}

impl Wake for Number {
    fn wake(self: Arc<Number>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Number>) {
        self.bits[(self.number / u64::BITS) as usize].fetch_or(1 << (self.number % u64::BITS), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_woken_is_found_once() {
        let woken = Woken::new(70);
        woken.waker(3).wake_by_ref();
        woken.waker(69).wake_by_ref();
        assert_eq!(woken.groups(), 2);
        assert_eq!((woken.take_group(0), woken.take_group(1)), (1 << 3, 1 << 5));
        assert_eq!((woken.take_group(0), woken.take_group(1)), (0, 0));
    }
}
