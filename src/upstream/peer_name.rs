//! Whom a request's connection is to be with, where requests decide that (`auto_sni`, `auto_san_validation`).

use std::rc::Rc;

use crate::config::cluster::AutoPeerName;
use crate::http::RequestHead;
use crate::tls::ServerName;

/// The host that `request` is for, or what a header of it says instead; empty, which no certificate has, if there is
/// no text. Names in DNS are in lower case: as names they are the same in any.
pub(super) fn wanted_name(auto: &AutoPeerName, request: &RequestHead) -> Rc<str> {
    let header = auto.header.as_deref().and_then(|name| request.headers.get(name));
    let value = header.filter(|value| !value.is_empty()).unwrap_or_else(|| request.authority());
    let host = host_of(std::str::from_utf8(value).unwrap_or_default());
    let is_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
    match is_upper && ServerName::try_from(host).is_ok() {
        true => host.to_ascii_lowercase().into(),
        false => host.into(),
    }
}

/// Without the port, and without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;

    #[test]
    fn names_have_no_port_and_no_case() {
        let auto = AutoPeerName { sni: true, san_validation: false, header: Some("x-name".to_owned()) };
        let of = |authority: &str, header: Option<&str>| {
            let mut head = RequestHead::new(Method::Get, "http", authority.as_bytes(), b"/");
            if let Some(value) = header {
                head.headers.append("x-name", value.as_bytes());
            }
            wanted_name(&auto, &head).to_string()
        };
        for (authority, header, name) in [
            ("a.test", None, "a.test"),
            ("A.Test:8080", None, "a.test"),
            ("127.0.0.1:80", None, "127.0.0.1"),
            ("[::1]:80", None, "::1"),
            ("[::1]", None, "::1"),
            ("", None, ""),
            ("\u{e9}", None, "\u{e9}"),
            ("a.test", Some(""), "a.test"),
            ("a.test", Some("b.test:1"), "b.test"),
            ("a.test", Some("spiffe://x/Y"), "spiffe://x/Y"),
        ] {
            assert_eq!(of(authority, header), name, "{authority} {header:?}");
        }
    }
}
