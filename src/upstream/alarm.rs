//! What workers see of a host and the control thread has to act upon: bits that workers set, and a bell that they
//! ring for the first one. A host waits at the control thread at most once, so what waits is bounded by the number
//! of hosts. Decides nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::host_set::HostShared;

/// A set of alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alarms(u8);

impl Alarms {
    /// Nothing.
    pub const NONE: Alarms = Alarms(0);
    /// `consecutive_gateway_failure` answers 502, 503, 504 in a row.
    pub const CONSECUTIVE_GATEWAY_FAILURE: Alarms = Alarms(1);
    /// `consecutive_5xx` server errors in a row.
    pub const CONSECUTIVE_5XX: Alarms = Alarms(2);
    /// `consecutive_local_origin_failure` failures of our own side in a row.
    pub const CONSECUTIVE_LOCAL_ORIGIN_FAILURE: Alarms = Alarms(4);
    /// It answered with `x-envoy-degraded`.
    pub const DEGRADED: Alarms = Alarms(8);
    /// It answered with `x-envoy-immediate-health-check-fail`.
    pub const IMMEDIATE_HEALTH_CHECK_FAIL: Alarms = Alarms(16);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Alarms) -> Alarms {
        Alarms(self.0 | other.0)
    }

    /// Whether any alarm of `other` is in this set.
    pub const fn intersects(self, other: Alarms) -> bool {
        self.0 & other.0 != 0
    }
}

/// Tells the control thread that a host has alarms; called on any thread.
#[derive(Clone)]
pub struct AlarmBell(Arc<dyn Fn(Arc<HostShared>) + Send + Sync>);

impl AlarmBell {
    /// A bell that calls `ring`, which must neither block nor fail.
    pub fn new(ring: impl Fn(Arc<HostShared>) + Send + Sync + 'static) -> AlarmBell {
        AlarmBell(Arc::new(ring))
    }
}

impl fmt::Debug for AlarmBell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AlarmBell")
    }
}

/// The alarms of one host.
#[derive(Debug)]
pub struct HostAlarms {
    pending: AtomicU8,
    bell: Option<AlarmBell>,
}

impl HostAlarms {
    /// None yet; without a bell none will ever be.
    pub fn new(bell: Option<AlarmBell>) -> HostAlarms {
        HostAlarms { pending: AtomicU8::new(0), bell }
    }

    /// Takes what was raised since the last time.
    pub fn take(&self) -> Alarms {
        Alarms(self.pending.swap(0, Ordering::AcqRel))
    }
}

impl HostShared {
    /// Sets `alarms` and rings the bell, unless it is rung already.
    pub fn raise(self: &Arc<Self>, alarms: Alarms) {
        if let Some(bell) = &self.alarms.bell
            && alarms != Alarms::NONE
            && self.alarms.pending.fetch_or(alarms.0, Ordering::AcqRel) == 0
        {
            (bell.0)(Arc::clone(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::upstream::host_set::testing::host_with_bell;

    #[test]
    fn the_bell_rings_once_until_the_alarms_are_taken() {
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rings);
        let bell = AlarmBell::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let host = host_with_bell(Some(bell));
        host.raise(Alarms::NONE);
        assert_eq!(rings.load(Ordering::Relaxed), 0);
        host.raise(Alarms::DEGRADED);
        host.raise(Alarms::CONSECUTIVE_5XX);
        assert_eq!(rings.load(Ordering::Relaxed), 1);
        assert_eq!(host.alarms.take(), Alarms::DEGRADED.with(Alarms::CONSECUTIVE_5XX));
        assert_eq!(host.alarms.take(), Alarms::NONE);
        host.raise(Alarms::DEGRADED);
        assert_eq!(rings.load(Ordering::Relaxed), 2);
        host_with_bell(None).raise(Alarms::DEGRADED);
    }
}
