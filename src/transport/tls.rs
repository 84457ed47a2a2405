//! TLS over a socket: the session of `crate::tls` joined to the bytes of [`Socket`], with the same calls.
//!
//! What was written in a loop turn is sealed at its end, so that it shares records; what is received is opened when
//! it is read. Decides about no peer and no deadline: contexts and their rules come from `crate::tls`, and whoever
//! waits for a handshake has the timer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::buf::{Chain, Chunk, recycle_vec, take_vec};
use crate::io::{Address, Deferred, Socket, Timer, defer};
use crate::stats::groups::TlsStatsSet;
use crate::tls::{ClientContext, HandshakeFacts, ServerContext, ServerName, Session, TlsError};

/// Up to so many bytes one record is sealed right behind what the socket has queued already; more go in records of
/// their own, whose memory the socket takes as it is.
const ONE_RECORD_BYTES: usize = 16 * 1024;

/// Chunks up to this size are copied to the end of the queue.
const COPY_BYTES: usize = 1024;

/// An alert is no longer than this, whatever it is sealed with.
const ALERT_BYTES: usize = 128;

/// A socket with TLS on it.
pub(super) struct TlsStream(Rc<Shared>);

struct Shared {
    /// None once it was closed; the end of the loop turn may still come by then.
    inner: RefCell<Option<Inner>>,
    is_deferred: Cell<bool>,
}

struct Inner {
    socket: Socket,
    session: Session,
    stats: Arc<TlsStatsSet>,
    /// Written and not sealed: chunks, then `tail`.
    queue: Chain,
    tail: Vec<u8>,
    /// Nothing more will be written; said to the peer once that is sealed.
    is_ended: bool,
    failure: Option<TlsError>,
    /// The handshake is in the statistics.
    is_counted: bool,
    /// Since the beginning, as this stream's user counts.
    written_bytes: u64,
    read_bytes: u64,
}

impl TlsStream {
    /// The server's end of a connection that was accepted.
    pub fn server(socket: Socket, context: &Arc<ServerContext>, stats: Arc<TlsStatsSet>) -> TlsStream {
        TlsStream::new(socket, Session::server(context), None, stats)
    }

    /// The client's end of a connection that may still be about to be made. The hello is sent behind what the socket
    /// has queued already.
    pub fn client(
        mut socket: Socket,
        context: &ClientContext,
        server_name: ServerName<'static>,
        stats: Arc<TlsStatsSet>,
    ) -> TlsStream {
        match socket.with_write_buffer(|out| Session::client(context, server_name, out)) {
            Ok(session) => TlsStream::new(socket, session, None, stats),
            Err(error) => {
                stats.record_failure(&error);
                TlsStream::refused(socket, error, stats)
            }
        }
    }

    /// A connection on which TLS cannot begin.
    pub fn refused(socket: Socket, error: TlsError, stats: Arc<TlsStatsSet>) -> TlsStream {
        TlsStream::new(socket, Session::failed(), Some(error), stats)
    }

    fn new(
        socket: Socket,
        session: Session,
        failure: Option<TlsError>,
        stats: Arc<TlsStatsSet>,
    ) -> TlsStream {
        let inner = Inner {
            socket,
            session,
            stats,
            queue: Chain::new(),
            tail: Vec::new(),
            is_ended: false,
            failure,
            is_counted: false,
            written_bytes: 0,
            read_bytes: 0,
        };
        TlsStream(Rc::new(Shared { inner: RefCell::new(Some(inner)), is_deferred: Cell::new(false) }))
    }

    /// What the handshake has settled; none before it is complete.
    pub fn facts(&self) -> Option<Rc<HandshakeFacts>> {
        self.with(|inner| inner.session.facts().cloned())
    }

    /// Why the session failed, if it did.
    pub fn failure(&self) -> Option<TlsError> {
        self.with(|inner| inner.failure.clone())
    }

