//! Handles to statistics: what code on the data path holds.
//!
//! A handle is an index. Writing goes to the shard of the calling thread, or to atomic cells shared
//! by all threads that have none. Reading is the registry's business, not a handle's.

use crate::stats::cells;

/// Only ever goes up (until an operator resets it). The default handle counts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter(pub(super) u32);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(self) {
        cells::add(self.0, 1);
    }

    /// Adds `amount`.
    #[inline]
    pub fn add(self, amount: u64) {
        cells::add(self.0, amount);
    }
}

/// Goes up and down; its value is the sum over all threads. The default handle shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauge(pub(super) u32);

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(self) {
        cells::add_gauge(self.0, 1);
    }

    /// Takes one away; it need not be the thread that added it.
    #[inline]
    pub fn dec(self) {
        cells::add_gauge(self.0, -1);
    }

    /// Adds `delta`, which may be negative.
    #[inline]
    pub fn add(self, delta: i64) {
        cells::add_gauge(self.0, delta);
    }

    /// Sets the calling thread's part of the gauge. For gauges that one thread alone maintains
    /// (the control thread, as a rule); other threads' parts stay.
    pub fn set(self, value: u64) {
        cells::set_gauge(self.0, value as i64);
    }
}

/// Counts values by size. The default handle records nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram(pub(super) u32);

impl Histogram {
    /// Records one value, in the histogram's unit.
    #[inline]
    pub fn record(self, value: u64) {
        cells::record(self.0, value);
    }
}

/// What a histogram's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Unit {
    /// A plain number.
    #[default]
    Unspecified,
    /// A size.
    Bytes,
    /// A time.
    Microseconds,
    /// A time.
    Milliseconds,
}
