//! When a name is resolved next. Sans-io: randomness is an argument.

use std::time::Duration;

use super::{DnsAnswer, DnsFailure};
use crate::base::rng::Rng;
use crate::config::cluster::DnsOptions;

/// Never ask more often, whatever the configuration or a record's time to live says.
const SHORTEST: Duration = Duration::from_millis(1);

/// The pauses between resolutions of one name.
#[derive(Debug, Clone)]
pub struct Refresh {
    options: DnsOptions,
    failures: u32,
}

impl Refresh {
    /// No resolution made so far.
    pub fn new(options: DnsOptions) -> Refresh {
        Refresh { options, failures: 0 }
    }

    /// The pause after a resolution with this outcome: the refresh rate (or the time to live) plus jitter; after
    /// failures anything up to an exponentially growing bound, if one is configured.
    pub fn pause_after(&mut self, outcome: Result<&DnsAnswer, &DnsFailure>, rng: &mut Rng) -> Duration {
        let pause = match outcome {
            Ok(answer) => {
                self.failures = 0;
                let time_to_live = answer.ttl.filter(|_| self.options.respect_ttl);
                let bound = self.options.min_refresh_rate.unwrap_or(Duration::from_secs(1));
                time_to_live.map_or(self.options.refresh_rate, |ttl| ttl.max(bound))
            }
            Err(_) => match self.options.failure_refresh_rate {
                Some((base, max)) => return self.pause_after_failure(base, max, rng),
                None => self.options.refresh_rate,
            },
        };
        let jitter_ms = rng.below(self.options.jitter.as_millis() as u64);
        (pause + Duration::from_millis(jitter_ms)).max(SHORTEST)
    }

    fn pause_after_failure(&mut self, base: Duration, max: Duration, rng: &mut Rng) -> Duration {
        let bound = base.saturating_mul(1 << self.failures.min(16)).min(max);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(rng.below(bound.as_millis() as u64)).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ttl_s: u64) -> DnsAnswer {
        DnsAnswer { addresses: vec![], ttl: Some(Duration::from_secs(ttl_s)) }
    }

    #[test]
    fn the_time_to_live_counts_only_if_asked_for() {
        let mut rng = Rng::from_seed(1);
        let mut refresh = Refresh::new(DnsOptions::default());
        assert_eq!(refresh.pause_after(Ok(&answer(60)), &mut rng), Duration::from_secs(5));
        let options = DnsOptions { respect_ttl: true, ..DnsOptions::default() };
        let mut refresh = Refresh::new(options);
        assert_eq!(refresh.pause_after(Ok(&answer(60)), &mut rng), Duration::from_secs(60));
        assert_eq!(refresh.pause_after(Ok(&answer(0)), &mut rng), Duration::from_secs(1));
        let without = DnsAnswer::default();
        assert_eq!(refresh.pause_after(Ok(&without), &mut rng), Duration::from_secs(5));
    }

    #[test]
    fn failures_back_off_and_a_success_resets_that() {
        let failure = DnsFailure { name: "x".into(), reason: "timeout".into() };
        let rate = Some((Duration::from_secs(1), Duration::from_secs(8)));
        let mut refresh = Refresh::new(DnsOptions { failure_refresh_rate: rate, ..DnsOptions::default() });
        let mut rng = Rng::from_seed(1);
        for _ in 0..200 {
            for bound_s in [1, 2, 4, 8, 8] {
                assert!(refresh.pause_after(Err(&failure), &mut rng) < Duration::from_secs(bound_s));
            }
            assert_eq!(refresh.pause_after(Ok(&answer(1)), &mut rng), Duration::from_secs(5));
        }
        let mut plain = Refresh::new(DnsOptions { jitter: Duration::from_secs(2), ..DnsOptions::default() });
        let pause = plain.pause_after(Err(&failure), &mut rng);
        assert!((5..7).contains(&pause.as_secs()), "{pause:?}");
    }
}
