//! TLS without I/O (RFC 8446, RFC 5246): sessions over rustls, certificates and rules for peers, session tickets,
//! and the client hello as listener filters see it.
//!
//! Plain inputs (PEM texts, names, numbers) become a [`ServerContext`] or a [`ClientContext`], which all workers share;
//! each connection has a [`Session`]. Nothing here opens a file or a socket, reads a clock or knows Envoy's messages.
//! Only TLS 1.2 and 1.3, with authenticated encryption and ephemeral keys.

pub mod certificate;
pub mod client_hello;
pub mod der;
pub mod distinguished_name;
pub mod parameters;
pub mod subject_alt_name;

mod client_context;
mod error;
mod identity;
mod notes;
mod ocsp;
mod peer_certificates;
mod selector;
mod server_context;
mod session;
mod session_cache;
mod signing;
#[cfg(test)]
pub(crate) mod testing;
mod ticket;
mod trust;
mod verifier;

pub use client_context::{ClientContext, ClientOptions};
pub use error::{FailureKind, PeerRejection, TlsError};
pub use identity::{Identity, IdentityError};
pub use notes::OcspOutcome;
pub use ocsp::{OcspError, OcspResponse};
pub use parameters::{Parameters, TlsVersion};
pub use peer_certificates::{LeafFacts, PeerCertificates};
pub use rustls::pki_types::ServerName;
pub use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
pub use selector::OcspStaplePolicy;
pub use server_context::{ContextError, ServerContext, ServerOptions};
pub use session::{BufferedClient, EndOfStream, HandshakeFacts, Session};
pub use ticket::{DEFAULT_SESSION_TIMEOUT_S, TICKET_KEY_BYTES, TicketKey};
pub use trust::{ChainPolicy, TrustError, TrustStore};
pub use verifier::PeerRules;

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

/// Makes the calling thread ready for handshakes: the first use of the random generator on a thread seeds it, which
/// takes milliseconds. Workers call it before they accept.
pub fn warm_up() {
    let mut byte = [0];
    // A generator that fails will fail the handshakes, and be reported there.
    let _ = aws_lc_rs::rand::fill(&mut byte);
}
