//! Compiled virtual hosts and routes: what a request that matched is to meet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::cluster_choice::ClusterChoice;
use super::condition::{OtherConditions, PathCondition};
use super::level::Level;
use super::path_index::{PathIndex, PathIndexBuilder, RouteIndex};
use super::per_filter::PerFilterBuilder;
use super::redirect::Redirect;
use super::reuse::Reuse;
use super::rewrite::{HostChange, PathChange};
use super::shared::Shared;
use crate::api::ConfigError;
use crate::config::route::{
    self, RetryPolicy, Route, RouteAction, RouteActionKind, RoutingPriority, TlsRequirement,
};
use crate::config::{FormatTemplate, Runtime, SubstitutionFormat, UpgradeConfigs};
use crate::formatter::{FormatContext, Formatter, JsonFormatter};
use crate::http::RequestHead;
use crate::http::path::split_query;

/// A compiled virtual host. What requests need of it is here and not left in `config`, which is far away in
/// memory; so it is with routes. Aligned so that, with the counts of its `Arc`, it fills two cache lines which
/// are fetched as a pair.
#[derive(Debug)]
#[repr(align(32))]
pub struct VirtualHostEntry {
    /// Its name.
    pub name: Arc<str>,
    /// As configured. Keeps the addresses of its routes, by which they are known again.
    pub config: Arc<route::VirtualHost>,
    /// Changes to heads, and per-filter configuration.
    pub level: Level,
    /// Tell upstream the number of the attempt.
    pub include_request_attempt_count: bool,
    /// Tell downstream the number of attempts.
    pub include_attempt_count_in_response: bool,
    /// Tell upstream whether an attempt that is not the first follows a timeout.
    pub include_is_timeout_retry_header: bool,
    /// Which requests are redirected to `https`.
    pub(super) require_tls: TlsRequirement,
    /// In the order of the configuration; routes that do the same may be one.
    pub(super) routes: Box<[Arc<RouteEntry>]>,
    /// By route; empty if the index leaves nothing open about any.
    conditions: Box<[Conditions]>,
    index: PathIndex,
}

/// What the index leaves open about a route.
#[derive(Debug)]
struct Conditions {
    regex: Option<Box<PathCondition>>,
    other: Option<Box<OtherConditions>>,
}

/// A compiled route, but for what it matches.
#[derive(Debug)]
pub struct RouteEntry {
    /// Its name; none if it is empty.
    pub name: Option<Arc<str>>,
    /// What happens to the request.
    pub action: Action,
    /// Changes to heads, and per-filter configuration.
    pub level: Level,
}

/// What happens to a request that matches a route.
#[derive(Debug)]
pub enum Action {
    /// It is forwarded.
    Forward(Arc<ForwardAction>),
    /// It is answered with a redirect.
    Redirect(Box<Redirect>),
    /// It is answered with a fixed response.
    DirectResponse(Box<DirectResponse>),
    /// It is answered like one that matches no route.
    NonForwarding,
}

/// How a request is forwarded.
#[derive(Debug)]
pub struct ForwardAction {
    /// Times, priority and the like.
    pub config: ForwardConfig,
    /// To which cluster.
    pub cluster: ClusterChoice,
    /// Change of the path.
    pub path_change: Option<Box<PathChange>>,
    /// Change of the authority.
    pub host_change: Option<Box<HostChange>>,
    /// Retries: the route's policy, else the virtual host's.
    pub retry_policy: Option<Arc<RetryPolicy>>,
}

/// What a route's configuration says about forwarding that needs no compiling: see [`RouteAction`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForwardConfig {
    /// From the request's end to the response's, all attempts included.
    pub timeout: Option<Duration>,
    /// Overrides the connection manager's `stream_idle_timeout`: none leaves it, `Some(ZERO)` turns it off.
    pub idle_timeout: Option<Duration>,
    /// Overrides the connection manager's `max_stream_duration` likewise.
    pub max_stream_duration: Option<Duration>,
    /// Largest `grpc-timeout` to honour: none ignores the header, `Some(ZERO)` honours any.
    pub grpc_timeout_header_max: Option<Duration>,
    /// Subtracted from `grpc-timeout`.
    pub grpc_timeout_header_offset: Option<Duration>,
    /// Largest request body kept for retries, the route's else the virtual host's; none takes the connection's
    /// buffer limit.
    pub request_body_buffer_limit_bytes: Option<u64>,
    /// Upgrades that are passed through or not, whatever the connection manager says.
    pub upgrades: UpgradeConfigs,
    /// Status if the cluster does not exist.
    pub cluster_not_found_response_code: u16,
    /// Which circuit breakers and connections are used.
    pub priority: RoutingPriority,
    /// Append the original authority to `x-forwarded-host` when it is changed.
    pub append_x_forwarded_host: bool,
}

