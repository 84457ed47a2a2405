//! Which requests a route is for (`envoy.config.route.v3.RouteMatch`). All conditions must hold.

use envoy_types::pb::envoy::config::route::v3 as route;

use crate::config::context::wrapped_or;
use crate::config::matcher::regex_from_proto;
use crate::config::{
    Context, CookieMatcher, FieldPath, FractionalPercent, HeaderMatcher, QueryParameterMatcher, Regex,
    RuntimeFraction,
};

/// Conditions on a request.
#[derive(Debug, Clone)]
pub struct RouteMatch {
    /// On the path.
    pub path: PathMatch,
    /// Compare prefixes and paths with case; regular expressions bring their own. Default true.
    pub case_sensitive: bool,
    /// Take only a random fraction of the requests.
    pub runtime_fraction: Option<RuntimeFraction>,
    /// On headers.
    pub headers: Vec<HeaderMatcher>,
    /// On query parameters.
    pub query_parameters: Vec<QueryParameterMatcher>,
    /// On cookies.
    pub cookies: Vec<CookieMatcher>,
    /// Only gRPC requests (`content-type: application/grpc...`).
    pub grpc: bool,
}

/// Condition on the path.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The path without query begins with it.
    Prefix(String),
    /// The path without query equals it.
    Path(String),
    /// All of the path without query matches.
    SafeRegex(Regex),
    /// The path without query equals it or goes on with `/` after it. Never ends with `/`.
    PathSeparatedPrefix(String),
    /// Any CONNECT request.
    Connect,
}

impl RouteMatch {
    /// Converts the conditions of a route.
    pub fn from_proto(proto: &route::RouteMatch, path: &FieldPath, context: &mut Context<'_>) -> RouteMatch {
        let fraction = proto.runtime_fraction.as_ref();
        let parameters = proto.query_parameters.iter().enumerate();
        let cookies = proto.cookies.iter().enumerate();
        RouteMatch {
            path: PathMatch::from_proto(&proto.path_specifier, path, context),
            case_sensitive: wrapped_or!(proto.case_sensitive, true),
            runtime_fraction: fraction.map(|fraction| {
                let path = path.field("runtime_fraction");
                RuntimeFraction::from_proto(fraction, FractionalPercent::ALL, &path, context)
            }),
            headers: HeaderMatcher::list(&proto.headers, path, "headers", context),
            query_parameters: parameters
                .map(|(i, parameter)| {
                    QueryParameterMatcher::from_proto(
                        parameter,
                        &path.element("query_parameters", i),
                        context,
                    )
                })
                .collect(),
            cookies: cookies
                .map(|(i, cookie)| CookieMatcher::from_proto(cookie, &path.element("cookies", i), context))
                .collect(),
            grpc: proto.grpc.is_some(),
        }
    }
}

impl PathMatch {
    fn from_proto(
        proto: &Option<route::route_match::PathSpecifier>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> PathMatch {
        use route::route_match::PathSpecifier;
        match proto {
            Some(PathSpecifier::Prefix(prefix)) => PathMatch::Prefix(prefix.clone()),
            Some(PathSpecifier::Path(whole)) => PathMatch::Path(whole.clone()),
            Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
                PathMatch::PathSeparatedPrefix(prefix.clone())
            }
            Some(PathSpecifier::SafeRegex(regex)) => {
                match regex_from_proto(regex, &path.field("safe_regex"), context) {
                    Some(regex) => PathMatch::SafeRegex(regex),
                    None => PathMatch::Connect,
                }
            }
            Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
            Some(PathSpecifier::PathMatchPolicy(_)) => {
                context
                    .error(&path.field("path_match_policy"), "path match policies are not implemented yet");
                PathMatch::Connect
            }
            None => {
                context.error_with_help(
                    path,
                    "the route match has no path",
                    "add one of prefix, path, path_separated_prefix, safe_regex; `prefix: /` matches all",
                );
                PathMatch::Connect
            }
        }
    }
}
