//! What is fuzzed: every parser of bytes from outside. A target panics when a promise is broken, and says in a number
//! which way through the code an input has taken, as far as that shows.
//!
//! Shared by `tests/fuzz` (stable Rust, a short run with every `cargo test`) and the crate `fuzz` (cargo-fuzz).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::task::{Context, Poll, Waker};

use ringway::api::{self, Inputs};
use ringway::base::clock::Instant;
use ringway::buf::Chunk;
use ringway::http::h1::{ClientDecoder, Event, H1Error, H1Settings, ServerDecoder, TargetForm};
use ringway::http::h2::hpack::Decoder;
use ringway::http::h2::{Connection, H2Settings, Output, PREFACE, ResponseEvent};
use ringway::http::{BodyEvent, Method, RequestHead, ResponseHead};
use ringway::server::Configuration;
use ringway::tls::client_hello::ClientHelloParser;
use ringway::transport::proxy_protocol;

/// A target: its name, what it does with an input, inputs to begin with, and words that inputs of its kind are made of.
pub struct Target {
    /// Name of its file in `fuzz_targets`, too.
    pub name: &'static str,
    /// Runs an input.
    pub run: fn(&[u8]) -> u64,
    /// Valid inputs, or nearly.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// What a mutation may insert.
    pub words: &'static [&'static [u8]],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "http1_request", run: http1_request, corpus: http1_corpus, words: HTTP1_WORDS },
    Target { name: "http1_response", run: http1_response, corpus: http1_response_corpus, words: HTTP1_WORDS },
    Target { name: "http2_server", run: http2_server, corpus: http2_server_corpus, words: HTTP2_WORDS },
    Target { name: "http2_client", run: http2_client, corpus: http2_client_corpus, words: HTTP2_WORDS },
    Target { name: "hpack", run: hpack, corpus: hpack_corpus, words: HPACK_WORDS },
    Target { name: "proxy_protocol", run: proxy_protocol, corpus: proxy_corpus, words: PROXY_WORDS },
    Target { name: "client_hello", run: client_hello, corpus: hello_corpus, words: HELLO_WORDS },
    Target { name: "yaml", run: yaml, corpus: yaml_corpus, words: YAML_WORDS },
    Target { name: "configuration", run: configuration, corpus: yaml_corpus, words: YAML_WORDS },
];

/// A number for what was seen.
fn signature(seen: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    hasher.finish()
}

/// The rest of an input in pieces, as its first byte says: all at once, or by a few bytes.
fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let Some((first, rest)) = input.split_first() else { return Vec::new() };
    match first % 4 {
        0 => vec![rest],
        1 => rest.chunks(1).collect(),
        _ => rest.chunks(usize::from(*first)).collect(),
    }
}

const HTTP1_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"GET",
    b"POST",
    b"CONNECT",
    b"HEAD",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"Host: a\r\n",
    b"Content-Length: ",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b";x=\"y\"",
    b"http://",
    b"*",
    b"a:80",
    b"%00",
    b"\0",
    b"\x80",
];

fn http1_corpus() -> Vec<Vec<u8>> {
    let texts = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nbytes",
        "GET http://a/b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\nX: 1\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    ];
    texts
        .iter()
        .flat_map(|text| [[b"\0", text.as_bytes()].concat(), [b"\x03", text.as_bytes()].concat()])
        .collect()
}

fn http1_response_corpus() -> Vec<Vec<u8>> {
    let texts = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: u\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ];
    texts.iter().map(|text| [b"\0", text.as_bytes()].concat()).collect()
}

