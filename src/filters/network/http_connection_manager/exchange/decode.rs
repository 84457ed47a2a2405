//! The way up to the router: checks, header preparation, route, filters.

use std::task::{Context, Poll, ready};

use crate::config::HeadersWithUnderscoresAction;
use crate::filters::http::LocalReply;
use crate::filters::http::chain::{ActiveFilter, Decode, Encode, Iteration};
use crate::filters::network::http_connection_manager::deadlines::Deadline;
use crate::filters::network::http_connection_manager::downstream::DownstreamStream;
use crate::filters::network::http_connection_manager::request_headers;
use crate::http::path::{self, PathOptions, PathOutcome};
use crate::http::{BodyEvent, Method, ResponseHead, h1, header};
use crate::io;

use crate::routing::{Action, MatchContext, RouteMatch};

use super::stop::request_interrupted;
use super::{Exchange, Stop, Upgrade, Upgraded};

impl<D: DownstreamStream> Exchange<'_, D> {
    /// Checks the request as a whole and prepares its headers for filters and router.
    pub(super) fn decode_request(&mut self, upgrade: bool, expect_continue: bool) -> Result<(), Stop> {
        let manager = self.around.manager;
        self.clock.set_stream_idle_timeout(manager.stream_idle_timeout);
        self.clock.set(Deadline::StreamDuration, manager.max_stream_duration);
        if self.request_read {
            self.end_of_request();
        }
        self.check_header_names()?;
        self.check_request()?;
        h1::strip_hop_by_hop(&mut self.request.headers, upgrade);
        if expect_continue && !manager.proxy_100_continue {
            self.request.headers.remove(header::EXPECT);
            self.downstream.send_informational(&ResponseHead::new(100));
        }
        let client = request_headers::prepare(
            &manager.request_headers,
            &self.around.routes.table.internal_only_headers,
            self.around.connection,
            &mut self.request,
            || [io::random_u64(), io::random_u64()],
        );
        self.info.downstream_remote_address = client.address.clone();
        self.client = Some(client);
        Ok(())
    }

    /// Follows `headers_with_underscores_action`.
    fn check_header_names(&mut self) -> Result<(), Stop> {
        let manager = self.around.manager;
        let has_underscore = |name: &str| name.contains('_');
        match manager.underscores {
            HeadersWithUnderscoresAction::Allow => {}
            HeadersWithUnderscoresAction::DropHeader => {
                let before = self.request.headers.len();
                self.request.headers.retain(|name, _| !has_underscore(name.as_str()));
                let dropped = before - self.request.headers.len();
                manager.stats.codec.dropped_headers_with_underscores.add(dropped as u64);
            }
            HeadersWithUnderscoresAction::RejectRequest => {
                if self.request.headers.iter().any(|(name, _)| has_underscore(name)) {
                    manager.stats.codec.requests_rejected_with_underscores_in_headers.inc();
                    let reply = LocalReply::new(400, "Bad Request", "http1.unexpected_underscore");
                    return Err(Stop::reply(reply.closing()));
                }
            }
        }
        Ok(())
    }

    fn check_request(&mut self) -> Result<(), Stop> {
        let stats = &self.around.manager.stats.requests;
        if self.request.method() == Method::Connect {
            return Err(Stop::reply(LocalReply::new(404, "", "connect_not_enabled").closing()));
        }
        if self.request.path().first() != Some(&b'/') {
            stats.downstream_rq_non_relative_path.inc();
            return Err(Stop::reply(LocalReply::new(404, "", "absolute_path_rejected")));
        }
        self.normalize_path()?;
        Ok(())
    }

    /// Refuses a request for another protocol, unless route or connection manager let it pass. One without a
    /// route is answered that it has none.
    pub(super) fn check_upgrade(&mut self, upgrade: bool) -> Result<(), Stop> {
        if !upgrade {
            return Ok(());
        }
        // What follows may not be HTTP.
        self.persistent = false;
        let Some(route) = self.route else {
            self.downstream.resume_upgrade(false);
            return Ok(());
        };
        let wanted = self.request.headers.get(header::UPGRADE).unwrap_or_default();
        let on_route = match &route.route.action {
            Action::Forward(action) => action.config.upgrades.find(wanted),
            _ => None,
        };
        if on_route.or_else(|| self.around.manager.upgrades.find(wanted)) == Some(true) {
            self.upgrade = Upgrade::Asked;
            return Ok(());
        }
        self.downstream.resume_upgrade(false);
        self.around.manager.stats.requests.downstream_rq_ws_on_non_ws_route.inc();
        Err(Stop::reply(LocalReply::new(403, "", "upgrade_failed").closing()))
    }

    /// The origin has answered a request for another protocol.
    pub(super) fn settle_upgrade(&mut self, status: u16) {
        if !matches!(self.upgrade, Upgrade::Asked) {
            return;
        }
        let is_accepted = status == 101;
        self.downstream.resume_upgrade(is_accepted);
        self.upgrade = match is_accepted {
            true => Upgrade::Accepted(Upgraded::open(self.around.manager.stats.connections)),
            false => Upgrade::None,
        };
    }

    fn normalize_path(&mut self) -> Result<(), Stop> {
        let settings = self.around.manager.path_options;
        let stats = &self.around.manager.stats.requests;
        let refused = || {
            stats.downstream_rq_failed_path_normalization.inc();
            Stop::reply(LocalReply::new(400, "", "path_normalization_failed").closing())
        };
        if self.request.path().contains(&b'#') {
            return Err(refused());
        }
        if settings == PathOptions::default() {
            return Ok(());
        }
        let mut path = Vec::new();
        match path::canonicalize(self.request.path(), settings, &mut path) {
            PathOutcome::Unchanged => Ok(()),
            PathOutcome::Changed => {
                self.request.set_path(&path);
                Ok(())
            }
            PathOutcome::Reject => Err(refused()),
            PathOutcome::Redirect => {
                stats.downstream_rq_redirected_with_normalized_path.inc();
                let reply = LocalReply::new(307, "", "path_normalization_failed");
                Err(Stop::reply(reply.with_header("location", &path)))
            }
        }
    }

    /// Finds the route. Done before the filters, because they may have configuration on it.
    pub(super) fn match_route(&mut self) {
        let cx = MatchContext { random: self.route_random, runtime: &self.around.worker.server.runtime };
        (self.route, self.requires_tls) = match self.around.routes.table.match_route(&self.request, &cx) {
            RouteMatch::Route(route) => (Some(route), false),
            RouteMatch::RequireTls => (None, true),
            RouteMatch::NotFound => (None, false),
        };
        self.info.route_name = self.route.and_then(|route| route.route.name.clone());
    }

    pub(super) fn create_filters(&mut self) {
        let manager = self.around.manager;
        if manager.filters.is_empty() {
            return;
        }
        for (entry, slot) in manager.filters.iter().zip(&self.around.routes.filter_slots) {
            let on_route = self.route.zip(*slot).and_then(|(route, slot)| route.filter_disabled(slot));
            if !on_route.unwrap_or(entry.disabled) {
                self.filters.push(ActiveFilter { filter: entry.factory.create(), route_slot: *slot });
            }
        }
        let limit = self.around.listener.buffer_limit_bytes;
        self.decode = Iteration::<Decode>::new(self.filters.len(), limit);
        self.encode = Iteration::<Encode>::new(self.filters.len(), limit);
    }

    /// Sends the request's head through the filters, and of its body as much as they need to let
    /// the head pass.
    pub(super) async fn filter_request(&mut self, end_stream: bool) -> Result<(), Stop> {
        let manager = self.around.manager;
        let (decode, filters, request, mut cx) = self.decode_parts();
        decode
            .push_head(filters, &mut cx, request, end_stream)
            .map_err(|why| request_interrupted(why, &manager.stats.requests))?;
        let rematch = cx.clear_route_cache;
        if rematch {
            self.match_route();
        }
        if self.decode.head_passed() {
            return Ok(());
        }
        std::future::poll_fn(|task| self.poll_filter_request(task)).await
    }

    fn poll_filter_request(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        loop {
            self.poll_deadlines(task)?;
            if self.decode.head_passed() {
                return Poll::Ready(Ok(()));
            }
            if self.decode.is_waiting() {
                self.check_client(task)?;
                if self.poll_waiting_filters(task)?.is_ready() {
                    continue;
                }
                // The client is read meanwhile, so that it can be seen to leave.
                if self.request_read || !self.decode.has_room() {
                    return Poll::Pending;
                }
                ready!(self.poll_read_request(task))?;
                continue;
            }
            if self.request_read {
                // A filter holds the head for good. The stream's timeouts end that.
                self.check_client(task)?;
                return Poll::Pending;
            }
            ready!(self.poll_read_request(task))?;
        }
    }

    /// Lets filters that wait for something go on.
    pub(super) fn poll_waiting_filters(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let manager = self.around.manager;
        let (decode, filters, request, mut cx) = self.decode_parts();
        let result = ready!(decode.poll_pending(task, filters, &mut cx, request));
        let rematch = cx.clear_route_cache;
        if rematch {
            self.match_route();
        }
        self.clock.touch();
        Poll::Ready(result.map_err(|why| request_interrupted(why, &manager.stats.requests)))
    }

    /// Reads one part of the request and sends it through the filters.
    pub(super) fn poll_read_request(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let event = ready!(self.downstream.poll_body(task)).inspect_err(|_| self.request_broken = true)?;
        self.clock.touch();
        if !matches!(event, BodyEvent::Data(_)) {
            self.end_of_request();
        }
        if let BodyEvent::Data(chunk) = &event {
            self.info.bytes_received += chunk.len() as u64;
        }
        let manager = self.around.manager;
        let (decode, filters, request, mut cx) = self.decode_parts();
        let result = match event {
            BodyEvent::Data(chunk) => decode.push_data(filters, &mut cx, request, chunk, false),
            BodyEvent::Trailers(trailers) => decode.push_trailers(filters, &mut cx, request, trailers),
            BodyEvent::End => decode.push_data(filters, &mut cx, request, crate::buf::Chunk::new(), true),
        };
        Poll::Ready(result.map_err(|why| request_interrupted(why, &manager.stats.requests)))
    }

    /// All of the request is here.
    pub(super) fn end_of_request(&mut self) {
        self.request_read = true;
        self.info.timing.last_downstream_rx = Some(io::now());
        self.clock.clear(Deadline::Request);
        if self.route_timeout.is_some() {
            self.clock.set(Deadline::Route, self.route_timeout);
        }
        if self.per_try_timeout.is_some() {
            self.clock.set(Deadline::PerTry, self.per_try_timeout);
        }
    }
}
