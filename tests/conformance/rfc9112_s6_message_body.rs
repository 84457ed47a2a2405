//! RFC 9112 section 6: where a message's body ends.

use crate::target::Target;
use ringway_test_support::{Answer, Request, Then};

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

pub fn s6_1_length_and_transfer_encoding_in_a_request(t: &Target) {
    // Refused, or forwarded without the length; in both cases the connection ends.
    let (response, mut connection) = t.exchange(post(
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ));
    let response = response.expect("response");
    assert!([200, 400].contains(&response.status()), "{response:?}");
    assert!(connection.is_closed_by_peer());
    for received in t.origin.take_requests() {
        assert_eq!((received.target(), received.header("content-length")), ("/", None));
    }
}

pub fn s6_1_length_and_transfer_encoding_in_a_response(t: &Target) {
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let response = t.answer(answer).expect("response");
    match response.status() {
        502 => {}
        200 => assert_eq!((response.text().as_str(), response.header("content-length")), ("ok", None)),
        status => panic!("{status}"),
    }
}

pub fn s6_1_chunked_is_not_applied_twice(t: &Target) {
    t.refuses(post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), &[400, 501]);
    t.refuses(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[400, 501]);
}

pub fn s6_1_unknown_coding_is_refused(t: &Target) {
    t.refuses(post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), &[400, 501]);
    t.refuses(post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), &[400, 501]);
}

pub fn s6_1_chunked_must_be_last(t: &Target) {
    t.refuses(post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), &[400, 501]);
    t.refuses(post("Transfer-Encoding: gzip\r\n", "0\r\n\r\n"), &[400, 501]);
}

pub fn s6_1_transfer_encoding_in_http_1_0_closes(t: &Target) {
    let (response, mut connection) = t.exchange(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
    );
    response.expect("response");
    assert!(connection.is_closed_by_peer());
}

pub fn s6_2_content_length_is_forwarded(t: &Target) {
    let (_, received) = t.forward(&Request::post("/", "hello"));
    assert_eq!((received.header_all("content-length"), received.text().as_str()), (vec!["5"], "hello"));
}

pub fn s6_2_never_both_framings(t: &Target) {
    let chunked = post("Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\n\r\n");
    for request in [Request::post("/", "a").bytes(), chunked.into_bytes()] {
        let (response, _) = t.exchange(request);
        response.expect("response");
        let received = t.received();
        let framings =
            received.header_all("content-length").len() + received.header_all("transfer-encoding").len();
        assert_eq!(framings, 1, "{received:?}");
    }
}

pub fn s6_3_invalid_length_in_a_request_is_400(t: &Target) {
    for length in ["abc", "-1", "+3", "3 3", "0x3", "3,", "", "1e1", "99999999999999999999999"] {
        t.refuses(post(&format!("Content-Length: {length}\r\n"), "abc"), &[400]);
    }
}

pub fn s6_3_different_lengths_in_a_request_are_400(t: &Target) {
    t.refuses(post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), &[400]);
    t.refuses(post("Content-Length: 3, 4\r\n", "abcd"), &[400]);
}

pub fn s6_3_invalid_length_in_a_response_is_502(t: &Target) {
    for length in ["abc", "-1", "+2", "0x2"] {
        let response = t.answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok"));
        assert_eq!(response.expect("response").status(), 502, "{length}");
    }
}

pub fn s6_3_different_lengths_in_a_response_are_502(t: &Target) {
    let response = t.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk");
    assert_eq!(response.expect("response").status(), 502);
}

pub fn s6_3_request_without_framing_has_no_body(t: &Target) {
    let mut connection = t.connect();
    connection.send("POST /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((connection.response().status(), connection.response().status()), (200, 200));
    let received = t.origin.take_requests();
    assert_eq!((received[0].text().as_str(), received[1].target()), ("", "/2"));
}

pub fn s6_3_response_without_framing_ends_at_close(t: &Target) {
    t.origin.expect([Answer::Raw(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec(), Then::Close)]);
    assert_eq!(t.get("/").text(), "until the end");
}

pub fn s6_3_response_to_head_has_no_body(t: &Target) {
    t.origin.expect([Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")]);
    let mut connection = t.connect();
    let head = Request::new("HEAD", "/").send_on(&mut connection).expect("response");
    assert_eq!(head.status(), 200);
    assert_eq!(Request::get("/").send_on(&mut connection).expect("next response").text(), "ok");
}

pub fn s6_3_204_and_304_have_no_body(t: &Target) {
    for status in [204, 304] {
        t.origin.expect([Answer::raw(format!("HTTP/1.1 {status} X\r\n\r\n"))]);
        let mut connection = t.connect();
        assert_eq!(Request::get("/").send_on(&mut connection).expect("response").status(), status);
        assert_eq!(Request::get("/").send_on(&mut connection).expect("next response").text(), "ok");
    }
}
