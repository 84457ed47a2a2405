//! Whether a peer is who it must be, by the rules of Envoy's validation context: chain, alternative names,
//! hashes (`envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`).
//!
//! The same rules for both sides. With no rules at all, every certificate is accepted, as in Envoy.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{KeyUsage, RawPublicKeyEntity};

use super::certificate::{Certificate, KeyKind, key_kind};
use super::notes::{self, note};
use super::subject_alt_name::{SanMatcher, SubjectAltName, dns_name_matches};
use super::trust::{ChainPolicy, TrustStore, certificate_error};
use super::{Parameters, PeerRejection, TlsError, sha256};

/// Rules for peers.
#[derive(Debug, Clone, Default)]
pub struct PeerRules {
    /// Chains must lead here; none accepts any chain.
    pub trust: Option<Arc<TrustStore>>,
    /// How strict chains are checked.
    pub chain: ChainPolicy,
    /// One of these must match one of the alternative names; empty asks for nothing.
    pub san_matchers: Vec<SanMatcher>,
    /// SHA-256 of acceptable certificates.
    pub certificate_hashes: Vec<[u8; 32]>,
    /// SHA-256 of acceptable public keys (`SubjectPublicKeyInfo`). One of both lists must match; both empty ask for
    /// nothing.
    pub key_hashes: Vec<[u8; 32]>,
    /// Whatever is found wrong, the peer is accepted (`ACCEPT_UNTRUSTED`).
    pub accept_untrusted: bool,
    /// A server's DNS names must cover the name that was asked for (`auto_sni_san_validation`), instead of
    /// `san_matchers`.
    pub match_server_name: bool,
    /// A client must show a certificate.
    pub require_certificate: bool,
    /// Clients are not told which authorities are trusted.
    pub suppress_authorities: bool,
    /// A server's RSA key must be allowed to sign, if its certificate says what it is for.
    pub enforce_rsa_key_usage: bool,
}

/// Applies [`PeerRules`] in handshakes.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    rules: PeerRules,
    authorities: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    schemes: Vec<SignatureScheme>,
}

impl PeerRules {
    /// Whether there is anything to check.
    pub fn is_empty(&self) -> bool {
        self.trust.is_none() && !self.checks_leaf()
    }

    /// Whether a client is asked for a certificate.
    pub(super) fn asks_clients(&self) -> bool {
        !self.is_empty() || self.accept_untrusted || self.require_certificate
    }

    /// Whether a client must show one: what is checked about it cannot be checked without.
    fn is_mandatory(&self) -> bool {
        self.require_certificate || (self.checks_leaf() && !self.accept_untrusted)
    }

    /// Feeds everything that decides whether a client is let in to `add`.
    pub(super) fn fingerprint(&self, add: &mut dyn FnMut(&[u8])) {
        if let Some(trust) = &self.trust {
            trust.certificates().for_each(|certificate| add(certificate));
            add(&trust.revocation_digest());
        }
        self.san_matchers.iter().for_each(|matcher| add(matcher.fingerprint.as_bytes()));
        self.certificate_hashes.iter().chain(&self.key_hashes).for_each(|hash| add(hash));
        let flags = [
            self.trust.is_some(),
            self.chain.allow_expired,
            self.chain.revocation_of_leaf_only,
            self.accept_untrusted,
            self.require_certificate,
        ];
        add(&flags.map(u8::from));
        add(&self.chain.max_depth.unwrap_or(u32::MAX).to_be_bytes());
    }

    fn checks_leaf(&self) -> bool {
        let lists =
            [self.san_matchers.is_empty(), self.certificate_hashes.is_empty(), self.key_hashes.is_empty()];
        self.match_server_name || lists.contains(&false)
    }
}

