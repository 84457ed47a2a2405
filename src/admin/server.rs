//! Serving: accepts, reads requests, answers. One future for everything, so that it needs no
//! spawning and its state need not be `Send`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, SERVER, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Sleep;

use crate::access_log::AccessLogSet;
use crate::admin::access::{self, Answered};
use crate::admin::listener::{Accepted, AdminListener};
use crate::admin::reply::Reply;
use crate::admin::routes;
use crate::admin::state::AdminState;
use crate::config::StringMatcher;
use crate::log_debug;
use crate::stats::Registry;
use crate::stats::groups::{HttpConnectionStats, HttpRequestStats, ListenerStats};
use crate::stream_info::ConnectionInfo;

/// How the admin server behaves.
#[derive(Debug, Clone)]
pub struct AdminOptions {
    /// Logs of its requests.
    pub access_log: AccessLogSet,
    /// Paths that may be asked for; empty allows all.
    pub allow_paths: Vec<StringMatcher>,
    /// Connections served at once; one more ends the oldest. Default 100.
    pub max_connections: usize,
    /// Time for a client to send a request's head, from the connection's start or the last answer.
    /// Default 60 s.
    pub request_head_timeout: Duration,
    /// Largest request head. Default 60 KiB, at least 8 KiB.
    pub max_request_head_bytes: usize,
}

impl Default for AdminOptions {
    fn default() -> AdminOptions {
        AdminOptions {
            access_log: AccessLogSet::default(),
            allow_paths: Vec::new(),
            max_connections: 100,
            request_head_timeout: Duration::from_secs(60),
            max_request_head_bytes: 60 * 1024,
        }
    }
}

/// The admin server.
#[derive(Clone)]
pub struct AdminServer {
    inner: Rc<Inner>,
}

struct Inner {
    state: Rc<dyn AdminState>,
    registry: Registry,
    options: AdminOptions,
    listener_stats: ListenerStats,
    connection_stats: HttpConnectionStats,
    request_stats: HttpRequestStats,
}

impl AdminServer {
    /// A server that shows `state` and `registry`. Its own stats are `http.admin.` and `listener.admin.`.
    pub fn new(state: Rc<dyn AdminState>, registry: Registry, options: AdminOptions) -> AdminServer {
        let inner = Inner {
            state,
            options,
            listener_stats: ListenerStats::register(&registry, "listener.admin."),
            connection_stats: HttpConnectionStats::register(&registry, "http.admin."),
            request_stats: HttpRequestStats::register(&registry, "http.admin."),
            registry,
        };
        AdminServer { inner: Rc::new(inner) }
    }

    /// Serves until dropped. Runs on the control thread's runtime.
    pub async fn serve(&self, listener: AdminListener) -> Infallible {
        let mut serving = Serving { connections: Vec::new(), accepted: 0, pause: None };
        poll_fn(|cx| self.poll_serve(&listener, &mut serving, cx)).await
    }

    fn poll_serve(
        &self,
        listener: &AdminListener,
        serving: &mut Serving,
        cx: &mut Context<'_>,
    ) -> Poll<Infallible> {
        let limit = self.inner.options.max_connections.max(1);
        while serving.may_accept(cx) {
            match listener.poll_accept(cx) {
                Poll::Ready(Ok(accepted)) => {
                    if serving.connections.len() >= limit {
                        drop(serving.connections.remove(0));
                    }
                    let id = serving.accepted;
                    serving.accepted += 1;
                    let info = access::connection_info(id, listener.address(), accepted.peer);
                    serving.connections.push(Box::pin(serve_connection(self.inner.clone(), accepted, info)));
                }
                Poll::Ready(Err(error)) => {
                    log_debug!(Admin, "cannot accept: {error}");
                    serving.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
                Poll::Pending => break,
            }
        }
        serving.connections.retain_mut(|connection| connection.as_mut().poll(cx).is_pending());
        Poll::Pending
    }
}

/// Time without accepting after that failed, which means out of descriptors, as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections by age, the oldest first.
struct Serving {
    connections: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    accepted: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Serving {
    fn may_accept(&mut self, cx: &mut Context<'_>) -> bool {
        if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_ready()) {
            self.pause = None;
        }
        self.pause.is_none()
    }
}

async fn serve_connection(inner: Rc<Inner>, accepted: Accepted, info: Rc<ConnectionInfo>) {
    let _counted = ConnectionCount::new(inner.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&inner, &info, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(inner.options.request_head_timeout)
        .max_buf_size(inner.options.max_request_head_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(accepted.stream), service)
        .await;
    if let Err(error) = served {
        log_debug!(Admin, "connection ended: {error}");
    }
}

fn answer(
    inner: &Inner,
    connection: &Rc<ConnectionInfo>,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let stats = inner.request_stats;
    stats.downstream_rq_total.inc();
    stats.downstream_rq_http1_total.inc();
    stats.downstream_rq_active.inc();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let options = &inner.options;
    let Reply { status, content_type, body } = routes::dispatch(
        request.method().as_str(),
        target,
        &options.allow_paths,
        inner.state.as_ref(),
        &inner.registry,
    );
    log_debug!(Admin, "{} {target}: {status}", request.method());
    stats.downstream_rq_active.dec();
    stats.record(status);
    let answered = Answered { status, body_bytes: body.len() as u64, took: started.elapsed() };
    stats.downstream_rq_time.record(u64::try_from(answered.took.as_millis()).unwrap_or(u64::MAX));
    access::log(&options.access_log, connection, request, &answered);
    inner.connection_stats.downstream_cx_tx_bytes_total.add(body.len() as u64);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(SERVER, HeaderValue::from_static("envoy"));
    response
}

/// Counts a connection for as long as it lives, however it ends.
struct ConnectionCount {
    inner: Rc<Inner>,
    started: Instant,
}

impl ConnectionCount {
    fn new(inner: Rc<Inner>) -> ConnectionCount {
        inner.listener_stats.downstream_cx_total.inc();
        inner.listener_stats.downstream_cx_active.inc();
        inner.connection_stats.downstream_cx_total.inc();
        inner.connection_stats.downstream_cx_active.inc();
        inner.connection_stats.downstream_cx_http1_total.inc();
        inner.connection_stats.downstream_cx_http1_active.inc();
        ConnectionCount { inner, started: Instant::now() }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let length_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.inner.listener_stats.downstream_cx_active.dec();
        self.inner.listener_stats.downstream_cx_destroy.inc();
        self.inner.listener_stats.downstream_cx_length_ms.record(length_ms);
        self.inner.connection_stats.downstream_cx_active.dec();
        self.inner.connection_stats.downstream_cx_http1_active.dec();
        self.inner.connection_stats.downstream_cx_destroy.inc();
        self.inner.connection_stats.downstream_cx_length_ms.record(length_ms);
    }
}
