//! What stands in an X.509 certificate (RFC 5280 4.1), read in place.
//!
//! Facts only: signatures and chains are checked by webpki (`trust.rs`). Versions 1 to 3 are read.

use super::der::{DerError, Reader, tag, unix_seconds};
use super::distinguished_name;
use super::subject_alt_name::SubjectAltName;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
/// `TLS feature` (RFC 7633).
const TLS_FEATURE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 24];
/// A list of features that holds `status_request` only.
const MUST_STAPLE: &[u8] = &[0x30, 3, 2, 1, 5];

/// A certificate.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// All of it.
    pub der: &'a [u8],
    /// 1, 2 or 3.
    pub version: u8,
    /// Content of the serial number, big endian.
    pub serial: &'a [u8],
    /// Content of the issuer's name.
    pub issuer: &'a [u8],
    /// Content of the subject's name.
    pub subject: &'a [u8],
    /// First second of validity, since the Unix epoch.
    pub not_before: u64,
    /// Last second of validity, since the Unix epoch.
    pub not_after: u64,
    /// The public key with its algorithm (`SubjectPublicKeyInfo`).
    pub spki: &'a [u8],
    /// What the issuer signed.
    pub(super) signed_part: &'a [u8],
    /// Content of the signature algorithm's identifier.
    pub(super) signature_algorithm: &'a [u8],
    /// The signature.
    pub(super) signature: &'a [u8],
    /// Content of the list of extensions; empty if there is none.
    extensions: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate.
    ///
    /// # Errors
    /// If it does not have the outer form of one.
    pub fn parse(der: &'a [u8]) -> Result<Certificate<'a>, DerError> {
        let mut outer = Reader::new(der);
        let mut certificate = Reader::new(outer.expect(tag::SEQUENCE)?);
        let signed = certificate.element()?;
        let signature_algorithm = certificate.expect(tag::SEQUENCE)?;
        // The first byte says how many bits of the last one are unused: none.
        let signature = certificate.expect(tag::BIT_STRING)?.strip_prefix(&[0]).ok_or(DerError)?;
        if signed.tag != tag::SEQUENCE || !outer.is_empty() || !certificate.is_empty() {
            return Err(DerError);
        }
        let mut fields = Reader::new(signed.content);
        let version = match fields.optional(tag::constructed(0))? {
            Some(version) => match Reader::new(version).expect(tag::INTEGER)? {
                [number @ 0..=2] => number + 1,
                _ => return Err(DerError),
            },
            None => 1,
        };
        let serial = fields.expect(tag::INTEGER)?;
        fields.expect(tag::SEQUENCE)?;
        let issuer = fields.expect(tag::SEQUENCE)?;
        let mut validity = Reader::new(fields.expect(tag::SEQUENCE)?);
        let (not_before, not_after) =
            (unix_seconds(validity.element()?)?, unix_seconds(validity.element()?)?);
        let subject = fields.expect(tag::SEQUENCE)?;
        let spki = fields.element()?.whole;
        let mut extensions: &[u8] = &[];
        while !fields.is_empty() {
            let field = fields.element()?;
            if field.tag == tag::constructed(3) {
                extensions = Reader::new(field.content).expect(tag::SEQUENCE)?;
            }
        }
        Ok(Certificate {
            der,
            version,
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            spki,
            signed_part: signed.whole,
            signature_algorithm,
            signature,
            extensions,
        })
    }

    /// Whether `now`, in seconds since the Unix epoch, lies within the validity.
    pub fn is_valid_at(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// The subject as text (RFC 2253).
    pub fn subject_text(&self) -> String {
        distinguished_name::to_rfc2253(self.subject).unwrap_or_default()
    }

    /// The issuer as text (RFC 2253).
    pub fn issuer_text(&self) -> String {
        distinguished_name::to_rfc2253(self.issuer).unwrap_or_default()
    }

    /// The subject's common name.
    pub fn common_name(&self) -> Option<String> {
        distinguished_name::last_attribute(self.subject, COMMON_NAME).ok().flatten()
    }

    /// Whether there is an extension with alternative names at all.
    pub fn has_subject_alt_names(&self) -> bool {
        self.extension(SUBJECT_ALT_NAME).is_some()
    }

    /// The alternative names of the subject; ends at the first one that is malformed.
    pub fn subject_alt_names(&self) -> impl Iterator<Item = SubjectAltName<'a>> + use<'a> {
        let names =
            self.extension(SUBJECT_ALT_NAME).and_then(|value| Reader::new(value).expect(tag::SEQUENCE).ok());
        let mut reader = Reader::new(names.unwrap_or_default());
        std::iter::from_fn(move || reader.element().ok().map(SubjectAltName::from_element))
    }

    /// Whether the key may sign handshakes: true without a key usage extension.
    pub fn allows_digital_signature(&self) -> bool {
        self.extension(KEY_USAGE).is_none_or(|value| {
            // A bit string: the number of unused bits, then bit 0 in the highest place.
            Reader::new(value)
                .expect(tag::BIT_STRING)
                .is_ok_and(|bits| bits.get(1).is_some_and(|b| b & 0x80 != 0))
        })
    }

    /// Whether the certificate promises to come with an OCSP response.
    pub fn is_must_staple(&self) -> bool {
        self.extension(TLS_FEATURE) == Some(MUST_STAPLE)
    }

    /// The value of the first extension with this identifier.
    fn extension(&self, oid: &[u8]) -> Option<&'a [u8]> {
        let mut extensions = Reader::new(self.extensions);
        while let Ok(extension) = extensions.expect(tag::SEQUENCE) {
            let mut fields = Reader::new(extension);
            if fields.expect(tag::OID) == Ok(oid) {
                fields.optional(tag::BOOLEAN).ok()?;
                return fields.expect(tag::OCTET_STRING).ok();
            }
        }
        None
    }
}

