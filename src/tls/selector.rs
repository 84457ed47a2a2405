//! Which of a server's certificates a client gets: by the server name it asks for, by the keys it can verify,
//! by the OCSP policy. The order of the choice is Envoy's.
//!
//! Exact name, then wildcard (one label); within a name an ECDSA certificate on a curve the client knows
//! before an RSA one; without a match the first certificate, or, if configured, all are looked through.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{NamedGroup, SignatureScheme};

use super::certificate::EcCurve;
use super::identity::Identity;
use super::notes::{self, OcspOutcome, note};
#[cfg(test)]
use super::ocsp::OcspResponse;

/// What is done about OCSP responses (`DownstreamTlsContext.OcspStaplePolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OcspStaplePolicy {
    /// A valid response is sent; without one the handshake goes on.
    #[default]
    Lenient,
    /// A certificate whose response has expired is not used.
    Strict,
    /// A certificate without a valid response is not used.
    MustStaple,
}

/// Chooses among a server's certificates.
#[derive(Debug)]
pub(super) struct CertificateSelector {
    identities: Vec<Identity>,
    /// Names, with `*` cut off from wildcards, and places in `identities` in the order of configuration.
    by_name: HashMap<String, Vec<usize>>,
    full_scan: bool,
    ocsp_policy: OcspStaplePolicy,
    /// TLS 1.3 may be negotiated.
    has_tls13: bool,
    time: Arc<dyn TimeProvider>,
}

/// What a client can do, as far as the choice depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAbilities<'a> {
    /// The name that it asks for.
    pub(super) server_name: Option<&'a str>,
    /// It can verify signatures on P-256, P-384, P-521.
    pub(super) curves: [bool; 3],
    /// It asks for an OCSP response.
    pub(super) wants_ocsp: bool,
}

impl CertificateSelector {
    /// `identities` must not be empty.
    pub(super) fn new(
        identities: Vec<Identity>,
        full_scan: bool,
        ocsp_policy: OcspStaplePolicy,
        has_tls13: bool,
        time: Arc<dyn TimeProvider>,
    ) -> CertificateSelector {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, identity) in identities.iter().enumerate() {
            for name in &identity.names {
                let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
                let places = by_name.entry(name.to_ascii_lowercase()).or_default();
                // Of several certificates with one name and one kind of key the first counts.
                if !places.iter().any(|&place| identities[place].curve.is_some() == identity.curve.is_some())
                {
                    places.push(at);
                }
            }
        }
        CertificateSelector { identities, by_name, full_scan, ocsp_policy, has_tls13, time }
    }

    /// The certificate for a client; none if policy forbids all that come into question.
    fn select(&self, client: ClientAbilities<'_>, now: u64) -> Option<(usize, &Identity)> {
        let usable = |place: &usize| !client.wants_ocsp || self.is_usable(&self.identities[*place], now);
        let by_name = client.server_name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = name.get(1..).and_then(|rest| rest.find('.')).map(|dot| &name[dot + 1..]);
            [Some(&*name), wildcard].into_iter().flatten().find_map(|pattern| {
                let places = self.by_name.get(pattern)?.iter().copied().filter(usable);
                self.best(places, client)
            })
        });
        let scan = client.server_name.is_none() || self.full_scan;
        let chosen = by_name
            .or_else(|| scan.then(|| self.best((0..self.identities.len()).filter(usable), client)).flatten())
            .or_else(|| usable(&0).then_some(0))?;
        Some((chosen, &self.identities[chosen]))
    }

    /// An ECDSA certificate on a curve of the client's, or another one that it can verify.
    fn best(&self, places: impl Iterator<Item = usize>, client: ClientAbilities<'_>) -> Option<usize> {
        let mut other = None;
        for place in places {
            match self.identities[place].curve {
                Some(curve) if client.knows(curve) => return Some(place),
                Some(_) => {}
                None => other = other.or(Some(place)),
            }
        }
        other
    }

    /// Whether the OCSP policy lets the certificate be used for a client that asks for a response.
    fn is_usable(&self, identity: &Identity, now: u64) -> bool {
        let is_valid = || identity.stapled.as_ref().is_some_and(|(response, _)| response.is_valid_at(now));
        match self.ocsp_policy {
            OcspStaplePolicy::MustStaple => is_valid(),
            _ if identity.is_must_staple => is_valid(),
            OcspStaplePolicy::Strict => identity.stapled.is_none() || is_valid(),
            OcspStaplePolicy::Lenient => true,
        }
    }
}

impl ClientAbilities<'_> {
    fn knows(&self, curve: EcCurve) -> bool {
        match curve {
            EcCurve::P256 => self.curves[0],
            EcCurve::P384 => self.curves[1],
            EcCurve::P521 => self.curves[2],
            EcCurve::Other => false,
        }
    }

    /// What a hello says. In TLS 1.3 the signature schemes name the curves; before, the groups do, and there
    /// must be a cipher suite for such keys.
    fn of<'a>(hello: &'a ClientHello<'_>, has_tls13: bool) -> ClientAbilities<'a> {
        let schemes = hello.signature_schemes();
        let groups = hello.named_groups().unwrap_or_default();
        let is_tls13 = has_tls13 && notes::client().tls13;
        let offers_ecdsa = hello.cipher_suites().iter().any(|suite| {
            // The suites of TLS 1.2 with ECDSA that are implemented.
            matches!(u16::from(*suite), 0xc02b | 0xc02c | 0xcca9)
        });
        let knows = |scheme: SignatureScheme, group: NamedGroup| {
            let signs = schemes.contains(&scheme);
            if is_tls13 { signs } else { offers_ecdsa && groups.contains(&group) && !schemes.is_empty() }
        };
        ClientAbilities {
            server_name: hello.server_name(),
            wants_ocsp: notes::client().ocsp,
            curves: [
                knows(SignatureScheme::ECDSA_NISTP256_SHA256, NamedGroup::secp256r1),
                knows(SignatureScheme::ECDSA_NISTP384_SHA384, NamedGroup::secp384r1),
                knows(SignatureScheme::ECDSA_NISTP521_SHA512, NamedGroup::secp521r1),
            ],
        }
    }
}

impl ResolvesServerCert for CertificateSelector {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = self.time.current_time().map_or(0, |time| time.as_secs());
        let client = ClientAbilities::of(&client_hello, self.has_tls13);
        let selected = self.select(client, now);
        let identity = selected.map(|(_, identity)| identity);
        note(|notes| notes.chosen = selected.map(|(place, _)| place));
        let staple = identity.and_then(|identity| identity.stapled.as_ref());
        let staple = staple.filter(|(response, _)| client.wants_ocsp && response.is_valid_at(now));
        if client.wants_ocsp {
            let outcome = match (identity, staple) {
                (None, _) => OcspOutcome::Failed,
                (Some(_), Some(_)) => OcspOutcome::Stapled,
                (Some(_), None) => OcspOutcome::Omitted,
            };
            note(|notes| notes.ocsp = Some(outcome));
        }
        let key = staple.map(|(_, stapled)| stapled).or(identity.map(|identity| &identity.key));
        key.map(Arc::clone)
    }
}

#[cfg(test)]
mod tests;
