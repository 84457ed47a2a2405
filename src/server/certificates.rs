//! The certificates in use, as `/certs` shows them (`envoy.admin.v3.Certificate`): for each TLS context of a listener or a
//! cluster the certificates that it shows and the first one that it trusts.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::api::proto_json::time_text::format_timestamp;
use crate::base::clock::UnixTime;
use crate::config::tls::{CertificateSource, CommonTlsContext, ValidationSource};
use crate::tls::certificate::Certificate;
use crate::tls::subject_alt_name::SubjectAltName;

/// Where Envoy says that discovered secrets are from, wherever they refer to.
const DISCOVERED: &str = "<inline>";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One context; none if it has no certificates, or they are not found yet.
pub fn context_report(context: &CommonTlsContext, now: UnixTime) -> Option<Value> {
    let shown = context.certificates.iter().filter_map(|source| match source {
        CertificateSource::Given(found) => report(found.identity.chain().first()?, &found.file, now),
        CertificateSource::Discovered(_, Some(found)) => {
            report(found.identity.chain().first()?, DISCOVERED, now)
        }
        CertificateSource::Discovered(_, None) => None,
    });
    let rules = match &context.validation {
        ValidationSource::Given(rules) => Some((rules, rules.trust_file.as_str())),
        ValidationSource::Discovered { current: Some(rules), .. } => Some((rules, DISCOVERED)),
        ValidationSource::None | ValidationSource::Discovered { current: None, .. } => None,
    };
    let trusted = rules.and_then(|(rules, file)| {
        let first = rules.rules.trust.as_ref()?.certificates().next()?;
        report(first, file, now)
    });
    let (shown, trusted): (Vec<Value>, Vec<Value>) = (shown.collect(), trusted.into_iter().collect());
    let has_any = !shown.is_empty() || !trusted.is_empty();
    has_any.then(|| json!({ "ca_cert": trusted, "cert_chain": shown }))
}

/// `envoy.admin.v3.CertificateDetails`.
fn report(der: &[u8], file: &str, now: UnixTime) -> Option<Value> {
    let certificate = Certificate::parse(der).ok()?;
    // A zero may stand before it, so that it is not negative.
    let serial = certificate.serial.iter().skip_while(|byte| **byte == 0);
    let serial: String = serial.map(|byte| format!("{byte:02x}")).collect();
    let left = Duration::from_secs(certificate.not_after.saturating_sub(now.as_secs()));
    let time = |seconds: u64| format_timestamp(i64::try_from(seconds).unwrap_or(i64::MAX), 0);
    Some(json!({
        "path": file,
        "serial_number": serial,
        "subject_alt_names": alt_names(&certificate),
        "days_until_expiration": (left.as_secs() / DAY.as_secs()).to_string(),
        "valid_from": time(certificate.not_before),
        "expiration_time": time(certificate.not_after),
    }))
}

/// Those that Envoy shows, in its order.
fn alt_names(certificate: &Certificate<'_>) -> Vec<Value> {
    let mut names: Vec<(u8, &str, String)> = certificate
        .subject_alt_names()
        .filter_map(|name| match name {
            SubjectAltName::Dns(name) => Some((0, "dns", String::from_utf8_lossy(name).into_owned())),
            SubjectAltName::Uri(uri) => Some((1, "uri", String::from_utf8_lossy(uri).into_owned())),
            SubjectAltName::Ip(address) => Some((2, "ip_address", address.to_string())),
            _ => None,
        })
        .collect();
    names.sort_by_key(|(kind, ..)| *kind);
    let shown = names.into_iter().map(|(_, kind, name)| Map::from_iter([(kind.to_owned(), name.into())]));
    shown.map(Value::Object).collect()
}
