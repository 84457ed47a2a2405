//! The server side of an HTTP/1 connection: bytes of a stream to requests, responses to bytes
//! (RFC 9112). One stream at a time; pipelined requests wait in the input until they are asked for.
//!
//! It decides nothing about requests and never answers on its own.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::filters::http::LocalReply;
use crate::http::h1::{self, Event, Framing, H1Error, H1Settings, HeaderCase, RequestStart, ServerDecoder};
use crate::http::h2::PREFACE;
use crate::http::{BodyEvent, HeaderMap, Method, RequestHead, ResponseHead, Version, header};
use crate::io;
use crate::stream_info::ResponseFlags;
use crate::transport::Stream;

use super::downstream::{DownstreamError, DownstreamStream, Gone};

/// A client that ends its direction this soon after its request only says that nothing follows
/// (RFC 9112 section 9.6) and is answered. One that does so later has given up, as Envoy sees it.
const HALF_CLOSE_GRACE: Duration = Duration::from_millis(100);

/// An HTTP/1 connection from a client.
pub struct H1Connection {
    stream: Stream,
    decoder: ServerDecoder,
    /// Received and not yet decoded.
    input: Chunk,
    /// The client ended its direction.
    ended: bool,
    /// It did so together with its request, and waits for the answer.
    half_closed: bool,
    /// When the request was complete.
    request_ended: Instant,
    header_case: HeaderCase,
    buffer_limit_bytes: usize,
    trailers_enabled: bool,
    may_be_http2: bool,
    framing: Framing,
    /// Whether the peer speaks HTTP/1.1, so that interim responses may be sent.
    interim_allowed: bool,
    received_before: u64,
    sent_before: u64,
    queued_total: u64,
}

/// What came instead of a request's head.
#[derive(Debug)]
pub enum NoRequest {
    /// The client closed the connection, or it failed.
    Closed,
    /// What came is no request.
    Broken(H1Error),
    /// The client speaks HTTP/2; what has been received waits in the connection.
    Http2,
}

enum Sniffed {
    Http1,
    Http2,
    /// More must be seen.
    Unknown,
}

impl H1Connection {
    /// Takes over `stream`. `scheme` is `http`, or over TLS `https`.
    pub fn new(
        stream: Stream,
        settings: H1Settings,
        scheme: &'static str,
        header_case: HeaderCase,
        buffer_limit_bytes: usize,
    ) -> H1Connection {
        H1Connection {
            stream,
            decoder: ServerDecoder::new(settings, scheme),
            input: Chunk::new(),
            ended: false,
            half_closed: false,
            request_ended: Instant::default(),
            header_case,
            buffer_limit_bytes,
            trailers_enabled: settings.enable_trailers,
            may_be_http2: false,
            framing: Framing::None,
            interim_allowed: true,
            received_before: 0,
            sent_before: 0,
            queued_total: 0,
        }
    }

    /// Whether nothing of a next request is there.
    pub fn is_idle(&self) -> bool {
        self.input.is_empty() && self.decoder.is_idle() && self.stream.unread_bytes() == 0
    }

