//! What is carried over of the PROXY protocol towards hosts. Every field in no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    entry(
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        &["config", "transport_socket"],
        &[],
    ),
    entry("envoy.config.core.v3.ProxyProtocolConfig", &["version", "added_tlvs"], &[]),
    entry("envoy.config.core.v3.TlvEntry", &["type", "value"], &[]),
];
