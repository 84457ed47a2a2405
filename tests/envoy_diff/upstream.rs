//! Responses: what odd or faulty origins send, and what of it reaches the client.

use crate::Group;
use crate::case::{Case, Step, case};
use crate::groups::{RESENT, listener_with_routes, with_clusters};
use crate::outcome::Outcome;
use crate::side::Ports;
use ringway_test_support::{Answer, Then};

const TRAILERS: &str = "
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config:
      http_protocol_options: {enable_trailers: true}
";

const ROUTES: &str = "
- match: {prefix: /refused}
  route: {cluster: refused}
- match: {prefix: /black_hole}
  route: {cluster: black_hole}
- match: {prefix: /short}
  route: {cluster: origin, timeout: 0.1s}
- match: {prefix: /trailers}
  route: {cluster: trailers}
- match: {prefix: /unknown}
  route: {cluster_header: x-cluster}
- match: {prefix: /}
  route: {cluster: origin}
";

fn config(ports: &Ports) -> String {
    let http = listener_with_routes("main", ROUTES)
        .and(listener_with_routes("trailers", ROUTES).hcm("http_protocol_options: {enable_trailers: true}"));
    with_clusters(http, ports).cluster("trailers", ports.origin, TRAILERS).yaml()
}

pub fn group() -> Group {
    let mut cases = well_formed();
    cases.extend(bodies_without_content());
    cases.extend(interim());
    cases.extend(faulty());
    cases.extend(failures());
    Group { name: "upstream", config, cases }
}

fn cut(bytes: &str, then: Then) -> Answer {
    Answer::Raw(bytes.into(), then)
}

