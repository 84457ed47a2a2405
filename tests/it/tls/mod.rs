//! TLS on both sides, with clients and origins of plain rustls and with the programs that people use.

mod downstream;
mod health_checks;
mod hostile;
mod mutual;
mod peers;
mod upstream;
mod upstream_names;
mod upstream_streams;

use std::sync::OnceLock;

use ringway_test_support::config::{Http, indent};
use ringway_test_support::l4_config::L4;
use ringway_test_support::tls_config::{common, downstream, with_files};
use ringway_test_support::{Authority, Certificate, Driver, Leaf, Proxy, Server, TlsClient, eventually};

/// Authorities and certificates, made once.
struct World {
    ca: Authority,
    other_ca: Authority,
    /// For `server.test` and `*.server.test`, with a SPIFFE id.
    server: Certificate,
    /// Whose SPIFFE id is `spiffe://test/client`.
    client: Certificate,
    expired: Certificate,
    /// Of the other authority.
    stranger: Certificate,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (ca, other_ca) = (Authority::new("ca"), Authority::new("other"));
        let client = Leaf::new(&["client.test"]).uri("spiffe://test/client");
        World {
            server: ca.issue_leaf(&Leaf::new(&["server.test", "*.server.test"]).uri("spiffe://test/server")),
            expired: ca.issue_leaf(&client.clone().expired()),
            stranger: other_ca.issue_leaf(&client),
            client: ca.issue_leaf(&client),
            ca,
            other_ca,
        }
    })
}

/// Ringway with the world's certificates in its directory.
fn server(driver: Driver) -> Server {
    let world = world();
    with_files(
        Server::ringway(driver).arg("--file-flush-interval-msec").arg("10"),
        &[("ca", &world.ca), ("other_ca", &world.other_ca)],
        &[
            ("server", &world.server),
            ("client", &world.client),
            ("expired", &world.expired),
            ("stranger", &world.stranger),
        ],
    )
}

/// A client that trusts the world and asks for `server.test`.
fn client() -> TlsClient {
    TlsClient::new(&world().ca, "server.test")
}

/// TLS of a filter chain: the server's certificate, and more fields of `common_tls_context`.
fn server_tls(fields: &str) -> String {
    downstream(&common("server", fields))
}

/// An HTTPS listener before an origin.
fn https_to(port: u16) -> Http {
    Http::to_origin(port).chain(&server_tls("")).listener("stat_prefix: main")
}

/// Listeners for raw connections over TLS: names, fields of `common_tls_context` and of `DownstreamTlsContext`, and
/// the filters.
fn tls_listener(l4: L4, name: &str, common_fields: &str, fields: &str, filters: &str) -> L4 {
    let socket = downstream(&format!("{}\n{fields}", common("server", common_fields)));
    l4.listener(
        name,
        &format!("filter_chains:\n- filters:\n  {}\n  {}", indent(filters, 2), indent(&socket, 2)),
    )
}

/// Waits until no client is connected.
fn await_rest(proxy: &Proxy) {
    eventually("all connections to be over", || {
        let stats = proxy.admin_get("/stats?filter=^listener.*downstream_(pre_)?cx_active").text();
        let is_over = |line: &str| line.starts_with("listener.admin.") || line.ends_with(": 0");
        stats.lines().all(is_over).then_some(())
    });
}
