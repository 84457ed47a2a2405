//! Messages → JSON as Envoy's `/config_dump` prints it: the proto3 JSON mapping with proto field
//! names, `Any` opened with `@type` first, fields that are not set left out, secrets made unreadable.

use super::path::map_key_text;
use super::pool;
use super::proto_json::time_text::{format_duration, format_timestamp};
use envoy_types::pb::google::protobuf::Any;
use prost_reflect::{DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, ReflectMessage, Value};
use serde_json::{Map, Value as Json, json};
use std::sync::OnceLock;

/// Deepest nesting of messages that is printed, `Any`s counted.
const MAX_MESSAGE_DEPTH: usize = 250;

/// The message as JSON.
pub fn to_json(message: &DynamicMessage) -> Json {
    message_json(message, 0)
}

/// The content of `any` as JSON with `@type` first. A type that is not in the API gives its bytes
/// in base64 under `value`.
pub fn any_to_json(any: &Any) -> Json {
    any_json(&any.type_url, &any.value, 0)
}

/// A typed message as JSON; `None` when its type is not in the descriptor pool.
pub fn message_to_json<T: prost::Message + prost::Name>(message: &T) -> Option<Json> {
    let desc = pool::pool().get_message_by_name(&T::full_name())?;
    let mut dynamic = DynamicMessage::new(desc);
    dynamic.transcode_from(message).ok()?;
    Some(to_json(&dynamic))
}

fn message_json(message: &DynamicMessage, depth: usize) -> Json {
    if depth > MAX_MESSAGE_DEPTH {
        return Json::Null;
    }
    let desc = message.descriptor();
    let Some(name) = desc.full_name().strip_prefix("google.protobuf.") else {
        return Json::Object(fields_json(message, depth));
    };
    let int = |field| message.get_field_by_name(field).and_then(|value| value.as_i64()).unwrap_or(0);
    let nanos = || message.get_field_by_name("nanos").and_then(|value| value.as_i32()).unwrap_or(0);
    match name {
        "Any" => {
            let url = message.get_field_by_name("type_url");
            let bytes = message.get_field_by_name("value");
            let bytes = bytes.as_ref().and_then(|value| value.as_bytes()).cloned().unwrap_or_default();
            any_json(url.as_ref().and_then(|url| url.as_str()).unwrap_or_default(), &bytes, depth)
        }
        "Duration" => format_duration(int("seconds"), nanos()).into(),
        "Timestamp" => format_timestamp(int("seconds"), nanos()).into(),
        "FieldMask" => {
            let paths = message.get_field_by_name("paths");
            let paths = paths.as_ref().and_then(|paths| paths.as_list()).unwrap_or_default();
            paths.iter().filter_map(|path| path.as_str()).map(camel_case).collect::<Vec<_>>().join(",").into()
        }
        "Struct" => inner_json(message, "fields", depth).unwrap_or_else(|| json!({})),
        "ListValue" => inner_json(message, "values", depth).unwrap_or_else(|| json!([])),
        "Value" => message.fields().next().map_or(Json::Null, |(field, value)| {
            if field.name() == "null_value" { Json::Null } else { value_json(value, &field.kind(), depth) }
        }),
        name if name.ends_with("Value") => {
            let value = message.get_field_by_name("value");
            let kind = desc.get_field_by_name("value").map(|field| field.kind());
            value.zip(kind).map_or(Json::Null, |(value, kind)| value_json(&value, &kind, depth))
        }
        _ => Json::Object(fields_json(message, depth)),
    }
}

fn inner_json(message: &DynamicMessage, field: &str, depth: usize) -> Option<Json> {
    let field = message.descriptor().get_field_by_name(field)?;
    message.has_field(&field).then(|| value_json(&message.get_field(&field), &field.kind(), depth))
}

