//! Time in a simulated world: a number that moves only when the world moves it.

use std::cell::Cell;
use std::time::Duration;

use crate::base::clock::{Instant, UnixTime};

/// Wall-clock time when a world begins: 2024-01-01 00:00:00 UTC.
const BEGINNING: UnixTime = UnixTime::from_nanos(1_704_067_200_000_000_000);

/// The clock of one world.
#[derive(Debug, Default)]
pub(in crate::io) struct VirtualClock {
    now: Cell<Instant>,
}

impl VirtualClock {
    /// Time since the world began.
    pub(in crate::io) fn now(&self) -> Instant {
        self.now.get()
    }

    /// The world's calendar.
    pub(in crate::io) fn unix_time(&self, now: Instant) -> UnixTime {
        UnixTime::from_nanos(BEGINNING.as_nanos() + now.as_nanos())
    }

    /// Lets time pass.
    pub(super) fn advance(&self, span: Duration) {
        self.now.set(self.now.get() + span);
    }
}
