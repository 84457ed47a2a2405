//! Listeners (`envoy.config.listener.v3.Listener`): where to accept connections and what handles them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;

use super::context::wrapped_or;
use super::{
    AccessLog, Address, Context, FieldPath, FilterChain, SocketOption, TcpKeepalive, TypedExtension,
};

/// Default of `listener_filters_timeout`.
pub const DEFAULT_LISTENER_FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// Default of `per_connection_buffer_limit_bytes`.
pub const DEFAULT_PER_CONNECTION_BUFFER_LIMIT_BYTES: u32 = 1 << 20;

/// One listener.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Unique name; made up from the address if none is configured.
    pub name: String,
    /// Prefix of its statistics after `listener.`; empty to use the address.
    pub stat_prefix: String,
    /// The addresses, the main one first; never empty.
    pub addresses: Vec<ListenAddress>,
    /// Whether to bind the addresses at all. Default true.
    pub bind_to_port: bool,
    /// One socket for each worker (`SO_REUSEPORT`), else one that all share. Default true.
    pub enable_reuse_port: bool,
    /// Length of the accept queue; none is the operating system's `somaxconn`.
    pub tcp_backlog_size: Option<u32>,
    /// Bind addresses that no interface has (`IP_FREEBIND`).
    pub freebind: bool,
    /// Accept connections to any address (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// Length of the TCP fast open queue; none leaves it off.
    pub tcp_fast_open_queue_length: Option<u32>,
    /// Soft limit of the bytes buffered for a connection in each direction. Default 1 MiB; 0 is no limit.
    pub per_connection_buffer_limit_bytes: u32,
    /// Filters that inspect a connection before its filter chain is chosen.
    pub listener_filters: Vec<TypedExtension>,
    /// How long they may take; none is for ever. Default 15 s.
    pub listener_filters_timeout: Option<Duration>,
    /// Go on without them after that time instead of closing.
    pub continue_on_listener_filters_timeout: bool,
    /// Candidates for a connection.
    pub filter_chains: Vec<Arc<FilterChain>>,
    /// Taken when no candidate matches; none closes the connection.
    pub default_filter_chain: Option<Arc<FilterChain>>,
    /// When the listener drains.
    pub drain_type: DrainType,
    /// Which way the traffic flows; only told in dumps.
    pub traffic_direction: TrafficDirection,
    /// Logs written when a connection ends.
    pub access_log: Vec<AccessLog>,
    /// Where the listener stands.
    pub path: FieldPath,
}

/// One address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// Never [`Address::Name`].
    pub address: Address,
    /// Accept IPv4 on an IPv6 socket. Default false.
    pub ipv4_compat: bool,
    /// Options of the listening socket.
    pub socket_options: Vec<SocketOption>,
    /// Keep-alive of accepted connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
}

/// When a listener drains its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainType {
    /// On `/healthcheck/fail`, shutdown, and when the listener changes or goes.
    #[default]
    Default,
    /// Only when the listener changes or goes.
    ModifyOnly,
}

/// Which way a listener's traffic flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficDirection {
    /// Not said.
    #[default]
    Unspecified,
    /// To the local application.
    Inbound,
    /// From it.
    Outbound,
}

impl Listener {
    /// Converts a listener.
    pub fn from_proto(proto: &listener::Listener, path: &FieldPath, context: &mut Context<'_>) -> Listener {
        let addresses = ListenAddress::all_of(proto, path, context);
        let chains = proto.filter_chains.iter().enumerate().map(|(i, chain)| {
            Arc::new(FilterChain::from_proto(chain, &path.element("filter_chains", i), context))
        });
        let filter_chains: Vec<_> = chains.collect();
        let default_filter_chain = proto.default_filter_chain.as_ref().map(|chain| {
            Arc::new(FilterChain::from_proto(chain, &path.field("default_filter_chain"), context))
        });
        check_filter_chains(&filter_chains, default_filter_chain.is_some(), path, context);
        let name = match proto.name.as_str() {
            "" => addresses.first().map(|first| first.address.to_string()).unwrap_or_default(),
            name => name.to_owned(),
        };
        Listener {
            name,
            stat_prefix: proto.stat_prefix.clone(),
            addresses,
            bind_to_port: wrapped_or!(proto.bind_to_port, true),
            enable_reuse_port: wrapped_or!(proto.enable_reuse_port, true),
            tcp_backlog_size: proto.tcp_backlog_size.as_ref().map(|size| size.value),
            freebind: wrapped_or!(proto.freebind, false),
            transparent: wrapped_or!(proto.transparent, false),
            tcp_fast_open_queue_length: proto.tcp_fast_open_queue_length.as_ref().map(|length| length.value),
            per_connection_buffer_limit_bytes: wrapped_or!(
                proto.per_connection_buffer_limit_bytes,
                DEFAULT_PER_CONNECTION_BUFFER_LIMIT_BYTES
            ),
            listener_filters: listener_filters(&proto.listener_filters, path, context),
            listener_filters_timeout: context.timeout(
                &proto.listener_filters_timeout,
                Some(DEFAULT_LISTENER_FILTERS_TIMEOUT),
                &path.field("listener_filters_timeout"),
            ),
            continue_on_listener_filters_timeout: proto.continue_on_listener_filters_timeout,
            filter_chains,
            default_filter_chain,
            drain_type: match context.enum_value(proto.drain_type, &path.field("drain_type")) {
                listener::listener::DrainType::Default => DrainType::Default,
                listener::listener::DrainType::ModifyOnly => DrainType::ModifyOnly,
            },
            traffic_direction: match context
                .enum_value(proto.traffic_direction, &path.field("traffic_direction"))
            {
                core::TrafficDirection::Unspecified => TrafficDirection::Unspecified,
                core::TrafficDirection::Inbound => TrafficDirection::Inbound,
                core::TrafficDirection::Outbound => TrafficDirection::Outbound,
            },
            access_log: AccessLog::list(&proto.access_log, path, "access_log", context),
            path: path.clone(),
        }
    }
}

