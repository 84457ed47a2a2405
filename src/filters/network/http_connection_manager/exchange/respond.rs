//! The way down: the upstream's response through the filters to the client, while the rest of the
//! request may still go up.

use std::task::{Context, Poll};

use crate::filters::network::http_connection_manager::deadlines::Deadline;
use crate::filters::network::http_connection_manager::downstream::DownstreamStream;
use crate::http::ResponseHead;
use crate::io;
use crate::stream_info::ResponseFlags;
use crate::upstream::outlier::Outcome;
use crate::upstream::{UpstreamEvent, UpstreamReset};

use super::attempt::Attempt;
use super::replay::Replay;
use super::stop::response_interrupted;
use super::upstream_failure::broken_response_details;
use super::{Exchange, Stop};

impl<D: DownstreamStream> Exchange<'_, D> {
    /// Sends the response's head through the filters.
    pub(super) fn filter_response(&mut self, head: ResponseHead, end_stream: bool) -> Result<(), Stop> {
        if end_stream {
            self.info.timing.last_upstream_rx = Some(io::now());
        }
        self.response = Some(head);
        let manager = self.around.manager;
        let (encode, filters, head, mut cx) = self.encode_parts();
        encode
            .push_head(filters, &mut cx, head, end_stream)
            .map_err(|why| response_interrupted(why, &manager.stats.requests))
    }

    /// Passes the response on to its end.
    pub(super) async fn stream_response(
        &mut self,
        attempt: &mut Attempt,
        replay: &mut Replay,
    ) -> Result<(), Stop> {
        replay.forget();
        std::future::poll_fn(|task| self.poll_stream_response(task, attempt, replay)).await
    }

    fn poll_stream_response(
        &mut self,
        task: &mut Context<'_>,
        attempt: &mut Attempt,
        replay: &mut Replay,
    ) -> Poll<Result<(), Stop>> {
        if let Some(kind) = self.poll_deadlines(task)? {
            return Poll::Ready(Err(self.late_while_responding(kind, attempt)));
        }
        self.poll_send_request(task, attempt, replay)?;
        loop {
            if self.send_filtered() {
                return Poll::Ready(Ok(()));
            }
            let is_paused = self.downstream.poll_send_ready(task)?.is_pending();
            self.note_upstream_reading(is_paused, attempt);
            if is_paused {
                return Poll::Pending;
            }
            if self.encode.is_waiting() {
                if self.poll_waiting_response_filters(task)?.is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            if self.pass_body_parts(task, attempt)? {
                continue;
            }
            match attempt.stream.poll_event(task) {
                Poll::Pending => break,
                Poll::Ready(Ok(event)) => self.decode_response(event)?,
                Poll::Ready(Err(reset)) => {
                    attempt.stream.host().outlier().record(Outcome::ConnectFailed);
                    return Poll::Ready(Err(self.reset_while_responding(&reset)));
                }
            }
        }
        self.check_client(task)?;
        Poll::Pending
    }

    /// Passes on what is here of a body that no filter looks at, the last part of it excepted. True if the client
    /// takes no more of it.
    fn pass_body_parts(&mut self, task: &mut Context<'_>, attempt: &mut Attempt) -> Result<bool, Stop> {
        if !self.encode.is_clear() {
            return Ok(false);
        }
        while let Some(chunk) = attempt.stream.take_body_part(task) {
            self.clock.touch();
            self.info.bytes_sent += chunk.len() as u64;
            self.downstream.send_data(chunk);
            if self.downstream.poll_send_ready(task)?.is_pending() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts when the host is no longer read because the client takes no more, and when it is again.
    fn note_upstream_reading(&mut self, is_paused: bool, attempt: &Attempt) {
        if self.upstream_reading_paused != is_paused {
            self.upstream_reading_paused = is_paused;
            let traffic = &attempt.stream.host().cluster_info().stats.traffic;
            if is_paused {
                traffic.upstream_flow_control_paused_reading_total.inc();
            } else {
                traffic.upstream_flow_control_resumed_reading_total.inc();
            }
        }
    }

    /// Takes a part of the response after its head.
    fn decode_response(&mut self, event: UpstreamEvent) -> Result<(), Stop> {
        self.clock.touch();
        if event.is_end() {
            self.info.timing.last_upstream_rx = Some(io::now());
        }
        let manager = self.around.manager;
        let (encode, filters, head, mut cx) = self.encode_parts();
        match event {
            UpstreamEvent::Data { chunk, end_stream } => {
                encode.push_data(filters, &mut cx, head, chunk, end_stream)
            }
            UpstreamEvent::Trailers(trailers) => encode.push_trailers(filters, &mut cx, head, trailers),
            UpstreamEvent::Informational(_) | UpstreamEvent::Head { .. } => Ok(()),
        }
        .map_err(|why| response_interrupted(why, &manager.stats.requests))
    }

    /// The host broke off in the middle of its response.
    fn reset_while_responding(&mut self, reset: &UpstreamReset) -> Stop {
        self.info.response_flags.insert(reset.response_flag());
        self.info.response_code_details = broken_response_details(reset).into();
        self.around.manager.stats.router.rq_reset_after_downstream_response_started.inc();
        Stop::Reset
    }

    /// The response did not end in time.
    fn late_while_responding(&mut self, kind: Deadline, attempt: &Attempt) -> Stop {
        let traffic = &attempt.stream.host().cluster_info().stats.traffic;
        match kind {
            Deadline::PerTryIdle => traffic.upstream_rq_per_try_idle_timeout.inc(),
            _ => traffic.upstream_rq_timeout.inc(),
        }
        attempt.stream.host().counters().rq_timeout.inc();
        self.info.response_flags.insert(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT);
        self.info.response_code_details = "response_timeout".into();
        Stop::Reset
    }
}
