//! Everything that the sessions of one filter chain share (`DownstreamTlsContext`), ready for handshakes. Made once on
//! the control thread, immutable, shared by all workers.

use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::time_provider::TimeProvider;

use super::certificate::Certificate;
use super::client_hello::ClientHello;
use super::identity::Identity;
use super::selector::{CertificateSelector, OcspStaplePolicy};
use super::session_cache::SessionCache;
use super::signing::restricted;
use super::ticket::{DEFAULT_SESSION_TIMEOUT_S, TicketKey, Ticketer};
use super::verifier::{PeerRules, PeerVerifier};
use super::{LeafFacts, Parameters, TlsError, TlsVersion};

/// Tickets that a client of TLS 1.3 gets after a handshake. One is enough to resume; each costs 5 us of the 73 that a full
/// handshake takes the server (`benches/tls.rs`).
const TLS13_TICKETS: usize = 1;

/// Suites of TLS 1.2 that may be of equal preference.
const CHACHA20_SUITES: [u16; 2] = [0xcca8, 0xcca9];
const AES_128_SUITES: [u16; 2] = [0xc02b, 0xc02f];

/// What a server is told.
#[derive(Debug)]
pub struct ServerOptions {
    /// Certificates; the first one is the fallback. Must not be empty.
    pub identities: Vec<Identity>,
    /// Versions, suites, groups, signatures.
    pub parameters: Parameters,
    /// Application protocols in order of preference; a client that offers none of them is served without.
    pub application_protocols: Vec<Vec<u8>>,
    /// Rules for clients.
    pub peer: PeerRules,
    /// Whether sessions are resumed by tickets.
    pub stateless_resumption: bool,
    /// Whether sessions are kept here for clients of TLS 1.2 that take no tickets.
    pub stateful_resumption: bool,
    /// Keys for tickets, the first one seals; empty for random ones.
    pub ticket_keys: Vec<TicketKey>,
    /// How long a session may be resumed, in seconds; none is [`DEFAULT_SESSION_TIMEOUT_S`].
    pub session_timeout_s: Option<u32>,
    /// What is done about OCSP responses.
    pub ocsp_policy: OcspStaplePolicy,
    /// Look through all certificates if none has the name that a client asks for.
    pub full_scan: bool,
    /// The client's order of cipher suites decides.
    pub prefer_client_ciphers: bool,
    /// Server names that lead to this filter chain; sessions are only resumed under the same.
    pub server_names: Vec<String>,
}

/// Why a context cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// There is no certificate.
    #[error("No TLS certificates found for server context")]
    NoCertificates,
    /// A certificate with neither a subject name nor alternative names.
    #[error("Invalid TLS context has neither subject CN nor SAN names")]
    Nameless,
    /// A certificate promises an OCSP response and has none.
    #[error("OCSP response is required for must-staple certificate")]
    MustStaple,
    /// The policy asks for OCSP responses and a certificate has none.
    #[error("Required OCSP response is missing from TLS context")]
    NoStaple,
    /// rustls does not take the parameters.
    #[error("{0}")]
    Rustls(String),
}

/// What a filter chain's sessions share.
#[derive(Debug)]
pub struct ServerContext {
    /// By [`Variant`]'s bits; variants that are the same are one allocation.
    configs: [Arc<ServerConfig>; Variant::COUNT],
    application_protocols: Vec<Vec<u8>>,
    has_tls13: bool,
    prefer_client_ciphers: bool,
    has_client_rules: bool,
    verifier: Arc<PeerVerifier>,
    time: Arc<dyn TimeProvider>,
    first_expiry: u64,
    /// What the certificates say, in their order.
    local_certificates: Vec<Arc<LeafFacts>>,
}

/// What depends on the client's hello and has to be settled before rustls sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    /// Application protocols are negotiated. rustls would refuse a client that offers none of ours; Envoy serves it.
    alpn: bool,
    order: CipherOrder,
}

/// Whose order of cipher suites decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CipherOrder {
    /// The configured one.
    Server,
    /// The configured one, for a client that wants ChaCha20 rather than AES where they are equal: it has no
    /// instructions for AES.
    ServerChacha20First,
    /// The client's: always in TLS 1.3, where BoringSSL takes all suites for equal.
    Client,
}

impl Variant {
    const COUNT: usize = 6;

    fn all() -> [Variant; Variant::COUNT] {
        let orders = [CipherOrder::Server, CipherOrder::ServerChacha20First, CipherOrder::Client];
        std::array::from_fn(|index| Variant { alpn: index % 2 == 1, order: orders[index / 2] })
    }

