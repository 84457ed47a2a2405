//! A request that a filter itself sends to a cluster, such as a question to an authorization service.
//! Bounded in time and in the size of the answer; never retried.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::buf::Chunk;
use crate::config::route::RoutingPriority;
use crate::formatter::write_u64;
use crate::http::{RequestHead, ResponseHead, header};
use crate::io::{self, Timer};
use crate::upstream::outlier::Outcome;
use crate::upstream::{Cluster, Host, HostPick, UpstreamEvent, UpstreamReset, UpstreamStream};

/// An answer to a call.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The cluster has no host that may serve.
    #[error("no healthy upstream")]
    NoHealthyUpstream,
    /// The exchange ended early.
    #[error("{}", .0.reason())]
    Reset(UpstreamReset),
    /// No answer in time.
    #[error("timeout")]
    Timeout,
    /// The answer's body is larger than allowed.
    #[error("the answer is too large")]
    TooLarge,
}

/// Largest body of an answer that is kept, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Sends `head` with `body` to a host of `cluster` and waits for the whole answer, in whose head
/// `x-envoy-upstream-service-time` says how long that took.
///
/// # Errors
/// If there is none within `timeout`.
pub async fn call(
    cluster: Rc<Cluster>,
    head: RequestHead,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let result = attempt(&cluster, &head, body, timeout).await;
    match &result {
        Ok(_) => {}
        Err(CallError::Timeout) => {
            cluster.info().stats.traffic.upstream_rq_timeout.inc();
            cluster.info().charge_code(504);
        }
        Err(_) => cluster.info().charge_code(503),
    }
    result
}

async fn attempt(
    cluster: &Rc<Cluster>,
    request: &RequestHead,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let mut timer = Timer::new();
    timer.arm(io::now() + timeout);
    let name = cluster.info().wanted_name(request);
    let host = io::with_rng(|rng| cluster.pick_host(&HostPick::default(), rng))
        .ok_or(CallError::NoHealthyUpstream)?;
    let mut check_out = host.check_out_for(name.as_ref(), RoutingPriority::Default, request.version);
    let mut stream = poll_fn(|cx| {
        if let Poll::Ready(result) = check_out.poll_stream(cx) {
            return Poll::Ready(result.map_err(|failure| CallError::Reset(failure.into())));
        }
        timer.poll_expired(cx).map(|()| Err(CallError::Timeout))
    })
    .await
    .inspect_err(|error| report_failure(&host, error))?;
    host.outlier().record(Outcome::Connected);
    stream.send_head(request, body.is_empty());
    if !body.is_empty() {
        stream.send_data(Chunk::from_vec(body), true);
    }
    let mut received = Received { head: None, body: Vec::new() };
    let started = io::now();
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = received.poll(&mut stream, cx) {
            return Poll::Ready(result);
        }
        timer.poll_expired(cx).map(|()| Err(CallError::Timeout))
    })
    .await;
    let mut head = result.inspect_err(|error| match error {
        CallError::Timeout => host.outlier().record(Outcome::Timeout),
        other => report_failure(&host, other),
    })?;
    host.report_response(&request.headers, &head);
    let took = io::now().since(started);
    cluster.info().charge_response(head.status(), true, host.is_canary(), took);
    let mut digits = Vec::with_capacity(20);
    write_u64(took.as_millis() as u64, &mut digits);
    head.headers.set(header::X_ENVOY_UPSTREAM_SERVICE_TIME, &digits);
    Ok(Answer { head, body: received.body })
}

/// Charges a host for a connection that was not had, or broke. A full cluster says nothing about the host.
fn report_failure(host: &Host, error: &CallError) {
    if let CallError::Reset(reset) = error
        && !matches!(reset, UpstreamReset::Overflow)
    {
        host.outlier().record(Outcome::ConnectFailed);
    }
}

/// A request head to `authority`, for a call.
pub fn request_head(method: crate::http::Method<'_>, authority: &[u8], path: &[u8]) -> RequestHead {
    RequestHead::new(method, "http", authority, path)
}

struct Received {
    head: Option<ResponseHead>,
    body: Vec<u8>,
}

impl Received {
    fn poll(
        &mut self,
        stream: &mut UpstreamStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, CallError>> {
        loop {
            let event = match stream.poll_event(cx) {
                Poll::Ready(Ok(event)) => event,
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(CallError::Reset(reset))),
                Poll::Pending => return Poll::Pending,
            };
            let ends = event.is_end();
            match event {
                UpstreamEvent::Head { head, .. } => self.head = Some(head),
                UpstreamEvent::Data { chunk, .. } => {
                    if self.body.len() + chunk.len() > MAX_ANSWER_BYTES {
                        return Poll::Ready(Err(CallError::TooLarge));
                    }
                    self.body.extend_from_slice(&chunk);
                }
                UpstreamEvent::Informational(_) | UpstreamEvent::Trailers(_) => {}
            }
            if ends {
                let nothing = || CallError::Reset(UpstreamReset::ConnectionTermination);
                return Poll::Ready(self.head.take().ok_or_else(nothing));
            }
        }
    }
}
