//! The listeners of the process: which are warming (not all they need is there yet), active, and draining;
//! and what workers are told when one changes.
//!
//! ```text
//!  add, change --> warming --> active --> draining (--drain-time-s) --> gone
//!                               | ^
//!                               +-+ replaced by the next version, which takes its sockets over
//! ```

mod entry;
mod sockets;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Listener, TrafficDirection};
use crate::filters::network::DrainLevel;
use crate::io::Address;
use crate::stats::groups::{ListenerManagerStats, ListenerWorkerStats};
use crate::{log_error, log_info};

use super::bind::{BindError, Bound};
use super::command::{AddressId, Command, ListenerCommand, ListenerId};
use super::dynamic::{KeptContexts, ListenerDump, Resource, RouteConfigs, Surroundings};

pub use entry::{Candidate, Known};
use entry::{Entry, PendingAddress};
use sockets::{AddressKey, OpenAddress};

/// All listeners.
pub struct ListenerManager {
    around: Rc<Surroundings>,
    routes: Rc<RouteConfigs>,
    stats: ListenerManagerStats,
    drain_time: Duration,
    state: RefCell<State>,
    own: Weak<ListenerManager>,
}

#[derive(Default)]
struct State {
    /// Workers are given listeners; before, all of them are warming.
    is_started: bool,
    /// Which listeners were stopped, for good.
    stopped: Stopped,
    next_id: u64,
    warming: Vec<Entry>,
    active: Vec<Entry>,
    /// Replaced or removed, with connections that have yet to end.
    draining: Vec<Entry>,
    addresses: Vec<OpenAddress>,
}

/// Which listeners an operator has stopped, or the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stopped {
    #[default]
    None,
    Inbound,
    All,
}

impl ListenerManager {
    /// No listeners yet. Connections of listeners that change or go have `drain_time` to end.
    pub fn new(
        around: &Rc<Surroundings>,
        routes: &Rc<RouteConfigs>,
        stats: ListenerManagerStats,
        drain_time: Duration,
    ) -> Rc<ListenerManager> {
        Rc::new_cyclic(|own| ListenerManager {
            around: Rc::clone(around),
            routes: Rc::clone(routes),
            stats,
            drain_time,
            state: RefCell::default(),
            own: Weak::clone(own),
        })
    }

    /// Adds a listener, or changes the one of the same name: it serves once what it needs is there. `contexts`: those of
    /// its chains that follow discovered secrets.
    ///
    /// # Errors
    /// If an address cannot be had; then nothing changes.
    pub fn set(&self, candidate: Candidate, contexts: KeptContexts) -> Result<(), BindError> {
        let mut state = self.state.borrow_mut();
        let name = candidate.name().to_owned();
        if state.stopped.has(&candidate.compiled.config) {
            log_info!(Listener, "listener '{name}' comes too late: listeners were stopped");
            return Ok(());
        }
        let pending = state.bind(&candidate, self.around.workers.count()).inspect_err(|_| {
            self.stats.listener_create_failure.inc();
        })?;
        let is_known = state.warming.iter().chain(&state.active).any(|entry| entry.name() == name);
        if is_known { self.stats.listener_modified } else { self.stats.listener_added }.inc();
        state.warming.retain(|entry| entry.name() != name);
        let id = ListenerId(state.next_id);
        state.next_id += 1;
        state.warming.push(Entry::new(id, candidate, contexts, pending));
        Ok(())
    }

    /// Removes the listeners that came with updates and are not in `names`.
    pub fn retain(&self, names: &HashSet<String>) {
        let mut state = self.state.borrow_mut();
        let is_kept = |entry: &Entry| !entry.is_dynamic() || names.contains(entry.name());
        state.warming.retain(is_kept);
        state.active.iter_mut().for_each(|entry| entry.is_leaving = !is_kept(entry));
    }

    /// Has listeners serve that have all they need, and those end that are to go.
    pub fn settle(&self) {
        let mut state = self.state.borrow_mut();
        if state.is_started {
            while let Some(ready) = state.warming.iter().position(|entry| self.is_ready(entry)) {
                let entry = state.warming.remove(ready);
                self.activate(&mut state, entry);
            }
            while let Some(leaving) = state.next_to_leave() {
                let entry = state.active.remove(leaving);
                self.stats.listener_removed.inc();
                log_info!(Listener, "listener '{}' is removed", entry.name());
                self.retire(&mut state, entry);
            }
        }
        self.show_totals(&state);
    }

    /// Has all listeners serve from now on that have what they need.
    pub fn start(&self) {
        self.state.borrow_mut().is_started = true;
        self.stats.workers_started.set(1);
        self.settle();
    }

    /// Whether every listener has what it needs.
    pub fn is_ready_to_start(&self) -> bool {
        self.state.borrow().warming.iter().all(|entry| self.is_ready(entry))
    }

    /// The newest version of the listener called `name`, and the one that serves.
    pub fn known(&self, name: &str) -> Known {
        let state = self.state.borrow();
        let find = |entries: &[Entry]| {
            let entry = entries.iter().find(|entry| entry.name() == name)?;
            Some((Arc::clone(&entry.compiled), entry.resource.clone()))
        };
        let active = find(&state.active);
        Known { newest: find(&state.warming).or_else(|| active.clone()), active }
    }

