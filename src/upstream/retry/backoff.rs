//! How long to wait before the next attempt.

use std::time::Duration;

use crate::base::clock::UnixTime;
use crate::base::rng::Rng;
use crate::config::route::{RateLimitedBackOff, ResetHeaderFormat, RetryBackOff};
use crate::http::HeaderMap;

const DEFAULT_BASE_MS: u64 = 25;
const DEFAULT_MAX_FACTOR: u64 = 10;

/// Exponential back-off with full jitter: the n-th pause is anything below (2^n - 1) times the base interval,
/// and below the largest interval. With the defaults 0-24, 0-74, 0-174, then 0-249 ms.
#[derive(Debug, Clone)]
pub struct Backoff {
    base_ms: u64,
    max_ms: u64,
    pauses: u32,
}

impl Backoff {
    /// No pause made so far.
    pub fn new(config: Option<RetryBackOff>) -> Backoff {
        let (base_ms, max_ms) = match config {
            Some(config) => (whole_ms(config.base_interval), whole_ms(config.max_interval)),
            None => (DEFAULT_BASE_MS, DEFAULT_BASE_MS * DEFAULT_MAX_FACTOR),
        };
        Backoff { base_ms, max_ms: max_ms.max(base_ms), pauses: 0 }
    }

    /// The next pause.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        self.pauses = (self.pauses + 1).min(32);
        let bound_ms = self.base_ms.saturating_mul((1 << self.pauses) - 1).min(self.max_ms);
        Duration::from_millis(rng.below(bound_ms))
    }
}

/// The pause that the response's headers tell, with up to half of it added so that clients do not come back
/// all at once. None if no configured header tells one, or only ones that are too long.
pub(super) fn told_interval(
    policy: &RateLimitedBackOff,
    headers: &HeaderMap,
    now: UnixTime,
    rng: &mut Rng,
) -> Option<Duration> {
    let told = policy.reset_headers.iter().find_map(|reset| {
        let value = headers.get_u64(reset.name.as_str())?;
        let seconds = match reset.format {
            ResetHeaderFormat::Seconds => value,
            ResetHeaderFormat::UnixTimestamp => value.checked_sub(now.as_secs())?,
        };
        Some(Duration::from_secs(seconds)).filter(|told| *told <= policy.max_interval)
    })?;
    Some(told + Duration::from_millis(rng.below(whole_ms(told) / 2)))
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::ResetHeader;

    #[test]
    fn pauses_grow_to_their_bound() {
        let mut rng = Rng::from_seed(3);
        let mut largest = [0; 6];
        for _ in 0..3_000 {
            let mut backoff = Backoff::new(None);
            for largest in &mut largest {
                *largest = backoff.next(&mut rng).as_millis().max(*largest);
            }
        }
        assert_eq!(largest, [24, 74, 174, 249, 249, 249]);
    }

    #[test]
    fn a_long_life_of_retries_does_not_overflow() {
        let mut rng = Rng::from_seed(3);
        let base_interval = Duration::from_secs(u64::MAX / 2_000);
        let mut backoff = Backoff::new(Some(RetryBackOff { base_interval, max_interval: base_interval }));
        for _ in 0..100 {
            assert!(backoff.next(&mut rng) <= base_interval);
        }
    }

    #[test]
    fn told_pauses_come_from_the_first_usable_header() {
        let mut rng = Rng::from_seed(3);
        let policy = RateLimitedBackOff {
            reset_headers: vec![
                ResetHeader { name: "retry-after".into(), format: ResetHeaderFormat::Seconds },
                ResetHeader { name: "x-ratelimit-reset".into(), format: ResetHeaderFormat::UnixTimestamp },
            ],
            max_interval: Duration::from_secs(300),
        };
        let now = UnixTime::from_nanos(1_000_000_000_000);
        let mut headers = HeaderMap::new();
        assert_eq!(told_interval(&policy, &headers, now, &mut rng), None);
        headers.append("x-ratelimit-reset", b"1010");
        let told = told_interval(&policy, &headers, now, &mut rng).expect("a pause");
        assert!((10..15).contains(&told.as_secs()), "{told:?}");
        headers.append("retry-after", b"2");
        let told = told_interval(&policy, &headers, now, &mut rng).expect("a pause");
        assert!((2..3).contains(&told.as_secs()), "{told:?}");
        headers.set("retry-after", b"301");
        let told = told_interval(&policy, &headers, now, &mut rng).expect("a pause");
        assert!((10..15).contains(&told.as_secs()), "{told:?}");
    }
}
