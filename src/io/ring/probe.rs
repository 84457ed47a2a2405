//! Tries whether this machine lets us have the ring we need.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use io_uring::{cqueue, opcode, types};

use super::buffers::{Buffers, GROUP};
use super::uring::Uring;
use crate::buf::Pool;

const WAIT_MAX: Duration = Duration::from_secs(1);

/// Does what a worker will do: sets up a ring, registers buffers, receives by multishot, and starts
/// the executor that hosts it.
///
/// # Errors
/// What is missing, in one sentence.
pub(in crate::io) fn probe() -> Result<(), String> {
    // On a thread of its own: the pool and the executor are per thread.
    let attempt = std::thread::Builder::new().name("io-probe".into()).spawn(attempt);
    let attempt = attempt.map_err(|error| format!("no thread for the probe: {error}"))?;
    attempt.join().unwrap_or_else(|_| Err("the probe panicked".into()))
}

fn attempt() -> Result<(), String> {
    let mut uring = Uring::with_entries(8, 64).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            format!("io_uring_setup is forbidden here, as container runtimes do by default ({error})")
        }
        Some(libc::ENOSYS) => format!("the kernel has no io_uring ({error})"),
        _ => format!("io_uring_setup failed: {error}"),
    })?;
    let pool = Rc::new(Pool::install(16).map_err(|error| format!("no memory for buffers: {error}"))?);
    let mut buffers = Buffers::new(&uring, pool)
        .map_err(|error| format!("the kernel's io_uring lacks provided buffer rings ({error})"))?;
    receive_multishot(&mut uring, &mut buffers)
        .map_err(|error| format!("the kernel's io_uring lacks multishot receive ({error})"))?;
    buffers.unregister(&uring);
    drop(uring);
    LocalExecutorBuilder::new(Placement::Unbound)
        .make()
        .map(drop)
        .map_err(|error| format!("the glommio executor cannot start: {error}"))
}

fn receive_multishot(uring: &mut Uring, buffers: &mut Buffers) -> io::Result<()> {
    let (mut near, far) = UnixStream::pair()?;
    near.write_all(b"probe")?;
    let entry = opcode::RecvMulti::new(types::Fd(far.as_raw_fd()), GROUP).build();
    // SAFETY: points to nothing; the kernel writes into offered blocks.
    unsafe { uring.push(&entry.user_data(1)) };
    uring.submit_and_wait(WAIT_MAX)?;
    let mut completions = Vec::new();
    uring.reap(&mut completions);
    let Some(first) = completions.first() else { return Err(io::ErrorKind::TimedOut.into()) };
    if first.result < 0 {
        return Err(io::Error::from_raw_os_error(-first.result));
    }
    match cqueue::buffer_select(first.flags) {
        Some(block) if cqueue::more(first.flags) => buffers.put_back(block),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }
    // Ends the receive, so that nothing is under way when the buffers are taken back.
    near.shutdown(std::net::Shutdown::Both)?;
    uring.submit_and_wait(WAIT_MAX)
}
