//! Versions, cipher suites, groups and signature schemes: their names in Envoy's configuration and
//! statistics (BoringSSL's names), and what rustls has of them.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite as suites, kx_group as groups};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme, SupportedCipherSuite};

/// Protocol versions that are implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// RFC 5246
    Tls12,
    /// RFC 8446
    Tls13,
}

/// What both ends may negotiate.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Oldest version.
    pub min_version: TlsVersion,
    /// Newest version.
    pub max_version: TlsVersion,
    /// Suites of TLS 1.2 in order of preference, those in one group being equal; the suites of 1.3 are fixed and
    /// equal, as in BoringSSL.
    pub cipher_suites: Vec<Vec<SupportedCipherSuite>>,
    /// Groups in order of preference.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Signature schemes to use and accept; empty for all that there are.
    pub signature_schemes: Vec<SignatureScheme>,
}

/// A name in a list that stands for nothing that is implemented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name} is not implemented")]
pub struct UnknownName {
    /// `cipher suite`, `curve` or `signature algorithm`.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

/// Envoy's default list.
const DEFAULT_CIPHER_SUITES: &[&str] = &[
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];

/// Suites of TLS 1.2 with BoringSSL's name and the registered one.
const TLS12_SUITES: &[(&str, &str, SupportedCipherSuite)] = &[
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
];

const TLS13_SUITES: &[SupportedCipherSuite] = &[
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
];

const GROUPS: &[(&str, &dyn SupportedKxGroup)] = &[
    ("X25519", groups::X25519),
    ("P-256", groups::SECP256R1),
    ("P-384", groups::SECP384R1),
    ("X25519MLKEM768", groups::X25519MLKEM768),
];

const SIGNATURE_SCHEMES: &[(&str, SignatureScheme)] = &[
    ("rsa_pkcs1_sha256", SignatureScheme::RSA_PKCS1_SHA256),
    ("rsa_pkcs1_sha384", SignatureScheme::RSA_PKCS1_SHA384),
    ("rsa_pkcs1_sha512", SignatureScheme::RSA_PKCS1_SHA512),
    ("ecdsa_secp256r1_sha256", SignatureScheme::ECDSA_NISTP256_SHA256),
    ("ecdsa_secp384r1_sha384", SignatureScheme::ECDSA_NISTP384_SHA384),
    ("ecdsa_secp521r1_sha512", SignatureScheme::ECDSA_NISTP521_SHA512),
    ("rsa_pss_rsae_sha256", SignatureScheme::RSA_PSS_SHA256),
    ("rsa_pss_rsae_sha384", SignatureScheme::RSA_PSS_SHA384),
    ("rsa_pss_rsae_sha512", SignatureScheme::RSA_PSS_SHA512),
    ("ed25519", SignatureScheme::ED25519),
];

impl TlsVersion {
    /// The name in statistics and logs.
    pub fn name(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        }
    }

    pub(super) fn from_rustls(version: ProtocolVersion) -> TlsVersion {
        if version == ProtocolVersion::TLSv1_3 { TlsVersion::Tls13 } else { TlsVersion::Tls12 }
    }
}

impl Parameters {
    /// Envoy's defaults with these versions.
    pub fn new(min_version: TlsVersion, max_version: TlsVersion) -> Parameters {
        Parameters {
            min_version,
            max_version,
            cipher_suites: parse_cipher_suites(DEFAULT_CIPHER_SUITES).unwrap_or_default(),
            groups: vec![groups::X25519MLKEM768, groups::X25519, groups::SECP256R1],
            signature_schemes: Vec::new(),
        }
    }

    /// The versions as rustls takes them.
    pub(super) fn versions(&self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        use rustls::SupportedProtocolVersion;
        use rustls::version::{TLS12, TLS13};
        static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        match (self.min_version, self.max_version) {
            (TlsVersion::Tls12, TlsVersion::Tls12) => &BOTH[1..],
            (TlsVersion::Tls13, _) => &BOTH[..1],
            (TlsVersion::Tls12, TlsVersion::Tls13) => BOTH,
        }
    }

