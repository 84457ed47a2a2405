//! What the control thread tells workers, and what they answer. All of it is immutable data behind
//! `Arc`; a worker never waits for the control thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::filters::network::DrainLevel;
use crate::filters::network::http_connection_manager::Routes;
use crate::listener::CompiledListener;
use crate::stats::groups::ListenerWorkerStats;
use crate::upstream::ClusterCommand;

/// An order to one worker.
pub enum Command {
    /// Change a cluster or its hosts.
    Cluster(ClusterCommand),
    /// Change a listener or its sockets.
    Listener(ListenerCommand),
    /// Put a route table into the slot of a connection manager.
    SetRoutes {
        /// The slot.
        slot: u64,
        /// The table, ready for that manager.
        routes: Arc<Routes>,
    },
    /// Forget the slot of a connection manager that is gone.
    RemoveRoutes {
        /// The slot.
        slot: u64,
    },
    /// Stop accepting, on all listeners or on inbound ones.
    StopListeners {
        /// Leave listeners that are not inbound.
        inbound_only: bool,
    },
    /// Have connections end at their next chance.
    DrainConnections {
        /// Leave listeners that are not inbound.
        inbound_only: bool,
    },
    /// Hand buffered log lines to the writer.
    FlushAccessLogs,
    /// Report that everything ordered before is done.
    Acknowledge {
        /// Comes back in the report.
        order: u64,
    },
    /// End once no connection is left.
    ExitWhenIdle,
    /// End now.
    Exit,
}

/// Names one version of one listener, on all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u64);

/// Names the sockets that listen on one address, on all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId(pub u64);

/// An order about listeners and sockets.
pub enum ListenerCommand {
    /// A new version of a listener. It gets sockets by later orders.
    Add {
        /// Its name.
        id: ListenerId,
        /// What it serves.
        listener: Arc<CompiledListener>,
        /// The worker's share of its statistics.
        worker_stats: ListenerWorkerStats,
        /// A version that differs only in its filter chains: connections on those that both have become the
        /// new version's.
        in_place_of: Option<ListenerId>,
    },
    /// Accept on a socket, for a listener.
    Open {
        /// Name of the address.
        address: AddressId,
        /// The worker's socket there.
        socket: OwnedFd,
        /// Whose connections are accepted.
        listener: ListenerId,
    },
    /// Accept on the sockets of an address for another listener from now on.
    HandOver {
        /// The address.
        address: AddressId,
        /// Whose connections are accepted now.
        to: ListenerId,
    },
    /// Close the socket of an address.
    Close {
        /// The address.
        address: AddressId,
    },
    /// Have a listener's connections end.
    Drain {
        /// The listener.
        id: ListenerId,
        /// How much.
        level: DrainLevel,
    },
    /// Forget a listener that has drained.
    Remove {
        /// The listener.
        id: ListenerId,
    },
}

/// What a worker reports to the control thread.
#[derive(Debug)]
pub enum Report {
    /// It could not start, or it died.
    Failed {
        /// Its number.
        worker: usize,
        /// Why.
        reason: String,
    },
    /// It has ended as ordered.
    Ended {
        /// Its number.
        worker: usize,
    },
    /// It has done all that was ordered before [`Command::Acknowledge`].
    Acknowledged {
        /// What the order said.
        order: u64,
    },
}
