//! One HTTP/1 connection of a pool, from `connect` to its end.
//!
//! A small task per connection connects it and watches it while it is idle: an origin's close, or bytes that
//! nobody asked for, end it at once. While an exchange has the connection, the exchange owns the socket and
//! the task sleeps. Going idle polls the socket with the task's waker in place, so a request costs no task switch.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Pool, account};
use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::http::h1::ClientDecoder;
use crate::io::{self, Address, Timer};
use crate::transport::{OfferedProtocols, Stream};
use crate::upstream::breaker::Permit;
use crate::upstream::host::{Host, HostCluster};
use crate::upstream::host_set::HostShared;
use crate::upstream::host_stats::HostCounters;
use crate::upstream::reset::PoolFailure;

/// What stays of a connection in its pool; the transport is lent to exchanges.
pub(in crate::upstream) struct Connection {
    id: u64,
    pool: Weak<Pool>,
    /// The pool's when it was begun.
    generation: u32,
    cluster: Rc<HostCluster>,
    host: Arc<HostShared>,
    /// None while an exchange has it, and once closed.
    transport: RefCell<Option<Box<Transport>>>,
    watcher: RefCell<Option<Waker>>,
    is_closed: Cell<bool>,
    begun: Instant,
    exchanges: Cell<u32>,
    /// It was kept for later use at least once.
    was_idle: Cell<bool>,
}

/// The part of a connection that an exchange works with. Allocated once per connection.
pub(super) struct Transport {
    pub stream: Stream,
    pub decoder: ClientDecoder,
    /// Received and not yet decoded.
    pub input: Chunk,
    /// The origin said that it closes after being idle for so long.
    pub origin_keep_alive: Option<Duration>,
    /// This side's address; none until connected.
    pub local_address: Option<Address>,
    /// Wakes the task, perhaps too early: going idle moves only `idle_until`.
    timer: Timer,
    /// When an idle connection ends.
    idle_until: Instant,
    /// When `max_connection_duration` ends it.
    expires: Instant,
    bytes_counted: (u64, u64),
    _permit: Permit,
}

/// A connection that stands and is counted as one of the cluster's, and of no version of HTTP yet.
pub(in crate::upstream) struct Standing {
    pub stream: Stream,
    /// When it was begun.
    pub begun: Instant,
    pub permit: Permit,
}

/// A connection that belongs to one exchange.
pub(super) struct Exchange {
    pub connection: Rc<Connection>,
    pub transport: Box<Transport>,
    /// It served an exchange or was idle before: the origin may have closed it meanwhile.
    pub is_reused: bool,
    /// No exchange may follow (`max_requests_per_connection`).
    pub is_last: bool,
}

/// Who ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseCause {
    Local,
    Remote,
}

