//! Every rule of the choice, on lists of certificates.

use super::*;
use crate::tls::ocsp;
use crate::tls::testing::{self, Ca, FixedTime, NOW};

const ALL_CURVES: [bool; 3] = [true; 3];
const P256_ONLY: [bool; 3] = [true, false, false];
const NO_CURVES: [bool; 3] = [false; 3];

/// A certificate on P-256 (`ec`), P-384 (`p384`), with Ed25519 (`ed`), or with RSA (whose name is fixed:
/// `rsa.example`).
fn identity(kind: &str, names: &[&str]) -> Identity {
    let ca = Ca::new("ca");
    let algorithm = match kind {
        "ec" => &rcgen::PKCS_ECDSA_P256_SHA256,
        "p384" => &rcgen::PKCS_ECDSA_P384_SHA384,
        "ed" => &rcgen::PKCS_ED25519,
        _ => {
            let mut rsa = testing::identity(testing::RSA_CERTIFICATE, testing::RSA_PKCS8_KEY);
            rsa.names = names.iter().map(|name| (*name).to_owned()).collect();
            return rsa;
        }
    };
    let (chain, key) = ca.leaf_with_key(names, algorithm, |_| {});
    testing::identity(&chain, &key)
}

fn selector(identities: Vec<Identity>, full_scan: bool) -> CertificateSelector {
    CertificateSelector::new(identities, full_scan, OcspStaplePolicy::Lenient, true, FixedTime::at(NOW))
}

fn client(server_name: Option<&str>, curves: [bool; 3]) -> ClientAbilities<'_> {
    ClientAbilities { server_name, curves, wants_ocsp: false }
}

#[track_caller]
fn assert_chosen(selector: &CertificateSelector, name: &str, curves: [bool; 3], expected: usize) {
    let name = (!name.is_empty()).then_some(name);
    let chosen = selector.select(client(name, curves), NOW).map(|(place, _)| place);
    assert_eq!(chosen, Some(expected), "{name:?} {curves:?}");
}

#[test]
fn names_match_exactly_or_by_one_label() {
    let selector = selector(
        vec![
            identity("ec", &["fallback.example"]),
            identity("ec", &["*.example.com", "a.b.example.com"]),
            identity("ec", &["www.example.com"]),
            identity("ec", &["example.com"]),
        ],
        false,
    );
    assert_chosen(&selector, "www.example.com", ALL_CURVES, 2);
    assert_chosen(&selector, "WWW.Example.COM", ALL_CURVES, 2);
    assert_chosen(&selector, "other.example.com", ALL_CURVES, 1);
    assert_chosen(&selector, "example.com", ALL_CURVES, 3);
    assert_chosen(&selector, "a.b.example.com", ALL_CURVES, 1);
    assert_chosen(&selector, "c.b.example.com", ALL_CURVES, 0);
    assert_chosen(&selector, "unknown.example", ALL_CURVES, 0);
    assert_chosen(&selector, "x", ALL_CURVES, 0);
}

#[test]
fn keys_on_curves_are_preferred_where_the_client_knows_them() {
    let selector = selector(
        vec![identity("rsa", &["a.b"]), identity("ec", &["a.b"]), identity("p384", &["p.q"])],
        false,
    );
    assert_chosen(&selector, "a.b", ALL_CURVES, 1);
    assert_chosen(&selector, "a.b", NO_CURVES, 0);
    assert_chosen(&selector, "p.q", ALL_CURVES, 2);
    // Nothing for that name that the client could verify: the first one.
    assert_chosen(&selector, "p.q", P256_ONLY, 0);
    // Without a name all are looked through.
    assert_chosen(&selector, "", ALL_CURVES, 1);
    assert_chosen(&selector, "", NO_CURVES, 0);
    assert_chosen(&selector, "", [false, true, false], 2);
}

#[test]
fn of_equal_certificates_the_first_counts() {
    let selector = selector(
        vec![
            identity("ec", &["z.example"]),
            identity("ec", &["a.b"]),
            identity("ec", &["a.b"]),
            identity("ed", &["a.b"]),
        ],
        false,
    );
    assert_chosen(&selector, "a.b", ALL_CURVES, 1);
    assert_chosen(&selector, "a.b", NO_CURVES, 3);
}

#[test]
fn an_unknown_name_may_look_through_all() {
    let identities = || vec![identity("rsa", &["a.b"]), identity("ec", &["c.d"])];
    assert_chosen(&selector(identities(), false), "unknown.example", ALL_CURVES, 0);
    assert_chosen(&selector(identities(), true), "unknown.example", ALL_CURVES, 1);
    assert_chosen(&selector(identities(), true), "unknown.example", NO_CURVES, 0);
}

