//! A hierarchical timer wheel with millisecond ticks. Sans-io: the caller says what time it is.
//!
//! Six levels of 64 buckets; a timer lies in the level of the highest base-64 digit in which its
//! deadline differs from the present, so that arming and disarming are O(1) and advancing touches
//! only occupied buckets. Moving a deadline later only stores it: the timer is put where it belongs
//! when its old place comes up. Timers never expire early, and at most a tick late.

use super::clock::Instant;

const LEVELS: usize = 6;
const BITS: u32 = 6;
const BUCKETS: usize = 1 << BITS;
/// Ticks that the wheel spans; timers further away are put at the end and looked at again there.
const SPAN_TICKS: u64 = 1 << (BITS * LEVELS as u32);
const NONE: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;

/// Timers with a value each.
#[derive(Debug)]
pub struct TimerWheel<T> {
    /// Everything before or at this tick has expired.
    tick: u64,
    timers: Vec<Entry<T>>,
    first_free: u32,
    /// First timer of each bucket.
    buckets: [[u32; BUCKETS]; LEVELS],
    /// Per level, one bit for each bucket that is not empty.
    occupied: [u64; LEVELS],
    count: usize,
}

/// A timer of a wheel; owned by whoever inserted it. Valid until removed.
#[derive(Debug, PartialEq, Eq)]
pub struct TimerKey(u32);

#[derive(Debug)]
struct Entry<T> {
    /// `None` while the entry is free.
    value: Option<T>,
    /// When to expire; may be later than `placed`.
    deadline: u64,
    /// The tick for which it was put into its bucket; `NEVER` if it is in none.
    placed: u64,
    level: u8,
    bucket: u8,
    previous: u32,
    /// The next timer in the bucket, or the next free entry.
    next: u32,
}

impl<T> TimerWheel<T> {
    /// An empty wheel at `now`.
    pub fn new(now: Instant) -> TimerWheel<T> {
        TimerWheel {
            tick: now.as_millis(),
            timers: Vec::new(),
            first_free: NONE,
            buckets: [[NONE; BUCKETS]; LEVELS],
            occupied: [0; LEVELS],
            count: 0,
        }
    }

    /// Adds a timer that is not armed.
    pub fn insert(&mut self, value: T) -> TimerKey {
        let fresh = |value| Entry {
            value: Some(value),
            deadline: NEVER,
            placed: NEVER,
            level: 0,
            bucket: 0,
            previous: NONE,
            next: NONE,
        };
        self.count += 1;
        if self.first_free == NONE {
            self.timers.push(fresh(value));
            return TimerKey(self.timers.len() as u32 - 1);
        }
        let index = self.first_free;
        self.first_free = self.timers[index as usize].next;
        self.timers[index as usize] = fresh(value);
        TimerKey(index)
    }

    /// Sets the deadline. Only a deadline earlier than all before moves the timer.
    #[inline]
    pub fn arm(&mut self, key: &TimerKey, deadline: Instant) {
        let deadline = deadline.as_nanos().div_ceil(1_000_000);
        let entry = &mut self.timers[key.0 as usize];
        entry.deadline = deadline;
        if deadline < entry.placed {
            if entry.placed != NEVER {
                self.unlink(key.0);
            }
            self.link(key.0);
        }
    }

    /// The timer will not expire until armed again.
    #[inline]
    pub fn disarm(&mut self, key: &TimerKey) {
        self.timers[key.0 as usize].deadline = NEVER;
    }

    /// Removes a timer and returns its value.
    pub fn remove(&mut self, key: TimerKey) -> T {
        if self.timers[key.0 as usize].placed != NEVER {
            self.unlink(key.0);
        }
        self.count -= 1;
        let entry = &mut self.timers[key.0 as usize];
        entry.next = self.first_free;
        self.first_free = key.0;
        entry.value.take().expect("a key names a timer until it is removed")
    }

    /// The value of a timer.
    #[inline]
    pub fn value_mut(&mut self, key: &TimerKey) -> &mut T {
        self.timers[key.0 as usize].value.as_mut().expect("a key names a timer until it is removed")
    }

    /// Timers that exist, armed or not.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no timers.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Moves the wheel to `now` and reports every timer whose deadline has passed, in the order of
    /// deadlines (to the millisecond). A reported timer is disarmed.
    #[inline]
    pub fn advance(&mut self, now: Instant, mut on_expired: impl FnMut(&mut T)) {
        let now = now.as_millis();
        if now <= self.tick {
            return;
        }
        while let Some((level, bucket, due)) = self.next_bucket()
            && due <= now
        {
            self.tick = self.tick.max(due);
            self.empty(level, bucket, &mut on_expired);
        }
        self.tick = now;
    }

