//! What a pick costs: one host chosen among many, by policy.

#![allow(missing_docs, reason = "the macros of criterion make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::base::rng::Rng;
use ringway::upstream::lb::{
    Balancer, BalancerHost, BalancerOptions, HostIndex, HostLoad, LbPolicy, LeastRequestChoices, PickContext,
};

/// Some load, different for each host.
struct Loads;

impl HostLoad for Loads {
    fn active_requests(&self, host: HostIndex) -> u32 {
        host % 7
    }
}

fn pick(criterion: &mut Criterion) {
    let least_request =
        LbPolicy::LeastRequest { choices: LeastRequestChoices::Random(2), active_request_bias: 1.0 };
    for (name, policy) in [
        ("round_robin", LbPolicy::RoundRobin),
        ("least_request", least_request),
        ("random", LbPolicy::Random),
    ] {
        for (weights, differ) in [("equal", false), ("weighted", true)] {
            for count in [10_u32, 1_000] {
                let hosts: Vec<_> = (0..count)
                    .map(|index| BalancerHost {
                        weight: if differ { 1 + index % 10 } else { 1 },
                        priority: 0,
                        is_healthy: true,
                        is_degraded: false,
                        is_excluded: false,
                    })
                    .collect();
                let mut rng = Rng::from_seed(1);
                let options = BalancerOptions { policy, ..BalancerOptions::default() };
                let mut balancer = Balancer::build(&hosts, &options, &mut rng);
                let context = PickContext { hash: None, load: &Loads };
                criterion.bench_function(&format!("{name}/{weights}/{count}"), |bencher| {
                    bencher.iter(|| black_box(balancer.pick(&context, &mut rng)));
                });
            }
        }
    }
}

criterion_group!(benches, pick);
criterion_main!(benches);
