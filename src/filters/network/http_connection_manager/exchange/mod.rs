//! One exchange: a request from its head to the end of its response, whatever the codec.
//!
//! The steps, each a function of that name here or in the files beside it: `decode_request`,
//! `filter_request`, `match_route`, `pick_host`, `check_out_connection`, `encode_request`,
//! `decode_response`, `filter_response`, `encode_response`, `finish`. All of them run in the
//! connection's (or stream's) own task; nothing is spawned and nothing is shared.

mod attempt;
mod decode;
mod finish;
mod forward;
mod prepare;
mod replay;
mod reply;
mod respond;
mod router;
mod stop;
mod upstream_failure;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::filters::WorkerContext;
use crate::filters::http::chain::{ActiveFilter, Decode, Encode, Iteration};
use crate::filters::http::{FilterContext, HeldHead, LocalReply};
use crate::filters::network::ListenerHandle;
use crate::http::{HeaderMap, RequestHead, ResponseHead, Version};
use crate::io;
use crate::routing::MatchedRoute;
use crate::stats::Gauge;
use crate::stream_info::{ConnectionInfo, ResponseFlags, StreamInfo, Timing};

use super::client_address::Client;
use super::context::Upgraded;
use super::deadlines::Deadline;
use super::downstream::DownstreamStream;
use super::stream_clock::StreamClock;
use super::{HttpConnectionManager, Routes};
use stop::{Stop, timed_out};

/// What an exchange needs to know of its surroundings.
pub struct Surroundings<'a> {
    /// The connection manager.
    pub manager: &'a HttpConnectionManager,
    /// The routes in force when the request came.
    pub routes: &'a Routes,
    /// Facts about the connection.
    pub connection: &'a Rc<ConnectionInfo>,
    /// The worker.
    pub worker: &'a Rc<WorkerContext>,
    /// The listener.
    pub listener: &'a ListenerHandle,
}

/// A request as its codec delivers it.
pub struct Request {
    /// The head.
    pub head: RequestHead,
    /// Nothing follows the head.
    pub end_stream: bool,
    /// The client wants to keep the connection.
    pub keep_alive: bool,
    /// The client asks for another protocol.
    pub upgrade: bool,
    /// The client waits for `100 Continue`.
    pub expect_continue: bool,
    /// OPTIONS for a whole server, named in absolute form; its path is `/` on the way.
    pub asks_server: bool,
    /// When its first byte was seen.
    pub timing: Timing,
}

/// How far an upgrade to another protocol is.
enum Upgrade {
    /// There is none.
    None,
    /// The request asks for one that is passed on.
    Asked,
    /// The origin has accepted it.
    Accepted(#[expect(dead_code, reason = "counts until it is dropped")] Upgraded),
}

/// One exchange on its way.
pub struct Exchange<'a, D: DownstreamStream> {
    around: Surroundings<'a>,
    downstream: &'a mut D,
    clock: &'a mut StreamClock,
    filters: Vec<ActiveFilter>,
    decode: Iteration<Decode>,
    encode: Iteration<Encode>,
    info: StreamInfo,
    request: RequestHead,
    client: Option<Client>,
    route: Option<MatchedRoute<'a>>,
    /// The virtual host wants TLS, which the request has not.
    requires_tls: bool,
    /// Runs from the request's end.
    route_timeout: Option<Duration>,
    /// Of the attempt that awaits its response; runs from the request's end, too.
    per_try_timeout: Option<Duration>,
    /// Decides about fractions and weights of this request.
    route_random: u64,
    /// The whole request has been read.
    request_read: bool,
    /// The origin is sent `*` for the path `/`.
    asks_server: bool,
    /// The client is not read because the host takes no more.
    reading_paused: bool,
    /// The host is not read because the client takes no more.
    upstream_reading_paused: bool,
    /// What follows the head is not HTTP: there is nothing more to read.
    request_broken: bool,
    /// How far the upgrade is that the request asked for.
    upgrade: Upgrade,
    /// The head of the final response, on its way through the filters or sent.
    response: Option<ResponseHead>,
    /// That head was handed to the codec.
    response_started: bool,
    response_trailers: Option<HeaderMap>,
    /// The whole response was handed to the codec.
    response_sent: bool,
    /// The connection may serve another request afterwards.
    persistent: bool,
    /// Counts the request as active.
    _active: ActiveRequest,
    /// The reply's own body, for `%LOCAL_REPLY_BODY%`.
    local_reply_body: bytes::Bytes,
}

