//! Earliest-deadline-first scheduler: picks entries in proportion to weights that may change between
//! picks. Knows no hosts and no time; its clock is the deadline of the last pick.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::base::rng::Rng;

/// Entries ordered by when they are due.
#[derive(Debug)]
pub(crate) struct Edf {
    heap: BinaryHeap<Due>,
    now: f64,
}

impl Edf {
    /// Entries `0..weights.len()`, each at a random phase of its own period: the picks have the right
    /// shares from the first one on, and differ from worker to worker. Weights below a tiny positive
    /// number count as that number.
    pub fn new(weights: impl Iterator<Item = f64>, rng: &mut Rng) -> Edf {
        let heap = weights
            .zip(0..)
            .map(|(weight, entry)| Due { deadline: rng.unit() * period(weight), entry })
            .collect::<Vec<_>>();
        Edf { heap: heap.into(), now: 0.0 }
    }

    /// The entry that is due; it is due again one period (1 / weight) later, with the weight it has now.
    pub fn pick(&mut self, weight_now: impl FnOnce(u32) -> f64) -> Option<u32> {
        let mut due = self.heap.peek_mut()?;
        self.now = due.deadline;
        due.deadline = self.now + period(weight_now(due.entry));
        Some(due.entry)
    }
}

fn period(weight: f64) -> f64 {
    1.0 / weight.max(1e-9)
}

#[derive(Debug)]
struct Due {
    deadline: f64,
    entry: u32,
}

impl Ord for Due {
    /// Reversed, as the standard heap gives the largest first.
    fn cmp(&self, other: &Due) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.entry.cmp(&self.entry))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_weight_takes_effect_at_the_next_turn() {
        let mut rng = Rng::from_seed(1);
        let mut edf = Edf::new([1.0, 1.0].into_iter(), &mut rng);
        let mut counts = [0_u32; 2];
        for _ in 0..400 {
            let entry = edf.pick(|entry| if entry == 0 { 3.0 } else { 1.0 }).expect("two entries");
            counts[entry as usize] += 1;
        }
        assert!((298..=302).contains(&counts[0]), "{counts:?}");
        assert_eq!(Edf::new(std::iter::empty(), &mut rng).pick(|_| 1.0), None);
    }
}
