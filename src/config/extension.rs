//! Extension points: a name and an undecoded message. Decoding is left to the registry of the layer
//! that owns the extension (`google.protobuf.Any`, `envoy.config.core.v3.TypedExtensionConfig`).

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use super::FieldPath;
use crate::api::{self, ExtensionError};

/// The configuration of an extension, as it stood in a `typed_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedExtension {
    /// The name given beside the configuration; Envoy looks the factory up by type, so it only names
    /// the instance (and the key of per-route configuration).
    pub name: String,
    /// The type URL, e.g. `type.googleapis.com/envoy.extensions.filters.http.router.v3.Router`.
    pub type_url: String,
    /// The encoded message.
    pub value: Bytes,
    /// Where the message stands (the field that holds it).
    pub path: FieldPath,
}

impl TypedExtension {
    /// The extension `name` with the configuration `any`, which stands at `path`. A `TypedStruct` becomes the message
    /// that it stands for; if it cannot, decoding it says why.
    pub fn from_any(name: &str, any: &Any, path: FieldPath) -> TypedExtension {
        let any = api::without_typed_struct(any).unwrap_or_else(|_| any.clone());
        TypedExtension { name: name.to_owned(), type_url: any.type_url, value: any.value.into(), path }
    }

    /// The extension in a `TypedExtensionConfig` at `path`. A missing configuration is an empty one of no type.
    pub fn from_proto(proto: &core::TypedExtensionConfig, path: &FieldPath) -> TypedExtension {
        let any = proto.typed_config.clone().unwrap_or_default();
        TypedExtension::from_any(&proto.name, &any, path.field("typed_config"))
    }

    /// The full name of the message type: the type URL after its last slash.
    pub fn type_name(&self) -> &str {
        api::type_name(&self.type_url)
    }

    /// The configuration as a message of type `T`.
    ///
    /// # Errors
    /// If it is of another type, or damaged.
    pub fn decode<T: Message + Name + Default>(&self) -> Result<T, ExtensionError> {
        api::decode_any(&Any { type_url: self.type_url.clone(), value: self.value.to_vec() })
    }
}
