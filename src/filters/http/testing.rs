//! A stream without a connection, for tests of filters and of the chain.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::chain::{ActiveFilter, Decode, Encode, Ending, Interruption, Iteration};
use super::{FilterContext, HeldHead, HttpFilter, LocalReply};
use crate::base::clock::{Instant, UnixTime};
use crate::buf::Chunk;
use crate::config::{Node, Runtime};
use crate::filters::{ServerState, WorkerContext};
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, Version};
use crate::stream_info::{ConnectionInfo, PeerAddress, StreamInfo, Timing};
use crate::upstream::ClusterManager;

/// A stream with its filters; both directions.
pub struct Stream {
    pub filters: Vec<ActiveFilter>,
    pub decode: Iteration<Decode>,
    pub encode: Iteration<Encode>,
    pub info: StreamInfo,
    pub request: RequestHead,
    pub response: ResponseHead,
    pub worker: Rc<WorkerContext>,
    pub now: Instant,
    pub rematch: bool,
    /// How the last step ended, if not well.
    pub interruption: Option<Interruption>,
}

impl Stream {
    /// What the stream holds at most.
    pub const LIMIT_BYTES: usize = 100;

    /// A stream through these filters.
    pub fn of(filters: Vec<Box<dyn HttpFilter>>) -> Stream {
        Stream::with_runtime(filters, Runtime::default())
    }

    /// The same with runtime values.
    pub fn with_runtime(filters: Vec<Box<dyn HttpFilter>>, runtime: Runtime) -> Stream {
        let address = PeerAddress::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let connection = Rc::new(ConnectionInfo::new(1, address.clone(), address));
        let node = Node { cluster: "own".into(), ..Node::default() };
        let count = filters.len();
        Stream {
            filters: filters.into_iter().map(|filter| ActiveFilter { filter, route_slot: None }).collect(),
            decode: Iteration::new(count, Self::LIMIT_BYTES),
            encode: Iteration::new(count, Self::LIMIT_BYTES),
            info: StreamInfo::new(
                connection,
                Some(Version::Http11),
                Timing::starting(Instant::from_nanos(0), UnixTime::default()),
            ),
            request: RequestHead::new(Method::Get, "http", b"a.test", b"/"),
            response: ResponseHead::new(200),
            worker: Rc::new(WorkerContext::new(
                0,
                ClusterManager::new(0),
                Arc::new(ServerState::new(node, runtime)),
            )),
            now: Instant::from_nanos(0),
            rematch: false,
            interruption: None,
        }
    }

    pub fn request_head(&mut self, method: &str, path: &str, headers: &[(&str, &str)], end: bool) {
        let method = Method::from_bytes(method.as_bytes());
        self.request = RequestHead::new(method, "http", b"a.test", path.as_bytes());
        headers.iter().for_each(|(name, value)| self.request.headers.append(*name, value.as_bytes()));
        self.decoding(|decode, filters, cx, head| decode.push_head(filters, cx, head, end));
    }

    pub fn request_data(&mut self, data: &[u8], end: bool) {
        let chunk = Chunk::copy_from(data);
        self.decoding(|decode, filters, cx, head| decode.push_data(filters, cx, head, chunk, end));
    }

    pub fn request_trailers(&mut self, trailers: &[(&str, &str)]) {
        let trailers: HeaderMap = trailers.iter().copied().collect();
        self.decoding(|decode, filters, cx, head| decode.push_trailers(filters, cx, head, trailers));
    }

    /// Polls filters that wait on the way up; whether one went on.
    pub fn poll_request(&mut self) -> bool {
        let mut ready = false;
        self.decoding(|decode, filters, cx, head| {
            let mut task = Context::from_waker(Waker::noop());
            match decode.poll_pending(&mut task, filters, cx, head) {
                Poll::Pending => Ok(()),
                Poll::Ready(result) => {
                    ready = true;
                    result
                }
            }
        });
        ready
    }

    pub fn request_passed(&self) -> bool {
        self.decode.head_passed()
    }

    /// The body parts that have passed all filters.
    pub fn take_request_body(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.decode.take_data()).flat_map(|chunk| chunk.to_vec()).collect()
    }

    pub fn take_request_ending(&mut self) -> Ending {
        self.decode.take_ending()
    }

    pub fn response_head(&mut self, status: u16, headers: &[(&str, &str)], end: bool) {
        self.response = ResponseHead::new(status);
        headers.iter().for_each(|(name, value)| self.response.headers.append(*name, value.as_bytes()));
        self.encoding(|encode, filters, cx, head| encode.push_head(filters, cx, head, end));
    }

    pub fn response_data(&mut self, data: &[u8], end: bool) {
        let chunk = Chunk::copy_from(data);
        self.encoding(|encode, filters, cx, head| encode.push_data(filters, cx, head, chunk, end));
    }

    pub fn response_trailers(&mut self, trailers: &[(&str, &str)]) {
        let trailers: HeaderMap = trailers.iter().copied().collect();
        self.encoding(|encode, filters, cx, head| encode.push_trailers(filters, cx, head, trailers));
    }

    /// Polls filters that wait on the way down; whether one went on.
    pub fn poll_response(&mut self) -> bool {
        let mut ready = false;
        self.encoding(|encode, filters, cx, head| {
            let mut task = Context::from_waker(Waker::noop());
            match encode.poll_pending(&mut task, filters, cx, head) {
                Poll::Pending => Ok(()),
                Poll::Ready(result) => {
                    ready = true;
                    result
                }
            }
        });
        ready
    }

    pub fn response_passed(&self) -> bool {
        self.encode.head_passed()
    }

    /// The body parts that have passed all filters.
    pub fn take_response_body(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.encode.take_data()).flat_map(|chunk| chunk.to_vec()).collect()
    }

    pub fn is_too_large(&self) -> bool {
        matches!(self.interruption, Some(Interruption::TooLarge))
    }

    /// The answer that a filter gave.
    pub fn reply(&self) -> Option<&LocalReply> {
        match &self.interruption {
            Some(Interruption::Reply(reply)) => Some(reply),
            _ => None,
        }
    }

    fn decoding(
        &mut self,
        step: impl FnOnce(
            &mut Iteration<Decode>,
            &mut [ActiveFilter],
            &mut FilterContext<'_>,
            &mut RequestHead,
        ) -> Result<(), Interruption>,
    ) {
        let mut cx = context(&mut self.info, None, &self.worker, self.now);
        let result = step(&mut self.decode, &mut self.filters, &mut cx, &mut self.request);
        self.rematch |= cx.clear_route_cache;
        self.interruption = result.err();
    }

    fn encoding(
        &mut self,
        step: impl FnOnce(
            &mut Iteration<Encode>,
            &mut [ActiveFilter],
            &mut FilterContext<'_>,
            &mut ResponseHead,
        ) -> Result<(), Interruption>,
    ) {
        let mut cx = context(&mut self.info, Some(&self.request), &self.worker, self.now);
        let result = step(&mut self.encode, &mut self.filters, &mut cx, &mut self.response);
        self.interruption = result.err();
    }
}

fn context<'a>(
    info: &'a mut StreamInfo,
    request: Option<&'a RequestHead>,
    worker: &'a Rc<WorkerContext>,
    now: Instant,
) -> FilterContext<'a> {
    FilterContext {
        info,
        request,
        route: None,
        held: HeldHead::None,
        route_slot: None,
        worker,
        now,
        unix_now: UnixTime::default(),
        random: || 50,
        clear_route_cache: false,
        buffer_limit_bytes: None,
    }
}

/// All values of a header.
pub fn fields(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
