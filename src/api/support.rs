//! Refuses configuration that Ringway does not implement: whatever is set and stands in no table
//! is named in an error, so that nothing is ignored silently.
//!
//! Only the mechanism is here; the tables belong to the modules that read the fields.

use super::diagnostics::{Diagnostic, Severity};
use super::extension::{self, ExtensionError};
use super::path::FieldPath;
use super::position::PositionMap;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};
use std::collections::HashMap;

/// Deepest nesting of messages that is followed, `Any`s counted; configuration text allows less.
const MAX_MESSAGE_DEPTH: usize = 250;

/// What Ringway does with the fields of one message type.
#[derive(Debug, Clone, Copy)]
pub struct MessageSupport {
    /// Full proto name: `envoy.config.cluster.v3.Cluster`.
    pub message: &'static str,
    /// Proto names of fields that are implemented.
    pub honoured: &'static [&'static str],
    /// Fields that are accepted though they have no observable effect here.
    pub no_effect: &'static [&'static str],
}

/// What the check found.
#[derive(Debug, Default)]
pub struct SupportReport {
    /// Errors: fields and extension types that are not implemented.
    pub refused: Vec<Diagnostic>,
    /// Notes for `ringway validate -v`: accepted fields that have no effect.
    pub no_effect: Vec<Diagnostic>,
}

const EVERY_FIELD: &[&str] = &["*"];

impl MessageSupport {
    /// Every field of `message` is implemented (its sub-messages still need entries of their own).
    pub const fn all(message: &'static str) -> Self {
        Self { message, honoured: EVERY_FIELD, no_effect: &[] }
    }
}

/// Checks all fields that are set in `message`, in its sub-messages and in every `Any`.
///
/// Several tables may have entries for one message: a field is fine when any of them names it.
/// protobuf's own types (durations, wrappers, `Struct`) need no entry.
pub fn check_support(
    message: &DynamicMessage,
    tables: &[&[MessageSupport]],
    positions: &PositionMap,
) -> SupportReport {
    let mut entries: HashMap<&'static str, Vec<&MessageSupport>> = HashMap::new();
    for entry in tables.iter().flat_map(|table| table.iter()) {
        entries.entry(entry.message).or_default().push(entry);
    }
    let mut walk =
        Walk { entries, positions, path: FieldPath::default(), depth: 0, report: SupportReport::default() };
    walk.message(message);
    walk.report
}

struct Walk<'a> {
    entries: HashMap<&'static str, Vec<&'a MessageSupport>>,
    positions: &'a PositionMap,
    path: FieldPath,
    depth: usize,
    report: SupportReport,
}

enum FieldSupport {
    Honoured,
    NoEffect,
    Refused,
}

impl Walk<'_> {
    fn message(&mut self, message: &DynamicMessage) {
        let desc = message.descriptor();
        let name = desc.full_name();
        if self.depth >= MAX_MESSAGE_DEPTH {
            return self.refuse("messages are nested too deeply".into());
        }
        self.depth += 1;
        if name == "google.protobuf.Any" {
            self.any(message);
        } else if self.entries.contains_key(name) {
            self.fields(name, message);
        } else if !name.starts_with("google.protobuf.") {
            self.refuse(format!("`{name}` is not supported by Ringway yet"));
        }
        self.depth -= 1;
    }

    fn any(&mut self, any: &DynamicMessage) {
        let opened = match extension::open_any(any) {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(ExtensionError::UnknownType(name)) => return self.refuse_type(&name),
            Err(error) => return self.refuse(error.to_string()),
        };
        let desc = opened.message.descriptor();
        if !self.entries.contains_key(desc.full_name()) && !desc.full_name().starts_with("google.protobuf.") {
            return self.refuse_type(desc.full_name());
        }
        let mark = opened.in_typed_struct.then(|| self.path.push_field("value"));
        self.message(&opened.message);
        if let Some(mark) = mark {
            self.path.cut(mark);
        }
    }

    fn fields(&mut self, name: &str, message: &DynamicMessage) {
        for (field, value) in message.fields() {
            let mark = self.path.push_field(field.name());
            match self.support_of(name, &field) {
                FieldSupport::Honoured => self.value(value),
                FieldSupport::NoEffect => self.note(&field),
                // What equals the default asks for nothing.
                FieldSupport::Refused if is_plain_default(&field, value) => {}
                FieldSupport::Refused => {
                    self.refuse(format!("`{}` is not supported by Ringway yet", field.name()))
                }
            }
            self.path.cut(mark);
        }
    }

    fn support_of(&self, message: &str, field: &FieldDescriptor) -> FieldSupport {
        let entries = self.entries.get(message).map(Vec::as_slice).unwrap_or_default();
        let named = |names: &[&str]| names.contains(&"*") || names.contains(&field.name());
        // A field named as without effect is so even where all the others are honoured.
        if entries.iter().any(|entry| named(entry.no_effect)) {
            FieldSupport::NoEffect
        } else if entries.iter().any(|entry| named(entry.honoured)) {
            FieldSupport::Honoured
        } else {
            FieldSupport::Refused
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Message(message) => self.message(message),
            Value::List(items) if matches!(items.first(), Some(Value::Message(_))) => {
                for (index, item) in items.iter().enumerate() {
                    let mark = self.path.push_index(index);
                    self.value(item);
                    self.path.cut(mark);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    let mark = self.path.push_map_key(key);
                    self.value(value);
                    self.path.cut(mark);
                }
            }
            _ => {}
        }
    }

    fn refuse_type(&mut self, name: &str) {
        let mark = self.path.push_field("@type");
        self.refuse(format!("extension type `{name}` is not supported by Ringway yet"));
        self.path.cut(mark);
    }

    fn refuse(&mut self, message: String) {
        let item = self.diagnostic(Severity::Error, message);
        self.report.refused.push(item);
    }

    fn note(&mut self, field: &FieldDescriptor) {
        let message = format!("`{}` is accepted but has no effect in Ringway", field.name());
        let item = self.diagnostic(Severity::Note, message);
        self.report.no_effect.push(item);
    }

    fn diagnostic(&self, severity: Severity, message: String) -> Diagnostic {
        let path = self.path.as_str();
        Diagnostic { severity, pos: self.positions.nearest(path), path: path.to_owned(), message, help: None }
    }
}

