//! A detector over some hosts, on a clock that the test moves. Figures are those that Envoy 1.40 showed.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::clock::Instant;
use crate::base::rng::Rng;
use crate::config::cluster::OutlierDetection;
use crate::stats::groups::OutlierDetectionStats;
use crate::stats::{Registry, install_shard};
use crate::upstream::alarm::Alarms;
use crate::upstream::host_health::HealthFlags;
use crate::upstream::host_set::testing::host_set_by;
use crate::upstream::host_set::{HostSet, HostShared, HostTemplate};

const SECOND: Duration = Duration::from_secs(1);
const EJECTED: HealthFlags = HealthFlags::FAILED_OUTLIER_CHECK;

struct World {
    registry: Registry,
    template: HostTemplate,
    hosts: Arc<HostSet>,
    detector: Detector,
    now: Instant,
    rng: Rng,
}

impl World {
    fn new(hosts: u16, edit: impl FnOnce(&mut OutlierDetection)) -> World {
        let mut settings = OutlierDetection { max_ejection_percent: 100, ..OutlierDetection::default() };
        edit(&mut settings);
        let registry = Registry::new();
        install_shard(registry.new_shard());
        let stats = OutlierDetectionStats::register(&registry, "");
        let template =
            HostTemplate { workers: 2, outlier: Some(Arc::new(settings.clone())), ..HostTemplate::default() };
        let detector = Detector::new(settings, stats);
        let mut world = World {
            registry,
            template,
            hosts: Arc::default(),
            detector,
            now: Instant::from_nanos(1),
            rng: Rng::from_seed(1),
        };
        world.set_hosts(1..=hosts);
        world
    }

    fn set_hosts(&mut self, ports: impl Iterator<Item = u16>) {
        let addresses: Vec<_> = ports.map(|port| ([127, 0, 0, 1], port).into()).collect();
        self.hosts = host_set_by(&self.template, &self.hosts, &addresses);
        self.detector.update_hosts(&self.hosts);
    }

    fn host(&self, at: usize) -> &Arc<HostShared> {
        &self.hosts.hosts()[at].shared
    }

    /// Counts outcomes; alarms reach the detector at once.
    fn record(&mut self, at: usize, outcomes: &[Outcome]) -> Vec<OutlierEvent> {
        let mut events = Vec::new();
        for (worker, outcome) in outcomes.iter().enumerate() {
            let host = Arc::clone(self.host(at));
            let alarms = host.outlier.as_ref().expect("a monitor").record(worker % 2, *outcome);
            events.extend(self.detector.on_alarms(&host, alarms, self.now, &mut self.rng));
        }
        events
    }

    fn statuses(&mut self, at: usize, statuses: &[u16]) -> Vec<OutlierEvent> {
        let of = |status| Outcome::Response { status, is_degraded: false };
        let outcomes: Vec<_> = statuses.iter().map(|status| of(*status)).collect();
        self.record(at, &outcomes)
    }

    fn sweep(&mut self) -> Vec<OutlierEvent> {
        self.detector.sweep(self.now, &mut self.rng)
    }

    fn sweep_after(&mut self, span: Duration) -> Vec<OutlierEvent> {
        self.now = self.now + span;
        self.sweep()
    }

    fn ejected(&self) -> Vec<usize> {
        let flags = |at: &usize| self.host(*at).health.flags().intersects(EJECTED);
        (0..self.hosts.hosts().len()).filter(flags).collect()
    }

    fn count(&self, name: &str) -> u64 {
        let counter = self.registry.counter_value(&format!("ejections_{name}"));
        counter
            .or_else(|| self.registry.gauge_value(&format!("ejections_{name}")).map(|value| value as u64))
            .unwrap_or(0)
    }
}

fn summary(events: &[OutlierEvent]) -> Vec<(EjectionType, Action, u32, bool)> {
    events.iter().map(|event| (event.ejection_type, event.action, event.ejections, event.enforced)).collect()
}

