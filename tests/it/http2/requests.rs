//! Requests and responses between every pair of versions: heads, bodies, trailers, what is refused.

use std::io::Write;
use std::thread;

use ringway_test_support::config::Http;
use ringway_test_support::h2::{H2Connection, H2Origin, Incoming, PREFACE, error_code, kind, setting};
use ringway_test_support::{Answer, Config, Connection, Driver, Origin, Request, Server, Then};
use serde_json::Value;

use super::{H2_CLUSTER, QUICK, before_http1, before_http2};

on_both_drivers! {
    the_example from_http2_to_http1 from_http1_to_http2 from_http2_to_http2 bodies_in_both_directions
    trailers_from_http2_to_http2 trailers_between_versions a_response_without_body
    many_streams_at_once the_preface_in_pieces codec_types cookies_are_joined interim_responses
    malformed_requests_end_the_connection malformed_requests_end_their_stream_only
    a_body_that_is_not_as_long_as_it_says more_streams_than_allowed heads_beyond_the_limits
    a_websocket_over_http2 connect_is_refused
}

fn json(response: &Incoming) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("{e}: {response:?}"))
}

/// The first field of this name in an echo.
fn field<'a>(echo: &'a Value, name: &str) -> Option<&'a str> {
    let fields = echo["headers"].as_array()?;
    fields.iter().find(|field| field[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))?[1].as_str()
}

fn the_example(driver: Driver) {
    let origin = H2Origin::echo();
    let config = Config::file("http2.yaml").port(8000, origin.port());
    let proxy = Server::ringway(driver).start(config.as_str());
    let mut client = H2Connection::open(proxy.address());
    assert_eq!(json(&client.fetch("/a"))["target"].as_str(), Some("/a"));
    assert_eq!(Request::get("/b").send(proxy.address()).json()["target"].as_str(), Some("/b"));
    assert_eq!((origin.accepted(), proxy.stat("cluster.h2c.upstream_rq_200")), (1, 2));
    proxy.stop();
}

fn from_http2_to_http1(driver: Driver) {
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let response = client.fetch("/path?query");
    assert_eq!((response.status(), response.header("server")), (200, Some("envoy")));
    assert!(response.header("connection").is_none() && response.header("transfer-encoding").is_none());
    let echo = json(&response);
    assert_eq!((echo["method"].as_str(), echo["target"].as_str()), (Some("GET"), Some("/path?query")));
    assert_eq!(field(&echo, "host"), Some("test.local"));
    assert_eq!(field(&echo, "x-forwarded-proto"), Some("http"));
    assert_eq!(origin.take_requests()[0].start_line, "GET /path?query HTTP/1.1");
    assert_eq!(proxy.stat("http.test.downstream_cx_http2_total"), 1);
    assert_eq!(proxy.stat("http.test.downstream_rq_http2_total"), 1);
    assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 1);
    proxy.stop();
}

