//! What a handshake has settled.

use std::rc::Rc;
use std::sync::Arc;

use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, SignatureScheme};

use crate::tls::notes::{Notes, OcspOutcome};
use crate::tls::parameters::{cipher_name, group_name, signature_scheme_name};
use crate::tls::{FailureKind, LeafFacts, PeerCertificates, TlsVersion};

/// What a handshake has settled; the same for the whole connection.
#[derive(Debug, Clone)]
pub struct HandshakeFacts {
    /// Protocol version.
    pub version: TlsVersion,
    /// Cipher suite.
    pub cipher_suite: CipherSuite,
    /// Group of the key exchange; none in a session that was resumed without one.
    pub group: Option<NamedGroup>,
    /// Application protocol (ALPN).
    pub application_protocol: Option<Box<[u8]>>,
    /// Server name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// The peer's certificates; none if it showed none.
    pub peer_certificates: Option<Rc<PeerCertificates>>,
    /// Scheme by which the peer signed; none if it did not.
    pub peer_signature_scheme: Option<SignatureScheme>,
    /// Whether the peer's certificate was checked and found good.
    pub peer_validated: bool,
    /// What was wrong with the peer, and tolerated as configured (`ACCEPT_UNTRUSTED`).
    pub tolerated: Option<FailureKind>,
    /// What happened to the OCSP response, if the client asked for one.
    pub ocsp: Option<OcspOutcome>,
    /// What our own certificate says, if there is one to show.
    pub local_certificate: Option<Arc<LeafFacts>>,
}

impl HandshakeFacts {
    /// Collects what rustls knows.
    pub(super) fn collect(common: &CommonState, server_name: Option<Box<str>>) -> Option<HandshakeFacts> {
        let peer = common.peer_certificates().map(<[_]>::to_vec).and_then(PeerCertificates::new);
        Some(HandshakeFacts {
            version: TlsVersion::from_rustls(common.protocol_version()?),
            cipher_suite: common.negotiated_cipher_suite()?.suite(),
            group: common.negotiated_key_exchange_group().map(|group| group.name()),
            application_protocol: common.alpn_protocol().map(Into::into),
            server_name,
            is_resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            peer_certificates: peer.map(Rc::new),
            peer_signature_scheme: None,
            peer_validated: false,
            tolerated: None,
            ocsp: None,
            local_certificate: None,
        })
    }

    /// Adds what rustls' callbacks learned.
    pub(super) fn add_notes(&mut self, notes: Notes) {
        self.peer_signature_scheme = notes.peer_signature;
        self.peer_validated = notes.peer_validated;
        self.tolerated = notes.tolerated;
        self.ocsp = notes.ocsp;
    }

    /// The cipher suite as statistics and logs name it.
    pub fn cipher_name(&self) -> &'static str {
        cipher_name(self.cipher_suite)
    }

    /// The group of the key exchange as statistics name it.
    pub fn group_name(&self) -> Option<&'static str> {
        self.group.map(group_name)
    }

    /// The scheme of the peer's signature as statistics name it.
    pub fn peer_signature_scheme_name(&self) -> Option<&'static str> {
        self.peer_signature_scheme.map(signature_scheme_name)
    }

    /// Whether `protocol` was negotiated by ALPN.
    pub fn is_application_protocol(&self, protocol: &[u8]) -> bool {
        self.application_protocol.as_deref() == Some(protocol)
    }
}
