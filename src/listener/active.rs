//! A listener on one worker: what it serves, and how much it wants its connections gone.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::DrainType;
use crate::filters::network::{DrainState, ListenerHandle};
use crate::stats::groups::ListenerWorkerStats;

use super::{CompiledFilterChain, CompiledListener};

/// A listener on this worker.
pub struct ActiveListener {
    /// What it serves.
    pub compiled: Arc<CompiledListener>,
    /// Wants its connections gone.
    pub drain: Rc<DrainState>,
    /// This worker's share of its statistics.
    pub worker_stats: ListenerWorkerStats,
    chains: HashMap<*const CompiledFilterChain, Rc<ListenerHandle>>,
}

impl ActiveListener {
    /// A listener without connections.
    pub fn new(compiled: Arc<CompiledListener>, worker_stats: ListenerWorkerStats) -> Rc<ActiveListener> {
        ActiveListener::with_chains(compiled, worker_stats, |_| Rc::default())
    }

    /// A listener in place of `previous`: connections on chains that both have are now its own.
    pub fn replacing(
        previous: &ActiveListener,
        compiled: Arc<CompiledListener>,
        worker_stats: ListenerWorkerStats,
    ) -> Rc<ActiveListener> {
        ActiveListener::with_chains(compiled, worker_stats, |chain| {
            let Some(known) = previous.chains.get(&Arc::as_ptr(chain)) else { return Rc::default() };
            previous.drain.release(&known.drain);
            Rc::clone(&known.drain)
        })
    }

    /// What the connections of one of its chains may know of it, and how much that wants them gone.
    pub fn handle_of(&self, chain: &Arc<CompiledFilterChain>) -> Rc<ListenerHandle> {
        match self.chains.get(&Arc::as_ptr(chain)) {
            Some(handle) => Rc::clone(handle),
            None => Rc::new(handle(&self.compiled, Rc::clone(&self.drain))),
        }
    }

    fn with_chains(
        compiled: Arc<CompiledListener>,
        worker_stats: ListenerWorkerStats,
        mut drain_of: impl FnMut(&Arc<CompiledFilterChain>) -> Rc<DrainState>,
    ) -> Rc<ActiveListener> {
        let drain = Rc::new(DrainState::default());
        let chains = compiled.chains().map(|chain| {
            let of_chain = drain_of(chain);
            drain.adopt(Rc::clone(&of_chain));
            (Arc::as_ptr(chain), Rc::new(handle(&compiled, of_chain)))
        });
        let chains = chains.collect();
        Rc::new(ActiveListener { compiled, drain, worker_stats, chains })
    }
}

fn handle(compiled: &CompiledListener, drain: Rc<DrainState>) -> ListenerHandle {
    ListenerHandle {
        stats: compiled.stats,
        drain,
        drains_when_unhealthy: compiled.config.drain_type == DrainType::Default,
        // The soft limit on buffered bytes; 0 in the configuration means none.
        buffer_limit_bytes: match compiled.config.per_connection_buffer_limit_bytes {
            0 => usize::MAX / 2,
            bytes => bytes as usize,
        },
    }
}