fn well_formed() -> Vec<Case> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![
        case("length").origin("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        case("chunked").origin(&format!("{chunked}5\r\nhello\r\n0\r\n\r\n")),
        case("chunked, extension").origin(&format!("{chunked}5;a=b\r\nhello\r\n0\r\n\r\n")),
        case("chunked, empty").origin(&format!("{chunked}0\r\n\r\n"))
            .differs("an empty body has length 0, however it was framed", |o| o.status_is(200)),
        case("chunked, trailers dropped").origin(&format!("{chunked}1\r\na\r\n0\r\nx-t: 1\r\n\r\n")),
        case("chunked, trailers only from upstream")
            .get("/trailers")
            .origin(&format!("{chunked}1\r\na\r\n0\r\nx-t: 1\r\n\r\n"))
            .bug("8"),
        case("chunked, trailers kept")
            .on("trailers")
            .get("/trailers")
            .origin(&format!("{chunked}1\r\na\r\n0\r\nX-T: 1\r\n\r\n")),
        case("until close").answer(cut("HTTP/1.1 200 OK\r\n\r\nhello", Then::Close)),
        case("until close, connection close")
            .answer(cut("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", Then::Close)),
        case("length, connection close")
            .answer(cut("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", Then::Close)),
        case("http 1.0").answer(cut("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Then::Close)),
        case("http 1.0 until close").answer(cut("HTTP/1.0 200 OK\r\n\r\nok", Then::Close)),
        case("http 1.0 keep-alive")
            .origin("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
        case("reason phrase of its own").origin("HTTP/1.1 200 Fine, thanks\r\nContent-Length: 0\r\n\r\n"),
        case("no reason phrase").origin("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
        case("no reason phrase, no space").origin("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
        case("status 418").origin("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"),
        case("status 599").origin("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n")
            .differs("599 has no name of its own", |o| o.status_is(599)),
        case("status 299").origin("HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n"),
        case("status 500").origin("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbad"),
        case("status 503 with fields").origin("HTTP/1.1 503 No\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"),
        case("names in mixed case").origin("HTTP/1.1 200 OK\r\nX-MiXeD: Value\r\nCONTENT-LENGTH: 0\r\n\r\n"),
        case("fields more than once").origin(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=2\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n",
        ),
        case("server and date of the origin").origin(
            "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
        ),
        case("hop-by-hop fields").origin(
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
        )
            .differs("RFC 9110 7.6.1: fields that Connection names end here", |o| o.status_is(200) && o.first().is_some_and(|r| r.header("x-hop").is_none())),
        case("upgrade offered").origin("HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n"),
        case("x-envoy fields of the origin").origin(
            "HTTP/1.1 200 OK\r\nX-Envoy-Upstream-Service-Time: 77\r\nX-Envoy-Overloaded: true\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n",
        ),
        case("high bytes in a value").answer(Answer::raw(b"HTTP/1.1 200 OK\r\nx: \xc3\xa4\xff\r\nContent-Length: 0\r\n\r\n")),
        case("large body").origin(&format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", "y".repeat(300_000))),
        case("large chunk").origin(&format!("{chunked}186A0\r\n{}\r\n0\r\n\r\n", "y".repeat(100_000))),
        case("59 KiB of fields").origin(&format!("HTTP/1.1 200 OK\r\nx: {}\r\nContent-Length: 0\r\n\r\n", "v".repeat(59 << 10))),
        case("61 KiB of fields").origin(&format!("HTTP/1.1 200 OK\r\nx: {}\r\nContent-Length: 0\r\n\r\n", "v".repeat(61 << 10)))
            .bug("9"),
        case("120 fields").origin(&format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
            (0..120).map(|i| format!("x-{i}: v\r\n")).collect::<String>()
        )),
    ]
}

fn bodies_without_content() -> Vec<Case> {
    vec![
        case("204").origin("HTTP/1.1 204 No Content\r\n\r\n"),
        case("204 with length 0").origin("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        case("204 with length 5").origin("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        case("204 chunked").origin("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        case("205").origin("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        case("304").origin("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        case("304 with length").origin("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
        case("304 chunked").origin("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
        case("head with length").method("HEAD", "/").origin("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        case("head 404").method("HEAD", "/").origin("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"),
    ]
}

fn interim() -> Vec<Case> {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    vec![
        case("100 without being asked").origin(&format!("HTTP/1.1 100 Continue\r\n\r\n{ok}")),
        case("two times 100")
            .origin(&format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{ok}")),
        case("102")
            .origin(&format!("HTTP/1.1 102 Processing\r\n\r\n{ok}"))
            .differs("RFC 9110 15.2: a proxy forwards interim responses that it has not asked for", |o| {
                o.interim_is(102)
            }),
        case("103")
            .origin(&format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{ok}"))
            .differs("RFC 9110 15.2: a proxy forwards interim responses that it has not asked for", |o| {
                o.interim_is(103)
            }),
        case("101 without being asked")
            .origin("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            .differs("RFC 9110 7.8: no switch to a protocol that was not asked for", bad_gateway),
        case("early response, body still to come")
            .raw("POST / HTTP/1.1\r\nHost: cut\r\nContent-Length: 10\r\n\r\nabc")
            .answer(Answer::AtHead(
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec(),
                Then::Keep,
            ))
            .closes()
            .ignore_origin(),
        case("early response, then close")
            .raw("POST / HTTP/1.1\r\nHost: cut\r\nContent-Length: 10\r\n\r\nabc")
            .answer(Answer::AtHead(
                b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno".to_vec(),
                Then::Close,
            ))
            .closes()
            .ignore_origin(),
        case("response after the body came in pieces")
            .raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
            .raw("def")
            .then(Step::AwaitResponse),
    ]
}

fn faulty() -> Vec<Case> {
    vec![
        case("length and chunked").origin(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        case("two different lengths")
            .origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"),
        case("two equal lengths")
            .origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")
            .bug("10"),
        case("length no number").origin("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
        case("gzip coding").origin("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"),
        case("gzip, chunked coding")
            .origin("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        case("no http").origin("SSH-2.0-OpenSSH\r\n\r\n"),
        case("empty line first").origin("\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        case("status no number").origin("HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
        case("status of two digits")
            .origin("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n")
            .differs("RFC 9112 4: a status code has three digits, 100 to 599", bad_gateway),
        case("status of four digits")
            .origin("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n")
            .differs("RFC 9112 4: a status code has three digits, 100 to 599", bad_gateway),
        case("status 99")
            .origin("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n")
            .differs("RFC 9112 4: a status code has three digits, 100 to 599", bad_gateway),
        case("status 700").origin("HTTP/1.1 700 OK\r\nContent-Length: 0\r\n\r\n"),
        case("http 2.0")
            .origin("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n")
            .differs("RFC 9112 2.3: a response on an HTTP/1 connection is HTTP/1.x", bad_gateway),
        case("space before colon")
            .origin("HTTP/1.1 200 OK\r\nx : 1\r\nContent-Length: 0\r\n\r\n")
            .differs("RFC 9112 5.1: a proxy removes such a space from a response", |o| {
                o.first().is_some_and(|r| r.header("x") == Some("1"))
            }),
        case("nul in a value").origin("HTTP/1.1 200 OK\r\nx: a\0b\r\nContent-Length: 0\r\n\r\n"),
        case("folded line")
            .origin("HTTP/1.1 200 OK\r\nx: a\r\n b\r\nContent-Length: 0\r\n\r\n")
            .differs("RFC 9112 5.2: refused or unfolded", |o| {
                o.status_is(502) || o.first().is_some_and(|r| r.header("x") == Some("a b"))
            }),
        case("bare line feeds")
            .origin("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
            .differs("RFC 9112 forbids what Envoy lets pass", bad_gateway),
        case("line without colon").origin("HTTP/1.1 200 OK\r\nabc\r\nContent-Length: 0\r\n\r\n"),
        case("bad chunk size")
            .origin("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            .no_probe()
            .differs(
                "a body that is malformed from its first byte becomes an error instead of a cut response",
                |o| o.status_is(502) || o.closed(),
            ),
        case("body shorter than its length")
            .answer(cut("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Then::Close))
            .closes(),
        case("chunked, cut")
            .answer(cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Then::Close))
            .closes(),
        case("chunked, last chunk missing")
            .answer(cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", Then::Close))
            .closes(),
        case("more than its length").origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA"),
        case("bytes after a 204").origin("HTTP/1.1 204 No Content\r\n\r\nEXTRA"),
        case("two responses at once").origin(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb",
        ),
        case("body after head").method("HEAD", "/").origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ]
}

fn failures() -> Vec<Case> {
    vec![
        case("connection refused").get("/refused"),
        case("connection refused, post").post("/refused", "abc").bug("11"),
        case("connection refused, head").method("HEAD", "/refused"),
        case("connect timeout").get("/black_hole"),
        case("close before the response").answer(cut("", Then::Close)).differs(RESENT, resent_or_503),
        case("reset before the response").answer(cut("", Then::Reset)).differs(RESENT, resent_or_503),
        case("close before the response, post").post("/", "abc").answer(cut("", Then::Close)),
        case("reset before the response, post").post("/", "abc").answer(cut("", Then::Reset)),
        case("close in the head").answer(cut("HTTP/1.1 200 OK\r\nContent-", Then::Close)).bug("12"),
        case("reset in the head").answer(cut("HTTP/1.1 200 OK\r\nContent-", Then::Reset)).bug("12"),
        case("route timeout").get("/short").answer(cut("", Then::Stall)),
        case("route timeout, head").method("HEAD", "/short").answer(cut("", Then::Stall)),
        case("route timeout in the body")
            .get("/short")
            .answer(cut("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Then::Stall))
            .closes(),
        case("unknown cluster").get("/unknown").field("x-cluster: nowhere"),
        case("no cluster header").get("/unknown"),
        case("cluster header").get("/unknown").field("x-cluster: second"),
    ]
}

fn bad_gateway(outcome: &Outcome) -> bool {
    outcome.status_is(502) && outcome.connection == "kept"
}

fn resent_or_503(outcome: &Outcome) -> bool {
    match outcome.received.len() {
        1 => outcome.status_is(503),
        attempts => attempts == 2 && outcome.status_is(200),
    }
}
