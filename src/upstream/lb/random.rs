//! `RANDOM`: any host, each with the same chance, whatever its weight (as Envoy).

use super::{HostIndex, LoadBalancer, PickContext, WeightedHost};
use crate::base::rng::Rng;

/// Uniform choice.
#[derive(Debug)]
pub struct Random {
    hosts: Vec<WeightedHost>,
}

impl Random {
    /// Has no state but the list.
    pub fn build(hosts: Vec<WeightedHost>) -> Random {
        Random { hosts }
    }
}

impl LoadBalancer for Random {
    fn pick(&mut self, _context: &PickContext<'_>, rng: &mut Rng) -> Option<HostIndex> {
        let position = rng.below(self.hosts.len() as u64);
        self.hosts.get(position as usize).map(|host| host.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::lb::testing::{histogram, hosts};

    #[test]
    fn each_host_has_the_same_chance() {
        let counts = histogram(&mut Random::build(hosts(&[1, 50, 1, 1])), 4, 40_000, 3);
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{count}");
        }
    }
}
