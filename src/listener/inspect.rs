//! Lets the listener filters see a connection's first bytes before a filter chain is chosen.
//!
//! Bytes that no filter takes for itself go back into the socket. Waiting for them is bounded by
//! `listener_filters_timeout`, and their number by what the filters ask for.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use crate::buf::Chunk;
use crate::filters::listener::{Inspected, ListenerFilter};
use crate::io::{self, Socket, Timer};
use crate::stats::groups::ListenerStats;
use crate::stream_info::ConnectionInfo;

use super::CompiledListener;

/// The connection is not served.
pub struct NotServed;

/// Runs the listener's filters.
///
/// # Errors
/// If a filter refuses the connection, the client leaves, or the time is over.
pub async fn inspect(
    compiled: &CompiledListener,
    socket: &mut Socket,
    info: &mut ConnectionInfo,
) -> Result<(), NotServed> {
    let _active = PreActive::open(compiled.stats);
    let mut timer = Timer::new();
    if let Some(timeout) = compiled.config.listener_filters_timeout {
        timer.arm(io::now() + timeout);
    }
    let mut first = FirstBytes { socket, bytes: Bytes::default(), ended: false };
    for factory in &compiled.listener_filters {
        let mut filter = factory.create();
        filter.on_accept(first.socket, info);
        let outcome = poll_fn(|cx| first.poll_inspect(cx, &mut *filter, info, &mut timer)).await;
        match outcome {
            Outcome::Done => {}
            Outcome::Late => {
                compiled.stats.downstream_pre_cx_timeout.inc();
                if !compiled.config.continue_on_listener_filters_timeout {
                    return Err(NotServed);
                }
                break;
            }
            // The filter has counted why.
            Outcome::Refused => return Err(NotServed),
            Outcome::Gone => {
                compiled.stats.downstream_listener_filter_remote_close.inc();
                return Err(NotServed);
            }
        }
    }
    let bytes = std::mem::take(&mut first.bytes).into_chunk();
    socket.unread(bytes);
    Ok(())
}

enum Outcome {
    Done,
    Late,
    Refused,
    Gone,
}

/// What has come of a connection.
struct FirstBytes<'a> {
    socket: &'a mut Socket,
    bytes: Bytes,
    ended: bool,
}

impl FirstBytes<'_> {
    fn poll_inspect(
        &mut self,
        cx: &mut Context<'_>,
        filter: &mut dyn ListenerFilter,
        info: &mut ConnectionInfo,
        timer: &mut Timer,
    ) -> Poll<Outcome> {
        loop {
            let bytes = self.bytes.as_slice();
            if filter.need_bytes() == 0 || !bytes.is_empty() || self.ended {
                match filter.inspect(bytes, self.ended, info) {
                    Inspected::Done { taken } => {
                        self.bytes.take(taken);
                        return Poll::Ready(Outcome::Done);
                    }
                    Inspected::Refused => return Poll::Ready(Outcome::Refused),
                    // It has all that it may ask for, or all that will ever come.
                    Inspected::More if self.ended => return Poll::Ready(Outcome::Gone),
                    Inspected::More if bytes.len() >= filter.need_bytes() => {
                        return Poll::Ready(Outcome::Refused);
                    }
                    Inspected::More => {}
                }
            }
            if timer.poll_expired(cx).is_ready() {
                return Poll::Ready(Outcome::Late);
            }
            match ready!(self.socket.poll_recv(cx)) {
                Ok(Some(chunk)) => self.bytes.append(chunk),
                Ok(None) => self.ended = true,
                Err(_) => return Poll::Ready(Outcome::Gone),
            }
        }
    }
}

/// Bytes that came in pieces. One piece is kept as it is; more are joined.
#[derive(Default)]
struct Bytes {
    first: Chunk,
    /// Empty while there is one piece.
    joined: Vec<u8>,
    /// Of `joined`: taken already.
    taken: usize,
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        if self.joined.is_empty() { &self.first } else { &self.joined[self.taken..] }
    }

    fn append(&mut self, chunk: Chunk) {
        if self.as_slice().is_empty() {
            *self = Bytes { first: chunk, ..Bytes::default() };
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&chunk);
    }

    fn take(&mut self, bytes: usize) {
        let bytes = bytes.min(self.as_slice().len());
        if self.joined.is_empty() {
            self.first.advance(bytes);
        } else {
            self.taken += bytes;
        }
    }

    fn into_chunk(self) -> Chunk {
        if self.joined.is_empty() {
            return self.first;
        }
        let mut chunk = Chunk::from_vec(self.joined);
        chunk.advance(self.taken);
        chunk
    }
}

/// Counts a connection that is being inspected.
struct PreActive(ListenerStats);

impl PreActive {
    fn open(stats: ListenerStats) -> PreActive {
        stats.downstream_pre_cx_active.inc();
        PreActive(stats)
    }
}

impl Drop for PreActive {
    fn drop(&mut self) {
        self.0.downstream_pre_cx_active.dec();
    }
}
