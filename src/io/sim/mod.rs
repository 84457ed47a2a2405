//! A simulated world: the facade of this module on an in-memory network with a virtual clock and a
//! seeded scheduler, on one thread.
//!
//! Sockets, listeners, timers and tasks work as on the real drivers, so the proxy's code runs in a
//! world unchanged, together with clients and origins that are written on the same facade. Nothing waits:
//! when no task can run, time jumps to what comes next. All chance follows from the seed, so a
//! seed names a world's whole history. No byte leaves the process.
//!
//! ```text
//! host      order of tasks, end of the world
//! driver    what the real drivers do with the kernel: connect, send, read, accept, close
//! network   connections and what is on its way in them
//! trace     hash and print-out of what happened
//! ```

mod clock;
mod driver;
mod host;
mod network;
mod options;
mod trace;

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use options::{LinkOptions, SimOptions};

pub(super) use clock::VirtualClock;
pub(super) use driver::SimDriver;

use super::driver::Driver;
use super::wall_clock::WorkerClock;
use super::worker::{Platform, run_on, with_worker};
use super::{Address, DriverCounters, DriverKind, Socket, WorkerError, WorkerOptions};
use trace::Trace;

/// A world's end.
#[derive(Debug)]
pub struct SimReport<T> {
    /// What the main task returned.
    pub value: T,
    /// Hash of all events. Equal seeds, options and tasks give equal hashes.
    pub trace_hash: u64,
    /// Number of events.
    pub events: u64,
    /// How long the world lasted by its own clock.
    pub virtual_time: Duration,
    /// What its I/O layer counted; gauges are as they were after everything was dropped.
    pub counters: Arc<DriverCounters>,
}

/// Runs `main` in a world of its own on the calling thread until it ends, then drops what is left.
///
/// # Errors
/// If `main` panicked, or the limits of time or steps are reached.
///
/// # Panics
/// If the thread is a worker already.
pub fn run<F, T>(
    seed: u64,
    options: &SimOptions,
    main: impl FnOnce() -> F,
) -> Result<SimReport<T>, WorkerError>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let clock = Rc::new(VirtualClock::default());
    let trace = Rc::new(Trace::new(options.print_trace));
    let platform = {
        let (clock, trace, link) = (Rc::clone(&clock), Rc::clone(&trace), options.link.clone());
        Platform {
            name: "sim",
            clock: WorkerClock::Virtual(Rc::clone(&clock)),
            make_driver: Box::new(move |pool, _| {
                Ok(Driver::Sim(Box::new(SimDriver::new(seed, pool, clock, trace, link))))
            }),
        }
    };
    // The kind is that of a real worker and plays no part here.
    let worker = WorkerOptions { seed, blocks: options.blocks, ..WorkerOptions::new(DriverKind::Epoll, 0) };
    let value = run_on(platform, &worker, main, |start| host::run(seed, options, &trace, start))?;
    Ok(SimReport {
        value,
        trace_hash: trace.hash(),
        events: trace.events(),
        virtual_time: Duration::from_nanos(clock.now().as_nanos()),
        counters: worker.counters,
    })
}

/// Gives connections to `to` that begin from now on options of their own.
///
/// # Panics
/// Outside of a world.
pub fn set_link(to: &Address, options: LinkOptions) {
    with_driver(|driver| driver.set_link(to.clone(), options));
}

/// Lets everything vanish that either end of the connection sends from now on, including resets and
/// FIN: neither end learns of it.
///
/// # Panics
/// Outside of a world.
pub fn sever(socket: &Socket) {
    with_driver(|driver| driver.sever(socket.slot_index()));
}

/// Prints a remark if the world's trace is printed.
///
/// # Panics
/// Outside of a world.
pub fn note(remark: fmt::Arguments<'_>) {
    with_driver(|driver| driver.trace().note(super::now(), remark));
}

fn with_driver<R>(use_it: impl FnOnce(&mut SimDriver) -> R) -> R {
    with_worker(|worker| {
        let mut reactor = worker.reactor.borrow_mut();
        use_it(reactor.driver.simulated().expect("only in a simulated world"))
    })
}

#[cfg(test)]
mod tests;
