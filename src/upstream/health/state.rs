//! One host's way between healthy and unhealthy. No I/O, no time.
//!
//! ```text
//!                      the first check, or healthy_threshold successes in a row
//!            ┌──────────────────────────────────────────────────────────────────┐
//!        unhealthy                                                           healthy
//!            └──────────────────────────────────────────────────────────────────┘
//!             an unexpected answer at once, or unhealthy_threshold failures to get
//!                        an answer (or retriable answers) in a row
//! ```
//!
//! Follows Envoy's `HealthCheckerImplBase`, whose thresholds of 0 are never reached.

use super::event::HealthEvent;
use crate::config::cluster::HealthCheck;
use crate::stats::groups::HealthCheckStats;
use crate::upstream::host_health::{HealthFlags, HostHealth};

/// Why a check failed (`envoy.data.core.v3.HealthCheckFailureType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureType {
    /// The host gave an answer that says so.
    Active,
    /// It said so in the answer to another request.
    Passive,
    /// No connection, or it broke.
    Network,
    /// No answer in time.
    NetworkTimeout,
}

impl FailureType {
    /// Whether nothing was learnt about the application behind the network.
    pub fn is_network(self) -> bool {
        matches!(self, FailureType::Network | FailureType::NetworkTimeout)
    }
}

/// A failed check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub failure_type: FailureType,
    /// It counts towards the threshold instead of being enough by itself.
    pub is_retriable: bool,
    /// The host is to be left out of all shares (`x-envoy-immediate-health-check-fail`).
    pub excludes: bool,
    /// The answer's status; 0 if there was none.
    pub http_status: u16,
}

impl Failure {
    /// A failure without an answer.
    pub const fn without_answer(failure_type: FailureType) -> Failure {
        Failure { failure_type, is_retriable: false, excludes: false, http_status: 0 }
    }
}

/// What a check made of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It is what it was.
    Unchanged,
    /// It became healthy, unhealthy, degraded, or was checked for the first time.
    Changed,
    /// It is on its way, but the threshold is not reached.
    ChangePending,
}

/// What counts for a host besides its flags.
#[derive(Debug, Clone)]
pub struct HostState {
    thresholds: Thresholds,
    is_first: bool,
    successes: u32,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Thresholds {
    healthy: u32,
    unhealthy: u32,
    logs_failures: bool,
    logs_success: bool,
}

impl HostState {
    /// A host that was never checked.
    pub fn new(config: &HealthCheck) -> HostState {
        HostState {
            thresholds: Thresholds {
                healthy: config.healthy_threshold,
                unhealthy: config.unhealthy_threshold,
                logs_failures: config.always_log_failures,
                logs_success: config.always_log_success,
            },
            is_first: true,
            successes: 0,
            failures: 0,
        }
    }

    /// Whether the host was never checked.
    pub fn awaits_first_check(&self) -> bool {
        self.is_first
    }

    /// A check succeeded; `is_degraded`: the host said that it should be used less.
    pub fn on_success(
        &mut self,
        health: &HostHealth,
        is_degraded: bool,
        stats: &HealthCheckStats,
        log: &mut dyn FnMut(HealthEvent),
    ) -> Transition {
        let flags = health.flags();
        let (mut set, mut clear) = (HealthFlags::NONE, HealthFlags::PENDING_ACTIVE_HC);
        let mut transition = Transition::Unchanged;
        self.failures = 0;
        if flags.intersects(HealthFlags::FAILED_ACTIVE_HC) {
            self.successes = self.successes.saturating_add(1);
            if self.is_first || self.successes == self.thresholds.healthy {
                clear = clear
                    .with(HealthFlags::FAILED_ACTIVE_HC)
                    .with(HealthFlags::ACTIVE_HC_TIMEOUT)
                    .with(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL);
                transition = Transition::Changed;
                log(HealthEvent::AddHealthy { is_first: self.is_first });
            } else {
                transition = Transition::ChangePending;
            }
        }
        if transition != Transition::Changed && self.thresholds.logs_success {
            log(HealthEvent::Successful);
        }
        if flags.intersects(HealthFlags::PENDING_ACTIVE_HC) {
            transition = Transition::Changed;
        }
        if is_degraded != flags.intersects(HealthFlags::DEGRADED_ACTIVE_HC) {
            if is_degraded {
                set = HealthFlags::DEGRADED_ACTIVE_HC;
                log(HealthEvent::Degraded);
            } else {
                clear = clear.with(HealthFlags::DEGRADED_ACTIVE_HC);
                log(HealthEvent::NoLongerDegraded);
            }
            if transition == Transition::Unchanged {
                transition = Transition::Changed;
            }
        }
        health.change(set, clear);
        stats.success.inc();
        self.is_first = false;
        transition
    }

