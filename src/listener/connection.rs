//! One accepted connection on its way to the filters that serve it: `inspect -> match_filter_chain ->
//! handshake`, then the chain's network filters, and accounting from its beginning to its end.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::base::clock::Instant;
use crate::filters::WorkerContext;
use crate::filters::network::{self, Connection, DrainRegistration, ListenerHandle, Serve, TerminalFilter};
use crate::formatter::{AccessLogType, FormatContext};
use crate::io::{self, Socket, Timer};
use crate::log_debug;
use crate::stats::groups::ListenerStats;
use crate::stream_info::{ConnectionInfo, PeerAddress, ResponseFlags, StreamInfo, Timing};
use crate::transport::{ByteMeter, Stream};

use super::inspect::inspect;
use super::{ActiveListener, CompiledFilterChain, CompiledListener};

/// How long a client has to take the alert that ends its handshake.
const ALERT_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves an accepted connection to its end, for as long as its chain lets it. Keeps the listener: whoever is on a
/// connection may use what belongs to it.
///
/// The future lives as long as the connection: what must be there before it is served is done in a box that is gone
/// then.
pub fn serve_connection(
    active: Rc<ActiveListener>,
    socket: Socket,
    worker: Rc<WorkerContext>,
) -> impl Future<Output = ()> {
    let admitting = Box::pin(admit(active, socket, worker));
    async move {
        let Some(Admitted { serving, registration, account, log }) = admitting.await else { return };
        let served = registration.until_closed(serving).await.flatten();
        if let Some(log) = log {
            let active = Rc::clone(&account.active);
            drop(account);
            log.end(&active.compiled, served);
        }
    }
}

/// A connection that a filter chain serves.
struct Admitted {
    serving: Serve,
    /// So that the process's end waits for it.
    registration: DrainRegistration,
    account: Account,
    log: Option<Box<EndLog>>,
}

/// What the listener's own log tells of a connection.
struct EndLog {
    info: Rc<ConnectionInfo>,
    meter: Rc<ByteMeter>,
    timing: Timing,
}

impl EndLog {
    /// Writes the log. `served`: what the serving filter has to say.
    fn end(self, compiled: &CompiledListener, served: Option<Box<StreamInfo>>) {
        let mut info = served.unwrap_or_else(|| described(self.info, self.timing));
        (info.bytes_received, info.bytes_sent) = (self.meter.received(), self.meter.sent());
        log_end(compiled, &mut info);
    }
}

/// What is known of a connection whose filter has nothing more to say than what it noted.
fn described(info: Rc<ConnectionInfo>, timing: Timing) -> Box<StreamInfo> {
    let protocol = info.protocol.get();
    let is_broken = info.is_protocol_broken.get();
    let mut info = Box::new(StreamInfo::new(info, protocol, timing));
    if is_broken {
        info.response_flags.insert(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
    }
    info
}

/// Has a connection served, once it is admitted.
async fn admit(active: Rc<ActiveListener>, socket: Socket, worker: Rc<WorkerContext>) -> Option<Admitted> {
    let timing = Timing::starting(io::now(), io::unix_time());
    let compiled = &*active.compiled;
    let Connected { mut stream, info, chain, account, listener, registration } =
        connect(&active, socket, timing).await?;
    // What may wait before a host that takes no more.
    stream.set_receive_limit(listener.buffer_limit_bytes.min(io::DEFAULT_RECEIVE_LIMIT_BYTES));
    let log = (!compiled.access_logs.is_empty()).then(|| {
        let meter = Rc::<ByteMeter>::default();
        stream.set_meter(Rc::clone(&meter));
        Box::new(EndLog { info: Rc::clone(&info), meter, timing })
    });
    let serving = serve_filters(compiled, chain, Connection { stream, info, worker, listener }, timing);
    Some(Admitted { serving, registration, account, log })
}

/// A connection that a filter chain is to serve.
struct Connected<'a> {
    stream: Stream,
    info: Rc<ConnectionInfo>,
    chain: &'a Arc<CompiledFilterChain>,
    account: Account,
    listener: Rc<ListenerHandle>,
    registration: DrainRegistration,
}

