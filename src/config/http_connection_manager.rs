//! The HTTP connection manager's configuration
//! (`envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`).

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

use super::context::wrapped_or;
use super::{
    AccessLog, CidrRange, CommonHttpOptions, ConfigSource, Context, FieldPath, Http1Options, Http2Options,
    HttpFilter, LocalReplyConfig, RouteConfiguration, TypedExtension, UpgradeConfigs,
};

/// Default of `stream_idle_timeout`.
pub const DEFAULT_STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Default of `drain_timeout`.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Default of `delayed_close_timeout`.
pub const DEFAULT_DELAYED_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Default of `max_request_headers_kb`.
pub const DEFAULT_MAX_REQUEST_HEADERS_KB: u32 = 60;

/// Configuration of an HTTP connection manager. A time that is none is off.
#[derive(Debug, Clone)]
pub struct HttpConnectionManager {
    /// Which codec serves connections.
    pub codec_type: CodecType,
    /// Prefix of its statistics after `http.`.
    pub stat_prefix: String,
    /// Where the route table is.
    pub routes: RouteSpecifier,
    /// HTTP filters in order; the last one is terminal. Empty: every request is answered with 404.
    pub http_filters: Vec<HttpFilter>,
    /// Logs written when a stream ends.
    pub access_log: Vec<AccessLog>,
    /// Options for every HTTP version, with the downstream defaults.
    pub common_http: CommonHttpOptions,
    /// Options of HTTP/1.
    pub http1: Http1Options,
    /// Options of HTTP/2.
    pub http2: Http2Options,
    /// Whether `max_connection_duration` closes HTTP/1 connections only after a `connection: close`.
    pub http1_safe_max_connection_duration: bool,
    /// Largest request head in KiB. Default 60, at most 8192.
    pub max_request_headers_kb: u32,
    /// A stream without activity for this long ends (408 or reset). Default 5 min.
    pub stream_idle_timeout: Option<Duration>,
    /// A finished response that cannot be sent for this long resets the stream. Defaults to `stream_idle_timeout`.
    pub stream_flush_timeout: Option<Duration>,
    /// Time for the whole request. Default off.
    pub request_timeout: Option<Duration>,
    /// Time for the request head. Default off.
    pub request_headers_timeout: Option<Duration>,
    /// Grace between the notice and the end of a connection when it drains. Default 5 s.
    pub drain_timeout: Duration,
    /// How long a connection stays open for the peer to read after the last write. Default 1 s; zero
    /// closes at once.
    pub delayed_close_timeout: Option<Duration>,
    /// Value of `server`. Default `envoy`.
    pub server_name: String,
    /// What to do with `server` from upstream.
    pub server_header_transformation: ServerHeaderTransformation,
    /// `:scheme` to set on every request.
    pub scheme_to_overwrite: Option<Scheme>,
    /// How the client's address is found and told.
    pub forwarding: ForwardingOptions,
    /// Value appended to `via`; empty for none.
    pub via: String,
    /// Request ids.
    pub request_id: RequestIdOptions,
    /// How paths are cleaned before they are matched.
    pub path_normalization: PathNormalization,
    /// What to strip from the authority.
    pub strip_host_port: StripHostPort,
    /// Strip the dot at the end of the authority's name.
    pub strip_trailing_host_dot: bool,
    /// Changes to replies that the proxy makes itself.
    pub local_reply: LocalReplyConfig,
    /// Keep the connection after an error in a message, where its framing allows.
    pub stream_error_on_invalid_http_message: bool,
    /// Forward `expect: 100-continue` and 100 responses, instead of answering 100.
    pub proxy_100_continue: bool,
    /// Upgrades that are passed through; routes may say otherwise.
    pub upgrades: UpgradeConfigs,
    /// Count requests of mobile clients by user agent.
    pub add_user_agent: bool,
    /// Where the message stands.
    pub path: FieldPath,
}

