//! The PROXY protocol towards hosts: a header that is written first on each connection, whatever is inside
//! (`envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport`).

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use prost::Name;

use super::{Context, FieldPath, TypedExtension};

/// Largest sum of what may follow the fixed part of a header of version 2: its length has 16 bits.
const MAX_V2_BYTES: usize = 65_535;
/// Addresses and ports of IPv6.
const V6_ADDRESS_BYTES: usize = 36;

/// What is written first on each connection to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamProxyProtocol {
    /// The version.
    pub version: ProxyProtocolVersion,
    /// Encoded type-length-value fields that follow the addresses; version 2 only.
    pub fields: Bytes,
}

/// The versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl UpstreamProxyProtocol {
    /// Takes the PROXY protocol off a cluster's transport socket, which stands at `path`. Gives what is to be
    /// written, if anything, and the socket inside with the place where it stands. Records errors in `context`.
    pub fn take_off(
        socket: &Option<core::TransportSocket>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> (Option<UpstreamProxyProtocol>, Option<core::TransportSocket>, FieldPath) {
        let Some(extension) = extension(socket, path) else { return (None, socket.clone(), path.clone()) };
        if extension.type_name() != ProxyProtocolUpstreamTransport::full_name() {
            return (None, socket.clone(), path.clone());
        }
        match extension.decode::<ProxyProtocolUpstreamTransport>() {
            Ok(proto) => {
                let config = proto.config.unwrap_or_default();
                let own =
                    UpstreamProxyProtocol::from_proto(&config, &extension.path.field("config"), context);
                let inner_path = extension.path.field("transport_socket");
                if self::extension(&proto.transport_socket, &inner_path)
                    .is_some_and(|inner| inner.type_name() == ProxyProtocolUpstreamTransport::full_name())
                {
                    context.error(&inner_path, "one PROXY header is enough");
                    return (Some(own), None, inner_path);
                }
                (Some(own), proto.transport_socket, inner_path)
            }
            Err(error) => {
                context.error(&extension.path, error.to_string());
                (None, None, extension.path)
            }
        }
    }

    fn from_proto(
        proto: &core::ProxyProtocolConfig,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> UpstreamProxyProtocol {
        use core::proxy_protocol_config::Version;
        let version = match context.enum_value(proto.version, &path.field("version")) {
            Version::V1 => ProxyProtocolVersion::V1,
            Version::V2 => ProxyProtocolVersion::V2,
        };
        let mut fields = Vec::new();
        for (i, entry) in proto.added_tlvs.iter().enumerate() {
            let path = path.element("added_tlvs", i);
            match (u8::try_from(entry.r#type), u16::try_from(entry.value.len())) {
                (_, Ok(0)) => context.error(&path.field("value"), "must be set"),
                (Ok(kind), Ok(len)) => {
                    fields.push(kind);
                    fields.extend_from_slice(&len.to_be_bytes());
                    fields.extend_from_slice(&entry.value);
                }
                (Err(_), _) => context.error(&path.field("type"), "must be less than 256"),
                (_, Err(_)) => context.error(&path.field("value"), "must be shorter than 65536 bytes"),
            }
        }
        if version == ProxyProtocolVersion::V1 && !fields.is_empty() {
            context.error(&path.field("added_tlvs"), "version 1 cannot carry them");
        }
        if fields.len() + V6_ADDRESS_BYTES > MAX_V2_BYTES {
            context.error(&path.field("added_tlvs"), "together they do not fit into a header");
        }
        UpstreamProxyProtocol { version, fields: fields.into() }
    }
}

fn extension(socket: &Option<core::TransportSocket>, path: &FieldPath) -> Option<TypedExtension> {
    let socket = socket.as_ref()?;
    let core::transport_socket::ConfigType::TypedConfig(any) = socket.config_type.as_ref()?;
    Some(TypedExtension::from_any(&socket.name, any, path.field("typed_config")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
    use envoy_types::pb::google::protobuf::Any;

    fn wrap<T: Name>(message: &T) -> Option<core::TransportSocket> {
        let any = Any { type_url: T::type_url(), value: message.encode_to_vec() };
        let config_type = Some(core::transport_socket::ConfigType::TypedConfig(any));
        Some(core::TransportSocket { name: "test".into(), config_type })
    }

    fn take_off(
        socket: &Option<core::TransportSocket>,
    ) -> (Option<UpstreamProxyProtocol>, Option<core::TransportSocket>, String, Vec<String>) {
        let read = |_: crate::config::ExternalData<'_>| Err(std::io::ErrorKind::NotFound.into());
        let mut context = Context::new(&read);
        let (own, inner, path) =
            UpstreamProxyProtocol::take_off(socket, &FieldPath::root().field("socket"), &mut context);
        let errors = context.errors().iter().map(ToString::to_string).collect();
        (own, inner, path.as_str().to_owned(), errors)
    }

    #[test]
    fn the_socket_inside_is_found_and_others_are_left_alone() {
        let raw = wrap(&RawBuffer {});
        assert_eq!(take_off(&raw), (None, raw.clone(), "socket".into(), vec![]));
        assert_eq!(take_off(&None), (None, None, "socket".into(), vec![]));
        let entry = core::TlvEntry { r#type: 0xe0, value: b"abc".to_vec(), format_string: None };
        let config = core::ProxyProtocolConfig { version: 1, added_tlvs: vec![entry], ..Default::default() };
        let outer = ProxyProtocolUpstreamTransport {
            config: Some(config),
            transport_socket: raw.clone(),
            ..Default::default()
        };
        let (own, inner, path, errors) = take_off(&wrap(&outer));
        let fields = Bytes::from_static(b"\xe0\x00\x03abc");
        assert_eq!(own, Some(UpstreamProxyProtocol { version: ProxyProtocolVersion::V2, fields }));
        assert_eq!((inner, path.as_str()), (raw, "socket.typed_config.transport_socket"));
        assert!(errors.is_empty(), "{errors:?}");
    }

    #[test]
    fn fields_that_do_not_fit_are_refused() {
        let refused = |entries: Vec<(u32, usize)>| {
            let entry =
                |(kind, len)| core::TlvEntry { r#type: kind, value: vec![0; len], format_string: None };
            let added_tlvs = entries.into_iter().map(entry).collect();
            let config = core::ProxyProtocolConfig { version: 1, added_tlvs, ..Default::default() };
            let outer = ProxyProtocolUpstreamTransport { config: Some(config), ..Default::default() };
            take_off(&wrap(&outer)).3.join("\n")
        };
        assert!(refused(vec![(256, 1)]).contains("added_tlvs[0].type"));
        assert!(refused(vec![(1, 0)]).contains("added_tlvs[0].value"));
        assert!(refused(vec![(1, 65_536)]).contains("added_tlvs[0].value"));
        assert!(refused(vec![(1, 40_000), (2, 40_000)]).contains("do not fit"));
        assert_eq!(refused(vec![(1, 30_000), (2, 30_000)]), "");
        let entry = core::TlvEntry { r#type: 1, value: vec![1], format_string: None };
        let config = core::ProxyProtocolConfig { added_tlvs: vec![entry], ..Default::default() };
        let outer = ProxyProtocolUpstreamTransport { config: Some(config), ..Default::default() };
        assert!(take_off(&wrap(&outer)).3.join("").contains("version 1"));
    }
}
