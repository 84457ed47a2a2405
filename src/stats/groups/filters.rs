//! Filters whose stats Envoy has under fixed names. Filters may declare groups of their own instead.

use crate::stats::stats_group;

stats_group! {
    /// `http.<stat_prefix>.fault.`: the fault filter.
    pub struct FaultStats {
        counters: [
            aborts_injected, delays_injected, faults_overflow, response_rl_injected,
        ],
        gauges: [
            active_faults,
        ],
    }
}

stats_group! {
    /// `http.<stat_prefix>.cors.`: the CORS filter.
    pub struct CorsStats {
        counters: [
            origin_invalid, origin_valid,
        ],
    }
}

stats_group! {
    /// `http.<stat_prefix>.ext_authz.` and `cluster.<name>.ext_authz.`: the external authorization filter.
    pub struct ExtAuthzStats {
        counters: [
            denied, disabled, error, failure_mode_allowed, filter_state_name_collision,
            ignored_dynamic_metadata, invalid, ok, omitted_response_headers, request_header_limits_reached,
            response_header_limits_reached, shadow_denied, shadow_error,
        ],
    }
}

stats_group! {
    /// `proxy_proto.[<stat_prefix>.]`: the PROXY protocol listener filter.
    pub struct ProxyProtocolStats {
        counters: [
            not_found_allowed, not_found_disallowed,
        ],
    }
}

stats_group! {
    /// Without a prefix: connections whose PROXY header is missing or malformed.
    pub struct ProxyProtocolErrorStats {
        counters: [
            downstream_cx_proxy_proto_error,
        ],
    }
}

stats_group! {
    /// `proxy_proto.[<stat_prefix>.]versions.<v1 or v2>.`
    pub struct ProxyProtocolVersionStats {
        counters: [
            disallowed, error, found,
        ],
    }
}

stats_group! {
    /// `connection_limit.<stat_prefix>.`: the connection-limit filter.
    pub struct ConnectionLimitStats {
        counters: [
            limited_connections,
        ],
        gauges: [
            active_connections,
        ],
    }
}

stats_group! {
    /// `local_rate_limit.<stat_prefix>.` and `listener_local_ratelimit.<stat_prefix>.`: the local rate limit
    /// filters.
    pub struct LocalRateLimitStats {
        counters: [
            rate_limited,
        ],
    }
}

stats_group! {
    /// `http_inspector.`: the HTTP inspector.
    pub struct HttpInspectorStats {
        counters: [
            http10_found, http11_found, http2_found, http_not_found, read_error,
        ],
    }
}

stats_group! {
    /// `tls_inspector.`: the TLS inspector.
    pub struct TlsInspectorStats {
        counters: [
            alpn_found, alpn_not_found, client_hello_too_large, sni_found, sni_not_found, tls_found, tls_not_found,
        ],
        histograms: [bytes_processed Bytes],
    }
}

stats_group! {
    /// `tcp.<stat_prefix>.`: the TCP proxy filter.
    pub struct TcpProxyStats {
        counters: [
            downstream_cx_drain_close, downstream_cx_no_route, downstream_cx_overload_close, downstream_cx_rx_bytes_total, downstream_cx_total,
            downstream_cx_tx_bytes_total, downstream_flow_control_paused_reading_total,
            downstream_flow_control_resumed_reading_total, early_data_received_count_total, idle_timeout,
            max_downstream_connection_duration, route_delayed_total, upstream_flush_total,
        ],
        gauges: [
            downstream_cx_rx_bytes_buffered, downstream_cx_tx_bytes_buffered, upstream_flush_active,
        ],
    }
}
