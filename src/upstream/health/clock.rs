//! The control thread's clocks. Workers have their own (`io`).

use std::sync::OnceLock;
use std::time::SystemTime;

use crate::base::clock::{Instant, UnixTime};

/// Monotonic time since some beginning that is the same for the whole process.
pub fn now() -> Instant {
    static BEGAN: OnceLock<std::time::Instant> = OnceLock::new();
    let began = BEGAN.get_or_init(std::time::Instant::now);
    Instant::from_nanos(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Wall-clock time.
pub fn unix_time() -> UnixTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}
