//! One version of one listener.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::config::{ListenAddress, Listener};
use crate::listener::CompiledListener;
use crate::server::bind::Bound;
use crate::server::command::ListenerId;
use crate::server::configuration::Slots;
use crate::server::dynamic::{KeptContexts, Resource};
use crate::stats::groups::ListenerWorkerStats;

use super::sockets::AddressKey;

/// A listener that was checked and compiled.
pub struct Candidate {
    /// What it serves.
    pub compiled: Arc<CompiledListener>,
    /// Of its connection managers whose routes are discovered.
    pub slots: Slots,
    /// The update that brought it; none for one of the bootstrap.
    pub resource: Option<Rc<Resource>>,
    /// It differs from the version that serves only in its filter chains.
    pub is_in_place: bool,
}

/// What is known of a listener of some name.
pub struct Known {
    /// The newest version.
    pub newest: Option<KnownVersion>,
    /// The one that serves.
    pub active: Option<KnownVersion>,
}

impl Known {
    /// The newest version's configuration, if it is `json`.
    pub fn same(&self, json: &Value) -> Option<Arc<Listener>> {
        let (compiled, resource) = self.newest.as_ref()?;
        let is_same = resource.as_ref().is_some_and(|resource| resource.json == *json);
        is_same.then(|| Arc::clone(&compiled.config))
    }
}

/// A version, and the update that brought it.
pub type KnownVersion = (Arc<CompiledListener>, Option<Rc<Resource>>);

/// One version of a listener.
pub(super) struct Entry {
    pub(super) id: ListenerId,
    pub(super) compiled: Arc<CompiledListener>,
    pub(super) slots: Slots,
    /// TLS contexts of its chains that follow discovered secrets.
    pub(super) contexts: KeptContexts,
    pub(super) resource: Option<Rc<Resource>>,
    pub(super) is_in_place: bool,
    /// Addresses that workers do not accept on for it yet.
    pub(super) pending: Vec<PendingAddress>,
    /// It is no longer configured.
    pub(super) is_leaving: bool,
    /// Of one that was replaced in place: how many of its chains drain.
    pub(super) draining_chains: Option<usize>,
}

/// An address that a listener is to accept on.
pub(super) struct PendingAddress {
    pub(super) at: ListenAddress,
    pub(super) key: AddressKey,
    /// Its sockets; none if another listener has them, to be taken over.
    pub(super) bound: Option<Bound>,
}

impl Candidate {
    /// The listener's name.
    pub fn name(&self) -> &str {
        &self.compiled.config.name
    }
}

impl Entry {
    pub(super) fn new(
        id: ListenerId,
        candidate: Candidate,
        contexts: KeptContexts,
        pending: Vec<PendingAddress>,
    ) -> Entry {
        Entry {
            id,
            compiled: candidate.compiled,
            slots: candidate.slots,
            contexts,
            resource: candidate.resource,
            is_in_place: candidate.is_in_place,
            pending,
            is_leaving: false,
            draining_chains: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.compiled.config.name
    }

    pub(super) fn is_dynamic(&self) -> bool {
        self.resource.is_some()
    }

    /// One worker's share of the statistics.
    pub(super) fn worker_stats(&self, worker: usize) -> ListenerWorkerStats {
        let prefix = format!("{}worker_{worker}.", self.compiled.stat_prefix);
        ListenerWorkerStats::register(&self.compiled.scope, &prefix)
    }

    /// How many of the chains `other` does not have.
    pub(super) fn chains_not_in(&self, other: &Entry) -> usize {
        let is_kept = |chain| other.compiled.chains().any(|other| Arc::ptr_eq(other, chain));
        self.compiled.chains().filter(|chain| !is_kept(chain)).count()
    }
}
