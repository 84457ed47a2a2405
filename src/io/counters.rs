//! What a worker's I/O layer counts. The worker writes (plain stores), any thread may read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds without a locked instruction: only the owning worker may call it.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Replaces the value (gauges).
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

macro_rules! driver_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker; keep the `Arc` given to
        /// [`WorkerOptions`](super::WorkerOptions) to read them from another thread.
        #[derive(Debug, Default)]
        pub struct DriverCounters { $($(#[$doc])* pub $name: Count,)* }

        impl DriverCounters {
            /// Name and value of every counter, in the order of the fields.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

driver_counters! {
    /// Turns of the worker's loop.
    loop_turns,
    /// Times the worker went to sleep for lack of work.
    parks,
    /// Stream sockets that are open now, including those that are being closed.
    live_sockets,
    /// Listening sockets that are open now.
    live_listeners,
    /// Kernel operations that still refer to a socket's slot.
    live_operations,
    /// Blocks of the pool in use by received data now.
    live_blocks,
    /// The largest value of `live_blocks` so far.
    peak_blocks,
    /// Received blocks copied to the heap because the pool ran low.
    blocks_copied_out,
    /// Completion-queue overflows seen; anything but zero is a defect.
    cq_overflows,
    /// Receives that found no buffer (each waits until buffers came back).
    enobufs,
    /// Completions that came for a socket which no longer exists; anything but zero is a defect.
    late_completions,
    /// Times a socket stopped receiving because its reader was behind.
    rx_paused,
    /// Connections accepted.
    accepts,
    /// Failed accepts (such as too many open files).
    accept_errors,
    /// Tasks ended by a panic.
    panics,
    /// Sockets, operations or blocks that were still in use when the worker ended.
    leaked,
}
