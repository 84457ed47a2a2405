//! The worker's loop on a plain thread: no host executor, sleep in `epoll_wait`.

use std::rc::Rc;
use std::time::Duration;

use crate::io::worker::{RunError, Worker};

/// The longest sleep when no timer is armed.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// Runs a worker on the calling thread until its main task has ended.
pub(in crate::io) fn run(
    cpu: Option<usize>,
    start: impl FnOnce() -> Result<Rc<Worker>, RunError>,
) -> Result<Rc<Worker>, RunError> {
    if let Some(id) = cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        return Err(RunError::Setup(format!("cannot run on CPU {id}")));
    }
    let worker = start()?;
    while !worker.run_tasks() {
        worker.flush();
        let wait = if worker.has_ready() { Duration::ZERO } else { SLEEP_MAX };
        worker.turn(wait)?;
    }
    Ok(worker)
}
