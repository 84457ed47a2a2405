//! How a body is delimited (RFC 9112 section 6), and how to delimit one that is sent, as Envoy chooses.

use crate::http::header::CONTENT_LENGTH;
use crate::http::{Method, RequestHead, ResponseHead, Version};

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, perhaps with trailers.
    Chunked,
    /// All bytes until the connection ends; responses only.
    UntilClose,
    /// Not HTTP any more: all bytes until the connection ends, in both directions.
    Tunnel,
}

impl Framing {
    /// Whether the head is the whole message.
    pub fn is_empty(self) -> bool {
        matches!(self, Framing::None | Framing::Length(0))
    }
}

/// The framing to send a request with. `end_stream`: nothing follows the head.
///
/// A `content-length` in the map is taken at its word if a body follows; the sender must keep it.
pub fn request_framing(head: &RequestHead, end_stream: bool) -> Framing {
    let method = head.method();
    if method == Method::Connect {
        return Framing::Tunnel;
    }
    if !end_stream {
        return head.headers.get_u64(CONTENT_LENGTH).map_or(Framing::Chunked, Framing::Length);
    }
    // An explicit zero where a body would be usual; and a length that was there (zero, then) stays.
    if !method.expects_no_body() || head.headers.contains(CONTENT_LENGTH) {
        Framing::Length(0)
    } else {
        Framing::None
    }
}

/// The framing to send a response with, to a client that sent `method` in `version`. `end_stream`: nothing
/// follows the head. With [`Framing::UntilClose`] the connection must be closed behind the body.
pub fn response_framing(
    head: &ResponseHead,
    method: Method<'_>,
    version: Version,
    end_stream: bool,
) -> Framing {
    let status = head.status();
    if status == 101 || (method == Method::Connect && (200..300).contains(&status)) {
        return Framing::Tunnel;
    }
    if status < 200 || status == 204 || status == 304 || method == Method::Head {
        return Framing::None;
    }
    if end_stream {
        return Framing::Length(0);
    }
    match (head.headers.get_u64(CONTENT_LENGTH), version) {
        (Some(length), _) => Framing::Length(length),
        (None, Version::Http10) => Framing::UntilClose,
        (None, _) => Framing::Chunked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let framing = |method: &str, length: Option<&str>, end_stream| {
            let mut head = RequestHead::new(Method::from_bytes(method.as_bytes()), "http", b"h", b"/");
            if let Some(length) = length {
                head.headers.append(CONTENT_LENGTH, length.as_bytes());
            }
            request_framing(&head, end_stream)
        };
        assert_eq!(framing("GET", None, true), Framing::None);
        assert_eq!(framing("GET", Some("0"), true), Framing::Length(0));
        assert_eq!(framing("POST", None, true), Framing::Length(0));
        assert_eq!(framing("POST", None, false), Framing::Chunked);
        assert_eq!(framing("POST", Some("7"), false), Framing::Length(7));
        assert_eq!(framing("CONNECT", None, false), Framing::Tunnel);
    }

    #[test]
    fn responses() {
        let framing = |status, method: &str, length: Option<&str>, version, end_stream| {
            let mut head = ResponseHead::new(status);
            if let Some(length) = length {
                head.headers.append(CONTENT_LENGTH, length.as_bytes());
            }
            response_framing(&head, Method::from_bytes(method.as_bytes()), version, end_stream)
        };
        let (old, new) = (Version::Http10, Version::Http11);
        assert_eq!(framing(200, "GET", None, new, false), Framing::Chunked);
        assert_eq!(framing(200, "GET", None, old, false), Framing::UntilClose);
        assert_eq!(framing(200, "GET", Some("7"), old, false), Framing::Length(7));
        assert_eq!(framing(200, "GET", None, new, true), Framing::Length(0));
        assert_eq!(framing(200, "HEAD", Some("7"), new, true), Framing::None);
        assert_eq!(framing(304, "GET", Some("7"), new, true), Framing::None);
        assert_eq!(framing(204, "GET", None, new, true), Framing::None);
        assert_eq!(framing(101, "GET", None, new, false), Framing::Tunnel);
        assert_eq!(framing(200, "CONNECT", None, new, false), Framing::Tunnel);
        assert_eq!(framing(404, "CONNECT", None, new, true), Framing::Length(0));
    }
}
