//! Loads a discovery response (`envoy.service.discovery.v3.DiscoveryResponse`) from a file: text → checked
//! resources of one type, every error with its place in the file.
//!
//! It checks the schema and the API's constraints. What Ringway implements of it is the caller's question,
//! as it is for the bootstrap.

use super::constraints::check_constraints;
use super::diagnostics::{ConfigError, Diagnostic, Diagnostics};
use super::document::Reader;
use super::extension;
use super::pool;
use super::position::{PositionMap, Sources};
use super::proto_json::UnknownFields;
use prost_reflect::{DynamicMessage, ReflectMessage};
use std::path::Path;

const RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";
/// May stand around a resource, to give it a name and a version of its own.
const WRAPPER: &str = "envoy.service.discovery.v3.Resource";

/// A response that satisfies the schema and its constraints.
#[derive(Debug)]
pub struct LoadedResponse {
    /// `version_info`; may be empty.
    pub version: String,
    /// The resources, in order.
    pub resources: Vec<LoadedResource>,
    /// The response as a whole, for `check_support`.
    pub dynamic: DynamicMessage,
    /// Places of all fields.
    pub positions: PositionMap,
    /// The text, for rendering.
    pub sources: Sources,
    /// Deprecated fields.
    pub warnings: Vec<Diagnostic>,
}

/// One resource of a response.
#[derive(Debug)]
pub struct LoadedResource {
    /// Its name; may be empty.
    pub name: String,
    /// The message, out of its `Any`.
    pub message: DynamicMessage,
    /// Where it stands: `resources[2]`.
    pub path: String,
}

/// Why a response cannot be used.
#[derive(Debug)]
pub enum ResponseError {
    /// The file cannot be read, or is no YAML, JSON or protobuf.
    Unreadable(Diagnostics),
    /// What it says is wrong.
    Refused {
        /// Its `version_info`, if that could be read.
        version: String,
        /// The names of its resources in order, as far as they could be read.
        names: Vec<String>,
        /// What is wrong.
        diagnostics: Diagnostics,
    },
}

impl LoadedResponse {
    /// The names of the resources, in order.
    pub fn names(&self) -> Vec<String> {
        names_of(&self.dynamic)
    }

    /// Gives errors of later stages their places.
    pub fn diagnose(&self, errors: impl IntoIterator<Item = ConfigError>) -> Diagnostics {
        let items = errors.into_iter().map(|error| error.into_diagnostic(&self.positions)).collect();
        Diagnostics::new(items, self.sources.clone())
    }
}

/// Reads the response in the file at `path`, whose resources must be messages of type `type_name`.
///
/// # Errors
/// All errors of the first stage that finds any.
pub fn load_response(path: &Path, type_name: &str) -> Result<LoadedResponse, ResponseError> {
    let mut reader = Reader::new(UnknownFields::Refuse);
    let read = match pool::pool().get_message_by_name(RESPONSE) {
        Some(desc) => reader.file(&desc, path),
        None => reader.fail("the API's descriptors are damaged in this binary", None),
    };
    let version = read.as_ref().map(|(message, _)| text_field(message, "version_info")).unwrap_or_default();
    let names = read.as_ref().map(|(message, _)| names_of(message)).unwrap_or_default();
    let Some((dynamic, positions)) = read.filter(|_| reader.errors.is_empty()) else {
        let diagnostics = Diagnostics::new(reader.errors, reader.sources);
        return Err(match reader.is_unreadable {
            true => ResponseError::Unreadable(diagnostics),
            false => ResponseError::Refused { version, names, diagnostics },
        });
    };
    let mut response = LoadedResponse {
        version,
        resources: Vec::new(),
        dynamic,
        positions,
        sources: reader.sources,
        warnings: reader.warnings,
    };
    let mut errors = check_constraints(&response.dynamic);
    if errors.is_empty() {
        response.resources = resources(&response.dynamic, type_name, &mut errors);
    }
    if errors.is_empty() {
        return Ok(response);
    }
    let diagnostics = response.diagnose(errors);
    Err(ResponseError::Refused { version: response.version, names, diagnostics })
}

fn text_field(message: &DynamicMessage, name: &str) -> String {
    let text = message.get_field_by_name(name);
    text.as_ref().and_then(|text| text.as_str()).unwrap_or_default().to_owned()
}

