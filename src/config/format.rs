//! Formats of texts and JSON objects with `%COMMAND%` operators
//! (`envoy.config.core.v3.SubstitutionFormatString`). They are compiled by the
//! layers that use them; here it is only checked that they compile.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::Struct;

use super::data_source::{MAX_DATA_SOURCE_BYTES, read_text_source};
use super::runtime::struct_to_json;
use super::{Context, FieldPath};
use crate::formatter::{Formatter, JsonFormatter};

/// A format, not yet compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct SubstitutionFormat {
    /// The text or the tree of texts.
    pub format: FormatTemplate,
    /// Text: an absent value is empty instead of `-`. JSON: a member without value is left out.
    pub omit_empty_values: bool,
    /// `content-type` of a local reply made from this format; empty for the format's own default.
    pub content_type: String,
    /// Where the format stands.
    pub path: FieldPath,
}

/// The two shapes of formats.
#[derive(Debug, Clone, PartialEq)]
pub enum FormatTemplate {
    /// A format string.
    Text(String),
    /// A JSON object whose strings are format strings, members sorted by name as Envoy prints them.
    Json(serde_json::Map<String, serde_json::Value>),
}

impl SubstitutionFormat {
    /// Converts a format; the text of a `text_format_source` is read.
    pub fn from_proto(
        proto: &core::SubstitutionFormatString,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> SubstitutionFormat {
        use core::substitution_format_string::Format;
        let (format, field) = match &proto.format {
            Some(Format::TextFormat(text)) => (FormatTemplate::Text(text.clone()), "text_format"),
            Some(Format::JsonFormat(tree)) => (FormatTemplate::Json(struct_to_json(tree)), "json_format"),
            Some(Format::TextFormatSource(source)) => {
                let path = path.field("text_format_source");
                let text = read_text_source(source, MAX_DATA_SOURCE_BYTES, &path, context);
                (FormatTemplate::Text(text), "text_format_source")
            }
            None => {
                context.error(path, "a format is required");
                (FormatTemplate::Text(String::new()), "format")
            }
        };
        SubstitutionFormat {
            format,
            omit_empty_values: proto.omit_empty_values,
            content_type: proto.content_type.clone(),
            path: path.field(field),
        }
        .checked(context)
    }

    /// A text format at `path`.
    pub fn text(text: &str, path: FieldPath, context: &mut Context<'_>) -> SubstitutionFormat {
        SubstitutionFormat {
            format: FormatTemplate::Text(text.to_owned()),
            omit_empty_values: false,
            content_type: String::new(),
            path,
        }
        .checked(context)
    }

    /// A JSON format at `path`.
    pub fn json(tree: &Struct, path: FieldPath, context: &mut Context<'_>) -> SubstitutionFormat {
        SubstitutionFormat {
            format: FormatTemplate::Json(struct_to_json(tree)),
            omit_empty_values: false,
            content_type: String::new(),
            path,
        }
        .checked(context)
    }

    /// Records an error if the format does not compile.
    fn checked(self, context: &mut Context<'_>) -> SubstitutionFormat {
        let error = match &self.format {
            FormatTemplate::Text(text) => Formatter::parse(text).err(),
            FormatTemplate::Json(tree) => JsonFormatter::compile(tree, self.omit_empty_values).err(),
        };
        if let Some(error) = error {
            context.error(&self.path, error.to_string());
        }
        self
    }
}
