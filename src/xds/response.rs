//! Reads a response from a file and checks it as far as that can be done without knowing what it is for:
//! schema, constraints, and what Ringway implements.

use std::collections::BTreeMap;
use std::path::Path;

use crate::api::{
    self, ConfigError, Diagnostics, LoadedResponse, MessageSupport, ResponseError, check_support,
};
use crate::config;
use crate::filters;

/// Why an update is not in force.
#[derive(Debug)]
pub enum UpdateError {
    /// The file cannot be read or parsed (`update_failure`).
    Unreadable(Diagnostics),
    /// What it says is wrong; nothing of it was applied (`update_rejected`).
    Refused {
        /// Its version.
        version: String,
        /// The names of its resources, in order.
        names: Vec<String>,
        /// What is wrong.
        diagnostics: Diagnostics,
    },
    /// It is right, but the system did not let it all be applied, such as a port in use (`update_rejected`).
    NotApplied {
        /// Its version.
        version: String,
        /// What could not be applied, by the name of the resource.
        details: BTreeMap<String, String>,
    },
}

/// Reads the response in the file at `path`, whose resources must be of type `type_name`.
///
/// # Errors
/// All that is wrong with it, as far as the first stage that fails can tell.
pub fn load(path: &Path, type_name: &str) -> Result<LoadedResponse, UpdateError> {
    let response = api::load_response(path, type_name)?;
    let refused = check_support(&response.dynamic, &support_tables(), &response.positions).refused;
    if refused.is_empty() {
        return Ok(response);
    }
    let names = response.names();
    let diagnostics = Diagnostics::new(refused, response.sources);
    Err(UpdateError::Refused { version: response.version, names, diagnostics })
}

/// What Ringway implements of the messages in responses.
pub(super) fn support_tables() -> Vec<&'static [MessageSupport]> {
    config::SUPPORT.iter().copied().chain(filters::support_tables()).collect()
}

impl UpdateError {
    /// A response that a later stage found wrong.
    pub fn refused(response: &LoadedResponse, errors: Vec<ConfigError>) -> UpdateError {
        UpdateError::Refused {
            version: response.version.clone(),
            names: response.names(),
            diagnostics: response.diagnose(errors),
        }
    }

    /// What is wrong, a line for each error: `file:line:column: field path: message`.
    pub fn lines(&self) -> Vec<String> {
        match self {
            UpdateError::Unreadable(diagnostics) | UpdateError::Refused { diagnostics, .. } => {
                diagnostics.lines()
            }
            UpdateError::NotApplied { details, .. } => details.values().cloned().collect(),
        }
    }

    /// The same by the name of the resource that it is about; under the empty name what is about none.
    pub fn by_resource(&self) -> BTreeMap<String, String> {
        match self {
            UpdateError::Unreadable(_) => BTreeMap::new(),
            UpdateError::Refused { names, diagnostics, .. } => {
                let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for item in &diagnostics.items {
                    let name = resource_index(&item.path).and_then(|index| names.get(index));
                    let line = item.one_line(&diagnostics.sources);
                    lines.entry(name.cloned().unwrap_or_default()).or_default().push(line);
                }
                lines.into_iter().map(|(name, lines)| (name, lines.join("\n"))).collect()
            }
            UpdateError::NotApplied { details, .. } => details.clone(),
        }
    }

    /// The version that is not in force.
    pub fn version(&self) -> &str {
        match self {
            UpdateError::Unreadable(_) => "",
            UpdateError::Refused { version, .. } | UpdateError::NotApplied { version, .. } => version,
        }
    }
}

/// The resource that a field path leads into: 3 for `resources[3].name`.
fn resource_index(path: &str) -> Option<usize> {
    path.strip_prefix("resources[")?.split_once(']')?.0.parse().ok()
}

impl From<ResponseError> for UpdateError {
    fn from(error: ResponseError) -> UpdateError {
        match error {
            ResponseError::Unreadable(diagnostics) => UpdateError::Unreadable(diagnostics),
            ResponseError::Refused { version, names, diagnostics } => {
                UpdateError::Refused { version, names, diagnostics }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_by_resource() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cds.yaml");
        let cluster = "'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster";
        let text = format!(
            "version_info: v1\nresources:\n- {{{cluster}, name: a}}\n- {{{cluster}, name: b, use_tcp_for_dns_lookups: true}}\n"
        );
        std::fs::write(&path, text).expect("written");
        let error = load(&path, "envoy.config.cluster.v3.Cluster").expect_err("refused");
        let line = format!(
            "{}:4:75: resources[1].use_tcp_for_dns_lookups: `use_tcp_for_dns_lookups` is not supported by Ringway yet",
            path.display()
        );
        assert_eq!(error.lines().join("\n"), line);
        assert_eq!(error.by_resource(), BTreeMap::from([("b".to_owned(), line)]));
        assert_eq!(error.version(), "v1");
    }
}
