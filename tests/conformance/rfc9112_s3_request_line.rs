//! RFC 9112 section 3: the request line and the target.

use crate::target::Target;
use ringway_test_support::Request;

pub fn s3_malformed_request_line_is_refused(t: &Target) {
    t.refuses("GET\r\nHost: a\r\n\r\n", &[400, 426]);
    t.refuses("\x01\x02\x03 / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]);
    t.refuses("GET / HTTX/1.1\r\nHost: a\r\n\r\n", &[400]);
}

pub fn s3_whitespace_in_the_target_is_refused(t: &Target) {
    t.refuses("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]);
}

pub fn s3_1_method_is_case_sensitive(t: &Target) {
    let (response, _) = t.exchange("get / HTTP/1.1\r\nHost: a\r\n\r\n");
    if response.expect("response").status() == 200 {
        assert_eq!(t.received().method(), "get");
    }
}

pub fn s3_2_host_missing_is_400(t: &Target) {
    t.refuses("GET / HTTP/1.1\r\nX-A: b\r\n\r\n", &[400]);
}

pub fn s3_2_two_hosts_are_400(t: &Target) {
    t.refuses("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]);
    t.refuses("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400]);
}

pub fn s3_2_invalid_host_is_400(t: &Target) {
    t.refuses("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]);
    t.refuses("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400]);
}

pub fn s3_2_long_target_is_refused(t: &Target) {
    t.refuses(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(100_000)), &[414, 431]);
}

pub fn s3_2_1_path_and_query_are_unchanged(t: &Target) {
    let target = "/a//b/./c;d=e/%2F%20%7e?q=%00&r=1+2&s";
    let (_, received) = t.forward(&Request::get(target));
    assert_eq!(received.target(), target);
}

pub fn s3_2_2_absolute_form_is_accepted(t: &Target) {
    let (response, _) = t.exchange("GET http://b.test/x?y HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(response.expect("response").status(), 200);
    assert_eq!(t.received().target(), "/x?y");
}

pub fn s3_2_2_absolute_form_replaces_host(t: &Target) {
    let (response, _) = t.exchange("GET http://b.test:81/ HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(response.expect("response").status(), 200);
    assert_eq!(t.received().header_all("host"), ["b.test:81"]);
}

pub fn s3_2_3_authority_form_is_for_connect_only(t: &Target) {
    t.refuses("GET b.test:80 HTTP/1.1\r\nHost: b.test\r\n\r\n", &[400]);
}

pub fn s3_2_4_asterisk_form_is_for_options_only(t: &Target) {
    t.refuses("GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400]);
}

pub fn s3_2_4_options_in_absolute_form_reaches_the_origin_with_an_asterisk(t: &Target) {
    let (response, _) = t.exchange("OPTIONS http://b.test HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(response.expect("response").status(), 200);
    assert_eq!(t.received().target(), "*");
}
