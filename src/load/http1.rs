//! HTTP/1.1 on a connection of a load run (RFC 9112): requests go out as they were encoded, answers come back in the
//! same order.

use std::collections::VecDeque;
use std::task::Context;

use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::transport::Stream;

use super::error::ErrorKind;
use super::protocol::{Finished, Protocol};
use super::request::Request;
use super::response::{Response, ResponseScanner};

#[derive(Debug)]
pub(super) struct Http1 {
    scanner: ResponseScanner,
    /// Requests without an answer, the oldest first: tag, and whether it is HEAD.
    awaited: VecDeque<(u32, bool)>,
    /// An answer said that the connection ends.
    closing: bool,
}

impl Protocol for Http1 {
    fn new(depth: u32) -> Http1 {
        let awaited = VecDeque::with_capacity(depth as usize);
        Http1 { scanner: ResponseScanner::default(), awaited, closing: false }
    }

    #[inline]
    fn has_room(&self) -> bool {
        !self.closing
    }

    #[inline]
    fn is_closing(&self) -> bool {
        self.closing
    }

    #[inline]
    fn begin(&mut self, tag: u32, request: &Request, stream: &mut Stream) -> usize {
        self.awaited.push_back((tag, request.is_head));
        stream.write_chunk(request.http1.clone());
        request.http1.len()
    }

    #[inline]
    fn receive(
        &mut self,
        chunk: Chunk,
        _: Instant,
        mut finished: impl FnMut(Finished),
    ) -> Result<(), ErrorKind> {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let &(tag, is_head) = self.awaited.front().ok_or(ErrorKind::Malformed)?;
            let (taken, response) = self.scanner.take(rest, is_head).map_err(|_| ErrorKind::Malformed)?;
            rest = &rest[taken..];
            if let Some(response) = response {
                finished(self.finish(tag, response));
            }
        }
        Ok(())
    }

    fn end(&mut self, mut finished: impl FnMut(Finished)) {
        if let Some(&(tag, _)) = self.awaited.front()
            && let Some(response) = self.scanner.end()
        {
            finished(self.finish(tag, response));
        }
    }

    #[inline]
    fn flush(&mut self, _: &mut Stream, _: &mut Context<'_>) {}

    fn cancel(&mut self, _: u32) -> bool {
        false
    }

    fn say_goodbye(&mut self, _: &mut Stream) {}
}

impl Http1 {
    #[inline]
    fn finish(&mut self, tag: u32, response: Response) -> Finished {
        self.awaited.pop_front();
        self.closing |= !response.keep_alive;
        Finished { tag, outcome: Ok(response.status) }
    }
}
