//! Headers that concern one connection only and are not forwarded (RFC 9110 section 7.6.1), as Envoy strips them.

use super::head::tokens;
use crate::http::header::{
    CONNECTION, HTTP2_SETTINGS, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE,
};
use crate::http::{HeaderMap, HeaderNameBuf};

/// Removes hop-by-hop headers, those that `connection` names included; `te: trailers` stays, as Envoy has it.
/// `keep_upgrade`: the message asks for, or grants, an upgrade that passes through; `upgrade` and
/// `connection: upgrade` stay.
///
/// `:authority` and other pseudo-headers stay whatever `connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    strip_te(headers);
    if headers.contains(CONNECTION) {
        let upgrade = if keep_upgrade { upgrade_option(headers) } else { None };
        for name in nominated(headers) {
            let is_kept = match &name {
                HeaderNameBuf::Known(known) => {
                    known.is_pseudo() || *known == TE || (*known == UPGRADE && keep_upgrade)
                }
                HeaderNameBuf::Custom(_) => false,
            };
            if !is_kept {
                headers.remove(&name);
            }
        }
        headers.remove(CONNECTION);
        if let (Some(option), true) = (upgrade, headers.contains(UPGRADE)) {
            headers.append(CONNECTION, &option);
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(HTTP2_SETTINGS);
    if !headers.contains(CONNECTION) {
        headers.remove(UPGRADE);
    }
}

/// The option `upgrade` of `connection`, as it was written.
fn upgrade_option(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut options = headers.get_all(CONNECTION).flat_map(tokens);
    options.find(|option| option.eq_ignore_ascii_case(b"upgrade")).map(<[u8]>::to_vec)
}

/// Removes the request for an upgrade, as if the client had not asked.
pub fn strip_upgrade(headers: &mut HeaderMap) {
    headers.remove(UPGRADE);
    let mut others = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in tokens(value) {
            if !option.eq_ignore_ascii_case(b"upgrade") && !option.eq_ignore_ascii_case(b"http2-settings") {
                if !others.is_empty() {
                    others.extend_from_slice(b", ");
                }
                others.extend_from_slice(option);
            }
        }
    }
    if others.is_empty() {
        headers.remove(CONNECTION);
    } else {
        headers.set(CONNECTION, &others);
    }
}

/// Most options that `connection` may have if it names headers, Envoy's limit.
const NOMINATED_MAX: usize = 9;

/// Whether `connection` names only headers that a client may have removed: not those by which the proxy tells the origin
/// who the client is, and not the parts of the request itself.
pub(super) fn are_nominations_allowed(headers: &HeaderMap) -> bool {
    let mut count = 0;
    headers.get_all(CONNECTION).flat_map(tokens).all(|option| {
        count += 1;
        let is_forbidden = option.contains(&b':')
            || [&b"x-forwarded-for"[..], b"x-forwarded-host", b"x-forwarded-proto", b"host"]
                .iter()
                .any(|name| option.eq_ignore_ascii_case(name));
        count <= NOMINATED_MAX && !is_forbidden
    })
}

/// The headers that `connection` names, beyond the usual options.
fn nominated(headers: &HeaderMap) -> Vec<HeaderNameBuf> {
    headers
        .get_all(CONNECTION)
        .flat_map(tokens)
        .filter(|option| {
            !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive")
        })
        .filter_map(|option| HeaderNameBuf::parse(std::str::from_utf8(option).ok()?).ok())
        .collect()
}

/// Of `te` only `trailers` may pass.
fn strip_te(headers: &mut HeaderMap) {
    if !headers.contains(TE) {
        return;
    }
    let wants_trailers =
        headers.get_all(TE).flat_map(tokens).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    if wants_trailers {
        headers.set(TE, b"trailers");
    } else {
        headers.remove(TE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::header::HOST;

    fn stripped(headers: &[(&str, &str)], keep_upgrade: bool) -> String {
        let mut map: HeaderMap = headers.iter().copied().collect();
        strip_hop_by_hop(&mut map, keep_upgrade);
        map.iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn named_and_standing_hop_by_hop_headers_go() {
        let all = [
            ("host", "h"),
            ("connection", "keep-alive, Foo, close"),
            ("foo", "1"),
            ("keep-alive", "x"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers, deflate"),
            ("trailer", "x"),
            ("proxy-authorization", "z"),
            ("bar", "1"),
        ];
        assert_eq!(stripped(&all, false), ":authority=h te=trailers trailer=x proxy-authorization=z bar=1");
        assert_eq!(stripped(&[("te", "gzip"), ("connection", "te")], false), "");
        assert_eq!(stripped(&[("te", "trailers"), ("connection", "TE")], false), "te=trailers");
        assert_eq!(stripped(&[("host", "h"), ("connection", "host")], false), ":authority=h");
    }

    #[test]
    fn an_upgrade_passes_or_goes() {
        let upgrade = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(stripped(&upgrade, true), "upgrade=websocket connection=Upgrade");
        assert_eq!(stripped(&[("upgrade", "websocket")], true), "");
        assert_eq!(stripped(&upgrade, false), "");
        let mut map: HeaderMap =
            [("connection", "Upgrade, HTTP2-Settings, x"), ("upgrade", "h2c")].into_iter().collect();
        strip_upgrade(&mut map);
        assert_eq!((map.len(), map.get(CONNECTION)), (1, Some(&b"x"[..])));
    }

    #[test]
    fn nominations() {
        let allowed = |value: &str| are_nominations_allowed(&[("connection", value)].into_iter().collect());
        assert!(allowed("te, foo, content-length, a,b,c,d,e,f"));
        for forbidden in [":path", "x-forwarded-for", "X-Forwarded-Proto", "host", "a,b,c,d,e,f,g,h,i,j"] {
            assert!(!allowed(forbidden), "{forbidden}");
        }
        assert!(HeaderMap::new().get(HOST).is_none());
    }
}
