//! Network I/O, time and tasks of a worker: one facade, three drivers.
//!
//! The free functions and handles here use the state that [`run_worker`] put on the calling
//! thread; using them on another thread is a programming error and panics. Protocol code sees only
//! this facade. Only this module names glommio or io_uring.
//!
//! ```text
//! Socket Listener Timer Mailbox spawn    handles (socket, listener, timer, mailbox, task)
//!      Worker: turn()                    clock, tasks, timers (worker, executor, remote)
//!      SocketTable                       queues, limits, generations (table, stream)
//!      Driver: ring | epoll | sim        kernel operations only (driver)
//! ```

mod address;
mod bind;
mod counters;
mod driver;
mod epoll;
mod executor;
mod listener;
mod mailbox;
mod options;
mod pooled;
mod precise_timer;
mod probe;
mod queue;
mod remote;
mod ring;
pub mod sim;
mod socket;
mod stream;
mod table;
mod task;
mod timer;
mod waiter;
mod wall_clock;
mod worker;

pub use address::Address;
pub use bind::{bind_listener, bind_socket, client_socket, start_listening};
pub use counters::{Count, DriverCounters};
pub use listener::Listener;
pub use mailbox::{Mailbox, Sender, mailbox};
pub use options::{DEFAULT_BACKLOG, Keepalive, ListenOptions, RawSocketOption, SocketOptions, SocketState};
pub use pooled::{Pooled, pooled};
pub use precise_timer::PreciseTimer;
pub use probe::{DriverChoice, DriverKind, ProbeError, Probed, probe};
pub use socket::Socket;
pub use stream::DEFAULT_RECEIVE_LIMIT_BYTES;
pub use task::{Task, set_panic_hook, spawn, spawn_task, yield_now};
pub use timer::{Timer, sleep, sleep_until};
pub use worker::{
    DEFAULT_BLOCKS, Deferred, WorkerError, WorkerOptions, counters, defer, now, random_u64, run_worker,
    unix_time, with_rng, worker_index,
};

#[cfg(test)]
mod tests;
