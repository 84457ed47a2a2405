//! The `(validate.rules)` that Envoy's API carries (protoc-gen-validate), checked on a message of
//! any origin: YAML, JSON, protobuf bytes, xDS.
//!
//! Reads the rules out of the descriptors, nothing is generated; goes into every `Any`, which
//! Envoy's own check leaves to each extension. Finds all violations, not only the first.

mod collection;
mod format;
mod number;
mod plan;
mod text;
mod time;

use super::diagnostics::ConfigError;
use super::extension::{self, ExtensionError};
use super::path::FieldPath;
use envoy_types::pb::validate::{AnyRules, EnumRules, FieldRules, field_rules::Type};
use plan::{FieldPlan, MessagePlan};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};
use regex::Regex;
use std::collections::HashMap;
use std::fmt::Display;
use std::rc::Rc;

/// Deepest nesting of messages that is followed, `Any`s counted; configuration text allows less.
const MAX_MESSAGE_DEPTH: usize = 250;
/// Violations kept of one message.
const MAX_VIOLATIONS: usize = 1000;

/// All violations in `message`.
pub fn check_constraints(message: &DynamicMessage) -> Vec<ConfigError> {
    Checker::default().check(message)
}

/// Checks messages; keeps the rules of the types it has met, so reuse it for many messages.
#[derive(Default)]
pub struct Checker {
    plans: HashMap<String, Rc<MessagePlan>>,
    patterns: HashMap<String, Option<Rc<Regex>>>,
    path: FieldPath,
    depth: usize,
    errors: Vec<ConfigError>,
}

impl Checker {
    /// All violations in `message`, in the order of its fields.
    pub fn check(&mut self, message: &DynamicMessage) -> Vec<ConfigError> {
        self.path = FieldPath::default();
        self.depth = 0;
        self.message(message);
        std::mem::take(&mut self.errors)
    }

    fn message(&mut self, message: &DynamicMessage) {
        if self.depth >= MAX_MESSAGE_DEPTH {
            self.fault("messages are nested too deeply");
            return;
        }
        self.depth += 1;
        if message.descriptor().full_name() == "google.protobuf.Any" {
            self.any_content(message);
        } else {
            self.fields(message);
        }
        self.depth -= 1;
    }

    fn any_content(&mut self, any: &DynamicMessage) {
        match extension::open_any(any) {
            Ok(Some(opened)) if opened.in_typed_struct => {
                let mark = self.path.push_field("value");
                self.message(&opened.message);
                self.path.cut(mark);
            }
            Ok(Some(opened)) => self.message(&opened.message),
            // A type that nobody knows has no rules; whether it may stand here is asked elsewhere.
            Ok(None) | Err(ExtensionError::UnknownType(_)) => {}
            Err(error) => self.fault(error.to_string()),
        }
    }

    fn fields(&mut self, message: &DynamicMessage) {
        let plan = self.plan_of(message);
        for oneof in &plan.required_oneofs {
            if !oneof.fields().any(|field| message.has_field(&field)) {
                let names: Vec<String> = oneof.fields().map(|field| format!("`{}`", field.name())).collect();
                let what =
                    if names.len() == 1 { names.concat() } else { format!("one of {}", names.join(", ")) };
                self.fault(format!("{what} is required"));
            }
        }
        for field in &plan.fields {
            let present = message.has_field(&field.desc);
            if !present && field.desc.supports_presence() {
                if field.is_required() {
                    let mark = self.path.push_field(field.desc.name());
                    self.field_fault("is required");
                    self.path.cut(mark);
                }
                continue;
            }
            let mark = self.path.push_field(field.desc.name());
            self.field(field, &message.get_field(&field.desc));
            self.path.cut(mark);
        }
    }

    fn field(&mut self, field: &FieldPlan, value: &Value) {
        match value {
            Value::List(items) => self.list(field, items),
            Value::Map(entries) => self.map(field, entries),
            value => self.value(field.rules.as_ref(), &field.desc, value),
        }
    }

    /// One value against its rules, then what is in it. For a list or a map, `field` is the field
    /// that the element stands in.
    fn value(&mut self, rules: Option<&FieldRules>, field: &FieldDescriptor, value: &Value) {
        if let Some(rule) = rules.and_then(|rules| rules.r#type.as_ref()) {
            self.typed_value(rule, field, value);
        }
        let skipped = rules.and_then(|rules| rules.message).is_some_and(|rules| rules.skip());
        if let Value::Message(inner) = value
            && !skipped
            && plan::may_hold_rules(inner.descriptor().full_name())
        {
            self.message(inner);
        }
    }

