//! Message heads and the parts of a body, the same for every HTTP version.
//!
//! What HTTP/1 writes in its first line stands in the header map as pseudo-headers, as in HTTP/2 and in Envoy.

use super::header::{self, AUTHORITY, METHOD, PATH, SCHEME, STATUS};
use super::{HeaderMap, Method, Version};
use crate::buf::Chunk;

/// What a request begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// All headers, with `:method`, `:path`, `:authority` (HTTP/1's `host`) and `:scheme` in front.
    pub headers: HeaderMap,
    /// The version the request was received in.
    pub version: Version,
}

impl RequestHead {
    /// A request without further headers.
    pub fn new(method: Method<'_>, scheme: &str, authority: &[u8], path: &[u8]) -> RequestHead {
        let mut headers = HeaderMap::new();
        headers.append(METHOD, method.as_bytes());
        headers.append(PATH, path);
        headers.append(AUTHORITY, authority);
        headers.append(SCHEME, scheme.as_bytes());
        RequestHead { headers, version: Version::Http11 }
    }

    /// The method; an empty custom one if the head has none.
    pub fn method(&self) -> Method<'_> {
        Method::from_bytes(self.headers.get(METHOD).unwrap_or_default())
    }

    /// The path with its query; empty for a CONNECT request.
    pub fn path(&self) -> &[u8] {
        self.headers.get(PATH).unwrap_or_default()
    }

    /// The path up to `?`.
    pub fn path_without_query(&self) -> &[u8] {
        super::path::split_query(self.path()).0
    }

    /// What follows `?` in the path.
    pub fn query(&self) -> Option<&[u8]> {
        super::path::split_query(self.path()).1
    }

    /// Host and perhaps port; empty if the request names none.
    pub fn authority(&self) -> &[u8] {
        self.headers.get(AUTHORITY).unwrap_or_default()
    }

    /// `http` or `https`; `http` if unknown.
    pub fn scheme(&self) -> &[u8] {
        self.headers.get(SCHEME).unwrap_or(b"http")
    }

    /// Replaces the method.
    pub fn set_method(&mut self, method: Method<'_>) {
        self.headers.set(METHOD, method.as_bytes());
    }

    /// Replaces path and query.
    pub fn set_path(&mut self, path: &[u8]) {
        self.headers.set(PATH, path);
    }

    /// Replaces the host.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.headers.set(AUTHORITY, authority);
    }

    /// Replaces the scheme.
    pub fn set_scheme(&mut self, scheme: &[u8]) {
        self.headers.set(SCHEME, scheme);
    }
}

/// What a response begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// All headers, with `:status` in front.
    pub headers: HeaderMap,
    /// The version the response was received in.
    pub version: Version,
    status: u16,
}

impl ResponseHead {
    /// A response without further headers. `status` is 100 to 999; others become 500.
    pub fn new(status: u16) -> ResponseHead {
        ResponseHead::with_headers(HeaderMap::new(), status, Version::Http11)
    }

    /// A response with these headers, which have no `:status` yet (or another, which is replaced).
    pub fn with_headers(headers: HeaderMap, status: u16, version: Version) -> ResponseHead {
        let mut head = ResponseHead { headers, version, status };
        head.set_status(status);
        head
    }

    /// For the codecs: `headers` has a `:status` that says the same.
    pub(super) fn from_wire(headers: HeaderMap, status: u16, version: Version) -> ResponseHead {
        ResponseHead { headers, version, status }
    }

    /// The status code, 100 to 999.
    #[inline]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Replaces the status code. 100 to 999; others become 500.
    pub fn set_status(&mut self, status: u16) {
        self.status = if (100..=999).contains(&status) { status } else { 500 };
        self.headers.set(STATUS, &status_digits(self.status));
    }

    /// Whether this is an interim response (1xx other than 101), which another one follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// A part of a body, in any version. `Trailers` or `End` is always the last.
#[derive(Debug, Clone)]
pub enum BodyEvent {
    /// Some bytes, at least one.
    Data(Chunk),
    /// The end, with these trailers.
    Trailers(HeaderMap),
    /// The end.
    End,
}

/// Three digits of a status from 100 to 999.
#[inline]
pub(super) fn status_digits(status: u16) -> [u8; 3] {
    [b'0' + (status / 100 % 10) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8]
}

/// Digits only, at least one, that fit 64 bits (RFC 9110 section 8.6: `1*DIGIT`).
pub(super) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The usual reason phrase of a status, `Unknown` if there is none.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "Unknown",
    }
}

const _: () = assert!(header::is_pseudo(STATUS.id()));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_pseudo_header_agree() {
        let mut head = ResponseHead::new(204);
        assert_eq!(head.headers.get(STATUS), Some(&b"204"[..]));
        head.set_status(7);
        assert_eq!((head.status(), head.headers.get(STATUS)), (500, Some(&b"500"[..])));
    }

    #[test]
    fn path_and_query() {
        let mut head = RequestHead::new(Method::Get, "https", b"example.com", b"/a?b=c?d");
        assert_eq!((head.path_without_query(), head.query()), (&b"/a"[..], Some(&b"b=c?d"[..])));
        head.set_path(b"/longer/than/before");
        assert_eq!((head.path(), head.query()), (&b"/longer/than/before"[..], None));
        let names: Vec<_> = head.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [":method", ":path", ":authority", ":scheme"]);
    }

    #[test]
    fn decimals() {
        assert_eq!(parse_decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "18446744073709551616", "+2", "-1", " 1", "1 ", "0x1"] {
            assert_eq!(parse_decimal(bad.as_bytes()), None, "{bad}");
        }
    }
}
