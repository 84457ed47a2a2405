//! The route table: compiling one, and matching a request against it.

use std::sync::Arc;

use super::cluster_choice::{ClusterChoice, header_name};
use super::domains::{DomainIndex, HostIndex, without_port};
use super::entry::{Action, VirtualHostEntry};
use super::level::Level;
use super::matched::{MatchedRoute, RouteId};
use super::per_filter::{FilterSlot, PerFilterBuilder, PerFilterCompiler};
use super::redirect::forwarded_scheme;
use super::reuse::Reuse;
use super::shared::Shared;
use crate::api::ConfigError;
use crate::config::route::TlsRequirement;
use crate::config::{RouteConfiguration, Runtime};
use crate::http::{HeaderNameBuf, RequestHead, header};

/// A compiled route table. Immutable; shared between threads.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Its name; may be empty.
    pub name: String,
    /// Headers to drop from requests of external clients.
    pub internal_only_headers: Vec<HeaderNameBuf>,
    pub(super) level: Level,
    pub(super) most_specific_header_mutations_wins: bool,
    /// Shared with the tables before and after that have the same ones.
    pub(super) virtual_hosts: Vec<Arc<VirtualHostEntry>>,
    domains: DomainIndex,
    virtual_host_header: Option<HeaderNameBuf>,
    ignore_port: bool,
    ignore_path_parameters: bool,
    filter_names: Vec<Box<str>>,
}

/// What matching needs beside the request.
#[derive(Debug, Clone, Copy)]
pub struct MatchContext<'a> {
    /// Decides about fractions and weights; uniform over `u64`, the same for all of one request.
    pub random: u64,
    /// Overrides of fractions and weights.
    pub runtime: &'a Runtime,
}

/// The outcome of matching.
#[derive(Debug, Clone, Copy)]
pub enum RouteMatch<'a> {
    /// A route takes the request.
    Route(MatchedRoute<'a>),
    /// The virtual host wants TLS: redirect (301) to [`super::write_https_location`].
    RequireTls,
    /// No route, or no virtual host, takes the request (404, `route_not_found`).
    NotFound,
}

impl RouteTable {
    /// Compiles a route table; per-filter configuration is compiled by `per_filter`.
    ///
    /// # Errors
    /// All that is wrong with formats, names, duplicate domains and filter configuration, each with its path.
    pub fn compile(
        config: &RouteConfiguration,
        per_filter: &PerFilterCompiler<'_>,
    ) -> Result<RouteTable, Vec<ConfigError>> {
        RouteTable::compile_after(&RouteTable::default(), config, per_filter)
    }

