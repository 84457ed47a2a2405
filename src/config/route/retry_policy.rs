//! Retries (`envoy.config.route.v3.RetryPolicy`).

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use prost::Name;

use crate::config::context::wrapped_or;
use crate::config::{Context, FieldPath, HeaderMatcher, TypedExtension};

/// Default of `rate_limited_retry_back_off.max_interval`.
const DEFAULT_RATE_LIMITED_MAX_INTERVAL: Duration = Duration::from_secs(300);

/// Shortest interval between attempts.
const MIN_BACK_OFF_INTERVAL: Duration = Duration::from_millis(1);

/// When and how often a request is tried again.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Conditions as configured, comma separated, e.g. `5xx,connect-failure`.
    pub retry_on: String,
    /// Most retries. Default 1.
    pub num_retries: u32,
    /// Time for each attempt; none takes the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Time without activity of an attempt; none is off.
    pub per_try_idle_timeout: Option<Duration>,
    /// Pause between attempts; none takes the defaults (25 ms, 10 times that).
    pub retry_back_off: Option<RetryBackOff>,
    /// Pause told by the response.
    pub rate_limited_retry_back_off: Option<RateLimitedBackOff>,
    /// Statuses retried under `retriable-status-codes`.
    pub retriable_status_codes: Vec<u16>,
    /// Response headers retried under `retriable-headers`.
    pub retriable_headers: Vec<HeaderMatcher>,
    /// If not empty, only requests with one of these headers are retried.
    pub retriable_request_headers: Vec<HeaderMatcher>,
    /// Do not pick a host again that was tried (`envoy.retry_host_predicates.previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// Times a host is picked again because a predicate refused it. Default 1.
    pub host_selection_retry_max_attempts: u32,
}

/// Exponential back-off with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBackOff {
    /// First interval. Default 25 ms.
    pub base_interval: Duration,
    /// Largest interval. Default ten times the first.
    pub max_interval: Duration,
}

/// Back-off told by response headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitedBackOff {
    /// Headers to look at, in order.
    pub reset_headers: Vec<ResetHeader>,
    /// Longer pauses are not made; the next header or the usual back-off counts. Default 300 s.
    pub max_interval: Duration,
}

/// A header that tells when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetHeader {
    /// Lower-case name.
    pub name: String,
    /// What its value means.
    pub format: ResetHeaderFormat,
}

/// What the value of a [`ResetHeader`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetHeaderFormat {
    /// Seconds to wait.
    Seconds,
    /// Seconds since 1970 at which to try again.
    UnixTimestamp,
}

impl RetryPolicy {
    /// Converts the field `retry_policy` of the message at `path`, if it is set.
    pub fn optional(
        proto: &Option<route::RetryPolicy>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<Arc<RetryPolicy>> {
        let policy = RetryPolicy::from_proto(proto.as_ref()?, &path.field("retry_policy"), context);
        Some(Arc::new(policy))
    }

    /// Converts a policy.
    pub fn from_proto(
        proto: &route::RetryPolicy,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RetryPolicy {
        let back_off = proto.retry_back_off.as_ref();
        let rate_limited = proto.rate_limited_retry_back_off.as_ref();
        RetryPolicy {
            retry_on: proto.retry_on.clone(),
            num_retries: wrapped_or!(proto.num_retries, 1),
            per_try_timeout: context.timeout(&proto.per_try_timeout, None, &path.field("per_try_timeout")),
            per_try_idle_timeout: context.timeout(
                &proto.per_try_idle_timeout,
                None,
                &path.field("per_try_idle_timeout"),
            ),
            retry_back_off: back_off
                .map(|back_off| RetryBackOff::from_proto(back_off, &path.field("retry_back_off"), context)),
            rate_limited_retry_back_off: rate_limited.map(|back_off| {
                RateLimitedBackOff::from_proto(back_off, &path.field("rate_limited_retry_back_off"), context)
            }),
            retriable_status_codes: proto
                .retriable_status_codes
                .iter()
                .filter_map(|status| u16::try_from(*status).ok())
                .collect(),
            retriable_headers: HeaderMatcher::list(
                &proto.retriable_headers,
                path,
                "retriable_headers",
                context,
            ),
            retriable_request_headers: HeaderMatcher::list(
                &proto.retriable_request_headers,
                path,
                "retriable_request_headers",
                context,
            ),
            avoid_previous_hosts: avoid_previous_hosts(&proto.retry_host_predicate, path, context),
            host_selection_retry_max_attempts: match proto.host_selection_retry_max_attempts {
                0 => 1,
                attempts => u32::try_from(attempts).unwrap_or_else(|_| {
                    let path = path.field("host_selection_retry_max_attempts");
                    context.error(&path, format!("{attempts} is no number of attempts"));
                    1
                }),
            },
        }
    }
}

/// Whether the predicates ask for hosts that were not tried; any other predicate is an error.
fn avoid_previous_hosts(
    predicates: &[route::retry_policy::RetryHostPredicate],
    path: &FieldPath,
    context: &mut Context<'_>,
) -> bool {
    use route::retry_policy::retry_host_predicate::ConfigType;
    for (i, predicate) in predicates.iter().enumerate() {
        let path = path.element("retry_host_predicate", i);
        let Some(ConfigType::TypedConfig(any)) = &predicate.config_type else {
            context.error(&path, format!("the predicate {:?} has no typed_config", predicate.name));
            continue;
        };
        let extension = TypedExtension::from_any(&predicate.name, any, path.field("typed_config"));
        if extension.type_name() != PreviousHostsPredicate::full_name() {
            let message =
                format!("the retry host predicate {} is not implemented yet", extension.type_name());
            context.error(&extension.path, message);
        }
    }
    !predicates.is_empty()
}

impl RetryBackOff {
    fn from_proto(
        proto: &route::retry_policy::RetryBackOff,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RetryBackOff {
        let base =
            context.duration_or(&proto.base_interval, MIN_BACK_OFF_INTERVAL, &path.field("base_interval"));
        let max = context.optional_duration(&proto.max_interval, &path.field("max_interval"));
        if max.is_some_and(|max| max < base) {
            context.error(
                &path.field("max_interval"),
                "max_interval must be greater than or equal to the base_interval",
            );
        }
        let base_interval = base.max(MIN_BACK_OFF_INTERVAL);
        let max_interval = max.unwrap_or(base_interval.saturating_mul(10)).max(base_interval);
        RetryBackOff { base_interval, max_interval }
    }
}

impl RateLimitedBackOff {
    fn from_proto(
        proto: &route::retry_policy::RateLimitedRetryBackOff,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RateLimitedBackOff {
        use route::retry_policy::ResetHeaderFormat as Format;
        let headers = proto.reset_headers.iter().enumerate();
        let reset_headers = headers.map(|(i, header)| {
            let path = path.element("reset_headers", i);
            ResetHeader {
                name: context.header_name(&header.name, &path.field("name")),
                format: match context.enum_value(header.format, &path.field("format")) {
                    Format::Seconds => ResetHeaderFormat::Seconds,
                    Format::UnixTimestamp => ResetHeaderFormat::UnixTimestamp,
                },
            }
        });
        RateLimitedBackOff {
            reset_headers: reset_headers.collect(),
            max_interval: context.duration_or(
                &proto.max_interval,
                DEFAULT_RATE_LIMITED_MAX_INTERVAL,
                &path.field("max_interval"),
            ),
        }
    }
}
