//! What a worker serves with, and the commands that change it. Knows nothing of the thread that it runs on:
//! simulated worlds give it the same commands.

use std::rc::Rc;

use crate::filters::WorkerContext;
use crate::io;

use super::command::{AddressId, Command, ListenerId};
use super::worker_listeners::WorkerListeners;

/// The listeners, route tables and clusters of one worker.
pub struct Traffic {
    context: Rc<WorkerContext>,
    listeners: WorkerListeners,
}

impl Traffic {
    /// No listeners yet, for the worker with this context.
    pub fn new(context: Rc<WorkerContext>) -> Traffic {
        Traffic { listeners: WorkerListeners::new(Rc::clone(&context)), context }
    }

    /// Carries out a command about traffic. One about the thread is given back.
    #[must_use = "a command that is given back was not carried out"]
    pub fn obey(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Cluster(command) => io::with_rng(|rng| self.context.clusters.apply(command, rng)),
            Command::Listener(command) => self.listeners.apply(command),
            Command::SetRoutes { slot, routes } => self.context.routes.set(slot, routes),
            Command::RemoveRoutes { slot } => self.context.routes.remove(slot),
            Command::StopListeners { inbound_only } => self.listeners.stop(inbound_only),
            Command::DrainConnections { inbound_only } => self.listeners.drain(inbound_only),
            other => return Some(other),
        }
        None
    }

    /// Accepts on a socket of this worker, for a listener.
    pub fn accept(&mut self, address: AddressId, socket: io::Listener, listener: ListenerId) {
        self.listeners.accept(address, socket, listener);
    }

    /// How many connections are open, on all versions of all listeners.
    pub fn connections(&self) -> usize {
        self.listeners.connections()
    }
}
