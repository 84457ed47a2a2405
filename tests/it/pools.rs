//! Upstream connections: reuse, limits, and the race with an origin that closes an idle connection.

use ringway_test_support::config::Http;
use ringway_test_support::{Answer, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually};

on_both_drivers! {
    connections_are_reused an_origin_that_closes_after_each_answer_costs_no_error an_idle_connection_closed_by_the_origin_is_not_used
    a_closed_idle_connection_costs_a_get_nothing connection_close_of_the_origin_is_honoured pending_requests_wait_for_a_connection
    a_cut_response_is_not_reused
}

fn proxy_to(driver: Driver, origin: &Origin) -> Proxy {
    Server::ringway(driver).start(&Http::to_origin(origin.port()).yaml())
}

fn connections_are_reused(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    for _ in 0..20 {
        assert_eq!(Request::post("/", "x").send(proxy.address()).status(), 200);
    }
    assert_eq!((origin.accepted(), proxy.stat("cluster.origin.upstream_cx_total")), (1, 1));
    proxy.stop();
}

/// The origin closes without having said so, right after each answer: the pooled connection may be found
/// closed, or be closed just when it is used.
fn an_origin_that_closes_after_each_answer_costs_no_error(driver: Driver) {
    let origin =
        Origin::start(Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(), Then::Close));
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    for i in 0..300 {
        let response = Request::get("/").send_on(&mut connection).expect("response");
        assert_eq!(response.status(), 200, "request {i}: {}", response.text());
    }
    proxy.stop();
}

fn an_idle_connection_closed_by_the_origin_is_not_used(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    origin.close_connections();
    proxy.await_stat("cluster.origin.upstream_cx_active", 0);
    // Even what must not be sent twice goes through: on a new connection.
    assert_eq!(Request::post("/", "once").send(proxy.address()).status(), 200);
    assert_eq!(origin.accepted(), 2);
    proxy.stop();
}

fn a_closed_idle_connection_costs_a_get_nothing(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    for close in [Then::Close, Then::Reset] {
        assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
        // The request is read and the connection ended without an answer, as by an origin whose idle
        // timeout fires at that moment.
        origin.expect([Answer::Raw(Vec::new(), close)]);
        let response = Request::get("/").send(proxy.address());
        assert_eq!(response.status(), 200, "{close:?}: {}", response.text());
    }
    proxy.stop();
}

fn connection_close_of_the_origin_is_honoured(driver: Driver) {
    let origin =
        Origin::start(Answer::raw("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    let proxy = proxy_to(driver, &origin);
    for _ in 0..5 {
        assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    }
    assert_eq!(origin.accepted(), 5);
    eventually("the connections to end", || (origin.open() == 0).then_some(()));
    proxy.stop();
}

fn pending_requests_wait_for_a_connection(driver: Driver) {
    let origin = Origin::echo();
    let limits = "circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 100}]}";
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin}").cluster(
        "origin",
        origin.port(),
        limits,
    );
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut clients: Vec<Connection> = (0..50).map(|_| Connection::open(proxy.address())).collect();
    for client in &mut clients {
        client.send(Request::post("/", "x".repeat(10_000)).bytes());
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(origin.accepted(), 1);
    proxy.stop();
}

fn a_cut_response_is_not_reused(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    // The client leaves in the midst of the response: the rest must not become the next one's answer. It
    // resets, because an orderly close this soon after the request is a half-close to the proxy, which
    // would wait for the rest.
    origin.expect([Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nstart")]);
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes()).read_head().expect("head");
    connection.reset();
    proxy.await_stat("cluster.origin.upstream_rq_active", 0);
    let echo = Request::get("/next").send(proxy.address()).json();
    assert_eq!((echo["target"].as_str(), echo["connection"].as_u64()), (Some("/next"), Some(2)));
    proxy.stop();
}