    /// Likewise; virtual hosts and routes whose configuration is the very one (by address) that `previous` was
    /// compiled from are taken over from it, which is far cheaper.
    ///
    /// # Errors
    /// As [`RouteTable::compile`].
    pub fn compile_after(
        previous: &RouteTable,
        config: &RouteConfiguration,
        per_filter: &PerFilterCompiler<'_>,
    ) -> Result<RouteTable, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut builder = PerFilterBuilder::new(per_filter, &previous.filter_names);
        let mut shared = Shared::default();
        let mut known =
            Reuse::new(&previous.virtual_hosts, |place| Arc::as_ptr(&previous.virtual_hosts[place].config));
        let mut domains = DomainIndex::default();
        let mut virtual_hosts = Vec::with_capacity(config.virtual_hosts.len());
        for (place, source) in config.virtual_hosts.iter().enumerate() {
            for (position, domain) in source.domains.iter().enumerate() {
                if !domains.insert(domain, virtual_hosts.len() as HostIndex) {
                    let path = source.path.element("domains", position);
                    let message = format!(
                        "Only unique values for domains are permitted. Duplicate entry of domain {domain}"
                    );
                    errors.push(ConfigError::new(path.as_str(), message));
                }
            }
            virtual_hosts.push(match known.find(place, Arc::as_ptr(source)) {
                Some(same) => Arc::clone(same),
                None => {
                    let before = previous.virtual_hosts.get(place).map(|host| &**host);
                    Arc::new(VirtualHostEntry::compile(
                        source,
                        before,
                        &mut builder,
                        &mut shared,
                        &mut errors,
                    ))
                }
            });
        }
        let table = RouteTable {
            name: config.name.clone(),
            internal_only_headers: config
                .internal_only_headers
                .iter()
                .map(|name| header_name(name))
                .collect(),
            level: Level::compile(
                &config.request_headers,
                &config.response_headers,
                &config.per_filter,
                &mut builder,
                &mut errors,
            ),
            most_specific_header_mutations_wins: config.most_specific_header_mutations_wins,
            virtual_hosts,
            domains,
            virtual_host_header: (!config.vhost_header.is_empty()).then(|| header_name(&config.vhost_header)),
            ignore_port: config.ignore_port_in_host_matching,
            ignore_path_parameters: config.ignore_path_parameters_in_path_matching,
            filter_names: builder.finish(),
        };
        if errors.is_empty() { Ok(table) } else { Err(errors) }
    }

    /// The route that takes the request.
    #[inline]
    pub fn match_route(&self, head: &RequestHead, cx: &MatchContext<'_>) -> RouteMatch<'_> {
        let Some(host) = self.find_virtual_host(head) else { return RouteMatch::NotFound };
        let virtual_host = &self.virtual_hosts[host as usize];
        if requires_tls(virtual_host.require_tls, head) {
            return RouteMatch::RequireTls;
        }
        let path = head.headers.get(header::PATH);
        let found = if self.ignore_path_parameters
            && let Some(path) = path
            && path.contains(&b';')
        {
            virtual_host.find(head, Some(&without_parameters(path)), cx.runtime, cx.random)
        } else {
            virtual_host.find(head, path, cx.runtime, cx.random)
        };
        let Some(route) = found else { return RouteMatch::NotFound };
        let weighted = match &virtual_host.routes[route as usize].action {
            Action::Forward(action) => match &action.cluster {
                ClusterChoice::Weighted(weighted) => {
                    Some(weighted.choose(&head.headers, cx.runtime, cx.random) as u32)
                }
                _ => None,
            },
            _ => None,
        };
        match self.resolve(RouteId { virtual_host: host, route, weighted }) {
            Some(matched) => RouteMatch::Route(matched),
            None => RouteMatch::NotFound,
        }
    }

    /// A route by the id that matching in this same table gave; so a stream can keep the table and the id
    /// instead of a borrow.
    #[inline]
    pub fn resolve(&self, id: RouteId) -> Option<MatchedRoute<'_>> {
        let virtual_host = self.virtual_hosts.get(id.virtual_host as usize)?;
        let route = virtual_host.routes.get(id.route as usize)?;
        let weighted = match (&route.action, id.weighted) {
            (Action::Forward(action), Some(position)) => match &action.cluster {
                ClusterChoice::Weighted(weighted) => weighted.entries().get(position as usize),
                _ => None,
            },
            _ => None,
        };
        Some(MatchedRoute { id, table: self, virtual_host, route, weighted })
    }

    /// The slot of a filter instance; none if the table says nothing about it.
    pub fn filter_slot(&self, name: &str) -> Option<FilterSlot> {
        self.filter_names.iter().position(|other| &**other == name).map(FilterSlot)
    }

    /// The virtual hosts in order.
    pub fn virtual_hosts(&self) -> &[Arc<VirtualHostEntry>] {
        &self.virtual_hosts
    }

    fn find_virtual_host(&self, head: &RequestHead) -> Option<HostIndex> {
        match &self.virtual_host_header {
            Some(name) => self.domains.find(head.headers.get(name)?),
            None if self.ignore_port => self.domains.find(without_port(head.authority())),
            None => self.domains.find(head.authority()),
        }
    }
}

fn requires_tls(requirement: TlsRequirement, head: &RequestHead) -> bool {
    match requirement {
        TlsRequirement::None => false,
        TlsRequirement::All => forwarded_scheme(head) != b"https",
        TlsRequirement::ExternalOnly => {
            forwarded_scheme(head) != b"https" && head.headers.get(header::X_ENVOY_INTERNAL) != Some(b"true")
        }
    }
}

/// The path without the `;parameters` of its segments.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let (path, query) = path.split_at(memchr::memchr(b'?', path).unwrap_or(path.len()));
    let mut kept = Vec::with_capacity(path.len() + query.len());
    for (position, segment) in path.split(|byte| *byte == b'/').enumerate() {
        if position > 0 {
            kept.push(b'/');
        }
        kept.extend(segment.iter().take_while(|byte| **byte != b';'));
    }
    kept.extend_from_slice(query);
    kept
}
