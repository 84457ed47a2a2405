//! Counters of one host, for `/clusters`: one row per worker, each written by that worker only, so that
//! counting costs a plain load and store.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! host_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One worker's counters of a host.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct HostCounters { $($(#[$doc])* pub $name: HostCounter,)* }

        /// Sums over all workers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct HostStatsTotals { $($(#[$doc])* pub $name: u64,)* }

        impl HostStats {
            /// The sums now; any thread.
            pub fn totals(&self) -> HostStatsTotals {
                let mut totals = HostStatsTotals::default();
                for worker in &self.workers {
                    $(totals.$name = totals.$name.wrapping_add(worker.$name.get());)*
                }
                totals
            }
        }
    };
}

host_counters! {
    /// Open connections.
    cx_active,
    /// Connections that could not be made.
    cx_connect_fail,
    /// Connections begun.
    cx_total,
    /// Requests under way.
    rq_active,
    /// Requests that failed: 5xx, or no answer.
    rq_error,
    /// Requests that wait for a connection.
    rq_pending_active,
    /// Requests answered otherwise.
    rq_success,
    /// Requests that timed out.
    rq_timeout,
    /// Requests sent.
    rq_total,
}

/// The counters of a host.
#[derive(Debug)]
pub struct HostStats {
    workers: Box<[HostCounters]>,
}

impl HostStats {
    /// Zeroes for `workers` workers (at least one row is kept).
    pub fn new(workers: usize) -> HostStats {
        HostStats { workers: (0..workers.max(1)).map(|_| HostCounters::default()).collect() }
    }

    /// The row that worker `index` writes. Indices beyond the number of workers share the last row,
    /// whose counts may then come out too low.
    pub fn worker(&self, index: usize) -> &HostCounters {
        &self.workers[index.min(self.workers.len() - 1)]
    }
}

/// A number with one writer and any readers.
#[derive(Debug, Default)]
pub struct HostCounter(AtomicU64);

impl HostCounter {
    /// One more. Only by the row's worker.
    pub fn inc(&self) {
        self.0.store(self.get().wrapping_add(1), Ordering::Relaxed);
    }

    /// One less. Only by the row's worker.
    pub fn dec(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_sum_over_workers() {
        let stats = HostStats::new(2);
        stats.worker(0).rq_total.inc();
        stats.worker(1).rq_total.inc();
        stats.worker(1).cx_active.inc();
        stats.worker(1).cx_active.dec();
        assert_eq!(stats.totals(), HostStatsTotals { rq_total: 2, ..HostStatsTotals::default() });
    }
}
