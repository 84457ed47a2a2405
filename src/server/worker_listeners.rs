//! The listeners of one worker, and the sockets that it accepts on: follows the control thread's commands.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::TrafficDirection;
use crate::filters::WorkerContext;
use crate::filters::network::DrainLevel;
use crate::io;
use crate::listener::{self, AcceptTarget, ActiveListener, CompiledListener};
use crate::log_error;
use crate::stats::groups::ListenerWorkerStats;

use super::command::{AddressId, ListenerCommand, ListenerId};

/// All versions of listeners that serve or drain here. In order, so that a simulated world is the same each time.
pub struct WorkerListeners {
    context: Rc<WorkerContext>,
    listeners: BTreeMap<ListenerId, Rc<ActiveListener>>,
    addresses: BTreeMap<AddressId, Rc<AcceptTarget>>,
}

impl WorkerListeners {
    /// None yet.
    pub fn new(context: Rc<WorkerContext>) -> WorkerListeners {
        WorkerListeners { context, listeners: BTreeMap::new(), addresses: BTreeMap::new() }
    }

    /// Carries out a command.
    pub fn apply(&mut self, command: ListenerCommand) {
        match command {
            ListenerCommand::Add { id, listener, worker_stats, in_place_of } => {
                self.add(id, listener, worker_stats, in_place_of);
            }
            ListenerCommand::Open { address, socket, listener } => self.open(address, socket, listener),
            ListenerCommand::HandOver { address, to } => {
                if let (Some(target), Some(to)) = (self.addresses.get(&address), self.listeners.get(&to)) {
                    target.hand_over(Rc::clone(to));
                }
            }
            ListenerCommand::Close { address } => {
                if let Some(target) = self.addresses.remove(&address) {
                    target.close();
                }
            }
            ListenerCommand::Drain { id, level } => {
                if let Some(listener) = self.listeners.get(&id) {
                    listener.drain.raise(level);
                }
            }
            ListenerCommand::Remove { id } => drop(self.listeners.remove(&id)),
        }
    }

    /// Closes sockets; connections stay.
    pub fn stop(&mut self, inbound_only: bool) {
        self.addresses.retain(|_, target| {
            let is_kept = !is_chosen(&target.listener(), inbound_only);
            if !is_kept {
                target.close();
            }
            is_kept
        });
    }

    /// Has connections end at their next chance, idle ones now.
    pub fn drain(&self, inbound_only: bool) {
        let chosen = self.listeners.values().filter(|listener| is_chosen(listener, inbound_only));
        chosen.for_each(|listener| listener.drain.raise(DrainLevel::CloseIdle));
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.listeners.values().map(|listener| listener.drain.connections()).sum()
    }

    /// Accepts on a socket of this worker.
    pub fn accept(&mut self, address: AddressId, socket: io::Listener, listener: ListenerId) {
        let Some(listener) = self.listeners.get(&listener) else { return };
        let target = AcceptTarget::new(Rc::clone(listener));
        io::spawn(listener::serve(Rc::clone(&target), socket, Rc::clone(&self.context)));
        self.addresses.insert(address, target);
    }

    fn add(
        &mut self,
        id: ListenerId,
        compiled: Arc<CompiledListener>,
        worker_stats: ListenerWorkerStats,
        in_place_of: Option<ListenerId>,
    ) {
        let previous = in_place_of.and_then(|previous| self.listeners.get(&previous));
        let listener = match previous {
            Some(previous) => ActiveListener::replacing(previous, compiled, worker_stats),
            None => ActiveListener::new(compiled, worker_stats),
        };
        self.listeners.insert(id, listener);
    }

    fn open(&mut self, address: AddressId, socket: OwnedFd, id: ListenerId) {
        let Some(listener) = self.listeners.get(&id) else { return };
        match io::Listener::from_fd(socket) {
            Ok(socket) => self.accept(address, socket, id),
            Err(error) => {
                let name = &listener.compiled.config.name;
                log_error!(Listener, "listener '{name}': cannot accept: {error}");
            }
        }
    }
}

fn is_chosen(listener: &ActiveListener, inbound_only: bool) -> bool {
    !inbound_only || listener.compiled.config.traffic_direction == TrafficDirection::Inbound
}