    /// All suites, those of TLS 1.3 first; within a group those with ChaCha20 come first or last.
    pub(super) fn all_cipher_suites(&self, chacha20_first: bool) -> Vec<SupportedCipherSuite> {
        let mut suites = TLS13_SUITES.to_vec();
        for group in &self.cipher_suites {
            let start = suites.len();
            suites.extend_from_slice(group);
            // The sort is stable.
            suites[start..].sort_by_key(|suite| is_chacha20(suite.suite()) != chacha20_first);
        }
        suites
    }

    /// Whether `scheme` may be used.
    pub(super) fn allows_scheme(&self, scheme: SignatureScheme) -> bool {
        self.signature_schemes.is_empty() || self.signature_schemes.contains(&scheme)
    }
}

/// The suites that lists in BoringSSL's syntax name: `A`, `[A|B]` for a group of equal preference, several of these
/// joined by `:`.
///
/// # Errors
/// The first name that stands for none.
pub fn parse_cipher_suites<S: AsRef<str>>(
    lists: &[S],
) -> Result<Vec<Vec<SupportedCipherSuite>>, UnknownName> {
    let groups = lists.iter().flat_map(|list| list.as_ref().split(':'));
    groups
        .map(|group| {
            let inner = group.strip_prefix('[').and_then(|group| group.strip_suffix(']'));
            inner.unwrap_or(group).split('|').map(tls12_suite).collect()
        })
        .collect()
}

/// Whether the suite encrypts with ChaCha20.
pub(super) fn is_chacha20(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// The groups of these names, several joined by `:`.
///
/// # Errors
/// The first name that stands for none.
pub fn parse_groups<S: AsRef<str>>(lists: &[S]) -> Result<Vec<&'static dyn SupportedKxGroup>, UnknownName> {
    let names = lists.iter().flat_map(|list| list.as_ref().split(':'));
    names.map(|name| find(GROUPS, name, "the curve")).collect()
}

/// The signature schemes of these names, several joined by `:`.
///
/// # Errors
/// The first name that stands for none.
pub fn parse_signature_schemes<S: AsRef<str>>(lists: &[S]) -> Result<Vec<SignatureScheme>, UnknownName> {
    let names = lists.iter().flat_map(|list| list.as_ref().split(':'));
    names.map(|name| find(SIGNATURE_SCHEMES, name, "the signature algorithm")).collect()
}

/// Every name of a cipher suite that can be negotiated.
pub fn cipher_names() -> impl Iterator<Item = &'static str> {
    let all = TLS13_SUITES.iter().chain(TLS12_SUITES.iter().map(|(_, _, suite)| suite));
    all.map(|suite| cipher_name(suite.suite()))
}

/// Every name of a cipher suite that can be configured: those of TLS 1.3 cannot.
pub fn tls12_cipher_names() -> impl Iterator<Item = &'static str> {
    TLS12_SUITES.iter().map(|(name, _, _)| *name)
}

/// BoringSSL's name of a negotiated cipher suite.
pub fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => TLS12_SUITES
            .iter()
            .find(|(_, _, suite)| suite.suite() == other)
            .map_or("unknown_ssl_cipher", |(name, _, _)| *name),
    }
}

/// Every name of a group that can be negotiated.
pub fn group_names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|(name, _)| *name)
}

/// BoringSSL's name of a group.
pub fn group_name(group: NamedGroup) -> &'static str {
    GROUPS.iter().find(|(_, known)| known.name() == group).map_or("unknown_ssl_curve", |(name, _)| *name)
}

/// Every name of a signature scheme that can be negotiated.
pub fn signature_scheme_names() -> impl Iterator<Item = &'static str> {
    SIGNATURE_SCHEMES.iter().map(|(name, _)| *name)
}

