//! The router: the end of every HTTP filter chain (`envoy.extensions.filters.http.router.v3.Router`).
//! Here is its configuration; what it does with a request is the exchange's `answer_or_forward`.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router as RouterProto;

use crate::api::{ConfigError, MessageSupport};
use crate::config::FieldPath;
use crate::filters::BuildContext;

use super::{BuiltFilter, HttpFilterDefinition, RouteConfig};

/// The router's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterConfig {
    /// Leave out the `x-envoy-*` headers that the router adds to requests and responses.
    pub suppress_envoy_headers: bool,
}

/// The router's definition.
pub struct Router;

impl HttpFilterDefinition for Router {
    type Config = RouterProto;
    type RouteConfig = RouterProto;

    const SUPPORT: &'static [MessageSupport] = &[MessageSupport {
        message: "envoy.extensions.filters.http.router.v3.Router",
        honoured: &["suppress_envoy_headers"],
        // Spans of clients exist only with tracing, which is refused. Statistics are always kept.
        no_effect: &["start_child_span", "dynamic_stats"],
    }];

    fn build(
        config: RouterProto,
        _: &FieldPath,
        _: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        Ok(BuiltFilter::Router(Arc::new(RouterConfig {
            suppress_envoy_headers: config.suppress_envoy_headers,
        })))
    }

    fn build_route(_: RouterProto, path: &FieldPath) -> Result<RouteConfig, Vec<ConfigError>> {
        Err(vec![ConfigError::new(path.as_str(), "the router has no configuration on routes")])
    }
}
