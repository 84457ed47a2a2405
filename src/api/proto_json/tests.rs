//! Reading trees as messages: field names, oneofs, maps, well-known types, places.

use super::*;
use crate::api::{pool, to_json, yaml};
use serde_json::json;

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

fn read_as(message: &str, text: &str) -> Outcome {
    let root = yaml::parse(text, 0).expect("yaml").root.expect("a document");
    read(&pool::message_of(message).expect("known"), &root, UnknownFields::Refuse)
}

fn errors(message: &str, text: &str) -> Vec<String> {
    let show = |d: &Diagnostic| {
        let pos = d.pos.unwrap_or_default();
        format!("{}:{} ({}) {}", pos.line, pos.column, d.path, d.message)
    };
    read_as(message, text).errors.iter().map(show).collect()
}

fn value(message: &str, text: &str) -> serde_json::Value {
    let outcome = read_as(message, text);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    to_json(&outcome.message)
}

#[test]
fn proto_names_and_camel_case_names_but_not_both() {
    let expected = json!({"ignore_health_on_host_removal": true});
    assert_eq!(value(CLUSTER, "ignore_health_on_host_removal: true"), expected);
    assert_eq!(value(CLUSTER, "ignoreHealthOnHostRemoval: true"), expected);
    let both = errors(CLUSTER, "ignoreHealthOnHostRemoval: true\nignore_health_on_host_removal: false");
    assert_eq!(both.len(), 1);
    assert!(both[0].contains("set twice"), "{both:?}");
}

#[test]
fn all_errors_of_a_text_are_found() {
    let text = "nam: a\ntype: FOO\nconnect_timeout: 1\nper_connection_buffer_limit_bytes: -1\nlb_policy: [a]\nname: {}\n";
    let found = errors(CLUSTER, text);
    let places: Vec<&str> = found.iter().filter_map(|error| error.split(' ').next()).collect();
    assert_eq!(places, ["1:1", "2:7", "3:18", "4:36", "5:12", "6:7"], "{found:#?}");
}

#[test]
fn alternatives_exclude_each_other() {
    let found = errors(CLUSTER, "type: STATIC\ncluster_type: {name: x}\n");
    assert_eq!(
        found,
        [
            "2:1 (cluster_type) `cluster_type` cannot be set beside `type`: they are alternatives (`cluster_discovery_type`)"
        ]
    );
    assert!(errors(CLUSTER, "type: STATIC\ncluster_type: ~\n").is_empty());
}

#[test]
fn enum_names_in_any_case_numbers_and_numbers_in_strings() {
    for text in ["type: STRICT_DNS", "type: strict_dns", "type: 1", "type: '1'"] {
        assert_eq!(value(CLUSTER, text), json!({"type": "STRICT_DNS"}), "{text}");
    }
    for text in ["type: strictDns", "type: STRICT-DNS", "type: 1.5"] {
        assert_eq!(errors(CLUSTER, text).len(), 1, "{text}");
    }
    let help = read_as(CLUSTER, "type: STRICT_DSN").errors.remove(0).help;
    assert_eq!(help.as_deref(), Some("did you mean `STRICT_DNS`?"));
}

#[test]
fn lists_as_envoy_takes_them() {
    const RESOURCES: &str = "envoy.config.bootstrap.v3.Bootstrap.StaticResources";
    let one = json!({"clusters": [{"name": "a"}]});
    assert_eq!(value(RESOURCES, "clusters: {name: a}"), one);
    assert_eq!(value(RESOURCES, "clusters: [[{name: a}]]"), one);
    assert_eq!(value(RESOURCES, "clusters: [~]"), json!({"clusters": [{}]}));
    let found = errors(RESOURCES, "clusters:\n- name: a\n- nmae: b\n");
    assert_eq!(found, ["3:3 (clusters[1]) envoy.config.cluster.v3.Cluster has no field `nmae`"]);
}

#[test]
fn maps_of_every_key_type() {
    let options = "typed_extension_protocol_options: {'a.b': {}, c: ~}";
    assert_eq!(value(CLUSTER, options), json!({"typed_extension_protocol_options": {"a.b": {}, "c": {}}}));
    let outcome = read_as(CLUSTER, "typed_extension_protocol_options:\n  a.b: {}\n");
    let pos = outcome.positions.get("typed_extension_protocol_options[\"a.b\"]").expect("known");
    assert_eq!((pos.line, pos.column), (2, 3));
    assert_eq!(errors(CLUSTER, "typed_extension_protocol_options: [a]").len(), 1);
}

#[test]
fn wrappers_and_times_as_scalars_or_mappings() {
    let expected = json!({"per_connection_buffer_limit_bytes": 5, "connect_timeout": "3s"});
    assert_eq!(value(CLUSTER, "per_connection_buffer_limit_bytes: 5\nconnect_timeout: 3s"), expected);
    let mappings = "per_connection_buffer_limit_bytes: {value: 5}\nconnect_timeout: {seconds: 3}";
    assert_eq!(value(CLUSTER, mappings), expected);
    let found = errors(CLUSTER, "connect_timeout: 250ms");
    assert_eq!(
        found,
        ["1:18 (connect_timeout) expected a duration in seconds such as `0.25s`, found `250ms`"]
    );
    let time = "google.protobuf.Timestamp";
    assert_eq!(value(time, "2024-01-31T12:00:00.5Z"), json!("2024-01-31T12:00:00.500Z"));
    assert_eq!(errors(time, "yesterday").len(), 1);
    assert_eq!(value("google.protobuf.FieldMask", "a.bC,d"), json!("a.bC,d"));
}

