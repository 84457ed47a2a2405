//! Configurations for a proxy under test: a file of `configs/` or a text of the test's own, with ports
//! replaced so that tests can run side by side.

use std::fs;
use std::path::{Path, PathBuf};

/// Root of the workspace.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A configuration text under construction.
#[derive(Debug, Clone)]
pub struct Config {
    text: String,
}

impl Config {
    /// A text.
    pub fn text(text: impl Into<String>) -> Config {
        Config { text: text.into() }
    }

    /// A file of `configs/`. Ports from 10000 to 10099 (listeners) and 9901 (admin) become 0, so that
    /// the system chooses; ports of origins are replaced with [`Config::port`].
    ///
    /// # Panics
    /// When there is no such file.
    pub fn file(name: &str) -> Config {
        let path = workspace_root().join("configs").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (10000..10100).chain([9901]).fold(Config { text }, |config, port| config.port(port, 0))
    }

    /// Replaces `port_value: from` by `port_value: to`.
    pub fn port(self, from: u16, to: u16) -> Config {
        let key = format!("port_value: {from}");
        let mut out = String::with_capacity(self.text.len());
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find(&key) {
            let (before, after) = rest.split_at(at);
            let after = &after[key.len()..];
            out.push_str(before);
            if after.starts_with(|c: char| c.is_ascii_digit()) {
                out.push_str(&key);
            } else {
                out.push_str(&format!("port_value: {to}"));
            }
            rest = after;
        }
        out.push_str(rest);
        Config { text: out }
    }

    /// Replaces every occurrence of `from`.
    ///
    /// # Panics
    /// When there is none: a test that replaces nothing tests something else than it says.
    pub fn replace(self, from: &str, to: &str) -> Config {
        assert!(self.text.contains(from), "the configuration does not contain {from:?}");
        Config { text: self.text.replace(from, to) }
    }

    /// The YAML.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Indents every line but the first by `spaces`, for putting YAML blocks into one another.
pub fn indent(text: &str, spaces: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(spaces)))
}

/// The type URL prefix of Envoy's HTTP filters.
const HTTP_FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";

/// A bootstrap with an HTTP listener (named `main` unless set), made from the parts a test cares about.
#[derive(Debug, Clone, Default)]
pub struct Http {
    name: String,
    others: Vec<Http>,
    hcm: String,
    virtual_hosts: String,
    route_config: String,
    filters: String,
    clusters: String,
    listener: String,
    chain: String,
    bootstrap: String,
}

impl Http {
    /// Everything to a cluster `origin` at this port of 127.0.0.1.
    pub fn to_origin(port: u16) -> Http {
        Http::routes("- match: {prefix: /}\n  route: {cluster: origin}").cluster("origin", port, "")
    }

    /// One virtual host for all domains with these routes (a YAML list).
    pub fn routes(routes: &str) -> Http {
        Http::default()
            .virtual_hosts(&format!("- name: all\n  domains: ['*']\n  routes:\n  {}", indent(routes, 2)))
    }

    /// A listener of this name without any route yet.
    pub fn named(name: &str) -> Http {
        Http { name: name.into(), ..Http::default() }
    }

    /// The same under another name.
    pub fn rename(mut self, name: &str) -> Http {
        self.name = name.into();
        self
    }

    /// Adds a further listener; its clusters join ours.
    pub fn and(mut self, other: Http) -> Http {
        push_block(&mut self.clusters, &other.clusters);
        self.others.push(other);
        self
    }

    /// Without its clusters, for a listener that shares those of another.
    pub fn without_clusters(mut self) -> Http {
        self.clusters.clear();
        self
    }

    /// Adds virtual hosts (a YAML list).
    pub fn virtual_hosts(mut self, yaml: &str) -> Http {
        push_block(&mut self.virtual_hosts, yaml);
        self
    }

    /// Adds fields of the HTTP connection manager.
    pub fn hcm(mut self, yaml: &str) -> Http {
        push_block(&mut self.hcm, yaml);
        self
    }

