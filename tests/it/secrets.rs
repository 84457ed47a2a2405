//! Certificates and trust that come from files and change while the proxy serves.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringway_test_support::config::indent;
use ringway_test_support::tls::TrustingClient;
use ringway_test_support::xds::{Listener, bootstrap, cluster, response, says, source, to_cluster};
use ringway_test_support::{Authority, Certificate};
use ringway_test_support::{Driver, Proxy, Request, Server, eventually};

on_both_drivers! {
    new_handshakes_see_the_new_certificate
    a_broken_certificate_is_refused
    files_that_a_secret_refers_to_are_followed
    a_watched_directory_is_swapped
    a_listener_waits_for_its_secret
    a_cluster_follows_whom_it_trusts
    replacements_cost_no_request
    two_listeners_share_a_secret
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// A secret with a certificate that stands in it.
fn inline(name: &str, pair: &Certificate) -> String {
    format!(
        "\"@type\": {TLS}.Secret
name: {name}
tls_certificate:
  certificate_chain: {{inline_string: {:?}}}
  private_key: {{inline_string: {:?}}}",
        pair.chain, pair.key
    )
}

fn sds(version: &str, name: &str, pair: &Certificate) -> String {
    response(version, &[inline(name, pair)])
}

/// A secret with certificates to trust.
fn trust(version: &str, pem: &str) -> String {
    let secret = format!(
        "\"@type\": {TLS}.Secret\nname: trust\nvalidation_context: {{trusted_ca: {{inline_string: {pem:?}}}}}"
    );
    response(version, &[secret])
}

/// A listener with the secret `server` of `sds.yaml`; `more` are fields of the config source.
fn tls_listener(name: &str, text: &str, more: &str) -> String {
    let socket = format!(
        "  transport_socket:
    name: tls
    typed_config:
      \"@type\": {TLS}.DownstreamTlsContext
      common_tls_context:
        tls_certificate_sds_secret_configs:
        - name: server
          sds_config: {{{}{more}}}",
        source("sds.yaml")
    );
    format!("{}\n{socket}", Listener::inline(name, &says(text)).yaml())
}

fn statics(listeners: &[String], clusters: &[String]) -> String {
    let list = |items: &[String]| -> String {
        items.iter().map(|item| format!("\n  - {}", indent(item, 4))).collect()
    };
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:{}
  clusters:{}",
        list(listeners),
        if clusters.is_empty() { " []".to_owned() } else { list(clusters) }
    )
}

fn start(driver: Driver, secrets: &str) -> Proxy {
    let config = statics(&[tls_listener("main", "hello", "")], &[]);
    Server::ringway(driver).file("sds.yaml", secrets).start(&config)
}

fn connect(address: SocketAddr) -> TrustingClient {
    TrustingClient::connect(address, "server.test").expect("a handshake")
}

fn await_version(proxy: &Proxy, version: &str) {
    proxy.await_text("sds.server.version_text", version);
}

/// What openssl sees of the certificate.
fn seen_by_openssl(address: SocketAddr) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-showcerts", "-servername", "server.test", "-connect", &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    let mut text = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().expect("its output"), &mut text).expect("text");
    child.wait().expect("its end");
    text
}

fn new_handshakes_see_the_new_certificate(driver: Driver) {
    let authority = Authority::new("a");
    let (first, second) = (authority.issue(&["server.test"]), authority.issue(&["server.test"]));
    let proxy = start(driver, &sds("s1", "server", &first));
    let mut before = connect(proxy.address());
    assert_eq!((before.certificate(), before.get("/").expect("an answer")), (first.der(), "hello".into()));
    proxy.put("sds.yaml", &sds("s2", "server", &second));
    await_version(&proxy, "s2");
    assert_eq!(connect(proxy.address()).certificate(), second.der());
    let seen = seen_by_openssl(proxy.address());
    assert!(seen.contains(second.chain.trim()), "{seen}");
    assert_eq!(before.get("/").expect("the old connection goes on"), "hello");
    let updates = "listener.127.0.0.1_0.server_ssl_socket_factory.ssl_context_update_by_sds";
    assert_eq!(proxy.stat(updates), 2);
    assert_eq!(proxy.stat("sds.server.update_success"), 2);
    let dump = proxy.admin_get("/config_dump").text();
    assert!(dump.contains("dynamic_active_secrets") && dump.contains("\"s2\""), "{dump}");
    assert!(!dump.contains("BEGIN PRIVATE KEY"), "{dump}");
    proxy.stop();
}

