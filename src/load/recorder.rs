//! Where a worker's connections put what they see. Allocates nothing for a request.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::base::clock::Instant;

use super::connect::{Connected, Handshake};
use super::dispatch::Job;
use super::error::ErrorKind;
use super::plan::ExpectedStatus;
use super::report::Report;

/// A report under way.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) report: Report,
    /// What was due before does not count.
    pub(super) measured_from: Instant,
    /// The last thing that counted.
    pub(super) last: Instant,
    expected: ExpectedStatus,
    is_open_loop: bool,
}

impl Recorder {
    /// Counts nothing until `measured_from` is set.
    pub(super) fn new(interval: Duration, expected: ExpectedStatus, is_open_loop: bool) -> Recorder {
        let (measured_from, last) = (Instant::FAR_FUTURE, Instant::default());
        Recorder { report: Report::new(interval), measured_from, last, expected, is_open_loop }
    }

    /// A request was sent.
    #[inline]
    pub(super) fn sent(&mut self, job: &Job, bytes: usize) {
        if job.scheduled < self.measured_from {
            return;
        }
        self.report.sent_bytes += bytes as u64;
        if self.is_open_loop {
            match job.lag {
                Some(lag) => record(&mut self.report.schedule_lag, lag),
                None => self.report.waited_for_connection += 1,
            }
        }
    }

    /// An answer is complete.
    #[inline]
    pub(super) fn answered(&mut self, job: &Job, sent: Instant, status: u16, now: Instant) {
        if job.scheduled < self.measured_from {
            return;
        }
        self.last = now;
        if let Some(count) = self.report.statuses.get_mut(usize::from(status)) {
            *count += 1;
        }
        if !self.expected.contains(status) {
            return self.failed(job.scheduled, ErrorKind::Status, now);
        }
        self.succeeded(job, sent, now);
    }

    #[inline]
    fn succeeded(&mut self, job: &Job, sent: Instant, now: Instant) {
        let latency = now.since(job.scheduled);
        record(&mut self.report.latencies, latency);
        if self.is_open_loop {
            record(&mut self.report.service_times, now.since(sent));
        }
        let slot = self.report.series.slot_at(now.since(self.measured_from));
        slot.latencies.saturating_record(latency.as_nanos() as u64);
    }

    /// A request that was due at `scheduled` failed.
    pub(super) fn failed(&mut self, scheduled: Instant, kind: ErrorKind, now: Instant) {
        if scheduled < self.measured_from {
            return;
        }
        self.last = now;
        self.report.errors[kind as usize] += 1;
        self.report.series.slot_at(now.since(self.measured_from)).failed += 1;
    }

    /// Bytes of answers came.
    #[inline]
    pub(super) fn received(&mut self, bytes: usize, now: Instant) {
        if now >= self.measured_from {
            self.report.received_bytes += bytes as u64;
            self.report.series.slot_at(now.since(self.measured_from)).received_bytes += bytes as u64;
        }
    }

    /// A connection stands. Those of the start line come before the measuring, and count all the same.
    pub(super) fn connected(&mut self, connected: &Connected) {
        record(&mut self.report.connect_times, connected.connect_time);
        if let Some(Handshake { time, is_resumed, version, cipher }) = connected.handshake {
            record(&mut self.report.handshake_times, time);
            self.report.resumed += u64::from(is_resumed);
            self.report.tls.get_or_insert((version, cipher));
        }
    }

    /// A handshake is complete that was to be nothing but that.
    pub(super) fn shook_hands(&mut self, job: &Job, begun: Instant, now: Instant) {
        if job.scheduled >= self.measured_from {
            self.sent(job, 0);
            self.last = now;
            self.succeeded(job, begun, now);
        }
    }
}

#[inline]
fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record((time.as_nanos() as u64).max(1));
}
