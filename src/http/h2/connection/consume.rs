//! What users of streams receive.

use std::task::{Context, Poll};

use super::{Connection, StreamId};
use crate::http::BodyEvent;
use crate::http::h2::error::StreamError;
use crate::http::h2::stream::{Stream, remember};

impl Connection {
    /// The next part of the body. After its end only that again.
    ///
    /// # Errors
    /// The body will not become complete.
    pub fn poll_body(
        &mut self,
        stream: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BodyEvent, StreamError>> {
        let id = stream.0;
        let is_server = self.is_server();
        let Some(stream) = self.streams.get_mut(id) else { return Poll::Ready(Err(StreamError::Closed)) };
        if let Some(error) = receive_error(stream, is_server) {
            return Poll::Ready(Err(error));
        }
        let receive = &mut stream.receive;
        if let Some(chunk) = receive.data.pop(usize::MAX) {
            self.data_taken(id, chunk.len());
            return Poll::Ready(Ok(BodyEvent::Data(chunk)));
        }
        if !receive.is_ended {
            remember(&mut receive.waker, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(receive.trailers.take().map_or(BodyEvent::End, BodyEvent::Trailers)))
    }

    /// Ready when the stream has ended before it was complete: reset by the peer, or with the connection. Not to be waited for
    /// together with [`Connection::poll_body`] by different tasks.
    pub fn poll_gone(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Poll<StreamError> {
        let Some(stream) = self.streams.get_mut(stream.0) else { return Poll::Ready(StreamError::Closed) };
        if let Some(error) = stream.error {
            return Poll::Ready(error);
        }
        remember(&mut stream.receive.waker, cx.waker());
        Poll::Pending
    }

    /// Why the stream has ended before it was complete, if it has.
    pub fn stream_ended(&self, stream: StreamId) -> Option<StreamError> {
        self.streams.get(stream.0).map_or(Some(StreamError::Closed), |stream| stream.error)
    }
}

/// Why nothing more can be read. A response that has come in full can be, whatever happened after.
pub(super) fn receive_error(stream: &Stream, is_server: bool) -> Option<StreamError> {
    stream.error.filter(|_| is_server || !stream.receive.is_ended)
}
