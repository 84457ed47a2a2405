//! The codec as a whole, against a scripted peer, against itself, and against the h2 crate. Here: what the tests have in common.
//!
//! A [`Peer`] is the other side of a connection, made of plain frames. What it gets is told in lines such as
//! `HEADERS 1 END_STREAM :status=200`, so that a test reads as a transcript.

mod client;
mod closing;
mod floods;
mod flow_control;
mod frames;
mod interop;
mod malformed;
mod memory;
mod properties;
mod server;

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::frame::{self, FrameHeader, HEADER_BYTES, Kind, flag};
use super::*;
use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::http::header::lookup;
use crate::http::{BodyEvent, HeaderMap, Method, RequestHead, ResponseHead};

const END: u8 = flag::END_STREAM;
const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// What is written, chunks and buffers joined.
#[derive(Debug)]
struct Written {
    bytes: Vec<u8>,
    limit_bytes: usize,
    chunks: usize,
}

impl Written {
    fn new() -> Written {
        Written { bytes: Vec::new(), limit_bytes: usize::MAX, chunks: 0 }
    }
}

impl Output for Written {
    fn room_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.bytes.len())
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn write_chunk(&mut self, chunk: Chunk) {
        self.chunks += 1;
        self.bytes.extend_from_slice(&chunk);
    }
}

/// The other side of `connection`.
struct Peer {
    connection: Connection,
    now: Instant,
    encoder: hpack::Encoder,
    decoder: hpack::Decoder,
    /// Written by the connection and not yet looked at.
    received: Written,
}

impl Peer {
    /// A client of a server: its preface and SETTINGS are sent, the server's are read.
    fn of_server(settings: H2Settings) -> Peer {
        let mut peer = Peer::unprepared(Connection::server(settings));
        peer.send(frame::PREFACE);
        peer.send_frame(Kind::SETTINGS, 0, 0, b"");
        peer.send_frame(Kind::SETTINGS, flag::ACK, 0, b"");
        peer.frames();
        peer
    }

    /// A server of a client, likewise.
    fn of_client(settings: H2Settings) -> Peer {
        let mut peer = Peer::unprepared(Connection::client(settings));
        peer.send_frame(Kind::SETTINGS, 0, 0, b"");
        peer.send_frame(Kind::SETTINGS, flag::ACK, 0, b"");
        peer.frames();
        peer
    }

    fn unprepared(connection: Connection) -> Peer {
        Peer {
            connection,
            now: Instant::from_nanos(1_000_000_000),
            encoder: hpack::Encoder::new(4096),
            decoder: hpack::Decoder::default(),
            received: Written::new(),
        }
    }

