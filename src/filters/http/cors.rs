//! Cross-origin resource sharing (`envoy.extensions.filters.http.cors.v3.CorsPolicy`; the Fetch
//! standard, section 3.2): answers preflight requests, and lets browsers see responses.
//!
//! Each attribute comes from the most specific of the virtual host's and the route's policies that
//! sets it. The filter never refuses a request: browsers enforce what it says.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::cors::v3::{Cors as CorsProto, CorsPolicy};

use crate::api::{ConfigError, MessageSupport};
use crate::config::{FieldPath, FractionalPercent, Runtime, RuntimeFraction, StringMatcher};
use crate::filters::BuildContext;
use crate::http::header::Known;
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, header};
use crate::stats::groups::CorsStats;

use super::convert::convert;
use super::{
    BuiltFilter, FilterContext, HeadAction, HttpFilter, HttpFilterDefinition, HttpFilterFactory, LocalReply,
    RouteConfig,
};

/// The CORS filter's definition.
pub struct Cors;

impl HttpFilterDefinition for Cors {
    type Config = CorsProto;
    type RouteConfig = CorsPolicy;

    const SUPPORT: &'static [MessageSupport] = &[
        MessageSupport::all("envoy.extensions.filters.http.cors.v3.Cors"),
        MessageSupport::all("envoy.extensions.filters.http.cors.v3.CorsPolicy"),
    ];

    fn build(
        _: CorsProto,
        _: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let stats = CorsStats::register(cx.registry, &format!("{}cors.", cx.stat_prefix));
        Ok(BuiltFilter::Filter(Arc::new(Factory(stats))))
    }

    fn build_route(config: CorsPolicy, path: &FieldPath) -> Result<RouteConfig, Vec<ConfigError>> {
        Ok(Arc::new(Policy::from_proto(&config, path)?))
    }
}

/// The policy of one level; what it leaves out is for a less specific one to say.
#[derive(Debug, Clone)]
struct Policy {
    allow_origins: Vec<StringMatcher>,
    allow_methods: String,
    allow_headers: String,
    expose_headers: String,
    max_age: String,
    allow_credentials: Option<bool>,
    allow_private_network_access: Option<bool>,
    forward_not_matching_preflights: Option<bool>,
    enabled: RuntimeFraction,
    shadow_enabled: RuntimeFraction,
}

impl Policy {
    fn from_proto(proto: &CorsPolicy, path: &FieldPath) -> Result<Policy, Vec<ConfigError>> {
        convert(|context| {
            let mut fraction = |proto: &Option<_>, unset, name: &str| match proto {
                Some(proto) => {
                    RuntimeFraction::from_proto(proto, FractionalPercent::NONE, &path.field(name), context)
                }
                None => RuntimeFraction::fixed(unset),
            };
            Policy {
                enabled: fraction(&proto.filter_enabled, FractionalPercent::ALL, "filter_enabled"),
                shadow_enabled: fraction(&proto.shadow_enabled, FractionalPercent::NONE, "shadow_enabled"),
                allow_origins: StringMatcher::list(
                    &proto.allow_origin_string_match,
                    path,
                    "allow_origin_string_match",
                    context,
                ),
                allow_methods: proto.allow_methods.clone(),
                allow_headers: proto.allow_headers.clone(),
                expose_headers: proto.expose_headers.clone(),
                max_age: proto.max_age.clone(),
                allow_credentials: proto.allow_credentials.map(|value| value.value),
                allow_private_network_access: proto.allow_private_network_access.map(|value| value.value),
                forward_not_matching_preflights: proto
                    .forward_not_matching_preflights
                    .map(|value| value.value),
            }
        })
    }
}

/// The policies that apply to a request, most specific first.
struct Policies<'a>([Option<&'a Policy>; 4]);

impl<'a> Policies<'a> {
    fn of(cx: &FilterContext<'a>) -> Policies<'a> {
        let mut levels = cx.route_configs::<Policy>().rev();
        Policies(std::array::from_fn(|_| levels.next()))
    }

    fn iter(&self) -> impl Iterator<Item = &'a Policy> {
        self.0.iter().copied().flatten()
    }

