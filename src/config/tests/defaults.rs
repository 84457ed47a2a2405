//! Defaults of Envoy 1.40 (FEATURES.md 1.1, 1.3, 1.5 to 1.7).

use std::time::Duration;

use super::{Parts, inline_table};
use crate::config::cluster::{DiscoveryType, DnsLookupFamily, DnsOptions, LbPolicy};
use crate::config::route::{HostRewrite, RouteActionKind, RoutingPriority};
use crate::config::{
    CodecType, HeadersWithUnderscoresAction, NetworkFilter, PathWithEscapedSlashesAction,
    ServerHeaderTransformation, StripHostPort,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn of_a_listener() {
    let config = Parts::default().config();
    let listener = &config.listeners[0];
    assert_eq!(listener.per_connection_buffer_limit_bytes, 1_048_576);
    assert_eq!(listener.listener_filters_timeout, Some(15 * SECOND));
    assert!(listener.enable_reuse_port && listener.bind_to_port);
    assert!(!listener.continue_on_listener_filters_timeout && !listener.freebind && !listener.transparent);
    assert_eq!((listener.tcp_backlog_size, listener.tcp_fast_open_queue_length), (None, None));
    assert!(!listener.addresses[0].ipv4_compat && listener.filter_chains[0].filter_chain_match.is_any());
}

#[test]
fn of_the_connection_manager() {
    let config = Parts::default().config();
    let NetworkFilter::HttpConnectionManager(hcm) = &config.listeners[0].filter_chains[0].filters[0] else {
        panic!("no connection manager")
    };
    assert_eq!(hcm.codec_type, CodecType::Auto);
    assert_eq!(hcm.stream_idle_timeout, Some(300 * SECOND));
    assert_eq!(hcm.stream_flush_timeout, Some(300 * SECOND));
    assert_eq!((hcm.request_timeout, hcm.request_headers_timeout), (None, None));
    assert_eq!(hcm.common_http.idle_timeout, Some(3600 * SECOND));
    assert_eq!(hcm.common_http.max_connection_duration, None);
    assert_eq!(hcm.common_http.max_stream_duration, None);
    assert_eq!(hcm.common_http.max_requests_per_connection, None);
    assert_eq!(hcm.common_http.headers_with_underscores_action, HeadersWithUnderscoresAction::Allow);
    assert_eq!((hcm.drain_timeout, hcm.delayed_close_timeout), (5 * SECOND, Some(SECOND)));
    assert_eq!((hcm.max_request_headers_kb, hcm.common_http.max_headers_count), (60, 100));
    assert_eq!(hcm.server_name, "envoy");
    assert_eq!(hcm.server_header_transformation, ServerHeaderTransformation::Overwrite);
    assert!(hcm.request_id.generate && !hcm.request_id.preserve_external);
    assert!(!hcm.request_id.always_set_in_response);
    assert!(!hcm.forwarding.use_remote_address && hcm.forwarding.internal_cidr_ranges.is_empty());
    assert!(!hcm.path_normalization.normalize_path && !hcm.path_normalization.merge_slashes);
    assert_eq!(
        hcm.path_normalization.path_with_escaped_slashes_action,
        PathWithEscapedSlashesAction::KeepUnchanged
    );
    assert_eq!(hcm.strip_host_port, StripHostPort::None);
    assert!(!hcm.proxy_100_continue && !hcm.add_user_agent && hcm.via.is_empty());
    assert!(hcm.http1.allow_absolute_url && !hcm.http1.accept_http_10 && !hcm.http1.enable_trailers);
    assert!(inline_table(hcm).validate_clusters);
}

#[test]
fn of_a_route() {
    let config = Parts {
        routes: "[{match: {prefix: /}, route: {cluster: backend, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.04s}}}}]",
        ..Parts::default()
    }
    .config();
    let NetworkFilter::HttpConnectionManager(hcm) = &config.listeners[0].filter_chains[0].filters[0] else {
        panic!("no connection manager")
    };
    let route = &inline_table(hcm).virtual_hosts[0].routes[0];
    assert!(route.route_match.case_sensitive);
    let RouteActionKind::Route(action) = &route.action else { panic!("no forwarding") };
    assert_eq!(action.timeout, Some(15 * SECOND));
    assert_eq!((action.idle_timeout, action.max_stream_duration), (None, None));
    assert_eq!((action.priority, action.cluster_not_found_response_code), (RoutingPriority::Default, 503));
    assert!(!matches!(action.host_rewrite, Some(HostRewrite::Auto)));
    let retry = action.retry_policy.as_ref().expect("a policy");
    assert_eq!((retry.num_retries, retry.per_try_timeout), (1, None));
    assert_eq!(retry.host_selection_retry_max_attempts, 1);
    let back_off = retry.retry_back_off.expect("a back-off");
    assert_eq!(back_off.max_interval, Duration::from_millis(400));
}

#[test]
fn of_a_cluster() {
    let config = Parts { clusters: "- {name: c, type: STRICT_DNS}", ..Parts::default() }.config();
    let cluster = &config.clusters[1];
    assert_eq!(cluster.connect_timeout, 5 * SECOND);
    assert_eq!(cluster.per_connection_buffer_limit_bytes, 1_048_576);
    assert_eq!(cluster.lb_policy, LbPolicy::RoundRobin);
    assert_eq!(cluster.common_lb.healthy_panic_threshold_percent, 50.0);
    assert_eq!(cluster.load_assignment.overprovisioning_factor, 140);
    assert_eq!(cluster.common_http.idle_timeout, Some(3600 * SECOND));
    assert_eq!(cluster.common_http.max_requests_per_connection, None);
    for limits in [&cluster.circuit_breakers.default, &cluster.circuit_breakers.high] {
        assert_eq!((limits.max_connections, limits.max_pending_requests), (1024, 1024));
        assert_eq!((limits.max_requests, limits.max_retries), (1024, 3));
        assert!(limits.retry_budget.is_none() && !limits.track_remaining);
    }
    let dns = DnsOptions {
        refresh_rate: 5 * SECOND,
        jitter: Duration::ZERO,
        failure_refresh_rate: None,
        respect_ttl: false,
        min_refresh_rate: None,
        lookup_family: DnsLookupFamily::Auto,
    };
    assert_eq!(cluster.discovery, DiscoveryType::StrictDns(dns));
    assert_eq!(config.clusters[0].load_assignment.localities[0].endpoints[0].load_balancing_weight, 1);
}

#[test]
fn of_least_request_and_of_budgets() {
    let least = r#"- {name: a, lb_policy: LEAST_REQUEST, circuit_breakers: {thresholds: [{priority: HIGH, max_connections: 7, retry_budget: {}}]}}
- {name: b, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest}}}]}}"#;
    let config = Parts { clusters: least, ..Parts::default() }.config();
    for cluster in &config.clusters[1..] {
        match &cluster.lb_policy {
            LbPolicy::LeastRequest { choice_count, active_request_bias, .. } => {
                assert_eq!((*choice_count, active_request_bias.default), (2, 1.0));
            }
            other => panic!("{other:?}"),
        }
    }
    let high = &config.clusters[1].circuit_breakers.high;
    assert_eq!((high.max_connections, high.max_requests), (7, 1024));
    let budget = high.retry_budget.expect("a budget");
    assert_eq!((budget.budget_percent, budget.min_retry_concurrency), (20.0, 3));
    assert_eq!(config.clusters[1].circuit_breakers.default.max_connections, 1024);
}

#[test]
fn of_the_bootstrap() {
    let config = Parts::default().config();
    assert_eq!(config.stats_flush_interval, 5 * SECOND);
    assert!(config.admin.is_none() && config.runtime.layers.is_empty());
    assert!(config.stats.use_all_default_tags);
}
