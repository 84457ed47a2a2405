//! The steady path of HTTP/2 takes no memory from the allocator: a client's and a server's connection exchange requests and
//! responses with bodies and trailers, and what the thread allocates is counted once everything has grown to its size.

use std::task::{Context, Poll, Waker};

use ringway::base::clock::Instant;
use ringway::buf::{Chunk, Pool, take_vec};
use ringway::http::h2::{Connection, H2Settings, Output, ResponseEvent, StreamId};
use ringway::http::{BodyEvent, HeaderMap, Method, RequestHead, ResponseHead, Version, header};
use ringway_test_support::counting_allocator::{CountingAllocator, count_this_thread, counted};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const STREAMS: usize = 50;

/// A wire between two connections.
#[derive(Default)]
struct Wire {
    pieces: Vec<Chunk>,
    tail: Vec<u8>,
}

impl Wire {
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(Chunk::from_vec(std::mem::take(&mut self.tail)));
        }
    }

    fn carry(&mut self, from: &mut Connection, to: &mut Connection) {
        from.write_output(self);
        self.seal();
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
        self.seal();
        self.pieces.push(chunk);
    }
}

struct World {
    client: Connection,
    server: Connection,
    wire: Wire,
    request: RequestHead,
    response: ResponseHead,
    trailers: HeaderMap,
    body: Chunk,
    streams: Vec<StreamId>,
}

impl World {
    fn new() -> World {
        let mut request = RequestHead::new(Method::Post, "http", b"test.local", b"/path?query=1");
        request.headers.append(header::USER_AGENT, b"test");
        request.headers.append("x-custom", b"value");
        let fields = [(header::CONTENT_TYPE, "text/plain"), (header::SERVER, "test")];
        World {
            client: Connection::client(H2Settings::CLIENT),
            server: Connection::server(H2Settings::SERVER),
            wire: Wire::default(),
            request,
            response: ResponseHead::with_headers(fields.into_iter().collect(), 200, Version::Http2),
            trailers: [("grpc-status", "0")].into_iter().collect(),
            body: Chunk::copy_from(&[b'x'; 5_000]),
            streams: Vec::with_capacity(STREAMS),
        }
    }

    fn round(&mut self, number: u64) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..STREAMS {
            // Identifiers of requests are new each time.
            let mut head = self.request.clone();
            head.headers.set(header::X_REQUEST_ID, &number.to_be_bytes().map(|byte| b'a' + byte % 16));
            let stream = self.client.open(&head, false).expect("a stream");
            self.client.send_data(stream, self.body.clone(), false);
            self.client.send_data(stream, Chunk::from_static(b"small"), true);
            self.streams.push(stream);
        }
        self.wire.carry(&mut self.client, &mut self.server);
        while let Some(incoming) = self.server.next_request() {
            let stream = incoming.stream;
            while let Poll::Ready(Ok(BodyEvent::Data(_))) = self.server.poll_body(stream, &mut cx) {}
            self.server.send_response(stream, &self.response, false);
            self.server.send_data(stream, self.body.clone(), false);
            self.server.send_trailers(stream, &self.trailers);
            self.server.release(stream);
        }
        for _ in 0..3 {
            self.wire.carry(&mut self.server, &mut self.client);
            for stream in &self.streams {
                while let Poll::Ready(Ok(event)) = self.client.poll_response(*stream, &mut cx) {
                    if matches!(event, ResponseEvent::Trailers(_)) {
                        break;
                    }
                }
            }
            self.wire.carry(&mut self.client, &mut self.server);
        }
        for stream in self.streams.drain(..) {
            self.client.release(stream);
        }
        assert!(self.client.is_idle() && self.server.is_idle());
    }
}

#[test]
fn exchanges_do_not_allocate() {
    let _pool = Pool::install(64).expect("a pool");
    let mut world = World::new();
    for number in 0..100 {
        world.round(number);
    }
    count_this_thread();
    let before = counted();
    for number in 100..200 {
        world.round(number);
    }
    assert_eq!(counted() - before, 0, "allocations in {} exchanges", 100 * STREAMS);
}
