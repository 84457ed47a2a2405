//! A client that trusts everybody and keeps its connection: to see which certificate a server shows, and whether what
//! was opened before goes on.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::PATIENCE;

/// A client that trusts everybody.
pub struct TrustingClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TrustingClient {
    /// Connects, and shakes hands.
    ///
    /// # Errors
    /// What goes wrong with it.
    pub fn connect(address: SocketAddr, name: &'static str) -> io::Result<TrustingClient> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAll(provider)))
            .with_no_client_auth();
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TrustingClient { stream })
    }

    /// The server's certificate.
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().map(|shown| shown[0].to_vec()).unwrap_or_default()
    }

    /// Sends a GET request, and gives the body of the response, which must have a `content-length`.
    ///
    /// # Errors
    /// If the connection ends before.
    pub fn get(&mut self, path: &str) -> io::Result<String> {
        write!(self.stream, "GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")?;
        let mut text = String::new();
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
                if body.len() >= length {
                    return Ok(body.to_owned());
                }
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes)?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
}

#[derive(Debug)]
struct TrustsAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
