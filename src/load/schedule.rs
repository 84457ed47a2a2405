//! The send times of an open loop: how they follow from a rate. Sans-io.

use std::time::Duration;

use crate::base::clock::Instant;
use crate::base::rng::Rng;

use super::plan::Arrivals;

/// An endless row of send times.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    gap_ns: f64,
    arrivals: Arrivals,
    rng: Rng,
    /// Of the next one: how many came before, and when it is due after the start.
    count: u64,
    offset_ns: f64,
}

impl Schedule {
    /// `per_second` requests a second after `start`, the first one after `phase` of a gap (0 to 1).
    pub(super) fn new(
        start: Instant,
        per_second: f64,
        arrivals: Arrivals,
        phase: f64,
        seed: u64,
    ) -> Schedule {
        let gap_ns = 1e9 / per_second;
        let mut rng = Rng::from_seed(seed);
        let offset_ns = match arrivals {
            Arrivals::Constant => phase * gap_ns,
            Arrivals::Poisson => exponential(&mut rng, gap_ns),
        };
        Schedule { start: start + nanos(offset_ns), gap_ns, arrivals, rng, count: 0, offset_ns: 0.0 }
    }

    /// When the next request is due.
    #[inline]
    pub(super) fn next_due(&self) -> Instant {
        self.start + nanos(self.offset_ns)
    }

    /// On to the one after it.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.count += 1;
        match self.arrivals {
            // From the count, so that errors do not add up.
            Arrivals::Constant => self.offset_ns = self.count as f64 * self.gap_ns,
            Arrivals::Poisson => self.offset_ns += exponential(&mut self.rng, self.gap_ns),
        }
    }
}

fn nanos(value: f64) -> Duration {
    Duration::from_nanos(value as u64)
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    // `unit` is below 1, so the logarithm is of a positive number.
    -mean * (1.0 - rng.unit()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(schedule: &mut Schedule, count: usize) -> Vec<u64> {
        let next = |_| {
            let due = schedule.next_due().as_nanos();
            schedule.advance();
            due
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn a_constant_rate_does_not_drift() {
        let start = Instant::from_nanos(1_000);
        let mut schedule = Schedule::new(start, 3.0, Arrivals::Constant, 0.0, 1);
        let times = due_times(&mut schedule, 3_000_001);
        assert_eq!((times[0], times[3], times[3_000_000]), (1_000, 1_000_001_000, 1_000_000_000_001_000));
    }

    #[test]
    fn workers_take_turns_by_phase() {
        let start = Instant::from_nanos(0);
        let mut second = Schedule::new(start, 1_000.0, Arrivals::Constant, 0.5, 1);
        assert_eq!(due_times(&mut second, 2), [500_000, 1_500_000]);
    }

    #[test]
    fn random_arrivals_keep_the_rate_and_repeat_with_the_seed() {
        let times = |seed| {
            let mut schedule = Schedule::new(Instant::from_nanos(0), 1_000.0, Arrivals::Poisson, 0.0, seed);
            due_times(&mut schedule, 100_000)
        };
        let first = times(7);
        let seconds = first[99_999] as f64 / 1e9;
        assert!((95.0..105.0).contains(&seconds), "{seconds}");
        assert!(first.is_sorted());
        assert!(first == times(7) && first != times(8));
        // Exponential gaps: about 1/e of them are longer than the mean.
        let long = first.windows(2).filter(|pair| pair[1] - pair[0] > 1_000_000).count();
        assert!((35_000..39_000).contains(&long), "{long}");
    }
}
