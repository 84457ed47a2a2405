//! Session tickets of listeners (`envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys`).

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;

use super::certificate::Source;
use super::secret::{Reference, SecretContent, SecretDiscovery};
use crate::config::{Context, FieldPath};
use crate::tls::{TICKET_KEY_BYTES, TicketKey};

/// Keys for session tickets (`TlsSessionTicketKeys`); the first one seals.
#[derive(Debug, Clone, Default)]
pub struct TicketKeys {
    /// Never empty, except after an error.
    pub keys: Vec<TicketKey>,
}

/// Whether and how sessions are resumed by tickets.
#[derive(Debug, Clone)]
pub enum Tickets {
    /// Not at all.
    Disabled,
    /// With random keys of this process.
    RandomKeys,
    /// With configured keys.
    Keys(Arc<TicketKeys>),
    /// With discovered keys; none until they were found.
    Discovered(SecretDiscovery, Option<Arc<TicketKeys>>),
}

impl TicketKeys {
    /// Converts keys. Errors are recorded.
    pub fn from_proto(
        proto: &tls_proto::TlsSessionTicketKeys,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> TicketKeys {
        let mut keys = Vec::new();
        for (i, source) in proto.keys.iter().enumerate() {
            let errors = context.errors().len();
            let source = Source::read(&Some(source.clone()), path.element("keys", i), context);
            if context.errors().len() > errors {
                continue;
            }
            match TicketKey::from_bytes(&source.bytes) {
                Some(key) => keys.push(key),
                None => {
                    let message = format!(
                        "Incorrect TLS session ticket key length. Length {}, expected length {}.",
                        source.bytes.len(),
                        TICKET_KEY_BYTES
                    );
                    context.error_with_help(&source.path, message, "make one with `openssl rand 80`");
                }
            }
        }
        TicketKeys { keys }
    }
}

impl Tickets {
    pub(super) fn from_proto(
        proto: &tls_proto::DownstreamTlsContext,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Tickets {
        use tls_proto::downstream_tls_context::SessionTicketKeysType as Kind;
        match &proto.session_ticket_keys_type {
            None | Some(Kind::DisableStatelessSessionResumption(false)) => Tickets::RandomKeys,
            Some(Kind::DisableStatelessSessionResumption(true)) => Tickets::Disabled,
            Some(Kind::SessionTicketKeys(keys)) => {
                let keys = TicketKeys::from_proto(keys, &path.field("session_ticket_keys"), context);
                Tickets::Keys(Arc::new(keys))
            }
            Some(Kind::SessionTicketKeysSdsSecretConfig(secret)) => {
                let path = path.field("session_ticket_keys_sds_secret_config");
                let reference = Reference::follow(secret, "TlsSessionTicketKeys", &path, context);
                let current = reference.secret().and_then(|secret| match &secret.content {
                    SecretContent::SessionTicketKeys(keys) => Some(Arc::clone(keys)),
                    _ => None,
                });
                match (reference, current) {
                    (Reference::Discovered(discovery, _), current) => Tickets::Discovered(discovery, current),
                    (Reference::Static(_), Some(keys)) => Tickets::Keys(keys),
                    (Reference::Static(_), None) => Tickets::RandomKeys,
                }
            }
        }
    }
}
