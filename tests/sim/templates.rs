//! What can be pushed: the worlds' configuration in parts, and their next versions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringway::api::Inputs;
use ringway::base::rng::Rng;
use ringway::config::cluster::{Cluster, HealthStatus, LoadAssignment};
use ringway::config::route::{ClusterSpecifier, Route, RouteActionKind};
use ringway::config::{
    Address, BootstrapConfig, ConfigSource, ConfigSourceSpecifier, FieldPath, FileSource, FilterChain,
    HeaderAppendAction, HeaderMutations, HeaderToAdd, HttpConnectionManager, Listener, NetworkFilter, Rds,
    RouteConfiguration, RouteSpecifier,
};
use ringway::server::Configuration;

use super::history::Table;

/// Where the proxy listens; each port has a filter chain of its own.
pub const PORTS: [u16; 2] = [80, 81];
/// All clusters; the last one is only used by some versions of the route table.
pub const CLUSTERS: [&str; 4] = ["origins", "h2_origins", "limited", "spare"];
/// The hosts of `spare`.
pub const SPARE_HOSTS: [&str; 2] = ["10.0.1.6:8000", "10.0.1.7:8000"];

/// The parts.
pub struct Templates {
    /// The process.
    pub bootstrap: BootstrapConfig,
    listener: Listener,
    manager: HttpConnectionManager,
    routes: Arc<RouteConfiguration>,
    clusters: BTreeMap<&'static str, Arc<Cluster>>,
}

impl Templates {
    /// Those of `config.yaml`.
    pub fn load() -> Templates {
        let yaml = include_str!("config.yaml");
        let inputs = Inputs { config_yaml: Some(yaml), ..Inputs::default() };
        let bootstrap = Configuration::load(inputs).unwrap_or_else(|errors| panic!("{errors}")).bootstrap;
        let mut listener = Listener::clone(&bootstrap.listeners[0]);
        let NetworkFilter::HttpConnectionManager(manager) = &listener.filter_chains[0].filters[0] else {
            panic!("a connection manager");
        };
        let RouteSpecifier::RouteConfig(routes) = &manager.routes else { panic!("routes") };
        let (manager, routes) = (HttpConnectionManager::clone(manager), Arc::clone(routes));
        let mut second = listener.addresses[0].clone();
        second.address = Address::Socket("10.0.0.1:81".parse().expect("an address"));
        listener.addresses.push(second);
        let mut clusters = BTreeMap::new();
        for name in CLUSTERS {
            let known = bootstrap.clusters.iter().find(|cluster| cluster.name == name);
            clusters.insert(name, known.cloned().unwrap_or_else(|| spare(&bootstrap.clusters[0])));
        }
        Templates { listener, manager, routes, clusters, bootstrap }
    }

    /// A filter chain for the connections to a port. Its responses name it in the header `server`.
    pub fn chain(&self, port: u16, name: &str) -> Arc<FilterChain> {
        let mut chain = FilterChain::clone(&self.listener.filter_chains[0]);
        name.clone_into(&mut chain.name);
        chain.filter_chain_match.destination_port = Some(port);
        let manager = HttpConnectionManager {
            routes: RouteSpecifier::Rds(Arc::new(rds())),
            server_name: name.to_owned(),
            ..self.manager.clone()
        };
        chain.filters = vec![NetworkFilter::HttpConnectionManager(Arc::new(manager))];
        Arc::new(chain)
    }

    /// The listener with these chains.
    pub fn listener(&self, chains: Vec<Arc<FilterChain>>, buffer_limit_bytes: u32) -> Arc<Listener> {
        Arc::new(Listener {
            filter_chains: chains,
            per_connection_buffer_limit_bytes: buffer_limit_bytes,
            ..self.listener.clone()
        })
    }

    /// A cluster, in one of the versions that do the same.
    pub fn cluster(&self, name: &str, rng: &mut Rng) -> Arc<Cluster> {
        let mut cluster = Cluster::clone(&self.clusters[name]);
        cluster.connect_timeout = Duration::from_millis(1_000 + rng.below(2));
        Arc::new(cluster)
    }

    /// The addresses of all hosts that a cluster can have.
    pub fn hosts(&self, cluster: &str) -> Vec<String> {
        addresses(&self.clusters[cluster].load_assignment, |_| true)
    }