fn a_broken_certificate_is_refused(driver: Driver) {
    let authority = Authority::new("a");
    let (first, other) = (authority.issue(&["server.test"]), authority.issue(&["server.test"]));
    let proxy = start(driver, &sds("s1", "server", &first));
    let mismatch = Certificate { chain: other.chain.clone(), key: first.key.clone() };
    let broken = [
        sds("s2", "server", &mismatch),
        sds("s3", "server", &Certificate { key: "no key".into(), ..first.clone() }),
        sds("s4", "another", &other),
        response("s5", &[]),
        "version_info: s6\nresources: [{".to_owned(),
    ];
    for (i, secrets) in (1..).zip(&broken) {
        proxy.put("sds.yaml", secrets);
        eventually("the refusal", || {
            let count = |name: &str| proxy.stat(&format!("sds.server.update_{name}"));
            (count("rejected") + count("failure") == i).then_some(())
        });
        assert_eq!(proxy.find_text("sds.server.version_text").as_deref(), Some("s1"));
        let mut client = connect(proxy.address());
        assert_eq!(client.certificate(), first.der());
        assert_eq!(client.get("/").expect("an answer"), "hello");
    }
    assert_eq!(proxy.stat("sds.server.update_rejected"), 4);
    let said = proxy.stderr();
    assert!(said.contains("sds 'server' update rejected, version 's2'"), "{said}");
    assert!(said.contains("Unexpected SDS secret (expecting server): another"), "{said}");
    assert!(!said.contains("PRIVATE KEY"), "{said}");
    proxy.put("sds.yaml", &sds("s7", "server", &other));
    await_version(&proxy, "s7");
    assert_eq!(connect(proxy.address()).certificate(), other.der());
    proxy.stop();
}

/// A secret whose certificate is in files of `directory`.
fn in_files(version: &str, directory: &str, more: &str) -> String {
    let secret = format!(
        "\"@type\": {TLS}.Secret
name: server
tls_certificate:
  certificate_chain: {{filename: '{directory}/tls.crt'}}
  private_key: {{filename: '{directory}/tls.key'}}{more}"
    );
    response(version, &[secret])
}

fn files_that_a_secret_refers_to_are_followed(driver: Driver) {
    let authority = Authority::new("a");
    let (first, second) = (authority.issue(&["server.test"]), authority.issue(&["server.test"]));
    let config = statics(&[tls_listener("main", "hello", "")], &[]);
    let proxy = Server::ringway(driver)
        .file("tls.crt", &first.chain)
        .file("tls.key", &first.key)
        .file("sds.yaml", &in_files("s1", "{dir}", ""))
        .start(&config);
    let mut before = connect(proxy.address());
    assert_eq!(before.certificate(), first.der());
    proxy.put("tls.key", &second.key);
    eventually("the key that does not fit to be refused", || {
        (proxy.stat("sds.server.key_rotation_failed") > 0).then_some(())
    });
    assert_eq!(connect(proxy.address()).certificate(), first.der());
    proxy.put("tls.crt", &second.chain);
    eventually("the new certificate", || {
        (connect(proxy.address()).certificate() == second.der()).then_some(())
    });
    assert_eq!(before.get("/").expect("the old connection goes on"), "hello");
    proxy.stop();
}

fn a_watched_directory_is_swapped(driver: Driver) {
    let authority = Authority::new("a");
    let pairs = [authority.issue(&["server.test"]), authority.issue(&["server.test"])];
    let place = tempfile::tempdir().expect("a directory");
    for (pair, name) in pairs.iter().zip(["v1", "v2"]) {
        let directory = place.path().join(name);
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("tls.crt"), &pair.chain).expect("written");
        fs::write(directory.join("tls.key"), &pair.key).expect("written");
    }
    // As Kubernetes mounts secrets.
    symlink("v1", place.path().join("..data")).expect("a link");
    let root = place.path().display().to_string();
    let secrets =
        in_files("s1", &format!("{root}/..data"), &format!("\n  watched_directory: {{path: '{root}'}}"));
    let proxy = start(driver, &secrets);
    assert_eq!(connect(proxy.address()).certificate(), pairs[0].der());
    symlink("v2", place.path().join("..next")).expect("a link");
    fs::rename(place.path().join("..next"), place.path().join("..data")).expect("moved");
    eventually("the new certificate", || {
        (connect(proxy.address()).certificate() == pairs[1].der()).then_some(())
    });
    assert_eq!(proxy.stat("sds.server.key_rotation_failed"), 0);
    proxy.stop();
}