/// What a decoder makes of an input, and whether it comes to the same for every way of cutting it.
fn transcript<S>(
    pieces: &[&[u8]],
    mut decode: impl FnMut(&mut Chunk) -> Result<Option<Event<S>>, H1Error>,
    describe: impl Fn(&S) -> String,
) -> Vec<String> {
    let (mut lines, mut data_bytes) = (Vec::new(), 0);
    let put_data = |lines: &mut Vec<String>, bytes: &mut usize| {
        if *bytes > 0 {
            lines.push(format!("data {bytes}"));
            *bytes = 0;
        }
    };
    for piece in pieces {
        let mut input = Chunk::copy_from(piece);
        loop {
            match decode(&mut input) {
                Ok(None) => {
                    assert!(input.is_empty(), "input is left");
                    break;
                }
                Ok(Some(Event::Data(chunk))) => {
                    assert!(!chunk.is_empty(), "data of no bytes");
                    data_bytes += chunk.len();
                    continue;
                }
                Ok(Some(Event::Head(start))) => {
                    put_data(&mut lines, &mut data_bytes);
                    lines.push(describe(&start));
                }
                Ok(Some(Event::Trailers(trailers))) => {
                    put_data(&mut lines, &mut data_bytes);
                    lines.push(format!("trailers {trailers:?}"));
                }
                Ok(Some(Event::End)) => {
                    put_data(&mut lines, &mut data_bytes);
                    lines.push("end".into());
                }
                Err(error) => {
                    put_data(&mut lines, &mut data_bytes);
                    lines.push(format!("error {} {}", error.status(), error.details()));
                    return lines;
                }
            }
        }
    }
    put_data(&mut lines, &mut data_bytes);
    lines
}

fn requests(pieces: &[&[u8]]) -> Vec<String> {
    let decoder = std::cell::RefCell::new(ServerDecoder::new(H1Settings::STRICT, "http"));
    let decode = |input: &mut Chunk| {
        let mut decoder = decoder.borrow_mut();
        let event = decoder.decode(input);
        if let Ok(Some(Event::Head(start))) = &event {
            decoder.resume(start.upgrade || start.form == TargetForm::Authority);
        }
        event
    };
    transcript(pieces, decode, |start| {
        format!("{:?} {:?} {} {:?}", start.form, start.framing, start.keep_alive, start.head.headers)
    })
}

/// HTTP/1.1 requests: the cutting does not matter.
pub fn http1_request(input: &[u8]) -> u64 {
    let Some((_, whole)) = input.split_first() else { return 0 };
    // Malformed heads are noticed before their end, but not always at the same byte.
    let whole = [whole, b"\r\n\r\n"].concat();
    let at_once = requests(&[&whole]);
    let first = [&input[..1], &whole].concat();
    let cut = requests(&pieces(&first));
    assert_eq!(at_once, cut, "how the bytes are cut matters");
    // Names and values are of no interest for the way taken.
    signature(
        at_once.iter().map(|line| line.split(" {").next().unwrap_or("").to_string()).collect::<Vec<_>>(),
    )
}

/// HTTP/1.1 responses, likewise.
pub fn http1_response(input: &[u8]) -> u64 {
    let Some((first, whole)) = input.split_first() else { return 0 };
    let whole = [whole, b"\r\n\r\n"].concat();
    let responses = |pieces: &[&[u8]]| {
        let mut decoder = ClientDecoder::new(H1Settings::STRICT);
        let method = if first & 8 == 0 { Method::Get } else { Method::Head };
        decoder.expect_response(method, first & 16 != 0);
        transcript(
            pieces,
            |input| {
                if decoder.is_idle() {
                    // What comes behind the response is nobody's.
                    input.advance(input.len());
                    return Ok(None);
                }
                decoder.decode(input)
            },
            |start| format!("{} {:?}", start.head.status(), start.framing),
        )
    };
    let at_once = responses(&[&whole]);
    let first = [&input[..1], &whole].concat();
    assert_eq!(at_once, responses(&pieces(&first)), "how the bytes are cut matters");
    signature(at_once)
}

const HTTP2_WORDS: &[&[u8]] = &[
    b"\0\0\0\0\x01\0\0\0\x01",
    b"\0\0\x05\0\0\0\0\0\x01hello",
    b"\0\0\x04\x08\0\0\0\0\0\0\0\x01\0",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\x08\x06\0\0\0\0\x0012345678",
    b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x10",
    b"\0\0\x04\x01\x05\0\0\0\x03\x82\x86\x84\x41",
    b"\0\0\x01\x09\x04\0\0\0\x01\x82",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\0\x40\0",
    b"\0\x40\x01",
    b"\x82\x86\x84",
    b"\x88",
    b"\x0f\x0d\x01\x35",
];

