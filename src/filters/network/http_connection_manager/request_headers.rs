//! What the connection manager does to a request's headers before any filter sees them.
//!
//! Follows Envoy's `ConnectionManagerUtility::mutateRequestHeaders`, step by step and in its order,
//! because the order of added headers is visible to origins. Randomness is an argument.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::config::{ForwardingOptions, RequestIdOptions, Scheme, StripHostPort};
use crate::http::header::{self, Known};
use crate::http::{HeaderMap, HeaderNameBuf, RequestHead, Version};
use crate::stream_info::{ConnectionInfo, PeerAddress};

use super::client_address::{self, Client};
use super::client_certificate::forward_certificate;
use super::request_id::format_uuid_v4;

/// What of the configuration this step needs.
#[derive(Debug)]
pub struct RequestHeaderSettings {
    /// How the client's address is found and told.
    pub forwarding: ForwardingOptions,
    /// Request ids.
    pub request_id: RequestIdOptions,
    /// Scheme forced on every request.
    pub scheme: Option<Scheme>,
    /// Appended to `via`; empty for none.
    pub via: String,
    /// What to strip from the authority.
    pub strip_host_port: StripHostPort,
    /// Strip the dot that ends the authority's name.
    pub strip_trailing_host_dot: bool,
}

/// Headers that only the mesh may send: they steer the router.
const INTERNAL_HEADERS: &[Known] = &[
    header::X_ENVOY_RETRIABLE_STATUS_CODES,
    header::X_ENVOY_RETRIABLE_HEADER_NAMES,
    header::X_ENVOY_RETRY_ON,
    header::X_ENVOY_RETRY_GRPC_ON,
    header::X_ENVOY_MAX_RETRIES,
    header::X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    header::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    header::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    header::X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
    header::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    header::X_ENVOY_FORCE_TRACE,
    header::X_ENVOY_IP_TAGS,
    header::X_ENVOY_ORIGINAL_URL,
    header::X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
    header::X_ENVOY_UPSTREAM_STREAM_DURATION_MS,
];

/// Headers that tell of earlier proxies, which an edge must not believe.
const EDGE_HEADERS: &[Known] = &[
    header::X_ENVOY_DECORATOR_OPERATION,
    header::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER,
    header::X_ENVOY_DOWNSTREAM_SERVICE_NODE,
    header::X_ENVOY_ORIGINAL_PATH,
    header::X_ENVOY_ORIGINAL_HOST,
];

/// Prepares `head` for filters and router; says who the client is.
pub fn prepare(
    settings: &RequestHeaderSettings,
    internal_only_headers: &[HeaderNameBuf],
    connection: &ConnectionInfo,
    head: &mut RequestHead,
    random: impl FnOnce() -> [u64; 2],
) -> Client {
    strip_authority(settings, connection, head);
    let headers = &mut head.headers;
    headers.remove(header::X_ENVOY_INTERNAL);
    forward_certificate(&settings.forwarding, connection, headers);

    if headers.get_all(header::X_FORWARDED_FOR).nth(1).is_some() {
        join_forwarded_for(headers);
    }
    let forwarding = &settings.forwarding;
    let client = client_address::detect(forwarding, headers, &connection.remote_address);
    tell_client(forwarding, connection, headers);
    set_scheme(settings, connection, headers);

    let is_edge = forwarding.use_remote_address && !client.is_internal;
    if client.is_internal {
        headers.set(header::X_ENVOY_INTERNAL, b"true");
    } else {
        if is_edge {
            remove_all(headers, EDGE_HEADERS);
        }
        remove_all(headers, INTERNAL_HEADERS);
        for name in internal_only_headers {
            headers.remove(name);
        }
        if is_edge {
            tell_external_address(headers, &client);
        }
    }
    set_request_id(settings.request_id, is_edge, headers, random);
    append_via(settings, head);
    client
}

fn strip_authority(settings: &RequestHeaderSettings, connection: &ConnectionInfo, head: &mut RequestHead) {
    if settings.strip_host_port == StripHostPort::None && !settings.strip_trailing_host_dot {
        return;
    }
    let mut authority = head.authority().to_vec();
    if settings.strip_trailing_host_dot {
        let name_end = port_start(&authority).map_or(authority.len(), |port| port - 1);
        if name_end > 0 && authority[name_end - 1] == b'.' {
            authority.remove(name_end - 1);
        }
    }
    if let Some(start) = port_start(&authority) {
        let port = std::str::from_utf8(&authority[start..]).ok().and_then(|text| text.parse::<u16>().ok());
        let strip = match settings.strip_host_port {
            StripHostPort::None => false,
            StripHostPort::AnyPort => true,
            StripHostPort::MatchingPort => port.is_some() && port == connection.local_address.port(),
        };
        if strip {
            authority.truncate(start - 1);
        }
    }
    head.set_authority(&authority);
}