    /// Names and addresses of listeners of the bootstrap, which no update may take.
    pub fn static_configs(&self) -> Vec<Arc<Listener>> {
        let state = self.state.borrow();
        let entries = state.warming.iter().chain(&state.active).filter(|entry| !entry.is_dynamic());
        entries.map(|entry| Arc::clone(&entry.compiled.config)).collect()
    }

    /// The secrets that listeners wait for.
    pub fn awaited_secrets(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.warming.iter().flat_map(|entry| entry.contexts.awaited()).map(str::to_owned).collect()
    }

    /// Listeners that serve.
    pub fn active_configs(&self) -> Vec<Arc<Listener>> {
        self.state.borrow().active.iter().map(|entry| Arc::clone(&entry.compiled.config)).collect()
    }

    /// Stops accepting, for good.
    pub fn stop(&self, inbound_only: bool) {
        self.around.workers.tell(|_| Command::StopListeners { inbound_only });
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.stopped != Stopped::All {
            state.stopped = if inbound_only { Stopped::Inbound } else { Stopped::All };
        }
        let (stopped, active): (Vec<Entry>, _) =
            state.active.drain(..).partition(|entry| state.stopped.has(&entry.compiled.config));
        state.active = active;
        state.warming.retain(|entry| !state.stopped.has(&entry.compiled.config));
        state.addresses.retain(|open| !stopped.iter().any(|entry| entry.id == open.owner));
        self.stats.listener_stopped.add((stopped.len() * self.around.workers.count()) as u64);
        // Their connections stay.
        stopped.into_iter().for_each(|entry| self.around.retired.keep(entry.compiled));
        self.show_totals(state);
    }

    /// Active listeners with their addresses.
    pub fn addresses(&self) -> Vec<(String, Vec<Address>)> {
        let state = self.state.borrow();
        let of = |entry: &Entry| {
            let open = AddressKey::all_of(&entry.compiled.config).filter_map(|(_, key)| state.open(&key));
            (entry.name().to_owned(), open.map(|open| open.address.clone()).collect())
        };
        state.active.iter().map(of).collect()
    }

    /// What `/config_dump` shows of listeners that came with updates.
    pub fn dump(&self) -> ListenerDump {
        let state = self.state.borrow();
        let resources = |entries: &[Entry]| -> Vec<(String, Rc<Resource>)> {
            let dynamic = entries.iter().filter_map(|entry| Some((entry, entry.resource.clone()?)));
            dynamic.map(|(entry, resource)| (entry.name().to_owned(), resource)).collect()
        };
        ListenerDump {
            active: resources(&state.active),
            warming: resources(&state.warming),
            draining: resources(&state.draining),
            ..ListenerDump::default()
        }
    }

    fn is_ready(&self, entry: &Entry) -> bool {
        self.routes.are_ready(&entry.slots) && entry.contexts.is_ready()
    }

    fn activate(&self, state: &mut State, mut entry: Entry) {
        let workers = &self.around.workers;
        let before = state.active.iter().position(|other| other.name() == entry.name());
        let before = before.map(|position| state.active.remove(position));
        let in_place_of = before.as_ref().filter(|_| entry.is_in_place).map(|before| before.id);
        entry.is_in_place = in_place_of.is_some();
        let worker_stats: Vec<ListenerWorkerStats> =
            (0..workers.count()).map(|worker| entry.worker_stats(worker)).collect();
        let add = worker_stats.into_iter().map(|worker_stats| ListenerCommand::Add {
            id: entry.id,
            listener: Arc::clone(&entry.compiled),
            worker_stats,
            in_place_of,
        });
        workers.tell_each(add);
        for pending in std::mem::take(&mut entry.pending) {
            if let Err(error) = self.open(state, &entry, pending) {
                self.stats.listener_create_failure.inc();
                log_error!(Listener, "{error}");
            }
        }
        self.stats.listener_create_success.add(workers.count() as u64);
        if in_place_of.is_some() {
            self.stats.listener_in_place_updated.inc();
        }
        state.active.push(entry);
        if let Some(before) = before {
            self.retire(state, before);
        }
    }

    /// Has a listener accept on one of its addresses.
    fn open(&self, state: &mut State, entry: &Entry, pending: PendingAddress) -> Result<(), BindError> {
        let workers = &self.around.workers;
        if let Some(open) = state.addresses.iter_mut().find(|open| open.key == pending.key) {
            open.owner = entry.id;
            let (address, to) = (open.id, entry.id);
            workers.tell(|_| Command::Listener(ListenerCommand::HandOver { address, to }));
            return Ok(());
        }
        let bound = match pending.bound {
            Some(bound) => bound,
            // Who had the address when this was an update has lost it since.
            None => Bound::bind(&entry.compiled.config, &pending.at, workers.count(), true)?,
        };
        bound.listen()?;
        let id = AddressId(state.next_id);
        state.next_id += 1;
        log_info!(Listener, "listener '{}' on {}", entry.name(), bound.address);
        let open = bound.sockets.into_iter().map(|socket| ListenerCommand::Open {
            address: id,
            socket,
            listener: entry.id,
        });
        workers.tell_each(open);
        let (key, address, owner) = (pending.key, bound.address, entry.id);
        state.addresses.push(OpenAddress { id, key, address, owner });
        Ok(())
    }

