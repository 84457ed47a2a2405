//! The table of odd requests in FEATURES, and what was measured on Envoy 1.40 beside it.

use super::*;

/// The status an input is answered with by the codec; 200 if it lets the first message pass to its end.
fn verdict(settings: H1Settings, bytes: &[u8]) -> u16 {
    let lines = requests(settings, &[bytes]);
    match lines.last() {
        Some(line) if line.starts_with("error ") => line[6..9].parse().unwrap_or(0),
        Some(_) => 200,
        None => 0,
    }
}

fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}

/// The table of odd requests in FEATURES: what Ringway answers, and with the compatible settings.
#[test]
fn odd_requests() {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let headers = |count: usize| get(&(0..count).map(|n| format!("a{n}: b\r\n")).collect::<String>());
    let line = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    let cases: Vec<(&str, Vec<u8>, u16, u16)> = vec![
        ("plain", get(""), 200, 200),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400, 400),
        ("empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n".to_vec(), 200, 200),
        ("two hosts", get("Host: i\r\n"), 400, 200),
        ("bad host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_vec(), 400, 400),
        ("1.0", b"GET / HTTP/1.0\r\nHost: h\r\n\r\n".to_vec(), 426, 426),
        ("0.9", b"GET /\r\n\r\n".to_vec(), 426, 426),
        ("2.0", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_vec(), 426, 426),
        ("lower-case version", b"GET / http/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        (
            "length and chunked",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            400,
            400,
        ),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501, 501),
        ("xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501, 501),
        ("empty coding", post("Transfer-Encoding:\r\n", ""), 501, 501),
        ("identity", post("Transfer-Encoding: identity\r\n", ""), 501, 501),
        ("twice chunked", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""), 501, 501),
        ("CHUNKED", post("Transfer-Encoding: CHUNKED\r\n", "0\r\n\r\n"), 200, 200),
        ("equal lengths", post("Content-Length: 0\r\nContent-Length: 0\r\n", ""), 400, 400),
        ("different lengths", post("Content-Length: 0\r\nContent-Length: 1\r\n", ""), 400, 400),
        ("length list", post("Content-Length: 0, 0\r\n", ""), 400, 400),
        ("length +2", post("Content-Length: +2\r\n", "ab"), 400, 400),
        ("length too large", post("Content-Length: 99999999999999999999\r\n", ""), 400, 400),
        ("empty length", post("Content-Length:\r\n", ""), 400, 400),
        ("bare LF", b"GET / HTTP/1.1\nHost: h\nA: b\n\n".to_vec(), 400, 200),
        ("one bare LF", b"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n".to_vec(), 400, 200),
        ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: h\r\n\n".to_vec(), 400, 200),
        ("bare LF after the first line", b"GET / HTTP/1.1\nHost: h\r\n\r\n".to_vec(), 400, 200),
        ("bare CR", get("A: b\rc\r\n"), 400, 200),
        ("NUL", get("A: b\0c\r\n"), 400, 400),
        ("control character", get("A: b\u{1}c\r\n"), 400, 400),
        ("space before colon", get("A : b\r\n"), 400, 400),
        ("space in name", get("A b: b\r\n"), 400, 400),
        ("empty name", get(": b\r\n"), 400, 400),
        ("no colon", get("A\r\n"), 400, 400),
        ("parenthesis in name", get("a(b): c\r\n"), 400, 400),
        ("fold", get("A: b\r\n c\r\n"), 400, 200),
        ("fold after the first line", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n".to_vec(), 400, 400),
        ("underscore", get("a_b: c\r\n"), 200, 200),
        ("97 headers", headers(97), 200, 200),
        ("99 headers and host", headers(99), 200, 200),
        ("100 headers and host", headers(100), 431, 431),
        ("152 headers", headers(152), 431, 431),
        ("59 KiB", get(&format!("A: {}\r\n", "b".repeat(59 * 1024))), 200, 200),
        ("61 KiB", get(&format!("A: {}\r\n", "b".repeat(61 * 1024))), 431, 431),
        ("61 KiB target", line(&format!("/{}", "b".repeat(61 * 1024))), 431, 431),
        ("chunk size overflow", chunked("fffffffffffffffff\r\nab\r\n"), 400, 400),
        ("chunk size of 2^63", chunked("8000000000000000\r\nab\r\n"), 400, 400),
        ("chunk size with sign", chunked("-2\r\nab\r\n0\r\n\r\n"), 400, 400),
        ("chunk size with 0x", chunked("0x2\r\nab\r\n0\r\n\r\n"), 400, 400),
        ("no chunk size", chunked("\r\nab\r\n0\r\n\r\n"), 400, 400),
        ("space after chunk size", chunked("2 \r\nab\r\n0\r\n\r\n"), 400, 200),
        ("space before extension", chunked("2 ;a\r\nab\r\n0\r\n\r\n"), 200, 200),
        ("chunk longer than its size", chunked("2\r\nabc\r\n0\r\n\r\n"), 400, 400),
        ("chunk with bare LF", chunked("2\nab\n0\n\n"), 400, 200),
        ("4 KiB of extension", chunked(&format!("2;{}\r\nab\r\n0\r\n\r\n", "x".repeat(4095))), 200, 200),
        ("20 KB of extension", chunked(&format!("2;{}\r\nab\r\n0\r\n\r\n", "x".repeat(20_000))), 400, 400),
        ("many extensions", chunked(&"1;xxxxxxx\r\na\r\n".repeat(600)), 400, 400),
        ("bad trailer", chunked("0\r\nA b: c\r\n\r\n"), 400, 400),
        ("absolute form", line("http://foo.com/x"), 200, 200),
        ("absolute form without host", b"GET http://foo/ HTTP/1.1\r\n\r\n".to_vec(), 400, 200),
        ("absolute form of ftp", line("ftp://foo.com/x"), 400, 400),
        ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 200, 200),
        ("GET *", line("*"), 400, 400),
        ("no slash", line("foo"), 400, 400),
        ("CONNECT", b"CONNECT foo:443 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 200, 200),
        ("CONNECT without port", b"CONNECT foo HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        (
            "CONNECT with body",
            b"CONNECT foo:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab".to_vec(),
            400,
            400,
        ),
        ("FOO", b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("get", b"get / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("fragment", line("/a#b"), 400, 400),
        ("0xff in target", b"GET /a\xff HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("space in target", line("/a b"), 400, 400),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("space at line end", b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("tab", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("empty lines before", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 200, 200),
        ("space before", b" GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("LF before", b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 200),
        ("CR before", b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 400, 400),
        ("connection names :path", get("Connection: :path\r\n"), 400, 400),
        ("connection names x-forwarded-for", get("Connection: X-Forwarded-For\r\n"), 400, 400),
        ("expect", post("Expect: 100-continue\r\nContent-Length: 2\r\n", "ab"), 200, 200),
    ];
    for (name, bytes, strict, lenient) in cases {
        assert_eq!(verdict(H1Settings::default(), &bytes), strict, "{name}");
        assert_eq!(verdict(ENVOY, &bytes), lenient, "{name}, lenient");
        let single: Vec<_> = bytes.chunks(1).collect();
        let whole = requests(H1Settings::default(), &[&bytes]);
        assert_eq!(requests(H1Settings::default(), &single), whole, "{name}, byte by byte");
        assert_eq!(requests(ENVOY, &single), requests(ENVOY, &[&bytes]), "{name}, lenient byte by byte");
    }
}
