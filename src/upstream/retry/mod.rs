//! Whether a failed attempt is made again, and when. One [`RetryState`] per request.
//!
//! Sans-io: time and randomness are arguments, the request is sent again by the router. Follows
//! `config.route.v3.RetryPolicy` and Envoy's router headers; where its documents are vague, the 1.40 binary
//! (a request's `x-envoy-max-retries` overrides the route's number; `x-envoy-overloaded` does not stop retries).

mod backoff;
mod conditions;

use std::sync::Arc;
use std::time::Duration;

pub use backoff::Backoff;
pub use conditions::RetryOn;

use super::breaker::Permit;
use super::reset::UpstreamReset;
use crate::base::clock::UnixTime;
use crate::base::rng::Rng;
use crate::config::route::RetryPolicy;
use crate::config::{HeaderMatcher, HeaderValueMatch};
use crate::http::{HeaderMap, RequestHead, ResponseHead, header};
use crate::stats::groups::ClusterTrafficStats;

/// The retries of one request.
#[derive(Debug)]
pub struct RetryState {
    retry_on: RetryOn,
    policy: Option<Arc<RetryPolicy>>,
    /// From `x-envoy-retriable-status-codes`, in addition to the policy's.
    requested_status_codes: Vec<u16>,
    /// From `x-envoy-retriable-header-names`, in addition to the policy's.
    requested_headers: Vec<HeaderMatcher>,
    retries_left: u32,
    backoff: Backoff,
    /// Held from the decision to retry until the next one.
    permit: Option<Permit>,
}

/// What becomes of a failed attempt, or of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// It stands.
    No,
    /// It would be made again, but that was done often enough (flag `URX`).
    LimitExceeded,
    /// It would be made again, but the circuit breaker of retries is open (flag `UO`).
    Overflow,
    /// Send the request again after this time.
    RetryAfter(Duration),
}

/// Why an attempt is looked at.
#[derive(Debug, Clone, Copy)]
pub enum AttemptOutcome<'a> {
    /// The head of a final response.
    Response(&'a ResponseHead),
    /// No (whole) response. `request_sent`: some of the request went out.
    Reset {
        /// Why.
        reset: &'a UpstreamReset,
        /// Whether some of the request was given to a connection.
        request_sent: bool,
    },
    /// `per_try_timeout` ran out.
    PerTryTimeout,
}

/// What a decision needs from outside.
pub struct RetryContext<'a> {
    /// Wall-clock time, for `x-ratelimit-reset` and its like.
    pub now: UnixTime,
    /// For jitter.
    pub rng: &'a mut Rng,
    /// The cluster's counters.
    pub stats: &'a ClusterTrafficStats,
}

impl RetryState {
    /// The state for a request under `policy`; none if neither the policy nor the request's headers ask for
    /// retries. Removes no header, see [`remove_retry_headers`].
    pub fn new(policy: Option<&Arc<RetryPolicy>>, request: &RequestHead) -> Option<RetryState> {
        let headers = &request.headers;
        let mut retry_on = policy.map_or(RetryOn::NONE, |policy| RetryOn::parse(policy.retry_on.as_bytes()));
        for name in [header::X_ENVOY_RETRY_ON, header::X_ENVOY_RETRY_GRPC_ON] {
            headers.get(name).into_iter().for_each(|value| retry_on = retry_on.with(RetryOn::parse(value)));
        }
        if let Some(policy) = policy
            && !policy.retriable_request_headers.is_empty()
            && !any_matches(&policy.retriable_request_headers, headers)
        {
            return None;
        }
        if retry_on.is_empty() {
            return None;
        }
        let configured = policy.map_or(1, |policy| policy.num_retries);
        Some(RetryState {
            retry_on,
            policy: policy.cloned(),
            requested_status_codes: list(headers, header::X_ENVOY_RETRIABLE_STATUS_CODES)
                .filter_map(|code| std::str::from_utf8(code).ok()?.parse().ok())
                .collect(),
            requested_headers: list(headers, header::X_ENVOY_RETRIABLE_HEADER_NAMES)
                .filter_map(|name| Some(present(std::str::from_utf8(name).ok()?)))
                .collect(),
            retries_left: headers
                .get_u64(header::X_ENVOY_MAX_RETRIES)
                .map_or(configured, |requested| u32::try_from(requested).unwrap_or(u32::MAX)),
            backoff: Backoff::new(policy.and_then(|policy| policy.retry_back_off)),
            permit: None,
        })
    }

