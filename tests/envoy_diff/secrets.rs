//! The same secrets moved into place under the real Envoy and under Ringway: after each step, which certificate new
//! clients are shown, whether the first client is still served, and what was counted must agree.

use std::net::SocketAddr;

use ringway_test_support::config::indent;
use ringway_test_support::tls::TrustingClient;
use ringway_test_support::xds::{Listener, response, says, source};
use ringway_test_support::{Authority, Certificate};
use ringway_test_support::{Driver, Proxy, Server, eventually};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

const COUNTS: [&str; 6] = [
    "sds.server.update_attempt",
    "sds.server.update_success",
    "sds.server.update_rejected",
    "sds.server.update_failure",
    "sds.server.version",
    "listener.127.0.0.1_0.server_ssl_socket_factory.ssl_context_update_by_sds",
];

/// The certificates; the same for both sides.
struct Pairs {
    one: Certificate,
    two: Certificate,
}

/// One step: what is moved into place.
struct Step {
    name: &'static str,
    file: &'static str,
    text: String,
    /// The statistic that tells that it was seen.
    seen_by: &'static str,
    /// Which certificate new clients are shown then.
    shows: &'static str,
}

fn secret(name: &str, certificate: &str, key: &str) -> String {
    format!(
        "\"@type\": {TLS}.Secret
name: {name}
tls_certificate: {{certificate_chain: {certificate}, private_key: {key}}}"
    )
}

fn inline(name: &str, certificate: &str, key: &str) -> String {
    let text = |pem: &str| format!("{{inline_string: {pem:?}}}");
    secret(name, &text(certificate), &text(key))
}

fn in_files() -> String {
    secret("server", "{filename: '{dir}/tls.crt'}", "{filename: '{dir}/tls.key'}")
}

fn steps(Pairs { one, two }: &Pairs) -> Vec<Step> {
    let update = |name, shows, resources: &[String]| Step {
        name,
        file: "sds.yaml",
        text: response(name, resources),
        seen_by: "sds.server.update_attempt",
        shows,
    };
    let good =
        |name, shows, pair: &Certificate| update(name, shows, &[inline("server", &pair.chain, &pair.key)]);
    vec![
        good("another certificate", "two", two),
        update("a key that does not fit", "two", &[inline("server", &one.chain, &two.key)]),
        update("no certificate", "two", &[inline("server", "none", &two.key)]),
        update("another name", "two", &[inline("another", &one.chain, &one.key)]),
        Step { text: "resources: [".to_owned(), ..good("unreadable", "two", two) },
        good("the first again", "one", one),
        update("in files", "two", &[in_files()]),
        Step {
            name: "a key alone",
            file: "tls.key",
            text: one.key.clone(),
            seen_by: "sds.server.key_rotation_failed",
            shows: "two",
        },
    ]
}

#[test]
fn secrets_from_files() {
    let Some(envoy) = Server::envoy() else {
        eprintln!("\n*** SKIPPED: no `envoy` program here; secrets were not compared.\n");
        return;
    };
    let authority = Authority::new("a");
    let pairs = Pairs { one: authority.issue(&["one.test"]), two: authority.issue(&["two.test"]) };
    let expected = play(envoy, &pairs);
    for driver in [Driver::Ring, Driver::Epoll] {
        let found = play(Server::ringway(driver), &pairs);
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected, found, "Envoy and the {} driver", driver.as_str());
        }
        assert_eq!(expected.len(), found.len());
    }
}

fn play(server: Server, pairs: &Pairs) -> Vec<String> {
    let socket = format!(
        "  transport_socket:
    name: tls
    typed_config:
      \"@type\": {TLS}.DownstreamTlsContext
      common_tls_context:
        tls_certificate_sds_secret_configs: [{{name: server, sds_config: {{{}}}}}]",
        source("sds.yaml")
    );
    let listener = format!("{}\n{socket}", Listener::inline("main", &says("hello")).yaml());
    let config = format!(
        "node: {{id: a, cluster: b}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - {}",
        indent(&listener, 4)
    );
    let first = inline("server", &pairs.one.chain, &pairs.one.key);
    let proxy = server
        .file("sds.yaml", &response("start", &[first]))
        .file("tls.crt", &pairs.two.chain)
        .file("tls.key", &pairs.two.key)
        .start(&config);
    let mut kept = connect(proxy.address());
    let mut seen = vec![format!("start: {}", state(&proxy, pairs, &mut kept))];
    for step in steps(pairs) {
        let before = proxy.stat(step.seen_by);
        proxy.put(step.file, &step.text);
        eventually(&format!("{}: to be seen", step.name), || {
            (proxy.stat(step.seen_by) > before).then_some(())
        });
        // Envoy's workers take a context over a moment after it was counted.
        eventually(&format!("{}: to show {}", step.name, step.shows), || {
            (shown(&proxy, pairs) == step.shows).then_some(())
        });
        seen.push(format!("{}: {}", step.name, state(&proxy, pairs, &mut kept)));
    }
    proxy.stop();
    seen
}

fn connect(address: SocketAddr) -> TrustingClient {
    TrustingClient::connect(address, "one.test").expect("a handshake")
}

/// Which certificate new clients are shown.
fn shown(proxy: &Proxy, pairs: &Pairs) -> &'static str {
    match connect(proxy.address()).certificate() {
        one if one == pairs.one.der() => "one",
        two if two == pairs.two.der() => "two",
        _ => "another",
    }
}

fn state(proxy: &Proxy, pairs: &Pairs, kept: &mut TrustingClient) -> String {
    let answer = kept.get("/").expect("the first client is served");
    let counts = COUNTS.map(|name| proxy.stat(name).to_string()).join("/");
    let version = proxy.find_text("sds.server.version_text");
    // Files are in each side's own directory.
    let certificates = proxy.admin_get("/certs").json().to_string();
    let certificates = certificates.replace(&proxy.directory().display().to_string(), "");
    format!("shows {}, answers {answer}, {counts}, {version:?}, {certificates}", shown(proxy, pairs))
}
