//! `x-forwarded-client-cert`: what hosts are told of the client's certificate, and which of what the client tells
//! itself is believed (`forward_client_cert_details`, `set_current_client_cert_details`).
//!
//! Values that contain separators are quoted, as Envoy's documentation has it; Envoy 1.40 itself writes them as they
//! are, which lets the owner of a certificate make up elements.

use crate::config::{ClientCertDetails, ForwardClientCertDetails, ForwardingOptions};
use crate::http::{HeaderMap, header};
use crate::stream_info::ConnectionInfo;
use crate::tls::HandshakeFacts;

/// Removes, keeps or sets the header.
pub fn forward_certificate(
    settings: &ForwardingOptions,
    connection: &ConnectionInfo,
    headers: &mut HeaderMap,
) {
    use ForwardClientCertDetails::{AlwaysForwardOnly, AppendForward, ForwardOnly, Sanitize, SanitizeSet};
    let details = settings.forward_client_cert_details;
    if details == AlwaysForwardOnly {
        return;
    }
    let mutual = connection.tls.as_deref().filter(|facts| facts.peer_certificates.is_some());
    match (details, mutual) {
        (Sanitize, _) | (_, None) => {
            headers.remove(header::X_FORWARDED_CLIENT_CERT);
        }
        (ForwardOnly | AlwaysForwardOnly, _) => {}
        (AppendForward | SanitizeSet, Some(facts)) => {
            let earlier = headers.get(header::X_FORWARDED_CLIENT_CERT).filter(|_| details == AppendForward);
            let mut value = earlier.map(<[u8]>::to_vec).unwrap_or_default();
            let element = describe(facts, &settings.client_cert_details);
            if !value.is_empty() && !element.is_empty() {
                value.push(b',');
            }
            value.extend_from_slice(element.as_bytes());
            headers.set(header::X_FORWARDED_CLIENT_CERT, &value);
        }
    }
}

/// The element for one connection: `By=...;Hash=...;...`.
fn describe(facts: &HandshakeFacts, wanted: &ClientCertDetails) -> String {
    let mut element = String::new();
    let by = facts.local_certificate.iter().flat_map(|leaf| &leaf.uri_sans);
    by.for_each(|uri| push(&mut element, "By", uri, Quotes::WhereNeeded));
    let Some(peer) = facts.peer_certificates.as_deref() else { return element };
    let leaf = peer.leaf();
    push(&mut element, "Hash", &leaf.sha256, Quotes::WhereNeeded);
    if wanted.cert {
        push(&mut element, "Cert", peer.url_encoded_pem(), Quotes::Always);
    }
    if wanted.chain {
        push(&mut element, "Chain", &peer.url_encoded_pem_chain(), Quotes::Always);
    }
    if wanted.subject {
        push(&mut element, "Subject", &leaf.subject, Quotes::Always);
    }
    if wanted.uri {
        leaf.uri_sans.iter().for_each(|uri| push(&mut element, "URI", uri, Quotes::WhereNeeded));
    }
    if wanted.dns {
        leaf.dns_sans.iter().for_each(|dns| push(&mut element, "DNS", dns, Quotes::WhereNeeded));
    }
    element
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Always,
    /// Around what contains a separator.
    WhereNeeded,
}

fn push(element: &mut String, key: &str, value: &str, quotes: Quotes) {
    if !element.is_empty() {
        element.push(';');
    }
    element.push_str(key);
    element.push('=');
    let is_quoted = quotes == Quotes::Always || value.contains([',', ';', '=', '"']);
    if is_quoted {
        element.push('"');
    }
    for character in value.chars() {
        match character {
            '"' => element.push_str("\\\""),
            // A header's value has none.
            control if control.is_control() => element.push('?'),
            other => element.push(other),
        }
    }
    if is_quoted {
        element.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_break_out() {
        let mut element = String::new();
        push(&mut element, "URI", "spiffe://a/b", Quotes::WhereNeeded);
        push(&mut element, "URI", "x;By=\"y\"\r\nz: 1", Quotes::WhereNeeded);
        push(&mut element, "Subject", "", Quotes::Always);
        assert_eq!(element, r#"URI=spiffe://a/b;URI="x;By=\"y\"??z: 1";Subject="""#);
    }
}
