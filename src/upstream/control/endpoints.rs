//! The hosts of a cluster of type EDS, as whoever subscribes to them hands them over.

use std::sync::{Arc, Weak};

use super::Controlled;
use crate::config::cluster::LoadAssignment;
use crate::upstream::discovery::Targets;

/// A cluster that is given its hosts. It may be gone meanwhile; then nothing happens.
#[derive(Clone)]
pub struct Endpoints {
    cluster: Weak<Controlled>,
}

impl Endpoints {
    pub(super) fn of(cluster: &Arc<Controlled>) -> Endpoints {
        Endpoints { cluster: Arc::downgrade(cluster) }
    }

    /// Takes hosts over. Those that were there before keep their connections, counters and health.
    pub fn assign(&self, assignment: &LoadAssignment) {
        let Some(cluster) = self.cluster.upgrade() else { return };
        let hosts = {
            let mut state = cluster.state();
            state.targets = Targets::new(assignment, &cluster.info.config.discovery);
            state.targets.host_set(&state.hosts, &cluster.template)
        };
        let is_same = hosts.is_same_as(&cluster.state().hosts);
        if is_same && *cluster.unresolved.borrow() == 0 {
            cluster.membership.update_no_rebuild.inc();
        } else {
            cluster.change_hosts(hosts);
        }
        self.give_up();
    }

    /// An update without a load assignment came (`update_empty`): the hosts stay.
    pub fn keep(&self) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.membership.update_empty.inc();
        }
    }

    /// Hosts are not waited for any longer: the cluster may be used as it is.
    pub fn give_up(&self) {
        if let Some(cluster) = self.cluster.upgrade() {
            cluster.unresolved.send_if_modified(|unresolved| std::mem::take(unresolved) != 0);
        }
    }
}
