//! Connections of one worker to one host for one priority: kept while idle, made when needed, within the
//! limits of the circuit breakers.
//!
//! HTTP/1: one exchange per connection at a time, no pipelining. A request that finds no idle connection
//! waits in a queue; any connection that becomes ready serves the queue's head. Follows Envoy's
//! "Connection pooling" page.

mod account;
mod check_out;
mod connection;
mod failure_bell;
mod h1;
mod h2;
mod h2_connection;
mod h2_pool;
mod pending;
mod stream;
mod tcp;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

pub use check_out::CheckOut;
pub(in crate::upstream) use failure_bell::FailureBell;
pub use h1::H1Stream;
pub use h2::H2Stream;
pub(super) use h2_pool::H2Pool;
pub use stream::{UpstreamEvent, UpstreamStream};
pub use tcp::{TcpConnect, TcpConnection};

pub(super) use connection::Standing;
use connection::{CloseCause, Connection};
pub(super) use pending::Pending;

use super::breaker::{Permit, ResourceKind};
use super::host::{Host, HostCluster};
use super::host_pools::HostPools;
use super::reset::PoolFailure;
use crate::config::route::RoutingPriority;
use crate::transport::WantedPeer;

/// The connections of one worker to one host for one priority.
pub(super) struct Pool {
    host: Weak<Host>,
    /// Those that this pool belongs to.
    siblings: Weak<HostPools>,
    cluster: Rc<HostCluster>,
    priority: RoutingPriority,
    /// The one used last is at the end and is used first: the others can run into their idle timeout.
    idle: RefCell<Vec<Rc<Connection>>>,
    pending: Rc<Pending>,
    connecting: Cell<usize>,
    /// Connecting, idle and busy ones.
    open: Cell<usize>,
    /// Counts drains: connections from before the last one serve no further request.
    generation: Cell<u32>,
}

impl Pool {
    /// `pending` may be shared with the pool of another version of HTTP, if the host chooses the version.
    pub fn new(
        host: Weak<Host>,
        siblings: Weak<HostPools>,
        cluster: Rc<HostCluster>,
        priority: RoutingPriority,
        pending: Rc<Pending>,
    ) -> Rc<Pool> {
        Rc::new(Pool {
            host,
            siblings,
            pending,
            cluster,
            priority,
            idle: RefCell::default(),
            connecting: Cell::new(0),
            open: Cell::new(0),
            generation: Cell::new(0),
        })
    }

    /// A connection for a request to `host`, the pool's own.
    pub fn check_out(self: &Rc<Self>, host: &Rc<Host>) -> CheckOut {
        if self.cluster.info.config.proxy_protocol.is_some() {
            // Refused where the configuration names the cluster; a header may name it too.
            let reason = "connections that begin with a PROXY header are not shared";
            return CheckOut::ready(Err(PoolFailure::ConnectFailure(reason.into())));
        }
        while let Some(connection) = self.take_idle() {
            if !connection.is_reusable() {
                connection.close(CloseCause::Remote);
                continue;
            }
            let attached = self.attach(host, &connection);
            if attached.is_err() {
                self.keep(connection);
            }
            return CheckOut::ready(attached);
        }
        let check_out = self.pending.enter(host);
        self.connect_for_pending();
        check_out
    }

    /// Closes the connections that no request uses.
    pub fn close_idle(&self) {
        while let Some(connection) = self.take_idle() {
            connection.close(CloseCause::Local);
        }
    }

    /// Closes the connections that no request uses now, and the others after their exchange.
    pub fn drain(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.close_idle();
    }

    /// Whether a connection of this generation may serve further requests.
    fn is_current(&self, generation: u32) -> bool {
        self.generation.get() == generation
    }

    fn take_idle(&self) -> Option<Rc<Connection>> {
        self.idle.borrow_mut().pop()
    }

    fn try_acquire(&self, kind: ResourceKind) -> Option<Permit> {
        self.cluster.breakers.try_acquire(self.priority, kind)
    }

