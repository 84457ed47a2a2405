//! RFC 9112 section 8: messages that end too early must not look complete to the other side.

use std::sync::mpsc::channel;

use crate::target::Target;
use ringway_test_support::{Answer, PATIENCE, ReadError, Request, Then};

/// Sends the head and part of a body, ends the connection, and says whether the origin saw a whole body.
fn origin_saw_the_end(t: &Target, bytes: &str) -> bool {
    let (result, results) = channel();
    t.origin.expect([Answer::script(move |connection, request| {
        let complete = connection.read_body(request).is_ok();
        let _ = result.send(complete);
        Then::Close
    })]);
    let mut connection = t.connect();
    connection.send(bytes);
    t.await_request();
    drop(connection);
    results.recv_timeout(PATIENCE).expect("the origin's connection to end")
}

pub fn s8_cut_request_is_not_complete_at_the_origin(t: &Target) {
    assert!(!origin_saw_the_end(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"));
}

pub fn s8_cut_chunked_request_is_not_complete_at_the_origin(t: &Target) {
    assert!(!origin_saw_the_end(
        t,
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    ));
}

pub fn s8_cut_response_is_not_complete_at_the_client(t: &Target) {
    t.origin.expect([Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec(), Then::Close)]);
    let response = Request::get("/").try_send(t.address);
    assert!(matches!(&response, Err(ReadError::Truncated(_) | ReadError::Reset)), "{response:?}");
}

pub fn s8_cut_chunked_response_is_not_complete_at_the_client(t: &Target) {
    for body in ["3\r\nabc\r\n", "5\r\nab", "3\r\nabc\r\n0\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        t.origin.expect([Answer::Raw(answer.into_bytes(), Then::Close)]);
        let response = Request::get("/").try_send(t.address);
        assert!(
            matches!(&response, Err(ReadError::Truncated(_) | ReadError::Reset)),
            "{body:?}: {response:?}"
        );
    }
}

pub fn s8_response_cut_in_its_head_is_an_error(t: &Target) {
    t.origin.expect([Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(), Then::Close)]);
    assert!([502, 503].contains(&Request::post("/", "x").send(t.address).status()));
}
