//! Health checks and outlier detection: defaults, rules, and what is refused by name. Envoy 1.40 gives the same
//! verdicts with `--mode validate`, except where a comment says otherwise.

#![allow(clippy::single_range_in_vec_init, reason = "one range of statuses is meant")]

use std::time::Duration;

use super::Parts;
use crate::config::Address;
use crate::config::cluster::{Cluster, HealthChecker, HttpHealthCheck, OutlierDetection, TcpHealthCheck};

const SECOND: Duration = Duration::from_secs(1);
const REQUIRED: &str = "timeout: 1s, interval: 2s, unhealthy_threshold: 3, healthy_threshold: 4";

fn cluster(fields: &str) -> Cluster {
    let clusters = format!("- {{name: c, {fields}}}");
    let config = Parts { clusters: &clusters, ..Parts::default() }.config();
    Cluster::clone(&config.clusters[1])
}

/// The errors about a cluster with these fields, without the cluster's path.
fn errors(fields: &str) -> Vec<String> {
    let clusters = format!("- {{name: c, {fields}}}");
    let errors = Parts { clusters: &clusters, ..Parts::default() }.load().expect_err("refused");
    errors.iter().map(|error| error.replace("static_resources.clusters[1].", "")).collect()
}

fn check(fields: &str) -> String {
    format!("health_checks: [{{{REQUIRED}, {fields}}}]")
}

fn http(fields: &str) -> HttpHealthCheck {
    let cluster = cluster(&check(&format!("http_health_check: {{path: /, {fields}}}")));
    match cluster.health_check.expect("a check").checker {
        HealthChecker::Http(http) => *http,
        other => panic!("{other:?}"),
    }
}

#[test]
fn intervals_follow_from_one_another() {
    let of = |fields: &str| {
        let cluster = cluster(&check(&format!("tcp_health_check: {{}}, {fields}")));
        cluster.health_check.expect("a check")
    };
    let check = of("");
    assert_eq!((check.timeout, check.unhealthy_threshold, check.healthy_threshold), (SECOND, 3, 4));
    let intervals = check.intervals;
    assert_eq!((intervals.interval, intervals.no_traffic), (2 * SECOND, 60 * SECOND));
    assert_eq!((intervals.no_traffic_healthy, intervals.healthy_edge), (60 * SECOND, 2 * SECOND));
    assert_eq!((intervals.unhealthy, intervals.unhealthy_edge), (2 * SECOND, 2 * SECOND));
    assert_eq!((intervals.initial_jitter, intervals.jitter), (Duration::ZERO, Duration::ZERO));
    assert!(check.reuse_connection && !check.always_log_failures && !check.always_log_success);
    let intervals = of("unhealthy_interval: 5s, no_traffic_interval: 7s").intervals;
    assert_eq!((intervals.unhealthy_edge, intervals.no_traffic_healthy), (5 * SECOND, 7 * SECOND));
}

#[test]
fn http_checks() {
    let default = http("");
    assert_eq!((default.method, default.expected_statuses.as_slice()), ("GET", &[200..201][..]));
    assert_eq!(default.response_buffer_bytes, Some(1024));
    assert_eq!(http("response_buffer_size: 0").response_buffer_bytes, None);
    let posted = http("method: POST, send: {text: '6162'}, receive: [{text: 'FF00'}, {binary: 'YWI='}]");
    assert_eq!((posted.send, posted.receive), (b"ab".to_vec(), vec![vec![255, 0], b"ab".to_vec()]));
    let statuses =
        http("expected_statuses: [{start: 100, end: 600}], retriable_statuses: [{start: 500, end: 501}]");
    assert_eq!((statuses.expected_statuses, statuses.retriable_statuses), (vec![100..600], vec![500..501]));
    assert!(http("service_name_matcher: {prefix: a}").service_name_matcher.expect("one").matches(b"ab"));
}

#[test]
fn http_checks_are_checked() {
    let error = |fields: &str| {
        let found = errors(&check(&format!("http_health_check: {{path: /, {fields}}}")));
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].replace("health_checks[0].http_health_check.", "")
    };
    assert_eq!(error("receive: [{text: 'zz'}]"), "receive[0].text: invalid hex string 'zz'");
    assert_eq!(error("method: PUT, send: {text: '0'}"), "send.text: invalid hex string '0'");
    assert!(
        error("send: {text: '00'}").starts_with("send: HTTP health check cannot specify a request payload")
    );
    assert_eq!(
        error("response_buffer_size: 1, receive: [{text: '0000'}]"),
        "response_buffer_size: the 2 bytes of receive do not fit into the response buffer"
    );
    for (range, why) in [
        ("start: 200, end: 200", "from 200 up to 200: start must be below end"),
        ("start: 99, end: 200", "from 99 up to 200: start must be at least 100"),
        ("start: 200, end: 601", "from 200 up to 601: end must be at most 600"),
    ] {
        let found = error(&format!("expected_statuses: [{{{range}}}]"));
        assert_eq!(found, format!("expected_statuses[0]: invalid expected status range {why}"));
        assert!(error(&format!("retriable_statuses: [{{{range}}}]")).contains("invalid retriable status"));
    }
    assert!(error("request_headers_to_remove: [host]").contains("may not be removed"));
    // Envoy can do it.
    assert_eq!(
        error("codec_client_type: HTTP2"),
        "codec_client_type: health checks over HTTP2 are not implemented yet"
    );
}

