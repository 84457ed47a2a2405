//! What is carried over of access logs (`envoy.config.accesslog.v3`). Every field in no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    entry("envoy.config.accesslog.v3.AccessLog", &["name", "filter", "typed_config"], &[]),
    entry(
        "envoy.config.accesslog.v3.AccessLogFilter",
        &[
            "status_code_filter",
            "duration_filter",
            "not_health_check_filter",
            "traceable_filter",
            "runtime_filter",
            "and_filter",
            "or_filter",
            "header_filter",
            "response_flag_filter",
            "grpc_status_filter",
        ],
        &[],
    ),
    MessageSupport::all("envoy.config.accesslog.v3.StatusCodeFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.DurationFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.ComparisonFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.NotHealthCheckFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.TraceableFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.RuntimeFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.AndFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.OrFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.HeaderFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.ResponseFlagFilter"),
    MessageSupport::all("envoy.config.accesslog.v3.GrpcStatusFilter"),
    MessageSupport::all("envoy.extensions.access_loggers.file.v3.FileAccessLog"),
    MessageSupport::all("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"),
    MessageSupport::all("envoy.extensions.access_loggers.stream.v3.StderrAccessLog"),
];