/// An identifier that no other connection of the process has.
pub(super) fn next_connection_id() -> u64 {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Connection {
    /// Begins to connect; the pool is told when that has succeeded or failed.
    pub fn open(host: &Host, pool: &Rc<Pool>, permit: Permit) {
        let stream = host.open_stream(OfferedProtocols::Http1, &pool.wanted(), None);
        account::count_opened(&host.cluster, host.counters());
        let connection = Connection::new(host, pool, stream, io::now(), permit);
        io::spawn(connection.live());
    }

    /// Takes a connection that stands and is counted, as the host has chosen HTTP/1 for it. Tells the pool nothing.
    pub fn adopt(host: &Host, pool: &Rc<Pool>, standing: Standing) -> Rc<Connection> {
        let Standing { stream, begun, permit } = standing;
        let connection = Connection::new(host, pool, stream, begun, permit);
        if let Some(transport) = connection.transport.borrow_mut().as_mut() {
            transport.local_address = transport.stream.local_address().ok();
            transport.timer.disarm();
        }
        io::spawn(Rc::clone(&connection).watch());
        connection
    }

    fn new(host: &Host, pool: &Rc<Pool>, stream: Stream, begun: Instant, permit: Permit) -> Rc<Connection> {
        let cluster = Rc::clone(&host.cluster);
        let info = &cluster.info;
        let mut timer = Timer::new();
        timer.arm(begun + info.config.connect_timeout);
        let transport = Transport {
            stream,
            decoder: ClientDecoder::new(info.h1_settings),
            input: Chunk::new(),
            origin_keep_alive: None,
            local_address: None,
            timer,
            idle_until: Instant::FAR_FUTURE,
            expires: match info.config.common_http.max_connection_duration {
                Some(duration) => begun + duration,
                None => Instant::FAR_FUTURE,
            },
            bytes_counted: (0, 0),
            _permit: permit,
        };
        info.stats.traffic.upstream_cx_http1_total.inc();
        Rc::new(Connection {
            id: next_connection_id(),
            pool: Rc::downgrade(pool),
            generation: pool.generation.get(),
            host: Arc::clone(host.shared()),
            transport: RefCell::new(Some(Box::new(transport))),
            watcher: RefCell::new(None),
            is_closed: Cell::new(false),
            begun,
            exchanges: Cell::new(0),
            was_idle: Cell::new(false),
            cluster,
        })
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Idle, and nothing speaks against another exchange.
    pub fn is_reusable(&self) -> bool {
        self.transport.borrow().as_ref().is_some_and(|transport| transport.stream.is_reusable())
    }

    /// Lends the transport to an exchange; none if the connection is closed or busy.
    pub fn begin_exchange(self: Rc<Self>) -> Option<Exchange> {
        let transport = self.transport.take()?;
        let before = self.exchanges.replace(self.exchanges.get() + 1);
        let limit = self.cluster.info.config.common_http.max_requests_per_connection;
        let is_last = limit.is_some_and(|limit| before + 1 >= limit);
        if is_last {
            self.cluster.info.stats.traffic.upstream_cx_max_requests.inc();
        }
        let is_reused = before > 0 || self.was_idle.get();
        Some(Exchange { connection: self, transport, is_reused, is_last })
    }

    /// The exchange is over and the connection can serve another one.
    pub fn end_exchange(self: Rc<Self>, mut transport: Box<Transport>) {
        self.count_bytes(&mut transport);
        if io::now() >= transport.expires {
            self.cluster.info.stats.traffic.upstream_cx_max_duration_reached.inc();
            return self.abandon_exchange(transport, CloseCause::Local, false);
        }
        self.transport.replace(Some(transport));
        match self.pool.upgrade() {
            Some(pool) if pool.is_current(self.generation) => pool.on_ready(self),
            _ => self.close(CloseCause::Local),
        }
    }

    /// The exchange is over and so is the connection. `is_active`: it did not become complete.
    pub fn abandon_exchange(self: Rc<Self>, transport: Box<Transport>, cause: CloseCause, is_active: bool) {
        self.transport.replace(Some(transport));
        self.close_with(cause, is_active);
    }

    /// Closes; does nothing if it is closed.
    pub fn close(self: &Rc<Self>, cause: CloseCause) {
        self.close_with(cause, false);
    }

    /// Goes idle: arms the idle timeout and looks for the origin's close from now on.
    pub fn watch_idle(self: &Rc<Self>) {
        self.was_idle.set(true);
        let idle_timeout = self.cluster.info.config.common_http.idle_timeout;
        if let Some(transport) = self.transport.borrow_mut().as_mut() {
            let timeout = match (idle_timeout, transport.origin_keep_alive) {
                (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
                (ours, theirs) => ours.or(theirs),
            };
            let idle_until = timeout.map_or(Instant::FAR_FUTURE, |timeout| io::now() + timeout);
            transport.idle_until = idle_until.min(transport.expires);
        }
        let watcher = self.watcher.borrow();
        let Some(waker) = watcher.as_ref() else { return };
        let end = self.poll_idle(&mut Context::from_waker(waker));
        drop(watcher);
        if let Poll::Ready(cause) = end {
            self.close(cause);
        }
    }

    /// The connection's task.
    async fn live(self: Rc<Self>) {
        let connected = poll_fn(|cx| {
            self.remember_waker(cx);
            self.poll_connected(cx)
        })
        .await;
        if self.on_connected(connected) {
            self.watch().await;
        }
    }

    /// The rest of the task: while no exchange has the connection, sees to its end.
    async fn watch(self: Rc<Self>) {
        let cause = poll_fn(|cx| {
            self.remember_waker(cx);
            if self.is_closed.get() { Poll::Ready(CloseCause::Local) } else { self.poll_idle(cx) }
        })
        .await;
        self.close(cause);
    }

    fn remember_waker(&self, cx: &Context<'_>) {
        let mut watcher = self.watcher.borrow_mut();
        if !watcher.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *watcher = Some(cx.waker().clone());
        }
    }

    fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<Result<(), PoolFailure>> {
        let mut transport = self.transport.borrow_mut();
        let Some(transport) = transport.as_mut() else {
            return Poll::Ready(Err(PoolFailure::Timeout));
        };
        if let Poll::Ready(connected) = transport.stream.poll_connected(cx) {
            transport.local_address = transport.stream.local_address().ok();
            transport.timer.disarm();
            return Poll::Ready(connected.map_err(|error| PoolFailure::ConnectFailure(describe(&error))));
        }
        transport.timer.poll_expired(cx).map(|()| Err(PoolFailure::Timeout))
    }

    /// Counts the outcome and tells the pool. False if the connection is no more.
    fn on_connected(self: &Rc<Self>, connected: Result<(), PoolFailure>) -> bool {
        let pool = self.pool.upgrade();
        match (connected, pool) {
            (Ok(()), Some(pool)) => {
                account::count_connected(&self.cluster, self.begun);
                pool.on_connected(Rc::clone(self));
                true
            }
            (Ok(()), None) => {
                self.close(CloseCause::Local);
                false
            }
            (Err(failure), pool) => {
                let cause = account::count_connect_failed(&self.cluster, self.counters(), &failure);
                self.is_closed.set(true);
                let transport = self.transport.take();
                let has_tls_failed =
                    transport.as_ref().is_some_and(|transport| transport.stream.tls_failure().is_some());
                self.count_end(transport, cause, false);
                if let Some(pool) = pool {
                    pool.on_connect_failed(&failure, has_tls_failed);
                }
                false
            }
        }
    }

    /// Ready when an idle connection has to end. Pending while an exchange has it.
    fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        let stats = &self.cluster.info.stats.traffic;
        let mut transport = self.transport.borrow_mut();
        let Some(transport) = transport.as_mut() else {
            return Poll::Pending;
        };
        match transport.stream.poll_recv(cx) {
            Poll::Ready(Ok(Some(_unexpected))) => {
                stats.upstream_cx_protocol_error.inc();
                return Poll::Ready(CloseCause::Local);
            }
            Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(CloseCause::Remote),
            Poll::Pending => {}
        }
        let now = io::now();
        if now < transport.idle_until {
            // A timer that expires earlier finds the later deadline then; arming it for every request would
            // cost each of them.
            let is_in_time =
                transport.timer.deadline().is_some_and(|armed| now < armed && armed <= transport.idle_until);
            if !is_in_time && transport.idle_until < Instant::FAR_FUTURE {
                transport.timer.arm(transport.idle_until);
                let _ = transport.timer.poll_expired(cx);
            }
            return Poll::Pending;
        }
        if now >= transport.expires {
            stats.upstream_cx_max_duration_reached.inc();
        } else {
            stats.upstream_cx_idle_timeout.inc();
        }
        Poll::Ready(CloseCause::Local)
    }

    fn close_with(self: &Rc<Self>, cause: CloseCause, is_active: bool) {
        if self.is_closed.replace(true) {
            return;
        }
        let transport = self.transport.take();
        self.count_end(transport, cause, is_active);
        if let Some(waker) = self.watcher.take() {
            waker.wake();
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.on_closed(self);
        }
    }

    fn count_end(&self, transport: Option<Box<Transport>>, cause: CloseCause, is_active: bool) {
        if let Some(mut transport) = transport {
            self.count_bytes(&mut transport);
            if cause == CloseCause::Local || transport.stream.tls_failure().is_some() {
                transport.stream.close_detached();
            }
        }
        account::count_closed(&self.cluster, self.counters(), self.begun, cause, is_active);
        self.cluster.info.stats.traffic.upstream_rq_per_cx.record(self.exchanges.get().into());
    }

    fn count_bytes(&self, transport: &mut Transport) {
        let stats = &self.cluster.info.stats.traffic;
        let now = (transport.stream.bytes_sent(), transport.stream.bytes_received());
        let before = std::mem::replace(&mut transport.bytes_counted, now);
        stats.upstream_cx_tx_bytes_total.add(now.0.saturating_sub(before.0));
        stats.upstream_cx_rx_bytes_total.add(now.1.saturating_sub(before.1));
    }

    fn counters(&self) -> &HostCounters {
        self.host.stats.worker(self.cluster.worker_index)
    }
}

impl Transport {
    /// Bytes on the wire before the present exchange: sent, received.
    pub fn bytes_before(&self) -> (u64, u64) {
        self.bytes_counted
    }
}

/// Why no connection was made, in Envoy's words: what TLS says, or the operating system's text without the number
/// that Rust adds. Nothing is known of a peer that just ended its handshake.
pub(super) fn describe(error: &std::io::Error) -> Rc<str> {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::UnexpectedEof => "".into(),
        // Who wraps an error as that is TLS.
        ErrorKind::InvalidData => text.into(),
        _ => format!("delayed connect error: {}", text.split(" (os error").next().unwrap_or_default()).into(),
    }
}
