//! A certificate chain with its private key, read from PEM
//! (`envoy.extensions.transport_sockets.tls.v3.TlsCertificate`).
//!
//! What rustls or a client would only find out during a handshake is found out here: a key of another
//! certificate, a key that is too small, a staple for another certificate.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificate::{Certificate, EcCurve, KeyKind, key_kind};
use super::der::{Reader, tag};
use super::ocsp::{OcspError, OcspResponse};
use super::peer_certificates::LeafFacts;
use super::subject_alt_name::SubjectAltName;

/// Smallest RSA key, in bits; Envoy's limit as well.
const MIN_RSA_BITS: usize = 2048;

/// Why a certificate and its key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate's PEM text is damaged.
    #[error("malformed PEM: {0}")]
    ChainPem(String),
    /// No certificate stands in the text.
    #[error("no certificate in it")]
    NoCertificate,
    /// A certificate cannot be read.
    #[error("certificate {number} of it cannot be read")]
    UnreadableCertificate {
        /// Its place in the chain, from 1.
        number: usize,
    },
    /// An RSA key with too few bits.
    #[error("only RSA certificates with 2048-bit or larger keys are supported; this one has {bits} bits")]
    WeakKey {
        /// Length of the modulus.
        bits: usize,
    },
    /// A kind of public key that is not implemented.
    #[error("only RSA, Ed25519 and P-256, P-384 or P-521 ECDSA certificates are supported")]
    UnsupportedCertificate,
    /// The key's PEM text is damaged.
    #[error("malformed PEM: {0}")]
    KeyPem(String),
    /// No private key stands in the text.
    #[error("no private key in it")]
    NoKey,
    /// The key is encrypted.
    #[error("encrypted private keys are not implemented")]
    EncryptedKey,
    /// The key cannot be used.
    #[error("the private key cannot be read: {0}")]
    UnreadableKey(String),
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate (KEY_VALUES_MISMATCH)")]
    KeyMismatch,
    /// The OCSP response cannot be used.
    #[error("{0}")]
    Ocsp(#[from] OcspError),
}

impl IdentityError {
    /// Whether the private key is at fault, not the certificate.
    pub fn is_about_key(&self) -> bool {
        use IdentityError::{EncryptedKey, KeyMismatch, KeyPem, NoKey, UnreadableKey};
        matches!(self, KeyPem(_) | NoKey | EncryptedKey | UnreadableKey(_) | KeyMismatch)
    }
}

/// A certificate chain with its key, ready for handshakes.
#[derive(Debug, Clone)]
pub struct Identity {
    /// For clients that did not ask for an OCSP response, or when there is none that is valid.
    pub(super) key: Arc<CertifiedKey>,
    /// The same with the OCSP response.
    pub(super) stapled: Option<(OcspResponse, Arc<CertifiedKey>)>,
    /// The curve, if the key is on one.
    pub(super) curve: Option<EcCurve>,
    /// DNS names, or the common name if there are no alternative names at all.
    pub(super) names: Vec<String>,
    /// The certificate promises an OCSP response.
    pub(super) is_must_staple: bool,
    /// Last second of its validity, since the Unix epoch.
    pub(super) not_after: u64,
    /// What the certificate says.
    pub(super) leaf: Arc<LeafFacts>,
}

impl Identity {
    /// Reads a chain, its key, and an OCSP response in DER.
    ///
    /// # Errors
    /// If one of them cannot be used, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8], ocsp: Option<&[u8]>) -> Result<Identity, IdentityError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| IdentityError::ChainPem(error.to_string()))?;
        for (at, der) in chain.iter().enumerate() {
            Certificate::parse(der).map_err(|_| IdentityError::UnreadableCertificate { number: at + 1 })?;
        }
        let leaf_der = chain.first().ok_or(IdentityError::NoCertificate)?.clone();
        let leaf =
            Certificate::parse(&leaf_der).map_err(|_| IdentityError::UnreadableCertificate { number: 1 })?;
        let curve = match key_kind(leaf.spki) {
            Ok(KeyKind::Rsa { bits }) if bits < MIN_RSA_BITS => return Err(IdentityError::WeakKey { bits }),
            Ok(KeyKind::Rsa { .. } | KeyKind::Ed25519) => None,
            Ok(KeyKind::Ecdsa(curve)) if curve != EcCurve::Other => Some(curve),
            _ => return Err(IdentityError::UnsupportedCertificate),
        };
        let key = read_key(key)?;
        if !key.public_key().is_some_and(|public| is_same_key(&public, leaf.spki)) {
            return Err(IdentityError::KeyMismatch);
        }
        let certified = CertifiedKey::new(chain, key);
        let stapled = match ocsp.filter(|ocsp| !ocsp.is_empty()) {
            Some(der) => {
                let response = OcspResponse::parse(der)?;
                response.check_certificate(&leaf)?;
                let mut stapled = certified.clone();
                stapled.ocsp = Some(der.to_vec());
                Some((response, Arc::new(stapled)))
            }
            None => None,
        };
        Ok(Identity {
            key: Arc::new(certified),
            stapled,
            curve,
            names: names(&leaf),
            is_must_staple: leaf.is_must_staple(),
            not_after: leaf.not_after,
            leaf: Arc::new(LeafFacts::read(&leaf_der)),
        })
    }

    /// The certificates, its own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Last second of the certificate's validity, since the Unix epoch.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }
}

