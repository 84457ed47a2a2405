//! What happened over time: slots of equal length with a coarse histogram each. Their number is bounded; a run
//! that outlasts them gets slots of twice the length.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Slots kept at most.
const SLOTS_MAX: usize = 600;
/// Latencies of slots are told apart from one microsecond to one hour, to two digits.
const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;

/// What was seen in one stretch of time.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Failed requests.
    pub failed: u64,
    /// Bytes of answers.
    pub received_bytes: u64,
    /// Latencies of answered requests in nanoseconds.
    pub latencies: Histogram<u32>,
}

/// Slots from the beginning of measuring.
#[derive(Debug, Clone)]
pub struct Series {
    interval_ns: u64,
    slots: Vec<Slot>,
    /// The slot that was used last, and its bounds.
    current_index: usize,
    current: std::ops::Range<u64>,
}

impl Slot {
    fn new() -> Slot {
        let latencies = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
            .expect("the constant bounds are valid");
        Slot { failed: 0, received_bytes: 0, latencies }
    }

    fn add(&mut self, other: &Slot) {
        self.failed += other.failed;
        self.received_bytes += other.received_bytes;
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
    }
}

impl Series {
    /// No slots yet; each will be `interval` long, at least a millisecond.
    pub fn new(interval: Duration) -> Series {
        let interval_ns = interval.as_nanos().clamp(1_000_000, u128::from(HIGHEST_NS)) as u64;
        Series { interval_ns, slots: Vec::new(), current_index: 0, current: 0..0 }
    }

    /// The length of a slot.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns)
    }

    /// The slots so far, the first one first.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of what happened `offset` after the beginning.
    #[inline]
    pub(super) fn slot_at(&mut self, offset: Duration) -> &mut Slot {
        let offset_ns = offset.as_nanos() as u64;
        if !self.current.contains(&offset_ns) {
            self.find(offset_ns);
        }
        &mut self.slots[self.current_index]
    }

    /// Adds what another worker saw.
    pub(super) fn merge(&mut self, mut other: Series) {
        while self.interval_ns < other.interval_ns {
            self.coarsen();
        }
        while other.interval_ns < self.interval_ns {
            other.coarsen();
        }
        while self.slots.len() < other.slots.len() {
            self.slots.push(Slot::new());
        }
        for (own, theirs) in self.slots.iter_mut().zip(&other.slots) {
            own.add(theirs);
        }
        self.current = 0..0;
    }

    #[cold]
    fn find(&mut self, offset_ns: u64) {
        while offset_ns / self.interval_ns >= SLOTS_MAX as u64 {
            self.coarsen();
        }
        let index = (offset_ns / self.interval_ns) as usize;
        while self.slots.len() <= index {
            self.slots.push(Slot::new());
        }
        let start = index as u64 * self.interval_ns;
        (self.current_index, self.current) = (index, start..start + self.interval_ns);
    }

    /// Makes one slot of every two.
    fn coarsen(&mut self) {
        self.interval_ns *= 2;
        let mut coarse: Vec<Slot> = Vec::with_capacity(SLOTS_MAX);
        for pair in self.slots.chunks(2) {
            let mut slot = pair[0].clone();
            pair[1..].iter().for_each(|second| slot.add(second));
            coarse.push(slot);
        }
        self.slots = coarse;
        self.current = 0..0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(series: &mut Series, ms: u64) {
        series.slot_at(Duration::from_millis(ms)).latencies.saturating_record(ms * 1_000);
    }

    fn counts(series: &Series) -> Vec<u64> {
        series.slots().iter().map(|slot| slot.latencies.len()).collect()
    }

    #[test]
    fn slots_follow_the_time_back_and_forth() {
        let mut series = Series::new(Duration::from_millis(10));
        [0, 9, 10, 35, 12, 39, 3].into_iter().for_each(|ms| record(&mut series, ms));
        assert_eq!(counts(&series), [3, 2, 0, 2]);
    }

    #[test]
    fn a_long_run_keeps_everything_in_fewer_slots() {
        let mut series = Series::new(Duration::from_millis(10));
        (0..20_000).for_each(|ms| record(&mut series, ms));
        assert_eq!(series.interval(), Duration::from_millis(40));
        assert_eq!(series.slots().len(), 500);
        assert!(counts(&series).iter().all(|count| *count == 40));
    }

    #[test]
    fn workers_with_different_intervals_add_up() {
        let (mut one, mut two) =
            (Series::new(Duration::from_millis(10)), Series::new(Duration::from_millis(10)));
        (0..12_000).for_each(|ms| record(&mut one, ms));
        (0..100).for_each(|ms| record(&mut two, ms));
        let (mut left, mut right) = (one.clone(), two.clone());
        left.merge(two);
        right.merge(one);
        assert_eq!(counts(&left), counts(&right));
        assert_eq!(counts(&left)[..6], [40, 40, 40, 40, 40, 20]);
    }
}