    /// Adds fields of the route configuration.
    pub fn route_config(mut self, yaml: &str) -> Http {
        push_block(&mut self.route_config, yaml);
        self
    }

    /// Adds fields of the listener.
    pub fn listener(mut self, yaml: &str) -> Http {
        push_block(&mut self.listener, yaml);
        self
    }

    /// Adds fields of the filter chain.
    pub fn chain(mut self, yaml: &str) -> Http {
        push_block(&mut self.chain, yaml);
        self
    }

    /// Adds top-level fields of the bootstrap.
    pub fn bootstrap(mut self, yaml: &str) -> Http {
        push_block(&mut self.bootstrap, yaml);
        self
    }

    /// Adds an HTTP filter before the router; `message` is e.g. `fault.v3.HTTPFault`, `yaml` its fields.
    pub fn filter(mut self, name: &str, message: &str, yaml: &str) -> Http {
        let text = format!(
            "- name: {name}\n  typed_config:\n    \"@type\": {HTTP_FILTERS}.{message}\n    {}",
            indent(yaml, 4)
        );
        push_block(&mut self.filters, &text);
        self
    }

    /// Marks the filter added last as `disabled`.
    pub fn disabled_last_filter(mut self) -> Http {
        self.filters.push_str("\n  disabled: true");
        self
    }

    /// Adds a STATIC cluster with one endpoint on 127.0.0.1; `yaml` has further fields of the cluster.
    pub fn cluster(self, name: &str, port: u16, yaml: &str) -> Http {
        self.cluster_of(name, &[&format!("socket_address: {{address: 127.0.0.1, port_value: {port}}}")], yaml)
    }

    /// Adds a cluster with these endpoint addresses (each a YAML `Address`).
    pub fn cluster_of(mut self, name: &str, addresses: &[&str], yaml: &str) -> Http {
        let endpoints: String =
            addresses.iter().map(|a| format!("\n    - endpoint: {{address: {{{a}}}}}")).collect();
        let text = format!(
            "- name: {name}\n  {}\n  load_assignment:\n    cluster_name: {name}\n    endpoints:\n    - lb_endpoints:{}",
            indent(yaml, 2),
            endpoints.replace('\n', "\n  ")
        );
        push_block(&mut self.clusters, &text);
        self
    }

    /// The whole YAML.
    pub fn yaml(&self) -> String {
        let listeners: String =
            std::iter::once(self).chain(&self.others).map(Http::listener_yaml).collect::<Vec<_>>().join("\n");
        let clusters = match self.clusters.as_str() {
            "" => String::new(),
            clusters => format!("clusters:\n  {}", indent(clusters, 2)),
        };
        format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
             static_resources:\n  listeners:\n  {listeners}\n  {clusters}\n{bootstrap}\n",
            listeners = indent(&listeners, 2),
            bootstrap = self.bootstrap,
        )
    }

    fn listener_yaml(&self) -> String {
        format!(
            r#"- name: {name}
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
  {listener}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: test
        {hcm}
        route_config:
          name: local
          {route_config}
          virtual_hosts:
          {virtual_hosts}
        http_filters:
        {filters}
        - name: envoy.filters.http.router
          typed_config: {{"@type": {HTTP_FILTERS}.router.v3.Router}}
    {chain}"#,
            name = if self.name.is_empty() { "main" } else { &self.name },
            listener = indent(&self.listener, 2),
            chain = indent(&self.chain, 4),
            hcm = indent(&self.hcm, 8),
            route_config = indent(&self.route_config, 10),
            virtual_hosts = indent(&self.virtual_hosts, 10),
            filters = indent(&self.filters, 8),
        )
    }
}

fn push_block(to: &mut String, yaml: &str) {
    if !to.is_empty() {
        to.push('\n');
    }
    to.push_str(yaml.trim_matches('\n'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_port_numbers_only() {
        let config = Config::text("a: {port_value: 80}\nb: {port_value: 8080}").port(80, 7);
        assert_eq!(config.as_str(), "a: {port_value: 7}\nb: {port_value: 8080}");
    }
}
