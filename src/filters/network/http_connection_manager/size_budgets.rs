//! How large the state of connections and exchanges may be. Whoever adds to it sees here what that
//! costs for each open connection, and either finds room or raises the budget on purpose.

use std::future::Future;

use super::context::Account;
use super::exchange::Exchange;
use super::h1::H1Connection;
use super::http1::serve_http1;
use super::stream_clock::StreamClock;
use crate::stream_info::StreamInfo;
use crate::transport::Stream;

/// The size of the future that serves a stream of HTTP/2.
fn stream_future_size() -> usize {
    fn size<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }
    size(super::http2::serve_stream)
}

/// The size of the future that an async function returns.
fn future_size<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn state_stays_within_its_budget() {
    let serve = future_size::<Account, Stream, _>(serve_http1);
    let sizes = [
        // One for each open connection, idle or not: everything but buffers and filters.
        ("the future that serves a connection", serve, 144),
        ("H1Connection", size_of::<H1Connection>(), 232),
        ("StreamClock", size_of::<StreamClock>(), 144),
        // One for each stream under way.
        ("the future that serves a stream", stream_future_size(), 3_700),
        // Part of the future.
        ("Exchange", size_of::<Exchange<'_, H1Connection>>(), 1_216),
        ("StreamInfo", size_of::<StreamInfo>(), 640),
    ];
    for (name, size, budget) in sizes {
        assert!(size <= budget, "{name}: {size} bytes, more than {budget}: {sizes:?}");
    }
}
