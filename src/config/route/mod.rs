//! Route tables (`envoy.config.route.v3.RouteConfiguration`): virtual hosts, their routes, and what
//! happens to requests that match. Matching itself is in `routing`.

mod action;
mod direct_response;
mod redirect;
mod retry_policy;
mod route_match;
mod virtual_host;
mod weighted_cluster;

pub use action::{
    ClusterSpecifier, DEFAULT_ROUTE_TIMEOUT, HashPolicy, HashPolicyKind, HostRewrite, PathRewrite,
    RouteAction, RoutingPriority,
};
pub use direct_response::DirectResponseAction;
pub use redirect::{RedirectAction, RedirectPath};
pub use retry_policy::{RateLimitedBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryPolicy};
pub use route_match::{PathMatch, RouteMatch};
pub use virtual_host::{Route, RouteActionKind, TlsRequirement, VirtualHost};
pub use weighted_cluster::{ClusterWeight, WeightedClusters};

use std::collections::HashSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3 as route;

use super::context::wrapped_or;
use super::{Context, FieldPath, HeaderMutations, PerFilterConfigs};

/// Default of `max_direct_response_body_size_bytes`.
pub const DEFAULT_MAX_DIRECT_RESPONSE_BODY_BYTES: u32 = 4096;

/// A route table.
#[derive(Debug, Clone)]
pub struct RouteConfiguration {
    /// Name; may be empty.
    pub name: String,
    /// Virtual hosts in order. Names are unique; a domain stands in at most one of them.
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    /// Lower-case names of headers to drop from requests of external clients.
    pub internal_only_headers: Vec<String>,
    /// Changes to every request.
    pub request_headers: HeaderMutations,
    /// Changes to every response.
    pub response_headers: HeaderMutations,
    /// Apply header changes from the route table inwards, so that a route's win, instead of outwards.
    pub most_specific_header_mutations_wins: bool,
    /// Match domains without the port of the authority.
    pub ignore_port_in_host_matching: bool,
    /// Match paths without `;parameters`.
    pub ignore_path_parameters_in_path_matching: bool,
    /// Lower-case name of the header that chooses the virtual host instead of the authority; empty for none.
    pub vhost_header: String,
    /// Refuse the table if a route names a cluster that does not exist. Default true for inline tables.
    pub validate_clusters: bool,
    /// Per-filter configuration for all routes.
    pub per_filter: PerFilterConfigs,
    /// Where the table stands.
    pub path: FieldPath,
}

impl RouteConfiguration {
    /// Converts a route table; `validate_clusters` is the default of the field of that name.
    pub fn from_proto(
        proto: &route::RouteConfiguration,
        validate_clusters: bool,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RouteConfiguration {
        let max_body_bytes =
            wrapped_or!(proto.max_direct_response_body_size_bytes, DEFAULT_MAX_DIRECT_RESPONSE_BODY_BYTES);
        let virtual_hosts = proto.virtual_hosts.iter().enumerate().map(|(i, host)| {
            let path = path.element("virtual_hosts", i);
            Arc::new(VirtualHost::from_proto(host, max_body_bytes as usize, &path, context))
        });
        let virtual_hosts: Vec<_> = virtual_hosts.collect();
        check_unique_domains(&proto.name, &virtual_hosts, context);
        let internal_only_headers = proto.internal_only_headers.iter().enumerate();
        RouteConfiguration {
            name: proto.name.clone(),
            virtual_hosts,
            internal_only_headers: internal_only_headers
                .map(|(i, name)| context.header_name(name, &path.element("internal_only_headers", i)))
                .collect(),
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
            most_specific_header_mutations_wins: proto.most_specific_header_mutations_wins,
            ignore_port_in_host_matching: proto.ignore_port_in_host_matching,
            ignore_path_parameters_in_path_matching: proto.ignore_path_parameters_in_path_matching,
            vhost_header: proto.vhost_header.to_ascii_lowercase(),
            validate_clusters: wrapped_or!(proto.validate_clusters, validate_clusters),
            per_filter: PerFilterConfigs::from_proto(&proto.typed_per_filter_config, path, context),
            path: path.clone(),
        }
    }
}

impl RouteConfiguration {
    /// The same table with these virtual hosts, which were converted by themselves.
    pub fn with_virtual_hosts(
        self,
        virtual_hosts: Vec<Arc<VirtualHost>>,
        context: &mut Context<'_>,
    ) -> RouteConfiguration {
        check_unique_domains(&self.name, &virtual_hosts, context);
        RouteConfiguration { virtual_hosts, ..self }
    }
}

/// A domain may stand only once in a route table.
fn check_unique_domains(table: &str, virtual_hosts: &[Arc<VirtualHost>], context: &mut Context<'_>) {
    let mut seen = HashSet::new();
    for host in virtual_hosts {
        for (i, domain) in host.domains.iter().enumerate() {
            if !seen.insert(domain.as_str()) {
                let path = host.path.element("domains", i);
                let message = format!("duplicate entry of domain {domain} in route table {table:?}");
                context.error_with_help(&path, message, "a domain may stand only once in a route table");
            }
        }
    }
}
