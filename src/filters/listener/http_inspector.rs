//! Finds out whether a plain connection speaks HTTP, and which version
//! (`envoy.extensions.filters.listener.http_inspector.v3.HttpInspector`), so that filter chains can be chosen by
//! it: `http/1.0`, `http/1.1` or `h2c` becomes the connection's application protocol.
//!
//! Reads the HTTP/2 preface (RFC 9113 3.4) or a request line (RFC 9112 3), as leniently as Envoy does, and no
//! further.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector as HttpInspectorProto;

use crate::api::{ConfigError, MessageSupport};
use crate::config::FieldPath;
use crate::filters::BuildContext;
use crate::io::Socket;
use crate::stats::groups::HttpInspectorStats;
use crate::stream_info::ConnectionInfo;

use super::{Inspected, ListenerFilter, ListenerFilterDefinition, ListenerFilterFactory};

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest request line that is waited for.
const MAX_LINE_BYTES: usize = 64 * 1_024;

/// The HTTP inspector.
pub struct HttpInspector {
    stats: HttpInspectorStats,
    names: Names,
}

/// Application protocols by their names.
struct Names {
    http10: Arc<str>,
    http11: Arc<str>,
    h2c: Arc<str>,
}

impl ListenerFilterDefinition for HttpInspector {
    type Config = HttpInspectorProto;

    const SUPPORT: &'static [MessageSupport] =
        &[MessageSupport::all("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector")];

    fn build(
        _: HttpInspectorProto,
        _: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<Arc<dyn ListenerFilterFactory>, Vec<ConfigError>> {
        let stats = HttpInspectorStats::register(cx.registry, "http_inspector.");
        let names = Names { http10: "http/1.0".into(), http11: "http/1.1".into(), h2c: "h2c".into() };
        Ok(Arc::new(Factory(Arc::new(HttpInspector { stats, names }))))
    }
}

struct Factory(Arc<HttpInspector>);

impl ListenerFilterFactory for Factory {
    fn create(&self) -> Box<dyn ListenerFilter> {
        Box::new(Inspection { settings: Arc::clone(&self.0), is_encrypted: false, searched_bytes: 0 })
    }
}

struct Inspection {
    settings: Arc<HttpInspector>,
    /// Another filter has found out that what comes is not plain.
    is_encrypted: bool,
    /// So many bytes are known to contain no end of a line.
    searched_bytes: usize,
}

impl ListenerFilter for Inspection {
    fn on_accept(&mut self, _socket: &Socket, info: &mut ConnectionInfo) {
        self.is_encrypted = !matches!(info.transport_protocol, "" | "raw_buffer");
    }

    fn need_bytes(&self) -> usize {
        if self.is_encrypted { 0 } else { MAX_LINE_BYTES }
    }

    fn inspect(&mut self, bytes: &[u8], _end: bool, info: &mut ConnectionInfo) -> Inspected {
        let done = Inspected::Done { taken: 0 };
        if self.is_encrypted {
            return done;
        }
        let found = look(bytes, self.searched_bytes);
        self.searched_bytes = bytes.len();
        let (stats, names) = (&self.settings.stats, &self.settings.names);
        let name = match found {
            Found::More if bytes.len() < MAX_LINE_BYTES => return Inspected::More,
            Found::More => {
                stats.read_error.inc();
                return Inspected::Refused;
            }
            Found::NotHttp => {
                stats.http_not_found.inc();
                return done;
            }
            Found::Http10 => {
                stats.http10_found.inc();
                &names.http10
            }
            Found::Http11 => {
                stats.http11_found.inc();
                &names.http11
            }
            Found::Http2 => {
                stats.http2_found.inc();
                &names.h2c
            }
        };
        info.application_protocols = vec![Arc::clone(name)];
        done
    }
}

/// What first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// HTTP/1.0, or 1.x for another x, or no version at all.
    Http10,
    Http11,
    Http2,
    NotHttp,
    /// That cannot be told yet.
    More,
}

/// Looks at bytes of which the first `searched_bytes` contain no end of a line.
fn look(bytes: &[u8], searched_bytes: usize) -> Found {
    let prefix_bytes = bytes.len().min(PREFACE.len());
    if bytes[..prefix_bytes] == PREFACE[..prefix_bytes] {
        return if prefix_bytes == PREFACE.len() { Found::Http2 } else { Found::More };
    }
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Found::NotHttp;
    }
    // The preface contains ends of lines too.
    let from = if searched_bytes < PREFACE.len() { 0 } else { searched_bytes };
    match memchr::memchr(b'\n', &bytes[from..]) {
        Some(at) => request_line(&bytes[..from + at]),
        None if may_become_line(bytes) => Found::More,
        None => Found::NotHttp,
    }
}

/// Whether what has come so far may be the beginning of a request line.
fn may_become_line(bytes: &[u8]) -> bool {
    let method = bytes.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    method.iter().all(|byte| is_token_byte(*byte))
}

/// Which version a request line is of.
fn request_line(line: &[u8]) -> Found {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Found::NotHttp };
    let version = words.next();
    if words.next().is_some() || !method.iter().all(|byte| is_token_byte(*byte)) || !is_target(method, target)
    {
        return Found::NotHttp;
    }
    match version {
        None => Found::Http10,
        Some(b"HTTP/1.1") => Found::Http11,
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Found::Http10
        }
        Some(_) => Found::NotHttp,
    }
}

/// Whether a request may have this target: a path, an asterisk, an absolute URI, or an authority to connect to.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        [b'/', ..] | b"*" => true,
        _ if method == b"CONNECT" => true,
        _ => memchr::memmem::find(target, b"://").is_some_and(|at| at > 0),
    }
}

/// RFC 9110 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn request_lines_and_prefaces() {
        let rows: &[(&[u8], Found)] = &[
            (b"GET / HTTP/1.1\r\nHost", Found::Http11),
            (b"BREW\t/  HTTP/1.1\n", Found::Http11),
            (b"GET http://a/ HTTP/1.1\r\n", Found::Http11),
            (b"CONNECT a:1 HTTP/1.1\r\n", Found::Http11),
            (b"OPTIONS * HTTP/1.0\r\n", Found::Http10),
            (b"GET /\r\n", Found::Http10),
            (b"GET / HTTP/2.0\r\n", Found::Http10),
            (b"GET / HTTP/3\r\n", Found::NotHttp),
            (b"G@T / HTTP/1.1\r\n", Found::NotHttp),
            (b"HELO a\r\n", Found::NotHttp),
            (b"hello\n", Found::NotHttp),
            (b"\r\nGET / HTTP/1.1\r\n", Found::NotHttp),
            (b"GET / HTTP/1.1", Found::More),
            (b"\x16\x03\x01", Found::NotHttp),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", Found::More),
            (PREFACE, Found::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Found::Http10),
        ];
        for (bytes, expected) in rows {
            assert_eq!(look(bytes, 0), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn pieces_tell_the_same_as_the_whole(
            bytes in "(GET|PRI|[A-Z]{1,3}) (/[a-z]{0,40}|\\*) (HTTP/[12]\\.[01]|x)\r\n.{0,30}", cut in 0usize..80
        ) {
            let bytes = bytes.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = look(bytes, 0);
            let early = look(&bytes[..cut], 0);
            prop_assert!(early == Found::More || early == whole);
            if early == Found::More {
                prop_assert_eq!(look(bytes, cut), whole);
            }
        }
    }
}
