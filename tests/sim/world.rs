//! One seeded world: clients, a worker, origins, a network between them, and what must hold at its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ringway::base::rng::Rng;
use ringway::io::sim::{self, LinkOptions, SimOptions};
use ringway::io::{self, Address, ListenOptions, Listener, spawn_task};
use ringway::listener::AcceptTarget;

use super::history::History;
use super::proxy::Proxy;
use super::{client, h2_client, h2_origin, origin};

const PROXY: &str = "10.0.0.1:80";
const ORIGINS: [&str; 3] = ["10.0.1.1:8000", "10.0.1.2:8000", "10.0.1.3:8000"];
const H2_ORIGINS: [&str; 2] = ["10.0.1.4:8000", "10.0.1.5:8000"];

/// All timeouts of the configuration together: connections are gone after this.
pub const DRAIN_MAX: Duration = Duration::from_secs(60);

/// What all parts of a world share.
pub struct World {
    /// Where the proxy listens.
    addresses: Vec<Address>,
    /// What was pushed, if something is.
    history: Option<Rc<History>>,
    violations: RefCell<Vec<String>>,
    statuses: RefCell<BTreeMap<u16, u32>>,
    next_id: Cell<u64>,
    draining: Cell<bool>,
    stopped: Cell<bool>,
    lossy: bool,
}

/// What a world came to.
pub struct Outcome {
    pub violations: Vec<String>,
    pub statuses: BTreeMap<u16, u32>,
    pub trace_hash: u64,
    pub events: u64,
    pub virtual_time: Duration,
}

impl World {
    /// Something happened that must not.
    pub fn violation(&self, what: fmt::Arguments<'_>) {
        sim::note(format_args!("VIOLATION: {what}"));
        self.violations.borrow_mut().push(format!("at {:?}: {what}", io::now()));
    }

    /// One of the places where the proxy listens.
    pub fn any_address(&self, rng: &mut Rng) -> &Address {
        match &self.addresses[..] {
            [only] => only,
            several => &several[rng.below(several.len() as u64) as usize],
        }
    }

    /// What was pushed, where configuration changes.
    pub fn history(&self) -> Option<&History> {
        self.history.as_deref()
    }

    /// Checks a request for `route` that has reached the origin `name`.
    pub fn check_arrival(&self, id: u64, request: (&str, Option<u64>), name: &str) {
        let checked = self.history().map(|history| history.check_arrival(id, request, name, self.lossy));
        if let Some(Err(wrong)) = checked {
            self.violation(format_args!("{wrong}"));
        }
    }

    /// A number for a request.
    pub fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// Counts a response.
    pub fn count(&self, status: u16) {
        *self.statuses.borrow_mut().entry(status).or_default() += 1;
    }

    /// The proxy closes connections at their next chance.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The proxy does not listen any more.
    pub fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Connections to origins may fail.
    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Whether the proxy stops listening and closes connections from now on.
    pub fn set_draining(&self, stopped: bool) {
        sim::note(format_args!("drain, stop: {stopped}"));
        self.draining.set(true);
        self.stopped.set(self.stopped.get() || stopped);
    }

    /// Waits until nothing is under way, and looks for what is left.
    pub async fn end(&self) {
        // Delayed closes of both sides, and origins that wait for an end.
        io::sleep(Duration::from_secs(150)).await;
        for (name, value) in io::counters().iter() {
            if matches!(name, "live_sockets" | "live_listeners" | "live_blocks") && value != 0 {
                self.violation(format_args!("{name} is {value} at the end"));
            }
        }
    }

    /// A connection as it may be.
    pub fn random_link(&self, rng: &mut Rng) -> LinkOptions {
        let segment_bytes = [200, 1_460, 5_000, 16_384][rng.below(4) as usize];
        let window_bytes = [2_000, 16_384, 65_536, 200_000][rng.below(4) as usize];
        let slowest = Duration::from_micros(100 + rng.below(2_000));
        let failed_accepts_percent = if rng.below(10) == 0 { 30 } else { 0 };
        let delay = (Duration::from_micros(20), slowest);
        LinkOptions { delay, segment_bytes, window_bytes, failed_accepts_percent, ..LinkOptions::default() }
    }
}

/// Runs the world of `seed` in which nothing changes.
pub fn run(proxy: &Rc<Proxy>, seed: u64, print_trace: bool) -> Outcome {
    let mut outcome = run_with(seed, print_trace, &[PROXY], None, |world, rng| {
        live(Rc::clone(world), Rc::clone(proxy), rng)
    });
    outcome.violations.extend(proxy.leftovers());
    outcome
}