#[test]
fn integers_of_every_width() {
    for (kind, good, bad) in [
        ("Int32", "-2147483648", "2147483648"),
        ("UInt32", "4294967295", "4294967296"),
        ("Int64", "-9223372036854775808", "9223372036854775808"),
        ("UInt64", "18446744073709551615", "18446744073709551616"),
        ("Float", "3.4e38", "3.5e38"),
        ("Double", "1e308", "x"),
    ] {
        let message = format!("google.protobuf.{kind}Value");
        assert!(errors(&message, good).is_empty(), "{kind}");
        assert_eq!(errors(&message, bad).len(), 1, "{kind}");
    }
}

#[test]
fn strings_may_be_fractions_but_not_integers_or_booleans() {
    assert_eq!(value(CLUSTER, "name: 1.5"), json!({"name": "1.5"}));
    assert_eq!(value(CLUSTER, "name: 5000000000"), json!({"name": "5000000000"}));
    for text in ["name: 5", "name: yes", "name: []"] {
        assert_eq!(errors(CLUSTER, text).len(), 1, "{text}");
    }
}

#[test]
fn an_any_needs_a_known_type() {
    let any =
        |content: &str| errors(CLUSTER, &format!("typed_extension_protocol_options: {{x: {{{content}}}}}"));
    assert!(any("").is_empty());
    assert!(any("a: 1")[0].contains("`@type` is missing"));
    assert!(any("'@type': a.B")[0].contains("has no `/`"));
    assert!(any("'@type': x/a.B")[0].contains("unknown type `a.B`"));
    assert!(any("'@type': 5")[0].contains("expected a type URL"));
    assert!(any("'@type': x/google.protobuf.Duration")[0].contains("`value` is missing"));
    let inner = any("'@type': t/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_byte: 1");
    assert!(inner[0].contains("(typed_extension_protocol_options[\"x\"])"), "{inner:?}");
    let url = "'@type': type.googleapis.com/envoy.filters.Buffer";
    let text = format!("typed_extension_protocol_options: {{x: {{{url}}}}}");
    let help = read_as(CLUSTER, &text).errors.remove(0).help.unwrap_or_default();
    assert!(help.contains("envoy.extensions.filters.http.buffer.v3.Buffer"), "{help}");
}

#[test]
fn the_value_of_a_typed_struct_is_checked_where_it_stands() {
    let text = "
typed_extension_protocol_options:
  x:
    \"@type\": type.googleapis.com/xds.type.v3.TypedStruct
    type_url: type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
    value:
      max_request_bites: 5
";
    let found = errors(CLUSTER, text);
    assert_eq!(
        found,
        ["7:7 (typed_extension_protocol_options[\"x\"].value) \
          envoy.extensions.filters.http.buffer.v3.Buffer has no field `max_request_bites`"]
    );
    let outcome = read_as(CLUSTER, &text.replace("bites", "bytes"));
    assert!(outcome.errors.is_empty());
    let path = "typed_extension_protocol_options[\"x\"].value.max_request_bytes";
    assert_eq!(outcome.positions.get(path).map(|pos| pos.line), Some(7));
}

#[test]
fn free_form_values_are_bounded_below_the_decoders_limit() {
    let nested = |n: usize| {
        format!("metadata: {{filter_metadata: {{x: {{a: {}{}}}}}}}", "{b: ".repeat(n), "}".repeat(n))
    };
    assert!(errors(CLUSTER, &nested(20)).is_empty());
    let outcome = read_as(CLUSTER, &nested(20));
    assert!(outcome.message.transcode_to::<envoy_types::pb::envoy::config::cluster::v3::Cluster>().is_ok());
    assert!(errors(CLUSTER, &nested(30))[0].contains("levels deep"));
}

#[test]
fn removed_and_deprecated_fields() {
    let removed = read_as(CLUSTER, "hosts: []").errors.remove(0);
    assert_eq!(removed.help.as_deref(), Some("the field was removed from Envoy's v3 API"));
    let outcome = read_as("envoy.config.bootstrap.v3.Bootstrap", "watchdog: {}");
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    assert!(outcome.warnings[0].message.contains("deprecated"));
}

#[test]
fn unknown_fields_may_be_allowed() {
    let root = yaml::parse("nmae: a\nname: b", 0).expect("yaml").root.expect("a document");
    let outcome = read(&pool::message_of(CLUSTER).expect("known"), &root, UnknownFields::Warn);
    assert!(outcome.errors.is_empty());
    assert_eq!(outcome.warnings.len(), 1);
    assert_eq!(to_json(&outcome.message), json!({"name": "b"}));
}
