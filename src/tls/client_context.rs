//! Everything that the sessions to one cluster share (`UpstreamTlsContext`), ready for handshakes. Made once on the
//! control thread, immutable, shared by all workers.

use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption, Tls12Resumption};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::time_provider::TimeProvider;

use super::identity::Identity;
use super::server_context::{ContextError, provider};
use super::signing::restricted;
use super::verifier::{PeerRules, PeerVerifier};
use super::{LeafFacts, Parameters, TlsError};

/// What a client is told.
#[derive(Debug)]
pub struct ClientOptions {
    /// The certificate to show to servers that ask for one.
    pub identity: Option<Identity>,
    /// Versions, suites, groups, signatures.
    pub parameters: Parameters,
    /// Application protocols to offer, in order of preference.
    pub application_protocols: Vec<Vec<u8>>,
    /// Rules for servers; none accepts every certificate, as Envoy does.
    pub peer: PeerRules,
    /// Server names whose sessions are kept for resumption; 0 resumes nothing.
    pub max_session_keys: u32,
}

/// What the sessions to one cluster share.
#[derive(Debug, Clone)]
pub struct ClientContext {
    config: Arc<ClientConfig>,
    verifier: Arc<PeerVerifier>,
    time: Arc<dyn TimeProvider>,
    first_expiry: Option<u64>,
    local_certificate: Option<Arc<LeafFacts>>,
    expected_name: Option<Arc<str>>,
}

impl ClientContext {
    /// Makes a context; `time` tells when certificates expire.
    ///
    /// # Errors
    /// If rustls does not take the parameters.
    pub fn new(options: ClientOptions, time: Arc<dyn TimeProvider>) -> Result<ClientContext, ContextError> {
        let algorithms = default_provider().signature_verification_algorithms;
        let verifier = PeerVerifier::new(options.peer, &options.parameters, algorithms);
        let first_expiry = options.identity.as_ref().map(Identity::not_after);
        let local_certificate = options.identity.as_ref().map(|identity| Arc::clone(&identity.leaf));
        let builder = ClientConfig::builder_with_provider(provider(&options.parameters, false))
            .with_protocol_versions(options.parameters.versions())
            .map_err(|error| ContextError::Rustls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
        let mut config = match options.identity {
            Some(identity) => {
                let identity = restricted(identity, &options.parameters);
                builder
                    .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.key)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = options.application_protocols;
        config.time_provider = Arc::clone(&time);
        config.enable_secret_extraction = true;
        config.resumption = match options.max_session_keys {
            0 => Resumption::disabled(),
            count => Resumption::in_memory_sessions(count as usize)
                .tls12_resumption(Tls12Resumption::SessionIdOrTickets),
        };
        let config = Arc::new(config);
        Ok(ClientContext { config, verifier, time, first_expiry, local_certificate, expected_name: None })
    }

    /// The same, offering these application protocols. Sessions are shared.
    pub fn offering(&self, application_protocols: &[&[u8]]) -> ClientContext {
        let mut config = (*self.config).clone();
        config.alpn_protocols = application_protocols.iter().map(|protocol| protocol.to_vec()).collect();
        ClientContext { config: Arc::new(config), ..self.clone() }
    }

    /// The same, for servers whose certificate has this name besides all that the rules ask for. It is worth nothing
    /// without trust: servers are accepted only where there is some. Sessions are shared, and what is resumed is checked.
    pub fn expecting(&self, name: Arc<str>) -> ClientContext {
        ClientContext { expected_name: Some(name), ..self.clone() }
    }

    /// See [`ClientContext::expecting`].
    pub(super) fn expected_name(&self) -> Option<&Arc<str>> {
        self.expected_name.as_ref()
    }

    /// What the certificate says that is shown to servers which ask for one.
    pub(super) fn local_certificate(&self) -> Option<&Arc<LeafFacts>> {
        self.local_certificate.as_ref()
    }

    /// When the certificate that is shown to servers expires, in seconds since the Unix epoch.
    pub fn first_expiry(&self) -> Option<u64> {
        self.first_expiry
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Whether sessions take over from rustls after the handshake.
    pub(super) fn extracts_secrets(&self) -> bool {
        self.config.enable_secret_extraction
    }

    /// Applies the rules to the certificates of a server whose session was resumed.
    pub(super) fn check_resumed(
        &self,
        chain: &[CertificateDer<'static>],
        server_name: &ServerName<'_>,
    ) -> Result<(), TlsError> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(()) };
        let now = self.time.current_time().ok_or(TlsError::Internal)?;
        Ok(self.verifier.check(leaf, intermediates, Some(server_name), now)?)
    }

    /// Leaves records to rustls after the handshake as well: for comparing.
    #[doc(hidden)]
    pub fn without_own_records(mut self) -> ClientContext {
        let mut own = (*self.config).clone();
        own.enable_secret_extraction = false;
        self.config = Arc::new(own);
        self
    }

    /// rustls' configuration itself: for comparing.
    #[doc(hidden)]
    pub fn rustls_config(&self) -> Arc<ClientConfig> {
        self.config()
    }
}
