//! Answers of the proxy's own, and the headers that every answer gets.

use std::task::{Context, Poll, ready};

use crate::base::clock::UnixTime;
use crate::buf::Chunk;
use crate::config::ServerHeaderTransformation;
use crate::filters::http::LocalReply;
use crate::filters::http::chain::{Ending, Iteration};
use crate::filters::network::http_connection_manager::downstream::{DownstreamError, DownstreamStream};
use crate::filters::network::http_connection_manager::request_headers::append_via_to;
use crate::formatter::FormatContext;
use crate::http::BodyEvent;
use crate::http::date::DateCache;
use crate::http::{Method, ResponseHead, Version, grpc, h1, header};
use crate::io;
use crate::stream_info::ResponseFlags;

use super::stop::response_interrupted;
use super::{Exchange, Stop, Upgrade};

/// Most of an unread body that is thrown away to keep a connection.
const DISCARD_LIMIT_BYTES: usize = 64 * 1024;

impl<D: DownstreamStream> Exchange<'_, D> {
    /// Sends a reply through the filters to the client. Must be called before any response was
    /// sent.
    pub(super) async fn send_reply(&mut self, mut reply: LocalReply) -> Result<(), Stop> {
        let was_read = self.request_read;
        if let Some(refusal) = self.discard_request().await {
            reply = refusal;
        }
        // As in Envoy, an answer given before the request was read ends the connection, except where
        // the request was on its way upstream.
        self.persistent &= was_read || self.info.attempt_count > 0;
        match self.try_reply(reply).await {
            // A filter answers the answer: that one goes out as it is.
            Err(Stop::Reply(reply)) if !self.response_started => {
                self.filters.clear();
                self.try_reply(*reply).await
            }
            Err(Stop::Reply(_)) => Err(Stop::Reset),
            other => other,
        }
    }

    /// Reads what is left of the request as far as it is here, so that a request that came whole does
    /// not cost its connection. A client that breaks the protocol there is answered that instead.
    async fn discard_request(&mut self) -> Option<LocalReply> {
        let mut left = DISCARD_LIMIT_BYTES;
        std::future::poll_fn(|task| {
            while !self.request_read && !self.request_broken {
                match self.downstream.poll_body(task) {
                    Poll::Ready(Ok(BodyEvent::Data(chunk))) if chunk.len() <= left => left -= chunk.len(),
                    Poll::Ready(Ok(BodyEvent::End | BodyEvent::Trailers(_))) => self.end_of_request(),
                    Poll::Ready(Err(DownstreamError::Protocol(refusal))) => {
                        self.request_broken = true;
                        return Poll::Ready(Some(*refusal));
                    }
                    Poll::Ready(Ok(BodyEvent::Data(_)) | Err(DownstreamError::Gone(_))) | Poll::Pending => {
                        break;
                    }
                }
            }
            Poll::Ready(None)
        })
        .await
    }

    async fn try_reply(&mut self, reply: LocalReply) -> Result<(), Stop> {
        self.response = Some(self.compose_reply(reply));
        let body = std::mem::take(&mut self.local_reply_body);
        let limit = self.around.listener.buffer_limit_bytes.max(body.len());
        self.encode = Iteration::new(self.filters.len(), limit);
        let has_body = !body.is_empty() && self.request.method() != Method::Head;
        let manager = self.around.manager;
        let (encode, filters, head, mut cx) = self.encode_parts();
        encode
            .push_head(filters, &mut cx, head, !has_body)
            .map_err(|why| response_interrupted(why, &manager.stats.requests))?;
        if has_body {
            let chunk = Chunk::from_bytes(body);
            encode
                .push_data(filters, &mut cx, head, chunk, true)
                .map_err(|why| response_interrupted(why, &manager.stats.requests))?;
        }
        self.pass_reply().await
    }

    /// Waits until a complete response has passed the filters and hands it to the codec.
    async fn pass_reply(&mut self) -> Result<(), Stop> {
        std::future::poll_fn(|task| {
            loop {
                self.poll_deadlines(task)?;
                if self.send_filtered() {
                    return Poll::Ready(Ok(()));
                }
                if !self.encode.is_waiting() {
                    // A filter holds a complete response for good: a mistake of the filter's.
                    return Poll::Ready(Err(Stop::Reset));
                }
                ready!(self.poll_waiting_response_filters(task))?;
            }
        })
        .await
    }

    /// Takes over why there is a reply; that the protocol was broken concerns the connection as well.
    pub(super) fn note_flags(&mut self, flags: ResponseFlags) {
        self.info.response_flags.insert(flags);
        if flags.intersects(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR) {
            self.info.connection.is_protocol_broken.set(true);
        }
    }

    /// Builds the reply's head and leaves its body in `local_reply_body`. Accounts for it.
    fn compose_reply(&mut self, reply: LocalReply) -> ResponseHead {
        self.note_flags(reply.flags);
        self.info.response_code_details = reply.details.clone();
        if reply.close_connection {
            self.persistent = false;
        }
        self.info.response_code = Some(reply.status);
        let is_grpc = grpc::is_grpc_request(&self.request.headers);
        let now = (io::now(), io::unix_time());
        let cx = FormatContext {
            request: Some(&self.request),
            local_reply_body: &reply.body,
            ..FormatContext::new(&self.info, now.0, now.1)
        };
        let (mut head, body) = self.around.manager.local_reply.compose(&reply, is_grpc, &cx);
        if let (true, Some(route)) = (reply.route_changes_headers, self.route) {
            route.finalize_response(&mut head, &cx);
        }
        self.info.response_code = Some(head.status());
        self.local_reply_body = body;
        head
    }

    /// Finishes a head that has passed the filters and hands it to the codec.
    pub(super) fn encode_response(&mut self) {
        let Some(mut head) = self.response.take() else { return };
        let manager = self.around.manager;
        let status = head.status();
        let headers = &mut head.headers;
        // 426 names the protocol to upgrade to (RFC 9110 section 15.5.22).
        let names_protocol = matches!(self.upgrade, Upgrade::Accepted(_)) || status == 426;
        h1::strip_hop_by_hop(headers, names_protocol);
        set_date(headers, io::unix_time());
        match manager.server_header_transformation {
            ServerHeaderTransformation::Overwrite => headers.set(header::SERVER, &manager.server_name),
            ServerHeaderTransformation::AppendIfAbsent => {
                headers.set_if_absent(header::SERVER, &manager.server_name);
            }
            ServerHeaderTransformation::PassThrough => {}
        }
        if manager.request_headers.request_id.always_set_in_response
            && let Some(id) = self.request.headers.get(header::X_REQUEST_ID)
        {
            headers.set_if_absent(header::X_REQUEST_ID, id);
        }
        if !manager.request_headers.via.is_empty() {
            append_via_to(headers, Version::Http11, &manager.request_headers.via);
        }
        if !self.request_read {
            manager.stats.requests.downstream_rq_response_before_rq_complete.inc();
            self.persistent = false;
        }
        let listener = self.around.listener;
        let is_ending = listener.drain.is_draining()
            || (listener.drains_when_unhealthy && self.around.worker.server.health_check_failed());
        if is_ending && self.persistent {
            manager.stats.connections.downstream_cx_drain_close.inc();
            self.persistent = false;
        }
        let end_stream = self.encode.ends_with_head();
        self.info.response_code = Some(head.status());
        self.info.timing.first_downstream_tx = Some(io::now());
        self.persistent = self.downstream.send_head(&self.request, &mut head, end_stream, self.persistent);
        self.clock.touch();
        self.response = Some(head);
        self.response_started = true;
    }

    /// Lets filters on the way down that wait for something go on.
    pub(super) fn poll_waiting_response_filters(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let manager = self.around.manager;
        let (encode, filters, head, mut cx) = self.encode_parts();
        let result = ready!(encode.poll_pending(task, filters, &mut cx, head));
        self.clock.touch();
        Poll::Ready(result.map_err(|why| response_interrupted(why, &manager.stats.requests)))
    }

    /// Hands what has passed the filters to the codec. True once the response is complete.
    pub(super) fn send_filtered(&mut self) -> bool {
        if !self.encode.head_passed() {
            return false;
        }
        if !self.response_started {
            self.encode_response();
        }
        while let Some(chunk) = self.encode.take_data() {
            self.info.bytes_sent += chunk.len() as u64;
            self.downstream.send_data(chunk);
        }
        match self.encode.take_ending() {
            Ending::Open => return self.response_sent,
            Ending::Plain => self.downstream.send_end(None),
            Ending::Trailers(trailers) => {
                self.downstream.send_end(Some(&trailers));
                self.response_trailers = Some(trailers);
            }
        }
        self.response_sent = true;
        self.info.timing.last_downstream_tx = Some(io::now());
        true
    }
}

/// Sets `date` unless an origin did (RFC 9110 section 6.6.1).
fn set_date(headers: &mut crate::http::HeaderMap, now: UnixTime) {
    thread_local! {
        static DATE: DateCache = const { DateCache::new() };
    }
    if !headers.contains(header::DATE) {
        headers.append(header::DATE, &DATE.with(|date| date.format(now)));
    }
}
