//! Requests that wait for a connection, in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::check_out::{CheckOut, Waiter};
use crate::config::route::RoutingPriority;
use crate::upstream::breaker::ResourceKind;
use crate::upstream::host::{Host, HostCluster};
use crate::upstream::reset::PoolFailure;

/// The queue of one pool, counted.
pub(in crate::upstream) struct Pending {
    cluster: Rc<HostCluster>,
    priority: RoutingPriority,
    queue: RefCell<VecDeque<Rc<Waiter>>>,
}

impl Pending {
    pub(in crate::upstream) fn new(cluster: Rc<HostCluster>, priority: RoutingPriority) -> Rc<Pending> {
        Rc::new(Pending { cluster, priority, queue: RefCell::default() })
    }

    /// Puts a request at the end; refuses it if too many wait.
    pub(super) fn enter(self: &Rc<Self>, host: &Rc<Host>) -> CheckOut {
        let stats = &self.cluster.info.stats.traffic;
        let Some(permit) = self.cluster.breakers.try_acquire(self.priority, ResourceKind::PendingRequests)
        else {
            stats.upstream_rq_pending_overflow.inc();
            return CheckOut::ready(Err(PoolFailure::Overflow));
        };
        stats.upstream_rq_pending_total.inc();
        stats.upstream_rq_pending_active.inc();
        host.counters().rq_pending_active.inc();
        let waiter = Rc::new(Waiter::new(Rc::clone(host), permit));
        self.queue.borrow_mut().push_back(Rc::clone(&waiter));
        CheckOut::queued(waiter, Rc::clone(self))
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Takes the one that has waited longest.
    pub(super) fn next(&self) -> Option<Rc<Waiter>> {
        let waiter = self.queue.borrow_mut().pop_front()?;
        self.leave(&waiter);
        Some(waiter)
    }

    /// The host seems to be unreachable: everyone who waits learns of it now instead of each trying.
    pub(super) fn fail_all(&self, failure: &PoolFailure) {
        while let Some(waiter) = self.next() {
            self.cluster.info.stats.traffic.upstream_rq_pending_failure_eject.inc();
            waiter.complete(Err(failure.clone()));
        }
    }

    /// Takes one out that waits no more.
    pub(super) fn cancel(&self, waiter: &Rc<Waiter>) {
        let before = self.len();
        self.queue.borrow_mut().retain(|pending| !Rc::ptr_eq(pending, waiter));
        if self.len() < before {
            self.leave(waiter);
            self.cluster.info.stats.traffic.upstream_rq_cancelled.inc();
        }
    }

    fn leave(&self, waiter: &Waiter) {
        waiter.give_back_permit();
        self.cluster.info.stats.traffic.upstream_rq_pending_active.dec();
        waiter.host().counters().rq_pending_active.dec();
    }
}