/// HEADERS of a GET (indexed fields and a literal authority), DATA, and the rest of a connection's life.
fn http2_server_corpus() -> Vec<Vec<u8>> {
    let settings = b"\0\0\0\x04\0\0\0\0\0".as_slice();
    let get = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a".as_slice();
    let post = b"\0\0\x06\x01\x04\0\0\0\x03\x83\x86\x84\x41\x01a\0\0\x05\0\x01\0\0\0\x03hello".as_slice();
    let sized =
        b"\0\0\x0a\x01\x04\0\0\0\x05\x83\x86\x84\x41\x01a\x0f\x0d\x01\x35\0\0\x05\0\x01\0\0\0\x05hello"
            .as_slice();
    let trailers =
        b"\0\0\x06\x01\x04\0\0\0\x03\x83\x86\x84\x41\x01a\0\0\x05\x01\x05\0\0\0\x03\0\x01x\x01y".as_slice();
    let split = b"\0\0\x03\x01\x01\0\0\0\x01\x82\x86\x84\0\0\x03\x09\x04\0\0\0\x01\x41\x01a".as_slice();
    let resets = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08\0\0\x04\x08\0\0\0\0\x01\0\0\x10\0".as_slice();
    let control =
        b"\0\0\x08\x06\0\0\0\0\x0012345678\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x05\0\0\0\x04\x01\0\0\0\0"
            .as_slice();
    [get, post, sized, trailers, split, resets, control]
        .iter()
        .flat_map(|frames| [[b"\0", settings, frames].concat(), [b"\x07", settings, get, frames].concat()])
        .collect()
}

fn http2_client_corpus() -> Vec<Vec<u8>> {
    let settings = b"\0\0\0\x04\0\0\0\0\0".as_slice();
    let ok = b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x05\0\x01\0\0\0\x01hello".as_slice();
    let empty = b"\0\0\x01\x01\x05\0\0\0\x03\x88".as_slice();
    let interim = b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03103\0\0\x01\x01\x05\0\0\0\x01\x88".as_slice();
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x88".as_slice();
    let trailers = b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x05\x01\x05\0\0\0\x01\0\x01x\x01y".as_slice();
    [ok, empty, interim, goaway, trailers].iter().map(|frames| [b"\0", settings, frames].concat()).collect()
}

/// A socket that takes everything.
#[derive(Default)]
struct Sink(Vec<u8>);

