//! One proxied connection from its beginning to its end: connect, relay, timeouts, statistics, log.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::clock::Instant;
use crate::filters::network::{CLOSE_TIMEOUT, Connection, DrainState};
use crate::formatter::{AccessLogType, FormatContext};
use crate::io::{self, Timer};
use crate::stream_info::{ResponseFlags, StreamInfo, Timing};
use crate::transport::Stream;
use crate::upstream::TcpConnection;

use super::TcpProxy;
use super::relay::{Broken, Direction, Side};

/// Serves one connection to its end. Gives what became of it.
pub(super) async fn serve(proxy: Arc<TcpProxy>, mut connection: Connection) -> Box<StreamInfo> {
    proxy.stats.downstream_cx_total.inc();
    let timing = Timing::starting(io::now(), io::unix_time());
    let mut info = Box::new(StreamInfo::new(Rc::clone(&connection.info), None, timing));
    let longest = io::with_rng(|rng| proxy.settings.draw_max_duration(rng));
    let end = longest.map_or(Instant::FAR_FUTURE, |longest| timing.start + longest);
    let mut timer = Timer::new();
    if longest.is_some() {
        timer.arm(end);
    }
    // Without a connection to a host there is nothing to be flushed: the client's is closed.
    // In boxes, so that connections whose sessions last long hold no room for what comes before and after.
    if let Ok(upstream) = Box::pin(proxy.connect(&mut connection, &mut info, &mut timer)).await {
        let deadlines = Deadlines::new(&proxy, end, timer);
        let mut session = Box::new(Session::new(&proxy, connection, upstream, info, deadlines));
        let end = session.run().await;
        info = Box::pin(session.finish(end)).await;
    }
    info.timing.complete = Some(io::now());
    proxy.log(&info, AccessLogType::TcpConnectionEnd);
    info
}

impl TcpProxy {
    pub(super) fn log(&self, info: &StreamInfo, why: AccessLogType) {
        if self.access_logs.is_empty() {
            return;
        }
        let cx = FormatContext {
            access_log_type: why,
            random: io::random_u64(),
            ..FormatContext::new(info, io::now(), io::unix_time())
        };
        self.access_logs.log(&cx);
    }
}

/// Two connections that are joined.
pub(super) struct Session<'a> {
    proxy: &'a TcpProxy,
    connection: Connection,
    upstream: TcpConnection,
    info: Box<StreamInfo>,
    up: Direction,
    down: Direction,
    /// Who ended first; none while both go on.
    first_to_end: Option<Side>,
    deadlines: Deadlines,
}

/// Why a session is over.
enum End {
    /// Both sides have ended in order.
    Finished,
    Broken(Side),
    /// A filter in front does not let the client's bytes pass.
    Refused,
    /// A deadline has passed.
    Late,
    /// The host has failed its health checks.
    HostFailed,
}

/// When something is to be done; those that are off lie in the far future.
struct Deadlines {
    idle: Instant,
    end: Instant,
    log: Instant,
    timer: Timer,
}

impl Deadlines {
    /// `timer` is armed for `end`.
    fn new(proxy: &TcpProxy, end: Instant, timer: Timer) -> Deadlines {
        let now = io::now();
        let after = |timeout: Option<Duration>| timeout.map_or(Instant::FAR_FUTURE, |timeout| now + timeout);
        Deadlines {
            idle: after(proxy.settings.idle_timeout),
            end,
            log: after(proxy.settings.log_interval),
            timer,
        }
    }
}

