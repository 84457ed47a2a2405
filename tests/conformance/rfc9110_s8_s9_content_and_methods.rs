//! RFC 9110 sections 8 and 9: content length and methods.

use crate::target::Target;
use ringway_test_support::{Answer, Request, Then};

pub fn s8_6_length_of_a_response_to_head_is_kept(t: &Target) {
    t.origin.expect([Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")]);
    assert_eq!(Request::new("HEAD", "/").send(t.address).header("content-length"), Some("1234"));
}

pub fn s8_6_no_length_in_204(t: &Target) {
    let response = t.answer("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").expect("response");
    assert_eq!((response.header("content-length"), response.header("transfer-encoding")), (None, None));
}

pub fn s9_2_2_post_is_not_retried(t: &Target) {
    t.origin.expect([Answer::Raw(Vec::new(), Then::Reset)]);
    assert!([502, 503].contains(&Request::post("/", "x").send(t.address).status()));
    assert_eq!(t.origin.request_count(), 1);
}

pub fn s9_3_2_head_reaches_the_origin(t: &Target) {
    t.origin.expect([Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")]);
    let (_, received) = t.forward(&Request::new("HEAD", "/x"));
    assert_eq!(received.method(), "HEAD");
}

pub fn s9_3_8_trace_has_no_body(t: &Target) {
    let (_, received) = t.forward(&Request::new("TRACE", "/"));
    assert_eq!((received.header("content-length"), received.header("transfer-encoding")), (None, None));
}
