//! The clusters of one worker by name, changed by commands of the control thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::sync::Arc;

use super::cluster::Cluster;
use super::cluster_info::ClusterInfo;
use super::host_set::{HostSet, HostShared};
use crate::base::rng::Rng;

/// What the control thread tells every worker. Cheap to clone.
#[derive(Debug, Clone)]
pub enum ClusterCommand {
    /// A new cluster, or one in place of the cluster of the same name.
    Set {
        /// The cluster.
        info: Arc<ClusterInfo>,
        /// Its hosts as far as they are known.
        hosts: Arc<HostSet>,
    },
    /// Other hosts for a cluster. Ignored if there is no such cluster.
    UpdateHosts {
        /// The cluster's name.
        cluster: Arc<str>,
        /// Its hosts from now on.
        hosts: Arc<HostSet>,
    },
    /// A host failed: its idle connections end now, busy ones after their exchange, so that it begins anew when
    /// it is back. Ignored if there is no such cluster or host.
    DrainHost {
        /// The cluster's name.
        cluster: Arc<str>,
        /// The host.
        host: Arc<HostShared>,
    },
    /// The cluster goes away; its connections end when they are idle.
    Remove {
        /// The cluster's name.
        cluster: Arc<str>,
    },
}

/// The clusters of one worker.
pub struct ClusterManager {
    /// Without random keys, so that a simulated world is the same each time; names come from the configuration.
    clusters: RefCell<HashMap<Arc<str>, Rc<Cluster>, BuildHasherDefault<DefaultHasher>>>,
    worker_index: usize,
}

impl ClusterManager {
    /// No clusters yet, for the worker with this index (it selects the row of per-host counters).
    pub fn new(worker_index: usize) -> Rc<ClusterManager> {
        Rc::new(ClusterManager { clusters: RefCell::default(), worker_index })
    }

    /// The cluster called `name`.
    pub fn get(&self, name: &str) -> Option<Rc<Cluster>> {
        self.clusters.borrow().get(name).cloned()
    }

    /// Carries out a command of the control thread.
    pub fn apply(&self, command: ClusterCommand, rng: &mut Rng) {
        match command {
            ClusterCommand::Set { info, hosts } => {
                let name = Arc::clone(&info.name);
                let cluster = Cluster::new(info, hosts, self.worker_index, rng);
                let replaced = self.clusters.borrow_mut().insert(name, cluster);
                if let Some(replaced) = replaced {
                    replaced.remove();
                }
            }
            ClusterCommand::UpdateHosts { cluster, hosts } => {
                if let Some(cluster) = self.get(&cluster) {
                    cluster.update_hosts(hosts, rng);
                }
            }
            ClusterCommand::DrainHost { cluster, host } => {
                if let Some(cluster) = self.get(&cluster) {
                    cluster.drain_host(&host);
                }
            }
            ClusterCommand::Remove { cluster } => {
                let removed = self.clusters.borrow_mut().remove(&cluster);
                if let Some(removed) = removed {
                    removed.remove();
                }
            }
        }
    }
}
