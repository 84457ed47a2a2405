//! Rules of strings and bytes.

use super::format;
use envoy_types::pb::validate::{BytesRules, StringRules, bytes_rules, string_rules};
use regex::Regex;

/// What is wrong with a string. `pattern` is the compiled `rules.pattern`.
pub fn check_string(rules: &StringRules, pattern: Option<&Regex>, text: &str) -> Vec<String> {
    if rules.ignore_empty() && text.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: &dyn Fn() -> String| {
        if !holds {
            faults.push(fault());
        }
    };
    let chars = text.chars().count() as u64;
    let bytes = text.len() as u64;
    if let Some(expected) = &rules.r#const {
        expect(text == expected, &|| format!("must be `{expected}`"));
    }
    if let Some(len) = rules.len {
        expect(chars == len, &|| format!("must have {len} characters, has {chars}"));
    }
    if let Some(min) = rules.min_len {
        expect(chars >= min, &|| too_short(min, chars, "characters"));
    }
    if let Some(max) = rules.max_len {
        expect(chars <= max, &|| format!("may have at most {max} characters, has {chars}"));
    }
    if let Some(len) = rules.len_bytes {
        expect(bytes == len, &|| format!("must have {len} bytes, has {bytes}"));
    }
    if let Some(min) = rules.min_bytes {
        expect(bytes >= min, &|| too_short(min, bytes, "bytes"));
    }
    if let Some(max) = rules.max_bytes {
        expect(bytes <= max, &|| format!("may have at most {max} bytes, has {bytes}"));
    }
    if let Some(pattern) = pattern {
        expect(pattern.is_match(text), &|| format!("must match the regular expression `{pattern}`"));
    }
    if let Some(prefix) = &rules.prefix {
        expect(text.starts_with(prefix), &|| format!("must start with `{prefix}`"));
    }
    if let Some(suffix) = &rules.suffix {
        expect(text.ends_with(suffix), &|| format!("must end with `{suffix}`"));
    }
    if let Some(part) = &rules.contains {
        expect(text.contains(part), &|| format!("must contain `{part}`"));
    }
    if let Some(part) = &rules.not_contains {
        expect(!text.contains(part), &|| format!("must not contain `{part}`"));
    }
    if !rules.r#in.is_empty() {
        let listed = rules.r#in.iter().any(|known| known == text);
        expect(listed, &|| format!("must be one of `{}`", rules.r#in.join("`, `")));
    }
    expect(!rules.not_in.iter().any(|known| known == text), &|| format!("must not be `{text}`"));
    if let Some(well_known) = &rules.well_known {
        // An empty value that is too short was reported as such.
        let reported = text.is_empty() && rules.min_len.is_some_and(|min| min > 0);
        expect(reported || has_form(*well_known, rules.strict(), text), &|| {
            format!("must be {}", form_noun(*well_known))
        });
    }
    faults
}

/// What is wrong with bytes.
pub fn check_bytes(rules: &BytesRules, bytes: &[u8]) -> Vec<String> {
    if rules.ignore_empty() && bytes.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: &dyn Fn() -> String| {
        if !holds {
            faults.push(fault());
        }
    };
    let len = bytes.len() as u64;
    if let Some(expected) = &rules.r#const {
        expect(bytes == expected.as_slice(), &|| format!("must be {expected:?}"));
    }
    if let Some(expected) = rules.len {
        expect(len == expected, &|| format!("must have {expected} bytes, has {len}"));
    }
    if let Some(min) = rules.min_len {
        expect(len >= min, &|| too_short(min, len, "bytes"));
    }
    if let Some(max) = rules.max_len {
        expect(len <= max, &|| format!("may have at most {max} bytes, has {len}"));
    }
    if let Some(pattern) = &rules.pattern {
        let matches = regex::bytes::Regex::new(pattern).is_ok_and(|regex| regex.is_match(bytes));
        expect(matches, &|| format!("must match the regular expression `{pattern}`"));
    }
    if let Some(prefix) = &rules.prefix {
        expect(bytes.starts_with(prefix), &|| format!("must start with {prefix:?}"));
    }
    if let Some(suffix) = &rules.suffix {
        expect(bytes.ends_with(suffix), &|| format!("must end with {suffix:?}"));
    }
    if let Some(part) = &rules.contains {
        let found = memchr::memmem::find(bytes, part).is_some();
        expect(found, &|| format!("must contain {part:?}"));
    }
    if !rules.r#in.is_empty() {
        expect(rules.r#in.iter().any(|known| known == bytes), &|| format!("must be one of {:?}", rules.r#in));
    }
    expect(!rules.not_in.iter().any(|known| known == bytes), &|| {
        "has a value that is not allowed".to_owned()
    });
    if let Some(well_known) = &rules.well_known {
        let (lengths, noun): (&[usize], _) = match well_known {
            bytes_rules::WellKnown::Ip(_) => (&[4, 16], "an IP address (4 or 16 bytes)"),
            bytes_rules::WellKnown::Ipv4(_) => (&[4], "an IPv4 address (4 bytes)"),
            bytes_rules::WellKnown::Ipv6(_) => (&[16], "an IPv6 address (16 bytes)"),
        };
        expect(lengths.contains(&bytes.len()), &|| format!("must be {noun}"));
    }
    faults
}