impl<'a> Session<'a> {
    fn new(
        proxy: &'a TcpProxy,
        connection: Connection,
        upstream: TcpConnection,
        mut info: Box<StreamInfo>,
        deadlines: Deadlines,
    ) -> Session<'a> {
        if let Some(known) = &mut info.upstream {
            known.local_address = upstream.stream.local_address().ok().and_then(|address| address.as_ip());
        }
        let cluster = upstream.host().cluster_info();
        let (up, down) = (
            Direction::new(Side::Downstream, cluster.high_watermark_bytes),
            Direction::new(Side::Upstream, connection.listener.buffer_limit_bytes),
        );
        Session { proxy, connection, upstream, info, up, down, first_to_end: None, deadlines }
    }

    async fn run(&mut self) -> End {
        if self.proxy.settings.logs_on_connected {
            self.proxy.log(&self.info, AccessLogType::TcpUpstreamConnected);
        }
        // Raw bytes have no end that a proxy could see: a draining listener's connections go on until the
        // drain time is over.
        poll_fn(|cx| self.poll_relay(cx)).await
    }

    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let (client, host) = (&mut self.connection.stream, &mut self.upstream.stream);
        let moved = [self.up.poll_move(cx, client, host), self.down.poll_move(cx, host, client)];
        let is_active = self.count();
        for broken in moved {
            if let Poll::Ready(Broken(side)) = broken {
                return Poll::Ready(match side {
                    Side::Downstream if self.connection.stream.is_tap_closed() => End::Refused,
                    // The host has said all, and the client shall have it; what else the client says has no reader.
                    Side::Upstream if self.down.is_ended() => End::Finished,
                    side => End::Broken(side),
                });
            }
        }
        match (self.up.is_ended(), self.down.is_ended()) {
            (true, true) => return Poll::Ready(End::Finished),
            (true, false) => self.first_to_end = Some(Side::Downstream),
            (false, true) => self.first_to_end = Some(Side::Upstream),
            (false, false) => {}
        }
        if self.upstream.poll_host_failed(cx).is_ready() {
            return Poll::Ready(End::HostFailed);
        }
        if is_active && let Some(timeout) = self.proxy.settings.idle_timeout {
            self.deadlines.idle = io::now() + timeout;
        }
        self.poll_deadlines(cx)
    }

    /// Brings statistics up to date; whether anything was passed on.
    fn count(&mut self) -> bool {
        let stats = &self.proxy.stats;
        let traffic = &self.upstream.host().cluster_info().stats.traffic;
        let (received, pauses, resumptions) = self.up.take_counts();
        self.info.bytes_received += received;
        self.info.wire_bytes.downstream_received += received;
        self.info.wire_bytes.upstream_sent += received;
        stats.downstream_cx_rx_bytes_total.add(received);
        stats.downstream_flow_control_paused_reading_total.add(pauses);
        stats.downstream_flow_control_resumed_reading_total.add(resumptions);
        traffic.upstream_flow_control_backed_up_total.add(pauses);
        traffic.upstream_flow_control_drained_total.add(resumptions);
        let (sent, pauses, resumptions) = self.down.take_counts();
        self.info.bytes_sent += sent;
        self.info.wire_bytes.downstream_sent += sent;
        self.info.wire_bytes.upstream_received += sent;
        stats.downstream_cx_tx_bytes_total.add(sent);
        traffic.upstream_flow_control_paused_reading_total.add(pauses);
        traffic.upstream_flow_control_resumed_reading_total.add(resumptions);
        let is_active = received + sent > 0;
        if is_active {
            self.upstream.count_bytes();
        }
        is_active
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let (now, deadlines) = (io::now(), &mut self.deadlines);
            if now >= deadlines.end {
                self.proxy.note_too_long(&mut self.info);
                return Poll::Ready(End::Late);
            }
            if now >= deadlines.idle {
                self.proxy.stats.idle_timeout.inc();
                return Poll::Ready(End::Late);
            }
            if now >= deadlines.log
                && let Some(interval) = self.proxy.settings.log_interval
            {
                deadlines.log = now + interval;
                self.proxy.log(&self.info, AccessLogType::TcpPeriodic);
                continue;
            }
            // A timer that expires too early finds the later deadline then: activity only stores it.
            let next = deadlines.end.min(deadlines.idle).min(deadlines.log);
            let is_in_time = deadlines.timer.deadline().is_some_and(|armed| now < armed && armed <= next);
            if !is_in_time {
                deadlines.timer.arm(next);
            }
            if deadlines.timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Closes both connections as it befits the way the session ended.
    async fn finish(mut self: Box<Self>, end: End) -> Box<StreamInfo> {
        let client = self.connection.stream;
        if let End::Refused = end {
            let refused_bytes = client.unread_bytes() as u64;
            self.info.bytes_received += refused_bytes;
            self.proxy.stats.downstream_cx_rx_bytes_total.add(refused_bytes);
        }
        let is_ended_by_host = match end {
            End::Finished => self.first_to_end != Some(Side::Upstream),
            End::Broken(side) => side == Side::Upstream,
            End::Refused | End::Late | End::HostFailed => false,
        };
        let host = self.upstream.end(is_ended_by_host);
        let drain = &self.connection.listener.drain;
        match end {
            End::Finished | End::HostFailed => {
                self.proxy.flush(host, drain);
                client.flush_and_close(CLOSE_TIMEOUT).await;
            }
            End::Broken(Side::Downstream) if self.up.is_ended() => self.proxy.flush(host, drain),
            // A reset is passed on as one.
            End::Broken(Side::Downstream) => host.reset(),
            End::Broken(Side::Upstream) => {
                self.info.response_flags.insert(ResponseFlags::UPSTREAM_REMOTE_RESET);
                client.reset();
            }
            End::Refused | End::Late => {}
        }
        self.info
    }
}

impl TcpProxy {
    /// The connection has lasted as long as it may.
    pub(super) fn note_too_long(&self, info: &mut StreamInfo) {
        self.stats.max_downstream_connection_duration.inc();
        info.response_flags.insert(ResponseFlags::DURATION_TIMEOUT);
    }

    /// Lets a host have what is left for it, though the client is gone. The process's end waits for that.
    fn flush(&self, host: Stream, drain: &Rc<DrainState>) {
        if host.queued_bytes() == 0 {
            return;
        }
        self.stats.upstream_flush_total.inc();
        let active = self.stats.upstream_flush_active;
        active.inc();
        let timeout = self.settings.idle_timeout.unwrap_or(CLOSE_TIMEOUT);
        let registration = drain.register();
        io::spawn(async move {
            host.flush_and_close(timeout).await;
            active.dec();
            drop(registration);
        });
    }
}