/// A fixed response.
#[derive(Debug)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// May be empty.
    pub body: Bytes,
    /// Makes the body that is sent; the configured one is then `%LOCAL_REPLY_BODY%`.
    pub body_format: Option<BodyFormat>,
}

/// A format of bodies.
#[derive(Debug)]
pub struct BodyFormat {
    template: BodyTemplate,
    content_type: String,
}

#[derive(Debug)]
enum BodyTemplate {
    Text(Formatter),
    Json(JsonFormatter),
}

impl VirtualHostEntry {
    /// Compiles a virtual host; errors go to `errors`. Routes whose configuration is the very one that those of
    /// `before` were compiled from are taken over.
    pub(super) fn compile(
        source: &Arc<route::VirtualHost>,
        before: Option<&VirtualHostEntry>,
        per_filter: &mut PerFilterBuilder<'_>,
        shared: &mut Shared,
        errors: &mut Vec<ConfigError>,
    ) -> VirtualHostEntry {
        let mut index = PathIndexBuilder::default();
        let mut routes = Vec::with_capacity(source.routes.len());
        let mut conditions = Vec::with_capacity(source.routes.len());
        let before = before.filter(|before| before.gives_routes_the_same_as(source));
        let (known, sources) =
            before.map_or((&[][..], &[][..]), |it| (&it.routes[..], &it.config.routes[..]));
        let mut known = Reuse::new(known, |place| Arc::as_ptr(&sources[place]));
        for route in &source.routes {
            let path = PathCondition::compile(&route.route_match);
            index.push(routes.len() as RouteIndex, &path, route.route_match.case_sensitive);
            routes.push(match known.find(routes.len(), Arc::as_ptr(route)) {
                Some(same) => Arc::clone(same),
                None => {
                    let matched_len = path.matched_len();
                    let entry = RouteEntry::compile(route, source, matched_len, per_filter, shared, errors);
                    shared.route(entry)
                }
            });
            conditions.push(Conditions {
                regex: matches!(path, PathCondition::Regex { .. }).then(|| Box::new(path)),
                other: OtherConditions::compile(&route.route_match),
            });
        }
        if conditions.iter().all(Conditions::is_empty) {
            conditions.clear();
        }
        VirtualHostEntry {
            name: source.name.as_str().into(),
            config: Arc::clone(source),
            level: Level::compile(
                &source.request_headers,
                &source.response_headers,
                &source.per_filter,
                per_filter,
                errors,
            ),
            include_request_attempt_count: source.include_request_attempt_count,
            include_attempt_count_in_response: source.include_attempt_count_in_response,
            include_is_timeout_retry_header: source.include_is_timeout_retry_header,
            require_tls: source.require_tls,
            routes: routes.into(),
            conditions: conditions.into(),
            index: index.finish(),
        }
    }

    /// The first route that takes the request. `path` is the request's path as it is to be matched, none for a
    /// request without one.
    #[inline]
    pub(super) fn find(
        &self,
        head: &RequestHead,
        path: Option<&[u8]>,
        runtime: &Runtime,
        random: u64,
    ) -> Option<RouteIndex> {
        let (path, query) = match path {
            Some(path) => {
                let (path, query) = split_query(path);
                (Some(path), query)
            }
            None => (None, None),
        };
        let matches = |route: RouteIndex| {
            let Some(conditions) = self.conditions.get(route as usize) else { return true };
            let regex = conditions.regex.as_ref();
            regex.is_none_or(|regex| regex.is_confirmed_by(path.unwrap_or_default()))
                && conditions
                    .other
                    .as_ref()
                    .is_none_or(|other| other.match_request(&head.headers, query, runtime, random))
        };
        match path {
            Some(path) => self.index.find(path, matches),
            None => self.index.find_pathless(matches),
        }
    }

    /// Whether what routes take from their virtual host is the same in both.
    fn gives_routes_the_same_as(&self, other: &route::VirtualHost) -> bool {
        let limits = [&*self.config, other].map(|host| host.request_body_buffer_limit_bytes);
        let same_policy = match (&self.config.retry_policy, &other.retry_policy) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        same_policy && limits[0] == limits[1]
    }
}

