//! One attempt to have a request answered by one host: connection, request up, head of the response
//! down.

use std::task::{Context, Poll};

use crate::filters::http::chain::Ending;
use crate::filters::network::http_connection_manager::deadlines::Deadline;
use crate::filters::network::http_connection_manager::downstream::DownstreamStream;
use crate::http::{ResponseHead, h1};
use crate::io;
use crate::upstream::{CheckOut, UpstreamEvent, UpstreamReset, UpstreamStream};

use super::replay::Replay;
use super::{Exchange, Stop};

/// A request on its way to a host.
pub struct Attempt {
    /// The exchange with the host.
    pub stream: UpstreamStream,
    /// Parts of the kept body that this attempt has sent again.
    replayed: usize,
    /// The request was handed over to its end.
    request_sent: bool,
}

/// Why an attempt brought no response.
pub enum Failure {
    /// The host or the way there; whether some of the request was given to a connection.
    Reset(UpstreamReset, bool),
    /// The connection had served before and ended before any byte of a response: most likely the
    /// origin had closed it already; or, `is_unprocessed`, the origin said that it did nothing with the request.
    StaleConnection {
        /// Sending again is safe whatever the request is.
        is_unprocessed: bool,
    },
    /// A deadline of the attempt or the route has passed.
    Late(Deadline),
}

/// The final response's head, and whether nothing follows it.
pub type Answer = (ResponseHead, bool);