/// Where a route table is.
#[derive(Debug, Clone)]
pub enum RouteSpecifier {
    /// In the configuration of the connection manager.
    RouteConfig(Arc<RouteConfiguration>),
    /// It is discovered.
    Rds(Arc<Rds>),
}

/// A route table that is discovered (`Rds`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rds {
    /// Where from.
    pub config_source: ConfigSource,
    /// Its name.
    pub route_config_name: String,
}

/// Which codec serves connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodecType {
    /// By ALPN, else by the connection's first bytes.
    #[default]
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// HTTP/3.
    Http3,
}

/// What to do with the `server` header of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerHeaderTransformation {
    /// Replace it.
    #[default]
    Overwrite,
    /// Set it if it is absent.
    AppendIfAbsent,
    /// Leave it, or leave it out.
    PassThrough,
}

/// A URI scheme that `:scheme` can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// What happens to `x-forwarded-client-cert` of requests. Without TLS all but the last remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardClientCertDetails {
    /// Remove it.
    #[default]
    Sanitize,
    /// Keep it where the client was authenticated.
    ForwardOnly,
    /// Likewise, and append the client's certificate.
    AppendForward,
    /// Replace it by the client's certificate.
    SanitizeSet,
    /// Keep it always.
    AlwaysForwardOnly,
}

/// What `x-forwarded-client-cert` tells of a client's certificate beside its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCertDetails {
    /// Its subject.
    pub subject: bool,
    /// All of it.
    pub cert: bool,
    /// It and the certificates above it, as the client sent them.
    pub chain: bool,
    /// Its DNS names.
    pub dns: bool,
    /// Its URI names.
    pub uri: bool,
}

/// How the client's address is found in requests and told upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardingOptions {
    /// The connection's peer is the client, and `x-forwarded-*` from it are not trusted.
    pub use_remote_address: bool,
    /// Trusted proxies before this one.
    pub xff_num_trusted_hops: u32,
    /// Do not append the peer to `x-forwarded-for`.
    pub skip_xff_append: bool,
    /// Set `x-forwarded-port`.
    pub append_x_forwarded_port: bool,
    /// What happens to `x-forwarded-client-cert`.
    pub forward_client_cert_details: ForwardClientCertDetails,
    /// What it tells of a client's certificate beside its hash.
    pub client_cert_details: ClientCertDetails,
    /// Write IPv4 addresses as IPv4-mapped IPv6.
    pub represent_ipv4_remote_address_as_ipv4_mapped_ipv6: bool,
    /// Peers on unix sockets count as internal.
    pub internal_unix_sockets: bool,
    /// Clients in these blocks count as internal.
    pub internal_cidr_ranges: Vec<CidrRange>,
}

/// How `x-request-id` is made and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestIdOptions {
    /// Make one where there is none. Default true.
    pub generate: bool,
    /// Keep the id that an external client sent.
    pub preserve_external: bool,
    /// Also set it in responses.
    pub always_set_in_response: bool,
    /// Keep the trace reason in the id's 15th character. Default true.
    pub pack_trace_reason: bool,
    /// Let the id decide sampling of traces. Default true.
    pub use_for_trace_sampling: bool,
}

impl Default for RequestIdOptions {
    fn default() -> Self {
        RequestIdOptions {
            generate: true,
            preserve_external: false,
            always_set_in_response: false,
            pack_trace_reason: true,
            use_for_trace_sampling: true,
        }
    }
}

/// How paths are cleaned before they are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathNormalization {
    /// RFC 3986 normalisation (dot segments, percent-decoding of unreserved characters).
    pub normalize_path: bool,
    /// Merge repeated slashes.
    pub merge_slashes: bool,
    /// What to do with escaped slashes (`%2F`, `%5C`).
    pub path_with_escaped_slashes_action: PathWithEscapedSlashesAction,
}

