//! One io_uring: set-up with whatever the kernel offers, submission, waiting, completions.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::{IoUring, squeue};

/// Submission entries: more are submitted in several calls.
const SQ_ENTRIES: u32 = 4_096;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
const ENTER_REGISTERED_RING: u32 = 16;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// A ring used by the thread that made it.
pub(super) struct Uring {
    io: IoUring,
    /// The ring's descriptor, or its number among the thread's registered rings.
    enter_fd: RawFd,
    enter_flags: u32,
}

/// What became of an operation.
#[derive(Clone, Copy)]
pub(super) struct Completion {
    pub(super) tag: u64,
    /// As the system call's: negative for an error number.
    pub(super) result: i32,
    pub(super) flags: u32,
}

#[repr(C)]
struct WaitArgument {
    signal_mask: u64,
    signal_mask_size: u32,
    min_wait_us: u32,
    timeout: u64,
}

impl Uring {
    /// A ring with room for `cq_entries` completions.
    pub(super) fn new(cq_entries: u32) -> io::Result<Uring> {
        Uring::with_entries(SQ_ENTRIES, cq_entries)
    }

    /// A ring of a given size.
    pub(super) fn with_entries(sq_entries: u32, cq_entries: u32) -> io::Result<Uring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(cq_entries).setup_submit_all();
        let mut best = builder.clone();
        best.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
        let io = best.build(sq_entries).or_else(|error| match error.raw_os_error() {
            // An older kernel: without the deferral of work to our own waits.
            Some(libc::EINVAL) => builder.build(sq_entries),
            _ => Err(error),
        })?;
        let params = io.params();
        if !(params.is_feature_ext_arg()
            && params.is_feature_nodrop()
            && params.is_feature_skip_cqe_on_success())
        {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's io_uring is too old"));
        }
        let fd = io.as_raw_fd();
        let registered = registered_ring(fd);
        let (enter_fd, enter_flags) = registered.map_or((fd, 0), |number| (number, ENTER_REGISTERED_RING));
        Ok(Uring { io, enter_fd, enter_flags })
    }

    /// The ring itself, for registrations.
    pub(super) fn io(&self) -> &IoUring {
        &self.io
    }

    /// Queues an operation; submits first if the queue is full.
    ///
    /// # Safety
    /// Everything that the entry points to stays valid until its (last) completion has been reaped.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        while unsafe { self.io.submission().push(entry) }.is_err() {
            if let Err(error) = self.enter(0, None) {
                // Nothing was submitted and there is no room: the ring is unusable.
                panic!("io_uring_enter failed: {error}");
            }
        }
    }

    /// Submits what is queued, lets the kernel post completions, and waits for the first one at
    /// most `wait`.
    #[inline]
    pub(super) fn submit_and_wait(&mut self, wait: Duration) -> io::Result<()> {
        self.submit_and_wait_for(1, wait)
    }

    /// As `submit_and_wait`, for `count` completions.
    #[inline]
    pub(super) fn submit_and_wait_for(&mut self, count: u32, wait: Duration) -> io::Result<()> {
        if wait.is_zero() { self.enter(0, None) } else { self.enter(count, Some(wait)) }
    }

    /// Whether operations are queued that the kernel has not taken, or it has more to say at the next call
    /// (it does a limited amount in each).
    pub(super) fn has_queued(&mut self) -> bool {
        let queue = self.io.submission();
        !queue.is_empty() || queue.taskrun()
    }

    /// Moves all completions to `completions`; returns how often the queue overflowed.
    #[inline]
    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) -> u64 {
        let overflowed = self.io.submission().cq_overflow();
        let mut queue = self.io.completion();
        queue.sync();
        completions.extend((&mut queue).map(|entry| Completion {
            tag: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
        u64::from(overflowed)
    }

    /// Whether completions are written to the registered eventfd.
    pub(super) fn set_eventfd_enabled(&mut self, enabled: bool) {
        let queue = self.io.completion();
        if enabled { queue.enable_eventfd() } else { queue.disable_eventfd() }
    }

    fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        let submit = self.io.submission().len() as u32;
        let flags = ENTER_GETEVENTS | self.enter_flags;
        let timespec = timeout.map(|wait| [wait.as_secs() as i64, i64::from(wait.subsec_nanos())]);
        let argument = WaitArgument {
            signal_mask: 0,
            signal_mask_size: 8,
            min_wait_us: 0,
            timeout: timespec.as_ref().map_or(0, |timespec| timespec.as_ptr() as u64),
        };
        let (fd, call) = (self.enter_fd, libc::SYS_io_uring_enter);
        // SAFETY: the arguments are alive during the call; what the queued entries point to is
        // covered by `push`.
        let result = unsafe {
            if timeout.is_some() {
                let (pointer, size) = (&raw const argument, size_of::<WaitArgument>());
                libc::syscall(call, fd, submit, want, flags | ENTER_EXT_ARG, pointer, size)
            } else {
                libc::syscall(call, fd, submit, want, flags, std::ptr::null::<u8>(), 8_usize)
            }
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Interrupted, timed out, or told to reap completions first.
            Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.enter_flags & ENTER_REGISTERED_RING != 0 {
            // Else the thread would keep the ring alive after its descriptor is closed.
            let mut update = RingFdUpdate { offset: self.enter_fd as u32, reserved: 0, data: 0 };
            let fd = self.io.as_raw_fd();
            // SAFETY: one valid update structure.
            unsafe {
                libc::syscall(libc::SYS_io_uring_register, fd, UNREGISTER_RING_FDS, &raw mut update, 1)
            };
        }
    }
}

#[repr(C)]
struct RingFdUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// Registers the ring with the thread, which spares the kernel a look-up on each call.
fn registered_ring(fd: RawFd) -> Option<RawFd> {
    let mut update = RingFdUpdate { offset: u32::MAX, reserved: 0, data: fd as u64 };
    // SAFETY: one valid update structure; the kernel writes the number into it.
    let count =
        unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut update, 1) };
    (count == 1).then_some(update.offset as RawFd)
}
