//! What the tests of this module share: authorities and certificates made on the spot, fixed times, sessions of ours
//! and of plain rustls that talk to each other in memory.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConnection};

use super::*;
use crate::buf::Chunk;

pub const RSA_PKCS1_KEY: &str = include_str!("testing/rsa-pkcs1.key");
pub const RSA_PKCS8_KEY: &str = include_str!("testing/rsa-pkcs8.key");
pub const RSA_CERTIFICATE: &str = include_str!("testing/rsa.pem");
pub const RSA_1024_CERTIFICATE: &str = include_str!("testing/rsa-1024.pem");
/// The key stands behind its curve's parameters, as `openssl ecparam -genkey` writes it.
pub const SEC1_KEY: &str = include_str!("testing/sec1.key");
pub const SEC1_CERTIFICATE: &str = include_str!("testing/sec1.pem");
/// A certificate of version 1 for [`SEC1_KEY`], issued by [`V1_CA`].
pub const V1_CERTIFICATE: &str = include_str!("testing/v1.pem");
pub const V1_CA: &str = include_str!("testing/v1-ca.pem");

/// A moment within the validity of everything that is made here: 2027.
pub const NOW: u64 = 1_800_000_000;

/// A clock that stands still.
#[derive(Debug)]
pub struct FixedTime(AtomicU64);

impl FixedTime {
    pub fn at(seconds: u64) -> Arc<FixedTime> {
        Arc::new(FixedTime(AtomicU64::new(seconds)))
    }

    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

/// A certificate authority.
pub struct Ca {
    pub params: CertificateParams,
    pub key: KeyPair,
    pub pem: String,
}

impl Ca {
    /// One that signed itself.
    pub fn new(name: &str) -> Ca {
        let key = KeyPair::generate().expect("a key");
        let params = ca_params(name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Ca { params, key, pem }
    }

    /// One below this one.
    pub fn intermediate(&self, name: &str) -> Ca {
        let key = KeyPair::generate().expect("a key");
        let params = ca_params(name);
        let pem = params.signed_by(&key, &self.issuer()).expect("a certificate").pem();
        Ca { params, key, pem }
    }

    pub fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// Certificate and key for these names.
    pub fn leaf_pem(&self, names: &[&str]) -> (String, String) {
        self.leaf_with(names, |_| {})
    }

    /// Certificate and key for these names, after a change of the parameters.
    pub fn leaf_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        self.leaf_with_key(names, &rcgen::PKCS_ECDSA_P256_SHA256, change)
    }

    /// Certificate and key of this kind.
    pub fn leaf_with_key(
        &self,
        names: &[&str],
        algorithm: &'static rcgen::SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "leaf");
        change(&mut params);
        (params.signed_by(&key, &self.issuer()).expect("a certificate").pem(), key.serialize_pem())
    }

    /// Certificate and key for these names as an identity.
    pub fn identity(&self, names: &[&str]) -> Identity {
        let (chain, key) = self.leaf_pem(names);
        identity(&chain, &key)
    }

    /// A store with this authority.
    pub fn trust_store(&self) -> TrustStore {
        TrustStore::from_pem(self.pem.as_bytes()).expect("an authority")
    }

