//! HTTP/2 on a connection of a load run (RFC 9113): a stream for each request, over the proxy's own codec. gRPC's
//! status counts where the request is gRPC's (it is in the trailers, or in the head if there is no body).

use std::task::{Context, Poll};

use crate::base::clock::Instant;
use crate::buf::Chunk;
use crate::http::HeaderMap;
use crate::http::h2::{Connection, ErrorCode, H2Settings, ResponseEvent, StreamError, StreamId};
use crate::transport::{Stream, write_h2_output};

use super::error::ErrorKind;
use super::protocol::{Finished, Protocol};
use super::request::Request;
use super::woken::Woken;

/// What may wait on the stream when writing goes on.
const DRAINED_BYTES: usize = 64 * 1_024;

#[derive(Debug)]
pub(super) struct Http2 {
    codec: Connection,
    /// Requests without an answer, by tag.
    running: Vec<Option<Running>>,
    /// Tags whose streams have something to say.
    woken: Woken,
}

/// A request without an answer.
#[derive(Debug, Clone, Copy)]
struct Running {
    stream: StreamId,
    is_grpc: bool,
    /// Of the answer's head; 0 before it.
    status: u16,
}

impl Protocol for Http2 {
    fn new(depth: u32) -> Http2 {
        let settings = H2Settings { max_concurrent_streams: depth, ..H2Settings::CLIENT };
        Http2 {
            codec: Connection::client(settings),
            running: vec![None; depth as usize],
            woken: Woken::new(depth),
        }
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.codec.available_streams() > 0
    }

    #[inline]
    fn is_closing(&self) -> bool {
        self.codec.is_exhausted()
    }

    fn begin(&mut self, tag: u32, request: &Request, _: &mut Stream) -> usize {
        let has_body = !request.body.is_empty();
        // There is room, so it can be opened.
        let Ok(stream) = self.codec.open(&request.http2, !has_body) else { return 0 };
        if has_body {
            self.codec.send_data(stream, request.body.clone(), true);
        }
        self.running[tag as usize] = Some(Running { stream, is_grpc: request.is_grpc, status: 0 });
        // The codec is to wake this stream from now on.
        self.woken.waker(tag).wake_by_ref();
        self.codec.wire_bytes(stream).1 as usize + request.body.len()
    }

    fn receive(
        &mut self,
        chunk: Chunk,
        now: Instant,
        finished: impl FnMut(Finished),
    ) -> Result<(), ErrorKind> {
        let received = self.codec.receive(chunk, now);
        self.advance(finished);
        received.map_err(|_| ErrorKind::Malformed)
    }

    fn end(&mut self, finished: impl FnMut(Finished)) {
        self.codec.transport_closed();
        self.advance(finished);
    }

    fn flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        write_h2_output(&mut self.codec, stream);
        while self.codec.wants_output() && stream.poll_drained(cx, DRAINED_BYTES).is_ready() {
            if stream.write_error().is_some() {
                return;
            }
            write_h2_output(&mut self.codec, stream);
        }
    }

    fn cancel(&mut self, tag: u32) -> bool {
        if let Some(running) = self.running[tag as usize].take() {
            self.codec.release(running.stream);
        }
        true
    }

    fn say_goodbye(&mut self, stream: &mut Stream) {
        self.codec.close(ErrorCode::NO_ERROR);
        write_h2_output(&mut self.codec, stream);
    }
}

impl Http2 {
    /// Hears the streams that have something to say.
    fn advance(&mut self, mut finished: impl FnMut(Finished)) {
        for group in 0..self.woken.groups() {
            let mut bits = self.woken.take_group(group);
            while bits != 0 {
                let tag = group as u32 * u64::BITS + bits.trailing_zeros();
                bits &= bits - 1;
                if let Some(outcome) = self.hear(tag) {
                    finished(Finished { tag, outcome });
                }
            }
        }
    }

    /// Takes what has come on one stream; its outcome if that was all.
    fn hear(&mut self, tag: u32) -> Option<Result<u16, ErrorKind>> {
        let running = self.running[tag as usize].as_mut()?;
        let mut cx = Context::from_waker(self.woken.waker(tag));
        let outcome = loop {
            let Poll::Ready(event) = self.codec.poll_response(running.stream, &mut cx) else { return None };
            match event {
                Ok(ResponseEvent::Informational(_)) => {}
                Ok(ResponseEvent::Head { head, end_stream }) => {
                    running.status = head.status();
                    if end_stream {
                        break grpc_outcome(running, &head.headers);
                    }
                }
                Ok(ResponseEvent::Data { end_stream: false, .. }) => {}
                // gRPC's status is missing.
                Ok(ResponseEvent::Data { .. }) if running.is_grpc => break Err(ErrorKind::Status),
                Ok(ResponseEvent::Data { .. }) => break Ok(running.status),
                Ok(ResponseEvent::Trailers(trailers)) => break grpc_outcome(running, &trailers),
                Err(error) => break Err(kind_of(error)),
            }
        };
        self.codec.release(running.stream);
        self.running[tag as usize] = None;
        Some(outcome)
    }
}

/// The status, unless it is gRPC's that counts and says that the call failed.
fn grpc_outcome(running: &Running, fields: &HeaderMap) -> Result<u16, ErrorKind> {
    if running.is_grpc && fields.get("grpc-status") != Some(b"0") {
        return Err(ErrorKind::Status);
    }
    Ok(running.status)
}

fn kind_of(error: StreamError) -> ErrorKind {
    match error {
        StreamError::Reset(_) | StreamError::Local(_) => ErrorKind::StreamReset,
        StreamError::Refused | StreamError::Unprocessed => ErrorKind::NotProcessed,
        StreamError::Closed => ErrorKind::ClosedEarly,
        StreamError::InvalidMessage(_)
        | StreamError::HeadersTooLarge(_)
        | StreamError::Protocol(_)
        | StreamError::Connection(_) => ErrorKind::Malformed,
    }
}
