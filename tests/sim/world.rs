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

use super::proxy::Proxy;
use super::{client, h2_client, h2_origin, origin};

const PROXY: &str = "10.0.0.1:80";
const ORIGINS: [&str; 3] = ["10.0.1.1:8000", "10.0.1.2:8000", "10.0.1.3:8000"];
const H2_ORIGINS: [&str; 2] = ["10.0.1.4:8000", "10.0.1.5:8000"];

/// All timeouts of the configuration together: connections are gone after this.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// What all parts of a world share.
pub struct World {
    /// Where the proxy listens.
    pub proxy: Address,
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

/// Runs the world of `seed`.
pub fn run(proxy: &Rc<Proxy>, seed: u64, print_trace: bool) -> Outcome {
    let mut rng = Rng::from_seed(seed);
    // With few blocks received data must go elsewhere.
    let blocks = if rng.below(4) == 0 { 4 } else { 256 };
    let time_limit = Duration::from_secs(3_600);
    let options = SimOptions { print_trace, time_limit, blocks, ..SimOptions::default() };
    let world = Rc::new(World {
        proxy: Address::Ip(PROXY.parse().expect("an address")),
        violations: RefCell::default(),
        statuses: RefCell::default(),
        next_id: Cell::new(1),
        draining: Cell::new(false),
        stopped: Cell::new(false),
        lossy: rng.below(5) == 0,
    });
    let report = sim::run(seed, &options, || live(Rc::clone(&world), Rc::clone(proxy), rng));
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
    violations.extend(proxy.leftovers());
    Outcome { violations, statuses: world.statuses.take(), trace_hash, events, virtual_time }
}

async fn live(world: Rc<World>, proxy: Rc<Proxy>, mut rng: Rng) {
    let mut origins: Vec<_> = ORIGINS.map(|address| start_origin(&world, address, false, &mut rng)).into();
    origins.extend(H2_ORIGINS.map(|address| start_origin(&world, address, true, &mut rng)));
    let active = proxy.start();
    let monitor = spawn_task(watch_limits(Rc::clone(&world), Rc::clone(&proxy)));
    let clients: Vec<_> = (0..1 + rng.below(6))
        .map(|_| {
            let (world, seed) = (Rc::clone(&world), rng.next_u64());
            if rng.below(2) == 0 {
                spawn_task(client::live(world, seed))
            } else {
                spawn_task(h2_client::live(world, seed))
            }
        })
        .collect();
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
    // Delayed closes of both sides, and origins that wait for an end.
    io::sleep(Duration::from_secs(150)).await;
    for (name, value) in io::counters().iter() {
        if matches!(name, "live_sockets" | "live_listeners" | "live_blocks") && value != 0 {
            world.violation(format_args!("{name} is {value} at the end"));
        }
    }
}

fn start_origin(world: &Rc<World>, address: &str, is_h2: bool, rng: &mut Rng) -> io::Task {
    let address = Address::Ip(address.parse().expect("an address"));
    let mut link = world.random_link(rng);
    if world.is_lossy() {
        link.lost_connects_percent = 20;
    }
    sim::set_link(&address, link);
    let listener = Listener::bind(&ListenOptions::new(address)).expect("the address is free");
    if is_h2 {
        return spawn_task(h2_origin::serve(Rc::clone(world), listener));
    }
    spawn_task(origin::serve(Rc::clone(world), listener))
}

fn drain(world: &World, active: &AcceptTarget, stop: bool) {
    sim::note(format_args!("drain, stop: {stop}"));
    world.draining.set(true);
    if stop {
        world.stopped.set(true);
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