impl PeerVerifier {
    pub(super) fn new(
        rules: PeerRules,
        parameters: &Parameters,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Arc<PeerVerifier> {
        let authorities = match &rules.trust {
            Some(trust) if !rules.suppress_authorities => trust.subjects(),
            _ => Vec::new(),
        };
        let schemes = algorithms.supported_schemes();
        let schemes = schemes.into_iter().filter(|scheme| parameters.allows_scheme(*scheme)).collect();
        Arc::new(PeerVerifier { rules, authorities, algorithms, schemes })
    }

    /// Applies the rules to a chain; `server_name` is what a client asked for.
    ///
    /// # Errors
    /// The reason for which the peer is not accepted.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let expected = server_name.and_then(|_| notes::expected_name());
        let checked = match &self.rules.trust {
            None if expected.is_some() => Err(PeerRejection::Untrusted.into()),
            _ => self.check_chain(leaf, intermediates, server_name.is_some(), now),
        };
        let checked = checked.and_then(|()| self.check_leaf(leaf, server_name, expected.as_deref()));
        match checked {
            Ok(()) => {
                note(|notes| notes.peer_validated = !self.rules.is_empty());
                Ok(())
            }
            Err(error) if self.rules.accept_untrusted => {
                let kind = TlsError::from(error).failure_kind();
                note(|notes| notes.tolerated = Some(kind));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        peer_is_server: bool,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(trust) = &self.rules.trust else { return Ok(()) };
        let usage = if peer_is_server { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let verified = trust.verify(leaf, intermediates, now, usage, self.rules.chain, &self.algorithms);
        Ok(verified?)
    }

    fn check_leaf(
        &self,
        der: &CertificateDer<'_>,
        server_name: Option<&ServerName<'_>>,
        expected: Option<&str>,
    ) -> Result<(), Error> {
        let rules = &self.rules;
        if rules.is_empty() && !rules.enforce_rsa_key_usage && expected.is_none() {
            return Ok(());
        }
        let leaf = Certificate::parse(der).map_err(|_| CertificateError::BadEncoding)?;
        if rules.enforce_rsa_key_usage
            && matches!(key_kind(leaf.spki), Ok(KeyKind::Rsa { .. }))
            && !leaf.allows_digital_signature()
        {
            return Err(PeerRejection::KeyUsage.into());
        }
        if let Some(expected) = expected
            && !leaf.subject_alt_names().any(|name| name.is(expected))
        {
            return Err(PeerRejection::ExpectedName.into());
        }
        if !self.names_match(&leaf, server_name) {
            return Err(PeerRejection::SubjectAltName.into());
        }
        let is_listed =
            |hashes: &[[u8; 32]], bytes: &[u8]| !hashes.is_empty() && hashes.contains(&sha256(bytes));
        let asks_hash = !rules.certificate_hashes.is_empty() || !rules.key_hashes.is_empty();
        if asks_hash
            && !is_listed(&rules.certificate_hashes, leaf.der)
            && !is_listed(&rules.key_hashes, leaf.spki)
        {
            return Err(PeerRejection::Hash.into());
        }
        Ok(())
    }

    fn names_match(&self, leaf: &Certificate<'_>, server_name: Option<&ServerName<'_>>) -> bool {
        match server_name {
            Some(ServerName::DnsName(wanted)) if self.rules.match_server_name => {
                leaf.subject_alt_names().any(|name| match name {
                    SubjectAltName::Dns(presented) => dns_name_matches(wanted.as_ref().as_bytes(), presented),
                    _ => false,
                })
            }
            // Without a name that was asked for, the configured matchers are all there is.
            _ => {
                let matchers = &self.rules.san_matchers;
                let any_matches = |name| matchers.iter().any(|matcher| matcher.matches(name));
                matchers.is_empty() || leaf.subject_alt_names().any(any_matches)
            }
        }
    }

    fn check_signature_tls12(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note(|notes| notes.peer_signature = Some(signed.scheme));
        let leaf = Certificate::parse(der).map_err(|_| CertificateError::BadEncoding)?;
        if leaf.version == 3 {
            return verify_tls12_signature(message, der, signed, &self.algorithms);
        }
        // webpki reads certificates of version 3 only, but keys are keys.
        let spki = SubjectPublicKeyInfoDer::from(leaf.spki);
        let key = RawPublicKeyEntity::try_from(&spki).map_err(certificate_error)?;
        let known = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) = known.ok_or(CertificateError::BadSignature)?;
        let is_valid =
            algorithms.iter().any(|alg| key.verify_signature(*alg, message, signed.signature()).is_ok());
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn check_signature_tls13(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        note(|notes| notes.peer_signature = Some(signed.scheme));
        let leaf = Certificate::parse(der).map_err(|_| CertificateError::BadEncoding)?;
        let spki = SubjectPublicKeyInfoDer::from(leaf.spki);
        verify_tls13_signature_with_raw_key(message, &spki, signed, &self.algorithms)
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, Some(server_name), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.rules.is_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.authorities
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, None, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests;
