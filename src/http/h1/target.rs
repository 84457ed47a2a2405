//! Request targets (RFC 9112 section 3.2) and the authorities in them.

use super::{H1Error, TargetForm};
use crate::http::Method;

/// A request target taken apart; all parts are slices of it, or static.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub form: TargetForm,
    /// Path and query; none for CONNECT, and if an absolute target has no path.
    pub path: Option<&'a [u8]>,
    /// The host, if the target names it.
    pub authority: Option<&'a [u8]>,
    /// The scheme, if the target names it.
    pub scheme: Option<&'static str>,
}

/// Takes `target` apart. A path is not judged beyond its characters.
#[inline]
pub(super) fn parse_target<'a>(
    method: Method<'_>,
    target: &'a [u8],
    allow_absolute_url: bool,
) -> Result<Target<'a>, H1Error> {
    if !target.is_ascii() {
        return Err(H1Error::Malformed("request target"));
    }
    if method == Method::Connect {
        return parse_authority_form(target);
    }
    let parsed = match target {
        [b'/', ..] => Target { form: TargetForm::Origin, path: Some(target), authority: None, scheme: None },
        b"*" if method == Method::Options => {
            Target { form: TargetForm::Asterisk, path: Some(target), authority: None, scheme: None }
        }
        b"*" => return Err(H1Error::InvalidTarget),
        _ if allow_absolute_url => parse_absolute_form(target)?,
        _ => return Err(H1Error::InvalidTarget),
    };
    if memchr::memchr(b'#', target).is_some() {
        return Err(H1Error::FragmentInPath);
    }
    Ok(parsed)
}

fn parse_authority_form(target: &[u8]) -> Result<Target<'_>, H1Error> {
    let (_, port) = split_port(target).ok_or(H1Error::InvalidTarget)?;
    if port.is_none() || !is_authority(target) || target.contains(&b'@') {
        return Err(H1Error::InvalidTarget);
    }
    Ok(Target { form: TargetForm::Authority, path: None, authority: Some(target), scheme: None })
}

fn parse_absolute_form(target: &[u8]) -> Result<Target<'_>, H1Error> {
    let colon = memchr::memmem::find(target, b"://").ok_or(H1Error::Malformed("request target"))?;
    let scheme = match &target[..colon] {
        scheme if scheme.eq_ignore_ascii_case(b"http") => "http",
        scheme if scheme.eq_ignore_ascii_case(b"https") => "https",
        _ => return Err(H1Error::InvalidScheme),
    };
    let rest = &target[colon + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // User information is dropped, as Envoy does: nobody must see another host than we do.
    let host = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
    if host.is_empty() || !is_authority(host) || split_port(host).is_none_or(|(name, _)| name.is_empty()) {
        return Err(H1Error::InvalidTarget);
    }
    let path = (!path.is_empty()).then_some(path);
    Ok(Target { form: TargetForm::Absolute, path, authority: Some(host), scheme: Some(scheme) })
}

/// Host and port of an authority; nothing if the port is no port, or brackets do not match.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let name_end = if authority.starts_with(b"[") {
        memchr::memchr(b']', authority)? + 1
    } else {
        memchr::memchr(b':', authority).unwrap_or(authority.len())
    };
    let (name, port) = authority.split_at(name_end);
    match port {
        [] => Some((name, None)),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let port = std::str::from_utf8(digits).ok()?.parse().ok()?;
            (!name.is_empty()).then_some((name, Some(port)))
        }
        _ => None,
    }
}

/// Whether the bytes may stand in a host header: what RFC 3986 allows in an authority, nothing else.
#[inline]
pub(super) fn is_authority(text: &[u8]) -> bool {
    text.iter().all(|&byte| AUTHORITY[byte as usize])
}

static AUTHORITY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=:@[]%";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, target: &str) -> Result<(TargetForm, String, String, &'static str), H1Error> {
        let target = parse_target(Method::from_bytes(method.as_bytes()), target.as_bytes(), true)?;
        let text = |part: Option<&[u8]>| String::from_utf8_lossy(part.unwrap_or_default()).into_owned();
        Ok((target.form, text(target.authority), text(target.path), target.scheme.unwrap_or_default()))
    }

    #[test]
    fn each_form() {
        let ok = |form, authority: &str, path: &str, scheme| {
            Ok((form, authority.to_owned(), path.to_owned(), scheme))
        };
        assert_eq!(parse("GET", "/a?b=http://c"), ok(TargetForm::Origin, "", "/a?b=http://c", ""));
        assert_eq!(parse("GET", "//a"), ok(TargetForm::Origin, "", "//a", ""));
        assert_eq!(parse("OPTIONS", "*"), ok(TargetForm::Asterisk, "", "*", ""));
        assert_eq!(parse("GET", "http://foo.com/x?y"), ok(TargetForm::Absolute, "foo.com", "/x?y", "http"));
        assert_eq!(parse("GET", "HTTPS://Foo:444"), ok(TargetForm::Absolute, "Foo:444", "", "https"));
        assert_eq!(parse("GET", "http://foo?x"), ok(TargetForm::Absolute, "foo", "?x", "http"));
        assert_eq!(parse("GET", "http://u:p@foo/x"), ok(TargetForm::Absolute, "foo", "/x", "http"));
        assert_eq!(parse("GET", "http://[::1]:80/x"), ok(TargetForm::Absolute, "[::1]:80", "/x", "http"));
        assert_eq!(parse("CONNECT", "foo:443"), ok(TargetForm::Authority, "foo:443", "", ""));
    }

    #[test]
    fn what_is_refused() {
        for (method, target, error) in [
            ("GET", "*", H1Error::InvalidTarget),
            ("GET", "foo", H1Error::Malformed("request target")),
            ("GET", "foo:80", H1Error::Malformed("request target")),
            ("GET", "ftp://foo/x", H1Error::InvalidScheme),
            ("GET", "http:///x", H1Error::InvalidTarget),
            ("GET", "http://:80/x", H1Error::InvalidTarget),
            ("GET", "http://foo:99999/x", H1Error::InvalidTarget),
            ("GET", "http://foo:/x", H1Error::InvalidTarget),
            ("GET", "http://[::1/x", H1Error::InvalidTarget),
            ("GET", "http://a\"b/x", H1Error::InvalidTarget),
            ("GET", "/a#b", H1Error::FragmentInPath),
            ("GET", "http://foo#b", H1Error::FragmentInPath),
            ("GET", "/\u{e9}", H1Error::Malformed("request target")),
            ("CONNECT", "foo", H1Error::InvalidTarget),
            ("CONNECT", "/foo", H1Error::InvalidTarget),
            ("CONNECT", "u@foo:443", H1Error::InvalidTarget),
            ("CONNECT", "http://foo:443/", H1Error::InvalidTarget),
        ] {
            assert_eq!(parse(method, target), Err(error), "{method} {target}");
        }
    }
}
