//! One host on one worker: its load, its counters, its connection pools. Lives on one thread; keeps its
//! identity while host sets come and go.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::alarm::Alarms;
use super::breaker::{Breakers, ResourceKind};
use super::cluster_info::ClusterInfo;
use super::host_health::HealthFlags;
use super::host_pools::HostPools;
use super::host_set::{HostEntry, HostShared};
use super::host_stats::HostCounters;
use super::outlier::{Outcome, OutlierRecorder};
use super::pool::{CheckOut, FailureBell, TcpConnect};
use crate::config::cluster::Locality;
use crate::config::route::RoutingPriority;
use crate::config::{ProxyProtocolVersion, UpstreamProxyProtocol};
use crate::http::{HeaderMap, ResponseHead, Version, header};
use crate::io::{Address, DEFAULT_RECEIVE_LIMIT_BYTES, Socket};
use crate::transport::proxy_protocol::{self, Addresses};
use crate::transport::{OfferedProtocols, Stream, WantedPeer};

/// A host of a cluster, as one worker uses it.
pub struct Host {
    pub(super) cluster: Rc<HostCluster>,
    shared: Arc<HostShared>,
    place: RefCell<HostEntry>,
    pub(super) active_requests: Cell<u32>,
    is_removed: Cell<bool>,
    /// For requests that give no name.
    pools: OnceCell<Rc<HostPools>>,
    /// For those that do.
    named_pools: RefCell<HashMap<Rc<str>, Rc<HostPools>>>,
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
            pools: OnceCell::new(),
            named_pools: RefCell::default(),
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
        self.check_out_for(None, priority, downstream)
    }

    /// As [`Host::check_out`], on a connection that was made for `name` (see [`ClusterInfo::wanted_name`]).
    pub fn check_out_for(
        self: &Rc<Self>,
        name: Option<&Rc<str>>,
        priority: RoutingPriority,
        downstream: Version,
    ) -> CheckOut {
        let Some(name) = name else {
            let new = || HostPools::new(Rc::downgrade(self), Rc::clone(&self.cluster), None);
            return self.pools.get_or_init(new).check_out(self, priority, downstream);
        };
        let known = self.named_pools.borrow().get(name).cloned();
        let pools = known.unwrap_or_else(|| self.add_name(name, priority));
        let check_out = pools.check_out(self, priority, downstream);
        // It may have been refused before there was a connection.
        pools.on_connection_over();
        check_out
    }

    /// Pools for a name that has none. Names come from clients: idle connections for others give way where there may
    /// be no more connections.
    fn add_name(self: &Rc<Self>, name: &Rc<str>, priority: RoutingPriority) -> Rc<HostPools> {
        if self.cluster.breakers.try_acquire(priority, ResourceKind::Connections).is_none() {
            self.all_pools().iter().for_each(|pools| pools.close_idle());
        }
        let pools = HostPools::new(Rc::downgrade(self), Rc::clone(&self.cluster), Some(Rc::clone(name)));
        self.named_pools.borrow_mut().insert(Rc::clone(name), Rc::clone(&pools));
        pools
    }

    /// Nothing is left of the connections for a name.
    pub(super) fn forget(&self, name: &Rc<str>) {
        self.named_pools.borrow_mut().remove(name);
    }

    fn all_pools(&self) -> Vec<Rc<HostPools>> {
        self.pools.get().cloned().into_iter().chain(self.named_pools.borrow().values().cloned()).collect()
    }

    /// A connection of its own for raw bytes from `client`, within the limits of the circuit breakers.
    pub fn connect_tcp(self: &Rc<Self>, client: Option<Addresses>) -> TcpConnect {
        TcpConnect::new(self, client)
    }

    /// Begins a connection: what the cluster's transport socket puts on TCP. `client` as in [`Host::connect_tcp`].
    pub(super) fn open_stream(
        &self,
        offered: OfferedProtocols,
        wanted: &WantedPeer,
        client: Option<Addresses>,
    ) -> Stream {
        let info = &self.cluster.info;
        let place = self.place.borrow();
        let mut socket = Socket::connect(&place.address, &info.socket_options);
        // What may wait before a client, or a stream, that does not read.
        socket.set_receive_limit(info.high_watermark_bytes.min(DEFAULT_RECEIVE_LIMIT_BYTES));
        if let Some(protocol) = &info.config.proxy_protocol {
            socket.with_write_buffer(|out| write_proxy_header(protocol, client, out));
        }
        match &info.tls {
            None => Stream::raw(socket),
            Some(tls) => {
                let ip = place.address.as_ip().map(|address| address.ip());
                tls.connect(socket, &place.hostname, ip, offered, wanted)
            }
        }
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
        self.all_pools().iter().for_each(|pools| pools.drain_h2());
    }

    /// The host has failed its health checks: closes the connections that no request uses now, and the others
    /// after their exchange. Raw ones end at once if the cluster wants that.
    pub(super) fn drain(&self) {
        self.failure_bell.ring();
        self.all_pools().iter().for_each(|pools| pools.drain());
    }

    /// Closes the connections that no request uses.
    pub(super) fn close_idle(&self) {
        self.all_pools().iter().for_each(|pools| pools.close_idle());
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