    fn typed_value(&mut self, rule: &Type, field: &FieldDescriptor, value: &Value) {
        let faults = match (rule, value) {
            (Type::Duration(rules), Value::Message(message)) => time::check_duration(rules, message),
            (Type::Timestamp(rules), Value::Message(message)) => time::check_timestamp(rules, message),
            (Type::Any(rules), Value::Message(any)) => check_any(rules, any),
            // The rules of a wrapper are those of the value in it.
            (rule, Value::Message(wrapper)) => match wrapper.get_field_by_name("value") {
                Some(inner) => return self.typed_value(rule, field, &inner),
                None => Vec::new(),
            },
            (Type::String(rules), Value::String(text)) => {
                let pattern = rules.pattern.as_deref().and_then(|pattern| self.pattern(pattern));
                text::check_string(rules, pattern.as_deref(), text)
            }
            (Type::Bytes(rules), Value::Bytes(bytes)) => text::check_bytes(rules, bytes),
            (Type::Bool(rules), Value::Bool(value)) => match rules.r#const {
                Some(expected) if expected != *value => vec![format!("must be `{expected}`")],
                _ => Vec::new(),
            },
            (Type::Enum(rules), Value::EnumNumber(number)) => check_enum(rules, field, *number),
            (rule, value) => number::check(rule, value),
        };
        for fault in faults {
            self.field_fault(fault);
        }
    }

    fn plan_of(&mut self, message: &DynamicMessage) -> Rc<MessagePlan> {
        let desc = message.descriptor();
        if let Some(plan) = self.plans.get(desc.full_name()) {
            return Rc::clone(plan);
        }
        let plan = Rc::new(MessagePlan::of(&desc));
        self.plans.insert(desc.full_name().to_owned(), Rc::clone(&plan));
        plan
    }

    fn pattern(&mut self, pattern: &str) -> Option<Rc<Regex>> {
        if let Some(known) = self.patterns.get(pattern) {
            return known.clone();
        }
        let compiled = Regex::new(pattern).ok().map(Rc::new);
        self.patterns.insert(pattern.to_owned(), compiled.clone());
        compiled
    }

    /// A fault of the field that the path ends in; `what` continues its name.
    fn field_fault(&mut self, what: impl Display) {
        self.fault(format!("`{}` {what}", self.path.last_segment()));
    }

    fn fault(&mut self, message: impl Into<String>) {
        if self.errors.len() < MAX_VIOLATIONS {
            self.errors.push(ConfigError::new(self.path.as_str(), message));
        }
    }
}

fn check_any(rules: &AnyRules, any: &DynamicMessage) -> Vec<String> {
    let url = any.get_field_by_name("type_url");
    let url = url.as_ref().and_then(|url| url.as_str()).unwrap_or_default();
    let listed = |urls: &[String]| urls.iter().any(|known| known == url);
    if !rules.r#in.is_empty() && !listed(&rules.r#in) {
        return vec![format!("must have one of the types {}", rules.r#in.join(", "))];
    }
    if listed(&rules.not_in) {
        return vec![format!("must not have the type {url}")];
    }
    Vec::new()
}

fn check_enum(rules: &EnumRules, field: &FieldDescriptor, number: i32) -> Vec<String> {
    let kind = match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let Kind::Enum(desc) = kind else { return Vec::new() };
    let name = |number: i32| {
        desc.get_value(number).map_or_else(|| number.to_string(), |value| value.name().to_owned())
    };
    let names = |numbers: &[i32]| numbers.iter().map(|n| name(*n)).collect::<Vec<_>>().join(", ");
    let mut faults = Vec::new();
    if rules.defined_only() && desc.get_value(number).is_none() {
        faults.push(format!("must be a value of {}, is {number}", desc.full_name()));
    }
    if let Some(expected) = rules.r#const
        && number != expected
    {
        faults.push(format!("must be `{}`", name(expected)));
    }
    if !rules.r#in.is_empty() && !rules.r#in.contains(&number) {
        faults.push(format!("must be one of {}", names(&rules.r#in)));
    }
    if rules.not_in.contains(&number) {
        faults.push(format!("must not be `{}`", name(number)));
    }
    faults
}

#[cfg(test)]
mod tests;
