//! What a driver does, and the choice between them.
//!
//! The socket table holds the state; a driver performs kernel operations and reports what came of
//! them to the table. Every call is level-triggered: the table says what is wanted (`rx.wanted`,
//! the sending queue, `fin`, `wanted()` of a listener) and the driver compares that with what is
//! under way. A driver calls `release_*` only when no operation refers to the slot any more.

use std::time::Duration;

use super::epoll::EpollDriver;
use super::ring::RingDriver;
use super::sim::SimDriver;
use super::table::SocketTable;
use super::{Address, SocketOptions};

/// How a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseMode {
    /// As `close(2)` does.
    Normal,
    /// With a reset.
    Reset,
}

/// The driver of a worker.
pub(super) enum Driver {
    Ring(Box<RingDriver>),
    Epoll(Box<EpollDriver>),
    Sim(Box<SimDriver>),
}

macro_rules! each_driver {
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            Driver::Ring($driver) => $call,
            Driver::Epoll($driver) => $call,
            Driver::Sim($driver) => $call,
        }
    };
}

impl Driver {
    /// Makes a socket and begins to connect the stream in slot `index`.
    ///
    /// # Errors
    /// An error number if it cannot even begin.
    pub(super) fn connect(
        &mut self,
        table: &mut SocketTable,
        index: u32,
        address: &Address,
        options: &SocketOptions,
    ) -> Result<(), i32> {
        each_driver!(self, driver => driver.connect(table, index, address, options))
    }

    /// Sends what was queued, where a driver does that by itself before it waits: what it wakes must
    /// run before the worker sleeps. The others send as part of a turn.
    pub(super) fn flush(&mut self, table: &mut SocketTable) {
        if let Driver::Epoll(driver) = self {
            driver.flush(table);
        }
    }

    /// `rx.wanted` of the stream has changed.
    #[inline]
    pub(super) fn update_receive(&mut self, table: &mut SocketTable, index: u32) {
        each_driver!(self, driver => driver.update_receive(table, index))
    }

    /// `rx.failure_wanted` of a stream whose peer has ended its direction was set.
    pub(super) fn watch_failure(&mut self, table: &mut SocketTable, index: u32) {
        each_driver!(self, driver => driver.watch_failure(table, index))
    }

    /// The stream's owner is gone (phase `Closing`): end all operations, close, release.
    pub(super) fn close(&mut self, table: &mut SocketTable, index: u32, mode: CloseMode) {
        each_driver!(self, driver => driver.close(table, index, mode))
    }

    /// A listener was inserted.
    ///
    /// # Errors
    /// If its descriptor cannot be used; the caller closes it.
    pub(super) fn listen(&mut self, table: &mut SocketTable, index: u32) -> std::io::Result<()> {
        each_driver!(self, driver => driver.listen(table, index))
    }

    /// `wanted()` of the listener has changed.
    pub(super) fn update_accept(&mut self, table: &mut SocketTable, index: u32) {
        each_driver!(self, driver => driver.update_accept(table, index))
    }

    /// The listener's owner is gone: end accepting, close, release.
    pub(super) fn close_listener(&mut self, table: &mut SocketTable, index: u32) {
        each_driver!(self, driver => driver.close_listener(table, index))
    }

    /// Sends what the dirty streams have queued, then waits for events, at most `wait`, and reports
    /// them to the table; returns their number.
    #[inline]
    pub(super) fn turn(&mut self, table: &mut SocketTable, wait: Duration) -> std::io::Result<usize> {
        each_driver!(self, driver => driver.turn(table, wait))
    }

    /// Whether operations wait for the next turn to be submitted.
    pub(super) fn has_queued(&mut self) -> bool {
        match self {
            Driver::Ring(ring) => ring.has_queued(),
            Driver::Epoll(_) | Driver::Sim(_) => false,
        }
    }

    /// The simulated network, if this is it: sockets have no descriptors there.
    pub(super) fn simulated(&mut self) -> Option<&mut SimDriver> {
        match self {
            Driver::Sim(sim) => Some(sim),
            Driver::Ring(_) | Driver::Epoll(_) => None,
        }
    }

    /// Kernel operations under way.
    pub(super) fn operations(&self) -> usize {
        match self {
            Driver::Ring(ring) => ring.operations(),
            Driver::Epoll(_) | Driver::Sim(_) => 0,
        }
    }
}
