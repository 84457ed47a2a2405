//! Heads, chunks and trailers as bytes (RFC 9112). Line ends come from here only: a header map holds none.
//!
//! Headers that stand in the map's buffer as they would on the wire are written in runs, one copy for each.

use super::Framing;
use crate::http::header::{self, CONTENT_LENGTH, is_token};
use crate::http::header_map::Entry;
use crate::http::message::{parse_decimal, status_digits};
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, Version, reason_phrase};

/// How header names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderCase {
    /// `content-type`
    #[default]
    Lower,
    /// `Content-Type`: the first letter and each one after a character that is no letter and no digit.
    Proper,
}

/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a request's head to `out`. `content-length` and `transfer-encoding` are written as `framing` says,
/// whatever the map has.
///
/// A byte that would end the request target early is percent-encoded; a method that is no token becomes `INVALID`.
pub fn encode_request(head: &RequestHead, framing: Framing, case: HeaderCase, out: &mut Vec<u8>) {
    let method = head.method();
    match method {
        Method::Other(text) if !is_token(text) => out.extend_from_slice(b"INVALID"),
        _ => out.extend_from_slice(method.as_bytes()),
    }
    out.push(b' ');
    write_target(if method == Method::Connect { head.authority() } else { head.path() }, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = head.headers.get(header::AUTHORITY) {
        out.extend_from_slice(if case == HeaderCase::Proper { b"Host: " } else { b"host: " });
        out.extend_from_slice(authority);
        out.extend_from_slice(b"\r\n");
    }
    // A request without a body has no length, and must not seem to have one.
    let lengths = match framing {
        Framing::Length(length) => KeepLength::If(length),
        _ => KeepLength::Never,
    };
    write_headers(&head.headers, framing, lengths, case, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends a response's head to `out`, in HTTP/1.0 or 1.1. With [`Framing::None`] the map's `content-length`
/// stays (it then speaks of a body that is not sent, as after HEAD), except where the status forbids it.
pub fn encode_response(
    head: &ResponseHead,
    version: Version,
    framing: Framing,
    case: HeaderCase,
    out: &mut Vec<u8>,
) {
    let status = head.status();
    if status == 200 && version != Version::Http10 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(if version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.extend_from_slice(&status_digits(status));
        out.push(b' ');
        out.extend_from_slice(reason_phrase(status).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let lengths = match framing {
        Framing::Length(length) => KeepLength::If(length),
        Framing::None if status >= 200 && status != 204 => KeepLength::Always,
        _ => KeepLength::Never,
    };
    write_headers(&head.headers, framing, lengths, case, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends what comes before `len` bytes of chunk data; [`CHUNK_END`] comes after them. Nothing for zero bytes, which
/// would end the body.
pub fn encode_chunk_start(len: usize, out: &mut Vec<u8>) {
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for position in (0..digits).rev() {
        let digit = (len >> (position * 4) & 0xf) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body with `trailers`.
pub fn encode_trailers(trailers: &HeaderMap, case: HeaderCase, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    write_headers(trailers, Framing::None, KeepLength::Never, case, out);
    out.extend_from_slice(b"\r\n");
}

/// What happens to a `content-length` in the map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeepLength {
    Always,
    Never,
    /// It stays if it is the only one and says this; else a right one is written.
    If(u64),
}

fn write_headers(
    headers: &HeaderMap,
    framing: Framing,
    lengths: KeepLength,
    case: HeaderCase,
    out: &mut Vec<u8>,
) {
    let (bytes, entries, pseudo_count) = headers.parts();
    let keeps_length = match lengths {
        KeepLength::Always => true,
        KeepLength::Never => false,
        KeepLength::If(length) => {
            let mut values = headers.get_all(CONTENT_LENGTH);
            values.next().and_then(parse_decimal) == Some(length) && values.next().is_none()
        }
    };
    let skips_length = !keeps_length && headers.has_id(CONTENT_LENGTH.id());
    let skips_any = skips_length || headers.has_id(header::TRANSFER_ENCODING.id());
    let is_skipped = |entry: &Entry| {
        skips_any
            && (entry.id() == header::TRANSFER_ENCODING.id()
                || (skips_length && entry.id() == CONTENT_LENGTH.id()))
    };
    let lines = &entries[pseudo_count..];
    if case == HeaderCase::Lower {
        write_runs(bytes, lines, is_skipped, out);
    } else {
        for entry in lines.iter().filter(|entry| !is_skipped(entry)) {
            write_line(bytes, entry, case, out);
        }
    }
    match framing {
        Framing::Length(length) if !keeps_length => {
            out.extend_from_slice(proper_if(case, b"content-length: ", b"Content-Length: "));
            write_decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => {
            out.extend_from_slice(proper_if(
                case,
                b"transfer-encoding: chunked\r\n",
                b"Transfer-Encoding: chunked\r\n",
            ));
        }
        _ => {}
    }
}

fn proper_if(case: HeaderCase, lower: &'static [u8], proper: &'static [u8]) -> &'static [u8] {
    if case == HeaderCase::Proper { proper } else { lower }
}

/// Writes the entries, in one copy wherever several follow each other in the buffer as whole lines.
#[inline]
fn write_runs(bytes: &[u8], lines: &[Entry], is_skipped: impl Fn(&Entry) -> bool, out: &mut Vec<u8>) {
    let (mut run_start, mut run_end) = (0, 0);
    for entry in lines {
        if is_skipped(entry) {
            continue;
        }
        match wire_line(bytes, entry) {
            Some((start, end)) if start == run_end => run_end = end,
            Some((start, end)) => {
                out.extend_from_slice(&bytes[run_start..run_end]);
                (run_start, run_end) = (start, end);
            }
            None => {
                out.extend_from_slice(&bytes[run_start..run_end]);
                (run_start, run_end) = (0, 0);
                write_line(bytes, entry, HeaderCase::Lower, out);
            }
        }
    }
    out.extend_from_slice(&bytes[run_start..run_end]);
}

/// Where the entry stands as `name: value` and CRLF, if it does.
#[inline]
fn wire_line(bytes: &[u8], entry: &Entry) -> Option<(usize, usize)> {
    let start = entry.name_start as usize;
    let name_end = start + entry.name_len() as usize;
    let value_start = entry.value.start as usize;
    let value_end = value_start + entry.value.len as usize;
    let is_whole = value_start == name_end + 2
        && bytes.get(name_end..value_start)? == b": "
        && bytes.get(value_end..value_end + 2)? == b"\r\n";
    is_whole.then_some((start, value_end + 2))
}

fn write_line(bytes: &[u8], entry: &Entry, case: HeaderCase, out: &mut Vec<u8>) {
    let name = entry.name(bytes).as_bytes();
    match case {
        HeaderCase::Lower => out.extend_from_slice(name),
        HeaderCase::Proper => {
            let mut raises = true;
            for &byte in name {
                out.push(if raises { byte.to_ascii_uppercase() } else { byte });
                raises = !byte.is_ascii_alphanumeric();
            }
        }
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(entry.value.of(bytes));
    out.extend_from_slice(b"\r\n");
}

/// Writes a request target; one that a filter has put a space or a control character into does not end early.
fn write_target(target: &[u8], out: &mut Vec<u8>) {
    if target.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
        out.extend_from_slice(if target.is_empty() { b"/" } else { target });
        return;
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in target {
        if byte > b' ' && byte != 0x7f {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

fn write_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}
