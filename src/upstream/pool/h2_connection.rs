//! One HTTP/2 connection of a pool, from `connect` to its end (RFC 9113).
//!
//! A task connects it, reads, and keeps its timeouts; exchanges write and are woken by the codec. A connection
//! that serves no further exchange (the host said GOAWAY, a limit is reached) is retired: it ends with its last
//! exchange.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::account;
use super::connection::{CloseCause, Standing, describe, next_connection_id};
use super::h2_pool::H2Pool;
use crate::base::clock::Instant;
use crate::config::cluster::UpstreamProtocol;
use crate::http::h2::{self, ConnectionEnd};
use crate::io::{self, Address, Timer};
use crate::tls::HandshakeFacts;
use crate::transport::{H2Link, OfferedProtocols, Stream};
use crate::upstream::breaker::Permit;
use crate::upstream::host::{Host, HostCluster};
use crate::upstream::host_set::HostShared;
use crate::upstream::host_stats::HostCounters;
use crate::upstream::reset::PoolFailure;

/// What a closed connection may still have to send: GOAWAY, mostly.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection, as its pool and its exchanges see it.
pub(in crate::upstream) struct H2Connection {
    id: u64,
    pool: Weak<H2Pool>,
    cluster: Rc<HostCluster>,
    host: Arc<HostShared>,
    begun: Instant,
    /// There from the moment in which it stands.
    link: OnceCell<H2Link>,
    local_address: OnceCell<Option<Address>>,
    tls_facts: OnceCell<Option<Rc<HandshakeFacts>>>,
    permit: RefCell<Option<Permit>>,
    /// Exchanges that have a place but no stream yet.
    reserved: Cell<u32>,
    /// Exchanges that are not over.
    active: Cell<u32>,
    exchanges: Cell<u32>,
    quiet_since: Cell<Instant>,
    is_retired: Cell<bool>,
    is_closed: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

/// A place for an exchange on a connection.
pub(super) struct Exchange {
    pub connection: Rc<H2Connection>,
    /// The connection has served before, or was idle: the host may have closed it meanwhile.
    pub is_reused: bool,
}

impl H2Connection {
    /// Begins to connect; the pool is told when that has succeeded or failed.
    pub fn open(host: &Host, pool: &Rc<H2Pool>, permit: Permit) {
        let cluster = Rc::clone(&host.cluster);
        account::count_opened(&cluster, host.counters());
        let stream = host.open_stream(offered(&cluster), &pool.wanted(), None);
        let connection = Rc::new(H2Connection {
            id: next_connection_id(),
            pool: Rc::downgrade(pool),
            host: Arc::clone(host.shared()),
            begun: io::now(),
            link: OnceCell::new(),
            local_address: OnceCell::new(),
            tls_facts: OnceCell::new(),
            permit: RefCell::new(Some(permit)),
            reserved: Cell::new(0),
            active: Cell::new(0),
            exchanges: Cell::new(0),
            quiet_since: Cell::new(io::now()),
            is_retired: Cell::new(false),
            is_closed: Cell::new(false),
            task: RefCell::new(None),
            cluster,
        });
        io::spawn(connection.live(stream));
    }

    /// Identifies the connection within the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The codec and its stream.
    pub fn link(&self) -> Option<&H2Link> {
        self.link.get()
    }

    /// This side's address, unless the socket is broken.
    pub fn local_address(&self) -> Option<Address> {
        self.local_address.get()?.clone()
    }

    /// What the TLS handshake has settled; none on a plain connection.
    pub fn tls_facts(&self) -> Option<Rc<HandshakeFacts>> {
        self.tls_facts.get()?.clone()
    }

    /// Whether a further exchange may begin now.
    pub fn has_capacity(&self) -> bool {
        let Some(link) = self.link.get() else { return false };
        !self.is_retired.get() && link.with(|codec| codec.available_streams()) > self.reserved.get()
    }

    /// Whether the host may allow more streams than are assumed.
    pub fn awaits_settings(&self) -> bool {
        self.link.get().is_some_and(|link| !link.with(|codec| codec.has_peer_settings()))
    }

    /// Whether no exchange goes on.
    pub fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    /// Takes a place; there must be capacity.
    pub fn begin_exchange(self: &Rc<Self>) -> Exchange {
        let before = self.exchanges.replace(self.exchanges.get() + 1);
        let is_reused = before > self.active.get();
        self.active.set(self.active.get() + 1);
        self.reserved.set(self.reserved.get() + 1);
        let limit = self.cluster.info.config.common_http.max_requests_per_connection;
        if limit.is_some_and(|limit| before + 1 >= limit) {
            self.cluster.info.stats.traffic.upstream_cx_max_requests.inc();
            self.retire();
        }
        Exchange { connection: Rc::clone(self), is_reused }
    }

    /// The exchange has its stream, or gave up before it had one.
    pub fn on_stream_opened(&self) {
        self.reserved.set(self.reserved.get() - 1);
    }

