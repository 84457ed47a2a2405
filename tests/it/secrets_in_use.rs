//! What secrets that change mean to sessions and clusters: keys of tickets are rotated, certificates revoked, and a
//! cluster waits for its trust.

use std::io::Read;

use ringway_test_support::config::indent;
use ringway_test_support::xds::{Listener, bootstrap, cluster, response, says, source};
use ringway_test_support::{
    Answer, Authority, Certificate, Driver, Leaf, Origin, Proxy, Request, Server, TlsClient, TlsServer,
    TlsVersion, eventually,
};

on_both_drivers! {
    sessions_outlive_the_rotation_of_ticket_keys
    a_revoked_client_is_refused
    revocation_lists_in_files_are_followed
    a_cluster_waits_for_its_trust
    a_cluster_that_changes_serves_while_its_successor_waits
    a_cluster_waits_no_longer_than_it_is_told
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const VERSIONS: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];

fn secret(version: &str, name: &str, fields: &str) -> String {
    response(version, &[format!("\"@type\": {TLS}.Secret\nname: {name}\n{fields}")])
}

/// A secret `keys` with keys that are made of one letter each; the first one seals.
fn ticket_keys(version: &str, letters: &[&str]) -> String {
    let keys: Vec<_> =
        letters.iter().map(|letter| format!("{{inline_string: {}}}", letter.repeat(80))).collect();
    secret(version, "keys", &format!("session_ticket_keys: {{keys: [{}]}}", keys.join(", ")))
}

/// A secret `trust`: an authority, and whom it has revoked.
fn trust(version: &str, ca: &Authority, revoked: &[&Certificate]) -> String {
    let (pem, list) = (ca.pem(), ca.revoke(revoked));
    let fields = format!(
        "validation_context: {{trusted_ca: {{inline_string: {pem:?}}}, crl: {{inline_string: {list:?}}}}}"
    );
    secret(version, "trust", &fields)
}

/// A static listener `main` that says `hello`, with fields of its `DownstreamTlsContext` and its `common_tls_context`.
fn listener(pair: &Certificate, fields: &str, common: &str) -> String {
    let listener = format!(
        "{}\n  transport_socket:\n    name: tls\n    typed_config:\n      \"@type\": {TLS}.DownstreamTlsContext\n      \
         {fields}\n      common_tls_context:\n        tls_certificates: [{}]\n        {common}",
        Listener::inline("main", &says("hello")).yaml(),
        pair.inline()
    );
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\nstatic_resources:\n  listeners:\n  - {}",
        indent(&listener, 4)
    )
}

/// An answer, and whether an earlier session was resumed for it.
fn visit(client: &TlsClient, proxy: &Proxy) -> std::io::Result<bool> {
    use std::io::Write;
    let mut stream = client.connect(proxy.address())?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.ends_with("hello"), "{answer}");
    Ok(stream.is_resumed())
}

fn sessions_outlive_the_rotation_of_ticket_keys(driver: Driver) {
    let ca = Authority::new("a");
    let fields = format!(
        "disable_stateful_session_resumption: true\n      session_ticket_keys_sds_secret_config: {{name: keys, sds_config: {{{}}}}}",
        source("keys.yaml")
    );
    let config = listener(&ca.issue(&["server.test"]), &fields, "");
    let proxy =
        Server::ringway(driver).file("keys.yaml", &ticket_keys("k1", &["a"])).concurrency(2).start(&config);
    let client = |version| TlsClient::new(&ca, "server.test").only(version).resuming();
    let clients = VERSIONS.map(|version| [client(version), client(version), client(version)]);
    let resumes = |client: &TlsClient| visit(client, &proxy).expect("an answer");
    for [moving, late, lost] in &clients {
        assert_eq!([resumes(moving), resumes(late), resumes(lost)], [false; 3]);
        assert_eq!([resumes(moving), resumes(late), resumes(lost)], [true; 3]);
    }
    proxy.put("keys.yaml", &ticket_keys("k2", &["b", "a"]));
    proxy.await_text("sds.keys.version_text", "k2");
    // The old key still opens; what it gets now is sealed with the new one.
    assert!(clients.iter().all(|[moving, ..]| resumes(moving)));
    proxy.put("keys.yaml", &ticket_keys("k3", &["c", "b"]));
    proxy.await_text("sds.keys.version_text", "k3");
    for [moving, late, _] in &clients {
        assert_eq!([resumes(moving), resumes(late)], [true, false], "a ticket of the key that is gone");
        assert_eq!([resumes(moving), resumes(late)], [true, true], "the new one");
    }
    // Keys that are no keys leave everything as it is.
    proxy.put("keys.yaml", &secret("k4", "keys", "session_ticket_keys: {keys: [{inline_string: short}]}"));
    eventually("the refusal", || (proxy.stat("sds.keys.update_rejected") == 1).then_some(()));
    assert!(clients.iter().all(|[moving, ..]| resumes(moving)));
    proxy.put("keys.yaml", &ticket_keys("k5", &["z"]));
    proxy.await_text("sds.keys.version_text", "k5");
    assert!(clients.iter().flatten().all(|client| !resumes(client)), "all their keys are gone");
    assert_eq!(proxy.stat("listener.127.0.0.1_0.ssl.session_reused"), 2 * 3 + 2 + 2 * 3 + 2);
    proxy.stop();
}

