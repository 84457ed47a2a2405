//! One exchange through a server's and a client's connection. Goals (release): request and response with their heads in a warm
//! table and small bodies below 1 us for all four connections that they pass: client, server, and their answers.

// criterion_group! makes an undocumented function.
#![allow(missing_docs)]

use std::hint::black_box;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::base::clock::Instant;
use ringway::buf::{Chunk, Pool, recycle_vec, take_vec};
use ringway::http::h2::{Connection, H2Settings, Output, ResponseEvent};
use ringway::http::{BodyEvent, Method, RequestHead, ResponseHead, Version, header};

/// What a socket does: buffers and chunks in order.
struct Wire {
    pieces: Vec<Chunk>,
    tail: Vec<u8>,
}

impl Wire {
    fn new() -> Wire {
        Wire { pieces: Vec::new(), tail: Vec::new() }
    }

    /// Hands everything over, as it would arrive.
    fn deliver(&mut self, to: &mut Connection) {
        if !self.tail.is_empty() {
            self.pieces.push(Chunk::from_vec(std::mem::take(&mut self.tail)));
        }
        for piece in self.pieces.drain(..) {
            to.receive(piece, Instant::default()).expect("no error");
        }
    }
}

impl Output for Wire {
    fn room_bytes(&self) -> usize {
        1 << 20
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = take_vec();
        }
        &mut self.tail
    }

    fn write_chunk(&mut self, chunk: Chunk) {
        if !self.tail.is_empty() {
            self.pieces.push(Chunk::from_vec(std::mem::take(&mut self.tail)));
        }
        self.pieces.push(chunk);
    }
}

struct Pair {
    client: Connection,
    server: Connection,
    wire: Wire,
}

impl Pair {
    fn new() -> Pair {
        let limits = ringway::http::h2::FloodLimits {
            max_window_updates_per_data_frame: 1_000,
            ..H2Settings::SERVER.limits
        };
        let mut pair = Pair {
            client: Connection::client(H2Settings { limits, ..H2Settings::CLIENT }),
            server: Connection::server(H2Settings { limits, ..H2Settings::SERVER }),
            wire: Wire::new(),
        };
        pair.carry_to_server();
        pair.carry_to_client();
        pair.carry_to_server();
        pair
    }

    fn carry_to_server(&mut self) {
        self.client.write_output(&mut self.wire);
        self.wire.deliver(&mut self.server);
    }

    fn carry_to_client(&mut self) {
        self.server.write_output(&mut self.wire);
        self.wire.deliver(&mut self.client);
    }
}

