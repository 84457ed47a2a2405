//! What TLS contexts of both sides have in common (`envoy.extensions.transport_sockets.tls.v3.CommonTlsContext`):
//! certificates, rules for the peer, parameters, application protocols.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;
use prost::Message;

use super::certificate::TlsCertificate;
use super::parameters;
use super::secret::{Reference, Secret, SecretContent, SecretDiscovery};
use super::validation::CertificateValidationContext;
use crate::config::{Context, FieldPath};
use crate::tls::{Parameters, TlsVersion};

/// Longest name of an application protocol (RFC 7301 3.1).
const MAX_PROTOCOL_BYTES: usize = 255;

/// What both sides have in common.
#[derive(Debug, Clone)]
pub struct CommonTlsContext {
    /// Versions, suites, curves, signatures.
    pub parameters: Parameters,
    /// Certificates to show, in order.
    pub certificates: Vec<CertificateSource>,
    /// Rules for the peer.
    pub validation: ValidationSource,
    /// Application protocols (ALPN) in order of preference.
    pub alpn_protocols: Vec<Vec<u8>>,
}

/// Where a certificate is from.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// It stands in the configuration.
    Given(Arc<TlsCertificate>),
    /// It is discovered; none until it was found.
    Discovered(SecretDiscovery, Option<Arc<TlsCertificate>>),
}

/// Where rules for the peer are from.
#[derive(Debug, Clone, Default)]
pub enum ValidationSource {
    /// There are none: nothing is checked.
    #[default]
    None,
    /// They stand in the configuration.
    Given(Arc<CertificateValidationContext>),
    /// They are discovered, and complete those that stand in the configuration.
    Discovered {
        /// Where they are found.
        discovery: SecretDiscovery,
        /// What they complete.
        defaults: Box<tls_proto::CertificateValidationContext>,
        /// Both together; none until they were found.
        current: Option<Arc<CertificateValidationContext>>,
    },
}

impl CommonTlsContext {
    pub(super) fn from_proto(
        proto: &tls_proto::CommonTlsContext,
        default_max: TlsVersion,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> CommonTlsContext {
        let params = proto.tls_params.clone().unwrap_or_default();
        CommonTlsContext {
            parameters: parameters::from_proto(&params, default_max, &path.field("tls_params"), context),
            certificates: certificates(proto, path, context),
            validation: ValidationSource::from_proto(proto, path, context),
            alpn_protocols: alpn_protocols(proto, path, context),
        }
    }

    /// Secrets that are to be watched.
    pub(super) fn discoveries(&self) -> impl Iterator<Item = &SecretDiscovery> {
        let certificates = self.certificates.iter().filter_map(|source| match source {
            CertificateSource::Discovered(discovery, _) => Some(discovery),
            CertificateSource::Given(_) => None,
        });
        let validation = match &self.validation {
            ValidationSource::Discovered { discovery, .. } => Some(discovery),
            ValidationSource::None | ValidationSource::Given(_) => None,
        };
        certificates.chain(validation)
    }

    /// Names and times of expiry (in seconds since the Unix epoch) of the certificates and of the first trusted one.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, u64)> {
        let certificates = self.certificates.iter().filter_map(|source| match source {
            CertificateSource::Given(found) | CertificateSource::Discovered(_, Some(found)) => {
                Some((found.stat_name.as_str(), found.identity.not_after()))
            }
            CertificateSource::Discovered(_, None) => None,
        });
        let trusted =
            self.validation.current().ok().flatten().and_then(|rules| {
                Some((rules.stat_name.as_str(), rules.rules.trust.as_ref()?.first_expiry()))
            });
        certificates.chain(trusted)
    }

    pub(super) fn apply(&mut self, file: &str, secrets: &[Secret], context: &mut Context<'_>) {
        for source in &mut self.certificates {
            if let CertificateSource::Discovered(discovery, current) = source
                && let Some(SecretContent::TlsCertificate(found)) = discovery.find(file, secrets)
            {
                *current = Some(Arc::clone(found));
            }
        }
        if let ValidationSource::Discovered { discovery, defaults, current } = &mut self.validation
            && let Some(SecretContent::ValidationContext(found)) = discovery.find(file, secrets)
        {
            *current = Some(Arc::new(combine(&discovery.name, defaults, found, &discovery.path, context)));
        }
    }
}

