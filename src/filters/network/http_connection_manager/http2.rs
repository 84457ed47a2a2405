//! A client's HTTP/2 connection from its preface to its end: a task for each stream, the connection's own
//! timeouts, and a graceful end (RFC 9113 section 6.8).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::config::Http2Keepalive;
use crate::filters::network::DrainRegistration;
use crate::http::h2::{ConnectionEnd, ConnectionError, ErrorCode, IncomingRequest};
use crate::http::{Method, RequestHead, Version, h2, header};
use crate::io::{self, Timer, pooled};
use crate::stream_info::Timing;
use crate::transport::{H2Link, Stream};

use super::HttpConnectionManager;
use super::context::{Account, ConnectionContext};
use super::deadlines::Deadline;
use super::exchange::{Exchange, Request};
use super::h2::H2Stream;
use super::stream_clock::StreamClock;

/// How often streams are looked at within `stream_flush_timeout`: one that was never seen to move is reset, so that it
/// gets up to half of the timeout more.
const FLUSH_CHECKS: u32 = 2;

/// Serves a connection until it ends. `first`: what was received of it already.
pub fn serve_http2(mut account: Account, stream: Stream, first: Chunk) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        account.speaks_http2();
        let cx = Rc::clone(&account.cx);
        let buffer_limit = u32::try_from(cx.listener.buffer_limit_bytes).unwrap_or(u32::MAX);
        let settings = h2::H2Settings { stream_send_buffer_bytes: buffer_limit, ..cx.manager.h2_settings };
        let link = H2Link::new(h2::Connection::server(settings), stream);
        let is_recognized = !first.is_empty();
        if is_recognized {
            link.receive(first);
        }
        let mut server = Server {
            drain: cx.listener.drain.register(),
            shared: Rc::new(Shared {
                link,
                cx,
                streams: Cell::new(0),
                quiet_since: Cell::new(io::now()),
                awaited_by: RefCell::new(None),
            }),
            clock: StreamClock::new(),
            flush_check: Timer::new(),
            is_recognized,
            requests: 0,
            phase: Phase::Serving,
            ping_answered: false,
        };
        server.start();
        poll_fn(|cx| server.poll(cx)).await;
        server.finish().await;
        drop(account);
    })
}

/// What the connection's task and its streams' share.
pub(super) struct Shared {
    link: H2Link,
    cx: Rc<ConnectionContext>,
    /// Exchanges that go on.
    streams: Cell<u32>,
    /// When the last exchange ended.
    quiet_since: Cell<Instant>,
    /// Who waits for the last stream to end.
    awaited_by: RefCell<Option<Waker>>,
}

/// How far the connection is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// The client was told to open no more streams; those on their way are served.
    Announced,
    /// The client was told which streams are the last.
    Closing,
}

/// The connection's own task.
struct Server {
    shared: Rc<Shared>,
    drain: DrainRegistration,
    clock: StreamClock,
    /// Another look at the streams whose client does not read is due (`stream_flush_timeout`).
    flush_check: Timer,
    /// What came first was HTTP/2.
    is_recognized: bool,
    requests: u32,
    phase: Phase,
    /// The PING that was sent will have been answered when its deadline passes, or the connection is closed.
    ping_answered: bool,
}

impl Server {
    fn manager(&self) -> &HttpConnectionManager {
        &self.shared.cx.manager
    }

