//! TLS for clients and origins of tests: plain rustls over blocking sockets, so that it has nothing in common with the
//! records that the proxy seals itself.

mod client;
mod server;
mod trusting;

pub use client::TlsClient;
pub use server::{Handshake, Hello, TlsServer};
pub use trusting::TrustingClient;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, RootCertStore, SupportedProtocolVersion};

use crate::certificates::Certificate;
use crate::stream::Stream;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl TlsVersion {
    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            TlsVersion::V12 => &rustls::version::TLS12,
            TlsVersion::V13 => &rustls::version::TLS13,
        }
    }
}

/// One end of a TLS connection.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: Box<rustls::Connection>,
    /// To be told of the handshake.
    server: Option<Arc<TlsServer>>,
    /// The other side said that nothing more comes (`close_notify`).
    ended_in_order: bool,
}

impl TlsStream {
    fn new(socket: TcpStream, session: rustls::Connection, server: Option<Arc<TlsServer>>) -> TlsStream {
        let _ = socket.set_nodelay(true);
        let _ = socket.set_read_timeout(Some(crate::PATIENCE));
        let _ = socket.set_write_timeout(Some(crate::PATIENCE));
        TlsStream { socket, session: Box::new(session), server, ended_in_order: false }
    }

    /// The protocol that was chosen (ALPN).
    pub fn protocol(&self) -> Option<String> {
        self.session.alpn_protocol().map(text)
    }

    /// `TLSv1_2` or `TLSv1_3`; empty before the handshake is complete.
    pub fn version(&self) -> String {
        self.session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default()
    }

    /// Whether an earlier session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the other side showed exactly this certificate.
    pub fn has_seen(&self, certificate: &Certificate) -> bool {
        self.session.peer_certificates().and_then(<[_]>::first) == chain(certificate).first()
    }

    /// Whether the other side has said that nothing more comes, and not just closed.
    pub fn ended_in_order(&self) -> bool {
        self.ended_in_order
    }

    /// Goes on until the handshake is complete.
    ///
    /// # Errors
    /// If it fails, or the other side ends or says nothing for too long.
    pub fn complete_handshake(&mut self) -> io::Result<()> {
        while self.session.is_handshaking() {
            self.flush()?;
            if self.session.is_handshaking() && !self.receive()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.flush()
    }

    /// What is to be sent next, for whoever sends it in a way of his own by [`TlsStream::socket`]: first, a client's hello.
    ///
    /// # Errors
    /// Never in fact.
    pub fn take_flight(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// The socket, for whoever breaks the rules.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Reads once from the socket; false at its end.
    fn receive(&mut self) -> io::Result<bool> {
        let is_open = self.session.read_tls(&mut self.socket)? > 0;
        if let Err(error) = self.session.process_new_packets() {
            // The other side is told why.
            let _ = self.flush();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if !self.session.is_handshaking()
            && let Some(server) = self.server.take()
        {
            server.record(Handshake {
                protocol: self.protocol(),
                is_resumed: self.is_resumed(),
                has_certificate: self.session.peer_certificates().is_some(),
                version: self.version(),
            });
        }
        Ok(is_open)
    }

    /// Ends a direction, or both; by TLS first.
    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.session.send_close_notify();
            self.flush()?;
        }
        self.socket.shutdown(how)
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.flush()?;
            match self.session.reader().read(buffer) {
                Ok(read) => {
                    self.ended_in_order |= read == 0 && !buffer.is_empty();
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Ended without a word.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
            if !self.receive()? && self.session.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.complete_handshake()?;
        let written = self.session.writer().write(bytes)?;
        self.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl From<TlsStream> for Stream {
    fn from(stream: TlsStream) -> Stream {
        Stream::Tls(Box::new(stream))
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("an authority");
    }
    roots
}

fn chain(certificate: &Certificate) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).map(|der| der.expect("PEM")).collect()
}

fn key(certificate: &Certificate) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::{Answer, Authority, Connection, Origin, Request};

    #[test]
    fn client_and_server_agree_and_tell() {
        let authority = Authority::new("ca");
        let server = TlsServer::mutual(&authority.issue(&["a.test"]), &["h2", "http/1.1"], &authority);
        let origin = Origin::start_tls(&server, Answer::Echo);
        let address = SocketAddr::from(([127, 0, 0, 1], origin.port()));
        let client = TlsClient::new(&authority, "a.test").alpn(&["http/1.1"]).resuming();
        let client = client.certificate(&authority.issue(&["client"]));
        for is_resumed in [false, true] {
            let mut stream = client.connect(address).expect("a handshake");
            assert_eq!((stream.protocol().as_deref(), stream.is_resumed()), (Some("http/1.1"), is_resumed));
            stream.write_all(&Request::get("/x").bytes()).expect("sent");
            let mut connection = Connection::over(stream.into());
            assert_eq!(connection.response().json()["target"], "/x");
            let handshake = server.take_handshakes().remove(0);
            assert_eq!((handshake.is_resumed, handshake.has_certificate), (is_resumed, true));
            let hello = server.take_hellos().remove(0);
            assert_eq!((hello.server_name.as_deref(), hello.protocols.len()), (Some("a.test"), 1));
        }
        let refused = TlsClient::new(&authority, "a.test").only(TlsVersion::V12).connect(address);
        assert!(refused.is_err(), "no certificate");
        assert!(TlsClient::new(&Authority::new("other"), "a.test").connect(address).is_err());
    }
}
