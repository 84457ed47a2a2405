//! Conditions, limits and counters of retries.

use super::*;
use crate::config::cluster::CircuitBreakers;
use crate::config::route::RoutingPriority;
use crate::http::Method;
use crate::stats::Registry;
use crate::upstream::breaker::{BreakerShared, Breakers, ResourceKind};

fn policy(retry_on: &str, edit: impl FnOnce(&mut RetryPolicy)) -> Arc<RetryPolicy> {
    let mut policy = RetryPolicy {
        retry_on: retry_on.to_owned(),
        num_retries: 1,
        per_try_timeout: None,
        per_try_idle_timeout: None,
        retry_back_off: None,
        rate_limited_retry_back_off: None,
        retriable_status_codes: vec![],
        retriable_headers: vec![],
        retriable_request_headers: vec![],
        avoid_previous_hosts: false,
        host_selection_retry_max_attempts: 1,
    };
    edit(&mut policy);
    Arc::new(policy)
}

fn request(headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new(Method::Get, "http", b"host", b"/");
    headers.iter().for_each(|(name, value)| head.headers.append(*name, value.as_bytes()));
    head
}

fn response(status: u16, headers: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    headers.iter().for_each(|(name, value)| head.headers.append(*name, value.as_bytes()));
    head
}

/// Whether a response is retried under `retry_on`.
fn retries(retry_on: &str, response: &ResponseHead) -> bool {
    let state = RetryState::new(Some(&policy(retry_on, |_| {})), &request(&[])).expect("conditions");
    state.is_retriable(AttemptOutcome::Response(response))
}

struct World {
    registry: Registry,
    stats: ClusterTrafficStats,
    breakers: std::rc::Rc<Breakers>,
    rng: Rng,
}

impl World {
    fn new() -> World {
        let registry = Registry::new();
        World {
            stats: ClusterTrafficStats::register(&registry, ""),
            breakers: Breakers::new(BreakerShared::new(&CircuitBreakers::default())),
            rng: Rng::from_seed(1),
            registry,
        }
    }

    fn decide(&mut self, state: &mut RetryState, outcome: AttemptOutcome<'_>) -> RetryDecision {
        let context = RetryContext { now: UnixTime::default(), rng: &mut self.rng, stats: &self.stats };
        let breakers = &self.breakers;
        state.decide(outcome, context, || {
            breakers.try_acquire(RoutingPriority::Default, ResourceKind::Retries)
        })
    }

    fn count(&self, name: &str) -> u64 {
        self.registry.counter_value(name).unwrap_or(0)
    }
}

#[test]
fn statuses_by_condition() {
    for (retry_on, retried, kept) in [
        ("5xx", &[500, 502, 503, 599][..], &[200, 409, 429, 404][..]),
        ("gateway-error", &[502, 503, 504], &[500, 505, 409]),
        ("retriable-4xx", &[409], &[400, 404, 429, 503]),
        ("reset", &[], &[500, 503]),
        ("connect-failure", &[], &[500, 503]),
    ] {
        for status in retried {
            assert!(retries(retry_on, &response(*status, &[])), "{retry_on} {status}");
        }
        for status in kept {
            assert!(!retries(retry_on, &response(*status, &[])), "{retry_on} {status}");
        }
    }
}

#[test]
fn rate_limited_responses_need_their_own_condition() {
    let limited = response(503, &[("x-envoy-ratelimited", "true")]);
    assert!(!retries("5xx", &limited));
    assert!(retries("envoy-ratelimited", &limited));
    assert!(!retries("envoy-ratelimited", &response(503, &[])));
}

#[test]
fn grpc_conditions_look_at_the_status_in_the_head() {
    assert!(retries("unavailable", &response(200, &[("grpc-status", "14")])));
    assert!(!retries("unavailable", &response(200, &[("grpc-status", "13")])));
    assert!(retries("internal,cancelled", &response(200, &[("grpc-status", "1")])));
    assert!(!retries("unavailable", &response(200, &[("grpc-status", "")])));
    assert!(!retries("unavailable", &response(200, &[])));
}

#[test]
fn resets_by_condition() {
    let termination = UpstreamReset::ConnectionTermination;
    let refused = UpstreamReset::ConnectionFailure("Connection refused".into());
    let check = |retry_on: &str, reset: &UpstreamReset, request_sent: bool| {
        let state = RetryState::new(Some(&policy(retry_on, |_| {})), &request(&[])).expect("conditions");
        state.is_retriable(AttemptOutcome::Reset { reset, request_sent })
    };
    for retry_on in ["5xx", "gateway-error", "reset"] {
        assert!(check(retry_on, &termination, true), "{retry_on}");
        assert!(!check(retry_on, &UpstreamReset::Overflow, false), "{retry_on}");
    }
    assert!(check("connect-failure", &refused, false));
    assert!(check("connect-failure", &UpstreamReset::ConnectionTimeout, false));
    assert!(!check("connect-failure", &termination, true));
    assert!(check("reset-before-request", &termination, false));
    assert!(!check("reset-before-request", &termination, true));
    assert!(check("refused-stream", &UpstreamReset::RemoteRefusedStream, true));
    assert!(!check("refused-stream", &termination, true));
}

