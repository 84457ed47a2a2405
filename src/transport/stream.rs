//! A connection's byte stream as its user sees it, whatever carries it.
//!
//! The calls are those of [`Socket`], and so is what they promise.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::tap::Tapped;
use super::tls::TlsStream;
use super::{ByteMeter, Tap};
use crate::buf::Chunk;
use crate::io::{Address, Socket, SocketOptions, spawn as io_spawn};
use crate::stats::groups::TlsStatsSet;
use crate::tls::{ClientContext, HandshakeFacts, ServerContext, ServerName, TlsError};

/// How long the kernel has to take the last record of a connection. It takes that at once unless its buffers are full.
const GOOD_BYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream of bytes over a transport socket.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
    /// What few streams have.
    aside: Option<Box<Aside>>,
}

#[derive(Debug, Default)]
struct Aside {
    /// Received, or the end, and not taken yet.
    peeked: Option<Option<Chunk>>,
    /// Who looks at the bytes that pass.
    tapped: Option<Tapped>,
    meter: Option<Rc<ByteMeter>>,
}

/// What carries the bytes.
#[derive(Debug)]
enum Kind {
    /// The socket itself (`raw_buffer`).
    Raw(Socket),
    /// TLS on it.
    Tls(TlsStream),
}

macro_rules! each {
    ($self:ident, $carrier:ident => $call:expr) => {
        match &$self.kind {
            Kind::Raw($carrier) => $call,
            Kind::Tls($carrier) => $call,
        }
    };
    (mut $self:ident, $carrier:ident => $call:expr) => {
        match &mut $self.kind {
            Kind::Raw($carrier) => $call,
            Kind::Tls($carrier) => $call,
        }
    };
}

impl Stream {
    /// The socket's own bytes.
    pub fn raw(socket: Socket) -> Stream {
        Stream { kind: Kind::Raw(socket), aside: None }
    }

    /// The client's end of TLS by a context of the caller's own; clusters have [`super::UpstreamTls`].
    pub fn tls_client(
        socket: Socket,
        context: &ClientContext,
        server_name: ServerName<'static>,
        stats: Arc<TlsStatsSet>,
    ) -> Stream {
        Stream::tls(TlsStream::client(socket, context, server_name, stats))
    }

    /// The server's end of TLS by a context of the caller's own; filter chains have [`super::DownstreamTls`].
    pub fn tls_server(socket: Socket, context: &Arc<ServerContext>, stats: Arc<TlsStatsSet>) -> Stream {
        Stream::tls(TlsStream::server(socket, context, stats))
    }

    /// What TLS carries.
    pub(super) fn tls(stream: TlsStream) -> Stream {
        Stream { kind: Kind::Tls(stream), aside: None }
    }

    /// What the handshake has settled, if this is TLS and its handshake complete.
    pub fn tls_facts(&self) -> Option<Rc<HandshakeFacts>> {
        match &self.kind {
            Kind::Raw(_) => None,
            Kind::Tls(stream) => stream.facts(),
        }
    }

    /// Why TLS failed, if it did.
    pub fn tls_failure(&self) -> Option<TlsError> {
        match &self.kind {
            Kind::Raw(_) => None,
            Kind::Tls(stream) => stream.failure(),
        }
    }

    /// Begins to connect; see [`Socket::connect`].
    pub fn connect(address: &Address, options: &SocketOptions) -> Stream {
        Stream::raw(Socket::connect(address, options))
    }

    /// Has `tap` look at everything that passes from now on.
    pub fn set_tap(&mut self, tap: Box<dyn Tap>) {
        self.aside.get_or_insert_default().tapped = Some(Tapped::new(tap));
    }

    /// Whether the tap has ended the connection.
    pub fn is_tap_closed(&self) -> bool {
        self.aside.as_ref().and_then(|aside| aside.tapped.as_ref()).is_some_and(Tapped::is_closed)
    }

    /// Has `meter` count everything that passes from now on.
    pub fn set_meter(&mut self, meter: Rc<ByteMeter>) {
        self.aside.get_or_insert_default().meter = Some(meter);
    }

