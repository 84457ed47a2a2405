//! The origin's side of an HTTP/2 connection (RFC 9113), over the proxy's own codec. One task serves all streams; only
//! a delayed answer has one of its own.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::buf::Chunk;
use crate::http::h2::{Connection, ErrorCode, H2Settings, IncomingRequest, StreamId};
use crate::http::{BodyEvent, HeaderMap, Method, ResponseHead, grpc};
use crate::io;
use crate::load::woken::Woken;
use crate::transport::{H2Link, Stream};

use super::LINGER;
use super::answers::{Answer, Answers, Then};

/// Streams of a connection at a time.
const STREAMS_MAX: u32 = 256;

/// Serves a connection to its end. `first` has been received already.
pub(super) async fn serve(stream: Stream, first: Chunk, answers: Rc<Answers>) {
    let settings = H2Settings { max_concurrent_streams: STREAMS_MAX, ..H2Settings::SERVER };
    let link = H2Link::new(Connection::server(settings), stream);
    link.receive(first);
    let mut server = Server {
        link: link.clone(),
        answers,
        places: (0..STREAMS_MAX).map(|_| None).collect(),
        free: (0..STREAMS_MAX).rev().collect(),
        woken: Woken::new(STREAMS_MAX),
        call: Call::new(),
    };
    poll_fn(|cx| server.poll_serve(cx)).await;
    if let Some(stream) = link.take_stream() {
        stream.close_after_flush(LINGER);
    }
}

struct Server {
    link: H2Link,
    answers: Rc<Answers>,
    /// Requests whose body is under way.
    places: Vec<Option<Request>>,
    free: Vec<u32>,
    /// Places whose streams have something to say.
    woken: Woken,
    call: Call,
}

/// A request whose body is under way.
struct Request {
    stream: StreamId,
    reply: Reply,
}

/// What is answered once the request is complete.
#[derive(Clone)]
struct Reply {
    answer: Answer,
    is_head: bool,
    is_grpc: bool,
}

/// Heads and trailers of every call of gRPC.
#[derive(Clone)]
struct Call {
    head: Rc<ResponseHead>,
    trailers: Rc<HeaderMap>,
}

impl Server {
    /// Ready when the connection is over.
    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let over = self.link.poll_drive(cx);
        while let Some(request) = self.link.with(Connection::next_request) {
            self.begin(request);
        }
        for group in 0..self.woken.groups() {
            let mut bits = self.woken.take_group(group);
            while bits != 0 {
                self.advance(group as u32 * u64::BITS + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        over
    }

    fn begin(&mut self, request: IncomingRequest) {
        let reply = Reply {
            answer: self.answers.find(request.head.path()),
            is_head: request.head.method() == Method::Head,
            is_grpc: grpc::is_grpc_request(&request.head.headers),
        };
        if request.end_stream {
            return self.answer(request.stream, reply);
        }
        let Some(place) = self.free.pop() else {
            return self.link.with(|codec| {
                codec.reset(request.stream, ErrorCode::REFUSED_STREAM);
                codec.release(request.stream);
            });
        };
        self.places[place as usize] = Some(Request { stream: request.stream, reply });
        self.woken.waker(place).wake_by_ref();
    }

    /// Takes what has come of a body.
    fn advance(&mut self, place: u32) {
        let Some(Request { stream, .. }) = self.places[place as usize] else { return };
        let mut cx = Context::from_waker(self.woken.waker(place));
        let is_complete = loop {
            match self.link.with(|codec| codec.poll_body(stream, &mut cx)) {
                Poll::Pending => return,
                Poll::Ready(Ok(BodyEvent::Data(_))) => {}
                Poll::Ready(Ok(BodyEvent::Trailers(_) | BodyEvent::End)) => break true,
                Poll::Ready(Err(_)) => break false,
            }
        };
        self.free.push(place);
        match self.places[place as usize].take() {
            Some(request) if is_complete => self.answer(stream, request.reply),
            _ => self.link.with(|codec| codec.release(stream)),
        }
    }

    fn answer(&self, stream: StreamId, reply: Reply) {
        if reply.answer.delay.is_zero() {
            return self.call.send(&self.link, stream, reply);
        }
        let (link, call) = (self.link.clone(), self.call.clone());
        io::spawn(async move {
            io::sleep(reply.answer.delay).await;
            call.send(&link, stream, reply);
        });
    }
}

impl Call {
    fn new() -> Call {
        let mut head = ResponseHead::new(200);
        head.headers.append("content-type", b"application/grpc");
        let mut trailers = HeaderMap::new();
        trailers.append("grpc-status", b"0");
        Call { head: Rc::new(head), trailers: Rc::new(trailers) }
    }

    fn send(&self, link: &H2Link, stream: StreamId, reply: Reply) {
        let Answer { http2: head, body, then, .. } = reply.answer;
        link.with(|codec| {
            if then == Then::Reset {
                codec.reset(stream, ErrorCode::INTERNAL_ERROR);
            } else if reply.is_grpc {
                codec.send_response(stream, &self.head, false);
                codec.send_data(stream, body, false);
                codec.send_trailers(stream, &self.trailers);
            } else {
                let has_body = !reply.is_head && !body.is_empty();
                codec.send_response(stream, &head, !has_body);
                if has_body {
                    codec.send_data(stream, body, true);
                }
            }
            codec.release(stream);
            if then == Then::Close {
                codec.shut_down();
            }
        });
    }
}
