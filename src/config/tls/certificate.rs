//! Certificates with their private keys (`envoy.extensions.transport_sockets.tls.v3.TlsCertificate`).

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_proto;

use crate::config::{Context, FieldPath, MAX_DATA_SOURCE_BYTES, read_data_source};
use crate::tls::{Identity, IdentityError, sha256};

/// A certificate with its private key.
#[derive(Debug, Clone)]
pub struct TlsCertificate {
    /// Both, ready for handshakes.
    pub identity: Identity,
    /// What its expiry is listed under; for discovered ones the secret's name.
    pub stat_name: String,
    /// Where the chain is from: a file, a variable or `<inline>`.
    pub file: String,
    /// Directory whose change means that the files have changed.
    pub watched_directory: Option<String>,
}

impl TlsCertificate {
    /// Converts a certificate; none, with an error recorded, if it cannot be used.
    pub fn from_proto(
        proto: &tls_proto::TlsCertificate,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<TlsCertificate> {
        if let Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(_)), ..
        }) = &proto.ocsp_staple
        {
            context.error(
                &path.field("ocsp_staple").field("inline_string"),
                "OCSP staple cannot be provided via inline_string",
            );
        }
        let errors = context.errors().len();
        let chain = Source::read(&proto.certificate_chain, path.field("certificate_chain"), context);
        let key = Source::read(&proto.private_key, path.field("private_key"), context);
        let ocsp = Source::read(&proto.ocsp_staple, path.field("ocsp_staple"), context);
        if context.errors().len() > errors {
            return None;
        }
        for (source, what) in [(&chain, "certificate chain"), (&key, "private key")] {
            if source.bytes.is_empty() {
                context.error(&source.path, format!("Failed to load incomplete certificate: {what} not set"));
                return None;
            }
        }
        let stat_name = format!("unnamed_cert_{}", inline_digest(&proto.certificate_chain));
        match Identity::from_pem(&chain.bytes, &key.bytes, Some(&ocsp.bytes)) {
            Ok(identity) => {
                let directory = proto.watched_directory.as_ref();
                let watched_directory = directory.map(|watched| watched.path.clone());
                Some(TlsCertificate { identity, stat_name, file: chain.name, watched_directory })
            }
            Err(error) => {
                let (source, what) = match &error {
                    IdentityError::Ocsp(_) => (&ocsp, "OCSP staple"),
                    error if error.is_about_key() => (&key, "private key"),
                    _ => (&chain, "certificate chain"),
                };
                let message = format!("Failed to load {what} from {}, Cause: {error}", source.name);
                context.error(&source.path, message);
                None
            }
        }
    }
}

/// Eight digits of the SHA-256 of what stands in `inline_bytes`: Envoy tells unnamed certificates apart by them, though all
/// that come from elsewhere have the same.
pub(super) fn inline_digest(source: &Option<core::DataSource>) -> String {
    let bytes = match source.as_ref().and_then(|source| source.specifier.as_ref()) {
        Some(core::data_source::Specifier::InlineBytes(bytes)) => bytes.as_slice(),
        _ => &[],
    };
    sha256(bytes)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A data source, read.
pub(super) struct Source {
    pub bytes: Bytes,
    /// The file's name or, for what stands in the configuration itself, `<inline>`.
    pub name: String,
    /// Where it stands.
    pub path: FieldPath,
}

impl Source {
    /// The file's or the variable's name, or `<inline>`.
    pub(super) fn name_of(proto: &core::DataSource) -> String {
        use core::data_source::Specifier;
        match &proto.specifier {
            Some(Specifier::Filename(name) | Specifier::EnvironmentVariable(name)) => name.clone(),
            _ => "<inline>".to_owned(),
        }
    }

    /// Reads a source; nothing if it is not set or, with an error recorded, cannot be read.
    pub(super) fn read(
        proto: &Option<core::DataSource>,
        path: FieldPath,
        context: &mut Context<'_>,
    ) -> Source {
        let Some(proto) = proto else { return Source { bytes: Bytes::new(), name: String::new(), path } };
        let name = Source::name_of(proto);
        Source { bytes: read_data_source(proto, MAX_DATA_SOURCE_BYTES, &path, context), name, path }
    }
}