fn from_http1_to_http2(driver: Driver) {
    let origin = H2Origin::echo();
    let proxy = before_http2(driver, origin.port());
    let request = Request::post("/a?b", "hello").header("Connection", "close, x-hop").header("X-Hop", "1");
    let response = request.header("TE", "gzip").send(proxy.address());
    assert_eq!((response.status(), response.header("x-origin")), (200, Some("h2")));
    let echo = response.json();
    assert_eq!((echo["target"].as_str(), echo["body"].as_str()), (Some("/a?b"), Some("hello")));
    assert_eq!((field(&echo, ":authority"), field(&echo, ":scheme")), (Some("test.local"), Some("http")));
    for name in ["host", "connection", "x-hop", "te", "keep-alive", "transfer-encoding"] {
        assert_eq!(field(&echo, name), None, "{name} was forwarded");
    }
    // A chunked body.
    let mut client = Connection::open(proxy.address());
    client.send(
        "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().json()["body"].as_str(), Some("abcde"));
    assert_eq!((origin.accepted(), proxy.stat("cluster.origin.upstream_cx_http2_total")), (1, 1));
    proxy.stop();
}

fn from_http2_to_http2(driver: Driver) {
    let origin = H2Origin::echo();
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    for turn in 0..20 {
        let stream = client.upload(&format!("/{turn}"), b"body");
        let echo = json(&client.response(stream));
        assert_eq!(
            (echo["target"].as_str(), echo["body"].as_str()),
            (Some(&*format!("/{turn}")), Some("body"))
        );
    }
    assert_eq!((origin.accepted(), proxy.stat("cluster.origin.upstream_rq_200")), (1, 20));
    proxy.stop();
}

fn bodies_in_both_directions(driver: Driver) {
    let h1 = Origin::echo();
    let h2 = H2Origin::echo();
    for proxy in [before_http1(driver, h1.port()), before_http2(driver, h2.port())] {
        for length in [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1_000_000] {
            let body: String = (0..length).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
            let mut client = H2Connection::open(proxy.address());
            let stream = client.upload("/", body.as_bytes());
            let response = client.response(stream);
            assert!(json(&response)["body"].as_str() == Some(&body), "a body of {length} bytes");
        }
        proxy.stop();
    }
}

fn trailers_from_http2_to_http2(driver: Driver) {
    let origin = H2Origin::start(|connection, stream, request| {
        let echoed = request.trailer("x-check").unwrap_or("none").to_string();
        connection.headers(stream, &[(":status", "200")], false);
        connection.data(stream, "body", false);
        connection.headers(stream, &[("grpc-status", "0"), ("x-check", &*echoed)], true);
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let stream = client.post("/");
    client.data(stream, "x", false);
    client.headers(stream, &[("x-check", "41")], true);
    let response = client.response(stream);
    assert_eq!((response.status(), response.text().as_str()), (200, "body"));
    assert_eq!((response.trailer("grpc-status"), response.trailer("x-check")), (Some("0"), Some("41")));
    assert_eq!(proxy.stat("http2.trailers"), 1);
    proxy.stop();
}

fn trailers_between_versions(driver: Driver) {
    // HTTP/1 origin to HTTP/2 client.
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n";
    let origin = Origin::start(Answer::raw(chunked));
    let http = Http::to_origin(origin.port()).hcm(QUICK);
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut client = H2Connection::open(proxy.address());
    let response = client.fetch("/");
    // As Envoy: HTTP/1 trailers are dropped unless they are enabled.
    assert_eq!((response.text().as_str(), response.trailers), ("body", None));
    proxy.stop();
    let enabled = H2_CLUSTER
        .replace("{http2_protocol_options: {}}", "{http_protocol_options: {enable_trailers: true}}");
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin}").hcm(QUICK);
    let proxy = Server::ringway(driver).start(&http.cluster("origin", origin.port(), &enabled).yaml());
    let mut client = H2Connection::open(proxy.address());
    assert_eq!(client.fetch("/").trailer("x-trailer"), Some("1"));
    // Those of a HTTP/2 request to a HTTP/1 origin.
    origin.set_default(Answer::Echo);
    let stream = client.post("/");
    client.data(stream, "x", false);
    client.headers(stream, &[("x-late", "yes")], true);
    let echo = json(&client.response(stream));
    assert_eq!(
        (echo["body"].as_str(), &echo["trailers"]),
        (Some("x"), &serde_json::json!([["x-late", "yes"]]))
    );
    proxy.stop();
}

fn a_response_without_body(driver: Driver) {
    let h1 = Origin::echo();
    let h2 = H2Origin::start(|connection, stream, request| {
        let status = request.header(":path").unwrap_or("").trim_start_matches('/').to_string();
        connection.headers(stream, &[(":status", &*status), ("content-length", "5")], true);
    });
    for (proxy, is_h2) in [(before_http1(driver, h1.port()), false), (before_http2(driver, h2.port()), true)]
    {
        let mut client = H2Connection::open(proxy.address());
        for (method, status) in [("HEAD", 200), ("GET", 304)] {
            if !is_h2 {
                let fields = if status == 304 { "etag: 1\r\n" } else { "" };
                h1.expect([Answer::raw(format!(
                    "HTTP/1.1 {status} Any\r\ncontent-length: 5\r\n{fields}\r\n"
                ))]);
            }
            let path = format!("/{status}");
            let fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", &path)];
            let stream = client.open(&fields, true);
            let response = client.response(stream);
            assert_eq!(
                (response.status(), response.header("content-length")),
                (status, Some("5")),
                "{method}"
            );
            assert!(response.body.is_empty() && response.ended);
        }
        proxy.stop();
    }
}

fn many_streams_at_once(driver: Driver) {
    let h1 = Origin::echo();
    let h2 = H2Origin::echo();
    for proxy in [before_http1(driver, h1.port()), before_http2(driver, h2.port())] {
        let address = proxy.address();
        thread::scope(|scope| {
            for client in 0..4 {
                scope.spawn(move || {
                    let mut connection = H2Connection::open(address);
                    let streams: Vec<(u32, String)> = (0..100)
                        .map(|request| {
                            (connection.get(&format!("/{client}/{request}")), format!("/{client}/{request}"))
                        })
                        .collect();
                    for (stream, path) in &streams {
                        let response = connection.response(*stream);
                        assert_eq!(json(&response)["target"].as_str(), Some(&**path));
                    }
                });
            }
        });
        assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 400);
        assert_eq!(proxy.stat("http.test.downstream_rq_active"), 0);
        proxy.stop();
    }
    assert_eq!(h2.accepted(), 1);
}

fn the_preface_in_pieces(driver: Driver) {
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::connect(proxy.address(), &[]);
    let bytes = std::mem::take(&mut client.output);
    for byte in bytes.chunks(1) {
        client.stream.write_all(byte).expect("sent");
        // A packet for each.
        thread::yield_now();
    }
    assert_eq!(client.fetch("/").status(), 200);
    // What begins as the preface does and is none is HTTP/1, and wrong.
    let mut client = Connection::open(proxy.address());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX");
    assert!(client.is_closed_by_peer());
    proxy.stop();
}

fn codec_types(driver: Driver) {
    let origin = Origin::echo();
    let http = Http::to_origin(origin.port()).hcm(QUICK).hcm("codec_type: HTTP2");
    let proxy = Server::ringway(driver).start(&http.yaml());
    assert_eq!(H2Connection::open(proxy.address()).fetch("/").status(), 200);
    let mut client = Connection::open(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.is_closed_by_peer());
    assert_eq!(proxy.stat("http.test.downstream_cx_protocol_error"), 1);
    proxy.stop();
    let http = Http::to_origin(origin.port()).hcm(QUICK).hcm("codec_type: HTTP1");
    let proxy = Server::ringway(driver).start(&http.yaml());
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    let mut client = Connection::open(proxy.address());
    client.send(PREFACE);
    assert!(client.is_closed_by_peer());
    proxy.stop();
}

fn cookies_are_joined(driver: Driver) {
    let h1 = Origin::echo();
    let h2 = H2Origin::echo();
    for proxy in [before_http1(driver, h1.port()), before_http2(driver, h2.port())] {
        let mut client = H2Connection::open(proxy.address());
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
            ("cookie", "a=1"),
            ("x-between", "1"),
            ("cookie", "b=2"),
        ];
        let stream = client.open(&fields, true);
        assert_eq!(field(&json(&client.response(stream)), "cookie"), Some("a=1; b=2"));
        proxy.stop();
    }
}