impl Output for Sink {
    fn room_bytes(&self) -> usize {
        1 << 16
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn write_chunk(&mut self, chunk: Chunk) {
        self.0.extend_from_slice(&chunk);
    }
}

impl Sink {
    /// Everything written is whole frames; their kinds.
    fn kinds(&self, skip: usize) -> Vec<u8> {
        let (mut at, mut kinds) = (skip, Vec::new());
        while at < self.0.len() {
            let header = &self.0[at..at + 9];
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            assert!(length <= 16_384, "a frame of {length} bytes was written");
            kinds.push(header[3]);
            at += 9 + length;
        }
        assert_eq!(at, self.0.len(), "half a frame was written");
        kinds.dedup();
        kinds
    }
}

/// Small limits, so that they are met.
fn small(settings: H2Settings) -> H2Settings {
    H2Settings { max_header_bytes: 2_000, max_header_count: 20, max_concurrent_streams: 4, ..settings }
}

/// What a connection may hold besides data: the limits above, and what cannot be less.
const HELD_MAX_BYTES: usize = 200_000;

/// A HTTP/2 server: answers every request with its body.
pub fn http2_server(input: &[u8]) -> u64 {
    let mut connection = Connection::server(small(H2Settings::SERVER));
    let (mut sink, mut cx) = (Sink::default(), Context::from_waker(Waker::noop()));
    let mut open = Vec::new();
    let mut seen = Vec::new();
    let mut now = Instant::from_nanos(1);
    let mut all: Vec<&[u8]> = vec![PREFACE];
    all.extend(pieces(input));
    for piece in all {
        now = now + std::time::Duration::from_millis(1);
        if let Err(error) = connection.receive(Chunk::copy_from(piece), now) {
            seen.push(error.to_string());
        }
        while let Some(request) = connection.next_request() {
            if request.overflow.is_some() {
                connection.release(request.stream);
                continue;
            }
            connection.send_response(request.stream, &ResponseHead::new(200), false);
            open.push(request.stream);
        }
        open.retain(|stream| {
            loop {
                match connection.poll_body(*stream, &mut cx) {
                    Poll::Ready(Ok(BodyEvent::Data(chunk))) => connection.send_data(*stream, chunk, false),
                    Poll::Ready(Ok(BodyEvent::Trailers(trailers))) => {
                        connection.send_trailers(*stream, &trailers)
                    }
                    Poll::Ready(Ok(BodyEvent::End)) => {
                        connection.send_end(*stream);
                        connection.release(*stream);
                        seen.push("answered".into());
                        return false;
                    }
                    Poll::Ready(Err(error)) => {
                        seen.push(error.to_string());
                        connection.release(*stream);
                        return false;
                    }
                    Poll::Pending => return true,
                }
            }
        });
        connection.write_output(&mut sink);
        let held = connection.heap_bytes();
        assert!(held.others < HELD_MAX_BYTES && held.hpack_tables < 64_000, "{held:?} held");
    }
    open.iter().for_each(|stream| connection.release(*stream));
    connection.transport_closed();
    assert!(connection.ended().is_some());
    signature((seen, sink.kinds(0)))
}

/// A HTTP/2 client with two requests under way.
pub fn http2_client(input: &[u8]) -> u64 {
    let mut connection = Connection::client(small(H2Settings::CLIENT));
    let (mut sink, mut cx) = (Sink::default(), Context::from_waker(Waker::noop()));
    let mut open = Vec::new();
    for method in [Method::Get, Method::Head] {
        open.extend(connection.open(&RequestHead::new(method, "http", b"a", b"/"), true));
    }
    let mut seen = Vec::new();
    for piece in pieces(input) {
        if let Err(error) = connection.receive(Chunk::copy_from(piece), Instant::from_nanos(1)) {
            seen.push(error.to_string());
        }
        open.retain(|stream| {
            loop {
                match connection.poll_response(*stream, &mut cx) {
                    Poll::Ready(Ok(event)) => {
                        let (name, is_end) = match event {
                            ResponseEvent::Informational(_) => ("interim", false),
                            ResponseEvent::Head { end_stream, .. } => ("head", end_stream),
                            ResponseEvent::Data { end_stream, .. } => ("data", end_stream),
                            ResponseEvent::Trailers(_) => ("trailers", true),
                        };
                        seen.push(name.to_string());
                        if is_end {
                            connection.release(*stream);
                            return false;
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        seen.push(error.to_string());
                        connection.release(*stream);
                        return false;
                    }
                    Poll::Pending => return true,
                }
            }
        });
        connection.write_output(&mut sink);
        let held = connection.heap_bytes();
        assert!(held.others < HELD_MAX_BYTES && held.hpack_tables < 64_000, "{held:?} held");
    }
    open.iter().for_each(|stream| connection.release(*stream));
    connection.transport_closed();
    let skip = PREFACE.len().min(sink.0.len());
    seen.dedup();
    signature((seen, sink.kinds(skip)))
}

const HPACK_WORDS: &[&[u8]] = &[
    b"\x82",
    b"\x88",
    b"\x40\x01a\x01b",
    b"\x00\x01a\x01b",
    b"\x10\x01a\x01b",
    b"\xbe",
    b"\xff\x80\x80\x80\x01",
    b"\x20",
    b"\x3f\xe1\x1f",
    b"\x3f\x81\x3f",
    b"\x7f\xff\xff\xff\x7f",
    b"\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
];

fn hpack_corpus() -> Vec<Vec<u8>> {
    vec![
        b"\0\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff".to_vec(),
        b"\x05\x40\x0acustom-key\x0dcustom-header\xbe\xbe".to_vec(),
        b"\x03\x20\x3f\xe1\x1f\x82\x00\x01a\x01b\x10\x01c\x01d".to_vec(),
    ]
}

/// Header blocks: the cutting does not matter.
pub fn hpack(input: &[u8]) -> u64 {
    type Fields = Vec<(Vec<u8>, Vec<u8>)>;
    let Some((_, whole)) = input.split_first() else { return 0 };
    let decode = |pieces: &[&[u8]]| -> Result<Fields, String> {
        let (mut decoder, mut fields, mut rest) = (Decoder::default(), Vec::new(), Vec::new());
        for (at, piece) in pieces.iter().enumerate() {
            rest.extend_from_slice(piece);
            let is_last = at + 1 == pieces.len();
            let used = decoder
                .decode(&rest, is_last, |field| fields.push((field.name.to_vec(), field.value.to_vec())))
                .map_err(|error| error.to_string())?;
            rest.drain(..used);
            assert!(decoder.heap_bytes() < 64_000, "{} bytes in a table", decoder.heap_bytes());
        }
        Ok(fields)
    };
    let at_once = decode(&[whole]);
    let cut = decode(&pieces(input));
    match (&at_once, &cut) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "how the bytes are cut matters"),
        (Err(_), Err(_)) => {}
        _ => assert!(whole.is_empty(), "only one of both ways is an error: {at_once:?} {cut:?}"),
    }
    signature(at_once.map(|fields| fields.len()))
}