    fn start(&mut self) {
        let manager = Arc::clone(&self.shared.cx.manager);
        self.clock.set(Deadline::ConnectionDuration, manager.max_connection_duration);
        self.clock.set(Deadline::ConnectionIdle, manager.connection_idle_timeout);
        self.schedule_ping();
        self.schedule_flush_check();
    }

    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.phase == Phase::Serving && self.drain.is_draining() {
            self.manager().stats.connections.downstream_cx_drain_close.inc();
            self.announce_end();
        }
        self.drain.set_waker(cx.waker());
        let over = self.shared.link.poll_drive(cx);
        while let Some(request) = self.shared.link.with(|codec| codec.next_request()) {
            self.begin(request);
        }
        let counts = self.shared.link.with(|codec| codec.take_counts());
        self.manager().stats.h2_codec.record(&counts);
        self.note_protocol();
        if over.is_ready() {
            return Poll::Ready(());
        }
        while let Poll::Ready(deadline) = self.clock.poll_due(cx) {
            self.on_deadline(deadline);
        }
        while self.flush_check.poll_expired(cx).is_ready() {
            let unread = self.shared.link.with(|codec| codec.reset_unread_responses(FLUSH_CHECKS));
            self.manager().stats.h2_codec.tx_flush_timeout.add(unread);
            self.schedule_flush_check();
        }
        if self.shared.link.with(|codec| codec.ended().is_some()) {
            // By what was done about a request or a deadline.
            return Poll::Ready(());
        }
        self.poll_drained(cx)
    }

    /// Tells the connection's log what is spoken, as soon as something was understood.
    fn note_protocol(&mut self) {
        let info = &self.shared.cx.info;
        if info.protocol.get().is_some() {
            return;
        }
        self.shared.link.with(|codec| {
            let is_broken = matches!(codec.ended(), Some(ConnectionEnd::Error(_)));
            if !is_broken && (self.is_recognized || codec.has_peer_settings()) {
                info.note_protocol(Version::Http2);
            }
        });
    }

    /// Serves a request in a task of its own.
    fn begin(&mut self, request: IncomingRequest) {
        let IncomingRequest { stream, head, end_stream, overflow } = request;
        let id = stream;
        let stream = H2Stream::new(self.shared.link.clone(), id);
        if let Some(overflow) = overflow {
            // As Envoy: the stream is reset.
            return self.shared.link.with(|codec| codec.refuse(id, overflow, io::now()));
        }
        self.requests += 1;
        let most = self.manager().max_requests_per_connection;
        if self.phase == Phase::Serving && most.is_some_and(|most| self.requests >= most) {
            self.manager().stats.connections.downstream_cx_max_requests_reached.inc();
            self.announce_end();
        }
        self.shared.streams.set(self.shared.streams.get() + 1);
        let (shared, request) = (Rc::clone(&self.shared), to_request(head, end_stream));
        io::spawn(pooled(move || serve_stream(shared, stream, request)));
    }

    fn on_deadline(&mut self, deadline: Deadline) {
        let stats = self.manager().stats.connections;
        match deadline {
            Deadline::ConnectionIdle => self.on_idle_deadline(),
            Deadline::ConnectionDuration if self.phase == Phase::Serving => {
                stats.downstream_cx_max_duration_reached.inc();
                self.announce_end();
            }
            Deadline::Drain => {
                self.phase = Phase::Closing;
                self.shared.link.with(|codec| codec.shut_down());
            }
            Deadline::Keepalive => self.on_keepalive(),
            _ => {}
        }
    }

    /// The idle timeout has passed since it was last set; streams may have come and gone meanwhile.
    fn on_idle_deadline(&mut self) {
        let Some(timeout) = self.manager().connection_idle_timeout else { return };
        let quiet = io::now().since(self.shared.quiet_since.get());
        if self.shared.streams.get() > 0 {
            self.clock.set(Deadline::ConnectionIdle, Some(timeout));
        } else if quiet < timeout {
            self.clock.set(Deadline::ConnectionIdle, Some(timeout - quiet));
        } else {
            self.manager().stats.connections.downstream_cx_idle_timeout.inc();
            if self.phase == Phase::Serving {
                self.announce_end();
            }
        }
    }

    /// The next PING is due, or the answer to the last one.
    fn on_keepalive(&mut self) {
        if self.shared.link.with(|codec| codec.is_ping_outstanding()) {
            self.manager().stats.h2_codec.keepalive_timeout.inc();
            self.shared.link.with(|codec| codec.close(ErrorCode::NO_ERROR));
            return;
        }
        if std::mem::take(&mut self.ping_answered) {
            return self.schedule_ping();
        }
        let Some(timeout) = self.manager().h2_keepalive.as_ref().map(|keepalive| keepalive.timeout) else {
            return;
        };
        self.shared.link.with(|codec| codec.ping());
        self.ping_answered = true;
        self.clock.set(Deadline::Keepalive, Some(timeout));
    }

    fn schedule_ping(&mut self) {
        let Some(Http2Keepalive { interval: Some(interval), interval_jitter_percent, .. }) =
            self.manager().h2_keepalive.clone()
        else {
            return;
        };
        let jitter = io::with_rng(|rng| rng.below(1_001)) as f64 / 1_000.0 * interval_jitter_percent / 100.0;
        self.clock.set(Deadline::Keepalive, Some(interval.mul_f64(1.0 + jitter)));
    }

    /// One look at all streams now and then costs less than a timer for each.
    fn schedule_flush_check(&mut self) {
        let timeout = self.manager().stream_flush_timeout;
        let due = timeout.map_or(Instant::FAR_FUTURE, |timeout| io::now() + timeout / FLUSH_CHECKS);
        self.flush_check.arm(due);
    }

    /// Tells the client to open no more streams, and ends the connection after a grace.
    fn announce_end(&mut self) {
        self.phase = Phase::Announced;
        let grace = self.manager().drain_timeout;
        self.clock.set(Deadline::Drain, Some(grace));
        self.shared.link.with(|codec| codec.announce_shutdown());
    }

    /// Ready when a connection that ends has nothing left to do.
    fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.phase == Phase::Serving {
            return Poll::Pending;
        }
        if self.phase == Phase::Closing && self.shared.link.with(|codec| codec.is_idle()) {
            return Poll::Ready(());
        }
        self.shared.awaited_by.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Accounts for the connection and closes it; done when the client has had what was left for it.
    async fn finish(self) {
        let manager = &self.shared.cx.manager;
        let stats = &manager.stats;
        let (end, counts) = self.shared.link.with(|codec| (codec.ended(), codec.take_counts()));
        stats.h2_codec.record(&counts);
        self.shared.link.write_rest();
        // Streams learn that their connection is no more.
        self.shared.link.with(|codec| codec.transport_closed());
        if let Some(ConnectionEnd::Error(error)) = end {
            let is_ours = matches!(error, ConnectionError::Local(_));
            self.shared.cx.info.is_protocol_broken.set(!is_ours);
            count_error(manager, error);
        }
        if self.shared.streams.get() > 0 {
            stats.connections.downstream_cx_destroy_active_rq.inc();
        }
        let Some(stream) = self.shared.link.take_stream() else { return };
        stats.connections.downstream_cx_rx_bytes_total.add(stream.bytes_received());
        stats.connections.downstream_cx_tx_bytes_total.add(stream.bytes_written());
        if end == Some(ConnectionEnd::Closed) {
            stats.connections.downstream_cx_destroy_remote.inc();
            stream.close().await;
        } else {
            stats.connections.downstream_cx_destroy_local.inc();
            stream.flush_and_close(manager.delayed_close_timeout).await;
        }
    }
}

