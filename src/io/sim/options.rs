//! What a simulated world and its connections are like.

use std::time::Duration;

/// A world.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Connections to addresses without options of their own ([`set_link`](super::set_link)).
    pub link: LinkOptions,
    /// The world ends with an error after this much virtual time.
    pub time_limit: Duration,
    /// The world ends with an error after so many steps of its loop: something runs without end.
    pub step_limit: u64,
    /// Size of the receive pool in blocks of 16 KiB, 4 to 32,768.
    pub blocks: usize,
    /// Writes every event to standard error.
    pub print_trace: bool,
}

impl Default for SimOptions {
    /// A kind network, a virtual day, five million steps, 256 blocks, no output.
    fn default() -> SimOptions {
        SimOptions {
            link: LinkOptions::default(),
            time_limit: Duration::from_secs(86_400),
            step_limit: 5_000_000,
            blocks: 256,
            print_trace: false,
        }
    }
}

/// Connections between two endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// Shortest and longest time that something is on its way. Nothing overtakes.
    pub delay: (Duration, Duration),
    /// The largest piece that travels at once, at least 1; sizes are random up to this.
    pub segment_bytes: usize,
    /// Whether bytes are cut up at random on their way; else they arrive as they were sent.
    pub cuts: bool,
    /// Bytes that can be on their way or unread in one direction, at least 1: a slow reader stops
    /// its sender after so many.
    pub window_bytes: usize,
    /// How many of 100 connection attempts get no answer at all.
    pub lost_connects_percent: u8,
    /// How many of 100 accepts fail because descriptors run out.
    pub failed_accepts_percent: u8,
}

impl Default for LinkOptions {
    /// 0.05 to 1 ms, pieces of up to 16 KiB, windows of 64 KiB, no failures.
    fn default() -> LinkOptions {
        LinkOptions {
            delay: (Duration::from_micros(50), Duration::from_millis(1)),
            segment_bytes: 16_384,
            cuts: true,
            window_bytes: 65_536,
            lost_connects_percent: 0,
            failed_accepts_percent: 0,
        }
    }
}
