//! Circuit breakers: limits on what goes on towards a cluster at once, for the whole process.
//!
//! The one place where workers share counters that decide something. Atomics only, each on its own
//! cache lines; no lock, no I/O, no statistics (the caller counts overflows). Follows
//! `config.cluster.v3.CircuitBreakers`.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::cluster::{CircuitBreakers, RetryBudget, Thresholds};
use crate::config::route::RoutingPriority;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// Connections to all hosts of the cluster.
    Connections,
    /// Requests that wait for a connection.
    PendingRequests,
    /// Requests on connections.
    Requests,
    /// Requests that are being retried.
    Retries,
}

/// The counters of one cluster, shared by all threads.
#[derive(Debug)]
pub struct BreakerShared {
    default: PriorityBreaker,
    high: PriorityBreaker,
}

impl BreakerShared {
    /// Nothing in use.
    pub fn new(config: &CircuitBreakers) -> Arc<BreakerShared> {
        Arc::new(BreakerShared {
            default: PriorityBreaker::new(&config.default),
            high: PriorityBreaker::new(&config.high),
        })
    }

    /// The counters of one priority.
    pub fn priority(&self, priority: RoutingPriority) -> &PriorityBreaker {
        match priority {
            RoutingPriority::Default => &self.default,
            RoutingPriority::High => &self.high,
        }
    }
}

/// The counters of one priority.
#[derive(Debug)]
pub struct PriorityBreaker {
    connections: Resource,
    pending_requests: Resource,
    requests: Resource,
    retries: Resource,
    retry_budget: Option<RetryBudget>,
}

impl PriorityBreaker {
    fn new(thresholds: &Thresholds) -> PriorityBreaker {
        PriorityBreaker {
            connections: Resource::new(thresholds.max_connections),
            pending_requests: Resource::new(thresholds.max_pending_requests),
            requests: Resource::new(thresholds.max_requests),
            retries: Resource::new(thresholds.max_retries),
            retry_budget: thresholds.retry_budget,
        }
    }

    /// How many are in use.
    pub fn in_use(&self, kind: ResourceKind) -> u64 {
        self.resource(kind).in_use.load(Ordering::Relaxed)
    }

    /// How many may be in use at once.
    pub fn limit(&self, kind: ResourceKind) -> u64 {
        match (kind, &self.retry_budget) {
            (ResourceKind::Retries, Some(budget)) => self.budgeted_retries(budget),
            _ => self.resource(kind).limit,
        }
    }

    /// Whether nothing more is admitted (gauges `cx_open`, `rq_open`, ...).
    pub fn is_open(&self, kind: ResourceKind) -> bool {
        self.in_use(kind) >= self.limit(kind)
    }

    /// How many more are admitted (gauges `remaining_...`).
    pub fn remaining(&self, kind: ResourceKind) -> u64 {
        self.limit(kind).saturating_sub(self.in_use(kind))
    }

    fn resource(&self, kind: ResourceKind) -> &Resource {
        match kind {
            ResourceKind::Connections => &self.connections,
            ResourceKind::PendingRequests => &self.pending_requests,
            ResourceKind::Requests => &self.requests,
            ResourceKind::Retries => &self.retries,
        }
    }

    fn budgeted_retries(&self, budget: &RetryBudget) -> u64 {
        let requests = self.in_use(ResourceKind::Requests) + self.in_use(ResourceKind::PendingRequests);
        let share = (requests as f64 * budget.budget_percent / 100.0) as u64;
        share.max(budget.min_retry_concurrency.into())
    }
}

/// One worker's handle on a cluster's breakers. Permits keep it alive without touching a counter that
/// other workers write.
#[derive(Debug)]
pub struct Breakers {
    shared: Arc<BreakerShared>,
}

impl Breakers {
    /// A handle for the calling thread.
    pub fn new(shared: Arc<BreakerShared>) -> Rc<Breakers> {
        Rc::new(Breakers { shared })
    }

    /// The shared counters.
    pub fn shared(&self) -> &Arc<BreakerShared> {
        &self.shared
    }

    /// Takes one, unless the limit is reached.
    pub fn try_acquire(self: &Rc<Self>, priority: RoutingPriority, kind: ResourceKind) -> Option<Permit> {
        let breaker = self.shared.priority(priority);
        breaker.resource(kind).try_acquire(breaker.limit(kind)).then(|| self.permit(priority, kind))
    }

    /// Takes one whatever the limit: the first connection to a host is always allowed, so that a host
    /// cannot be starved by others.
    pub fn acquire_over_limit(self: &Rc<Self>, priority: RoutingPriority, kind: ResourceKind) -> Permit {
        self.shared.priority(priority).resource(kind).in_use.fetch_add(1, Ordering::Relaxed);
        self.permit(priority, kind)
    }

