//! Rules for peers' certificates (`envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`).

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;

use super::certificate::{Source, inline_digest};
use crate::config::{Context, ExternalData, FieldPath, StringMatcher, StringPattern};
use crate::tls::subject_alt_name::{SanKind, SanMatcher, SanPattern};
use crate::tls::{ChainPolicy, PeerRules, TrustStore};

/// Where systems keep their bundle of authorities; the first that can be read counts.
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Rules for peers' certificates.
#[derive(Debug, Clone, Default)]
pub struct CertificateValidationContext {
    /// The rules; what depends on the side (whether a client must show a certificate, whether a server's must have the
    /// name that was asked for) is left open.
    pub rules: PeerRules,
    /// What the expiry of the first trusted certificate is listed under; for discovered ones the secret's name.
    pub stat_name: String,
    /// Where the trusted certificates are from: a file, a variable or `<inline>`.
    pub trust_file: String,
    /// Directory whose change means that the files have changed.
    pub watched_directory: Option<String>,
}

impl CertificateValidationContext {
    /// Converts rules. Errors are recorded; the result is not to be used then.
    pub fn from_proto(
        proto: &tls_proto::CertificateValidationContext,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> CertificateValidationContext {
        use tls_proto::certificate_validation_context::TrustChainVerification;
        let trust = trust(proto, path, context);
        if trust.is_none() {
            check_without_trust(proto, path, context);
        }
        let verification = path.field("trust_chain_verification");
        let rules = PeerRules {
            trust: trust.map(Arc::new),
            chain: ChainPolicy {
                allow_expired: proto.allow_expired_certificate,
                revocation_of_leaf_only: proto.only_verify_leaf_cert_crl,
                max_depth: proto.max_verify_depth.as_ref().map(|depth| depth.value),
            },
            san_matchers: san_matchers(proto, path, context),
            certificate_hashes: hashes(
                &proto.verify_certificate_hash,
                decode_hex,
                "Invalid hex-encoded SHA-256",
                (path, "verify_certificate_hash"),
                context,
            ),
            key_hashes: hashes(
                &proto.verify_certificate_spki,
                decode_base64,
                "Invalid base64-encoded SHA-256",
                (path, "verify_certificate_spki"),
                context,
            ),
            accept_untrusted: match context.enum_value(proto.trust_chain_verification, &verification) {
                TrustChainVerification::VerifyTrustChain => false,
                TrustChainVerification::AcceptUntrusted => true,
            },
            suppress_authorities: proto.suppress_client_ca_list,
            ..PeerRules::default()
        };
        let digest = proto.trusted_ca.as_ref().map(|_| format!("_{}", inline_digest(&proto.trusted_ca)));
        CertificateValidationContext {
            rules,
            stat_name: format!("unnamed_ca_cert{}", digest.unwrap_or_default()),
            trust_file: proto.trusted_ca.as_ref().map(Source::name_of).unwrap_or_default(),
            watched_directory: proto.watched_directory.as_ref().map(|watched| watched.path.clone()),
        }
    }
}

/// The trusted certificates with revocation lists; none if none are configured, or they cannot be used.
fn trust(
    proto: &tls_proto::CertificateValidationContext,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<TrustStore> {
    let errors = context.errors().len();
    let authorities = Source::read(&proto.trusted_ca, path.field("trusted_ca"), context);
    let lists = Source::read(&proto.crl, path.field("crl"), context);
    if context.errors().len() > errors {
        return None;
    }
    let store = match (&proto.trusted_ca, &proto.system_root_certs) {
        (Some(_), _) => TrustStore::from_pem(&authorities.bytes)
            .map_err(|error| (authorities.path, authorities.name, error.to_string())),
        (None, Some(_)) => {
            let found = SYSTEM_BUNDLES
                .iter()
                .find_map(|name| Some((*name, context.read(ExternalData::File(name)).ok()?)));
            let path = path.field("system_root_certs");
            match found {
                Some((name, pem)) => TrustStore::from_system_bundle(&pem)
                    .map_err(|error| (path, name.to_owned(), error.to_string())),
                None => Err((path, "the system".to_owned(), "no bundle found".to_owned())),
            }
        }
        (None, None) => return None,
    };
    let mut store = match store {
        Ok(store) => store,
        Err((path, name, error)) => {
            let message = format!("Failed to load trusted CA certificates from {name}, Cause: {error}");
            context.error(&path, message);
            return None;
        }
    };
    if proto.crl.is_some()
        && let Err(error) = store.add_revocation_lists(&lists.bytes)
    {
        context.error(&lists.path, format!("Failed to load CRL from {}, Cause: {error}", lists.name));
    }
    Some(store)
}

/// What makes no sense without trusted certificates.
fn check_without_trust(
    proto: &tls_proto::CertificateValidationContext,
    path: &FieldPath,
    context: &mut Context<'_>,
) {
    // If there are some that cannot be used, that was reported.
    if proto.trusted_ca.is_some() || proto.system_root_certs.is_some() {
        return;
    }
    if proto.crl.is_some() {
        context.error(&path.field("crl"), "a CRL without trusted_ca cannot be checked");
    }
    for (field, is_set) in [
        ("match_typed_subject_alt_names", !proto.match_typed_subject_alt_names.is_empty()),
        ("match_subject_alt_names", !proto.match_subject_alt_names.is_empty()),
    ] {
        if is_set {
            context.error(
                &path.field(field),
                "SAN-based verification of peer certificates without trusted CA is insecure and not allowed",
            );
        }
    }
    if proto.allow_expired_certificate {
        context.error(
            &path.field("allow_expired_certificate"),
            "Certificate validity period is always ignored without trusted CA",
        );
    }
}

fn san_matchers(
    proto: &tls_proto::CertificateValidationContext,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Vec<SanMatcher> {
    use tls_proto::subject_alt_name_matcher::SanType;
    let mut matchers = Vec::new();
    for (i, typed) in proto.match_typed_subject_alt_names.iter().enumerate() {
        let path = path.element("match_typed_subject_alt_names", i);
        let kind = match context.enum_value(typed.san_type, &path.field("san_type")) {
            SanType::Dns => SanKind::Dns,
            SanType::Uri => SanKind::Uri,
            SanType::Email => SanKind::Email,
            SanType::IpAddress => SanKind::Ip,
            SanType::OtherName => {
                if !is_oid(&typed.oid) {
                    let message =
                        format!("Failed to create SAN matcher for OTHER_NAME with OID: {}", typed.oid);
                    context.error(&path.field("oid"), message);
                }
                SanKind::OtherName
            }
            SanType::Unspecified => {
                context.error(&path.field("san_type"), "the type of name is required");
                continue;
            }
        };
        let matcher = typed.matcher.clone().unwrap_or_default();
        matchers.push(san_matcher(kind, &typed.oid, &matcher, &path.field("matcher"), context));
    }
    for (i, matcher) in proto.match_subject_alt_names.iter().enumerate() {
        let path = path.element("match_subject_alt_names", i);
        for kind in [SanKind::Dns, SanKind::Uri, SanKind::Email, SanKind::Ip] {
            matchers.push(san_matcher(kind, "", matcher, &path, context));
        }
    }
    matchers
}

fn san_matcher(
    kind: SanKind,
    oid: &str,
    proto: &matcher::StringMatcher,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> SanMatcher {
    let matcher = StringMatcher::from_proto(proto, path, context);
    let fingerprint = format!("{kind:?} {oid} {matcher:?}");
    let pattern = match matcher.pattern {
        // Names of hosts are always compared without regard to case.
        StringPattern::Exact(text) if !matcher.ignore_case || kind == SanKind::Dns => SanPattern::Exact(text),
        _ => SanPattern::Predicate(Arc::new(move |name| matcher.matches(name))),
    };
    SanMatcher { kind, oid: oid.to_owned(), pattern, fingerprint }
}

fn hashes(
    texts: &[String],
    decode: impl Fn(&str) -> Option<[u8; 32]>,
    complaint: &str,
    (path, field): (&FieldPath, &str),
    context: &mut Context<'_>,
) -> Vec<[u8; 32]> {
    let mut hashes = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match decode(text) {
            Some(hash) => hashes.push(hash),
            None => context.error(&path.element(field, i), format!("{complaint} {text}")),
        }
    }
    hashes
}

/// 64 digits, or pairs of digits with colons in between.
fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let text = if text.len() == 95 { text.replace(':', "") } else { text.to_owned() };
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Base64 (RFC 4648 4) of 32 bytes: 43 digits and one `=`.
fn decode_base64(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_suffix('=')?;
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    if digits.len() == 43 { bytes.try_into().ok() } else { None }
}

/// Numbers with dots in between, two at least.
fn is_oid(text: &str) -> bool {
    text.contains('.')
        && text.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_decoded() {
        let hex = "00ff".repeat(16);
        let expected: [u8; 32] = std::array::from_fn(|at| if at % 2 == 0 { 0 } else { 0xff });
        assert_eq!(decode_hex(&hex), Some(expected));
        assert_eq!(decode_hex(&hex.to_uppercase()), Some(expected));
        let pairs: Vec<&str> = (0..32).map(|at| &hex[2 * at..2 * at + 2]).collect();
        assert_eq!(decode_hex(&pairs.join(":")), Some(expected));
        for bad in ["", "00", &hex[1..], &hex.replace('f', "g")] {
            assert_eq!(decode_hex(bad), None, "{bad}");
        }
        assert_eq!(decode_base64("AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8="), Some(expected));
        for bad in
            ["", "AP8=", "AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8", &"a".repeat(44), &"é".repeat(22)]
        {
            assert_eq!(decode_base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn identifiers_are_numbers_with_dots() {
        assert!(is_oid("1.2.840.113549") && is_oid("2.5"));
        for bad in ["", "1", "x.y", "1.", ".1", "1..2"] {
            assert!(!is_oid(bad), "{bad}");
        }
    }
}
