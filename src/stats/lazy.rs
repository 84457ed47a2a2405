//! Counters of a known list that are listed only once they were counted, such as those for each cipher suite.
//!
//! Cells are taken when a counter is first used. Taking one is lock-free: it happens on a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire};

use crate::stats::cells;
use crate::stats::registry::StatSource;

/// Counters named by a list. Cloning gives another handle to the same counters.
#[derive(Debug, Clone)]
pub struct LazyCounters {
    table: Arc<LazyTable>,
}

impl LazyCounters {
    /// Counters under `prefix`, which ends with a dot, for each of `names`. Registering a prefix again gives the same
    /// counters, whatever the names.
    pub fn register(
        source: &impl StatSource,
        prefix: &str,
        names: impl IntoIterator<Item = &'static str>,
    ) -> LazyCounters {
        LazyCounters { table: source.lazy(prefix, names.into_iter().collect()) }
    }

    /// Adds one to the counter called `name`; does nothing if it is not in the list.
    pub fn inc(&self, name: &str) {
        if let Some((_, slot)) = self.table.counters.iter().find(|(known, _)| *known == name) {
            cells::add(index_in(slot), 1);
        }
    }
}

/// The cells that were taken so far; 0 means none yet.
#[derive(Debug)]
pub struct LazyTable {
    pub(super) prefix: Box<str>,
    counters: Box<[(&'static str, AtomicU32)]>,
}

impl LazyTable {
    pub(super) fn new(prefix: &str, names: Vec<&'static str>) -> LazyTable {
        let counters = names.into_iter().map(|name| (name, AtomicU32::new(0))).collect();
        LazyTable { prefix: prefix.into(), counters }
    }

    /// Full name and cell of every counter in use.
    pub(super) fn in_use(&self, mut see: impl FnMut(String, u32)) {
        for (name, cell) in &self.counters {
            match cell.load(Acquire) {
                0 => {}
                index => see(format!("{}{name}", self.prefix), index),
            }
        }
    }
}

/// The cell in `slot`, taken now if there is none.
#[inline]
pub(super) fn index_in(slot: &AtomicU32) -> u32 {
    match slot.load(Acquire) {
        0 => take_cell(slot),
        index => index,
    }
}

#[cold]
fn take_cell(slot: &AtomicU32) -> u32 {
    let fresh = cells::allocate_cell_lock_free();
    // The loser of a race between two workers leaves its cell unused: rare, and eight bytes.
    match slot.compare_exchange(0, fresh, AcqRel, Acquire) {
        Ok(_) => fresh,
        Err(winner) => winner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Registry;

    fn names(registry: &Registry) -> Vec<String> {
        registry.snapshot(|_| true).counters.iter().map(|counter| counter.name.to_string()).collect()
    }

    #[test]
    fn counters_are_listed_once_they_were_counted() {
        let registry = Registry::new();
        let counters = LazyCounters::register(&registry, "l.ciphers.", ["A", "B", "C"]);
        assert!(names(&registry).is_empty());
        counters.inc("B");
        counters.inc("B");
        counters.inc("unknown");
        LazyCounters::register(&registry, "l.ciphers.", ["A", "B", "C"]).inc("B");
        assert_eq!(names(&registry), ["l.ciphers.B"]);
        assert_eq!(registry.counter_value("l.ciphers.B"), Some(3));
        assert_eq!(registry.counter_value("l.ciphers.A"), None);
        registry.reset_counters();
        assert_eq!(registry.counter_value("l.ciphers.B"), Some(0));
    }

    #[test]
    fn scopes_take_their_counters_with_them() {
        let registry = Registry::new();
        let scope = registry.scope();
        LazyCounters::register(&scope, "l.versions.", ["A"]).inc("A");
        LazyCounters::register(&scope, "l.versions.", ["A"]).inc("A");
        assert_eq!(registry.counter_value("l.versions.A"), Some(2));
        drop(scope);
        assert!(names(&registry).is_empty());
        LazyCounters::register(&registry, "l.versions.", ["A"]).inc("A");
        assert_eq!(registry.counter_value("l.versions.A"), Some(1), "cells come back empty");
    }
}
