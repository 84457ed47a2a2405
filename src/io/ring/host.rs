//! The worker's loop as a task of a pinned glommio executor.
//!
//! While there is traffic the loop waits in our own ring, for a tenth of a second at most; without
//! any it sleeps inside glommio, on an eventfd that our ring writes, so that glommio's own reactor turns
//! as well.

use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::{LocalExecutorBuilder, Placement};

use crate::io::driver::Driver;
use crate::io::epoll::sys;
use crate::io::worker::{RunError, Worker};

/// The longest wait in our own ring: after that much silence the worker sleeps. A short one would have the
/// kernel program its timer hardware for each wait, which cost 12 us a request on a lightly loaded guest.
const RING_WAIT_MAX: Duration = Duration::from_millis(100);
/// glommio's preemption timer: practically never. If it has fired before glommio's run queue is
/// looked at (the thread lost its CPU for that long), glommio 0.9 sleeps although a task is ready
/// (`run_task_queues` reports that nothing ran), and a short timer made workers hang on busy machines.
/// It would serve glommio's own timers only, which nobody uses: ours are in `io::Timer`.
const HOST_PREEMPT: Duration = Duration::from_secs(3_600);
/// glommio's own I/O memory and rings, which we hardly use.
const HOST_IO_MEMORY_BYTES: usize = 64 * 1_024;
const HOST_RING_DEPTH: usize = 32;

/// Runs a worker inside glommio until its main task has ended. `start` is called on the executor.
pub(in crate::io) fn run(
    cpu: Option<usize>,
    start: impl FnOnce() -> Result<Rc<Worker>, RunError>,
) -> Result<Rc<Worker>, RunError> {
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement)
        .preempt_timer(HOST_PREEMPT)
        .io_memory(HOST_IO_MEMORY_BYTES)
        .ring_depth(HOST_RING_DEPTH)
        .make()
        .map_err(|error| RunError::Setup(format!("the glommio executor: {error}")))?;
    executor.run(async {
        let worker = start()?;
        drive(&worker).await?;
        Ok(worker)
    })
}

async fn drive(worker: &Worker) -> Result<(), RunError> {
    let sleep_fd = sys::eventfd(false)?;
    // SAFETY: a fresh descriptor that is given away here; the file closes it.
    let sleep_file = unsafe { BufferedFile::from_raw_fd(sleep_fd.try_clone()?.into_raw_fd()) };
    worker.remote.set_sleep_fd(sleep_fd.try_clone()?);
    with_ring(worker, |ring| ring.register_sleep_fd(sleep_fd))?;
    while !worker.run_tasks() {
        let wait = if worker.has_ready() { Duration::ZERO } else { RING_WAIT_MAX };
        let events = worker.turn(wait)?;
        let deadline = worker.time_to_deadline();
        if events > 0 || worker.has_ready() || deadline.is_some_and(|wait| wait <= RING_WAIT_MAX) {
            continue;
        }
        let may_sleep = worker.set_asleep(true);
        with_ring(worker, |ring| ring.prepare_sleep(deadline));
        // Submits what is queued, too: nothing may be left behind by the last turn.
        if may_sleep && worker.turn(Duration::ZERO)? == 0 && !worker.has_work() {
            worker.counters.parks.add(1);
            // The count that is read says nothing; an error means no more than an early wake.
            let _ = sleep_file.read_at(0, 8).await;
        }
        worker.set_asleep(false);
        with_ring(worker, |ring| ring.end_sleep(deadline.is_some()));
    }
    let _ = sleep_file.close().await;
    Ok(())
}

fn with_ring<R>(worker: &Worker, use_it: impl FnOnce(&mut super::RingDriver) -> R) -> R {
    match &mut worker.reactor.borrow_mut().driver {
        Driver::Ring(ring) => use_it(ring),
        _ => unreachable!("this loop is run with the ring driver only"),
    }
}