/// Where the digits of an authority's port begin, if it has one.
fn port_start(authority: &[u8]) -> Option<usize> {
    let colon = memchr::memrchr(b':', authority)?;
    let digits = &authority[colon + 1..];
    let is_port = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let inside_brackets = authority[colon..].contains(&b']');
    (is_port && !inside_brackets).then_some(colon + 1)
}

fn tell_client(forwarding: &ForwardingOptions, connection: &ConnectionInfo, headers: &mut HeaderMap) {
    // Only what comes from a client itself is doubted.
    let is_first = forwarding.use_remote_address && forwarding.xff_num_trusted_hops == 0;
    if forwarding.use_remote_address && !forwarding.skip_xff_append {
        append_forwarded_for(&connection.remote_address, headers);
    }
    if is_first || !headers.contains(header::X_FORWARDED_PROTO) {
        headers.set(header::X_FORWARDED_PROTO, transport_scheme(connection));
    }
    let tell_port =
        forwarding.append_x_forwarded_port && (is_first || !headers.contains(header::X_FORWARDED_PORT));
    if let (true, Some(port)) = (tell_port, connection.local_address.port()) {
        let mut text = [0; 5];
        headers.set(header::X_FORWARDED_PORT, write_into(&mut text, port));
    }
}

/// One line for all, as Envoy forwards them.
fn join_forwarded_for(headers: &mut HeaderMap) {
    let values: Vec<&[u8]> = headers.get_all(header::X_FORWARDED_FOR).collect();
    let joined = values.join(&b","[..]);
    headers.set(header::X_FORWARDED_FOR, &joined);
}

fn append_forwarded_for(peer: &PeerAddress, headers: &mut HeaderMap) {
    let Some(ip) = peer.ip() else { return };
    let mut value = Vec::with_capacity(64);
    for known in headers.get_all(header::X_FORWARDED_FOR) {
        value.extend_from_slice(known);
        value.push(b',');
    }
    let written = write!(value, "{ip}");
    debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
    headers.set(header::X_FORWARDED_FOR, &value);
}

fn set_scheme(settings: &RequestHeaderSettings, connection: &ConnectionInfo, headers: &mut HeaderMap) {
    if let Some(scheme) = settings.scheme {
        let scheme: &[u8] = match scheme {
            Scheme::Http => b"http",
            Scheme::Https => b"https",
        };
        headers.set(header::SCHEME, scheme);
        headers.set(header::X_FORWARDED_PROTO, scheme);
        return;
    }
    if headers.contains(header::SCHEME) {
        return;
    }
    let scheme: &[u8] = match headers.get(header::X_FORWARDED_PROTO) {
        Some(b"http") => b"http",
        Some(b"https") => b"https",
        _ => transport_scheme(connection),
    };
    headers.set(header::SCHEME, scheme);
}

fn transport_scheme(connection: &ConnectionInfo) -> &'static [u8] {
    if connection.is_tls() { b"https" } else { b"http" }
}

fn tell_external_address(headers: &mut HeaderMap, client: &Client) {
    if let Some(ip) = client.address.ip() {
        let mut text = String::with_capacity(48);
        if write!(text, "{ip}").is_ok() {
            headers.set(header::X_ENVOY_EXTERNAL_ADDRESS, text.as_bytes());
        }
    }
}

fn set_request_id(
    options: RequestIdOptions,
    is_edge: bool,
    headers: &mut HeaderMap,
    random: impl FnOnce() -> [u64; 2],
) {
    if !options.generate {
        return;
    }
    let keep = headers.contains(header::X_REQUEST_ID) && (!is_edge || options.preserve_external);
    if !keep {
        headers.set(header::X_REQUEST_ID, &format_uuid_v4(random()));
    }
}

fn append_via(settings: &RequestHeaderSettings, head: &mut RequestHead) {
    if settings.via.is_empty() {
        return;
    }
    append_via_to(&mut head.headers, head.version, &settings.via);
}

/// Appends the proxy's pseudonym to `via`, after what stands there (RFC 9110 section 7.6.3, with
/// Envoy's form of the value: the pseudonym alone).
pub fn append_via_to(headers: &mut HeaderMap, _received: Version, via: &str) {
    let mut value = Vec::with_capacity(64);
    for known in headers.get_all(header::VIA) {
        value.extend_from_slice(known);
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(via.as_bytes());
    headers.set(header::VIA, &value);
}

fn remove_all(headers: &mut HeaderMap, names: &[Known]) {
    for name in names {
        if headers.contains(*name) {
            headers.remove(*name);
        }
    }
}

fn write_into(buffer: &mut [u8; 5], port: u16) -> &[u8] {
    let mut rest = &mut buffer[..];
    let len = match write!(rest, "{port}") {
        Ok(()) => 5 - rest.len(),
        Err(_) => 0,
    };
    &buffer[..len]
}
