//! The HTTP connection manager: turns a connection's bytes into exchanges and runs each through
//! filters, router and logs
//! (`envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`).

mod build;
mod client_address;
mod client_certificate;
mod context;
mod deadlines;
mod downstream;
mod exchange;
mod h1;
mod h2;
mod http1;
mod http2;
mod local_reply;
mod request_headers;
mod request_id;
mod routes;
mod stream_clock;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLogSet;
use crate::buf::Chunk;
use crate::config::{
    CodecType, HeadersWithUnderscoresAction, Http2Keepalive, ServerHeaderTransformation, StringMatcher,
    UpgradeConfigs,
};
use crate::filters::http::{FilterEntry, RouterConfig};
use crate::http::h1::{H1Settings, HeaderCase};
use crate::http::h2::H2Settings;
use crate::http::path::PathOptions;
use crate::stats::groups::{
    Http1CodecStats, Http2CodecStats, HttpConnectionStats, HttpRequestStats, ListenerHttpStats, RouterStats,
};

use super::{Connection, Serve, TerminalFilter};
use context::{Account, ConnectionContext};
use local_reply::LocalReplyMapper;
use request_headers::RequestHeaderSettings;
use routes::RouteSource;

pub use build::build;
pub use routes::{RouteDiscovery, RouteSlotId, RouteSlots, Routes, compile_route_table};

/// A compiled connection manager, shared by all workers. A time that is none is off.
pub struct HttpConnectionManager {
    stats: ManagerStats,
    routes: RouteSource,
    filters: Vec<FilterEntry>,
    router: Arc<RouterConfig>,
    access_logs: AccessLogSet,
    codec_type: CodecType,
    h1_settings: H1Settings,
    h2_settings: H2Settings,
    h2_keepalive: Option<Http2Keepalive>,
    header_case: HeaderCase,
    request_headers: RequestHeaderSettings,
    path_options: PathOptions,
    underscores: HeadersWithUnderscoresAction,
    upgrades: UpgradeConfigs,
    ignored_upgrades: Vec<StringMatcher>,
    default_host_for_http_10: Vec<u8>,
    local_reply: LocalReplyMapper,
    server_name: Vec<u8>,
    server_header_transformation: ServerHeaderTransformation,
    proxy_100_continue: bool,
    connection_idle_timeout: Option<Duration>,
    max_connection_duration: Option<Duration>,
    max_requests_per_connection: Option<u32>,
    stream_idle_timeout: Option<Duration>,
    stream_flush_timeout: Option<Duration>,
    max_stream_duration: Option<Duration>,
    request_timeout: Option<Duration>,
    request_headers_timeout: Option<Duration>,
    drain_timeout: Duration,
    delayed_close_timeout: Duration,
}

/// Statistics of one connection manager.
#[derive(Debug, Clone, Copy)]
struct ManagerStats {
    connections: HttpConnectionStats,
    requests: HttpRequestStats,
    router: RouterStats,
    listener: ListenerHttpStats,
    codec: Http1CodecStats,
    h2_codec: Http2CodecStats,
}

impl TerminalFilter for HttpConnectionManager {
    fn serve(self: Arc<Self>, connection: Connection) -> Serve {
        let is_http2 = match self.codec_type {
            CodecType::Http2 => true,
            // What was agreed on goes before what the bytes look like.
            CodecType::Auto => connection.info.negotiated_protocol() == Some(b"h2"),
            CodecType::Http1 | CodecType::Http3 => false,
        };
        let Connection { stream, info, worker, listener } = connection;
        let account = Account::open(Rc::new(ConnectionContext::new(self, info, worker, listener)));
        if !is_http2 {
            return Box::pin(http1::serve_http1(account, stream));
        }
        let serving = http2::serve_http2(account, stream, Chunk::new());
        Box::pin(async move {
            serving.await;
            None
        })
    }
}

#[cfg(test)]
mod size_budgets;