fn interim_responses(driver: Driver) {
    let origin = H2Origin::start(|connection, stream, _| {
        connection.headers(stream, &[(":status", "103"), ("link", "</x>")], false);
        connection.headers(stream, &[(":status", "200")], true);
    });
    let proxy = before_http2(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let response = client.fetch("/");
    assert_eq!((response.status(), response.interim.len()), (200, 1));
    // The proxy answers an expectation itself.
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
        ("expect", "100-continue"),
    ];
    let stream = client.open(&fields, false);
    client.until("100", |endpoint| !endpoint.stream(stream).interim.is_empty());
    client.data(stream, "x", true);
    assert_eq!(client.response(stream).status(), 200);
    proxy.stop();
}

/// Fields of requests that RFC 9113 section 8 forbids.
fn malformed() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let with = |name, value| [&base[..], &[(name, value)]].concat();
    vec![
        ("no method", base[1..].to_vec()),
        ("no path", base[..3].to_vec()),
        ("an empty path", [&base[..3], &[(":path", "")]].concat()),
        ("a path twice", with(":path", "/")),
        ("an unknown pseudo-header", with(":other", "x")),
        ("a status", with(":status", "200")),
        ("upper case", with("X-Upper", "1")),
        ("a space in a name", with("x y", "1")),
        ("an empty name", with("", "1")),
        ("a line feed in a value", with("x", "a\nb")),
        ("a NUL in a value", with("x", "a\0b")),
        ("connection", with("connection", "close")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("keep-alive", with("keep-alive", "1")),
        ("proxy-connection", with("proxy-connection", "close")),
        ("upgrade", with("upgrade", "h2c")),
        ("te", with("te", "gzip")),
        ("a length that is none", with("content-length", "x")),
        ("a pseudo-header behind a field", [&base[..3], &[("x", "1"), (":path", "/")]].concat()),
    ]
}

fn malformed_requests_end_the_connection(driver: Driver) {
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let mut bystander = H2Connection::open(proxy.address());
    for (number, (what, fields)) in malformed().into_iter().enumerate() {
        let mut client = H2Connection::open(proxy.address());
        client.open(&fields, true);
        assert_eq!(client.end_code(), Some(error_code::PROTOCOL_ERROR), "{what}");
        let count = number as u64 + 1;
        assert_eq!(proxy.stat("http2.rx_messaging_error"), count, "{what}");
        proxy.await_stat("http.test.downstream_cx_protocol_error", count);
    }
    assert_eq!(bystander.fetch("/").status(), 200);
    assert_eq!(origin.request_count(), 1, "a malformed request was forwarded");
    proxy.stop();
}