    /// Gives `connection` to a request, unless too many requests are active.
    fn attach(&self, host: &Rc<Host>, connection: &Rc<Connection>) -> Result<UpstreamStream, PoolFailure> {
        let Some(permit) = self.try_acquire(ResourceKind::Requests) else {
            let stats = &self.cluster.info.stats.traffic;
            stats.upstream_rq_pending_overflow.inc();
            stats.upstream_rq_active_overflow.inc();
            return Err(PoolFailure::Overflow);
        };
        match Rc::clone(connection).begin_exchange() {
            Some(exchange) => Ok(UpstreamStream::H1(H1Stream::new(Rc::clone(host), exchange, permit))),
            // Closed under our hands, which is counted already.
            None => Err(PoolFailure::ConnectFailure("connection closed".into())),
        }
    }

    /// A connection is ready for a request: a new one, or one whose exchange is over.
    fn on_ready(&self, connection: Rc<Connection>) {
        loop {
            let Some(waiter) = self.pending.next() else {
                return self.keep(connection);
            };
            let attached = self.attach(waiter.host(), &connection);
            let is_taken = attached.is_ok();
            waiter.complete(attached);
            if is_taken {
                return;
            }
        }
    }

    fn keep(&self, connection: Rc<Connection>) {
        if self.host.upgrade().is_none_or(|host| host.is_removed()) {
            return connection.close(CloseCause::Local);
        }
        // Known as idle first: the origin may have closed it already, which removes it again.
        self.idle.borrow_mut().push(Rc::clone(&connection));
        connection.watch_idle();
    }

    fn on_connected(&self, connection: Rc<Connection>) {
        self.connecting.set(self.connecting.get() - 1);
        self.on_ready(connection);
    }

    /// The host has chosen HTTP/1 for a connection on which it had the choice.
    pub fn adopt(self: &Rc<Self>, host: &Host, standing: Standing) {
        self.open.set(self.open.get() + 1);
        self.on_ready(Connection::adopt(host, self, standing));
        self.connect_for_pending();
    }

    fn on_connect_failed(&self, failure: &PoolFailure, has_tls_failed: bool) {
        self.connecting.set(self.connecting.get() - 1);
        self.open.set(self.open.get() - 1);
        let siblings = self.siblings.upgrade();
        // The host may speak something else by now.
        let is_tried_again =
            siblings.as_ref().is_some_and(|pools| pools.choose_anew(self.priority, has_tls_failed));
        if !is_tried_again {
            self.pending.fail_all(failure);
        }
        if let Some(siblings) = siblings {
            siblings.on_connection_over();
        }
    }

    fn on_closed(self: &Rc<Self>, connection: &Rc<Connection>) {
        self.idle.borrow_mut().retain(|idle| !Rc::ptr_eq(idle, connection));
        self.open.set(self.open.get() - 1);
        self.connect_for_pending();
        if let Some(siblings) = self.siblings.upgrade() {
            siblings.on_connection_over();
        }
    }

    /// Whether there is a connection, or a request that waits for one.
    pub fn is_in_use(&self) -> bool {
        self.open.get() > 0 || self.pending.len() > 0
    }

    /// Whom connections are to be with.
    fn wanted(&self) -> WantedPeer {
        self.siblings.upgrade().map(|pools| pools.wanted().clone()).unwrap_or_default()
    }

    /// One connection under way for each request that waits, as far as the limits allow; the first one of
    /// the pool is always allowed, else other hosts or workers could starve this one.
    fn connect_for_pending(self: &Rc<Self>) {
        while self.connecting.get() < self.pending.len() {
            let Some(host) = self.host.upgrade() else { return };
            let permit = match self.try_acquire_connection(&host) {
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
            Connection::open(&host, self, permit);
        }
    }

    fn try_acquire_connection(&self, host: &Host) -> Option<Permit> {
        if let Some(limit) = self.cluster.info.config.circuit_breakers.per_host_max_connections
            && host.shared().stats.totals().cx_active >= u64::from(limit)
        {
            return None;
        }
        self.try_acquire(ResourceKind::Connections)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close_idle();
    }
}

#[cfg(test)]
mod tests;
