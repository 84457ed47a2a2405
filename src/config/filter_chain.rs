//! Filter chains of listeners and the criteria that choose among them
//! (`envoy.config.listener.v3.FilterChain`, `FilterChainMatch`, `Filter`).

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use prost::Name;

use super::{
    CidrRange, Context, DownstreamTransportSocket, FieldPath, HttpConnectionManager, TypedExtension,
};

/// Default of `transport_socket_connect_timeout`, also where it is zero: a client that stalls its handshake shall not
/// hold a connection for ever.
pub const DEFAULT_TRANSPORT_SOCKET_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The network filters that handle a connection.
#[derive(Debug, Clone)]
pub struct FilterChain {
    /// Name; may be empty.
    pub name: String,
    /// Which connections it is for.
    pub filter_chain_match: FilterChainMatch,
    /// In order. Empty: connections are closed at once.
    pub filters: Vec<NetworkFilter>,
    /// What stands before them.
    pub transport_socket: DownstreamTransportSocket,
    /// How long its handshake may take. Default 10 s; Envoy's is no limit.
    pub transport_socket_connect_timeout: Duration,
    /// Where the chain stands.
    pub path: FieldPath,
}

/// A network filter.
#[derive(Debug, Clone)]
pub enum NetworkFilter {
    /// The HTTP connection manager; always the last filter of its chain.
    HttpConnectionManager(Arc<HttpConnectionManager>),
    /// Any other filter.
    Extension(TypedExtension),
}

/// Criteria of a filter chain; an empty one accepts every connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FilterChainMatch {
    /// Port the client connected to.
    pub destination_port: Option<u16>,
    /// Blocks of addresses the client connected to.
    pub prefix_ranges: Vec<CidrRange>,
    /// Blocks of the connection's own source address.
    pub direct_source_prefix_ranges: Vec<CidrRange>,
    /// Kind of source.
    pub source_type: ConnectionSourceType,
    /// Blocks of the source address, after listener filters had their say.
    pub source_prefix_ranges: Vec<CidrRange>,
    /// Source ports.
    pub source_ports: Vec<u16>,
    /// Lower-case server names (SNI): `a.b`, `*.b`.
    pub server_names: Vec<String>,
    /// `raw_buffer` or `tls`; empty for any.
    pub transport_protocol: String,
    /// Application protocols (ALPN).
    pub application_protocols: Vec<String>,
}

impl FilterChainMatch {
    /// Whether every connection matches.
    pub fn is_any(&self) -> bool {
        *self == FilterChainMatch::default()
    }
}

/// Kind of source of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ConnectionSourceType {
    /// Any.
    #[default]
    Any,
    /// The same host.
    SameIpOrLoopback,
    /// Another host.
    External,
}

impl FilterChain {
    /// Converts a chain. The HTTP connection manager must be its last filter.
    pub fn from_proto(
        proto: &listener::FilterChain,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> FilterChain {
        let criteria = proto.filter_chain_match.as_ref();
        let filters = proto.filters.iter().enumerate();
        let filters: Vec<_> = filters
            .filter_map(|(i, filter)| NetworkFilter::from_proto(filter, &path.element("filters", i), context))
            .collect();
        for (i, filter) in filters.iter().enumerate() {
            if matches!(filter, NetworkFilter::HttpConnectionManager(_)) && i + 1 < filters.len() {
                let message = format!(
                    "the filter {} of type {} must be the last filter of a network filter chain",
                    proto.filters[i].name,
                    hcm::HttpConnectionManager::full_name()
                );
                context.error(&path.element("filters", i), message);
            }
        }
        let filter_chain_match = criteria
            .map(|criteria| {
                FilterChainMatch::from_proto(criteria, &path.field("filter_chain_match"), context)
            })
            .unwrap_or_default();
        let transport_socket = DownstreamTransportSocket::from_proto(
            &proto.transport_socket,
            &filter_chain_match.server_names,
            &path.field("transport_socket"),
            context,
        );
        let timeout = context.timeout(
            &proto.transport_socket_connect_timeout,
            None,
            &path.field("transport_socket_connect_timeout"),
        );
        FilterChain {
            name: proto.name.clone(),
            filter_chain_match,
            filters,
            transport_socket,
            transport_socket_connect_timeout: timeout.unwrap_or(DEFAULT_TRANSPORT_SOCKET_CONNECT_TIMEOUT),
            path: path.clone(),
        }
    }
}

impl NetworkFilter {
    fn from_proto(
        proto: &listener::Filter,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<NetworkFilter> {
        let any = match &proto.config_type {
            Some(listener::filter::ConfigType::TypedConfig(any)) => any,
            Some(listener::filter::ConfigType::ConfigDiscovery(_)) => {
                context.error(&path.field("config_discovery"), "extension discovery is not implemented yet");
                return None;
            }
            None => {
                context.error_with_help(
                    path,
                    format!("the filter {:?} has no typed_config", proto.name),
                    "a filter is found by the @type of its typed_config",
                );
                return None;
            }
        };
        let extension = TypedExtension::from_any(&proto.name, any, path.field("typed_config"));
        Some(if extension.type_name() == hcm::HttpConnectionManager::full_name() {
            let manager = HttpConnectionManager::from_extension(&extension, context);
            NetworkFilter::HttpConnectionManager(Arc::new(manager))
        } else {
            NetworkFilter::Extension(extension)
        })
    }
}

impl FilterChainMatch {
    /// Converts criteria.
    pub fn from_proto(
        proto: &listener::FilterChainMatch,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> FilterChainMatch {
        use listener::filter_chain_match::ConnectionSourceType as Source;
        let mut port = |port: u32, path: FieldPath| {
            u16::try_from(port).unwrap_or_else(|_| {
                context.error(&path, format!("{port} is no port: the largest is 65535"));
                0
            })
        };
        let destination_port = proto.destination_port.as_ref();
        let destination_port =
            destination_port.map(|value| port(value.value, path.field("destination_port")));
        let source_ports = proto.source_ports.iter().enumerate();
        let source_ports = source_ports.map(|(i, value)| port(*value, path.element("source_ports", i)));
        let source_ports = source_ports.collect();
        for (i, name) in proto.server_names.iter().enumerate() {
            if name.strip_prefix("*.").unwrap_or(name).contains('*') {
                context.error_with_help(
                    &path.element("server_names", i),
                    "partial wildcards are not supported in server_names",
                    "a wildcard stands for whole labels at the beginning: `*.example.com`",
                );
            }
        }
        let mut ranges = |ranges, field| CidrRange::list(ranges, path, field, context);
        let prefix_ranges = ranges(&proto.prefix_ranges, "prefix_ranges");
        let direct_source = ranges(&proto.direct_source_prefix_ranges, "direct_source_prefix_ranges");
        let source_prefix_ranges = ranges(&proto.source_prefix_ranges, "source_prefix_ranges");
        FilterChainMatch {
            destination_port,
            prefix_ranges,
            direct_source_prefix_ranges: direct_source,
            source_type: match context.enum_value(proto.source_type, &path.field("source_type")) {
                Source::Any => ConnectionSourceType::Any,
                Source::SameIpOrLoopback => ConnectionSourceType::SameIpOrLoopback,
                Source::External => ConnectionSourceType::External,
            },
            source_prefix_ranges,
            source_ports,
            server_names: proto.server_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            transport_protocol: proto.transport_protocol.clone(),
            application_protocols: proto.application_protocols.clone(),
        }
    }
}