    fn permit(self: &Rc<Self>, priority: RoutingPriority, kind: ResourceKind) -> Permit {
        Permit { breakers: Rc::clone(self), priority, kind }
    }
}

/// One unit in use; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    breakers: Rc<Breakers>,
    priority: RoutingPriority,
    kind: ResourceKind,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let breaker = self.breakers.shared.priority(self.priority);
        breaker.resource(self.kind).in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Aligned so that two counters never share a cache line (nor the pair that is prefetched).
#[derive(Debug)]
#[repr(align(128))]
struct Resource {
    in_use: AtomicU64,
    limit: u64,
}

impl Resource {
    fn new(limit: u32) -> Resource {
        Resource { in_use: AtomicU64::new(0), limit: limit.into() }
    }

    /// Adds first and looks after, so the limit is never exceeded; of several that race for the last
    /// unit at least one gets it. An open breaker is only read, not written.
    fn try_acquire(&self, limit: u64) -> bool {
        if self.in_use.load(Ordering::Relaxed) >= limit {
            return false;
        }
        if self.in_use.fetch_add(1, Ordering::Relaxed) < limit {
            return true;
        }
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const DEFAULT: RoutingPriority = RoutingPriority::Default;

    fn shared(edit: impl FnOnce(&mut Thresholds)) -> Arc<BreakerShared> {
        let mut config = CircuitBreakers::default();
        edit(&mut config.default);
        BreakerShared::new(&config)
    }

    #[test]
    fn permits_are_given_back_and_priorities_are_apart() {
        let breakers = Breakers::new(shared(|limits| limits.max_requests = 1));
        let permit = breakers.try_acquire(DEFAULT, ResourceKind::Requests).expect("one is free");
        let breaker = breakers.shared().priority(DEFAULT);
        assert!(breaker.is_open(ResourceKind::Requests));
        assert!(breakers.try_acquire(DEFAULT, ResourceKind::Requests).is_none());
        assert!(breakers.try_acquire(RoutingPriority::High, ResourceKind::Requests).is_some());
        drop(permit);
        assert_eq!(breaker.remaining(ResourceKind::Requests), 1);
        let _over = [(); 3].map(|()| breakers.acquire_over_limit(DEFAULT, ResourceKind::Requests));
        assert_eq!(
            (breaker.in_use(ResourceKind::Requests), breaker.remaining(ResourceKind::Requests)),
            (3, 0)
        );
    }

    #[test]
    fn retry_budget_follows_active_and_pending_requests() {
        let breakers = Breakers::new(shared(|limits| {
            limits.retry_budget = Some(RetryBudget {
                budget_percent: 20.0,
                min_retry_concurrency: 3,
                budget_interval: std::time::Duration::ZERO,
            });
        }));
        let breaker = breakers.shared().priority(DEFAULT);
        assert_eq!(breaker.limit(ResourceKind::Retries), 3);
        let active: Vec<_> =
            (0..15).filter_map(|_| breakers.try_acquire(DEFAULT, ResourceKind::Requests)).collect();
        let pending: Vec<_> =
            (0..10).filter_map(|_| breakers.try_acquire(DEFAULT, ResourceKind::PendingRequests)).collect();
        assert_eq!(breaker.limit(ResourceKind::Retries), 5);
        drop((active, pending));
        assert_eq!(breaker.limit(ResourceKind::Retries), 3);
    }

    /// Four threads take and give back without pause: never more than the limit are held, and none is
    /// lost at the end.
    #[test]
    fn limits_hold_for_all_threads_together() {
        const LIMIT: u64 = 5;
        let shared = shared(|limits| limits.max_connections = LIMIT as u32);
        let held = AtomicU64::new(0);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let breakers = Breakers::new(Arc::clone(&shared));
                    start.wait();
                    for round in 0..20_000_usize {
                        let permits: Vec<_> = (0..=round % 4)
                            .filter_map(|_| breakers.try_acquire(DEFAULT, ResourceKind::Connections))
                            .collect();
                        let count = permits.len() as u64;
                        let now_held = held.fetch_add(count, Ordering::SeqCst) + count;
                        assert!(now_held <= LIMIT, "{now_held} held");
                        held.fetch_sub(count, Ordering::SeqCst);
                        drop(permits);
                    }
                });
            }
        });
        assert_eq!(shared.priority(DEFAULT).in_use(ResourceKind::Connections), 0);
    }
}
