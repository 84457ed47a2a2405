//! Every timeout of the connection manager, of routes and of clusters, each seen to fire and seen not to
//! fire early. Most come from `configs/timeouts.yaml`.

use std::time::{Duration, Instant};

use ringway_test_support::client::End;
use ringway_test_support::config::Http;
use ringway_test_support::origin::BlackHole;
use ringway_test_support::{
    Answer, Config, Connection, Driver, Origin, PATIENCE, Request, Server, Then, eventually,
};

use crate::configs::start;

on_both_drivers! {
    route_timeout
    request_headers_timeout
    request_timeout
    connection_idle_timeout
    connect_timeout
    delayed_close
    max_connection_duration
    stream_idle_timeout
    upstream_idle_timeout
    a_slow_exchange_within_all_timeouts
    per_try_idle_timeout
    max_stream_duration
    route_idle_timeout
}

const FILE: &str = "timeouts.yaml";

fn stall() -> Answer {
    Answer::Raw(Vec::new(), Then::Stall)
}

/// Runs `action` and asserts that it took at least `floor_ms` and not for ever.
#[track_caller]
fn takes<T>(floor_ms: u64, action: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = action();
    let took = began.elapsed();
    // Timers are coarse: a few milliseconds early is no fault.
    assert!(took + Duration::from_millis(10) >= Duration::from_millis(floor_ms), "already after {took:?}");
    assert!(took < PATIENCE, "only after {took:?}");
    result
}

fn route_timeout(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, FILE, &origin);
    origin.expect([stall()]);
    let response = takes(200, || Request::get("/short").send(proxy.address()));
    assert_eq!((response.status(), response.text().as_str()), (504, "upstream request timeout"));
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_timeout"), 1);
    proxy.stop();
}

fn route_idle_timeout(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, FILE, &origin);
    origin.expect([stall()]);
    let response = takes(200, || Request::get("/idle").send(proxy.address()));
    assert_eq!((response.status(), response.text().as_str()), (504, "stream timeout"));
    proxy.stop();
}

fn max_stream_duration(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, FILE, &origin);
    origin.expect([stall()]);
    let response = takes(300, || Request::get("/endless").send(proxy.address()));
    assert_eq!(response.status(), 504);
    proxy.stop();
}

fn request_headers_timeout(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, FILE, &origin);
    let mut connection = Connection::open(proxy.address());
    connection.send("GET / HTTP/1.1\r\nHost:");
    let response = takes(300, || connection.response());
    assert_eq!(response.status(), 408);
    assert!(connection.is_closed_by_peer());
    assert_eq!(proxy.stat("http.timeouts.downstream_rq_header_timeout"), 1);
    proxy.stop();
}

fn request_timeout(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, FILE, &origin);
    let mut connection = Connection::open(proxy.address());
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let response = takes(600, || connection.response());
    assert_eq!(response.status(), 408);
    assert_eq!(proxy.stat("http.timeouts.downstream_rq_timeout"), 1);
    proxy.stop();
}

fn connection_idle_timeout(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, FILE, &origin);
    let mut unused = Connection::open(proxy.address());
    assert_eq!(takes(500, || unused.end(PATIENCE)), End::Closed(Vec::new()));
    let mut used = Connection::open(proxy.address());
    assert_eq!(Request::get("/").send_on(&mut used).expect("response").status(), 200);
    assert_eq!(takes(490, || used.end(PATIENCE)), End::Closed(Vec::new()));
    proxy.await_stat("http.timeouts.downstream_cx_idle_timeout", 2);
    proxy.stop();
}

fn connect_timeout(driver: Driver) {
    let hole = BlackHole::open();
    let config = Config::file(FILE).port(8001, hole.port);
    let proxy = Server::ringway(driver).start(config.as_str());
    let response = takes(250, || Request::get("/").send(proxy.address()));
    assert_eq!(response.status(), 503);
    assert!(response.text().ends_with("reset reason: connection timeout"), "{}", response.text());
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_connect_timeout"), 1);
    proxy.stop();
}

