//! The router's first decision: what a request that has passed the filters meets. Redirects, fixed
//! responses and requests without a route are answered here; all others go on to `forward`.
//!
//! Follows Envoy's router filter in order and wording of what is visible.

use crate::filters::http::LocalReply;
use crate::filters::network::http_connection_manager::downstream::DownstreamStream;
use crate::formatter::FormatContext;
use crate::http::ResponseHead;
use crate::io;
use crate::routing::{Action, MatchedRoute, write_https_location};
use crate::stream_info::ResponseFlags;

use super::{Exchange, Stop};

impl<'a, D: DownstreamStream> Exchange<'a, D> {
    /// Does what the route says.
    pub(super) async fn answer_or_forward(&mut self) -> Result<(), Stop> {
        let stats = &self.around.manager.stats.router;
        if self.requires_tls {
            let mut location = Vec::new();
            write_https_location(&self.request, &mut location);
            stats.rq_redirect.inc();
            return Err(Stop::reply(
                LocalReply::new(301, "", "direct_response").with_header("location", &location),
            ));
        }
        let Some(route) = self.route else {
            stats.no_route.inc();
            let reply = LocalReply::new(404, "", "route_not_found").with_flags(ResponseFlags::NO_ROUTE_FOUND);
            return Err(Stop::reply(reply));
        };
        stats.rq_total.inc();
        match &route.route.action {
            Action::Forward(action) => self.forward(route, action).await,
            Action::Redirect(redirect) => {
                stats.rq_redirect.inc();
                Err(self.fixed_answer(route, LocalReply::new(redirect.response_code, "", "direct_response")))
            }
            Action::DirectResponse(direct) => {
                stats.rq_direct_response.inc();
                let mut reply =
                    LocalReply::new(direct.status, "", "direct_response").with_body(direct.body.clone());
                if let Some(format) = &direct.body_format {
                    let mut body = Vec::new();
                    let cx = FormatContext {
                        request: Some(&self.request),
                        local_reply_body: &direct.body,
                        ..FormatContext::new(&self.info, io::now(), io::unix_time())
                    };
                    format.write(&cx, &mut body);
                    reply =
                        reply.with_body(body).with_header("content-type", format.content_type().as_bytes());
                }
                Err(self.fixed_answer(route, reply))
            }
            Action::NonForwarding => {
                stats.no_route.inc();
                let reply =
                    LocalReply::new(404, "", "route_not_found").with_flags(ResponseFlags::NO_ROUTE_FOUND);
                Err(Stop::reply(reply))
            }
        }
    }

    /// An answer that the route itself gives: with its header changes, and a `location` where it has one.
    fn fixed_answer(&mut self, route: MatchedRoute<'a>, mut reply: LocalReply) -> Stop {
        let mut head = ResponseHead::new(reply.status);
        route.add_location(&self.request, &mut head, &mut Vec::new());
        for (name, value) in head.headers.iter_without_pseudo() {
            reply = reply.with_header(name, value);
        }
        reply.route_changes_headers = true;
        Stop::reply(reply)
    }
}
