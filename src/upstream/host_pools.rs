//! The HTTP connections of one worker to one host that were made for one and the same peer: its pools, by
//! priority and version. Who that peer is, the cluster says; or, with `auto_sni` and `auto_san_validation`, each
//! request, and then a connection that was made for one name never serves a request for another.

use std::cell::{Cell, OnceCell};
use std::rc::{Rc, Weak};

use super::host::{Host, HostCluster};
use super::pool::{CheckOut, H2Pool, Pending, Pool, Standing};
use crate::config::cluster::UpstreamProtocol;
use crate::config::route::RoutingPriority;
use crate::http::Version;
use crate::transport::WantedPeer;

/// Pools for one peer.
pub(super) struct HostPools {
    host: Weak<Host>,
    cluster: Rc<HostCluster>,
    /// The name that requests gave; none if the cluster decides alone.
    name: Option<Rc<str>>,
    /// What that name is to TLS.
    wanted: WantedPeer,
    /// By priority.
    pools: [OnceCell<Rc<Pool>>; 2],
    h2_pools: [OnceCell<Rc<H2Pool>>; 2],
    /// Where the host chooses the version of HTTP.
    shared_pending: [OnceCell<Rc<Pending>>; 2],
    has_chosen_http1: Cell<bool>,
}

impl HostPools {
    pub fn new(host: Weak<Host>, cluster: Rc<HostCluster>, name: Option<Rc<str>>) -> Rc<HostPools> {
        let auto = &cluster.info.config.auto_peer_name;
        let wanted = match (auto, &name) {
            (Some(auto), Some(name)) => WantedPeer::new(name, auto.sni, auto.san_validation),
            _ => WantedPeer::default(),
        };
        Rc::new(HostPools {
            host,
            cluster,
            name,
            wanted,
            pools: [OnceCell::new(), OnceCell::new()],
            h2_pools: [OnceCell::new(), OnceCell::new()],
            shared_pending: [OnceCell::new(), OnceCell::new()],
            has_chosen_http1: Cell::new(false),
        })
    }

    /// As [`Host::check_out`], `host` being the one that these are of.
    pub fn check_out(
        self: &Rc<Self>,
        host: &Rc<Host>,
        priority: RoutingPriority,
        downstream: Version,
    ) -> CheckOut {
        let is_h2 = match self.cluster.info.config.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => downstream >= Version::Http2,
            UpstreamProtocol::Auto => !self.has_chosen_http1(),
        };
        if is_h2 { self.h2_pool(priority).check_out(host) } else { self.pool(priority).check_out(host) }
    }

    /// Whom connections are to be with.
    pub fn wanted(&self) -> &WantedPeer {
        &self.wanted
    }

    /// Whether the host, having the choice, has chosen HTTP/1.
    pub fn has_chosen_http1(&self) -> bool {
        self.has_chosen_http1.get()
    }

    /// A connection for HTTP/1 could not be made: the host is given the choice anew, if it ever had it. Where it may
    /// have been the choice that failed, those who wait are given a connection that has it; says whether they are.
    pub fn choose_anew(self: &Rc<Self>, priority: RoutingPriority, has_tls_failed: bool) -> bool {
        if self.cluster.info.config.protocol != UpstreamProtocol::Auto {
            return false;
        }
        let had_chosen = self.has_chosen_http1.replace(false);
        let pool = self.h2_pool(priority);
        if had_chosen && has_tls_failed {
            pool.connect_for_pending();
        }
        has_tls_failed && pool.is_connecting()
    }

    /// The host, having the choice, has chosen HTTP/1 for a connection. Further ones are not given the choice until
    /// one cannot be made.
    pub fn speaks_http1(self: &Rc<Self>, host: &Host, priority: RoutingPriority, standing: Standing) {
        self.has_chosen_http1.set(true);
        self.pool(priority).adopt(host, standing);
    }

    /// A connection is over: those of a name that has no other are forgotten.
    pub fn on_connection_over(&self) {
        if let (Some(name), Some(host)) = (&self.name, self.host.upgrade())
            && !self.is_in_use()
        {
            host.forget(name);
        }
    }

    /// Whether there is a connection, or a request that waits for one.
    pub fn is_in_use(&self) -> bool {
        self.pools.iter().filter_map(OnceCell::get).any(|pool| pool.is_in_use())
            || self.h2_pools.iter().filter_map(OnceCell::get).any(|pool| pool.is_in_use())
    }

    /// Closes the connections that no request uses now, and the others after their exchange.
    pub fn drain(&self) {
        self.pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.drain());
        self.drain_h2();
    }

    /// As [`HostPools::drain`], for HTTP/2 alone.
    pub fn drain_h2(&self) {
        self.h2_pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.drain());
    }

    /// Closes the connections that no request uses.
    pub fn close_idle(&self) {
        self.pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.close_idle());
        self.h2_pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.close_idle());
    }

    fn pool(self: &Rc<Self>, priority: RoutingPriority) -> &Rc<Pool> {
        self.pools[index(priority)].get_or_init(|| {
            let pending = self.pending(priority);
            Pool::new(self.host.clone(), Rc::downgrade(self), Rc::clone(&self.cluster), priority, pending)
        })
    }

    fn h2_pool(self: &Rc<Self>, priority: RoutingPriority) -> &Rc<H2Pool> {
        self.h2_pools[index(priority)].get_or_init(|| {
            let pending = self.pending(priority);
            H2Pool::new(self.host.clone(), Rc::downgrade(self), Rc::clone(&self.cluster), priority, pending)
        })
    }

    /// A queue for a pool: one for both versions of HTTP if the host chooses between them, so that who waits for
    /// either is served by what comes.
    fn pending(&self, priority: RoutingPriority) -> Rc<Pending> {
        let new = || Pending::new(Rc::clone(&self.cluster), priority);
        match self.cluster.info.config.protocol {
            UpstreamProtocol::Auto => Rc::clone(self.shared_pending[index(priority)].get_or_init(new)),
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 | UpstreamProtocol::Downstream => new(),
        }
    }
}

fn index(priority: RoutingPriority) -> usize {
    usize::from(priority == RoutingPriority::High)
}
