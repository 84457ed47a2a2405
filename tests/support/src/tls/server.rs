//! A TLS server: what it shows, whom it wants to see, what it chooses; and a record of what its clients said.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::{TlsStream, TlsVersion, chain, key, roots, text};
use crate::certificates::{Authority, Certificate};

/// What a client said in its hello.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// Name that it asked for.
    pub server_name: Option<String>,
    /// Protocols that it offered.
    pub protocols: Vec<String>,
}

/// What a handshake has settled, as a server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The protocol that was chosen.
    pub protocol: Option<String>,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// Whether the client showed a certificate.
    pub has_certificate: bool,
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: String,
}

/// How a server behaves; what its clients said is kept.
#[derive(Debug)]
pub struct TlsServer {
    certificate: Certificate,
    trust: Option<String>,
    versions: Vec<TlsVersion>,
    state: Mutex<ServerState>,
    /// For the callbacks of its sessions.
    own: Weak<TlsServer>,
}

#[derive(Debug)]
struct ServerState {
    config: Arc<ServerConfig>,
    hellos: Vec<Hello>,
    handshakes: Vec<Handshake>,
}

impl TlsServer {
    /// Shows this certificate, chooses among these protocols, speaks both versions.
    pub fn new(certificate: &Certificate, protocols: &[&str]) -> Arc<TlsServer> {
        TlsServer::build(certificate, protocols, None, &[TlsVersion::V12, TlsVersion::V13])
    }

    /// The same for clients that show a certificate of this authority.
    pub fn mutual(certificate: &Certificate, protocols: &[&str], trust: &Authority) -> Arc<TlsServer> {
        TlsServer::build(certificate, protocols, Some(trust.pem()), &[TlsVersion::V12, TlsVersion::V13])
    }

    /// Speaks one version only.
    pub fn only(certificate: &Certificate, protocols: &[&str], version: TlsVersion) -> Arc<TlsServer> {
        TlsServer::build(certificate, protocols, None, &[version])
    }

    fn build(
        certificate: &Certificate,
        protocols: &[&str],
        trust: Option<&str>,
        versions: &[TlsVersion],
    ) -> Arc<TlsServer> {
        Arc::new_cyclic(|own| {
            let mut server = TlsServer {
                certificate: certificate.clone(),
                trust: trust.map(str::to_owned),
                versions: versions.to_vec(),
                state: Mutex::new(ServerState {
                    config: Arc::new(bare_config()),
                    hellos: Vec::new(),
                    handshakes: Vec::new(),
                }),
                own: Weak::clone(own),
            };
            let config = server.config(protocols);
            server.state.get_mut().expect("new").config = config;
            server
        })
    }

    /// From now on chooses among these protocols; knows no earlier session.
    pub fn set_alpn(&self, protocols: &[&str]) {
        let config = self.config(protocols);
        self.state().config = config;
    }

    /// Takes what clients said in their hellos so far.
    pub fn take_hellos(&self) -> Vec<Hello> {
        std::mem::take(&mut self.state().hellos)
    }

    /// Notes a handshake that is complete.
    pub(super) fn record(&self, handshake: Handshake) {
        self.state().handshakes.push(handshake);
    }

    /// Takes what handshakes have settled so far.
    pub fn take_handshakes(&self) -> Vec<Handshake> {
        std::mem::take(&mut self.state().handshakes)
    }

    /// A server on an accepted socket; its handshake begins with the first read or write.
    ///
    /// # Panics
    /// When there are no random numbers.
    pub fn over(&self, socket: TcpStream) -> TlsStream {
        let session = rustls::ServerConnection::new(Arc::clone(&self.state().config)).expect("a session");
        TlsStream::new(socket, session.into(), self.own.upgrade())
    }

    /// Follows `script` with each connection to a free port of 127.0.0.1, which is returned, until the test ends.
    ///
    /// # Panics
    /// When no port is to be had.
    pub fn listen(
        self: &Arc<Self>,
        script: impl Fn(&mut TlsStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (server, script) = (Arc::clone(self), Arc::new(script));
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (server, script) = (Arc::clone(&server), Arc::clone(&script));
                // How a script ends is the proxy's affair; what it saw is in the test's hands.
                thread::spawn(move || script(&mut server.over(socket)));
            }
        });
        port
    }

    fn config(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let versions: Vec<_> = self.versions.iter().map(|version| version.supported()).collect();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let signer = aws_lc_rs::sign::any_supported_type(&key(&self.certificate)).expect("a key");
        let certificate = Arc::new(CertifiedKey::new(chain(&self.certificate), signer));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .expect("versions");
        let builder = match &self.trust {
            None => builder.with_no_client_auth(),
            Some(trust) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(trust)), provider)
                    .build()
                    .expect("an authority"),
            ),
        };
        let resolver = Resolver { certificate, server: Weak::clone(&self.own) };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A configuration that serves nobody.
fn bare_config() -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()))
}

/// Has one certificate for everybody, and notes what they ask for.
#[derive(Debug)]
struct Resolver {
    certificate: Arc<CertifiedKey>,
    server: Weak<TlsServer>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(server) = self.server.upgrade() {
            server.state().hellos.push(Hello {
                server_name: hello.server_name().map(str::to_owned),
                protocols: hello.alpn().into_iter().flatten().map(text).collect(),
            });
        }
        Some(Arc::clone(&self.certificate))
    }
}
