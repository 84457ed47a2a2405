//! RFC 9110 section 7: forwarding.

use crate::target::Target;
use ringway_test_support::{Answer, Request};

pub fn s7_6_1_fields_named_by_connection_end_here(t: &Target) {
    let request = Request::get("/")
        .header("Connection", "X-Mine, keep-alive")
        .header("X-Mine", "1")
        .header("X-Other", "2");
    let (_, received) = t.forward(&request);
    assert_eq!((received.header("x-mine"), received.header("x-other")), (None, Some("2")));
}

pub fn s7_6_1_fields_named_by_connection_of_a_response_end_here(t: &Target) {
    t.origin.expect([Answer::status(200, "Connection: x-mine\r\nX-Mine: 1\r\nX-Other: 2\r\n", "")]);
    let response = t.get("/");
    assert_eq!((response.header("x-mine"), response.header("x-other")), (None, Some("2")));
}

pub fn s7_6_1_connection_fields_are_not_forwarded(t: &Target) {
    t.origin.expect([Answer::status(
        200,
        "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n",
        "",
    )]);
    let request = Request::get("/")
        .header("Connection", "keep-alive")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "x");
    let (response, received) = t.forward(&request);
    for message in [&response, &received] {
        for name in ["keep-alive", "proxy-connection"] {
            assert_eq!(message.header(name), None, "{name} in {message:?}");
        }
        assert!(!message.has_token("connection", "keep-alive"), "{message:?}");
    }
}

pub fn s7_7_content_is_unchanged(t: &Target) {
    let body: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let (_, received) = t.forward(&Request::post("/", body.clone()).header("Content-Encoding", "gzip"));
    assert_eq!((received.body == body, received.header("content-encoding")), (true, Some("gzip")));
}

pub fn s7_8_upgrade_is_not_forwarded(t: &Target) {
    let request = Request::get("/").header("Connection", "upgrade").header("Upgrade", "h2c");
    let (_, received) = t.forward(&request);
    assert_eq!(received.header("upgrade"), None);
}