    /// Decides about an attempt that is over, or a response that would go downstream. `acquire` takes a unit of
    /// the retries' circuit breaker. Counts `upstream_rq_retry` and its like.
    pub fn decide(
        &mut self,
        outcome: AttemptOutcome<'_>,
        context: RetryContext<'_>,
        acquire: impl FnOnce() -> Option<Permit>,
    ) -> RetryDecision {
        let was_retried = self.permit.take().is_some();
        let stats = context.stats;
        if !self.is_retriable(outcome) {
            if was_retried {
                stats.upstream_rq_retry_success.inc();
            }
            return RetryDecision::No;
        }
        if self.retries_left == 0 {
            stats.upstream_rq_retry_limit_exceeded.inc();
            return RetryDecision::LimitExceeded;
        }
        self.retries_left -= 1;
        let Some(permit) = acquire() else {
            stats.upstream_rq_retry_overflow.inc();
            return RetryDecision::Overflow;
        };
        self.permit = Some(permit);
        stats.upstream_rq_retry.inc();
        let told = match outcome {
            AttemptOutcome::Response(head) => self.told_interval(head, context.now, context.rng),
            _ => None,
        };
        let after =
            told.inspect(|_| stats.upstream_rq_retry_backoff_ratelimited.inc()).unwrap_or_else(|| {
                stats.upstream_rq_retry_backoff_exponential.inc();
                self.backoff.next(context.rng)
            });
        RetryDecision::RetryAfter(after)
    }

    /// Whether the conditions ask for another attempt, limits aside.
    pub fn is_retriable(&self, outcome: AttemptOutcome<'_>) -> bool {
        match outcome {
            AttemptOutcome::Response(head) => self.is_retriable_response(head),
            AttemptOutcome::Reset { reset: UpstreamReset::Overflow, .. } => false,
            AttemptOutcome::Reset { reset, request_sent } => {
                self.retry_on.intersects(RetryOn::ANY_RESET)
                    || (reset.is_connect_failure() && self.retry_on.intersects(RetryOn::CONNECT_FAILURE))
                    || (*reset == UpstreamReset::RemoteRefusedStream
                        && self.retry_on.intersects(RetryOn::REFUSED_STREAM))
                    || (!request_sent && self.retry_on.intersects(RetryOn::RESET_BEFORE_REQUEST))
            }
            AttemptOutcome::PerTryTimeout => self.retry_on.intersects(RetryOn::ANY_RESET),
        }
    }

    fn is_retriable_response(&self, head: &ResponseHead) -> bool {
        let (on, status) = (self.retry_on, head.status());
        if head.headers.contains(header::X_ENVOY_RATE_LIMITED) {
            return on.intersects(RetryOn::ENVOY_RATE_LIMITED);
        }
        if on.intersects(RetryOn::of_status(status)) {
            return true;
        }
        if on.intersects(RetryOn::RETRIABLE_STATUS_CODES) {
            let configured = self.policy.as_ref().map_or(&[][..], |policy| &policy.retriable_status_codes);
            if configured.contains(&status) || self.requested_status_codes.contains(&status) {
                return true;
            }
        }
        if on.intersects(RetryOn::RETRIABLE_HEADERS) {
            let configured = self.policy.as_ref().map_or(&[][..], |policy| &policy.retriable_headers);
            if any_matches(configured, &head.headers) || any_matches(&self.requested_headers, &head.headers) {
                return true;
            }
        }
        on.intersects(RetryOn::ANY_GRPC)
            && head
                .headers
                .get_u64(header::GRPC_STATUS)
                .is_some_and(|status| on.intersects(RetryOn::of_grpc_status(status)))
    }

    /// The pause that the response asks for, if the policy reads that.
    fn told_interval(&self, head: &ResponseHead, now: UnixTime, rng: &mut Rng) -> Option<Duration> {
        let policy = self.policy.as_ref()?.rate_limited_retry_back_off.as_ref()?;
        backoff::told_interval(policy, &head.headers, now, rng)
    }
}

/// Removes the headers that only speak to this proxy's retries; they are not sent upstream.
pub fn remove_retry_headers(headers: &mut HeaderMap) {
    for name in [
        header::X_ENVOY_RETRY_ON,
        header::X_ENVOY_RETRY_GRPC_ON,
        header::X_ENVOY_MAX_RETRIES,
        header::X_ENVOY_RETRIABLE_STATUS_CODES,
        header::X_ENVOY_RETRIABLE_HEADER_NAMES,
        header::X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
    ] {
        headers.remove(name);
    }
}

/// The time for each attempt: the request's `x-envoy-upstream-rq-per-try-timeout-ms`, else the policy's. None,
/// also for zero, means that only `global` bounds an attempt, as does a time that is not shorter.
pub fn per_try_timeout(
    policy: Option<&RetryPolicy>,
    request: &RequestHead,
    global: Option<Duration>,
) -> Option<Duration> {
    let requested = request.headers.get_u64(header::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS);
    let timeout = match requested {
        Some(millis) => Duration::from_millis(millis),
        None => policy?.per_try_timeout?,
    };
    (!timeout.is_zero() && global.is_none_or(|global| timeout < global)).then_some(timeout)
}

fn list(headers: &HeaderMap, name: header::Known) -> impl Iterator<Item = &[u8]> {
    headers
        .get(name)
        .into_iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

fn present(name: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_ascii_lowercase(),
        value: HeaderValueMatch::Present(true),
        invert_match: false,
        treat_missing_header_as_empty: false,
    }
}

fn any_matches(matchers: &[HeaderMatcher], headers: &HeaderMap) -> bool {
    matchers.iter().any(|matcher| matcher.matches_values(headers.get_all(matcher.name.as_str())))
}

#[cfg(test)]
mod tests;
