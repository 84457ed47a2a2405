//! What HTTP/2 origins do, and what clients of either version see of it.

use ringway_test_support::h2::H2Connection;

use crate::h2::{Case, Group, case, h1_case};

pub fn group() -> Group {
    let mut cases = http2_clients();
    cases.extend(http1_clients());
    Group { name: "h2_upstream", config: crate::h2_requests::config, cases }
}

macro_rules! get {
    ($name:literal, $path:literal) => {
        case($name, |c: &mut H2Connection| {
            c.get($path);
        })
    };
}

fn http2_clients() -> Vec<Case> {
    vec![
        get!("an answer", "/h2"),
        case("a body and trailers", |c| {
            let stream = c.post("/h2/trailers");
            c.data(stream, "hello", false);
            c.headers(stream, &[("x-late", "1")], true);
        }),
        get!("trailers only", "/h2/trailers-only"),
        get!("204", "/h2/204"),
        get!("a reset", "/h2/reset"),
        get!("a refused stream", "/h2/refused"),
        get!("a refused stream that is retried", "/h2/retried"),
        get!("a cancelled stream", "/h2/cancel"),
        get!("a reset without error", "/h2/no-error"),
        get!("a reset in the body", "/h2/reset-in-body"),
        get!("the connection closed", "/h2/close")
            .differs(crate::groups::RESENT, |outcome| outcome.status_is(503) && outcome.received.len() > 1),
        get!("the connection closed in the body", "/h2/close-in-body"),
        get!("GOAWAY, then the answer", "/h2/goaway-then-answer"),
        get!("GOAWAY with an error, then the answer", "/h2/goaway-error"),
        get!("an interim response", "/h2/interim").differs(
            "RFC 9110 15.2: a proxy forwards interim responses that it has not asked for",
            |outcome| outcome.first().interim.len() == 1 && outcome.status_is(200),
        ),
        get!("no status", "/h2/no-status"),
        get!("a status that is none", "/h2/bad-status"),
        get!("upper case in a name", "/h2/upper"),
        get!("connection", "/h2/connection"),
        get!("a body longer than its length", "/h2/long-body"),
        get!("a body shorter than its length", "/h2/short-body"),
        get!("data before the head", "/h2/data-first"),
        get!("200 fields", "/h2/many-fields"),
        get!("silence", "/h2/silent"),
    ]
}

fn http1_clients() -> Vec<Case> {
    vec![
        h1_case("HTTP/1.1: an answer", "GET /h2 HTTP/1.1\r\nHost: test.local\r\n\r\n"),
        h1_case(
            "HTTP/1.1: a chunked body",
            "POST /h2 HTTP/1.1\r\nHost: test.local\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        h1_case(
            "HTTP/1.1: fields of the connection",
            "GET /h2 HTTP/1.1\r\nHost: test.local\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\r\n",
        ),
        h1_case("HTTP/1.1: a reset", "GET /h2/reset HTTP/1.1\r\nHost: test.local\r\n\r\n"),
        h1_case(
            "HTTP/1.1: a reset in the body",
            "GET /h2/reset-in-body HTTP/1.1\r\nHost: test.local\r\n\r\n",
        ),
        h1_case("HTTP/1.1: no status", "GET /h2/no-status HTTP/1.1\r\nHost: test.local\r\n\r\n"),
        h1_case("HTTP/1.1: trailers", "GET /h2/trailers HTTP/1.1\r\nHost: test.local\r\n\r\n"),
        h1_case("HTTP/1.1: a short body", "GET /h2/short-body HTTP/1.1\r\nHost: test.local\r\n\r\n"),
    ]
}