/// A listener that requires certificates which the secret `trust` accepts.
fn mutual(ca: &Authority) -> String {
    let trust = format!(
        "validation_context_sds_secret_config: {{name: trust, sds_config: {{{}}}}}",
        source("trust.yaml")
    );
    listener(&ca.issue(&["server.test"]), "require_client_certificate: true", &trust)
}

fn client_certificate(ca: &Authority, name: &str) -> Certificate {
    ca.issue_leaf(&Leaf::new(&[name]))
}

fn a_revoked_client_is_refused(driver: Driver) {
    let ca = Authority::new("a");
    let (good, bad) = (client_certificate(&ca, "good"), client_certificate(&ca, "bad"));
    let proxy = Server::ringway(driver).file("trust.yaml", &trust("t1", &ca, &[&bad])).start(&mutual(&ca));
    let client = |pair: &Certificate, version| {
        TlsClient::new(&ca, "server.test").certificate(pair).only(version).resuming()
    };
    let refused = "listener.127.0.0.1_0.ssl.fail_verify_error";
    let await_refusal = |count| proxy.await_stat(refused, count);
    let clients = VERSIONS.map(|version| client(&good, version));
    for (client_of_bad, good) in VERSIONS.map(|version| client(&bad, version)).iter().zip(&clients) {
        let before = proxy.stat(refused);
        assert!(visit(client_of_bad, &proxy).is_err());
        await_refusal(before + 1);
        assert!(!visit(good, &proxy).expect("an answer"));
        assert!(visit(good, &proxy).expect("an answer"), "resumed");
    }
    let mut standing = clients[0].open(proxy.address());
    assert_eq!(Request::get("/").send_on(&mut standing).expect("an answer").text(), "hello");
    proxy.put("trust.yaml", &trust("t2", &ca, &[&good]));
    proxy.await_text("sds.trust.version_text", "t2");
    for (client_of_bad, good) in VERSIONS.map(|version| client(&bad, version)).iter().zip(&clients) {
        let before = proxy.stat(refused);
        assert!(visit(good, &proxy).is_err(), "neither anew nor by a session from before");
        await_refusal(before + 1);
        visit(client_of_bad, &proxy).expect("an answer");
    }
    // What stands goes on.
    assert_eq!(Request::get("/").send_on(&mut standing).expect("an answer").text(), "hello");
    drop(standing);
    proxy.put("trust.yaml", &trust("t3", &ca, &[]));
    proxy.await_text("sds.trust.version_text", "t3");
    for pair in [&good, &bad] {
        for version in VERSIONS {
            visit(&client(pair, version), &proxy).expect("an answer");
        }
    }
    proxy.stop();
}

fn revocation_lists_in_files_are_followed(driver: Driver) {
    let ca = Authority::new("a");
    let pair = client_certificate(&ca, "client");
    let in_files = secret(
        "t1",
        "trust",
        "validation_context:\n  trusted_ca: {filename: '{dir}/ca.pem'}\n  crl: {filename: '{dir}/ca.crl'}\n  \
         watched_directory: {path: '{dir}'}",
    );
    let proxy = Server::ringway(driver)
        .file("ca.pem", ca.pem())
        .file("ca.crl", &ca.revoke(&[]))
        .file("trust.yaml", &in_files)
        .start(&mutual(&ca));
    let client = TlsClient::new(&ca, "server.test").certificate(&pair);
    visit(&client, &proxy).expect("an answer");
    proxy.put("ca.crl", &ca.revoke(&[&pair]));
    eventually("the new list", || visit(&client, &proxy).is_err().then_some(()));
    proxy.put("ca.crl", "no list");
    eventually("the refusal", || (proxy.stat("sds.trust.key_rotation_failed") > 0).then_some(()));
    assert!(visit(&client, &proxy).is_err());
    proxy.put("ca.crl", &ca.revoke(&[]));
    eventually("the newest list", || visit(&client, &proxy).is_ok().then_some(()));
    proxy.stop();
}

