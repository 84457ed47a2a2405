//! Which exchanges an access log records (`envoy.config.accesslog.v3.AccessLogFilter`). Local reply
//! mappers use the same filters.

use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;

use super::{Context, FieldPath, FractionalPercent, HeaderMatcher, RuntimeU32};
use crate::stream_info::ResponseFlags;

/// A condition on a finished exchange.
#[derive(Debug, Clone)]
pub enum AccessLogFilter {
    /// On the status sent downstream (0 if none was).
    StatusCode(Comparison),
    /// On the duration in milliseconds.
    Duration(Comparison),
    /// Not a health check that the health-check filter recognised.
    NotHealthCheck,
    /// The exchange is traced.
    Traceable,
    /// A random fraction.
    Runtime {
        /// Key whose integer overrides the fraction.
        runtime_key: String,
        /// The fraction.
        percent: FractionalPercent,
        /// Draw for this filter alone; otherwise the request id decides, so that all proxies agree.
        use_independent_randomness: bool,
    },
    /// All of them.
    And(Vec<AccessLogFilter>),
    /// Any of them.
    Or(Vec<AccessLogFilter>),
    /// A request header matches.
    Header(HeaderMatcher),
    /// Any of the flags is set; an empty set means any flag at all.
    ResponseFlags(ResponseFlags),
    /// The gRPC status is (or, with `exclude`, is not) one of these.
    GrpcStatus {
        /// Numeric gRPC statuses.
        statuses: Vec<u32>,
        /// Match all others instead.
        exclude: bool,
    },
}

impl AccessLogFilter {
    /// Converts a filter. Records errors in `context` and then gives a filter that lets everything pass.
    pub fn from_proto(
        proto: &accesslog::AccessLogFilter,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> AccessLogFilter {
        use accesslog::access_log_filter::FilterSpecifier as Specifier;
        let mut refuse = |field: &str| {
            context.error(&path.field(field), format!("{field} is not implemented yet"));
            AccessLogFilter::And(Vec::new())
        };
        match &proto.filter_specifier {
            Some(Specifier::StatusCodeFilter(filter)) => AccessLogFilter::StatusCode(Comparison::from_proto(
                &filter.comparison,
                &path.field("status_code_filter"),
                context,
            )),
            Some(Specifier::DurationFilter(filter)) => AccessLogFilter::Duration(Comparison::from_proto(
                &filter.comparison,
                &path.field("duration_filter"),
                context,
            )),
            Some(Specifier::NotHealthCheckFilter(_)) => AccessLogFilter::NotHealthCheck,
            Some(Specifier::TraceableFilter(_)) => AccessLogFilter::Traceable,
            Some(Specifier::RuntimeFilter(filter)) => {
                let path = path.field("runtime_filter").field("percent_sampled");
                let percent = filter.percent_sampled.as_ref();
                AccessLogFilter::Runtime {
                    runtime_key: filter.runtime_key.clone(),
                    percent: percent.map_or(FractionalPercent::NONE, |percent| {
                        FractionalPercent::from_proto(percent, &path, context)
                    }),
                    use_independent_randomness: filter.use_independent_randomness,
                }
            }
            Some(Specifier::AndFilter(and)) => {
                AccessLogFilter::And(filters(&and.filters, &path.field("and_filter"), context))
            }
            Some(Specifier::OrFilter(or)) => {
                AccessLogFilter::Or(filters(&or.filters, &path.field("or_filter"), context))
            }
            Some(Specifier::HeaderFilter(filter)) => {
                let header = filter.header.clone().unwrap_or_default();
                let path = path.field("header_filter").field("header");
                AccessLogFilter::Header(HeaderMatcher::from_proto(&header, &path, context))
            }
            Some(Specifier::ResponseFlagFilter(filter)) => {
                let path = path.field("response_flag_filter");
                AccessLogFilter::ResponseFlags(response_flags(&filter.flags, &path, context))
            }
            Some(Specifier::GrpcStatusFilter(filter)) => AccessLogFilter::GrpcStatus {
                statuses: filter.statuses.iter().map(|status| status.unsigned_abs()).collect(),
                exclude: filter.exclude,
            },
            Some(Specifier::ExtensionFilter(_)) => refuse("extension_filter"),
            Some(Specifier::MetadataFilter(_)) => refuse("metadata_filter"),
            Some(Specifier::LogTypeFilter(_)) => refuse("log_type_filter"),
            None => {
                context.error(path, "a filter_specifier is required");
                AccessLogFilter::And(Vec::new())
            }
        }
    }
}

/// A comparison with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// How to compare.
    pub op: ComparisonOp,
    /// The right-hand side.
    pub value: RuntimeU32,
}

impl Comparison {
    /// Converts the comparison of the filter at `path`.
    fn from_proto(
        proto: &Option<accesslog::ComparisonFilter>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Comparison {
        use accesslog::comparison_filter::Op;
        let proto = proto.clone().unwrap_or_default();
        let op = match context.enum_value(proto.op, &path.field("comparison").field("op")) {
            Op::Eq => ComparisonOp::Eq,
            Op::Ge => ComparisonOp::Ge,
            Op::Le => ComparisonOp::Le,
            Op::Ne => ComparisonOp::Ne,
        };
        Comparison { op, value: (&proto.value.unwrap_or_default()).into() }
    }
}

/// Ways to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparisonOp {
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Not equal.
    Ne,
}

impl ComparisonOp {
    /// Whether `left op right`.
    pub fn compare(self, left: u64, right: u64) -> bool {
        match self {
            ComparisonOp::Eq => left == right,
            ComparisonOp::Ge => left >= right,
            ComparisonOp::Le => left <= right,
            ComparisonOp::Ne => left != right,
        }
    }
}

fn filters(
    protos: &[accesslog::AccessLogFilter],
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<AccessLogFilter> {
    let filters = protos.iter().enumerate();
    filters
        .map(|(i, proto)| AccessLogFilter::from_proto(proto, &path.element("filters", i), context))
        .collect()
}

fn response_flags(names: &[String], path: &FieldPath, context: &mut Context<'_>) -> ResponseFlags {
    let mut flags = ResponseFlags::NONE;
    for (i, name) in names.iter().enumerate() {
        match ResponseFlags::from_short_name(name) {
            Some(flag) => flags.insert(flag),
            None => {
                context.error(&path.element("flags", i), format!("there is no response flag {name:?}"));
            }
        }
    }
    flags
}