    /// Sends bytes that must be accepted.
    #[track_caller]
    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.try_send(bytes), Ok(()));
    }

    fn try_send(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.connection.receive(Chunk::copy_from(bytes), self.now)
    }

    #[track_caller]
    fn send_frame(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame_bytes(kind, flags, stream, payload));
    }

    fn try_send_frame(
        &mut self,
        kind: Kind,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        self.try_send(&frame_bytes(kind, flags, stream, payload))
    }

    /// A header block, in the state of this peer's table.
    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        for (name, value) in fields {
            let id = if *name == "host" { 0 } else { lookup(name.as_bytes()) };
            self.encoder.field(id, name.as_bytes(), value.as_bytes(), false, &mut block);
        }
        block
    }

    fn headers_bytes(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        let block = self.block(fields);
        frame_bytes(Kind::HEADERS, flags | flag::END_HEADERS, stream, &block)
    }

    #[track_caller]
    fn send_headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        let bytes = self.headers_bytes(stream, flags, fields);
        self.send(&bytes);
    }

    fn try_send_headers(
        &mut self,
        stream: u32,
        flags: u8,
        fields: &[(&str, &str)],
    ) -> Result<(), ConnectionError> {
        let bytes = self.headers_bytes(stream, flags, fields);
        self.try_send(&bytes)
    }

    #[track_caller]
    fn send_data(&mut self, stream: u32, flags: u8, data: &[u8]) {
        self.send_frame(Kind::DATA, flags, stream, data);
    }

    #[track_caller]
    fn send_window_update(&mut self, stream: u32, increment: u32) {
        self.send_frame(Kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    #[track_caller]
    fn send_setting(&mut self, id: u16, value: u32) {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        self.send_frame(Kind::SETTINGS, 0, 0, &payload);
    }

    /// The next request, taken from the server.
    #[track_caller]
    fn request(&mut self) -> IncomingRequest {
        self.connection.next_request().expect("a request")
    }

    /// Sends a request and takes it.
    #[track_caller]
    fn send_request(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> StreamId {
        self.send_headers(stream, flags, fields);
        let request = self.request();
        assert_eq!(request.stream.get(), stream);
        request.stream
    }

    /// Opens a stream on the client with an ordinary request.
    #[track_caller]
    fn open(&mut self, method: Method<'_>, end_stream: bool) -> StreamId {
        let head = RequestHead::new(method, "http", b"a", b"/");
        self.connection.open(&head, end_stream).expect("a stream")
    }

    /// Everything that comes next, a line for each frame.
    #[track_caller]
    fn frames(&mut self) -> Vec<String> {
        self.connection.write_output(&mut self.received);
        let bytes = std::mem::take(&mut self.received.bytes);
        let bytes = bytes.strip_prefix(frame::PREFACE).unwrap_or(&bytes);
        let mut lines = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let header = FrameHeader::read(bytes[at..].first_chunk().expect("a whole header"));
            let payload = &bytes[at + HEADER_BYTES..][..header.payload_bytes];
            at += HEADER_BYTES + header.payload_bytes;
            lines.push(self.line(header, payload));
        }
        lines
    }

    fn line(&mut self, header: FrameHeader, payload: &[u8]) -> String {
        let number = |at: usize| u32::from_be_bytes(payload[at..][..4].try_into().expect("four bytes"));
        let end = if header.has(flag::END_STREAM) { " END_STREAM" } else { "" };
        let stream = header.stream;
        match header.kind {
            Kind::DATA if payload.len() > 40 => format!("DATA {stream}{end} {} bytes", payload.len()),
            Kind::DATA => format!("DATA {stream}{end} {}", payload.escape_ascii()),
            Kind::HEADERS => {
                let mut line = format!("HEADERS {stream}{end}");
                let decoded = self.decoder.decode(payload, header.has(flag::END_HEADERS), |field| {
                    line += &format!(" {}={}", field.name.escape_ascii(), field.value.escape_ascii());
                });
                decoded.expect("a valid block");
                line
            }
            Kind::RST_STREAM => format!("RST_STREAM {stream} {}", ErrorCode(number(0))),
            Kind::SETTINGS if header.has(flag::ACK) => "SETTINGS ACK".into(),
            Kind::SETTINGS => payload.chunks(6).fold("SETTINGS".into(), |line, setting| {
                let value = u32::from_be_bytes(setting[2..].try_into().expect("four bytes"));
                format!("{line} {}={value}", setting[1])
            }),
            Kind::PING if header.has(flag::ACK) => format!("PING ACK {}", payload.escape_ascii()),
            Kind::PING => format!("PING {}", payload.escape_ascii()),
            Kind::GOAWAY => format!("GOAWAY {} {}", number(0), ErrorCode(number(4))),
            Kind::WINDOW_UPDATE => format!("WINDOW_UPDATE {stream} {}", number(0)),
            other => format!("{other:?}"),
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }
}

fn frame_bytes(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_header(payload.len(), kind, flags, stream, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    fields.iter().copied().collect()
}

fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    ResponseHead::with_headers(map(fields), status, crate::http::Version::Http2)
}

/// Everything that a stream has now, as one line each; data joined.
fn body(connection: &mut Connection, stream: StreamId) -> Vec<String> {
    let (mut lines, mut data) = (Vec::new(), Vec::new());
    loop {
        let event = connection.poll_body(stream, &mut context());
        if let Poll::Ready(Ok(BodyEvent::Data(chunk))) = &event {
            data.extend_from_slice(chunk);
            continue;
        }
        if !data.is_empty() {
            lines.push(format!("data {}", data.escape_ascii()));
            data.clear();
        }
        match event {
            Poll::Pending => lines.push("pending".into()),
            Poll::Ready(Ok(BodyEvent::End)) => lines.push("end".into()),
            Poll::Ready(Ok(BodyEvent::Trailers(trailers))) => lines.push(format!("trailers {trailers:?}")),
            Poll::Ready(Ok(BodyEvent::Data(_))) => {}
            Poll::Ready(Err(error)) => lines.push(format!("error {error}")),
        }
        return lines;
    }
}

/// Everything that a response has now, likewise.
fn events(connection: &mut Connection, stream: StreamId) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let (line, is_last) = match connection.poll_response(stream, &mut context()) {
            Poll::Pending => ("pending".into(), true),
            Poll::Ready(Err(error)) => (format!("error {error}"), true),
            Poll::Ready(Ok(ResponseEvent::Informational(head))) => {
                (format!("informational {}", head.status()), false)
            }
            Poll::Ready(Ok(ResponseEvent::Head { head, end_stream })) => {
                (format!("head {:?}{}", head.headers, if end_stream { " end" } else { "" }), end_stream)
            }
            Poll::Ready(Ok(ResponseEvent::Data { chunk, end_stream })) => {
                (format!("data {}{}", chunk.escape_ascii(), if end_stream { " end" } else { "" }), end_stream)
            }
            Poll::Ready(Ok(ResponseEvent::Trailers(trailers))) => (format!("trailers {trailers:?}"), true),
        };
        lines.push(line);
        if is_last {
            return lines;
        }
    }
}

/// Counts how often it was woken.
#[derive(Debug, Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Woken {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