impl Conditions {
    fn is_empty(&self) -> bool {
        self.regex.is_none() && self.other.is_none()
    }
}

impl RouteEntry {
    fn compile(
        source: &Route,
        virtual_host: &route::VirtualHost,
        matched_len: Option<usize>,
        per_filter: &mut PerFilterBuilder<'_>,
        shared: &mut Shared,
        errors: &mut Vec<ConfigError>,
    ) -> RouteEntry {
        let action = match &source.action {
            RouteActionKind::Route(action) => {
                let limit =
                    source.request_body_buffer_limit_bytes.or(virtual_host.request_body_buffer_limit_bytes);
                let rewrite = action.path_rewrite.as_ref();
                let compiled = ForwardAction {
                    config: ForwardConfig::new(action, limit),
                    cluster: ClusterChoice::compile(&action.cluster, per_filter, shared, errors),
                    path_change: rewrite.map(|change| Box::new(PathChange::new(change, matched_len))),
                    host_change: action.host_rewrite.as_ref().map(|change| Box::new(HostChange::new(change))),
                    retry_policy: action.retry_policy.clone().or_else(|| virtual_host.retry_policy.clone()),
                };
                Action::Forward(shared.action(compiled))
            }
            RouteActionKind::Redirect(redirect) => {
                Action::Redirect(Box::new(Redirect::new(redirect, matched_len)))
            }
            RouteActionKind::DirectResponse(response) => Action::DirectResponse(Box::new(DirectResponse {
                status: response.status,
                body: response.body.clone(),
                body_format: response
                    .body_format
                    .as_ref()
                    .and_then(|format| BodyFormat::compile(format).map_err(|error| errors.push(error)).ok()),
            })),
            RouteActionKind::NonForwarding => Action::NonForwarding,
        };
        RouteEntry {
            name: (!source.name.is_empty()).then(|| source.name.as_str().into()),
            action,
            level: Level::compile(
                &source.request_headers,
                &source.response_headers,
                &source.per_filter,
                per_filter,
                errors,
            ),
        }
    }
}

impl ForwardConfig {
    fn new(source: &RouteAction, request_body_buffer_limit_bytes: Option<u64>) -> ForwardConfig {
        ForwardConfig {
            timeout: source.timeout,
            idle_timeout: source.idle_timeout,
            max_stream_duration: source.max_stream_duration,
            grpc_timeout_header_max: source.grpc_timeout_header_max,
            grpc_timeout_header_offset: source.grpc_timeout_header_offset,
            request_body_buffer_limit_bytes,
            upgrades: source.upgrades.clone(),
            cluster_not_found_response_code: source.cluster_not_found_response_code,
            priority: source.priority,
            append_x_forwarded_host: source.append_x_forwarded_host,
        }
    }
}

impl BodyFormat {
    /// Compiles a format; also for local replies.
    ///
    /// # Errors
    /// If the format is malformed or names a command that is not there.
    pub fn compile(source: &SubstitutionFormat) -> Result<BodyFormat, ConfigError> {
        let omit = source.omit_empty_values;
        let template = match &source.format {
            FormatTemplate::Text(text) => Formatter::compile(text, omit).map(BodyTemplate::Text),
            FormatTemplate::Json(members) => JsonFormatter::compile(members, omit).map(BodyTemplate::Json),
        };
        Ok(BodyFormat {
            template: template.map_err(|error| ConfigError::new(source.path.as_str(), error.to_string()))?,
            content_type: source.content_type.clone(),
        })
    }

    /// Appends the body.
    pub fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        match &self.template {
            BodyTemplate::Text(formatter) => formatter.write(cx, out),
            BodyTemplate::Json(formatter) => {
                formatter.write(cx, out);
                out.push(b'\n');
            }
        }
    }

    /// Whether it makes JSON, which ends with a line feed.
    pub fn is_json(&self) -> bool {
        matches!(self.template, BodyTemplate::Json(_))
    }

    /// The `content-type` of bodies made by it.
    pub fn content_type(&self) -> &str {
        match (&self.template, self.content_type.as_str()) {
            (BodyTemplate::Text(_), "") => "text/plain",
            (BodyTemplate::Json(_), "") => "application/json",
            (_, given) => given,
        }
    }
}
