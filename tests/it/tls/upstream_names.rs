//! Clusters whose requests decide whom their connections are with: `auto_sni`, `auto_san_validation`.

use super::{server, world};
use ringway_test_support::config::{Http, indent};
use ringway_test_support::tls_config::{upstream, validation};
use ringway_test_support::{Answer, Driver, Origin, Proxy, Request, TlsServer};

on_both_drivers! {
    a_connection_serves_one_name
    the_name_is_what_the_host_is_told
    a_header_says_the_name
    certificates_have_the_name
    without_trust_no_name_is_believed
    names_of_http2_connections
    idle_connections_give_way_to_new_names
    without_tls_nothing_is_asked
}

/// Protocol options that let requests decide, of a cluster that speaks `version`.
fn options(version: &str, fields: &str) -> String {
    format!(
        "typed_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n    \
         \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n    \
         {version}\n    upstream_http_protocol_options: {{{fields}}}"
    )
}

const HTTP1: &str = "explicit_http_config: {http_protocol_options: {}}";

/// A cluster with those options and TLS.
fn cluster(version: &str, fields: &str, tls: &str) -> String {
    format!("{}\n{}", options(version, fields), upstream(tls))
}

fn trusting(more: &str) -> String {
    format!("common_tls_context:\n  {}", indent(&validation("ca", more), 2))
}

fn origin() -> (std::sync::Arc<TlsServer>, Origin) {
    let tls = TlsServer::new(&world().server, &[]);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    (tls, origin)
}

fn status(proxy: &Proxy, path: &str, host: &str) -> u16 {
    Request::get(path).host(host).send(proxy.address()).status()
}

/// What the hellos since the last call asked for.
fn asked(tls: &TlsServer) -> Vec<String> {
    tls.take_hellos().into_iter().map(|hello| hello.server_name.unwrap_or_default()).collect()
}

fn a_connection_serves_one_name(driver: Driver) {
    let (tls, origin) = origin();
    let http = Http::to_origin(0).without_clusters().cluster(
        "origin",
        origin.port(),
        &cluster(HTTP1, "auto_sni: true", "sni: fixed.test"),
    );
    let proxy = server(driver).start(&http.yaml());
    for host in ["a.test", "b.test", "A.Test:8080", "b.test:1", "127.0.0.1", "[::1]:80", "a.test"] {
        assert_eq!(status(&proxy, "/", host), 200, "{host}");
    }
    // A connection for each name, whatever port and case; the two addresses are not asked for.
    assert_eq!(asked(&tls), ["a.test", "b.test", "fixed.test", "fixed.test"]);
    assert_eq!(origin.accepted(), 4);
    proxy.stop();
}

fn the_name_is_what_the_host_is_told(driver: Driver) {
    let (tls, origin) = origin();
    let routes = "- match: {path: /set}\n  route: {cluster: origin, host_rewrite_literal: set.test}\n\
        - match: {path: /header}\n  route: {cluster: origin, host_rewrite_header: x-host}\n\
        - match: {path: /auto}\n  route: {cluster: origin, auto_host_rewrite: true}";
    let address = format!(
        "endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}",
        origin.port()
    );
    let yaml = Http::routes(routes)
        .cluster("origin", origin.port(), &cluster(HTTP1, "auto_sni: true", "auto_host_sni: true"))
        .yaml();
    let named = yaml
        .replace(&address, &address.replace("{address: {socket", "{hostname: host.test, address: {socket"));
    assert_ne!(yaml, named);
    let proxy = server(driver).start(&named);
    assert_eq!(status(&proxy, "/set", "a.test"), 200);
    let request = Request::get("/header").host("a.test").header("x-host", "header.test:99");
    assert_eq!(request.send(proxy.address()).status(), 200);
    // The host is chosen later; as in Envoy its name comes too late for this.
    assert_eq!(status(&proxy, "/auto", "a.test"), 200);
    assert_eq!(asked(&tls), ["set.test", "header.test", "a.test"]);
    proxy.stop();
}

fn a_header_says_the_name(driver: Driver) {
    let (tls, origin) = origin();
    let routes = "- match: {path: /}\n  route: {cluster: origin}\n\
        - match: {path: /added}\n  route: {cluster: origin}\n  \
        request_headers_to_add: [{header: {key: x-sni, value: added.test}}]";
    let options = "auto_sni: true, override_auto_sni_header: X-Sni";
    let http = Http::routes(routes).cluster("origin", origin.port(), &cluster(HTTP1, options, ""));
    let proxy = server(driver).start(&http.yaml());
    let get = |path: &str, values: &[&str]| {
        let request = Request::get(path).host("a.test");
        let request = values.iter().fold(request, |request, value| request.header("x-sni", value));
        assert_eq!(request.send(proxy.address()).status(), 200, "{path} {values:?}");
        asked(&tls)
    };
    assert_eq!(get("/", &[]), ["a.test"]);
    assert_eq!(get("/", &["b.test:1"]), ["b.test"]);
    assert_eq!(get("/", &[""]), [""; 0], "the connection for a.test");
    assert_eq!(get("/", &["c.test", "d.test"]), ["c.test"]);
    assert_eq!(get("/added", &[]), ["added.test"]);
    // No name: nothing is asked for.
    assert_eq!(get("/", &["x!y"]), [""]);
    proxy.stop();
}