fn read_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, IdentityError> {
    if memchr::memmem::find(pem, b"ENCRYPTED").is_some() {
        return Err(IdentityError::EncryptedKey);
    }
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => IdentityError::NoKey,
        other => IdentityError::KeyPem(other.to_string()),
    })?;
    any_supported_type(&key).map_err(|error| IdentityError::UnreadableKey(error.to_string()))
}

/// The names that choose the certificate when a client asks for a server by name.
fn names(leaf: &Certificate<'_>) -> Vec<String> {
    if !leaf.has_subject_alt_names() {
        return leaf.common_name().into_iter().collect();
    }
    let dns = leaf.subject_alt_names().filter(|name| matches!(name, SubjectAltName::Dns(_)));
    dns.map(|name| name.text()).collect()
}

/// Compares the keys themselves: their algorithms may be written in more than one way.
fn is_same_key(public: &SubjectPublicKeyInfoDer<'_>, spki: &[u8]) -> bool {
    let bits = |spki: &[u8]| {
        let mut fields = Reader::new(Reader::new(spki).expect(tag::SEQUENCE).ok()?);
        fields.expect(tag::SEQUENCE).ok()?;
        fields.expect(tag::BIT_STRING).ok().map(<[u8]>::to_vec)
    };
    let (one, other) = (bits(public.as_ref()), bits(spki));
    one.is_some() && one == other
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;
    use crate::tls::testing::{self, Ca};

    #[test]
    fn every_form_of_key_is_read() {
        for algorithm in
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
        {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let certificate = CertificateParams::new(vec!["a.b".into()]).unwrap().self_signed(&key).unwrap();
            let identity =
                Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), None);
            assert_eq!(identity.expect("an identity").names, ["a.b"]);
        }
        for key in [testing::RSA_PKCS1_KEY, testing::RSA_PKCS8_KEY] {
            Identity::from_pem(testing::RSA_CERTIFICATE.as_bytes(), key.as_bytes(), None)
                .expect("an identity");
        }
        Identity::from_pem(testing::SEC1_CERTIFICATE.as_bytes(), testing::SEC1_KEY.as_bytes(), None)
            .expect("an identity");
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let (chain, key) = Ca::new("ca").leaf_pem(&["a.b"]);
        let (_, other_key) = Ca::new("ca").leaf_pem(&["a.b"]);
        let error = |chain: &str, key: &str| {
            Identity::from_pem(chain.as_bytes(), key.as_bytes(), None).expect_err("refused")
        };
        assert_eq!(error(&chain, &other_key), IdentityError::KeyMismatch);
        assert_eq!(error("", &key), IdentityError::NoCertificate);
        assert_eq!(error("nonsense", &key), IdentityError::NoCertificate);
        assert_eq!(error(&chain, ""), IdentityError::NoKey);
        assert_eq!(error(&chain, &chain), IdentityError::NoKey);
        assert!(matches!(error(&chain.replace("-----END", "----END"), &key), IdentityError::ChainPem(_)));
        assert!(matches!(error(&chain, &key.replace("-----END", "----END")), IdentityError::KeyPem(_)));
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(error(damaged, &key), IdentityError::UnreadableCertificate { number: 1 });
        assert_eq!(
            error(&format!("{chain}{damaged}"), &key),
            IdentityError::UnreadableCertificate { number: 2 }
        );
        let damaged = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(error(&chain, damaged), IdentityError::UnreadableKey(_)));
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            assert_eq!(error(&chain, encrypted), IdentityError::EncryptedKey);
        }
        assert_eq!(
            error(testing::RSA_1024_CERTIFICATE, testing::RSA_PKCS1_KEY),
            IdentityError::WeakKey { bits: 1024 }
        );
        assert!(error(&chain, &other_key).is_about_key() && !error("", &key).is_about_key());
    }

    #[test]
    fn names_come_from_alternative_names_before_the_common_name() {
        let identity = |names: &[&str], common_name: &str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).expect("names");
            params.distinguished_name.push(DnType::CommonName, common_name);
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), None)
                .expect("an identity")
        };
        assert_eq!(identity(&["a.b", "*.c.d"], "cn").names, ["a.b", "*.c.d"]);
        assert_eq!(identity(&[], "cn").names, ["cn"]);
        assert_eq!(identity(&["10.0.0.1"], "cn").names, Vec::<String>::new());
    }
}
