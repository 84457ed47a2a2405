//! One text → one message of a given type: reads the file, picks the syntax, parses, fits it to the schema.
//!
//! Shared by the bootstrap and by discovery responses. Never checks the API's constraints.

use super::diagnostics::{Diagnostic, Severity};
use super::position::{Pos, PositionMap, Sources};
use super::proto_json::{self, Outcome, UnknownFields};
use super::read_file::{self, ConfigFileError};
use super::tree::{Node, SyntaxError};
use super::{json, yaml};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use std::path::Path;
use std::rc::Rc;

/// A message with the places of its fields.
pub(super) type Placed = (DynamicMessage, PositionMap);

/// How a text is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Syntax {
    Yaml,
    Json,
}

/// Reads texts as messages and keeps what is found wrong with them.
pub(super) struct Reader {
    pub(super) unknown_fields: UnknownFields,
    pub(super) sources: Sources,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    /// A text could not be had or parsed at all, as opposed to one that says what it must not.
    pub(super) is_unreadable: bool,
}

impl Reader {
    pub(super) fn new(unknown_fields: UnknownFields) -> Reader {
        Reader {
            unknown_fields,
            sources: Sources::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
            is_unreadable: false,
        }
    }

    /// By extension, as Envoy does; without one that is known, by the first character.
    pub(super) fn file(&mut self, desc: &MessageDescriptor, path: &Path) -> Option<Placed> {
        let name = path.display().to_string();
        match extension(path).as_str() {
            "pb" => {
                let bytes = read_file::read_bytes(path).map_err(|error| self.file_error(&error)).ok()?;
                self.binary(desc, &name, &bytes)
            }
            "pb_text" => {
                let help = "convert it to YAML, JSON or binary protobuf (`.pb`)";
                self.fail(format!("`{name}`: protobuf text format is not supported"), Some(help))
            }
            extension => {
                let text = read_file::read_text(path).map_err(|error| self.file_error(&error)).ok()?;
                let syntax = syntax_of(extension, &text);
                self.text(desc, &name, text, syntax)
            }
        }
    }

    /// Reads `text`, which diagnostics call `name`.
    pub(super) fn text(
        &mut self,
        desc: &MessageDescriptor,
        name: &str,
        text: String,
        syntax: Syntax,
    ) -> Option<Placed> {
        let source = self.sources.add(name, "");
        let root = match syntax {
            Syntax::Yaml => self.yaml(&text, source),
            Syntax::Json => json::parse(&text, source).map(Some),
        };
        self.sources.set_text(source, text);
        let root = match root {
            Ok(Some(root)) => root,
            Ok(None) => return self.fail(format!("`{name}` holds no configuration, only comments"), None),
            Err(error) => {
                self.is_unreadable = true;
                self.errors.push(syntax_diagnostic(error));
                return None;
            }
        };
        let Outcome { message, positions, errors, warnings } =
            proto_json::read(desc, &root, self.unknown_fields);
        self.errors.extend(errors);
        self.warnings.extend(warnings);
        Some((message, positions))
    }

    /// Notes an error about a text as a whole.
    pub(super) fn fail<T>(&mut self, message: impl Into<String>, help: Option<&str>) -> Option<T> {
        let mut error = Diagnostic::new(Severity::Error, message);
        error.help = help.map(str::to_owned);
        self.errors.push(error);
        self.is_unreadable = true;
        None
    }

    fn binary(&mut self, desc: &MessageDescriptor, name: &str, bytes: &[u8]) -> Option<Placed> {
        let source = self.sources.add(name, "");
        match DynamicMessage::decode(desc.clone(), bytes) {
            Ok(message) => {
                let mut positions = PositionMap::default();
                positions.insert("", Pos { source, line: 0, column: 0 });
                Some((message, positions))
            }
            Err(error) => self.fail(format!("`{name}` is not a binary {}: {error}", desc.full_name()), None),
        }
    }

    fn yaml(&mut self, text: &str, source: u32) -> Result<Option<Rc<Node>>, SyntaxError> {
        let document = yaml::parse(text, source)?;
        if let Some(pos) = document.second_document {
            let mut warning =
                Diagnostic::new(Severity::Warning, "only the first YAML document is read, as in Envoy");
            warning.pos = Some(pos);
            self.warnings.push(warning);
        }
        Ok(document.root)
    }

    fn file_error(&mut self, error: &ConfigFileError) {
        self.is_unreadable = true;
        self.errors.push(Diagnostic::new(Severity::Error, error.to_string()));
    }
}

/// The extension of a path in lower case; empty if it has none.
pub(super) fn extension(path: &Path) -> String {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// How the text of a file with this extension is written.
pub(super) fn syntax_of(extension: &str, text: &str) -> Syntax {
    match extension {
        "yaml" | "yml" => Syntax::Yaml,
        "json" => Syntax::Json,
        _ if text.trim_start().starts_with('{') => Syntax::Json,
        _ => Syntax::Yaml,
    }
}

fn syntax_diagnostic(error: SyntaxError) -> Diagnostic {
    let SyntaxError { pos, message, help } = error;
    Diagnostic { severity: Severity::Error, pos: Some(pos), path: String::new(), message, help }
}
