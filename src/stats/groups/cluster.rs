//! Clusters: `cluster.<name>.` and below.

use crate::stats::stats_group;

stats_group! {
    /// `cluster.<name>.`: what workers count while they send requests upstream. Those for HTTP/2, HTTP/3,
    /// TLS, preconnecting and internal redirects stay zero until there is such a thing.
    pub struct ClusterTrafficStats {
        counters: [
            bind_errors, lb_healthy_panic, original_dst_host_invalid, retry_or_shadow_abandoned,
            upstream_cx_close_notify, upstream_cx_connect_attempts_exceeded, upstream_cx_connect_fail,
            upstream_cx_connect_timeout, upstream_cx_connect_with_0_rtt, upstream_cx_destroy,
            upstream_cx_destroy_local, upstream_cx_destroy_local_with_active_rq, upstream_cx_destroy_remote,
            upstream_cx_destroy_remote_with_active_rq, upstream_cx_destroy_with_active_rq,
            upstream_cx_http1_total, upstream_cx_http2_total, upstream_cx_http3_total,
            upstream_cx_idle_timeout, upstream_cx_max_duration_reached, upstream_cx_max_requests,
            upstream_cx_none_healthy, upstream_cx_overflow, upstream_cx_pool_overflow,
            upstream_cx_preconnect_skipped, upstream_cx_protocol_error, upstream_cx_rx_bytes_total,
            upstream_cx_total, upstream_cx_tx_bytes_total, upstream_flow_control_backed_up_total,
            upstream_flow_control_drained_total, upstream_flow_control_paused_reading_total,
            upstream_flow_control_resumed_reading_total, upstream_http3_broken,
            upstream_internal_redirect_failed_total, upstream_internal_redirect_succeeded_total,
            upstream_rq_0rtt, upstream_rq_active_overflow, upstream_rq_cancelled,
            upstream_rq_maintenance_mode, upstream_rq_max_duration_reached,
            upstream_rq_pending_failure_eject, upstream_rq_pending_overflow, upstream_rq_pending_total,
            upstream_rq_per_try_idle_timeout, upstream_rq_per_try_timeout, upstream_rq_retry,
            upstream_rq_retry_backoff_exponential, upstream_rq_retry_backoff_ratelimited,
            upstream_rq_retry_limit_exceeded, upstream_rq_retry_overflow, upstream_rq_retry_success,
            upstream_rq_rx_reset, upstream_rq_rx_reset_no_error, upstream_rq_timeout, upstream_rq_total,
            upstream_rq_tx_reset,
        ],
        gauges: [
            upstream_cx_active, upstream_cx_rx_bytes_buffered, upstream_cx_tx_bytes_buffered,
            upstream_queue_overloaded, upstream_rq_active, upstream_rq_pending_active,
        ],
        histograms: [
            upstream_cx_connect_ms Milliseconds, upstream_cx_length_ms Milliseconds, upstream_rq_per_cx
            Unspecified, upstream_rq_time Milliseconds,
        ],
    }
}

stats_group! {
    /// `cluster.<name>.`: hosts and discovery, maintained by the control thread. The assignment counters
    /// stay zero: hosts do not go stale. `version` is a hash and no plain gauge; it is set elsewhere.
    pub struct ClusterMembershipStats {
        counters: [
            assignment_stale, assignment_timeout_received, assignment_use_cached, membership_change,
            update_attempt, update_empty, update_failure, update_no_rebuild, update_success,
        ],
        gauges: [
            max_host_weight, membership_degraded, membership_excluded, membership_healthy, membership_total,
            warming_state,
        ],
    }
}

stats_group! {
    /// `cluster.<name>.`: zone-aware and subset balancing, which Envoy lists for every cluster; zero until
    /// they are built.
    pub struct ClusterBalancerStats {
        counters: [
            lb_local_cluster_not_ok, lb_recalculate_zone_structures, lb_subsets_created,
            lb_subsets_fallback, lb_subsets_fallback_panic, lb_subsets_removed, lb_subsets_selected,
            lb_zone_cluster_too_small, lb_zone_no_capacity_left, lb_zone_routing_all_directly,
            lb_zone_routing_cross_zone, lb_zone_routing_sampled,
        ],
        gauges: [
            lb_subsets_active,
        ],
    }
}

stats_group! {
    /// `cluster.<name>.circuit_breakers.<default|high>.`: 1 while the limit is reached, else 0.
    pub struct CircuitBreakerStats {
        gauges: [
            cx_open, cx_pool_open, rq_open, rq_pending_open, rq_retry_open,
        ],
    }
}

stats_group! {
    /// `cluster.<name>.circuit_breakers.<default|high>.`, only with `track_remaining`: what is left.
    pub struct CircuitBreakerRemainingStats {
        gauges: [
            remaining_cx, remaining_cx_pools, remaining_pending, remaining_retries, remaining_rq,
        ],
    }
}

stats_group! {
    /// `cluster.<name>.health_check.`: active health checks.
    pub struct HealthCheckStats {
        counters: [
            attempt, failure, network_failure, passive_failure, success, verify_cluster,
        ],
        gauges: [
            degraded, healthy,
        ],
    }
}

stats_group! {
    /// `cluster.<name>.default.`: transport socket matches; counts hosts as they are added.
    pub struct EndpointMatchStats {
        counters: [
            total_match_count,
        ],
    }
}

stats_group! {
    /// `cluster.<name>.outlier_detection.`: hosts taken out of rotation.
    pub struct OutlierDetectionStats {
        counters: [
            ejections_consecutive_5xx, ejections_detected_consecutive_5xx,
            ejections_detected_consecutive_gateway_failure,
            ejections_detected_consecutive_local_origin_failure, ejections_detected_degradation,
            ejections_detected_failure_percentage, ejections_detected_local_origin_failure_percentage,
            ejections_detected_local_origin_success_rate, ejections_detected_success_rate,
            ejections_enforced_consecutive_5xx, ejections_enforced_consecutive_gateway_failure,
            ejections_enforced_consecutive_local_origin_failure, ejections_enforced_failure_percentage,
            ejections_enforced_local_origin_failure_percentage,
            ejections_enforced_local_origin_success_rate, ejections_enforced_success_rate,
            ejections_enforced_total, ejections_overflow, ejections_success_rate, ejections_total,
        ],
        gauges: [ejections_active],
    }
}
