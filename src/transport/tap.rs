//! Looking at the bytes of a stream on their way: how network filters in front of the last one see data.

use std::io;
use std::task::{Context, Poll, ready};

use crate::buf::Chunk;

/// Looks at the bytes that pass a stream.
pub trait Tap {
    /// Bytes from the peer, at least one, or its `end`. Called with the same bytes again and again until they
    /// may pass.
    ///
    /// # Errors
    /// If the connection shall end.
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &[u8], end: bool) -> Poll<Result<(), TapClosed>>;

    /// Bytes to the peer; they have passed already.
    ///
    /// # Errors
    /// If the connection shall end.
    fn on_write(&mut self, bytes: &[u8]) -> Result<(), TapClosed>;
}

/// A tap ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapClosed;

/// A tap and what waits for it.
pub(super) struct Tapped {
    tap: Box<dyn Tap>,
    /// Received and not yet let through.
    waiting: Option<Option<Chunk>>,
    is_closed: bool,
}

impl Tapped {
    pub(super) fn new(tap: Box<dyn Tap>) -> Tapped {
        Tapped { tap, waiting: None, is_closed: false }
    }

    /// Whether nothing waits to pass.
    pub(super) fn wants_more(&self) -> bool {
        self.waiting.is_none() && !self.is_closed
    }

    /// Whether the tap has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Bytes that wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().flatten().map(|chunk| chunk.len()).sum()
    }

    /// Takes what was received.
    pub(super) fn received(&mut self, received: Option<Chunk>) {
        self.waiting = Some(received);
    }

    /// What was received, once it may pass.
    pub(super) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        if let (Some(waiting), false) = (&self.waiting, self.is_closed) {
            let bytes = waiting.as_deref().unwrap_or_default();
            self.is_closed = ready!(self.tap.poll_read(cx, bytes, waiting.is_none())).is_err();
        }
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(self.waiting.take().flatten()))
    }

    /// Looks at bytes that are sent.
    pub(super) fn sending(&mut self, bytes: &[u8]) {
        self.is_closed |= !bytes.is_empty() && self.tap.on_write(bytes).is_err();
    }
}

impl std::fmt::Debug for Tapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tapped").field("is_closed", &self.is_closed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    struct Script(Vec<Poll<Result<(), TapClosed>>>);

    impl Tap for Script {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &[u8], _: bool) -> Poll<Result<(), TapClosed>> {
            self.0.remove(0)
        }

        fn on_write(&mut self, _bytes: &[u8]) -> Result<(), TapClosed> {
            Ok(())
        }
    }

    #[test]
    fn bytes_pass_now_later_or_never() {
        let mut cx = Context::from_waker(Waker::noop());
        let pass = Poll::Ready(Ok(()));
        let script = vec![pass, Poll::Pending, Poll::Pending, pass, Poll::Ready(Err(TapClosed))];
        let mut tapped = Tapped::new(Box::new(Script(script)));
        let mut next = |tapped: &mut Tapped, bytes: &[u8]| {
            if tapped.wants_more() {
                tapped.received(Some(Chunk::copy_from(bytes)));
            }
            tapped.poll_passed(&mut cx).map(|passed| passed.map(|chunk| chunk.map(|chunk| chunk.to_vec())))
        };
        assert!(matches!(next(&mut tapped, b"a"), Poll::Ready(Ok(Some(bytes))) if bytes == b"a"));
        assert!(next(&mut tapped, b"b").is_pending());
        assert!(next(&mut tapped, b"").is_pending());
        assert!(matches!(next(&mut tapped, b""), Poll::Ready(Ok(Some(bytes))) if bytes == b"b"));
        assert!(matches!(next(&mut tapped, b"c"), Poll::Ready(Err(_))));
        assert!(matches!(next(&mut tapped, b"d"), Poll::Ready(Err(_))), "for good");
    }
}