#[test]
fn headers_of_the_request_add_conditions_and_override_the_number() {
    assert!(RetryState::new(None, &request(&[])).is_none());
    assert!(RetryState::new(Some(&policy("", |_| {})), &request(&[])).is_none());
    let asked = request(&[
        ("x-envoy-retry-on", "retriable-status-codes,retriable-headers"),
        ("x-envoy-retriable-status-codes", "429, 418"),
        ("x-envoy-retriable-header-names", "X-Again"),
        ("x-envoy-max-retries", "7"),
    ]);
    let state =
        RetryState::new(Some(&policy("5xx", |policy| policy.num_retries = 3)), &asked).expect("asked");
    assert_eq!(state.retries_left, 7);
    for (status, headers) in [(503, &[][..]), (418, &[]), (200, &[("x-again", "")])] {
        assert!(state.is_retriable(AttemptOutcome::Response(&response(status, headers))), "{status}");
    }
    assert!(!state.is_retriable(AttemptOutcome::Response(&response(404, &[]))));
    let mut headers = asked.headers;
    remove_retry_headers(&mut headers);
    assert_eq!(headers.iter_without_pseudo().count(), 0);
}

#[test]
fn retriable_request_headers_restrict_the_policy() {
    let only_some = policy("5xx", |policy| policy.retriable_request_headers = vec![present("x-may-retry")]);
    assert!(RetryState::new(Some(&only_some), &request(&[])).is_none());
    assert!(RetryState::new(Some(&only_some), &request(&[("x-may-retry", "1")])).is_some());
}

#[test]
fn limits_end_retries_and_are_counted() {
    let mut world = World::new();
    let mut state = RetryState::new(Some(&policy("5xx", |policy| policy.num_retries = 2)), &request(&[]))
        .expect("policy");
    let failed = response(503, &[]);
    for _ in 0..2 {
        let decision = world.decide(&mut state, AttemptOutcome::Response(&failed));
        assert!(matches!(decision, RetryDecision::RetryAfter(_)));
        let breaker = world.breakers.shared().priority(RoutingPriority::Default);
        assert_eq!(breaker.in_use(ResourceKind::Retries), 1);
    }
    assert_eq!(world.decide(&mut state, AttemptOutcome::Response(&failed)), RetryDecision::LimitExceeded);
    let counts =
        ["upstream_rq_retry", "upstream_rq_retry_backoff_exponential", "upstream_rq_retry_limit_exceeded"]
            .map(|name| world.count(name));
    assert_eq!(counts, [2, 2, 1]);
}

#[test]
fn the_breaker_of_retries_is_asked() {
    let mut world = World::new();
    let of_others: Vec<_> =
        std::iter::from_fn(|| world.breakers.try_acquire(RoutingPriority::Default, ResourceKind::Retries))
            .collect();
    let mut state = RetryState::new(Some(&policy("5xx", |_| {})), &request(&[])).expect("policy");
    let timeout = AttemptOutcome::PerTryTimeout;
    assert_eq!(world.decide(&mut state, timeout), RetryDecision::Overflow);
    assert_eq!(world.count("upstream_rq_retry_overflow"), 1);
    drop(of_others);
}

#[test]
fn a_success_after_a_retry_is_counted() {
    let mut world = World::new();
    let mut state = RetryState::new(Some(&policy("reset", |_| {})), &request(&[])).expect("policy");
    let reset = UpstreamReset::ConnectionTermination;
    let outcome = AttemptOutcome::Reset { reset: &reset, request_sent: true };
    assert!(matches!(world.decide(&mut state, outcome), RetryDecision::RetryAfter(_)));
    let success = response(200, &[]);
    assert_eq!(world.decide(&mut state, AttemptOutcome::Response(&success)), RetryDecision::No);
    assert_eq!(world.count("upstream_rq_retry_success"), 1);
    let breaker = world.breakers.shared().priority(RoutingPriority::Default);
    assert_eq!(breaker.in_use(ResourceKind::Retries), 0);
}

#[test]
fn per_try_timeouts_come_from_the_request_first() {
    let policy = policy("5xx", |policy| policy.per_try_timeout = Some(Duration::from_secs(2)));
    let global = Some(Duration::from_secs(15));
    assert_eq!(per_try_timeout(Some(&policy), &request(&[]), global), Some(Duration::from_secs(2)));
    let asked = request(&[("x-envoy-upstream-rq-per-try-timeout-ms", "50")]);
    assert_eq!(per_try_timeout(Some(&policy), &asked, global), Some(Duration::from_millis(50)));
    assert_eq!(per_try_timeout(None, &request(&[]), global), None);
    let longer = request(&[("x-envoy-upstream-rq-per-try-timeout-ms", "15000")]);
    assert_eq!(per_try_timeout(Some(&policy), &longer, global), None);
}
