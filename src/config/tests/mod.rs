//! Tests of whole configurations: YAML through `api`, the support tables and the conversion.

mod defaults;
mod dynamic;
mod health;
mod routes;
mod semantics;
mod support;

use std::io;
use std::sync::Arc;

use super::{
    BootstrapConfig, ExternalData, HttpConnectionManager, RouteConfiguration, RouteSpecifier, SUPPORT,
    from_bootstrap,
};
use crate::api::{ConfigError, Inputs, MessageSupport, check_support, load_bootstrap};

/// Filters have tables of their own, above this layer; these stand in for them.
const FILTERS: &[MessageSupport] = &[
    MessageSupport::all("envoy.extensions.filters.http.router.v3.Router"),
    MessageSupport::all("envoy.extensions.filters.http.cors.v3.Cors"),
    MessageSupport::all("envoy.extensions.filters.http.cors.v3.CorsPolicy"),
];

/// A configuration, or the lines `path: message` of what is wrong with it.
fn load(yaml: &str) -> Result<BootstrapConfig, Vec<String>> {
    let inputs = Inputs { config_yaml: Some(yaml), ..Inputs::default() };
    let loaded = load_bootstrap(inputs).map_err(|diagnostics| vec![diagnostics.to_string()])?;
    let tables: Vec<_> = SUPPORT.iter().copied().chain([FILTERS]).collect();
    let report = check_support(&loaded.dynamic, &tables, &loaded.positions);
    let mut errors: Vec<_> =
        report.refused.iter().map(|refused| format!("{}: {}", refused.path, refused.message)).collect();
    match from_bootstrap(&loaded.bootstrap, &read) {
        Ok(config) if errors.is_empty() => Ok(config),
        Ok(_) => Err(errors),
        Err(found) => {
            errors.extend(found.iter().map(ToString::to_string));
            Err(errors)
        }
    }
}

/// The conversion's errors alone.
fn errors(yaml: &str) -> Vec<ConfigError> {
    let inputs = Inputs { config_yaml: Some(yaml), ..Inputs::default() };
    let loaded = load_bootstrap(inputs).expect("fits the schema");
    from_bootstrap(&loaded.bootstrap, &read).expect_err("refused")
}

/// The route table that stands in a connection manager.
fn inline_table(manager: &HttpConnectionManager) -> Arc<RouteConfiguration> {
    match &manager.routes {
        RouteSpecifier::RouteConfig(table) => table.clone(),
        RouteSpecifier::Rds(rds) => panic!("not inline: {rds:?}"),
    }
}

/// The files and variables there are.
fn read(data: ExternalData<'_>) -> io::Result<Vec<u8>> {
    match data {
        ExternalData::File("/body") => Ok(b"from a file".to_vec()),
        ExternalData::Existence("/there") => Ok(Vec::new()),
        ExternalData::Environment("BODY") => Ok(b"from the environment".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

const CLUSTER: &str = "
    - name: backend
      type: STATIC
      load_assignment:
        cluster_name: backend
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}}]}]";

/// A bootstrap around pieces of YAML in flow style, which replace those of a small working one.
#[derive(Default)]
struct Parts<'a> {
    /// Fields of the bootstrap.
    bootstrap: &'a str,
    /// More fields of the listener.
    listener: &'a str,
    /// More fields of the connection manager.
    manager: &'a str,
    /// More fields of the route table.
    table: &'a str,
    /// The list of virtual hosts.
    virtual_hosts: &'a str,
    /// The list of routes of the one virtual host.
    routes: &'a str,
    /// More clusters.
    clusters: &'a str,
}

impl Parts<'_> {
    fn yaml(&self) -> String {
        let routes = match self.routes {
            "" => "[{match: {prefix: /}, route: {cluster: backend}}]",
            routes => routes,
        };
        let virtual_hosts = match self.virtual_hosts {
            "" => format!("[{{name: all, domains: ['*'], routes: {routes}}}]"),
            hosts => hosts.to_owned(),
        };
        format!(
            r#"{bootstrap}
static_resources:
  listeners:
    - name: main
      address: {{socket_address: {{address: 127.0.0.1, port_value: 10000}}}}
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: ingress
                route_config: {{virtual_hosts: {virtual_hosts}, {table}}}
                http_filters: [{{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
{manager}
{listener}
  clusters:{CLUSTER}
{clusters}
"#,
            bootstrap = self.bootstrap,
            table = self.table,
            manager = indent(self.manager, 16),
            listener = indent(self.listener, 6),
            clusters = indent(self.clusters, 4),
        )
    }

    fn load(&self) -> Result<BootstrapConfig, Vec<String>> {
        load(&self.yaml())
    }

    /// The one error of a configuration that must have one.
    fn error(&self) -> String {
        match self.load() {
            Ok(_) => panic!("accepted:\n{}", self.yaml()),
            Err(errors) => {
                assert_eq!(errors.len(), 1, "{errors:#?}");
                errors.into_iter().next().unwrap_or_default()
            }
        }
    }

    fn config(&self) -> BootstrapConfig {
        self.load().unwrap_or_else(|errors| panic!("{errors:#?}\n{}", self.yaml()))
    }
}

fn indent(text: &str, spaces: usize) -> String {
    text.lines().map(|line| format!("{:spaces$}{line}\n", "")).collect()
}
