//! TLS of listeners and clusters (`envoy.extensions.transport_sockets.tls.v3`): contexts with their certificates, keys and
//! rules already read and checked, so that what is wrong with them is told with its field path. [`compile`] makes of
//! a context what sessions need.
//!
//! Secrets may come from elsewhere (SDS); here only from files, read once. Watching them is left to others, who apply
//! what they read by [`DownstreamTlsContext::apply`] and compile again.

mod certificate;
mod common;
mod compile;
mod downstream;
mod parameters;
mod secret;
mod tickets;
mod upstream;
mod validation;

#[cfg(test)]
mod tests;

pub use certificate::TlsCertificate;
pub use common::{CertificateSource, CommonTlsContext, ValidationSource};
pub use compile::CompileError;
pub use downstream::DownstreamTlsContext;
pub use secret::{Secret, SecretContent, SecretDiscovery, parse_secrets};
pub use tickets::{TicketKeys, Tickets};
pub use upstream::UpstreamTlsContext;
pub use validation::CertificateValidationContext;
