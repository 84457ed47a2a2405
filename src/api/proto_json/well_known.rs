//! The well-known types, whose JSON form is not a mapping of their fields, and `Any`.
//!
//! Durations and wrappers may also be written as mappings (`{seconds: 1}`), as in Envoy.

use super::{Reader, time_text};
use crate::api::pool;
use crate::api::suggest::nearest;
use crate::api::tree::{Entry, Kind, Node};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind as ProtoKind, MapKey, MessageDescriptor, Value};

/// Deepest nesting in a `google.protobuf.Struct`. One level takes up to three levels of protobuf
/// messages, of which decoders take 100.
const MAX_STRUCT_DEPTH: usize = 25;
/// Errors up to which the whole API is searched for a type name that is spelt like an unknown one.
const MAX_TYPE_SEARCHES: usize = 20;

type ReadFn = fn(&mut Reader, &MessageDescriptor, &Node) -> Option<DynamicMessage>;

/// The reader of a well-known type; `None` for all other messages.
pub fn reader_of(full_name: &str) -> Option<ReadFn> {
    if matches!(full_name, "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct") {
        return Some(Reader::typed_struct);
    }
    Some(match full_name.strip_prefix("google.protobuf.")? {
        "Any" => Reader::any,
        "Duration" => Reader::duration,
        "Timestamp" => Reader::timestamp,
        "FieldMask" => Reader::field_mask,
        "Struct" | "Value" | "ListValue" => Reader::free_form,
        name if is_wrapper(name) => Reader::wrapper,
        _ => return None,
    })
}

/// Types that take any JSON value, lists and null among them.
pub fn is_free_form(full_name: &str) -> bool {
    matches!(full_name, "google.protobuf.Value" | "google.protobuf.ListValue")
}

/// Inside an `Any` these stand under the key `value`.
pub fn has_json_form_of_its_own(full_name: &str) -> bool {
    full_name.starts_with("google.protobuf.") && reader_of(full_name).is_some()
}

fn is_wrapper(name: &str) -> bool {
    matches!(
        name,
        "BoolValue"
            | "BytesValue"
            | "DoubleValue"
            | "FloatValue"
            | "Int32Value"
            | "Int64Value"
            | "StringValue"
            | "UInt32Value"
            | "UInt64Value"
    )
}

impl Reader {
    fn wrapper(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        if matches!(node.kind, Kind::Map(_)) {
            return self.plain_message(desc, node);
        }
        let field = desc.get_field_by_name("value")?;
        let value = self.value(&field.kind(), node)?;
        let mut message = DynamicMessage::new(desc.clone());
        message.set_field(&field, value);
        Some(message)
    }

    fn duration(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        let parsed = match &node.kind {
            Kind::Map(_) => return self.plain_message(desc, node),
            Kind::Str(text) => time_text::parse_duration(text),
            _ => None,
        };
        match parsed {
            Some((seconds, nanos)) => Some(seconds_and_nanos(desc, seconds, nanos)),
            None => self.mismatch(node, "a duration in seconds such as `0.25s`"),
        }
    }

    fn timestamp(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        let parsed = match &node.kind {
            Kind::Map(_) => return self.plain_message(desc, node),
            Kind::Str(text) => time_text::parse_timestamp(text),
            _ => None,
        };
        match parsed {
            Some((seconds, nanos)) => Some(seconds_and_nanos(desc, seconds, nanos)),
            None => self.mismatch(node, "a time such as `2024-01-31T12:00:00Z`"),
        }
    }

    fn field_mask(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        let Kind::Str(text) = &node.kind else {
            return if matches!(node.kind, Kind::Map(_)) {
                self.plain_message(desc, node)
            } else {
                self.mismatch(node, "field names separated by commas")
            };
        };
        let paths = text.split(',').filter(|path| !path.is_empty());
        let paths = paths.map(|path| Value::String(snake_case(path))).collect();
        let mut message = DynamicMessage::new(desc.clone());
        message.set_field_by_name("paths", Value::List(paths));
        Some(message)
    }

    fn any(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        let Kind::Map(entries) = &node.kind else { return self.mismatch(node, "a mapping with an `@type`") };
        let mut any = DynamicMessage::new(desc.clone());
        if entries.is_empty() {
            return Some(any);
        }
        let Some(type_entry) = entries.iter().find(|entry| entry.key == "@type") else {
            let help = "add `\"@type\": type.googleapis.com/…`, the type of this configuration";
            self.error(node.pos, "`@type` is missing".into(), Some(help.into()));
            return None;
        };
        let mark = self.path.push_field("@type");
        self.positions.insert(self.path.as_str(), type_entry.key_pos);
        let inner_desc = self.type_of(&type_entry.value);
        self.path.cut(mark);
        let (url, inner_desc) = inner_desc?;
        let inner = self.any_content(&inner_desc, node, entries)?;
        any.set_field_by_name("type_url", Value::String(url));
        any.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
        Some(any)
    }

    fn any_content(
        &mut self,
        desc: &MessageDescriptor,
        node: &Node,
        entries: &[Entry],
    ) -> Option<DynamicMessage> {
        if has_json_form_of_its_own(desc.full_name()) {
            let Some(entry) = entries.iter().find(|entry| entry.key == "value") else {
                self.error(
                    node.pos,
                    format!("`value` is missing: a {} stands under that key", desc.name()),
                    None,
                );
                return None;
            };
            return self.message(desc, &entry.value);
        }
        let mut message = DynamicMessage::new(desc.clone());
        self.fields(&mut message, entries.iter().filter(|entry| entry.key != "@type"));
        if reader_of(desc.full_name()).is_some() {
            self.check_typed_struct(entries);
        }
        Some(message)
    }

