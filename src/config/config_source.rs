//! Where dynamic configuration comes from (`envoy.config.core.v3.ConfigSource`). Only files so far; nothing
//! is read or watched here.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;

use super::context::ExternalData;
use super::{Context, FieldPath};

/// Default of `initial_fetch_timeout`.
pub const DEFAULT_INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// A source of dynamic configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSource {
    /// What it is.
    pub specifier: ConfigSourceSpecifier,
    /// How long whoever needs the configuration waits for the first of it; none waits for ever. Default 15 s.
    pub initial_fetch_timeout: Option<Duration>,
    /// Where the source stands.
    pub path: FieldPath,
}

/// Kinds of sources.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ConfigSourceSpecifier {
    /// A file.
    File(FileSource),
}

/// A file that is read anew when another one is moved into its place (`PathConfigSource`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileSource {
    /// The file.
    pub path: String,
    /// Read anew whenever anything is moved into this directory, instead.
    pub watched_directory: Option<String>,
}

impl ConfigSource {
    /// Converts a source. What it names must exist.
    pub fn from_proto(
        proto: &core::ConfigSource,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ConfigSource {
        let version: core::ApiVersion =
            context.enum_value(proto.resource_api_version, &path.field("resource_api_version"));
        if version == core::ApiVersion::V2 {
            context.error_with_help(
                &path.field("resource_api_version"),
                "V2 (AUTO is the default) is no longer supported, neither here nor in Envoy",
                "set it to V3",
            );
        }
        ConfigSource {
            specifier: ConfigSourceSpecifier::File(file(proto, path, context)),
            initial_fetch_timeout: context.timeout(
                &proto.initial_fetch_timeout,
                Some(DEFAULT_INITIAL_FETCH_TIMEOUT),
                &path.field("initial_fetch_timeout"),
            ),
            path: path.clone(),
        }
    }

    /// The file.
    pub fn file(&self) -> &FileSource {
        let ConfigSourceSpecifier::File(file) = &self.specifier;
        file
    }
}

fn file(proto: &core::ConfigSource, path: &FieldPath, context: &mut Context<'_>) -> FileSource {
    use core::config_source::ConfigSourceSpecifier as Specifier;
    let (field, message) = match &proto.config_source_specifier {
        Some(Specifier::Path(file)) => {
            return FileSource::new(file, &None, &path.field("path"), context);
        }
        Some(Specifier::PathConfigSource(source)) => {
            let path = path.field("path_config_source");
            return FileSource::new(&source.path, &source.watched_directory, &path.field("path"), context);
        }
        Some(Specifier::ApiConfigSource(_)) => {
            (path.field("api_config_source"), "api_config_source is not implemented yet: only files are")
        }
        Some(Specifier::Ads(_)) => (path.field("ads"), "ads is not implemented yet: only files are"),
        Some(Specifier::Self_(_)) => (path.field("self"), "self is not implemented yet: only files are"),
        None => (path.clone(), "one of path_config_source, path is required"),
    };
    context.error(&field, message);
    FileSource { path: String::new(), watched_directory: None }
}

impl FileSource {
    /// The file that the field at `path` names, watched by itself or by a directory.
    fn new(
        file: &str,
        watched_directory: &Option<core::WatchedDirectory>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> FileSource {
        let mut check = |what: &str, path: &FieldPath| {
            if let Err(error) = context.read(ExternalData::Existence(what)) {
                context.error(path, format!("'{what}' must exist before it can be watched: {error}"));
            }
        };
        check(file, path);
        if let Some(directory) = watched_directory {
            check(&directory.path, path);
        }
        FileSource {
            path: file.to_owned(),
            watched_directory: watched_directory.as_ref().map(|directory| directory.path.clone()),
        }
    }
}
