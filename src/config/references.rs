//! Checks that what routes refer to exists and can serve them; runs after all resources are converted.

use std::collections::HashSet;
use std::sync::Arc;

use super::route::{ClusterSpecifier, RouteActionKind};
use super::{
    Cluster, Context, FieldPath, FilterChain, Listener, NetworkFilter, RouteConfiguration, RouteSpecifier,
};
use crate::api::suggest::did_you_mean;

/// Unknown names for which a known one is suggested: comparing all with all is too dear in a huge file.
const MAX_SUGGESTIONS: usize = 20;

/// Records an error for every route of an inline table with `validate_clusters` that names none of `clusters`, and for
/// every route to a cluster whose connections cannot carry HTTP.
pub fn check_references(listeners: &[Arc<Listener>], clusters: &[Arc<Cluster>], context: &mut Context<'_>) {
    let mut known = Clusters::new(clusters);
    for listener in listeners {
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            check_chain(chain, &mut known, context);
        }
    }
}

/// The same for a table that stands by itself.
pub fn check_route_references(
    table: &RouteConfiguration,
    clusters: &[Arc<Cluster>],
    context: &mut Context<'_>,
) {
    check_table(table, &mut Clusters::new(clusters), context);
}

struct Clusters<'a> {
    names: HashSet<&'a str>,
    /// A pooled connection serves many clients, but its PROXY header tells of one.
    with_proxy_protocol: HashSet<&'a str>,
    /// Whether the table at hand wants its clusters to exist.
    validates: bool,
    in_order: &'a [Arc<Cluster>],
    suggestions: usize,
}

impl<'a> Clusters<'a> {
    fn new(clusters: &'a [Arc<Cluster>]) -> Clusters<'a> {
        let with_header = clusters.iter().filter(|cluster| cluster.proxy_protocol.is_some());
        Clusters {
            names: clusters.iter().map(|cluster| cluster.name.as_str()).collect(),
            with_proxy_protocol: with_header.map(|cluster| cluster.name.as_str()).collect(),
            validates: true,
            in_order: clusters,
            suggestions: 0,
        }
    }

    fn check(&mut self, name: &str, what: &str, path: &FieldPath, context: &mut Context<'_>) {
        if self.with_proxy_protocol.contains(name) {
            let message = format!("{what} '{name}' speaks the PROXY protocol upstream");
            let help =
                "so far only tcp_proxy can use such a cluster: connections for HTTP are shared by clients";
            return context.error_with_help(path, message, help);
        }
        if !self.validates || self.names.contains(name) {
            return;
        }
        let message = format!("unknown {what} '{name}'");
        self.suggestions += 1;
        let help = (self.suggestions <= MAX_SUGGESTIONS)
            .then(|| did_you_mean(name, self.in_order.iter().map(|cluster| cluster.name.as_str())))
            .flatten();
        match help {
            Some(help) => context.error_with_help(path, message, help),
            None => context.error(path, message),
        }
    }
}

fn check_chain(chain: &FilterChain, clusters: &mut Clusters<'_>, context: &mut Context<'_>) {
    for filter in &chain.filters {
        if let NetworkFilter::HttpConnectionManager(manager) = filter
            && let RouteSpecifier::RouteConfig(table) = &manager.routes
        {
            check_table(table, clusters, context);
        }
    }
}

fn check_table(table: &RouteConfiguration, clusters: &mut Clusters<'_>, context: &mut Context<'_>) {
    clusters.validates = table.validate_clusters;
    if !clusters.validates && clusters.with_proxy_protocol.is_empty() {
        return;
    }
    let routes = table.virtual_hosts.iter().flat_map(|host| &host.routes);
    for route in routes {
        let RouteActionKind::Route(action) = &route.action else { continue };
        let path = route.path.field("route");
        match &action.cluster {
            ClusterSpecifier::Cluster(name) => {
                clusters.check(name, "cluster", &path.field("cluster"), context);
            }
            ClusterSpecifier::Weighted(weighted) => {
                let path = path.field("weighted_clusters");
                for (i, cluster) in weighted.clusters.iter().enumerate() {
                    if !cluster.name.is_empty() {
                        let path = path.element("clusters", i).field("name");
                        clusters.check(&cluster.name, "weighted cluster", &path, context);
                    }
                }
            }
            ClusterSpecifier::ClusterHeader(_) => {}
        }
    }
}
