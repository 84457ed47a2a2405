//! What all exchanges of one connection have in common.

use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock::Instant;
use crate::filters::WorkerContext;
use crate::filters::network::ListenerHandle;
use crate::io;
use crate::stats::groups::HttpConnectionStats;
use crate::stats::{Counter, Gauge};
use crate::stream_info::ConnectionInfo;

use super::exchange::Surroundings;
use super::routes::{ConnectionRoutes, ExchangeRoutes};
use super::{HttpConnectionManager, Routes};

/// A connection, as its exchanges see it.
pub struct ConnectionContext {
    /// The connection manager.
    pub manager: Arc<HttpConnectionManager>,
    /// Where this worker has the manager's routes, if they are discovered.
    routes: ConnectionRoutes,
    /// Facts about the connection.
    pub info: Rc<ConnectionInfo>,
    /// The worker.
    pub worker: Rc<WorkerContext>,
    /// The listener.
    pub listener: Rc<ListenerHandle>,
}

impl ConnectionContext {
    /// A connection that `manager` serves.
    pub fn new(
        manager: Arc<HttpConnectionManager>,
        info: Rc<ConnectionInfo>,
        worker: Rc<WorkerContext>,
        listener: Rc<ListenerHandle>,
    ) -> ConnectionContext {
        let routes = manager.routes.on_worker(&worker.routes);
        ConnectionContext { manager, routes, info, worker, listener }
    }

    /// The routes in force now; an exchange takes them when it begins, and keeps them.
    #[inline]
    pub fn take_routes(&self) -> ExchangeRoutes<'_> {
        self.routes.take(&self.manager.routes)
    }

    /// For one exchange.
    pub fn around<'a>(&'a self, routes: &'a Routes) -> Surroundings<'a> {
        Surroundings {
            manager: &self.manager,
            routes,
            connection: &self.info,
            worker: &self.worker,
            listener: &self.listener,
        }
    }

    /// `https` if the connection is encrypted.
    pub fn scheme(&self) -> &'static str {
        if self.info.is_tls() { "https" } else { "http" }
    }
}

/// Counts a connection as open until it is dropped, whatever ends it.
pub struct Account {
    /// The connection.
    pub cx: Rc<ConnectionContext>,
    /// Of the version it speaks, once that is known.
    active_of_version: Option<Gauge>,
    opened: Instant,
}

impl Account {
    /// A new connection.
    pub fn open(cx: Rc<ConnectionContext>) -> Account {
        let stats = &cx.manager.stats.connections;
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        if cx.info.is_tls() {
            stats.downstream_cx_ssl_total.inc();
            stats.downstream_cx_ssl_active.inc();
        }
        Account { cx, active_of_version: None, opened: io::now() }
    }

    /// The client speaks HTTP/1. Counted once.
    pub fn speaks_http1(&mut self) {
        let stats = &self.cx.manager.stats.connections;
        self.speaks(stats.downstream_cx_http1_total, stats.downstream_cx_http1_active);
    }

    /// The client speaks HTTP/2.
    pub fn speaks_http2(&mut self) {
        let stats = &self.cx.manager.stats.connections;
        self.speaks(stats.downstream_cx_http2_total, stats.downstream_cx_http2_active);
    }

    fn speaks(&mut self, total: Counter, active: Gauge) {
        if self.active_of_version.is_none() {
            total.inc();
            active.inc();
            self.active_of_version = Some(active);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let stats = &self.cx.manager.stats.connections;
        stats.downstream_cx_active.dec();
        if self.cx.info.is_tls() {
            stats.downstream_cx_ssl_active.dec();
        }
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_length_ms.record(io::now().since(self.opened).as_millis() as u64);
        if let Some(active) = self.active_of_version {
            active.dec();
        }
    }
}

/// Counts a connection that was upgraded until it is dropped.
pub struct Upgraded(Gauge);

impl Upgraded {
    /// An upgrade that the origin accepted.
    pub fn open(stats: HttpConnectionStats) -> Upgraded {
        stats.downstream_cx_upgrades_total.inc();
        stats.downstream_cx_upgrades_active.inc();
        Upgraded(stats.downstream_cx_upgrades_active)
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.0.dec();
    }
}
