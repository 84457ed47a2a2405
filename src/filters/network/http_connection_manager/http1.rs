//! A client's HTTP/1 connection from its first byte to its end: one exchange after the other, the
//! timeouts between them, and a graceful close.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::base::clock::{Instant, UnixTime};
use crate::config::CodecType;
use crate::filters::http::LocalReply;
use crate::filters::network::DrainRegistration;
use crate::http::h1::{H1Error, RequestStart, TargetForm};
use crate::http::{HeaderMap, RequestHead, Version, h1, header};
use crate::io::{self, pooled};
use crate::stream_info::{ResponseFlags, StreamInfo, Timing};
use crate::transport::Stream;

use super::HttpConnectionManager;
use super::context::{Account, ConnectionContext};
use super::deadlines::Deadline;
use super::exchange::{Exchange, Request};
use super::h1::{H1Connection, NoRequest, refusal};
use super::http2::serve_http2;
use super::stream_clock::StreamClock;

/// Serves a connection until it ends.
///
/// What it needs is made before the future is: that lives as long as the connection, and keeps room for all that an
/// asynchronous function is given and for all that stands in a place of its own while it waits.
pub fn serve_http1(mut account: Account, stream: Stream) -> impl Future<Output = Option<Box<StreamInfo>>> {
    let drain = account.cx.listener.drain.register();
    let mut side = Box::new(ClientSide::new(&account.cx, stream));
    async move {
        let last = loop {
            let next = next_request(&account.cx.manager, &drain, &mut side).await;
            let cx = &account.cx;
            let exchange = match next {
                Next::Request(start) => {
                    let request = side.begin_request(&cx.manager, start);
                    cx.info.note_protocol(request.head.version);
                    let cx = Rc::clone(cx);
                    let exchange = pooled(move || exchange(cx, side, request));
                    account.speaks_http1();
                    exchange
                }
                Next::Refused(error) => {
                    match &error {
                        Refused::Broken(error) if error.is_protocol_error() => {
                            cx.info.is_protocol_broken.set(true);
                        }
                        _ => cx.info.note_protocol(Version::Http11),
                    }
                    let refusal = refuse(Rc::clone(cx), side, error);
                    account.speaks_http1();
                    break Last::Refusal(refusal);
                }
                Next::Http2 => break Last::Http2(side),
                // A client that only ended its own direction still reads what it was answered.
                Next::End(End::Remote) if side.client.stream().queued_bytes() > 0 => {
                    break Last::Close(side, End::Delayed);
                }
                Next::End(end) => {
                    if !side.client.is_idle() {
                        // The beginning of a request, at least.
                        cx.info.note_protocol(Version::Http11);
                    }
                    break Last::Close(side, end);
                }
            };
            let persistent;
            (side, persistent) = exchange.await;
            if !persistent {
                break Last::Close(side, End::Delayed);
            }
        };
        let serving = match last {
            Last::Refusal(refusal) => refusal,
            Last::Close(side, end) => {
                let cx = Rc::clone(&account.cx);
                pooled(move || close(cx, side, end)).await;
                return None;
            }
            Last::Http2(side) => {
                let (stream, first) = side.client.into_parts();
                drop(drain);
                serve_http2(account, stream, first)
            }
        };
        serving.await;
        None
    }
}

/// What comes last on a connection.
enum Last {
    /// An answer to what is no request.
    Refusal(Pin<Box<dyn Future<Output = ()>>>),
    Close(Box<ClientSide>, End),
    /// The client speaks HTTP/2 from its first byte.
    Http2(Box<ClientSide>),
}

/// A client and its deadlines. Moves into an exchange and back.
struct ClientSide {
    client: H1Connection,
    clock: StreamClock,
    /// When the first byte of the next request came; none if nothing of it is there.
    began: Option<(Instant, UnixTime)>,
    /// Requests that have begun.
    requests: u32,
}

impl ClientSide {
    fn new(cx: &ConnectionContext, stream: Stream) -> ClientSide {
        let manager = &cx.manager;
        let mut client = H1Connection::new(
            stream,
            manager.h1_settings,
            cx.scheme(),
            manager.header_case,
            cx.listener.buffer_limit_bytes,
        );
        if manager.codec_type == CodecType::Auto {
            client.expect_http2();
        }
        let mut clock = StreamClock::new();
        clock.set(Deadline::ConnectionDuration, manager.max_connection_duration);
        ClientSide { client, clock, began: None, requests: 0 }
    }