    /// The next request's head. Must be called only when the last exchange is complete.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestStart, NoRequest>> {
        loop {
            match self.sniff() {
                Sniffed::Http1 => {}
                Sniffed::Http2 => return Poll::Ready(Err(NoRequest::Http2)),
                Sniffed::Unknown => match ready!(self.stream.poll_recv(cx)) {
                    Ok(Some(chunk)) => {
                        self.input.append(chunk);
                        continue;
                    }
                    Ok(None) | Err(_) => return Poll::Ready(Err(NoRequest::Closed)),
                },
            }
            match self.decoder.decode(&mut self.input) {
                Ok(Some(Event::Head(start))) => {
                    self.release_input();
                    self.interim_allowed = start.head.version >= Version::Http11;
                    self.received_before = self.decoded_bytes() - u64::from(start.head_bytes);
                    self.sent_before = self.queued_total;
                    self.request_ended = io::now();
                    return Poll::Ready(Ok(start));
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(NoRequest::Broken(error))),
            }
            match ready!(self.stream.poll_recv(cx)) {
                Ok(Some(chunk)) => self.input = chunk,
                Ok(None) | Err(_) => return Poll::Ready(Err(NoRequest::Closed)),
            }
        }
    }

    /// Whether the first bytes are those of HTTP/2. Looks at them only if told to, and only until it knows.
    fn sniff(&mut self) -> Sniffed {
        if !self.may_be_http2 {
            return Sniffed::Http1;
        }
        let len = self.input.len().min(PREFACE.len());
        if self.input[..len] != PREFACE[..len] {
            self.may_be_http2 = false;
            return Sniffed::Http1;
        }
        if len == PREFACE.len() { Sniffed::Http2 } else { Sniffed::Unknown }
    }

    /// Expects that the client may speak HTTP/2 without having said so (`codec_type: AUTO`).
    pub fn expect_http2(&mut self) {
        self.may_be_http2 = true;
    }

    /// The head of a refused request, for logs.
    pub fn take_rejected_head(&mut self) -> Option<RequestHead> {
        self.decoder.take_rejected_head()
    }

    /// Gives the stream back, to be closed.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Gives the stream back, with what was received and not decoded.
    pub fn into_parts(self) -> (Stream, Chunk) {
        (self.stream, self.input)
    }

    /// The stream, for its counters.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Of the stream's bytes, those that the decoder has had.
    fn decoded_bytes(&self) -> u64 {
        self.stream.bytes_taken() - self.input.len() as u64
    }

    /// Lets go of the memory of bytes that are all decoded: others may need it, and an idle connection does not.
    #[inline]
    fn release_input(&mut self) {
        if self.input.is_empty() {
            self.input = Chunk::new();
        }
    }

    fn write(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let written = self.stream.with_write_buffer(|out| {
            let before = out.len();
            fill(out);
            out.len() - before
        });
        self.queued_total += written as u64;
    }
}

