//! Load balancing: which host of a cluster serves the next request. One file a policy.
//!
//! Sans-io: no sockets, no clock; randomness is an argument. A policy sees hosts as positions in the
//! cluster's host set and knows nothing of health: [`Balancer`] gives it only the hosts that may
//! serve. Follows `config.cluster.v3.Cluster.lb_policy` and Envoy's load-balancing pages.

mod balancer;
mod edf;
mod least_request;
mod priority;
mod random;
mod round_robin;

pub use balancer::{Balancer, BalancerHost, BalancerOptions, Picked};
pub use least_request::{LeastRequest, LeastRequestChoices};
pub use priority::{Availability, HostSource, PriorityLoads};
pub use random::Random;
pub use round_robin::RoundRobin;

use crate::base::rng::Rng;

/// Position of a host in its cluster's host set.
pub type HostIndex = u32;

/// A host as a policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightedHost {
    /// Where the host stands in the host set.
    pub index: HostIndex,
    /// Relative share, at least 1.
    pub weight: u32,
}

/// What a policy may ask about hosts at the time of a pick.
pub trait HostLoad {
    /// Requests that this worker has under way at the host.
    fn active_requests(&self, host: HostIndex) -> u32;
}

/// What is known about the request that needs a host.
pub struct PickContext<'a> {
    /// Hash of the request under the route's hash policy; none if there is no policy or no input.
    pub hash: Option<u64>,
    /// Present load of the hosts.
    pub load: &'a dyn HostLoad,
}

/// A policy over a fixed list of hosts.
pub trait LoadBalancer {
    /// A host for the next request; none only if the policy was built without hosts.
    fn pick(&mut self, context: &PickContext<'_>, rng: &mut Rng) -> Option<HostIndex>;
}

/// Which policy, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LbPolicy {
    /// In turn, by weight.
    RoundRobin,
    /// The least loaded of a few random ones, by weight if weights differ.
    LeastRequest {
        /// Which hosts are compared where weights are equal.
        choices: LeastRequestChoices,
        /// How strongly active requests lower a host's weight where weights differ (Envoy: 1.0).
        active_request_bias: f64,
    },
    /// Any, each with the same chance; weights are not looked at.
    Random,
}

/// The policy's state for these hosts, with a random start so that workers do not march in step.
pub fn build(policy: LbPolicy, hosts: Vec<WeightedHost>, rng: &mut Rng) -> Box<dyn LoadBalancer> {
    match policy {
        LbPolicy::RoundRobin => Box::new(RoundRobin::build(hosts, rng)),
        LbPolicy::LeastRequest { choices, active_request_bias } => {
            Box::new(LeastRequest::build(hosts, choices, active_request_bias, rng))
        }
        LbPolicy::Random => Box::new(Random::build(hosts)),
    }
}

fn all_weights_equal(hosts: &[WeightedHost]) -> bool {
    hosts.windows(2).all(|pair| pair[0].weight == pair[1].weight)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Helpers that the policies' tests share.

    use super::*;

    /// Every host idle.
    pub struct Idle;

    impl HostLoad for Idle {
        fn active_requests(&self, _host: HostIndex) -> u32 {
            0
        }
    }

    /// Loads given by position.
    pub struct Loads(pub Vec<u32>);

    impl HostLoad for Loads {
        fn active_requests(&self, host: HostIndex) -> u32 {
            self.0[host as usize]
        }
    }

    pub fn hosts(weights: &[u32]) -> Vec<WeightedHost> {
        weights.iter().zip(0..).map(|(&weight, index)| WeightedHost { index, weight }).collect()
    }

    /// How often each host was picked in `picks` picks.
    pub fn histogram(balancer: &mut dyn LoadBalancer, hosts: usize, picks: usize, seed: u64) -> Vec<u32> {
        let mut rng = Rng::from_seed(seed);
        let mut counts = vec![0; hosts];
        let context = PickContext { hash: None, load: &Idle };
        for _ in 0..picks {
            let host = balancer.pick(&context, &mut rng).expect("there are hosts");
            counts[host as usize] += 1;
        }
        counts
    }
}
