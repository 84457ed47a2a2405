//! TLS from arguments: certificates, keys and authorities are read here, and what is wrong with them is said.

use std::path::{Path, PathBuf};

use ringway::load::{PemIdentity, TlsPlan, Trust};
use ringway::tls::TlsVersion;

use crate::cli::{TlsArgs, TlsVersionArg};
use crate::target::{Wrong, wrong_file};

/// Where systems keep their trusted authorities.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// TLS to the server of this name.
pub fn plan(args: &TlsArgs, host: &str) -> Result<TlsPlan, Wrong> {
    let trust = match (args.insecure, &args.cacert) {
        (true, _) => Trust::Anybody,
        (false, Some(path)) => Trust::Authorities(read(path)?),
        (false, None) => {
            let bundle = BUNDLES.iter().map(Path::new).find(|path| path.exists());
            let no_bundle = "no trusted authorities are installed; give --cacert or --insecure";
            Trust::Bundle(read(bundle.ok_or_else(|| Wrong(no_bundle.into()))?)?)
        }
    };
    let versions = match args.tls_version {
        None => (TlsVersion::Tls12, TlsVersion::Tls13),
        Some(TlsVersionArg::Tls12) => (TlsVersion::Tls12, TlsVersion::Tls12),
        Some(TlsVersionArg::Tls13) => (TlsVersion::Tls13, TlsVersion::Tls13),
    };
    let plan = TlsPlan {
        server_name: args.sni.clone().unwrap_or_else(|| host.to_owned()),
        trust,
        identity: identity(args.cert.as_deref(), args.key.as_deref())?,
        resumes: args.resume,
        versions,
    };
    plan.check().map_err(Wrong)?;
    Ok(plan)
}

/// Refuses what makes no sense without TLS.
pub fn refuse(args: &TlsArgs) -> Result<(), Wrong> {
    let given = [
        ("--insecure", args.insecure),
        ("--cacert", args.cacert.is_some()),
        ("--cert", args.cert.is_some()),
        ("--sni", args.sni.is_some()),
        ("--resume", args.resume),
        ("--tls-version", args.tls_version.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(Wrong(format!("{name} is for https:// targets"))),
        None => Ok(()),
    }
}

/// A certificate and its key, if they were given.
pub fn identity(cert: Option<&Path>, key: Option<&Path>) -> Result<Option<PemIdentity>, Wrong> {
    let (Some(cert), Some(key)) = (cert, key) else { return Ok(None) };
    Ok(Some(PemIdentity { chain: read(cert)?, key: read(key)? }))
}

fn read(path: impl Into<PathBuf>) -> Result<Vec<u8>, Wrong> {
    let path = path.into();
    std::fs::read(&path).map_err(|error| wrong_file(&path, &error))
}