impl DownstreamStream for H1Connection {
    const READS_ALWAYS: bool = false;

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, DownstreamError>> {
        loop {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(Event::Data(chunk))) => return Poll::Ready(Ok(BodyEvent::Data(chunk))),
                Ok(Some(Event::Trailers(trailers))) => {
                    self.request_ended = io::now();
                    return Poll::Ready(Ok(BodyEvent::Trailers(trailers)));
                }
                Ok(Some(Event::End)) => {
                    self.request_ended = io::now();
                    return Poll::Ready(Ok(BodyEvent::End));
                }
                Ok(Some(Event::Head(_))) => {
                    return Poll::Ready(Err(DownstreamError::Gone(Gone::Disconnected)));
                }
                Ok(None) => {}
                Err(error) => {
                    return Poll::Ready(Err(DownstreamError::Protocol(Box::new(refusal(error)))));
                }
            }
            if self.decoder.is_waiting() {
                // Whether what follows is HTTP is not decided yet.
                return Poll::Pending;
            }
            match ready!(self.stream.poll_recv(cx)) {
                Ok(Some(chunk)) => self.input = chunk,
                Ok(None) if self.framing == Framing::Tunnel => return Poll::Ready(Ok(BodyEvent::End)),
                Ok(None) | Err(_) => {
                    self.ended = true;
                    return Poll::Ready(Err(DownstreamError::Gone(Gone::Disconnected)));
                }
            }
        }
    }

    fn take_body_part(&mut self, cx: &mut Context<'_>) -> Option<Chunk> {
        if !self.input.is_empty() {
            return None;
        }
        // The end and errors stay, and are met again by `poll_body`.
        let Poll::Ready(Ok(Some(chunk))) = self.stream.poll_recv(cx) else { return None };
        if self.decoder.pass_body(chunk.len()) {
            return Some(chunk);
        }
        self.input = chunk;
        None
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        if self.ended {
            return Poll::Ready(Gone::Disconnected);
        }
        // Pipelined bytes are already there: the client is, too. They are read after this exchange.
        if !self.input.is_empty() {
            return Poll::Pending;
        }
        if !self.half_closed {
            match ready!(self.stream.poll_recv(cx)) {
                Ok(Some(chunk)) => {
                    self.input = chunk;
                    return Poll::Pending;
                }
                Ok(None) if io::now().since(self.request_ended) <= HALF_CLOSE_GRACE => {
                    self.half_closed = true;
                }
                Ok(None) | Err(_) => {
                    self.ended = true;
                    return Poll::Ready(Gone::Disconnected);
                }
            }
        }
        // Gone altogether all the same, if it refuses what it is sent.
        ready!(self.stream.poll_failed(cx));
        self.ended = true;
        Poll::Ready(Gone::Disconnected)
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        let limit = self.buffer_limit_bytes;
        if self.stream.queued_bytes() < limit && self.stream.write_error().is_none() {
            return Poll::Ready(Ok(()));
        }
        let drained = ready!(self.stream.poll_drained(cx, limit / 2));
        Poll::Ready(drained.map_err(|_| DownstreamError::Gone(Gone::Disconnected)))
    }

    fn resume_upgrade(&mut self, accepted: bool) {
        self.decoder.resume(accepted);
    }

    fn send_informational(&mut self, head: &ResponseHead) {
        if !self.interim_allowed {
            return;
        }
        let case = self.header_case;
        self.write(|out| h1::encode_response(head, Version::Http11, Framing::None, case, out));
    }

    fn send_head(
        &mut self,
        request: &RequestHead,
        head: &mut ResponseHead,
        end_stream: bool,
        persistent: bool,
    ) -> bool {
        self.framing = h1::response_framing(head, request.method(), request.version, end_stream);
        let persistent = persistent && self.framing != Framing::UntilClose;
        if self.framing == Framing::Tunnel {
            // `connection: upgrade` stays, and the connection ends with the tunnel.
        } else if !persistent && head.headers.contains(header::CONNECTION) {
            // An answer that names the protocol to upgrade to.
            head.headers.set(header::CONNECTION, b"upgrade, close");
        } else if !persistent {
            head.headers.set(header::CONNECTION, b"close");
        } else if request.version < Version::Http11 {
            head.headers.set(header::CONNECTION, b"keep-alive");
        }
        let framing = if is_told_as_chunked(request, head) { Framing::Chunked } else { self.framing };
        let case = self.header_case;
        self.write(|out| h1::encode_response(head, Version::Http11, framing, case, out));
        persistent
    }

    fn send_data(&mut self, chunk: Chunk) {
        match self.framing {
            Framing::None => {}
            Framing::Chunked => {
                let len = chunk.len();
                if len > 0 {
                    self.write(|out| h1::encode_chunk_start(len, out));
                    self.queued_total += len as u64;
                    self.stream.write_chunk(chunk);
                    self.write(|out| out.extend_from_slice(h1::CHUNK_END));
                }
            }
            Framing::Length(_) | Framing::UntilClose | Framing::Tunnel => {
                self.queued_total += chunk.len() as u64;
                self.stream.write_chunk(chunk);
            }
        }
    }

    fn send_end(&mut self, trailers: Option<&HeaderMap>) {
        if self.framing == Framing::Tunnel {
            self.stream.shutdown_write();
        }
        if self.framing != Framing::Chunked {
            return;
        }
        let case = self.header_case;
        let trailers = trailers.filter(|_| self.trailers_enabled);
        self.write(|out| match trailers {
            Some(trailers) => h1::encode_trailers(trailers, case, out),
            None => out.extend_from_slice(h1::LAST_CHUNK),
        });
    }

    fn wire_bytes(&self) -> (u64, u64) {
        (self.decoded_bytes() - self.received_before, self.queued_total - self.sent_before)
    }
}

/// Whether an answer to HEAD says how the answer to GET would be framed, having no length to tell.
fn is_told_as_chunked(request: &RequestHead, head: &ResponseHead) -> bool {
    request.method() == Method::Head
        && request.version >= Version::Http11
        && !matches!(head.status(), 100..=199 | 204 | 304)
        && !head.headers.contains(header::CONTENT_LENGTH)
}

/// The answer to a request that the codec refuses, as Envoy words it: with a body and a flag only
/// where the request broke the protocol.
pub fn refusal(error: H1Error) -> LocalReply {
    let status = error.status();
    if !error.is_protocol_error() {
        return LocalReply::new(status, "", error.details()).closing();
    }
    let body = match status {
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Bad Request",
    };
    LocalReply::new(status, body, error.details())
        .with_flags(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR)
        .closing()
}