    /// Some of the hosts of a cluster, with some of them out of order and with any weights; and those that may be given
    /// requests.
    pub fn assignment(&self, cluster: &str, rng: &mut Rng) -> (LoadAssignment, Vec<String>) {
        let mut assignment = self.clusters[cluster].load_assignment.clone();
        for group in &mut assignment.localities {
            group.endpoints.retain(|_| rng.below(4) > 0);
            for endpoint in &mut group.endpoints {
                endpoint.load_balancing_weight = 1 + rng.below(5) as u32;
                let is_out_of_order = rng.below(4) == 0;
                endpoint.health_status =
                    if is_out_of_order { HealthStatus::Unhealthy } else { HealthStatus::Healthy };
            }
        }
        let all = addresses(&assignment, |_| true);
        let healthy = addresses(&assignment, |status| status == HealthStatus::Healthy);
        // With fewer than half of them in order, all are used (`healthy_panic_threshold`).
        let serving = if healthy.len() * 2 >= all.len() { healthy } else { all };
        (assignment, serving)
    }

    /// The route table before any push.
    pub fn first_routes(&self) -> Vec<Arc<Route>> {
        self.routes.virtual_hosts[0].routes.clone()
    }

    /// Changes where some of the routes lead, or leaves one out.
    pub fn change_routes(&self, routes: &mut Vec<Arc<Route>>, rng: &mut Rng) {
        *routes = routes
            .iter()
            .map(|route| if rng.below(3) == 0 { redirected(route, rng) } else { Arc::clone(route) })
            .collect();
        // Any other than the last one would be stood in for by another.
        routes.retain(|route| route.name != "/plain");
        if rng.below(8) > 0 {
            let all = self.first_routes();
            routes.push(redirected(all.last().expect("a route"), rng));
        }
    }

    /// A route table; what history has to know of it.
    pub fn table(&self, routes: &[Arc<Route>], version: u64) -> (RouteConfiguration, Table) {
        let mut host = self.routes.virtual_hosts[0].as_ref().clone();
        host.routes = routes.to_vec();
        let adds_version = || HeaderMutations {
            add: vec![HeaderToAdd {
                name: "x-version".to_owned(),
                value: version.to_string(),
                append_action: HeaderAppendAction::AppendIfExistsOrAdd,
                keep_empty_value: false,
                path: FieldPath::root(),
            }],
            remove: Vec::new(),
        };
        let config = RouteConfiguration {
            virtual_hosts: vec![Arc::new(host)],
            request_headers: adds_version(),
            response_headers: adds_version(),
            ..RouteConfiguration::clone(&self.routes)
        };
        let clusters = routes.iter().filter_map(|route| Some((route.name.clone(), cluster_of(route)?)));
        (config, Table { version, clusters: clusters.collect() })
    }
}

/// A cluster like `model`, with hosts of its own.
fn spare(model: &Cluster) -> Arc<Cluster> {
    let mut spare = Cluster { name: "spare".to_owned(), ..model.clone() };
    let endpoints = &mut spare.load_assignment.localities[0].endpoints;
    endpoints.truncate(SPARE_HOSTS.len());
    for (endpoint, address) in endpoints.iter_mut().zip(SPARE_HOSTS) {
        endpoint.address = Address::Socket(address.parse().expect("an address"));
    }
    Arc::new(spare)
}

/// Stands for a source: nothing is read from it.
fn rds() -> Rds {
    let file = FileSource { path: String::new(), watched_directory: None };
    let specifier = ConfigSourceSpecifier::File(file);
    let config_source = ConfigSource { specifier, initial_fetch_timeout: None, path: FieldPath::root() };
    Rds { config_source, route_config_name: "routes".to_owned() }
}

fn addresses(assignment: &LoadAssignment, is_meant: impl Fn(HealthStatus) -> bool) -> Vec<String> {
    let endpoints = assignment.localities.iter().flat_map(|group| &group.endpoints);
    let meant = endpoints.filter(|endpoint| is_meant(endpoint.health_status));
    meant.map(|endpoint| endpoint.address.to_string()).collect()
}

/// The same route to another cluster, or to the same. `limited` stays, because its limits are what its route is for.
fn redirected(route: &Arc<Route>, rng: &mut Rng) -> Arc<Route> {
    let mut route = Route::clone(route);
    let RouteActionKind::Route(action) = &mut route.action else { panic!("a route to a cluster") };
    let choices = match route.name.as_str() {
        "/limited" => ["limited", "limited"],
        "/h2/plain" | "/h2/retry" => ["h2_origins", "spare"],
        _ => ["origins", "spare"],
    };
    action.cluster = ClusterSpecifier::Cluster(choices[rng.below(2) as usize].to_owned());
    Arc::new(route)
}

fn cluster_of(route: &Route) -> Option<String> {
    let RouteActionKind::Route(action) = &route.action else { return None };
    let ClusterSpecifier::Cluster(name) = &action.cluster else { return None };
    Some(name.clone())
}
