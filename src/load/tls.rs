//! TLS of a run: what connections to the target begin with, and the bundled origin's side of it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::io::Socket;
use crate::stats::Registry;
use crate::stats::groups::TlsStatsSet;
use crate::tls::{
    ClientContext, ClientOptions, DefaultTimeProvider, Identity, OcspStaplePolicy, Parameters, PeerRules,
    ServerContext, ServerName, ServerOptions, TlsVersion, TrustStore,
};
use crate::transport::Stream;

use super::plan::HttpVersion;

/// Sessions of one server are kept for resumption: rustls counts servers.
const SERVERS_REMEMBERED: u32 = 1;

/// TLS to the target. Plain data; see [`TlsPlan::check`].
#[derive(Debug, Clone)]
pub struct TlsPlan {
    /// Asked for (SNI) and looked for in the certificate; an address is not sent, and not looked for.
    pub server_name: String,
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// Shown to a target that asks for a certificate.
    pub identity: Option<PemIdentity>,
    /// Sessions are resumed where the target allows it; else every handshake is a full one.
    pub resumes: bool,
    /// Oldest and newest version.
    pub versions: (TlsVersion, TlsVersion),
}

/// Whose certificates are accepted.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Anybody's.
    Anybody,
    /// Those that these authorities have issued for the server's name.
    Authorities(
        /// In PEM.
        Vec<u8>,
    ),
    /// The same with a system's bundle, of which what cannot be read is left out.
    Bundle(
        /// In PEM.
        Vec<u8>,
    ),
}

/// A certificate with its chain, and its key, in PEM.
#[derive(Debug, Clone)]
pub struct PemIdentity {
    /// The certificate first.
    pub chain: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

/// Begins TLS on connections to the target.
pub(super) struct TlsConnector {
    context: ClientContext,
    name: ServerName<'static>,
    stats: Uncounted,
}

/// Begins TLS on accepted connections.
pub(super) struct TlsAcceptor {
    context: Arc<ServerContext>,
    stats: Uncounted,
}

/// Streams want to count somewhere; nobody reads this.
struct Uncounted {
    set: Arc<TlsStatsSet>,
    /// Where the cells are.
    _registry: Registry,
}

impl TlsPlan {
    /// Whether it can be carried out.
    ///
    /// # Errors
    /// A sentence about what is wrong with the certificates, the key or the name.
    pub fn check(&self) -> Result<(), String> {
        self.connector(HttpVersion::Http1).map(drop)
    }

    /// For connections that will speak `protocol`. Each worker has its own, so that none waits for another's sessions.
    pub(super) fn connector(&self, protocol: HttpVersion) -> Result<TlsConnector, String> {
        let trust = match &self.trust {
            Trust::Anybody => None,
            Trust::Authorities(pem) => Some(TrustStore::from_pem(pem)),
            Trust::Bundle(pem) => Some(TrustStore::from_system_bundle(pem)),
        };
        let trust = trust.transpose().map_err(|error| format!("trusted certificates: {error}"))?;
        let match_server_name = trust.is_some();
        let peer = PeerRules { trust: trust.map(Arc::new), match_server_name, ..PeerRules::default() };
        let options = ClientOptions {
            identity: self.identity.as_ref().map(PemIdentity::read).transpose()?,
            parameters: Parameters::new(self.versions.0, self.versions.1),
            application_protocols: vec![protocol.alpn().to_vec()],
            peer,
            max_session_keys: if self.resumes { SERVERS_REMEMBERED } else { 0 },
        };
        let context = ClientContext::new(options, Arc::new(DefaultTimeProvider));
        let name = match self.server_name.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(self.server_name.clone())
                .map_err(|_| format!("{:?} is no name of a server", self.server_name))?,
        };
        Ok(TlsConnector {
            context: context.map_err(|error| error.to_string())?,
            name,
            stats: Uncounted::new(),
        })
    }
}

impl PemIdentity {
    fn read(&self) -> Result<Identity, String> {
        Identity::from_pem(&self.chain, &self.key, None).map_err(|error| format!("certificate: {error}"))
    }

    /// For a server that speaks HTTP/2 or HTTP/1.1, as clients choose.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let options = ServerOptions {
            identities: vec![self.read()?],
            parameters: Parameters::new(TlsVersion::Tls12, TlsVersion::Tls13),
            application_protocols: [HttpVersion::Http2, HttpVersion::Http1].map(|p| p.alpn().to_vec()).into(),
            peer: PeerRules::default(),
            stateless_resumption: true,
            stateful_resumption: true,
            ticket_keys: Vec::new(),
            session_timeout_s: None,
            ocsp_policy: OcspStaplePolicy::default(),
            full_scan: false,
            prefer_client_ciphers: false,
            server_names: Vec::new(),
        };
        let context = ServerContext::new(options, Arc::new(DefaultTimeProvider));
        Ok(TlsAcceptor {
            context: Arc::new(context.map_err(|error| error.to_string())?),
            stats: Uncounted::new(),
        })
    }
}

impl TlsConnector {
    pub(super) fn connect(&self, socket: Socket) -> Stream {
        Stream::tls_client(socket, &self.context, self.name.clone(), Arc::clone(&self.stats.set))
    }
}

impl TlsAcceptor {
    pub(super) fn accept(&self, socket: Socket) -> Stream {
        Stream::tls_server(socket, &self.context, Arc::clone(&self.stats.set))
    }
}

impl Uncounted {
    fn new() -> Uncounted {
        let registry = Registry::new();
        Uncounted { set: Arc::new(TlsStatsSet::register(&registry, "ssl.")), _registry: registry }
    }
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConnector")
    }
}
