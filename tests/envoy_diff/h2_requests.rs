//! Messages of HTTP/2 clients: every rule of RFC 9113 section 8, bodies, trailers, limits.

use ringway_test_support::config::Http;
use ringway_test_support::h2::{H2Connection, error_code};

use crate::h2::{Case, Group, Outcome, Ports, case};

const ROUTES: &str = "
- name: probe
  domains: [probe.test]
  routes:
  - match: {prefix: /}
    direct_response: {status: 200, body: {inline_string: probe}}
- name: all
  domains: ['*']
  routes:
  - match: {prefix: /direct}
    direct_response: {status: 200, body: {inline_string: direct}}
  - match: {prefix: /h2/retried}
    route: {cluster: h2, prefix_rewrite: /h2/refused, retry_policy: {retry_on: refused-stream, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}
  - match: {prefix: /h2}
    route: {cluster: h2, timeout: 1s}
  - match: {prefix: /}
    route: {cluster: h1}
";

const H2_CLUSTER: &str = r#"typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}"#;

/// The configuration of all groups of HTTP/2.
pub fn config(ports: &Ports) -> Http {
    let listener = |name: &str, hcm: &str| {
        Http::named(name).hcm("delayed_close_timeout: 0.02s").hcm(hcm).virtual_hosts(ROUTES)
    };
    listener("main", "")
        .and(listener(
            "lenient",
            "http2_protocol_options: {override_stream_error_on_invalid_http_message: true}",
        ))
        .and(listener("limited", "http2_protocol_options: {max_concurrent_streams: 2}"))
        .and(listener(
            "connect",
            "http2_protocol_options: {allow_connect: true}\nupgrade_configs: [{upgrade_type: websocket}]",
        ))
        .cluster("h1", ports.h1, "")
        .cluster("h2", ports.h2, H2_CLUSTER)
}

const BASE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "test.local"), (":path", "/")];

/// A whole request with one more field.
fn with(connection: &mut H2Connection, name: &str, value: &str) {
    connection.open(&[&BASE[..], &[(name, value)]].concat(), true);
}

/// A request with a body and a length.
fn posting(connection: &mut H2Connection, length: &str) -> u32 {
    let head = [(":method", "POST"), (":scheme", "http"), (":authority", "test.local"), (":path", "/direct")];
    connection.open(&[&head[..], &[("content-length", length)]].concat(), false)
}

pub fn group() -> Group {
    let mut cases = well_formed();
    cases.extend(malformed());
    cases.extend(bodies_and_limits());
    Group { name: "h2_requests", config, cases }
}

