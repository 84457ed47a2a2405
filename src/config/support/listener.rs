//! What is carried over of listeners and filter chains (`envoy.config.listener.v3`). Every field in no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    entry(
        "envoy.config.listener.v3.Listener",
        &[
            "name",
            "address",
            "additional_addresses",
            "stat_prefix",
            "filter_chains",
            "default_filter_chain",
            "per_connection_buffer_limit_bytes",
            "drain_type",
            "transparent",
            "freebind",
            "socket_options",
            "tcp_fast_open_queue_length",
            "traffic_direction",
            "enable_reuse_port",
            "access_log",
            "tcp_backlog_size",
            "bind_to_port",
            "tcp_keepalive",
            "listener_filters",
            "listener_filters_timeout",
            "continue_on_listener_filters_timeout",
        ],
        &[
            // Nothing reads listener metadata.
            "metadata",
            // Replaced by enable_reuse_port, whose default says the same.
            "reuse_port",
            // How many connections are accepted in a row cannot be told from outside.
            "max_connections_to_accept_per_socket_event",
            // There is no global limit and no overload manager.
            "ignore_global_conn_limit",
            "bypass_overload_manager",
        ],
    ),
    MessageSupport::all("envoy.config.listener.v3.AdditionalAddress"),
    entry(
        "envoy.config.listener.v3.FilterChain",
        &["filter_chain_match", "filters", "name", "transport_socket", "transport_socket_connect_timeout"],
        // Nothing reads it.
        &["metadata"],
    ),
    entry(
        "envoy.config.listener.v3.FilterChainMatch",
        &[
            "destination_port",
            "prefix_ranges",
            "direct_source_prefix_ranges",
            "source_type",
            "source_prefix_ranges",
            "source_ports",
            "server_names",
            "transport_protocol",
            "application_protocols",
        ],
        &[],
    ),
    entry("envoy.config.listener.v3.ListenerFilter", &["name", "typed_config"], &[]),
    entry("envoy.config.listener.v3.Filter", &["name", "typed_config"], &[]),
];
