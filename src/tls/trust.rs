//! Whom to trust: certificate authorities, revocation lists, and whether a chain leads to one of them
//! (RFC 5280 6). webpki builds and checks paths; what BoringSSL does beyond it is added here.
//!
//! As in Envoy every trusted certificate is the end of a chain, whether it signed itself or not, and must itself be
//! within its validity; a peer's own certificate may stand in the list.

use aws_lc_rs::digest::{Context as Digest, SHA256};
use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use rustls::{DistinguishedName, OtherError};
use std::sync::Arc;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, VerifiedPath,
};

use super::PeerRejection;
use super::certificate::Certificate;
use super::der::{Reader, tag};

/// Times that are tried where validity does not matter; a chain of usual length needs two.
const MAX_TIMES: usize = 16;

/// Why a list of authorities or of revocations cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The PEM text is damaged.
    #[error("malformed PEM: {0}")]
    Pem(String),
    /// No certificate stands in it.
    #[error("no certificate in it")]
    NoCertificates,
    /// No revocation list stands in it.
    #[error("no revocation list in it")]
    NoRevocationLists,
    /// A certificate cannot be read.
    #[error("certificate {number} of it cannot be read: {reason}")]
    Certificate {
        /// Its place in the list, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A revocation list cannot be used.
    #[error("revocation list {number} of it cannot be used: {reason}")]
    RevocationList {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// How strict chains are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainPolicy {
    /// Neither certificates nor revocation lists expire.
    pub allow_expired: bool,
    /// Only the peer's own certificate is looked up in revocation lists.
    pub revocation_of_leaf_only: bool,
    /// Most certificates above the peer's own, the trusted one included; none is webpki's limit (7).
    pub max_depth: Option<u32>,
}

/// Trusted certificates and revocation lists.
#[derive(Debug)]
pub struct TrustStore {
    certificates: Vec<TrustedCertificate>,
    /// In the order of `certificates`.
    anchors: Vec<TrustAnchor<'static>>,
    revocation_lists: Vec<CertRevocationList<'static>>,
    /// SHA-256 of the lists' texts.
    revocation_digest: [u8; 32],
}

#[derive(Debug)]
struct TrustedCertificate {
    der: CertificateDer<'static>,
    not_before: u64,
    not_after: u64,
}

impl TrustStore {
    /// The certificates in a PEM text; revocation lists may stand among them.
    ///
    /// # Errors
    /// If there is none, or one that cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<TrustStore, TrustError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|error| TrustError::Pem(error.to_string()))?;
        if certificates.is_empty() {
            return Err(TrustError::NoCertificates);
        }
        let mut store = TrustStore::from_der(certificates)?;
        store.add_lists(pem)?;
        Ok(store)
    }

    /// The certificates in a system's bundle; those that cannot be read are left out.
    ///
    /// # Errors
    /// If there is none.
    pub fn from_system_bundle(pem: &[u8]) -> Result<TrustStore, TrustError> {
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        let readable = certificates.filter(|der| TrustStore::from_der(vec![der.clone()]).is_ok()).collect();
        let store = TrustStore::from_der(readable)?;
        if store.certificates.is_empty() { Err(TrustError::NoCertificates) } else { Ok(store) }
    }

    /// These certificates.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn from_der(certificates: Vec<CertificateDer<'static>>) -> Result<TrustStore, TrustError> {
        let mut store = TrustStore {
            certificates: Vec::new(),
            anchors: Vec::new(),
            revocation_lists: Vec::new(),
            revocation_digest: [0; 32],
        };
        for (at, der) in certificates.into_iter().enumerate() {
            let unreadable = |reason: String| TrustError::Certificate { number: at + 1, reason };
            let (not_before, not_after) = {
                let read = Certificate::parse(&der).map_err(|error| unreadable(error.to_string()))?;
                (read.not_before, read.not_after)
            };
            let anchor =
                webpki::anchor_from_trusted_cert(&der).map_err(|error| unreadable(error.to_string()))?;
            store.anchors.push(anchor.to_owned());
            store.certificates.push(TrustedCertificate { der, not_before, not_after });
        }
        Ok(store)
    }

    /// Adds the revocation lists in a PEM text.
    ///
    /// # Errors
    /// If there is none, or one that cannot be used.
    pub fn add_revocation_lists(&mut self, pem: &[u8]) -> Result<(), TrustError> {
        let before = self.revocation_lists.len();
        self.add_lists(pem)?;
        if self.revocation_lists.len() == before { Err(TrustError::NoRevocationLists) } else { Ok(()) }
    }

    /// The subjects of all certificates: what a server tells its clients to choose by.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(anchor.subject.as_ref())).collect()
    }

    /// When the first certificate of the list expires, in seconds since the Unix epoch.
    pub fn first_expiry(&self) -> u64 {
        self.certificates.first().map_or(u64::MAX, |certificate| certificate.not_after)
    }

    /// The certificates in DER.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.certificates.iter().map(|certificate| &certificate.der)
    }

    /// SHA-256 of all revocation lists; zeros if there is none.
    pub(super) fn revocation_digest(&self) -> [u8; 32] {
        self.revocation_digest
    }

    /// Whether `leaf` may be trusted for `usage` at `now`.
    ///
    /// # Errors
    /// The reason why not.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        policy: ChainPolicy,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        if self.revocation_lists.is_empty()
            && let Some(trusted) = self.certificates.iter().find(|trusted| trusted.der == *leaf)
        {
            return if policy.allow_expired { Ok(()) } else { trusted.check_validity(now) };
        }
        match EndEntityCert::try_from(leaf) {
            Ok(end_entity) => {
                self.verify_path(&end_entity, leaf, intermediates, now, usage, policy, algorithms)
            }
            // webpki reads version 3 only.
            Err(webpki::Error::UnsupportedCertVersion) if self.revocation_lists.is_empty() => {
                self.verify_old_version(leaf, now, policy, algorithms)
            }
            Err(error) => Err(certificate_error(error)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, split off for its length only")]
    fn verify_path(
        &self,
        end_entity: &EndEntityCert<'_>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        policy: ChainPolicy,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        let lists: Vec<&CertRevocationList<'_>> = self.revocation_lists.iter().collect();
        let check = |time: UnixTime| {
            let accept = |path: &VerifiedPath<'_>| self.accept_path(path, time, policy);
            let anchors = &self.anchors;
            let revocation = revocation_options(&lists, policy);
            end_entity
                .verify_for_usage(
                    algorithms.all,
                    anchors,
                    intermediates,
                    time,
                    usage,
                    revocation,
                    Some(&accept),
                )
                .map(drop)
        };
        let mut verdict = check(now);
        if policy.allow_expired {
            // webpki always checks validity: look for a time at which all certificates of the chain are valid.
            let mut times = validity_bounds(leaf, intermediates).take(MAX_TIMES);
            while let (Err(error), Some(time)) = (&verdict, times.next())
                && is_about_validity(error)
            {
                verdict = check(time);
            }
        }
        verdict.map_err(certificate_error)
    }

    /// What webpki leaves to its caller about a path that it found.
    fn accept_path(
        &self,
        path: &VerifiedPath<'_>,
        now: UnixTime,
        policy: ChainPolicy,
    ) -> Result<(), webpki::Error> {
        let depth = path.intermediate_certificates().count() + 1;
        // Nothing can be verified without the trusted certificate, so 0 allows it as well.
        if policy.max_depth.is_some_and(|most| depth > (most as usize).max(1)) {
            return Err(webpki::Error::MaximumPathDepthExceeded);
        }
        if policy.allow_expired {
            return Ok(());
        }
        // Of several certificates for one key, it is enough if one is valid.
        let trusted =
            self.anchors.iter().zip(&self.certificates).filter(|(anchor, _)| *anchor == path.anchor());
        let mut verdict = Err(webpki::Error::UnknownIssuer);
        for (_, trusted) in trusted {
            verdict = trusted.check_validity_webpki(now);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    /// Checks a certificate of version 1 or 2, which has no extensions, that a trusted one signed itself.
    fn verify_old_version(
        &self,
        leaf: &[u8],
        now: UnixTime,
        policy: ChainPolicy,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        let leaf = Certificate::parse(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if !policy.allow_expired {
            check_validity(leaf.not_before, leaf.not_after, now).map_err(certificate_error)?;
        }
        let issuers =
            self.anchors.iter().zip(&self.certificates).filter(|(anchor, _)| *anchor.subject == *leaf.issuer);
        for (anchor, trusted) in issuers {
            if is_signed_by(&leaf, &anchor.subject_public_key_info, algorithms) {
                return if policy.allow_expired { Ok(()) } else { trusted.check_validity(now) };
            }
        }
        Err(CertificateError::UnknownIssuer)
    }

    fn add_lists(&mut self, pem: &[u8]) -> Result<(), TrustError> {
        for (at, list) in CertificateRevocationListDer::pem_slice_iter(pem).enumerate() {
            let list = list.map_err(|error| TrustError::Pem(error.to_string()))?;
            let mut both = Digest::new(&SHA256);
            both.update(&self.revocation_digest);
            both.update(&list);
            self.revocation_digest.copy_from_slice(both.finish().as_ref());
            let list = OwnedCertRevocationList::from_der(&list)
                .map_err(|error| TrustError::RevocationList { number: at + 1, reason: error.to_string() })?;
            self.revocation_lists.push(list.into());
        }
        Ok(())
    }
}

impl TrustedCertificate {
    fn check_validity(&self, now: UnixTime) -> Result<(), CertificateError> {
        self.check_validity_webpki(now).map_err(certificate_error)
    }

    fn check_validity_webpki(&self, now: UnixTime) -> Result<(), webpki::Error> {
        check_validity(self.not_before, self.not_after, now)
    }
}

fn check_validity(not_before: u64, not_after: u64, time: UnixTime) -> Result<(), webpki::Error> {
    let instant = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    if time.as_secs() < not_before {
        Err(webpki::Error::CertNotValidYet { time, not_before: instant(not_before) })
    } else if time.as_secs() > not_after {
        Err(webpki::Error::CertExpired { time, not_after: instant(not_after) })
    } else {
        Ok(())
    }
}

fn revocation_options<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
    policy: ChainPolicy,
) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let depth = if policy.revocation_of_leaf_only {
        RevocationCheckDepth::EndEntity
    } else {
        RevocationCheckDepth::Chain
    };
    let expiration = if policy.allow_expired { ExpirationPolicy::Ignore } else { ExpirationPolicy::Enforce };
    Some(options.with_depth(depth).with_expiration_policy(expiration).build())
}

/// The first and the last moment of validity of each certificate: a chain was issued top down, so the first
/// moment of the peer's own is nearly always one at which all of it was valid.
fn validity_bounds<'a>(
    leaf: &'a [u8],
    intermediates: &'a [CertificateDer<'_>],
) -> impl Iterator<Item = UnixTime> + 'a {
    let certificates = std::iter::once(leaf).chain(intermediates.iter().map(|der| &**der));
    certificates
        .filter_map(|der| Certificate::parse(der).ok())
        .flat_map(|certificate| [certificate.not_before, certificate.not_after])
        .map(|seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
}