const PROXY_WORDS: &[&[u8]] = &[
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"\r\n",
    b"127.0.0.1 ",
    b"::1 ",
    b"65535",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x20\0\0\0",
    b"\x03\0\x04abcd",
];

fn proxy_corpus() -> Vec<Vec<u8>> {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n".as_slice();
    vec![
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\nGET".to_vec(),
        b"PROXY TCP6 ::1 2001:db8::1 1 65535\r\n".to_vec(),
        b"PROXY UNKNOWN whatever\r\n".to_vec(),
        [v2, b"\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x50\x01\xbb"].concat(),
        [v2, b"\x21\x21\0\x28", &[7; 36], b"\x03\0\x01a"].concat(),
        [v2, b"\x20\0\0\0rest"].concat(),
    ]
}

/// PROXY protocol headers: what was read survives being written, and more bytes change nothing.
pub fn proxy_protocol(input: &[u8]) -> u64 {
    use proxy_protocol::{Parsed, parse, write};
    let parsed = parse(input);
    match parsed {
        Ok(Parsed::Header(header)) => {
            assert!(header.len_bytes <= input.len(), "longer than what came");
            assert_eq!(parse(&input[..header.len_bytes]), parsed, "what follows matters");
            let mut written = Vec::new();
            write(header.version, header.addresses, b"", &mut written);
            match parse(&written) {
                Ok(Parsed::Header(again)) => assert_eq!(again.addresses, header.addresses),
                other => panic!("what was written is {other:?}"),
            }
        }
        Ok(Parsed::More { need_bytes }) => assert!(need_bytes > input.len(), "needs no more than it has"),
        Ok(Parsed::Absent) | Err(_) => {}
    }
    let name = match parsed {
        Ok(Parsed::Header(header)) => format!("{:?} {}", header.version, header.addresses.is_some()),
        Ok(Parsed::More { .. }) => "more".into(),
        other => format!("{other:?}"),
    };
    signature(name)
}

const HELLO_WORDS: &[&[u8]] = &[
    b"\x16\x03\x01",
    b"\x01\0",
    b"\0\0",
    b"\0\x10",
    b"\0\x2b",
    b"\x02h2",
    b"\x08http/1.1",
    b"\xff\xff",
    b"\0\x05",
    b"\0\x0a",
    b"\0\x0d",
];

