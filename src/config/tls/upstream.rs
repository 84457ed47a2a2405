//! TLS of clusters (`envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`).

use std::net::{IpAddr, Ipv4Addr};

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;

use super::common::CommonTlsContext;
use super::secret::{Secret, SecretDiscovery};
use crate::config::context::wrapped_or;
use crate::config::{Context, FieldPath};
use crate::tls::{ServerName, TlsVersion};

/// TLS of a cluster.
#[derive(Debug, Clone)]
pub struct UpstreamTlsContext {
    /// What both sides have in common; one certificate at most.
    pub common: CommonTlsContext,
    /// Name to ask for; an IP address is not sent (RFC 6066 3).
    pub sni: Option<ServerName<'static>>,
    /// Ask for the endpoint's host name instead, if it has one. Default false.
    pub auto_host_sni: bool,
    /// The certificate must have the name that was asked for. Default false.
    pub auto_sni_san_validation: bool,
    /// Server names whose sessions are kept for resumption. Default 1.
    pub max_session_keys: u32,
    /// An RSA key must be allowed to sign, if its certificate says what it is for. Default false.
    pub enforce_rsa_key_usage: bool,
    /// Where the context stands.
    pub path: FieldPath,
}

impl UpstreamTlsContext {
    /// Converts a context.
    pub fn from_proto(
        proto: &tls_proto::UpstreamTlsContext,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> UpstreamTlsContext {
        let common = proto.common_tls_context.clone().unwrap_or_default();
        let common_path = path.field("common_tls_context");
        let common = CommonTlsContext::from_proto(&common, TlsVersion::Tls12, &common_path, context);
        if common.certificates.len() > 1 {
            context.error(
                &common_path.field("tls_certificates"),
                "Multiple TLS certificates are not supported for client contexts",
            );
        }
        if proto.auto_sni_san_validation && !common.validation.may_have_trust() {
            context.error_with_help(
                &path.field("auto_sni_san_validation"),
                "'auto_sni_san_validation' was configured without configuring a trusted CA",
                "set trusted_ca in common_tls_context.validation_context",
            );
        }
        UpstreamTlsContext {
            common,
            sni: server_name(&proto.sni, &path.field("sni"), context),
            auto_host_sni: proto.auto_host_sni,
            auto_sni_san_validation: proto.auto_sni_san_validation,
            max_session_keys: wrapped_or!(proto.max_session_keys, 1),
            enforce_rsa_key_usage: wrapped_or!(proto.enforce_rsa_key_usage, false),
            path: path.clone(),
        }
    }

    /// The name to ask a host for: `wanted` (what a request asks for, where that decides), else the host's own name if
    /// it is to be taken, else the configured one; names that are none in DNS are passed over. Without any of them the
    /// host's address, which is not sent.
    pub fn server_name(
        &self,
        wanted: Option<&str>,
        host_name: &str,
        address: Option<IpAddr>,
    ) -> ServerName<'static> {
        let host_name = Some(host_name).filter(|name| self.auto_host_sni && !name.is_empty());
        let named = [wanted, host_name]
            .into_iter()
            .flatten()
            .find_map(|name| ServerName::try_from(name.to_owned()).ok());
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        named.or_else(|| self.sni.clone()).unwrap_or_else(|| address.into())
    }

    /// Secrets that are to be watched.
    pub fn discoveries(&self) -> impl Iterator<Item = &SecretDiscovery> {
        self.common.discoveries()
    }

    /// Takes over what has changed in a file of secrets. If `context` has errors afterwards, the context is not to be used.
    pub fn apply(&mut self, file: &str, secrets: &[Secret], context: &mut Context<'_>) {
        self.common.apply(file, secrets, context);
    }
}

fn server_name(sni: &str, path: &FieldPath, context: &mut Context<'_>) -> Option<ServerName<'static>> {
    if sni.is_empty() {
        return None;
    }
    let name = ServerName::try_from(sni.to_owned());
    name.map_err(|_| context.error(path, format!("{sni:?} is no DNS name and cannot be asked for"))).ok()
}
