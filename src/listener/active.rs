//! A listener on one worker: what it serves, and how much it wants its connections gone.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::filters::network::DrainState;
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
    chains: HashMap<*const CompiledFilterChain, Rc<DrainState>>,
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
            let Some(drain) = previous.chains.get(&Arc::as_ptr(chain)) else { return Rc::default() };
            previous.drain.release(drain);
            Rc::clone(drain)
        })
    }

    /// How much one of its chains wants its connections gone.
    pub fn drain_of(&self, chain: &Arc<CompiledFilterChain>) -> Rc<DrainState> {
        Rc::clone(self.chains.get(&Arc::as_ptr(chain)).unwrap_or(&self.drain))
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
            (Arc::as_ptr(chain), of_chain)
        });
        let chains = chains.collect();
        Rc::new(ActiveListener { compiled, drain, worker_stats, chains })
    }
}