fn malformed_requests_end_their_stream_only(driver: Driver) {
    let origin = Origin::echo();
    let options = "http2_protocol_options: {override_stream_error_on_invalid_http_message: true}";
    let http = Http::to_origin(origin.port()).hcm(QUICK).hcm(options);
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut client = H2Connection::open(proxy.address());
    for (what, fields) in malformed() {
        let stream = client.open(&fields, true);
        assert_eq!(client.response(stream).reset, Some(error_code::PROTOCOL_ERROR), "{what}");
    }
    assert_eq!(client.fetch("/").status(), 200);
    assert_eq!(proxy.stat("http2.rx_messaging_error"), malformed().len() as u64);
    assert_eq!(origin.request_count(), 1, "a malformed request was forwarded");
    proxy.stop();
}

fn a_body_that_is_not_as_long_as_it_says(driver: Driver) {
    let origin = Origin::start(Answer::Raw(Vec::new(), Then::Stall));
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
        ("content-length", "5"),
    ];
    for body in ["abc", "abcdefg"] {
        let stream = client.open(&fields, false);
        client.data(stream, body, true);
        assert_eq!(client.response(stream).reset, Some(error_code::PROTOCOL_ERROR), "{body}");
    }
    client.sync();
    proxy.await_stat("http2.tx_reset", 2);
    proxy.stop();
}

fn more_streams_than_allowed(driver: Driver) {
    let origin = Origin::start(Answer::Raw(Vec::new(), Then::Stall));
    let http =
        Http::to_origin(origin.port()).hcm(QUICK).hcm("http2_protocol_options: {max_concurrent_streams: 3}");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut client = H2Connection::open(proxy.address());
    assert_eq!(client.peer_settings.get(&setting::MAX_CONCURRENT_STREAMS), Some(&3));
    let open: Vec<u32> = (0..3).map(|_| client.get("/")).collect();
    let refused = client.get("/");
    assert_eq!(client.response(refused).reset, Some(error_code::REFUSED_STREAM));
    proxy.await_stat("http2.stream_refused_errors", 1);
    // One that ends makes room.
    client.reset(open[0], error_code::CANCEL);
    origin.set_default(Answer::Echo);
    assert_eq!(client.fetch("/").status(), 200);
    drop(client);
    proxy.stop();
}

fn heads_beyond_the_limits(driver: Driver) {
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let many = [&base[..], &[("x", "1"); 100]].concat();
    let stream = client.open(&many, true);
    assert!(client.response(stream).reset.is_some());
    proxy.await_stat("http2.header_overflow", 1);
    let value = "x".repeat(61 * 1024);
    let stream = client.open(&[&base[..], &[("x", &*value)]].concat(), true);
    assert!(client.response(stream).reset.is_some());
    proxy.await_stat("http2.header_list_size_too_large", 1);
    // The connection lives, and so do limits that are just met.
    let value = "x".repeat(50 * 1024);
    let stream = client.open(&[&base[..], &[("x", &*value)]].concat(), true);
    assert_eq!(client.response(stream).status(), 200);
    proxy.stop();
}

fn a_websocket_over_http2(driver: Driver) {
    let origin = Origin::start(Answer::script(|connection, request| {
        assert_eq!(request.header("upgrade"), Some("websocket"));
        connection
            .write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        let mut seen = connection.reader.take_pending();
        let mut block = [0; 1024];
        while seen != b"ping" {
            match std::io::Read::read(&mut connection.stream, &mut block) {
                Ok(length) if length > 0 => seen.extend_from_slice(&block[..length]),
                _ => return Then::Close,
            }
        }
        connection.write("pong");
        Then::Stall
    }));
    let hcm = "upgrade_configs: [{upgrade_type: websocket}]\nhttp2_protocol_options: {allow_connect: true}";
    let proxy = Server::ringway(driver).start(&Http::to_origin(origin.port()).hcm(QUICK).hcm(hcm).yaml());
    let mut client = H2Connection::open(proxy.address());
    assert_eq!(client.peer_settings.get(&setting::ENABLE_CONNECT_PROTOCOL), Some(&1));
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    let stream = client.open(&fields, false);
    client.until("the answer", |endpoint| endpoint.stream(stream).status() == 200);
    client.data(stream, "ping", false);
    client.until("the echo", |endpoint| endpoint.stream(stream).body == b"pong");
    drop(client);
    proxy.stop();
}

fn connect_is_refused(driver: Driver) {
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    let stream = client.open(&[(":method", "CONNECT"), (":authority", "a:80")], false);
    assert_eq!(client.response(stream).status(), 404);
    // PUSH_PROMISE is for servers only.
    client.frame(kind::PUSH_PROMISE, 4, 1, vec![0, 0, 0, 2]);
    assert_eq!(client.end_code(), Some(error_code::PROTOCOL_ERROR));
    proxy.stop();
}
