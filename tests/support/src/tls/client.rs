//! A TLS client: whom it trusts, what it asks for and offers, what it shows.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::ServerName;

use super::{TlsStream, TlsVersion, chain, key, roots};
use crate::certificates::{Authority, Certificate};
use crate::client::{Connection, Request};
use crate::message::{Message, ReadError};

/// How a client behaves. It remembers sessions if it is to.
#[derive(Debug, Clone)]
pub struct TlsClient {
    trust: String,
    name: String,
    protocols: Vec<String>,
    certificate: Option<Certificate>,
    versions: Vec<TlsVersion>,
    hides_name: bool,
    resumes: bool,
    is_post_quantum: bool,
    config: OnceLock<Arc<ClientConfig>>,
}

impl TlsClient {
    /// Trusts this authority, asks for this name (an IP address is not sent), speaks both versions.
    pub fn new(trust: &Authority, name: &str) -> TlsClient {
        TlsClient {
            trust: trust.pem().to_owned(),
            name: name.to_owned(),
            protocols: Vec::new(),
            certificate: None,
            versions: vec![TlsVersion::V12, TlsVersion::V13],
            hides_name: false,
            resumes: false,
            is_post_quantum: false,
            config: OnceLock::new(),
        }
    }

    /// Asks for another name.
    pub fn name(mut self, name: &str) -> TlsClient {
        self.name = name.to_owned();
        self
    }

    /// Expects the name but does not send it.
    pub fn without_sni(self) -> TlsClient {
        self.with(|client| client.hides_name = true)
    }

    /// Offers these protocols (ALPN).
    pub fn alpn(self, protocols: &[&str]) -> TlsClient {
        self.with(|client| client.protocols = protocols.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Has this certificate to show.
    pub fn certificate(self, certificate: &Certificate) -> TlsClient {
        self.with(|client| client.certificate = Some(certificate.clone()))
    }

    /// Speaks one version only.
    pub fn only(self, version: TlsVersion) -> TlsClient {
        self.with(|client| client.versions = vec![version])
    }

    /// Offers a hybrid key exchange first. Else it knows none.
    pub fn post_quantum(self) -> TlsClient {
        self.with(|client| client.is_post_quantum = true)
    }

    /// Remembers sessions, and resumes them.
    pub fn resuming(self) -> TlsClient {
        self.with(|client| client.resumes = true)
    }

    fn with(mut self, change: impl FnOnce(&mut TlsClient)) -> TlsClient {
        change(&mut self);
        self.config = OnceLock::new();
        self
    }

    /// Connects and completes the handshake.
    ///
    /// # Errors
    /// If the connection is refused or the handshake fails; of TLS 1.3's, only what the client sees before it is done.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TlsStream> {
        let mut stream = self.over(TcpStream::connect_timeout(&address, crate::PATIENCE)?);
        stream.complete_handshake()?;
        Ok(stream)
    }

    /// A client on a connected socket; its handshake begins with the first read or write.
    ///
    /// # Panics
    /// When the name is none.
    pub fn over(&self, socket: TcpStream) -> TlsStream {
        let name = ServerName::try_from(self.name.clone()).expect("a name");
        let config = Arc::clone(self.config.get_or_init(|| Arc::new(self.build())));
        let session = rustls::ClientConnection::new(config, name).expect("a session");
        TlsStream::new(socket, session.into(), None)
    }

    /// As [`TlsClient::connect`], for HTTP/1.1.
    ///
    /// # Panics
    /// When the handshake fails.
    #[track_caller]
    pub fn open(&self, address: SocketAddr) -> Connection {
        let stream =
            self.connect(address).unwrap_or_else(|error| panic!("handshake with {address}: {error}"));
        Connection::over(stream.into())
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Errors
    /// If no response can be read; a failed handshake counts as a reset.
    pub fn try_send(&self, address: SocketAddr, request: &Request) -> Result<Message, ReadError> {
        let stream = self.connect(address).map_err(|_| ReadError::Reset)?;
        request.send_on(&mut Connection::over(stream.into()))
    }

    /// As [`TlsClient::try_send`].
    ///
    /// # Panics
    /// When no response can be read.
    #[track_caller]
    pub fn send(&self, address: SocketAddr, request: &Request) -> Message {
        self.try_send(address, request).unwrap_or_else(|error| panic!("no response: {error:?}"))
    }

    fn build(&self) -> ClientConfig {
        let versions: Vec<_> = self.versions.iter().map(|version| version.supported()).collect();
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1];
        if self.is_post_quantum {
            provider.kx_groups.insert(0, kx_group::X25519MLKEM768);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .expect("versions")
            .with_root_certificates(roots(&self.trust));
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                builder.with_client_auth_cert(chain(certificate), key(certificate)).expect("a certificate")
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.clone().into_bytes()).collect();
        config.enable_sni = !self.hides_name;
        config.resumption = match self.resumes {
            true => Resumption::store(Arc::new(ClientSessionMemoryCache::new(64))),
            false => Resumption::disabled(),
        };
        config
    }
}
