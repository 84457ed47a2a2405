//! The runtime model of a configuration: plain Rust types, made by pure functions from typed protobuf
//! messages. Immutable once made, shared between threads. It performs no I/O and knows no other layer;
//! extension points stay opaque ([`TypedExtension`]) for the registries that own them.

#![allow(deprecated, reason = "deprecated fields of the API are still read, as Envoy reads them")]

pub mod cluster;
pub mod route;
pub mod tls;

mod access_log;
mod access_log_filter;
mod address;
mod bootstrap;
mod config_source;
mod context;
mod data_source;
mod extension;
mod filter_chain;
mod format;
mod header_matcher;
mod header_mutation;
mod http2_protocol;
mod http_connection_manager;
mod http_filter;
mod http_protocol;
mod listener;
mod local_reply;
mod matcher;
mod path;
mod re2;
mod references;
mod regex;
mod runtime;
mod socket;
mod stats;
mod support;
mod transport_socket;
mod upgrade;
mod upstream_proxy_protocol;

pub use access_log::{AccessLog, AccessLogSink, AccessLogTarget};
pub use access_log_filter::{AccessLogFilter, Comparison, ComparisonOp};
pub use address::{Address, CidrRange, Pipe};
pub use bootstrap::{
    Admin, BootstrapConfig, DEFAULT_STATS_FLUSH_INTERVAL, DynamicResources, Node, from_bootstrap,
};
pub use cluster::Cluster;
pub use config_source::{ConfigSource, ConfigSourceSpecifier, DEFAULT_INITIAL_FETCH_TIMEOUT, FileSource};
pub use context::{Context, ExternalData, ReadData};
pub use data_source::{MAX_DATA_SOURCE_BYTES, read_data_source, read_text_source};
pub use extension::TypedExtension;
pub use filter_chain::{ConnectionSourceType, FilterChain, FilterChainMatch, NetworkFilter};
pub use format::{FormatTemplate, SubstitutionFormat};
pub use header_matcher::{
    CookieMatcher, HeaderMatcher, HeaderValueMatch, QueryParameterMatcher, QueryParameterValueMatch,
};
pub use header_mutation::{HeaderAppendAction, HeaderMutations, HeaderToAdd};
pub use http_connection_manager::{
    ClientCertDetails, CodecType, DEFAULT_DELAYED_CLOSE_TIMEOUT, DEFAULT_DRAIN_TIMEOUT,
    DEFAULT_MAX_REQUEST_HEADERS_KB, DEFAULT_STREAM_IDLE_TIMEOUT, ForwardClientCertDetails, ForwardingOptions,
    HttpConnectionManager, PathNormalization, PathWithEscapedSlashesAction, Rds, RequestIdOptions,
    RouteSpecifier, Scheme, ServerHeaderTransformation, StripHostPort,
};
pub use http_filter::{HttpFilter, PerFilterConfig, PerFilterConfigs};
pub use http_protocol::{CommonHttpOptions, HeaderKeyFormat, HeadersWithUnderscoresAction, Http1Options};
pub use http2_protocol::{Http2Keepalive, Http2Options};
pub use listener::{
    DEFAULT_LISTENER_FILTERS_TIMEOUT, DEFAULT_PER_CONNECTION_BUFFER_LIMIT_BYTES, DrainType, ListenAddress,
    Listener, TrafficDirection,
};
pub use local_reply::{LocalReplyConfig, ResponseMapper};
pub use matcher::{StringMatcher, StringPattern};
pub use path::FieldPath;
pub use references::{check_references, check_route_references};
pub use regex::{MAX_REGEX_PROGRAM_BYTES, Regex, RegexError, RegexRewrite};
pub use route::RouteConfiguration;
pub use runtime::{
    FractionalPercent, Runtime, RuntimeDouble, RuntimeFlag, RuntimeFraction, RuntimeLayer, RuntimeU32,
    RuntimeValue,
};
pub use socket::{BindConfig, SocketOption, SocketOptionValue, SocketState, TcpKeepalive};
pub use stats::{HistogramBuckets, StatsConfig, StatsMatcher, TagSpecifier, TagValue};
pub use support::SUPPORT;
pub use transport_socket::{DownstreamTransportSocket, TransportSocket, UpstreamTransportSocket};
pub use upstream_proxy_protocol::{ProxyProtocolVersion, UpstreamProxyProtocol};

#[cfg(test)]
mod tests;
pub use upgrade::UpgradeConfigs;
