//! Additions to and removals from header maps (`envoy.config.core.v3.HeaderValueOption`). Values are
//! format strings, checked here to compile; the layer that applies them compiles them again.

use envoy_types::pb::envoy::config::core::v3 as core;

use super::{Context, FieldPath};
use crate::formatter::Formatter;

/// The additions and removals that one level of configuration makes to one header map. Removals
/// happen before additions, as in Envoy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderMutations {
    /// Headers to add, in order.
    pub add: Vec<HeaderToAdd>,
    /// Lower-case names of headers to remove.
    pub remove: Vec<String>,
}

impl HeaderMutations {
    /// Converts the list fields `<kind>_headers_to_add` and `<kind>_headers_to_remove` of the message at `path`.
    pub fn from_proto(
        add: &[core::HeaderValueOption],
        remove: &[String],
        kind: &str,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HeaderMutations {
        let field = format!("{kind}_headers_to_remove");
        let remove = remove.iter().enumerate().map(|(i, name)| {
            let path = path.element(&field, i);
            if is_protected(name) {
                context.error(&path, ":-prefixed or host headers may not be removed");
            }
            context.header_name(name, &path)
        });
        let remove = remove.collect();
        HeaderMutations {
            add: HeaderToAdd::list(add, path, &format!("{kind}_headers_to_add"), context),
            remove,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// One header to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderToAdd {
    /// Lower-case name.
    pub name: String,
    /// Format string, e.g. `%DOWNSTREAM_REMOTE_ADDRESS%`.
    pub value: String,
    /// What to do if the header is there already.
    pub append_action: HeaderAppendAction,
    /// Add the header even if the formatted value is empty.
    pub keep_empty_value: bool,
    /// Where the value stands.
    pub path: FieldPath,
}

impl HeaderToAdd {
    /// Converts the additions in the list field `name` of the message at `path`.
    pub fn list(
        protos: &[core::HeaderValueOption],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<HeaderToAdd> {
        let options = protos.iter().enumerate();
        options.map(|(i, option)| HeaderToAdd::from_proto(option, &path.element(name, i), context)).collect()
    }

    /// Converts one addition, which stands at `path`.
    pub fn from_proto(
        proto: &core::HeaderValueOption,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HeaderToAdd {
        use core::header_value_option::HeaderAppendAction as Action;
        let action = match context.enum_value(proto.append_action, &path.field("append_action")) {
            Action::AppendIfExistsOrAdd => HeaderAppendAction::AppendIfExistsOrAdd,
            Action::AddIfAbsent => HeaderAppendAction::AddIfAbsent,
            Action::OverwriteIfExistsOrAdd => HeaderAppendAction::OverwriteIfExistsOrAdd,
            Action::OverwriteIfExists => HeaderAppendAction::OverwriteIfExists,
        };
        let append_action = match &proto.append {
            None => action,
            Some(_) if action != HeaderAppendAction::default() => {
                context.error(&path.field("append"), "append and append_action must not both be set");
                action
            }
            Some(append) if append.value => HeaderAppendAction::AppendIfExistsOrAdd,
            Some(_) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        };
        let header_path = path.field("header");
        let header = proto.header.clone().unwrap_or_default();
        if is_protected(&header.key) {
            context.error(&header_path.field("key"), ":-prefixed or host headers may not be modified");
        }
        let (field, value) = if header.value.is_empty() && !header.raw_value.is_empty() {
            ("raw_value", String::from_utf8(header.raw_value))
        } else {
            ("value", Ok(header.value))
        };
        let value_path = header_path.field(field);
        let value = value.unwrap_or_else(|_| {
            context.error(&value_path, "header values must be UTF-8");
            String::new()
        });
        if let Err(error) = Formatter::parse(&value) {
            context.error(&value_path, error.to_string());
        }
        HeaderToAdd {
            name: context.header_name(&header.key, &header_path.field("key")),
            value,
            append_action,
            keep_empty_value: proto.keep_empty_value,
            path: value_path,
        }
    }
}

/// What to do with a header that may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderAppendAction {
    /// Add another value.
    #[default]
    AppendIfExistsOrAdd,
    /// Add it if it is absent; else do nothing.
    AddIfAbsent,
    /// Replace all its values; add it if it is absent.
    OverwriteIfExistsOrAdd,
    /// Replace all its values; if it is absent do nothing.
    OverwriteIfExists,
}

/// Whether Envoy forbids header mutations to touch this header: rewrites do that.
fn is_protected(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}
