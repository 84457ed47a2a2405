//! Options of HTTP codecs, shared by the connection manager and clusters
//! (`envoy.config.core.v3.HttpProtocolOptions`, `Http1ProtocolOptions`).

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;

use super::context::wrapped_or;
use super::{Context, FieldPath, StringMatcher};

/// Options common to all HTTP versions. None means no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonHttpOptions {
    /// Close a connection without active requests after this time. Default 1 h; 0 turns it off.
    pub idle_timeout: Option<Duration>,
    /// Drain a connection this long after it was made.
    pub max_connection_duration: Option<Duration>,
    /// Most headers in a request (downstream) or response (upstream). Default 100.
    pub max_headers_count: u32,
    /// Longest life of one stream.
    pub max_stream_duration: Option<Duration>,
    /// What to do with header names that contain `_`.
    pub headers_with_underscores_action: HeadersWithUnderscoresAction,
    /// Close a connection after this many requests.
    pub max_requests_per_connection: Option<u32>,
    /// Largest response head from upstream in KiB; default 80 (HTTP/1).
    pub max_response_headers_kb: u32,
}

impl Default for CommonHttpOptions {
    fn default() -> Self {
        CommonHttpOptions {
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_headers_count: 100,
            max_stream_duration: None,
            headers_with_underscores_action: HeadersWithUnderscoresAction::Allow,
            max_requests_per_connection: None,
            max_response_headers_kb: 80,
        }
    }
}

impl CommonHttpOptions {
    /// Converts the options; what is not set has its default.
    pub fn from_proto(
        proto: &core::HttpProtocolOptions,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> CommonHttpOptions {
        use core::http_protocol_options::HeadersWithUnderscoresAction as Action;
        let default = CommonHttpOptions::default();
        let mut timeout = |value, default, field| context.timeout(value, default, &path.field(field));
        CommonHttpOptions {
            idle_timeout: timeout(&proto.idle_timeout, default.idle_timeout, "idle_timeout"),
            max_connection_duration: timeout(
                &proto.max_connection_duration,
                default.max_connection_duration,
                "max_connection_duration",
            ),
            max_headers_count: wrapped_or!(proto.max_headers_count, default.max_headers_count),
            max_stream_duration: timeout(
                &proto.max_stream_duration,
                default.max_stream_duration,
                "max_stream_duration",
            ),
            headers_with_underscores_action: match context.enum_value(
                proto.headers_with_underscores_action,
                &path.field("headers_with_underscores_action"),
            ) {
                Action::Allow => HeadersWithUnderscoresAction::Allow,
                Action::RejectRequest => HeadersWithUnderscoresAction::RejectRequest,
                Action::DropHeader => HeadersWithUnderscoresAction::DropHeader,
            },
            max_requests_per_connection: request_limit(&proto.max_requests_per_connection),
            max_response_headers_kb: wrapped_or!(
                proto.max_response_headers_kb,
                default.max_response_headers_kb
            ),
        }
    }
}

/// The limit in `max_requests_per_connection`, where 0 is none.
pub(super) fn request_limit(value: &Option<envoy_types::pb::google::protobuf::UInt32Value>) -> Option<u32> {
    value.as_ref().map(|limit| limit.value).filter(|limit| *limit > 0)
}

/// What to do with header names that contain `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadersWithUnderscoresAction {
    /// Keep them.
    #[default]
    Allow,
    /// Answer 400.
    RejectRequest,
    /// Drop the header.
    DropHeader,
}

/// Options of the HTTP/1 codec.
#[derive(Debug, Clone)]
pub struct Http1Options {
    /// Accept absolute-form targets. Default true.
    pub allow_absolute_url: bool,
    /// Serve HTTP/1.0 requests instead of answering 426.
    pub accept_http_10: bool,
    /// Authority of HTTP/1.0 requests without `host`; empty for none.
    pub default_host_for_http_10: String,
    /// How header names are written.
    pub header_key_format: HeaderKeyFormat,
    /// Forward trailers; else they are read and dropped.
    pub enable_trailers: bool,
    /// Accept `content-length` beside `transfer-encoding: chunked` and drop the former.
    pub allow_chunked_length: bool,
    /// Keep the connection after an error in the message; none takes the connection manager's setting.
    pub stream_error_on_invalid_http_message: Option<bool>,
    /// Send absolute-form targets upstream.
    pub send_fully_qualified_url: bool,
    /// Accept methods that are not registered.
    pub allow_custom_methods: bool,
    /// `upgrade` values that are removed as if they had not been sent.
    pub ignore_http_11_upgrade: Vec<StringMatcher>,
}

impl Default for Http1Options {
    fn default() -> Self {
        Http1Options {
            allow_absolute_url: true,
            accept_http_10: false,
            default_host_for_http_10: String::new(),
            header_key_format: HeaderKeyFormat::LowerCase,
            enable_trailers: false,
            allow_chunked_length: false,
            stream_error_on_invalid_http_message: None,
            send_fully_qualified_url: false,
            allow_custom_methods: false,
            ignore_http_11_upgrade: Vec::new(),
        }
    }
}

impl Http1Options {
    /// Converts the options; what is not set has its default.
    pub fn from_proto(
        proto: &core::Http1ProtocolOptions,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Http1Options {
        use core::http1_protocol_options::header_key_format::HeaderFormat;
        let format = proto.header_key_format.as_ref().and_then(|format| format.header_format.as_ref());
        let header_key_format = match format {
            None => HeaderKeyFormat::LowerCase,
            Some(HeaderFormat::ProperCaseWords(_)) => HeaderKeyFormat::ProperCaseWords,
            Some(HeaderFormat::StatefulFormatter(_)) => {
                let path = path.field("header_key_format").field("stateful_formatter");
                context.error(&path, "stateful header formatters are not implemented yet");
                HeaderKeyFormat::LowerCase
            }
        };
        Http1Options {
            allow_absolute_url: wrapped_or!(proto.allow_absolute_url, true),
            accept_http_10: proto.accept_http_10,
            default_host_for_http_10: proto.default_host_for_http_10.clone(),
            header_key_format,
            enable_trailers: proto.enable_trailers,
            allow_chunked_length: proto.allow_chunked_length,
            stream_error_on_invalid_http_message: proto
                .override_stream_error_on_invalid_http_message
                .as_ref()
                .map(|value| value.value),
            send_fully_qualified_url: proto.send_fully_qualified_url,
            allow_custom_methods: proto.allow_custom_methods,
            ignore_http_11_upgrade: StringMatcher::list(
                &proto.ignore_http_11_upgrade,
                path,
                "ignore_http_11_upgrade",
                context,
            ),
        }
    }
}

/// How header names are written on HTTP/1 connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderKeyFormat {
    /// `content-type`
    #[default]
    LowerCase,
    /// `Content-Type`
    ProperCaseWords,
}
