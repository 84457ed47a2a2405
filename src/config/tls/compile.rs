//! From a context of the configuration to what sessions need: the one place that knows both.

use std::sync::Arc;

use super::common::{CertificateSource, CommonTlsContext};
use super::downstream::DownstreamTlsContext;
use super::secret::SecretDiscovery;
use super::tickets::Tickets;
use super::upstream::UpstreamTlsContext;
use crate::api::ConfigError;
use crate::config::FieldPath;
use crate::tls::{
    ClientContext, ClientOptions, ContextError, Identity, PeerRules, ServerContext, ServerOptions,
    TimeProvider,
};

/// Why a context cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A secret was not found yet. Until it is, no handshake can succeed.
    #[error("the secret '{}' was not found yet", .0.name)]
    NotReady(SecretDiscovery),
    /// The context contradicts itself.
    #[error("{error}")]
    Invalid {
        /// Where it stands.
        path: FieldPath,
        /// What is wrong.
        error: ContextError,
    },
}

impl CompileError {
    /// The error with its field path; none if the context is only not ready yet.
    pub fn into_config_error(self) -> Option<ConfigError> {
        match self {
            CompileError::NotReady(_) => None,
            CompileError::Invalid { path, error } => Some(ConfigError::new(path.as_str(), error.to_string())),
        }
    }
}

impl DownstreamTlsContext {
    /// Makes what the sessions of a filter chain need, which is chosen by `server_names`. `time` tells when certificates and
    /// tickets expire.
    ///
    /// # Errors
    /// If a secret is missing yet, or the context contradicts itself.
    pub fn compile(
        &self,
        server_names: &[String],
        time: Arc<dyn TimeProvider>,
    ) -> Result<ServerContext, CompileError> {
        let mut peer = self.common.peer_rules()?;
        peer.require_certificate = self.require_client_certificate;
        let ticket_keys = match &self.tickets {
            Tickets::Disabled | Tickets::RandomKeys => Vec::new(),
            Tickets::Keys(keys) | Tickets::Discovered(_, Some(keys)) => keys.keys.clone(),
            Tickets::Discovered(discovery, None) => return Err(CompileError::NotReady(discovery.clone())),
        };
        // BoringSSL takes zero for its default as well.
        let timeout =
            self.session_timeout.map(|timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX));
        let options = ServerOptions {
            identities: self.common.identities()?,
            parameters: self.common.parameters.clone(),
            application_protocols: self.common.alpn_protocols.clone(),
            peer,
            stateless_resumption: !matches!(self.tickets, Tickets::Disabled),
            stateful_resumption: !self.disable_stateful_session_resumption,
            ticket_keys,
            session_timeout_s: timeout.filter(|seconds| *seconds > 0),
            ocsp_policy: self.ocsp_staple_policy,
            full_scan: self.full_scan_certs_on_sni_mismatch,
            prefer_client_ciphers: self.prefer_client_ciphers,
            server_names: server_names.to_vec(),
        };
        ServerContext::new(options, time)
            .map_err(|error| CompileError::Invalid { path: self.path.field("common_tls_context"), error })
    }
}

impl UpstreamTlsContext {
    /// Makes what the sessions to a cluster need. `time` tells when certificates expire.
    ///
    /// # Errors
    /// If a secret is missing yet, or the context contradicts itself.
    pub fn compile(&self, time: Arc<dyn TimeProvider>) -> Result<ClientContext, CompileError> {
        let mut peer = self.common.peer_rules()?;
        peer.match_server_name = self.auto_sni_san_validation;
        peer.enforce_rsa_key_usage = self.enforce_rsa_key_usage;
        let options = ClientOptions {
            identity: self.common.identities()?.into_iter().next(),
            parameters: self.common.parameters.clone(),
            application_protocols: self.common.alpn_protocols.clone(),
            peer,
            max_session_keys: self.max_session_keys,
        };
        ClientContext::new(options, time)
            .map_err(|error| CompileError::Invalid { path: self.path.field("common_tls_context"), error })
    }
}

impl CommonTlsContext {
    fn identities(&self) -> Result<Vec<Identity>, CompileError> {
        let certificates = self.certificates.iter().map(|source| match source {
            CertificateSource::Given(certificate) | CertificateSource::Discovered(_, Some(certificate)) => {
                Ok(certificate.identity.clone())
            }
            CertificateSource::Discovered(discovery, None) => Err(CompileError::NotReady(discovery.clone())),
        });
        certificates.collect()
    }

    fn peer_rules(&self) -> Result<PeerRules, CompileError> {
        match self.validation.current() {
            Ok(rules) => Ok(rules.map(|rules| rules.rules.clone()).unwrap_or_default()),
            Err(discovery) => Err(CompileError::NotReady(discovery.clone())),
        }
    }
}
