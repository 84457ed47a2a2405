//! `ROUND_ROBIN`: hosts in turn, in proportion to their weights.

use super::edf::Edf;
use super::{HostIndex, LoadBalancer, PickContext, WeightedHost, all_weights_equal};
use crate::base::rng::Rng;

/// Round robin; a plain cursor while all weights are equal, else earliest deadline first.
#[derive(Debug)]
pub struct RoundRobin {
    hosts: Vec<WeightedHost>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    Cursor(usize),
    Weighted(Edf),
}

impl RoundRobin {
    /// Starts at a random position.
    pub fn build(hosts: Vec<WeightedHost>, rng: &mut Rng) -> RoundRobin {
        let order = if all_weights_equal(&hosts) {
            Order::Cursor(rng.below(hosts.len() as u64) as usize)
        } else {
            Order::Weighted(Edf::new(hosts.iter().map(|host| f64::from(host.weight)), rng))
        };
        RoundRobin { hosts, order }
    }
}

impl LoadBalancer for RoundRobin {
    fn pick(&mut self, _context: &PickContext<'_>, _rng: &mut Rng) -> Option<HostIndex> {
        let RoundRobin { hosts, order } = self;
        match order {
            Order::Cursor(next) => {
                let host = hosts.get(*next)?;
                *next = if *next + 1 == hosts.len() { 0 } else { *next + 1 };
                Some(host.index)
            }
            Order::Weighted(edf) => {
                let entry = edf.pick(|entry| f64::from(hosts[entry as usize].weight))?;
                Some(hosts[entry as usize].index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::rng::Rng;
    use crate::upstream::lb::testing::{Idle, histogram, hosts};

    #[test]
    fn equal_weights_go_round_from_a_random_start() {
        let context = PickContext { hash: None, load: &Idle };
        let starts: std::collections::HashSet<_> = (0..64)
            .map(|seed| {
                let mut rng = Rng::from_seed(seed);
                let mut policy = RoundRobin::build(hosts(&[2, 2, 2]), &mut rng);
                let picks: Vec<_> = (0..6).map(|_| policy.pick(&context, &mut rng).expect("hosts")).collect();
                for pair in picks.windows(2) {
                    assert_eq!(pair[1], (pair[0] + 1) % 3);
                }
                picks[0]
            })
            .collect();
        assert_eq!(starts.len(), 3);
    }

    #[test]
    fn no_hosts_no_pick() {
        let mut rng = Rng::from_seed(1);
        let context = PickContext { hash: None, load: &Idle };
        assert_eq!(RoundRobin::build(vec![], &mut rng).pick(&context, &mut rng), None);
    }

    proptest! {
        /// Over k rounds of the total weight each host has its share, to within one pick.
        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(1_u32..=100, 1..20), seed: u64) {
            let total: u32 = weights.iter().sum();
            let mut rng = Rng::from_seed(seed);
            let mut policy = RoundRobin::build(hosts(&weights), &mut rng);
            let counts = histogram(&mut policy, weights.len(), 3 * total as usize, seed);
            for (count, weight) in counts.iter().zip(&weights) {
                // Random phases let the window begin and end inside a period: one pick either way,
                // and one more for the sum of the others' roundings.
                prop_assert!(count.abs_diff(3 * weight) <= 2, "{counts:?} for {weights:?}");
            }
        }
    }
}
