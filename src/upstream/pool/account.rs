//! What every kind of connection to a host counts, and what every request on one does.

use std::rc::Rc;

use super::connection::CloseCause;
use crate::base::clock::Instant;
use crate::io;
use crate::upstream::breaker::Permit;
use crate::upstream::host::{Host, HostCluster};
use crate::upstream::host_stats::HostCounters;
use crate::upstream::reset::PoolFailure;

/// A connection was begun.
pub(super) fn count_opened(cluster: &HostCluster, host: &HostCounters) {
    cluster.info.note_traffic();
    let stats = &cluster.info.stats.traffic;
    stats.upstream_cx_total.inc();
    stats.upstream_cx_active.inc();
    host.cx_total.inc();
    host.cx_active.inc();
}

/// A connection that was begun stands.
pub(super) fn count_connected(cluster: &HostCluster, begun: Instant) {
    let stats = &cluster.info.stats.traffic;
    stats.upstream_cx_connect_ms.record(io::now().since(begun).as_millis() as u64);
}

/// A connection could not be made; it is still to be counted as closed. Who ended it.
pub(super) fn count_connect_failed(
    cluster: &HostCluster,
    host: &HostCounters,
    failure: &PoolFailure,
) -> CloseCause {
    let stats = &cluster.info.stats.traffic;
    stats.upstream_cx_connect_fail.inc();
    host.cx_connect_fail.inc();
    match failure {
        PoolFailure::Timeout => {
            stats.upstream_cx_connect_timeout.inc();
            CloseCause::Local
        }
        _ => CloseCause::Remote,
    }
}

/// A connection is over. `is_active`: a request on it did not become complete.
pub(super) fn count_closed(
    cluster: &HostCluster,
    host: &HostCounters,
    begun: Instant,
    cause: CloseCause,
    is_active: bool,
) {
    let stats = &cluster.info.stats.traffic;
    stats.upstream_cx_active.dec();
    stats.upstream_cx_destroy.inc();
    host.cx_active.dec();
    match cause {
        CloseCause::Local => stats.upstream_cx_destroy_local.inc(),
        CloseCause::Remote => stats.upstream_cx_destroy_remote.inc(),
    }
    if is_active {
        stats.upstream_cx_destroy_with_active_rq.inc();
        match cause {
            CloseCause::Local => stats.upstream_cx_destroy_local_with_active_rq.inc(),
            CloseCause::Remote => stats.upstream_cx_destroy_remote_with_active_rq.inc(),
        }
    }
    stats.upstream_cx_length_ms.record(io::now().since(begun).as_millis() as u64);
}

/// Counts a request as active at its host, within the circuit breakers' limit, until it is dropped.
pub(super) struct RequestAccount {
    host: Rc<Host>,
    _permit: Permit,
}

impl RequestAccount {
    /// A request that has its connection.
    pub(super) fn open(host: Rc<Host>, permit: Permit) -> RequestAccount {
        let stats = &host.cluster.info.stats.traffic;
        stats.upstream_rq_total.inc();
        stats.upstream_rq_active.inc();
        host.active_requests.set(host.active_requests.get() + 1);
        host.counters().rq_total.inc();
        host.counters().rq_active.inc();
        RequestAccount { host, _permit: permit }
    }

    /// The host.
    pub(super) fn host(&self) -> &Rc<Host> {
        &self.host
    }
}

impl Drop for RequestAccount {
    fn drop(&mut self) {
        self.host.cluster.info.stats.traffic.upstream_rq_active.dec();
        self.host.active_requests.set(self.host.active_requests.get() - 1);
        self.host.counters().rq_active.dec();
    }
}
