//! The certificates that a peer has shown, and what is told of them in headers, logs and policies.
//!
//! They are read when somebody asks; each text is made once for a connection.

use std::cell::OnceCell;

use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::sha256;
use super::subject_alt_name::SubjectAltName;

/// The peer's certificates, its own first; never empty.
#[derive(Debug)]
pub struct PeerCertificates {
    chain: Vec<CertificateDer<'static>>,
    facts: OnceCell<LeafFacts>,
    pem: OnceCell<String>,
}

/// What the peer's own certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeafFacts {
    /// Its subject (RFC 2253).
    pub subject: String,
    /// Its issuer (RFC 2253).
    pub issuer: String,
    /// Its serial number in lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of all of it in lower-case hexadecimal.
    pub sha256: String,
    /// Its URI names.
    pub uri_sans: Vec<String>,
    /// Its DNS names.
    pub dns_sans: Vec<String>,
    /// Its IP addresses.
    pub ip_sans: Vec<String>,
    /// Its mail addresses.
    pub email_sans: Vec<String>,
    /// Its other names.
    pub other_name_sans: Vec<String>,
    /// First and last second of its validity, since the Unix epoch.
    pub validity: (u64, u64),
}

impl PeerCertificates {
    /// Keeps a chain; none if it is empty.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Option<PeerCertificates> {
        if chain.is_empty() {
            return None;
        }
        Some(PeerCertificates { chain, facts: OnceCell::new(), pem: OnceCell::new() })
    }

    /// All certificates, the peer's own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What the peer's own certificate says.
    pub fn leaf(&self) -> &LeafFacts {
        self.facts.get_or_init(|| LeafFacts::read(&self.chain[0]))
    }

    /// SHA-1 of the peer's own certificate in lower-case hexadecimal; made anew at each call.
    pub fn sha1(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.chain[0]);
        hex(digest.as_ref())
    }

    /// The peer's own certificate as PEM, URL-encoded as `x-forwarded-client-cert` carries it.
    pub fn url_encoded_pem(&self) -> &str {
        self.pem.get_or_init(|| url_encode(&pem(&self.chain[0])))
    }

    /// The whole chain likewise; made anew at each call.
    pub fn url_encoded_pem_chain(&self) -> String {
        self.chain.iter().map(|certificate| url_encode(&pem(certificate))).collect()
    }
}

impl LeafFacts {
    /// Reads a certificate; of one that cannot be read, only the hash is known.
    pub(super) fn read(der: &[u8]) -> LeafFacts {
        let sha256 = hex(&sha256(der));
        let Ok(certificate) = Certificate::parse(der) else {
            return LeafFacts { sha256, ..LeafFacts::default() };
        };
        let mut facts = LeafFacts {
            subject: certificate.subject_text(),
            issuer: certificate.issuer_text(),
            serial: hex(certificate.serial.strip_prefix(&[0]).unwrap_or(certificate.serial)),
            sha256,
            validity: (certificate.not_before, certificate.not_after),
            ..LeafFacts::default()
        };
        for name in certificate.subject_alt_names() {
            match name {
                SubjectAltName::Uri(_) => facts.uri_sans.push(name.text()),
                SubjectAltName::Dns(_) => facts.dns_sans.push(name.text()),
                SubjectAltName::Ip(_) => facts.ip_sans.push(name.text()),
                SubjectAltName::Email(_) => facts.email_sans.push(name.text()),
                SubjectAltName::OtherName { .. } => facts.other_name_sans.push(name.text()),
                SubjectAltName::Unknown => {}
            }
        }
        facts
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// A certificate in PEM (RFC 7468), lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let body = base64(der);
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Escapes the bytes that Envoy escapes in a certificate's PEM.
fn url_encode(pem: &str) -> String {
    let mut text = String::with_capacity(pem.len() + pem.len() / 8);
    for character in pem.chars() {
        match character {
            '\n' => text.push_str("%0A"),
            ' ' => text.push_str("%20"),
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a.example".into(), "10.0.0.1".into()]).expect("names");
        params.subject_alt_names.push(SanType::URI("spiffe://td/ns/a".try_into().expect("a URI")));
        params.serial_number = Some(vec![0xab, 0xcd].into());
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().clone()
    }

    #[test]
    fn facts_of_the_leaf() {
        let der = certificate();
        let peer = PeerCertificates::new(vec![der.clone()]).expect("not empty");
        let leaf = peer.leaf();
        assert_eq!(leaf.uri_sans, ["spiffe://td/ns/a"]);
        assert_eq!(leaf.dns_sans, ["a.example"]);
        assert_eq!(leaf.ip_sans, ["10.0.0.1"]);
        assert_eq!(leaf.serial, "abcd");
        assert_eq!(leaf.sha256.len(), 64);
        assert!(std::ptr::eq(leaf, peer.leaf()), "read once");
        assert!(PeerCertificates::new(Vec::new()).is_none());
    }

    #[test]
    fn pem_reads_back_and_is_escaped() {
        let der = certificate();
        assert_eq!(CertificateDer::from_pem_slice(pem(&der).as_bytes()).expect("PEM"), der);
        for (bytes, text) in [(&b"a"[..], "YQ=="), (b"ab", "YWI="), (b"abc", "YWJj"), (b"", "")] {
            assert_eq!(base64(bytes), text);
        }
        let peer = PeerCertificates::new(vec![der.clone(), der]).expect("not empty");
        let encoded = peer.url_encoded_pem();
        assert!(encoded.starts_with("-----BEGIN%20CERTIFICATE-----%0A"));
        assert!(encoded.ends_with("-----END%20CERTIFICATE-----%0A"));
        assert!(!encoded.contains(['\n', '+', '/', '=', ' ']));
        assert_eq!(peer.url_encoded_pem_chain(), format!("{encoded}{encoded}"));
    }

    #[test]
    fn a_certificate_that_cannot_be_read_still_has_a_fingerprint() {
        let peer = PeerCertificates::new(vec![CertificateDer::from(vec![1, 2, 3])]).expect("not empty");
        assert_eq!(peer.leaf().subject, "");
        assert!(peer.leaf().sha256.starts_with("039058c6f2c0cb49"));
    }
}