fn delayed_close(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, FILE, &origin);
    let mut connection = Connection::open(proxy.address());
    // The rest of the body is still on its way when the connection is closed; the client must be able to
    // read the whole response.
    connection.send("POST /nowhere HTTP/1.1\r\nHost: a\r\nBad Name: x\r\nContent-Length: 100000\r\n\r\n");
    connection.send(vec![b'x'; 50_000]);
    assert_eq!(connection.response().status(), 400);
    assert!(connection.is_closed_by_peer());
    proxy.stop();
}

fn max_connection_duration(driver: Driver) {
    let origin = Origin::echo();
    let http = Http::to_origin(origin.port())
        .hcm("common_http_protocol_options: {max_connection_duration: 0.3s}\ndrain_timeout: 0.2s");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let end = takes(300, || {
        let mut connection = Connection::open(proxy.address());
        assert_eq!(Request::get("/").send_on(&mut connection).expect("response").status(), 200);
        connection.end(PATIENCE)
    });
    assert!(matches!(end, End::Closed(_)));
    proxy.await_stat("http.test.downstream_cx_max_duration_reached", 1);
    proxy.stop();
}

fn stream_idle_timeout(driver: Driver) {
    let origin =
        Origin::start(Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec(), Then::Stall));
    let http = Http::to_origin(origin.port()).hcm("stream_idle_timeout: 0.2s");
    let proxy = Server::ringway(driver).start(&http.yaml());
    // In the midst of a response: the connection ends, the body is seen to be cut.
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes());
    assert!(takes(200, || connection.read()).is_err());
    // In the midst of a request: 408.
    let mut connection = Connection::open(proxy.address());
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    origin.set_default(Answer::Echo);
    let response = takes(200, || connection.response());
    assert_eq!(response.status(), 408);
    proxy.stop();
}

fn upstream_idle_timeout(driver: Driver) {
    let origin = Origin::echo();
    let options = r#"
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {idle_timeout: 0.2s}
    explicit_http_config: {http_protocol_options: {}}
"#;
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin}").cluster(
        "origin",
        origin.port(),
        options,
    );
    let proxy = Server::ringway(driver).start(&http.yaml());
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    assert_eq!(origin.open(), 1);
    takes(150, || eventually("the pooled connection's end", || (origin.open() == 0).then_some(())));
    proxy.await_stat("cluster.origin.upstream_cx_idle_timeout", 1);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    proxy.stop();
}

/// Nothing fires while both sides make progress, however slow.
fn a_slow_exchange_within_all_timeouts(driver: Driver) {
    let slow = Answer::script(|connection, request| {
        let _ = connection.read_body(request);
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            // The pace of the origin is the point here, not synchronisation.
            std::thread::sleep(Duration::from_millis(50));
            connection.write("x");
        }
        Then::Keep
    });
    let origin = Origin::start(slow);
    let proxy = start(driver, FILE, &origin);
    let response = takes(500, || Request::get("/idle").send(proxy.address()));
    assert_eq!(response.text(), "xxxxxxxxxx");
    proxy.stop();
}

/// It ends an attempt that stays silent, before a response and within one, but no exchange that moves.
fn per_try_idle_timeout(driver: Driver) {
    let trickle = Answer::script(|connection, request| {
        let _ = connection.read_body(request);
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            // The pace of the origin is the point here, not synchronisation.
            std::thread::sleep(Duration::from_millis(100));
            connection.write("x");
        }
        Then::Keep
    });
    let origin = Origin::start(trickle);
    let route = "- match: {prefix: /}\n  route:\n    cluster: origin\n    \
                 retry_policy: {retry_on: retriable-status-codes, per_try_idle_timeout: 0.6s}";
    let proxy =
        Server::ringway(driver).start(&Http::routes(route).cluster("origin", origin.port(), "").yaml());
    let response = takes(1_000, || Request::get("/").send(proxy.address()));
    assert_eq!(response.text(), "xxxxxxxxxx");
    origin.expect([stall()]);
    let response = takes(600, || Request::get("/").send(proxy.address()));
    assert_eq!((response.status(), response.text().as_str()), (504, "upstream request timeout"));
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_per_try_idle_timeout"), 1);
    proxy.stop();
}
