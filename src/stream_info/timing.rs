//! When which part of an exchange happened.

use crate::base::clock::{Instant, UnixTime};

/// Points in time of one stream; none while a part has not happened.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The first byte of the request was there.
    pub start: Instant,
    /// The same on the wall clock.
    pub start_time: UnixTime,
    /// The last byte of the request was received.
    pub last_downstream_rx: Option<Instant>,
    /// Connecting to upstream began; none if a pooled connection was used.
    pub upstream_connect_start: Option<Instant>,
    /// Upstream was connected; none if a pooled connection was used.
    pub upstream_connect_complete: Option<Instant>,
    /// The request's head was handed to an upstream connection.
    pub first_upstream_tx: Option<Instant>,
    /// The request's end was handed to an upstream connection.
    pub last_upstream_tx: Option<Instant>,
    /// The response's head came from upstream.
    pub first_upstream_rx: Option<Instant>,
    /// The first byte of the response's body came from upstream.
    pub first_upstream_rx_body: Option<Instant>,
    /// The response's end came from upstream.
    pub last_upstream_rx: Option<Instant>,
    /// The response's head was handed to the downstream connection.
    pub first_downstream_tx: Option<Instant>,
    /// The response's end was handed to the downstream connection.
    pub last_downstream_tx: Option<Instant>,
    /// The stream was over; set just before logging.
    pub complete: Option<Instant>,
}

impl Timing {
    /// A stream that starts now.
    pub const fn starting(start: Instant, start_time: UnixTime) -> Timing {
        Timing {
            start,
            start_time,
            last_downstream_rx: None,
            upstream_connect_start: None,
            upstream_connect_complete: None,
            first_upstream_tx: None,
            last_upstream_tx: None,
            first_upstream_rx: None,
            first_upstream_rx_body: None,
            last_upstream_rx: None,
            first_downstream_tx: None,
            last_downstream_tx: None,
            complete: None,
        }
    }
}
