//! Why a host may not be used, as flags that any thread can set and read.
//!
//! Each flag has one source (health checker, outlier detection, discovery); a host serves while no
//! failing flag is set. Names follow `/clusters` of Envoy's admin interface.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthFlags(u32);

macro_rules! health_flags {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        impl HealthFlags {
            $(#[doc = concat!("`", $text, "`")] pub const $name: HealthFlags = HealthFlags(1 << $bit);)*
        }
        const NAMES: &[(HealthFlags, &str)] = &[$((HealthFlags::$name, $text),)*];
    };
}

health_flags! {
    FAILED_ACTIVE_HC = 0, "/failed_active_hc";
    FAILED_OUTLIER_CHECK = 1, "/failed_outlier_check";
    FAILED_EDS_HEALTH = 2, "/failed_eds_health";
    DEGRADED_ACTIVE_HC = 3, "/degraded_active_hc";
    DEGRADED_EDS_HEALTH = 4, "/degraded_eds_health";
    PENDING_DYNAMIC_REMOVAL = 5, "/pending_dynamic_removal";
    PENDING_ACTIVE_HC = 6, "/pending_active_hc";
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL = 7, "/excluded_via_immediate_hc_fail";
    ACTIVE_HC_TIMEOUT = 8, "/active_hc_timeout";
    EDS_STATUS_DRAINING = 9, "/eds_status_draining";
    DEGRADED_OUTLIER_DETECTION = 10, "/degraded_outlier_detection";
}

impl HealthFlags {
    /// No flag.
    pub const NONE: HealthFlags = HealthFlags(0);

    const FAILING: HealthFlags = Self::FAILED_ACTIVE_HC
        .with(Self::FAILED_OUTLIER_CHECK)
        .with(Self::FAILED_EDS_HEALTH)
        .with(Self::EDS_STATUS_DRAINING);
    const DEGRADING: HealthFlags =
        Self::DEGRADED_ACTIVE_HC.with(Self::DEGRADED_EDS_HEALTH).with(Self::DEGRADED_OUTLIER_DETECTION);
    const EXCLUDING: HealthFlags =
        Self::PENDING_ACTIVE_HC.with(Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL).with(Self::EDS_STATUS_DRAINING);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: HealthFlags) -> HealthFlags {
        HealthFlags(self.0 | other.0)
    }

    /// This set without those of `other`.
    #[must_use]
    pub const fn without(self, other: HealthFlags) -> HealthFlags {
        HealthFlags(self.0 & !other.0)
    }

    /// Whether any flag of `other` is set.
    pub const fn intersects(self, other: HealthFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// May serve (perhaps degraded).
    pub const fn is_healthy(self) -> bool {
        !self.intersects(Self::FAILING)
    }

    /// May serve, but only when others do not suffice.
    pub const fn is_degraded(self) -> bool {
        self.is_healthy() && self.intersects(Self::DEGRADING)
    }

    /// Counts in no share of healthy hosts (spill-over, panic): it is not meant to serve.
    pub const fn is_excluded(self) -> bool {
        self.intersects(Self::EXCLUDING)
    }
}

/// As `/clusters` prints them: `healthy`, or the names in a row.
impl fmt::Display for HealthFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == HealthFlags::NONE {
            return f.write_str("healthy");
        }
        NAMES.iter().filter(|(flag, _)| self.intersects(*flag)).try_for_each(|(_, name)| f.write_str(name))
    }
}

/// Counts changes of health in one cluster, so that workers notice one with a plain load per pick.
#[derive(Debug, Clone, Default)]
pub struct HealthEpoch(Arc<AtomicU64>);

impl HealthEpoch {
    /// Changes so far.
    pub fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A host's flags; shared by all threads.
#[derive(Debug)]
pub struct HostHealth {
    flags: AtomicU32,
    epoch: HealthEpoch,
}

impl HostHealth {
    /// Starts with `flags`; changes are counted in `epoch`.
    pub fn new(flags: HealthFlags, epoch: HealthEpoch) -> HostHealth {
        HostHealth { flags: AtomicU32::new(flags.0), epoch }
    }

    /// The flags now.
    pub fn flags(&self) -> HealthFlags {
        HealthFlags(self.flags.load(Ordering::Acquire))
    }

    /// Sets or clears all of `flags`.
    pub fn set(&self, flags: HealthFlags, on: bool) {
        if on {
            self.change(flags, HealthFlags::NONE)
        } else {
            self.change(HealthFlags::NONE, flags)
        };
    }

    /// Clears flags and sets others in one step, which readers see as a whole. True if that was a change.
    pub fn change(&self, set: HealthFlags, clear: HealthFlags) -> bool {
        let changed = |flags: u32| (flags & !clear.0) | set.0;
        let update = |flags| (changed(flags) != flags).then(|| changed(flags));
        let is_change = self.flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, update).is_ok();
        if is_change {
            self.epoch.0.fetch_add(1, Ordering::AcqRel);
        }
        is_change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_and_changes_are_counted_once() {
        let epoch = HealthEpoch::default();
        let health = HostHealth::new(HealthFlags::NONE, epoch.clone());
        assert_eq!(health.flags().to_string(), "healthy");
        health.set(HealthFlags::FAILED_ACTIVE_HC, true);
        health.set(HealthFlags::FAILED_ACTIVE_HC, true);
        health.set(HealthFlags::FAILED_OUTLIER_CHECK, true);
        assert_eq!(health.flags().to_string(), "/failed_active_hc/failed_outlier_check");
        assert_eq!(epoch.current(), 2);
        assert!(!health.flags().is_healthy());
        health.set(HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::FAILED_OUTLIER_CHECK), false);
        assert!(health.flags().is_healthy() && !health.flags().is_degraded());
        health.set(HealthFlags::DEGRADED_EDS_HEALTH, true);
        assert!(health.flags().is_healthy() && health.flags().is_degraded());
        assert_eq!(epoch.current(), 4);
        assert!(health.change(HealthFlags::EDS_STATUS_DRAINING, HealthFlags::DEGRADED_EDS_HEALTH));
        assert!(!health.change(HealthFlags::EDS_STATUS_DRAINING, HealthFlags::DEGRADED_EDS_HEALTH));
        assert_eq!((health.flags(), epoch.current()), (HealthFlags::EDS_STATUS_DRAINING, 5));
        assert!(!health.flags().is_healthy() && health.flags().is_excluded());
    }
}