    /// A check failed.
    pub fn on_failure(
        &mut self,
        health: &HostHealth,
        failure: Failure,
        stats: &HealthCheckStats,
        log: &mut dyn FnMut(HealthEvent),
    ) -> Transition {
        let Failure { failure_type, http_status, .. } = failure;
        let flags = health.flags();
        let mut has_failed = flags.intersects(HealthFlags::FAILED_ACTIVE_HC);
        let mut set = HealthFlags::NONE;
        let mut transition = Transition::Unchanged;
        self.successes = 0;
        if !has_failed {
            let counts = failure_type.is_network() || failure.is_retriable;
            self.failures = self.failures.saturating_add(u32::from(counts));
            if !counts || self.failures == self.thresholds.unhealthy {
                has_failed = true;
                set = HealthFlags::FAILED_ACTIVE_HC;
                transition = Transition::Changed;
                log(HealthEvent::EjectUnhealthy { failure_type, http_status });
            } else {
                transition = Transition::ChangePending;
            }
        }
        if failure.excludes {
            set = set.with(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL);
        }
        let mut clear = HealthFlags::PENDING_ACTIVE_HC;
        if failure_type == FailureType::NetworkTimeout && has_failed {
            set = set.with(HealthFlags::ACTIVE_HC_TIMEOUT);
        } else {
            clear = clear.with(HealthFlags::ACTIVE_HC_TIMEOUT);
        }
        if flags.intersects(HealthFlags::PENDING_ACTIVE_HC) {
            transition = Transition::Changed;
        }
        health.change(set, clear);
        if self.is_first || self.thresholds.logs_failures {
            log(HealthEvent::Failure { failure_type, is_first: self.is_first, http_status });
        }
        stats.failure.inc();
        match failure_type {
            FailureType::Network | FailureType::NetworkTimeout => stats.network_failure.inc(),
            FailureType::Passive => stats.passive_failure.inc(),
            FailureType::Active => {}
        }
        self.is_first = false;
        transition
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::interval::tests::config;
    use crate::upstream::host_health::HealthEpoch;

    const NEW: HealthFlags = HealthFlags::FAILED_ACTIVE_HC;
    const RETRIABLE: Failure =
        Failure { failure_type: FailureType::Active, is_retriable: true, excludes: false, http_status: 429 };
    const UNEXPECTED: Failure =
        Failure { failure_type: FailureType::Active, is_retriable: false, excludes: false, http_status: 503 };
    const NETWORK: Failure = Failure::without_answer(FailureType::Network);
    const TIMEOUT: Failure = Failure::without_answer(FailureType::NetworkTimeout);

    struct World {
        health: HostHealth,
        state: HostState,
        events: Vec<HealthEvent>,
    }

    impl World {
        fn new(flags: HealthFlags, edit: impl FnOnce(&mut HealthCheck)) -> World {
            let mut config = config();
            (config.healthy_threshold, config.unhealthy_threshold) = (2, 3);
            edit(&mut config);
            let health = HostHealth::new(flags, HealthEpoch::default());
            World { health, state: HostState::new(&config), events: Vec::new() }
        }

        fn succeed(&mut self) -> (Transition, String) {
            self.success(false)
        }

        fn success(&mut self, is_degraded: bool) -> (Transition, String) {
            let mut log = |event| self.events.push(event);
            let stats = HealthCheckStats::default();
            let transition = self.state.on_success(&self.health, is_degraded, &stats, &mut log);
            (transition, self.health.flags().to_string())
        }

        fn fail(&mut self, failure: Failure) -> (Transition, String) {
            let mut log = |event| self.events.push(event);
            let stats = HealthCheckStats::default();
            let transition = self.state.on_failure(&self.health, failure, &stats, &mut log);
            (transition, self.health.flags().to_string())
        }
    }

    fn healthy() -> World {
        let mut world = World::new(NEW, |_| {});
        world.succeed();
        world.events.clear();
        world
    }

    fn is(transition: Transition, flags: &str) -> (Transition, String) {
        (transition, flags.to_owned())
    }

    #[test]
    fn the_first_success_is_enough_and_later_ones_must_reach_the_threshold() {
        let mut world = World::new(NEW, |_| {});
        assert_eq!(world.succeed(), is(Transition::Changed, "healthy"));
        assert_eq!(world.fail(UNEXPECTED), is(Transition::Changed, "/failed_active_hc"));
        assert_eq!(world.succeed(), is(Transition::ChangePending, "/failed_active_hc"));
        assert_eq!(world.succeed(), is(Transition::Changed, "healthy"));
        assert_eq!(world.succeed(), is(Transition::Unchanged, "healthy"));
        assert_eq!(
            world.events,
            [
                HealthEvent::AddHealthy { is_first: true },
                HealthEvent::EjectUnhealthy { failure_type: FailureType::Active, http_status: 503 },
                HealthEvent::AddHealthy { is_first: false },
            ]
        );
    }

    #[test]
    fn a_failure_takes_the_way_to_healthy_back() {
        let mut world = World::new(NEW, |_| {});
        assert_eq!(world.fail(NETWORK), is(Transition::Unchanged, "/failed_active_hc"));
        assert_eq!(world.succeed(), is(Transition::ChangePending, "/failed_active_hc"));
        assert_eq!(world.fail(NETWORK), is(Transition::Unchanged, "/failed_active_hc"));
        assert_eq!(world.succeed(), is(Transition::ChangePending, "/failed_active_hc"));
        assert_eq!(world.succeed(), is(Transition::Changed, "healthy"));
        let first =
            HealthEvent::Failure { failure_type: FailureType::Network, is_first: true, http_status: 0 };
        assert_eq!(world.events[0], first);
        assert_eq!(world.events.len(), 2, "later failures are not logged");
    }

    #[test]
    fn failures_without_an_answer_must_reach_the_threshold() {
        let mut world = healthy();
        assert_eq!(world.fail(NETWORK), is(Transition::ChangePending, "healthy"));
        assert_eq!(world.fail(RETRIABLE), is(Transition::ChangePending, "healthy"));
        assert_eq!(world.succeed(), is(Transition::Unchanged, "healthy"));
        assert_eq!(world.fail(TIMEOUT), is(Transition::ChangePending, "healthy"));
        assert_eq!(world.fail(NETWORK), is(Transition::ChangePending, "healthy"));
        assert_eq!(world.fail(RETRIABLE), is(Transition::Changed, "/failed_active_hc"));
        let mut world = healthy();
        assert_eq!(world.fail(Failure::without_answer(FailureType::Passive)).0, Transition::Changed);
    }

    #[test]
    fn the_flag_of_timeouts_follows_the_last_failure() {
        let mut world = healthy();
        world.fail(NETWORK);
        world.fail(NETWORK);
        assert_eq!(world.fail(TIMEOUT), is(Transition::Changed, "/failed_active_hc/active_hc_timeout"));
        assert_eq!(world.fail(NETWORK), is(Transition::Unchanged, "/failed_active_hc"));
        assert_eq!(world.fail(TIMEOUT).1, "/failed_active_hc/active_hc_timeout");
        assert_eq!(world.succeed().1, "/failed_active_hc/active_hc_timeout");
        assert_eq!(world.succeed().1, "healthy");
    }

    #[test]
    fn hosts_that_exclude_themselves_count_again_when_they_are_healthy() {
        let mut world = healthy();
        let excluded = "/failed_active_hc/excluded_via_immediate_hc_fail";
        assert_eq!(world.fail(Failure { excludes: true, ..UNEXPECTED }), is(Transition::Changed, excluded));
        assert_eq!(world.succeed().1, excluded);
        assert_eq!(world.succeed(), is(Transition::Changed, "healthy"));
    }

    #[test]
    fn degraded_follows_each_success() {
        let mut world = healthy();
        assert_eq!(world.success(true), is(Transition::Changed, "/degraded_active_hc"));
        assert_eq!(world.success(true), is(Transition::Unchanged, "/degraded_active_hc"));
        assert_eq!(world.fail(UNEXPECTED).1, "/failed_active_hc/degraded_active_hc");
        assert_eq!(world.success(false), is(Transition::ChangePending, "/failed_active_hc"));
        assert_eq!(world.success(false), is(Transition::Changed, "healthy"));
        assert_eq!(world.events[0], HealthEvent::Degraded);
        assert_eq!(world.events[2], HealthEvent::NoLongerDegraded);
    }

    #[test]
    fn the_first_check_ends_pending_whatever_it_finds() {
        let pending = NEW.with(HealthFlags::PENDING_ACTIVE_HC);
        let mut world = World::new(pending, |_| {});
        assert!(world.state.awaits_first_check());
        assert_eq!(world.fail(NETWORK), is(Transition::Changed, "/failed_active_hc"));
        assert!(!world.state.awaits_first_check());
        assert_eq!(World::new(pending, |_| {}).succeed(), is(Transition::Changed, "healthy"));
    }

    #[test]
    fn everything_is_logged_where_that_is_asked_for() {
        let mut world = World::new(NEW, |config| {
            config.always_log_failures = true;
            config.always_log_success = true;
        });
        world.succeed();
        world.succeed();
        world.fail(RETRIABLE);
        let failed =
            HealthEvent::Failure { failure_type: FailureType::Active, is_first: false, http_status: 429 };
        assert_eq!(
            world.events,
            [HealthEvent::AddHealthy { is_first: true }, HealthEvent::Successful, failed]
        );
    }

    #[test]
    fn thresholds_of_zero_are_never_reached() {
        let mut world = World::new(NEW, |config| {
            (config.healthy_threshold, config.unhealthy_threshold) = (0, 0);
        });
        world.succeed();
        (0..10).for_each(|_| assert_eq!(world.fail(NETWORK).0, Transition::ChangePending));
        assert_eq!(world.fail(UNEXPECTED).0, Transition::Changed);
        (0..10).for_each(|_| assert_eq!(world.succeed().0, Transition::ChangePending));
    }
}