    /// Closes the sockets that nobody took over or waits for, and has the connections end in time.
    fn retire(&self, state: &mut State, mut entry: Entry) {
        let workers = &self.around.workers;
        let id = entry.id;
        self.close(state, |open, state| open.owner == id && !state.is_awaited(open));
        workers.tell(|_| Command::Listener(ListenerCommand::Drain { id, level: DrainLevel::Announced }));
        let successor = state.active.iter().find(|other| other.name() == entry.name());
        let successor = successor.filter(|successor| successor.is_in_place);
        entry.draining_chains = successor.map(|successor| entry.chains_not_in(successor));
        state.draining.push(entry);
        let own = Weak::clone(&self.own);
        let drain_time = self.drain_time;
        tokio::task::spawn_local(async move {
            tokio::time::sleep(drain_time).await;
            if let Some(own) = own.upgrade() {
                own.end_draining(id);
            }
        });
    }

    fn end_draining(&self, id: ListenerId) {
        let workers = &self.around.workers;
        // Those that a listener waits for which is not ready yet.
        self.close(&mut self.state.borrow_mut(), |open, _| open.owner == id);
        workers.tell(|_| Command::Listener(ListenerCommand::Drain { id, level: DrainLevel::Closed }));
        workers.tell(|_| Command::Listener(ListenerCommand::Remove { id }));
        let mut state = self.state.borrow_mut();
        if let Some(position) = state.draining.iter().position(|entry| entry.id == id) {
            let entry = state.draining.remove(position);
            self.around.retired.keep(entry.compiled);
        }
        self.show_totals(&state);
    }

    /// Closes the sockets at addresses of which `is_over` holds.
    fn close(&self, state: &mut State, is_over: impl Fn(&OpenAddress, &State) -> bool) {
        let addresses = std::mem::take(&mut state.addresses);
        let (over, kept): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|open| is_over(open, state));
        state.addresses = kept;
        for open in over {
            self.around.workers.tell(|_| Command::Listener(ListenerCommand::Close { address: open.id }));
        }
    }

    fn show_totals(&self, state: &State) {
        let stats = &self.stats;
        stats.total_listeners_warming.set(if state.is_started { state.warming.len() as u64 } else { 0 });
        stats.total_listeners_active.set(state.active.len() as u64);
        let chains = state.draining.iter().filter_map(|entry| entry.draining_chains);
        stats.total_filter_chains_draining.set(chains.sum::<usize>() as u64);
        let whole = state.draining.iter().filter(|entry| entry.draining_chains.is_none());
        stats.total_listeners_draining.set(whole.count() as u64);
    }
}

impl Stopped {
    fn has(self, listener: &Listener) -> bool {
        match self {
            Stopped::None => false,
            Stopped::Inbound => listener.traffic_direction == TrafficDirection::Inbound,
            Stopped::All => true,
        }
    }
}

impl State {
    fn open(&self, key: &AddressKey) -> Option<&OpenAddress> {
        self.addresses.iter().find(|open| open.key == *key)
    }

    /// The addresses of a listener; those that no worker accepts on yet are bound.
    fn bind(&mut self, candidate: &Candidate, workers: usize) -> Result<Vec<PendingAddress>, BindError> {
        let config = &candidate.compiled.config;
        let mut addresses = Vec::new();
        for (at, key) in AddressKey::all_of(config) {
            let is_ours = self.addresses.iter().any(|open| open.key.is_at_same_place(&key));
            let bound = if self.open(&key).is_some() {
                None
            } else if let Some(bound) = self.take_bound(&key) {
                Some(bound)
            } else {
                Some(Bound::bind(config, at, workers, is_ours)?)
            };
            addresses.push(PendingAddress { at: at.clone(), key, bound });
        }
        Ok(addresses)
    }

    /// Sockets that a warming version has bound.
    fn take_bound(&mut self, key: &AddressKey) -> Option<Bound> {
        let mut pending = self.warming.iter_mut().flat_map(|entry| &mut entry.pending);
        pending.find(|pending| pending.key == *key)?.bound.take()
    }

    /// Whether a listener that is not ready yet is to have an address.
    fn is_awaited(&self, open: &OpenAddress) -> bool {
        let mut pending = self.warming.iter().flat_map(|entry| &entry.pending);
        pending.any(|pending| pending.key == open.key)
    }

    /// A listener that is to go and whose sockets nobody waits for.
    fn next_to_leave(&self) -> Option<usize> {
        self.active.iter().position(|entry| {
            let of_entry = |open: &&OpenAddress| open.owner == entry.id;
            entry.is_leaving && !self.addresses.iter().filter(of_entry).any(|open| self.is_awaited(open))
        })
    }
}
