//! Requests, encoded once before the run.

use bytes::Bytes;

use crate::buf::Chunk;
use crate::http::{Method, RequestHead};

use super::plan::Reuse;

/// A request as it was asked for.
#[derive(Debug, Clone)]
pub struct RequestSpec {
    /// Such as `GET`; a token of RFC 9110.
    pub method: String,
    /// `host` of the request.
    pub authority: String,
    /// Path and query; begins with `/`.
    pub path: String,
    /// Added after the usual ones, each of which it replaces if the name is the same.
    pub headers: Vec<(String, String)>,
    /// Sent with `content-length` unless empty.
    pub body: Bytes,
}

impl RequestSpec {
    /// A GET without anything special.
    pub fn get(authority: &str, path: &str) -> RequestSpec {
        RequestSpec {
            method: "GET".to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Header fields in the order in which they are sent.
    fn fields(&self, reuse: Reuse) -> Vec<(&str, String)> {
        let mut usual = vec![
            ("host", self.authority.clone()),
            ("user-agent", "ringway-loadgen".to_owned()),
            ("accept", "*/*".to_owned()),
        ];
        if !self.body.is_empty() || ["POST", "PUT", "PATCH"].contains(&self.method.as_str()) {
            usual.push(("content-length", self.body.len().to_string()));
        }
        if reuse == Reuse::NewConnection {
            usual.push(("connection", "close".to_owned()));
        }
        let replaced = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        usual.retain(|(name, _)| !replaced(name));
        usual.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.clone())));
        usual
    }
}

/// A request as it is sent, in this worker's memory.
#[derive(Debug)]
pub(super) struct Request {
    /// HTTP/1.1 head and body.
    pub(super) http1: Chunk,
    /// HTTP/2's head.
    pub(super) http2: RequestHead,
    /// The body on its own.
    pub(super) body: Chunk,
    /// The answer has no body, whatever its head says.
    pub(super) is_head: bool,
    /// What became of the call is said by gRPC's status.
    pub(super) is_grpc: bool,
}

impl Request {
    /// With `scheme` where HTTP/2 says it.
    pub(super) fn encode(spec: &RequestSpec, reuse: Reuse, scheme: &str) -> Request {
        let content_type = spec.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        Request {
            http1: Chunk::from_vec(http1_message(spec, reuse)),
            http2: http2_head(spec, scheme),
            body: Chunk::from_bytes(spec.body.clone()),
            is_head: spec.method == "HEAD",
            is_grpc: content_type.is_some_and(|(_, value)| value.starts_with("application/grpc")),
        }
    }
}

fn http1_message(spec: &RequestSpec, reuse: Reuse) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", spec.method, spec.path).into_bytes();
    for (name, value) in spec.fields(reuse) {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&spec.body);
    bytes
}

fn http2_head(spec: &RequestSpec, scheme: &str) -> RequestHead {
    let fields = spec.fields(Reuse::KeepAlive);
    let host = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let authority = host.map_or(&spec.authority, |(_, value)| value);
    let method = Method::from_bytes(spec.method.as_bytes());
    let mut head = RequestHead::new(method, scheme, authority.as_bytes(), spec.path.as_bytes());
    for (name, value) in &fields {
        let name = name.to_ascii_lowercase();
        if name != "host" {
            head.headers.append(name.as_str(), value.as_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_headers_replace_the_usual_ones() {
        let mut spec = RequestSpec::get("a.test", "/x?y=1");
        spec.headers = vec![("Host".into(), "b.test".into()), ("x-many".into(), "1".into())];
        spec.body = Bytes::from_static(b"body");
        let request = Request::encode(&spec, Reuse::KeepAlive, "http");
        let text = String::from_utf8_lossy(&request.http1).into_owned();
        assert_eq!(
            text,
            "GET /x?y=1 HTTP/1.1\r\nuser-agent: ringway-loadgen\r\naccept: */*\r\ncontent-length: 4\r\n\
             Host: b.test\r\nx-many: 1\r\n\r\nbody"
        );
    }

    #[test]
    fn http2_has_the_same_in_its_own_words() {
        let mut spec = RequestSpec::get("a.test", "/x");
        spec.headers =
            vec![("Host".into(), "b.test".into()), ("Content-Type".into(), "application/grpc".into())];
        let request = Request::encode(&spec, Reuse::KeepAlive, "https");
        let head = &request.http2;
        assert_eq!(
            (head.authority(), head.scheme(), head.path()),
            (&b"b.test"[..], &b"https"[..], &b"/x"[..])
        );
        assert_eq!(head.headers.get("content-type"), Some(&b"application/grpc"[..]));
        let names: Vec<_> = head.headers.iter_without_pseudo().map(|(name, _)| name).collect();
        assert_eq!(names, ["user-agent", "accept", "content-type"]);
        assert!(request.is_grpc);
    }

    #[test]
    fn one_request_a_connection_says_so() {
        let mut spec = RequestSpec::get("a", "/");
        spec.method = "HEAD".to_owned();
        let request = Request::encode(&spec, Reuse::NewConnection, "http");
        assert!(request.http1.ends_with(b"connection: close\r\n\r\n") && request.is_head);
    }
}