fn too_short(min: u64, len: u64, noun: &str) -> String {
    match (min, len) {
        (1, _) => "must not be empty".to_owned(),
        _ => format!("must have at least {min} {noun}, has {len}"),
    }
}

/// `true` for a form that is switched off (`ip: false`), as nothing is asked then.
fn has_form(form: string_rules::WellKnown, strict: bool, text: &str) -> bool {
    use string_rules::WellKnown as Form;
    match form {
        Form::Email(on) => !on || format::is_email(text),
        Form::Hostname(on) => !on || format::is_hostname(text),
        Form::Ip(on) => !on || format::is_ip(text),
        Form::Ipv4(on) => !on || text.parse::<std::net::Ipv4Addr>().is_ok(),
        Form::Ipv6(on) => !on || format::is_ipv6(text),
        Form::Uri(on) => !on || format::is_uri(text),
        Form::UriRef(on) => !on || format::is_uri_reference(text),
        Form::Address(on) => !on || format::is_ip(text) || format::is_hostname(text),
        Form::Uuid(on) => !on || format::is_uuid(text),
        Form::WellKnownRegex(HEADER_NAME) => format::is_header_name(text, strict),
        Form::WellKnownRegex(HEADER_VALUE) => format::is_header_value(text, strict),
        Form::WellKnownRegex(_) => true,
    }
}

const HEADER_NAME: i32 = envoy_types::pb::validate::KnownRegex::HttpHeaderName as i32;
const HEADER_VALUE: i32 = envoy_types::pb::validate::KnownRegex::HttpHeaderValue as i32;

