//! Tree → protobuf message, led by the message's descriptor.
//!
//! Follows the proto3 JSON mapping (proto or lowerCamel field names, enum names or numbers,
//! well-known types, `Any` with `@type`) with Envoy's leniencies. Every fault is reported with its
//! field path and its place, and reading goes on, so that one run shows all of them. Never checks
//! the API's constraints: see `constraints`.

pub mod scalar;
pub mod time_text;
mod well_known;

use super::diagnostics::{Diagnostic, Severity};
use super::path::FieldPath;
use super::position::{Pos, PositionMap};
use super::suggest::did_you_mean;
use super::tree::{Entry, Kind, Node};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind as ProtoKind, MapKey, MessageDescriptor,
    ReflectMessage, Value,
};
use std::collections::HashMap;

/// How many errors (and as many warnings) are kept of one text; a text with more is beyond repair.
const MAX_KEPT: usize = 1000;
/// Enumerations up to this size are listed in full in a help text.
const MAX_LISTED_VALUES: usize = 12;

/// What reading a tree gave.
#[derive(Debug)]
pub struct Outcome {
    /// The message, with everything in it that could be read.
    pub message: DynamicMessage,
    /// Places of all fields and list elements.
    pub positions: PositionMap,
    /// What is wrong; the message must not be used unless this is empty.
    pub errors: Vec<Diagnostic>,
    /// Deprecated fields, and unknown ones where they are allowed.
    pub warnings: Vec<Diagnostic>,
}

/// What to do with keys that the API does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// An error.
    Refuse,
    /// A warning (`--allow-unknown-static-fields`).
    Warn,
}

