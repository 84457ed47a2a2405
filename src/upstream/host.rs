//! One host on one worker: its load, its counters, its connection pools. Lives on one thread; keeps its
//! identity while host sets come and go.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::alarm::Alarms;
use super::breaker::Breakers;
use super::cluster_info::ClusterInfo;
use super::host_health::HealthFlags;
use super::host_set::{HostEntry, HostShared};
use super::host_stats::HostCounters;
use super::outlier::{Outcome, OutlierRecorder};
use super::pool::{CheckOut, FailureBell, H2Pool, Pending, Pool, Standing, TcpConnect};
use crate::config::cluster::{Locality, UpstreamProtocol};
use crate::config::route::RoutingPriority;
use crate::config::{ProxyProtocolVersion, UpstreamProxyProtocol};
use crate::http::{HeaderMap, ResponseHead, Version, header};
use crate::io::{Address, Socket};
use crate::transport::proxy_protocol::{self, Addresses};
use crate::transport::{OfferedProtocols, Stream};

/// A host of a cluster, as one worker uses it.
pub struct Host {
    pub(super) cluster: Rc<HostCluster>,
    shared: Arc<HostShared>,
    place: RefCell<HostEntry>,
    pub(super) active_requests: Cell<u32>,
    is_removed: Cell<bool>,
    /// By priority.
    pools: [OnceCell<Rc<Pool>>; 2],
    h2_pools: [OnceCell<Rc<H2Pool>>; 2],
    /// Where the host chooses the version of HTTP.
    shared_pending: [OnceCell<Rc<Pending>>; 2],
    has_chosen_http1: Cell<bool>,
    /// Heard by raw connections.
    pub(super) failure_bell: Rc<FailureBell>,
}

/// What the hosts of a cluster share on one worker.
pub(super) struct HostCluster {
    pub info: Arc<ClusterInfo>,
    pub breakers: Rc<Breakers>,
    pub worker_index: usize,
}

impl Host {
    pub(super) fn new(cluster: Rc<HostCluster>, entry: &HostEntry) -> Rc<Host> {
        Rc::new(Host {
            cluster,
            shared: Arc::clone(&entry.shared),
            place: RefCell::new(entry.clone()),
            active_requests: Cell::new(0),
            is_removed: Cell::new(false),
            pools: [OnceCell::new(), OnceCell::new()],
            h2_pools: [OnceCell::new(), OnceCell::new()],
            shared_pending: [OnceCell::new(), OnceCell::new()],
            has_chosen_http1: Cell::new(false),
            failure_bell: Rc::default(),
        })
    }

    /// The cluster the host belongs to.
    pub fn cluster_info(&self) -> &Arc<ClusterInfo> {
        &self.cluster.info
    }

    /// Where new connections go.
    pub fn address(&self) -> Address {
        self.place.borrow().address.clone()
    }

    /// Name for `auto_host_rewrite` and logs; may be empty.
    pub fn hostname(&self) -> Arc<str> {
        Arc::clone(&self.place.borrow().hostname)
    }

    /// Where the host is.
    pub fn locality(&self) -> Arc<Locality> {
        Arc::clone(&self.place.borrow().locality)
    }

    /// Whether the host is marked as canary.
    pub fn is_canary(&self) -> bool {
        self.place.borrow().is_canary
    }

    /// Health and counters that all threads share.
    pub fn shared(&self) -> &Arc<HostShared> {
        &self.shared
    }

