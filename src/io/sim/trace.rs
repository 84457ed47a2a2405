//! What happened in a world: a running hash of every event, and on request a line for each on
//! standard error. Two runs of one seed have equal hashes, or something is not deterministic.

use std::cell::Cell;

use crate::base::clock::Instant;

/// The trace of one world.
#[derive(Debug)]
pub(super) struct Trace {
    hash: Cell<u64>,
    events: Cell<u64>,
    is_printed: bool,
}

impl Trace {
    /// Nothing has happened.
    pub(super) fn new(is_printed: bool) -> Trace {
        Trace { hash: Cell::new(0xcbf2_9ce4_8422_2325), events: Cell::new(0), is_printed }
    }

    /// Something happened at `now`: what, to which connection, task or listener, and a number.
    pub(super) fn record(&self, now: Instant, what: &'static str, whom: u64, number: u64) {
        self.mix(now.as_nanos());
        what.bytes().for_each(|byte| self.mix(byte.into()));
        self.mix(whom);
        self.mix(number);
        self.events.set(self.events.get() + 1);
        if self.is_printed {
            eprintln!("{:>14.6} ms  {what} {whom} ({number})", now.as_nanos() as f64 / 1e6);
        }
    }

    /// A remark of the scenario.
    pub(super) fn note(&self, now: Instant, remark: std::fmt::Arguments<'_>) {
        if self.is_printed {
            eprintln!("{:>14.6} ms  # {remark}", now.as_nanos() as f64 / 1e6);
        }
    }

    /// The hash of all events so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash.get()
    }

    /// Events so far.
    pub(super) fn events(&self) -> u64 {
        self.events.get()
    }

    fn mix(&self, value: u64) {
        let mixed = (self.hash.get() ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash.set(mixed ^ (mixed >> 29));
    }
}
