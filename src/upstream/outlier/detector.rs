//! One cluster's outlier detection on the control thread: which hosts are ejected, and when they are back.
//!
//! Decides at once about rows of failures that workers report, and about shares of failures in a sweep over all
//! hosts every `interval`, which also ends ejections. Owns no timer.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Action, Detail, EjectionType, OutlierEvent};
use super::monitor::Requests;
use super::rates::{self, Threshold};
use super::tracked::{DEGRADED, EJECTED, Tracked};
use crate::base::clock::Instant;
use crate::base::rng::Rng;
use crate::config::cluster::OutlierDetection;
use crate::stats::groups::OutlierDetectionStats;
use crate::upstream::alarm::Alarms;
use crate::upstream::host_health::HealthFlags;
use crate::upstream::host_set::{HostSet, HostShared};

/// The outlier detection of one cluster.
#[derive(Debug)]
pub struct Detector {
    settings: OutlierDetection,
    stats: OutlierDetectionStats,
    hosts: Vec<Tracked>,
    rates: DetectorRates,
    /// What the gauge shows; a gauge that was never set is not listed as used.
    shown: u64,
}

/// What comparing hosts came to in the last sweep; none while there was too little traffic.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DetectorRates {
    /// By what hosts answered.
    pub external: Option<Threshold>,
    /// By failures of our own side, where these are told apart.
    pub local: Option<Threshold>,
}

/// A host's share of successes in the last interval, per cent; none if it had too little traffic.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostRates {
    /// By what it answered.
    pub external: Option<f64>,
    /// By failures of our own side, where these are told apart.
    pub local: Option<f64>,
}

/// Which requests are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    External,
    Local,
}

impl Detector {
    /// Without hosts. `settings` are those in force.
    pub fn new(settings: OutlierDetection, stats: OutlierDetectionStats) -> Detector {
        Detector { settings, stats, hosts: Vec::new(), rates: DetectorRates::default(), shown: 0 }
    }

    /// Time between two sweeps.
    pub fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// Whether a successful health check ends an ejection.
    pub fn unejects_on_health_check(&self) -> bool {
        self.settings.successful_active_health_check_uneject_host
    }

    /// Follows a change of the host set: hosts that stay keep their history.
    pub fn update_hosts(&mut self, hosts: &HostSet) {
        let mut known: std::collections::HashMap<_, _> =
            self.hosts.drain(..).map(|host| (Arc::as_ptr(&host.shared), host)).collect();
        for entry in hosts.hosts() {
            let tracked = known.remove(&Arc::as_ptr(&entry.shared));
            let address: Arc<str> = entry.address.to_string().into();
            self.hosts.push(match tracked {
                Some(tracked) => Tracked { address, ..tracked },
                None => Tracked::new(Arc::clone(&entry.shared), address),
            });
        }
        self.refresh_gauge();
    }

    /// What comparing hosts came to.
    pub fn rates(&self) -> DetectorRates {
        self.rates
    }

    /// A host's share of successes.
    pub fn host_rates(&self, host: &HostShared) -> HostRates {
        self.position(host).map(|at| self.hosts[at].rates).unwrap_or_default()
    }

    /// Workers have seen something of a host.
    pub fn on_alarms(
        &mut self,
        host: &HostShared,
        alarms: Alarms,
        now: Instant,
        rng: &mut Rng,
    ) -> Vec<OutlierEvent> {
        let mut events = Vec::new();
        // The host may have left meanwhile.
        let Some(at) = self.position(host) else { return events };
        for (alarm, ejection_type) in [
            (Alarms::CONSECUTIVE_GATEWAY_FAILURE, EjectionType::ConsecutiveGatewayFailure),
            (Alarms::CONSECUTIVE_5XX, EjectionType::Consecutive5xx),
            (Alarms::CONSECUTIVE_LOCAL_ORIGIN_FAILURE, EjectionType::ConsecutiveLocalOriginFailure),
        ] {
            if alarms.intersects(alarm) && !self.hosts[at].is_ejected() {
                events.extend(self.eject(at, ejection_type, Detail::Consecutive, now, rng));
                if ejection_type == EjectionType::Consecutive5xx {
                    self.stats.ejections_consecutive_5xx.inc();
                }
                self.hosts[at].restart(alarm);
            }
        }
        if alarms.intersects(Alarms::DEGRADED) {
            events.extend(self.degrade(at, now));
        }
        events
    }

