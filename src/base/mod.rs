//! Plain machinery that knows no protocol and does no I/O: time, randomness, timers.

pub mod clock;
pub mod ip_trie;
pub mod log;
mod log_pattern;
pub mod rng;
pub mod timer_wheel;
pub mod token_bucket;
