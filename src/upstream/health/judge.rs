//! Whether the answer to an HTTP check says that the host can serve. Sans-io.

use super::payload::PayloadMatcher;
use super::state::{Failure, FailureType};
use crate::config::FractionalPercent;
use crate::config::Runtime;
use crate::config::cluster::HttpHealthCheck;
use crate::http::{ResponseHead, header};
use crate::stats::groups::HealthCheckStats;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// The host can serve.
    Success {
        /// It asks to be used less.
        is_degraded: bool,
    },
    /// It cannot.
    Failure(Failure),
}

impl CheckResult {
    /// No connection, or it broke.
    pub const NETWORK_FAILURE: CheckResult =
        CheckResult::Failure(Failure::without_answer(FailureType::Network));
}

/// What an answer must be.
#[derive(Debug)]
pub struct HttpJudge {
    config: HttpHealthCheck,
    verifies_cluster: FractionalPercent,
}

/// What counts of an answer's head.
#[derive(Debug, Clone)]
pub struct AnswerHead {
    status: u16,
    is_degraded: bool,
    excludes: bool,
    cluster: Vec<u8>,
}

impl HttpJudge {
    /// As configured; `health_check.verify_cluster` of the runtime says how often the service's name is looked at.
    pub fn new(config: HttpHealthCheck, runtime: &Runtime) -> HttpJudge {
        let verifies_cluster = runtime.fraction_under("health_check.verify_cluster", FractionalPercent::ALL);
        HttpJudge { config, verifies_cluster }
    }

    /// What is asked for.
    pub fn config(&self) -> &HttpHealthCheck {
        &self.config
    }

    /// For the body of an answer.
    pub fn body_matcher(&self) -> PayloadMatcher<'_> {
        PayloadMatcher::new(&self.config.receive, self.config.response_buffer_bytes)
    }

    /// Judges a whole answer; `random` decides whether the service's name is looked at.
    pub fn judge(
        &self,
        head: &AnswerHead,
        body_matches: bool,
        stats: &HealthCheckStats,
        random: u64,
    ) -> CheckResult {
        let contains =
            |ranges: &[std::ops::Range<u16>]| ranges.iter().any(|range| range.contains(&head.status));
        let failure = |is_retriable: bool, excludes: bool| {
            CheckResult::Failure(Failure {
                failure_type: FailureType::Active,
                is_retriable,
                excludes,
                http_status: head.status,
            })
        };
        if !body_matches {
            return failure(false, head.excludes);
        }
        if !contains(&self.config.expected_statuses) {
            return failure(contains(&self.config.retriable_statuses), head.excludes);
        }
        if let Some(matcher) = &self.config.service_name_matcher
            && self.verifies_cluster.contains(random)
        {
            stats.verify_cluster.inc();
            if !matcher.matches(&head.cluster) {
                return failure(false, false);
            }
        }
        CheckResult::Success { is_degraded: head.is_degraded }
    }
}

