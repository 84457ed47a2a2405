//! The PROXY protocol's header in front of a connection's bytes
//! (`envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`): who the client of the proxy in front
//! of this one is.
//!
//! The header is taken out of the stream. It is trusted: whoever may connect to such a listener may claim
//! any address.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3 as proto;

use crate::api::{ConfigError, MessageSupport};
use crate::config::FieldPath;
use crate::filters::BuildContext;
use crate::stats::groups::{ProxyProtocolErrorStats, ProxyProtocolStats, ProxyProtocolVersionStats};
use crate::stream_info::{ConnectionInfo, PeerAddress};
use crate::transport::proxy_protocol::{self, Header, ParseError, Parsed, Version};

use super::{Inspected, ListenerFilter, ListenerFilterDefinition, ListenerFilterFactory};

/// The PROXY protocol filter.
pub struct ProxyProtocol {
    allow_requests_without: bool,
    disallowed: Vec<Version>,
    stats: Stats,
}

#[derive(Clone, Copy)]
struct Stats {
    all: ProxyProtocolStats,
    errors: ProxyProtocolErrorStats,
    v1: ProxyProtocolVersionStats,
    v2: ProxyProtocolVersionStats,
}

impl ListenerFilterDefinition for ProxyProtocol {
    type Config = proto::ProxyProtocol;

    const SUPPORT: &'static [MessageSupport] = &[MessageSupport {
        message: "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        honoured: &["allow_requests_without_proxy_protocol", "stat_prefix", "disallowed_versions"],
        no_effect: &[],
    }];

    fn build(
        config: proto::ProxyProtocol,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<Arc<dyn ListenerFilterFactory>, Vec<ConfigError>> {
        let mut disallowed = Vec::new();
        for (i, version) in config.disallowed_versions.iter().enumerate() {
            match core::proxy_protocol_config::Version::try_from(*version) {
                Ok(core::proxy_protocol_config::Version::V1) => disallowed.push(Version::V1),
                Ok(core::proxy_protocol_config::Version::V2) => disallowed.push(Version::V2),
                Err(_) => {
                    let path = path.element("disallowed_versions", i);
                    return Err(vec![ConfigError::new(path.as_str(), "no such version")]);
                }
            }
        }
        let prefix = match config.stat_prefix.as_str() {
            "" => "proxy_proto.".to_owned(),
            name => format!("proxy_proto.{name}."),
        };
        let version = |version: &str| {
            ProxyProtocolVersionStats::register(cx.registry, &format!("{prefix}versions.{version}."))
        };
        let (v1, v2) = (version("v1"), version("v2"));
        let errors = ProxyProtocolErrorStats::register(cx.registry, "");
        let stats = Stats { all: ProxyProtocolStats::register(cx.registry, &prefix), errors, v1, v2 };
        let allow_requests_without = config.allow_requests_without_proxy_protocol;
        Ok(Arc::new(Factory(Arc::new(ProxyProtocol { allow_requests_without, disallowed, stats }))))
    }
}

struct Factory(Arc<ProxyProtocol>);

impl ListenerFilterFactory for Factory {
    fn create(&self) -> Box<dyn ListenerFilter> {
        Box::new(Inspection { settings: Arc::clone(&self.0), need_bytes: 1 })
    }
}

struct Inspection {
    settings: Arc<ProxyProtocol>,
    need_bytes: usize,
}

impl ListenerFilter for Inspection {
    fn need_bytes(&self) -> usize {
        self.need_bytes
    }

    fn inspect(&mut self, bytes: &[u8], _end: bool, info: &mut ConnectionInfo) -> Inspected {
        let settings = &*self.settings;
        match proxy_protocol::parse(bytes) {
            Ok(Parsed::More { need_bytes }) => {
                self.need_bytes = need_bytes;
                Inspected::More
            }
            Ok(Parsed::Absent) if settings.allow_requests_without => {
                settings.stats.all.not_found_allowed.inc();
                Inspected::Done { taken: 0 }
            }
            Ok(Parsed::Absent) => {
                settings.stats.all.not_found_disallowed.inc();
                settings.stats.errors.downstream_cx_proxy_proto_error.inc();
                Inspected::Refused
            }
            Ok(Parsed::Header(Header { version, .. })) | Err(ParseError { version, .. })
                if settings.allow_requests_without && settings.disallowed.contains(&version) =>
            {
                settings.stats.all.not_found_allowed.inc();
                Inspected::Done { taken: 0 }
            }
            Ok(Parsed::Header(header)) => settings.accept(header, info),
            Err(error) => {
                settings.version_stats(error.version).error.inc();
                settings.stats.errors.downstream_cx_proxy_proto_error.inc();
                Inspected::Refused
            }
        }
    }
}

impl ProxyProtocol {
    fn accept(&self, header: Header, info: &mut ConnectionInfo) -> Inspected {
        let stats = self.version_stats(header.version);
        stats.found.inc();
        if self.disallowed.contains(&header.version) {
            stats.disallowed.inc();
            return Inspected::Refused;
        }
        if let Some(addresses) = header.addresses {
            info.remote_address = PeerAddress::Ip(addresses.source);
            info.local_address = PeerAddress::Ip(addresses.destination);
        }
        Inspected::Done { taken: header.len_bytes }
    }

    fn version_stats(&self, version: Version) -> ProxyProtocolVersionStats {
        match version {
            Version::V1 => self.stats.v1,
            Version::V2 => self.stats.v2,
        }
    }
}
