//! One cluster's balancing on one worker: a priority by health, then a host by policy.
//!
//! Rebuilt when the host set or the health of a host changes; holds no health itself.

use super::{
    Availability, HostIndex, HostSource, LbPolicy, LoadBalancer, PickContext, PriorityLoads, WeightedHost,
    build,
};
use crate::base::rng::Rng;

/// Parameters that all policies share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BalancerOptions {
    /// The policy within a priority.
    pub policy: LbPolicy,
    /// Below 100 / this share of healthy hosts, traffic spills to the next priority (Envoy: 140).
    pub overprovisioning_percent: u32,
    /// Below this share of available hosts health is ignored; 0 turns that off (Envoy: 50).
    pub panic_threshold_percent: f64,
    /// In panic fail requests instead of ignoring health.
    pub fail_traffic_on_panic: bool,
}

impl Default for BalancerOptions {
    fn default() -> BalancerOptions {
        BalancerOptions {
            policy: LbPolicy::RoundRobin,
            overprovisioning_percent: 140,
            panic_threshold_percent: 50.0,
            fail_traffic_on_panic: false,
        }
    }
}

/// A host with its present health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalancerHost {
    /// Relative share within its priority; 0 counts as 1.
    pub weight: u32,
    /// 0 is served first.
    pub priority: u32,
    /// May serve.
    pub is_healthy: bool,
    /// Healthy, but to be used only when others do not suffice.
    pub is_degraded: bool,
    /// Counts in no share of healthy hosts.
    pub is_excluded: bool,
}

/// What a pick came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// The host; none if no host may serve.
    pub host: Option<HostIndex>,
    /// Whether too few hosts are healthy (`lb_healthy_panic`): health was ignored, or traffic is to fail.
    pub in_panic: bool,
}

/// Picks hosts of one cluster for one worker.
pub struct Balancer {
    loads: PriorityLoads,
    /// One for each source that `loads` can choose.
    pools: Vec<(usize, HostSource, Box<dyn LoadBalancer>)>,
    fail_traffic_on_panic: bool,
}

impl Balancer {
    /// Host `i` of the list is [`HostIndex`] `i` from then on.
    pub fn build(hosts: &[BalancerHost], options: &BalancerOptions, rng: &mut Rng) -> Balancer {
        let priorities = hosts.iter().map(|host| host.priority as usize + 1).max().unwrap_or(0);
        let mut availability = vec![Availability::default(); priorities];
        for host in hosts {
            let of_priority = &mut availability[host.priority as usize];
            of_priority.total += 1;
            of_priority.excluded += u32::from(host.is_excluded);
            of_priority.healthy += u32::from(host.is_healthy && !host.is_degraded);
            of_priority.degraded += u32::from(host.is_healthy && host.is_degraded);
        }
        let loads = PriorityLoads::compute(
            &availability,
            options.overprovisioning_percent,
            options.panic_threshold_percent,
        );
        let pools = loads
            .iter()
            .map(|(priority, source, _)| {
                let members = members(hosts, priority, source);
                (priority, source, build(options.policy, members, rng))
            })
            .collect();
        Balancer { loads, pools, fail_traffic_on_panic: options.fail_traffic_on_panic }
    }

    /// A host for a request.
    pub fn pick(&mut self, context: &PickContext<'_>, rng: &mut Rng) -> Picked {
        let random = if self.pools.len() > 1 { context.hash.unwrap_or_else(|| rng.next_u64()) } else { 0 };
        let Some((priority, source)) = self.loads.choose(random) else {
            return Picked { host: None, in_panic: false };
        };
        let in_panic = source == HostSource::All;
        if in_panic && self.fail_traffic_on_panic {
            return Picked { host: None, in_panic };
        }
        let pool = self.pools.iter_mut().find(|(p, s, _)| (*p, *s) == (priority, source));
        Picked { host: pool.and_then(|(_, _, pool)| pool.pick(context, rng)), in_panic }
    }
}

fn members(hosts: &[BalancerHost], priority: usize, source: HostSource) -> Vec<WeightedHost> {
    hosts
        .iter()
        .zip(0..)
        .filter(|(host, _)| host.priority as usize == priority)
        .filter(|(host, _)| match source {
            HostSource::Healthy => host.is_healthy && !host.is_degraded,
            HostSource::Degraded => host.is_healthy && host.is_degraded,
            HostSource::All => true,
        })
        .map(|(host, index)| WeightedHost { index, weight: host.weight.max(1) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::lb::testing::Idle;

    fn host(priority: u32, is_healthy: bool) -> BalancerHost {
        BalancerHost { weight: 1, priority, is_healthy, is_degraded: false, is_excluded: false }
    }

    fn picks(hosts: &[BalancerHost], options: &BalancerOptions) -> Vec<Picked> {
        let mut rng = Rng::from_seed(11);
        let mut balancer = Balancer::build(hosts, options, &mut rng);
        let context = PickContext { hash: None, load: &Idle };
        (0..1_000).map(|_| balancer.pick(&context, &mut rng)).collect()
    }

    #[test]
    fn unhealthy_hosts_are_passed_over_until_panic() {
        let options = BalancerOptions::default();
        for picked in picks(&[host(0, true), host(0, false), host(0, true)], &options) {
            assert!(matches!(picked, Picked { host: Some(0 | 2), in_panic: false }));
        }
        let in_panic = picks(&[host(0, true), host(0, false), host(0, false)], &options);
        assert!(in_panic.contains(&Picked { host: Some(1), in_panic: true }));
        let failing = BalancerOptions { fail_traffic_on_panic: true, ..options };
        assert_eq!(picks(&[host(0, false)], &failing)[0], Picked { host: None, in_panic: true });
        assert_eq!(picks(&[], &options)[0], Picked { host: None, in_panic: false });
    }

    #[test]
    fn traffic_spills_to_the_next_priority() {
        let hosts = [host(0, true), host(0, false), host(1, true), host(1, true)];
        let picked = picks(&hosts, &BalancerOptions::default());
        let spilled = picked.iter().filter(|picked| picked.host >= Some(2)).count();
        assert!((250..350).contains(&spilled), "half of P0 is healthy: 30 % spill, not {spilled} of 1000");
    }
}
