//! What a protocol does on one connection of a load run; `http1` and `http2` are the two. How a connection comes and
//! goes, and which request is next, is none of its business.

use std::task::Context;

use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::transport::Stream;

use super::error::ErrorKind;
use super::request::Request;

/// The answer to a request is complete, or will never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    /// What `begin` was told.
    pub(super) tag: u32,
    /// The answer's status, or why there is none.
    pub(super) outcome: Result<u16, ErrorKind>,
}

/// A protocol on one connection.
pub(super) trait Protocol: 'static {
    /// For a connection that carries up to `depth` requests at a time.
    fn new(depth: u32) -> Self;

    /// Whether another request may be begun now.
    fn has_room(&self) -> bool;

    /// Whether no request may ever be begun any more: the connection ends with what is under way.
    fn is_closing(&self) -> bool;

    /// Queues a request; there must be room. Returns its size in bytes.
    fn begin(&mut self, tag: u32, request: &Request, stream: &mut Stream) -> usize;

    /// Takes what has come, and tells which requests are answered.
    ///
    /// # Errors
    /// If the bytes are not this protocol; the connection is of no use any more.
    fn receive(
        &mut self,
        chunk: Chunk,
        now: Instant,
        finished: impl FnMut(Finished),
    ) -> Result<(), ErrorKind>;

    /// The peer has ended the connection: which requests that answers.
    fn end(&mut self, finished: impl FnMut(Finished));

    /// Writes what is not on the stream yet; called at the end of every turn. The task of `cx` is woken when the rest
    /// can be written.
    fn flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>);

    /// Gives a request up that takes too long. False: only by closing the connection.
    fn cancel(&mut self, tag: u32) -> bool;

    /// Says that no more requests follow, where there are words for it.
    fn say_goodbye(&mut self, stream: &mut Stream);
}
