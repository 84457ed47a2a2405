//! Active health checks (`envoy.config.core.v3.HealthCheck`): how hosts are asked whether they can serve.

use std::ops::Range;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use envoy_types::pb::envoy::r#type::v3 as types;
use envoy_types::pb::google::protobuf as pb;

use crate::config::context::wrapped_or;
use crate::config::{Context, FieldPath, HeaderMutations, StringMatcher, TypedExtension};

/// Default of `no_traffic_interval`.
const DEFAULT_NO_TRAFFIC_INTERVAL: Duration = Duration::from_secs(60);
/// Default of `response_buffer_size`, in bytes.
const DEFAULT_RESPONSE_BUFFER_BYTES: u64 = 1024;

/// How the hosts of a cluster are checked. Intervals are whole milliseconds.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// Time for one check, connecting included.
    pub timeout: Duration,
    /// Pauses between checks.
    pub intervals: HealthCheckIntervals,
    /// Checks in a row that must fail for a host to become unhealthy; an unexpected status needs only one.
    pub unhealthy_threshold: u32,
    /// Checks in a row that must succeed for a host to become healthy; the first one of all is enough by itself.
    pub healthy_threshold: u32,
    /// Keep the connection for the next check. Default true.
    pub reuse_connection: bool,
    /// Application protocols to offer where connections have TLS; none for those of the cluster.
    pub application_protocols: Vec<Vec<u8>>,
    /// What a check is.
    pub checker: HealthChecker,
    /// Files that events are appended to.
    pub event_log_paths: Vec<String>,
    /// Log every failure, not only a host's first.
    pub always_log_failures: bool,
    /// Log every success, not only those that make a host healthy.
    pub always_log_success: bool,
    /// Where the check stands.
    pub path: FieldPath,
}

/// Pauses between checks of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheckIntervals {
    /// Healthy hosts.
    pub interval: Duration,
    /// All hosts of a cluster that never had traffic. Default 60 s.
    pub no_traffic: Duration,
    /// Healthy hosts of such a cluster. Default `no_traffic`.
    pub no_traffic_healthy: Duration,
    /// Unhealthy hosts. Default `interval`.
    pub unhealthy: Duration,
    /// Hosts that failed but not often enough to be unhealthy. Default `unhealthy`.
    pub unhealthy_edge: Duration,
    /// Hosts that succeeded but not often enough to be healthy. Default `interval`.
    pub healthy_edge: Duration,
    /// The first check comes after a random time below this. Default 0.
    pub initial_jitter: Duration,
    /// Each pause is longer by a random time below this. Default 0.
    pub jitter: Duration,
    /// Each pause is longer by a random time below this share of it, per cent. Default 0.
    pub jitter_percent: u32,
}

/// What a check is.
#[derive(Debug, Clone)]
pub enum HealthChecker {
    /// A request and its response.
    Http(Box<HttpHealthCheck>),
    /// A connection, and bytes on it.
    Tcp(TcpHealthCheck),
}

/// A check by an HTTP request.
#[derive(Debug, Clone)]
pub struct HttpHealthCheck {
    /// `host` of the request; empty to use the cluster's name.
    pub host: String,
    /// `:path` of the request.
    pub path: String,
    /// Its method. Default GET. Never CONNECT.
    pub method: &'static str,
    /// Its body; empty sends none.
    pub send: Vec<u8>,
    /// Parts that the response's body must have, in this order, for the check to succeed.
    pub receive: Vec<Vec<u8>>,
    /// Only so many bytes of the response's body are looked at; none looks at all. Default 1024.
    pub response_buffer_bytes: Option<u64>,
    /// Changes to the request's header.
    pub request_headers: HeaderMutations,
    /// Statuses of a successful check. Default 200.
    pub expected_statuses: Vec<Range<u16>>,
    /// Statuses of a failure that counts towards `unhealthy_threshold`; others make a host unhealthy at once.
    pub retriable_statuses: Vec<Range<u16>>,
    /// What `x-envoy-upstream-healthchecked-cluster` of the response must be.
    pub service_name_matcher: Option<StringMatcher>,
}

/// A check by a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcpHealthCheck {
    /// Sent once connected. Not sent if nothing is to be received.
    pub send: Vec<u8>,
    /// Parts that must be received, in this order. If there are none, connecting is enough.
    pub receive: Vec<Vec<u8>>,
}

