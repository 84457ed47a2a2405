//! What workers count of one host: failures in a row, which all of them share, and requests per worker.
//!
//! No lock. A success is one addition in the worker's own row, and one store to what is shared only if a failure
//! came before it. Which worker's failure completes a row is decided by compare-and-swap, so that each row raises
//! its alarm once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::config::cluster::OutlierDetection;
use crate::http::{HeaderMap, ResponseHead, grpc, header};
use crate::upstream::alarm::Alarms;
use crate::upstream::host_health::HealthFlags;
use crate::upstream::host_set::HostShared;
use crate::upstream::host_stats::HostCounter;

/// What became of a request at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a connection for it.
    Connected,
    /// The host answered.
    Response {
        /// Its status; for gRPC the status that its `grpc-status` stands for.
        status: u16,
        /// It has `x-envoy-degraded`.
        is_degraded: bool,
    },
    /// No connection could be made, or it ended before the response did.
    ConnectFailed,
    /// No answer in time.
    Timeout,
}

/// The counts of one host.
#[derive(Debug)]
pub struct HostMonitor {
    limits: Limits,
    consecutive: Consecutive,
    workers: Box<[Row]>,
}

/// Requests of a host since it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// All.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    server_errors: u32,
    gateway_failures: u32,
    local_failures: u32,
    splits_local: bool,
    detects_degraded: bool,
}

/// Aligned so that it shares no cache line (nor the pair that is prefetched) with a worker's row.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Consecutive {
    /// Server errors in the lower half, gateway failures (which are server errors, too) in the upper one.
    external: AtomicU64,
    local: AtomicU32,
}

/// One worker's counts.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Row {
    external_total: HostCounter,
    external_failed: HostCounter,
    local_total: HostCounter,
    local_failed: HostCounter,
}

impl Outcome {
    /// The outcome of `request` that was answered with `response`.
    pub fn of_response(request: &HeaderMap, response: &ResponseHead) -> Outcome {
        let headers = &response.headers;
        let grpc_status = headers.get_u64(header::GRPC_STATUS).filter(|_| grpc::is_grpc_request(request));
        Outcome::Response {
            status: match grpc_status {
                Some(status) => grpc::http_from_status(u32::try_from(status).unwrap_or(u32::MAX)),
                None => response.status(),
            },
            is_degraded: headers.contains(header::X_ENVOY_DEGRADED),
        }
    }
}

impl HostMonitor {
    /// Zeroes for `workers` workers.
    pub fn new(settings: &OutlierDetection, workers: usize) -> HostMonitor {
        HostMonitor {
            limits: Limits {
                server_errors: settings.consecutive_5xx,
                gateway_failures: settings.consecutive_gateway_failure,
                local_failures: settings.consecutive_local_origin_failure,
                splits_local: settings.split_external_local_origin_errors,
                detects_degraded: settings.detect_degraded_hosts,
            },
            consecutive: Consecutive::default(),
            workers: (0..workers.max(1)).map(|_| Row::default()).collect(),
        }
    }

    /// Counts `outcome` for the worker with this index; says what the control thread has to look at.
    pub fn record(&self, worker: usize, outcome: Outcome) -> Alarms {
        let row = &self.workers[worker.min(self.workers.len() - 1)];
        match outcome {
            Outcome::Response { status, is_degraded } => {
                let degraded = is_degraded && status < 500 && self.limits.detects_degraded;
                let alarms = self.count_status(row, status);
                if degraded { alarms.with(Alarms::DEGRADED) } else { alarms }
            }
            Outcome::Connected if self.limits.splits_local => {
                row.local_total.inc();
                if self.consecutive.local.load(Ordering::Relaxed) != 0 {
                    self.consecutive.local.store(0, Ordering::Relaxed);
                }
                Alarms::NONE
            }
            Outcome::Connected => Alarms::NONE,
            Outcome::ConnectFailed | Outcome::Timeout if self.limits.splits_local => {
                self.count_local_failure(row)
            }
            Outcome::ConnectFailed => self.count_status(row, 503),
            Outcome::Timeout => self.count_status(row, 504),
        }
    }

    /// Requests by what hosts answered; where failures of our own side are not told apart, those too.
    pub fn external(&self) -> Requests {
        self.sum(|row| (&row.external_total, &row.external_failed))
    }

    /// Requests by whether our own side failed.
    pub fn local(&self) -> Requests {
        self.sum(|row| (&row.local_total, &row.local_failed))
    }

    /// Begins the row anew that raised `alarm`.
    pub fn restart(&self, alarm: Alarms) {
        const LOWER: u64 = u32::MAX as u64;
        if alarm.intersects(Alarms::CONSECUTIVE_GATEWAY_FAILURE) {
            self.consecutive.external.fetch_and(LOWER, Ordering::Relaxed);
        }
        if alarm.intersects(Alarms::CONSECUTIVE_5XX) {
            self.consecutive.external.fetch_and(!LOWER, Ordering::Relaxed);
        }
        if alarm.intersects(Alarms::CONSECUTIVE_LOCAL_ORIGIN_FAILURE) {
            self.consecutive.local.store(0, Ordering::Relaxed);
        }
    }

