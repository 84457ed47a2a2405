//! What is carried over of TLS (`envoy.extensions.transport_sockets.tls.v3`) and of where secrets come from. Every field in
//! no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    MessageSupport::all("envoy.config.core.v3.TransportSocket"),
    MessageSupport::all("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        &[
            "common_tls_context",
            "require_client_certificate",
            "session_ticket_keys",
            "session_ticket_keys_sds_secret_config",
            "disable_stateless_session_resumption",
            "disable_stateful_session_resumption",
            "session_timeout",
            "ocsp_staple_policy",
            "full_scan_certs_on_sni_mismatch",
            "prefer_client_ciphers",
        ],
        &[],
    ),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        &[
            "common_tls_context",
            "sni",
            "auto_host_sni",
            "auto_sni_san_validation",
            "max_session_keys",
            "enforce_rsa_key_usage",
        ],
        &[],
    ),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
        &[
            "tls_params",
            "tls_certificates",
            "tls_certificate_sds_secret_configs",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "alpn_protocols",
        ],
        &[],
    ),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
        &["default_validation_context", "validation_context_sds_secret_config"],
        &[],
    ),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.TlsParameters",
        &[
            "tls_minimum_protocol_version",
            "tls_maximum_protocol_version",
            "cipher_suites",
            "ecdh_curves",
            "signature_algorithms",
        ],
        &[],
    ),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        &["certificate_chain", "private_key", "ocsp_staple", "watched_directory"],
        &[],
    ),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
        &[
            "trusted_ca",
            "system_root_certs",
            "watched_directory",
            "verify_certificate_spki",
            "verify_certificate_hash",
            "match_typed_subject_alt_names",
            "match_subject_alt_names",
            "crl",
            "allow_expired_certificate",
            "trust_chain_verification",
            "only_verify_leaf_cert_crl",
            "max_verify_depth",
            "suppress_client_ca_list",
        ],
        &[],
    ),
    MessageSupport::all(
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts",
    ),
    MessageSupport::all("envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher"),
    MessageSupport::all("envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys"),
    MessageSupport::all("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig"),
    entry(
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        &["name", "tls_certificate", "session_ticket_keys", "validation_context"],
        // No filter that is implemented takes one.
        &["generic_secret"],
    ),
];