impl Drop for Server {
    /// Also where the connection is cut in the middle: its streams have tasks of their own, which have to learn of it.
    fn drop(&mut self) {
        self.shared.link.with(|codec| codec.transport_closed());
        drop(self.shared.link.take_stream());
    }
}

/// Counts why this side has ended a connection.
fn count_error(manager: &HttpConnectionManager, error: ConnectionError) {
    let stats = &manager.stats;
    match error {
        ConnectionError::Local(_) => return,
        ConnectionError::PrematureResets => stats.requests.downstream_rq_too_many_premature_resets.inc(),
        other => stats.h2_codec.record_error(other),
    }
    if error.is_flood() {
        return;
    }
    stats.connections.downstream_cx_protocol_error.inc();
}

/// One request and its response.
pub(super) async fn serve_stream(shared: Rc<Shared>, mut stream: H2Stream, request: Request) {
    let mut clock = StreamClock::new();
    let ended = Ended(Rc::clone(&shared));
    // What is left of the stream is reset when it is dropped; the connection stays.
    let routes = shared.cx.take_routes();
    let _persistent = Exchange::run(shared.cx.around(&routes), &mut stream, &mut clock, request).await;
    drop(stream);
    drop(routes);
    drop(ended);
}

/// Notes the end of an exchange, whatever it was.
struct Ended(Rc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.streams.set(shared.streams.get() - 1);
        shared.quiet_since.set(io::now());
        if let Some(waker) = shared.awaited_by.take() {
            waker.wake();
        }
    }
}

/// Makes a request of a head. An extended CONNECT becomes the upgrade that it stands for (RFC 8441 section 5).
fn to_request(mut head: RequestHead, end_stream: bool) -> Request {
    let upgrade = head.headers.get(header::PROTOCOL).map(<[u8]>::to_vec);
    if let Some(protocol) = &upgrade {
        head.headers.remove(header::PROTOCOL);
        head.set_method(Method::Get);
        head.headers.set(header::UPGRADE, protocol);
        head.headers.set(header::CONNECTION, b"Upgrade");
    }
    let expects = head.headers.get(header::EXPECT);
    Request {
        expect_continue: expects.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")),
        end_stream,
        keep_alive: true,
        upgrade: upgrade.is_some(),
        asks_server: false,
        timing: Timing::starting(io::now(), io::unix_time()),
        head,
    }
}