impl ListenAddress {
    /// The main address and the additional ones. Options of an additional address replace the listener's.
    fn all_of(proto: &listener::Listener, path: &FieldPath, context: &mut Context<'_>) -> Vec<ListenAddress> {
        let socket_options = SocketOption::list(&proto.socket_options, path, "socket_options", context);
        let tcp_keepalive = proto.tcp_keepalive.as_ref().map(TcpKeepalive::from_proto);
        let main = proto.address.clone().unwrap_or_default();
        let mut addresses = vec![ListenAddress::new(
            &main,
            socket_options.clone(),
            tcp_keepalive,
            &path.field("address"),
            context,
        )];
        for (i, additional) in proto.additional_addresses.iter().enumerate() {
            let path = path.element("additional_addresses", i);
            let options = match &additional.socket_options {
                Some(options) => SocketOption::list(
                    &options.socket_options,
                    &path.field("socket_options"),
                    "socket_options",
                    context,
                ),
                None => socket_options.clone(),
            };
            let keepalive = additional.tcp_keepalive.as_ref().map(TcpKeepalive::from_proto).or(tcp_keepalive);
            let address = additional.address.clone().unwrap_or_default();
            addresses.push(ListenAddress::new(&address, options, keepalive, &path.field("address"), context));
        }
        addresses
    }

    fn new(
        proto: &core::Address,
        socket_options: Vec<SocketOption>,
        tcp_keepalive: Option<TcpKeepalive>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ListenAddress {
        let address =
            Address::from_proto_without_name(proto, path, Some("a listener needs an IP address"), context);
        let ipv4_compat = match &proto.address {
            Some(core::address::Address::SocketAddress(socket)) => socket.ipv4_compat,
            _ => false,
        };
        let takes_compat = match &address {
            Address::Socket(SocketAddr::V6(v6)) => {
                v6.ip().is_unspecified() || v6.ip().to_ipv4_mapped().is_some()
            }
            _ => false,
        };
        if ipv4_compat && !takes_compat {
            let message = format!(
                "only the IPv6 address '::' or an IPv4-mapped IPv6 address can set ipv4_compat: {address}"
            );
            context.error(&path.field("socket_address").field("ipv4_compat"), message);
        }
        ListenAddress { address, ipv4_compat, socket_options, tcp_keepalive }
    }
}

fn check_filter_chains(
    chains: &[Arc<FilterChain>],
    has_default: bool,
    path: &FieldPath,
    context: &mut Context<'_>,
) {
    if chains.is_empty() && !has_default {
        context.error(path, "no filter chains specified");
    }
    let mut seen = HashMap::new();
    for chain in chains {
        if let Some(other) = seen.insert(&chain.filter_chain_match, &chain.name) {
            let message = format!("filter chain {:?} has the same matching rules as {other:?}", chain.name);
            context.error(&chain.path, message);
        }
    }
}

fn listener_filters(
    protos: &[listener::ListenerFilter],
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<TypedExtension> {
    use listener::listener_filter::ConfigType;
    let mut filters = Vec::new();
    for (i, proto) in protos.iter().enumerate() {
        let path = path.element("listener_filters", i);
        match &proto.config_type {
            Some(ConfigType::TypedConfig(any)) => {
                filters.push(TypedExtension::from_any(&proto.name, any, path.field("typed_config")));
            }
            Some(ConfigType::ConfigDiscovery(_)) => {
                context.error(&path.field("config_discovery"), "extension discovery is not implemented yet");
            }
            None => {
                context.error(&path, format!("the listener filter {:?} has no typed_config", proto.name));
            }
        }
    }
    filters
}
