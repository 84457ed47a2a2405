//! HTTP connection managers, routers and the HTTP/1 codec: `http.<stat_prefix>.`, `http1.`.

use crate::http::h2::{ConnectionError, Counts};
use crate::stats::stats_group;

stats_group! {
    /// `http.<stat_prefix>.`: connections of one HTTP connection manager. Those for TLS, HTTP/2, HTTP/3 and
    /// overload stay zero until there is such a thing.
    pub struct HttpConnectionStats {
        counters: [
            downstream_cx_delayed_close_timeout, downstream_cx_destroy, downstream_cx_destroy_active_rq,
            downstream_cx_destroy_local, downstream_cx_destroy_local_active_rq,
            downstream_cx_destroy_remote, downstream_cx_destroy_remote_active_rq, downstream_cx_drain_close,
            downstream_cx_http1_total, downstream_cx_http2_total, downstream_cx_http3_total,
            downstream_cx_idle_timeout, downstream_cx_max_duration_reached,
            downstream_cx_max_requests_reached, downstream_cx_overload_disable_keepalive,
            downstream_cx_protocol_error, downstream_cx_rx_bytes_total, downstream_cx_ssl_total,
            downstream_cx_total, downstream_cx_tx_bytes_total, downstream_cx_upgrades_total,
            downstream_flow_control_paused_reading_total, downstream_flow_control_resumed_reading_total,
        ],
        gauges: [
            downstream_cx_active, downstream_cx_http1_active, downstream_cx_http1_soft_drain,
            downstream_cx_http2_active, downstream_cx_http3_active, downstream_cx_rx_bytes_buffered,
            downstream_cx_ssl_active, downstream_cx_tx_bytes_buffered, downstream_cx_upgrades_active,
        ],
        histograms: [
            downstream_cx_length_ms Milliseconds,
        ],
    }
}

stats_group! {
    /// `http.<stat_prefix>.`: requests of one HTTP connection manager.
    pub struct HttpRequestStats {
        counters: [
            downstream_rq_1xx, downstream_rq_2xx, downstream_rq_3xx, downstream_rq_4xx, downstream_rq_5xx,
            downstream_rq_completed, downstream_rq_failed_path_normalization, downstream_rq_header_timeout,
            downstream_rq_http1_total, downstream_rq_http2_total, downstream_rq_http3_total,
            downstream_rq_idle_timeout, downstream_rq_max_duration_reached, downstream_rq_non_relative_path,
            downstream_rq_overload_close, downstream_rq_redirected_with_normalized_path,
            downstream_rq_rejected_via_ip_detection, downstream_rq_response_before_rq_complete,
            downstream_rq_rx_reset, downstream_rq_timeout, downstream_rq_too_large,
            downstream_rq_too_many_premature_resets, downstream_rq_total, downstream_rq_tx_reset,
            downstream_rq_ws_on_non_ws_route, rs_too_large,
        ],
        gauges: [
            downstream_rq_active,
        ],
        histograms: [
            downstream_rq_time Milliseconds,
        ],
    }
}

stats_group! {
    /// `http.<stat_prefix>.`: what the router decided. Internal redirects stay zero until they are built.
    pub struct RouterStats {
        counters: [
            no_cluster, no_route, passthrough_internal_redirect_bad_location,
            passthrough_internal_redirect_no_route, passthrough_internal_redirect_predicate,
            passthrough_internal_redirect_too_many_redirects, passthrough_internal_redirect_unsafe_scheme,
            rq_direct_response, rq_overload_local_reply, rq_redirect,
            rq_reset_after_downstream_response_started, rq_total,
        ],
    }
}

stats_group! {
    /// `http.<stat_prefix>.tracing.`: sampling decisions; zero until tracing is built.
    pub struct TracingStats {
        counters: [
            client_enabled, health_check, not_traceable, random_sampling, service_forced,
        ],
    }
}

stats_group! {
    /// `http1.` (downstream) and `cluster.<name>.http1.`: what the HTTP/1 codec refused.
    pub struct Http1CodecStats {
        counters: [
            dropped_headers_with_underscores, metadata_not_supported_error,
            requests_rejected_with_underscores_in_headers, response_flood,
        ],
    }
}

stats_group! {
    /// `http2.` (downstream) and `cluster.<name>.http2.`: what the HTTP/2 codec saw and refused.
    pub struct Http2CodecStats {
        counters: [
            cookies_total_bytes_too_large, dropped_headers_with_underscores, goaway_sent,
            header_list_size_too_large, header_overflow, headers_cb_no_stream, inbound_empty_frames_flood,
            inbound_priority_frames_flood, inbound_window_update_frames_flood, keepalive_timeout,
            metadata_empty_frames, outbound_control_flood, outbound_flood,
            requests_rejected_with_underscores_in_headers, rx_messaging_error, rx_reset,
            stream_refused_errors, trailers, tx_flush_timeout, tx_reset,
        ],
        gauges: [
            deferred_stream_close, outbound_control_frames_active, outbound_frames_active,
            pending_send_bytes, streams_active,
        ],
    }
}

impl Http2CodecStats {
    /// Adds what happened on a connection since it was last asked.
    pub fn record(self, counts: &Counts) {
        // Most of the time nothing did.
        if *counts == Counts::default() {
            return;
        }
        self.rx_messaging_error.add(counts.rx_messaging_error);
        self.rx_reset.add(counts.rx_reset);
        self.tx_reset.add(counts.tx_reset);
        self.stream_refused_errors.add(counts.stream_refused_errors);
        self.header_overflow.add(counts.header_overflow);
        self.header_list_size_too_large.add(counts.header_list_size_too_large);
        self.trailers.add(counts.trailers);
        self.goaway_sent.add(counts.goaway_sent);
    }

    /// Counts the error that ended a connection, if it has a statistic here.
    pub fn record_error(self, error: ConnectionError) {
        match error {
            ConnectionError::InvalidMessage(_) => self.rx_messaging_error.inc(),
            ConnectionError::HeaderBlockTooLarge => self.header_list_size_too_large.inc(),
            ConnectionError::EmptyFramesFlood => self.inbound_empty_frames_flood.inc(),
            ConnectionError::PriorityFlood => self.inbound_priority_frames_flood.inc(),
            ConnectionError::WindowUpdateFlood => self.inbound_window_update_frames_flood.inc(),
            ConnectionError::OutboundFlood => self.outbound_flood.inc(),
            ConnectionError::OutboundControlFlood => self.outbound_control_flood.inc(),
            _ => {}
        }
    }
}

stats_group! {
    /// `vhost.<virtual host>.vcluster.<virtual cluster>.`: requests of a virtual cluster; response codes
    /// are `ResponseCodeStats` under the same prefix.
    pub struct VirtualClusterStats {
        counters: [
            upstream_rq_retry, upstream_rq_retry_limit_exceeded, upstream_rq_retry_overflow,
            upstream_rq_retry_success, upstream_rq_timeout, upstream_rq_total,
        ],
    }
}

impl HttpRequestStats {
    /// Counts a response downstream by its status class.
    #[inline]
    pub fn record(self, status: u16) {
        self.downstream_rq_completed.inc();
        match status / 100 {
            1 => self.downstream_rq_1xx.inc(),
            2 => self.downstream_rq_2xx.inc(),
            3 => self.downstream_rq_3xx.inc(),
            4 => self.downstream_rq_4xx.inc(),
            5 => self.downstream_rq_5xx.inc(),
            _ => {}
        }
    }
}
