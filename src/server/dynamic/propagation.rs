//! Measures how long an update takes from the change of its file until the last worker follows it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::log_debug;
use crate::server::command::Command;
use crate::server::workers::WorkerHandles;
use crate::stats::groups::WorkersStats;

/// Updates on their way.
pub struct Propagation {
    stats: WorkersStats,
    next: Cell<u64>,
    is_measuring: Cell<bool>,
    under_way: RefCell<HashMap<u64, UnderWay>>,
}

struct UnderWay {
    began: Instant,
    workers: usize,
}

impl Propagation {
    /// None yet.
    pub fn new(stats: WorkersStats) -> Propagation {
        Propagation {
            stats,
            next: Cell::new(0),
            is_measuring: Cell::new(false),
            under_way: RefCell::default(),
        }
    }

    /// Measures from now on: workers' reports are read.
    pub fn measure(&self) {
        self.is_measuring.set(true);
    }

    /// All commands of an update that began at `began` have been given to the workers.
    pub fn begin(&self, workers: &WorkerHandles, began: Instant) {
        if !self.is_measuring.get() {
            return;
        }
        let order = self.next.replace(self.next.get() + 1);
        self.under_way.borrow_mut().insert(order, UnderWay { began, workers: workers.count() });
        workers.tell(|_| Command::Acknowledge { order });
    }

    /// A worker has come as far as this order.
    pub fn acknowledged(&self, order: u64) {
        let mut under_way = self.under_way.borrow_mut();
        let Some(update) = under_way.get_mut(&order) else { return };
        update.workers -= 1;
        if update.workers == 0 {
            let took: Duration = update.began.elapsed();
            under_way.remove(&order);
            self.stats.config_update_time_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            log_debug!(Config, "all workers follow an update {took:?} after it began");
        }
    }
}
