//! Well-known forms of strings, as protoc-gen-validate defines them.

use std::net::{IpAddr, Ipv6Addr};

/// RFC 9110 token, or a pseudo-header's name. Not strict: anything without NUL, CR and LF.
pub fn is_header_name(text: &str, strict: bool) -> bool {
    if !strict {
        return has_no_line_break(text);
    }
    let name = text.strip_prefix(':').unwrap_or(text);
    // The comma is no token character; the rule's own expression lets it pass, and so does Envoy.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}

/// No control characters but the tab. Not strict: anything without NUL, CR and LF.
pub fn is_header_value(text: &str, strict: bool) -> bool {
    if !strict {
        return has_no_line_break(text);
    }
    text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

fn has_no_line_break(text: &str) -> bool {
    !text.bytes().any(|b| matches!(b, 0 | b'\r' | b'\n'))
}

/// RFC 1034: labels of letters, digits and hyphens, 63 each, 253 in all.
pub fn is_hostname(text: &str) -> bool {
    let host = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// IPv4 or IPv6, without brackets.
pub fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// IPv6, without brackets.
pub fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// `local@host`.
pub fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, host)| {
        (1..=64).contains(&local.len())
            && text.len() <= 254
            && is_hostname(host)
            && local.bytes().all(|b| b.is_ascii_graphic() && b != b'@')
    })
}

/// RFC 3986 with a scheme.
pub fn is_uri(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    let scheme_is_valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    scheme_is_valid && is_uri_reference(text)
}

/// RFC 3986 with or without a scheme: its characters only, percent signs followed by two hex digits.
pub fn is_uri_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, b)| match b {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        b => b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(b),
    })
}

/// 8-4-4-4-12 hex digits (RFC 9562).
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        type Form = fn(&str) -> bool;
        let name: Form = |s| is_header_name(s, true);
        let loose_name: Form = |s| is_header_name(s, false);
        let value: Form = |s| is_header_value(s, true);
        let table: [(Form, &[&str], &[&str]); 11] = [
            (name, &["x-a", ":path", "a.b_c"], &["", ":", "a b", "a:b", "é", "a\n"]),
            (loose_name, &["", "a b", "é"], &["a\r", "\0"]),
            (value, &["", "a\tb", "é"], &["a\n", "\x7f", "\x01"]),
            (is_hostname, &["a", "a-b.example.", "1.2"], &["", "-a", "a_b", "a..b", "a b"]),
            (is_ip, &["1.2.3.4", "::1"], &["", "1.2.3", "[::1]", "localhost"]),
            (is_ipv6, &["::1", "fe80::1"], &["1.2.3.4", ""]),
            (is_email, &["a@b.c"], &["a", "@b", "a@", "a b@c"]),
            (is_uri, &["http://a/b?c#d", "urn:x"], &["/a", "1a:b", "http://a b"]),
            (is_uri_reference, &["", "/a%20b", "http://a"], &["a b", "%2", "%zz", "\u{e9}"]),
            (
                is_uuid,
                &["123e4567-e89b-12d3-a456-426614174000"],
                &["", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"],
            ),
            (|s| is_header_value(s, false), &["\x7f", ""], &["a\n"]),
        ];
        for (row, (form, good, bad)) in table.iter().enumerate() {
            good.iter().for_each(|text| assert!(form(text), "row {row}: {text:?}"));
            bad.iter().for_each(|text| assert!(!form(text), "row {row}: {text:?}"));
        }
    }
}
