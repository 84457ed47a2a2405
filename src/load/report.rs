//! The result of a load run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::error::ErrorKind;
use super::series::Series;

/// Times are told apart from 64 nanoseconds to one hour, to three digits.
const LOWEST_NS: u64 = 64;
const HIGHEST_NS: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// One for each three-digit status.
const STATUSES: usize = 1_000;

/// What a run saw, from the end of the warm-up on.
#[derive(Debug, Clone)]
pub struct Report {
    /// From the first request that counts to the last answer, or to the planned end if that is later.
    pub elapsed: Duration,
    /// Latencies of answered requests in nanoseconds; in an open loop from the scheduled time.
    pub latencies: Histogram<u64>,
    /// In an open loop the same from the time of sending, which is what a stalled server hides behind.
    pub service_times: Histogram<u64>,
    /// How long connecting took, for every connection that came to stand, in nanoseconds; without TLS.
    pub connect_times: Histogram<u64>,
    /// How long TLS took on top of that.
    pub handshake_times: Histogram<u64>,
    /// Handshakes that resumed a session.
    pub resumed: u64,
    /// Version and cipher suite of the first handshake.
    pub tls: Option<(&'static str, &'static str)>,
    /// In an open loop, how late the generator itself sent what was due, in nanoseconds.
    pub schedule_lag: Histogram<u64>,
    /// Requests that were due while every connection was busy, and were sent later.
    pub waited_for_connection: u64,
    /// Answers by status: index 200 counts the 200s.
    pub statuses: Vec<u64>,
    /// Failed requests by [`ErrorKind`].
    pub errors: [u64; ErrorKind::ALL.len()],
    /// Bytes of answers, heads included.
    pub received_bytes: u64,
    /// Bytes of requests, heads included.
    pub sent_bytes: u64,
    /// Connections that the target ended while nothing was asked on them.
    pub closed_by_target: u64,
    /// Requests without an answer when the run was interrupted.
    pub in_flight_at_end: u64,
    /// Answers, failures and latencies over time.
    pub series: Series,
    /// What each worker used.
    pub workers: Vec<Usage>,
    /// How the run ended.
    pub ending: Ending,
    /// Why the first connection failed that did.
    pub connect_error: Option<String>,
}

/// What one worker used while it measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of its thread.
    pub cpu: Duration,
    /// Time that passed.
    pub elapsed: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Complete,
    /// Told to end before.
    Interrupted,
    /// No connection could be made, at the beginning or any more.
    NoConnection,
}

impl Report {
    /// Nothing seen yet.
    pub fn new(interval: Duration) -> Report {
        Report {
            elapsed: Duration::ZERO,
            latencies: histogram(),
            service_times: histogram(),
            connect_times: histogram(),
            handshake_times: histogram(),
            resumed: 0,
            tls: None,
            schedule_lag: histogram(),
            waited_for_connection: 0,
            statuses: vec![0; STATUSES],
            errors: [0; ErrorKind::ALL.len()],
            received_bytes: 0,
            sent_bytes: 0,
            closed_by_target: 0,
            in_flight_at_end: 0,
            series: Series::new(interval),
            workers: Vec::new(),
            ending: Ending::Complete,
            connect_error: None,
        }
    }

    /// Requests that were answered as expected.
    pub fn answered(&self) -> u64 {
        self.latencies.len()
    }

    /// Failed requests.
    pub fn failed(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Answered requests per second.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.answered() as f64 / seconds } else { 0.0 }
    }

    /// Answers by class of status: index 2 counts 2xx.
    pub fn status_classes(&self) -> [u64; 10] {
        std::array::from_fn(|class| self.statuses[class * 100..(class + 1) * 100].iter().sum())
    }

    /// The share of its processor that the busiest worker used, 0 to 1.
    pub fn busy_share(&self) -> f64 {
        let share = |usage: &Usage| usage.cpu.as_secs_f64() / usage.elapsed.as_secs_f64().max(1e-9);
        self.workers.iter().map(share).fold(0.0, f64::max)
    }

    /// Processor time of all workers for each request, failed ones included.
    pub fn cpu_per_request(&self) -> Duration {
        let requests = (self.answered() + self.failed()).max(1);
        let cpu: Duration = self.workers.iter().map(|usage| usage.cpu).sum();
        Duration::from_nanos((cpu.as_nanos() / u128::from(requests)) as u64)
    }

    /// Adds what another worker saw.
    pub(super) fn merge(&mut self, other: Report) {
        self.elapsed = self.elapsed.max(other.elapsed);
        for (own, theirs) in [
            (&mut self.latencies, &other.latencies),
            (&mut self.service_times, &other.service_times),
            (&mut self.connect_times, &other.connect_times),
            (&mut self.handshake_times, &other.handshake_times),
            (&mut self.schedule_lag, &other.schedule_lag),
        ] {
            // All have the same bounds.
            let _ = own.add(theirs);
        }
        self.statuses.iter_mut().zip(&other.statuses).for_each(|(own, theirs)| *own += theirs);
        self.errors.iter_mut().zip(&other.errors).for_each(|(own, theirs)| *own += theirs);
        self.resumed += other.resumed;
        self.tls = self.tls.or(other.tls);
        self.waited_for_connection += other.waited_for_connection;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.closed_by_target += other.closed_by_target;
        self.in_flight_at_end += other.in_flight_at_end;
        self.series.merge(other.series);
        self.workers.extend(other.workers);
        if self.ending == Ending::Complete {
            self.ending = other.ending;
        }
        self.connect_error = self.connect_error.take().or(other.connect_error);
    }
}

/// An empty histogram of times in nanoseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
        .expect("the constant bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_workers_add_up() {
        let report = |latency, status: usize| {
            let mut report = Report::new(Duration::from_secs(1));
            report.latencies.saturating_record(latency);
            report.statuses[status] = 1;
            report.errors[ErrorKind::Timeout as usize] = 1;
            report.elapsed = Duration::from_secs(2);
            report.workers.push(Usage { cpu: Duration::from_secs(1), elapsed: Duration::from_secs(2) });
            report
        };
        let mut sum = report(5_000, 200);
        sum.merge(Report { ending: Ending::Interrupted, ..report(7_000, 503) });
        assert_eq!((sum.answered(), sum.failed(), sum.ending), (2, 2, Ending::Interrupted));
        assert_eq!((sum.status_classes()[2], sum.status_classes()[5]), (1, 1));
        assert!((sum.rate() - 1.0).abs() < 1e-9 && (sum.busy_share() - 0.5).abs() < 1e-9);
        assert_eq!(sum.cpu_per_request(), Duration::from_millis(500));
    }
}