    /// No timer expires before this; `None` if no timer is armed. May be earlier than the earliest
    /// deadline (the wheel then has to be advanced to find out more).
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, _, due) = self.next_bucket()?;
        Some(Instant::from_nanos(due.saturating_mul(1_000_000)))
    }

    fn empty(&mut self, level: usize, bucket: usize, on_expired: &mut impl FnMut(&mut T)) {
        let mut index = std::mem::replace(&mut self.buckets[level][bucket], NONE);
        self.occupied[level] &= !(1 << bucket);
        while index != NONE {
            let entry = &mut self.timers[index as usize];
            let next = entry.next;
            entry.placed = NEVER;
            if entry.deadline <= self.tick {
                entry.deadline = NEVER;
                on_expired(entry.value.as_mut().expect("linked timers have a value"));
            } else if entry.deadline != NEVER {
                self.link(index);
            }
            index = next;
        }
    }

    /// The bucket that comes up first, and the tick at which it does.
    fn next_bucket(&self) -> Option<(usize, usize, u64)> {
        // A lower level's buckets all come up before a higher level's next one.
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let shift = BITS * level as u32;
        let here = (self.tick >> shift) as u32 % BUCKETS as u32;
        let ahead = self.occupied[level].rotate_right(here).trailing_zeros();
        let bucket = (here + ahead) as usize % BUCKETS;
        let due = ((self.tick >> shift) + u64::from(ahead)) << shift;
        Some((level, bucket, due.max(self.tick)))
    }

    fn link(&mut self, index: u32) {
        let entry = &mut self.timers[index as usize];
        let furthest = self.tick.saturating_add(SPAN_TICKS - SPAN_TICKS / BUCKETS as u64);
        let placed = entry.deadline.clamp(self.tick + 1, furthest);
        let differing = (placed ^ self.tick) | (BUCKETS as u64 - 1);
        let level = (((u64::BITS - 1 - differing.leading_zeros()) / BITS) as usize).min(LEVELS - 1);
        let bucket = (placed >> (BITS * level as u32)) as usize % BUCKETS;
        let first = self.buckets[level][bucket];
        (entry.placed, entry.level, entry.bucket) = (placed, level as u8, bucket as u8);
        (entry.previous, entry.next) = (NONE, first);
        if first != NONE {
            self.timers[first as usize].previous = index;
        }
        self.buckets[level][bucket] = index;
        self.occupied[level] |= 1 << bucket;
    }

    fn unlink(&mut self, index: u32) {
        let entry = &mut self.timers[index as usize];
        let (level, bucket) = (entry.level as usize, entry.bucket as usize);
        let (previous, next) = (entry.previous, entry.next);
        entry.placed = NEVER;
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if previous != NONE {
            self.timers[previous as usize].next = next;
        } else {
            self.buckets[level][bucket] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn expired(wheel: &mut TimerWheel<u32>, ms: u64) -> Vec<u32> {
        let mut list = Vec::new();
        wheel.advance(at(ms), |value| list.push(*value));
        list
    }

    #[test]
    fn expires_in_order_never_early() {
        let mut wheel = TimerWheel::new(at(0));
        let keys: Vec<_> = (0..4).map(|value| wheel.insert(value)).collect();
        for (key, ms) in keys.iter().zip([70, 5, 5_000, 300_000]) {
            wheel.arm(key, at(ms));
        }
        assert_eq!(expired(&mut wheel, 4), [0_u32; 0]);
        assert_eq!(expired(&mut wheel, 80), [1, 0]);
        assert_eq!(expired(&mut wheel, 4_999), [0_u32; 0]);
        assert_eq!(expired(&mut wheel, 400_000), [2, 3]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn later_deadlines_are_lazy_and_disarmed_timers_silent() {
        let mut wheel = TimerWheel::new(at(0));
        let (one, two) = (wheel.insert(1), wheel.insert(2));
        wheel.arm(&one, at(10));
        wheel.arm(&two, at(10));
        wheel.arm(&one, at(100));
        wheel.disarm(&two);
        assert_eq!(wheel.next_deadline(), Some(at(10)), "the old place bounds the wait");
        assert_eq!(expired(&mut wheel, 50), [0_u32; 0]);
        wheel.arm(&one, at(60));
        assert_eq!(expired(&mut wheel, 60), [1]);
        assert_eq!(wheel.remove(two), 2);
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn a_deadline_in_the_past_expires_at_the_next_tick() {
        let mut wheel = TimerWheel::new(at(1_000));
        let key = wheel.insert(1);
        wheel.arm(&key, at(3));
        assert_eq!(expired(&mut wheel, 1_001), [1]);
        wheel.arm(&key, Instant::FAR_FUTURE);
        assert!(wheel.next_deadline().is_some());
        assert_eq!(expired(&mut wheel, 1_000_000_000), [0_u32; 0]);
    }

    #[test]
    fn agrees_with_a_sorted_list_on_random_histories() {
        for seed in 0..60 {
            let mut rng = Rng::from_seed(seed);
            let mut now = rng.below(1 << 40);
            let mut wheel = TimerWheel::new(at(now));
            let mut keys: Vec<Option<TimerKey>> = (0..40).map(|value| Some(wheel.insert(value))).collect();
            let mut model = [None::<u64>; 40];
            for _ in 0..2_000 {
                let which = rng.below(40) as usize;
                match rng.below(8) {
                    0..4 => {
                        let range = 1 << (3 + rng.below(34));
                        let deadline = now + rng.below(range);
                        wheel.arm(keys[which].as_ref().expect("a key"), at(deadline));
                        model[which] = Some(deadline.max(now + 1));
                    }
                    4 => {
                        wheel.disarm(keys[which].as_ref().expect("a key"));
                        model[which] = None;
                    }
                    5 => {
                        wheel.remove(keys[which].take().expect("a key"));
                        keys[which] = Some(wheel.insert(which as u32));
                        model[which] = None;
                    }
                    _ => {
                        if let Some(next) = wheel.next_deadline() {
                            let earliest = model.iter().flatten().min();
                            assert!(earliest.is_none_or(|&first| next.as_millis() <= first), "seed {seed}");
                        }
                        let range = 1 << rng.below(32);
                        now += rng.below(range);
                        let mut fired = expired(&mut wheel, now);
                        fired.sort_unstable();
                        let due =
                            |value: &u32| model[*value as usize].is_some_and(|deadline| deadline <= now);
                        let expected: Vec<u32> = (0..40).filter(due).collect();
                        assert_eq!(fired, expected, "seed {seed}");
                        fired.iter().for_each(|&value| model[value as usize] = None);
                    }
                }
            }
        }
    }
}