    /// A type URL and the message that it names.
    fn type_of(&mut self, node: &Node) -> Option<(String, MessageDescriptor)> {
        let Kind::Str(url) = &node.kind else { return self.mismatch(node, "a type URL") };
        let Some((_, name)) = url.rsplit_once('/') else {
            let help = format!("write `type.googleapis.com/{url}`");
            self.error(node.pos, format!("the type URL `{url}` has no `/`"), Some(help));
            return None;
        };
        if let Some(desc) = pool::message_of(url) {
            return Some((url.clone(), desc));
        }
        let help = (self.errors.len() < MAX_TYPE_SEARCHES).then(|| similar_type(name)).flatten();
        self.error(node.pos, format!("unknown type `{name}`"), help);
        None
    }

    fn typed_struct(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        if let Kind::Map(entries) = &node.kind {
            self.check_typed_struct(entries);
        }
        self.plain_message(desc, node)
    }

    /// Reads the `value` of a `TypedStruct` as what its `type_url` names, only to find the faults in
    /// it and to know the places of its fields.
    fn check_typed_struct(&mut self, entries: &[Entry]) {
        let get = |names: [&str; 2]| entries.iter().find(|entry| names.contains(&entry.key.as_str()));
        let Some(type_entry) = get(["type_url", "typeUrl"]) else { return };
        let mark = self.path.push_field("type_url");
        let inner = self.type_of(&type_entry.value);
        self.path.cut(mark);
        if let (Some((_, desc)), Some(value)) = (inner, get(["value", "value"])) {
            let mark = self.path.push_field("value");
            self.message(&desc, &value.value);
            self.path.cut(mark);
        }
    }

    /// `google.protobuf.{Struct,Value,ListValue}`.
    fn free_form(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        self.free_form_level(desc, node, 0)
    }

    fn free_form_level(
        &mut self,
        desc: &MessageDescriptor,
        node: &Node,
        depth: usize,
    ) -> Option<DynamicMessage> {
        if depth > MAX_STRUCT_DEPTH {
            let message = format!("free-form values may nest {MAX_STRUCT_DEPTH} levels deep");
            self.error(node.pos, message, None);
            return None;
        }
        let mut message = DynamicMessage::new(desc.clone());
        let (name, value) = match (desc.name(), &node.kind) {
            ("Struct", Kind::Map(entries)) => ("fields", self.struct_fields(desc, entries, depth)?),
            ("Struct", _) => return self.mismatch(node, "a mapping"),
            ("ListValue", Kind::Seq(items)) => {
                let item_desc = message_kind(desc, "values")?;
                let items = items.iter().filter_map(|item| self.free_form_level(&item_desc, item, depth + 1));
                ("values", Value::List(items.map(Value::Message).collect()))
            }
            ("ListValue", _) => return self.mismatch(node, "a list"),
            (_, Kind::Null) => ("null_value", Value::EnumNumber(0)),
            (_, Kind::Bool(value)) => ("bool_value", Value::Bool(*value)),
            (_, Kind::Int(value)) => ("number_value", Value::F64(*value as f64)),
            (_, Kind::Float(value)) => ("number_value", Value::F64(*value)),
            (_, Kind::Str(text)) => ("string_value", Value::String(text.clone())),
            (_, Kind::Seq(_)) => {
                let list = self.free_form_level(&message_kind(desc, "list_value")?, node, depth)?;
                ("list_value", Value::Message(list))
            }
            (_, Kind::Map(_)) => {
                let fields = self.free_form_level(&message_kind(desc, "struct_value")?, node, depth)?;
                ("struct_value", Value::Message(fields))
            }
        };
        message.set_field_by_name(name, value);
        Some(message)
    }

    fn struct_fields(&mut self, desc: &MessageDescriptor, entries: &[Entry], depth: usize) -> Option<Value> {
        let entry_desc = message_kind(desc, "fields")?;
        let ProtoKind::Message(value_desc) = entry_desc.map_entry_value_field().kind() else { return None };
        let fields = entries.iter().filter_map(|entry| {
            let value = self.free_form_level(&value_desc, &entry.value, depth + 1)?;
            Some((MapKey::String(entry.key.clone()), Value::Message(value)))
        });
        Some(Value::Map(fields.collect()))
    }
}

fn seconds_and_nanos(desc: &MessageDescriptor, seconds: i64, nanos: i32) -> DynamicMessage {
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_name("seconds", Value::I64(seconds));
    message.set_field_by_name("nanos", Value::I32(nanos));
    message
}

/// The message type of a field that has one.
fn message_kind(desc: &MessageDescriptor, field: &str) -> Option<MessageDescriptor> {
    match desc.get_field_by_name(field)?.kind() {
        ProtoKind::Message(desc) => Some(desc),
        _ => None,
    }
}

fn snake_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn similar_type(name: &str) -> Option<String> {
    let tail = name.rsplit('.').next().unwrap_or(name);
    let names: Vec<String> = pool::pool().all_messages().map(|m| m.full_name().to_owned()).collect();
    let same_tail: Vec<&str> =
        names.iter().filter(|full| full.rsplit('.').next() == Some(tail)).map(String::as_str).collect();
    let nearest = match same_tail[..] {
        [only] => Some(only),
        _ => nearest(name, names.iter().map(String::as_str)),
    };
    nearest.map(|name| format!("did you mean `type.googleapis.com/{name}`?"))
}
