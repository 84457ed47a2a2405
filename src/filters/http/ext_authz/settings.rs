//! What an ext_authz configuration asks for, and what of it is supported.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    BufferSettings, ExtAuthz, ExtAuthzPerRoute, HttpService, ext_authz, ext_authz_per_route,
};
use envoy_types::pb::envoy::r#type::matcher::v3::ListStringMatcher;

use crate::api::{ConfigError, MessageSupport};
use crate::config::{
    Context, FieldPath, FractionalPercent, HeaderMutations as HeaderMutationsConfig, HeaderToAdd,
    RuntimeFlag, RuntimeFraction, StringMatcher,
};
use crate::filters::http::convert::convert;
use crate::routing::HeaderMutations;

/// What is honoured of the filter's messages.
pub(super) const SUPPORT: &[MessageSupport] = &[
    MessageSupport {
        message: "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        honoured: &[
            "http_service",
            "failure_mode_allow",
            "failure_mode_allow_header_add",
            "with_request_body",
            "clear_route_cache",
            "status_on_error",
            "filter_enabled",
            "deny_at_disable",
            "stat_prefix",
            "allowed_headers",
            "disallowed_headers",
            "charge_cluster_response_stats",
            "encode_raw_headers",
        ],
        // Only concerns gRPC servers.
        no_effect: &["transport_api_version"],
    },
    MessageSupport {
        message: "envoy.extensions.filters.http.ext_authz.v3.HttpService",
        honoured: &[
            "server_uri",
            "path_prefix",
            "path_override",
            "authorization_request",
            "authorization_response",
        ],
        no_effect: &[],
    },
    MessageSupport {
        message: "envoy.config.core.v3.HttpUri",
        honoured: &["cluster", "timeout"],
        // The cluster says where the server is, and the client's request which host it is asked for.
        no_effect: &["uri"],
    },
    MessageSupport::all("envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest"),
    MessageSupport {
        message: "envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse",
        honoured: &[
            "allowed_upstream_headers",
            "allowed_upstream_headers_to_append",
            "allowed_client_headers",
            "allowed_client_headers_on_success",
        ],
        no_effect: &[],
    },
    MessageSupport {
        message: "envoy.extensions.filters.http.ext_authz.v3.BufferSettings",
        honoured: &["max_request_bytes", "allow_partial_message"],
        // Only concerns gRPC servers.
        no_effect: &["pack_as_bytes"],
    },
    MessageSupport::all("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"),
    MessageSupport {
        message: "envoy.extensions.filters.http.ext_authz.v3.CheckSettings",
        honoured: &["disable_request_body_buffering", "with_request_body"],
        // Only told to gRPC servers.
        no_effect: &["context_extensions"],
    },
    MessageSupport::all("envoy.type.v3.HttpStatus"),
];

/// Instead of no limit at all.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A filter's configuration.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) service: Service,
    pub(super) failure_mode_allow: bool,
    pub(super) failure_mode_allow_header_add: bool,
    /// Status of answers for want of an answer, 200 to 599.
    pub(super) status_on_error: u16,
    pub(super) body: Option<BodySettings>,
    pub(super) clear_route_cache: bool,
    pub(super) filter_enabled: RuntimeFraction,
    pub(super) deny_at_disable: RuntimeFlag,
    pub(super) charge_cluster_response_stats: bool,
}

/// The authorization server and how to talk to it.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) cluster: String,
    pub(super) timeout: Duration,
    pub(super) path_prefix: String,
    /// Asked for instead of the client's path; none if empty.
    pub(super) path_override: String,
    pub(super) headers_to_add: HeaderMutations,
    /// Which of the client's headers are shown, besides `authorization`.
    pub(super) allowed_headers: Vec<StringMatcher>,
    pub(super) disallowed_headers: Vec<StringMatcher>,
    /// Show repeated headers as they are instead of joined, and bytes that are not UTF-8.
    pub(super) encode_raw_headers: bool,
    /// Which headers of a grant replace the client's.
    pub(super) upstream_headers: Vec<StringMatcher>,
    /// Which headers of a grant are added to the client's.
    pub(super) upstream_headers_to_append: Vec<StringMatcher>,
    /// Which headers of a denial the client sees; empty for all.
    pub(super) client_headers: Vec<StringMatcher>,
    /// Which headers of a grant the client sees.
    pub(super) client_headers_on_success: Vec<StringMatcher>,
}