fn a_listener_waits_for_its_secret(driver: Driver) {
    let pair = Authority::new("a").issue(&["server.test"]);
    let listener = |more: &str| {
        let config = "\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener";
        response("l1", &[format!("{config}\n{}", tls_listener("late", "late", more))])
    };
    let mut proxy = Server::ringway(driver)
        .file("sds.yaml", &sds("s1", "another", &pair))
        .file("lds.yaml", &response("l0", &[]))
        .file("cds.yaml", &response("c1", &[]))
        .start(&bootstrap());
    proxy.put("lds.yaml", &listener(", initial_fetch_timeout: 0s"));
    proxy.await_stat("listener_manager.total_listeners_warming", 1);
    assert!(proxy.admin_get("/init_dump").text().contains("server"));
    assert!(proxy.admin_get("/listeners").text().is_empty());
    proxy.put("sds.yaml", &sds("s2", "server", &pair));
    proxy.await_stat("listener_manager.total_listeners_warming", 0);
    eventually("the listener", || proxy.find_listeners().then_some(()));
    assert_eq!(connect(proxy.address_of("late")).certificate(), pair.der());
    // One that waits for a time only serves without it, and nobody gets through.
    proxy.put("lds.yaml", &response("l2", &[]));
    proxy.await_stat("listener_manager.total_listeners_active", 0);
    proxy.put("sds.yaml", &sds("s3", "another", &pair));
    proxy.put("lds.yaml", &listener(", initial_fetch_timeout: 0.2s"));
    proxy.await_stat("listener_manager.total_listeners_active", 1);
    eventually("the listener", || proxy.find_listeners().then_some(()));
    assert!(TrustingClient::connect(proxy.address_of("late"), "server.test").is_err());
    let prefix = "listener.127.0.0.1_0.server_ssl_socket_factory";
    assert_eq!(proxy.stat(&format!("{prefix}.downstream_context_secrets_not_ready")), 1);
    proxy.stop();
}

fn a_cluster_follows_whom_it_trusts(driver: Driver) {
    let (good, other) = (Authority::new("good"), Authority::new("other"));
    let pair = good.issue(&["server.test"]);
    let origin = start(driver, &sds("s1", "server", &pair));
    let socket = format!(
        "typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {{max_requests_per_connection: 1}}
    explicit_http_config: {{http_protocol_options: {{}}}}
transport_socket:
  name: tls
  typed_config:
    \"@type\": {TLS}.UpstreamTlsContext
    sni: server.test
    common_tls_context:
      combined_validation_context:
        default_validation_context: {{match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: server.test}}}}]}}
        validation_context_sds_secret_config: {{name: trust, sds_config: {{{}}}}}",
        source("trust.yaml")
    );
    let to = cluster("behind", origin.address().port(), &socket);
    let to = to.lines().skip(1).collect::<Vec<_>>().join("\n");
    let config = statics(&[Listener::inline("front", &to_cluster("behind")).yaml()], &[to]);
    let proxy = Server::ringway(driver).file("trust.yaml", &trust("t1", good.pem())).start(&config);
    let status = || Request::get("/").send(proxy.address()).status();
    assert_eq!(status(), 200);
    proxy.put("trust.yaml", &trust("t2", "nobody"));
    proxy.await_stat("sds.trust.update_rejected", 1);
    assert_eq!(status(), 200);
    proxy.put("trust.yaml", &trust("t3", other.pem()));
    proxy.await_text("sds.trust.version_text", "t3");
    assert_eq!(status(), 503);
    proxy.put("trust.yaml", &trust("t4", good.pem()));
    proxy.await_text("sds.trust.version_text", "t4");
    assert_eq!(status(), 200);
    assert_eq!(proxy.stat("cluster.behind.client_ssl_socket_factory.ssl_context_update_by_sds"), 3);
    proxy.stop();
    origin.stop();
}

fn replacements_cost_no_request(driver: Driver) {
    let authority = Authority::new("a");
    let proxy = start(driver, &sds("s0", "server", &authority.issue(&["server.test"])));
    let (address, over) = (proxy.address(), AtomicBool::new(false));
    thread::scope(|scope| {
        let kept = scope.spawn(|| {
            let mut client = connect(address);
            let mut requests = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(client.get("/").expect("an answer"), "hello");
                requests += 1;
            }
            requests
        });
        let new = scope.spawn(|| {
            let mut requests = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(connect(address).get("/").expect("an answer"), "hello");
                requests += 1;
            }
            requests
        });
        for version in 1..=20 {
            proxy.put("sds.yaml", &sds(&format!("s{version}"), "server", &authority.issue(&["server.test"])));
            await_version(&proxy, &format!("s{version}"));
        }
        over.store(true, Ordering::Relaxed);
        let (kept, new): (u32, u32) = (kept.join().expect("all served"), new.join().expect("all served"));
        assert!(kept > 0 && new > 0);
    });
    assert_eq!(proxy.stat("sds.server.update_success"), 21);
    assert_eq!(proxy.stat("http.main.downstream_cx_destroy_local"), 0);
    proxy.stop();
}

fn two_listeners_share_a_secret(driver: Driver) {
    let authority = Authority::new("a");
    let (first, second) = (authority.issue(&["server.test"]), authority.issue(&["server.test"]));
    let listeners = [tls_listener("a", "a", ""), tls_listener("b", "b", "")];
    let proxy = Server::ringway(driver)
        .file("sds.yaml", &sds("s1", "server", &first))
        .start(&statics(&listeners, &[]));
    proxy.put("sds.yaml", &sds("s2", "server", &second));
    await_version(&proxy, "s2");
    for name in ["a", "b"] {
        let mut client = connect(proxy.address_of(name));
        assert_eq!((client.certificate(), client.get("/").expect("an answer")), (second.der(), name.into()));
    }
    assert_eq!(proxy.stat("sds.server.update_attempt"), 2, "one subscription for both");
    proxy.stop();
}
