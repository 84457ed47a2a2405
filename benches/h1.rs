//! Decoding and encoding heads. Goals (release): a usual GET with ten headers below 300 ns into a header map, and
//! below 150 ns out of it.

// criterion_group! makes an undocumented function.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::buf::Chunk;
use ringway::http::h1::{
    ClientDecoder, Event, Framing, H1Settings, HeaderCase, RequestStart, ServerDecoder, encode_request,
    encode_response, strip_hop_by_hop,
};
use ringway::http::{Method, Version, header};

const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

const TYPICAL: &[u8] = b"GET /static/app.js?v=12345 HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://www.example.com/index.html\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
Connection: keep-alive\r\n\
Cache-Control: no-cache\r\n\
X-Custom-Header: some-value\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: origin/1.0\r\n\
Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
Content-Type: application/json\r\n\
Content-Length: 0\r\n\
Cache-Control: max-age=60\r\n\
ETag: \"0123456789\"\r\n\
Vary: accept-encoding\r\n\r\n";

fn forty_headers() -> Vec<u8> {
    let lines: String =
        (0..40).map(|n| format!("X-Header-Number-{n}: the value of number {n}\r\n")).collect();
    format!("GET /some/path HTTP/1.1\r\nHost: www.example.com\r\n{lines}\r\n").into_bytes()
}

fn decode_one(decoder: &mut ServerDecoder, message: &Chunk) -> RequestStart {
    let mut input = message.clone();
    let Ok(Some(Event::Head(start))) = decoder.decode(&mut input) else { panic!("no head") };
    let Ok(Some(Event::End)) = decoder.decode(&mut input) else { panic!("no end") };
    start
}

fn heads(c: &mut Criterion) {
    let forty = forty_headers();
    let cases = [("small", SMALL), ("10 headers", TYPICAL), ("40 headers", &forty)];
    for (name, bytes) in cases {
        let message = Chunk::copy_from(bytes);
        let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
        c.bench_function(&format!("decode request, {name}"), |b| {
            b.iter(|| black_box(decode_one(&mut decoder, black_box(&message))));
        });
        let start = decode_one(&mut decoder, &message);
        let mut out = Vec::with_capacity(8192);
        c.bench_function(&format!("encode request, {name}"), |b| {
            b.iter(|| {
                out.clear();
                encode_request(black_box(&start.head), Framing::None, HeaderCase::Lower, &mut out);
                black_box(&out);
            });
        });
        c.bench_function(&format!("decode, change, encode request, {name}"), |b| {
            b.iter(|| {
                let mut start = decode_one(&mut decoder, &message);
                let headers = &mut start.head.headers;
                strip_hop_by_hop(headers, false);
                headers.set(header::X_FORWARDED_PROTO, b"http");
                headers.set(header::X_REQUEST_ID, b"523342a0-5d64-4698-8485-0a34a3e4b4a4");
                headers.set(header::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, b"15000");
                out.clear();
                encode_request(&start.head, Framing::None, HeaderCase::Lower, &mut out);
                black_box(&out);
            });
        });
    }
    let message = Chunk::copy_from(RESPONSE);
    let mut decoder = ClientDecoder::new(H1Settings::default());
    let mut out = Vec::with_capacity(8192);
    c.bench_function("decode, change, encode response", |b| {
        b.iter(|| {
            decoder.expect_response(Method::Get, false);
            let mut input = message.clone();
            let Ok(Some(Event::Head(mut start))) = decoder.decode(&mut input) else { panic!("no head") };
            let Ok(Some(Event::End)) = decoder.decode(&mut input) else { panic!("no end") };
            strip_hop_by_hop(&mut start.head.headers, false);
            start.head.headers.set(header::SERVER, b"envoy");
            start.head.headers.set(header::X_ENVOY_UPSTREAM_SERVICE_TIME, b"1");
            out.clear();
            encode_response(&start.head, Version::Http11, start.framing, HeaderCase::Lower, &mut out);
            black_box(&out);
        });
    });
}

fn bodies(c: &mut Criterion) {
    let mut bytes = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..4 {
        bytes.extend_from_slice(b"1000\r\n");
        bytes.extend_from_slice(&[b'x'; 4096]);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let message = Chunk::copy_from(&bytes);
    let mut decoder = ServerDecoder::new(H1Settings::default(), "http");
    c.bench_function("decode request with four 4 KiB chunks", |b| {
        b.iter(|| {
            let mut input = message.clone();
            while let Ok(Some(event)) = decoder.decode(&mut input) {
                black_box(&event);
                if matches!(event, Event::End) {
                    break;
                }
            }
        });
    });
}

criterion_group!(benches, heads, bodies);
criterion_main!(benches);
