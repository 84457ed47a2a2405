//! RFC 9112 section 5 (and RFC 9110 section 5.5): field lines.

use crate::target::Target;
use ringway_test_support::Request;

pub fn s5_1_space_before_colon_in_a_request_is_400(t: &Target) {
    t.refuses("GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", &[400]);
    t.refuses("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", &[400]);
}

pub fn s5_1_space_before_colon_in_a_response_does_not_pass(t: &Target) {
    let response = t.answer("HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n").expect("response");
    assert!(response.status() == 502 || response.header("x-a") == Some("b"), "{response:?}");
}

pub fn s5_1_blanks_around_a_value_are_no_part_of_it(t: &Target) {
    let (_, received) = t.forward(&Request::get("/").header("X-A", " \t b \t c \t "));
    assert_eq!(received.header("x-a"), Some("b \t c"));
}

pub fn s5_2_folded_line_in_a_request(t: &Target) {
    let (response, _) = t.exchange("GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n");
    match response.expect("response").status() {
        400 => assert_eq!(t.origin.request_count(), 0),
        200 => assert_eq!(t.received().header("x-a"), Some("b c")),
        status => panic!("{status}"),
    }
}

pub fn s5_2_folded_line_in_a_response(t: &Target) {
    let response =
        t.answer("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n").expect("response");
    assert!(response.status() == 502 || response.header("x-a") == Some("b c"), "{response:?}");
}

pub fn s5_5_invalid_name_is_refused(t: &Target) {
    for name in ["x a", "", "x(a", "x\"", "x\u{7f}"] {
        t.refuses(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: b\r\n\r\n"), &[400]);
    }
}

pub fn s5_5_nul_is_refused(t: &Target) {
    t.refuses("GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n", &[400]);
}
