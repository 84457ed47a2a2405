//! Private keys that sign only with the schemes that the configuration allows
//! (`TlsParameters.signature_algorithms`).

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::Parameters;
use super::identity::Identity;

#[derive(Debug)]
struct RestrictedKey {
    key: Arc<dyn SigningKey>,
    allowed: Vec<SignatureScheme>,
}

/// The identity with a key that keeps to `parameters`.
pub(super) fn restricted(mut identity: Identity, parameters: &Parameters) -> Identity {
    if parameters.signature_schemes.is_empty() {
        return identity;
    }
    let restrict = |certified: &CertifiedKey| {
        let key = Arc::new(RestrictedKey {
            key: Arc::clone(&certified.key),
            allowed: parameters.signature_schemes.clone(),
        });
        Arc::new(CertifiedKey { key, ..certified.clone() })
    };
    identity.key = restrict(&identity.key);
    identity.stapled = identity.stapled.map(|(response, certified)| (response, restrict(&certified)));
    identity
}

impl SigningKey for RestrictedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let offered: Vec<_> =
            offered.iter().copied().filter(|scheme| self.allowed.contains(scheme)).collect();
        self.key.choose_scheme(&offered)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}
