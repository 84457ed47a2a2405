//! How much traffic each priority of a cluster gets, by the health of its hosts: spill-over to lower
//! priorities below 100 / overprovisioning factor, panic below the panic threshold.
//!
//! Follows Envoy's "Priority levels", "Degraded endpoints" and "Panic threshold" pages. Counts hosts,
//! not weights.

/// Which hosts of a priority may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostSource {
    /// The healthy ones.
    Healthy,
    /// The degraded ones, as the healthy ones of all priorities do not suffice.
    Degraded,
    /// All, healthy or not: the priority is in panic.
    All,
}

/// Hosts of one priority. Excluded hosts (draining, or never checked) are part of no share, but in panic traffic
/// goes to them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Availability {
    /// All hosts.
    pub total: u32,
    /// Those that do not count when shares are computed; they are neither healthy nor degraded.
    pub excluded: u32,
    /// Those fully healthy.
    pub healthy: u32,
    /// Those that should only serve when healthy ones do not suffice.
    pub degraded: u32,
}

/// Shares of traffic in whole percent; they sum to 100 unless there are no hosts at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriorityLoads {
    shares: Vec<Share>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    priority: usize,
    source: HostSource,
    percent: u32,
}

impl Availability {
    fn counted(&self) -> u32 {
        self.total.saturating_sub(self.excluded)
    }
}

impl PriorityLoads {
    /// Computes the shares. `overprovisioning_percent` is 140 by default; `panic_threshold_percent`
    /// is 50 by default, and 0 turns panic off.
    pub fn compute(
        priorities: &[Availability],
        overprovisioning_percent: u32,
        panic_threshold_percent: f64,
    ) -> PriorityLoads {
        let scaled =
            |part: u32, total: u32| percent_of(overprovisioning_percent.into(), part, total).min(100) as u32;
        let healthy: Vec<u32> = priorities.iter().map(|p| scaled(p.healthy, p.counted())).collect();
        let degraded: Vec<u32> = priorities.iter().map(|p| scaled(p.degraded, p.counted())).collect();
        let available = (healthy.iter().sum::<u32>() + degraded.iter().sum::<u32>()).min(100);

        let in_panic = |p: &Availability| {
            available < 100 && serving_percent(p) < panic_threshold_percent && panic_threshold_percent > 0.0
        };
        if priorities.iter().all(in_panic) {
            return PriorityLoads::in_total_panic(priorities);
        }
        if available == 0 {
            return PriorityLoads::default();
        }
        let mut left = 100;
        let mut shares = Vec::new();
        for (source, health) in [(HostSource::Healthy, &healthy), (HostSource::Degraded, &degraded)] {
            for (priority, &health) in health.iter().enumerate() {
                let percent = (health * 100 / available).min(left);
                left -= percent;
                if percent > 0 {
                    let source = if in_panic(&priorities[priority]) { HostSource::All } else { source };
                    shares.push(Share { priority, source, percent });
                }
            }
        }
        give_rest_to_first(&mut shares, left);
        PriorityLoads { shares }
    }

    /// The priority and the hosts to use for a request; `random` is any number.
    pub fn choose(&self, random: u64) -> Option<(usize, HostSource)> {
        // One priority is the usual case and needs no arithmetic.
        if let [only] = self.shares.as_slice() {
            return Some((only.priority, only.source));
        }
        let mut point = (random % 100) as u32;
        for share in &self.shares {
            if point < share.percent {
                return Some((share.priority, share.source));
            }
            point -= share.percent;
        }
        None
    }

    /// What can be chosen, with its percentage.
    pub fn iter(&self) -> impl Iterator<Item = (usize, HostSource, u32)> {
        self.shares.iter().map(|share| (share.priority, share.source, share.percent))
    }

    /// Every priority is in panic: traffic follows the number of hosts.
    fn in_total_panic(priorities: &[Availability]) -> PriorityLoads {
        let total: u32 = priorities.iter().map(|p| p.total).sum();
        let mut shares: Vec<Share> = priorities
            .iter()
            .enumerate()
            .filter(|(_, p)| p.total > 0)
            .map(|(priority, p)| Share {
                priority,
                source: HostSource::All,
                percent: percent_of(100, p.total, total) as u32,
            })
            .collect();
        let left = 100 - shares.iter().map(|share| share.percent).sum::<u32>();
        give_rest_to_first(&mut shares, left);
        PriorityLoads { shares }
    }
}

fn give_rest_to_first(shares: &mut [Share], rest: u32) {
    if let Some(first) = shares.first_mut() {
        first.percent += rest;
    }
}

/// Share of hosts that can serve, healthy or degraded, in percent.
fn serving_percent(priority: &Availability) -> f64 {
    if priority.counted() == 0 {
        return 0.0;
    }
    100.0 * f64::from(priority.healthy + priority.degraded) / f64::from(priority.counted())
}