#[test]
fn the_fifth_server_error_in_a_row_ejects() {
    let mut world = World::new(2, |_| {});
    assert!(world.statuses(0, &[500; 4]).is_empty());
    let events = world.statuses(0, &[500]);
    assert_eq!(summary(&events), [(EjectionType::Consecutive5xx, Action::Eject, 1, true)]);
    assert_eq!(world.ejected(), [0]);
    for name in [
        "consecutive_5xx",
        "detected_consecutive_5xx",
        "enforced_consecutive_5xx",
        "enforced_total",
        "total",
        "active",
    ] {
        assert_eq!(world.count(name), 1, "{name}");
    }
    assert!(world.statuses(0, &[500; 20]).is_empty(), "it is ejected already");
    assert_eq!(world.count("detected_consecutive_5xx"), 1);
}

#[test]
fn ejections_end_in_a_sweep_and_last_longer_each_time() {
    let mut world = World::new(2, |settings| settings.base_ejection_time = 10 * SECOND);
    world.statuses(0, &[500; 5]);
    assert!(world.sweep_after(9 * SECOND).is_empty());
    let back = world.sweep_after(SECOND);
    assert_eq!(summary(&back), [(EjectionType::Consecutive5xx, Action::Uneject, 1, false)]);
    assert_eq!(back[0].since_last_action, Some(10 * SECOND));
    assert_eq!((world.ejected().len(), world.count("active")), (0, 0));

    world.now = world.now + SECOND;
    let again = world.statuses(0, &[500; 5]);
    assert_eq!((again[0].since_last_action, again[0].ejections), (Some(SECOND), 2));
    assert!(world.sweep_after(19 * SECOND).is_empty(), "twice the time");
    assert_eq!(world.sweep_after(SECOND).len(), 1);

    // Two quiet intervals take it back to nothing.
    world.sweep_after(10 * SECOND);
    world.sweep_after(10 * SECOND);
    world.statuses(0, &[500; 5]);
    assert_eq!(world.sweep_after(10 * SECOND).len(), 1);
}

#[test]
fn ejections_have_a_longest_time_and_jitter() {
    let mut world = World::new(1, |settings| {
        settings.base_ejection_time = 10 * SECOND;
        settings.max_ejection_time = 15 * SECOND;
        settings.max_ejection_time_jitter = 5 * SECOND;
        settings.interval = Duration::from_secs(1_000);
    });
    let mut spans = Vec::new();
    for _ in 0..40 {
        world.statuses(0, &[500; 5]);
        let began = world.now;
        while world.sweep_after(Duration::from_millis(100)).is_empty() {}
        spans.push(world.now - began);
    }
    assert!(spans[0] >= 10 * SECOND && spans[0] <= 15 * SECOND, "{spans:?}");
    let later = &spans[1..];
    assert!(
        later.iter().all(|span| *span >= 15 * SECOND && *span <= Duration::from_millis(20_100)),
        "{later:?}"
    );
    assert!(later.iter().any(|span| *span > 17 * SECOND) && later.iter().any(|span| *span < 18 * SECOND));
}

#[test]
fn rows_begin_anew_when_a_host_is_back() {
    let mut world = World::new(2, |settings| settings.enforcing_consecutive_gateway_failure = 100);
    let events = world.statuses(0, &[500, 503, 503, 503, 503, 503]);
    assert_eq!(events[0].ejection_type, EjectionType::Consecutive5xx, "the fifth");
    assert_eq!(world.sweep_after(30 * SECOND).len(), 1);
    assert!(world.statuses(0, &[503; 4]).is_empty());
    let events = world.statuses(0, &[503]);
    assert_eq!(events[0].ejection_type, EjectionType::ConsecutiveGatewayFailure, "both, and this one first");
    assert_eq!(events.len(), 1);
}

#[test]
fn what_is_not_enforced_is_only_told() {
    let mut world = World::new(2, |settings| settings.enforcing_consecutive_5xx = 0);
    let events = world.statuses(0, &[500; 10]);
    assert_eq!(summary(&events), [(EjectionType::Consecutive5xx, Action::Eject, 0, false); 2]);
    assert!(world.ejected().is_empty());
    assert_eq!((world.count("detected_consecutive_5xx"), world.count("total")), (2, 2));
    assert_eq!((world.count("enforced_total"), world.count("active")), (0, 0));
    // Gateway failures are not enforced by default.
    world.statuses(1, &[503; 5]);
    assert_eq!(world.count("detected_consecutive_gateway_failure"), 1);
}