fn well_formed() -> Vec<Case> {
    vec![
        case("a GET", |c| drop_id(c.get("/a?b"))),
        case("a POST", |c| {
            let stream = c.post("/");
            c.data(stream, "hello", true);
        }),
        case("a POST with trailers", |c| {
            let stream = c.post("/");
            c.data(stream, "hello", false);
            c.headers(stream, &[("x-late", "1")], true);
        }),
        case("trailers without a body", |c| {
            let stream = c.post("/");
            c.headers(stream, &[("x-late", "1")], true);
        }),
        case("a POST without a body", |c| drop_id(c.open(&post("/"), true))),
        case("HEAD", |c| drop_id(c.open(&[&[(":method", "HEAD")], &BASE[1..]].concat(), true))),
        case("OPTIONS of the server", |c| {
            drop_id(c.open(
                &[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")],
                true,
            ));
        }),
        case("a cookie in pieces", |c| {
            drop_id(c.open(&[&BASE[..], &[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2")]].concat(), true));
        }),
        case("te: trailers", |c| with(c, "te", "trailers")),
        case("host that repeats the authority", |c| with(c, "host", "test.local")),
        case("host without authority", |c| {
            drop_id(c.open(&[BASE[0], BASE[1], BASE[3], ("host", "test.local")], true));
        }),
        case("expect: 100-continue", |c| {
            let stream = c.open(&[&post("/")[..], &[("expect", "100-continue")]].concat(), false);
            c.until("100", |endpoint| !endpoint.stream(stream).interim.is_empty());
            c.data(stream, "hello", true);
        }),
        case("a header block in three frames", |c| {
            let block = ringway_test_support::h2::literal_block(&BASE);
            c.frame(1, 1, 1, &block[..10]);
            c.frame(9, 0, 1, &block[10..20]);
            c.frame(9, 4, 1, &block[20..]);
        }),
        case("several requests at once", |c| {
            for _ in 0..5 {
                c.get("/direct");
            }
        }),
        case("a method that is registered by nobody", |c| {
            drop_id(c.open(&[&[(":method", "FOO")], &BASE[1..]].concat(), true));
        }),
        case("scheme https", |c| drop_id(c.open(&[BASE[0], (":scheme", "https"), BASE[2], BASE[3]], true))),
        case("CONNECT", |c| drop_id(c.open(&[(":method", "CONNECT"), (":authority", "a:80")], false))),
        case("an underscore in a name", |c| with(c, "x_y", "1")),
        case("an empty value", |c| with(c, "x-empty", "")),
    ]
}

fn post(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":scheme", "http"), (":authority", "test.local"), (":path", path)]
}

fn drop_id(_stream: u32) {}

/// Section 8 of RFC 9113. Each ends the connection, or on the listener `lenient` its stream.
fn malformed() -> Vec<Case> {
    type Row = (&'static str, &'static str, fn(&mut H2Connection));
    let rows: [Row; 24] = [
        ("no method", "no method (stream)", |c| drop_id(c.open(&BASE[1..], true))),
        ("no scheme", "no scheme (stream)", |c| drop_id(c.open(&[BASE[0], BASE[2], BASE[3]], true))),
        ("no path", "no path (stream)", |c| drop_id(c.open(&BASE[..3], true))),
        ("an empty path", "an empty path (stream)", |c| {
            drop_id(c.open(&[BASE[0], BASE[1], BASE[2], (":path", "")], true));
        }),
        ("a path twice", "a path twice (stream)", |c| with(c, ":path", "/")),
        ("a method twice", "a method twice (stream)", |c| {
            drop_id(c.open(&[&BASE[..1], &BASE[..]].concat(), true));
        }),
        ("an unknown pseudo-header", "an unknown pseudo-header (stream)", |c| with(c, ":other", "1")),
        (":status in a request", ":status in a request (stream)", |c| with(c, ":status", "200")),
        ("a pseudo-header behind a field", "a pseudo-header behind a field (stream)", |c| {
            drop_id(c.open(&[BASE[0], BASE[1], BASE[2], ("x", "1"), BASE[3]], true));
        }),
        ("upper case in a name", "upper case in a name (stream)", |c| with(c, "X-Upper", "1")),
        ("an empty name", "an empty name (stream)", |c| with(c, "", "1")),
        ("a space in a name", "a space in a name (stream)", |c| with(c, "x y", "1")),
        ("a NUL in a value", "a NUL in a value (stream)", |c| with(c, "x", "a\0b")),
        ("a line feed in a value", "a line feed in a value (stream)", |c| with(c, "x", "a\nb")),
        ("a carriage return in a value", "a carriage return in a value (stream)", |c| with(c, "x", "a\rb")),
        ("connection", "connection (stream)", |c| with(c, "connection", "close")),
        ("keep-alive", "keep-alive (stream)", |c| with(c, "keep-alive", "timeout=5")),
        ("proxy-connection", "proxy-connection (stream)", |c| with(c, "proxy-connection", "close")),
        ("transfer-encoding", "transfer-encoding (stream)", |c| with(c, "transfer-encoding", "chunked")),
        ("upgrade", "upgrade (stream)", |c| with(c, "upgrade", "websocket")),
        ("te: gzip", "te: gzip (stream)", |c| with(c, "te", "gzip")),
        ("a length that is none", "a length that is none (stream)", |c| drop_id(posting(c, "5x"))),
        ("CONNECT with a path", "CONNECT with a path (stream)", |c| {
            drop_id(c.open(&[(":method", "CONNECT"), (":authority", "a:80"), (":path", "/")], true));
        }),
        ("a path that is no path", "a path that is no path (stream)", |c| {
            drop_id(c.open(&[BASE[0], BASE[1], BASE[2], (":path", "x")], true));
        }),
    ];
    let strict = rows.iter().map(|(name, _, play)| case(name, *play));
    let lenient = rows.iter().map(|(_, name, play)| case(name, *play).on("lenient"));
    let mut cases: Vec<Case> = strict.chain(lenient).collect();
    cases.push(
        case("host that contradicts the authority", |c| with(c, "host", "other.local"))
            .differs("RFC 9113 8.3.1: host must not contradict the authority", malformed_outcome),
    );
    cases.push(case("two hosts", |c| {
        drop_id(c.open(&[&BASE[..], &[("host", "test.local"), ("host", "test.local")]].concat(), true));
    }));
    cases.push(
        case("spaces around a value", |c| with(c, "x", " a "))
            .differs("RFC 9113 8.2.1: a value has no spaces around it", malformed_outcome),
    );
    cases.push(case("two lengths that agree", |c| {
        drop_id(
            c.open(&[&post("/")[..], &[("content-length", "0"), ("content-length", "0")]].concat(), true),
        );
    }));
    cases
}

fn bodies_and_limits() -> Vec<Case> {
    vec![
        case("a body shorter than its length", |c| {
            let stream = posting(c, "5");
            c.data(stream, "abc", true);
        }),
        case("a body longer than its length", |c| {
            let stream = posting(c, "5");
            c.data(stream, "abcdefg", true);
        }),
        case("no body where a length is", |c| {
            drop_id(c.open(&[&post("/direct")[..], &[("content-length", "5")]].concat(), true));
        }),
        case("trailers with a pseudo-header", |c| {
            let stream = c.post("/h2/silent");
            c.headers(stream, &[(":path", "/")], true);
        })
        .ignore_origin(),
        case("trailers that do not end the stream", |c| {
            let stream = c.post("/h2/silent");
            c.headers(stream, &[("x", "1")], false);
        })
        .ignore_origin(),
        case("upper case in trailers", |c| {
            let stream = c.post("/h2/silent");
            c.headers(stream, &[("X-Upper", "1")], true);
        })
        .ignore_origin(),
        case("101 fields", |c| drop_id(c.open(&[&BASE[..], &[("x", "1"); 97]].concat(), true))),
        case("100 fields", |c| drop_id(c.open(&[&BASE[..], &[("x", "1"); 90]].concat(), true))),
        case("61 KiB of fields", |c| {
            let value = "x".repeat(61 * 1024);
            with(c, "x", &value);
        }),
        case("59 KiB of fields", |c| {
            let value = "x".repeat(58 * 1024);
            with(c, "x", &value);
        }),
        case("more streams than allowed", |c| {
            for _ in 0..4 {
                c.get("/h2/silent");
            }
        })
        .on("limited")
        .ignore_origin()
        .differs("RFC 9113 5.1.2: a stream beyond the limit is refused", |outcome| {
            let refused = outcome.streams.get(&5).and_then(|stream| stream.reset);
            refused == Some(error_code::REFUSED_STREAM) && outcome.goaway.is_none()
        }),
        case("an extended CONNECT that is not enabled", extended_connect),
        case("an extended CONNECT that is not routed", extended_connect)
            .on("connect")
            .ignore_origin()
            .differs(
                "RFC 9110 7.8: a declined upgrade is an ordinary request, and its connection ends",
                |outcome| outcome.first().text() == "ok" && outcome.status_is(200),
            ),
    ]
}

/// The usual end of a malformed request.
fn malformed_outcome(outcome: &Outcome) -> bool {
    outcome.ended_with(error_code::PROTOCOL_ERROR) && outcome.received.is_empty()
}

fn extended_connect(connection: &mut H2Connection) {
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), BASE[1], BASE[2], BASE[3]];
    connection.open(&fields, false);
}
