//! Discovery responses as files: the pieces that tests of dynamic configuration put together.

use crate::config::indent;

const TYPES: &str = "type.googleapis.com/envoy";

/// A response with these resources.
pub fn response(version: &str, resources: &[String]) -> String {
    let list = match resources {
        [] => " []".to_owned(),
        some => some.iter().map(|resource| format!("\n- {}", indent(resource, 2))).collect(),
    };
    format!("version_info: '{version}'\nresources:{list}\n")
}

/// The fields of a config source: a file in the proxy's scratch directory.
pub fn source(file: &str) -> String {
    format!("resource_api_version: V3, path_config_source: {{path: '{{dir}}/{file}'}}")
}

/// A bootstrap whose listeners and clusters come from `lds.yaml` and `cds.yaml`.
pub fn bootstrap() -> String {
    format!(
        "node: {{id: test-node, cluster: test-cluster}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
dynamic_resources:
  lds_config: {{{}}}
  cds_config: {{{}}}
",
        source("lds.yaml"),
        source("cds.yaml")
    )
}

/// A STATIC cluster with one host on 127.0.0.1; `fields` are more fields of it.
pub fn cluster(name: &str, port: u16, fields: &str) -> String {
    format!(
        "\"@type\": {TYPES}.config.cluster.v3.Cluster
name: {name}
{fields}
load_assignment:
  cluster_name: {name}
  endpoints: [{{lb_endpoints: [{}]}}]",
        endpoint(port)
    )
}

/// A cluster whose hosts come from `file`.
pub fn eds_cluster(name: &str, file: &str, fields: &str) -> String {
    format!(
        "\"@type\": {TYPES}.config.cluster.v3.Cluster
name: {name}
type: EDS
{fields}
eds_cluster_config: {{eds_config: {{{}}}}}",
        source(file)
    )
}

/// The hosts of a cluster, on 127.0.0.1.
pub fn load_assignment(cluster: &str, ports: &[u16]) -> String {
    let endpoints: Vec<String> = ports.iter().map(|port| endpoint(*port)).collect();
    format!(
        "\"@type\": {TYPES}.config.endpoint.v3.ClusterLoadAssignment
cluster_name: {cluster}
endpoints: [{{lb_endpoints: [{}]}}]",
        endpoints.join(", ")
    )
}

fn endpoint(port: u16) -> String {
    format!("{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}")
}

/// A route table with one virtual host for all domains; `routes` is a YAML list.
pub fn route_configuration(name: &str, routes: &str) -> String {
    format!("\"@type\": {TYPES}.config.route.v3.RouteConfiguration\n{}", route_table(name, routes))
}

fn route_table(name: &str, routes: &str) -> String {
    format!(
        "name: {name}
virtual_hosts:
- name: all
  domains: ['*']
  routes:
  {}",
        indent(routes, 2)
    )
}

/// A route for everything to a cluster.
pub fn to_cluster(cluster: &str) -> String {
    format!("- match: {{prefix: /}}\n  route: {{cluster: {cluster}}}")
}

/// A route for everything that answers with this text.
pub fn says(text: &str) -> String {
    format!("- match: {{prefix: /}}\n  direct_response: {{status: 200, body: {{inline_string: '{text}'}}}}")
}

/// A listener on 127.0.0.1 with an HTTP connection manager.
#[derive(Debug, Clone)]
pub struct Listener {
    name: String,
    port: u16,
    routes: String,
    fields: String,
    default_chain: String,
}

impl Listener {
    /// With the routes in the listener; `routes` is a YAML list.
    pub fn inline(name: &str, routes: &str) -> Listener {
        let routes = format!("route_config:\n  {}", indent(&route_table("inline", routes), 2));
        Listener { name: name.into(), port: 0, routes, fields: String::new(), default_chain: String::new() }
    }

    /// With the routes in a table of `file`.
    pub fn rds(name: &str, table: &str, file: &str) -> Listener {
        Listener::rds_from(name, table, &source(file))
    }

    /// With the routes in a table of a config source with these fields.
    pub fn rds_from(name: &str, table: &str, source: &str) -> Listener {
        let routes = format!("rds: {{route_config_name: {table}, config_source: {{{source}}}}}");
        Listener { routes, ..Listener::inline(name, &says("")) }
    }

    /// On this port; one that the system chooses unless set.
    pub fn port(self, port: u16) -> Listener {
        Listener { port, ..self }
    }

    /// More fields of the listener.
    pub fn fields(self, fields: &str) -> Listener {
        Listener { fields: fields.into(), ..self }
    }

    /// A default filter chain that answers with this text.
    pub fn default_chain(self, text: &str) -> Listener {
        let routes = format!("route_config:\n  {}", indent(&route_table("default", &says(text)), 2));
        let chain = format!("default_filter_chain:\n  {}", indent(&chain("default", &routes), 2));
        Listener { default_chain: chain, ..self }
    }

    /// As a resource.
    pub fn resource(&self) -> String {
        format!("\"@type\": {TYPES}.config.listener.v3.Listener\n{}", self.yaml())
    }

    /// As an element of `static_resources.listeners`.
    pub fn yaml(&self) -> String {
        format!(
            "name: {}
address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}
{}
{}
filter_chains:
- {}",
            self.name,
            self.port,
            self.fields,
            self.default_chain,
            indent(&chain(&self.name, &self.routes), 2)
        )
    }
}

fn chain(stat_prefix: &str, routes: &str) -> String {
    format!(
        "filters:
- name: http
  typed_config:
    \"@type\": {TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: {stat_prefix}
    {}
    http_filters:
    - name: router
      typed_config: {{\"@type\": {TYPES}.extensions.filters.http.router.v3.Router}}",
        indent(routes, 4)
    )
}
