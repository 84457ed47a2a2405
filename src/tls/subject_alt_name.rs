//! Alternative names of a certificate's subject (RFC 5280 4.2.1.6), and matching them
//! (`envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::der::{Element, Reader, oid_text, tag};
use super::distinguished_name::string_value;

/// One alternative name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectAltName<'a> {
    /// A DNS name, maybe with a wildcard.
    Dns(&'a [u8]),
    /// A URI.
    Uri(&'a [u8]),
    /// A mail address.
    Email(&'a [u8]),
    /// An IP address.
    Ip(IpAddr),
    /// A name of a kind that an object identifier tells.
    OtherName {
        /// Content of the identifier.
        oid: &'a [u8],
        /// Its value.
        value: Element<'a>,
    },
    /// Of a kind that nothing here reads, or malformed.
    Unknown,
}

impl SubjectAltName<'_> {
    /// Whether this is what `expected` says: a DNS name, perhaps by a wildcard, a URI, a mail address, an IP address.
    pub fn is(&self, expected: &str) -> bool {
        match self {
            SubjectAltName::Dns(presented) => dns_name_matches(expected.as_bytes(), presented),
            SubjectAltName::Uri(text) | SubjectAltName::Email(text) => *text == expected.as_bytes(),
            SubjectAltName::Ip(address) => expected.parse() == Ok(*address),
            SubjectAltName::OtherName { .. } | SubjectAltName::Unknown => false,
        }
    }
}

/// Kinds of names that matchers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SanKind {
    /// DNS names.
    Dns,
    /// URIs.
    Uri,
    /// Mail addresses.
    Email,
    /// IP addresses.
    Ip,
    /// Other names.
    OtherName,
}

/// Matches names of one kind.
#[derive(Clone)]
pub struct SanMatcher {
    /// The kind.
    pub kind: SanKind,
    /// Identifier that an other name must have, as text (`1.2.3.4`).
    pub oid: String,
    /// What the name must be.
    pub pattern: SanPattern,
    /// Tells the matcher from those that match something else: its configuration as text.
    pub fingerprint: String,
}

/// Says whether the text of a name matches.
pub type Predicate = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What a name must be.
#[derive(Clone)]
pub enum SanPattern {
    /// This text; a DNS name in a certificate may be a wildcard that covers it.
    Exact(String),
    /// Whatever the function says, given the text of the name.
    Predicate(Predicate),
}

impl<'a> SubjectAltName<'a> {
    /// Reads a `GeneralName`.
    pub(super) fn from_element(name: Element<'a>) -> SubjectAltName<'a> {
        const OTHER_NAME: u8 = tag::constructed(0);
        const EMAIL: u8 = tag::primitive(1);
        const DNS: u8 = tag::primitive(2);
        const URI: u8 = tag::primitive(6);
        const IP: u8 = tag::primitive(7);
        match name.tag {
            EMAIL => SubjectAltName::Email(name.content),
            DNS => SubjectAltName::Dns(name.content),
            URI => SubjectAltName::Uri(name.content),
            IP => ip_address(name.content).map_or(SubjectAltName::Unknown, SubjectAltName::Ip),
            OTHER_NAME => other_name(name.content).unwrap_or(SubjectAltName::Unknown),
            _ => SubjectAltName::Unknown,
        }
    }

    /// The name as matchers and headers see it. Bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        match self {
            SubjectAltName::Dns(bytes) | SubjectAltName::Uri(bytes) | SubjectAltName::Email(bytes) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            SubjectAltName::Ip(address) => address.to_string(),
            SubjectAltName::OtherName { value, .. } => other_name_text(*value),
            SubjectAltName::Unknown => String::new(),
        }
    }

    fn kind(&self) -> Option<SanKind> {
        Some(match self {
            SubjectAltName::Dns(_) => SanKind::Dns,
            SubjectAltName::Uri(_) => SanKind::Uri,
            SubjectAltName::Email(_) => SanKind::Email,
            SubjectAltName::Ip(_) => SanKind::Ip,
            SubjectAltName::OtherName { .. } => SanKind::OtherName,
            SubjectAltName::Unknown => return None,
        })
    }
}

impl SanMatcher {
    /// Whether `name` is of the kind and matches.
    pub fn matches(&self, name: SubjectAltName<'_>) -> bool {
        if name.kind() != Some(self.kind) {
            return false;
        }
        match (name, &self.pattern) {
            (SubjectAltName::OtherName { oid, .. }, _) if oid_text(oid) != self.oid => false,
            (SubjectAltName::Dns(presented), SanPattern::Exact(wanted)) => {
                dns_name_matches(wanted.as_bytes(), presented)
            }
            (
                SubjectAltName::Dns(text) | SubjectAltName::Uri(text) | SubjectAltName::Email(text),
                pattern,
            ) => pattern.matches(text),
            (other, pattern) => pattern.matches(other.text().as_bytes()),
        }
    }
}

impl SanPattern {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            SanPattern::Exact(wanted) => wanted.as_bytes() == text,
            SanPattern::Predicate(predicate) => predicate(text),
        }
    }
}

impl fmt::Debug for SanMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            SanPattern::Exact(text) => write!(f, "SanMatcher({:?} {text:?})", self.kind),
            SanPattern::Predicate(_) => write!(f, "SanMatcher({:?} predicate)", self.kind),
        }
    }
}

