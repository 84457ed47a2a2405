//! Heads, chunks and trailers, from values to bytes.

use super::*;

fn encoded(head: &RequestHead, framing: Framing, case: HeaderCase) -> String {
    let mut out = Vec::new();
    encode_request(head, framing, case, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn requests_are_written_in_order_and_canonically() {
    let mut start = first_request(
        H1Settings::default(),
        b"POST /a HTTP/1.1\r\nA:1\r\nHost: h\r\nX-Foo_bar:   2\r\nContent-Length: 3\r\nZ: 4\r\n\r\n",
    );
    start.head.headers.set("z", b"5");
    start.head.headers.append("b", b"evil\r\nx: y");
    let expected = "POST /a HTTP/1.1\r\nhost: h\r\na: 1\r\nx-foo_bar: 2\r\ncontent-length: 3\r\nz: 5\r\nb: evil  x: y\r\n\r\n";
    assert_eq!(encoded(&start.head, Framing::Length(3), HeaderCase::Lower), expected);
    let proper = "POST /a HTTP/1.1\r\nHost: h\r\nA: 1\r\nX-Foo_Bar: 2\r\nZ: 5\r\nB: evil  x: y\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(encoded(&start.head, Framing::Chunked, HeaderCase::Proper), proper);
    assert!(
        encoded(&start.head, Framing::Length(4), HeaderCase::Lower)
            .ends_with("y\r\ncontent-length: 4\r\n\r\n")
    );
    assert!(!encoded(&start.head, Framing::None, HeaderCase::Lower).contains("content-length"));
}

#[test]
fn a_target_cannot_end_the_request_line() {
    let head = RequestHead::new(Method::Get, "http", b"h", b"/a b\tHTTP/1.1\r\n");
    assert!(
        encoded(&head, Framing::None, HeaderCase::Lower)
            .starts_with("GET /a%20b%09HTTP/1.1%20%20 HTTP/1.1\r\nhost")
    );
    let head = RequestHead::new(Method::Other(b"GET /x"), "http", b"h", b"/");
    assert!(encoded(&head, Framing::None, HeaderCase::Lower).starts_with("INVALID / HTTP/1.1\r\n"));
    let head = RequestHead::new(Method::Connect, "http", b"foo:443", b"");
    assert!(
        encoded(&head, Framing::Tunnel, HeaderCase::Lower)
            .starts_with("CONNECT foo:443 HTTP/1.1\r\nhost: foo:443\r\n")
    );
}

#[test]
fn responses_are_written() {
    let encoded = |status, length: Option<&str>, version, framing| {
        let mut head = ResponseHead::new(status);
        if let Some(length) = length {
            head.headers.append(CONTENT_LENGTH, length.as_bytes());
        }
        head.headers.append(UPGRADE, b"x");
        let mut out = Vec::new();
        encode_response(&head, version, framing, HeaderCase::Lower, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let (old, new) = (Version::Http10, Version::Http11);
    assert_eq!(
        encoded(200, None, new, Framing::Chunked),
        "HTTP/1.1 200 OK\r\nupgrade: x\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(encoded(200, None, old, Framing::UntilClose), "HTTP/1.0 200 OK\r\nupgrade: x\r\n\r\n");
    assert_eq!(
        encoded(304, Some("5"), new, Framing::None),
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\nupgrade: x\r\n\r\n"
    );
    assert_eq!(encoded(204, Some("5"), new, Framing::None), "HTTP/1.1 204 No Content\r\nupgrade: x\r\n\r\n");
    assert_eq!(
        encoded(599, None, new, Framing::Length(0)),
        "HTTP/1.1 599 Unknown\r\nupgrade: x\r\ncontent-length: 0\r\n\r\n"
    );
    let mut out = Vec::new();
    for len in [1, 15, 16, 255, 4096, 0, usize::MAX] {
        encode_chunk_start(len, &mut out);
    }
    assert_eq!(out, b"1\r\nf\r\n10\r\nff\r\n1000\r\nffffffffffffffff\r\n");
    let trailers: HeaderMap = [("a", "1"), ("transfer-encoding", "x")].into_iter().collect();
    out.clear();
    encode_trailers(&trailers, HeaderCase::Lower, &mut out);
    assert_eq!(out, b"0\r\na: 1\r\n\r\n");
}