    /// Ready once bytes can pass, or never will.
    pub fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(mut self, carrier => carrier.poll_connected(cx))
    }

    /// The next received bytes; `None` at the end of the peer's data.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        let Some(aside) = &mut self.aside else {
            return each!(mut self, carrier => carrier.poll_recv(cx));
        };
        if let Some(tapped) = aside.tapped.as_mut().filter(|tapped| !tapped.wants_more()) {
            return tapped.poll_passed(cx);
        }
        let received = match aside.peeked.take() {
            Some(peeked) => peeked,
            None => ready!(each!(mut self, carrier => carrier.poll_recv(cx)))?,
        };
        if let (Some(meter), Some(chunk)) = (&aside.meter, &received) {
            meter.add_received(chunk.len());
        }
        match &mut aside.tapped {
            None => Poll::Ready(Ok(received)),
            Some(tapped) => {
                tapped.received(received);
                tapped.poll_passed(cx)
            }
        }
    }

    /// As [`Stream::poll_recv`].
    pub async fn recv(&mut self) -> io::Result<Option<Chunk>> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Ready when bytes, the end or an error can be received. One piece at the most is received ahead for this.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_ready() {
            let received = ready!(each!(mut self, carrier => carrier.poll_recv(cx)))?;
            self.aside.get_or_insert_default().peeked = Some(received);
        }
        Poll::Ready(Ok(()))
    }

    /// To be called after the end of the peer's data; see [`Socket::poll_failed`].
    pub fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        each!(mut self, carrier => carrier.poll_failed(cx))
    }

    /// Bytes received and not yet taken.
    pub fn unread_bytes(&self) -> usize {
        let aside_bytes = self.aside.as_ref().map_or(0, |aside| aside.unread_bytes());
        aside_bytes + each!(self, carrier => carrier.unread_bytes())
    }

    /// How many received bytes may queue; see [`Socket::set_receive_limit`].
    pub fn set_receive_limit(&mut self, bytes: usize) {
        each!(mut self, carrier => carrier.set_receive_limit(bytes));
    }

    /// Queues a copy.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(aside) = &mut self.aside {
            aside.sending(bytes);
        }
        each!(mut self, carrier => carrier.write(bytes));
    }

    /// Queues a chunk, without copying unless it is small.
    #[inline]
    pub fn write_chunk(&mut self, chunk: Chunk) {
        if let Some(aside) = &mut self.aside {
            aside.sending(&chunk);
        }
        each!(mut self, carrier => carrier.write_chunk(chunk));
    }

    /// Lets `fill` append to the last queued buffer; see [`Socket::with_write_buffer`].
    #[inline]
    pub fn with_write_buffer<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let aside = &mut self.aside;
        each!(mut self, carrier => carrier.with_write_buffer(|buffer| {
            let before = buffer.len();
            let filled = fill(buffer);
            if let Some(aside) = aside {
                aside.sending(&buffer[before..]);
            }
            filled
        }))
    }

    /// Takes the last queued buffer away; see [`Socket::take_write_buffer`].
    #[inline]
    pub fn take_write_buffer(&mut self) -> Vec<u8> {
        each!(mut self, carrier => carrier.take_write_buffer())
    }

    /// Gives back what [`Stream::take_write_buffer`] took, when it held `taken_bytes`.
    #[inline]
    pub fn return_write_buffer(&mut self, buffer: Vec<u8>, taken_bytes: usize) {
        if let Some(aside) = &mut self.aside {
            aside.sending(&buffer[taken_bytes..]);
        }
        each!(mut self, carrier => carrier.return_write_buffer(buffer));
    }

    /// Bytes queued and not yet taken by the kernel.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        each!(self, carrier => carrier.queued_bytes())
    }

    /// Ready when at most `below_bytes` are queued, or sending has failed.
    #[inline]
    pub fn poll_drained(&mut self, cx: &mut Context<'_>, below_bytes: usize) -> Poll<io::Result<()>> {
        each!(mut self, carrier => carrier.poll_drained(cx, below_bytes))
    }

    /// As [`Stream::poll_drained`].
    pub async fn drained(&mut self, below_bytes: usize) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_drained(cx, below_bytes)).await
    }

    /// Ends our direction after what is queued; later writes are discarded.
    pub fn shutdown_write(&mut self) {
        each!(mut self, carrier => carrier.shutdown_write());
    }

    /// Delayed close, detached; see [`Socket::close_after_flush`].
    pub fn close_after_flush(self, timeout: Duration) {
        io_spawn(self.flush_and_close(timeout));
    }

    /// As [`Stream::close_after_flush`], for those who want to know when that is done.
    pub async fn flush_and_close(self, timeout: Duration) {
        match self.kind {
            Kind::Raw(socket) => socket.flush_and_close(timeout).await,
            Kind::Tls(stream) => stream.flush_and_close(timeout).await,
        }
    }

    /// Closes; unsent data is discarded. The peer is told so if TLS is to tell it.
    pub async fn close(self) {
        if let Kind::Tls(stream) = self.kind {
            stream.close(GOOD_BYE_TIMEOUT).await;
        }
    }

    /// As [`Stream::close`], detached.
    pub fn close_detached(self) {
        if matches!(self.kind, Kind::Tls(_)) {
            io_spawn(self.close());
        }
    }

    /// Closes with a reset; unsent data is discarded.
    pub fn reset(self) {
        match self.kind {
            Kind::Raw(socket) => socket.reset(),
            Kind::Tls(stream) => stream.reset(),
        }
    }

    /// Connected, nothing unread or unsent, and no end or error seen: fit for another request.
    pub fn is_reusable(&self) -> bool {
        !self.is_ready() && each!(self, carrier => carrier.is_reusable())
    }

    /// Whether the peer has ended its data or the connection has failed; see [`Socket::is_read_ended`].
    pub fn is_read_ended(&self) -> bool {
        each!(self, carrier => carrier.is_read_ended())
    }

    /// Why sending failed, if it did.
    pub fn write_error(&self) -> Option<io::Error> {
        each!(self, carrier => carrier.write_error())
    }

    /// Bytes sent so far, as this stream's user counts them.
    pub fn bytes_sent(&self) -> u64 {
        each!(self, carrier => carrier.bytes_sent())
    }

    /// Bytes written so far, sent or not.
    pub fn bytes_written(&self) -> u64 {
        each!(self, carrier => carrier.bytes_written())
    }

    /// Bytes received so far, read or not.
    pub fn bytes_received(&self) -> u64 {
        each!(self, carrier => carrier.bytes_received())
    }

    /// Bytes that [`Stream::poll_recv`] has given so far.
    pub fn bytes_taken(&self) -> u64 {
        let aside_bytes = self.aside.as_ref().map_or(0, |aside| aside.unread_bytes()) as u64;
        each!(self, carrier => carrier.bytes_taken()).saturating_sub(aside_bytes)
    }

    /// This side's address. A system call.
    ///
    /// # Errors
    /// If connecting failed at once.
    pub fn local_address(&self) -> io::Result<Address> {
        each!(self, carrier => carrier.local_address())
    }

    /// Whether something was received ahead.
    fn is_ready(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| {
            aside.peeked.is_some() || aside.tapped.as_ref().is_some_and(|tapped| !tapped.wants_more())
        })
    }
}

impl Aside {
    fn unread_bytes(&self) -> usize {
        let peeked_bytes = self.peeked.iter().flatten().map(|chunk| chunk.len()).sum::<usize>();
        peeked_bytes + self.tapped.as_ref().map_or(0, Tapped::waiting_bytes)
    }

    fn sending(&mut self, bytes: &[u8]) {
        if let Some(meter) = &self.meter {
            meter.add_sent(bytes.len());
        }
        if let Some(tapped) = &mut self.tapped {
            tapped.sending(bytes);
        }
    }
}
