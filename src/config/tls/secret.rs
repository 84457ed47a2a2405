//! Secrets: those in the bootstrap, and those that are discovered (`envoy.extensions.transport_sockets.tls.v3.Secret`,
//! `SdsSecretConfig`), as far as they come from files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use prost::Name;

use super::certificate::TlsCertificate;
use super::tickets::TicketKeys;
use crate::api::constraints::check_constraints;
use crate::api::proto_json::{self, UnknownFields};
use crate::api::{ConfigError, MessageSupport, check_support, decode_any, json, pool, yaml};
use crate::config::{Context, DEFAULT_INITIAL_FETCH_TIMEOUT, ExternalData, FieldPath, SUPPORT};

/// What of a discovery response is read; the rest describes the exchange with a control plane.
const RESPONSE_SUPPORT: &[MessageSupport] = &[MessageSupport {
    message: "envoy.service.discovery.v3.DiscoveryResponse",
    honoured: &["resources"],
    no_effect: &["version_info", "type_url", "nonce", "control_plane", "canary"],
}];

/// A secret.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Name by which contexts refer to it.
    pub name: String,
    /// What it is.
    pub content: SecretContent,
    /// Directories whose change means that files which it refers to have changed.
    pub file_directories: Vec<String>,
}

/// What a secret is.
#[derive(Debug, Clone)]
pub enum SecretContent {
    /// A certificate with its key.
    TlsCertificate(Arc<TlsCertificate>),
    /// Rules for peers. Kept as configured: alone they may be incomplete, if a context combines them with its own.
    ValidationContext(Box<tls_proto::CertificateValidationContext>),
    /// Keys for session tickets.
    SessionTicketKeys(Arc<TicketKeys>),
    /// Something for a filter.
    Generic,
}

/// A secret that is found in a file (`SdsSecretConfig` with a path).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDiscovery {
    /// Name of the secret.
    pub name: String,
    /// The file that holds it.
    pub file: String,
    /// Directory whose change means that the file has changed; else the file itself is to be watched.
    pub watched_directory: Option<String>,
    /// How long whoever needs the secret waits for it; none waits for ever. Default 15 s.
    pub initial_fetch_timeout: Option<Duration>,
    /// Where it is configured.
    pub path: FieldPath,
}

/// Where a context's secret is.
pub(super) enum Reference {
    /// In the bootstrap.
    Static(Option<Arc<Secret>>),
    /// In a file, as far as it is there already.
    Discovered(SecretDiscovery, Option<Arc<Secret>>),
}

impl Secret {
    /// Converts a secret; none, with an error recorded, if it cannot be used.
    pub fn from_proto(
        proto: &tls_proto::Secret,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<Secret> {
        use tls_proto::secret::Type;
        let content = match &proto.r#type {
            Some(Type::TlsCertificate(certificate)) => {
                let path = path.field("tls_certificate");
                let mut certificate = TlsCertificate::from_proto(certificate, &path, context)?;
                certificate.stat_name.clone_from(&proto.name);
                SecretContent::TlsCertificate(Arc::new(certificate))
            }
            Some(Type::ValidationContext(rules)) => SecretContent::ValidationContext(Box::new(rules.clone())),
            Some(Type::SessionTicketKeys(keys)) => {
                let keys = TicketKeys::from_proto(keys, &path.field("session_ticket_keys"), context);
                SecretContent::SessionTicketKeys(Arc::new(keys))
            }
            Some(Type::GenericSecret(_)) => SecretContent::Generic,
            None => {
                context.error(path, "Secret type not implemented");
                return None;
            }
        };
        let file_directories = file_directories(proto);
        Some(Secret { name: proto.name.clone(), content, file_directories })
    }

    /// Converts the bootstrap's secrets and makes them known to `context`. Names may stand once for each kind.
    pub(in crate::config) fn register_all(
        protos: &[tls_proto::Secret],
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Vec<Arc<Secret>> {
        let mut secrets: Vec<Arc<Secret>> = Vec::new();
        for (i, proto) in protos.iter().enumerate() {
            let path = path.element("secrets", i);
            let Some(secret) = Secret::from_proto(proto, &path, context) else { continue };
            let is_same = |other: &Arc<Secret>| other.name == secret.name && other.kind() == secret.kind();
            if secrets.iter().any(is_same) {
                let message = format!("Duplicate static {} secret name {}", secret.kind(), secret.name);
                context.error(&path.field("name"), message);
            }
            secrets.push(Arc::new(secret));
        }
        context.set_secrets(secrets.clone());
        secrets
    }

    /// What it is, as Envoy calls it.
    fn kind(&self) -> &'static str {
        match self.content {
            SecretContent::TlsCertificate(_) => "TlsCertificate",
            SecretContent::ValidationContext(_) => "CertificateValidationContext",
            SecretContent::SessionTicketKeys(_) => "TlsSessionTicketKeys",
            SecretContent::Generic => "GenericSecret",
        }
    }
}

