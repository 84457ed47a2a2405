//! A cluster whose hosts are being found, and which does not serve before they are: the one that it is to
//! replace goes on meanwhile.

use std::future::Future;
use std::sync::Arc;

use super::{Controlled, Endpoints};
use crate::stats::{Counter, Gauge};
use crate::upstream::cluster_info::ClusterInfo;

/// A cluster that workers do not know yet. Dropping it gives it up.
pub struct WarmingCluster {
    cluster: Arc<Controlled>,
    warming_clusters: Gauge,
    /// `cluster_added` or `cluster_modified`.
    count: Counter,
    is_given_up: bool,
}

impl WarmingCluster {
    pub(super) fn new(cluster: Arc<Controlled>, warming_clusters: Gauge, count: Counter) -> WarmingCluster {
        warming_clusters.inc();
        cluster.membership.warming_state.set(1);
        WarmingCluster { cluster, warming_clusters, count, is_given_up: true }
    }

    /// Counts the cluster as added or changed: the update that brought it is in force.
    pub fn count(&self) {
        self.count.inc();
    }

    /// Whether its hosts are known and were checked: every name was resolved once, with whatever outcome, or the first
    /// load assignment has come, and every host's first check is over.
    pub fn is_warm(&self) -> bool {
        *self.cluster.unresolved.borrow() == 0 && self.cluster.health.is_first_round_over()
    }

    /// Completes when its hosts are known and were checked, or the cluster is given up.
    pub fn warmed(&self) -> impl Future<Output = ()> + use<> {
        let resolved = self.cluster.resolved();
        let checked = self.cluster.health.first_round();
        async move {
            resolved.await;
            checked.await;
        }
    }

    /// Where its hosts are handed over, if it is of type EDS.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints::of(&self.cluster)
    }

    /// Configuration, statistics, circuit breakers.
    pub fn info(&self) -> &Arc<ClusterInfo> {
        &self.cluster.info
    }

    /// The cluster, which serves from now on.
    pub(super) fn into_cluster(mut self) -> Arc<Controlled> {
        self.is_given_up = false;
        Arc::clone(&self.cluster)
    }
}

impl Drop for WarmingCluster {
    fn drop(&mut self) {
        self.warming_clusters.dec();
        self.cluster.membership.warming_state.set(0);
        if self.is_given_up {
            self.cluster.stop();
        }
    }
}
