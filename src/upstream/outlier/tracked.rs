//! What the detector remembers of one host: how often and when it was ejected, and what was counted of it.

use std::sync::Arc;
use std::time::Duration;

use super::detector::HostRates;
use super::monitor::Requests;
use crate::base::clock::Instant;
use crate::config::cluster::OutlierDetection;
use crate::upstream::alarm::Alarms;
use crate::upstream::host_health::HealthFlags;
use crate::upstream::host_set::HostShared;

/// The flag of an ejected host.
pub const EJECTED: HealthFlags = HealthFlags::FAILED_OUTLIER_CHECK;
/// The flag of a host that said that it is degraded.
pub const DEGRADED: HealthFlags = HealthFlags::DEGRADED_OUTLIER_DETECTION;

/// A host as the detector knows it.
#[derive(Debug)]
pub struct Tracked {
    /// Flags and counts.
    pub shared: Arc<HostShared>,
    /// For logs.
    pub address: Arc<str>,
    /// How often it was ejected.
    pub ejections: u32,
    /// When that began the last time.
    pub last_ejection: Option<Instant>,
    /// When that ended the last time.
    pub last_unejection: Option<Instant>,
    /// How long it stays away.
    pub ejection: Backoff,
    /// By how much longer, this time.
    pub jitter: Duration,
    /// When it was marked as degraded the last time.
    pub last_degradation: Option<Instant>,
    /// How long it stays marked.
    pub degradation: Backoff,
    /// What was counted up to the last sweep.
    pub seen: Seen,
    /// What the last sweep found.
    pub rates: HostRates,
}

/// How many times the base time a host stays away: one more with each ejection, one less with each quiet interval.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff(u32);

/// Requests by both ways of counting them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// By what the host answered.
    pub external: Requests,
    /// By failures of our own side.
    pub local: Requests,
}

impl Tracked {
    /// A host without history.
    pub fn new(shared: Arc<HostShared>, address: Arc<str>) -> Tracked {
        Tracked {
            shared,
            address,
            ejections: 0,
            last_ejection: None,
            last_unejection: None,
            ejection: Backoff::default(),
            degradation: Backoff::default(),
            last_degradation: None,
            jitter: Duration::ZERO,
            seen: Seen::default(),
            rates: HostRates::default(),
        }
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self) -> bool {
        self.shared.health.flags().intersects(EJECTED)
    }

    /// Whether it is ejected and should be back.
    pub fn ejection_is_over(&self, settings: &OutlierDetection, now: Instant) -> bool {
        let time = self.ejection.time(settings) + self.jitter;
        self.is_ejected() && self.last_ejection.is_none_or(|ejected| now - ejected >= time)
    }

    /// Whether it is marked as degraded and should not be any more.
    pub fn degradation_is_over(&self, settings: &OutlierDetection, now: Instant) -> bool {
        let time = self.degradation.time(settings);
        self.shared.health.flags().intersects(DEGRADED)
            && self.last_degradation.is_none_or(|degraded| now - degraded >= time)
    }

    /// Begins rows of failures anew.
    pub fn restart(&self, rows: Alarms) {
        if let Some(monitor) = &self.shared.outlier {
            monitor.restart(rows);
        }
    }

    /// What was counted since the last time.
    pub fn take_requests(&mut self) -> Seen {
        let Some(monitor) = &self.shared.outlier else { return Seen::default() };
        let now = Seen { external: monitor.external(), local: monitor.local() };
        let before = std::mem::replace(&mut self.seen, now);
        Seen { external: now.external.since(before.external), local: now.local.since(before.local) }
    }
}

impl Backoff {
    /// How long it lasts.
    pub fn time(self, settings: &OutlierDetection) -> Duration {
        settings.base_ejection_time.saturating_mul(self.0).min(settings.max_ejection_time)
    }

    /// One more time.
    pub fn raise(&mut self, settings: &OutlierDetection) {
        let base = settings.base_ejection_time;
        if base.saturating_mul(self.0) < settings.max_ejection_time.saturating_add(base) {
            self.0 = self.0.saturating_add(1);
        }
    }

    /// A quiet interval.
    pub fn lower(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

impl Requests {
    /// What came after `before`.
    pub fn since(self, before: Requests) -> Requests {
        Requests {
            total: self.total.saturating_sub(before.total),
            failed: self.failed.saturating_sub(before.failed),
        }
    }

    /// Per cent; none without requests.
    pub fn success_rate(self) -> Option<f64> {
        let succeeded = self.total.saturating_sub(self.failed);
        (self.total > 0).then(|| 100.0 * succeeded as f64 / self.total as f64)
    }
}
