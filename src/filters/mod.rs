//! What handles connections and requests: listener filters, network filters, HTTP filters.
//!
//! Each filter is one file with its own typed configuration and one line in its family's registry.
//! Filters never import each other.

pub mod call_out;
pub mod http;
pub mod listener;
pub mod network;
pub mod rbac;

mod context;
mod token_bucket;

pub use context::{BuildContext, ServerState, WorkerContext};

use crate::api::{ConfigError, MessageSupport};
use crate::config::TypedExtension;

/// The fields that filters of all families honour.
pub fn support_tables() -> impl Iterator<Item = &'static [MessageSupport]> {
    http::support_tables()
        .chain(network::support_tables())
        .chain(listener::support_tables())
        .chain([rbac::SUPPORT, token_bucket::SUPPORT])
}

/// A filter's configuration as its message.
fn decode<T: prost::Message + prost::Name + Default>(
    extension: &TypedExtension,
) -> Result<T, Vec<ConfigError>> {
    extension.decode().map_err(|error| vec![ConfigError::new(extension.path.as_str(), error.to_string())])
}
