//! Connections to HTTP/2 origins: one serves many requests; resets, GOAWAY, limits and what clients see of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ringway_test_support::config::Http;
use ringway_test_support::h2::{H2Connection, H2Origin, error_code, setting};
use ringway_test_support::{Connection, Driver, Request, Server, eventually};

use super::{H2_CLUSTER, QUICK, before_http2, before_http2_with};

on_both_drivers! {
    one_connection_serves_many_clients the_origins_stream_limit_opens_connections requests_wait_at_the_limit_of_connections
    too_many_requests_are_refused a_reset_before_the_head_is_503 a_reset_in_the_body_reaches_the_client
    a_client_that_leaves_resets_the_stream_only a_refused_stream_is_retried goaway_moves_later_requests
    goaway_lets_the_present_ones_finish an_origin_that_closes_costs_its_requests_only malformed_responses_are_502
    an_unanswered_ping_ends_the_connection an_early_response_ends_the_upload connections_end_when_idle
    hosts_that_fail_are_ejected
}

/// Answers every complete request with 200.
fn ok_origin() -> H2Origin {
    H2Origin::start(|connection, stream, _| connection.headers(stream, &[(":status", "200")], true))
}

fn one_connection_serves_many_clients(driver: Driver) {
    let origin = H2Origin::echo();
    let proxy = before_http2(driver, origin.port());
    let address = proxy.address();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(move || {
                let mut client = Connection::open(address);
                for _ in 0..10 {
                    let response = Request::post("/", "x").send_on(&mut client).expect("a response");
                    assert_eq!(response.status(), 200);
                }
            });
        }
    });
    assert_eq!((origin.accepted(), origin.requests()), (1, 200));
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_total"), 1);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_total"), 200);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_active"), 0);
    proxy.stop();
}

/// Never answers before it has as many requests as it is told; then all of them.
fn batching_origin(settings: &[(u16, u32)], batch: usize) -> H2Origin {
    let waiting = Arc::new(AtomicUsize::new(0));
    H2Origin::scripted(settings, move |connection, _| {
        let mut open = Vec::new();
        connection.stream.set_read_timeout(Some(std::time::Duration::from_millis(5))).expect("timeout");
        loop {
            match connection.read_frame() {
                Ok(frame) if connection.stream(frame.stream).ended => {
                    let request = connection.streams.remove(&frame.stream).unwrap_or_default();
                    if request.header(":path") == Some("/at-once") {
                        connection.headers(frame.stream, &[(":status", "200")], true);
                        continue;
                    }
                    open.push(frame.stream);
                    waiting.fetch_add(1, Ordering::SeqCst);
                }
                Err(ringway_test_support::ReadError::Closed | ringway_test_support::ReadError::Reset) => {
                    return;
                }
                _ => {}
            }
            if waiting.load(Ordering::SeqCst) >= batch {
                for stream in open.drain(..) {
                    connection.headers(stream, &[(":status", "200")], true);
                }
                connection.flush();
            }
        }
    })
}

fn the_origins_stream_limit_opens_connections(driver: Driver) {
    let origin = batching_origin(&[(setting::MAX_CONCURRENT_STREAMS, 3)], 10);
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    // From now on the limit is known.
    assert_eq!(client.fetch("/at-once").status(), 200);
    let streams: Vec<u32> = (0..10).map(|_| client.get("/")).collect();
    for stream in streams {
        assert_eq!(client.response(stream).status(), 200);
    }
    // Of each new connection it is assumed to be larger until its settings have come.
    assert!((2..=4).contains(&origin.accepted()), "{} connections", origin.accepted());
    proxy.stop();
}

fn requests_wait_at_the_limit_of_connections(driver: Driver) {
    let origin = H2Origin::start_with(&[(setting::MAX_CONCURRENT_STREAMS, 2)], |connection, stream, _| {
        connection.headers(stream, &[(":status", "200")], true);
    });
    let limits = "circuit_breakers: {thresholds: [{max_connections: 1}]}";
    let proxy = before_http2_with(driver, origin.port(), limits);
    let mut client = H2Connection::open(proxy.address());
    let streams: Vec<u32> = (0..50).map(|_| client.get("/")).collect();
    for stream in streams {
        assert_eq!(client.response(stream).status(), 200);
    }
    assert_eq!(origin.accepted(), 1);
    proxy.stop();
}