impl<'a, D: DownstreamStream> Exchange<'a, D> {
    /// Serves one request. Returns whether the connection may serve another one.
    #[expect(clippy::manual_async_fn, reason = "an async function would keep the request's memory twice")]
    pub fn run(
        around: Surroundings<'a>,
        downstream: &'a mut D,
        clock: &'a mut StreamClock,
        request: Request,
    ) -> impl Future<Output = bool> {
        async move {
            let Request { end_stream, upgrade, expect_continue, .. } = request;
            let mut exchange = Exchange::new(around, downstream, clock, request);
            let result = exchange.serve(end_stream, upgrade, expect_continue).await;
            exchange.finish(result)
        }
    }

    /// Answers what is no request at all. The connection ends afterwards.
    pub async fn reject(
        around: Surroundings<'a>,
        downstream: &'a mut D,
        clock: &'a mut StreamClock,
        request: Request,
        mut reply: LocalReply,
    ) {
        let mut exchange = Exchange::new(around, downstream, clock, request);
        exchange.filters.clear();
        exchange.encode = Iteration::new(0, 0);
        exchange.request_broken = true;
        // Envoy notes the flag after the reply was formatted.
        let flags = std::mem::take(&mut reply.flags);
        let result = exchange.send_reply(reply).await;
        exchange.info.response_flags.insert(flags);
        exchange.finish(result);
    }

