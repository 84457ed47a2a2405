//! The descriptors of Envoy's whole v3 API, built once per process on first use.
//!
//! Stays on the control thread's side: nothing on the data path asks it anything.

use super::extension::type_name;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::sync::OnceLock;

/// The descriptor set of `envoy-types`, comments removed by `build.rs`.
static ENVOY_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.fds"));

/// The pool with every message of the API.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    // The bytes are part of this binary: were they unreadable, no configuration could be read at
    // all. An empty pool makes every lookup fail with a message instead of a panic.
    POOL.get_or_init(|| {
        let mut pool = DescriptorPool::decode(ENVOY_DESCRIPTORS).unwrap_or_default();
        // A file that `envoy-types` should ship one day is there already: then ours is not needed.
        let _ = pool.add_file_descriptor_protos(missing_files());
        pool
    })
}

/// The descriptor that a type URL names.
pub fn message_of(type_url: &str) -> Option<MessageDescriptor> {
    pool().get_message_by_name(type_name(type_url))
}

/// Messages that configurations use and `envoy-types` does not ship.
fn missing_files() -> Vec<FileDescriptorProto> {
    let typed_struct = || {
        let url = field("type_url", 1, Label::Optional, Type::String);
        let value = field("value", 2, Label::Optional, Type::Message);
        let value = FieldDescriptorProto { type_name: Some(".google.protobuf.Struct".to_owned()), ..value };
        message("TypedStruct", vec![url, value])
    };
    let paths = field("paths", 1, Label::Repeated, Type::String);
    vec![
        file("xds/type/v3/typed_struct.proto", "xds.type.v3", typed_struct()),
        file("udpa/type/v1/typed_struct.proto", "udpa.type.v1", typed_struct()),
        file("google/protobuf/field_mask.proto", "google.protobuf", message("FieldMask", vec![paths])),
    ]
}

fn file(name: &str, package: &str, message: DescriptorProto) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some(package.to_owned()),
        dependency: vec!["google/protobuf/struct.proto".to_owned()],
        message_type: vec![message],
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), field, ..Default::default() }
}

fn field(name: &str, number: i32, label: Label, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_knows_the_api_and_its_rules() {
        let start = std::time::Instant::now();
        assert!(message_of("type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap").is_some());
        println!("the pool was built in {:?}", start.elapsed());
        let options = pool().get_message_by_name("google.protobuf.FieldOptions").expect("descriptor.proto");
        assert!(options.get_extension_by_full_name("validate.rules").is_some());
        assert!(pool().all_messages().len() > 1500);
        for name in ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct", "google.protobuf.FieldMask"] {
            assert!(message_of(name).is_some(), "{name}");
        }
    }
}
