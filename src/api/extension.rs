//! Extension configuration: from the `Any` in a message to the message in it.
//!
//! `TypedStruct` (a `Struct` that says which message it stands for) is opened here as well, so
//! nobody else needs to know of it.

use super::pool;
use super::proto_json::{self, UnknownFields};
use super::tree::{Entry, Kind, Node};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};
use std::rc::Rc;

/// Why an `Any` could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// The type URL names another type.
    #[error("expected the type `{expected}`, found `{found}`")]
    WrongType {
        /// Full name of the wanted type.
        expected: String,
        /// Full name that the `Any` carries.
        found: String,
    },
    /// The type is not part of the API.
    #[error("unknown type `{0}`")]
    UnknownType(String),
    /// The bytes are not a message of that type.
    #[error("malformed `{type_name}`: {reason}")]
    Malformed {
        /// Full name of the type.
        type_name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What an `Any` holds.
#[derive(Debug)]
pub struct Opened {
    /// The message.
    pub message: DynamicMessage,
    /// It stood in a `TypedStruct`: its fields' paths go through the field `value`.
    pub in_typed_struct: bool,
}

/// Opens `any` as a `T`. A `TypedStruct` that names `T` is converted. An `Any` without a type
/// (`typed_config: {}`) gives the default `T`.
pub fn decode_any<T: Message + Name + Default>(any: &Any) -> Result<T, ExtensionError> {
    if any.type_url.is_empty() && any.value.is_empty() {
        return Ok(T::default());
    }
    let (found, expected) = (type_name(&any.type_url), T::full_name());
    let malformed = |error: prost::DecodeError| malformed(&T::full_name(), error);
    if found == expected {
        return T::decode(any.value.as_slice()).map_err(malformed);
    }
    if !is_typed_struct(found) {
        return Err(ExtensionError::WrongType { expected, found: found.to_owned() });
    }
    let opened = open(&any.type_url, &any.value)?.message;
    if opened.descriptor().full_name() != expected {
        let found = opened.descriptor().full_name().to_owned();
        return Err(ExtensionError::WrongType { expected, found });
    }
    opened.transcode_to().map_err(malformed)
}

/// Full message name in a type URL: what follows the last `/`.
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// The type that an extension's configuration has: that of the `Any`, or the one that the
/// `TypedStruct` in it names. `None` for an `Any` without a type.
pub fn effective_type_url(any: &Any) -> Option<String> {
    if !is_typed_struct(type_name(&any.type_url)) {
        return (!any.type_url.is_empty()).then(|| any.type_url.clone());
    }
    let desc = pool::message_of(&any.type_url)?;
    let typed_struct = DynamicMessage::decode(desc, any.value.as_slice()).ok()?;
    Some(string_field(&typed_struct, "type_url"))
}

/// `any` itself, or, for a `TypedStruct`, the message that it stands for, packed.
pub fn without_typed_struct(any: &Any) -> Result<Any, ExtensionError> {
    if !is_typed_struct(type_name(&any.type_url)) {
        return Ok(any.clone());
    }
    let message = open(&any.type_url, &any.value)?.message;
    let type_url = format!("type.googleapis.com/{}", message.descriptor().full_name());
    Ok(Any { type_url, value: message.encode_to_vec() })
}

/// Opens the `google.protobuf.Any` that `any` is; `None` when it has no type.
pub fn open_any(any: &DynamicMessage) -> Result<Option<Opened>, ExtensionError> {
    let url = string_field(any, "type_url");
    if url.is_empty() {
        return Ok(None);
    }
    let value = any.get_field_by_name("value");
    let bytes = value.as_ref().and_then(|value| value.as_bytes()).cloned().unwrap_or_default();
    open(&url, &bytes).map(Some)
}

fn open(url: &str, bytes: &[u8]) -> Result<Opened, ExtensionError> {
    let unknown = |url: &str| ExtensionError::UnknownType(type_name(url).to_owned());
    let desc = pool::message_of(url).ok_or_else(|| unknown(url))?;
    let message = DynamicMessage::decode(desc, bytes).map_err(|error| malformed(type_name(url), error))?;
    if !is_typed_struct(type_name(url)) {
        return Ok(Opened { message, in_typed_struct: false });
    }
    let inner_url = string_field(&message, "type_url");
    let inner_desc = pool::message_of(&inner_url).ok_or_else(|| unknown(&inner_url))?;
    let fields = message.get_field_by_name("value");
    let tree =
        fields.as_ref().and_then(|value| value.as_message()).map_or(Kind::Map(Vec::new()), struct_to_tree);
    let outcome = proto_json::read(&inner_desc, &node(tree), UnknownFields::Refuse);
    match outcome.errors.into_iter().next() {
        None => Ok(Opened { message: outcome.message, in_typed_struct: true }),
        Some(error) => {
            Err(malformed(inner_desc.full_name(), format!("{} (in `{}`)", error.message, error.path)))
        }
    }
}

fn malformed(type_name: &str, reason: impl ToString) -> ExtensionError {
    ExtensionError::Malformed { type_name: type_name.to_owned(), reason: reason.to_string() }
}

fn is_typed_struct(name: &str) -> bool {
    matches!(name, "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct")
}

fn string_field(message: &DynamicMessage, name: &str) -> String {
    let value = message.get_field_by_name(name);
    value.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

fn node(kind: Kind) -> Rc<Node> {
    Rc::new(Node::new(super::position::Pos::default(), kind))
}

/// Depth is bounded: these messages came out of a decoder, which takes 100 levels.
fn struct_to_tree(fields: &DynamicMessage) -> Kind {
    let map = fields.get_field_by_name("fields");
    let Some(map) = map.as_ref().and_then(|value| value.as_map()) else { return Kind::Map(Vec::new()) };
    let mut entries: Vec<Entry> = map
        .iter()
        .filter_map(|(key, value)| {
            let MapKey::String(key) = key else { return None };
            let value = node(value_to_tree(value.as_message()?));
            Some(Entry { key: key.clone(), key_pos: super::position::Pos::default(), value })
        })
        .collect();
    // The map's own order is random.
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Kind::Map(entries)
}

fn value_to_tree(message: &DynamicMessage) -> Kind {
    let Some((field, value)) = message.fields().next() else { return Kind::Null };
    match (field.name(), value) {
        (_, Value::Bool(value)) => Kind::Bool(*value),
        (_, Value::F64(value)) => Kind::Float(*value),
        (_, Value::String(text)) => Kind::Str(text.clone()),
        ("struct_value", Value::Message(fields)) => struct_to_tree(fields),
        ("list_value", Value::Message(list)) => {
            let items = list.get_field_by_name("values");
            let items = items.as_ref().and_then(|items| items.as_list()).unwrap_or_default();
            Kind::Seq(items.iter().filter_map(|item| Some(node(value_to_tree(item.as_message()?)))).collect())
        }
        _ => Kind::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::Buffer;
    use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
    use envoy_types::pb::google::protobuf::UInt32Value;

    fn typed_struct(yaml: &str) -> Any {
        let text = format!("'@type': type.googleapis.com/xds.type.v3.TypedStruct\n{yaml}");
        let root = crate::api::yaml::parse(&text, 0).expect("yaml").root.expect("a document");
        let desc = pool::message_of("google.protobuf.Any").expect("known");
        let outcome = proto_json::read(&desc, &root, UnknownFields::Refuse);
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
        outcome.message.transcode_to().expect("an Any")
    }

    #[test]
    fn an_any_opens_as_its_own_type_only() {
        let value = Buffer { max_request_bytes: Some(UInt32Value { value: 7 }) }.encode_to_vec();
        let any = Any { type_url: Buffer::type_url(), value };
        let buffer: Buffer = decode_any(&any).expect("a Buffer");
        assert_eq!(buffer.max_request_bytes.map(|v| v.value), Some(7));
        let error = decode_any::<Router>(&any).expect_err("not a Router");
        assert!(error.to_string().contains("filters.http.buffer.v3.Buffer`"), "{error}");
        let broken = Any { type_url: any.type_url.clone(), value: vec![0xff] };
        assert!(matches!(decode_any::<Buffer>(&broken), Err(ExtensionError::Malformed { .. })));
        assert_eq!(decode_any::<Buffer>(&Any::default()), Ok(Buffer::default()));
    }

    #[test]
    fn a_typed_struct_opens_as_what_it_names() {
        let url = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
        let any = typed_struct(&format!("type_url: {url}\nvalue: {{max_request_bytes: 7}}"));
        assert_eq!(effective_type_url(&any).as_deref(), Some(url));
        let buffer: Buffer = decode_any(&any).expect("a Buffer");
        assert_eq!(buffer.max_request_bytes.map(|v| v.value), Some(7));
        assert!(decode_any::<Router>(&any).is_err());
    }
}