fn certificates_have_the_name(driver: Driver) {
    let (tls, origin) = origin();
    let both = "auto_sni: true, auto_san_validation: true, override_auto_sni_header: x-sni";
    let matcher = "match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: 'spiffe://test/other'}}]";
    let http = Http::routes(
        "- match: {path: /both}\n  route: {cluster: both}\n- match: {path: /san}\n  route: {cluster: san}\n\
         - match: {path: /matcher}\n  route: {cluster: matcher}",
    )
    .cluster("both", origin.port(), &cluster(HTTP1, both, &trusting("")))
    .cluster(
        "san",
        origin.port(),
        &cluster(HTTP1, "auto_san_validation: true", &format!("sni: fixed.test\n{}", trusting(""))),
    )
    .cluster("matcher", origin.port(), &cluster(HTTP1, "auto_san_validation: true", &trusting(matcher)));
    let proxy = server(driver).start(&http.yaml());
    // The certificate is for server.test and *.server.test.
    for host in ["server.test", "SERVER.test:1", "a.server.test"] {
        assert_eq!(status(&proxy, "/both", host), 200, "{host}");
    }
    let spiffe = Request::get("/both").host("b.test").header("x-sni", "spiffe://test/server");
    assert_eq!(spiffe.send(proxy.address()).status(), 200);
    for host in ["b.test", "a.b.server.test", "127.0.0.1"] {
        assert_eq!(status(&proxy, "/both", host), 503, "{host}");
    }
    assert_eq!(proxy.stat("cluster.both.ssl.fail_verify_san"), 3);
    assert_eq!(proxy.stat("cluster.both.ssl.handshake"), 3);
    // One that was made for a good name serves no other.
    tls.take_hellos();
    assert_eq!((status(&proxy, "/san", "server.test"), status(&proxy, "/san", "b.test")), (200, 503));
    assert_eq!(asked(&tls), ["fixed.test", "fixed.test"]);
    assert_eq!(proxy.stat("cluster.san.ssl.fail_verify_san"), 1);
    // What the context asks for holds as well.
    assert_eq!(status(&proxy, "/matcher", "server.test"), 503);
    assert_eq!(proxy.stat("cluster.matcher.ssl.fail_verify_san"), 1);
    proxy.stop();
}

fn without_trust_no_name_is_believed(driver: Driver) {
    let (_tls, origin) = origin();
    let http = Http::to_origin(0).without_clusters().cluster(
        "origin",
        origin.port(),
        &cluster(HTTP1, "auto_sni: true, auto_san_validation: true", ""),
    );
    let proxy = server(driver).start(&http.yaml());
    assert_eq!(status(&proxy, "/", "server.test"), 503);
    assert_eq!(origin.request_count(), 0);
    proxy.stop();
}

fn names_of_http2_connections(driver: Driver) {
    let tls = TlsServer::new(&world().server, &["http/1.1"]);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    // The host has the choice, and chooses for each name anew.
    let http = Http::to_origin(0).without_clusters().cluster(
        "origin",
        origin.port(),
        &cluster("auto_config: {}", "auto_sni: true", ""),
    );
    let proxy = server(driver).start(&http.yaml());
    for host in ["a.test", "b.test", "a.test", "b.test"] {
        assert_eq!(status(&proxy, "/", host), 200, "{host}");
    }
    let hellos = tls.take_hellos();
    let seen: Vec<_> =
        hellos.iter().map(|hello| (hello.server_name.as_deref(), hello.protocols.len())).collect();
    assert_eq!(seen, [(Some("a.test"), 2), (Some("b.test"), 2)]);
    proxy.stop();
}

fn idle_connections_give_way_to_new_names(driver: Driver) {
    let (tls, origin) = origin();
    let breakers = "circuit_breakers: {thresholds: [{max_connections: 3}]}";
    let http = Http::to_origin(0).without_clusters().cluster(
        "origin",
        origin.port(),
        &format!("{}\n{breakers}", cluster(HTTP1, "auto_sni: true", "")),
    );
    let proxy = server(driver).start(&http.yaml());
    for i in 0..20 {
        assert_eq!(status(&proxy, "/", &format!("h{i}.test")), 200);
        let active = proxy.stat("cluster.origin.upstream_cx_active");
        assert!(active <= 3, "{active} connections after {i} names");
    }
    assert_eq!(asked(&tls).len(), 20);
    proxy.stop();
}

fn without_tls_nothing_is_asked(driver: Driver) {
    let origin = Origin::echo();
    let http = Http::to_origin(0).without_clusters().cluster(
        "origin",
        origin.port(),
        &options(HTTP1, "auto_sni: true, auto_san_validation: true"),
    );
    let proxy = server(driver).start(&http.yaml());
    for host in ["a.test", "b.test"] {
        assert_eq!(status(&proxy, "/", host), 200);
    }
    assert_eq!(origin.accepted(), 1);
    proxy.stop();
}
