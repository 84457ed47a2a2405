//! Requests: framing, malformed heads, versions, interim responses, limits.

use crate::Group;
use crate::case::{Case, Step, case};
use crate::groups::{listener_with_routes, with_clusters};
use crate::outcome::Outcome;
use crate::side::Ports;

const ROUTES: &str = "
- match: {prefix: /direct}
  direct_response: {status: 200, body: {inline_string: direct}}
- match: {prefix: /}
  route: {cluster: origin}
";

/// Cluster fields by which trailers of requests leave and trailers of responses are kept.
const TRAILERS: &str = "
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config:
      http_protocol_options: {enable_trailers: true}
";

fn config(ports: &Ports) -> String {
    let http = listener_with_routes("main", ROUTES)
        .and(
            listener_with_routes("http10", ROUTES)
                .hcm("http_protocol_options: {accept_http_10: true, default_host_for_http_10: old.test}"),
        )
        .and(
            listener_with_routes("trailers", "- match: {prefix: /}\n  route: {cluster: trailers}")
                .hcm("http_protocol_options: {enable_trailers: true}"),
        )
        .and(
            listener_with_routes("small", ROUTES)
                .hcm("max_request_headers_kb: 1\ncommon_http_protocol_options: {max_headers_count: 10}"),
        )
        .and(
            listener_with_routes("lengths", ROUTES)
                .hcm("http_protocol_options: {allow_chunked_length: true}"),
        )
        .and(
            listener_with_routes("no_absolute", ROUTES)
                .hcm("http_protocol_options: {allow_absolute_url: false}"),
        )
        .and(listener_with_routes("expect_through", ROUTES).hcm("proxy_100_continue: true"))
        .and(
            listener_with_routes("underscores", ROUTES)
                .hcm("common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}"),
        )
        .and(
            listener_with_routes("underscores_dropped", ROUTES)
                .hcm("common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}"),
        );
    with_clusters(http, ports).cluster("trailers", ports.origin, TRAILERS).yaml()
}

const OWN_VERSION: &str = "RFC 9112 2.3: an intermediary answers with its own version, 1.1";

const STRICT: &str = "RFC 9112 forbids what Envoy lets pass";

fn many_fields(count: usize) -> String {
    (0..count).map(|i| format!("x-field-{i}: v\r\n")).collect()
}

pub fn group() -> Group {
    let mut cases = bodies();
    cases.extend(malformed());
    cases.extend(versions_and_targets());
    cases.extend(limits());
    Group { name: "framing", config, cases }
}

