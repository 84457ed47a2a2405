//! What is wrong with a configuration, and how it is shown to the person who wrote it.
//!
//! Rendering only; nothing here decides what is an error. The form is:
//!
//! ```text
//! error: envoy.config.cluster.v3.Cluster has no field `conect_timeout`
//!   --> envoy.yaml:12:5 (static_resources.clusters[0])
//!    12 |     conect_timeout: 1s
//!       |     ^
//!       = help: did you mean `connect_timeout`?
//! ```

use super::position::{Pos, PositionMap, Sources};
use std::fmt;

/// How many errors one run reports; the rest is only counted.
pub const MAX_DIAGNOSTICS: usize = 100;

/// Longest piece of a source line that is shown, in characters.
const MAX_SHOWN_LINE_CHARS: usize = 160;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// Accepted, but something about it should be changed (a deprecated field).
    Warning,
    /// Accepted; worth knowing (a field without effect). Shown by `ringway validate -v`.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// One finding about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands, when known.
    pub pos: Option<Pos>,
    /// Field path as in [`PositionMap`]; empty for the whole document.
    pub path: String,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without place or path.
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, pos: None, path: String::new(), message: message.into(), help: None }
    }

    /// Appends the rendered finding with its source line to `out`.
    pub fn render(&self, sources: &Sources, out: &mut String) {
        use fmt::Write;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}: {}", self.severity, self.message);
        let source = self.pos.and_then(|pos| Some((pos, sources.of(pos)?)));
        match source {
            Some((pos, source)) if pos.line > 0 => {
                let _ = write!(out, "  --> {}:{}:{}", source.name, pos.line, pos.column);
            }
            Some((_, source)) => {
                let _ = write!(out, "  --> {}", source.name);
            }
            None if !self.path.is_empty() => out.push_str("  -->"),
            None => {}
        }
        if !self.path.is_empty() {
            let _ = write!(out, " ({})", self.path);
        }
        if source.is_some() || !self.path.is_empty() {
            out.push('\n');
        }
        if let Some((pos, source)) = source
            && let Some(line) = source.line(pos.line)
        {
            render_line(line, pos, out);
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "      = help: {help}");
        }
    }
}

impl Diagnostic {
    /// The finding in one line: `file:line:column: field path: message (help)`.
    pub fn one_line(&self, sources: &Sources) -> String {
        use fmt::Write;
        let mut out = String::new();
        // Writing to a String cannot fail.
        if let Some((pos, source)) = self.pos.and_then(|pos| Some((pos, sources.of(pos)?))) {
            let _ = match pos.line {
                0 => write!(out, "{}: ", source.name),
                line => write!(out, "{}:{line}:{}: ", source.name, pos.column),
            };
        }
        if !self.path.is_empty() {
            let _ = write!(out, "{}: ", self.path);
        }
        out.push_str(&self.message);
        if let Some(help) = &self.help {
            let _ = write!(out, " ({help})");
        }
        out
    }
}

/// The source line and a caret below the column. Long lines are cut around the caret; control
/// characters (tabs too) are shown as one space so that the caret stays below its character.
fn render_line(line: &str, pos: Pos, out: &mut String) {
    use fmt::Write;
    let column = usize::try_from(pos.column).unwrap_or(1).max(1) - 1;
    let first = if column < MAX_SHOWN_LINE_CHARS { 0 } else { column - MAX_SHOWN_LINE_CHARS / 2 };
    let shown: String = line
        .chars()
        .skip(first)
        .take(MAX_SHOWN_LINE_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let _ = writeln!(out, "{:5} | {}", pos.line, shown.trim_end());
    let _ = writeln!(out, "      | {:width$}^", "", width = column - first);
}

/// All findings of one load, with the texts they point into. Its `Display` is what the user sees.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    /// The findings, in the order of the text as far as each stage knows it.
    pub items: Vec<Diagnostic>,
    /// The texts that [`Diagnostic::pos`] points into.
    pub sources: Sources,
    /// Errors beyond [`MAX_DIAGNOSTICS`] that are not in `items`.
    pub omitted: usize,
}

impl Diagnostics {
    /// Findings about `sources`, sorted by place and cut at [`MAX_DIAGNOSTICS`].
    pub fn new(mut items: Vec<Diagnostic>, sources: Sources) -> Self {
        items.sort_by_key(|d| d.pos.unwrap_or_default());
        let omitted = items.len().saturating_sub(MAX_DIAGNOSTICS);
        items.truncate(MAX_DIAGNOSTICS);
        Self { items, sources, omitted }
    }

    /// One error that has no place in a text (a file that cannot be read).
    pub fn single(message: impl Into<String>, help: Option<String>) -> Self {
        let mut item = Diagnostic::new(Severity::Error, message);
        item.help = help;
        Self { items: vec![item], ..Self::default() }
    }

    /// The findings, a line each.
    pub fn lines(&self) -> Vec<String> {
        let more = (self.omitted > 0).then(|| format!("{} errors more", self.omitted));
        self.items.iter().map(|item| item.one_line(&self.sources)).chain(more).collect()
    }

    /// How many errors there are, counting those not listed.
    pub fn error_count(&self) -> usize {
        self.omitted + self.items.iter().filter(|d| d.severity == Severity::Error).count()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for item in &self.items {
            item.render(&self.sources, &mut text);
        }
        f.write_str(&text)?;
        let errors = self.error_count();
        if errors == 0 {
            return Ok(());
        }
        let plural = if errors == 1 { "error" } else { "errors" };
        let name = self.sources.iter().next().map_or("configuration", |s| &s.name);
        write!(f, "{name}: {errors} {plural}")?;
        if self.omitted > 0 {
            write!(f, " ({} not shown)", self.omitted)?;
        }
        f.write_str(", not loaded\n")
    }
}

impl std::error::Error for Diagnostics {}

/// An error of a stage that knows field paths but no places: the conversion in `config`, a
/// filter's `Config`, a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{message}", if path.is_empty() { "" } else { ": " })]
pub struct ConfigError {
    /// Field path as in [`PositionMap`]; relative to an extension when a filter makes the error.
    pub path: String,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl ConfigError {
    /// An error about the field at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), help: None }
    }

    /// The same error with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error with its path put under `prefix` (the path of the extension it came from).
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.path = match (prefix.is_empty(), self.path.is_empty(), self.path.starts_with('[')) {
            (true, ..) => self.path,
            (_, true, _) => prefix.to_owned(),
            (_, _, true) => format!("{prefix}{}", self.path),
            _ => format!("{prefix}.{}", self.path),
        };
        self
    }

    /// Gives the error the place of its path, or of the nearest enclosing path that has one.
    pub fn into_diagnostic(self, positions: &PositionMap) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            pos: positions.nearest(&self.path),
            path: self.path,
            message: self.message,
            help: self.help,
        }
    }
}
