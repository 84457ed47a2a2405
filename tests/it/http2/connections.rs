//! How connections of clients begin, idle and end: GOAWAY both ways, timeouts, draining.

use std::time::Duration;

use ringway_test_support::config::Http;
use ringway_test_support::h2::{Goaway, H2Connection, H2End, error_code, flag, kind};
use ringway_test_support::{Answer, Driver, Origin, Proxy, Request, Server, Then, procfs};

use super::{QUICK, before_http1};

on_both_drivers! {
    an_idle_connection_ends_with_goaway a_connection_ends_after_its_last_request draining_says_goaway_and_serves_on
    a_client_that_says_goaway_is_served an_unanswered_ping_ends_the_connection errors_of_the_connection
    errors_of_streams_leave_the_connection idle_connections_hold_little a_stream_times_out_alone
}

/// The first GOAWAY of an end in peace names no stream yet.
const ANNOUNCED: Goaway = Goaway { last_stream: 0x7fff_ffff, code: error_code::NO_ERROR };

fn with(driver: Driver, port: u16, hcm: &str) -> Proxy {
    Server::ringway(driver).start(&Http::to_origin(port).hcm(QUICK).hcm(hcm).yaml())
}

fn an_idle_connection_ends_with_goaway(driver: Driver) {
    let origin = Origin::echo();
    let proxy = with(driver, origin.port(), "common_http_protocol_options: {idle_timeout: 0.3s}");
    let mut client = H2Connection::open(proxy.address());
    assert_eq!(client.fetch("/").status(), 200);
    client.until("GOAWAY", |endpoint| endpoint.goaway.is_some());
    assert_eq!(client.goaway, Some(ANNOUNCED));
    let end = client.end(ringway_test_support::PATIENCE);
    assert_eq!(end, H2End { goaway: Some(Goaway { last_stream: 1, ..ANNOUNCED }), is_closed: true });
    assert_eq!(proxy.stat("http.test.downstream_cx_idle_timeout"), 1);
    assert_eq!(proxy.stat("http2.goaway_sent"), 2);
    proxy.stop();
}

fn a_connection_ends_after_its_last_request(driver: Driver) {
    let origin = Origin::echo();
    let proxy = with(driver, origin.port(), "common_http_protocol_options: {max_requests_per_connection: 3}");
    let mut client = H2Connection::open(proxy.address());
    let streams: Vec<u32> = (0..3).map(|_| client.get("/")).collect();
    for stream in streams {
        assert_eq!(client.response(stream).status(), 200);
    }
    assert_eq!(client.end_code(), Some(error_code::NO_ERROR));
    assert_eq!(proxy.stat("http.test.downstream_cx_max_requests_reached"), 1);
    proxy.stop();
}

fn draining_says_goaway_and_serves_on(driver: Driver) {
    let origin = Origin::start(Answer::Raw(Vec::new(), Then::Stall));
    let proxy = with(driver, origin.port(), "");
    let mut client = H2Connection::open(proxy.address());
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    origin.expect([Answer::script(|connection, request| {
        let _ = connection.read_body(request);
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        Then::Keep
    })]);
    let stream = client.open(&fields, false);
    client.flush();
    proxy.await_stat("http.test.downstream_rq_active", 1);
    assert_eq!(proxy.admin_post("/drain_listeners?graceful").status(), 200);
    client.until("GOAWAY", |endpoint| endpoint.goaway == Some(ANNOUNCED));
    client.until("the last stream", |endpoint| endpoint.goaway != Some(ANNOUNCED));
    assert_eq!(client.goaway, Some(Goaway { last_stream: 1, ..ANNOUNCED }));
    // The request under way goes on to its end; one that comes now is ignored.
    let late = client.get("/late");
    client.data(stream, "body", true);
    assert_eq!(client.response(stream).text(), "ok");
    assert_eq!(client.end_code(), Some(error_code::NO_ERROR));
    assert_eq!(client.stream(late).status(), 0);
    assert_eq!(origin.request_count(), 1);
    proxy.stop();
}

fn a_client_that_says_goaway_is_served(driver: Driver) {
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let stream = client.get("/");
    client.send_goaway(0, error_code::NO_ERROR);
    assert_eq!(client.response(stream).status(), 200);
    drop(client);
    proxy.await_stat("http.test.downstream_cx_active", 0);
    assert_eq!(proxy.stat("http.test.downstream_cx_destroy_remote"), 1);
    proxy.stop();
}

fn an_unanswered_ping_ends_the_connection(driver: Driver) {
    let origin = Origin::echo();
    let keepalive = "http2_protocol_options: {connection_keepalive: {interval: 0.1s, timeout: 0.3s}}";
    let proxy = with(driver, origin.port(), keepalive);
    let mut dead = H2Connection::open(proxy.address());
    dead.answers = false;
    assert!(dead.end(ringway_test_support::PATIENCE).is_closed);
    assert_eq!(proxy.stat("http2.keepalive_timeout"), 1);
    let mut living = H2Connection::open(proxy.address());
    living.until("pings", |endpoint| endpoint.pings >= 5);
    assert_eq!(living.fetch("/").status(), 200);
    proxy.stop();
}

