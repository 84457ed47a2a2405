//! OCSP responses that a server hands to its clients (RFC 6960 4.2.1, RFC 6066 8): for which certificate, and
//! until when. Their signatures are the clients' business.

use super::certificate::Certificate;
use super::der::{DerError, Reader, tag, unix_seconds};

/// `id-pkix-ocsp-basic`
const BASIC_RESPONSE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const SUCCESSFUL: &[u8] = &[0];

/// Why a response cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not an OCSP response.
    #[error("not an OCSP response in DER")]
    Malformed,
    /// A response that says that there is none.
    #[error("OCSP response was unsuccessful")]
    Unsuccessful,
    /// It does not answer for exactly one certificate.
    #[error("OCSP response must be for one certificate only")]
    NotForOneCertificate,
    /// It is about another certificate.
    #[error("OCSP response does not match its TLS certificate")]
    WrongCertificate,
}

/// What counts of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspResponse {
    serial: Vec<u8>,
    this_update: u64,
    /// None: newer information is always available.
    next_update: Option<u64>,
}

impl From<DerError> for OcspError {
    fn from(_: DerError) -> OcspError {
        OcspError::Malformed
    }
}

impl OcspResponse {
    /// Reads a response.
    ///
    /// # Errors
    /// If it is none, reports an error, or is not about exactly one certificate.
    pub fn parse(der: &[u8]) -> Result<OcspResponse, OcspError> {
        let mut response = Reader::new(Reader::new(der).expect(tag::SEQUENCE)?);
        if response.expect(tag::ENUMERATED)? != SUCCESSFUL {
            return Err(OcspError::Unsuccessful);
        }
        let mut bytes =
            Reader::new(Reader::new(response.expect(tag::constructed(0))?).expect(tag::SEQUENCE)?);
        if bytes.expect(tag::OID)? != BASIC_RESPONSE {
            return Err(OcspError::Malformed);
        }
        let basic = Reader::new(bytes.expect(tag::OCTET_STRING)?).expect(tag::SEQUENCE)?;
        let mut data = Reader::new(Reader::new(basic).expect(tag::SEQUENCE)?);
        // Version, then who answers (by name or by key), then when.
        data.optional(tag::constructed(0))?;
        data.element()?;
        data.expect(tag::GENERALIZED_TIME)?;
        let mut answers = Reader::new(data.expect(tag::SEQUENCE)?);
        let answer = answers.expect(tag::SEQUENCE);
        match (answer, answers.is_empty()) {
            (Ok(answer), true) => OcspResponse::from_answer(answer),
            _ => Err(OcspError::NotForOneCertificate),
        }
    }

    /// Checks that the response is about this certificate, by its serial number.
    ///
    /// # Errors
    /// If it is not.
    pub fn check_certificate(&self, certificate: &Certificate<'_>) -> Result<(), OcspError> {
        if self.serial == certificate.serial { Ok(()) } else { Err(OcspError::WrongCertificate) }
    }

    /// Whether the response may be handed out at `now`, in seconds since the Unix epoch.
    pub fn is_valid_at(&self, now: u64) -> bool {
        self.this_update <= now && self.next_update.is_some_and(|next| now < next)
    }

    /// When it stops being valid, in seconds since the Unix epoch.
    pub fn next_update(&self) -> Option<u64> {
        self.next_update
    }

    fn from_answer(answer: &[u8]) -> Result<OcspResponse, OcspError> {
        let mut fields = Reader::new(answer);
        let mut certificate = Reader::new(fields.expect(tag::SEQUENCE)?);
        // Hash algorithm, hashes of the issuer's name and key.
        for _ in 0..3 {
            certificate.element()?;
        }
        let serial = certificate.expect(tag::INTEGER)?.to_vec();
        // Whether it is good is what clients read.
        fields.element()?;
        let this_update = unix_seconds(fields.element()?)?;
        let next_update = match fields.optional(tag::constructed(0))? {
            Some(next) => Some(unix_seconds(Reader::new(next).element()?)?),
            None => None,
        };
        Ok(OcspResponse { serial, this_update, next_update })
    }
}