fn fields_json(message: &DynamicMessage, depth: usize) -> Map<String, Json> {
    let json = |field: &FieldDescriptor, value: &Value| {
        let redacted = is_sensitive(field).then(|| redacted(value));
        value_json(redacted.as_ref().unwrap_or(value), &field.kind(), depth)
    };
    message.fields().map(|(field, value)| (field.name().to_owned(), json(&field, value))).collect()
}

/// Whether the API marks the field as a secret (`udpa.annotations.sensitive`).
fn is_sensitive(field: &FieldDescriptor) -> bool {
    static MARK: OnceLock<Option<ExtensionDescriptor>> = OnceLock::new();
    let mark = MARK.get_or_init(|| {
        let options = pool::pool().get_message_by_name("google.protobuf.FieldOptions")?;
        options.get_extension_by_full_name("udpa.annotations.sensitive")
    });
    mark.as_ref().is_some_and(|mark| field.options().get_extension(mark).as_bool() == Some(true))
}

/// The value with every text and all bytes in it replaced, as Envoy shows secrets; numbers in secrets tell nothing.
fn redacted(value: &Value) -> Value {
    const REDACTED: &str = "[redacted]";
    match value {
        Value::String(_) => Value::String(REDACTED.to_owned()),
        Value::Bytes(_) => Value::Bytes(REDACTED.into()),
        Value::List(items) => Value::List(items.iter().map(redacted).collect()),
        Value::Map(entries) => {
            Value::Map(entries.iter().map(|(key, value)| (key.clone(), redacted(value))).collect())
        }
        Value::Message(message) => {
            let mut hidden = DynamicMessage::new(message.descriptor());
            message.fields().for_each(|(field, value)| hidden.set_field(&field, redacted(value)));
            Value::Message(hidden)
        }
        other => other.clone(),
    }
}

fn any_json(url: &str, bytes: &[u8], depth: usize) -> Json {
    if url.is_empty() {
        return json!({});
    }
    let mut out = Map::new();
    out.insert("@type".to_owned(), url.into());
    let message = pool::message_of(url).and_then(|desc| DynamicMessage::decode(desc, bytes).ok());
    match message.map(|message| (message_json(&message, depth + 1), message)) {
        Some((Json::Object(fields), message)) if !is_under_value(&message) => out.extend(fields),
        Some((json, _)) => {
            out.insert("value".to_owned(), json);
        }
        None => {
            out.insert("value".to_owned(), base64(bytes).into());
        }
    }
    Json::Object(out)
}

/// Types whose JSON is not a mapping of their fields stand under `value` in an `Any`.
fn is_under_value(message: &DynamicMessage) -> bool {
    matches!(
        message.descriptor().full_name(),
        "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.Any"
    )
}

fn value_json(value: &Value, kind: &Kind, depth: usize) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        // JSON's numbers are doubles to most readers.
        Value::I64(value) => value.to_string().into(),
        Value::U64(value) => value.to_string().into(),
        Value::F32(value) => float_json(f64::from(*value), || value.to_string().parse().ok()),
        Value::F64(value) => float_json(*value, || Some(*value)),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => base64(bytes).into(),
        Value::EnumNumber(number) => {
            let name = kind.as_enum().and_then(|desc| desc.get_value(*number));
            name.map_or_else(|| (*number).into(), |value| value.name().into())
        }
        Value::Message(message) => message_json(message, depth + 1),
        Value::List(items) => items.iter().map(|item| value_json(item, kind, depth)).collect(),
        Value::Map(entries) => {
            let value_kind = match kind {
                Kind::Message(entry) => entry.map_entry_value_field().kind(),
                kind => kind.clone(),
            };
            let mut sorted: Vec<(String, Json)> = entries
                .iter()
                .map(|(key, value)| (map_key_text(key), value_json(value, &value_kind, depth)))
                .collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(sorted.into_iter().collect())
        }
    }
}

/// Whole numbers without a fraction, as Envoy prints them.
fn float_json(value: f64, shortest: impl Fn() -> Option<f64>) -> Json {
    const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    if value.fract() == 0.0 && value.abs() < EXACT_INTEGERS {
        return (value as i64).into();
    }
    shortest().into()
}