#[test]
fn the_policy_decides_about_certificates_without_a_response() {
    let with_response = |next_update: &str| {
        let mut identity = identity("ec", &["a.b"]);
        let response = OcspResponse::parse(&ocsp::testing::response_until(next_update)).expect("a response");
        identity.stapled = Some((response, Arc::clone(&identity.key)));
        identity
    };
    let fresh = || with_response("20280101000000Z");
    let stale = || with_response("20260101000000Z");
    let none = || identity("ec", &["a.b"]);
    let choice = |identity: Identity, policy, wants_ocsp| {
        let selector = CertificateSelector::new(vec![identity], false, policy, true, FixedTime::at(NOW));
        let client = ClientAbilities { wants_ocsp, ..client(Some("a.b"), ALL_CURVES) };
        selector.select(client, NOW).is_some()
    };
    use OcspStaplePolicy::{Lenient, MustStaple, Strict};
    for (policy, with_fresh, with_stale, without) in
        [(Lenient, true, true, true), (Strict, true, false, true), (MustStaple, true, false, false)]
    {
        assert_eq!(choice(fresh(), policy, true), with_fresh, "{policy:?}");
        assert_eq!(choice(stale(), policy, true), with_stale, "{policy:?}");
        assert_eq!(choice(none(), policy, true), without, "{policy:?}");
        // A client that does not ask is served.
        assert!(choice(stale(), policy, false) && choice(none(), policy, false));
    }
    let mut promised = stale();
    promised.is_must_staple = true;
    assert!(!choice(promised, Lenient, true), "the certificate itself asks for one");
}

#[test]
fn handshakes_get_the_chosen_certificate() {
    let ca = Ca::new("ca");
    let mut options = testing::server_options(&ca);
    options.identities = vec![ca.identity(&["first.example"]), ca.identity(&["second.example"])];
    let server = testing::server_context(options);
    let client = testing::client_context(testing::client_options());
    for (asked, expected) in
        [("second.example", "second.example"), ("first.example", "first.example"), ("x.y", "first.example")]
    {
        let pair = testing::Pair::to(&client, &server, asked).open();
        let peer = pair.client.facts().expect("open").peer_certificates.clone().expect("a certificate");
        assert_eq!(peer.leaf().dns_sans, [expected]);
    }
}

#[test]
fn what_a_client_can_verify_is_read_from_its_hello() {
    let kind = |max_version, suites: &[&str]| {
        let ca = Ca::new("ca");
        let mut options = testing::server_options(&ca);
        options.parameters.max_version = max_version;
        options.identities = vec![
            testing::identity(testing::RSA_CERTIFICATE, testing::RSA_PKCS8_KEY),
            ca.identity(&["rsa.example"]),
        ];
        let mut client = testing::client_options();
        if !suites.is_empty() {
            client.parameters.max_version = crate::tls::TlsVersion::Tls12;
            client.parameters.cipher_suites =
                crate::tls::parameters::parse_cipher_suites(suites).expect("known");
        }
        let (client, server) = (testing::client_context(client), testing::server_context(options));
        let pair = testing::Pair::to(&client, &server, "rsa.example").open();
        let peer = pair.client.facts().expect("open").peer_certificates.clone().expect("a certificate");
        let leaf = crate::tls::certificate::Certificate::parse(&peer.chain()[0]).expect("a certificate");
        crate::tls::certificate::key_kind(leaf.spki).expect("a key")
    };
    use crate::tls::TlsVersion::{Tls12, Tls13};
    use crate::tls::certificate::KeyKind;
    let on_curve = KeyKind::Ecdsa(EcCurve::P256);
    assert_eq!(kind(Tls13, &[]), on_curve);
    assert_eq!(kind(Tls12, &[]), on_curve, "a client of both versions, a server of one");
    assert_eq!(kind(Tls13, &["ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"]), on_curve);
    assert_eq!(kind(Tls13, &["ECDHE-RSA-AES128-GCM-SHA256"]), KeyKind::Rsa { bits: 2048 });
}

#[test]
fn a_valid_response_is_sent_to_those_who_ask() {
    let ca = Ca::new("ca");
    let serial = 0x0102_u16;
    let (chain, key) =
        ca.leaf_with(&["server.example"], |params| params.serial_number = Some(u64::from(serial).into()));
    let outcome = |next_update: &str| {
        let response = ocsp::testing::response_for(&serial.to_be_bytes(), next_update);
        let mut options = testing::server_options(&ca);
        options.identities =
            vec![Identity::from_pem(chain.as_bytes(), key.as_bytes(), Some(&response)).expect("an identity")];
        let server = testing::server_context(options);
        let pair = testing::Pair::new(&testing::client_context(testing::client_options()), &server).open();
        pair.server.facts().expect("open").ocsp
    };
    // rustls clients always ask.
    assert_eq!(outcome("20280101000000Z"), Some(OcspOutcome::Stapled));
    assert_eq!(outcome("20260101000000Z"), Some(OcspOutcome::Omitted));
    let wrong = ocsp::testing::response_for(&[9], "20280101000000Z");
    let error =
        Identity::from_pem(chain.as_bytes(), key.as_bytes(), Some(&wrong)).expect_err("another certificate");
    assert_eq!(error.to_string(), "OCSP response does not match its TLS certificate");
}
