//! One cluster on one worker: its hosts and its balancer. Lives on one thread, holds no lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::breaker::Breakers;
use super::cluster_info::ClusterInfo;
use super::host::{Host, HostCluster};
use super::host_set::{HostSet, HostShared, Membership};
use super::lb::{Balancer, BalancerHost, BalancerOptions, HostIndex, HostLoad, PickContext};
use crate::base::rng::Rng;

/// A cluster as one worker uses it.
pub struct Cluster {
    shared: Rc<HostCluster>,
    state: RefCell<State>,
    /// The health that the balancer was built with.
    built_for_epoch: Cell<u64>,
}

struct State {
    host_set: Arc<HostSet>,
    hosts: Vec<Rc<Host>>,
    balancer: Balancer,
}

/// What is known about the request that needs a host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostPick<'a> {
    /// Hash of the request under the route's hash policy.
    pub hash: Option<u64>,
    /// Hosts to avoid if possible, such as those that were tried (`previous_hosts`).
    pub avoid: &'a [Rc<Host>],
    /// How often another host is picked instead of one to avoid (`host_selection_retry_max_attempts`);
    /// after that the last one is taken.
    pub max_attempts: u32,
}

impl Cluster {
    /// A cluster with the hosts of `host_set`, for the worker with this index.
    pub fn new(
        info: Arc<ClusterInfo>,
        host_set: Arc<HostSet>,
        worker_index: usize,
        rng: &mut Rng,
    ) -> Rc<Cluster> {
        let breakers = Breakers::new(Arc::clone(&info.breakers));
        let balancer = Balancer::build(&[], &info.balancer, rng);
        let cluster = Rc::new(Cluster {
            shared: Rc::new(HostCluster { info, breakers, worker_index }),
            state: RefCell::new(State { host_set: Arc::default(), hosts: Vec::new(), balancer }),
            built_for_epoch: Cell::new(0),
        });
        cluster.update_hosts(host_set, rng);
        cluster
    }

    /// Configuration, statistics and breakers.
    pub fn info(&self) -> &Arc<ClusterInfo> {
        &self.shared.info
    }

    /// This worker's handle on the circuit breakers.
    pub fn breakers(&self) -> &Rc<Breakers> {
        &self.shared.breakers
    }

    /// The hosts now.
    pub fn hosts(&self) -> Vec<Rc<Host>> {
        self.state.borrow().hosts.clone()
    }

    /// How many hosts there are now, by health.
    pub fn membership(&self) -> Membership {
        self.state.borrow().host_set.membership()
    }

    /// A host for a request; none (counted as `upstream_cx_none_healthy`) if no host may serve.
    pub fn pick_host(&self, pick: &HostPick<'_>, rng: &mut Rng) -> Option<Rc<Host>> {
        let mut state = self.state.borrow_mut();
        let epoch = state.host_set.epoch().current();
        if epoch != self.built_for_epoch.replace(epoch) {
            state.rebuild_balancer(&self.shared.info, rng);
        }
        let traffic = &self.shared.info.stats.traffic;
        let State { hosts, balancer, .. } = &mut *state;
        let context = PickContext { hash: pick.hash, load: &Loads(hosts) };
        let mut attempts_left = pick.max_attempts;
        loop {
            let picked = balancer.pick(&context, rng);
            if picked.in_panic {
                traffic.lb_healthy_panic.inc();
            }
            let Some(host) = picked.host else {
                traffic.upstream_cx_none_healthy.inc();
                return None;
            };
            let host = &hosts[host as usize];
            if attempts_left == 0 || !pick.avoid.iter().any(|avoid| Rc::ptr_eq(avoid, host)) {
                return Some(Rc::clone(host));
            }
            attempts_left -= 1;
        }
    }

