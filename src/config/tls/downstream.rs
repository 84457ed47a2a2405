//! TLS of filter chains (`envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`).

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;

use super::common::CommonTlsContext;
use super::secret::{Secret, SecretContent, SecretDiscovery};
use super::tickets::Tickets;
use crate::config::context::wrapped_or;
use crate::config::{Context, FieldPath};
use crate::tls::{OcspStaplePolicy, TlsVersion};

/// TLS of a filter chain.
#[derive(Debug, Clone)]
pub struct DownstreamTlsContext {
    /// What both sides have in common.
    pub common: CommonTlsContext,
    /// Clients must show a certificate.
    pub require_client_certificate: bool,
    /// Session tickets.
    pub tickets: Tickets,
    /// No sessions are kept here for clients that take no tickets.
    pub disable_stateful_session_resumption: bool,
    /// How long sessions may be resumed; none is two hours.
    pub session_timeout: Option<Duration>,
    /// What is done about OCSP responses.
    pub ocsp_staple_policy: OcspStaplePolicy,
    /// Look through all certificates if none has the name that a client asks for. Default false.
    pub full_scan_certs_on_sni_mismatch: bool,
    /// The client's order of cipher suites decides. Default false.
    pub prefer_client_ciphers: bool,
    /// Where the context stands.
    pub path: FieldPath,
}

impl DownstreamTlsContext {
    /// Converts a context.
    pub fn from_proto(
        proto: &tls_proto::DownstreamTlsContext,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> DownstreamTlsContext {
        use tls_proto::downstream_tls_context::OcspStaplePolicy as Policy;
        let common = proto.common_tls_context.clone().unwrap_or_default();
        let common_path = path.field("common_tls_context");
        let errors = context.errors().len();
        let common = CommonTlsContext::from_proto(&common, TlsVersion::Tls13, &common_path, context);
        if common.certificates.is_empty() && context.errors().len() == errors {
            context.error(
                &common_path.field("tls_certificates"),
                "No TLS certificates found for server context",
            );
        }
        DownstreamTlsContext {
            common,
            require_client_certificate: wrapped_or!(proto.require_client_certificate, false),
            tickets: Tickets::from_proto(proto, path, context),
            disable_stateful_session_resumption: proto.disable_stateful_session_resumption,
            session_timeout: context
                .optional_duration(&proto.session_timeout, &path.field("session_timeout")),
            ocsp_staple_policy: match context
                .enum_value(proto.ocsp_staple_policy, &path.field("ocsp_staple_policy"))
            {
                Policy::LenientStapling => OcspStaplePolicy::Lenient,
                Policy::StrictStapling => OcspStaplePolicy::Strict,
                Policy::MustStaple => OcspStaplePolicy::MustStaple,
            },
            full_scan_certs_on_sni_mismatch: wrapped_or!(proto.full_scan_certs_on_sni_mismatch, false),
            prefer_client_ciphers: proto.prefer_client_ciphers,
            path: path.clone(),
        }
    }

    /// Secrets that are to be watched.
    pub fn discoveries(&self) -> impl Iterator<Item = &SecretDiscovery> {
        let keys = match &self.tickets {
            Tickets::Discovered(discovery, _) => Some(discovery),
            Tickets::Disabled | Tickets::RandomKeys | Tickets::Keys(_) => None,
        };
        self.common.discoveries().chain(keys)
    }

    /// Takes over what has changed in a file of secrets. If `context` has errors afterwards, the context is not to be used.
    pub fn apply(&mut self, file: &str, secrets: &[Secret], context: &mut Context<'_>) {
        self.common.apply(file, secrets, context);
        if let Tickets::Discovered(discovery, current) = &mut self.tickets
            && let Some(SecretContent::SessionTicketKeys(found)) = discovery.find(file, secrets)
        {
            *current = Some(Arc::clone(found));
        }
    }
}