/// Runs the world of `seed`, which is what `live` makes it.
pub fn run_with<F: Future<Output = ()> + 'static>(
    seed: u64,
    print_trace: bool,
    addresses: &[&str],
    history: Option<Rc<History>>,
    live: impl FnOnce(&Rc<World>, Rng) -> F,
) -> Outcome {
    let mut rng = Rng::from_seed(seed);
    // With few blocks received data must go elsewhere.
    let blocks = if rng.below(4) == 0 { 4 } else { 256 };
    let time_limit = Duration::from_secs(3_600);
    let options = SimOptions { print_trace, time_limit, blocks, ..SimOptions::default() };
    let world = Rc::new(World {
        addresses: addresses.iter().map(|address| to_address(address)).collect(),
        history,
        violations: RefCell::default(),
        statuses: RefCell::default(),
        next_id: Cell::new(1),
        draining: Cell::new(false),
        stopped: Cell::new(false),
        lossy: rng.below(5) == 0,
    });
    let report = sim::run(seed, &options, || live(&world, rng));
    let (mut trace_hash, mut events, mut virtual_time) = (0, 0, Duration::ZERO);
    let mut violations = world.violations.take();
    match report {
        Ok(report) => {
            (trace_hash, events, virtual_time) = (report.trace_hash, report.events, report.virtual_time);
            for (name, value) in report.counters.iter() {
                if matches!(name, "leaked" | "panics") && value != 0 {
                    violations.push(format!("{name} is {value}"));
                }
            }
        }
        Err(error) => violations.push(error.to_string()),
    }
    Outcome { violations, statuses: world.statuses.take(), trace_hash, events, virtual_time }
}

fn to_address(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

async fn live(world: Rc<World>, proxy: Rc<Proxy>, mut rng: Rng) {
    let origins = start_origins(&world, &mut rng);
    let active = proxy.start();
    let monitor = spawn_task(watch_limits(Rc::clone(&world), Rc::clone(&proxy)));
    let clients = start_clients(&world, &mut rng);
    if rng.below(3) == 0 {
        io::sleep(Duration::from_millis(rng.below(3_000))).await;
        drain(&world, &active, rng.below(2) == 0);
    }
    for client in clients {
        client.await;
    }
    drain(&world, &active, true);
    drop(monitor);
    let deadline = io::now() + DRAIN_MAX;
    let is_over = || active.listener().drain.connections() == 0 && proxy.leftovers().is_empty();
    while !is_over() && io::now() < deadline {
        io::sleep(Duration::from_millis(100)).await;
    }
    if active.listener().drain.connections() > 0 {
        world.violation(format_args!("{} connections do not end", active.listener().drain.connections()));
    }
    drop(origins);
    world.end().await;
}

/// Any number of clients of either version.
pub fn start_clients(world: &Rc<World>, rng: &mut Rng) -> Vec<io::Task> {
    let count = 1 + rng.below(6);
    let client = |_| {
        let (world, seed) = (Rc::clone(world), rng.next_u64());
        if rng.below(2) == 0 {
            spawn_task(client::live(world, seed))
        } else {
            spawn_task(h2_client::live(world, seed))
        }
    };
    (0..count).map(client).collect()
}

/// All origins that a world without pushes has.
pub fn start_origins(world: &Rc<World>, rng: &mut Rng) -> Vec<io::Task> {
    let mut origins: Vec<_> = ORIGINS.map(|address| start_origin(world, address, false, rng)).into();
    origins.extend(H2_ORIGINS.map(|address| start_origin(world, address, true, rng)));
    origins
}

/// An origin.
pub fn start_origin(world: &Rc<World>, address: &str, is_h2: bool, rng: &mut Rng) -> io::Task {
    let address = to_address(address);
    let mut link = world.random_link(rng);
    if world.history.is_some() {
        // How late a request may come must be known.
        link.failed_accepts_percent = 0;
    }
    if world.is_lossy() {
        link.lost_connects_percent = 20;
    }
    sim::set_link(&address, link);
    let name = address.to_string();
    let listener = Listener::bind(&ListenOptions::new(address)).expect("the address is free");
    if is_h2 {
        return spawn_task(h2_origin::serve(Rc::clone(world), listener, name));
    }
    spawn_task(origin::serve(Rc::clone(world), listener, name))
}

fn drain(world: &World, active: &AcceptTarget, stop: bool) {
    world.set_draining(stop);
    if stop {
        active.close();
    }
    active.listener().drain.start();
}

async fn watch_limits(world: Rc<World>, proxy: Rc<Proxy>) {
    loop {
        let (in_use, limit) = proxy.limited_requests();
        if in_use > limit {
            world.violation(format_args!("{in_use} requests where {limit} are allowed"));
        }
        io::sleep(Duration::from_millis(7)).await;
    }
}