/// Responses for tests.
#[cfg(test)]
pub(super) mod testing {
    use super::{BASIC_RESPONSE, tag};

    pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        let mut out = match len {
            0..0x80 => vec![tag, len as u8],
            0x80..0x100 => vec![tag, 0x81, len as u8],
            _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
        };
        out.extend_from_slice(content);
        out
    }

    pub fn answer(serial: &[u8], next_update: Option<&str>) -> Vec<u8> {
        let id = [
            element(tag::SEQUENCE, &element(tag::OID, &[0x2b, 0x0e, 3, 2, 0x1a])),
            element(tag::OCTET_STRING, &[1; 20]),
            element(tag::OCTET_STRING, &[2; 20]),
            element(tag::INTEGER, serial),
        ];
        let next = next_update.map_or(vec![], |time| {
            element(tag::constructed(0), &element(tag::GENERALIZED_TIME, time.as_bytes()))
        });
        let good = element(tag::primitive(0), &[]);
        let this = element(tag::GENERALIZED_TIME, b"20240101000000Z");
        element(tag::SEQUENCE, &[element(tag::SEQUENCE, &id.concat()), good, this, next].concat())
    }

    /// A response without a signature, which nobody here looks at.
    pub fn response(answers: &[Vec<u8>]) -> Vec<u8> {
        let responder = element(tag::constructed(2), &element(tag::OCTET_STRING, &[3; 20]));
        let produced = element(tag::GENERALIZED_TIME, b"20240101000000Z");
        let data = element(
            tag::SEQUENCE,
            &[responder, produced, element(tag::SEQUENCE, &answers.concat())].concat(),
        );
        let basic = element(tag::OCTET_STRING, &element(tag::SEQUENCE, &data));
        let bytes = element(tag::SEQUENCE, &[element(tag::OID, BASIC_RESPONSE), basic].concat());
        element(
            tag::SEQUENCE,
            &[element(tag::ENUMERATED, &[0]), element(tag::constructed(0), &bytes)].concat(),
        )
    }

    /// A response for the certificate with this serial number.
    pub fn response_for(serial: &[u8], next_update: &str) -> Vec<u8> {
        response(&[answer(serial, Some(next_update))])
    }

    /// A response for some certificate.
    pub fn response_until(next_update: &str) -> Vec<u8> {
        response_for(&[7], next_update)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{answer, element, response};
    use super::*;

    #[test]
    fn validity_and_certificate_are_read() {
        let response =
            OcspResponse::parse(&response(&[answer(&[7, 8], Some("20240201000000Z"))])).expect("a response");
        assert_eq!(response.serial, [7, 8]);
        assert!(response.is_valid_at(1_705_000_000));
        assert!(!response.is_valid_at(1_700_000_000) && !response.is_valid_at(1_706_745_600));
        assert_eq!(response.next_update(), Some(1_706_745_600));
    }

    #[test]
    fn a_response_without_an_end_is_never_valid() {
        let response = OcspResponse::parse(&response(&[answer(&[7], None)])).expect("a response");
        assert!(!response.is_valid_at(1_705_000_000));
    }

    #[test]
    fn other_responses_are_refused() {
        let parse = OcspResponse::parse;
        let unsuccessful = element(tag::SEQUENCE, &element(tag::ENUMERATED, &[6]));
        assert_eq!(parse(&unsuccessful), Err(OcspError::Unsuccessful));
        assert_eq!(parse(b"nonsense"), Err(OcspError::Malformed));
        assert_eq!(parse(&response(&[])), Err(OcspError::NotForOneCertificate));
        let two = response(&[answer(&[7], None), answer(&[8], None)]);
        assert_eq!(parse(&two), Err(OcspError::NotForOneCertificate));
    }

    proptest! {
        #[test]
        fn damaged_responses_do_no_harm(at in 0_usize..160, byte: u8) {
            let mut der = response(&[answer(&[7, 8], Some("20240201000000Z"))]);
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = OcspResponse::parse(&der);
        }
    }
}