fn too_many_requests_are_refused(driver: Driver) {
    let origin = batching_origin(&[], 2);
    let limits = "circuit_breakers: {thresholds: [{max_requests: 2}]}";
    let proxy = before_http2_with(driver, origin.port(), limits);
    let mut client = H2Connection::open(proxy.address());
    let first = client.get("/");
    client.flush();
    proxy.await_stat("cluster.origin.upstream_rq_active", 1);
    let streams: Vec<u32> = (0..5).map(|_| client.get("/")).collect();
    let mut statuses: Vec<u16> = streams.iter().map(|stream| client.response(*stream).status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503, 503, 503]);
    assert_eq!(client.response(first).status(), 200);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_pending_overflow"), 4);
    proxy.stop();
}

fn a_reset_before_the_head_is_503(driver: Driver) {
    let origin =
        H2Origin::start(|connection, stream, _| connection.reset(stream, error_code::INTERNAL_ERROR));
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    for _ in 0..5 {
        let response = client.fetch("/");
        assert_eq!(response.status(), 503);
        assert!(response.text().contains("reset reason: remote reset"), "{}", response.text());
    }
    assert_eq!(Request::get("/").send(proxy.address()).status(), 503);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_rx_reset"), 6);
    assert_eq!(proxy.stat("cluster.origin.http2.rx_reset"), 6);
    assert_eq!(origin.accepted(), 1, "a reset stream cost the connection");
    proxy.stop();
}