fn request_head() -> RequestHead {
    let mut head = RequestHead::new(Method::Get, "https", b"www.example.com", b"/static/app.js?v=12345");
    for (name, value) in [
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        (header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.5"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::REFERER, "https://www.example.com/index.html"),
        (header::COOKIE, "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ] {
        head.headers.append(name, value.as_bytes());
    }
    head
}

fn response_head() -> ResponseHead {
    let fields = [
        (header::SERVER, "origin/1.0"),
        (header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "max-age=60"),
        (header::VARY, "accept-encoding"),
    ];
    ResponseHead::with_headers(fields.into_iter().collect(), 200, Version::Http2)
}

fn small_head() -> RequestHead {
    RequestHead::new(Method::Post, "http", b"localhost:8080", b"/pkg.Service/Method")
}

/// `streams` exchanges at once: requests with a body of `request_bytes`, responses with one of `response_bytes`.
fn exchange(
    pair: &mut Pair,
    request: &RequestHead,
    response: &ResponseHead,
    streams: usize,
    request_body: &Chunk,
    response_body: &Chunk,
) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut ids = [None; 32];
    for id in &mut ids[..streams] {
        let stream = pair.client.open(request, request_body.is_empty()).expect("a stream");
        if !request_body.is_empty() {
            pair.client.send_data(stream, request_body.clone(), true);
        }
        *id = Some(stream);
    }
    pair.carry_to_server();
    while let Some(incoming) = pair.server.next_request() {
        let stream = incoming.stream;
        black_box(&incoming.head);
        loop {
            match pair.server.poll_body(stream, &mut cx) {
                Poll::Ready(Ok(BodyEvent::Data(chunk))) => drop(black_box(chunk)),
                Poll::Ready(Ok(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        pair.server.send_response(stream, response, response_body.is_empty());
        if !response_body.is_empty() {
            pair.server.send_data(stream, response_body.clone(), true);
        }
        pair.server.release(stream);
    }
    pair.carry_to_client();
    for stream in ids.into_iter().flatten() {
        loop {
            match pair.client.poll_response(stream, &mut cx) {
                Poll::Ready(Ok(ResponseEvent::Head { head, end_stream })) => {
                    black_box(&head);
                    if end_stream {
                        break;
                    }
                }
                Poll::Ready(Ok(ResponseEvent::Data { chunk, end_stream })) => {
                    black_box(&chunk);
                    if end_stream {
                        break;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        pair.client.release(stream);
    }
}

fn exchanges(c: &mut Criterion) {
    // Chunks come from a pool, as in a worker.
    let _pool = Pool::install(64).expect("a pool");
    recycle_vec(Vec::with_capacity(4096));
    let bodies = [Chunk::new(), Chunk::copy_from(&[b'x'; 100]), Chunk::copy_from(&[b'x'; 16_000])];
    for (name, request) in [("small head", small_head()), ("browser's head", request_head())] {
        for (body_name, request_body, response_body) in [
            ("no bodies", &bodies[0], &bodies[0]),
            ("100 B both ways", &bodies[1], &bodies[1]),
            ("16 kB response", &bodies[0], &bodies[2]),
        ] {
            for streams in [1, 32] {
                let mut pair = Pair::new();
                let response = response_head();
                let mut group = c.benchmark_group("exchange");
                group.throughput(Throughput::Elements(streams as u64));
                group.bench_function(format!("{name}, {body_name}, {streams} streams"), |b| {
                    b.iter(|| exchange(&mut pair, &request, &response, streams, request_body, response_body));
                });
            }
        }
    }
}

/// The same with the h2 crate, over a pipe in memory.
fn h2_crate(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for streams in [1usize, 32] {
        let client = runtime.block_on(async {
            let (client_pipe, server_pipe) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let mut server = h2::server::handshake(server_pipe).await.expect("a connection");
                while let Some(Ok((request, mut respond))) = server.accept().await {
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(Ok(data)) = body.data().await {
                            body.flow_control().release_capacity(data.len()).expect("released");
                        }
                        let response = http::Response::builder()
                            .header("server", "origin/1.0")
                            .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
                            .header("content-type", "application/json")
                            .header("cache-control", "max-age=60")
                            .header("vary", "accept-encoding")
                            .body(())
                            .expect("valid");
                        let mut stream = respond.send_response(response, false).expect("sent");
                        stream.send_data(bytes::Bytes::from_static(&[b'x'; 100]), true).expect("sent");
                    });
                }
            });
            let (client, driver) = h2::client::handshake(client_pipe).await.expect("a connection");
            tokio::spawn(driver);
            client.ready().await.expect("ready")
        });
        let mut group = c.benchmark_group("h2 crate");
        group.throughput(Throughput::Elements(streams as u64));
        group.bench_function(format!("exchange, small head, 100 B both ways, {streams} streams"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut responses = Vec::with_capacity(streams);
                    let mut client = client.clone();
                    for _ in 0..streams {
                        let request = http::Request::builder()
                            .method("POST")
                            .uri("http://localhost:8080/pkg.Service/Method")
                            .body(())
                            .expect("valid");
                        let (response, mut stream) = client.send_request(request, false).expect("sent");
                        stream.send_data(bytes::Bytes::from_static(&[b'x'; 100]), true).expect("sent");
                        responses.push(response);
                    }
                    for response in responses {
                        let mut body = response.await.expect("a response").into_body();
                        while let Some(Ok(data)) = body.data().await {
                            body.flow_control().release_capacity(data.len()).expect("released");
                        }
                    }
                });
            });
        });
    }
}

criterion_group!(benches, exchanges, h2_crate);
criterion_main!(benches);
