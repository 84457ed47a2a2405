//! One stream of a HTTP/2 connection from a client, as exchanges see it (RFC 9113). It decides nothing.

use std::task::{Context, Poll};

use crate::buf::Chunk;
use crate::http::h2::{StreamError, StreamId};
use crate::http::{BodyEvent, HeaderMap, RequestHead, ResponseHead, header};
use crate::transport::H2Link;

use super::downstream::{DownstreamError, DownstreamStream, Gone};

/// A stream of a connection. What is not complete when it is dropped is reset.
pub struct H2Stream {
    link: H2Link,
    id: StreamId,
}

impl H2Stream {
    /// The stream of a request that the codec has handed out.
    pub fn new(link: H2Link, id: StreamId) -> H2Stream {
        H2Stream { link, id }
    }
}

impl DownstreamStream for H2Stream {
    const READS_ALWAYS: bool = true;

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, DownstreamError>> {
        let polled = self.link.with(|codec| codec.poll_body(self.id, cx));
        polled.map(|result| result.map_err(|error| DownstreamError::Gone(gone(error))))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        self.link.with(|codec| codec.poll_gone(self.id, cx)).map(gone)
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        let polled = self.link.with(|codec| codec.poll_send_ready(self.id, cx));
        polled.map(|result| result.map_err(|error| DownstreamError::Gone(gone(error))))
    }

    fn resume_upgrade(&mut self, _accepted: bool) {
        // The stream's data are the other protocol's already (RFC 8441).
    }

    fn send_informational(&mut self, head: &ResponseHead) {
        self.link.with(|codec| codec.send_informational(self.id, head));
    }

    fn send_head(
        &mut self,
        _request: &RequestHead,
        head: &mut ResponseHead,
        end_stream: bool,
        persistent: bool,
    ) -> bool {
        if head.status() == 101 {
            // The answer to an extended CONNECT that was sent on as an upgrade.
            head.set_status(200);
        }
        head.headers.remove(header::UPGRADE);
        head.headers.remove(header::CONNECTION);
        self.link.with(|codec| codec.send_response(self.id, head, end_stream));
        persistent
    }

    fn send_data(&mut self, chunk: Chunk) {
        self.link.with(|codec| codec.send_data(self.id, chunk, false));
    }

    fn send_end(&mut self, trailers: Option<&HeaderMap>) {
        self.link.with(|codec| match trailers {
            Some(trailers) => codec.send_trailers(self.id, trailers),
            None => codec.send_end(self.id),
        });
    }

    fn wire_bytes(&self) -> (u64, u64) {
        self.link.with(|codec| codec.wire_bytes(self.id))
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        self.link.with(|codec| codec.release(self.id));
    }
}

fn gone(error: StreamError) -> Gone {
    match error {
        StreamError::Closed | StreamError::Connection(_) => Gone::Disconnected,
        other => Gone::Reset(other.details()),
    }
}
