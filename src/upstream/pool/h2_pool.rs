//! HTTP/2 connections of one worker to one host for one priority: many exchanges on each.
//!
//! One connection serves until the host allows no more streams on it; then another one is made, within the
//! limits of the circuit breakers. Follows Envoy's "Connection pooling" page.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::UpstreamStream;
use super::check_out::CheckOut;
use super::connection::{CloseCause, Standing};
use super::h2::H2Stream;
use super::h2_connection::H2Connection;
use super::pending::Pending;
use crate::config::route::RoutingPriority;
use crate::transport::WantedPeer;
use crate::upstream::breaker::{Permit, ResourceKind};
use crate::upstream::host::{Host, HostCluster};
use crate::upstream::host_pools::HostPools;
use crate::upstream::reset::PoolFailure;

/// The HTTP/2 connections of one worker to one host for one priority.
pub(in crate::upstream) struct H2Pool {
    host: Weak<Host>,
    /// Those that this pool belongs to.
    siblings: Weak<HostPools>,
    cluster: Rc<HostCluster>,
    priority: RoutingPriority,
    /// Those that stand and may serve further exchanges, the oldest first.
    ready: RefCell<Vec<Rc<H2Connection>>>,
    pending: Rc<Pending>,
    connecting: Cell<usize>,
    /// Connecting, and standing.
    open: Cell<usize>,
}

impl H2Pool {
    /// `pending` as in [`super::Pool::new`].
    pub(in crate::upstream) fn new(
        host: Weak<Host>,
        siblings: Weak<HostPools>,
        cluster: Rc<HostCluster>,
        priority: RoutingPriority,
        pending: Rc<Pending>,
    ) -> Rc<H2Pool> {
        Rc::new(H2Pool {
            host,
            siblings,
            pending,
            cluster,
            priority,
            ready: RefCell::default(),
            connecting: Cell::new(0),
            open: Cell::new(0),
        })
    }

    /// A stream for a request to `host`, the pool's own.
    pub(in crate::upstream) fn check_out(self: &Rc<Self>, host: &Rc<Host>) -> CheckOut {
        if self.pending.len() == 0
            && let Some(connection) = self.with_capacity()
        {
            return CheckOut::ready(self.attach(host, &connection));
        }
        let check_out = self.pending.enter(host);
        self.connect_for_pending();
        check_out
    }

    /// Closes the connections that no exchange uses.
    pub(in crate::upstream) fn close_idle(&self) {
        let idle: Vec<_> =
            self.ready.borrow().iter().filter(|connection| connection.is_idle()).cloned().collect();
        idle.iter().for_each(|connection| connection.close(CloseCause::Local));
    }

    /// Lets no further exchange begin on the present connections; they end when their last one has.
    pub(in crate::upstream) fn drain(&self) {
        let all = self.ready.take();
        all.iter().for_each(|connection| connection.retire());
    }

    /// Whether a connection is under way.
    pub(in crate::upstream) fn is_connecting(&self) -> bool {
        self.connecting.get() > 0
    }

    fn with_capacity(&self) -> Option<Rc<H2Connection>> {
        self.ready.borrow().iter().find(|connection| connection.has_capacity()).cloned()
    }

    /// Gives an exchange a place on a connection, unless too many requests are active.
    fn attach(&self, host: &Rc<Host>, connection: &Rc<H2Connection>) -> Result<UpstreamStream, PoolFailure> {
        let Some(permit) = self.try_acquire(ResourceKind::Requests) else {
            let stats = &self.cluster.info.stats.traffic;
            stats.upstream_rq_pending_overflow.inc();
            stats.upstream_rq_active_overflow.inc();
            return Err(PoolFailure::Overflow);
        };
        let exchange = connection.begin_exchange();
        Ok(UpstreamStream::H2(H2Stream::new(Rc::clone(host), exchange, permit)))
    }

