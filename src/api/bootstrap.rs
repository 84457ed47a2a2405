//! Loads the bootstrap configuration: file and `--config-yaml` → texts → checked messages.

use super::constraints::check_constraints;
use super::diagnostics::{ConfigError, Diagnostic, Diagnostics, Severity};
use super::document::{Placed, Reader, Syntax};
use super::position::{PositionMap, Sources};
use super::proto_json::UnknownFields;
use super::{merge, pool};
use envoy_types::pb::envoy::config::bootstrap::v3::Bootstrap;
use prost_reflect::DynamicMessage;
use std::path::Path;

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
/// What diagnostics call the text of the command line.
const COMMAND_LINE: &str = "--config-yaml";

/// Where the configuration comes from. At least one of the two must be given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// `-c`, `--config-path`.
    pub config_path: Option<&'a Path>,
    /// `--config-yaml`: merged over the file.
    pub config_yaml: Option<&'a str>,
    /// `--allow-unknown-static-fields`: unknown fields are warnings.
    pub allow_unknown_fields: bool,
}

/// A bootstrap that satisfies the schema and its constraints.
#[derive(Debug)]
pub struct LoadedBootstrap {
    /// The typed message, for conversion to the runtime model.
    pub bootstrap: Bootstrap,
    /// The same as a dynamic message, for `check_support` and `/config_dump`.
    pub dynamic: DynamicMessage,
    /// Places of all fields.
    pub positions: PositionMap,
    /// The texts, for rendering.
    pub sources: Sources,
    /// Warnings (deprecated fields, unknown fields that were allowed).
    pub warnings: Vec<Diagnostic>,
}

impl LoadedBootstrap {
    /// Renders errors of later stages with places and source lines.
    pub fn diagnose(&self, errors: impl IntoIterator<Item = ConfigError>) -> Diagnostics {
        let items = errors.into_iter().map(|e| e.into_diagnostic(&self.positions)).collect();
        Diagnostics::new(items, self.sources.clone())
    }
}

/// Reads, merges and checks the bootstrap. Returns all errors of the first stage that finds any:
/// the files, their syntax, the fields and values, the API's constraints.
pub fn load_bootstrap(inputs: Inputs<'_>) -> Result<LoadedBootstrap, Diagnostics> {
    let unknown = if inputs.allow_unknown_fields { UnknownFields::Warn } else { UnknownFields::Refuse };
    let mut reader = Reader::new(unknown);
    let merged = read_and_merge(&mut reader, inputs);
    let Some((dynamic, positions)) = merged.filter(|_| reader.errors.is_empty()) else {
        return Err(Diagnostics::new(reader.errors, reader.sources));
    };
    let violations = check_constraints(&dynamic);
    if !violations.is_empty() {
        let items = violations.into_iter().map(|error| error.into_diagnostic(&positions)).collect();
        return Err(Diagnostics::new(items, reader.sources));
    }
    match dynamic.transcode_to::<Bootstrap>() {
        Ok(bootstrap) => Ok(LoadedBootstrap {
            bootstrap,
            dynamic,
            positions,
            sources: reader.sources,
            warnings: reader.warnings,
        }),
        Err(error) => {
            let error =
                Diagnostic::new(Severity::Error, format!("the configuration is nested too deeply: {error}"));
            Err(Diagnostics::new(vec![error], reader.sources))
        }
    }
}

fn read_and_merge(reader: &mut Reader, inputs: Inputs<'_>) -> Option<Placed> {
    let Some(desc) = pool::pool().get_message_by_name(BOOTSTRAP) else {
        return reader.fail("the API's descriptors are damaged in this binary", None);
    };
    if inputs.config_path.is_none() && inputs.config_yaml.is_none() {
        let help = "give a file with `-c FILE`, or `--config-yaml TEXT`";
        return reader.fail("no configuration", Some(help));
    }
    // Both are read before either may fail, so that the errors of both are shown.
    let base = inputs.config_path.map(|path| reader.file(&desc, path));
    let overlay =
        inputs.config_yaml.map(|text| reader.text(&desc, COMMAND_LINE, text.to_owned(), Syntax::Yaml));
    match (base, overlay) {
        (Some(base), None) => base,
        (None, Some(overlay)) => overlay,
        (Some(base), Some(overlay)) => {
            let (mut message, mut positions) = base?;
            let (over_message, over_positions) = overlay?;
            merge::merge(&mut message, &mut positions, &over_message, over_positions);
            Some((message, positions))
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
