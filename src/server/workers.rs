//! The workers, as whoever orders something of all of them sees them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::io::Sender;
use crate::upstream::{ClusterCommand, ClusterInfo, HostSet};

use super::command::{Command, ListenerCommand};
use super::retired::Retired;

/// The mailboxes of all workers. Cheap to clone.
#[derive(Clone, Default)]
pub struct WorkerHandles {
    senders: Arc<[Sender<Command>]>,
}

impl WorkerHandles {
    /// These workers, in the order of their numbers.
    pub fn new(senders: Vec<Sender<Command>>) -> WorkerHandles {
        WorkerHandles { senders: senders.into() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.senders.len()
    }

    /// Gives every worker its command, made from the worker's number. A worker that is gone has reported so,
    /// or will.
    pub fn tell(&self, command: impl Fn(usize) -> Command) {
        for (worker, sender) in self.senders.iter().enumerate() {
            let _ = sender.send(command(worker));
        }
    }

    /// Gives every worker its own of `commands`, which must be as many.
    pub fn tell_each(&self, commands: impl IntoIterator<Item = ListenerCommand>) {
        for (sender, command) in self.senders.iter().zip(commands) {
            let _ = sender.send(Command::Listener(command));
        }
    }
}

/// Tells the workers of changes of clusters, and keeps what they replace until no worker uses it.
pub struct ClusterPublisher {
    workers: WorkerHandles,
    retired: Retired,
    /// What workers know of each cluster.
    known: Mutex<HashMap<Arc<str>, KnownCluster>>,
}

type KnownCluster = (Arc<ClusterInfo>, Arc<HostSet>);

impl ClusterPublisher {
    /// For these workers.
    pub fn new(workers: WorkerHandles, retired: Retired) -> ClusterPublisher {
        ClusterPublisher { workers, retired, known: Mutex::default() }
    }

    /// Tells every worker.
    pub fn publish(&self, command: ClusterCommand) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &command {
            ClusterCommand::Set { info, hosts } => {
                let now = (Arc::clone(info), Arc::clone(hosts));
                if let Some((info, hosts)) = known.insert(Arc::clone(&info.name), now) {
                    self.retired.keep(info);
                    self.retired.keep(hosts);
                }
            }
            ClusterCommand::UpdateHosts { cluster, hosts } => {
                if let Some((_, known)) = known.get_mut(cluster) {
                    self.retired.keep(std::mem::replace(known, Arc::clone(hosts)));
                }
            }
            // It is one of the host set.
            ClusterCommand::DrainHost { .. } => {}
            ClusterCommand::Remove { cluster } => {
                if let Some((info, hosts)) = known.remove(cluster) {
                    self.retired.keep(info);
                    self.retired.keep(hosts);
                }
            }
        }
        drop(known);
        self.workers.tell(|_| Command::Cluster(command.clone()));
    }
}
