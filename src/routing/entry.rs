//! Compiled virtual hosts and routes: what a request that matched is to meet.

use std::sync::Arc;

use bytes::Bytes;

use super::HeaderMutations;
use super::cluster_choice::ClusterChoice;
use super::condition::{OtherConditions, PathCondition};
use super::path_index::{PathIndex, RouteIndex};
use super::per_filter::{PerFilterBuilder, PerFilterLevel};
use super::redirect::Redirect;
use super::reuse::Reuse;
use super::rewrite::{HostChange, PathChange};
use crate::api::ConfigError;
use crate::config::route::{self, RetryPolicy, Route, RouteAction, RouteActionKind, TlsRequirement};
use crate::config::{FormatTemplate, Runtime, SubstitutionFormat};
use crate::formatter::{FormatContext, Formatter, JsonFormatter};
use crate::http::RequestHead;
use crate::http::path::split_query;

/// A compiled virtual host.
#[derive(Debug)]
pub struct VirtualHostEntry {
    /// Its name.
    pub name: Arc<str>,
    /// As configured.
    pub config: Arc<route::VirtualHost>,
    /// Changes to requests.
    pub request_headers: HeaderMutations,
    /// Changes to responses.
    pub response_headers: HeaderMutations,
    /// Per-filter configuration.
    pub per_filter: PerFilterLevel,
    /// In the order of the configuration.
    pub(super) routes: Vec<Arc<RouteEntry>>,
    /// By route, apart from the rest of it so that matching touches little memory.
    conditions: Vec<Conditions>,
    index: PathIndex,
}

/// What the index leaves open about a route.
#[derive(Debug)]
struct Conditions {
    regex: Option<Box<PathCondition>>,
    other: Option<Box<OtherConditions>>,
}

/// A compiled route.
#[derive(Debug)]
pub struct RouteEntry {
    /// Its name; none if it is empty.
    pub name: Option<Arc<str>>,
    /// As configured.
    pub config: Arc<Route>,
    /// What happens to the request.
    pub action: Action,
    /// Changes to requests.
    pub request_headers: HeaderMutations,
    /// Changes to responses.
    pub response_headers: HeaderMutations,
    /// Per-filter configuration.
    pub per_filter: PerFilterLevel,
}

/// What happens to a request that matches a route.
#[derive(Debug)]
pub enum Action {
    /// It is forwarded.
    Forward(Box<ForwardAction>),
    /// It is answered with a redirect.
    Redirect(Redirect),
    /// It is answered with a fixed response.
    DirectResponse(DirectResponse),
    /// It is answered like one that matches no route.
    NonForwarding,
}

/// How a request is forwarded.
#[derive(Debug)]
pub struct ForwardAction {
    /// As configured: times, priority, hash policy.
    pub config: RouteAction,
    /// To which cluster.
    pub cluster: ClusterChoice,
    /// Change of the path.
    pub path_change: Option<PathChange>,
    /// Change of the authority.
    pub host_change: Option<HostChange>,
    /// Retries: the route's policy, else the virtual host's.
    pub retry_policy: Option<Arc<RetryPolicy>>,
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
        errors: &mut Vec<ConfigError>,
    ) -> VirtualHostEntry {
        let mut index = PathIndex::default();
        let mut routes = Vec::with_capacity(source.routes.len());
        let mut conditions = Vec::with_capacity(source.routes.len());
        let before = before.filter(|before| before.gives_routes_the_same_as(source));
        let known = before.map_or(&[][..], |before| &before.routes);
        let mut known = Reuse::new(known, |entry| Arc::as_ptr(&entry.config));
        for route in &source.routes {
            let path = PathCondition::compile(&route.route_match);
            index.push(routes.len() as RouteIndex, &path, route.route_match.case_sensitive);
            routes.push(match known.find(routes.len(), Arc::as_ptr(route)) {
                Some(same) => Arc::clone(same),
                None => Arc::new(RouteEntry::compile(route, source, path.matched_len(), per_filter, errors)),
            });
            conditions.push(Conditions {
                regex: matches!(path, PathCondition::Regex { .. }).then(|| Box::new(path)),
                other: OtherConditions::compile(&route.route_match),
            });
        }
        VirtualHostEntry {
            name: source.name.as_str().into(),
            config: Arc::clone(source),
            request_headers: super::compile_mutations(&source.request_headers, errors),
            response_headers: super::compile_mutations(&source.response_headers, errors),
            per_filter: per_filter.level(&source.per_filter, errors),
            routes,
            conditions,
            index,
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
            let conditions = &self.conditions[route as usize];
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
        match (&self.config.retry_policy, &other.retry_policy) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        }
    }

    /// The TLS requirement.
    pub(super) fn require_tls(&self) -> TlsRequirement {
        self.config.require_tls
    }
}

impl RouteEntry {
    fn compile(
        source: &Arc<Route>,
        virtual_host: &route::VirtualHost,
        matched_len: Option<usize>,
        per_filter: &mut PerFilterBuilder<'_>,
        errors: &mut Vec<ConfigError>,
    ) -> RouteEntry {
        let action = match &source.action {
            RouteActionKind::Route(action) => Action::Forward(Box::new(ForwardAction {
                config: (**action).clone(),
                cluster: ClusterChoice::compile(&action.cluster, per_filter, errors),
                path_change: action.path_rewrite.as_ref().map(|change| PathChange::new(change, matched_len)),
                host_change: action.host_rewrite.as_ref().map(HostChange::new),
                retry_policy: action.retry_policy.clone().or_else(|| virtual_host.retry_policy.clone()),
            })),
            RouteActionKind::Redirect(redirect) => Action::Redirect(Redirect::new(redirect, matched_len)),
            RouteActionKind::DirectResponse(response) => Action::DirectResponse(DirectResponse {
                status: response.status,
                body: response.body.clone(),
                body_format: response
                    .body_format
                    .as_ref()
                    .and_then(|format| BodyFormat::compile(format).map_err(|error| errors.push(error)).ok()),
            }),
            RouteActionKind::NonForwarding => Action::NonForwarding,
        };
        RouteEntry {
            name: (!source.name.is_empty()).then(|| source.name.as_str().into()),
            config: Arc::clone(source),
            action,
            request_headers: super::compile_mutations(&source.request_headers, errors),
            response_headers: super::compile_mutations(&source.response_headers, errors),
            per_filter: per_filter.level(&source.per_filter, errors),
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