fn bodies() -> Vec<Case> {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    vec![
        case("get without body"),
        case("post with length").post("/", "hello"),
        case("post with length 0").post("/", ""),
        case("post without any framing").raw("POST / HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("put without any framing").raw("PUT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("get with body").raw("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        case("delete with body").raw("DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        case("chunked").raw(format!("{chunked}\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")),
        case("chunked, empty").raw(format!("{chunked}\r\n0\r\n\r\n")),
        case("chunked, upper-case coding").raw("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        case("chunked, hexadecimal sizes").raw(format!("{chunked}\r\n0A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n")),
        case("chunked, leading zeros").raw(format!("{chunked}\r\n0003\r\nabc\r\n000\r\n\r\n")),
        case("chunked, extension").raw(format!("{chunked}\r\n3;name=value\r\nabc\r\n0;last\r\n\r\n")),
        case("chunked, quoted extension").raw(format!("{chunked}\r\n3;name=\"a b\"\r\nabc\r\n0\r\n\r\n")),
        case("chunked, trailers dropped").raw(format!("{chunked}Trailer: x-t\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n")),
        case("chunked, trailers kept").on("trailers").raw(format!("{chunked}\r\n1\r\na\r\n0\r\nX-T: 1\r\nx-u: 2\r\n\r\n")),
        case("chunked in pieces")
            .raw(format!("{chunked}\r\n3\r\na"))
            .raw("bc\r")
            .raw("\n0\r\n\r")
            .raw("\n"),
        case("chunked, direct response").raw("POST /direct HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        case("body to a direct response").post("/direct", "abc"),
        case("head").method("HEAD", "/").origin("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
        case("head of a direct response").method("HEAD", "/direct"),
        case("head with chunked response").method("HEAD", "/").origin("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        case("head without length").method("HEAD", "/").origin("HTTP/1.1 200 OK\r\n\r\n"),
        case("options").method("OPTIONS", "/"),
        case("options asterisk").method("OPTIONS", "*"),
        case("trace").method("TRACE", "/"),
        case("patch").method("PATCH", "/"),
        case("expect continue, proxy answers").raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            .then(Step::AwaitInterim)
            .raw("abc"),
        case("expect continue, mixed case").raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
            .then(Step::AwaitInterim)
            .raw("abc"),
        case("expect continue, body sent at once").raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"),
        case("expect something else").raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: more\r\n\r\nabc"),
        case("expect continue passed through").on("expect_through")
            .raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
            .origin("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        case("two requests in one write").raw("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").responses(2),
        case("three requests in one write")
            .raw("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
            .responses(3),
        case("three direct responses in one write")
            .raw("GET /direct HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3))
            .responses(3)
            .differs("RFC 9112 9.3.2: every pipelined request is answered, in order", |o| {
                o.responses.len() == 3 && o.responses.iter().all(|r| r.is_ok()) && o.connection == "kept"
            }),
        case("connection close").field("Connection: close"),
        case("connection close, upper case").field("CONNECTION: CLOSE"),
        case("connection close in a list").field("Connection: x-a, close"),
        case("connection keep-alive").field("Connection: keep-alive"),
        case("request cut in its body").raw("POST / HTTP/1.1\r\nHost: cut\r\nContent-Length: 10\r\n\r\nabc").then(Step::HalfClose).no_probe().ignore_origin(),
        case("request cut in its head").raw("GET / HTTP/1.1\r\nHost: cut\r\n").then(Step::HalfClose).no_probe().ignore_origin(),
        case("half close after the request").raw("GET / HTTP/1.1\r\nHost: cut\r\n\r\n").then(Step::HalfClose).no_probe().ignore_origin()
            .differs("RFC 9112 9.6: a client may end its sending direction and wait for the response", |o| o.status_is(200)),
        case("empty lines before the request").raw("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("request in single bytes").raw("GET / HT").raw("TP/1.1\r\nHo").raw("st: a\r").raw("\n").raw("\r\n"),
        case("large body").post("/", &"x".repeat(300_000)),
        case("large chunked body").raw(format!("{chunked}\r\n186A0\r\n{}\r\n0\r\n\r\n", "x".repeat(100_000))),
    ]
}

fn malformed() -> Vec<Case> {
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    let cut = "POST / HTTP/1.1\r\nHost: cut\r\n";
    vec![
        case("length and chunked")
            .raw(format!("{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        case("length and chunked, allowed")
            .on("lengths")
            .raw(format!("{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        case("gzip, chunked").raw(format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        case("xchunked").raw(format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        case("identity coding").raw(format!("{post}Transfer-Encoding: identity\r\n\r\n")),
        case("chunked twice").raw(format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")),
        case("two transfer-encoding fields")
            .raw(format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        case("empty transfer-encoding").raw(format!("{post}Transfer-Encoding: \r\n\r\n0\r\n\r\n")),
        case("two equal lengths").raw(format!("{post}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")),
        case("two different lengths").raw(format!("{post}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc")),
        case("length list").raw(format!("{post}Content-Length: 3, 3\r\n\r\nabc")),
        case("length with sign").raw(format!("{post}Content-Length: +3\r\n\r\nabc")),
        case("negative length").raw(format!("{post}Content-Length: -1\r\n\r\n")),
        case("length no number").raw(format!("{post}Content-Length: abc\r\n\r\n")),
        case("length too large").raw(format!("{post}Content-Length: 99999999999999999999\r\n\r\n")),
        case("empty length").raw(format!("{post}Content-Length:\r\n\r\n")),
        case("hexadecimal length").raw(format!("{post}Content-Length: 0x3\r\n\r\nabc")),
        case("bad chunk size")
            .raw("POST /direct HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
            .closes()
            .differs(STRICT, |o| o.status_is(400) && o.closed()),
        case("bad chunk size, proxied")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"))
            .closes()
            .ignore_origin(),
        case("negative chunk size")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\n-1\r\n"))
            .closes()
            .ignore_origin(),
        case("chunk size overflow")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nabc"))
            .closes()
            .ignore_origin(),
        case("empty chunk size")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\n\r\nabc"))
            .closes()
            .ignore_origin(),
        case("chunk longer than said")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"))
            .closes()
            .ignore_origin()
            .differs(STRICT, |o| o.status_is(400) && o.closed()),
        case("chunk size with 0x")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"))
            .closes()
            .ignore_origin(),
        case("space before chunk size")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n"))
            .closes()
            .ignore_origin(),
        case("bare line feed after chunk size")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n"))
            .closes()
            .ignore_origin(),
        case("20 KB chunk extension")
            .raw(format!("{cut}Transfer-Encoding: chunked\r\n\r\n1;{}\r\na\r\n0\r\n\r\n", "e".repeat(20_000)))
            .closes()
            .ignore_origin()
            .differs("a limit of 4 KiB for all extensions of a message", |o| o.status_is(400) && o.closed()),
        case("no host").raw("GET / HTTP/1.1\r\n\r\n"),
        case("two hosts")
            .raw("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            .differs("RFC 9112 3.2: one Host field", Outcome::refused_as_malformed),
        case("empty host").raw("GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        case("bare line feeds")
            .raw("GET / HTTP/1.1\nHost: a\n\n")
            .differs(STRICT, Outcome::refused_as_malformed),
        case("bare carriage return in a value")
            .raw("GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n")
            .differs(STRICT, Outcome::refused_as_malformed),
        case("nul in a value").raw("GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n"),
        case("space before colon").raw("GET / HTTP/1.1\r\nHost: a\r\nx : b\r\n\r\n"),
        case("space in a name").raw("GET / HTTP/1.1\r\nHost: a\r\nx y: b\r\n\r\n"),
        case("empty name").raw("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        case("line without colon").raw("GET / HTTP/1.1\r\nHost: a\r\nabc\r\n\r\n"),
        case("folded line")
            .raw("GET / HTTP/1.1\r\nHost: a\r\nx: a\r\n b\r\n\r\n")
            .differs(STRICT, Outcome::refused_as_malformed),
        case("space before the first field").raw("GET / HTTP/1.1\r\n x: a\r\nHost: a\r\n\r\n"),
        case("control character in a value").raw(b"GET / HTTP/1.1\r\nHost: a\r\nx: a\x01b\r\n\r\n"),
        case("high bytes in a value").raw(b"GET / HTTP/1.1\r\nHost: a\r\nx: \xc3\xa4\xff\r\n\r\n"),
        case("tab in a value").raw("GET / HTTP/1.1\r\nHost: a\r\nx: a\tb\r\n\r\n"),
        case("blanks around a value").raw("GET / HTTP/1.1\r\nHost: a\r\nx: \t a b \t \r\n\r\n"),
        case("empty value").raw("GET / HTTP/1.1\r\nHost: a\r\nx:\r\n\r\n"),
        case("unknown method").raw("FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("lower-case method").raw("get / HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("propfind").raw("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("garbage").raw("\x16\x03\x01\x02\x00\x01\r\n\r\n"),
        case("no version").raw("GET /\r\n\r\n"),
        case("two spaces in the request line")
            .raw("GET  / HTTP/1.1\r\nHost: a\r\n\r\n")
            .differs(STRICT, Outcome::refused_as_malformed),
        case("space in the target").raw("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("space after the version")
            .raw("GET / HTTP/1.1 \r\nHost: a\r\n\r\n")
            .differs(STRICT, Outcome::refused_as_malformed),
        case("lower-case version").raw("GET / http/1.1\r\nHost: a\r\n\r\n"),
        case("h2 preface").raw("PRI * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]
}

fn versions_and_targets() -> Vec<Case> {
    vec![
        case("http 1.0").raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
        case("http 0.9").raw("GET / HTTP/0.9\r\n\r\n"),
        case("http 1.2").raw("GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        case("http 2.0").raw("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        case("http 1.10").raw("GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
        case("1.0 accepted")
            .on("http10")
            .raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            .differs(OWN_VERSION, |o| o.status_is(200) && o.closed()),
        case("1.0 accepted, no host").on("http10").raw("GET / HTTP/1.0\r\n\r\n").differs(OWN_VERSION, |o| {
            o.status_is(200) && o.received.iter().all(|(_, r)| r.header("host") == Some("old.test"))
        }),
        case("1.0 accepted, keep-alive")
            .on("http10")
            .raw("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .differs(OWN_VERSION, |o| o.status_is(200) && o.connection == "kept"),
        case("1.0 accepted, chunked response")
            .on("http10")
            .raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            .origin("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .differs(OWN_VERSION, |o| o.status_is(200) && o.closed()),
        case("1.0 accepted, body")
            .on("http10")
            .raw("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
            .differs(OWN_VERSION, |o| o.status_is(200) && o.closed()),
        case("1.0 accepted, chunked request")
            .on("http10")
            .raw("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
            .differs(
                "RFC 9112 6.1: a transfer coding in HTTP/1.0 is faulty framing",
                Outcome::refused_as_malformed,
            ),
        case("1.0 accepted, direct response")
            .on("http10")
            .raw("GET /direct HTTP/1.0\r\nHost: a\r\n\r\n")
            .differs(OWN_VERSION, |o| o.status_is(200) && o.closed()),
        case("absolute form").raw("GET http://b.test/x?y HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("absolute form, no path").raw("GET http://b.test HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("absolute form, query only")
            .raw("GET http://b.test?q HTTP/1.1\r\nHost: a\r\n\r\n")
            .differs("RFC 9112 3.2.1: an empty path is sent as a slash", |o| {
                o.received.first().is_some_and(|(_, r)| r.target() == "/?q")
            }),
        case("absolute form, port").raw("GET http://b.test:81/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("absolute form, https").raw("GET https://b.test/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("absolute form, upper-case scheme").raw("GET HTTP://b.test/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("absolute form, other scheme").raw("GET ftp://b.test/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("absolute form, user").raw("GET http://u@b.test/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("absolute form not allowed")
            .on("no_absolute")
            .raw("GET http://b.test/x HTTP/1.1\r\nHost: a\r\n\r\n")
            .differs(
                "a target that is not allowed is malformed, not unrouted",
                Outcome::refused_as_malformed,
            ),
        case("options of an absolute form without path")
            .raw("OPTIONS http://b.test HTTP/1.1\r\nHost: a\r\n\r\n")
            .differs("RFC 9112 3.2.4: OPTIONS for a whole server reaches it with an asterisk", |o| {
                o.status_is(200) && o.received.iter().any(|(_, request)| request.target() == "*")
            }),
        case("asterisk with get").raw("GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("connect").raw("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"),
        case("authority form with get").raw("GET a.test:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("fragment").get("/a#b"),
        case("high byte in the path").raw(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("delete character in the path").raw(b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
        case("escaped nul in the path").get("/%00"),
        case("odd but legal path").get("/a;b=c/@:!$&'()*+,=~._-?q=1&r[]=2"),
        case("brackets and quotes in the path").get("/\"<>[]^`{|}\\"),
        case("websocket upgrade not enabled").field("Connection: Upgrade").field("Upgrade: websocket"),
        case("h2c upgrade ignored")
            .field("Connection: Upgrade, HTTP2-Settings")
            .field("Upgrade: h2c")
            .field("HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        case("upgrade without connection").field("Upgrade: websocket"),
        case("host with port").host("test.local:8080"),
        case("host in capitals").host("TEST.Local"),
        case("host with a space").raw("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        case("host with a slash").raw("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        case("host as ipv6").host("[::1]:80"),
    ]
}

fn limits() -> Vec<Case> {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many_fields(count));
    let sized = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "v".repeat(bytes));
    vec![
        case("97 fields").raw(fields(96)),
        case("152 fields").raw(fields(151)),
        case("59 KiB of fields").raw(sized(59 << 10)),
        case("61 KiB of fields").raw(sized(61 << 10)),
        case("61 KiB target").raw(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(61 << 10))),
        case("small: 8 fields").on("small").raw(fields(7)),
        case("small: 12 fields").on("small").raw(fields(11)),
        case("small: 900 bytes").on("small").raw(sized(900)),
        case("small: 1100 bytes").on("small").raw(sized(1100)),
        case("underscore allowed").field("x_y: 1"),
        case("underscore rejected").on("underscores").field("x_y: 1"),
        case("underscore dropped").on("underscores_dropped").field("x_y: 1").field("x-y: 2"),
        case("trailers over the limit")
            .on("trailers")
            .raw(format!(
                "POST / HTTP/1.1\r\nHost: cut\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n{}\r\n",
                many_fields(120)
            ))
            .no_probe()
            .ignore_origin(),
    ]
}