    /// An exchange is over.
    pub fn end_exchange(&self) {
        self.active.set(self.active.get() - 1);
        self.quiet_since.set(io::now());
        if self.is_retired.get() && self.is_idle() {
            self.wake();
        } else if let Some(pool) = self.pool.upgrade() {
            pool.on_capacity();
        }
    }

    /// Lets no further exchange begin.
    pub fn retire(self: &Rc<Self>) {
        if self.is_retired.replace(true) {
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.on_retired(self);
        }
        if self.is_idle() {
            self.wake();
        }
    }

    /// Closes at once; exchanges end. Does nothing if it is closed.
    pub fn close(self: &Rc<Self>, cause: CloseCause) {
        if self.is_closed.replace(true) {
            return;
        }
        self.is_retired.set(true);
        let is_active = !self.is_idle();
        if let Some(link) = self.link.get() {
            self.count_end(link);
            link.with(|codec| codec.transport_closed());
            if let Some(stream) = link.take_stream() {
                let stats = &self.cluster.info.stats.traffic;
                stats.upstream_cx_tx_bytes_total.add(stream.bytes_written());
                stats.upstream_cx_rx_bytes_total.add(stream.bytes_received());
                match cause {
                    CloseCause::Local if stream.queued_bytes() > 0 => stream.close_after_flush(CLOSE_TIMEOUT),
                    CloseCause::Local => stream.close_detached(),
                    CloseCause::Remote => {}
                }
            }
        }
        account::count_closed(&self.cluster, self.counters(), self.begun, cause, is_active);
        self.cluster.info.stats.traffic.upstream_rq_per_cx.record(self.exchanges.get().into());
        self.permit.take();
        self.wake();
        if let Some(pool) = self.pool.upgrade() {
            pool.on_closed(self);
        }
    }

    /// The connection's task.
    async fn live(self: Rc<Self>, mut stream: Stream) {
        if let Err(failure) = self.connect(&mut stream).await {
            self.is_closed.set(true);
            self.is_retired.set(true);
            let cause = account::count_connect_failed(&self.cluster, self.counters(), &failure);
            account::count_closed(&self.cluster, self.counters(), self.begun, cause, false);
            self.permit.take();
            if let Some(pool) = self.pool.upgrade() {
                pool.on_connect_failed(&failure);
            }
            return stream.close().await;
        }
        account::count_connected(&self.cluster, self.begun);
        if offered(&self.cluster) == OfferedProtocols::Http2OrHttp1 && !has_chosen_http2(&stream) {
            return self.leave_to_http1(stream);
        }
        self.cluster.info.stats.traffic.upstream_cx_http2_total.inc();
        // Set once, here.
        let _ = self.local_address.set(stream.local_address().ok());
        let _ = self.tls_facts.set(stream.tls_facts());
        let link = H2Link::new(h2::Connection::client(self.cluster.info.h2_settings), stream);
        let _ = self.link.set(link.clone());
        self.quiet_since.set(io::now());
        match self.pool.upgrade() {
            Some(pool) => pool.on_connected(&self),
            None => self.close(CloseCause::Local),
        }
        let mut clock = Clock::new(&self);
        let cause = poll_fn(|cx| self.poll_live(&link, &mut clock, cx)).await;
        self.close(cause);
    }

    /// The host, having the choice, has not chosen HTTP/2.
    fn leave_to_http1(&self, stream: Stream) {
        self.is_closed.set(true);
        self.is_retired.set(true);
        if let (Some(permit), Some(pool)) = (self.permit.take(), self.pool.upgrade()) {
            pool.on_http1(Standing { stream, begun: self.begun, permit });
        } else {
            account::count_closed(&self.cluster, self.counters(), self.begun, CloseCause::Local, false);
        }
    }

    async fn connect(&self, stream: &mut Stream) -> Result<(), PoolFailure> {
        let mut timer = Timer::new();
        timer.arm(self.begun + self.cluster.info.config.connect_timeout);
        poll_fn(|cx| {
            if let Poll::Ready(connected) = stream.poll_connected(cx) {
                return Poll::Ready(connected.map_err(|error| PoolFailure::ConnectFailure(describe(&error))));
            }
            timer.poll_expired(cx).map(|()| Err(PoolFailure::Timeout))
        })
        .await
    }

    /// Ready when the connection has to end.
    fn poll_live(
        self: &Rc<Self>,
        link: &H2Link,
        clock: &mut Clock,
        cx: &mut Context<'_>,
    ) -> Poll<CloseCause> {
        self.remember_waker(cx);
        if self.is_closed.get() {
            return Poll::Ready(CloseCause::Local);
        }
        let over = link.poll_drive(cx);
        let (counts, is_exhausted) = link.with(|codec| (codec.take_counts(), codec.is_exhausted()));
        self.cluster.info.stats.http2.record(&counts);
        if over.is_ready() {
            let by_us = link.with(|codec| matches!(codec.ended(), Some(ConnectionEnd::Error(_))));
            return Poll::Ready(if by_us { CloseCause::Local } else { CloseCause::Remote });
        }
        if is_exhausted && !self.is_retired.get() {
            self.cluster.info.stats.traffic.upstream_cx_close_notify.inc();
            self.retire();
        }
        if self.is_retired.get() && self.is_idle() {
            return Poll::Ready(CloseCause::Local);
        }
        if clock.awaits_settings && link.with(|codec| codec.has_peer_settings()) {
            // They may allow more streams than were assumed.
            clock.awaits_settings = false;
            if let Some(pool) = self.pool.upgrade() {
                pool.on_capacity();
            }
        }
        clock.poll(self, link, cx)
    }

