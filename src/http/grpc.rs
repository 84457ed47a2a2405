//! What the proxy must know of gRPC over HTTP: how its requests are recognised and how a status and
//! a message are told ("gRPC over HTTP2", and Envoy's mapping of HTTP status codes).

use super::{HeaderMap, header};

/// Whether a request is gRPC by its content type: `application/grpc`, alone or followed by `+`, and nothing
/// else (checked on Envoy 1.40: `;` or another case make it no gRPC).
pub fn is_grpc_request(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value.strip_prefix(TYPE).is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
    })
}

/// The gRPC status that stands for an HTTP status.
pub fn status_from_http(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The HTTP status that stands for a gRPC status.
pub fn http_from_status(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// A message as `grpc-message` carries it: bytes outside printable ASCII, and `%`, percent-encoded.
pub fn percent_encode_message(message: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(message.len());
    for &byte in message {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(byte);
        } else {
            encoded.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(header::CONTENT_TYPE, content_type);
        headers
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        assert!(is_grpc_request(&headers(b"application/grpc")));
        assert!(is_grpc_request(&headers(b"application/grpc+proto")));
        assert!(!is_grpc_request(&headers(b"application/grpc-web")));
        assert!(!is_grpc_request(&headers(b"application/grpc;x")));
        assert!(!is_grpc_request(&headers(b"text/plain")));
    }

    #[test]
    fn statuses_stand_for_each_other() {
        assert_eq!([0, 14, 16, 4, 2, 99].map(http_from_status), [200, 503, 401, 504, 500, 500]);
        for http in [401, 403, 503] {
            assert_eq!(http_from_status(status_from_http(http)), http);
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode_message("50% \u{e9}\n".as_bytes()), b"50%25 %C3%A9%0A");
    }
}