    /// Where this worker reports what became of its requests at the host.
    pub fn outlier(&self) -> OutlierRecorder<'_> {
        OutlierRecorder::new(&self.shared, self.cluster.worker_index)
    }

    /// Reports how the host answered `request`, and whether it asked to be given no more of them.
    pub fn report_response(&self, request: &HeaderMap, response: &ResponseHead) {
        if self.shared.outlier.is_some() {
            self.outlier().record(Outcome::of_response(request, response));
        }
        if self.cluster.info.config.health_check.is_some()
            && response.headers.contains(header::X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL)
            && !self.place.borrow().health_check.is_disabled
        {
            self.shared.health.set(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, true);
            self.shared.raise(Alarms::IMMEDIATE_HEALTH_CHECK_FAIL);
        }
    }

    /// This worker's counters of the host. The stream counts `rq_total`, `rq_active`, `rq_success` and
    /// `rq_error` itself; whoever gives up on a request for time counts `rq_timeout`.
    pub fn counters(&self) -> &HostCounters {
        self.shared.stats.worker(self.cluster.worker_index)
    }

    /// Requests of this worker that are under way at the host.
    pub fn active_requests(&self) -> u32 {
        self.active_requests.get()
    }

    /// A connection for one request, which came in this version of HTTP: at once if one is idle (or has room for
    /// another stream), else when one could be made or came back, within the limits of the circuit breakers.
    /// Dropping the future gives up the place in the queue.
    pub fn check_out(self: &Rc<Self>, priority: RoutingPriority, downstream: Version) -> CheckOut {
        let is_h2 = match self.cluster.info.config.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => downstream >= Version::Http2,
            UpstreamProtocol::Auto => !self.has_chosen_http1(),
        };
        if is_h2 { self.h2_pool(priority).check_out(self) } else { self.pool(priority).check_out(self) }
    }

    /// A connection of its own for raw bytes from `client`, within the limits of the circuit breakers.
    pub fn connect_tcp(self: &Rc<Self>, client: Option<Addresses>) -> TcpConnect {
        TcpConnect::new(self, client)
    }

    /// Begins a connection: what the cluster's transport socket puts on TCP. `client` as in [`Host::connect_tcp`].
    pub(super) fn open_stream(&self, offered: OfferedProtocols, client: Option<Addresses>) -> Stream {
        let info = &self.cluster.info;
        let place = self.place.borrow();
        let mut socket = Socket::connect(&place.address, &info.socket_options);
        if let Some(protocol) = &info.config.proxy_protocol {
            socket.with_write_buffer(|out| write_proxy_header(protocol, client, out));
        }
        match &info.tls {
            None => Stream::raw(socket),
            Some(tls) => {
                let ip = place.address.as_ip().map(|address| address.ip());
                tls.connect(socket, &place.hostname, ip, offered)
            }
        }
    }

    fn pool(self: &Rc<Self>, priority: RoutingPriority) -> &Rc<Pool> {
        self.pools[usize::from(priority == RoutingPriority::High)].get_or_init(|| {
            let pending = self.pending(priority);
            Pool::new(Rc::downgrade(self), Rc::clone(&self.cluster), priority, pending)
        })
    }

    fn h2_pool(self: &Rc<Self>, priority: RoutingPriority) -> &Rc<H2Pool> {
        self.h2_pools[usize::from(priority == RoutingPriority::High)].get_or_init(|| {
            let pending = self.pending(priority);
            H2Pool::new(Rc::downgrade(self), Rc::clone(&self.cluster), priority, pending)
        })
    }

    /// A queue for a pool: one for both versions of HTTP if the host chooses between them, so that who waits for
    /// either is served by what comes.
    fn pending(&self, priority: RoutingPriority) -> Rc<Pending> {
        let new = || Pending::new(Rc::clone(&self.cluster), priority);
        match self.cluster.info.config.protocol {
            UpstreamProtocol::Auto => Rc::clone(
                self.shared_pending[usize::from(priority == RoutingPriority::High)].get_or_init(new),
            ),
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 | UpstreamProtocol::Downstream => new(),
        }
    }

    /// Whether the host, having the choice, has chosen HTTP/1.
    pub(super) fn has_chosen_http1(&self) -> bool {
        self.has_chosen_http1.get()
    }

    /// A connection for HTTP/1 could not be made: the host is given the choice anew, if it ever had it. Where it may
    /// have been the choice that failed, those who wait are given a connection that has it; says whether they are.
    pub(super) fn choose_anew(self: &Rc<Self>, priority: RoutingPriority, has_tls_failed: bool) -> bool {
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
    pub(super) fn speaks_http1(self: &Rc<Self>, priority: RoutingPriority, standing: Standing) {
        self.has_chosen_http1.set(true);
        self.pool(priority).adopt(self, standing);
    }

    /// Whether the host left the host set: connections are not kept any more.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.get()
    }

    /// Takes over weight, address and the like from a newer host set.
    pub(super) fn update(&self, entry: &HostEntry) {
        self.place.replace(entry.clone());
    }

    /// The host left the host set: idle connections close now, busy ones after their exchange.
    pub(super) fn remove(&self) {
        self.is_removed.set(true);
        self.close_idle();
        self.h2_pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.drain());
    }

    /// The host has failed its health checks: closes the connections that no request uses now, and the others
    /// after their exchange. Raw ones end at once if the cluster wants that.
    pub(super) fn drain(&self) {
        self.failure_bell.ring();
        self.pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.drain());
        self.h2_pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.drain());
    }

    /// Closes the connections that no request uses.
    pub(super) fn close_idle(&self) {
        self.pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.close_idle());
        self.h2_pools.iter().filter_map(OnceCell::get).for_each(|pool| pool.close_idle());
    }
}

fn write_proxy_header(protocol: &UpstreamProxyProtocol, client: Option<Addresses>, out: &mut Vec<u8>) {
    let version = match protocol.version {
        ProxyProtocolVersion::V1 => proxy_protocol::Version::V1,
        ProxyProtocolVersion::V2 => proxy_protocol::Version::V2,
    };
    proxy_protocol::write(version, client, &protocol.fields, out);
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({})", self.address())
    }
}