fn is_about_validity(error: &webpki::Error) -> bool {
    use webpki::Error::{CertExpired, CertNotValidYet, UnknownIssuer};
    // A path that failed for its time may be reported as an unknown issuer when another one was tried after it.
    matches!(error, CertExpired { .. } | CertNotValidYet { .. } | UnknownIssuer)
}

/// Whether the key in `spki` (content of a `SubjectPublicKeyInfo`) made the certificate's signature.
fn is_signed_by(certificate: &Certificate<'_>, spki: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
    let mut fields = Reader::new(spki);
    let (Ok(key_algorithm), Ok(key)) = (fields.expect(tag::SEQUENCE), fields.expect(tag::BIT_STRING)) else {
        return false;
    };
    let Some(key) = key.strip_prefix(&[0]) else { return false };
    let fitting = algorithms.all.iter().filter(|algorithm| {
        algorithm.signature_alg_id().as_ref() == certificate.signature_algorithm
            && algorithm.public_key_alg_id().as_ref() == key_algorithm
    });
    fitting
        .map(|algorithm| algorithm.verify_signature(key, certificate.signed_part, certificate.signature))
        .any(|verified| verified.is_ok())
}

/// The reason as rustls turns it into an alert.
pub(super) fn certificate_error(error: webpki::Error) -> CertificateError {
    use webpki::Error;
    match error {
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateError::BadEncoding,
        Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Error::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        Error::UnknownIssuer => CertificateError::UnknownIssuer,
        Error::CertRevoked => CertificateError::Revoked,
        Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Error::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        Error::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        Error::MaximumPathDepthExceeded => {
            CertificateError::Other(OtherError(Arc::new(PeerRejection::ChainTooLong)))
        }
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