/// What kind of key a `SubjectPublicKeyInfo` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits.
    Rsa {
        /// Length of the modulus.
        bits: usize,
    },
    /// A NIST curve.
    Ecdsa(EcCurve),
    /// Ed25519.
    Ed25519,
    /// Anything else.
    Other,
}

/// NIST curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EcCurve {
    /// P-256
    P256,
    /// P-384
    P384,
    /// P-521
    P521,
    /// Any other.
    Other,
}

/// The kind of key in `spki`.
///
/// # Errors
/// If it is not DER.
pub fn key_kind(spki: &[u8]) -> Result<KeyKind, DerError> {
    let mut fields = Reader::new(Reader::new(spki).expect(tag::SEQUENCE)?);
    let mut algorithm = Reader::new(fields.expect(tag::SEQUENCE)?);
    Ok(match algorithm.expect(tag::OID)? {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1] => {
            let key = fields.expect(tag::BIT_STRING)?.strip_prefix(&[0]).ok_or(DerError)?;
            let modulus = Reader::new(Reader::new(key).expect(tag::SEQUENCE)?).expect(tag::INTEGER)?;
            let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
            let leading = digits.first().map_or(0, |first| first.leading_zeros() as usize);
            KeyKind::Rsa { bits: (digits.len() * 8).saturating_sub(leading) }
        }
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => KeyKind::Ecdsa(match algorithm.expect(tag::OID)? {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] => EcCurve::P256,
            [0x2b, 0x81, 4, 0, 0x22] => EcCurve::P384,
            [0x2b, 0x81, 4, 0, 0x23] => EcCurve::P521,
            _ => EcCurve::Other,
        }),
        [0x2b, 0x65, 0x70] => KeyKind::Ed25519,
        _ => KeyKind::Other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params =
            CertificateParams::new(vec!["a.example".into(), "*.b.example".into()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, "leaf");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn fields_are_found() {
        let der = certificate(|params| {
            params.serial_number = Some(vec![1, 2, 3].into());
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2055, 1, 1);
            params.subject_alt_names.push(SanType::URI("spiffe://x/y".try_into().expect("a URI")));
        });
        let certificate = Certificate::parse(&der).expect("a certificate");
        assert_eq!((certificate.version, certificate.serial), (3, &[1, 2, 3][..]));
        assert_eq!((certificate.not_before, certificate.not_after), (1_577_836_800, 2_682_374_400));
        assert!(certificate.is_valid_at(1_600_000_000) && !certificate.is_valid_at(1_500_000_000));
        assert_eq!(certificate.common_name().as_deref(), Some("leaf"));
        assert!(certificate.subject_text().contains("CN=leaf"));
        assert_eq!(certificate.subject_text(), certificate.issuer_text());
        let names: Vec<String> = certificate.subject_alt_names().map(|name| name.text()).collect();
        assert_eq!(names, ["a.example", "*.b.example", "spiffe://x/y"]);
        assert_eq!(key_kind(certificate.spki), Ok(KeyKind::Ecdsa(EcCurve::P256)));
        assert!(!certificate.is_must_staple());
    }

    #[test]
    fn key_usage_may_forbid_signatures() {
        let allows = |usages: Vec<KeyUsagePurpose>| {
            let der = certificate(|params| params.key_usages = usages);
            Certificate::parse(&der).expect("a certificate").allows_digital_signature()
        };
        assert!(allows(vec![]));
        assert!(allows(vec![KeyUsagePurpose::DigitalSignature]));
        assert!(!allows(vec![KeyUsagePurpose::KeyEncipherment]));
    }

    #[test]
    fn must_staple_is_seen() {
        let der = certificate(|params| {
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
            params
                .custom_extensions
                .push(rcgen::CustomExtension::from_oid_content(&oid, MUST_STAPLE.to_vec()));
        });
        assert!(Certificate::parse(&der).expect("a certificate").is_must_staple());
    }

    proptest! {
        #[test]
        fn damaged_certificates_do_no_harm(at in 0_usize..400, byte: u8, cut in 0_usize..600) {
            let mut der = certificate(|_| {});
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            der.truncate(cut);
            if let Ok(certificate) = Certificate::parse(&der) {
                let _ = (certificate.subject_text(), certificate.common_name(), key_kind(certificate.spki));
                let _: Vec<String> = certificate.subject_alt_names().map(|name| name.text()).collect();
            }
        }
    }
}
