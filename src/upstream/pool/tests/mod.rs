//! Pools on real workers of every driver, against scripted origins on threads.

use super::connection::{Connection, Transport};
use super::{CheckOut, H1Stream};

mod exchange;
mod lifetime;
mod limits;

/// What an idle connection, and what an exchange costs in memory beside the header map. Larger is a decision.
#[test]
fn state_stays_small() {
    for (what, size, limit) in [
        ("Connection", size_of::<Connection>(), 128),
        ("Transport", size_of::<Transport>(), 512),
        ("H1Stream", size_of::<H1Stream>(), 384),
        ("CheckOut", size_of::<CheckOut>(), 384),
    ] {
        assert!(size <= limit, "{what} has {size} bytes, more than {limit}");
    }
}