/// A cluster `behind` with the secret `trust`, found in `trust.yaml`; `more` are fields of the config source.
fn behind(port: u16, more: &str) -> String {
    let socket = format!(
        "transport_socket:
  name: tls
  typed_config:
    \"@type\": {TLS}.UpstreamTlsContext
    sni: server.test
    common_tls_context:
      validation_context_sds_secret_config: {{name: trust, sds_config: {{{}{more}}}}}",
        source("trust.yaml")
    );
    cluster("behind", port, &socket)
}

/// A proxy whose listener leads to `behind`, which is to come.
fn before_cluster(driver: Driver, secrets: &str) -> Proxy {
    // A route that names a cluster has to find it; one that does not may be there before.
    let listener =
        Listener::inline("front", "- match: {prefix: /}\n  route: {cluster_header: x-cluster}").yaml();
    let resource = format!("\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n{listener}");
    let mut proxy = Server::ringway(driver)
        .file("trust.yaml", secrets)
        .file("lds.yaml", &response("l1", &[resource]))
        .file("cds.yaml", &response("c0", &[]))
        .start(&bootstrap());
    eventually("the listener", || proxy.find_listeners().then_some(()));
    proxy
}

fn status(proxy: &Proxy) -> u16 {
    Request::get("/").header("x-cluster", "behind").send(proxy.address_of("front")).status()
}

fn origin(ca: &Authority) -> Origin {
    Origin::start_tls(&TlsServer::new(&ca.issue(&["server.test"]), &[]), Answer::Echo)
}

fn a_cluster_waits_for_its_trust(driver: Driver) {
    let ca = Authority::new("a");
    let origin = origin(&ca);
    let proxy = before_cluster(driver, &secret("t0", "another", "validation_context: {}"));
    proxy.put("cds.yaml", &response("c1", &[behind(origin.port(), ", initial_fetch_timeout: 0s")]));
    proxy.await_stat("cluster_manager.warming_clusters", 1);
    // To requests it is not there.
    assert_eq!((status(&proxy), origin.accepted()), (503, 0));
    proxy.put("trust.yaml", &trust("t1", &ca, &[]));
    proxy.await_stat("cluster_manager.warming_clusters", 0);
    eventually("the cluster", || (status(&proxy) == 200).then_some(()));
    assert_eq!(proxy.stat("cluster.behind.client_ssl_socket_factory.upstream_context_secrets_not_ready"), 0);
    proxy.stop();
}

fn a_cluster_that_changes_serves_while_its_successor_waits(driver: Driver) {
    let ca = Authority::new("a");
    let (plain, origin) = (Origin::echo(), origin(&ca));
    let proxy = before_cluster(driver, &secret("t0", "another", "validation_context: {}"));
    proxy.put("cds.yaml", &response("c1", &[cluster("behind", plain.port(), "")]));
    eventually("the cluster", || (status(&proxy) == 200).then_some(()));
    proxy.put("cds.yaml", &response("c2", &[behind(origin.port(), ", initial_fetch_timeout: 0s")]));
    proxy.await_stat("cluster_manager.warming_clusters", 1);
    let before = plain.request_count();
    assert_eq!((status(&proxy), plain.request_count(), origin.accepted()), (200, before + 1, 0));
    proxy.put("trust.yaml", &trust("t1", &ca, &[]));
    proxy.await_stat("cluster_manager.warming_clusters", 0);
    eventually("the successor", || {
        assert_eq!(status(&proxy), 200);
        (origin.request_count() > 0).then_some(())
    });
    proxy.stop();
}

fn a_cluster_waits_no_longer_than_it_is_told(driver: Driver) {
    let ca = Authority::new("a");
    let origin = origin(&ca);
    let proxy = before_cluster(driver, &secret("t0", "another", "validation_context: {}"));
    proxy.put("cds.yaml", &response("c1", &[behind(origin.port(), ", initial_fetch_timeout: 0.2s")]));
    let not_ready = "cluster.behind.client_ssl_socket_factory.upstream_context_secrets_not_ready";
    eventually("the cluster, without its secret", || {
        assert_eq!(status(&proxy), 503);
        proxy.find_stat(not_ready).filter(|count| *count > 0)
    });
    assert_eq!(origin.request_count(), 0, "nobody is trusted yet");
    proxy.put("trust.yaml", &trust("t1", &ca, &[]));
    eventually("the secret", || (status(&proxy) == 200).then_some(()));
    proxy.stop();
}