    /// Makes a request of what the codec has read.
    fn begin_request(&mut self, manager: &HttpConnectionManager, mut start: RequestStart) -> Request {
        let (now, time) = self.began.take().unwrap_or_else(|| (io::now(), io::unix_time()));
        self.requests = self.requests.saturating_add(1);
        let asks_server = start.form == TargetForm::Absolute && start.head.path() == b"*";
        adapt_to_options(manager, &mut start);
        let is_last = manager.max_requests_per_connection.is_some_and(|most| self.requests >= most);
        if is_last {
            manager.stats.connections.downstream_cx_max_requests_reached.inc();
        }
        Request {
            // An upgrade has no end before it is refused.
            end_stream: start.framing.is_empty() && !start.upgrade,
            head: start.head,
            keep_alive: start.keep_alive && !is_last,
            upgrade: start.upgrade,
            expect_continue: start.expect_continue,
            asks_server,
            timing: Timing::starting(now, time),
        }
    }
}

/// One request and its response. Says whether the connection may serve another one. Not part of the
/// connection's own future: that stays for as long as the connection does, and this is large.
async fn exchange(
    cx: Rc<ConnectionContext>,
    mut side: Box<ClientSide>,
    request: Request,
) -> (Box<ClientSide>, bool) {
    let ClientSide { client, clock, .. } = &mut *side;
    let routes = cx.take_routes();
    let persistent = Exchange::run(cx.around(&routes), client, clock, request).await;
    (side, persistent)
}

/// Answers what is no request, and closes.
fn refuse(
    cx: Rc<ConnectionContext>,
    mut side: Box<ClientSide>,
    refused: Refused,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let ClientSide { client, clock, .. } = &mut *side;
        let (request, reply) = match refused {
            Refused::Broken(error) => {
                if error.is_protocol_error() {
                    cx.manager.stats.connections.downstream_cx_protocol_error.inc();
                }
                refused_request(client, error)
            }
            Refused::HeadersLate => {
                cx.manager.stats.requests.downstream_rq_header_timeout.inc();
                let reply = LocalReply::new(408, "request header timeout", "request_header_timeout");
                (empty_request(), reply.closing())
            }
        };
        let routes = cx.take_routes();
        Exchange::reject(cx.around(&routes), client, clock, request, reply).await;
        drop(routes);
        close(cx, side, End::Delayed).await;
    })
}

/// How a connection ends.
enum End {
    /// By the client, or by an error.
    Remote,
    /// By us, with nothing more to say.
    Local,
    /// By us, after what was queued has reached the client.
    Delayed,
}

enum Next {
    Request(RequestStart),
    Http2,
    Refused(Refused),
    End(End),
}

/// What came is no request.
enum Refused {
    Broken(H1Error),
    HeadersLate,
}

/// Waits for the next request. No asynchronous function: connections spend their time here, and what it is given would
/// have two places in the future of one.
fn next_request<'a>(
    manager: &'a HttpConnectionManager,
    drain: &'a DrainRegistration,
    side: &'a mut ClientSide,
) -> impl Future<Output = Next> + 'a {
    side.clock.set(Deadline::ConnectionIdle, manager.connection_idle_timeout);
    let mut waiting = Waiting { manager, drain, side };
    poll_fn(move |cx| {
        let next = waiting.poll_next_request(cx);
        if next.is_ready() {
            waiting.side.clock.clear(Deadline::ConnectionIdle);
            waiting.side.clock.clear(Deadline::RequestHeaders);
        }
        next
    })
}

/// The time between two requests.
struct Waiting<'a> {
    manager: &'a HttpConnectionManager,
    drain: &'a DrainRegistration,
    side: &'a mut ClientSide,
}

