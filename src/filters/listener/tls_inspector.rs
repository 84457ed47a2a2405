//! Finds out whether a connection begins with a TLS client hello, and what it asks for
//! (`envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector`), so that filter chains can be chosen by server
//! name, application protocol and transport protocol.
//!
//! It takes no bytes and answers nothing: what is wrong with a hello is found by the handshake that follows.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector as TlsInspectorProto;
use prost::Name;

use crate::api::{ConfigError, MessageSupport};
use crate::config::{FieldPath, TypedExtension};
use crate::filters::BuildContext;
use crate::stats::groups::TlsInspectorStats;
use crate::stream_info::ConnectionInfo;
use crate::tls::client_hello::{ClientHello, ClientHelloError, ClientHelloParser, MAX_CLIENT_HELLO_BYTES};

use super::{Inspected, ListenerFilter, ListenerFilterDefinition, ListenerFilterFactory};

/// The TLS inspector.
#[derive(Clone)]
pub struct TlsInspector {
    stats: TlsInspectorStats,
    max_bytes: usize,
    /// A connection that does not begin with a hello is closed.
    closes_others: bool,
}

impl TlsInspector {
    /// Whether an entry of `listener_filters` is one.
    pub fn is_configured_by(extension: &TypedExtension) -> bool {
        extension.type_name() == TlsInspectorProto::full_name()
    }
}

impl ListenerFilterDefinition for TlsInspector {
    type Config = TlsInspectorProto;

    const SUPPORT: &'static [MessageSupport] = &[MessageSupport {
        message: "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        honoured: &["close_connection_on_client_hello_parsing_errors", "max_client_hello_size"],
        // What has come is there already, in a buffer of the worker's.
        no_effect: &["initial_read_buffer_size"],
    }];

    fn build(
        config: TlsInspectorProto,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<Arc<dyn ListenerFilterFactory>, Vec<ConfigError>> {
        let max_bytes =
            config.max_client_hello_size.map_or(MAX_CLIENT_HELLO_BYTES, |size| size.value as usize);
        if max_bytes > MAX_CLIENT_HELLO_BYTES {
            let message = format!(
                "max_client_hello_size of {max_bytes} is greater than maximum of {MAX_CLIENT_HELLO_BYTES}."
            );
            return Err(vec![ConfigError::new(path.field("max_client_hello_size").as_str(), message)]);
        }
        Ok(Arc::new(TlsInspector {
            stats: TlsInspectorStats::register(cx.registry, "tls_inspector."),
            max_bytes,
            closes_others: config.close_connection_on_client_hello_parsing_errors,
        }))
    }
}

impl ListenerFilterFactory for TlsInspector {
    fn create(&self) -> Box<dyn ListenerFilter> {
        Box::new(Inspection { settings: self.clone(), parser: ClientHelloParser::new(), seen_bytes: 0 })
    }
}

struct Inspection {
    settings: TlsInspector,
    parser: ClientHelloParser,
    /// Of the bytes shown, those that the parser has had.
    seen_bytes: usize,
}

impl ListenerFilter for Inspection {
    fn need_bytes(&self) -> usize {
        self.settings.max_bytes
    }

    fn inspect(&mut self, bytes: &[u8], _end: bool, info: &mut ConnectionInfo) -> Inspected {
        let TlsInspector { stats, max_bytes, closes_others } = &self.settings;
        // One read may bring more than there is to look at.
        let shown = &bytes[..bytes.len().min(*max_bytes)];
        let found = self.parser.feed(&shown[self.seen_bytes..]);
        self.seen_bytes = shown.len();
        let inspected = match found {
            Ok(None) if bytes.len() < *max_bytes => return Inspected::More,
            Ok(None) | Err(ClientHelloError::TooLarge) => {
                stats.client_hello_too_large.inc();
                Inspected::Refused
            }
            Ok(Some(hello)) => {
                tell(&hello, stats, info);
                Inspected::Done { taken: 0 }
            }
            Err(ClientHelloError::NotTls | ClientHelloError::Malformed) => {
                stats.tls_not_found.inc();
                // Told where it turns out to matter.
                let _ = info.transport_failure_reason.set("TLS_error: not a TLS client hello".into());
                if *closes_others { Inspected::Refused } else { Inspected::Done { taken: 0 } }
            }
        };
        stats.bytes_processed.record(shown.len() as u64);
        inspected
    }
}

/// Notes what the client asks for.
fn tell(hello: &ClientHello, stats: &TlsInspectorStats, info: &mut ConnectionInfo) {
    stats.tls_found.inc();
    info.transport_protocol = "tls";
    match hello.server_name() {
        Some(name) => {
            stats.sni_found.inc();
            info.requested_server_name = Some(name.to_ascii_lowercase().into());
        }
        None => stats.sni_not_found.inc(),
    }
    let protocols: Vec<Arc<str>> =
        hello.alpn_protocols().map(|protocol| String::from_utf8_lossy(protocol).into()).collect();
    if protocols.is_empty() {
        stats.alpn_not_found.inc();
    } else {
        stats.alpn_found.inc();
        info.application_protocols = protocols;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::stats::Registry;
    use crate::stream_info::PeerAddress;
    use crate::tls::testing::first_flight;

    fn inspector(max_bytes: usize, closes_others: bool) -> (Registry, TlsInspector) {
        let registry = Registry::new();
        let stats = TlsInspectorStats::register(&registry, "tls_inspector.");
        (registry, TlsInspector { stats, max_bytes, closes_others })
    }

    fn connection() -> ConnectionInfo {
        let address = || PeerAddress::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        ConnectionInfo::new(1, address(), address())
    }

    #[test]
    fn a_hello_tells_names_and_protocols_however_it_comes() {
        let hello = first_flight("A.Test", &["h2", "http/1.1"]);
        let (_registry, inspector) = inspector(MAX_CLIENT_HELLO_BYTES, false);
        for step in [1, 7, hello.len()] {
            let mut info = connection();
            let mut filter = inspector.create();
            let mut last = Inspected::More;
            for end in (step..hello.len()).step_by(step).chain([hello.len()]) {
                assert_eq!(last, Inspected::More);
                last = filter.inspect(&hello[..end], false, &mut info);
            }
            assert_eq!(last, Inspected::Done { taken: 0 });
            assert_eq!(info.requested_server_name.as_deref(), Some("a.test"));
            assert_eq!(info.transport_protocol, "tls");
            let protocols: Vec<&str> = info.application_protocols.iter().map(|name| &**name).collect();
            assert_eq!(protocols, ["h2", "http/1.1"]);
        }
    }

    #[test]
    fn other_protocols_pass_or_are_closed() {
        let mut info = connection();
        let inspect = |closes_others, bytes: &[u8], info: &mut ConnectionInfo| {
            inspector(MAX_CLIENT_HELLO_BYTES, closes_others).1.create().inspect(bytes, false, info)
        };
        assert_eq!(inspect(false, b"GET / HTTP/1.1\r\n", &mut info), Inspected::Done { taken: 0 });
        assert_eq!(inspect(true, b"GET / HTTP/1.1\r\n", &mut info), Inspected::Refused);
        assert_eq!(inspect(false, &[b'x'; 20_000], &mut info), Inspected::Done { taken: 0 });
        assert_eq!(info.transport_protocol, "");
    }

    #[test]
    fn a_hello_that_is_too_large_is_refused() {
        let hello = first_flight("a.test", &["h2"]);
        let mut filter = inspector(64, false).1.create();
        assert_eq!(filter.inspect(&hello, false, &mut connection()), Inspected::Refused);
    }
}
