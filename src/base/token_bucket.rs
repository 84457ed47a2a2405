//! A token bucket that all threads share: so many at once, and so many in a span of time. No lock, no clock:
//! the time is an argument.
//!
//! Tokens come back one by one, evenly spread over the fill interval, not all at its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::Instant;

/// A bucket; full when made.
#[derive(Debug)]
pub struct TokenBucket {
    /// The time in which one token comes back, in nanoseconds; at least 1.
    period_ns: u64,
    /// The time in which an empty bucket becomes full.
    capacity_ns: u64,
    /// When the bucket was empty, or would have been: what has come back since then is there. Later than the
    /// present by `capacity_ns`, so that a bucket may be full at the beginning of time.
    empty_at_ns: AtomicU64,
}

impl TokenBucket {
    /// A bucket for `max_tokens`, of which `tokens_per_fill` (at least 1) come back in each `fill_interval`.
    /// Without any it never gives one.
    pub fn new(max_tokens: u32, tokens_per_fill: u32, fill_interval: Duration) -> TokenBucket {
        let interval_ns = u64::try_from(fill_interval.as_nanos()).unwrap_or(u64::MAX);
        let period_ns = interval_ns.div_ceil(tokens_per_fill.max(1).into()).max(1);
        let capacity_ns = period_ns.saturating_mul(max_tokens.into());
        TokenBucket { period_ns, capacity_ns, empty_at_ns: AtomicU64::new(0) }
    }

    /// Takes a token, if there is one. `now` may be a little behind what other threads gave.
    pub fn try_take(&self, now: Instant) -> bool {
        let full_since_ns = now.as_nanos();
        let now_ns = full_since_ns.saturating_add(self.capacity_ns);
        let taken = self.empty_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at_ns| {
            let after_ns = empty_at_ns.max(full_since_ns).saturating_add(self.period_ns);
            (after_ns <= now_ns).then_some(after_ns)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take_all(bucket: &TokenBucket, now: Instant) -> u32 {
        (0..).take_while(|_| bucket.try_take(now)).count() as u32
    }

    #[test]
    fn a_bucket_is_full_at_first_and_fills_evenly() {
        let bucket = TokenBucket::new(10, 4, Duration::from_secs(1));
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        assert_eq!(take_all(&bucket, at(0)), 10);
        assert_eq!(take_all(&bucket, at(249)), 0);
        assert_eq!(take_all(&bucket, at(250)), 1);
        assert_eq!(take_all(&bucket, at(1_100)), 3);
        assert_eq!(take_all(&bucket, at(1_250)), 1, "what was left over counts");
        assert_eq!(take_all(&bucket, at(1_000_000)), 10, "and no more than it holds");
        assert_eq!(take_all(&TokenBucket::new(0, 1, Duration::from_secs(1)), at(99_999)), 0);
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_came_back(
            max in 0u32..20, per_fill in 1u32..10, steps in proptest::collection::vec(0u64..2_000, 1..50)
        ) {
            let bucket = TokenBucket::new(max, per_fill, Duration::from_secs(1));
            let (mut now_ms, mut taken) = (0, 0);
            for step in steps {
                now_ms += step;
                if bucket.try_take(Instant::from_nanos(now_ms * 1_000_000)) {
                    taken += 1;
                }
                let came_back = now_ms * u64::from(per_fill) / 1_000;
                prop_assert!(taken <= u64::from(max) + came_back);
            }
        }
    }
}