/// Reads `node` as a message of type `desc`.
pub fn read(desc: &MessageDescriptor, node: &Node, unknown_fields: UnknownFields) -> Outcome {
    let mut reader = Reader {
        unknown_fields,
        path: FieldPath::default(),
        positions: PositionMap::default(),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    reader.positions.insert("", node.pos);
    let message = reader.message(desc, node).unwrap_or_else(|| DynamicMessage::new(desc.clone()));
    Outcome { message, positions: reader.positions, errors: reader.errors, warnings: reader.warnings }
}

/// The depth of all recursion here is bounded by the depth of the tree.
struct Reader {
    unknown_fields: UnknownFields,
    path: FieldPath,
    positions: PositionMap,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Reader {
    fn message(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        if let Some(read) = well_known::reader_of(desc.full_name()) {
            return read(self, desc, node);
        }
        self.plain_message(desc, node)
    }

    fn plain_message(&mut self, desc: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        let Kind::Map(entries) = &node.kind else {
            return self.mismatch(node, &format!("a mapping ({})", desc.full_name()));
        };
        let mut message = DynamicMessage::new(desc.clone());
        self.fields(&mut message, entries.iter());
        Some(message)
    }

    fn fields<'n>(&mut self, message: &mut DynamicMessage, entries: impl Iterator<Item = &'n Entry>) {
        let desc = message.descriptor();
        let mut seen: Vec<FieldDescriptor> = Vec::new();
        for entry in entries {
            let Some(field) = field_named(&desc, &entry.key) else {
                self.unknown_field(&desc, entry);
                continue;
            };
            let mark = self.path.push_field(field.name());
            self.positions.insert(self.path.as_str(), entry.key_pos);
            if !matches!(entry.value.kind, Kind::Null) || takes_null(&field) {
                match conflict(&field, &seen) {
                    Some(text) => self.error(entry.key_pos, text, None),
                    None => {
                        self.warn_if_deprecated(&field, entry.key_pos);
                        if let Some(value) = self.field(&field, &entry.value) {
                            message.set_field(&field, value);
                        }
                        seen.push(field);
                    }
                }
            }
            self.path.cut(mark);
        }
    }

    fn field(&mut self, field: &FieldDescriptor, node: &Node) -> Option<Value> {
        if field.is_map() {
            return self.map(field, node);
        }
        if !field.is_list() {
            return self.value(&field.kind(), node);
        }
        let mut items = Vec::new();
        self.list_items(&field.kind(), node, &mut items);
        Some(Value::List(items))
    }

    /// Envoy takes a lone value where a list is due (`domains: "*"`), and a list within the list.
    fn list_items(&mut self, kind: &ProtoKind, node: &Node, items: &mut Vec<Value>) {
        let Kind::Seq(nested) = &node.kind else {
            items.extend(self.value(kind, node));
            return;
        };
        for item in nested {
            if matches!(item.kind, Kind::Seq(_)) && !may_be_a_list(kind) {
                self.list_items(kind, item, items);
                continue;
            }
            let mark = self.path.push_index(items.len());
            self.positions.insert(self.path.as_str(), item.pos);
            match (&item.kind, kind) {
                // As Envoy: nothing where a message is due is a message with nothing set.
                (Kind::Null, ProtoKind::Message(desc)) if !well_known::is_free_form(desc.full_name()) => {
                    items.push(Value::Message(DynamicMessage::new(desc.clone())));
                }
                _ => items.extend(self.value(kind, item)),
            }
            self.path.cut(mark);
        }
    }

    fn map(&mut self, field: &FieldDescriptor, node: &Node) -> Option<Value> {
        let Kind::Map(entries) = &node.kind else { return self.mismatch(node, "a mapping") };
        let ProtoKind::Message(entry_desc) = field.kind() else { return None };
        let key_kind = entry_desc.map_entry_key_field().kind();
        let value_kind = entry_desc.map_entry_value_field().kind();
        let mut out = HashMap::with_capacity(entries.len());
        for entry in entries {
            let Some(key) = map_key(&key_kind, &entry.key) else {
                self.error(entry.key_pos, format!("`{}` cannot be a key of this map", entry.key), None);
                continue;
            };
            let mark = self.path.push_key(&entry.key);
            self.positions.insert(self.path.as_str(), entry.key_pos);
            let value = match (&entry.value.kind, &value_kind) {
                (Kind::Null, ProtoKind::Message(desc)) if !well_known::is_free_form(desc.full_name()) => {
                    Some(Value::Message(DynamicMessage::new(desc.clone())))
                }
                _ => self.value(&value_kind, &entry.value),
            };
            if let Some(value) = value {
                out.insert(key, value);
            }
            self.path.cut(mark);
        }
        Some(Value::Map(out))
    }

    /// One value of `kind`, messages included.
    fn value(&mut self, kind: &ProtoKind, node: &Node) -> Option<Value> {
        let int = |min: i128, max: i128, noun: &str| scalar::integer(&node.kind, min, max, noun);
        let read = match kind {
            ProtoKind::Message(desc) => return self.message(desc, node).map(Value::Message),
            ProtoKind::Enum(desc) => return self.enum_value(desc, node),
            ProtoKind::String => return self.string(node),
            ProtoKind::Bytes => match &node.kind {
                Kind::Str(text) => scalar::base64(text).map(|bytes| Value::Bytes(bytes.into())),
                _ => None,
            }
            .ok_or_else(|| "a base64 string".to_owned()),
            ProtoKind::Bool => scalar::boolean(&node.kind).map(Value::Bool),
            ProtoKind::Double => scalar::double(&node.kind).map(Value::F64),
            ProtoKind::Float => scalar::double(&node.kind).and_then(|wide| {
                let narrow = wide as f32;
                let fits = narrow.is_finite() || !wide.is_finite();
                if fits { Ok(Value::F32(narrow)) } else { Err("a 32-bit float".into()) }
            }),
            ProtoKind::Int32 | ProtoKind::Sint32 | ProtoKind::Sfixed32 => {
                int(i32::MIN.into(), i32::MAX.into(), "a 32-bit integer").map(|v| Value::I32(v as i32))
            }
            ProtoKind::Int64 | ProtoKind::Sint64 | ProtoKind::Sfixed64 => {
                int(i64::MIN.into(), i64::MAX.into(), "a 64-bit integer").map(|v| Value::I64(v as i64))
            }
            ProtoKind::Uint32 | ProtoKind::Fixed32 => {
                int(0, u32::MAX.into(), "an unsigned 32-bit integer").map(|v| Value::U32(v as u32))
            }
            ProtoKind::Uint64 | ProtoKind::Fixed64 => {
                int(0, u64::MAX.into(), "an unsigned 64-bit integer").map(|v| Value::U64(v as u64))
            }
        };
        match read {
            Ok(value) => Some(value),
            Err(expected) => self.mismatch(node, &expected),
        }
    }

    fn string(&mut self, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Str(text) => Some(Value::String(text.clone())),
            Kind::Int(_) | Kind::Bool(_) | Kind::Float(_) => {
                let message = format!("expected a string, found {}", node.kind.noun());
                self.error(node.pos, message, Some("put it in quotes".into()));
                None
            }
            _ => self.mismatch(node, "a string"),
        }
    }

    fn enum_value(&mut self, desc: &EnumDescriptor, node: &Node) -> Option<Value> {
        let name = match &node.kind {
            Kind::Null if desc.full_name() == "google.protobuf.NullValue" => {
                return Some(Value::EnumNumber(0));
            }
            Kind::Str(name) => name,
            kind => {
                return match scalar::integer(kind, i32::MIN.into(), i32::MAX.into(), "") {
                    Ok(number) => Some(Value::EnumNumber(number as i32)),
                    Err(_) => self.mismatch(node, &format!("a name of {}", desc.full_name())),
                };
            }
        };
        let found = desc
            .get_value_by_name(name)
            .or_else(|| desc.values().find(|value| value.name().eq_ignore_ascii_case(name)))
            .map(|value| value.number())
            .or_else(|| name.parse().ok());
        if let Some(number) = found {
            return Some(Value::EnumNumber(number));
        }
        let names: Vec<String> = desc.values().map(|value| value.name().to_owned()).collect();
        let help = did_you_mean(name, names.iter().map(String::as_str)).or_else(|| {
            (names.len() <= MAX_LISTED_VALUES).then(|| format!("it may be one of {}", names.join(", ")))
        });
        self.error(node.pos, format!("{} has no value `{name}`", desc.full_name()), help);
        None
    }

    fn unknown_field(&mut self, desc: &MessageDescriptor, entry: &Entry) {
        let message = format!("{} has no field `{}`", desc.full_name(), entry.key);
        let reserved = desc.reserved_names().any(|name| name == entry.key);
        let help = if reserved {
            Some("the field was removed from Envoy's v3 API".to_owned())
        } else if self.errors.len() < MAX_KEPT {
            let names: Vec<String> = desc.fields().map(|field| field.name().to_owned()).collect();
            did_you_mean(&entry.key, names.iter().map(String::as_str))
        } else {
            None
        };
        match self.unknown_fields {
            UnknownFields::Refuse => self.error(entry.key_pos, message, help),
            UnknownFields::Warn => self.warn(entry.key_pos, message),
        }
    }

    fn warn_if_deprecated(&mut self, field: &FieldDescriptor, pos: Pos) {
        let options = field.field_descriptor_proto().options.as_ref();
        if options.is_some_and(|options| options.deprecated.unwrap_or(false)) {
            self.warn(pos, format!("`{}` is deprecated", field.name()));
        }
    }

    fn mismatch<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let found = match &node.kind {
            Kind::Str(text) if text.len() <= 40 => format!("`{}`", text.escape_debug()),
            Kind::Int(value) => format!("`{value}`"),
            Kind::Bool(value) => format!("`{value}`"),
            kind => kind.noun().to_owned(),
        };
        self.error(node.pos, format!("expected {expected}, found {found}"), None);
        None
    }

    fn error(&mut self, pos: Pos, message: String, help: Option<String>) {
        if self.errors.len() < MAX_KEPT {
            let path = self.path.as_str().to_owned();
            self.errors.push(Diagnostic { severity: Severity::Error, pos: Some(pos), path, message, help });
        }
    }

    fn warn(&mut self, pos: Pos, message: String) {
        if self.warnings.len() < MAX_KEPT {
            let path = self.path.as_str().to_owned();
            let severity = Severity::Warning;
            self.warnings.push(Diagnostic { severity, pos: Some(pos), path, message, help: None });
        }
    }
}

