//! Versions, cipher suites, curves and signature algorithms
//! (`envoy.extensions.transport_sockets.tls.v3.TlsParameters`).

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;

use crate::config::{Context, FieldPath};
use crate::tls::parameters::{
    UnknownName, group_names, parse_cipher_suites, parse_groups, parse_signature_schemes,
    signature_scheme_names, tls12_cipher_names,
};
use crate::tls::{Parameters, TlsVersion};

/// Converts parameters; what is not set keeps Envoy's default, the newest version being `default_max`.
pub(super) fn from_proto(
    proto: &tls_proto::TlsParameters,
    default_max: TlsVersion,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Parameters {
    let (min_field, max_field) = ("tls_minimum_protocol_version", "tls_maximum_protocol_version");
    let min_version = version(proto.tls_minimum_protocol_version, &path.field(min_field), context);
    let max_version = version(proto.tls_maximum_protocol_version, &path.field(max_field), context);
    let mut parameters =
        Parameters::new(min_version.unwrap_or(TlsVersion::Tls12), max_version.unwrap_or(default_max));
    if parameters.min_version > parameters.max_version {
        // Envoy loads this, and no handshake succeeds.
        context.error_with_help(
            &path.field(min_field),
            "the minimum protocol version is newer than the maximum",
            format!("set {max_field} as well: its default is {}", default_max.name()),
        );
    }
    let mut refuse = |field: &str, error: UnknownName, implemented: Vec<&str>| {
        let help = format!("implemented are {}", implemented.join(", "));
        context.error_with_help(&path.field(field), error.to_string(), help);
    };
    if !proto.cipher_suites.is_empty() {
        match parse_cipher_suites(&proto.cipher_suites) {
            Ok(suites) => parameters.cipher_suites = suites,
            Err(error) => refuse("cipher_suites", error, tls12_cipher_names().collect()),
        }
    }
    if !proto.ecdh_curves.is_empty() {
        match parse_groups(&proto.ecdh_curves) {
            Ok(groups) => parameters.groups = groups,
            Err(error) => refuse("ecdh_curves", error, group_names().collect()),
        }
    }
    if !proto.signature_algorithms.is_empty() {
        match parse_signature_schemes(&proto.signature_algorithms) {
            Ok(schemes) => parameters.signature_schemes = schemes,
            Err(error) => refuse("signature_algorithms", error, signature_scheme_names().collect()),
        }
    }
    parameters
}

/// A version; none for the default.
fn version(value: i32, path: &FieldPath, context: &mut Context<'_>) -> Option<TlsVersion> {
    use tls_proto::tls_parameters::TlsProtocol;
    match context.enum_value(value, path) {
        TlsProtocol::TlsAuto => None,
        TlsProtocol::TlSv12 => Some(TlsVersion::Tls12),
        TlsProtocol::TlSv13 => Some(TlsVersion::Tls13),
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => {
            context.error_with_help(
                path,
                "TLS versions before 1.2 are not implemented",
                "RFC 8996 forbids them; take TLSv1_2",
            );
            None
        }
    }
}
