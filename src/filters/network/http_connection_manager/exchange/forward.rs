//! Sends a request to a host of the route's cluster, as often as its retry policy allows, and decides
//! what becomes of each attempt.
//!
//! Follows Envoy's router filter in order and wording of what is visible.

use std::rc::Rc;
use std::time::Duration;

use crate::config::route::RoutingPriority;
use crate::filters::network::http_connection_manager::deadlines::Deadline;
use crate::filters::network::http_connection_manager::downstream::DownstreamStream;
use crate::formatter::FormatContext;
use crate::http::{ResponseHead, header};
use crate::io;
use crate::routing::{ForwardAction, MatchedRoute, replace_authority};
use crate::stream_info::{ResponseFlags, UpstreamInfo};
use crate::upstream::breaker::ResourceKind;
use crate::upstream::retry::{AttemptOutcome, RetryContext, RetryDecision};
use crate::upstream::{CheckOut, Host, HostPick, UpstreamReset, UpstreamStream, outlier};

use super::attempt::{Attempt, Failure};
use super::prepare::{Forwarding, set_number};
use super::replay::Replay;
use super::upstream_failure::{
    cluster_not_found_reply, no_healthy_upstream_reply, reset_reply, timeout_reply,
};
use super::{Exchange, Stop};

/// How often a request is sent again because a pooled connection turned out to be closed. Not a
/// retry: the origin never saw it.
const MAX_STALE_CONNECTIONS: u32 = 3;

/// What follows an attempt.
enum Next {
    /// Another one, after this time.
    Again(Duration),
    /// The exchange is over.
    Done,
}

impl<'a, D: DownstreamStream> Exchange<'a, D> {
    /// Serves the request from the route's cluster.
    pub(super) async fn forward(
        &mut self,
        route: MatchedRoute<'a>,
        action: &'a ForwardAction,
    ) -> Result<(), Stop> {
        let mut forwarding = self.find_cluster(route, action)?;
        let mut replay = self.keep_for_retries(&forwarding);
        while let Next::Again(pause) = self.attempt(&mut forwarding, &mut replay).await? {
            if !pause.is_zero() {
                self.pause(pause).await?;
            }
            self.refresh_cluster(&mut forwarding)?;
        }
        Ok(())
    }