    /// A health check of a host succeeded: it is back if it was ejected.
    pub fn on_healthy(&mut self, host: &HostShared, now: Instant) -> Option<OutlierEvent> {
        let at = self.position(host).filter(|at| self.hosts[*at].is_ejected())?;
        Some(self.uneject(at, now))
    }

    /// Looks at all hosts; to be called every [`Detector::interval`].
    pub fn sweep(&mut self, now: Instant, rng: &mut Rng) -> Vec<OutlierEvent> {
        let mut events = Vec::new();
        let mut requests = Vec::with_capacity(self.hosts.len());
        for at in 0..self.hosts.len() {
            if self.hosts[at].ejection_is_over(&self.settings, now) {
                events.push(self.uneject(at, now));
            }
            if self.hosts[at].degradation_is_over(&self.settings, now) {
                events.push(self.undegrade(at));
            }
            self.hosts[at].rates = HostRates::default();
            requests.push(self.hosts[at].take_requests());
        }
        let external: Vec<Requests> = requests.iter().map(|seen| seen.external).collect();
        events.extend(self.compare(Origin::External, &external, now, rng));
        let local: Vec<Requests> = requests.iter().map(|seen| seen.local).collect();
        events.extend(self.compare(Origin::Local, &local, now, rng));
        for host in self.hosts.iter_mut() {
            let was_back = host.last_unejection.is_some_and(|back| now - back >= self.settings.interval);
            if !host.is_ejected() && was_back {
                host.ejection.lower();
            }
        }
        events
    }

    /// Ejects hosts by the share of their requests that failed in the last interval.
    fn compare(
        &mut self,
        origin: Origin,
        requests: &[Requests],
        now: Instant,
        rng: &mut Rng,
    ) -> Vec<OutlierEvent> {
        let settings = &self.settings;
        let (rate_volume, share_volume) =
            (settings.success_rate_request_volume, settings.failure_percentage_request_volume);
        let mut comparable = Vec::new();
        let mut judged = Vec::new();
        for (at, (host, requests)) in self.hosts.iter_mut().zip(requests).enumerate() {
            let Some(rate) = requests.success_rate().filter(|_| !host.is_ejected()) else { continue };
            if requests.total >= rate_volume.min(share_volume).into() {
                *host.rates.of(origin) = Some(rate);
            }
            if requests.total >= rate_volume.into() {
                comparable.push((at, rate));
            }
            if requests.total >= share_volume.into() {
                judged.push((at, rate));
            }
        }
        let enough = |hosts: &[_], minimum: u32| !hosts.is_empty() && hosts.len() >= minimum as usize;
        let threshold = enough(&comparable, settings.success_rate_minimum_hosts).then(|| {
            let rates: Vec<f64> = comparable.iter().map(|(_, rate)| *rate).collect();
            rates::threshold(&rates, settings.success_rate_stdev_factor)
        });
        *self.rates.of(origin) = threshold;
        let judges_shares = enough(&judged, settings.failure_percentage_minimum_hosts);
        let limit = f64::from(settings.failure_percentage_threshold);

        let (by_rate, by_share) = match origin {
            Origin::External => (EjectionType::SuccessRate, EjectionType::FailurePercentage),
            Origin::Local => {
                (EjectionType::SuccessRateLocalOrigin, EjectionType::FailurePercentageLocalOrigin)
            }
        };
        let mut events = Vec::new();
        if let Some(Threshold { average, ejection: threshold }) = threshold {
            for (at, host) in comparable.into_iter().filter(|(_, rate)| *rate < threshold) {
                self.stats.ejections_success_rate.inc();
                let detail = Detail::SuccessRate { host, average, threshold };
                events.extend(self.eject(at, by_rate, detail, now, rng));
            }
        }
        for (at, host) in judged.into_iter().filter(|(_, rate)| judges_shares && 100.0 - rate >= limit) {
            // Envoy ejects a host twice that both ways find, and then counts it as ejected for ever.
            if !self.hosts[at].is_ejected() {
                events.extend(self.eject(at, by_share, Detail::FailurePercentage { host }, now, rng));
            }
        }
        events
    }

