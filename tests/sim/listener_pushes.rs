//! Listeners as a control thread changes them: the next version takes the sockets over, the one before is told to
//! end its connections, and after a while is cut. One that differs only in some of its filter chains keeps the
//! connections on the others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway::base::rng::Rng;
use ringway::config::FilterChain;
use ringway::filters::network::DrainLevel;
use ringway::io::{self, Listener, sim};
use ringway::listener::{self, ChainPlace, CompiledListener, ReusedChains};
use ringway::server::{AddressId, Command, ListenerCommand, ListenerCompiler, ListenerId};
use ringway::stats::groups::ListenerWorkerStats;

use super::control::Control;
use super::templates::{CLUSTERS, PORTS};

/// The listener in force.
#[derive(Default)]
pub struct Listeners {
    current: RefCell<Option<Current>>,
    addresses: RefCell<Vec<AddressId>>,
    /// How long connections of a listener that goes may stay.
    pub drain_time: Cell<Duration>,
}

struct Current {
    id: ListenerId,
    compiled: Arc<CompiledListener>,
    chains: Vec<Arc<FilterChain>>,
    buffer_limit_bytes: u32,
}

impl Control {
    /// Begins to listen.
    pub fn listen(&self) {
        let chains = PORTS.map(|port| self.templates.chain(port, &format!("chain-{}", self.next_id())));
        let current = self.compile(chains.into(), 16_384, &ReusedChains::default());
        self.add(&current, None);
        let config = &current.compiled.config;
        for at in &config.addresses {
            let address = AddressId(self.next_id());
            let socket = Listener::bind(&listener::listen_options(config, at)).expect("the address is free");
            self.traffic.borrow_mut().accept(address, socket, current.id);
            self.listeners.addresses.borrow_mut().push(address);
        }
        self.listeners.current.replace(Some(current));
    }

    /// Replaces the listener: some of its filter chains and nothing else, or all of it.
    pub fn push_listener(self: &Rc<Self>, rng: &mut Rng) {
        let before = self.listeners.current.take().expect("a listener");
        let is_in_place = rng.below(3) > 0;
        let mut chains = before.chains.clone();
        let mut reused = ReusedChains::default();
        let mut changed = Vec::new();
        for (index, port) in PORTS.into_iter().enumerate() {
            let place = ChainPlace::Index(index);
            if is_in_place && rng.below(2) == 0 {
                reused.insert(place, Arc::clone(before.compiled.chain_at(place).expect("a chain")));
            } else {
                chains[index] = self.templates.chain(port, &format!("chain-{}", self.next_id()));
                changed.push(port);
            }
        }
        sim::note(format_args!("push: listener in place: {is_in_place}, new chains for {changed:?}"));
        let limit =
            if is_in_place { before.buffer_limit_bytes } else { 24_576 - before.buffer_limit_bytes / 2 };
        let current = self.compile(chains, limit, &reused);
        self.add(&current, is_in_place.then_some(before.id));
        for address in &*self.listeners.addresses.borrow() {
            self.order(ListenerCommand::HandOver { address: *address, to: current.id });
        }
        self.listeners.current.replace(Some(current));
        changed.into_iter().for_each(|port| self.history.tell(port));
        self.drain(before);
    }

    /// Ends a listener's connections, in time.
    fn drain(self: &Rc<Self>, before: Current) {
        self.retire(format!("a version of the listener, {:?}", before.id), &before.compiled);
        let (id, told) = (before.id, io::now());
        drop(before);
        self.order(ListenerCommand::Drain { id, level: DrainLevel::Announced });
        let own = Rc::clone(self);
        io::spawn(async move {
            io::sleep(own.listeners.drain_time.get()).await;
            sim::note(format_args!("push: {id:?} ends"));
            own.order(ListenerCommand::Drain { id, level: DrainLevel::Closed });
            own.order(ListenerCommand::Remove { id });
            own.history.cut(told);
            own.routes.sweep(&own);
        });
    }

    fn compile(
        &self,
        chains: Vec<Arc<FilterChain>>,
        buffer_limit_bytes: u32,
        reused: &ReusedChains,
    ) -> Current {
        let config = self.templates.listener(chains.clone(), buffer_limit_bytes);
        let compiler = ListenerCompiler {
            registry: &self.registry,
            access_logs: None,
            runtime: &self.server.runtime,
            clusters: &|name| CLUSTERS.contains(&name),
            route_discovery: &self.routes,
        };
        let compiled = compiler.compile(&config, reused);
        let (compiled, _slots) = compiled.unwrap_or_else(|errors| panic!("{errors:?}"));
        Current { id: ListenerId(self.next_id()), compiled, chains, buffer_limit_bytes }
    }

    fn add(&self, current: &Current, in_place_of: Option<ListenerId>) {
        let compiled = &current.compiled;
        let prefix = format!("{}worker_0.", compiled.stat_prefix);
        self.order(ListenerCommand::Add {
            id: current.id,
            listener: Arc::clone(compiled),
            worker_stats: ListenerWorkerStats::register(&compiled.scope, &prefix),
            in_place_of,
        });
    }

    fn order(&self, command: ListenerCommand) {
        self.tell(Command::Listener(command));
    }
}
