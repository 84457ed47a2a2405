//! HTTP filters: the trait, what a filter may answer, and the registry.
//!
//! A filter sees a request's head, body and trailers on the way up (`decode_*`) and the response's
//! on the way down (`encode_*`), in reverse order, as in Envoy. Its hooks are synchronous; one that
//! must wait returns [`HeadAction::Await`] with a future, so that only filters which call out pay
//! for one. A filter never touches a socket and never sees another filter.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::api::{ConfigError, MessageSupport};
use crate::base::clock::{Instant, UnixTime};
use crate::buf::Chunk;
use crate::config::FieldPath;
use crate::formatter::FormatContext;
use crate::http::{HeaderMap, RequestHead, ResponseHead};
use crate::routing::{FilterSlot, MatchedRoute};
use crate::stream_info::StreamInfo;

use super::{BuildContext, WorkerContext};

pub mod chain;
mod convert;
mod local_reply;
mod registry;

mod buffer;
mod cors;
mod ext_authz;
mod fault;
mod header_mutation;
mod health_check;
mod router;

#[cfg(test)]
mod testing;

pub use local_reply::LocalReply;
pub use registry::{build, build_route_config, support_tables};
pub use router::RouterConfig;

/// One filter's state for one stream.
///
/// Every hook has a default that passes the message on.
pub trait HttpFilter {
    /// The request's head. `end_stream`: it has neither body nor trailers.
    fn decode_head(
        &mut self,
        _: &mut FilterContext<'_>,
        _: &mut RequestHead,
        _end_stream: bool,
    ) -> HeadAction {
        HeadAction::Continue
    }

    /// A part of the request's body, which may be replaced. An empty last part is possible.
    fn decode_data(&mut self, _: &mut FilterContext<'_>, _: &mut Chunk, _end_stream: bool) -> DataAction {
        DataAction::Continue
    }

    /// The request's trailers, always its end.
    fn decode_trailers(&mut self, _: &mut FilterContext<'_>, _: &mut HeaderMap) -> DataAction {
        DataAction::Continue
    }

    /// The response's head; also that of a local reply.
    fn encode_head(
        &mut self,
        _: &mut FilterContext<'_>,
        _: &mut ResponseHead,
        _end_stream: bool,
    ) -> HeadAction {
        HeadAction::Continue
    }

    /// A part of the response's body, which may be replaced.
    fn encode_data(&mut self, _: &mut FilterContext<'_>, _: &mut Chunk, _end_stream: bool) -> DataAction {
        DataAction::Continue
    }

    /// The response's trailers, always its end.
    fn encode_trailers(&mut self, _: &mut FilterContext<'_>, _: &mut HeaderMap) -> DataAction {
        DataAction::Continue
    }

