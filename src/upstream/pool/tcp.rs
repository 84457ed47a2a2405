//! Connections to a host for raw bytes: one for each downstream connection, never pooled, never used again.
//!
//! Counted as Envoy's TCP connection pool counts: the connection as a connection, its user as a request.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::account::{self, RequestAccount};
use super::connection::{CloseCause, describe};
use super::failure_bell::FailureWatch;
use crate::base::clock::Instant;
use crate::config::route::RoutingPriority;
use crate::io::{self, Timer};
use crate::transport::proxy_protocol::Addresses;
use crate::transport::{OfferedProtocols, Stream, WantedPeer};
use crate::upstream::breaker::{Permit, ResourceKind};
use crate::upstream::host::Host;
use crate::upstream::outlier::Outcome;
use crate::upstream::reset::PoolFailure;

/// A connection to a host, connected. To be ended with [`TcpConnection::end`].
pub struct TcpConnection {
    /// Its bytes.
    pub stream: Stream,
    account: Account,
    request: RequestAccount,
    /// Bytes in the statistics already: sent, received.
    bytes_counted: (u64, u64),
    /// Of its host's health, if that ends it.
    failure: Option<FailureWatch>,
}

/// A connection that is being made. Dropping it gives up.
#[must_use = "nothing is had before it is polled"]
pub struct TcpConnect(State);

enum State {
    Failed(PoolFailure),
    Connecting(Box<Connecting>),
    Taken,
}

struct Connecting {
    stream: Stream,
    timer: Timer,
    account: Account,
    pending: Pending,
}

impl TcpConnect {
    /// Begins to connect to `host`, within the limits of the circuit breakers. Hosts that want to know where their
    /// clients come from are told `client`; without it, that the proxy speaks for itself.
    pub fn new(host: &Rc<Host>, client: Option<Addresses>) -> TcpConnect {
        let stats = &host.cluster.info.stats.traffic;
        let acquire = |kind| host.cluster.breakers.try_acquire(RoutingPriority::Default, kind);
        let Some(connection) = acquire(ResourceKind::Connections) else {
            stats.upstream_cx_overflow.inc();
            return TcpConnect(State::Failed(PoolFailure::Overflow));
        };
        let Some(pending) = acquire(ResourceKind::PendingRequests) else {
            stats.upstream_rq_pending_overflow.inc();
            return TcpConnect(State::Failed(PoolFailure::Overflow));
        };
        let mut timer = Timer::new();
        timer.arm(io::now() + host.cluster.info.config.connect_timeout);
        TcpConnect(State::Connecting(Box::new(Connecting {
            stream: host.open_stream(OfferedProtocols::Nothing, &WantedPeer::default(), client),
            timer,
            account: Account::open(host, connection),
            pending: Pending::enter(host, pending),
        })))
    }
}

impl Future for TcpConnect {
    type Output = Result<TcpConnection, PoolFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let connected = match &mut self.0 {
            State::Connecting(connecting) => ready!(connecting.poll(cx)),
            State::Failed(_) | State::Taken => Ok(()),
        };
        let state = std::mem::replace(&mut self.0, State::Taken);
        Poll::Ready(match (connected, state) {
            (Ok(()), State::Connecting(connecting)) => Ok(connecting.finish()),
            (Err(failure), State::Connecting(connecting)) => Err(connecting.fail(failure)),
            (_, State::Failed(failure)) => Err(failure),
            (_, State::Taken) => Err(PoolFailure::Overflow),
        })
    }
}

impl Drop for TcpConnect {
    fn drop(&mut self) {
        if let State::Connecting(given_up) = &self.0 {
            given_up.account.host.cluster.info.stats.traffic.upstream_rq_cancelled.inc();
        }
    }
}

impl Connecting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PoolFailure>> {
        if let Poll::Ready(connected) = self.stream.poll_connected(cx) {
            return Poll::Ready(connected.map_err(|error| PoolFailure::ConnectFailure(describe(&error))));
        }
        self.timer.poll_expired(cx).map(|()| Err(PoolFailure::Timeout))
    }

    fn finish(self) -> TcpConnection {
        let Connecting { stream, mut account, pending, .. } = self;
        drop(pending);
        let host = Rc::clone(&account.host);
        // Counted, not limited: as a connection it is limited already.
        let request =
            host.cluster.breakers.acquire_over_limit(RoutingPriority::Default, ResourceKind::Requests);
        account::count_connected(&host.cluster, account.begun);
        account.is_attached = true;
        host.outlier().record(Outcome::Connected);
        let failure = host.cluster.info.config.close_connections_on_host_health_failure;
        let failure = failure.then(|| FailureWatch::new(&host.failure_bell));
        let request = RequestAccount::open(host, request);
        TcpConnection { stream, account, request, bytes_counted: (0, 0), failure }
    }

    fn fail(mut self, failure: PoolFailure) -> PoolFailure {
        let host = &self.account.host;
        host.cluster.info.stats.traffic.upstream_rq_pending_failure_eject.inc();
        host.outlier().record(Outcome::ConnectFailed);
        self.account.cause = account::count_connect_failed(&host.cluster, host.counters(), &failure);
        self.stream.close_detached();
        failure
    }
}

impl TcpConnection {
    /// The host.
    pub fn host(&self) -> &Rc<Host> {
        self.request.host()
    }

    /// Ready when the host has failed its health checks and that is to end the connection.
    pub fn poll_host_failed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.failure.as_ref().map_or(Poll::Pending, |failure| failure.poll_rung(cx))
    }

    /// Brings the statistics of bytes up to date.
    pub fn count_bytes(&mut self) {
        let stats = &self.account.host.cluster.info.stats.traffic;
        let sent = self.stream.bytes_written();
        let received = self.stream.bytes_received();
        let before = std::mem::replace(&mut self.bytes_counted, (sent, received));
        stats.upstream_cx_tx_bytes_total.add(sent.saturating_sub(before.0));
        stats.upstream_cx_rx_bytes_total.add(received.saturating_sub(before.1));
    }

    /// Counts the connection as ended, and by whom. The stream is left to be closed, perhaps in its own time.
    pub fn end(mut self, by_peer: bool) -> Stream {
        self.count_bytes();
        if by_peer {
            self.account.cause = CloseCause::Remote;
        }
        self.stream
    }
}

/// Counts a connection until it is dropped.
struct Account {
    host: Rc<Host>,
    begun: Instant,
    /// It has its user.
    is_attached: bool,
    cause: CloseCause,
    _connection: Permit,
}

impl Account {
    fn open(host: &Rc<Host>, connection: Permit) -> Account {
        account::count_opened(&host.cluster, host.counters());
        Account {
            host: Rc::clone(host),
            begun: io::now(),
            is_attached: false,
            cause: CloseCause::Local,
            _connection: connection,
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let host = &self.host;
        account::count_closed(&host.cluster, host.counters(), self.begun, self.cause, self.is_attached);
    }
}

/// Counts the wait for a connection until it is dropped.
struct Pending {
    host: Rc<Host>,
    _permit: Permit,
}

impl Pending {
    fn enter(host: &Rc<Host>, permit: Permit) -> Pending {
        let stats = &host.cluster.info.stats.traffic;
        stats.upstream_rq_pending_total.inc();
        stats.upstream_rq_pending_active.inc();
        host.counters().rq_pending_active.inc();
        Pending { host: Rc::clone(host), _permit: permit }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.host.cluster.info.stats.traffic.upstream_rq_pending_active.dec();
        self.host.counters().rq_pending_active.dec();
    }
}