// The two waits are no async functions: those keep what they are given twice, and what every stream in flight holds
// decides how many of them a cache holds.
impl<D: DownstreamStream> Exchange<'_, D> {
    /// Gets a connection to the host.
    pub(super) fn check_out_connection(
        &mut self,
        mut check_out: CheckOut,
    ) -> impl Future<Output = Result<Result<UpstreamStream, Failure>, Stop>> {
        std::future::poll_fn(move |task| {
            if let Some(kind) = self.poll_deadlines(task)? {
                return Poll::Ready(Ok(Err(Failure::Late(kind))));
            }
            if let Poll::Ready(result) = check_out.poll_stream(task) {
                return Poll::Ready(Ok(result.map_err(|failure| Failure::Reset(failure.into(), false))));
            }
            self.check_client(task)?;
            Poll::Pending
        })
    }

    /// Sends the request's head.
    pub(super) fn encode_request(&mut self, mut stream: UpstreamStream, replay: &Replay) -> Attempt {
        let nothing_follows = self.decode.ends_with_head()
            || (replay.part(0).is_none() && matches!(replay.ending(), Ending::Plain));
        stream.send_head(&self.request, nothing_follows);
        let now = io::now();
        self.info.timing.first_upstream_tx = Some(now);
        self.info.timing.last_upstream_tx = nothing_follows.then_some(now);
        self.clock.touch();
        Attempt { stream, replayed: 0, request_sent: nothing_follows }
    }

    /// Sends the request's body and waits for the head of the response.
    pub(super) fn await_response(
        &mut self,
        attempt: &mut Attempt,
        replay: &mut Replay,
    ) -> impl Future<Output = Result<Result<Answer, Failure>, Stop>> {
        std::future::poll_fn(move |task| self.poll_await_response(task, attempt, replay))
    }

    fn poll_await_response(
        &mut self,
        task: &mut Context<'_>,
        attempt: &mut Attempt,
        replay: &mut Replay,
    ) -> Poll<Result<Result<Answer, Failure>, Stop>> {
        loop {
            if let Some(kind) = self.poll_deadlines(task)? {
                return Poll::Ready(Ok(Err(Failure::Late(kind))));
            }
            self.poll_send_request(task, attempt, replay)?;
            match attempt.stream.poll_event(task) {
                Poll::Ready(Ok(UpstreamEvent::Informational(head))) => self.pass_informational(head),
                Poll::Ready(Ok(UpstreamEvent::Head { head, end_stream })) => {
                    self.clock.touch();
                    return Poll::Ready(Ok(Ok((head, end_stream))));
                }
                Poll::Ready(Ok(UpstreamEvent::Data { .. } | UpstreamEvent::Trailers(_))) => {}
                Poll::Ready(Err(reset)) => return Poll::Ready(Ok(Err(attempt.failure(reset)))),
                Poll::Pending => {
                    self.check_client(task)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Moves as much of the request as client, filters and host allow. Whatever it waits for wakes
    /// the task.
    pub(super) fn poll_send_request(
        &mut self,
        task: &mut Context<'_>,
        attempt: &mut Attempt,
        replay: &mut Replay,
    ) -> Result<(), Stop> {
        while !attempt.request_sent {
            if attempt.stream.poll_send_ready(task).is_pending() {
                self.note_reading(true);
                return Ok(());
            }
            self.note_reading(false);
            if let Some(chunk) = replay.part(attempt.replayed) {
                attempt.replayed += 1;
                attempt.stream.send_data(chunk, false);
                continue;
            }
            if let Some(chunk) = self.decode.take_data() {
                replay.push(&chunk);
                attempt.replayed += usize::from(replay.is_intact());
                attempt.stream.send_data(chunk, false);
                self.clock.touch();
                continue;
            }
            let ending = match replay.ending() {
                Ending::Open => {
                    let ending = self.decode.take_ending();
                    match &ending {
                        Ending::Open => {}
                        Ending::Plain => replay.end(None),
                        Ending::Trailers(trailers) => replay.end(Some(trailers)),
                    }
                    ending
                }
                known => known,
            };
            match ending {
                Ending::Open => {}
                Ending::Plain => attempt.finish_request(None),
                Ending::Trailers(trailers) => attempt.finish_request(Some(&trailers)),
            }
            if attempt.request_sent {
                self.info.timing.last_upstream_tx = Some(io::now());
                return Ok(());
            }
            let polled = if self.decode.is_waiting() {
                self.poll_waiting_filters(task)
            } else if self.request_read {
                return Ok(());
            } else if self.pass_request_parts(task, attempt, replay) {
                continue;
            } else {
                self.poll_read_request(task)
            };
            match polled {
                Poll::Ready(result) => result?,
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Passes on what is here of a body that neither a filter nor a retry needs, the last part of it excepted. True
    /// if there was any.
    fn pass_request_parts(&mut self, task: &mut Context<'_>, attempt: &mut Attempt, replay: &Replay) -> bool {
        if replay.is_intact() || !self.decode.is_clear() {
            return false;
        }
        let mut has_passed = false;
        while let Some(chunk) = self.downstream.take_body_part(task) {
            has_passed = true;
            self.clock.touch();
            self.info.bytes_received += chunk.len() as u64;
            attempt.stream.send_data(chunk, false);
            if attempt.stream.poll_send_ready(task).is_pending() {
                break;
            }
        }
        has_passed
    }

    /// Counts when the client is no longer read because the host takes no more, and when it is again.
    fn note_reading(&mut self, is_paused: bool) {
        if self.reading_paused != is_paused && !self.request_read {
            self.reading_paused = is_paused;
            let stats = &self.around.manager.stats.connections;
            if is_paused {
                stats.downstream_flow_control_paused_reading_total.inc();
            } else {
                stats.downstream_flow_control_resumed_reading_total.inc();
            }
        }
    }

    fn pass_informational(&mut self, mut head: ResponseHead) {
        // 100 is the answer to an `expect` that this proxy has answered already; others pass.
        if head.status() != 100 || self.around.manager.proxy_100_continue {
            h1::strip_hop_by_hop(&mut head.headers, false);
            self.downstream.send_informational(&head);
        }
        self.clock.touch();
    }
}

impl Attempt {
    /// What it means that the exchange was reset before a response came.
    fn failure(&self, reset: UpstreamReset) -> Failure {
        if self.stream.is_unprocessed() {
            return Failure::StaleConnection { is_unprocessed: true };
        }
        let is_closed = matches!(reset, UpstreamReset::ConnectionTermination);
        if is_closed && self.stream.is_reused() && !self.stream.response_started() {
            return Failure::StaleConnection { is_unprocessed: false };
        }
        Failure::Reset(reset, true)
    }

    fn finish_request(&mut self, trailers: Option<&crate::http::HeaderMap>) {
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(crate::buf::Chunk::new(), true),
        }
        self.request_sent = true;
    }
}
