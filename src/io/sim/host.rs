//! The loop of a simulated world: polls one runnable task at a time, in random order, lets things
//! happen in between, and lets time pass when nothing else can be done.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::options::SimOptions;
use super::trace::Trace;
use crate::base::rng::Rng;
use crate::io::worker::{RunError, Start, Worker, now};

/// One in so many steps lets the network act although tasks could run.
const NETWORK_FIRST: u64 = 8;
/// How far time jumps at most when nothing is to come. Ends a world that is stuck.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Runs a world on the calling thread until its main task has ended.
pub(super) fn run(
    seed: u64,
    options: &SimOptions,
    trace: &Trace,
    start: Start<'_>,
) -> Result<Rc<Worker>, RunError> {
    let worker = start()?;
    let mut rng = Rng::from_seed(seed ^ 0x7461_736b);
    for _ in 0..options.step_limit {
        let is_ready = worker.has_ready();
        if is_ready && rng.below(NETWORK_FIRST) > 0 {
            let pick = |ready: usize| {
                let picked = rng.below(ready as u64);
                trace.record(now(), "task", picked, ready as u64);
                picked as usize
            };
            if worker.run_one_task(pick) {
                return Ok(worker);
            }
            continue;
        }
        worker.turn(if is_ready { Duration::ZERO } else { IDLE_MAX })?;
        // Another thread may have sent something.
        worker.accept_remote_wakes();
        if now().as_nanos() > options.time_limit.as_nanos() as u64 {
            return Err(over("the world's time is over: something waits for ever"));
        }
    }
    Err(over("the world's steps are over: something runs for ever"))
}

fn over(reason: &str) -> RunError {
    RunError::Driver(io::Error::new(io::ErrorKind::TimedOut, reason))
}
