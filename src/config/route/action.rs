//! Forwarding a request to a cluster (`envoy.config.route.v3.RouteAction`).

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;

use super::{RetryPolicy, WeightedClusters};
use crate::config::matcher::regex_rewrite_from_proto;
use crate::config::{Context, FieldPath, RegexRewrite, UpgradeConfigs};

/// Default of `timeout`.
pub const DEFAULT_ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

/// How a request is forwarded. A time that is none is off.
#[derive(Debug, Clone)]
pub struct RouteAction {
    /// To which cluster.
    pub cluster: ClusterSpecifier,
    /// Status if that cluster does not exist: 503 (default), 404 or 500.
    pub cluster_not_found_response_code: u16,
    /// Change of the path.
    pub path_rewrite: Option<PathRewrite>,
    /// Change of the authority.
    pub host_rewrite: Option<HostRewrite>,
    /// Append the original authority to `x-forwarded-host` when it is changed.
    pub append_x_forwarded_host: bool,
    /// From the request's end to the response's, all attempts included. Default 15 s.
    pub timeout: Option<Duration>,
    /// Overrides the connection manager's `stream_idle_timeout`: none leaves it, `Some(ZERO)` turns it off.
    pub idle_timeout: Option<Duration>,
    /// Overrides the connection manager's `stream_flush_timeout` likewise.
    pub flush_timeout: Option<Duration>,
    /// Overrides the connection manager's `max_stream_duration` likewise.
    pub max_stream_duration: Option<Duration>,
    /// Largest `grpc-timeout` to honour: none ignores the header, `Some(ZERO)` honours any.
    pub grpc_timeout_header_max: Option<Duration>,
    /// Subtracted from `grpc-timeout`.
    pub grpc_timeout_header_offset: Option<Duration>,
    /// Retries; none takes the virtual host's.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// Which circuit breakers and connections are used.
    pub priority: RoutingPriority,
    /// What to hash for balancers that hash.
    pub hash_policy: Vec<HashPolicy>,
    /// Upgrades that are passed through or not, whatever the connection manager says.
    pub upgrades: UpgradeConfigs,
}

/// Which cluster a request goes to.
#[derive(Debug, Clone)]
pub enum ClusterSpecifier {
    /// This one.
    Cluster(String),
    /// The one that this (lower-case) request header names.
    ClusterHeader(String),
    /// One of several by chance.
    Weighted(WeightedClusters),
}

/// Change of the path; the original is kept in `x-envoy-original-path`.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// Replace the part that the route's prefix or path matched.
    Prefix(String),
    /// Replace all matches in the path without query.
    Regex(RegexRewrite),
}

/// Change of the authority.
#[derive(Debug, Clone)]
pub enum HostRewrite {
    /// Set it.
    Literal(String),
    /// Set it to the hostname of the chosen endpoint (clusters with DNS names only).
    Auto,
    /// Set it to the value of this (lower-case) header, if present.
    Header(String),
    /// Set it to the path without query, rewritten.
    PathRegex(RegexRewrite),
}

/// Priority of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RoutingPriority {
    /// The usual one.
    #[default]
    Default,
    /// With circuit breakers and connections of its own.
    High,
}

/// One source of a request's hash.
#[derive(Debug, Clone)]
pub struct HashPolicy {
    /// What is hashed.
    pub kind: HashPolicyKind,
    /// If this gave a hash, ignore the sources after it.
    pub terminal: bool,
}

/// What a [`HashPolicy`] hashes.
#[derive(Debug, Clone)]
pub enum HashPolicyKind {
    /// A request header.
    Header {
        /// Lower-case name.
        name: String,
        /// Applied to the value first.
        regex_rewrite: Option<RegexRewrite>,
    },
    /// A cookie.
    Cookie {
        /// Its name.
        name: String,
        /// Makes the cookie if it is absent; zero makes a session cookie.
        ttl: Option<Duration>,
        /// Path of a cookie that is made; empty for none.
        path: String,
        /// Attributes of a cookie that is made.
        attributes: Vec<(String, String)>,
    },
    /// The client's IP address.
    SourceIp,
    /// A query parameter.
    QueryParameter(String),
}