fn name_of(resource: &DynamicMessage) -> String {
    let names = ["name", "cluster_name"].map(|field| text_field(resource, field));
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

/// The names of the resources; empty for those that cannot be read.
fn names_of(response: &DynamicMessage) -> Vec<String> {
    let list = response.get_field_by_name("resources");
    let list = list.as_ref().and_then(|list| list.as_list()).unwrap_or_default();
    let name = |any: &DynamicMessage| {
        let mut message = extension::open_any(any).ok()??.message;
        if message.descriptor().full_name() == WRAPPER {
            let inner = message.get_field_by_name("resource");
            message = extension::open_any(inner.as_ref()?.as_message()?).ok()??.message;
        }
        Some(name_of(&message))
    };
    list.iter().map(|any| any.as_message().and_then(name).unwrap_or_default()).collect()
}

fn resources(
    response: &DynamicMessage,
    type_name: &str,
    errors: &mut Vec<ConfigError>,
) -> Vec<LoadedResource> {
    let list = response.get_field_by_name("resources");
    let list = list.as_ref().and_then(|list| list.as_list()).unwrap_or_default();
    let each = list.iter().enumerate().filter_map(|(index, any)| {
        let path = format!("resources[{index}]");
        match open_resource(any.as_message()?, path.clone(), type_name) {
            Ok(resource) => Some(resource),
            Err(message) => {
                errors.push(ConfigError::new(path, message));
                None
            }
        }
    });
    each.collect()
}

fn open_resource(any: &DynamicMessage, path: String, type_name: &str) -> Result<LoadedResource, String> {
    let expected = || format!("expected a resource of type `{type_name}`");
    let open = |any: &DynamicMessage| match extension::open_any(any) {
        Ok(Some(opened)) => Ok(opened.message),
        Ok(None) => Err(format!("{}, found nothing", expected())),
        Err(error) => Err(error.to_string()),
    };
    let (mut message, mut path) = (open(any)?, path);
    if message.descriptor().full_name() == WRAPPER {
        let inner = message.get_field_by_name("resource");
        let inner = inner.as_ref().and_then(|inner| inner.as_message());
        message = open(inner.ok_or_else(|| format!("{}, found nothing", expected()))?)?;
        path.push_str(".resource");
    }
    let descriptor = message.descriptor();
    if descriptor.full_name() != type_name {
        return Err(format!("{}, found `{}`", expected(), descriptor.full_name()));
    }
    Ok(LoadedResource { name: name_of(&message), message, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

    fn load(name: &str, text: &str) -> Result<LoadedResponse, ResponseError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        load_response(&path, CLUSTER)
    }

    fn refused(text: &str) -> (String, String) {
        match load("a.yaml", text) {
            Err(ResponseError::Refused { version, diagnostics, .. }) => (version, diagnostics.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn resources_come_out_of_their_envelopes() {
        let text = "
version_info: '7'
resources:
- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}
- '@type': type.googleapis.com/envoy.service.discovery.v3.Resource
  name: b
  resource: {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: b}
";
        let response = load("a.yaml", text).expect("valid");
        assert_eq!(response.version, "7");
        let names: Vec<_> = response
            .resources
            .iter()
            .map(|resource| (resource.name.clone(), resource.path.clone()))
            .collect();
        assert_eq!(
            names,
            [("a".into(), "resources[0]".into()), ("b".into(), "resources[1].resource".into())]
        );
        let json = r#"{"resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "a"}]}"#;
        assert_eq!(load("a.json", json).expect("valid").resources.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let listener = "
version_info: v1
resources:
- {'@type': type.googleapis.com/envoy.config.listener.v3.Listener, name: a}
";
        let (version, text) = refused(listener);
        assert_eq!(version, "v1");
        assert!(text.contains("a.yaml:4:3 (resources[0])"), "{text}");
        assert!(text.contains("found `envoy.config.listener.v3.Listener`"), "{text}");
        let unknown = "
version_info: v2
resources:
- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
  nam: a
";
        let (version, text) = refused(unknown);
        assert!(
            version == "v2" && text.contains("a.yaml:5:3") && text.contains("did you mean `name`"),
            "{text}"
        );
        let constraint = "resources: [{'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster}]";
        assert!(refused(constraint).1.contains("resources[0].name"));
    }

    #[test]
    fn a_text_that_cannot_be_parsed_is_unreadable() {
        for (name, text) in [("a.yaml", "resources: ["), ("a.json", "{"), ("a.yaml", " "), ("a.pb", "\u{1}")]
        {
            assert!(matches!(load(name, text), Err(ResponseError::Unreadable(_))), "{name}: {text}");
        }
        assert!(matches!(
            load_response(Path::new("/nonexistent"), CLUSTER),
            Err(ResponseError::Unreadable(_))
        ));
    }
}