    fn index(self) -> usize {
        self.order as usize * 2 + usize::from(self.alpn)
    }
}

impl ServerContext {
    /// Makes a context; `time` tells when certificates and tickets expire.
    ///
    /// # Errors
    /// If there is no usable certificate, or the parameters contradict each other.
    pub fn new(options: ServerOptions, time: Arc<dyn TimeProvider>) -> Result<ServerContext, ContextError> {
        check_identities(&options)?;
        let binding = binding(&options);
        let identities: Vec<Identity> = options
            .identities
            .into_iter()
            .map(|identity| restricted(identity, &options.parameters))
            .collect();
        let local_certificates = identities.iter().map(|identity| Arc::clone(&identity.leaf)).collect();
        let first_expiry = identities.iter().map(|identity| identity.not_after).min().unwrap_or(u64::MAX);
        let has_client_rules = options.peer.asks_clients();
        let algorithms = default_provider().signature_verification_algorithms;
        let verifier = PeerVerifier::new(options.peer, &options.parameters, algorithms);
        let selector = CertificateSelector::new(
            identities,
            options.full_scan,
            options.ocsp_policy,
            options.parameters.max_version == TlsVersion::Tls13,
            Arc::clone(&time),
        );
        let mut shared = Shared {
            verifier: has_client_rules.then(|| Arc::clone(&verifier)),
            selector: Arc::new(selector),
            ticketer: None,
            sessions: options.stateful_resumption.then(|| Arc::new(SessionCache::default())),
            time: Arc::clone(&time),
        };
        if options.stateless_resumption {
            let lifetime_s = options.session_timeout_s.unwrap_or(DEFAULT_SESSION_TIMEOUT_S);
            let ticketer = Ticketer::new(options.ticket_keys, lifetime_s, binding, Arc::clone(&time));
            shared.ticketer =
                Some(Arc::new(ticketer.map_err(|error| ContextError::Rustls(error.to_string()))?));
        }
        Ok(ServerContext {
            configs: shared.configs(&options.parameters, &options.application_protocols)?,
            application_protocols: options.application_protocols,
            has_tls13: options.parameters.max_version == TlsVersion::Tls13,
            prefer_client_ciphers: options.prefer_client_ciphers,
            has_client_rules,
            verifier,
            time,
            first_expiry,
            local_certificates,
        })
    }

    /// What the certificate at a place says.
    pub(super) fn local_certificate(&self, place: usize) -> Option<&Arc<LeafFacts>> {
        self.local_certificates.get(place)
    }

    /// When the first of the certificates expires, in seconds since the Unix epoch.
    pub fn first_expiry(&self) -> u64 {
        self.first_expiry
    }

    /// rustls' configuration for a client whose hello cannot be read.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.configs[Variant { alpn: true, order: CipherOrder::Server }.index()])
    }

    /// rustls' configuration for a client.
    pub(super) fn config_for(&self, hello: &ClientHello) -> Arc<ServerConfig> {
        let is_ours = |offered: &[u8]| self.application_protocols.iter().any(|protocol| protocol == offered);
        let first_of = |suites: &[u16]| hello.cipher_suites().position(|suite| suites.contains(&suite));
        let is_tls13 = self.has_tls13 && hello.offers_tls13();
        let order = match (first_of(&CHACHA20_SUITES), first_of(&AES_128_SUITES)) {
            _ if is_tls13 || self.prefer_client_ciphers => CipherOrder::Client,
            (Some(chacha20), Some(aes)) if chacha20 < aes => CipherOrder::ServerChacha20First,
            _ => CipherOrder::Server,
        };
        Arc::clone(&self.configs[Variant { alpn: hello.alpn_protocols().any(is_ours), order }.index()])
    }

    /// Whether sessions take over from rustls after the handshake.
    pub(super) fn extracts_secrets(&self) -> bool {
        self.configs[0].enable_secret_extraction
    }

    /// Applies the rules to the certificates of a client that resumes a session.
    pub(super) fn check_resumed(&self, chain: &[CertificateDer<'static>]) -> Result<(), TlsError> {
        match chain.split_first() {
            Some((leaf, intermediates)) if self.has_client_rules => {
                let now = self.time.current_time().ok_or(TlsError::Internal)?;
                Ok(self.verifier.check(leaf, intermediates, None, now)?)
            }
            _ => Ok(()),
        }
    }

    /// Leaves records to rustls after the handshake as well: for comparing.
    #[doc(hidden)]
    pub fn without_own_records(mut self) -> ServerContext {
        for config in &mut self.configs {
            let mut own = (**config).clone();
            own.enable_secret_extraction = false;
            *config = Arc::new(own);
        }
        self
    }

    /// rustls' configuration itself: for comparing.
    #[doc(hidden)]
    pub fn rustls_config(&self) -> Arc<ServerConfig> {
        self.config()
    }
}

