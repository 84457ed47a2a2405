//! Counters per response code: `<prefix>upstream_rq_200`, `_2xx`, `_completed`.
//!
//! Cells are taken when a code first occurs, so that codes that never occur are neither stored nor
//! listed. Taking one is lock-free: it happens on a worker.

use std::sync::atomic::{AtomicU32, Ordering::Acquire};
use std::sync::{Arc, OnceLock};

use crate::stats::cells;
use crate::stats::lazy::index_in;
use crate::stats::registry::StatSource;

const CLASSES: usize = 5;
const CODES_PER_CLASS: usize = 100;

/// Counters per response code and class. Cloning gives another handle to the same counters.
#[derive(Debug, Clone)]
pub struct ResponseCodeStats {
    table: Arc<CodeTable>,
}

impl ResponseCodeStats {
    /// Counters under `prefix`, which ends with a dot: `cluster.x.`, or `cluster.x.external.`.
    pub fn register(source: &impl StatSource, prefix: &str) -> ResponseCodeStats {
        ResponseCodeStats { table: source.codes(prefix) }
    }

    /// Counts one response. A status outside 100..=599 counts as completed only.
    #[inline]
    pub fn record(&self, status: u16) {
        let table = &*self.table;
        cells::add(index_in(&table.completed), 1);
        let code = usize::from(status);
        let (class, rest) = (code / CODES_PER_CLASS, code % CODES_PER_CLASS);
        if (1..=CLASSES).contains(&class) {
            cells::add(index_in(&table.classes[class - 1]), 1);
            let codes = table.codes[class - 1]
                .get_or_init(|| Box::new([const { AtomicU32::new(0) }; CODES_PER_CLASS]));
            cells::add(index_in(&codes[rest]), 1);
        }
    }
}

/// The cells that were taken so far; 0 means none yet.
#[derive(Debug)]
pub struct CodeTable {
    pub(super) prefix: Box<str>,
    completed: AtomicU32,
    classes: [AtomicU32; CLASSES],
    codes: [OnceLock<Box<[AtomicU32; CODES_PER_CLASS]>>; CLASSES],
}

impl CodeTable {
    pub(super) fn new(prefix: &str) -> CodeTable {
        CodeTable {
            prefix: prefix.into(),
            completed: AtomicU32::new(0),
            classes: [const { AtomicU32::new(0) }; CLASSES],
            codes: [const { OnceLock::new() }; CLASSES],
        }
    }

    /// Full name and cell of every counter in use.
    pub(super) fn in_use(&self, mut see: impl FnMut(String, u32)) {
        let mut visit = |cell: &AtomicU32, name: &dyn Fn() -> String| match cell.load(Acquire) {
            0 => {}
            index => see(name(), index),
        };
        let prefix = &self.prefix;
        visit(&self.completed, &|| format!("{prefix}upstream_rq_completed"));
        for (at, (class, codes)) in self.classes.iter().zip(&self.codes).enumerate() {
            visit(class, &|| format!("{prefix}upstream_rq_{}xx", at + 1));
            for (rest, code) in codes.get().iter().flat_map(|codes| codes.iter().enumerate()) {
                visit(code, &|| format!("{prefix}upstream_rq_{}", (at + 1) * CODES_PER_CLASS + rest));
            }
        }
    }
}