/// Inspects a connection, chooses its chain, and waits for the chain's transport socket. None if it is not to be
/// served, which is logged.
async fn connect(active: &Rc<ActiveListener>, mut socket: Socket, timing: Timing) -> Option<Connected<'_>> {
    let compiled = &*active.compiled;
    let mut info = describe(&socket)?;
    log_debug!(Connection, "new connection from {}", info.remote_address);
    if !compiled.listener_filters.is_empty() && inspect(compiled, &mut socket, &mut info).await.is_err() {
        log_end(compiled, &mut StreamInfo::new(Rc::new(info), None, timing));
        return None;
    }
    if info.transport_protocol.is_empty() {
        // Nobody has found anything else.
        info.transport_protocol = "raw_buffer";
    }
    let Some(chain) = match_filter_chain(compiled, &info) else {
        compiled.stats.no_filter_chain_match.inc();
        let mut info = StreamInfo::new(Rc::new(info), None, timing);
        info.response_code_details = "filter_chain_not_found".into();
        info.response_flags = ResponseFlags::NO_ROUTE_FOUND;
        log_end(compiled, &mut info);
        return None;
    };
    info.filter_chain_name = Arc::clone(&chain.name);
    let account = Account::open(active);
    let listener = active.handle_of(chain);
    let registration = listener.drain.register();
    let stream = match &chain.tls {
        None => Stream::raw(socket),
        Some(tls) => {
            match handshake(tls.accept(socket), chain, compiled.stats, &registration, &mut info).await {
                Ok(stream) => stream,
                Err(NoHandshake) => {
                    drop(account);
                    let mut info = StreamInfo::new(Rc::new(info), None, timing);
                    if let Some(terminal) = &chain.terminal {
                        info.timing.complete = Some(io::now());
                        terminal.on_refused(&info);
                    }
                    log_end(compiled, &mut info);
                    return None;
                }
            }
        }
    };
    Some(Connected { stream, info: Rc::new(info), chain, account, listener, registration })
}

/// Has the last filter of the chain serve the connection, once the others have let it pass.
fn serve_filters(
    compiled: &CompiledListener,
    chain: &Arc<CompiledFilterChain>,
    connection: Connection,
    timing: Timing,
) -> Serve {
    let Some(terminal) = &chain.terminal else {
        compiled.stats.network_extension_config_missing.inc();
        return Box::pin(async { None });
    };
    if chain.filters.is_empty() {
        return Arc::clone(terminal).serve(connection);
    }
    let (chain, terminal) = (Arc::clone(chain), Arc::clone(terminal));
    Box::pin(async move { serve_behind_filters(&chain, &terminal, connection, timing).await })
}

async fn serve_behind_filters(
    chain: &CompiledFilterChain,
    terminal: &Arc<dyn TerminalFilter>,
    mut connection: Connection,
    timing: Timing,
) -> Option<Box<StreamInfo>> {
    match network::admit(&chain.filters, &mut connection).await {
        Ok(_admitted) => Arc::clone(terminal).serve(connection).await,
        Err(closing) => {
            let mut info = Box::new(StreamInfo::new(connection.info, None, timing));
            drop(connection.stream);
            info.response_flags = closing.response_flags;
            info.timing.complete = Some(io::now());
            terminal.on_refused(&info);
            Some(info)
        }
    }
}

/// What the kernel knows of the connection; none if it is gone already.
fn describe(socket: &Socket) -> Option<ConnectionInfo> {
    static NEXT_CONNECTION_ID: AtomicU64 = AtomicU64::new(1);
    let remote = PeerAddress::from(socket.peer_address().ok()?);
    let local = socket.local_address().map_or_else(|_| PeerAddress::Unix("".into()), PeerAddress::from);
    Some(ConnectionInfo::new(NEXT_CONNECTION_ID.fetch_add(1, Ordering::Relaxed), local, remote))
}