fn camel_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c => {
                out.push(if upper { c.to_ascii_uppercase() } else { c });
                upper = false;
            }
        }
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::proto_json::{UnknownFields, read, scalar};
    use crate::api::yaml;
    use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::Buffer;
    use envoy_types::pb::google::protobuf::UInt32Value;

    fn round_trip(message: &str, text: &str) -> Json {
        let root = yaml::parse(text, 0).expect("yaml").root.expect("a document");
        let desc = pool::message_of(message).expect("known");
        let outcome = read(&desc, &root, UnknownFields::Refuse);
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
        to_json(&outcome.message)
    }

    /// What Envoy 1.40's `/config_dump` shows for the same.
    #[test]
    fn secrets_are_not_printed() {
        let text = "
common_tls_context:
  tls_certificates:
  - {certificate_chain: {filename: a.pem}, private_key: {filename: a.key}, password: {inline_string: x}}
  - {certificate_chain: {filename: b.pem}, private_key: {inline_bytes: QUJD}}
session_ticket_keys: {keys: [{filename: t}]}
";
        let json = round_trip("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", text);
        let expected = json!({
            "common_tls_context": {"tls_certificates": [
                {
                    "certificate_chain": {"filename": "a.pem"},
                    "private_key": {"filename": "[redacted]"},
                    "password": {"inline_string": "[redacted]"},
                },
                {
                    "certificate_chain": {"filename": "b.pem"},
                    "private_key": {"inline_bytes": "W3JlZGFjdGVkXQ=="},
                },
            ]},
            "session_ticket_keys": {"keys": [{"filename": "[redacted]"}]},
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn fields_print_as_envoy_prints_them() {
        let text = "
name: a
type: STRICT_DNS
connect_timeout: 1.5s
per_connection_buffer_limit_bytes: 010
common_lb_config: {healthy_panic_threshold: {value: 12.5}}
metadata: {filter_metadata: {x: {s: '1', n: 3, b: yes, l: [~, {}], f: {}}}}
typed_extension_protocol_options:
  x: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 7}
";
        let expected = json!({
            "name": "a",
            "type": "STRICT_DNS",
            "connect_timeout": "1.500s",
            "per_connection_buffer_limit_bytes": 8,
            "common_lb_config": {"healthy_panic_threshold": {"value": 12.5}},
            "metadata": {"filter_metadata": {"x": {"s": "1", "n": 3, "b": true, "l": [null, {}], "f": {}}}},
            "typed_extension_protocol_options": {"x": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
                "max_request_bytes": 7
            }}
        });
        assert_eq!(round_trip("envoy.config.cluster.v3.Cluster", text), expected);
    }

    #[test]
    fn an_any_of_a_well_known_type_stands_under_value() {
        for (name, value) in
            [("Duration", json!("3s")), ("Struct", json!({"a": 1})), ("UInt32Value", json!(5))]
        {
            let url = format!("type.googleapis.com/google.protobuf.{name}");
            let json = json!({"@type": url, "value": value});
            assert_eq!(round_trip("google.protobuf.Any", &json.to_string()), json);
        }
    }

    #[test]
    fn typed_messages_and_unknown_types() {
        let buffer = message_to_json(&Buffer { max_request_bytes: Some(UInt32Value { value: 7 }) });
        assert_eq!(buffer, Some(json!({"max_request_bytes": 7})));
        let unknown = Any { type_url: "x/y.Z".into(), value: b"\x01\xff".to_vec() };
        assert_eq!(any_to_json(&unknown), json!({"@type": "x/y.Z", "value": "Af8="}));
    }

    proptest::proptest! {
        #[test]
        fn base64_comes_back(bytes: Vec<u8>) {
            proptest::prop_assert_eq!(scalar::base64(&base64(&bytes)), Some(bytes));
        }
    }
}
