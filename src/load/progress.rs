//! What other threads may see of a run, and tell it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::report::Report;

/// Shared by a run and whoever watches it.
#[derive(Debug)]
pub struct Control {
    stop: AtomicBool,
    workers: Vec<Published>,
}

/// What one worker published last.
#[derive(Debug, Default)]
struct Published {
    measuring: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    received_bytes: AtomicU64,
    connections: AtomicU64,
    p50_ns: AtomicU64,
    p99_ns: AtomicU64,
}

/// The state of a run, all workers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The warm-up is over.
    pub measuring: bool,
    /// Answered requests so far.
    pub answered: u64,
    /// Failed requests so far.
    pub failed: u64,
    /// Bytes of answers so far.
    pub received_bytes: u64,
    /// Connections that stand.
    pub connections: u64,
    /// Median latency of late, of the worker where it is highest.
    pub p50: Duration,
    /// The 99th percentile of late, of the worker where it is highest.
    pub p99: Duration,
}

impl Control {
    /// For a run with up to `workers` workers.
    pub fn new(workers: usize) -> Control {
        Control {
            stop: AtomicBool::new(false),
            workers: (0..workers.max(1)).map(|_| Published::default()).collect(),
        }
    }

    /// Ends the run soon; what it has seen is reported.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// The state now.
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for worker in &self.workers {
            sum.measuring |= worker.measuring.load(Relaxed);
            sum.answered += worker.answered.load(Relaxed);
            sum.failed += worker.failed.load(Relaxed);
            sum.received_bytes += worker.received_bytes.load(Relaxed);
            sum.connections += worker.connections.load(Relaxed);
            sum.p50 = sum.p50.max(Duration::from_nanos(worker.p50_ns.load(Relaxed)));
            sum.p99 = sum.p99.max(Duration::from_nanos(worker.p99_ns.load(Relaxed)));
        }
        sum
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Says what worker `index` has seen so far.
    pub(super) fn publish(&self, index: usize, report: &Report, connections: u32, measuring: bool) {
        let Some(worker) = self.workers.get(index) else { return };
        worker.measuring.store(measuring, Relaxed);
        worker.answered.store(report.answered(), Relaxed);
        worker.failed.store(report.failed(), Relaxed);
        worker.received_bytes.store(report.received_bytes, Relaxed);
        worker.connections.store(connections.into(), Relaxed);
        if let Some(slot) = report.series.slots().last() {
            worker.p50_ns.store(slot.latencies.value_at_quantile(0.5), Relaxed);
            worker.p99_ns.store(slot.latencies.value_at_quantile(0.99), Relaxed);
        }
    }
}

impl Control {
    /// The same for connections that are held; `all_open` stands for the end of the warm-up.
    pub(super) fn publish_hold(
        &self,
        index: usize,
        answered: u64,
        failed: u64,
        connections: u64,
        all_open: bool,
    ) {
        let Some(worker) = self.workers.get(index) else { return };
        worker.measuring.store(all_open, Relaxed);
        worker.answered.store(answered, Relaxed);
        worker.failed.store(failed, Relaxed);
        worker.connections.store(connections, Relaxed);
    }
}
