//! Bytes that stand in the configuration, in a file or in an environment variable
//! (`envoy.config.core.v3.DataSource`). The caller of the conversion reads them.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;

use super::{Context, ExternalData, FieldPath};

/// Largest file or variable that is read.
pub const MAX_DATA_SOURCE_BYTES: usize = 16 << 20;

/// The bytes of a source. Records an error and gives no bytes if they cannot be read or are more than `max_bytes`.
pub fn read_data_source(
    proto: &core::DataSource,
    max_bytes: usize,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Bytes {
    use core::data_source::Specifier;
    let (field, read) = match &proto.specifier {
        Some(Specifier::InlineBytes(bytes)) => ("inline_bytes", Ok(bytes.clone())),
        Some(Specifier::InlineString(text)) => ("inline_string", Ok(text.clone().into_bytes())),
        Some(Specifier::Filename(name)) => {
            let read = context.read(ExternalData::File(name));
            ("filename", read.map_err(|error| format!("cannot read file '{name}': {error}")))
        }
        Some(Specifier::EnvironmentVariable(name)) => {
            let read = context.read(ExternalData::Environment(name));
            ("environment_variable", read.map_err(|_| format!("environment variable does not exist: {name}")))
        }
        None => return Bytes::new(),
    };
    match read {
        Ok(bytes) if bytes.len() > max_bytes => {
            let message = format!("size is {} bytes; maximum is {max_bytes}", bytes.len());
            context.error(&path.field(field), message);
            Bytes::new()
        }
        Ok(bytes) => Bytes::from(bytes),
        Err(message) => {
            context.error(&path.field(field), message);
            Bytes::new()
        }
    }
}

/// The text of a source, likewise; also an error if it is not UTF-8.
pub fn read_text_source(
    proto: &core::DataSource,
    max_bytes: usize,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> String {
    String::from_utf8(read_data_source(proto, max_bytes, path, context).into()).unwrap_or_else(|_| {
        context.error(path, "not UTF-8");
        String::new()
    })
}