impl From<&ResponseHead> for AnswerHead {
    fn from(head: &ResponseHead) -> AnswerHead {
        let headers = &head.headers;
        let cluster = headers.get(header::X_ENVOY_UPSTREAM_HEALTHCHECKED_CLUSTER);
        AnswerHead {
            status: head.status(),
            is_degraded: headers.contains(header::X_ENVOY_DEGRADED),
            excludes: headers.contains(header::X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL),
            cluster: cluster.unwrap_or_default().to_vec(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "one range of statuses is meant")]

    use super::*;
    use crate::config::{HeaderMutations, RuntimeLayer, RuntimeValue, StringMatcher, StringPattern};

    /// A GET of `/hc` for which 200 is expected.
    pub fn config() -> HttpHealthCheck {
        HttpHealthCheck {
            host: String::new(),
            path: "/hc".to_owned(),
            method: "GET",
            send: Vec::new(),
            receive: Vec::new(),
            response_buffer_bytes: Some(1024),
            request_headers: HeaderMutations::default(),
            expected_statuses: vec![200..201],
            retriable_statuses: Vec::new(),
            service_name_matcher: None,
        }
    }

    fn judge(
        edit: impl FnOnce(&mut HttpHealthCheck),
        runtime: &Runtime,
        status: u16,
        fields: &[(header::Known, &str)],
        body_matches: bool,
    ) -> CheckResult {
        let mut config = config();
        edit(&mut config);
        let mut head = ResponseHead::new(status);
        fields.iter().for_each(|(name, value)| head.headers.append(*name, value.as_bytes()));
        let judge = HttpJudge::new(config, runtime);
        judge.judge(&AnswerHead::from(&head), body_matches, &HealthCheckStats::default(), 7)
    }

    fn simply(status: u16, edit: impl FnOnce(&mut HttpHealthCheck)) -> CheckResult {
        judge(edit, &Runtime::default(), status, &[], true)
    }

    const GOOD: CheckResult = CheckResult::Success { is_degraded: false };

    fn bad(http_status: u16, is_retriable: bool, excludes: bool) -> CheckResult {
        let failure_type = FailureType::Active;
        CheckResult::Failure(Failure { failure_type, is_retriable, excludes, http_status })
    }

    #[test]
    fn statuses_are_expected_retriable_or_wrong() {
        assert_eq!(simply(200, |_| {}), GOOD);
        assert_eq!(simply(201, |_| {}), bad(201, false, false));
        let ranges = |config: &mut HttpHealthCheck| {
            config.expected_statuses = vec![200..202, 300..301];
            config.retriable_statuses = vec![201..202, 500..600];
        };
        assert_eq!(simply(201, ranges), GOOD, "expected comes first");
        assert_eq!(simply(300, ranges), GOOD);
        assert_eq!(simply(599, ranges), bad(599, true, false));
        assert_eq!(simply(404, ranges), bad(404, false, false));
    }

    #[test]
    fn a_body_that_does_not_match_is_a_failure_whatever_the_status() {
        let retriable = |config: &mut HttpHealthCheck| config.retriable_statuses = vec![500..600];
        assert_eq!(judge(retriable, &Runtime::default(), 503, &[], false), bad(503, false, false));
        assert_eq!(judge(retriable, &Runtime::default(), 200, &[], false), bad(200, false, false));
    }

    #[test]
    fn hosts_may_ask_to_be_excluded_or_used_less() {
        let with = |status, name| judge(|_| {}, &Runtime::default(), status, &[(name, "1")], true);
        assert_eq!(with(503, header::X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL), bad(503, false, true));
        assert_eq!(with(200, header::X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL), GOOD, "only with a failure");
        assert_eq!(with(200, header::X_ENVOY_DEGRADED), CheckResult::Success { is_degraded: true });
    }

    #[test]
    fn the_service_must_be_the_right_one_unless_the_runtime_says_otherwise() {
        let named = |config: &mut HttpHealthCheck| {
            let pattern = StringPattern::Prefix("loc".to_owned());
            config.service_name_matcher = Some(StringMatcher { pattern, ignore_case: false });
        };
        let name = [(header::X_ENVOY_UPSTREAM_HEALTHCHECKED_CLUSTER, "locations")];
        assert_eq!(judge(named, &Runtime::default(), 200, &name, true), GOOD);
        let other = [(header::X_ENVOY_UPSTREAM_HEALTHCHECKED_CLUSTER, "other")];
        assert_eq!(judge(named, &Runtime::default(), 200, &other, true), bad(200, false, false));
        assert_eq!(judge(named, &Runtime::default(), 200, &[], true), bad(200, false, false));
        let values = [("health_check.verify_cluster".to_owned(), RuntimeValue::Number(0.0))];
        let layer = RuntimeLayer { name: String::new(), is_admin: false, values: values.into() };
        assert_eq!(judge(named, &Runtime { layers: vec![layer] }, 200, &other, true), GOOD);
    }
}
