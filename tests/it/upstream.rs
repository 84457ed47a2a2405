//! Clusters whose hosts are absent, unresolvable, or come and go.

use ringway_test_support::config::Http;
use ringway_test_support::origin::RefusedPort;
use ringway_test_support::{Answer, Connection, Driver, Origin, Request, Server, eventually};

on_both_drivers! {
    a_name_that_does_not_resolve_is_503 a_cluster_without_hosts_is_503 an_origin_that_comes_back_is_used
    names_resolve_in_the_wanted_family retries_go_to_another_host least_request_prefers_the_idle_host
}

const ALL: &str = "- match: {prefix: /}\n  route: {cluster: origin}";

fn a_name_that_does_not_resolve_is_503(driver: Driver) {
    let address = "socket_address: {address: no-such-host.invalid, port_value: 80}";
    let http = Http::routes(ALL).cluster_of("origin", &[address], "type: STRICT_DNS");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let response = Request::get("/").send(proxy.address());
    assert_eq!((response.status(), response.text().as_str()), (503, "no healthy upstream"));
    proxy.stop();
}

fn a_cluster_without_hosts_is_503(driver: Driver) {
    let http = Http::routes(ALL);
    let yaml = http.yaml().replace("\n  \n", "\n  clusters:\n  - {name: origin}\n");
    assert!(yaml.contains("{name: origin}"), "{yaml}");
    let proxy = Server::ringway(driver).start(&yaml);
    let response = Request::get("/").send(proxy.address());
    assert_eq!((response.status(), response.text().as_str()), (503, "no healthy upstream"));
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_none_healthy"), 1);
    proxy.stop();
}

fn an_origin_that_comes_back_is_used(driver: Driver) {
    let refused = RefusedPort::take();
    let port = refused.port;
    let proxy = Server::ringway(driver).start(&Http::to_origin(port).yaml());
    let response = Request::get("/").send(proxy.address());
    assert_eq!(response.status(), 503);
    drop(refused);
    let origin = Origin::start_named("origin", &format!("127.0.0.1:{port}"), Answer::Echo);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    drop(origin);
    eventually("the origin to be gone", || {
        (Request::post("/", "x").send(proxy.address()).status() == 503).then_some(())
    });
    proxy.stop();
}

fn names_resolve_in_the_wanted_family(driver: Driver) {
    let origin = Origin::echo();
    let address = format!("socket_address: {{address: localhost, port_value: {}}}", origin.port());
    for (kind, family) in
        [("STRICT_DNS", "V4_ONLY"), ("LOGICAL_DNS", "V4_ONLY"), ("STRICT_DNS", "V4_PREFERRED")]
    {
        let http = Http::routes(ALL).cluster_of(
            "origin",
            &[&address],
            &format!("type: {kind}\ndns_lookup_family: {family}"),
        );
        let proxy = Server::ringway(driver).start(&http.yaml());
        assert_eq!(Request::get("/").send(proxy.address()).status(), 200, "{kind} {family}");
        proxy.stop();
    }
}

fn retries_go_to_another_host(driver: Driver) {
    let good = Origin::echo();
    let refused = RefusedPort::take();
    let routes = "- match: {prefix: /}\n  route: {cluster: origin, retry_policy: {retry_on: connect-failure, num_retries: 3, retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}], host_selection_retry_max_attempts: 5}}";
    let address = |port: u16| format!("socket_address: {{address: 127.0.0.1, port_value: {port}}}");
    let http =
        Http::routes(routes).cluster_of("origin", &[&address(good.port()), &address(refused.port)], "");
    let proxy = Server::ringway(driver).start(&http.yaml());
    for _ in 0..20 {
        assert_eq!(Request::post("/", "x").send(proxy.address()).status(), 200);
    }
    proxy.stop();
}

fn least_request_prefers_the_idle_host(driver: Driver) {
    let busy = Origin::start(Answer::Raw(Vec::new(), ringway_test_support::Then::Stall));
    let idle = Origin::echo();
    let address = |port: u16| format!("socket_address: {{address: 127.0.0.1, port_value: {port}}}");
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin, timeout: 0s}").cluster_of(
        "origin",
        &[&address(busy.port()), &address(idle.port())],
        "lb_policy: LEAST_REQUEST\nleast_request_lb_config: {choice_count: 60}",
    );
    let proxy = Server::ringway(driver).start(&http.yaml());
    // One request gets stuck at the busy host; with sixty draws every other one sees the idle one.
    let mut waiting = Vec::new();
    eventually("a request at the busy host", || {
        let mut connection = Connection::open(proxy.address());
        connection.send(Request::get("/").bytes());
        waiting.push(connection);
        (busy.request_count() > 0).then_some(())
    });
    // Those on their way meanwhile are answered or stuck by then.
    eventually("the idle host to be idle", || {
        let counted = busy.request_count() + idle.request_count();
        (counted == waiting.len()).then_some(())
    });
    let stuck = busy.request_count();
    for _ in 0..50 {
        assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    }
    assert_eq!(busy.request_count(), stuck);
}