impl RouteAction {
    /// Converts an action.
    pub fn from_proto(
        proto: &route::RouteAction,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RouteAction {
        use route::route_action::ClusterNotFoundResponseCode as NotFound;
        let priority = context.enum_value(proto.priority, &path.field("priority"));
        let not_found = path.field("cluster_not_found_response_code");
        let hash_policy = proto.hash_policy.iter().enumerate();
        let stream = proto.max_stream_duration.unwrap_or_default();
        let stream_path = path.field("max_stream_duration");
        RouteAction {
            cluster: ClusterSpecifier::from_proto(&proto.cluster_specifier, path, context),
            cluster_not_found_response_code: match context
                .enum_value(proto.cluster_not_found_response_code, &not_found)
            {
                NotFound::ServiceUnavailable => 503,
                NotFound::NotFound => 404,
                NotFound::InternalServerError => 500,
            },
            path_rewrite: path_rewrite(proto, path, context),
            host_rewrite: host_rewrite(&proto.host_rewrite_specifier, path, context),
            append_x_forwarded_host: proto.append_x_forwarded_host,
            timeout: context.timeout(&proto.timeout, Some(DEFAULT_ROUTE_TIMEOUT), &path.field("timeout")),
            idle_timeout: context.optional_duration(&proto.idle_timeout, &path.field("idle_timeout")),
            flush_timeout: context.optional_duration(&proto.flush_timeout, &path.field("flush_timeout")),
            max_stream_duration: context
                .optional_duration(&stream.max_stream_duration, &stream_path.field("max_stream_duration")),
            grpc_timeout_header_max: context.optional_duration(
                &stream.grpc_timeout_header_max,
                &stream_path.field("grpc_timeout_header_max"),
            ),
            grpc_timeout_header_offset: context.optional_duration(
                &stream.grpc_timeout_header_offset,
                &stream_path.field("grpc_timeout_header_offset"),
            ),
            retry_policy: RetryPolicy::optional(&proto.retry_policy, path, context),
            priority: match priority {
                core::RoutingPriority::Default => RoutingPriority::Default,
                core::RoutingPriority::High => RoutingPriority::High,
            },
            hash_policy: hash_policy
                .filter_map(|(i, policy)| {
                    HashPolicy::from_proto(policy, &path.element("hash_policy", i), context)
                })
                .collect(),
            upgrades: UpgradeConfigs::from_protos(
                proto.upgrade_configs.iter().map(|config| (&*config.upgrade_type, &config.enabled)),
                path,
                context,
            ),
        }
    }
}

impl ClusterSpecifier {
    fn from_proto(
        proto: &Option<route::route_action::ClusterSpecifier>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ClusterSpecifier {
        use route::route_action::ClusterSpecifier as Proto;
        let message = match proto {
            Some(Proto::Cluster(name)) => return ClusterSpecifier::Cluster(name.clone()),
            Some(Proto::ClusterHeader(name)) => {
                let name = context.header_name(name, &path.field("cluster_header"));
                return ClusterSpecifier::ClusterHeader(name);
            }
            Some(Proto::WeightedClusters(clusters)) => {
                let path = path.field("weighted_clusters");
                return ClusterSpecifier::Weighted(WeightedClusters::from_proto(clusters, &path, context));
            }
            Some(Proto::ClusterSpecifierPlugin(_) | Proto::InlineClusterSpecifierPlugin(_)) => {
                "cluster specifier plugins are not implemented yet"
            }
            None => "the route names no cluster",
        };
        context.error(path, message);
        ClusterSpecifier::Cluster(String::new())
    }
}

fn path_rewrite(
    proto: &route::RouteAction,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<PathRewrite> {
    let regex = proto.regex_rewrite.as_ref();
    if !proto.prefix_rewrite.is_empty() && regex.is_some() {
        context.error(
            &path.field("regex_rewrite"),
            "only one of prefix_rewrite and regex_rewrite may be specified",
        );
    }
    if !proto.prefix_rewrite.is_empty() {
        return Some(PathRewrite::Prefix(proto.prefix_rewrite.clone()));
    }
    regex_rewrite_from_proto(regex?, &path.field("regex_rewrite"), context).map(PathRewrite::Regex)
}

fn host_rewrite(
    proto: &Option<route::route_action::HostRewriteSpecifier>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<HostRewrite> {
    use route::route_action::HostRewriteSpecifier as Proto;
    match proto.as_ref()? {
        Proto::HostRewriteLiteral(host) => Some(HostRewrite::Literal(host.clone())),
        Proto::AutoHostRewrite(auto) => auto.value.then_some(HostRewrite::Auto),
        Proto::HostRewriteHeader(name) => {
            Some(HostRewrite::Header(context.header_name(name, &path.field("host_rewrite_header"))))
        }
        Proto::HostRewritePathRegex(rewrite) => {
            let path = path.field("host_rewrite_path_regex");
            regex_rewrite_from_proto(rewrite, &path, context).map(HostRewrite::PathRegex)
        }
        Proto::HostRewrite(_) => {
            context.error(&path.field("host_rewrite"), "host_rewrite is not implemented yet");
            None
        }
    }
}

impl HashPolicy {
    fn from_proto(
        proto: &route::route_action::HashPolicy,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<HashPolicy> {
        use route::route_action::hash_policy::PolicySpecifier;
        let kind = match &proto.policy_specifier {
            Some(PolicySpecifier::Header(header)) => {
                let path = path.field("header");
                HashPolicyKind::Header {
                    name: context.header_name(&header.header_name, &path.field("header_name")),
                    regex_rewrite: header.regex_rewrite.as_ref().and_then(|rewrite| {
                        regex_rewrite_from_proto(rewrite, &path.field("regex_rewrite"), context)
                    }),
                }
            }
            Some(PolicySpecifier::Cookie(cookie)) => {
                let attributes = cookie.attributes.iter();
                HashPolicyKind::Cookie {
                    name: cookie.name.clone(),
                    ttl: context.optional_duration(&cookie.ttl, &path.field("cookie").field("ttl")),
                    path: cookie.path.clone(),
                    attributes: attributes
                        .map(|attribute| (attribute.name.clone(), attribute.value.clone()))
                        .collect(),
                }
            }
            Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
                HashPolicyKind::SourceIp
            }
            Some(PolicySpecifier::ConnectionProperties(_)) => return None,
            Some(PolicySpecifier::QueryParameter(parameter)) => {
                HashPolicyKind::QueryParameter(parameter.name.clone())
            }
            Some(PolicySpecifier::FilterState(_)) => {
                context.error(&path.field("filter_state"), "hashing filter state is not implemented yet");
                return None;
            }
            None => {
                context.error(path, "a policy_specifier is required");
                return None;
            }
        };
        Some(HashPolicy { kind, terminal: proto.terminal })
    }
}