impl Reference {
    /// Follows an `SdsSecretConfig`; `kind` is what must be found. Records an error if it cannot be followed.
    pub(super) fn follow(
        proto: &tls_proto::SdsSecretConfig,
        kind: &str,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Reference {
        let Some(source) = &proto.sds_config else {
            let found =
                context.secrets().iter().find(|secret| secret.name == proto.name && secret.kind() == kind);
            let found = found.cloned();
            if found.is_none() {
                context.error(&path.field("name"), format!("Unknown static secret: {}", proto.name));
            }
            return Reference::Static(found);
        };
        let source_path = path.field("sds_config");
        let Some((file, watched_directory, file_path)) = file_of(source, &source_path, context) else {
            return Reference::Static(None);
        };
        let discovery = SecretDiscovery {
            name: proto.name.clone(),
            file,
            watched_directory,
            initial_fetch_timeout: context.timeout(
                &source.initial_fetch_timeout,
                Some(DEFAULT_INITIAL_FETCH_TIMEOUT),
                &source_path.field("initial_fetch_timeout"),
            ),
            path: path.clone(),
        };
        let text = match context.read(ExternalData::File(&discovery.file)) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned()),
            Err(error) => Err(format!("cannot read file '{}': {error}", discovery.file)),
        };
        let text = match text {
            Ok(text) => text,
            Err(message) => {
                context.error(&file_path, message);
                return Reference::Discovered(discovery, None);
            }
        };
        let secrets = parse_secrets(&discovery.file, &text, context).unwrap_or_else(|errors| {
            for error in errors {
                let place = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path) };
                context.error(&file_path, format!("in '{}': {place}{}", discovery.file, error.message));
            }
            Vec::new()
        });
        let found = secrets.into_iter().find(|secret| secret.name == discovery.name && secret.kind() == kind);
        Reference::Discovered(discovery, found.map(Arc::new))
    }

    /// The secret, as far as it is there.
    pub(super) fn secret(&self) -> Option<&Arc<Secret>> {
        match self {
            Reference::Static(secret) | Reference::Discovered(_, secret) => secret.as_ref(),
        }
    }
}

/// The directories whose change means that files which a secret refers to have changed: the one to be watched, or else
/// those of the files.
fn file_directories(proto: &tls_proto::Secret) -> Vec<String> {
    use core::data_source::Specifier;
    use tls_proto::secret::Type;
    let (sources, watched) = match &proto.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            let sources = vec![&certificate.certificate_chain, &certificate.private_key];
            (sources, &certificate.watched_directory)
        }
        Some(Type::ValidationContext(rules)) => (vec![&rules.trusted_ca], &rules.watched_directory),
        _ => return Vec::new(),
    };
    let files = sources.into_iter().flatten().filter_map(|source| match &source.specifier {
        Some(Specifier::Filename(name)) => Some(name.as_str()),
        _ => None,
    });
    let directories = files.map(|file| {
        let directory = watched.as_ref().map(|watched| watched.path.as_str());
        let own = || Path::new(file).parent().and_then(Path::to_str).filter(|parent| !parent.is_empty());
        directory.or_else(own).unwrap_or(".").to_owned()
    });
    let mut directories: Vec<String> = directories.collect();
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// Reads the text of a secrets file: a discovery response with resources of type `Secret`, in JSON if the file's name says
/// so, else in YAML. Files and variables that secrets refer to are read through `context`.
///
/// # Errors
/// All that is wrong with it; paths are those within the file.
pub fn parse_secrets(file: &str, text: &str, context: &Context<'_>) -> Result<Vec<Secret>, Vec<ConfigError>> {
    let failure = |message: String| vec![ConfigError::new("", message)];
    let desc = pool::message_of(&DiscoveryResponse::full_name())
        .ok_or_else(|| failure("the API's descriptors are damaged in this binary".into()))?;
    let root = if file.ends_with(".json") {
        json::parse(text, 0).map(Some)
    } else {
        yaml::parse(text, 0).map(|document| document.root)
    };
    let root = root.map_err(|error| failure(format!("line {}: {}", error.pos.line, error.message)))?;
    let root = root.ok_or_else(|| failure("there are no resources".into()))?;
    let outcome = proto_json::read(&desc, &root, UnknownFields::Refuse);
    if !outcome.errors.is_empty() {
        return Err(outcome
            .errors
            .into_iter()
            .map(|error| ConfigError::new(error.path, error.message))
            .collect());
    }
    let violations = check_constraints(&outcome.message);
    if !violations.is_empty() {
        return Err(violations);
    }
    let tables: Vec<_> = SUPPORT.iter().copied().chain([RESPONSE_SUPPORT]).collect();
    let refused = check_support(&outcome.message, &tables, &outcome.positions).refused;
    if !refused.is_empty() {
        return Err(refused.into_iter().map(|item| ConfigError::new(item.path, item.message)).collect());
    }
    let response: DiscoveryResponse =
        outcome.message.transcode_to().map_err(|error| failure(error.to_string()))?;
    let mut within = context.nested();
    let mut secrets = Vec::new();
    for (i, any) in response.resources.iter().enumerate() {
        let path = FieldPath::root().element("resources", i);
        match decode_any::<tls_proto::Secret>(any) {
            Ok(proto) => secrets.extend(Secret::from_proto(&proto, &path, &mut within)),
            Err(error) => within.error(&path, error.to_string()),
        }
    }
    within.finish(secrets)
}

/// The file that a source names, the directory to watch, and where that stands.
fn file_of(
    source: &core::ConfigSource,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<(String, Option<String>, FieldPath)> {
    use core::config_source::ConfigSourceSpecifier;
    match &source.config_source_specifier {
        Some(ConfigSourceSpecifier::Path(file)) => Some((file.clone(), None, path.field("path"))),
        Some(ConfigSourceSpecifier::PathConfigSource(file)) => {
            let directory = file.watched_directory.as_ref().map(|watched| watched.path.clone());
            Some((file.path.clone(), directory, path.field("path_config_source").field("path")))
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(_)) => {
            context.error(&path.field("api_config_source"), "secret discovery by API is not implemented yet");
            None
        }
        Some(ConfigSourceSpecifier::Ads(_)) => {
            context.error(&path.field("ads"), "secret discovery by ADS is not implemented yet");
            None
        }
        Some(ConfigSourceSpecifier::Self_(_)) => {
            context.error(&path.field("self"), "secret discovery by the same source is not implemented yet");
            None
        }
        None => {
            context.error(path, "a source of configuration is required");
            None
        }
    }
}