impl ValidationSource {
    fn from_proto(
        proto: &tls_proto::CommonTlsContext,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ValidationSource {
        use tls_proto::common_tls_context::ValidationContextType as Kind;
        match &proto.validation_context_type {
            None => ValidationSource::None,
            Some(Kind::ValidationContext(rules)) => {
                let path = path.field("validation_context");
                let rules = CertificateValidationContext::from_proto(rules, &path, context);
                ValidationSource::Given(Arc::new(rules))
            }
            Some(Kind::ValidationContextSdsSecretConfig(secret)) => ValidationSource::discovered(
                tls_proto::CertificateValidationContext::default(),
                secret,
                &path.field("validation_context_sds_secret_config"),
                context,
            ),
            Some(Kind::CombinedValidationContext(combined)) => ValidationSource::discovered(
                combined.default_validation_context.clone().unwrap_or_default(),
                &combined.validation_context_sds_secret_config.clone().unwrap_or_default(),
                &path.field("combined_validation_context").field("validation_context_sds_secret_config"),
                context,
            ),
            Some(
                Kind::ValidationContextCertificateProvider(_)
                | Kind::ValidationContextCertificateProviderInstance(_),
            ) => {
                context.error(path, "certificate providers are not implemented");
                ValidationSource::None
            }
        }
    }

    fn discovered(
        defaults: tls_proto::CertificateValidationContext,
        secret: &tls_proto::SdsSecretConfig,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ValidationSource {
        let reference = Reference::follow(secret, "CertificateValidationContext", path, context);
        let current = reference.secret().and_then(|secret| match &secret.content {
            SecretContent::ValidationContext(found) => {
                Some(Arc::new(combine(&secret.name, &defaults, found, path, context)))
            }
            _ => None,
        });
        match (reference, current) {
            (Reference::Discovered(discovery, _), current) => {
                ValidationSource::Discovered { discovery, defaults: Box::new(defaults), current }
            }
            (Reference::Static(_), Some(current)) => ValidationSource::Given(current),
            // The error was recorded.
            (Reference::Static(_), None) => ValidationSource::None,
        }
    }

    /// The rules in force; `Ok(None)` if there are none to be.
    ///
    /// # Errors
    /// If they were not found yet.
    pub(super) fn current(&self) -> Result<Option<&CertificateValidationContext>, &SecretDiscovery> {
        match self {
            ValidationSource::None => Ok(None),
            ValidationSource::Given(rules) => Ok(Some(rules)),
            ValidationSource::Discovered { discovery, current, .. } => {
                current.as_deref().map(Some).ok_or(discovery)
            }
        }
    }

    /// Whether there are trusted certificates, or they may still be found.
    pub(super) fn may_have_trust(&self) -> bool {
        self.current().map_or(true, |rules| rules.is_some_and(|rules| rules.rules.trust.is_some()))
    }
}

impl SecretDiscovery {
    /// The secret among those of `file`.
    pub(super) fn find<'a>(&self, file: &str, secrets: &'a [Secret]) -> Option<&'a SecretContent> {
        let found = secrets.iter().find(|secret| self.file == file && secret.name == self.name)?;
        Some(&found.content)
    }
}

/// Certificates that stand in the configuration, or those that are discovered; never both.
fn certificates(
    proto: &tls_proto::CommonTlsContext,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<CertificateSource> {
    let discovered = &proto.tls_certificate_sds_secret_configs;
    if !proto.tls_certificates.is_empty() && !discovered.is_empty() {
        context.error(
            &path.field("tls_certificate_sds_secret_configs"),
            "SDS and non-SDS TLS certificates may not be mixed in server contexts",
        );
    }
    let mut sources = Vec::new();
    for (i, certificate) in proto.tls_certificates.iter().enumerate() {
        // Envoy skips empty entries as well.
        if *certificate != tls_proto::TlsCertificate::default() {
            let certificate =
                TlsCertificate::from_proto(certificate, &path.element("tls_certificates", i), context);
            sources.extend(certificate.map(|certificate| CertificateSource::Given(Arc::new(certificate))));
        }
    }
    for (i, secret) in discovered.iter().enumerate() {
        let path = path.element("tls_certificate_sds_secret_configs", i);
        let reference = Reference::follow(secret, "TlsCertificate", &path, context);
        let current = reference.secret().and_then(|secret| match &secret.content {
            SecretContent::TlsCertificate(certificate) => Some(Arc::clone(certificate)),
            _ => None,
        });
        match (reference, current) {
            (Reference::Discovered(discovery, _), current) => {
                sources.push(CertificateSource::Discovered(discovery, current));
            }
            (Reference::Static(_), Some(certificate)) => sources.push(CertificateSource::Given(certificate)),
            // The error was recorded.
            (Reference::Static(_), None) => {}
        }
    }
    sources
}

/// As protobuf merges messages: what is set in `found` wins, lists are joined.
fn combine(
    name: &str,
    defaults: &tls_proto::CertificateValidationContext,
    found: &tls_proto::CertificateValidationContext,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> CertificateValidationContext {
    let mut combined = defaults.clone();
    if let Err(error) = combined.merge(&*found.encode_to_vec()) {
        context.error(path, error.to_string());
    }
    let mut rules = CertificateValidationContext::from_proto(&combined, path, context);
    name.clone_into(&mut rules.stat_name);
    rules
}

/// Envoy joins the list with commas and takes it apart again, so that `h2,http/1.1` is two protocols.
fn alpn_protocols(
    proto: &tls_proto::CommonTlsContext,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<Vec<u8>> {
    let mut protocols = Vec::new();
    for (i, names) in proto.alpn_protocols.iter().enumerate() {
        for name in names.split(',') {
            if name.is_empty() || name.len() > MAX_PROTOCOL_BYTES {
                let message = "Invalid ALPN protocol string: a name has 1 to 255 bytes";
                context.error(&path.element("alpn_protocols", i), message);
            }
            protocols.push(name.as_bytes().to_vec());
        }
    }
    protocols
}
