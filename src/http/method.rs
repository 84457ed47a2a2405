//! Request methods (RFC 9110 section 9). Borrowed from the head they stand in; nothing is allocated.

/// A request method. Methods are case-sensitive: `get` is not `GET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH`
    Patch,
    /// Any other, as received.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// The method with this text.
    #[inline]
    pub fn from_bytes(text: &'a [u8]) -> Method<'a> {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            other => Method::Other(other),
        }
    }

    /// The text as it stands in a request line.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Method::Get => b"GET",
            Method::Head => b"HEAD",
            Method::Post => b"POST",
            Method::Put => b"PUT",
            Method::Delete => b"DELETE",
            Method::Connect => b"CONNECT",
            Method::Options => b"OPTIONS",
            Method::Trace => b"TRACE",
            Method::Patch => b"PATCH",
            Method::Other(text) => text,
        }
    }

    /// Whether this is one of the methods that Envoy's HTTP/1 parser knows. Others are answered with 400 unless
    /// `allow_custom_methods` is set.
    pub fn is_registered(self) -> bool {
        match self {
            Method::Other(text) => REGISTERED.contains(&text),
            _ => true,
        }
    }

    /// Whether sending the request twice does no more than sending it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Patch | Method::Connect | Method::Other(_))
    }

    /// Whether a body has no defined meaning here, so that an empty one needs no `content-length: 0`.
    pub fn expects_no_body(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Delete | Method::Trace | Method::Connect)
    }
}

const REGISTERED: [&[u8]; 26] = [
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"MSEARCH",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_method_agree() {
        for text in
            ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "LOCK", "FOO"]
        {
            assert_eq!(Method::from_bytes(text.as_bytes()).as_bytes(), text.as_bytes());
        }
        assert!(Method::from_bytes(b"LOCK").is_registered());
        assert!(!Method::from_bytes(b"FOO").is_registered());
        assert!(!Method::from_bytes(b"get").is_registered());
    }
}