    /// Inlined, and nothing that can fail stands among the fields: so its parts are made in it, instead of each being
    /// made elsewhere and copied.
    #[inline(always)]
    fn new(
        around: Surroundings<'a>,
        downstream: &'a mut D,
        clock: &'a mut StreamClock,
        request: Request,
    ) -> Exchange<'a, D> {
        let _active = count_request(&around, request.head.version);
        let limit = around.listener.buffer_limit_bytes;
        let (decode, encode) = (Iteration::new(0, limit), Iteration::new(0, limit));
        let route_random = io::random_u64();
        let connection = Rc::clone(around.connection);
        let info = StreamInfo::new(connection, Some(request.head.version), request.timing);
        Exchange {
            around,
            downstream,
            clock,
            filters: Vec::new(),
            decode,
            encode,
            info,
            request: request.head,
            client: None,
            route: None,
            requires_tls: false,
            route_timeout: None,
            per_try_timeout: None,
            route_random,
            request_read: request.end_stream,
            asks_server: request.asks_server,
            reading_paused: false,
            upstream_reading_paused: false,
            request_broken: false,
            upgrade: Upgrade::None,
            response: None,
            response_started: false,
            response_trailers: None,
            response_sent: false,
            persistent: request.keep_alive,
            _active,
            local_reply_body: bytes::Bytes::new(),
        }
    }

    /// The normal course, and the one place where leaving it becomes an answer.
    async fn serve(&mut self, end_stream: bool, upgrade: bool, expect_continue: bool) -> Result<(), Stop> {
        let result = self.proceed(end_stream, upgrade, expect_continue).await;
        match result {
            Err(Stop::Reply(reply)) if !self.response_started => self.send_reply(*reply).await,
            Err(Stop::Reply(reply)) => {
                self.note_flags(reply.flags);
                self.info.response_code_details = reply.details;
                Err(Stop::Reset)
            }
            other => other,
        }
    }

    async fn proceed(&mut self, end_stream: bool, upgrade: bool, expect_continue: bool) -> Result<(), Stop> {
        self.decode_request(upgrade, expect_continue)?;
        self.match_route();
        self.check_upgrade(upgrade)?;
        self.create_filters();
        self.filter_request(end_stream).await?;
        self.answer_or_forward().await
    }

    /// The context for hooks on the way up.
    fn decode_parts<'s>(
        &'s mut self,
    ) -> (&'s mut Iteration<Decode>, &'s mut [ActiveFilter], &'s mut RequestHead, FilterContext<'s>) {
        let cx = hook_context(&mut self.info, None, self.route, self.around.worker);
        (&mut self.decode, &mut self.filters, &mut self.request, cx)
    }

    /// The context for hooks on the way down.
    fn encode_parts<'s>(
        &'s mut self,
    ) -> (&'s mut Iteration<Encode>, &'s mut [ActiveFilter], &'s mut ResponseHead, FilterContext<'s>) {
        let cx = hook_context(&mut self.info, Some(&self.request), self.route, self.around.worker);
        let head = self.response.get_or_insert_with(|| ResponseHead::new(500));
        (&mut self.encode, &mut self.filters, head, cx)
    }

    /// Leaves if the client has left, as far as that can be seen: not while more of its request is to be read, if
    /// that is left unread.
    fn check_client(&mut self, task: &mut Context<'_>) -> Result<(), Stop> {
        let is_read = D::READS_ALWAYS || self.request_read || matches!(self.upgrade, Upgrade::Asked);
        if is_read && let Poll::Ready(gone) = self.downstream.poll_gone(task) {
            return Err(Stop::DownstreamGone(gone));
        }
        Ok(())
    }

    /// Who was too slow: the client with its request, or upstream.
    fn timeout_status(&self) -> u16 {
        if self.request_read { 504 } else { 408 }
    }

    /// Handles deadlines of the connection manager that have passed. `Ok` if none, or none that
    /// ends the stream. Deadlines of attempts are left to `forward`.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Result<Option<Deadline>, Stop> {
        while let Poll::Ready(kind) = self.clock.poll_due(cx) {
            let stats = &self.around.manager.stats;
            match kind {
                Deadline::StreamIdle => {
                    stats.requests.downstream_rq_idle_timeout.inc();
                    let flags = ResponseFlags::STREAM_IDLE_TIMEOUT;
                    return Err(timed_out(
                        self.timeout_status(),
                        "stream timeout",
                        "stream_idle_timeout",
                        flags,
                    ));
                }
                Deadline::Request => {
                    stats.requests.downstream_rq_timeout.inc();
                    return Err(timed_out(
                        408,
                        "request timeout",
                        "request_overall_timeout",
                        ResponseFlags::NONE,
                    ));
                }
                Deadline::StreamDuration => {
                    stats.requests.downstream_rq_max_duration_reached.inc();
                    let flags = ResponseFlags::DURATION_TIMEOUT;
                    let (body, details) = ("downstream duration timeout", "max_duration_timeout");
                    return Err(timed_out(self.timeout_status(), body, details, flags));
                }
                Deadline::ConnectionDuration => {
                    stats.connections.downstream_cx_max_duration_reached.inc();
                    self.persistent = false;
                }
                // They belong to the time between requests, and to connections.
                Deadline::ConnectionIdle
                | Deadline::RequestHeaders
                | Deadline::Drain
                | Deadline::Keepalive => {}
                Deadline::Route | Deadline::PerTry | Deadline::PerTryIdle => return Ok(Some(kind)),
            }
        }
        Ok(None)
    }
}

/// What hooks see of their surroundings; the chain adds what is particular to each filter.
fn hook_context<'s>(
    info: &'s mut StreamInfo,
    request: Option<&'s RequestHead>,
    route: Option<MatchedRoute<'s>>,
    worker: &'s Rc<WorkerContext>,
) -> FilterContext<'s> {
    FilterContext {
        info,
        request,
        route,
        held: HeldHead::None,
        route_slot: None,
        worker,
        now: io::now(),
        unix_now: io::unix_time(),
        random: io::random_u64,
        clear_route_cache: false,
        buffer_limit_bytes: None,
    }
}

/// Counts a request as active until it is dropped, whatever ends it.
struct ActiveRequest(Gauge);

/// Counts a request.
fn count_request(around: &Surroundings<'_>, version: Version) -> ActiveRequest {
    let stats = around.manager.stats.requests;
    stats.downstream_rq_total.inc();
    match version {
        Version::Http10 | Version::Http11 => stats.downstream_rq_http1_total.inc(),
        Version::Http2 => stats.downstream_rq_http2_total.inc(),
        Version::Http3 => stats.downstream_rq_http3_total.inc(),
    }
    ActiveRequest::new(stats.downstream_rq_active)
}

impl ActiveRequest {
    fn new(gauge: Gauge) -> ActiveRequest {
        gauge.inc();
        ActiveRequest(gauge)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}
