//! Writing heads and trailers as header blocks (RFC 9113 sections 8.2 and 8.3).
//!
//! Whatever a filter left in a map, no header leaves that HTTP/2 forbids: those about the connection are left out, and values
//! lose spaces around them. Trusts a map for the rest: its names are lower-case tokens, its values have no CR, LF or NUL.

use crate::http::h2::hpack::Encoder;
use crate::http::header::{self, Known};
use crate::http::header_map::Entry;
use crate::http::message::status_digits;
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead};

/// Appends a request's head as a header block. `http` and `/` stand in for a missing scheme and path.
pub fn encode_request(head: &RequestHead, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let (bytes, entries, pseudo_count) = head.headers.parts();
    // A plain CONNECT names only whom to connect to (RFC 9113 section 8.5).
    let is_tunnel = head.method() == Method::Connect && !head.headers.has_id(header::PROTOCOL.id());
    encoder.begin(out);
    for entry in &entries[..pseudo_count] {
        let id = entry.id();
        let is_left_out = id == header::STATUS.id()
            || (is_tunnel && (id == header::SCHEME.id() || id == header::PATH.id()));
        if !is_left_out {
            encoder.field(
                id,
                entry.name(bytes).as_bytes(),
                entry.value.of(bytes),
                entry.is_never_indexed(),
                out,
            );
        }
    }
    if !is_tunnel {
        if !head.headers.has_id(header::SCHEME.id()) {
            put(header::SCHEME, b"http", encoder, out);
        }
        if !head.headers.has_id(header::PATH.id()) {
            put(header::PATH, b"/", encoder, out);
        }
    }
    encode_fields(bytes, &entries[pseudo_count..], true, encoder, out);
}

/// Appends a response's head as a header block.
pub fn encode_response(head: &ResponseHead, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let (bytes, entries, pseudo_count) = head.headers.parts();
    let status = head.status();
    encoder.begin(out);
    put(header::STATUS, &status_digits(status), encoder, out);
    // RFC 9110 section 8.6.
    let may_have_length = status >= 200 && status != 204;
    encode_fields(bytes, &entries[pseudo_count..], may_have_length, encoder, out);
}

/// Appends trailers as a header block; pseudo-headers are left out.
pub fn encode_trailers(trailers: &HeaderMap, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let (bytes, entries, pseudo_count) = trailers.parts();
    encoder.begin(out);
    encode_fields(bytes, &entries[pseudo_count..], true, encoder, out);
}

fn put(name: Known, value: &[u8], encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.field(name.id(), name.as_str().as_bytes(), value, false, out);
}

#[inline]
fn encode_fields(
    bytes: &[u8],
    entries: &[Entry],
    may_have_length: bool,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    for entry in entries {
        let value = trimmed(entry.value.of(bytes));
        match FORBIDDEN[entry.id() as usize] {
            Forbidden::No => {}
            Forbidden::Always => continue,
            Forbidden::UnlessTrailers if value.eq_ignore_ascii_case(b"trailers") => {}
            Forbidden::WithoutBody if may_have_length => {}
            Forbidden::UnlessTrailers | Forbidden::WithoutBody => continue,
        }
        encoder.field(entry.id(), entry.name(bytes).as_bytes(), value, entry.is_never_indexed(), out);
    }
}

#[inline]
fn trimmed(value: &[u8]) -> &[u8] {
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => {
            let start = value.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
            let end =
                value.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(start, |last| last + 1);
            &value[start..end]
        }
        _ => value,
    }
}

/// When a header is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forbidden {
    No,
    Always,
    UnlessTrailers,
    WithoutBody,
}

static FORBIDDEN: [Forbidden; 256] = {
    let mut table = [Forbidden::No; 256];
    table[header::CONNECTION.id() as usize] = Forbidden::Always;
    table[header::KEEP_ALIVE.id() as usize] = Forbidden::Always;
    table[header::PROXY_CONNECTION.id() as usize] = Forbidden::Always;
    table[header::TRANSFER_ENCODING.id() as usize] = Forbidden::Always;
    table[header::UPGRADE.id() as usize] = Forbidden::Always;
    table[header::HTTP2_SETTINGS.id() as usize] = Forbidden::Always;
    table[header::TE.id() as usize] = Forbidden::UnlessTrailers;
    table[header::CONTENT_LENGTH.id() as usize] = Forbidden::WithoutBody;
    table
};
