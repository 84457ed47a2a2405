//! RFC 9112 section 7: the chunked coding.

use crate::target::Target;

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[track_caller]
fn arrives_as(t: &Target, body: &str, decoded: &str) {
    let (response, _) = t.exchange(chunked(body));
    assert_eq!(response.expect("response").status(), 200);
    assert_eq!(t.received().text(), decoded);
}

/// Malformed once the head has been forwarded: 400, or the connection ends; the origin must not see an end.
#[track_caller]
fn never_completes(t: &Target, body: &str) {
    let (response, mut connection) = t.exchange(chunked(body));
    if let Ok(response) = response {
        assert_eq!(response.status(), 400, "{body:?}");
    }
    assert!(connection.is_closed_by_peer(), "{body:?}");
}

pub fn s7_1_chunked_request_is_decoded(t: &Target) {
    arrives_as(t, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde");
}

pub fn s7_1_chunked_response_is_decoded(t: &Target) {
    let response =
        t.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(response.expect("response").text(), "abcde");
}

pub fn s7_1_chunk_size_is_any_case_and_may_have_zeros(t: &Target) {
    arrives_as(t, "00a\r\n0123456789\r\nB\r\n0123456789a\r\n000\r\n\r\n", "01234567890123456789a");
}

pub fn s7_1_chunk_size_overflow_is_refused(t: &Target) {
    never_completes(t, "10000000000000001\r\na\r\n0\r\n\r\n");
    never_completes(t, "FFFFFFFFFFFFFFFF1\r\na\r\n0\r\n\r\n");
}

pub fn s7_1_chunk_data_must_end_in_crlf(t: &Target) {
    never_completes(t, "1\r\nabc\r\n0\r\n\r\n");
}

pub fn s7_1_invalid_chunk_size_is_refused(t: &Target) {
    for size in ["x", "-1", "+1", "0x1", " 1", "1 1", "", "1\n"] {
        never_completes(t, &format!("{size}\r\na\r\n0\r\n\r\n"));
    }
}

pub fn s7_1_1_unknown_chunk_extensions_are_ignored(t: &Target) {
    arrives_as(t, "3;a;b=c;d=\"e f\"\r\nabc\r\n0;end=1\r\n\r\n", "abc");
}

pub fn s7_1_1_chunk_extensions_are_bounded(t: &Target) {
    never_completes(t, &format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(100_000)));
}

pub fn s7_1_2_trailers_are_not_merged(t: &Target) {
    let (response, _) = t.exchange(chunked("1\r\na\r\n0\r\nX-Late: 1\r\nContent-Length: 7\r\n\r\n"));
    response.expect("response");
    let received = t.received();
    assert_eq!((received.header("x-late"), received.header("content-length")), (None, None));
}