    fn count_status(&self, row: &Row, status: u16) -> Alarms {
        row.external_total.inc();
        let consecutive = &self.consecutive.external;
        if !(500..600).contains(&status) {
            if consecutive.load(Ordering::Relaxed) != 0 {
                consecutive.store(0, Ordering::Relaxed);
            }
            return Alarms::NONE;
        }
        row.external_failed.inc();
        let is_gateway_failure = matches!(status, 502..=504);
        let next = |packed: u64| {
            let (errors, gateway) = unpack(packed);
            pack(errors.saturating_add(1), if is_gateway_failure { gateway.saturating_add(1) } else { 0 })
        };
        let (errors, gateway) = unpack(next(update(consecutive, next)));
        let mut alarms = Alarms::NONE;
        if is_gateway_failure && gateway == self.limits.gateway_failures {
            alarms = alarms.with(Alarms::CONSECUTIVE_GATEWAY_FAILURE);
        }
        if errors == self.limits.server_errors {
            alarms = alarms.with(Alarms::CONSECUTIVE_5XX);
        }
        alarms
    }

    fn count_local_failure(&self, row: &Row) -> Alarms {
        row.local_total.inc();
        row.local_failed.inc();
        let next = |count: u32| Some(count.saturating_add(1));
        let before = self.consecutive.local.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        match before {
            Ok(before) if before.saturating_add(1) == self.limits.local_failures => {
                Alarms::CONSECUTIVE_LOCAL_ORIGIN_FAILURE
            }
            _ => Alarms::NONE,
        }
    }

    fn sum(&self, read: impl Fn(&Row) -> (&HostCounter, &HostCounter)) -> Requests {
        let mut sum = Requests::default();
        for row in &self.workers {
            let (total, failed) = read(row);
            sum.total = sum.total.wrapping_add(total.get());
            sum.failed = sum.failed.wrapping_add(failed.get());
        }
        sum
    }
}

/// One worker's way to report what became of its requests at a host. Does nothing where outlier detection is off.
#[derive(Debug, Clone, Copy)]
pub struct OutlierRecorder<'a> {
    host: &'a Arc<HostShared>,
    worker: usize,
}

