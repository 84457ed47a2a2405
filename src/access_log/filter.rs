//! Log filters, ready to be asked: `envoy.config.accesslog.v3.AccessLogFilter` with the runtime's
//! values put in. Local reply mappers ask the same filters.

use std::cell::RefCell;

use crate::config::{
    AccessLogFilter, Comparison, ComparisonOp, FractionalPercent, HeaderMatcher, Runtime, RuntimeFraction,
};
use crate::formatter::{FormatContext, grpc_status_of_any_request};
use crate::http::{HeaderNameBuf, header};
use crate::stream_info::ResponseFlags;

/// A condition on a finished exchange.
#[derive(Debug, Clone)]
pub struct LogFilter {
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Condition {
    StatusCode(ComparisonOp, u64),
    DurationMs(ComparisonOp, u64),
    NotHealthCheck,
    Never,
    Fraction { percent: FractionalPercent, independent: bool },
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Header { name: HeaderNameBuf, matcher: HeaderMatcher },
    ResponseFlags(ResponseFlags),
    GrpcStatus { statuses: Vec<u32>, exclude: bool },
}

impl LogFilter {
    /// Puts in what the runtime says now; compile again when the runtime changes.
    pub fn compile(filter: &AccessLogFilter, runtime: &Runtime) -> LogFilter {
        LogFilter { condition: Condition::compile(filter, runtime) }
    }

    /// Whether the exchange passes.
    pub fn matches(&self, cx: &FormatContext<'_>) -> bool {
        self.condition.holds(cx)
    }
}

impl Condition {
    fn compile(filter: &AccessLogFilter, runtime: &Runtime) -> Condition {
        let number = |comparison: &Comparison| (comparison.op, u64::from(runtime.integer(&comparison.value)));
        let all = |filters: &[AccessLogFilter]| -> Vec<Condition> {
            filters.iter().map(|filter| Condition::compile(filter, runtime)).collect()
        };
        match filter {
            AccessLogFilter::StatusCode(comparison) => {
                let (op, value) = number(comparison);
                Condition::StatusCode(op, value)
            }
            AccessLogFilter::Duration(comparison) => {
                let (op, value) = number(comparison);
                Condition::DurationMs(op, value)
            }
            AccessLogFilter::NotHealthCheck => Condition::NotHealthCheck,
            // Nothing is traced yet.
            AccessLogFilter::Traceable => Condition::Never,
            AccessLogFilter::Runtime { runtime_key, percent, use_independent_randomness } => {
                let fraction = RuntimeFraction { default: *percent, runtime_key: runtime_key.clone() };
                Condition::Fraction {
                    percent: runtime.fraction(&fraction),
                    independent: *use_independent_randomness,
                }
            }
            AccessLogFilter::And(filters) => Condition::And(all(filters)),
            AccessLogFilter::Or(filters) => Condition::Or(all(filters)),
            AccessLogFilter::Header(matcher) => match HeaderNameBuf::parse(&matcher.name) {
                Ok(name) => Condition::Header { name, matcher: matcher.clone() },
                // No request has a header of such a name; the configuration refuses it anyway.
                Err(_) => Condition::Never,
            },
            AccessLogFilter::ResponseFlags(flags) => Condition::ResponseFlags(*flags),
            AccessLogFilter::GrpcStatus { statuses, exclude } => {
                Condition::GrpcStatus { statuses: statuses.clone(), exclude: *exclude }
            }
        }
    }

    fn holds(&self, cx: &FormatContext<'_>) -> bool {
        match self {
            Condition::StatusCode(op, value) => op.compare(cx.info.response_code.unwrap_or(0).into(), *value),
            Condition::DurationMs(op, value) => {
                let timing = &cx.info.timing;
                let lasted = timing.complete.unwrap_or(cx.now).since(timing.start);
                op.compare(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX), *value)
            }
            Condition::NotHealthCheck => !cx.info.health_check,
            Condition::Never => false,
            Condition::Fraction { percent, independent } => {
                let agreed = (!independent).then(|| request_id_number(cx)).flatten();
                percent.contains(agreed.unwrap_or(cx.random))
            }
            Condition::And(all) => all.iter().all(|condition| condition.holds(cx)),
            Condition::Or(any) => any.iter().any(|condition| condition.holds(cx)),
            Condition::Header { name, matcher } => header_matches(name, matcher, cx),
            Condition::ResponseFlags(flags) if flags.is_empty() => !cx.info.response_flags.is_empty(),
            Condition::ResponseFlags(flags) => cx.info.response_flags.intersects(*flags),
            Condition::GrpcStatus { statuses, exclude } => match grpc_status_of_any_request(cx) {
                Some(status) => statuses.contains(&status) != *exclude,
                None => *exclude,
            },
        }
    }
}

thread_local! {
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn header_matches(name: &HeaderNameBuf, matcher: &HeaderMatcher, cx: &FormatContext<'_>) -> bool {
    let Some(request) = cx.request else { return matcher.matches(None) };
    JOINED.with_borrow_mut(|joined| {
        joined.clear();
        let found = request.headers.get_joined(name, joined);
        matcher.matches(found.then_some(joined))
    })
}

/// The first 32 bits of a request id that is a UUID: all proxies that see it draw the same lot.
fn request_id_number(cx: &FormatContext<'_>) -> Option<u64> {
    let id = cx.request?.headers.get(header::X_REQUEST_ID)?;
    let digits = std::str::from_utf8(id.get(..8)?).ok()?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (id.len() == 36).then_some(u64::from(number))
}