/// Chooses the chain for a connection.
fn match_filter_chain<'a>(
    compiled: &'a CompiledListener,
    info: &ConnectionInfo,
) -> Option<&'a Arc<CompiledFilterChain>> {
    match compiled.chain_matcher.find(info) {
        Some(chain) => compiled.filter_chains.get(chain),
        None => compiled.default_filter_chain.as_ref(),
    }
}

/// The handshake failed; why is in the connection's facts and in the statistics.
struct NoHandshake;

/// How a handshake ends.
enum HandshakeEnd {
    Connected(std::io::Result<()>),
    Late,
    /// The listener wants its connections gone, and this one has not served anything yet.
    Drained,
}

/// Waits until the chain's transport socket stands between the wire and the filters.
async fn handshake(
    mut stream: Stream,
    chain: &CompiledFilterChain,
    stats: ListenerStats,
    registration: &DrainRegistration,
    info: &mut ConnectionInfo,
) -> Result<Stream, NoHandshake> {
    let mut timer = Timer::new();
    timer.arm(io::now() + chain.handshake_timeout);
    let end = poll_fn(|cx| {
        if let Poll::Ready(connected) = stream.poll_connected(cx) {
            return Poll::Ready(HandshakeEnd::Connected(connected));
        }
        registration.set_waker(cx.waker());
        if registration.is_draining() {
            return Poll::Ready(HandshakeEnd::Drained);
        }
        timer.poll_expired(cx).map(|()| HandshakeEnd::Late)
    })
    .await;
    match end {
        HandshakeEnd::Connected(Ok(())) => {
            info.tls = stream.tls_facts();
            Ok(stream)
        }
        HandshakeEnd::Connected(Err(error)) => {
            log_debug!(Connection, "no handshake with {}: {error}", info.remote_address);
            let reason = match stream.tls_failure() {
                Some(failure) => Some(failure.to_string()),
                // A client that just leaves has a right to.
                None if error.kind() == std::io::ErrorKind::UnexpectedEof => None,
                None => Some(format!("TLS_error: {error}")),
            };
            if let Some(reason) = reason {
                // Set once: nothing before has to do with it.
                let _ = info.transport_failure_reason.set(reason.into());
            }
            // What is said about it in an alert shall arrive.
            stream.flush_and_close(ALERT_TIMEOUT).await;
            Err(NoHandshake)
        }
        HandshakeEnd::Drained => Err(NoHandshake),
        HandshakeEnd::Late => {
            stats.downstream_cx_transport_socket_connect_timeout.inc();
            info.set_termination_details("transport socket timeout was reached");
            Err(NoHandshake)
        }
    }
}

/// Writes the listener's own access log.
fn log_end(compiled: &CompiledListener, info: &mut StreamInfo) {
    if compiled.access_logs.is_empty() {
        return;
    }
    info.timing.complete = Some(io::now());
    let cx = FormatContext {
        // As Envoy has it.
        access_log_type: AccessLogType::NotSet,
        random: io::random_u64(),
        ..FormatContext::new(info, io::now(), io::unix_time())
    };
    compiled.access_logs.log(&cx);
}

/// Counts a connection as open until it is dropped, whatever ends it.
struct Account {
    active: Rc<ActiveListener>,
    opened: Instant,
}

impl Account {
    fn open(active: &Rc<ActiveListener>) -> Account {
        let stats = active.compiled.stats;
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        active.worker_stats.downstream_cx_total.inc();
        active.worker_stats.downstream_cx_active.inc();
        Account { active: Rc::clone(active), opened: io::now() }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let stats = self.active.compiled.stats;
        stats.downstream_cx_active.dec();
        self.active.worker_stats.downstream_cx_active.dec();
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_length_ms.record(io::now().since(self.opened).as_millis() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that an async function returns.
    fn future_size<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// There is one for each open connection, idle or not. Whoever makes it larger does so on purpose.
    #[test]
    fn a_connections_state_stays_within_its_budget() {
        let size = future_size(serve_connection);
        assert!(size <= 88, "{size} bytes");
    }
}