impl<'a> OutlierRecorder<'a> {
    /// For the worker with this index.
    pub fn new(host: &'a Arc<HostShared>, worker: usize) -> OutlierRecorder<'a> {
        OutlierRecorder { host, worker }
    }

    /// Counts what became of a request.
    #[inline]
    pub fn record(self, outcome: Outcome) {
        if let Some(monitor) = &self.host.outlier {
            let alarms = monitor.record(self.worker, outcome);
            if alarms != Alarms::NONE {
                self.raise(alarms);
            }
        }
    }

    #[cold]
    fn raise(self, alarms: Alarms) {
        // A host that is known to be degraded says so in each response.
        let is_known = self.host.health.flags().intersects(HealthFlags::DEGRADED_OUTLIER_DETECTION);
        if alarms != Alarms::DEGRADED || !is_known {
            self.host.raise(alarms);
        }
    }
}

fn pack(errors: u32, gateway_failures: u32) -> u64 {
    u64::from(gateway_failures) << 32 | u64::from(errors)
}

fn unpack(packed: u64) -> (u32, u32) {
    (packed as u32, (packed >> 32) as u32)
}

/// Replaces the value by `next` of it and returns what was replaced.
fn update(cell: &AtomicU64, next: impl Fn(u64) -> u64) -> u64 {
    let mut before = cell.load(Ordering::Relaxed);
    while let Err(now) =
        cell.compare_exchange_weak(before, next(before), Ordering::Relaxed, Ordering::Relaxed)
    {
        before = now;
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRORS: Alarms = Alarms::CONSECUTIVE_5XX;
    const GATEWAY: Alarms = Alarms::CONSECUTIVE_GATEWAY_FAILURE;
    const LOCAL: Alarms = Alarms::CONSECUTIVE_LOCAL_ORIGIN_FAILURE;

    fn status(status: u16) -> Outcome {
        Outcome::Response { status, is_degraded: false }
    }

    fn monitor(edit: impl FnOnce(&mut OutlierDetection)) -> HostMonitor {
        let mut settings = OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 2,
            consecutive_local_origin_failure: 2,
            ..OutlierDetection::default()
        };
        edit(&mut settings);
        HostMonitor::new(&settings, 2)
    }

    /// The alarms of outcomes in turn, which alternate between two workers.
    fn alarms(monitor: &HostMonitor, outcomes: &[Outcome]) -> Vec<Alarms> {
        outcomes.iter().enumerate().map(|(i, outcome)| monitor.record(i, *outcome)).collect()
    }

    #[test]
    fn rows_of_errors_raise_an_alarm_where_they_reach_their_limit() {
        let none = Alarms::NONE;
        let of = |statuses: &[u16]| {
            let outcomes: Vec<_> = statuses.iter().map(|code| status(*code)).collect();
            alarms(&monitor(|_| {}), &outcomes)
        };
        assert_eq!(of(&[500, 500, 500, 500]), [none, none, ERRORS, none], "once");
        assert_eq!(of(&[500, 500, 200, 500, 500]), [none; 5], "a success begins anew");
        assert_eq!(of(&[500, 500, 404, 500, 500]), [none; 5], "so does any answer that is no server error");
        assert_eq!(of(&[502, 504, 503]), [none, GATEWAY, ERRORS]);
        assert_eq!(of(&[503, 500, 503]), [none, none, ERRORS], "500 ends a row of gateway failures");
        let both = monitor(|settings| settings.consecutive_5xx = 2);
        assert_eq!(alarms(&both, &[status(503), status(503)]), [none, GATEWAY.with(ERRORS)]);
        let off = monitor(|settings| {
            settings.consecutive_5xx = 0;
            settings.consecutive_gateway_failure = 0;
        });
        assert_eq!(alarms(&off, &[status(503); 4]), [none; 4]);
    }

    #[test]
    fn rows_begin_anew_once_they_were_acted_upon() {
        let monitor = monitor(|_| {});
        alarms(&monitor, &[status(503), status(503)]);
        monitor.restart(GATEWAY);
        assert_eq!(alarms(&monitor, &[status(503), status(503)]), [ERRORS, GATEWAY]);
        monitor.restart(ERRORS);
        assert_eq!(alarms(&monitor, &[status(500); 3]), [Alarms::NONE, Alarms::NONE, ERRORS]);
    }

    #[test]
    fn failures_of_our_side_are_server_errors_unless_told_apart() {
        let together = monitor(|_| {});
        let outcomes = [Outcome::Connected, Outcome::ConnectFailed, Outcome::Connected, Outcome::Timeout];
        assert_eq!(alarms(&together, &outcomes)[3], GATEWAY);
        assert_eq!(together.external(), Requests { total: 2, failed: 2 });
        assert_eq!(together.local(), Requests::default());

        let apart = monitor(|settings| settings.split_external_local_origin_errors = true);
        let outcomes = [Outcome::ConnectFailed, Outcome::Connected, Outcome::Timeout, Outcome::ConnectFailed];
        assert_eq!(alarms(&apart, &outcomes), [Alarms::NONE, Alarms::NONE, Alarms::NONE, LOCAL]);
        assert_eq!(apart.local(), Requests { total: 4, failed: 3 });
        assert_eq!(apart.external(), Requests::default());
    }

    #[test]
    fn a_grpc_status_counts_instead_of_the_http_status() {
        let of = |content_type: &str, fields: &[(header::Known, &str)]| {
            let mut request = HeaderMap::new();
            request.append(header::CONTENT_TYPE, content_type.as_bytes());
            let mut response = ResponseHead::new(200);
            fields.iter().for_each(|(name, value)| response.headers.append(*name, value.as_bytes()));
            Outcome::of_response(&request, &response)
        };
        let unavailable = [(header::GRPC_STATUS, "14")];
        assert_eq!(of("application/grpc", &unavailable), status(503));
        assert_eq!(of("application/grpc", &[(header::GRPC_STATUS, "0")]), status(200));
        assert_eq!(of("application/grpc", &[]), status(200));
        assert_eq!(of("text/plain", &unavailable), status(200));
        let degraded = of("text/plain", &[(header::X_ENVOY_DEGRADED, "")]);
        assert_eq!(degraded, Outcome::Response { status: 200, is_degraded: true });
    }

    #[test]
    fn degraded_is_only_looked_at_where_asked_for_and_in_successes() {
        let degraded = |status| Outcome::Response { status, is_degraded: true };
        let looking = monitor(|settings| settings.detect_degraded_hosts = true);
        assert_eq!(looking.record(0, degraded(200)), Alarms::DEGRADED);
        assert_eq!(looking.record(0, degraded(503)), Alarms::NONE);
        assert_eq!(monitor(|_| {}).record(0, degraded(200)), Alarms::NONE);
    }

    /// Four threads fail without pause: there are as many alarms as rows, whoever completes them.
    #[test]
    fn each_row_raises_one_alarm_whatever_the_number_of_workers() {
        const EACH: usize = 30_000;
        let monitor =
            HostMonitor::new(&OutlierDetection { consecutive_5xx: 7, ..OutlierDetection::default() }, 4);
        let raised = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (monitor, raised) = (&monitor, &raised);
                scope.spawn(move || {
                    for _ in 0..EACH {
                        if monitor.record(worker, status(500)).intersects(ERRORS) {
                            raised.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(raised.load(Ordering::Relaxed), 1, "nobody began the row anew");
        assert_eq!(monitor.external(), Requests { total: 4 * EACH as u64, failed: 4 * EACH as u64 });
    }
}