/// A scalar outside of any oneof that was written down with its default value.
fn is_plain_default(field: &FieldDescriptor, value: &Value) -> bool {
    let is_alternative = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
    !is_alternative && !matches!(value, Value::Message(_)) && value.is_default_for_field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{pool, proto_json, yaml};

    const TABLE: &[MessageSupport] = &[
        MessageSupport {
            message: "envoy.config.cluster.v3.Cluster",
            honoured: &[
                "name",
                "type",
                "connect_timeout",
                "typed_extension_protocol_options",
                "load_assignment",
            ],
            no_effect: &["alt_stat_name"],
        },
        MessageSupport::all("envoy.extensions.filters.http.buffer.v3.Buffer"),
    ];

    fn report(text: &str) -> SupportReport {
        let root = yaml::parse(text, 0).expect("yaml").root.expect("a document");
        let desc = pool::message_of("envoy.config.cluster.v3.Cluster").expect("known");
        let outcome = proto_json::read(&desc, &root, proto_json::UnknownFields::Refuse);
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
        let mut report = check_support(&outcome.message, &[TABLE], &outcome.positions);
        report.refused.sort_by_key(|d| d.pos);
        report
    }

    fn refused(text: &str) -> Vec<String> {
        let refused = report(text).refused;
        refused
            .iter()
            .map(|d| format!("{}: {} ({})", d.pos.map_or(0, |p| p.line), d.message, d.path))
            .collect()
    }

    #[test]
    fn honoured_fields_pass_and_others_are_named_with_their_place() {
        assert!(
            refused(
                "name: a
connect_timeout: 1s
type: EDS
"
            )
            .is_empty()
        );
        assert_eq!(
            refused(
                "name: a
lb_policy: MAGLEV
circuit_breakers: {}
"
            ),
            [
                "2: `lb_policy` is not supported by Ringway yet (lb_policy)",
                "3: `circuit_breakers` is not supported by Ringway yet (circuit_breakers)",
            ]
        );
    }

    #[test]
    fn a_default_that_was_written_down_passes() {
        assert!(
            refused(
                "lb_policy: ROUND_ROBIN
ignore_health_on_host_removal: false
"
            )
            .is_empty()
        );
        assert_eq!(
            refused(
                "ignore_health_on_host_removal: true
"
            )
            .len(),
            1
        );
    }

    #[test]
    fn fields_without_effect_are_notes() {
        let report = report(
            "name: a
alt_stat_name: b
",
        );
        assert!(report.refused.is_empty());
        assert_eq!(report.no_effect.len(), 1);
        assert_eq!(report.no_effect[0].path, "alt_stat_name");
        assert_eq!(report.no_effect[0].severity, Severity::Note);
    }

    #[test]
    fn messages_and_extensions_without_an_entry_are_refused_as_a_whole() {
        assert_eq!(
            refused(
                "load_assignment: {cluster_name: a}
"
            ),
            [
                "1: `envoy.config.endpoint.v3.ClusterLoadAssignment` is not supported by Ringway yet (load_assignment)"
            ]
        );
        let any = |name: &str| {
            format!(
                "typed_extension_protocol_options:
  x:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.{name}\n"
            )
        };
        assert!(refused(&any("buffer.v3.Buffer\n    max_request_bytes: 5")).is_empty());
        assert_eq!(
            refused(&any("router.v3.Router")),
            [
                "3: extension type `envoy.extensions.filters.http.router.v3.Router` is not supported by Ringway yet \
              (typed_extension_protocol_options[\"x\"].@type)"
            ]
        );
    }

    #[test]
    fn a_typed_struct_counts_as_what_it_names() {
        let text = |name: &str| {
            format!(
                "typed_extension_protocol_options:\n  x:\n    \"@type\": type.googleapis.com/xds.type.v3.TypedStruct\n    \
                 type_url: type.googleapis.com/envoy.extensions.filters.http.{name}\n    value: {{}}\n"
            )
        };
        assert!(refused(&text("buffer.v3.Buffer")).is_empty());
        assert_eq!(refused(&text("router.v3.Router")).len(), 1);
    }
}