#[test]
fn tcp_checks() {
    let cluster = cluster(&check("tcp_health_check: {send: {text: '61'}, receive: [{text: '62'}]}"));
    let HealthChecker::Tcp(tcp) = cluster.health_check.expect("a check").checker else { panic!("not TCP") };
    assert_eq!(tcp, TcpHealthCheck { send: b"a".to_vec(), receive: vec![b"b".to_vec()] });
}

#[test]
fn logs_of_events() {
    let sink = r#"event_logger: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, event_log_path: /b}}]"#;
    let cluster = cluster(&check(&format!("tcp_health_check: {{}}, event_log_path: /a, {sink}")));
    assert_eq!(cluster.health_check.expect("a check").event_log_paths, ["/a", "/b"]);
    let bootstrap = "cluster_manager: {outlier_detection: {event_log_path: /c}}";
    let config = Parts { bootstrap, ..Parts::default() }.config();
    assert_eq!(config.outlier_event_log_path, "/c");
}

/// Envoy can do all of these.
#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let refused = |fields: &str, what: &str| {
        let found = errors(fields);
        assert!(found.iter().any(|error| error.contains(what)), "{found:?}");
    };
    refused(&check("grpc_health_check: {}"), "`grpc_health_check` is not supported by Ringway yet");
    refused(&check("custom_health_check: {name: x}"), "`custom_health_check` is not supported");
    refused(
        &check("tcp_health_check: {}, transport_socket_match_criteria: {a: b}"),
        "`transport_socket_match_criteria` is not supported",
    );
    refused(
        &check("tcp_health_check: {proxy_protocol_config: {}}"),
        "`proxy_protocol_config` is not supported",
    );
    let two = format!(
        "health_checks: [{{{REQUIRED}, tcp_health_check: {{}}}}, {{{REQUIRED}, tcp_health_check: {{}}}}]"
    );
    refused(&two, "health_checks[1]: more than one health check for a cluster is not implemented yet");
    let socket = "transport_socket: {name: x, typed_config: {\"@type\": \
        type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, \
        transport_socket: {name: inner, typed_config: {\"@type\": \
        type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}";
    let behind_header = format!("{socket}, {}", check("tcp_health_check: {}"));
    refused(&behind_header, "health checks of hosts that want a PROXY header are not implemented yet");
}

#[test]
fn endpoints_may_be_asked_elsewhere() {
    let endpoint = |address: &str, config: &str| {
        format!(
            "{}, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {address}, \
             health_check_config: {{{config}}}}}}}]}}]}}",
            check("tcp_health_check: {}")
        )
    };
    let ip = "{socket_address: {address: 127.0.0.1, port_value: 80}}";
    let cluster = cluster(&endpoint(ip, &format!("port_value: 81, hostname: h, address: {ip}")));
    let health_check = &cluster.load_assignment.localities[0].endpoints[0].health_check;
    assert_eq!((health_check.port, health_check.hostname.as_str()), (Some(81), "h"));
    assert_eq!(health_check.address, Some(Address::Socket(([127, 0, 0, 1], 80).into())));
    assert!(!health_check.disable_active_health_check);
    let path = "load_assignment.endpoints[0].lb_endpoints[0].endpoint.health_check_config";
    assert_eq!(
        errors(&endpoint("{pipe: {path: /x}}", "port_value: 81")),
        [format!("{path}.port_value: a unix socket has no port")]
    );
    assert_eq!(
        errors(&endpoint(ip, "address: {socket_address: {address: localhost, port_value: 80}}")),
        [format!("{path}.address.socket_address.address: malformed IP address: localhost")]
    );
}

#[test]
fn outlier_detection() {
    let of = |fields: &str| {
        let cluster = cluster(&format!("outlier_detection: {{{fields}}}"));
        cluster.outlier_detection.expect("detection")
    };
    assert_eq!(of(""), OutlierDetection::default());
    let longest = of("base_ejection_time: 400s").max_ejection_time;
    assert_eq!(longest, 400 * SECOND, "never below the base time unless that is asked for");
    let off = of(
        "consecutive_5xx: 0, enforcing_success_rate: 7, always_eject_one_host: true, detect_degraded_hosts: true",
    );
    assert_eq!((off.consecutive_5xx, off.enforcing_success_rate), (0, 7));
    assert!(off.always_eject_one_host && off.detect_degraded_hosts);
    assert_eq!(
        errors("outlier_detection: {base_ejection_time: 10s, max_ejection_time: 5s}"),
        ["outlier_detection.max_ejection_time: max_ejection_time cannot be smaller than base_ejection_time"]
    );
}

#[test]
fn panic_may_fail_traffic() {
    assert!(!cluster("common_lb_config: {}").common_lb.fail_traffic_on_panic);
    let common = cluster(
        "common_lb_config: {ignore_new_hosts_until_first_hc: true, zone_aware_lb_config: {fail_traffic_on_panic: true}}",
    )
    .common_lb;
    assert!(common.fail_traffic_on_panic && common.ignore_new_hosts_until_first_hc);
}