#[test]
fn enforcement_is_a_chance() {
    let mut world = World::new(1, |settings| settings.enforcing_consecutive_5xx = 30);
    let mut enforced = 0;
    for _ in 0..1_000 {
        if world.statuses(0, &[500; 5])[0].enforced {
            enforced += 1;
            world.sweep_after(1_000 * SECOND);
        }
    }
    assert!((240..360).contains(&enforced), "{enforced}");
}

#[test]
fn only_a_share_of_the_hosts_may_be_ejected() {
    let eject_all = |hosts: u16, percent: u32, one: bool| {
        let mut world = World::new(hosts, |settings| {
            settings.max_ejection_percent = percent;
            settings.always_eject_one_host = one;
        });
        (0..hosts.into()).for_each(|at| drop(world.statuses(at, &[500; 5])));
        (world.ejected().len(), world.count("overflow"))
    };
    assert_eq!(eject_all(10, 10, false), (1, 9));
    assert_eq!(eject_all(9, 10, false), (0, 9), "a ninth is more than a tenth");
    assert_eq!(eject_all(9, 10, true), (1, 8));
    assert_eq!(eject_all(20, 10, true), (2, 18));
    assert_eq!(eject_all(4, 50, false), (2, 2));
    assert_eq!(eject_all(4, 0, true), (1, 3));
}

#[test]
fn a_host_far_below_the_others_is_ejected() {
    let mut world = World::new(5, |settings| {
        settings.consecutive_5xx = 0;
        settings.success_rate_request_volume = 10;
    });
    world.statuses(0, &[500; 10]);
    (1..5).for_each(|at| drop(world.statuses(at, &[200; 10])));
    let events = world.sweep_after(10 * SECOND);
    assert_eq!(summary(&events), [(EjectionType::SuccessRate, Action::Eject, 1, true)]);
    let Detail::SuccessRate { host, average, threshold } = events[0].detail else { panic!("{events:?}") };
    assert_eq!((host, average), (0.0, 80.0));
    assert!((threshold - 4.0).abs() < 1e-9);
    assert_eq!(world.detector.rates().external.map(|found| found.average), Some(80.0));
    assert_eq!(world.detector.host_rates(world.host(1)), HostRates { external: Some(100.0), local: None });
    for name in ["success_rate", "detected_success_rate", "enforced_success_rate", "total"] {
        assert_eq!(world.count(name), 1, "{name}");
    }
    // The next interval has no requests.
    assert!(world.sweep_after(10 * SECOND).is_empty());
    assert_eq!(world.detector.rates(), DetectorRates::default());
    assert_eq!(world.detector.host_rates(world.host(1)), HostRates::default());
}

#[test]
fn comparing_needs_hosts_and_requests() {
    let found = |hosts: usize, requests: usize| {
        let mut world = World::new(hosts as u16, |settings| settings.consecutive_5xx = 0);
        world.statuses(0, &vec![500; requests]);
        (1..hosts).for_each(|at| drop(world.statuses(at, &vec![200; requests])));
        world.sweep();
        world.ejected().len()
    };
    assert_eq!(found(5, 100), 1);
    assert_eq!(found(5, 99), 0);
    assert_eq!(found(4, 100), 0);
}

#[test]
fn too_large_a_share_of_failures_ejects() {
    let mut world = World::new(5, |settings| {
        settings.consecutive_5xx = 0;
        settings.enforcing_failure_percentage = 100;
        settings.enforcing_success_rate = 0;
    });
    let mut mixed = vec![500; 85];
    mixed.extend([200; 15]);
    world.statuses(0, &mixed);
    mixed[0] = 200;
    world.statuses(1, &mixed);
    (2..5).for_each(|at| drop(world.statuses(at, &[200; 50])));
    let events = world.sweep();
    assert_eq!(summary(&events), [(EjectionType::FailurePercentage, Action::Eject, 1, true)]);
    assert_eq!(events[0].detail, Detail::FailurePercentage { host: 15.0 });
    assert_eq!((world.ejected(), world.count("enforced_failure_percentage")), (vec![0], 1));
}