    /// Takes over a newer host set. Hosts that stay keep their connections.
    pub fn update_hosts(&self, host_set: Arc<HostSet>, rng: &mut Rng) {
        let mut state = self.state.borrow_mut();
        let before = std::mem::take(&mut state.hosts);
        let mut known: HashMap<*const HostShared, &Rc<Host>> =
            before.iter().map(|host| (Arc::as_ptr(host.shared()), host)).collect();
        let mut is_change = false;
        for entry in host_set.hosts() {
            let host = match known.remove(&Arc::as_ptr(&entry.shared)) {
                Some(host) => {
                    host.update(entry);
                    Rc::clone(host)
                }
                None => {
                    is_change = true;
                    Host::new(Rc::clone(&self.shared), entry)
                }
            };
            state.hosts.push(host);
        }
        is_change |= !known.is_empty();
        self.built_for_epoch.set(host_set.epoch().current());
        state.host_set = host_set;
        state.rebuild_balancer(&self.shared.info, rng);
        let to_close =
            match is_change && self.shared.info.config.common_lb.close_connections_on_host_set_change {
                true => state.hosts.clone(),
                false => Vec::new(),
            };
        drop(state);
        // In the order in which they stood, so that a simulated world is the same each time.
        let is_gone = |host: &&Rc<Host>| known.contains_key(&Arc::as_ptr(host.shared()));
        before.iter().filter(is_gone).for_each(|host| host.remove());
        to_close.iter().for_each(|host| host.close_idle());
    }

    /// A host failed: its connections end as soon as no request uses them.
    pub fn drain_host(&self, shared: &HostShared) {
        let host =
            self.state.borrow().hosts.iter().find(|host| std::ptr::eq(&**host.shared(), shared)).cloned();
        if let Some(host) = host {
            host.drain();
        }
    }

    /// The cluster is no more: idle connections close now, busy ones after their exchange.
    pub fn remove(&self) {
        let empty = State {
            host_set: Arc::default(),
            hosts: Vec::new(),
            balancer: Balancer::build(&[], &self.shared.info.balancer, &mut Rng::from_seed(0)),
        };
        let before = self.state.replace(empty);
        before.hosts.iter().for_each(|host| host.remove());
    }
}

impl State {
    fn rebuild_balancer(&mut self, info: &ClusterInfo, rng: &mut Rng) {
        let hosts: Vec<_> = self
            .host_set
            .hosts()
            .iter()
            .map(|host| {
                let flags = host.shared.health.flags();
                BalancerHost {
                    weight: host.weight,
                    priority: host.priority,
                    is_healthy: flags.is_healthy(),
                    is_degraded: flags.is_degraded(),
                    is_excluded: flags.is_excluded(),
                }
            })
            .collect();
        let configured = info.balancer.overprovisioning_percent;
        let options = BalancerOptions {
            overprovisioning_percent: self.host_set.overprovisioning_percent().unwrap_or(configured),
            ..info.balancer
        };
        self.balancer = Balancer::build(&hosts, &options, rng);
    }
}

struct Loads<'a>(&'a [Rc<Host>]);

impl HostLoad for Loads<'_> {
    fn active_requests(&self, host: HostIndex) -> u32 {
        self.0[host as usize].active_requests()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::io;
    use crate::upstream::HealthFlags;
    use crate::upstream::testing::{World, local, on_each_driver};

    /// The hosts that get `count` requests.
    fn picked(cluster: &Cluster, count: usize) -> Vec<String> {
        let pick = || io::with_rng(|rng| cluster.pick_host(&HostPick::default(), rng)).expect("a host");
        let mut addresses: Vec<String> = (0..count).map(|_| pick().address().to_string()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    #[test]
    fn what_another_thread_says_of_a_host_holds_at_the_next_pick() {
        on_each_driver(|world: World| async move {
            let cluster = world.cluster(&[local(1), local(2), local(3)], |_| {});
            assert_eq!(picked(&cluster, 99), ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
            let host = Arc::clone(cluster.hosts()[1].shared());
            let set = move |failed: bool| {
                let host = Arc::clone(&host);
                let other = thread::spawn(move || host.health.set(HealthFlags::FAILED_ACTIVE_HC, failed));
                other.join().expect("no panic");
            };
            set(true);
            assert_eq!(picked(&cluster, 99), ["127.0.0.1:1", "127.0.0.1:3"]);
            set(false);
            assert_eq!(picked(&cluster, 99), ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
        });
    }
}
