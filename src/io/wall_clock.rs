//! The clocks of a worker. The only place that reads the system's.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::sim::VirtualClock;
use crate::base::clock::{Instant, UnixTime};

/// How long wall-clock time is extrapolated from the monotonic clock before it is read anew.
const RESYNC: Duration = Duration::from_millis(100);

/// Where a worker's time comes from.
pub(super) enum WorkerClock {
    /// The system.
    Wall(WallClock),
    /// The simulated world.
    Virtual(Rc<VirtualClock>),
}

impl WorkerClock {
    /// The monotonic time.
    #[inline]
    pub(super) fn now(&self) -> Instant {
        match self {
            WorkerClock::Wall(clock) => clock.now(),
            WorkerClock::Virtual(clock) => clock.now(),
        }
    }

    /// The wall-clock time at `now`.
    #[inline]
    pub(super) fn unix_time(&self, now: Instant) -> UnixTime {
        match self {
            WorkerClock::Wall(clock) => clock.unix_time(now),
            WorkerClock::Virtual(clock) => clock.unix_time(now),
        }
    }
}

/// Monotonic time since the process began, and wall-clock time derived from it.
#[derive(Debug)]
pub(super) struct WallClock {
    began: std::time::Instant,
    /// When the wall clock was read, and what it said.
    read: Cell<(Instant, UnixTime)>,
}

impl WallClock {
    /// All clocks of the process count from the same beginning.
    pub(super) fn new() -> WallClock {
        static BEGAN: OnceLock<std::time::Instant> = OnceLock::new();
        let began = *BEGAN.get_or_init(std::time::Instant::now);
        let clock = WallClock { began, read: Cell::default() };
        clock.read.set((clock.now(), system_time()));
        clock
    }

    /// The monotonic time.
    #[inline]
    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(self.began.elapsed().as_nanos() as u64)
    }

    /// The wall-clock time at `now`.
    #[inline]
    pub(super) fn unix_time(&self, now: Instant) -> UnixTime {
        let (read_at, time) = self.read.get();
        let since = now.since(read_at);
        if since < RESYNC {
            return UnixTime::from_nanos(time.as_nanos() + since.as_nanos() as u64);
        }
        let time = system_time();
        self.read.set((now, time));
        time
    }
}

fn system_time() -> UnixTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_nanos(since_epoch.as_nanos() as u64)
}
