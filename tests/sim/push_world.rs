//! Worlds in which configuration changes while requests are under way: route tables, hosts, clusters, listeners.
//!
//! A request ends on the route table that it began with, and a push costs nobody a response who has a route to a
//! cluster with hosts all the time. What was replaced is gone in the end.

use std::rc::Rc;
use std::time::Duration;

use ringway::base::rng::Rng;
use ringway::io::{self, spawn_task};
use ringway::server::Command;
use ringway::stats::{Registry, install_shard};

use super::control::Control;
use super::history::History;
use super::push;
use super::templates::{CLUSTERS, PORTS, SPARE_HOSTS, Templates};
use super::world::{DRAIN_MAX, Outcome, World, run_with, start_clients, start_origin, start_origins};

const ADDRESSES: [&str; 2] = ["10.0.0.1:80", "10.0.0.1:81"];

/// What the worlds of a thread share.
pub struct PushWorlds {
    templates: Rc<Templates>,
    registry: Registry,
}

impl PushWorlds {
    /// This thread counts for them from now on.
    pub fn prepare() -> PushWorlds {
        let registry = Registry::new();
        install_shard(registry.new_shard());
        PushWorlds { templates: Rc::new(Templates::load()), registry }
    }

    /// Runs the world of `seed`.
    pub fn run(&self, seed: u64, print_trace: bool) -> Outcome {
        let history = Rc::new(History::new(&CLUSTERS));
        run_with(seed, print_trace, &ADDRESSES, Some(Rc::clone(&history)), |world, rng| {
            let control = Control::new(&self.templates, &self.registry, &history);
            live(Rc::clone(world), Rc::new(control), rng)
        })
    }
}

async fn live(world: Rc<World>, control: Rc<Control>, mut rng: Rng) {
    let mut origins = start_origins(&world, &mut rng);
    origins.extend(SPARE_HOSTS.map(|address| start_origin(&world, address, false, &mut rng)));
    control.listeners.drain_time.set(Duration::from_millis([300, 2_000, 12_000][rng.below(3) as usize]));
    control.add_clusters(&mut rng);
    control.push_routes(&mut rng);
    control.listen();
    let monitor = spawn_task(watch_limits(Rc::clone(&world), Rc::clone(&control)));
    let pushing = spawn_task(push::live(Rc::clone(&control), rng.next_u64()));
    for client in start_clients(&world, &mut rng) {
        client.await;
    }
    drop(pushing);
    world.set_draining(true);
    control.tell(Command::StopListeners { inbound_only: false });
    control.tell(Command::DrainConnections { inbound_only: false });
    drop(monitor);
    let deadline = io::now() + DRAIN_MAX;
    let connections = || control.traffic.borrow().connections();
    while !(connections() == 0 && control.leftovers().is_empty()) && io::now() < deadline {
        io::sleep(Duration::from_millis(100)).await;
    }
    if connections() > 0 {
        world.violation(format_args!("{} connections do not end", connections()));
    }
    drop(origins);
    world.end().await;
    control.routes.sweep(&control);
    if control.routes.managers() != PORTS.len() {
        world.violation(format_args!("{} connection managers are left", control.routes.managers()));
    }
    for left in control.leftovers().into_iter().chain(control.not_freed()) {
        world.violation(format_args!("{left} at the end"));
    }
}

async fn watch_limits(world: Rc<World>, control: Rc<Control>) {
    loop {
        for what in control.over_limit() {
            world.violation(format_args!("{what}"));
        }
        io::sleep(Duration::from_millis(7)).await;
    }
}