/// How much of a body the server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodySettings {
    pub(super) max_request_bytes: usize,
    /// Show the beginning of a larger body, instead of refusing it.
    pub(super) allow_partial_message: bool,
}

/// A route's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteSettings {
    /// Nobody is asked.
    Disabled,
    /// The server is asked.
    Check {
        /// Other settings for the body, if there are; `Some(None)` shows none.
        body: Option<Option<BodySettings>>,
    },
}

impl Settings {
    pub(super) fn from_proto(proto: &ExtAuthz, path: &FieldPath) -> Result<Settings, Vec<ConfigError>> {
        convert(|context| {
            let mut service = match &proto.services {
                Some(ext_authz::Services::HttpService(service)) => {
                    Service::from_proto(service, &path.field("http_service"), context)
                }
                Some(ext_authz::Services::GrpcService(_)) => {
                    context.error(&path.field("grpc_service"), "is not supported by Ringway yet");
                    Service::default()
                }
                None => {
                    context.error(path, "http_service is required");
                    Service::default()
                }
            };
            if proto.allowed_headers.is_some() {
                let path = path.field("allowed_headers");
                if !service.allowed_headers.is_empty() {
                    context.error(&path, "must not be set here and in authorization_request");
                }
                service.allowed_headers = matchers(&proto.allowed_headers, &path, context);
            }
            let path_of = |name: &str| path.field(name);
            service.disallowed_headers =
                matchers(&proto.disallowed_headers, &path_of("disallowed_headers"), context);
            service.encode_raw_headers = proto.encode_raw_headers;
            Settings {
                service,
                failure_mode_allow: proto.failure_mode_allow,
                failure_mode_allow_header_add: proto.failure_mode_allow_header_add,
                status_on_error: match &proto.status_on_error {
                    None => 403,
                    Some(status) => match u16::try_from(status.code) {
                        Ok(code @ 200..600) => code,
                        _ => {
                            context
                                .error(&path_of("status_on_error"), "must be at least 200 and less than 600");
                            403
                        }
                    },
                },
                body: proto
                    .with_request_body
                    .as_ref()
                    .map(|body| BodySettings::from_proto(body, &path_of("with_request_body"), context)),
                clear_route_cache: proto.clear_route_cache,
                filter_enabled: match &proto.filter_enabled {
                    None => RuntimeFraction::fixed(FractionalPercent::ALL),
                    Some(fraction) => RuntimeFraction::from_proto(
                        fraction,
                        FractionalPercent::NONE,
                        &path_of("filter_enabled"),
                        context,
                    ),
                },
                deny_at_disable: proto
                    .deny_at_disable
                    .as_ref()
                    .map_or(RuntimeFlag { default: false, runtime_key: String::new() }, RuntimeFlag::from),
                charge_cluster_response_stats: proto
                    .charge_cluster_response_stats
                    .as_ref()
                    .is_none_or(|value| value.value),
            }
        })
    }
}

impl Service {
    #[allow(deprecated, reason = "the older place of allowed_headers is still read, as Envoy reads it")]
    fn from_proto(proto: &HttpService, path: &FieldPath, context: &mut Context<'_>) -> Service {
        let mut service = Service {
            path_prefix: proto.path_prefix.clone(),
            path_override: proto.path_override.clone(),
            ..Service::default()
        };
        for (name, text) in [("path_prefix", &proto.path_prefix), ("path_override", &proto.path_override)] {
            if !text.is_empty() && !text.starts_with('/') {
                context.error(&path.field(name), "should start with \"/\"");
            }
        }
        if !proto.path_prefix.is_empty() && !proto.path_override.is_empty() {
            context.error(path, "only one of path_prefix or path_override may be set, not both");
        }
        match &proto.server_uri {
            Some(uri) => service.set_server(uri, &path.field("server_uri"), context),
            None => context.error(path, "server_uri is required"),
        }
        if let Some(request) = &proto.authorization_request {
            let path = path.field("authorization_request");
            service.allowed_headers =
                matchers(&request.allowed_headers, &path.field("allowed_headers"), context);
            service.headers_to_add = headers_to_add(&request.headers_to_add, &path, context);
        }
        if let Some(response) = &proto.authorization_response {
            let path = path.field("authorization_response");
            let mut list = |list, name: &str| matchers(list, &path.field(name), context);
            service.upstream_headers = list(&response.allowed_upstream_headers, "allowed_upstream_headers");
            service.upstream_headers_to_append =
                list(&response.allowed_upstream_headers_to_append, "allowed_upstream_headers_to_append");
            service.client_headers = list(&response.allowed_client_headers, "allowed_client_headers");
            service.client_headers_on_success =
                list(&response.allowed_client_headers_on_success, "allowed_client_headers_on_success");
        }
        service
    }