/// A client hello with a server name, ALPN and versions, in one record and in two.
fn hello_corpus() -> Vec<Vec<u8>> {
    let name = b"\0\0\0\x0e\0\x0c\0\0\x09localhost";
    let alpn = b"\0\x10\0\x0e\0\x0c\x02h2\x08http/1.1";
    let versions = b"\0\x2b\0\x03\x02\x03\x04";
    let extensions = [&name[..], alpn, versions].concat();
    let mut body = b"\x03\x03".to_vec();
    body.extend([7; 32]);
    body.extend(b"\0\0\x04\x13\x01\x13\x02\x01\0");
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(&extensions);
    let mut handshake = vec![1, 0];
    handshake.extend((body.len() as u16).to_be_bytes());
    handshake.extend(&body);
    let record = |bytes: &[u8]| [&b"\x16\x03\x01"[..], &(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let (first, second) = handshake.split_at(20);
    vec![[&b"\0"[..], &record(&handshake)].concat(), [&b"\x06"[..], &record(first), &record(second)].concat()]
}

/// Client hellos: the cutting does not matter, and everything in one can be asked for.
pub fn client_hello(input: &[u8]) -> u64 {
    let Some((_, whole)) = input.split_first() else { return 0 };
    let feed = |pieces: &[&[u8]]| {
        let mut parser = ClientHelloParser::new();
        for piece in pieces {
            match parser.feed(piece) {
                Ok(None) => {}
                other => return other,
            }
        }
        Ok(None)
    };
    let at_once = feed(&[whole]);
    assert_eq!(at_once, feed(&pieces(input)), "how the bytes are cut matters");
    let Ok(Some(hello)) = &at_once else { return signature(format!("{at_once:?}")) };
    let lists = (
        hello.alpn_protocols().count(),
        hello.cipher_suites().count(),
        hello.supported_versions().count(),
        hello.supported_groups().count() + hello.signature_schemes().count(),
    );
    signature((hello.server_name().is_some(), hello.offers_tls13(), hello.requests_ocsp(), lists))
}

const YAML_WORDS: &[&[u8]] = &[
    b": ",
    b"- ",
    b"\n",
    b"  ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"&a ",
    b"*a",
    b"!ignore ",
    b"|\n",
    b">-\n",
    b"\"",
    b"'",
    b"\\u0000",
    b"---\n",
    b"...\n",
    b"# ",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"0x7f",
    b"\"@type\": ",
    b"type.googleapis.com/",
    b"static_resources",
    b"0.5s",
    b"<<: ",
    b"? ",
    b"\t",
    b"\xef\xbb\xbf",
];

fn yaml_corpus() -> Vec<Vec<u8>> {
    let configuration = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}\n\
        static_resources:\n  clusters:\n  - name: origin\n    connect_timeout: 1.5s\n    load_assignment:\n      cluster_name: origin\n      endpoints:\n\
        \u{20}     - lb_endpoints:\n        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8001}}}\n";
    vec![
        configuration.into(),
        b"a: &x [1, two, 'three']\nb: *x\nc: {d: \"e\\n\", f: |\n  text\n  text\n}\n".to_vec(),
        b"node: {id: a, metadata: {x: [1.5, true, null]}}\nstats_flush_interval: 5s\n".to_vec(),
    ]
}

/// YAML: any text is read or refused.
pub fn yaml(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    match api::yaml::parse(text, 0) {
        Ok(document) => signature(document.root.map(|root| format!("{root:?}").len().ilog2())),
        Err(error) => {
            signature(error.to_string().chars().filter(|c| !c.is_ascii_digit()).collect::<String>())
        }
    }
}

/// Whole configurations: read or refused with places.
pub fn configuration(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    match Configuration::load(Inputs { config_yaml: Some(text), ..Inputs::default() }) {
        Ok(_) => 1,
        Err(errors) => {
            let text = errors.to_string();
            assert!(!text.is_empty(), "refused without a word");
            let line = text.lines().next().unwrap_or("");
            signature(line.split(['`', '"', ':']).next().unwrap_or("").to_string())
        }
    }
}
