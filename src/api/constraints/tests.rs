//! Rules as they stand in Envoy's API, one real field for each kind.

use super::*;
use crate::api::proto_json::{UnknownFields, read};
use crate::api::{pool, yaml};
use prost::Message;

fn violations(message: &str, text: &str) -> Vec<String> {
    let root = yaml::parse(text, 0).expect("yaml").root.expect("a document");
    let outcome = read(&pool::message_of(message).expect("known"), &root, UnknownFields::Refuse);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    check_constraints(&outcome.message).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn expect(message: &str, text: &str, expected: &[&str]) {
    assert_eq!(violations(message, text), expected, "{text}");
}

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

#[test]
fn strings() {
    expect(CLUSTER, "name: a", &[]);
    expect(CLUSTER, "{}", &["name: `name` must not be empty"]);
    let header = "envoy.config.core.v3.HeaderValue";
    expect(header, "key: ''", &["key: `key` must not be empty"]);
    expect(header, "key: \"a\\nb\"", &["key: `key` must be a valid HTTP header name"]);
    expect(header, "key: 'a b'", &[]);
    expect(header, "key: a\nvalue: \"x\\r\"", &["value: `value` must be a valid HTTP header value"]);
}

#[test]
fn numbers_and_wrapped_numbers() {
    let address = "envoy.config.core.v3.SocketAddress";
    expect(address, "address: a\nport_value: 65535", &[]);
    expect(
        address,
        "address: a\nport_value: 65536",
        &["port_value: `port_value` must be at most 65535, is 65536"],
    );
    let max_streams = "envoy.config.core.v3.Http2ProtocolOptions";
    expect(
        max_streams,
        "max_concurrent_streams: 0",
        &["max_concurrent_streams: `max_concurrent_streams` must be at least 1 and at most 2147483647, is 0"],
    );
    expect(max_streams, "{}", &[]);
    let percent = "envoy.type.v3.Percent";
    expect(percent, "value: 100.5", &["value: `value` must be at least 0 and at most 100, is 100.5"]);
}

#[test]
fn booleans() {
    let matcher = "envoy.config.rbac.v3.Permission";
    expect(matcher, "any: true", &[]);
    expect(matcher, "any: false", &["any: `any` must be `true`"]);
}

#[test]
fn enums() {
    expect(
        CLUSTER,
        "name: a\nlb_policy: 99",
        &["lb_policy: `lb_policy` must be a value of envoy.config.cluster.v3.Cluster.LbPolicy, is 99"],
    );
    expect(
        CLUSTER,
        "name: a\ntype: 99",
        &["type: `type` must be a value of envoy.config.cluster.v3.Cluster.DiscoveryType, is 99"],
    );
}

#[test]
fn durations() {
    expect(
        CLUSTER,
        "name: a\nconnect_timeout: 0s",
        &["connect_timeout: `connect_timeout` must be greater than 0s, is 0s"],
    );
    let bootstrap = "envoy.config.bootstrap.v3.Bootstrap";
    expect(bootstrap, "stats_flush_interval: 0.001s", &[]);
    expect(
        bootstrap,
        "stats_flush_interval: 0.0001s",
        &[
            "stats_flush_interval: `stats_flush_interval` must be at least 0.001s and less than 300s, is 0.000100s",
        ],
    );
    expect(
        "envoy.config.core.v3.HealthCheck",
        "{}",
        &[
            "one of `http_health_check`, `tcp_health_check`, `grpc_health_check`, `custom_health_check` is required",
            "timeout: `timeout` is required",
            "interval: `interval` is required",
            "unhealthy_threshold: `unhealthy_threshold` is required",
            "healthy_threshold: `healthy_threshold` is required",
        ],
    );
}

#[test]
fn required_messages_and_alternatives() {
    expect(
        "envoy.config.core.v3.Address",
        "{}",
        &["one of `socket_address`, `pipe`, `envoy_internal_address` is required"],
    );
    expect(
        "envoy.config.route.v3.Route",
        "{}",
        &[
            "one of `route`, `redirect`, `direct_response`, `filter_action`, `non_forwarding_action` is required",
            "match: `match` is required",
        ],
    );
}

#[test]
fn lists() {
    let host = "envoy.config.route.v3.VirtualHost";
    expect(host, "name: a\ndomains: []", &["domains: `domains` must not be empty"]);
    expect(
        host,
        "name: a\ndomains: ['*', \"a\\n\"]",
        &["domains[1]: `domains[1]` must be a valid HTTP header value"],
    );
    expect(
        host,
        "name: a\ndomains: ['*']\nroutes: [{match: {prefix: ''}, route: {cluster: ''}}]",
        &["routes[0].route.cluster: `cluster` must not be empty"],
    );
    let unique = "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff";
    expect(unique, "reset_headers: []", &["reset_headers: `reset_headers` must not be empty"]);
}

#[test]
fn maps() {
    let metadata = "envoy.config.core.v3.Metadata";
    expect(metadata, "filter_metadata: {a: {}}", &[]);
    expect(
        metadata,
        "filter_metadata: {'': {}}",
        &["filter_metadata[\"\"]: `filter_metadata[\"\"]` must not be empty"],
    );
}

#[test]
fn the_inside_of_an_any() {
    let filter = "envoy.config.listener.v3.Filter";
    let text = "
name: x
typed_config:
  \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
  stat_prefix: ''
  route_config: {virtual_hosts: [{name: '', domains: ['*']}]}
";
    expect(
        filter,
        text,
        &[
            "typed_config.stat_prefix: `stat_prefix` must not be empty",
            "typed_config.route_config.virtual_hosts[0].name: `name` must not be empty",
        ],
    );
    let text = "
name: x
typed_config:
  \"@type\": type.googleapis.com/xds.type.v3.TypedStruct
  type_url: type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
  value: {max_request_bytes: 0}
";
    expect(
        filter,
        text,
        &["typed_config.value.max_request_bytes: `max_request_bytes` must be greater than 0, is 0"],
    );
}

#[test]
fn an_any_that_holds_rubbish_is_a_violation_and_not_a_panic() {
    let mut any = DynamicMessage::new(pool::message_of("google.protobuf.Any").expect("known"));
    any.set_field_by_name("type_url", Value::String("t/envoy.config.cluster.v3.Cluster".into()));
    any.set_field_by_name("value", Value::Bytes(vec![0xff; 9].into()));
    assert_eq!(check_constraints(&any).len(), 1);
}

#[test]
fn endless_nesting_of_any_in_any_is_bounded() {
    let desc = pool::message_of("google.protobuf.Any").expect("known");
    let mut any = DynamicMessage::new(desc.clone());
    for _ in 0..1000 {
        let mut outer = DynamicMessage::new(desc.clone());
        outer.set_field_by_name("type_url", Value::String("t/google.protobuf.Any".into()));
        outer.set_field_by_name("value", Value::Bytes(any.encode_to_vec().into()));
        any = outer;
    }
    let found = check_constraints(&any);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("too deeply"));
}

/// Every rule in the API must be of a kind that is implemented, and every pattern must compile.
#[test]
fn all_rules_of_the_api_can_be_read() {
    let mut patterns = 0;
    let mut rules = 0;
    for desc in pool::pool().all_messages() {
        for field in MessagePlan::of(&desc).fields {
            let Some(field_rules) = field.rules else { continue };
            rules += 1;
            if let Some(Type::String(rules)) = &field_rules.r#type
                && let Some(pattern) = &rules.pattern
            {
                patterns += 1;
                assert!(Regex::new(pattern).is_ok(), "{}: {pattern}", field.desc.full_name());
            }
            if let Some(Type::Timestamp(rules)) = &field_rules.r#type {
                let relative = rules.lt_now.is_some() || rules.gt_now.is_some() || rules.within.is_some();
                assert!(!relative, "{} needs a clock", field.desc.full_name());
            }
        }
    }
    assert!(rules > 900 && patterns > 5, "{rules} rules, {patterns} patterns");
}