/// By proto name or by lowerCamel name.
fn field_named(desc: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    desc.get_field_by_name(name).or_else(|| desc.get_field_by_json_name(name))
}

/// Does `null` mean something to this field, rather than that it is not set?
fn takes_null(field: &FieldDescriptor) -> bool {
    match field.kind() {
        ProtoKind::Message(desc) => {
            desc.full_name() == "google.protobuf.Value" && !field.is_list() && !field.is_map()
        }
        ProtoKind::Enum(desc) => desc.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

/// Why `field` may not be set beside the fields already seen.
fn conflict(field: &FieldDescriptor, seen: &[FieldDescriptor]) -> Option<String> {
    if seen.contains(field) {
        return Some(format!("`{}` is set twice, under both of its spellings", field.name()));
    }
    let oneof = field.containing_oneof()?;
    let other = seen.iter().find(|other| other.containing_oneof().as_ref() == Some(&oneof))?;
    let (name, other_name) = (field.name(), other.name());
    Some(format!("`{name}` cannot be set beside `{other_name}`: they are alternatives (`{}`)", oneof.name()))
}

fn may_be_a_list(kind: &ProtoKind) -> bool {
    matches!(kind, ProtoKind::Message(desc) if well_known::is_free_form(desc.full_name()))
}

fn map_key(kind: &ProtoKind, text: &str) -> Option<MapKey> {
    match kind {
        ProtoKind::String => Some(MapKey::String(text.to_owned())),
        ProtoKind::Bool => text.parse().ok().map(MapKey::Bool),
        ProtoKind::Int32 | ProtoKind::Sint32 | ProtoKind::Sfixed32 => text.parse().ok().map(MapKey::I32),
        ProtoKind::Int64 | ProtoKind::Sint64 | ProtoKind::Sfixed64 => text.parse().ok().map(MapKey::I64),
        ProtoKind::Uint32 | ProtoKind::Fixed32 => text.parse().ok().map(MapKey::U32),
        ProtoKind::Uint64 | ProtoKind::Fixed64 => text.parse().ok().map(MapKey::U64),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