    /// A connection stands.
    pub(super) fn on_connected(self: &Rc<Self>, connection: &Rc<H2Connection>) {
        self.connecting.set(self.connecting.get() - 1);
        let is_removed = self.host.upgrade().is_none_or(|host| host.is_removed());
        if is_removed && self.pending.len() == 0 {
            return connection.close(CloseCause::Local);
        }
        self.ready.borrow_mut().push(Rc::clone(connection));
        self.serve_pending();
        // Those that wait were sent to the host before it was removed.
        if is_removed {
            self.drain();
        }
    }

    /// The host, having the choice, has chosen HTTP/1 for a connection: it and all that wait are for the other pool.
    pub(super) fn on_http1(&self, standing: Standing) {
        self.connecting.set(self.connecting.get() - 1);
        self.open.set(self.open.get() - 1);
        if let (Some(host), Some(siblings)) = (self.host.upgrade(), self.siblings.upgrade()) {
            siblings.speaks_http1(&host, self.priority, standing);
        }
    }

    /// A connection could not be made.
    pub(super) fn on_connect_failed(&self, failure: &PoolFailure) {
        self.connecting.set(self.connecting.get() - 1);
        self.open.set(self.open.get() - 1);
        self.pending.fail_all(failure);
        if let Some(siblings) = self.siblings.upgrade() {
            siblings.on_connection_over();
        }
    }

    /// Whether there is a connection, or a request that waits for one.
    pub(in crate::upstream) fn is_in_use(&self) -> bool {
        self.open.get() > 0 || self.pending.len() > 0
    }

    /// Whom connections are to be with.
    pub(super) fn wanted(&self) -> WantedPeer {
        self.siblings.upgrade().map(|pools| pools.wanted().clone()).unwrap_or_default()
    }

    /// An exchange is over, or the host allows more of them.
    pub(super) fn on_capacity(self: &Rc<Self>) {
        if self.pending.len() > 0 {
            self.serve_pending();
        }
    }

    /// A connection serves no further exchange.
    pub(super) fn on_retired(self: &Rc<Self>, connection: &Rc<H2Connection>) {
        self.ready.borrow_mut().retain(|ready| !Rc::ptr_eq(ready, connection));
        self.connect_for_pending();
    }

    /// A connection that stood is over.
    pub(super) fn on_closed(self: &Rc<Self>, connection: &Rc<H2Connection>) {
        self.open.set(self.open.get() - 1);
        self.on_retired(connection);
        if let Some(siblings) = self.siblings.upgrade() {
            siblings.on_connection_over();
        }
    }

    fn serve_pending(self: &Rc<Self>) {
        while let Some(connection) = self.with_capacity() {
            let Some(waiter) = self.pending.next() else { return };
            waiter.complete(self.attach(waiter.host(), &connection));
        }
        self.connect_for_pending();
    }

    /// One connection under way while requests wait: it will serve many of them, and how many is known once its
    /// settings have come. The first one of the pool is always allowed, else other hosts or workers could starve
    /// this one.
    pub(in crate::upstream) fn connect_for_pending(self: &Rc<Self>) {
        let is_under_way = self.connecting.get() > 0
            || self.ready.borrow().iter().any(|connection| connection.awaits_settings());
        if is_under_way || self.pending.len() == 0 {
            return;
        }
        if self.siblings.upgrade().is_none_or(|pools| pools.has_chosen_http1()) {
            return;
        }
        let Some(host) = self.host.upgrade() else { return };
        let permit = match self.try_acquire(ResourceKind::Connections) {
            Some(permit) => permit,
            None => {
                self.cluster.info.stats.traffic.upstream_cx_overflow.inc();
                if self.open.get() > 0 {
                    return;
                }
                self.cluster.breakers.acquire_over_limit(self.priority, ResourceKind::Connections)
            }
        };
        self.connecting.set(self.connecting.get() + 1);
        self.open.set(self.open.get() + 1);
        H2Connection::open(&host, self, permit);
    }

    fn try_acquire(&self, kind: ResourceKind) -> Option<Permit> {
        self.cluster.breakers.try_acquire(self.priority, kind)
    }
}

impl Drop for H2Pool {
    fn drop(&mut self) {
        self.drain();
    }
}