    /// A host is an outlier: ejects it, if one more may be ejected and this kind of detection is enforced.
    fn eject(
        &mut self,
        at: usize,
        ejection_type: EjectionType,
        detail: Detail,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<OutlierEvent> {
        ejection_type.count_detected(&self.stats);
        let ejected = self.ejected();
        let percent = 100.0 * (ejected + 1) as f64 / self.hosts.len() as f64;
        let is_first = self.settings.always_eject_one_host && ejected == 0;
        if percent > f64::from(self.settings.max_ejection_percent.min(100)) && !is_first {
            self.stats.ejections_overflow.inc();
            return None;
        }
        if matches!(ejection_type, EjectionType::Consecutive5xx | EjectionType::SuccessRate) {
            self.stats.ejections_total.inc();
        }
        let enforced = rng.below(100) < ejection_type.enforcing_percent(&self.settings).into();
        if enforced {
            ejection_type.count_enforced(&self.stats);
            let jitter_ms = self.settings.max_ejection_time_jitter.as_millis() as u64;
            let host = &mut self.hosts[at];
            host.shared.health.set(EJECTED, true);
            host.ejections += 1;
            host.last_ejection = Some(now);
            host.jitter = Duration::from_millis(rng.below(jitter_ms + 1));
            host.ejection.raise(&self.settings);
            self.refresh_gauge();
        }
        let since = self.hosts[at].last_unejection.map(|back| now - back);
        Some(self.event(at, ejection_type, Action::Eject, since, enforced, detail))
    }

    fn uneject(&mut self, at: usize, now: Instant) -> OutlierEvent {
        let host = &mut self.hosts[at];
        host.shared.health.set(EJECTED, false);
        // None of the rows may be nearly complete when the host is back.
        let rows = Alarms::CONSECUTIVE_5XX
            .with(Alarms::CONSECUTIVE_GATEWAY_FAILURE)
            .with(Alarms::CONSECUTIVE_LOCAL_ORIGIN_FAILURE);
        host.restart(rows);
        host.last_unejection = Some(now);
        let since = host.last_ejection.map(|ejected| now - ejected);
        self.refresh_gauge();
        self.event(at, EjectionType::Consecutive5xx, Action::Uneject, since, false, Detail::None)
    }

    fn degrade(&mut self, at: usize, now: Instant) -> Option<OutlierEvent> {
        let host = &mut self.hosts[at];
        if !host.shared.health.change(DEGRADED, HealthFlags::NONE) {
            return None;
        }
        host.last_degradation = Some(now);
        host.degradation.raise(&self.settings);
        self.stats.ejections_detected_degradation.inc();
        let since = host.last_unejection.map(|back| now - back);
        Some(self.event(at, EjectionType::Degraded, Action::Eject, since, true, Detail::Consecutive))
    }

    fn undegrade(&mut self, at: usize) -> OutlierEvent {
        self.hosts[at].shared.health.set(DEGRADED, false);
        self.event(at, EjectionType::Consecutive5xx, Action::Uneject, None, false, Detail::None)
    }

    fn event(
        &self,
        at: usize,
        ejection_type: EjectionType,
        action: Action,
        since_last_action: Option<Duration>,
        enforced: bool,
        detail: Detail,
    ) -> OutlierEvent {
        let host = &self.hosts[at];
        OutlierEvent {
            host: Arc::clone(&host.shared),
            upstream_url: Arc::clone(&host.address),
            ejection_type,
            action,
            since_last_action,
            ejections: host.ejections,
            enforced,
            detail,
        }
    }

    fn position(&self, host: &HostShared) -> Option<usize> {
        self.hosts.iter().position(|tracked| std::ptr::eq(&*tracked.shared, host))
    }

    fn ejected(&self) -> usize {
        self.hosts.iter().filter(|host| host.is_ejected()).count()
    }

    fn refresh_gauge(&mut self) {
        let ejected = self.ejected() as u64;
        if std::mem::replace(&mut self.shown, ejected) != ejected {
            self.stats.ejections_active.set(ejected);
        }
    }
}

impl HostRates {
    fn of(&mut self, origin: Origin) -> &mut Option<f64> {
        match origin {
            Origin::External => &mut self.external,
            Origin::Local => &mut self.local,
        }
    }
}

impl DetectorRates {
    fn of(&mut self, origin: Origin) -> &mut Option<Threshold> {
        match origin {
            Origin::External => &mut self.external,
            Origin::Local => &mut self.local,
        }
    }
}