    /// Whether a switch of the most specific policy is on.
    fn switch(&self, runtime: &Runtime, random: u64, which: fn(&Policy) -> &RuntimeFraction) -> bool {
        self.iter().next().is_some_and(|policy| runtime.fraction(which(policy)).contains(random))
    }

    fn text(&self, which: fn(&Policy) -> &str) -> &'a str {
        self.iter().map(which).find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn flag(&self, which: fn(&Policy) -> Option<bool>) -> Option<bool> {
        self.iter().find_map(which)
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let origins = self.iter().map(|policy| &policy.allow_origins).find(|list| !list.is_empty());
        origins
            .is_some_and(|list| list.iter().any(|allowed| allowed.matches(b"*") || allowed.matches(origin)))
    }

    /// What every answer says; `origin` if it is allowed.
    fn describe(&self, origin: Option<&[u8]>, headers: &mut HeaderMap) {
        if let Some(origin) = origin {
            headers.set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if self.flag(|policy| policy.allow_credentials) == Some(true) {
            headers.set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, b"true");
        }
        self.set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, |policy| &policy.expose_headers);
    }

    fn set(&self, headers: &mut HeaderMap, name: Known, which: fn(&Policy) -> &str) {
        let text = self.text(which);
        if !text.is_empty() {
            headers.set(name, text.as_bytes());
        }
    }

    /// The answer to a preflight request; `origin` if it is allowed.
    fn preflight_reply(&self, origin: Option<&[u8]>, request: &HeaderMap) -> LocalReply {
        let mut headers = HeaderMap::new();
        self.describe(origin, &mut headers);
        self.set(&mut headers, header::ACCESS_CONTROL_ALLOW_METHODS, |policy| &policy.allow_methods);
        self.set(&mut headers, header::ACCESS_CONTROL_ALLOW_HEADERS, |policy| &policy.allow_headers);
        self.set(&mut headers, header::ACCESS_CONTROL_MAX_AGE, |policy| &policy.max_age);
        let asks = request.get(header::ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK) == Some(b"true");
        if asks && self.flag(|policy| policy.allow_private_network_access) == Some(true) {
            headers.set(header::ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK, b"true");
        }
        LocalReply { headers: Some(Box::new(headers)), ..LocalReply::new(200, "", "cors_response") }
    }
}

struct Factory(CorsStats);

impl HttpFilterFactory for Factory {
    fn create(&self) -> Box<dyn HttpFilter> {
        Box::new(CorsFilter { stats: self.0, allowed_origin: None })
    }
}

struct CorsFilter {
    stats: CorsStats,
    /// The request's origin, if it is allowed.
    allowed_origin: Option<Box<[u8]>>,
}

impl HttpFilter for CorsFilter {
    fn decode_head(&mut self, cx: &mut FilterContext<'_>, request: &mut RequestHead, _: bool) -> HeadAction {
        let Some(origin) = request.headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()) else {
            return HeadAction::Continue;
        };
        let policies = Policies::of(cx);
        let runtime = &cx.worker.server.runtime;
        let random = (cx.random)();
        let enabled = policies.switch(runtime, random, |policy| &policy.enabled);
        if !enabled && !policies.switch(runtime, random, |policy| &policy.shadow_enabled) {
            return HeadAction::Continue;
        }
        let asked_method = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).unwrap_or_default();
        let is_preflight = request.method() == Method::Options && !asked_method.is_empty();
        if !policies.allows(origin) {
            self.stats.origin_invalid.inc();
            let forward = policies.flag(|policy| policy.forward_not_matching_preflights).unwrap_or(true);
            if enabled && is_preflight && !forward {
                return HeadAction::Reply(policies.preflight_reply(None, &request.headers));
            }
            return HeadAction::Continue;
        }
        self.stats.origin_valid.inc();
        if !enabled {
            return HeadAction::Continue;
        }
        if is_preflight {
            return HeadAction::Reply(policies.preflight_reply(Some(origin), &request.headers));
        }
        self.allowed_origin = Some(origin.into());
        HeadAction::Continue
    }

    fn encode_head(
        &mut self,
        cx: &mut FilterContext<'_>,
        response: &mut ResponseHead,
        _: bool,
    ) -> HeadAction {
        if let Some(origin) = &self.allowed_origin {
            let policies = Policies::of(cx);
            policies.describe(Some(origin), &mut response.headers);
        }
        HeadAction::Continue
    }
}
