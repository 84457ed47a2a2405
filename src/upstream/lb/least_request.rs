//! `LEAST_REQUEST`: with equal weights the least loaded of some random hosts, or of all; with different
//! ones round robin by `weight / (active + 1) ^ bias`.

use super::edf::Edf;
use super::{HostIndex, HostLoad, LoadBalancer, PickContext, WeightedHost, all_weights_equal};
use crate::base::rng::Rng;

/// How candidates are drawn where weights are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeastRequestChoices {
    /// So many at random (Envoy: 2). 0 counts as 1, more than 100 as 100.
    Random(u32),
    /// Every host; among equally loaded ones a random one.
    All,
}

/// Least request.
#[derive(Debug)]
pub struct LeastRequest {
    hosts: Vec<WeightedHost>,
    choices: LeastRequestChoices,
    bias: f64,
    /// Present while weights differ.
    weighted: Option<Edf>,
}

impl LeastRequest {
    /// A negative or non-finite bias counts as 0.
    pub fn build(
        hosts: Vec<WeightedHost>,
        choices: LeastRequestChoices,
        bias: f64,
        rng: &mut Rng,
    ) -> LeastRequest {
        let bias = if bias.is_finite() { bias.max(0.0) } else { 0.0 };
        let weighted = (!all_weights_equal(&hosts))
            .then(|| Edf::new(hosts.iter().map(|host| f64::from(host.weight)), rng));
        LeastRequest { hosts, choices, bias, weighted }
    }

    fn pick_of_random(&self, choices: u32, load: &dyn HostLoad, rng: &mut Rng) -> Option<HostIndex> {
        let random = |rng: &mut Rng| Some(self.hosts.get(rng.below(self.hosts.len() as u64) as usize)?.index);
        let mut best = random(rng)?;
        let mut best_load = load.active_requests(best);
        for _ in 1..choices.min(100) {
            let other = random(rng)?;
            let other_load = load.active_requests(other);
            if other_load < best_load {
                (best, best_load) = (other, other_load);
            }
        }
        Some(best)
    }

    fn pick_of_all(&self, load: &dyn HostLoad, rng: &mut Rng) -> Option<HostIndex> {
        let (mut best, mut best_load, mut equals) = (None, u32::MAX, 0);
        for host in &self.hosts {
            let host_load = load.active_requests(host.index);
            if best.is_none() || host_load < best_load {
                (best, best_load, equals) = (Some(host.index), host_load, 1);
            } else if host_load == best_load {
                // Reservoir of one: each of n equals stays with a chance of 1 / n.
                equals += 1;
                if rng.below(equals) == 0 {
                    best = Some(host.index);
                }
            }
        }
        best
    }
}

impl LoadBalancer for LeastRequest {
    fn pick(&mut self, context: &PickContext<'_>, rng: &mut Rng) -> Option<HostIndex> {
        let Some(edf) = &mut self.weighted else {
            return match self.choices {
                LeastRequestChoices::Random(choices) => self.pick_of_random(choices, context.load, rng),
                LeastRequestChoices::All => self.pick_of_all(context.load, rng),
            };
        };
        let (hosts, bias) = (&self.hosts, self.bias);
        let entry = edf.pick(|entry| {
            let host = hosts[entry as usize];
            f64::from(host.weight) / slowdown(context.load.active_requests(host.index), bias)
        })?;
        Some(hosts[entry as usize].index)
    }
}

fn slowdown(active_requests: u32, bias: f64) -> f64 {
    let requests = f64::from(active_requests) + 1.0;
    // The default is worth its own branch: powf costs more than the rest of the pick.
    if bias == 1.0 { requests } else { requests.powf(bias) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::rng::Rng;
    use crate::upstream::lb::testing::{Loads, histogram, hosts};

    #[test]
    fn of_two_the_less_loaded_wins() {
        let mut rng = Rng::from_seed(9);
        let mut policy =
            LeastRequest::build(hosts(&[1, 1, 1]), LeastRequestChoices::Random(2), 1.0, &mut rng);
        let loads = Loads(vec![5, 0, 5]);
        let context = PickContext { hash: None, load: &loads };
        let picks = 9_000;
        let idle = (0..picks).filter(|_| policy.pick(&context, &mut rng) == Some(1)).count();
        // The idle host is drawn at least once in two draws with a chance of 1 - (2/3)^2 = 5/9.
        assert!((4_800..5_200).contains(&idle), "{idle}");
    }

    #[test]
    fn more_choices_find_the_idle_host_nearly_always() {
        let mut rng = Rng::from_seed(9);
        let mut policy =
            LeastRequest::build(hosts(&[1, 1, 1]), LeastRequestChoices::Random(20), 1.0, &mut rng);
        let loads = Loads(vec![5, 0, 5]);
        let context = PickContext { hash: None, load: &loads };
        let idle = (0..1_000).filter(|_| policy.pick(&context, &mut rng) == Some(1)).count();
        assert!(idle > 980, "{idle}");
    }

    #[test]
    fn a_full_scan_spreads_over_the_least_loaded() {
        let mut rng = Rng::from_seed(5);
        let mut policy = LeastRequest::build(hosts(&[1; 4]), LeastRequestChoices::All, 1.0, &mut rng);
        let loads = Loads(vec![1, 3, 1, 2]);
        let context = PickContext { hash: None, load: &loads };
        let mut counts = [0; 4];
        for _ in 0..2_000 {
            counts[policy.pick(&context, &mut rng).expect("hosts") as usize] += 1;
        }
        assert!(counts[1] == 0 && counts[3] == 0 && (900..1_100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn different_weights_are_lowered_by_active_requests() {
        let mut rng = Rng::from_seed(4);
        let mut policy = LeastRequest::build(hosts(&[4, 2]), LeastRequestChoices::Random(2), 1.0, &mut rng);
        // 4 / (3 + 1) = 1 against 2 / (0 + 1) = 2.
        let loads = Loads(vec![3, 0]);
        let context = PickContext { hash: None, load: &loads };
        let first = (0..3_000).filter(|_| policy.pick(&context, &mut rng) == Some(0)).count();
        assert!((990..=1_010).contains(&first), "{first}");
    }

    proptest! {
        #[test]
        fn idle_hosts_share_by_weight(weights in prop::collection::vec(1_u32..=50, 2..12), seed: u64) {
            prop_assume!(weights.iter().any(|weight| *weight != weights[0]));
            let total: u32 = weights.iter().sum();
            let mut rng = Rng::from_seed(seed);
            let mut policy = LeastRequest::build(hosts(&weights), LeastRequestChoices::Random(2), 1.0, &mut rng);
            let counts = histogram(&mut policy, weights.len(), 4 * total as usize, seed);
            for (count, weight) in counts.iter().zip(&weights) {
                prop_assert!(count.abs_diff(4 * weight) <= 2, "{counts:?} for {weights:?}");
            }
        }
    }
}