    /// Trust in this authority.
    pub fn trust(&self) -> Option<Arc<TrustStore>> {
        Some(Arc::new(self.trust_store()))
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

pub fn identity(chain: &str, key: &str) -> Identity {
    Identity::from_pem(chain.as_bytes(), key.as_bytes(), None).expect("an identity")
}

/// Options of a server with one certificate, for `server.example`.
pub fn server_options(ca: &Ca) -> ServerOptions {
    ServerOptions {
        identities: vec![ca.identity(&["server.example"])],
        parameters: Parameters::new(TlsVersion::Tls12, TlsVersion::Tls13),
        application_protocols: Vec::new(),
        peer: PeerRules::default(),
        stateless_resumption: true,
        stateful_resumption: true,
        ticket_keys: Vec::new(),
        session_timeout_s: None,
        ocsp_policy: OcspStaplePolicy::Lenient,
        full_scan: false,
        prefer_client_ciphers: false,
        server_names: Vec::new(),
    }
}

/// Options of a client that accepts everything.
pub fn client_options() -> ClientOptions {
    ClientOptions {
        identity: None,
        parameters: Parameters::new(TlsVersion::Tls12, TlsVersion::Tls13),
        application_protocols: Vec::new(),
        peer: PeerRules::default(),
        max_session_keys: 0,
    }
}

pub fn server_context(options: ServerOptions) -> Arc<ServerContext> {
    Arc::new(ServerContext::new(options, FixedTime::at(NOW)).expect("a context"))
}

pub fn client_context(options: ClientOptions) -> Arc<ClientContext> {
    Arc::new(ClientContext::new(options, FixedTime::at(NOW)).expect("a context"))
}

/// One error for each statistic.
pub fn one_error_of_each_kind() -> [TlsError; 5] {
    [
        TlsError::Protocol(rustls::Error::NoCertificatesPresented),
        TlsError::Protocol(rustls::CertificateError::Expired.into()),
        TlsError::Protocol(PeerRejection::SubjectAltName.into()),
        TlsError::Protocol(PeerRejection::Hash.into()),
        TlsError::Decrypt,
    ]
}

/// The first bytes that a client sends.
pub fn first_flight(name: &str, protocols: &[&str]) -> Vec<u8> {
    let application_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let context = client_context(ClientOptions { application_protocols, ..client_options() });
    let mut bytes = Vec::new();
    let name = name.to_owned().try_into().expect("a name");
    Session::client(&context, name, &mut bytes).expect("a session");
    bytes
}

/// What a server knows of a client that has no certificate, or one with this DNS name.
pub fn facts_of_client(name: Option<&str>) -> std::rc::Rc<HandshakeFacts> {
    let ca = Ca::new("authority");
    let peer = PeerRules { trust: ca.trust(), ..PeerRules::default() };
    let server = server_context(ServerOptions { peer, ..server_options(&ca) });
    let identity = name.map(|name| ca.identity(&[name]));
    let client = client_context(ClientOptions { identity, ..client_options() });
    let pair = Pair::new(&client, &server).open();
    std::rc::Rc::clone(pair.server.facts().expect("facts"))
}

/// Both ends of a connection in memory.
pub struct Pair {
    pub client: Session,
    pub server: Session,
    /// Bytes on their way.
    pub to_server: Vec<u8>,
    pub to_client: Vec<u8>,
}

impl Pair {
    pub fn new(client: &Arc<ClientContext>, server: &Arc<ServerContext>) -> Pair {
        Pair::to(client, server, "server.example")
    }

    pub fn to(client: &Arc<ClientContext>, server: &Arc<ServerContext>, name: &str) -> Pair {
        let mut to_server = Vec::new();
        let name = name.to_owned().try_into().expect("a name");
        let client = Session::client(client, name, &mut to_server).expect("a client");
        Pair { client, server: Session::server(server), to_server, to_client: Vec::new() }
    }

    /// Carries bytes to and fro until nothing moves.
    pub fn run(&mut self) -> Result<(), TlsError> {
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            let bytes = std::mem::take(&mut self.to_server);
            let at_server = receive(&mut self.server, &bytes, &mut self.to_client);
            let bytes = std::mem::take(&mut self.to_client);
            let at_client = receive(&mut self.client, &bytes, &mut self.to_server);
            at_server.and(at_client)?;
        }
        Ok(())
    }

    /// Completes the handshake.
    #[track_caller]
    pub fn open(mut self) -> Pair {
        self.run().expect("a handshake");
        assert!(self.client.is_open() && self.server.is_open());
        self
    }

    /// Carries bytes to and fro as long as anything moves, also after errors; the first error of the client, and of the
    /// server.
    pub fn settle(&mut self) -> (Option<TlsError>, Option<TlsError>) {
        let (mut at_client, mut at_server) = (None, None);
        for _ in 0..10 {
            let bytes = std::mem::take(&mut self.to_server);
            if let Err(error) = receive(&mut self.server, &bytes, &mut self.to_client) {
                at_server.get_or_insert(error);
            }
            let bytes = std::mem::take(&mut self.to_client);
            if let Err(error) = receive(&mut self.client, &bytes, &mut self.to_server) {
                at_client.get_or_insert(error);
            }
        }
        (at_client, at_server)
    }
}

/// Feeds `bytes` to a session in chunks as the driver makes them.
pub fn receive(session: &mut Session, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
    for piece in bytes.chunks(16_384) {
        session.receive(Chunk::copy_from(piece), out)?;
    }
    Ok(())
}

/// Everything that a session has to read.
pub fn read_all(session: &mut Session) -> Vec<u8> {
    std::iter::from_fn(|| session.read()).flat_map(|chunk| chunk.to_vec()).collect()
}

/// A plain rustls client that accepts everything, with default algorithms.
pub fn client_config(protocols: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(accept_all())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A verifier of plain rustls that accepts every server.
pub fn accept_all() -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    Arc::new(AcceptAll)
}

#[derive(Debug)]
struct AcceptAll;

impl rustls::client::danger::ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A plain rustls connection as the other end.
pub struct Peer {
    pub end: End,
    received: Vec<u8>,
}

pub enum End {
    Client(ClientConnection),
    Server(ServerConnection),
}

impl Peer {
    pub fn new(end: End) -> Peer {
        Peer { end, received: Vec::new() }
    }

    pub fn common(&mut self) -> &mut rustls::CommonState {
        match &mut self.end {
            End::Client(connection) => connection,
            End::Server(connection) => connection,
        }
    }

    /// Takes bytes in.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        let mut rest = VecDeque::from(bytes.to_vec());
        while !rest.is_empty() {
            let (read, processed) = match &mut self.end {
                End::Client(connection) => (connection.read_tls(&mut rest), connection.process_new_packets()),
                End::Server(connection) => (connection.read_tls(&mut rest), connection.process_new_packets()),
            };
            read.expect("memory");
            processed?;
            self.drain();
        }
        Ok(())
    }

    /// What it wants to send.
    pub fn output(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.common().wants_write() {
            let written = match &mut self.end {
                End::Client(connection) => connection.write_tls(&mut out),
                End::Server(connection) => connection.write_tls(&mut out),
            };
            written.expect("memory");
        }
        out
    }

    /// Encrypts `data`.
    pub fn write(&mut self, data: &[u8]) -> Vec<u8> {
        let written = match &mut self.end {
            End::Client(connection) => connection.writer().write_all(data),
            End::Server(connection) => connection.writer().write_all(data),
        };
        written.expect("memory");
        self.output()
    }

    /// What it has received.
    pub fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// rustls holds a limited number of bytes.
    fn drain(&mut self) {
        // It ends with an error unless the peer has closed.
        let _ = match &mut self.end {
            End::Client(connection) => connection.reader().read_to_end(&mut self.received),
            End::Server(connection) => connection.reader().read_to_end(&mut self.received),
        };
    }

    pub fn close(&mut self) -> Vec<u8> {
        self.common().send_close_notify();
        self.output()
    }

    pub fn refresh_keys(&mut self) -> Vec<u8> {
        match &mut self.end {
            End::Client(connection) => connection.refresh_traffic_keys(),
            End::Server(connection) => connection.refresh_traffic_keys(),
        }
        .expect("TLS 1.3");
        self.output()
    }
}
