//! How long until a host's next check.

use std::time::Duration;

use super::state::Transition;
use crate::base::rng::Rng;
use crate::config::Runtime;
use crate::config::cluster::HealthCheckIntervals;

/// Pauses between checks, within the runtime's bounds.
#[derive(Debug, Clone)]
pub struct Pauses {
    intervals: HealthCheckIntervals,
    min_ms: u64,
    max_ms: u64,
}

impl Pauses {
    /// As configured; `health_check.min_interval` and `health_check.max_interval` of the runtime, in milliseconds,
    /// are their bounds.
    pub fn new(intervals: HealthCheckIntervals, runtime: &Runtime) -> Pauses {
        Pauses {
            intervals,
            // At least a millisecond, so that checks never run without a pause.
            min_ms: runtime.integer_under("health_check.min_interval", 0).max(1),
            max_ms: runtime.integer_under("health_check.max_interval", u64::MAX),
        }
    }

    /// Before the first check.
    pub fn before_first(&self, rng: &mut Rng) -> Duration {
        if self.intervals.initial_jitter.is_zero() {
            return Duration::ZERO;
        }
        self.with_jitter(Duration::ZERO, self.intervals.initial_jitter, rng)
    }

    /// Longest wait before the first check.
    pub fn longest_before_first(&self) -> Duration {
        self.intervals.initial_jitter.max(Duration::from_millis(self.min_ms))
    }

    /// After a check that `succeeded` or not. `has_traffic`: the cluster was ever used.
    pub fn after(
        &self,
        succeeded: bool,
        transition: Transition,
        has_traffic: bool,
        rng: &mut Rng,
    ) -> Duration {
        let intervals = &self.intervals;
        let pending = transition == Transition::ChangePending;
        let base = match (has_traffic, succeeded, pending) {
            (false, true, false) => intervals.no_traffic_healthy,
            (false, ..) => intervals.no_traffic,
            (true, true, false) => intervals.interval,
            (true, true, true) => intervals.healthy_edge,
            (true, false, false) => intervals.unhealthy,
            (true, false, true) => intervals.unhealthy_edge,
        };
        self.with_jitter(base, intervals.jitter, rng)
    }

    fn with_jitter(&self, base: Duration, jitter: Duration, rng: &mut Rng) -> Duration {
        let base_ms = millis(base);
        let share_ms = base_ms.saturating_mul(self.intervals.jitter_percent.into()) / 100;
        let pause_ms = base_ms.saturating_add(rng.below(share_ms)).saturating_add(rng.below(millis(jitter)));
        Duration::from_millis(pause_ms.min(self.max_ms).max(self.min_ms))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::cluster::{HealthCheck, HealthChecker, TcpHealthCheck};
    use crate::config::{FieldPath, RuntimeLayer, RuntimeValue};

    /// A check whose intervals differ.
    pub fn config() -> HealthCheck {
        let seconds = Duration::from_secs;
        HealthCheck {
            application_protocols: Vec::new(),
            timeout: seconds(1),
            intervals: HealthCheckIntervals {
                interval: seconds(1),
                no_traffic: seconds(2),
                no_traffic_healthy: seconds(3),
                unhealthy: seconds(4),
                unhealthy_edge: seconds(5),
                healthy_edge: seconds(6),
                initial_jitter: Duration::ZERO,
                jitter: Duration::ZERO,
                jitter_percent: 0,
            },
            unhealthy_threshold: 1,
            healthy_threshold: 1,
            reuse_connection: true,
            checker: HealthChecker::Tcp(TcpHealthCheck::default()),
            event_log_paths: Vec::new(),
            always_log_failures: false,
            always_log_success: false,
            path: FieldPath::default(),
        }
    }

    fn pauses(edit: impl FnOnce(&mut HealthCheckIntervals), runtime: &[(&str, f64)]) -> Pauses {
        let mut intervals = config().intervals;
        edit(&mut intervals);
        let values = runtime.iter().map(|(key, value)| ((*key).to_owned(), RuntimeValue::Number(*value)));
        let layer = RuntimeLayer { name: String::new(), is_admin: false, values: values.collect() };
        Pauses::new(intervals, &Runtime { layers: vec![layer] })
    }

    #[test]
    fn the_pause_depends_on_traffic_outcome_and_what_is_pending() {
        use Transition::{ChangePending, Changed, Unchanged};
        let mut rng = Rng::from_seed(1);
        let pauses = pauses(|_| {}, &[]);
        let mut after =
            |succeeded, transition, traffic| pauses.after(succeeded, transition, traffic, &mut rng).as_secs();
        assert_eq!([Unchanged, Changed, ChangePending].map(|it| after(true, it, true)), [1, 1, 6]);
        assert_eq!([Unchanged, Changed, ChangePending].map(|it| after(false, it, true)), [4, 4, 5]);
        assert_eq!([Unchanged, Changed, ChangePending].map(|it| after(true, it, false)), [3, 3, 2]);
        assert_eq!([Unchanged, Changed, ChangePending].map(|it| after(false, it, false)), [2, 2, 2]);
    }

    #[test]
    fn jitter_makes_pauses_longer() {
        let mut rng = Rng::from_seed(1);
        let jittered = pauses(
            |intervals| {
                intervals.jitter = Duration::from_millis(500);
                intervals.jitter_percent = 50;
            },
            &[],
        );
        let found: Vec<u64> = (0..500)
            .map(|_| jittered.after(true, Transition::Unchanged, true, &mut rng).as_millis() as u64)
            .collect();
        assert!(found.iter().all(|ms| (1_000..2_000).contains(ms)), "{found:?}");
        assert!(found.iter().any(|ms| *ms < 1_200) && found.iter().any(|ms| *ms > 1_800));
    }

    #[test]
    fn the_first_check_comes_at_once_or_within_its_jitter() {
        let mut rng = Rng::from_seed(1);
        assert_eq!(pauses(|_| {}, &[]).before_first(&mut rng), Duration::ZERO);
        let jittered = pauses(|intervals| intervals.initial_jitter = Duration::from_secs(10), &[]);
        let first: Vec<_> = (0..100).map(|_| jittered.before_first(&mut rng)).collect();
        assert!(first.iter().all(|pause| *pause < Duration::from_secs(10)));
        assert!(first.iter().any(|pause| *pause > Duration::from_secs(5)));
    }

    #[test]
    fn the_runtime_bounds_pauses_and_none_is_zero() {
        let mut rng = Rng::from_seed(1);
        let mut after =
            |pauses: &Pauses| pauses.after(true, Transition::Unchanged, true, &mut rng).as_millis();
        assert_eq!(after(&pauses(|_| {}, &[("health_check.min_interval", 1500.0)])), 1500);
        assert_eq!(after(&pauses(|_| {}, &[("health_check.max_interval", 20.0)])), 20);
        assert_eq!(after(&pauses(|intervals| intervals.interval = Duration::from_micros(1), &[])), 1);
    }
}
