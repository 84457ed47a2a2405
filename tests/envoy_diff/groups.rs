//! Parts of configurations that several groups share.

use ringway_test_support::config::Http;

use crate::side::Ports;

/// A reason of several rows.
pub const RESENT: &str =
    "a pooled connection that ends before the first byte is replaced once where sending again is safe";

/// Where the further request goes that shows whether a connection was kept.
const PROBE_HOST: &str = "
- name: probe
  domains: [probe.test]
  routes:
  - match: {prefix: /}
    direct_response: {status: 200, body: {inline_string: probe}}
";

/// A listener that closes without the usual second of grace (so that the table runs fast) and that
/// answers the probe.
pub fn listener(name: &str) -> Http {
    Http::named(name).hcm("delayed_close_timeout: 0.02s").virtual_hosts(PROBE_HOST)
}

/// A listener with one virtual host for everything else.
pub fn listener_with_routes(name: &str, routes: &str) -> Http {
    listener(name).virtual_hosts(&format!(
        "- name: all\n  domains: ['*']\n  routes:\n  {}",
        ringway_test_support::config::indent(routes.trim_matches('\n'), 2)
    ))
}

/// Adds the clusters `origin`, `second`, `refused` and `black_hole`.
pub fn with_clusters(http: Http, ports: &Ports) -> Http {
    http.cluster("origin", ports.origin, "")
        .cluster("second", ports.second, "")
        .cluster("refused", ports.refused, "connect_timeout: 1s")
        .cluster("black_hole", ports.black_hole, "connect_timeout: 0.1s")
}