    /// As [`Socket::poll_connected`], and the handshake is complete.
    pub fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connected = self.with(|inner| inner.poll_connected(cx));
        if connected.is_ready() {
            // Something may have been written before it could be sealed.
            self.seal_later();
        }
        connected
    }

    /// As [`Socket::poll_recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        self.with(|inner| inner.poll_recv(cx))
    }

    /// As [`Socket::poll_failed`].
    pub fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|inner| match inner.failure {
            Some(_) => Poll::Ready(()),
            None => inner.socket.poll_failed(cx),
        })
    }

    /// As [`Socket::unread_bytes`]; what was not opened yet counts as it is.
    pub fn unread_bytes(&self) -> usize {
        self.with(|inner| inner.session.unread_bytes() + inner.socket.unread_bytes())
    }

    /// As [`Socket::set_receive_limit`].
    pub fn set_receive_limit(&mut self, bytes: usize) {
        self.with(|inner| inner.socket.set_receive_limit(bytes));
    }

    /// As [`Socket::write`].
    pub fn write(&mut self, bytes: &[u8]) {
        self.queue(|inner| inner.append(bytes));
    }

    /// As [`Socket::write_chunk`].
    pub fn write_chunk(&mut self, chunk: Chunk) {
        self.queue(|inner| {
            if chunk.len() <= COPY_BYTES {
                inner.append(&chunk);
            } else {
                inner.written_bytes += chunk.len() as u64;
                inner.end_tail();
                inner.queue.push(chunk);
            }
        });
    }

    /// As [`Socket::with_write_buffer`].
    pub fn with_write_buffer<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut buffer = self.take_write_buffer();
        let filled = fill(&mut buffer);
        self.return_write_buffer(buffer);
        filled
    }

    /// As [`Socket::take_write_buffer`].
    pub fn take_write_buffer(&mut self) -> Vec<u8> {
        self.with(|inner| match std::mem::take(&mut inner.tail) {
            tail if tail.capacity() == 0 => take_vec(),
            tail => {
                // Counted again when it comes back.
                inner.written_bytes -= tail.len() as u64;
                tail
            }
        })
    }

    /// As [`Socket::return_write_buffer`].
    pub fn return_write_buffer(&mut self, buffer: Vec<u8>) {
        self.queue(|inner| {
            inner.written_bytes += buffer.len() as u64;
            inner.tail = buffer;
        });
    }

    /// As [`Socket::queued_bytes`]; what is sealed already counts with its records.
    pub fn queued_bytes(&self) -> usize {
        self.with(|inner| inner.unsealed_bytes() + inner.socket.queued_bytes())
    }

    /// As [`Socket::poll_drained`].
    pub fn poll_drained(&mut self, cx: &mut Context<'_>, below_bytes: usize) -> Poll<io::Result<()>> {
        self.with(|inner| {
            if let Some(failure) = &inner.failure {
                return Poll::Ready(Err(io_error(failure)));
            }
            if inner.unsealed_bytes() > 0 {
                if inner.unsealed_bytes() + inner.socket.queued_bytes() <= below_bytes {
                    return Poll::Ready(Ok(()));
                }
                // The kernel shall tell when it has taken them.
                inner.seal();
            }
            inner.socket.poll_drained(cx, below_bytes)
        })
    }

    /// As [`Socket::shutdown_write`]; the peer is told so by TLS first.
    pub fn shutdown_write(&mut self) {
        self.with(Inner::end);
    }

    /// As [`Socket::flush_and_close`].
    pub async fn flush_and_close(self, timeout: Duration) {
        let Some(mut inner) = self.0.inner.take() else { return };
        inner.end();
        if inner.session.facts().is_none() && inner.failure.is_none() {
            // Neither side could have anything to say to the other.
            return;
        }
        inner.socket.flush_and_close(timeout).await;
    }

    /// Closes; says good-bye first unless what was written before is not sent yet: the peer would take a part for
    /// the whole (RFC 8446 6.1). After a failure, the peer is told of that.
    pub async fn close(self, timeout: Duration) {
        let Some(mut inner) = self.0.inner.take() else { return };
        if inner.failure.is_none() {
            let is_all_sent = inner.unsealed_bytes() + inner.socket.queued_bytes() == 0;
            if !is_all_sent || !inner.session.is_open() {
                return;
            }
            inner.end();
        }
        let mut timer = Timer::new();
        timer.arm_after(timeout);
        poll_fn(|cx| match inner.socket.poll_drained(cx, 0) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => timer.poll_expired(cx),
        })
        .await;
    }

    /// As [`Socket::reset`].
    pub fn reset(self) {
        if let Some(inner) = self.0.inner.take() {
            inner.socket.reset();
        }
    }

    /// As [`Socket::is_reusable`]. What has come and is no data (tickets for a later session) does not matter.
    pub fn is_reusable(&self) -> bool {
        self.with(|inner| {
            while let Some(chunk) = inner.socket.try_recv() {
                if inner.receive(chunk).is_err() {
                    return false;
                }
            }
            inner.session.is_open()
                && !inner.session.is_peer_closed()
                && !inner.session.is_worn()
                && inner.session.unread_bytes() == 0
                && inner.failure.is_none()
                && !inner.is_ended
                && inner.unsealed_bytes() == 0
                && inner.socket.is_reusable()
        })
    }

    /// As [`Socket::is_read_ended`].
    pub fn is_read_ended(&self) -> bool {
        self.with(|inner| {
            inner.failure.is_some() || inner.session.is_peer_closed() || inner.socket.is_read_ended()
        })
    }

    /// As [`Socket::write_error`].
    pub fn write_error(&self) -> Option<io::Error> {
        self.with(|inner| inner.failure.as_ref().map(io_error).or_else(|| inner.socket.write_error()))
    }

    /// Bytes written and not queued any more.
    pub fn bytes_sent(&self) -> u64 {
        self.with(|inner| {
            let queued_bytes = inner.unsealed_bytes() + inner.socket.queued_bytes();
            inner.written_bytes.saturating_sub(queued_bytes as u64)
        })
    }

    /// Bytes of data written, sealed or not.
    pub fn bytes_written(&self) -> u64 {
        self.with(|inner| inner.written_bytes)
    }

    /// Bytes of data received and opened, read or not.
    pub fn bytes_received(&self) -> u64 {
        self.with(|inner| inner.read_bytes + inner.session.unread_bytes() as u64)
    }

    /// Bytes of data read.
    pub fn bytes_taken(&self) -> u64 {
        self.with(|inner| inner.read_bytes)
    }

    /// As [`Socket::local_address`].
    ///
    /// # Errors
    /// If connecting failed at once.
    pub fn local_address(&self) -> io::Result<Address> {
        self.with(|inner| inner.socket.local_address())
    }

    fn queue(&mut self, put: impl FnOnce(&mut Inner)) {
        let is_wanted = self.with(|inner| {
            let is_wanted = !inner.is_ended && inner.failure.is_none();
            if is_wanted {
                put(inner);
            }
            is_wanted
        });
        if is_wanted {
            self.seal_later();
        }
    }

    fn seal_later(&self) {
        if !self.0.is_deferred.replace(true) {
            defer(Rc::clone(&self.0) as Rc<dyn Deferred>);
        }
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut Inner) -> R) -> R {
        use_it(self.0.inner.borrow_mut().as_mut().expect("closing it consumes the stream"))
    }
}