impl Waiting<'_> {
    fn poll_next_request(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let ClientSide { client, clock, began, requests } = &mut *self.side;
        match client.poll_request(cx) {
            Poll::Ready(Ok(start)) => {
                if let Some(timeout) = self.manager.request_timeout
                    && !start.framing.is_empty()
                {
                    clock.set(Deadline::Request, Some(timeout));
                }
                return Poll::Ready(Next::Request(start));
            }
            Poll::Ready(Err(NoRequest::Closed)) => return Poll::Ready(Next::End(End::Remote)),
            Poll::Ready(Err(NoRequest::Http2)) => return Poll::Ready(Next::Http2),
            Poll::Ready(Err(NoRequest::Broken(error))) => {
                return Poll::Ready(Next::Refused(Refused::Broken(error)));
            }
            Poll::Pending => {}
        }
        if began.is_none() && !client.is_idle() {
            *began = Some((io::now(), io::unix_time()));
            clock.clear(Deadline::ConnectionIdle);
            clock.set(Deadline::RequestHeaders, self.manager.request_headers_timeout);
        }
        while let Poll::Ready(kind) = clock.poll_due(cx) {
            match kind {
                Deadline::ConnectionIdle => {
                    self.manager.stats.connections.downstream_cx_idle_timeout.inc();
                    return Poll::Ready(Next::End(End::Local));
                }
                Deadline::ConnectionDuration => {
                    self.manager.stats.connections.downstream_cx_max_duration_reached.inc();
                    return Poll::Ready(Next::End(End::Local));
                }
                Deadline::RequestHeaders => return Poll::Ready(Next::Refused(Refused::HeadersLate)),
                _ => {}
            }
        }
        if began.is_none() {
            if self.drain.closes_idle() {
                self.manager.stats.connections.downstream_cx_drain_close.inc();
                return Poll::Ready(Next::End(if *requests == 0 { End::Local } else { End::Delayed }));
            }
            self.drain.set_waker(cx.waker());
        }
        Poll::Pending
    }
}

/// Follows the options of HTTP/1 that change what a request says.
fn adapt_to_options(manager: &HttpConnectionManager, start: &mut RequestStart) {
    if start.upgrade
        && let Some(wanted) = start.head.headers.get(header::UPGRADE)
        && manager.ignored_upgrades.iter().any(|ignored| ignored.matches(wanted))
    {
        h1::strip_upgrade(&mut start.head.headers);
        start.upgrade = false;
    }
    if start.form == TargetForm::Absolute && start.head.path() == b"*" {
        // Routed like a path; the origin gets the asterisk again (RFC 9112 section 3.2.4).
        start.head.set_path(b"/");
    }
    let host = &manager.default_host_for_http_10;
    if start.head.version == Version::Http10 && start.head.authority().is_empty() && !host.is_empty() {
        start.head.set_authority(host);
    }
}

fn refused_request(client: &mut H1Connection, error: H1Error) -> (Request, LocalReply) {
    let mut request = empty_request();
    if let Some(head) = client.take_rejected_head() {
        request.head = head;
    }
    let mut reply = refusal(error);
    if error == H1Error::UnexpectedEof {
        reply.flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
    }
    (request, reply)
}

/// Stands for a request whose head is unknown.
fn empty_request() -> Request {
    Request {
        head: RequestHead { headers: HeaderMap::new(), version: Version::Http11 },
        end_stream: false,
        keep_alive: false,
        upgrade: false,
        expect_continue: false,
        asks_server: false,
        timing: Timing::starting(io::now(), io::unix_time()),
    }
}

/// Accounts for the connection and closes it; done when the client has had what was left for it.
async fn close(cx: Rc<ConnectionContext>, side: Box<ClientSide>, end: End) {
    let manager = &cx.manager;
    let stats = manager.stats.connections;
    let stream = side.client.into_stream();
    stats.downstream_cx_rx_bytes_total.add(stream.bytes_received());
    stats.downstream_cx_tx_bytes_total.add(stream.bytes_written());
    match end {
        End::Remote => stats.downstream_cx_destroy_remote.inc(),
        End::Local | End::Delayed => stats.downstream_cx_destroy_local.inc(),
    }
    match end {
        End::Delayed => stream.flush_and_close(manager.delayed_close_timeout).await,
        End::Local | End::Remote => stream.close().await,
    }
}
