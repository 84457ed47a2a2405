//! The simulated network's state: connections, each two ends and a pipe in either direction.
//!
//! Plain data. Knows no sockets; the driver moves bytes and decides when things arrive.

use std::collections::VecDeque;

use super::options::LinkOptions;
use crate::base::clock::Instant;
use crate::io::Address;

/// Names a connection; never used twice in a world.
pub(super) type LinkId = u64;

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// The one that called `connect`.
    Connecting,
    /// The one that a listener accepts.
    Accepting,
}

impl Side {
    /// The other end.
    pub(super) fn other(self) -> Side {
        match self {
            Side::Connecting => Side::Accepting,
            Side::Accepting => Side::Connecting,
        }
    }
}

/// ```text
/// Unborn -> Waiting -> Open -> Closed      the accepting end
///                      Open -> Closed      the connecting end
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The other end's request to connect is on its way.
    Unborn,
    /// In a listener's queue; data can arrive.
    Waiting,
    /// A socket has it: the slot of its stream.
    Open(u32),
    /// Nobody is there.
    Closed,
}

/// What travels.
#[derive(Debug)]
pub(super) enum Item {
    /// The request to connect.
    Connect,
    /// Its answer.
    Established,
    /// Its other answer: nobody listens.
    Refused,
    Data(Vec<u8>),
    Fin,
    Reset,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Arrives in this order; the driver has an event for each.
    pub(super) on_the_way: VecDeque<Item>,
    /// Data bytes in `on_the_way`, and those that a severed connection swallowed.
    pub(super) on_the_way_bytes: usize,
    /// When the last item arrives: the next one arrives no earlier.
    pub(super) last_arrival: Instant,
    /// Arrived and not read.
    pub(super) received: VecDeque<u8>,
    /// The sender's FIN (`Ok`) or reset arrived.
    pub(super) end: Option<Result<(), ()>>,
    /// Nothing can be sent any more.
    pub(super) ended: bool,
}

impl Pipe {
    fn new() -> Pipe {
        Pipe {
            on_the_way: VecDeque::new(),
            on_the_way_bytes: 0,
            last_arrival: Instant::default(),
            received: VecDeque::new(),
            end: None,
            ended: false,
        }
    }

    /// How much more may be sent now.
    pub(super) fn space(&self, window_bytes: usize) -> usize {
        window_bytes.saturating_sub(self.on_the_way_bytes + self.received.len())
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) options: LinkOptions,
    /// Everything sent from now on vanishes.
    pub(super) severed: bool,
    ends: [End; 2],
    addresses: [Address; 2],
    pipes: [Pipe; 2],
}

impl Link {
    /// A connection that the socket in `slot` asks for.
    pub(super) fn new(slot: u32, from: Address, to: Address, options: LinkOptions) -> Link {
        Link {
            options,
            severed: false,
            ends: [End::Open(slot), End::Unborn],
            addresses: [from, to],
            pipes: [Pipe::new(), Pipe::new()],
        }
    }

    /// The state of one end.
    pub(super) fn end(&self, side: Side) -> End {
        self.ends[side as usize]
    }

    /// Changes the state of one end.
    pub(super) fn set_end(&mut self, side: Side, end: End) {
        self.ends[side as usize] = end;
    }

    /// The address of one end.
    pub(super) fn address(&self, side: Side) -> &Address {
        &self.addresses[side as usize]
    }

    /// What `side` sends.
    pub(super) fn from(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }

    /// What `side` receives.
    pub(super) fn to(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side.other() as usize]
    }

    /// Nobody is left who could notice anything.
    pub(super) fn is_forgotten(&self) -> bool {
        self.ends.iter().all(|end| matches!(end, End::Closed | End::Unborn))
    }
}
