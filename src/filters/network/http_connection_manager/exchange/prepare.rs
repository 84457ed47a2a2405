//! Makes a request what upstream is to see, and settles its times and retries.

use std::rc::Rc;
use std::time::Duration;

use crate::filters::network::http_connection_manager::deadlines::Deadline;
use crate::filters::network::http_connection_manager::downstream::DownstreamStream;
use crate::formatter::FormatContext;
use crate::http::{HeaderMap, header};
use crate::io;
use crate::routing::{ForwardAction, MatchedRoute, timeouts};
use crate::upstream::retry::{self, RetryState};
use crate::upstream::{Cluster, Host};

use super::Exchange;

/// A request on its way to a cluster.
pub(super) struct Forwarding<'a> {
    pub(super) route: MatchedRoute<'a>,
    pub(super) action: &'a ForwardAction,
    pub(super) cluster: Rc<Cluster>,
    /// The name that its connection is to be made for, if requests decide that.
    pub(super) wanted_name: Option<Rc<str>>,
    pub(super) retry: Option<RetryState>,
    /// For each attempt.
    pub(super) per_try_timeout: Option<Duration>,
    /// Hosts whose attempts failed.
    pub(super) tried: Vec<Rc<Host>>,
    /// The last attempt ended by a timeout; one on a connection that turned out to be closed is none.
    pub(super) follows_timeout: bool,
    /// Attempts so far, those on connections that turned out to be closed left out.
    pub(super) attempts: u32,
    /// Attempts on connections that turned out to be closed.
    pub(super) stale_connections: u32,
}

impl Forwarding<'_> {
    /// An attempt on `host` has failed, and another one follows.
    pub(super) fn note_failed(&mut self, host: &Rc<Host>, by_timeout: bool) {
        self.tried.push(Rc::clone(host));
        self.follows_timeout = by_timeout;
    }
}

impl<'a, D: DownstreamStream> Exchange<'a, D> {
    /// Makes the request what upstream is to see, and settles its times and retries.
    pub(super) fn prepare_request(
        &mut self,
        route: MatchedRoute<'a>,
        action: &'a ForwardAction,
        cluster: Rc<Cluster>,
    ) -> Forwarding<'a> {
        let suppress = self.around.manager.router.suppress_envoy_headers;
        let global_timeout = timeouts::upstream_timeout(&action.config, &self.request.headers);
        let policy = action.retry_policy.as_ref();
        let retry = RetryState::new(policy, &self.request);
        let per_try_timeout =
            retry::per_try_timeout(policy.map(|policy| &**policy), &self.request, global_timeout);
        let headers = &mut self.request.headers;
        retry::remove_retry_headers(headers);
        headers.remove(header::X_ENVOY_UPSTREAM_ALT_STAT_NAME);
        headers.remove(header::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS);
        headers.remove(header::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS);
        let expected = per_try_timeout.or(global_timeout);
        let is_told = !suppress && action.config.max_stream_duration.is_none();
        if let (true, Some(expected)) = (is_told, expected) {
            set_number(headers, header::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, expected.as_millis() as u64);
        }
        if route.virtual_host.include_request_attempt_count {
            set_number(headers, header::X_ENVOY_ATTEMPT_COUNT, 1);
        }
        let cx = FormatContext::new(&self.info, io::now(), io::unix_time());
        route.finalize_request(&mut self.request, &cx);
        if suppress {
            self.request.headers.remove(header::X_ENVOY_ORIGINAL_PATH);
        }
        if self.asks_server && self.request.path() == b"/" {
            self.request.set_path(b"*");
        }
        self.apply_route_timeouts(action);
        let forwarding = Forwarding {
            route,
            action,
            wanted_name: cluster.info().wanted_name(&self.request),
            cluster,
            retry,
            per_try_timeout,
            tried: Vec::new(),
            follows_timeout: false,
            attempts: 0,
            stale_connections: 0,
        };
        self.route_timeout = global_timeout;
        if self.request_read {
            self.clock.set(Deadline::Route, self.route_timeout);
        }
        forwarding
    }

    fn apply_route_timeouts(&mut self, action: &ForwardAction) {
        if let Some(idle) = action.config.idle_timeout {
            self.clock.set_stream_idle_timeout((!idle.is_zero()).then_some(idle));
        }
        let default = self.around.manager.max_stream_duration;
        let longest = timeouts::max_stream_duration(&action.config, &self.request.headers, default);
        if longest != default {
            self.clock.set(Deadline::StreamDuration, longest);
        }
    }
}

/// Sets a header to a number.
pub(super) fn set_number(headers: &mut HeaderMap, name: header::Known, number: u64) {
    let mut digits = ArrayDigits::default();
    headers.set(name, digits.write(number));
}

/// Decimal digits without allocation.
#[derive(Default)]
struct ArrayDigits([u8; 20]);

impl ArrayDigits {
    fn write(&mut self, mut number: u64) -> &[u8] {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[at..];
            }
        }
    }
}
