//! From the connection manager's configuration to what workers use.

use std::sync::Arc;

use crate::api::ConfigError;
use crate::config::{self, CodecType, HeaderKeyFormat, PathWithEscapedSlashesAction, RouteSpecifier};
use crate::filters::BuildContext;
use crate::filters::http::{self, BuiltFilter, FilterEntry, RouterConfig};
use crate::http::h1::{H1Settings, HeaderCase};
use crate::http::h2::H2Settings;
use crate::http::path::{EscapedSlashes, PathOptions};
use crate::routing::RouteTable;
use crate::stats::groups::{
    Http1CodecStats, Http2CodecStats, HttpConnectionStats, HttpRequestStats, ListenerHttpStats, RouterStats,
};

use super::local_reply::LocalReplyMapper;
use super::request_headers::RequestHeaderSettings;
use super::routes::{RouteSource, Routes, compile_route_table};
use super::{HttpConnectionManager, ManagerStats};

/// Compiles a connection manager.
///
/// # Errors
/// All that is wrong with the configuration.
pub fn build(
    config: &config::HttpConnectionManager,
    cx: &mut BuildContext<'_>,
) -> Result<HttpConnectionManager, Vec<ConfigError>> {
    let prefix = format!("http.{}.", config.stat_prefix);
    let mut cx = BuildContext { stat_prefix: &prefix, ..*cx };
    let mut errors = Vec::new();
    if config.codec_type == CodecType::Http3 {
        let path = config.path.field("codec_type");
        errors.push(ConfigError::new(path.as_str(), "HTTP3 is not supported by Ringway yet"));
    }
    let chain = build_chain(config, &mut cx, &mut errors);
    let table = keep(compile_inline_table(&config.routes), &mut errors);
    let local_reply = keep(LocalReplyMapper::compile(&config.local_reply, cx.runtime), &mut errors);
    let logs = cx.compile_access_logs(&config.access_log, &config.path).map_err(|error| vec![error]);
    let access_logs = keep(logs, &mut errors);
    let (Some((filters, router)), Some(table), Some(local_reply), Some(access_logs)) =
        (chain, table, local_reply, access_logs)
    else {
        return Err(errors);
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let listener_prefix = format!("{}http.{}.", cx.listener_stat_prefix, config.stat_prefix);
    let common = &config.common_http;
    Ok(HttpConnectionManager {
        stats: ManagerStats {
            connections: HttpConnectionStats::register(cx.registry, &prefix),
            requests: HttpRequestStats::register(cx.registry, &prefix),
            router: RouterStats::register(cx.registry, &prefix),
            listener: ListenerHttpStats::register(cx.registry, &listener_prefix),
            codec: Http1CodecStats::register(cx.registry, "http1."),
            h2_codec: Http2CodecStats::register(cx.registry, "http2."),
        },
        routes: route_source(config, table, &filters, &cx),
        filters,
        router,
        access_logs,
        codec_type: config.codec_type,
        h1_settings: h1_settings(config),
        h2_settings: H2Settings {
            max_header_bytes: config.max_request_headers_kb * 1024,
            max_header_count: common.max_headers_count,
            ..config.http2.settings
        },
        h2_keepalive: config.http2.keepalive.clone(),
        header_case: match config.http1.header_key_format {
            HeaderKeyFormat::LowerCase => HeaderCase::Lower,
            HeaderKeyFormat::ProperCaseWords => HeaderCase::Proper,
        },
        request_headers: RequestHeaderSettings {
            forwarding: config.forwarding.clone(),
            request_id: config.request_id,
            scheme: config.scheme_to_overwrite,
            via: config.via.clone(),
            strip_host_port: config.strip_host_port,
            strip_trailing_host_dot: config.strip_trailing_host_dot,
        },
        path_options: path_options(config),
        underscores: common.headers_with_underscores_action,
        upgrades: config.upgrades.clone(),
        ignored_upgrades: config.http1.ignore_http_11_upgrade.clone(),
        default_host_for_http_10: config.http1.default_host_for_http_10.clone().into_bytes(),
        local_reply,
        server_name: config.server_name.clone().into_bytes(),
        server_header_transformation: config.server_header_transformation,
        proxy_100_continue: config.proxy_100_continue,
        connection_idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_requests_per_connection: common.max_requests_per_connection,
        stream_idle_timeout: config.stream_idle_timeout,
        stream_flush_timeout: config.stream_flush_timeout,
        max_stream_duration: common.max_stream_duration,
        request_timeout: config.request_timeout,
        request_headers_timeout: config.request_headers_timeout,
        drain_timeout: config.drain_timeout,
        delayed_close_timeout: config.delayed_close_timeout.unwrap_or_default(),
    })
}

type BuiltChain = (Vec<FilterEntry>, Arc<RouterConfig>);

fn build_chain(
    config: &config::HttpConnectionManager,
    cx: &mut BuildContext<'_>,
    errors: &mut Vec<ConfigError>,
) -> Option<BuiltChain> {
    let mut filters = Vec::new();
    let mut router = None;
    for filter in &config.http_filters {
        match http::build(&filter.config, cx) {
            Ok(BuiltFilter::Filter(factory)) => filters.push(FilterEntry {
                name: filter.name.as_str().into(),
                disabled: filter.disabled,
                factory,
            }),
            Ok(BuiltFilter::Router(built)) => router = Some(built),
            Err(more) => errors.extend(more),
        }
    }
    if router.is_none() && errors.is_empty() {
        errors.push(ConfigError::new(
            config.path.field("http_filters").as_str(),
            "the last HTTP filter must be `envoy.filters.http.router`",
        ));
    }
    router.map(|router| (filters, router))
}

/// The table in the configuration; none if it is to be discovered.
fn compile_inline_table(routes: &RouteSpecifier) -> Result<Option<RouteTable>, Vec<ConfigError>> {
    match routes {
        RouteSpecifier::RouteConfig(config) => compile_route_table(config, &RouteTable::default()).map(Some),
        RouteSpecifier::Rds(_) => Ok(None),
    }
}

fn route_source(
    config: &config::HttpConnectionManager,
    table: Option<RouteTable>,
    filters: &[FilterEntry],
    cx: &BuildContext<'_>,
) -> RouteSource {
    let names: Vec<Arc<str>> = filters.iter().map(|filter| Arc::clone(&filter.name)).collect();
    match (&config.routes, table) {
        (RouteSpecifier::Rds(rds), None) => {
            RouteSource::Slot(cx.route_discovery.subscribe(rds, cx.stat_prefix, names))
        }
        (_, table) => RouteSource::Fixed(Routes::new(Arc::new(table.unwrap_or_default()), &names)),
    }
}

fn path_options(config: &config::HttpConnectionManager) -> PathOptions {
    let options = config.path_normalization;
    PathOptions {
        normalize: options.normalize_path,
        merge_slashes: options.merge_slashes,
        escaped_slashes: match options.path_with_escaped_slashes_action {
            PathWithEscapedSlashesAction::KeepUnchanged => EscapedSlashes::KeepUnchanged,
            PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::RejectRequest,
            PathWithEscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
            PathWithEscapedSlashesAction::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
        },
    }
}

fn h1_settings(config: &config::HttpConnectionManager) -> H1Settings {
    H1Settings {
        max_head_bytes: config.max_request_headers_kb * 1024,
        max_header_count: config.common_http.max_headers_count,
        accept_http_10: config.http1.accept_http_10,
        enable_trailers: config.http1.enable_trailers,
        allow_chunked_length: config.http1.allow_chunked_length,
        allow_custom_methods: config.http1.allow_custom_methods,
        allow_absolute_url: config.http1.allow_absolute_url,
        ..H1Settings::default()
    }
}

fn keep<T>(result: Result<T, Vec<ConfigError>>, errors: &mut Vec<ConfigError>) -> Option<T> {
    result.map_err(|more| errors.extend(more)).ok()
}