#[test]
fn a_host_that_both_ways_find_is_ejected_once() {
    let mut world = World::new(5, |settings| {
        settings.consecutive_5xx = 0;
        settings.enforcing_failure_percentage = 100;
    });
    world.statuses(0, &[500; 100]);
    (1..5).for_each(|at| drop(world.statuses(at, &[200; 100])));
    assert_eq!(summary(&world.sweep()), [(EjectionType::SuccessRate, Action::Eject, 1, true)]);
    assert_eq!((world.count("active"), world.count("detected_failure_percentage")), (1, 0));
}

#[test]
fn failures_of_our_own_side_are_compared_by_themselves() {
    let mut world = World::new(5, |settings| {
        settings.split_external_local_origin_errors = true;
        settings.consecutive_local_origin_failure = 0;
        settings.success_rate_request_volume = 10;
    });
    world.record(0, &[Outcome::ConnectFailed; 10]);
    (1..5).for_each(|at| drop(world.record(at, &[Outcome::Connected; 10])));
    let events = world.sweep();
    assert_eq!(summary(&events), [(EjectionType::SuccessRateLocalOrigin, Action::Eject, 1, true)]);
    assert_eq!(world.detector.host_rates(world.host(0)), HostRates { external: None, local: Some(0.0) });
    assert_eq!(world.count("enforced_local_origin_success_rate"), 1);

    let mut world = World::new(2, |settings| settings.split_external_local_origin_errors = true);
    let events = world.record(0, &[Outcome::Timeout; 5]);
    assert_eq!(events[0].ejection_type, EjectionType::ConsecutiveLocalOriginFailure);
    assert_eq!((world.ejected(), world.count("enforced_consecutive_local_origin_failure")), (vec![0], 1));
}

#[test]
fn hosts_that_say_so_are_degraded_for_a_while() {
    let mut world = World::new(2, |settings| {
        settings.detect_degraded_hosts = true;
        settings.base_ejection_time = 10 * SECOND;
    });
    let degraded = Outcome::Response { status: 200, is_degraded: true };
    let events = world.record(0, &[degraded; 3]);
    assert_eq!(summary(&events), [(EjectionType::Degraded, Action::Eject, 0, true)]);
    assert!(world.host(0).health.flags().is_degraded());
    assert_eq!((world.count("detected_degradation"), world.count("active")), (1, 0));
    assert!(world.sweep_after(9 * SECOND).is_empty());
    let back = world.sweep_after(SECOND);
    assert_eq!((back[0].action, back[0].since_last_action), (Action::Uneject, None));
    assert_eq!(world.host(0).health.flags(), HealthFlags::NONE);
    world.record(0, &[degraded]);
    assert!(world.sweep_after(19 * SECOND).is_empty());
    assert_eq!(world.sweep_after(SECOND).len(), 1);
}

#[test]
fn a_successful_health_check_ends_an_ejection() {
    let mut world = World::new(2, |_| {});
    let host = Arc::clone(world.host(0));
    assert!(world.detector.on_healthy(&host, world.now).is_none());
    world.statuses(0, &[500; 5]);
    let event = world.detector.on_healthy(&host, world.now).expect("it is back");
    assert_eq!(event.action, Action::Uneject);
    assert!(world.ejected().is_empty() && world.statuses(0, &[500; 4]).is_empty());
}

#[test]
fn hosts_keep_their_history_while_others_come_and_go() {
    let mut world = World::new(3, |settings| settings.max_ejection_percent = 50);
    world.statuses(1, &[500; 5]);
    world.set_hosts(2..=4);
    assert_eq!((world.ejected(), world.count("active")), (vec![0], 1));
    assert_eq!(world.sweep_after(30 * SECOND)[0].ejections, 1);
    world.statuses(0, &[500; 5]);
    let gone = Arc::clone(world.host(0));
    world.set_hosts(3..=4);
    assert_eq!(world.count("active"), 0);
    assert!(world.detector.on_alarms(&gone, Alarms::CONSECUTIVE_5XX, world.now, &mut world.rng).is_empty());
}