    fn find_cluster(
        &mut self,
        route: MatchedRoute<'a>,
        action: &'a ForwardAction,
    ) -> Result<Forwarding<'a>, Stop> {
        let manager = self.around.manager;
        let cluster =
            route.cluster_name(&self.request).and_then(|name| self.around.worker.clusters.get(name));
        let Some(cluster) = cluster else {
            manager.stats.router.no_cluster.inc();
            return Err(Stop::reply(cluster_not_found_reply(action.config.cluster_not_found_response_code)));
        };
        self.info.upstream_cluster = Some(std::sync::Arc::clone(&cluster.info().name));
        Ok(self.prepare_request(route, action, cluster))
    }

    /// The cluster may have been replaced or removed since the last attempt.
    fn refresh_cluster(&mut self, forwarding: &mut Forwarding<'a>) -> Result<(), Stop> {
        match self.around.worker.clusters.get(&forwarding.cluster.info().name) {
            Some(cluster) if Rc::ptr_eq(&cluster, &forwarding.cluster) => {}
            Some(cluster) => {
                forwarding.wanted_name = cluster.info().wanted_name(&self.request);
                forwarding.cluster = cluster;
            }
            None => return Err(self.no_host(forwarding)),
        }
        Ok(())
    }

    fn keep_for_retries(&mut self, forwarding: &Forwarding<'_>) -> Replay {
        let limit = self.replay_limit(forwarding);
        self.decode.set_limit_bytes(limit.max(self.around.listener.buffer_limit_bytes));
        Replay::new(if forwarding.retry.is_some() { limit } else { 0 })
    }

    fn replay_limit(&self, forwarding: &Forwarding<'_>) -> usize {
        match forwarding.route.request_body_buffer_limit_bytes() {
            Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            None => self.around.listener.buffer_limit_bytes,
        }
    }

    async fn attempt(&mut self, forwarding: &mut Forwarding<'a>, replay: &mut Replay) -> Result<Next, Stop> {
        let (host, check_out) = self.start_attempt(forwarding)?;
        let mut attempt = match self.check_out_connection(check_out).await? {
            Ok(stream) => self.start_request(&host, stream, replay),
            Err(failure) => return self.on_failure(forwarding, replay, &host, failure),
        };
        let (head, end_stream) = match self.await_response(&mut attempt, replay).await? {
            Ok(answer) => answer,
            Err(failure) => {
                if let Failure::Late(_) = failure {
                    host.outlier().record(outlier::Outcome::Timeout);
                }
                drop(attempt);
                return self.on_failure(forwarding, replay, &host, failure);
            }
        };
        self.end_per_try_timeout();
        if let Some(pause) = self.on_response(forwarding, replay, &attempt, head, end_stream)? {
            return Ok(Next::Again(pause));
        }
        let result = self.stream_response(&mut attempt, replay).await;
        let (sent, received) = attempt.stream.wire_bytes();
        self.info.wire_bytes.upstream_sent += sent;
        self.info.wire_bytes.upstream_received += received;
        result.map(|()| Next::Done)
    }

    /// Picks a host and asks it for a connection.
    fn start_attempt(&mut self, forwarding: &mut Forwarding<'a>) -> Result<(Rc<Host>, CheckOut), Stop> {
        let Some(host) = self.pick_host(forwarding) else {
            return Err(self.no_host(forwarding));
        };
        forwarding.attempts += 1;
        self.info.attempt_count = forwarding.attempts;
        if forwarding.attempts > 1 {
            self.tell_of_retry(forwarding);
        }
        self.rewrite_host(forwarding, &host);
        self.note_upstream(&host);
        self.per_try_timeout = forwarding.per_try_timeout;
        if self.request_read {
            self.clock.set(Deadline::PerTry, self.per_try_timeout);
        }
        let policy = forwarding.action.retry_policy.as_ref();
        self.clock.set_attempt_idle_timeout(policy.and_then(|policy| policy.per_try_idle_timeout));
        let priority = forwarding.action.config.priority;
        let check_out = host.check_out_for(forwarding.wanted_name.as_ref(), priority, self.request.version);
        Ok((host, check_out))
    }

    fn tell_of_retry(&mut self, forwarding: &Forwarding<'_>) {
        let (headers, virtual_host) = (&mut self.request.headers, forwarding.route.virtual_host);
        if virtual_host.include_request_attempt_count {
            set_number(headers, header::X_ENVOY_ATTEMPT_COUNT, forwarding.attempts.into());
        }
        if virtual_host.include_is_timeout_retry_header {
            let told: &[u8] = if forwarding.follows_timeout { b"true" } else { b"false" };
            headers.set(header::X_ENVOY_IS_TIMEOUT_RETRY, told);
        }
    }

    fn start_request(&mut self, host: &Host, stream: UpstreamStream, replay: &Replay) -> Attempt {
        host.outlier().record(outlier::Outcome::Connected);
        let attempt = self.encode_request(stream, replay);
        self.note_connection(&attempt);
        attempt
    }

    fn end_per_try_timeout(&mut self) {
        self.clock.clear(Deadline::PerTry);
        self.per_try_timeout = None;
    }

    /// The attempt brought no response: tries again, or answers in the host's stead.
    fn on_failure(
        &mut self,
        forwarding: &mut Forwarding<'a>,
        replay: &Replay,
        host: &Rc<Host>,
        failure: Failure,
    ) -> Result<Next, Stop> {
        self.end_per_try_timeout();
        self.clock.set_attempt_idle_timeout(None);
        match failure {
            Failure::StaleConnection { is_unprocessed }
                if replay.is_intact()
                    && (is_unprocessed || self.request.method().is_idempotent())
                    && forwarding.stale_connections < MAX_STALE_CONNECTIONS =>
            {
                forwarding.stale_connections += 1;
                forwarding.attempts -= 1;
                Ok(Next::Again(Duration::ZERO))
            }
            Failure::StaleConnection { .. } => {
                self.on_reset(forwarding, replay, host, UpstreamReset::ConnectionTermination, true)
            }
            Failure::Reset(reset, request_sent) => {
                self.on_reset(forwarding, replay, host, reset, request_sent)
            }
            Failure::Late(kind) => self.on_late(forwarding, replay, host, kind),
        }
    }

    fn pick_host(&self, forwarding: &Forwarding<'_>) -> Option<Rc<Host>> {
        let policy = forwarding.action.retry_policy.as_ref();
        let avoid = policy.is_some_and(|policy| policy.avoid_previous_hosts);
        let pick = HostPick {
            hash: None,
            avoid: if avoid { &forwarding.tried } else { &[] },
            max_attempts: policy.map_or(1, |policy| policy.host_selection_retry_max_attempts),
        };
        io::with_rng(|rng| forwarding.cluster.pick_host(&pick, rng))
    }

    fn no_host(&mut self, forwarding: &Forwarding<'_>) -> Stop {
        self.charge(forwarding, 503, false);
        Stop::reply(no_healthy_upstream_reply())
    }

    /// `auto_host_rewrite`: the authority becomes the host's name.
    fn rewrite_host(&mut self, forwarding: &Forwarding<'_>, host: &Host) {
        let auto = matches!(forwarding.action.host_change.as_deref(), Some(crate::routing::HostChange::Auto));
        let name = host.hostname();
        if auto && !name.is_empty() {
            let append = forwarding.action.config.append_x_forwarded_host;
            replace_authority(&mut self.request, name.as_bytes(), append);
        }
    }

    fn note_upstream(&mut self, host: &Host) {
        self.info.upstream = Some(UpstreamInfo {
            host_address: host.address().into(),
            hostname: host.hostname(),
            local_address: None,
            connection_id: 0,
            protocol: None,
            tls: None,
        });
    }

    fn note_connection(&mut self, attempt: &Attempt) {
        if let Some(upstream) = &mut self.info.upstream {
            upstream.local_address = attempt.stream.local_address().and_then(|address| address.as_ip());
            upstream.connection_id = attempt.stream.connection_id();
            upstream.protocol = Some(attempt.stream.version());
            upstream.tls = attempt.stream.tls_facts();
        }
    }

    /// The final response's head is here: passes it on, or says when to try again.
    fn on_response(
        &mut self,
        forwarding: &mut Forwarding<'a>,
        replay: &Replay,
        attempt: &Attempt,
        mut head: ResponseHead,
        end_stream: bool,
    ) -> Result<Option<Duration>, Stop> {
        let host = attempt.stream.host();
        host.report_response(&self.request.headers, &head);
        let decision = self.decide(forwarding, replay, AttemptOutcome::Response(&head));
        if let RetryDecision::RetryAfter(pause) = decision {
            self.charge(forwarding, head.status(), host.is_canary());
            forwarding.note_failed(host, false);
            self.clock.set_attempt_idle_timeout(None);
            return Ok(Some(pause));
        }
        self.flag_decision(decision);
        self.info.timing.first_upstream_rx = Some(io::now());
        self.info.response_code_details = "via_upstream".into();
        self.info.response_code = Some(head.status());
        self.charge(forwarding, head.status(), host.is_canary());
        self.settle_upgrade(head.status());
        self.tell_service_time(&mut head);
        if forwarding.route.virtual_host.include_attempt_count_in_response {
            set_number(&mut head.headers, header::X_ENVOY_ATTEMPT_COUNT, forwarding.attempts.into());
        }
        let cx = FormatContext {
            request: Some(&self.request),
            ..FormatContext::new(&self.info, io::now(), io::unix_time())
        };
        forwarding.route.finalize_response(&mut head, &cx);
        self.filter_response(head, end_stream)?;
        Ok(None)
    }

    /// The attempt ended without a response.
    fn on_reset(
        &mut self,
        forwarding: &mut Forwarding<'a>,
        replay: &Replay,
        host: &Rc<Host>,
        reset: UpstreamReset,
        request_sent: bool,
    ) -> Result<Next, Stop> {
        // A full cluster says nothing about the host.
        if !matches!(reset, UpstreamReset::Overflow) {
            host.outlier().record(outlier::Outcome::ConnectFailed);
        }
        let decision = self.decide(forwarding, replay, AttemptOutcome::Reset { reset: &reset, request_sent });
        if let RetryDecision::RetryAfter(pause) = decision {
            forwarding.note_failed(host, false);
            return Ok(Next::Again(pause));
        }
        self.flag_decision(decision);
        if let Some(reason) = reset.transport_failure_reason() {
            self.info.upstream_transport_failure_reason = Some(reason.to_owned().into());
        }
        let reply = reset_reply(&reset, forwarding.attempts > 1);
        self.charge(forwarding, reply.status, false);
        Err(Stop::reply(reply))
    }

    /// A deadline has passed before a response came.
    fn on_late(
        &mut self,
        forwarding: &mut Forwarding<'a>,
        replay: &Replay,
        host: &Rc<Host>,
        kind: Deadline,
    ) -> Result<Next, Stop> {
        let info = Rc::clone(&forwarding.cluster);
        let traffic = &info.info().stats.traffic;
        host.counters().rq_timeout.inc();
        if kind == Deadline::Route {
            traffic.upstream_rq_timeout.inc();
            self.charge(forwarding, 504, false);
            return Err(Stop::reply(timeout_reply("response_timeout")));
        }
        let details = if kind == Deadline::PerTryIdle {
            traffic.upstream_rq_per_try_idle_timeout.inc();
            "upstream_per_try_idle_timeout"
        } else {
            traffic.upstream_rq_per_try_timeout.inc();
            "upstream_per_try_timeout"
        };
        let decision = self.decide(forwarding, replay, AttemptOutcome::PerTryTimeout);
        if let RetryDecision::RetryAfter(pause) = decision {
            forwarding.note_failed(host, true);
            return Ok(Next::Again(pause));
        }
        self.flag_decision(decision);
        self.charge(forwarding, 504, false);
        Err(Stop::reply(timeout_reply(details)))
    }

    fn decide(
        &self,
        forwarding: &mut Forwarding<'_>,
        replay: &Replay,
        outcome: AttemptOutcome<'_>,
    ) -> RetryDecision {
        let Some(retry) = &mut forwarding.retry else { return RetryDecision::No };
        let traffic = &forwarding.cluster.info().stats.traffic;
        if !replay.is_intact() {
            if retry.is_retriable(outcome) {
                traffic.retry_or_shadow_abandoned.inc();
            }
            return RetryDecision::No;
        }
        let breakers = forwarding.cluster.breakers();
        let priority: RoutingPriority = forwarding.action.config.priority;
        io::with_rng(|rng| {
            let context = RetryContext { now: io::unix_time(), rng, stats: traffic };
            retry.decide(outcome, context, || breakers.try_acquire(priority, ResourceKind::Retries))
        })
    }

    fn flag_decision(&mut self, decision: RetryDecision) {
        match decision {
            RetryDecision::LimitExceeded => {
                self.info.response_flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
            }
            RetryDecision::Overflow => self.info.response_flags.insert(ResponseFlags::UPSTREAM_OVERFLOW),
            RetryDecision::No | RetryDecision::RetryAfter(_) => {}
        }
    }

    /// Waits before the next attempt, within the route's timeout.
    async fn pause(&mut self, pause: Duration) -> Result<(), Stop> {
        let mut sleep = std::pin::pin!(io::sleep(pause));
        std::future::poll_fn(|task| {
            use std::task::Poll;
            if let Some(Deadline::Route) = self.poll_deadlines(task)? {
                return Poll::Ready(Err(Stop::reply(timeout_reply("response_timeout"))));
            }
            self.check_client(task)?;
            sleep.as_mut().poll(task).map(Ok)
        })
        .await
    }

    /// How long the host took, from the request's end to the response's head.
    fn tell_service_time(&self, head: &mut ResponseHead) {
        let suppress = self.around.manager.router.suppress_envoy_headers;
        let (Some(from), Some(to)) =
            (self.info.timing.last_downstream_rx, self.info.timing.first_upstream_rx)
        else {
            return;
        };
        if !suppress {
            let millis = to.since(from).as_millis() as u64;
            set_number(&mut head.headers, header::X_ENVOY_UPSTREAM_SERVICE_TIME, millis);
        }
    }

    fn charge(&self, forwarding: &Forwarding<'_>, status: u16, is_canary: bool) {
        let is_internal = self.client.as_ref().is_some_and(|client| client.is_internal);
        let from = self.info.timing.last_downstream_rx.unwrap_or(self.info.timing.start);
        forwarding.cluster.info().charge_response(status, is_internal, is_canary, io::now().since(from));
    }
}
