//! What is carried over of the HTTP connection manager. Every field in no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    entry(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        &[
            "codec_type",
            "stat_prefix",
            "route_config",
            "rds",
            "http_filters",
            "common_http_protocol_options",
            "http_protocol_options",
            "http2_protocol_options",
            "server_name",
            "server_header_transformation",
            "scheme_header_transformation",
            "max_request_headers_kb",
            "stream_idle_timeout",
            "stream_flush_timeout",
            "request_timeout",
            "request_headers_timeout",
            "delayed_close_timeout",
            "access_log",
            "use_remote_address",
            "xff_num_trusted_hops",
            "internal_address_config",
            "skip_xff_append",
            "via",
            "generate_request_id",
            "preserve_external_request_id",
            "always_set_request_id_in_response",
            "forward_client_cert_details",
            "set_current_client_cert_details",
            "proxy_100_continue",
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
            "request_id_extension",
            "local_reply_config",
            "strip_matching_host_port",
            "strip_any_host_port",
            "strip_trailing_host_dot",
            "append_x_forwarded_port",
            "upgrade_configs",
            "drain_timeout",
        ],
        &[
            // Envoy 1.40 writes plain IPv4 addresses all the same.
            "represent_ipv4_remote_address_as_ipv4_mapped_ipv6",
            // There is no overload manager, and no PROXY protocol.
            "append_local_overload",
            "add_proxy_protocol_connection_state",
        ],
    ),
    MessageSupport::all("envoy.extensions.filters.network.http_connection_manager.v3.Rds"),
    entry(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        &["name", "typed_config", "is_optional", "disabled"],
        &[],
    ),
    entry(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
        &["upgrade_type", "enabled"],
        &[],
    ),
    MessageSupport::all(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
    ),
    MessageSupport::all(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails",
    ),
    MessageSupport::all("envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension"),
    MessageSupport::all("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"),
    MessageSupport::all("envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig"),
    MessageSupport::all("envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper"),
];