/// What to do with `%2F`, `%2f`, `%5C` and `%5c` in paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathWithEscapedSlashesAction {
    /// Leave them.
    #[default]
    KeepUnchanged,
    /// Answer 400 (gRPC: INTERNAL).
    RejectRequest,
    /// Redirect (307) to the path with slashes; gRPC: INTERNAL.
    UnescapeAndRedirect,
    /// Go on with the path with slashes.
    UnescapeAndForward,
}

/// What to strip from the authority before it is matched and sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StripHostPort {
    /// Nothing.
    #[default]
    None,
    /// A port equal to the listener's.
    MatchingPort,
    /// Any port.
    AnyPort,
}

impl HttpConnectionManager {
    /// Converts a network filter's configuration.
    pub fn from_extension(extension: &TypedExtension, context: &mut Context<'_>) -> HttpConnectionManager {
        let proto = extension.decode().unwrap_or_else(|error| {
            context.error(&extension.path, error.to_string());
            hcm::HttpConnectionManager::default()
        });
        HttpConnectionManager::from_proto(&proto, &extension.path, context)
    }

    /// Converts the configuration.
    pub fn from_proto(
        proto: &hcm::HttpConnectionManager,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HttpConnectionManager {
        use hcm::http_connection_manager::ServerHeaderTransformation as Server;
        let common = proto.common_http_protocol_options.unwrap_or_default();
        let http1 = proto.http_protocol_options.clone().unwrap_or_default();
        let http2 = proto.http2_protocol_options.clone().unwrap_or_default();
        let local_reply = proto.local_reply_config.clone().unwrap_or_default();
        let stream_idle_timeout = context.timeout(
            &proto.stream_idle_timeout,
            Some(DEFAULT_STREAM_IDLE_TIMEOUT),
            &path.field("stream_idle_timeout"),
        );
        let mut timeout = |value, default, field| context.timeout(value, default, &path.field(field));
        let stream_flush_timeout =
            timeout(&proto.stream_flush_timeout, stream_idle_timeout, "stream_flush_timeout");
        let request_timeout = timeout(&proto.request_timeout, None, "request_timeout");
        let request_headers_timeout =
            timeout(&proto.request_headers_timeout, None, "request_headers_timeout");
        let delayed_close_timeout = timeout(
            &proto.delayed_close_timeout,
            Some(DEFAULT_DELAYED_CLOSE_TIMEOUT),
            "delayed_close_timeout",
        );
        HttpConnectionManager {
            codec_type: codec_type(proto, path, context),
            stat_prefix: proto.stat_prefix.clone(),
            routes: route_specifier(&proto.route_specifier, path, context),
            http_filters: HttpFilter::chain(&proto.http_filters, path, context),
            access_log: AccessLog::list(&proto.access_log, path, "access_log", context),
            common_http: CommonHttpOptions::from_proto(
                &common,
                &path.field("common_http_protocol_options"),
                context,
            ),
            http1: Http1Options::from_proto(&http1, &path.field("http_protocol_options"), context),
            http2: Http2Options::from_proto(
                &http2,
                Http2Options::server(),
                &path.field("http2_protocol_options"),
                context,
            ),
            http1_safe_max_connection_duration: proto.http1_safe_max_connection_duration,
            max_request_headers_kb: wrapped_or!(proto.max_request_headers_kb, DEFAULT_MAX_REQUEST_HEADERS_KB),
            stream_idle_timeout,
            stream_flush_timeout,
            request_timeout,
            request_headers_timeout,
            drain_timeout: context.duration_or(
                &proto.drain_timeout,
                DEFAULT_DRAIN_TIMEOUT,
                &path.field("drain_timeout"),
            ),
            delayed_close_timeout,
            server_name: match proto.server_name.as_str() {
                "" => "envoy".to_owned(),
                name => name.to_owned(),
            },
            server_header_transformation: match context
                .enum_value(proto.server_header_transformation, &path.field("server_header_transformation"))
            {
                Server::Overwrite => ServerHeaderTransformation::Overwrite,
                Server::AppendIfAbsent => ServerHeaderTransformation::AppendIfAbsent,
                Server::PassThrough => ServerHeaderTransformation::PassThrough,
            },
            scheme_to_overwrite: scheme_to_overwrite(&proto.scheme_header_transformation, path, context),
            forwarding: ForwardingOptions::from_proto(proto, path, context),
            via: proto.via.clone(),
            request_id: RequestIdOptions::from_proto(proto, path, context),
            path_normalization: PathNormalization::from_proto(proto, path, context),
            strip_host_port: strip_host_port(proto, path, context),
            strip_trailing_host_dot: proto.strip_trailing_host_dot,
            local_reply: LocalReplyConfig::from_proto(
                &local_reply,
                &path.field("local_reply_config"),
                context,
            ),
            stream_error_on_invalid_http_message: wrapped_or!(
                proto.stream_error_on_invalid_http_message,
                false
            ),
            proxy_100_continue: proto.proxy_100_continue,
            upgrades: UpgradeConfigs::from_protos(
                proto.upgrade_configs.iter().map(|config| (&*config.upgrade_type, &config.enabled)),
                path,
                context,
            ),
            add_user_agent: wrapped_or!(proto.add_user_agent, false),
            path: path.clone(),
        }
    }
}

fn codec_type(proto: &hcm::HttpConnectionManager, path: &FieldPath, context: &mut Context<'_>) -> CodecType {
    use hcm::http_connection_manager::CodecType as Codec;
    let path = path.field("codec_type");
    match context.enum_value(proto.codec_type, &path) {
        Codec::Auto => CodecType::Auto,
        Codec::Http1 => CodecType::Http1,
        Codec::Http2 => CodecType::Http2,
        Codec::Http3 => {
            context.error(&path, "HTTP/3 is not implemented yet");
            CodecType::Http3
        }
    }
}

fn route_specifier(
    proto: &Option<hcm::http_connection_manager::RouteSpecifier>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> RouteSpecifier {
    use hcm::http_connection_manager::RouteSpecifier as Specifier;
    let (field, message) = match proto {
        Some(Specifier::RouteConfig(routes)) => {
            let path = path.field("route_config");
            let table = RouteConfiguration::from_proto(routes, true, &path, context);
            return RouteSpecifier::RouteConfig(Arc::new(table));
        }
        Some(Specifier::Rds(rds)) => {
            return RouteSpecifier::Rds(Arc::new(Rds::from_proto(rds, &path.field("rds"), context)));
        }
        Some(Specifier::ScopedRoutes(_)) => {
            (path.field("scoped_routes"), "scoped routes are not implemented yet")
        }
        None => (path.clone(), "one of route_config, rds is required"),
    };
    context.error(&field, message);
    let nothing = RouteConfiguration::from_proto(&Default::default(), true, &field, context);
    RouteSpecifier::RouteConfig(Arc::new(nothing))
}

impl Rds {
    fn from_proto(proto: &hcm::Rds, path: &FieldPath, context: &mut Context<'_>) -> Rds {
        let source = proto.config_source.clone().unwrap_or_default();
        Rds {
            config_source: ConfigSource::from_proto(&source, &path.field("config_source"), context),
            route_config_name: proto.route_config_name.clone(),
        }
    }
}

fn scheme_to_overwrite(
    proto: &Option<core::SchemeHeaderTransformation>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<Scheme> {
    use core::scheme_header_transformation::Transformation;
    let Transformation::SchemeToOverwrite(scheme) = proto.as_ref()?.transformation.as_ref()?;
    match scheme.as_str() {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        other => {
            let path = path.field("scheme_header_transformation").field("scheme_to_overwrite");
            context.error(&path, format!("{other:?} is neither `http` nor `https`"));
            None
        }
    }
}

fn strip_host_port(
    proto: &hcm::HttpConnectionManager,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> StripHostPort {
    use hcm::http_connection_manager::StripPortMode;
    match (&proto.strip_port_mode, proto.strip_matching_host_port) {
        (Some(StripPortMode::StripAnyHostPort(true)), matching) => {
            if matching {
                context.error(
                    &path.field("strip_matching_host_port"),
                    "only one of strip_matching_host_port and strip_any_host_port may be set",
                );
            }
            StripHostPort::AnyPort
        }
        (_, true) => StripHostPort::MatchingPort,
        _ => StripHostPort::None,
    }
}

impl ForwardingOptions {
    fn from_proto(
        proto: &hcm::HttpConnectionManager,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ForwardingOptions {
        use hcm::http_connection_manager::ForwardClientCertDetails as Details;
        let told = proto.set_current_client_cert_details.unwrap_or_default();
        let internal = proto.internal_address_config.clone().unwrap_or_default();
        let internal_path = path.field("internal_address_config");
        ForwardingOptions {
            use_remote_address: wrapped_or!(proto.use_remote_address, false),
            xff_num_trusted_hops: proto.xff_num_trusted_hops,
            skip_xff_append: proto.skip_xff_append,
            append_x_forwarded_port: proto.append_x_forwarded_port,
            forward_client_cert_details: match context
                .enum_value(proto.forward_client_cert_details, &path.field("forward_client_cert_details"))
            {
                Details::Sanitize => ForwardClientCertDetails::Sanitize,
                Details::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
                Details::AppendForward => ForwardClientCertDetails::AppendForward,
                Details::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
                Details::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
            },
            client_cert_details: ClientCertDetails {
                subject: wrapped_or!(told.subject, false),
                cert: told.cert,
                chain: told.chain,
                dns: told.dns,
                uri: told.uri,
            },
            represent_ipv4_remote_address_as_ipv4_mapped_ipv6: proto
                .represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
            internal_unix_sockets: internal.unix_sockets,
            internal_cidr_ranges: CidrRange::list(
                &internal.cidr_ranges,
                &internal_path,
                "cidr_ranges",
                context,
            ),
        }
    }
}

impl RequestIdOptions {
    fn from_proto(
        proto: &hcm::HttpConnectionManager,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RequestIdOptions {
        let any = proto.request_id_extension.as_ref().and_then(|extension| extension.typed_config.as_ref());
        let uuid = any.map(|any| {
            let path = path.field("request_id_extension").field("typed_config");
            TypedExtension::from_any("", any, path.clone()).decode::<UuidRequestIdConfig>().unwrap_or_else(
                |error| {
                    context.error(&path, error.to_string());
                    UuidRequestIdConfig::default()
                },
            )
        });
        let uuid = uuid.unwrap_or_default();
        RequestIdOptions {
            generate: wrapped_or!(proto.generate_request_id, true),
            preserve_external: proto.preserve_external_request_id,
            always_set_in_response: proto.always_set_request_id_in_response,
            pack_trace_reason: wrapped_or!(uuid.pack_trace_reason, true),
            use_for_trace_sampling: wrapped_or!(uuid.use_request_id_for_trace_sampling, true),
        }
    }
}

impl PathNormalization {
    fn from_proto(
        proto: &hcm::HttpConnectionManager,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> PathNormalization {
        use hcm::http_connection_manager::PathWithEscapedSlashesAction as Action;
        let field = path.field("path_with_escaped_slashes_action");
        PathNormalization {
            normalize_path: wrapped_or!(proto.normalize_path, false),
            merge_slashes: proto.merge_slashes,
            path_with_escaped_slashes_action: match context
                .enum_value(proto.path_with_escaped_slashes_action, &field)
            {
                Action::ImplementationSpecificDefault | Action::KeepUnchanged => {
                    PathWithEscapedSlashesAction::KeepUnchanged
                }
                Action::RejectRequest => PathWithEscapedSlashesAction::RejectRequest,
                Action::UnescapeAndRedirect => PathWithEscapedSlashesAction::UnescapeAndRedirect,
                Action::UnescapeAndForward => PathWithEscapedSlashesAction::UnescapeAndForward,
            },
        }
    }
}