fn errors_of_the_connection(driver: Driver) {
    use error_code::{COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let mut bystander = H2Connection::open(proxy.address());
    type Wrong = (&'static str, u32, fn(&mut H2Connection));
    let wrongs: [Wrong; 16] = [
        ("DATA on stream 0", PROTOCOL_ERROR, |c| c.frame(kind::DATA, 0, 0, "x")),
        ("DATA on an idle stream", PROTOCOL_ERROR, |c| c.frame(kind::DATA, 0, 9, "x")),
        ("HEADERS on stream 0", PROTOCOL_ERROR, |c| c.frame(kind::HEADERS, 5, 0, "\u{2}")),
        ("HEADERS on an even stream", PROTOCOL_ERROR, |c| {
            c.headers(2, &[(":method", "GET"), (":scheme", "http"), (":path", "/")], true);
        }),
        ("more padding than payload", PROTOCOL_ERROR, |c| {
            c.post("/");
            c.frame(kind::DATA, flag::PADDED, 1, vec![9, 0]);
        }),
        ("a block that cannot be decoded", COMPRESSION_ERROR, |c| {
            c.frame(kind::HEADERS, 5, 1, vec![0xff; 20])
        }),
        ("an index beyond the table", COMPRESSION_ERROR, |c| c.frame(kind::HEADERS, 5, 1, vec![0xfe])),
        ("a frame between HEADERS and CONTINUATION", PROTOCOL_ERROR, |c| {
            c.frame(kind::HEADERS, 1, 1, vec![0x82]);
            c.ping();
        }),
        ("CONTINUATION of nothing", PROTOCOL_ERROR, |c| c.frame(kind::CONTINUATION, 4, 1, vec![0x82])),
        ("RST_STREAM on an idle stream", PROTOCOL_ERROR, |c| c.reset(9, 8)),
        ("a short RST_STREAM", FRAME_SIZE_ERROR, |c| c.frame(kind::RST_STREAM, 0, 1, "abc")),
        ("SETTINGS of five bytes", FRAME_SIZE_ERROR, |c| c.frame(kind::SETTINGS, 0, 0, "abcde")),
        ("a window beyond its limit", FLOW_CONTROL_ERROR, |c| c.settings(&[(4, 0x8000_0000)])),
        ("a PING of nine bytes", FRAME_SIZE_ERROR, |c| c.frame(kind::PING, 0, 0, "123456789")),
        ("no increment", PROTOCOL_ERROR, |c| c.window_update(0, 0)),
        ("a frame of 20,000 bytes", FRAME_SIZE_ERROR, |c| c.frame(kind::PING, 0, 0, vec![0; 20_000])),
    ];
    let count = wrongs.len() as u64;
    for (what, code, send) in wrongs {
        let mut client = H2Connection::open(proxy.address());
        send(&mut client);
        assert_eq!(client.end_code(), Some(code), "{what}");
    }
    assert_eq!(bystander.fetch("/").status(), 200);
    proxy.await_stat("http.test.downstream_cx_protocol_error", count);
    proxy.await_stat("http.test.downstream_cx_active", 1);
    proxy.stop();
}

fn errors_of_streams_leave_the_connection(driver: Driver) {
    let origin = Origin::start(Answer::Raw(Vec::new(), Then::Stall));
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let stream = client.get("/");
    client.window_update(stream, 0);
    assert_eq!(client.response(stream).reset, Some(error_code::PROTOCOL_ERROR));
    let stream = client.get("/");
    client.data(stream, "after the end", false);
    assert_eq!(client.response(stream).reset, Some(error_code::STREAM_CLOSED));
    // A frame of a kind that nobody knows is ignored, and so is a setting.
    client.frame(0x77, 0xff, 1, "anything");
    client.settings(&[(0x7777, 1)]);
    origin.set_default(Answer::Echo);
    assert_eq!(client.fetch("/").status(), 200);
    proxy.stop();
}

fn idle_connections_hold_little(driver: Driver) {
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let address = proxy.address();
    let connect = |count: usize| -> Vec<H2Connection> {
        (0..count)
            .map(|_| {
                let mut client = H2Connection::open(address);
                let stream = client.upload("/", &[b'x'; 50_000]);
                assert_eq!(client.response(stream).status(), 200);
                client
            })
            .collect()
    };
    let first = connect(50);
    let before = procfs::rss_bytes(proxy.pid());
    let more = connect(300);
    let growth = procfs::rss_bytes(proxy.pid()).saturating_sub(before);
    // 4 KiB of state, tables of what was sent and received, the kernel's share not counted.
    assert!(growth < 300 * 24 * 1024, "300 connections hold {growth} bytes");
    drop((first, more));
    proxy.await_stat("http.test.downstream_cx_active", 0);
    proxy.stop();
}

fn a_stream_times_out_alone(driver: Driver) {
    let origin = Origin::start(Answer::Raw(Vec::new(), Then::Stall));
    let routes = "- match: {prefix: /short}\n  route: {cluster: origin, timeout: 0.2s}\n\
                  - match: {prefix: /}\n  route: {cluster: origin, timeout: 0s}";
    let http = Http::routes(routes).hcm(QUICK).hcm("stream_idle_timeout: 0.5s");
    let proxy = Server::ringway(driver).start(&http.cluster("origin", origin.port(), "").yaml());
    let mut client = H2Connection::open(proxy.address());
    let (short, idle) = (client.get("/short"), client.get("/"));
    // A request that never ends.
    let half = client.post("/");
    assert_eq!(client.response(short).status(), 504);
    assert_eq!(client.response(idle).status(), 504);
    assert_eq!(client.response(half).status(), 408);
    origin.set_default(Answer::Echo);
    assert_eq!(client.fetch("/").status(), 200);
    assert_eq!(proxy.stat("http.test.downstream_rq_idle_timeout"), 2);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    assert!(!client.end(Duration::from_millis(50)).is_closed);
    proxy.stop();
}