impl HealthCheck {
    /// Converts the health check of a cluster, if it has one.
    pub(super) fn from_cluster(
        proto: &cluster::Cluster,
        is_behind_proxy_header: bool,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<HealthCheck> {
        if proto.health_checks.len() > 1 {
            let path = path.element("health_checks", 1);
            context.error(&path, "more than one health check for a cluster is not implemented yet");
        }
        let first = proto.health_checks.first()?;
        let path = path.element("health_checks", 0);
        if is_behind_proxy_header {
            context.error(&path, "health checks of hosts that want a PROXY header are not implemented yet");
        }
        HealthCheck::from_proto(first, &path, context)
    }

    fn from_proto(
        proto: &core::HealthCheck,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<HealthCheck> {
        use core::health_check::HealthChecker as Proto;
        let checker = match &proto.health_checker {
            Some(Proto::HttpHealthCheck(http)) => {
                let path = path.field("http_health_check");
                HealthChecker::Http(Box::new(HttpHealthCheck::from_proto(http, &path, context)))
            }
            Some(Proto::TcpHealthCheck(tcp)) => {
                let path = path.field("tcp_health_check");
                HealthChecker::Tcp(TcpHealthCheck::from_proto(tcp, &path, context))
            }
            Some(Proto::GrpcHealthCheck(_)) => {
                context.error(&path.field("grpc_health_check"), "gRPC health checks are not implemented yet");
                return None;
            }
            Some(Proto::CustomHealthCheck(_)) => {
                let message = "custom health checks (Redis among them) are not implemented yet";
                context.error(&path.field("custom_health_check"), message);
                return None;
            }
            None => {
                context.error(path, "a health_checker is required");
                return None;
            }
        };
        Some(HealthCheck {
            timeout: context.duration_or(&proto.timeout, Duration::ZERO, &path.field("timeout")),
            intervals: HealthCheckIntervals::from_proto(proto, path, context),
            unhealthy_threshold: wrapped_or!(proto.unhealthy_threshold, 1),
            healthy_threshold: wrapped_or!(proto.healthy_threshold, 1),
            reuse_connection: wrapped_or!(proto.reuse_connection, true),
            application_protocols: application_protocols(proto, path, context),
            checker,
            event_log_paths: event_log_paths(proto, path, context),
            always_log_failures: proto.always_log_health_check_failures,
            always_log_success: proto.always_log_health_check_success,
            path: path.clone(),
        })
    }
}

fn application_protocols(
    proto: &core::HealthCheck,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<Vec<u8>> {
    let path = path.field("tls_options");
    let names = proto.tls_options.iter().flat_map(|options| &options.alpn_protocols);
    for (i, name) in names.clone().enumerate() {
        if name.is_empty() || name.len() > usize::from(u8::MAX) {
            context.error(&path.element("alpn_protocols", i), "a name has 1 to 255 bytes");
        }
    }
    names.map(|name| name.as_bytes().to_vec()).collect()
}

impl HealthCheckIntervals {
    fn from_proto(proto: &core::HealthCheck, path: &FieldPath, context: &mut Context<'_>) -> Self {
        let mut duration = |value: &Option<pb::Duration>, default: Duration, name: &str| {
            context.duration_or(value, default, &path.field(name))
        };
        let interval = duration(&proto.interval, Duration::ZERO, "interval");
        let no_traffic =
            duration(&proto.no_traffic_interval, DEFAULT_NO_TRAFFIC_INTERVAL, "no_traffic_interval");
        let unhealthy = duration(&proto.unhealthy_interval, interval, "unhealthy_interval");
        HealthCheckIntervals {
            interval,
            no_traffic,
            no_traffic_healthy: duration(
                &proto.no_traffic_healthy_interval,
                no_traffic,
                "no_traffic_healthy_interval",
            ),
            unhealthy,
            unhealthy_edge: duration(&proto.unhealthy_edge_interval, unhealthy, "unhealthy_edge_interval"),
            healthy_edge: duration(&proto.healthy_edge_interval, interval, "healthy_edge_interval"),
            initial_jitter: duration(&proto.initial_jitter, Duration::ZERO, "initial_jitter"),
            jitter: duration(&proto.interval_jitter, Duration::ZERO, "interval_jitter"),
            jitter_percent: proto.interval_jitter_percent,
        }
    }
}

impl HttpHealthCheck {
    fn from_proto(
        proto: &core::health_check::HttpHealthCheck,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HttpHealthCheck {
        let codec: types::CodecClientType =
            context.enum_value(proto.codec_client_type, &path.field("codec_client_type"));
        if codec != types::CodecClientType::Http1 {
            let message = format!("health checks over {} are not implemented yet", codec.as_str_name());
            context.error(&path.field("codec_client_type"), message);
        }
        let method = method(context.enum_value(proto.method, &path.field("method")));
        let send = proto.send.as_ref().map(|payload| payload_bytes(payload, &path.field("send"), context));
        if send.is_some() && matches!(method, "GET" | "HEAD" | "DELETE" | "TRACE") {
            let message = format!(
                "HTTP health check cannot specify a request payload with method '{method}': only POST, PUT, PATCH \
                 and OPTIONS have one"
            );
            context.error(&path.field("send"), message);
        }
        let receive = payloads(&proto.receive, path, context);
        let response_buffer_bytes =
            match wrapped_or!(proto.response_buffer_size, DEFAULT_RESPONSE_BUFFER_BYTES) {
                0 => None,
                bytes => Some(bytes),
            };
        let expected_bytes = receive.iter().map(Vec::len).sum::<usize>() as u64;
        if response_buffer_bytes.is_some_and(|room| expected_bytes > room) {
            let message =
                format!("the {expected_bytes} bytes of receive do not fit into the response buffer");
            context.error(&path.field("response_buffer_size"), message);
        }
        let mut expected_statuses = statuses(&proto.expected_statuses, "expected", path, context);
        if expected_statuses.is_empty() {
            expected_statuses.push(200..201);
        }
        HttpHealthCheck {
            host: proto.host.clone(),
            path: proto.path.clone(),
            method,
            send: send.unwrap_or_default(),
            receive,
            response_buffer_bytes,
            request_headers: HeaderMutations::from_proto(
                &proto.request_headers_to_add,
                &proto.request_headers_to_remove,
                "request",
                path,
                context,
            ),
            expected_statuses,
            retriable_statuses: statuses(&proto.retriable_statuses, "retriable", path, context),
            service_name_matcher: proto.service_name_matcher.as_ref().map(|matcher| {
                StringMatcher::from_proto(matcher, &path.field("service_name_matcher"), context)
            }),
        }
    }
}

impl TcpHealthCheck {
    fn from_proto(
        proto: &core::health_check::TcpHealthCheck,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> TcpHealthCheck {
        let send = proto.send.as_ref().map(|payload| payload_bytes(payload, &path.field("send"), context));
        TcpHealthCheck { send: send.unwrap_or_default(), receive: payloads(&proto.receive, path, context) }
    }
}

fn method(method: core::RequestMethod) -> &'static str {
    match method {
        // CONNECT breaks the message's own rules.
        core::RequestMethod::MethodUnspecified | core::RequestMethod::Connect => "GET",
        other => other.as_str_name(),
    }
}

fn event_log_paths(proto: &core::HealthCheck, path: &FieldPath, context: &mut Context<'_>) -> Vec<String> {
    let mut paths = Vec::new();
    if !proto.event_log_path.is_empty() {
        paths.push(proto.event_log_path.clone());
    }
    for (i, logger) in proto.event_logger.iter().enumerate() {
        let extension = TypedExtension::from_proto(logger, &path.element("event_logger", i));
        match extension.decode::<HealthCheckEventFileSink>() {
            Ok(sink) => paths.push(sink.event_log_path),
            Err(error) => context.error(&extension.path, error.to_string()),
        }
    }
    paths
}

fn statuses(
    protos: &[types::Int64Range],
    kind: &str,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<Range<u16>> {
    let mut ranges = Vec::new();
    for (i, range) in protos.iter().enumerate() {
        let wrong = if range.start >= range.end {
            "start must be below end"
        } else if range.start < 100 {
            "start must be at least 100"
        } else if range.end > 600 {
            "end must be at most 600"
        } else {
            ranges.push(range.start as u16..range.end as u16);
            continue;
        };
        let message =
            format!("invalid {kind} status range from {} up to {}: {wrong}", range.start, range.end);
        context.error(&path.element(&format!("{kind}_statuses"), i), message);
    }
    ranges
}

fn payloads(
    protos: &[core::health_check::Payload],
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<Vec<u8>> {
    let payloads = protos.iter().enumerate();
    payloads.map(|(i, payload)| payload_bytes(payload, &path.element("receive", i), context)).collect()
}

fn payload_bytes(
    proto: &core::health_check::Payload,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<u8> {
    use core::health_check::payload::Payload;
    match &proto.payload {
        Some(Payload::Binary(bytes)) => bytes.to_vec(),
        Some(Payload::Text(hex)) => decode_hex(hex).unwrap_or_else(|| {
            context.error(&path.field("text"), format!("invalid hex string '{hex}'"));
            Vec::new()
        }),
        None => {
            context.error(path, "a payload is required");
            Vec::new()
        }
    }
}

/// The bytes that pairs of hexadecimal digits stand for.
fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_comes_in_pairs() {
        assert_eq!(decode_hex("00fFa1"), Some(vec![0, 255, 161]));
        assert_eq!(decode_hex(""), Some(vec![]));
        assert_eq!(decode_hex("0"), None);
        assert_eq!(decode_hex("zz"), None);
        assert_eq!(decode_hex("é"), None);
    }
}