fn form_noun(form: string_rules::WellKnown) -> &'static str {
    use string_rules::WellKnown as Form;
    match form {
        Form::Email(_) => "an e-mail address",
        Form::Hostname(_) => "a host name",
        Form::Ip(_) => "an IP address",
        Form::Ipv4(_) => "an IPv4 address",
        Form::Ipv6(_) => "an IPv6 address",
        Form::Uri(_) => "an absolute URI",
        Form::UriRef(_) => "a URI or a relative reference",
        Form::Address(_) => "a host name or an IP address",
        Form::Uuid(_) => "a UUID",
        Form::WellKnownRegex(HEADER_NAME) => "a valid HTTP header name",
        Form::WellKnownRegex(HEADER_VALUE) => "a valid HTTP header value",
        Form::WellKnownRegex(_) => "well-formed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: StringRules, text: &str) -> String {
        let pattern = rules.pattern.as_deref().map(|p| Regex::new(p).expect("pattern"));
        check_string(&rules, pattern.as_ref(), text).join("; ")
    }

    #[test]
    fn every_rule_of_strings() {
        let s = |text: &str| Some(text.to_owned());
        let none = StringRules::default;
        let table = [
            (StringRules { r#const: s("a"), ..none() }, "a", "b", "must be `a`"),
            (StringRules { len: Some(2), ..none() }, "éé", "é", "must have 2 characters, has 1"),
            (StringRules { min_len: Some(1), ..none() }, "é", "", "must not be empty"),
            (
                StringRules { min_len: Some(3), ..none() },
                "abc",
                "ab",
                "must have at least 3 characters, has 2",
            ),
            (StringRules { max_len: Some(2), ..none() }, "éé", "abc", "may have at most 2 characters, has 3"),
            (StringRules { len_bytes: Some(2), ..none() }, "é", "a", "must have 2 bytes, has 1"),
            (StringRules { min_bytes: Some(2), ..none() }, "é", "a", "must have at least 2 bytes, has 1"),
            (StringRules { max_bytes: Some(2), ..none() }, "é", "éa", "may have at most 2 bytes, has 3"),
            (
                StringRules { pattern: s("^a+$"), ..none() },
                "aa",
                "ab",
                "must match the regular expression `^a+$`",
            ),
            (StringRules { prefix: s("/"), ..none() }, "/x", "x", "must start with `/`"),
            (StringRules { suffix: s("%"), ..none() }, "x%", "x", "must end with `%`"),
            (StringRules { contains: s("-"), ..none() }, "a-b", "ab", "must contain `-`"),
            (StringRules { not_contains: s("*"), ..none() }, "ab", "a*", "must not contain `*`"),
            (
                StringRules { r#in: vec!["a".into(), "b".into()], ..none() },
                "b",
                "c",
                "must be one of `a`, `b`",
            ),
            (StringRules { not_in: vec!["a".into()], ..none() }, "b", "a", "must not be `a`"),
            (
                StringRules { min_len: Some(2), ignore_empty: Some(true), ..none() },
                "",
                "a",
                "must have at least 2 characters, has 1",
            ),
        ];
        for (rules, good, bad, fault) in table {
            assert_eq!(faults(rules.clone(), good), "", "{rules:?}");
            assert_eq!(faults(rules, bad), fault);
        }
    }

    #[test]
    fn well_known_forms_are_named() {
        use string_rules::WellKnown as Form;
        let form = |form| StringRules { well_known: Some(form), ..Default::default() };
        assert_eq!(faults(form(Form::Ip(true)), "x"), "must be an IP address");
        assert_eq!(faults(form(Form::Ip(false)), "x"), "");
        assert_eq!(faults(form(Form::WellKnownRegex(1)), "a b"), "must be a valid HTTP header name");
        assert_eq!(faults(form(Form::WellKnownRegex(2)), "a\n"), "must be a valid HTTP header value");
        let loose = StringRules { strict: Some(false), ..form(Form::WellKnownRegex(1)) };
        assert_eq!(faults(loose, "a b"), "");
    }

    #[test]
    fn every_rule_of_bytes() {
        let none = BytesRules::default;
        let table = [
            (BytesRules { r#const: Some(b"a".to_vec()), ..none() }, &b"a"[..], &b"b"[..]),
            (BytesRules { len: Some(1), ..none() }, b"a", b"ab"),
            (BytesRules { min_len: Some(1), ..none() }, b"a", b""),
            (BytesRules { max_len: Some(1), ..none() }, b"a", b"ab"),
            (BytesRules { pattern: Some("^a$".into()), ..none() }, b"a", b"ab"),
            (BytesRules { prefix: Some(b"a".to_vec()), ..none() }, b"ab", b"ba"),
            (BytesRules { suffix: Some(b"a".to_vec()), ..none() }, b"ba", b"ab"),
            (BytesRules { contains: Some(b"a".to_vec()), ..none() }, b"bab", b"b"),
            (BytesRules { r#in: vec![b"a".to_vec()], ..none() }, b"a", b"b"),
            (BytesRules { not_in: vec![b"a".to_vec()], ..none() }, b"b", b"a"),
            (BytesRules { well_known: Some(bytes_rules::WellKnown::Ip(true)), ..none() }, b"1234", b"123"),
            (BytesRules { min_len: Some(2), ignore_empty: Some(true), ..none() }, b"", b"a"),
        ];
        for (rules, good, bad) in table {
            assert!(check_bytes(&rules, good).is_empty(), "{rules:?}");
            assert_eq!(check_bytes(&rules, bad).len(), 1, "{rules:?}");
        }
    }
}