/// What all variants of a configuration share.
struct Shared {
    /// None: clients are not asked for certificates.
    verifier: Option<Arc<PeerVerifier>>,
    selector: Arc<CertificateSelector>,
    ticketer: Option<Arc<Ticketer>>,
    sessions: Option<Arc<SessionCache>>,
    time: Arc<dyn TimeProvider>,
}

impl Shared {
    fn configs(
        &self,
        parameters: &Parameters,
        application_protocols: &[Vec<u8>],
    ) -> Result<[Arc<ServerConfig>; Variant::COUNT], ContextError> {
        let server_order = self.config(provider(parameters, false), parameters)?;
        let chacha20_first = self.config(provider(parameters, true), parameters)?;
        let mut client_order = server_order.clone();
        client_order.ignore_client_order = false;
        let orders = [server_order, chacha20_first, client_order].map(Arc::new);
        Ok(Variant::all().map(|variant| {
            let config = &orders[variant.order as usize];
            if !variant.alpn || application_protocols.is_empty() {
                return Arc::clone(config);
            }
            let mut own = (**config).clone();
            own.alpn_protocols = application_protocols.to_vec();
            Arc::new(own)
        }))
    }

    fn config(
        &self,
        provider: Arc<CryptoProvider>,
        parameters: &Parameters,
    ) -> Result<ServerConfig, ContextError> {
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(parameters.versions())
            .map_err(|error| ContextError::Rustls(error.to_string()))?;
        let builder = match &self.verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.selector) as _);
        config.ignore_client_order = true;
        config.time_provider = Arc::clone(&self.time);
        config.enable_secret_extraction = true;
        config.session_storage = match &self.sessions {
            Some(sessions) => Arc::clone(sessions) as _,
            None => Arc::new(NoServerSessionStorage {}),
        };
        // Without tickets rustls would keep sessions of TLS 1.3 as well; BoringSSL resumes them by ticket only.
        config.send_tls13_tickets = 0;
        if let Some(ticketer) = &self.ticketer {
            config.ticketer = Arc::clone(ticketer) as _;
            config.send_tls13_tickets = TLS13_TICKETS;
        }
        Ok(config)
    }
}

/// rustls' algorithms, as far as the parameters name them.
pub(super) fn provider(parameters: &Parameters, chacha20_first: bool) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: parameters.all_cipher_suites(chacha20_first),
        kx_groups: parameters.groups.clone(),
        ..default_provider()
    })
}

fn check_identities(options: &ServerOptions) -> Result<(), ContextError> {
    if options.identities.is_empty() {
        return Err(ContextError::NoCertificates);
    }
    for identity in &options.identities {
        let leaf = identity.chain().first().and_then(|der| Certificate::parse(der).ok());
        if leaf.is_none_or(|leaf| leaf.common_name().is_none() && leaf.subject_alt_names().next().is_none()) {
            return Err(ContextError::Nameless);
        }
        if identity.is_must_staple && identity.stapled.is_none() {
            return Err(ContextError::MustStaple);
        }
        if options.ocsp_policy == OcspStaplePolicy::MustStaple && identity.stapled.is_none() {
            return Err(ContextError::NoStaple);
        }
    }
    Ok(())
}

/// What tickets are bound to: whom the server claims to be, and whom it lets in. Servers that share keys and agree
/// in these may resume each other's sessions, also with different certificates for the same names.
fn binding(options: &ServerOptions) -> [u8; 32] {
    let mut digest = Digest::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    for identity in &options.identities {
        if let Some(leaf) = identity.chain().first().and_then(|der| Certificate::parse(der).ok()) {
            add(leaf.common_name().unwrap_or_default().as_bytes());
            leaf.subject_alt_names().for_each(|name| add(name.text().as_bytes()));
            add(leaf.issuer);
        }
    }
    options.server_names.iter().for_each(|name| add(name.as_bytes()));
    options.peer.fingerprint(&mut add);
    let digest = digest.finish();
    let mut binding = [0; 32];
    binding.copy_from_slice(digest.as_ref());
    binding
}
