//! What stands between a connection's bytes and its filters (`envoy.config.core.v3.TransportSocket`).

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;
use prost::{Message, Name};

use super::tls::{DownstreamTlsContext, UpstreamTlsContext};
use super::{Context, FieldPath, TypedExtension};
use crate::tls::DefaultTimeProvider;

/// What stands between a connection's bytes and its filters; `Tls` is a [`DownstreamTlsContext`] or an [`UpstreamTlsContext`].
#[derive(Debug, Clone, Default)]
pub enum TransportSocket<Tls> {
    /// Nothing.
    #[default]
    RawBuffer,
    /// TLS.
    Tls(Arc<Tls>),
}

/// A filter chain's.
pub type DownstreamTransportSocket = TransportSocket<DownstreamTlsContext>;

/// A cluster's.
pub type UpstreamTransportSocket = TransportSocket<UpstreamTlsContext>;

impl<Tls> TransportSocket<Tls> {
    /// The context, if it is TLS.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        match self {
            TransportSocket::RawBuffer => None,
            TransportSocket::Tls(context) => Some(context),
        }
    }
}

impl DownstreamTransportSocket {
    /// Converts the socket of a filter chain that is chosen by `server_names`; not set is raw.
    pub fn from_proto(
        proto: &Option<core::TransportSocket>,
        server_names: &[String],
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> DownstreamTransportSocket {
        let Some(extension) = extension(proto, path, context) else { return TransportSocket::RawBuffer };
        let errors = context.errors().len();
        let Some(proto) = decode::<tls_proto::DownstreamTlsContext>(&extension, context) else {
            return TransportSocket::RawBuffer;
        };
        let tls = DownstreamTlsContext::from_proto(&proto, &extension.path, context);
        if context.errors().len() == errors
            && let Err(error) = tls.compile(server_names, Arc::new(DefaultTimeProvider))
            && let Some(error) = error.into_config_error()
        {
            context.push(error);
        }
        TransportSocket::Tls(Arc::new(tls))
    }
}

impl UpstreamTransportSocket {
    /// Converts the socket of a cluster; not set is raw.
    pub fn from_proto(
        proto: &Option<core::TransportSocket>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> UpstreamTransportSocket {
        let Some(extension) = extension(proto, path, context) else { return TransportSocket::RawBuffer };
        let errors = context.errors().len();
        let Some(proto) = decode::<tls_proto::UpstreamTlsContext>(&extension, context) else {
            return TransportSocket::RawBuffer;
        };
        let tls = UpstreamTlsContext::from_proto(&proto, &extension.path, context);
        if context.errors().len() == errors
            && let Err(error) = tls.compile(Arc::new(DefaultTimeProvider))
            && let Some(error) = error.into_config_error()
        {
            context.push(error);
        }
        TransportSocket::Tls(Arc::new(tls))
    }
}

/// The socket's configuration; none if it is raw.
fn extension(
    proto: &Option<core::TransportSocket>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<TypedExtension> {
    let proto = proto.as_ref()?;
    let Some(core::transport_socket::ConfigType::TypedConfig(any)) = &proto.config_type else {
        context.error_with_help(
            path,
            format!("the transport socket {:?} has no typed_config", proto.name),
            "a transport socket is found by the @type of its typed_config",
        );
        return None;
    };
    let extension = TypedExtension::from_any(&proto.name, any, path.field("typed_config"));
    (extension.type_name() != RawBuffer::full_name()).then_some(extension)
}

/// The configuration as the one type that is implemented here beside raw.
fn decode<T: Message + Name + Default>(extension: &TypedExtension, context: &mut Context<'_>) -> Option<T> {
    if extension.type_name() != T::full_name() {
        let message = format!("a transport socket of type {} is not implemented here", extension.type_name());
        context.error(&extension.path, message);
        return None;
    }
    extension.decode().map_err(|error| context.error(&extension.path, error.to_string())).ok()
}