    fn set_server(&mut self, uri: &core::HttpUri, path: &FieldPath, context: &mut Context<'_>) {
        match &uri.http_upstream_type {
            Some(core::http_uri::HttpUpstreamType::Cluster(cluster)) => self.cluster.clone_from(cluster),
            None => context.error(&path.field("cluster"), "is required"),
        }
        match &uri.timeout {
            Some(timeout) => self.timeout = context.duration(timeout, &path.field("timeout")),
            None => context.error(&path.field("timeout"), "is required"),
        }
        if self.timeout.is_zero() {
            self.timeout = LONGEST_TIMEOUT;
        }
    }
}

impl BodySettings {
    fn from_proto(proto: &BufferSettings, path: &FieldPath, context: &mut Context<'_>) -> BodySettings {
        if proto.max_request_bytes == 0 {
            context.error(&path.field("max_request_bytes"), "must be greater than 0");
        }
        BodySettings {
            max_request_bytes: usize::try_from(proto.max_request_bytes).unwrap_or(usize::MAX),
            allow_partial_message: proto.allow_partial_message,
        }
    }
}

impl RouteSettings {
    pub(super) fn from_proto(
        proto: &ExtAuthzPerRoute,
        path: &FieldPath,
    ) -> Result<RouteSettings, Vec<ConfigError>> {
        convert(|context| match &proto.r#override {
            Some(ext_authz_per_route::Override::Disabled(true)) => RouteSettings::Disabled,
            Some(ext_authz_per_route::Override::Disabled(false)) => RouteSettings::Check { body: None },
            Some(ext_authz_per_route::Override::CheckSettings(check)) => {
                let path = path.field("check_settings");
                if check.disable_request_body_buffering && check.with_request_body.is_some() {
                    context.error(
                        &path,
                        "only one of disable_request_body_buffering and with_request_body may be set",
                    );
                }
                let body = check
                    .with_request_body
                    .as_ref()
                    .map(|body| BodySettings::from_proto(body, &path.field("with_request_body"), context));
                RouteSettings::Check {
                    body: (check.disable_request_body_buffering || body.is_some()).then_some(body),
                }
            }
            None => {
                context.error(path, "either disabled or check_settings is required");
                RouteSettings::Disabled
            }
        })
    }
}

fn matchers(
    list: &Option<ListStringMatcher>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<StringMatcher> {
    list.as_ref().map_or_else(Vec::new, |list| StringMatcher::list(&list.patterns, path, "patterns", context))
}

/// Values are formats; they replace what the client sent.
fn headers_to_add(
    headers: &[core::HeaderValue],
    path: &FieldPath,
    context: &mut Context<'_>,
) -> HeaderMutations {
    use core::header_value_option::HeaderAppendAction;
    let add = headers.iter().enumerate().map(|(i, header)| {
        let option = core::HeaderValueOption {
            header: Some(header.clone()),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..core::HeaderValueOption::default()
        };
        HeaderToAdd::from_proto(&option, &path.element("headers_to_add", i), context)
    });
    let config = HeaderMutationsConfig { add: add.collect(), remove: Vec::new() };
    // What is wrong with names and formats is recorded above.
    HeaderMutations::compile(&config).unwrap_or_default()
}