/// Whether the DNS name `presented` in a certificate covers `wanted`, as Envoy compares them: without regard
/// to case; `*` may stand for a part of the first label, or all of it, where that is not an A-label.
pub fn dns_name_matches(wanted: &[u8], presented: &[u8]) -> bool {
    if wanted.eq_ignore_ascii_case(presented) {
        return true;
    }
    let (Some((label, parent)), Some((pattern, pattern_parent))) =
        (split_first_label(wanted), split_first_label(presented))
    else {
        return false;
    };
    let is_a_label = pattern.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"));
    let mut stars = pattern.iter().enumerate().filter(|(_, byte)| **byte == b'*').map(|(at, _)| at);
    let (Some(star), None) = (stars.next(), stars.next()) else { return false };
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    !is_a_label
        && !pattern_parent.contains(&b'*')
        && parent.eq_ignore_ascii_case(pattern_parent)
        && label.len() >= before.len() + after.len()
        && label[..before.len()].eq_ignore_ascii_case(before)
        && label[label.len() - after.len()..].eq_ignore_ascii_case(after)
}

fn split_first_label(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = name.iter().position(|&byte| byte == b'.')?;
    Some((&name[..dot], &name[dot + 1..]))
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))).ok()
}

fn other_name(content: &[u8]) -> Option<SubjectAltName<'_>> {
    let mut fields = Reader::new(content);
    let oid = fields.expect(tag::OID).ok()?;
    let value = Reader::new(fields.expect(tag::constructed(0)).ok()?).element().ok()?;
    Some(SubjectAltName::OtherName { oid, value })
}

/// The value of an other name as Envoy shows it to matchers.
fn other_name_text(value: Element<'_>) -> String {
    match value.tag {
        tag::BOOLEAN => (value.content != [0]).to_string(),
        tag::OID => oid_text(value.content),
        tag::INTEGER | tag::ENUMERATED => match value.content {
            [] => String::new(),
            // Two's complement; numbers beyond 64 bits are not names that anybody matches.
            digits if digits.len() <= 8 => {
                let sign = if digits[0] & 0x80 != 0 { -1 } else { 0 };
                digits.iter().fold(sign, |number: i64, &byte| (number << 8) | i64::from(byte)).to_string()
            }
            _ => String::new(),
        },
        _ => string_value(value).unwrap_or_else(|| String::from_utf8_lossy(value.content).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_one_label() {
        let covers =
            |presented: &str, wanted: &str| dns_name_matches(wanted.as_bytes(), presented.as_bytes());
        for (presented, wanted) in [
            ("a.example", "A.Example"),
            ("*.example.com", "www.example.com"),
            ("w*.example.com", "www.example.com"),
            ("*w.example.com", "www.example.com"),
            ("w*w.example.com", "ww.example.com"),
            ("*.com", "example.com"),
        ] {
            assert!(covers(presented, wanted), "{presented} covers {wanted}");
        }
        for (presented, wanted) in [
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("w*w.example.com", "w.example.com"),
            ("*.*.com", "a.b.com"),
            ("**.example.com", "a.example.com"),
            ("www.*.com", "www.example.com"),
            ("xn--*.example.com", "xn--a.example.com"),
            ("*", "example"),
            ("a.example", "b.example"),
        ] {
            assert!(!covers(presented, wanted), "{presented} covers {wanted}");
        }
    }

    #[test]
    fn a_matcher_sees_names_of_its_kind_only() {
        let exact = |kind, text: &str| SanMatcher {
            kind,
            oid: String::new(),
            pattern: SanPattern::Exact(text.to_owned()),
            fingerprint: String::new(),
        };
        assert!(exact(SanKind::Uri, "spiffe://a").matches(SubjectAltName::Uri(b"spiffe://a")));
        assert!(!exact(SanKind::Uri, "spiffe://a").matches(SubjectAltName::Dns(b"spiffe://a")));
        assert!(exact(SanKind::Dns, "a.b.c").matches(SubjectAltName::Dns(b"*.b.c")));
        assert!(!exact(SanKind::Email, "a.b.c").matches(SubjectAltName::Email(b"*.b.c")));
        assert!(exact(SanKind::Ip, "::1").matches(SubjectAltName::Ip("::1".parse().unwrap())));
        let predicate = SanMatcher {
            kind: SanKind::Dns,
            oid: String::new(),
            pattern: SanPattern::Predicate(Arc::new(|text| text.ends_with(b".c"))),
            fingerprint: String::new(),
        };
        assert!(predicate.matches(SubjectAltName::Dns(b"a.c")));
        assert!(!predicate.matches(SubjectAltName::Dns(b"a.d")));
    }

    #[test]
    fn other_names_have_an_identifier() {
        let name = |value_tag: u8, content: &'static [u8]| SubjectAltName::OtherName {
            oid: &[0x2a, 3, 4],
            value: Element { tag: value_tag, content, whole: &[] },
        };
        let matcher = |oid: &str, text: &str| SanMatcher {
            kind: SanKind::OtherName,
            oid: oid.to_owned(),
            pattern: SanPattern::Exact(text.to_owned()),
            fingerprint: String::new(),
        };
        assert!(matcher("1.2.3.4", "upn").matches(name(tag::UTF8_STRING, b"upn")));
        assert!(!matcher("1.2.3.5", "upn").matches(name(tag::UTF8_STRING, b"upn")));
        assert!(!matcher("", "upn").matches(name(tag::UTF8_STRING, b"upn")));
        assert_eq!(name(tag::INTEGER, &[0xff, 0x7f]).text(), "-129");
        assert_eq!(name(tag::BOOLEAN, &[0xff]).text(), "true");
        assert_eq!(name(tag::OID, &[0x55, 4, 3]).text(), "2.5.4.3");
    }
}
