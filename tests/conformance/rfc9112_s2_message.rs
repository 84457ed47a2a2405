//! RFC 9112 section 2: messages.

use crate::target::Target;
use ringway_test_support::{Answer, Request, Then};

pub fn s2_2_empty_lines_before_a_request_are_ignored(t: &Target) {
    let (response, _) = t.exchange("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.expect("response").status(), 200);
}

pub fn s2_2_bare_cr_does_not_pass(t: &Target) {
    let (response, _) = t.exchange("GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n");
    // Either invalid, or each bare CR is replaced by a space.
    if response.expect("response").status() == 200 {
        assert_eq!(t.received().header("x-a"), Some("b c"));
    }
}

pub fn s2_2_blank_before_the_first_field_does_not_pass(t: &Target) {
    let (response, _) = t.exchange("GET / HTTP/1.1\r\n X-Hidden: 1\r\nHost: a\r\n\r\n");
    if response.expect("response").status() == 200 {
        assert_eq!(t.received().header("x-hidden"), None);
    }
}

pub fn s2_2_octets_pass_unchanged(t: &Target) {
    let (response, _) = t.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \xe4\xff\x80\r\n\r\n");
    assert_eq!(response.expect("response").status(), 200);
    assert_eq!(t.received().header("x-a"), Some("\u{e4}\u{ff}\u{80}"));
}

pub fn s2_3_own_version_to_the_origin(t: &Target) {
    let (_, received) = t.forward(&Request::get("/"));
    assert!(received.start_line.ends_with(" HTTP/1.1"), "{}", received.start_line);
}

pub fn s2_3_own_version_to_the_client(t: &Target) {
    t.origin.expect([Answer::Raw(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(), Then::Close)]);
    assert!(t.get("/").start_line.starts_with("HTTP/1.1 200"));
}