fn a_reset_in_the_body_reaches_the_client(driver: Driver) {
    let origin = H2Origin::start(|connection, stream, request| {
        connection.headers(stream, &[(":status", "200")], false);
        connection.data(stream, "part", false);
        // What comes together with a reset is dropped, as the response was not begun.
        (0..3).for_each(|_| connection.sync());
        if request.header(":path") == Some("/reset") {
            connection.reset(stream, error_code::CANCEL);
        } else {
            connection.data(stream, "whole", true);
        }
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let response = client.fetch("/reset");
    assert_eq!((response.ended, response.reset.is_some()), (false, true));
    assert_eq!(client.fetch("/").text(), "partwhole", "a sibling suffered");
    // A client of HTTP/1.1 must see that the response is not whole.
    assert!(Request::get("/reset").try_send(proxy.address()).is_err());
    assert_eq!(origin.accepted(), 1);
    proxy.stop();
}

fn a_client_that_leaves_resets_the_stream_only(driver: Driver) {
    let resets = Arc::new(AtomicUsize::new(0));
    let counted = resets.clone();
    let origin = H2Origin::scripted(&[], move |connection, _| {
        while let Ok(frame) = connection.read_frame() {
            let request = connection.stream(frame.stream);
            match (request.reset, request.header(":path")) {
                (Some(code), _) => {
                    assert_eq!(code, error_code::CANCEL);
                    connection.streams.remove(&frame.stream);
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                (None, Some("/answered")) if request.ended => {
                    connection.headers(frame.stream, &[(":status", "200")], true);
                }
                _ => {}
            }
        }
    });
    let proxy = before_http2(driver, origin.port());
    // A stream that is reset, a connection of HTTP/2 that is gone, and one of HTTP/1.1.
    let mut client = H2Connection::open(proxy.address());
    let stream = client.get("/stalled");
    client.flush();
    proxy.await_stat("cluster.origin.upstream_rq_active", 1);
    client.reset(stream, error_code::CANCEL);
    client.flush();
    eventually("a reset", || (resets.load(Ordering::SeqCst) == 1).then_some(()));
    assert_eq!(client.fetch("/answered").status(), 200);
    client.get("/stalled");
    client.flush();
    proxy.await_stat("cluster.origin.upstream_rq_active", 1);
    drop(client);
    eventually("a reset", || (resets.load(Ordering::SeqCst) == 2).then_some(()));
    let mut client = Connection::open(proxy.address());
    client.send(Request::get("/stalled").bytes());
    proxy.await_stat("cluster.origin.upstream_rq_active", 1);
    client.reset();
    eventually("a reset", || (resets.load(Ordering::SeqCst) == 3).then_some(()));
    assert_eq!(Request::get("/answered").send(proxy.address()).status(), 200);
    assert_eq!((origin.accepted(), proxy.stat("cluster.origin.upstream_rq_tx_reset")), (1, 3));
    proxy.stop();
}

fn a_refused_stream_is_retried(driver: Driver) {
    let refusals = AtomicUsize::new(0);
    let origin = H2Origin::start(move |connection, stream, _| {
        if refusals.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            connection.reset(stream, error_code::REFUSED_STREAM);
        } else {
            connection.headers(stream, &[(":status", "200")], true);
        }
    });
    let routes = "- match: {prefix: /}\n  route: {cluster: origin, retry_policy: {retry_on: refused-stream}}";
    let http = Http::routes(routes).hcm(QUICK).cluster("origin", origin.port(), H2_CLUSTER);
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut client = H2Connection::open(proxy.address());
    for _ in 0..10 {
        assert_eq!(client.fetch("/").status(), 200);
    }
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_retry_success"), 10);
    proxy.stop();
}

/// GOAWAY names the first stream: the others were not looked at and go to a new connection.
fn goaway_moves_later_requests(driver: Driver) {
    let origin = H2Origin::scripted(&[], |connection, number| {
        let mut streams = Vec::new();
        while let Ok(frame) = connection.read_frame() {
            if !connection.stream(frame.stream).ended {
                continue;
            }
            connection.streams.remove(&frame.stream);
            streams.push(frame.stream);
            if number > 1 {
                connection.headers(frame.stream, &[(":status", "200"), ("x-connection", "later")], true);
            } else if streams.len() == 5 {
                connection.send_goaway(streams[0], error_code::NO_ERROR);
                connection.headers(streams[0], &[(":status", "200"), ("x-connection", "first")], true);
            }
        }
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let streams: Vec<u32> = (0..5).map(|_| client.get("/")).collect();
    let answers: Vec<_> = streams.iter().map(|stream| client.response(*stream)).collect();
    let seen: Vec<_> = answers.iter().map(|answer| answer.header("x-connection").unwrap_or("none")).collect();
    assert_eq!(seen, ["first", "later", "later", "later", "later"]);
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_close_notify"), 1);
    eventually("the first connection to end", || (origin.open() == 1).then_some(()));
    proxy.stop();
}

fn goaway_lets_the_present_ones_finish(driver: Driver) {
    let origin = H2Origin::scripted(&[], |connection, number| {
        while let Ok(frame) = connection.read_frame() {
            if !connection.stream(frame.stream).ended {
                continue;
            }
            connection.streams.remove(&frame.stream);
            let number = number.to_string();
            if connection.goaway.is_none() {
                connection.send_goaway(0x7fff_ffff, error_code::NO_ERROR);
            }
            connection.headers(frame.stream, &[(":status", "200"), ("x-connection", &*number)], false);
            connection.data(frame.stream, "body", true);
        }
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    for turn in 1..=5 {
        let answer = client.fetch("/");
        let connection = turn.to_string();
        assert_eq!((answer.header("x-connection"), answer.text().as_str()), (Some(&*connection), "body"));
    }
    proxy.stop();
}

fn an_origin_that_closes_costs_its_requests_only(driver: Driver) {
    let origin = H2Origin::scripted(&[], |connection, number| {
        while let Ok(frame) = connection.read_frame() {
            if connection.stream(frame.stream).ended {
                connection.streams.remove(&frame.stream);
                if number == 1 {
                    return;
                }
                connection.headers(frame.stream, &[(":status", "200")], true);
            }
        }
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let stream = client.open(&fields, true);
    assert_eq!(client.response(stream).status(), 503);
    let stream = client.open(&fields, true);
    assert_eq!(client.response(stream).status(), 200);
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_destroy_remote_with_active_rq"), 1);
    proxy.stop();
}

fn malformed_responses_are_502(driver: Driver) {
    let origin = H2Origin::start(|connection, stream, request| match request.header(":path") {
        Some("/no-status") => connection.headers(stream, &[("x", "1")], true),
        Some("/connection") => {
            connection.headers(stream, &[(":status", "200"), ("connection", "close")], true)
        }
        Some("/upper") => connection.headers(stream, &[(":status", "200"), ("X-Upper", "1")], true),
        Some("/length") => {
            connection.headers(stream, &[(":status", "200"), ("content-length", "5")], false);
            connection.data(stream, "abc", true);
        }
        Some("/data") => connection.data(stream, "abc", true),
        _ => connection.headers(stream, &[(":status", "200")], true),
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    for path in ["/no-status", "/connection", "/upper", "/data"] {
        let response = client.fetch(path);
        assert_eq!(response.status(), 502, "{path}: {}", response.text());
        assert_eq!(client.fetch("/").status(), 200, "after {path}");
    }
    let response = client.fetch("/length");
    assert!(response.reset.is_some() || response.status() == 502, "{response:?}");
    assert!(proxy.stat("cluster.origin.http2.rx_messaging_error") >= 3);
    proxy.stop();
}

fn an_unanswered_ping_ends_the_connection(driver: Driver) {
    let origin = H2Origin::scripted(&[], |connection, number| {
        connection.answers = number > 1;
        while let Ok(frame) = connection.read_frame() {
            if number > 1 && connection.stream(frame.stream).ended {
                connection.streams.remove(&frame.stream);
                connection.headers(frame.stream, &[(":status", "200")], true);
            }
        }
    });
    let keepalive = "http2_protocol_options: {connection_keepalive: {interval: 0.1s, timeout: 0.2s}}";
    let cluster = H2_CLUSTER.replace("http2_protocol_options: {}", keepalive);
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin, timeout: 0s}").hcm(QUICK);
    let proxy = Server::ringway(driver).start(&http.cluster("origin", origin.port(), &cluster).yaml());
    let mut client = H2Connection::open(proxy.address());
    assert_eq!(client.fetch("/").status(), 503);
    assert_eq!(proxy.stat("cluster.origin.http2.keepalive_timeout"), 1);
    assert_eq!(client.fetch("/").status(), 200);
    proxy.stop();
}

/// The origin answers in full before it has the request, and resets with NO_ERROR (RFC 9113 section 8.1).
fn an_early_response_ends_the_upload(driver: Driver) {
    let origin = H2Origin::scripted(&[], |connection, _| {
        connection.opens_windows = false;
        while let Ok(frame) = connection.read_frame() {
            if frame.kind == ringway_test_support::h2::kind::HEADERS {
                connection.headers(frame.stream, &[(":status", "413")], true);
                connection.reset(frame.stream, error_code::NO_ERROR);
            }
        }
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    for _ in 0..5 {
        let stream = client.post("/");
        client.data(stream, "part", false);
        let response = client.response(stream);
        assert_eq!((response.status(), response.ended), (413, true));
    }
    assert_eq!(Request::post("/", vec![b'x'; 1_000_000]).send(proxy.address()).status(), 413);
    proxy.stop();
}

fn connections_end_when_idle(driver: Driver) {
    let origin = ok_origin();
    let idle = "common_http_protocol_options: {idle_timeout: 0.2s}\n    explicit_http_config";
    let cluster = H2_CLUSTER.replace("explicit_http_config", idle);
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin}").hcm(QUICK);
    let proxy = Server::ringway(driver).start(&http.cluster("origin", origin.port(), &cluster).yaml());
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    eventually("the connection to end", || (origin.open() == 0).then_some(()));
    proxy.await_stat("cluster.origin.upstream_cx_idle_timeout", 1);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    proxy.stop();
}

/// Answers and resets reach outlier detection as those of HTTP/1 do.
fn hosts_that_fail_are_ejected(driver: Driver) {
    let failures: [fn(&mut H2Connection, u32); 3] = [
        |connection, stream| connection.headers(stream, &[(":status", "500")], true),
        |connection, stream| connection.reset(stream, error_code::INTERNAL_ERROR),
        |connection, _| drop(connection.stream.shutdown(std::net::Shutdown::Both)),
    ];
    for fail in failures {
        let origin = H2Origin::start(move |connection, stream, _| fail(connection, stream));
        let outlier = "outlier_detection: {consecutive_5xx: 3, max_ejection_percent: 100, interval: 0.1s}";
        let proxy = before_http2_with(driver, origin.port(), outlier);
        let mut client = H2Connection::open(proxy.address());
        for _ in 0..3 {
            let stream = client.post("/");
            client.data(stream, "x", true);
            assert!(client.response(stream).status() >= 500);
        }
        proxy.await_stat("cluster.origin.outlier_detection.ejections_enforced_consecutive_5xx", 1);
        proxy.stop();
    }
}
