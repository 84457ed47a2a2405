//! Active health checks of clusters with TLS: over the cluster's own transport socket, with its trust and certificate.

use super::{server, world};
use ringway_test_support::config::{Http, indent};
use ringway_test_support::tls_config::{common, upstream, validation};
use ringway_test_support::{Answer, Driver, Origin, Proxy, Request, TlsServer, TlsVersion, eventually};

on_both_drivers! {
    checks_use_the_clusters_tls
    a_host_that_is_not_trusted_is_unhealthy
    our_certificate_is_shown_to_checks
    other_protocols_are_offered_for_checks
    a_connection_is_kept_for_the_next_check
    large_answers_are_read
    tcp_checks_need_a_handshake
}

const OFTEN: &str =
    "timeout: 5s, interval: 0.02s, no_traffic_interval: 0.02s, unhealthy_threshold: 1, healthy_threshold: 1";

fn checked(checker: &str) -> String {
    format!("health_checks: [{{{OFTEN}, {checker}}}]")
}

const HTTP: &str = "http_health_check: {path: /health}";

fn trusting() -> String {
    format!("common_tls_context:\n  {}", indent(&validation("ca", ""), 2))
}

fn before(driver: Driver, origin: &Origin, tls: &str, checker: &str) -> Proxy {
    let http = Http::to_origin(0).without_clusters().cluster(
        "origin",
        origin.port(),
        &format!("{}\n{}", upstream(tls), checked(checker)),
    );
    server(driver).start(&http.yaml())
}

fn await_at_least(proxy: &Proxy, name: &str, least: u64) {
    let name = format!("cluster.origin.{name}");
    eventually(&name, || (proxy.stat(&name) >= least).then_some(()));
}

fn checks_use_the_clusters_tls(driver: Driver) {
    let tls = TlsServer::new(&world().server, &[]);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    let proxy = before(driver, &origin, &format!("sni: check.test\n{}", trusting()), HTTP);
    await_at_least(&proxy, "health_check.success", 3);
    assert_eq!(proxy.stat("cluster.origin.health_check.failure"), 0);
    assert_eq!(tls.take_hellos()[0].server_name.as_deref(), Some("check.test"));
    assert!(origin.take_requests().iter().all(|request| request.target() == "/health"));
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    // One for the checks, one for the request.
    assert_eq!(proxy.stat("cluster.origin.ssl.handshake"), 2);
    proxy.stop();
}

fn a_host_that_is_not_trusted_is_unhealthy(driver: Driver) {
    let origin = Origin::start_tls(&TlsServer::new(&world().stranger, &[]), Answer::Echo);
    let proxy = before(driver, &origin, &trusting(), HTTP);
    await_at_least(&proxy, "health_check.network_failure", 3);
    await_at_least(&proxy, "ssl.fail_verify_error", 3);
    assert_eq!(proxy.stat("cluster.origin.health_check.success"), 0);
    assert_eq!(proxy.stat("cluster.origin.ssl.handshake"), 0);
    assert_eq!(origin.request_count(), 0, "nothing is said to a stranger");
    // No host may serve but in panic: then the request meets the same stranger.
    assert_eq!(Request::get("/").send(proxy.address()).status(), 503);
    proxy.stop();
}

fn our_certificate_is_shown_to_checks(driver: Driver) {
    let tls = TlsServer::mutual(&world().server, &[], &world().ca);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    let proxy = before(driver, &origin, &common("client", ""), HTTP);
    await_at_least(&proxy, "health_check.success", 2);
    assert!(tls.take_handshakes().iter().all(|handshake| handshake.has_certificate));
    proxy.stop();
    let proxy = before(driver, &origin, &common("stranger", ""), HTTP);
    await_at_least(&proxy, "health_check.network_failure", 2);
    assert_eq!(proxy.stat("cluster.origin.health_check.success"), 0);
    proxy.stop();
}

fn other_protocols_are_offered_for_checks(driver: Driver) {
    let tls = TlsServer::new(&world().server, &[]);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    let own = "common_tls_context: {alpn_protocols: [own]}";
    let offered = |checker: &str| {
        let proxy = before(driver, &origin, own, checker);
        await_at_least(&proxy, "health_check.success", 1);
        proxy.stop();
        tls.take_hellos()[0].protocols.clone()
    };
    assert_eq!(offered(HTTP), ["own"]);
    assert_eq!(
        offered(&format!("{HTTP}, tls_options: {{alpn_protocols: [check, http/1.1]}}")),
        ["check", "http/1.1"]
    );
}

fn a_connection_is_kept_for_the_next_check(driver: Driver) {
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let tls = TlsServer::only(&world().server, &[], version);
        let origin = Origin::start_tls(&tls, Answer::Echo);
        let newest = "common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}}";
        // Tickets that come meanwhile do not end it.
        let proxy = before(driver, &origin, newest, HTTP);
        await_at_least(&proxy, "health_check.success", 5);
        assert_eq!(origin.accepted(), 1);
        // One that the host has ended is replaced, its session resumed.
        origin.close_connections();
        let successes = proxy.stat("cluster.origin.health_check.success");
        await_at_least(&proxy, "health_check.success", successes + 3);
        assert!(origin.accepted() > 1);
        await_at_least(&proxy, "ssl.session_reused", 1);
        proxy.stop();
        let each = format!("reuse_connection: false, {HTTP}");
        let proxy = before(driver, &origin, newest, &each);
        await_at_least(&proxy, "ssl.handshake", 3);
        assert_eq!(proxy.stat("cluster.origin.health_check.failure"), 0);
        proxy.stop();
    }
}

fn large_answers_are_read(driver: Driver) {
    let answer = Answer::status(200, "", &"x".repeat(200_000));
    let origin = Origin::start_tls(&TlsServer::new(&world().server, &[]), answer);
    let proxy = before(driver, &origin, &trusting(), HTTP);
    await_at_least(&proxy, "health_check.success", 3);
    assert_eq!((proxy.stat("cluster.origin.health_check.failure"), origin.accepted()), (0, 1));
    proxy.stop();
}

fn tcp_checks_need_a_handshake(driver: Driver) {
    let good = Origin::start_tls(&TlsServer::new(&world().server, &[]), Answer::Echo);
    let proxy = before(driver, &good, &trusting(), "tcp_health_check: {}");
    await_at_least(&proxy, "health_check.success", 3);
    assert_eq!(proxy.stat("cluster.origin.health_check.failure"), 0);
    proxy.stop();
    let strange = Origin::start_tls(&TlsServer::new(&world().stranger, &[]), Answer::Echo);
    let proxy = before(driver, &strange, &trusting(), "tcp_health_check: {}");
    await_at_least(&proxy, "health_check.network_failure", 2);
    assert_eq!(proxy.stat("cluster.origin.health_check.success"), 0);
    proxy.stop();
    // 'GET ' and '200'.
    let talks = "tcp_health_check: {send: {text: '474554202f20485454502f312e310d0a486f73743a20610d0a0d0a'}, \
        receive: [{text: '323030'}]}";
    let proxy = before(driver, &good, &trusting(), talks);
    await_at_least(&proxy, "health_check.success", 3);
    assert_eq!(proxy.stat("cluster.origin.health_check.failure"), 0);
    proxy.stop();
}
