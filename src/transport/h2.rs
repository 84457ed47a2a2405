//! A connection's HTTP/2 codec joined to its stream: reads as bytes come, writes once per loop turn what its
//! users have sent meanwhile, and tells when it is over.
//!
//! One task drives the link ([`H2Link::poll_drive`]); any number of others use the codec through
//! [`H2Link::with`]. No policy is here: nothing is opened, reset or timed out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Stream;
use crate::buf::Chunk;
use crate::http::h2::{Connection, Output};
use crate::io::{self, Deferred};

/// Bytes that may wait in the stream for the kernel. More stay in the codec, where they are written in turns, so
/// that no HTTP/2 stream has to wait for all that another one had to send.
const QUEUE_BYTES: usize = 256 * 1024;

/// A HTTP/2 connection and its stream of bytes. Clones are the same one.
#[derive(Clone)]
pub struct H2Link(Rc<Shared>);

struct Shared {
    codec: RefCell<Connection>,
    /// None once it was given away.
    stream: RefCell<Option<Stream>>,
    /// Writing is put off to the end of the loop turn.
    is_deferred: Cell<bool>,
    /// Who drives the link; woken when writing has to wait for the kernel, and when a connection that ends is drained.
    driver: RefCell<Option<Waker>>,
}

impl H2Link {
    /// Joins a codec to a stream. What waits in the codec is written at the end of this loop turn.
    pub fn new(codec: Connection, stream: Stream) -> H2Link {
        let link = H2Link(Rc::new(Shared {
            codec: RefCell::new(codec),
            stream: RefCell::new(Some(stream)),
            is_deferred: Cell::new(false),
            driver: RefCell::new(None),
        }));
        link.defer_output();
        link
    }

    /// Lends the codec; what is sent by it leaves at the end of the loop turn. Must not be nested.
    #[inline]
    pub fn with<R>(&self, use_it: impl FnOnce(&mut Connection) -> R) -> R {
        let mut codec = self.0.codec.borrow_mut();
        let result = use_it(&mut codec);
        let wants_output = codec.wants_output();
        drop(codec);
        if wants_output {
            self.defer_output();
        }
        result
    }

    /// Lends the stream, for its counters and addresses; none once it was given away.
    pub fn with_stream<R>(&self, use_it: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        self.0.stream.borrow_mut().as_mut().map(use_it)
    }

    /// Writes what is left of a connection without streams: its last words, which wait for no room.
    pub fn write_rest(&self) {
        if let Some(stream) = self.0.stream.borrow_mut().as_mut() {
            write(&mut self.0.codec.borrow_mut(), stream, usize::MAX);
        }
    }

    /// Takes bytes that were received before the codec was there.
    pub fn receive(&self, chunk: Chunk) {
        self.0.receive(chunk);
        self.defer_output();
    }

    /// Reads what has come, and waits for room where there is more to write. Ready once the connection is over:
    /// by the peer, by an error, or because its owner has closed it. The stream may have something left to send
    /// then.
    pub fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.0;
        let mut stream = shared.stream.borrow_mut();
        let Some(stream) = stream.as_mut() else { return Poll::Ready(()) };
        loop {
            let mut codec = shared.codec.borrow_mut();
            if codec.ended().is_some() {
                // The last words.
                write(&mut codec, stream, usize::MAX);
                return Poll::Ready(());
            }
            match stream.poll_recv(cx) {
                // An error ends the connection, which the codec knows.
                Poll::Ready(Ok(Some(chunk))) => drop(codec.receive(chunk, io::now())),
                Poll::Ready(Ok(None) | Err(_)) => codec.transport_closed(),
                Poll::Pending if !codec.wants_output() => break,
                Poll::Pending => match stream.poll_drained(cx, QUEUE_BYTES / 2) {
                    Poll::Ready(Ok(())) => {
                        drop(codec);
                        self.defer_output();
                        break;
                    }
                    Poll::Ready(Err(_)) => codec.transport_closed(),
                    Poll::Pending => break,
                },
            }
        }
        let mut driver = shared.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Gives the stream away; nothing is read or written any more. None if that was done before.
    pub fn take_stream(&self) -> Option<Stream> {
        self.0.stream.take()
    }

    #[inline]
    fn defer_output(&self) {
        if !self.0.is_deferred.replace(true) {
            io::defer(Rc::clone(&self.0) as Rc<dyn Deferred>);
        }
    }
}

impl Shared {
    fn receive(&self, chunk: Chunk) {
        // An error ends the connection, which the codec knows.
        let _ = self.codec.borrow_mut().receive(chunk, io::now());
    }
}

impl Deferred for Shared {
    fn run(&self) {
        self.is_deferred.set(false);
        let mut codec = self.codec.borrow_mut();
        if let Some(stream) = self.stream.borrow_mut().as_mut() {
            write(&mut codec, stream, QUEUE_BYTES);
        }
        // There is more to write, or that was the last.
        if (codec.wants_output() || codec.is_drained())
            && let Some(driver) = self.driver.borrow().as_ref()
        {
            driver.wake_by_ref();
        }
    }
}

/// Has a codec write to its stream what there is room for: for owners of both that have no [`H2Link`]. To be called
/// once per loop turn; if something is left, again when the stream has drained.
pub fn write_h2_output(codec: &mut Connection, stream: &mut Stream) {
    write(codec, stream, QUEUE_BYTES);
}

fn write(codec: &mut Connection, stream: &mut Stream, queue_bytes: usize) {
    if codec.wants_output() {
        let room_bytes = queue_bytes.saturating_sub(stream.queued_bytes());
        let tail = stream.take_write_buffer();
        let taken_bytes = tail.len();
        let mut output =
            StreamOutput { stream, tail, taken_bytes, limit_bytes: taken_bytes.saturating_add(room_bytes) };
        codec.write_output(&mut output);
        output.stream.return_write_buffer(output.tail, output.taken_bytes);
    }
}

/// The stream as the codec writes to it.
struct StreamOutput<'a> {
    stream: &'a mut Stream,
    /// The end of what is queued.
    tail: Vec<u8>,
    /// What it held when it was taken.
    taken_bytes: usize,
    /// How long `tail` may become.
    limit_bytes: usize,
}

impl Output for StreamOutput<'_> {
    fn room_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.tail.len())
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    fn write_chunk(&mut self, chunk: Chunk) {
        let room_bytes = self.room_bytes().saturating_sub(chunk.len());
        self.stream.return_write_buffer(std::mem::take(&mut self.tail), self.taken_bytes);
        self.stream.write_chunk(chunk);
        self.tail = self.stream.take_write_buffer();
        self.taken_bytes = self.tail.len();
        self.limit_bytes = self.taken_bytes.saturating_add(room_bytes);
    }
}
