//! Seeded simulation: clients, a worker with the real listener, connection manager, router and pools,
//! and origins, on a simulated network. Each seed is a world; what must hold in all of them is in
//! `world`, `client` and `origin`.
//!
//! In other worlds configuration changes all the time (`push_world`); what it may not do is in `history` and `line`.
//!
//! `SIM_SEED=n` runs one seed (of the test that is named) and prints what happens, `SIM_SEEDS=n` changes their number,
//! `SIM_FIRST=n` where they begin.

mod client;
mod control;
mod h2_client;
mod h2_origin;
mod h2_peer;
mod history;
mod idle_close;
mod line;
mod listener_pushes;
mod origin;
mod plan;
mod proxy;
mod push;
mod push_world;
mod route_pushes;
mod templates;
mod timeline;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proxy::Proxy;
use push_world::PushWorlds;
use world::{Outcome, run};

const SEEDS: u64 = 500;
/// Failing seeds after which the rest is not run.
const FAILURES_MAX: usize = 8;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs many worlds, each made by `run` from what `prepare` gives each thread.
fn run_seeds<P>(prepare: impl Fn() -> P + Sync, run: impl Fn(&P, u64, bool) -> Outcome + Sync) {
    if let Some(seed) = variable("SIM_SEED") {
        let Outcome { violations, statuses, events, virtual_time, .. } = run(&prepare(), seed, true);
        eprintln!("seed {seed}: {events} events in {virtual_time:?}, responses {statuses:?}");
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        return;
    }
    let began = std::time::Instant::now();
    let first = variable("SIM_FIRST").unwrap_or(1);
    let (next, end) = (AtomicU64::new(first), first + variable("SIM_SEEDS").unwrap_or(SEEDS));
    let failures = Mutex::new(Vec::new());
    let totals = Mutex::new((0, BTreeMap::<u16, u32>::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let prepared = prepare();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failures.lock().expect("not poisoned").len() >= FAILURES_MAX {
                        return;
                    }
                    let outcome = run(&prepared, seed, false);
                    if !outcome.violations.is_empty() {
                        failures.lock().expect("not poisoned").push((seed, outcome.violations));
                    }
                    let mut totals = totals.lock().expect("not poisoned");
                    totals.0 += outcome.events;
                    for (status, count) in outcome.statuses {
                        *totals.1.entry(status).or_default() += count;
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("not poisoned");
    let (events, statuses) = totals.into_inner().expect("not poisoned");
    eprintln!("{events} events in {:?}, responses {statuses:?}", began.elapsed());
    failures.sort();
    assert!(failures.is_empty(), "rerun with SIM_SEED=<seed>: {failures:#?}");
}

#[test]
fn no_world_breaks_a_promise() {
    run_seeds(|| Rc::new(Proxy::compile()), run);
}

#[test]
fn no_push_breaks_a_promise() {
    run_seeds(PushWorlds::prepare, PushWorlds::run);
}

#[test]
fn a_seed_gives_the_same_world_again() {
    let proxy = Rc::new(Proxy::compile());
    let hashes: Vec<_> = [11, 12, 11, 12].map(|seed| run(&proxy, seed, false).trace_hash).into();
    assert_eq!(hashes[..2], hashes[2..]);
    assert_ne!(hashes[0], hashes[1]);
}

#[test]
fn a_seed_gives_the_same_pushes_again() {
    let worlds = PushWorlds::prepare();
    let hashes: Vec<_> = [11, 12, 11, 12].map(|seed| worlds.run(seed, false).trace_hash).into();
    assert_eq!(hashes[..2], hashes[2..]);
    assert_ne!(hashes[0], hashes[1]);
}