impl Deferred for Shared {
    fn run(&self) {
        self.is_deferred.set(false);
        if let Some(inner) = self.inner.borrow_mut().as_mut() {
            inner.seal();
        }
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        // Not when the loop turn ends.
        self.0.inner.take();
    }
}

impl Inner {
    fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.socket.poll_connected(cx))?;
        loop {
            if let Some(failure) = &self.failure {
                return Poll::Ready(Err(io_error(failure)));
            }
            if self.session.is_open() {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.socket.poll_recv(cx))? {
                Some(chunk) => self.receive(chunk)?,
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        loop {
            if let Some(chunk) = self.session.read() {
                self.read_bytes += chunk.len() as u64;
                return Poll::Ready(Ok(Some(chunk)));
            }
            if let Some(failure) = &self.failure {
                // Who is told so closes: first the peer shall have its alert, if nothing else stands in the way.
                if self.socket.queued_bytes() <= ALERT_BYTES {
                    let _ = ready!(self.socket.poll_drained(cx, 0));
                }
                return Poll::Ready(Err(io_error(failure)));
            }
            if self.session.is_peer_closed() {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.socket.poll_recv(cx))? {
                Some(chunk) => {
                    // Told once what came before it is read.
                    let _ = self.receive(chunk);
                }
                // As Envoy takes it, also if the peer did not say so: lengths are checked above.
                None if self.session.is_open() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// Opens what has come, and sends what the protocol has to say to it.
    fn receive(&mut self, chunk: Chunk) -> io::Result<()> {
        let mut answer = Vec::new();
        let received = self.session.receive(chunk, &mut answer);
        if !answer.is_empty() {
            self.socket.write_chunk(Chunk::from_vec(answer));
        }
        if !self.is_counted
            && let Some(facts) = self.session.facts()
        {
            self.is_counted = true;
            self.stats.record_handshake(facts);
        }
        received.map_err(|error| {
            if !self.is_counted {
                self.is_counted = true;
                self.stats.record_ocsp(self.session.ocsp());
            }
            self.fail(error)
        })
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.tail.capacity() == 0 {
            self.tail = take_vec();
        }
        self.tail.extend_from_slice(bytes);
        self.written_bytes += bytes.len() as u64;
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.queue.push(Chunk::from_vec(std::mem::take(&mut self.tail)));
        }
    }

    fn unsealed_bytes(&self) -> usize {
        self.queue.len_bytes() + self.tail.len()
    }

    /// Encrypts what was written, if that is possible yet.
    fn seal(&mut self) {
        let unsealed_bytes = self.unsealed_bytes();
        if unsealed_bytes == 0 || !self.session.is_open() {
            return;
        }
        let sealed = if unsealed_bytes <= ONE_RECORD_BYTES { self.seal_one() } else { self.seal_many() };
        if let Err(error) = sealed {
            self.fail(error);
        }
    }

    fn seal_one(&mut self) -> Result<(), TlsError> {
        let mut out = self.socket.take_write_buffer();
        let parts = self.queue.iter().map(|chunk| &**chunk).chain([&*self.tail]);
        let written = self.session.write(parts, &mut out);
        self.socket.return_write_buffer(out);
        self.queue.clear();
        recycle_vec(std::mem::take(&mut self.tail));
        written
    }

    fn seal_many(&mut self) -> Result<(), TlsError> {
        self.end_tail();
        let mut records = Chain::new();
        let sealed = self.session.seal(&mut self.queue, &mut records);
        while let Some(record) = records.pop() {
            self.socket.write_chunk(record);
        }
        sealed
    }

    /// Nothing more is written.
    fn end(&mut self) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        self.seal();
        if self.failure.is_none() {
            let session = &mut self.session;
            self.socket.with_write_buffer(|out| session.close(out));
        }
        self.socket.shutdown_write();
    }

    fn fail(&mut self, error: TlsError) -> io::Error {
        self.stats.record_failure(&error);
        self.queue.clear();
        self.tail.clear();
        let described = io_error(&error);
        self.failure = Some(error);
        described
    }
}

/// What readers and writers are told.
fn io_error(error: &TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.clone())
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsStream")
    }
}