fn percent_of(factor: u64, part: u32, total: u32) -> u64 {
    (factor * u64::from(part)).checked_div(total.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loads(priorities: &[(u32, u32, u32)]) -> Vec<(usize, HostSource, u32)> {
        let priorities: Vec<_> = priorities
            .iter()
            .map(|&(total, healthy, degraded)| Availability { total, healthy, degraded, excluded: 0 })
            .collect();
        PriorityLoads::compute(&priorities, 140, 50.0).iter().collect()
    }

    /// The table of Envoy's "Priority levels" page.
    #[test]
    fn spill_over_between_two_priorities() {
        use HostSource::{All, Healthy};
        assert_eq!(loads(&[(100, 100, 0), (100, 100, 0)]), [(0, Healthy, 100)]);
        assert_eq!(loads(&[(100, 72, 0), (100, 72, 0)]), [(0, Healthy, 100)]);
        assert_eq!(loads(&[(100, 71, 0), (100, 71, 0)]), [(0, Healthy, 99), (1, Healthy, 1)]);
        assert_eq!(loads(&[(100, 50, 0), (100, 50, 0)]), [(0, Healthy, 70), (1, Healthy, 30)]);
        assert_eq!(loads(&[(100, 25, 0), (100, 100, 0)]), [(0, Healthy, 35), (1, Healthy, 65)]);
        assert_eq!(loads(&[(100, 0, 0), (100, 100, 0)]), [(1, Healthy, 100)]);
        assert_eq!(loads(&[(100, 25, 0), (100, 25, 0)]), [(0, All, 50), (1, All, 50)]);
    }

    #[test]
    fn degraded_hosts_serve_only_what_healthy_ones_cannot() {
        use HostSource::{Degraded, Healthy};
        assert_eq!(loads(&[(10, 8, 2)]), [(0, Healthy, 100)]);
        assert_eq!(loads(&[(10, 5, 5)]), [(0, Healthy, 70), (0, Degraded, 30)]);
        assert_eq!(loads(&[(10, 0, 10)]), [(0, Degraded, 100)]);
    }

    #[test]
    fn panic_serves_all_hosts_and_can_be_turned_off() {
        use HostSource::{All, Healthy};
        assert_eq!(loads(&[(10, 4, 0)]), [(0, All, 100)]);
        assert_eq!(loads(&[(10, 5, 0)]), [(0, Healthy, 100)]);
        assert_eq!(loads(&[(4, 0, 0), (2, 0, 0)]), [(0, All, 67), (1, All, 33)]);
        assert_eq!(loads(&[(0, 0, 0), (2, 0, 0)]), [(1, All, 100)]);
        assert_eq!(loads(&[]), []);
        assert_eq!(loads(&[(0, 0, 0)]), []);
        let none_healthy = [Availability { total: 3, ..Availability::default() }];
        assert_eq!(PriorityLoads::compute(&none_healthy, 140, 0.0), PriorityLoads::default());
    }

    #[test]
    fn excluded_hosts_do_not_count_but_serve_in_panic() {
        use HostSource::{All, Healthy};
        let of = |total, excluded, healthy| {
            let priority = Availability { total, excluded, healthy, degraded: 0 };
            PriorityLoads::compute(&[priority], 140, 50.0).iter().collect::<Vec<_>>()
        };
        assert_eq!(of(3, 2, 1), [(0, Healthy, 100)], "one of one is healthy");
        assert_eq!(of(3, 0, 1), [(0, All, 100)]);
        assert_eq!(of(3, 2, 0), [(0, All, 100)]);
        assert_eq!(of(2, 2, 0), [(0, All, 100)]);
    }

    proptest! {
        #[test]
        fn shares_sum_to_100_whenever_hosts_can_serve(
            counts in prop::collection::vec((0_u32..50, 0_u32..50, 0_u32..50, 0_u32..5), 1..6),
        ) {
            let priorities: Vec<_> = counts
                .iter()
                .map(|&(healthy, degraded, other, excluded)| Availability {
                    total: healthy + degraded + other + excluded, healthy, degraded, excluded,
                })
                .collect();
            let loads = PriorityLoads::compute(&priorities, 140, 50.0);
            let sum: u32 = loads.iter().map(|(_, _, percent)| percent).sum();
            let hosts: u32 = priorities.iter().map(|p| p.total).sum();
            prop_assert_eq!(sum, if hosts == 0 { 0 } else { 100 });
            for random in 0..100 {
                if let Some((priority, source)) = loads.choose(random) {
                    let p = priorities[priority];
                    let usable = match source {
                        HostSource::Healthy => p.healthy,
                        HostSource::Degraded => p.degraded,
                        HostSource::All => p.total,
                    };
                    prop_assert!(usable > 0);
                }
            }
        }
    }
}