    /// The stream is over, in whatever way; nothing else will be called.
    fn on_complete(&mut self, _: &mut FilterContext<'_>) {}
}

/// What a hook on a head wants.
pub enum HeadAction {
    /// Pass the head to the next filter.
    Continue,
    /// Hold the head here. Body parts keep coming to this filter alone, until one of its data hooks
    /// returns [`DataAction::Continue`]; then the head and all that was held go on.
    Stop,
    /// End the stream with this answer. On the way down it replaces the response.
    Reply(LocalReply),
    /// Hold the head, and read nothing further, until the future ends.
    Await(Pending),
}

/// What a hook on a body part or on trailers wants.
pub enum DataAction {
    /// Pass it on, after anything that this filter held back.
    Continue,
    /// Hold it here, up to the stream's buffer limit (413 above it on the way up).
    Hold,
    /// Hold it here with all that follows until the future ends; then it goes on with what was held.
    Await(Pending),
    /// End the stream with this answer. Where a response has begun, the stream is reset.
    Reply(LocalReply),
}

/// A wait of a filter.
pub type Pending = Pin<Box<dyn Future<Output = Verdict>>>;

/// How a filter's wait ended.
pub enum Verdict {
    /// Pass the request's head on.
    Continue,
    /// Change the request's head, then pass it on.
    Change(Box<dyn FnOnce(&mut RequestHead)>),
    /// The same; the route is then matched again. Filters between this one and the router see the
    /// new route from their next hook on.
    ChangeAndRematch(Box<dyn FnOnce(&mut RequestHead)>),
    /// End the stream with this answer.
    Reply(LocalReply),
}

/// A head that a filter has stopped.
pub enum HeldHead<'a> {
    /// The filter holds none.
    None,
    /// That of the request.
    Request(&'a mut RequestHead),
    /// That of the response.
    Response(&'a mut ResponseHead),
}

/// What a hook may see and touch of its surroundings.
pub struct FilterContext<'a> {
    /// Facts about the stream.
    pub info: &'a mut StreamInfo,
    /// The request's head, on the way down; on the way up it is an argument.
    pub request: Option<&'a RequestHead>,
    /// The matched route; none if none matched.
    pub route: Option<MatchedRoute<'a>>,
    /// In hooks on body parts and trailers: the head that this filter holds back, which may be changed.
    pub held: HeldHead<'a>,
    /// This filter's place in the routes' per-filter configurations; none if they have none for it.
    pub route_slot: Option<FilterSlot>,
    /// The worker that runs the stream.
    pub worker: &'a Rc<WorkerContext>,
    /// Now.
    pub now: Instant,
    /// The same on the wall clock.
    pub unix_now: UnixTime,
    /// Source of random numbers, uniform over `u64`.
    pub random: fn() -> u64,
    /// Set by a filter that changed what routes are matched on; the route is then matched again.
    pub clear_route_cache: bool,
    /// Set by a filter to replace the limit on what is held of the message, in bytes.
    pub buffer_limit_bytes: Option<usize>,
}

impl<'a> FilterContext<'a> {
    /// This filter's most specific configuration for the route, if there is one of type `T`.
    pub fn route_config<T: 'static>(&self) -> Option<&'a T> {
        self.route?.filter_config(self.route_slot?)?.downcast_ref()
    }

    /// All configurations of type `T` that apply to the route, least specific first: of the route
    /// table, the virtual host, the route and the weighted cluster.
    pub fn route_configs<T: 'static>(&self) -> impl DoubleEndedIterator<Item = &'a T> + use<'a, T> {
        let levels = match (self.route, self.route_slot) {
            (Some(route), Some(slot)) => route.per_filter_levels(slot),
            _ => [None; 4],
        };
        levels.into_iter().flatten().filter_map(|entry| entry.config.as_ref()?.downcast_ref())
    }

    /// What formats may read here, apart from the response.
    pub fn format_context(&self) -> FormatContext<'_> {
        let cx = FormatContext::new(self.info, self.now, self.unix_now);
        FormatContext { request: self.request, ..cx }
    }
}

/// Makes one filter's state for each stream; shared by all workers.
pub trait HttpFilterFactory: Send + Sync {
    /// State for a new stream.
    fn create(&self) -> Box<dyn HttpFilter>;
}

/// A filter's configuration on a route, compiled.
pub type RouteConfig = Arc<dyn Any + Send + Sync>;

/// What a kind of HTTP filter is: its configuration messages and how they become a factory.
pub trait HttpFilterDefinition {
    /// Configuration in `http_filters`.
    type Config: prost::Message + prost::Name + Default;
    /// Configuration in `typed_per_filter_config`.
    type RouteConfig: prost::Message + prost::Name + Default;

    /// The fields that it honours, of all messages that only it uses.
    const SUPPORT: &'static [MessageSupport];

    /// Compiles its configuration.
    fn build(
        config: Self::Config,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>>;

    /// Compiles its configuration on a route.
    fn build_route(config: Self::RouteConfig, path: &FieldPath) -> Result<RouteConfig, Vec<ConfigError>>;
}

/// A compiled entry of `http_filters`.
pub enum BuiltFilter {
    /// A filter in the chain.
    Filter(Arc<dyn HttpFilterFactory>),
    /// The end of the chain: the router.
    Router(Arc<RouterConfig>),
}

/// One entry of a filter chain.
#[derive(Clone)]
pub struct FilterEntry {
    /// Its name in the configuration; per-route configuration refers to it.
    pub name: Arc<str>,
    /// Whether it is off unless a route turns it on.
    pub disabled: bool,
    /// Makes its state.
    pub factory: Arc<dyn HttpFilterFactory>,
}
