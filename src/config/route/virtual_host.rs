//! Virtual hosts and routes (`envoy.config.route.v3.VirtualHost`, `Route`).

use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3 as route;

use super::{DirectResponseAction, RedirectAction, RetryPolicy, RouteAction, RouteMatch};
use crate::config::{Context, FieldPath, HeaderMutations, PerFilterConfigs};

/// The routes for a set of domains.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// Unique in its table.
    pub name: String,
    /// Lower-case domains: `a.b`, `*.b`, `a.*` or `*`; never empty.
    pub domains: Vec<String>,
    /// The first that matches is taken.
    pub routes: Vec<Arc<Route>>,
    /// Whether requests without TLS are redirected (301) to `https`.
    pub require_tls: TlsRequirement,
    /// Changes to requests.
    pub request_headers: HeaderMutations,
    /// Changes to responses.
    pub response_headers: HeaderMutations,
    /// Per-filter configuration for all its routes.
    pub per_filter: PerFilterConfigs,
    /// Retries of routes that have no policy of their own.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// Tell upstream the number of the attempt (`x-envoy-attempt-count`).
    pub include_request_attempt_count: bool,
    /// Tell downstream the number of attempts.
    pub include_attempt_count_in_response: bool,
    /// Tell upstream that an attempt follows a timeout (`x-envoy-is-timeout-retry`).
    pub include_is_timeout_retry_header: bool,
    /// Largest request body kept for retries and shadows; none takes the connection's buffer limit.
    pub request_body_buffer_limit_bytes: Option<u64>,
    /// Where the virtual host stands.
    pub path: FieldPath,
}

/// Which requests must have come over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsRequirement {
    /// None.
    #[default]
    None,
    /// Those of external clients.
    ExternalOnly,
    /// All.
    All,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Name; may be empty.
    pub name: String,
    /// Which requests.
    pub route_match: RouteMatch,
    /// What to do with them.
    pub action: RouteActionKind,
    /// Changes to requests.
    pub request_headers: HeaderMutations,
    /// Changes to responses.
    pub response_headers: HeaderMutations,
    /// Per-filter configuration.
    pub per_filter: PerFilterConfigs,
    /// Largest request body kept for retries and shadows; none takes the virtual host's.
    pub request_body_buffer_limit_bytes: Option<u64>,
    /// Where the route stands.
    pub path: FieldPath,
}

/// What happens to a request that matches a route.
#[derive(Debug, Clone)]
pub enum RouteActionKind {
    /// It is forwarded to a cluster.
    Route(Box<RouteAction>),
    /// It is answered with a redirect.
    Redirect(RedirectAction),
    /// It is answered with a fixed response.
    DirectResponse(DirectResponseAction),
    /// Nothing is forwarded (routes of gRPC servers); Envoy answers such requests like unmatched ones.
    NonForwarding,
}

impl VirtualHost {
    /// Converts a virtual host; bodies of direct responses may have up to `max_body_bytes`.
    pub fn from_proto(
        proto: &route::VirtualHost,
        max_body_bytes: usize,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> VirtualHost {
        use route::virtual_host::TlsRequirementType;
        let routes = proto.routes.iter().enumerate().map(|(i, route)| {
            Arc::new(Route::from_proto(route, max_body_bytes, &path.element("routes", i), context))
        });
        VirtualHost {
            name: proto.name.clone(),
            domains: proto.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            routes: routes.collect(),
            require_tls: match context.enum_value(proto.require_tls, &path.field("require_tls")) {
                TlsRequirementType::None => TlsRequirement::None,
                TlsRequirementType::ExternalOnly => TlsRequirement::ExternalOnly,
                TlsRequirementType::All => TlsRequirement::All,
            },
            request_headers: HeaderMutations::from_proto(
                &proto.request_headers_to_add,
                &proto.request_headers_to_remove,
                "request",
                path,
                context,
            ),
            response_headers: HeaderMutations::from_proto(
                &proto.response_headers_to_add,
                &proto.response_headers_to_remove,
                "response",
                path,
                context,
            ),
            per_filter: PerFilterConfigs::from_proto(&proto.typed_per_filter_config, path, context),
            retry_policy: RetryPolicy::optional(&proto.retry_policy, path, context),
            include_request_attempt_count: proto.include_request_attempt_count,
            include_attempt_count_in_response: proto.include_attempt_count_in_response,
            include_is_timeout_retry_header: proto.include_is_timeout_retry_header,
            request_body_buffer_limit_bytes: buffer_limit(
                &proto.request_body_buffer_limit,
                &proto.per_request_buffer_limit_bytes,
            ),
            path: path.clone(),
        }
    }
}

impl Route {
    /// Converts a route; a direct response's body may have up to `max_body_bytes`.
    pub fn from_proto(
        proto: &route::Route,
        max_body_bytes: usize,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Route {
        let route_match = proto.r#match.clone().unwrap_or_default();
        Route {
            name: proto.name.clone(),
            route_match: RouteMatch::from_proto(&route_match, &path.field("match"), context),
            action: action(proto, max_body_bytes, path, context),
            request_headers: HeaderMutations::from_proto(
                &proto.request_headers_to_add,
                &proto.request_headers_to_remove,
                "request",
                path,
                context,
            ),
            response_headers: HeaderMutations::from_proto(
                &proto.response_headers_to_add,
                &proto.response_headers_to_remove,
                "response",
                path,
                context,
            ),
            per_filter: PerFilterConfigs::from_proto(&proto.typed_per_filter_config, path, context),
            request_body_buffer_limit_bytes: buffer_limit(
                &proto.request_body_buffer_limit,
                &proto.per_request_buffer_limit_bytes,
            ),
            path: path.clone(),
        }
    }
}

fn action(
    proto: &route::Route,
    max_body_bytes: usize,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> RouteActionKind {
    use route::route::Action;
    match &proto.action {
        Some(Action::Route(action)) => {
            RouteActionKind::Route(Box::new(RouteAction::from_proto(action, &path.field("route"), context)))
        }
        Some(Action::Redirect(redirect)) => {
            RouteActionKind::Redirect(RedirectAction::from_proto(redirect, &path.field("redirect"), context))
        }
        Some(Action::DirectResponse(response)) => {
            RouteActionKind::DirectResponse(DirectResponseAction::from_proto(
                response,
                max_body_bytes,
                &path.field("direct_response"),
                context,
            ))
        }
        Some(Action::NonForwardingAction(_)) => RouteActionKind::NonForwarding,
        Some(Action::FilterAction(_)) => {
            context.error(&path.field("filter_action"), "filter_action is not implemented yet");
            RouteActionKind::NonForwarding
        }
        None => {
            context.error_with_help(
                path,
                "the route has no action",
                "add one of route, redirect, direct_response",
            );
            RouteActionKind::NonForwarding
        }
    }
}

/// The limit in the newer field, else in the older one.
fn buffer_limit(
    newer: &Option<envoy_types::pb::google::protobuf::UInt64Value>,
    older: &Option<envoy_types::pb::google::protobuf::UInt32Value>,
) -> Option<u64> {
    let older = older.as_ref().map(|limit| u64::from(limit.value));
    newer.as_ref().map(|limit| limit.value).or(older)
}
