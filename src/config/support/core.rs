//! What is carried over of messages that many others share (`envoy.config.core.v3`, `envoy.type.v3`). Every field in no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    entry(
        "envoy.config.core.v3.Node",
        &["id", "cluster", "locality", "metadata"],
        // Only told to control planes.
        &[
            "dynamic_parameters",
            "user_agent_name",
            "user_agent_version",
            "user_agent_build_version",
            "extensions",
            "client_features",
            "listening_addresses",
        ],
    ),
    entry(
        "envoy.config.core.v3.ConfigSource",
        &["path", "path_config_source", "initial_fetch_timeout", "resource_api_version"],
        // Which control planes may be taken for this source.
        &["authorities"],
    ),
    MessageSupport::all("envoy.config.core.v3.PathConfigSource"),
    MessageSupport::all("envoy.config.core.v3.WatchedDirectory"),
    entry(
        "envoy.service.discovery.v3.DiscoveryResponse",
        &["version_info", "resources"],
        // A file is neither asked for nor answered.
        &["canary", "type_url", "nonce", "control_plane"],
    ),
    entry(
        "envoy.service.discovery.v3.Resource",
        &["resource"],
        // A resource is known by its own name, and by its content.
        &["name", "version", "aliases", "resource_name"],
    ),
    MessageSupport::all("envoy.config.core.v3.Locality"),
    entry("envoy.config.core.v3.Address", &["socket_address", "pipe"], &[]),
    entry(
        "envoy.config.core.v3.SocketAddress",
        &["protocol", "address", "port_value", "named_port", "ipv4_compat"],
        &[],
    ),
    MessageSupport::all("envoy.config.core.v3.Pipe"),
    MessageSupport::all("envoy.config.core.v3.CidrRange"),
    entry(
        "envoy.config.core.v3.SocketOption",
        &["level", "name", "int_value", "buf_value", "state"],
        &["description"],
    ),
    MessageSupport::all("envoy.config.core.v3.SocketOptionsOverride"),
    MessageSupport::all("envoy.config.core.v3.TcpKeepalive"),
    entry("envoy.config.core.v3.BindConfig", &["source_address", "freebind", "socket_options"], &[]),
    // Only endpoints' metadata is read (`envoy.lb`: canary).
    entry("envoy.config.core.v3.Metadata", &["filter_metadata"], &["typed_filter_metadata"]),
    MessageSupport::all("envoy.config.core.v3.RuntimeUInt32"),
    MessageSupport::all("envoy.config.core.v3.RuntimeDouble"),
    MessageSupport::all("envoy.config.core.v3.RuntimeFeatureFlag"),
    MessageSupport::all("envoy.config.core.v3.RuntimeFractionalPercent"),
    MessageSupport::all("envoy.type.v3.FractionalPercent"),
    MessageSupport::all("envoy.type.v3.Percent"),
    MessageSupport::all("envoy.type.v3.Int64Range"),
    MessageSupport::all("envoy.config.core.v3.HeaderValue"),
    MessageSupport::all("envoy.config.core.v3.HeaderValueOption"),
    entry(
        "envoy.config.core.v3.DataSource",
        &["filename", "inline_bytes", "inline_string", "environment_variable"],
        &[],
    ),
    entry(
        "envoy.config.core.v3.SubstitutionFormatString",
        &["text_format", "json_format", "text_format_source", "omit_empty_values", "content_type"],
        // Members are always sorted.
        &["json_format_options"],
    ),
    entry(
        "envoy.config.core.v3.TypedExtensionConfig",
        &["typed_config"],
        // Extensions are found by type.
        &["name"],
    ),
    entry(
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            "idle_timeout",
            "max_connection_duration",
            "max_headers_count",
            "max_response_headers_kb",
            "max_stream_duration",
            "headers_with_underscores_action",
            "max_requests_per_connection",
        ],
        &[],
    ),
    entry(
        "envoy.config.core.v3.Http1ProtocolOptions",
        &[
            "allow_absolute_url",
            "accept_http_10",
            "default_host_for_http_10",
            "header_key_format",
            "enable_trailers",
            "allow_chunked_length",
            "allow_custom_methods",
            "ignore_http_11_upgrade",
        ],
        // There is one parser.
        &["use_balsa_parser"],
    ),
    entry(
        "envoy.config.core.v3.Http2ProtocolOptions",
        &[
            "hpack_table_size",
            "max_concurrent_streams",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "allow_connect",
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
            "stream_error_on_invalid_http_messaging",
            "override_stream_error_on_invalid_http_message",
            "connection_keepalive",
        ],
        // There is one codec, which needs no Huffman coding to be read; METADATA is always ignored.
        &["use_oghttp2_codec", "enable_huffman_encoding", "max_metadata_size"],
    ),
    entry("envoy.config.core.v3.KeepaliveSettings", &["interval", "timeout", "interval_jitter"], &[]),
    entry("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat", &["proper_case_words"], &[]),
    MessageSupport::all("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords"),
    entry("envoy.config.core.v3.SchemeHeaderTransformation", &["scheme_to_overwrite"], &[]),
];
