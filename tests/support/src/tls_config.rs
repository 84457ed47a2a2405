//! TLS in configurations, made from the parts a test cares about. Files are those of [`with_files`], in the scratch
//! directory.

use crate::certificates::{Authority, Certificate};
use crate::config::indent;
use crate::process::Server;

const SOCKETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets";

/// The field `transport_socket` of a filter chain, with these fields of its `DownstreamTlsContext`.
pub fn downstream(fields: &str) -> String {
    socket("tls.v3.DownstreamTlsContext", fields)
}

/// The field `transport_socket` of a cluster, with these fields of its `UpstreamTlsContext`.
pub fn upstream(fields: &str) -> String {
    socket("tls.v3.UpstreamTlsContext", fields)
}

/// The field `transport_socket` of a cluster whose hosts get a PROXY header of this version before TLS.
pub fn upstream_behind_proxy_header(version: &str, fields: &str) -> String {
    let inner = upstream(fields);
    socket(
        "proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        &format!("config: {{version: {version}}}\n{inner}"),
    )
}

/// The field `common_tls_context` with the certificate of these files and more fields.
pub fn common(certificate: &str, fields: &str) -> String {
    format!(
        "common_tls_context:\n  tls_certificates:\n  - {}\n  {}",
        from_files(certificate),
        indent(fields, 2)
    )
}

/// An item of `tls_certificates`.
pub fn from_files(name: &str) -> String {
    format!(
        "{{certificate_chain: {{filename: '{{dir}}/{name}.pem'}}, private_key: {{filename: '{{dir}}/{name}.key'}}}}"
    )
}

/// The field `validation_context` with trust in the authority of this file and more fields in flow style.
pub fn validation(authority: &str, more: &str) -> String {
    format!("validation_context: {{trusted_ca: {{filename: '{{dir}}/{authority}.pem'}}, {more}}}")
}

/// Has these authorities and certificates in files named like them.
pub fn with_files(
    server: Server,
    authorities: &[(&str, &Authority)],
    certificates: &[(&str, &Certificate)],
) -> Server {
    let server = authorities
        .iter()
        .fold(server, |server, (name, authority)| server.file(&format!("{name}.pem"), authority.pem()));
    certificates.iter().fold(server, |server, (name, certificate)| {
        let server = server.file(&format!("{name}.pem"), &certificate.chain);
        server.file(&format!("{name}.key"), &certificate.key)
    })
}

fn socket(message: &str, fields: &str) -> String {
    format!(
        "transport_socket:\n  name: test\n  typed_config:\n    \"@type\": {SOCKETS}.{message}\n    {}",
        indent(fields.trim_matches('\n'), 4)
    )
}