    fn remember_waker(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.task.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Counts why this side ends the connection, if the host broke a rule.
    fn count_end(&self, link: &H2Link) {
        let (counts, end) = link.with(|codec| (codec.take_counts(), codec.ended()));
        let stats = &self.cluster.info.stats;
        stats.http2.record(&counts);
        if let Some(ConnectionEnd::Error(error)) = end {
            stats.http2.record_error(error);
            if !matches!(error, h2::ConnectionError::Local(_)) {
                stats.traffic.upstream_cx_protocol_error.inc();
            }
        }
    }

    fn counters(&self) -> &HostCounters {
        self.host.stats.worker(self.cluster.worker_index)
    }
}

/// What hosts are offered where a connection may become one of HTTP/2.
fn offered(cluster: &HostCluster) -> OfferedProtocols {
    match cluster.info.config.protocol {
        UpstreamProtocol::Auto => OfferedProtocols::Http2OrHttp1,
        UpstreamProtocol::Http1 | UpstreamProtocol::Http2 | UpstreamProtocol::Downstream => {
            OfferedProtocols::Http2
        }
    }
}

fn has_chosen_http2(stream: &Stream) -> bool {
    stream.tls_facts().is_some_and(|facts| facts.application_protocol.as_deref() == Some(b"h2"))
}

/// When something is to be done about a connection; those that are off lie in the far future.
struct Clock {
    timer: Timer,
    idle: Instant,
    expires: Instant,
    ping: Instant,
    /// The answer to a PING is due at `ping`.
    awaits_pong: bool,
    awaits_settings: bool,
}

impl Clock {
    fn new(connection: &H2Connection) -> Clock {
        let config = &connection.cluster.info.config;
        let after = |span: Option<Duration>| span.map_or(Instant::FAR_FUTURE, |span| io::now() + span);
        let mut clock = Clock {
            timer: Timer::new(),
            idle: after(config.common_http.idle_timeout),
            expires: after(config.common_http.max_connection_duration),
            ping: Instant::FAR_FUTURE,
            awaits_pong: false,
            awaits_settings: true,
        };
        clock.schedule_ping(connection);
        clock
    }

    fn poll(
        &mut self,
        connection: &Rc<H2Connection>,
        link: &H2Link,
        cx: &mut Context<'_>,
    ) -> Poll<CloseCause> {
        let stats = &connection.cluster.info.stats;
        loop {
            let now = io::now();
            if now >= self.idle {
                let timeout =
                    connection.cluster.info.config.common_http.idle_timeout.unwrap_or(Duration::MAX);
                let since = if connection.is_idle() { connection.quiet_since.get() } else { now };
                self.idle = since + timeout;
                if now >= self.idle {
                    stats.traffic.upstream_cx_idle_timeout.inc();
                    return Poll::Ready(CloseCause::Local);
                }
            }
            if now >= self.expires {
                self.expires = Instant::FAR_FUTURE;
                stats.traffic.upstream_cx_max_duration_reached.inc();
                connection.retire();
                if connection.is_idle() {
                    return Poll::Ready(CloseCause::Local);
                }
            }
            if now >= self.ping && !self.keep_alive(connection, link) {
                stats.http2.keepalive_timeout.inc();
                return Poll::Ready(CloseCause::Local);
            }
            self.timer.arm(self.idle.min(self.expires).min(self.ping));
            if self.timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Sends the next PING, or sees whether the last one was answered; false if it was not.
    fn keep_alive(&mut self, connection: &H2Connection, link: &H2Link) -> bool {
        if !std::mem::take(&mut self.awaits_pong) {
            let keepalive = connection.cluster.info.config.http2.keepalive.as_ref();
            let timeout = keepalive.map_or(Duration::MAX, |keepalive| keepalive.timeout);
            link.with(|codec| codec.ping());
            self.awaits_pong = true;
            self.ping = io::now() + timeout;
            return true;
        }
        self.schedule_ping(connection);
        !link.with(|codec| codec.is_ping_outstanding())
    }

    fn schedule_ping(&mut self, connection: &H2Connection) {
        let keepalive = connection.cluster.info.config.http2.keepalive.as_ref();
        self.ping = match keepalive.and_then(|keepalive| Some((keepalive.interval?, keepalive))) {
            Some((interval, keepalive)) => {
                let chance = io::with_rng(|rng| rng.below(1_001)) as f64 / 1_000.0;
                io::now() + interval.mul_f64(1.0 + chance * keepalive.interval_jitter_percent / 100.0)
            }
            None => Instant::FAR_FUTURE,
        };
    }
}
