//! The rules of one message type, read from its descriptor once.

use envoy_types::pb::validate::FieldRules;
use envoy_types::pb::validate::field_rules::Type;
use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor,
    ReflectMessage,
};

/// What has to be looked at in messages of one type.
pub struct MessagePlan {
    /// Fields that have rules or that hold messages.
    pub fields: Vec<FieldPlan>,
    /// Alternatives of which one must be set.
    pub required_oneofs: Vec<OneofDescriptor>,
}

/// One field with its rules.
pub struct FieldPlan {
    /// The field.
    pub desc: FieldDescriptor,
    /// Its `(validate.rules)`.
    pub rules: Option<FieldRules>,
}

impl MessagePlan {
    /// Reads the rules of `desc`.
    pub fn of(desc: &MessageDescriptor) -> Self {
        let options = desc.options();
        if flag(&options, "validate.disabled") || flag(&options, "validate.ignored") {
            return Self { fields: Vec::new(), required_oneofs: Vec::new() };
        }
        let fields = desc.fields().map(|desc| FieldPlan { rules: field_rules(&desc), desc });
        Self {
            fields: fields.filter(|field| field.rules.is_some() || holds_messages(&field.desc)).collect(),
            required_oneofs: desc
                .oneofs()
                .filter(|oneof| flag(&oneof.options(), "validate.required"))
                .collect(),
        }
    }
}

impl FieldPlan {
    /// Must the field be set?
    pub fn is_required(&self) -> bool {
        let Some(rules) = &self.rules else { return false };
        let by_type = match &rules.r#type {
            Some(Type::Any(rules)) => rules.required(),
            Some(Type::Duration(rules)) => rules.required(),
            Some(Type::Timestamp(rules)) => rules.required(),
            _ => false,
        };
        // Only one alternative of a oneof is ever set.
        self.desc.containing_oneof().is_none()
            && (by_type || rules.message.is_some_and(|rules| rules.required()))
    }
}

/// protobuf's own types have no rules; only what an `Any` holds may.
pub fn may_hold_rules(full_name: &str) -> bool {
    full_name == "google.protobuf.Any" || !full_name.starts_with("google.protobuf.")
}

fn holds_messages(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => {
            matches!(entry.map_entry_value_field().kind(), Kind::Message(_))
        }
        Kind::Message(desc) => may_hold_rules(desc.full_name()),
        _ => false,
    }
}

fn field_rules(field: &FieldDescriptor) -> Option<FieldRules> {
    let options = field.options();
    let extension = extension(&options, "validate.rules")?;
    options.get_extension(&extension).as_message()?.transcode_to().ok()
}

fn flag(options: &DynamicMessage, name: &str) -> bool {
    extension(options, name).is_some_and(|ext| options.get_extension(&ext).as_bool().unwrap_or(false))
}

/// The extension `name` of these options, when it is set.
fn extension(options: &DynamicMessage, name: &str) -> Option<ExtensionDescriptor> {
    let extension = options.descriptor().get_extension_by_full_name(name)?;
    options.has_extension(&extension).then_some(extension)
}
