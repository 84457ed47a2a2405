//! Envoy's configuration API: YAML, JSON or protobuf bytes in, checked typed messages out, and every
//! error with file, line, column and field path.
//!
//! The stages, one module each: text → tree ([`yaml`], [`json`]), tree → message ([`proto_json`]),
//! the `(validate.rules)` of the API ([`constraints`]), what Ringway implements ([`support`]).
//! [`load_bootstrap`] runs the first three; the caller adds the support tables, then `config` turns
//! the typed messages into the runtime model. Nothing here knows what a field does.

pub mod bootstrap;
pub mod constraints;
pub mod diagnostics;
pub mod discovery_response;
mod document;
pub mod extension;
pub mod json;
pub mod merge;
pub mod outline;
pub mod path;
pub mod pool;
pub mod position;
pub mod proto_json;
pub mod read_file;
pub mod suggest;
pub mod support;
pub mod to_json;
pub mod tree;
pub mod yaml;

pub use bootstrap::{Inputs, LoadedBootstrap, load_bootstrap};
pub use diagnostics::{ConfigError, Diagnostic, Diagnostics, Severity};
pub use discovery_response::{LoadedResource, LoadedResponse, ResponseError, load_response};
pub use extension::{ExtensionError, decode_any, type_name, without_typed_struct};
pub use outline::{HostOutline, Outline, OutlinedText, PieceReader, TableHead};
pub use position::{Pos, PositionMap, Sources};
pub use support::{MessageSupport, SupportReport, check_support};
pub use to_json::{any_to_json, message_to_json, to_json};
