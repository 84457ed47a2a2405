//! Configurations of listeners for raw connections, made from the parts a test cares about.

use crate::config::indent;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

/// A bootstrap under construction.
#[derive(Debug, Clone, Default)]
pub struct L4 {
    listeners: Vec<String>,
    clusters: Vec<String>,
    bootstrap: String,
}

impl L4 {
    /// Nothing yet.
    pub fn new() -> L4 {
        L4::default()
    }

    /// One listener named `main` whose connections go to a cluster `origin` at this port of 127.0.0.1.
    pub fn to_origin(port: u16) -> L4 {
        L4::new().listener("main", &chain(&tcp_proxy("cluster: origin"))).cluster("origin", port, "")
    }

    /// Adds a listener on a free port of 127.0.0.1; its statistics have its name. `yaml` has its other fields.
    pub fn listener(mut self, name: &str, yaml: &str) -> L4 {
        self.listeners.push(format!(
            "- name: {name}\n  stat_prefix: {name}\n  \
             address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n  {}",
            indent(yaml.trim_matches('\n'), 2)
        ));
        self
    }

    /// Adds a STATIC cluster with one endpoint on 127.0.0.1; `yaml` has its other fields.
    pub fn cluster(self, name: &str, port: u16, yaml: &str) -> L4 {
        self.cluster_of(name, &[port], yaml)
    }

    /// Adds a STATIC cluster with endpoints on these ports of 127.0.0.1.
    pub fn cluster_of(mut self, name: &str, ports: &[u16], yaml: &str) -> L4 {
        let endpoints: String = ports
            .iter()
            .map(|port| {
                format!("\n    - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}")
            })
            .collect();
        self.clusters.push(format!(
            "- name: {name}\n  {}\n  load_assignment:\n    cluster_name: {name}\n    endpoints:\n    - lb_endpoints:{}",
            indent(yaml.trim_matches('\n'), 2),
            endpoints.replace('\n', "\n  ")
        ));
        self
    }

    /// Adds top-level fields of the bootstrap.
    pub fn bootstrap(mut self, yaml: &str) -> L4 {
        self.bootstrap.push_str(yaml);
        self.bootstrap.push('\n');
        self
    }

    /// The whole YAML.
    pub fn yaml(&self) -> String {
        let clusters = match self.clusters.as_slice() {
            [] => String::new(),
            clusters => format!("clusters:\n  {}", indent(&clusters.join("\n"), 2)),
        };
        format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
             static_resources:\n  listeners:\n  {}\n  {clusters}\n{}",
            indent(&self.listeners.join("\n"), 2),
            self.bootstrap
        )
    }
}

/// `filter_chains` with one chain of these filters (a YAML list).
pub fn chain(filters: &str) -> String {
    format!("filter_chains:\n{}", chain_for("", filters))
}

/// An item of `filter_chains`: the fields of its `filter_chain_match` in flow style (`{destination_port: 1}`),
/// or nothing, and its filters (a YAML list).
pub fn chain_for(criteria: &str, filters: &str) -> String {
    let criteria = match criteria {
        "" => String::new(),
        given => format!("filter_chain_match: {given}\n  "),
    };
    format!("- {criteria}filters:\n  {}", indent(filters.trim_matches('\n'), 2))
}

/// An item of `filters`: `message` is e.g. `echo.v3.Echo`, `yaml` its fields.
pub fn network_filter(message: &str, yaml: &str) -> String {
    item(&format!("filters.network.{message}"), yaml)
}

/// An item of `listener_filters`.
pub fn listener_filter(message: &str, yaml: &str) -> String {
    item(&format!("filters.listener.{message}"), yaml)
}

/// A TCP proxy with these fields; statistics below `tcp.test` unless they say otherwise.
pub fn tcp_proxy(yaml: &str) -> String {
    let stat_prefix = if yaml.contains("stat_prefix:") { "" } else { "stat_prefix: test\n" };
    network_filter("tcp_proxy.v3.TcpProxy", &format!("{stat_prefix}{}", yaml.trim_matches('\n')))
}

/// A filter that answers with a text and closes.
pub fn direct_response(text: &str) -> String {
    network_filter("direct_response.v3.Config", &format!("response: {{inline_string: \"{text}\"}}"))
}

/// The field `access_log` that writes this format to a file of the scratch directory.
pub fn access_log(file: &str, format: &str) -> String {
    format!(
        "access_log:\n- name: file\n  typed_config:\n    \"@type\": {EXTENSIONS}.access_loggers.file.v3.FileAccessLog\n    \
         path: \"{{dir}}/{file}\"\n    log_format: {{text_format_source: {{inline_string: \"{format}\\n\"}}}}"
    )
}

fn item(message: &str, yaml: &str) -> String {
    format!(
        "- name: test\n  typed_config:\n    \"@type\": {EXTENSIONS}.{message}\n    {}",
        indent(yaml.trim_matches('\n'), 4)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_indented_where_they_belong() {
        let yaml = L4::to_origin(5).listener("b", &chain(&network_filter("echo.v3.Echo", ""))).yaml();
        for line in [
            "  - name: main",
            "    filter_chains:\n    - filters:\n      - name: test",
            "          cluster: origin",
            "        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 5}}}",
        ] {
            assert!(yaml.contains(line), "{line} in\n{yaml}");
        }
    }
}