/// BoringSSL's name of a signature scheme.
pub fn signature_scheme_name(scheme: SignatureScheme) -> &'static str {
    SIGNATURE_SCHEMES
        .iter()
        .find(|(_, known)| *known == scheme)
        .map_or("unknown_ssl_algorithm", |(name, _)| *name)
}

fn tls12_suite(name: &str) -> Result<SupportedCipherSuite, UnknownName> {
    let known = TLS12_SUITES.iter().find(|(short, registered, _)| [*short, *registered].contains(&name));
    known
        .map(|(_, _, suite)| *suite)
        .ok_or_else(|| UnknownName { what: "the cipher suite", name: name.to_owned() })
}

fn find<T: Copy>(table: &[(&str, T)], name: &str, what: &'static str) -> Result<T, UnknownName> {
    let known = table.iter().find(|(known, _)| *known == name);
    known.map(|(_, value)| *value).ok_or_else(|| UnknownName { what, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_boringssl_reads_them() {
        let list =
            ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]", "ECDHE-RSA-AES256-GCM-SHA384"];
        let names = |lists: &[&str]| -> Vec<_> {
            let groups = parse_cipher_suites(lists).expect("known");
            groups.iter().flatten().map(|suite| cipher_name(suite.suite())).collect()
        };
        assert_eq!(
            names(&list),
            ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(names(&[&list.join(":")]), names(&list));
        assert_eq!(names(&["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]), ["ECDHE-RSA-AES256-GCM-SHA384"]);
        let error = parse_cipher_suites(&["ECDHE-RSA-AES128-SHA"]).expect_err("CBC");
        assert_eq!(error.to_string(), "the cipher suite ECDHE-RSA-AES128-SHA is not implemented");
        assert!(parse_cipher_suites(&["TLS_AES_128_GCM_SHA256"]).is_err(), "not configurable");
    }

    #[test]
    fn groups_and_schemes_have_names() {
        let groups = parse_groups(&["X25519MLKEM768", "X25519:P-384"]).expect("known");
        let names: Vec<_> = groups.iter().map(|group| group_name(group.name())).collect();
        assert_eq!(names, ["X25519MLKEM768", "X25519", "P-384"]);
        assert!(parse_groups(&["P-521"]).is_err());
        let schemes = parse_signature_schemes(&["ed25519", "rsa_pss_rsae_sha256"]).expect("known");
        assert_eq!(schemes, [SignatureScheme::ED25519, SignatureScheme::RSA_PSS_SHA256]);
        assert_eq!(signature_scheme_name(SignatureScheme::RSA_PKCS1_SHA1), "unknown_ssl_algorithm");
    }

    #[test]
    fn versions_are_a_range() {
        let count = |min, max| Parameters::new(min, max).versions().len();
        assert_eq!(count(TlsVersion::Tls12, TlsVersion::Tls13), 2);
        assert_eq!(count(TlsVersion::Tls12, TlsVersion::Tls12), 1);
        assert_eq!(count(TlsVersion::Tls13, TlsVersion::Tls13), 1);
    }

    #[test]
    fn equal_suites_change_places_for_clients_without_aes() {
        let parameters = Parameters::new(TlsVersion::Tls12, TlsVersion::Tls13);
        let names = |chacha20_first| -> Vec<_> {
            let suites = parameters.all_cipher_suites(chacha20_first);
            suites.iter().skip(3).take(4).map(|suite| cipher_name(suite.suite())).collect()
        };
        let (aes, chacha20) = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305");
        let (rsa_aes, rsa_chacha20) = ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305");
        assert_eq!(names(false), [aes, chacha20, rsa_aes, rsa_chacha20]);
        assert_eq!(names(true), [chacha20, aes, rsa_chacha20, rsa_aes]);
        assert_eq!(parameters.all_cipher_suites(false).len(), 9);
    }
}
