//! Why a TLS connection failed.

use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};

/// Why a peer's certificate is not accepted, beyond what webpki says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerRejection {
    /// None of its alternative names matches.
    #[error("verify cert failed: SAN matcher")]
    SubjectAltName,
    /// None of its alternative names is the one that a request asks for.
    #[error("verify cert failed: verify SAN list")]
    ExpectedName,
    /// Neither its hash nor that of its key is in the lists.
    #[error("verify cert failed: cert hash and spki")]
    Hash,
    /// It is not issued by anybody trusted.
    #[error("verify cert failed: untrusted")]
    Untrusted,
    /// The chain has more certificates than allowed.
    #[error("verify cert failed: certificate chain too long")]
    ChainTooLong,
    /// Its key must not sign.
    #[error("verify cert failed: key usage does not allow signatures")]
    KeyUsage,
}

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The peer broke the protocol, offered nothing acceptable, or showed a bad certificate.
    #[error("TLS_error: {}", describe(.0))]
    Protocol(rustls::Error),
    /// The peer ended the session with an alert.
    #[error("TLS_error: received fatal alert {}", alert_name(*.0))]
    Alert(AlertDescription),
    /// A record that cannot be decrypted (RFC 8446 5.2).
    #[error("TLS_error: decryption failed")]
    Decrypt,
    /// A record larger than allowed.
    #[error("TLS_error: record too large")]
    RecordTooLarge,
    /// A message that must not come now.
    #[error("TLS_error: unexpected message: {0}")]
    Unexpected(&'static str),
    /// A message that contradicts itself.
    #[error("TLS_error: malformed message: {0}")]
    Malformed(&'static str),
    /// More bytes than a handshake may need.
    #[error("TLS_error: handshake too large")]
    HandshakeTooLarge,
    /// Too many messages that carry nothing.
    #[error("TLS_error: too many {0}")]
    Flood(&'static str),
    /// So many records were sent that their keys must not be used any more.
    #[error("TLS_error: keys exhausted")]
    KeysExhausted,
    /// Data was to be sent before the handshake was complete, or after the end.
    #[error("TLS_error: session not open for sending")]
    NotOpen,
    /// Certificates or rules for peers were not found yet.
    #[error("TLS error: Secret is not supplied by SDS")]
    SecretsNotReady,
    /// The cryptography library failed.
    #[error("TLS_error: internal error")]
    Internal,
}

/// Which statistic a failed handshake belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// `fail_verify_no_cert`: a certificate was required, the peer has none.
    NoCertificate,
    /// `fail_verify_error`: the chain is not acceptable.
    Chain,
    /// `fail_verify_san`.
    SubjectAltName,
    /// `fail_verify_cert_hash`.
    Hash,
    /// `connection_error`: anything else.
    Connection,
}

impl TlsError {
    /// Which statistic the failure belongs to.
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            TlsError::Protocol(rustls::Error::NoCertificatesPresented) => FailureKind::NoCertificate,
            TlsError::Protocol(rustls::Error::InvalidCertificate(error)) => match rejection(error) {
                Some(PeerRejection::SubjectAltName | PeerRejection::ExpectedName) => {
                    FailureKind::SubjectAltName
                }
                Some(PeerRejection::Hash) => FailureKind::Hash,
                _ => FailureKind::Chain,
            },
            _ => FailureKind::Connection,
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        match error {
            rustls::Error::AlertReceived(alert) => TlsError::Alert(alert),
            error => TlsError::Protocol(error),
        }
    }
}

impl From<PeerRejection> for rustls::Error {
    fn from(rejection: PeerRejection) -> rustls::Error {
        rustls::Error::InvalidCertificate(match rejection {
            PeerRejection::Untrusted => CertificateError::UnknownIssuer,
            other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
        })
    }
}

/// The reason of ours in an error that passed through rustls.
fn rejection(error: &CertificateError) -> Option<PeerRejection> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref().copied(),
        _ => None,
    }
}

/// rustls' words, or ours where the reason is ours.
fn describe(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rejected) => match rejection(rejected) {
            Some(reason) => reason.to_string(),
            None => format!("verify cert failed: {rejected}"),
        },
        other => other.to_string(),
    }
}

fn alert_name(alert: AlertDescription) -> String {
    alert.as_str().map_or_else(|| u8::from(alert).to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let kind = |error: rustls::Error| TlsError::from(error).failure_kind();
        assert_eq!(kind(rustls::Error::NoCertificatesPresented), FailureKind::NoCertificate);
        assert_eq!(kind(CertificateError::Expired.into()), FailureKind::Chain);
        assert_eq!(kind(PeerRejection::Untrusted.into()), FailureKind::Chain);
        assert_eq!(kind(PeerRejection::SubjectAltName.into()), FailureKind::SubjectAltName);
        assert_eq!(kind(PeerRejection::Hash.into()), FailureKind::Hash);
        assert_eq!(kind(rustls::Error::DecryptError), FailureKind::Connection);
        assert_eq!(TlsError::Decrypt.failure_kind(), FailureKind::Connection);
    }

    #[test]
    fn alerts_have_their_names() {
        let error = TlsError::from(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
        assert_eq!(error.to_string(), "TLS_error: received fatal alert UnknownCA");
        assert_eq!(
            TlsError::Alert(AlertDescription::Unknown(200)).to_string(),
            "TLS_error: received fatal alert 200"
        );
    }
}
