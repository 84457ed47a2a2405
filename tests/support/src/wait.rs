//! Waiting for a condition with a deadline. Tests never sleep and hope: they poll what they need.

use std::time::{Duration, Instant};

/// Pause between two looks at a condition, in milliseconds.
const POLL_MS: u64 = 2;

/// Polls `look` until it answers something, for at most [`crate::PATIENCE_S`] seconds.
///
/// # Panics
/// When the time is over; the message names `what`.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(crate::PATIENCE, what, look)
}

/// Like [`eventually`] with a limit of its own.
///
/// # Panics
/// When the time is over; the message names `what`.
pub fn eventually_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}
