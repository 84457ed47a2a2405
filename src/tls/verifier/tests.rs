//! Every rule for peers, in whole handshakes: who is accepted, who is refused, and how a refusal is counted.

use rcgen::{
    CertificateRevocationListParams, ExtendedKeyUsagePurpose, KeyIdMethod, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};

use super::*;
use crate::tls::subject_alt_name::{SanKind, SanPattern};
use crate::tls::testing::{self, Ca, FixedTime, NOW, Pair};
use crate::tls::{FailureKind, Identity, ServerContext, TlsError, TlsVersion, TrustError};

/// Whether the peer's certificate was found good, or how its refusal counts.
type Verdict = Result<bool, FailureKind>;

const GOOD: Verdict = Ok(true);
const NOT_CHECKED: Verdict = Ok(false);
const BAD_CHAIN: Verdict = Err(FailureKind::Chain);
const BAD_NAME: Verdict = Err(FailureKind::SubjectAltName);
const BAD_HASH: Verdict = Err(FailureKind::Hash);

/// What a server with these rules makes of a client.
fn of_client(rules: PeerRules, identity: Option<Identity>) -> Verdict {
    of_client_in(rules, identity, TlsVersion::Tls13)
}

fn of_client_in(rules: PeerRules, identity: Option<Identity>, version: TlsVersion) -> Verdict {
    let mut server = testing::server_options(&Ca::new("server ca"));
    server.peer = rules;
    let mut client = testing::client_options();
    client.parameters.max_version = version;
    client.identity = identity;
    let mut pair = Pair::new(&testing::client_context(client), &testing::server_context(server));
    let (_, at_server) = pair.settle();
    verdict(&pair.server, at_server)
}

/// What a client with these rules makes of a server that it asks for `server.example`.
fn of_server(rules: PeerRules, identity: Identity) -> Verdict {
    let mut server = testing::server_options(&Ca::new("unused"));
    server.identities = vec![identity];
    let mut client = testing::client_options();
    client.peer = rules;
    let mut pair = Pair::new(&testing::client_context(client), &testing::server_context(server));
    let (at_client, _) = pair.settle();
    verdict(&pair.client, at_client)
}

fn verdict(session: &crate::tls::Session, error: Option<TlsError>) -> Verdict {
    match error {
        None => Ok(session.facts().expect("open").peer_validated),
        Some(error) => Err(error.failure_kind()),
    }
}

fn trusting(ca: &Ca) -> PeerRules {
    PeerRules { trust: ca.trust(), ..PeerRules::default() }
}

fn matcher(kind: SanKind, text: &str) -> SanMatcher {
    SanMatcher {
        kind,
        oid: String::new(),
        pattern: SanPattern::Exact(text.to_owned()),
        fingerprint: text.to_owned(),
    }
}

fn leaf_of(identity: &Identity) -> Certificate<'_> {
    Certificate::parse(&identity.chain()[0]).expect("a certificate")
}

#[test]
fn without_rules_nothing_is_checked() {
    let ca = Ca::new("ca");
    assert_eq!(of_server(PeerRules::default(), ca.identity(&["other.example"])), NOT_CHECKED);
    assert_eq!(of_client(PeerRules::default(), Some(ca.identity(&["c"]))), NOT_CHECKED);
}

#[test]
fn chains_lead_to_a_trusted_certificate() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let client = || Some(ca.identity(&["client.example"]));
        assert_eq!(of_client_in(trusting(&ca), client(), version), GOOD);
        assert_eq!(of_client_in(trusting(&other), client(), version), BAD_CHAIN);
        assert_eq!(of_client_in(trusting(&ca), None, version), NOT_CHECKED);
    }
    assert_eq!(of_server(trusting(&ca), ca.identity(&["any.example"])), GOOD);
    assert_eq!(of_server(trusting(&other), ca.identity(&["any.example"])), BAD_CHAIN);
}

#[test]
fn intermediates_come_with_the_peer_or_are_trusted_themselves() {
    let root = Ca::new("root");
    let middle = root.intermediate("middle");
    let (leaf, key) = middle.leaf_pem(&["a.b"]);
    let alone = || testing::identity(&leaf, &key);
    let with_chain = || testing::identity(&format!("{leaf}{}", middle.pem), &key);
    assert_eq!(of_client(trusting(&root), Some(with_chain())), GOOD);
    assert_eq!(of_client(trusting(&root), Some(alone())), BAD_CHAIN);
    assert_eq!(of_client(trusting(&middle), Some(alone())), GOOD, "partial chains are enough");
}

#[test]
fn a_trusted_certificate_may_be_the_peers_own() {
    // As `openssl req -x509` makes them: self-signed, an authority, and used by a server.
    let own = Ca::new("server.example");
    let identity = || testing::identity(&own.pem, &own.key.serialize_pem());
    let mut trust = trusting(&own);
    assert_eq!(of_server(trust, identity()), GOOD);
    trust = trusting(&Ca::new("server.example"));
    assert_eq!(of_server(trust, identity()), BAD_CHAIN);
}

#[test]
fn depth_counts_authorities() {
    let root = Ca::new("root");
    let middle = root.intermediate("middle");
    let (leaf, key) = middle.leaf_pem(&["a.b"]);
    let with_depth = |depth: u32| {
        let mut rules = trusting(&root);
        rules.chain.max_depth = Some(depth);
        of_client(rules, Some(testing::identity(&format!("{leaf}{}", middle.pem), &key)))
    };
    assert_eq!((with_depth(2), with_depth(1)), (GOOD, BAD_CHAIN));
    let mut rules = trusting(&root);
    rules.chain.max_depth = Some(0);
    assert_eq!(of_client(rules, Some(root.identity(&["a.b"]))), GOOD, "as 1");
}

#[test]
fn validity_counts_unless_it_is_ignored() {
    let ca = Ca::new("ca");
    let leaf = |from: i32, until: i32| {
        let (chain, key) = ca.leaf_with(&["a.b"], |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
        });
        Some(testing::identity(&chain, &key))
    };
    let ignoring = || {
        let mut rules = trusting(&ca);
        rules.chain.allow_expired = true;
        rules
    };
    for (from, until) in [(2020, 2025), (2040, 2045)] {
        assert_eq!(of_client(trusting(&ca), leaf(from, until)), BAD_CHAIN);
        assert_eq!(of_client(ignoring(), leaf(from, until)), GOOD);
    }
    assert_eq!(of_client(trusting(&ca), leaf(2020, 2045)), GOOD);
    let stranger = Ca::new("other").identity(&["a.b"]);
    assert_eq!(of_client(ignoring(), Some(stranger)), BAD_CHAIN, "only validity is ignored");
}

#[test]
fn an_expired_authority_vouches_for_nobody() {
    let mut ca = Ca::new("ca");
    ca.params.not_after = rcgen::date_time_ymd(2025, 1, 1);
    ca.pem = ca.params.self_signed(&ca.key).expect("a certificate").pem();
    let client = || Some(ca.identity(&["a.b"]));
    assert_eq!(of_client(trusting(&ca), client()), BAD_CHAIN);
    let mut rules = trusting(&ca);
    rules.chain.allow_expired = true;
    assert_eq!(of_client(rules, client()), GOOD);
    // Another certificate for the same key that is still valid.
    let mut renewed = ca.params.clone();
    renewed.not_after = rcgen::date_time_ymd(2045, 1, 1);
    let renewed = renewed.self_signed(&ca.key).expect("a certificate").pem();
    let both = TrustStore::from_pem(format!("{}{renewed}", ca.pem).as_bytes()).expect("authorities");
    assert_eq!(of_client(PeerRules { trust: Some(Arc::new(both)), ..PeerRules::default() }, client()), GOOD);
}

#[test]
fn purposes_are_checked() {
    let ca = Ca::new("ca");
    let leaf = |purpose: Option<ExtendedKeyUsagePurpose>| {
        let (chain, key) = ca.leaf_with(&["a.b"], |params| params.extended_key_usages.extend(purpose));
        testing::identity(&chain, &key)
    };
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    assert_eq!(of_client(trusting(&ca), Some(leaf(Some(ClientAuth)))), GOOD);
    assert_eq!(of_client(trusting(&ca), Some(leaf(None))), GOOD);
    assert_eq!(of_client(trusting(&ca), Some(leaf(Some(ServerAuth)))), BAD_CHAIN);
    assert_eq!(of_server(trusting(&ca), leaf(Some(ServerAuth))), GOOD);
    assert_eq!(of_server(trusting(&ca), leaf(Some(ClientAuth))), BAD_CHAIN);
}

#[test]
fn one_of_the_matchers_must_match() {
    let ca = Ca::new("ca");
    let client = || {
        let (chain, key) = ca.leaf_with(&["client.example", "10.0.0.1"], |params| {
            params.subject_alt_names.push(SanType::URI("spiffe://td/a".try_into().expect("a URI")));
        });
        Some(testing::identity(&chain, &key))
    };
    let with = |san_matchers: Vec<SanMatcher>| PeerRules { san_matchers, ..trusting(&ca) };
    let uri = |text| matcher(SanKind::Uri, text);
    assert_eq!(of_client(with(vec![uri("spiffe://td/a")]), client()), GOOD);
    assert_eq!(of_client(with(vec![uri("spiffe://td/b"), uri("spiffe://td/a")]), client()), GOOD);
    assert_eq!(of_client(with(vec![uri("spiffe://td/b")]), client()), BAD_NAME);
    assert_eq!(of_client(with(vec![matcher(SanKind::Dns, "client.example")]), client()), GOOD);
    assert_eq!(of_client(with(vec![matcher(SanKind::Uri, "client.example")]), client()), BAD_NAME);
    assert_eq!(of_client(with(vec![matcher(SanKind::Ip, "10.0.0.1")]), client()), GOOD);
    // A certificate is required where one has to be matched.
    assert_eq!(of_client(with(vec![uri("spiffe://td/a")]), None), Err(FailureKind::NoCertificate));
    assert_eq!(of_server(with(vec![matcher(SanKind::Dns, "s.example")]), ca.identity(&["s.example"])), GOOD);
    assert_eq!(
        of_server(with(vec![matcher(SanKind::Dns, "s.example")]), ca.identity(&["t.example"])),
        BAD_NAME
    );
}

#[test]
fn the_name_that_was_asked_for_may_have_to_match() {
    let ca = Ca::new("ca");
    let rules = || PeerRules {
        match_server_name: true,
        // Not looked at where there is a name.
        san_matchers: vec![matcher(SanKind::Dns, "nobody.example")],
        ..trusting(&ca)
    };
    assert_eq!(of_server(rules(), ca.identity(&["server.example"])), GOOD);
    assert_eq!(of_server(rules(), ca.identity(&["*.example"])), GOOD);
    assert_eq!(of_server(rules(), ca.identity(&["other.example"])), BAD_NAME);
}

#[test]
fn hashes_pin_certificates_or_keys() {
    let ca = Ca::new("ca");
    let client = ca.identity(&["client.example"]);
    let (certificate, key) = (sha256(leaf_of(&client).der), sha256(leaf_of(&client).spki));
    let with = |certificate_hashes: Vec<[u8; 32]>, key_hashes: Vec<[u8; 32]>| PeerRules {
        certificate_hashes,
        key_hashes,
        ..PeerRules::default()
    };
    let verdict = |rules| of_client(rules, Some(client.clone()));
    assert_eq!(verdict(with(vec![[0; 32], certificate], vec![])), GOOD);
    assert_eq!(verdict(with(vec![], vec![key])), GOOD);
    assert_eq!(verdict(with(vec![[0; 32]], vec![key])), GOOD, "one of both is enough");
    assert_eq!(verdict(with(vec![[0; 32]], vec![[0; 32]])), BAD_HASH);
    assert_eq!(verdict(with(vec![key], vec![certificate])), BAD_HASH, "each in its own list");
    assert_eq!(of_client(with(vec![certificate], vec![]), None), Err(FailureKind::NoCertificate));
    let both = PeerRules { certificate_hashes: vec![certificate], ..trusting(&Ca::new("other")) };
    assert_eq!(verdict(both), BAD_CHAIN, "the chain counts as well");
}

#[test]
fn untrusted_peers_may_be_let_in() {
    let ca = Ca::new("ca");
    let lenient = |rules: PeerRules| PeerRules { accept_untrusted: true, ..rules };
    let stranger = || Some(Ca::new("other").identity(&["a.b"]));
    assert_eq!(of_client(lenient(trusting(&ca)), stranger()), NOT_CHECKED);
    assert_eq!(of_client(lenient(trusting(&ca)), Some(ca.identity(&["a.b"]))), GOOD);
    assert_eq!(of_client(lenient(trusting(&ca)), None), NOT_CHECKED);
    let hashed = PeerRules { certificate_hashes: vec![[0; 32]], ..PeerRules::default() };
    assert_eq!(of_client(lenient(hashed), stranger()), NOT_CHECKED);
    // Without any rule, the client is still asked for its certificate.
    let mut server = testing::server_options(&ca);
    server.peer = lenient(PeerRules::default());
    let mut client = testing::client_options();
    client.identity = stranger();
    let pair = Pair::new(&testing::client_context(client), &testing::server_context(server)).open();
    let facts = pair.server.facts().expect("open");
    assert!(facts.peer_certificates.is_some() && !facts.peer_validated);
}

#[test]
fn clients_are_told_whom_the_server_trusts_unless_that_is_suppressed() {
    let ca = Ca::new("ca");
    let parameters = crate::tls::Parameters::new(TlsVersion::Tls12, TlsVersion::Tls13);
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let told = |suppress_authorities| {
        let rules = PeerRules { suppress_authorities, ..trusting(&ca) };
        PeerVerifier::new(rules, &parameters, algorithms).authorities.len()
    };
    assert_eq!((told(false), told(true)), (1, 0));
}

#[test]
fn rsa_keys_must_be_allowed_to_sign_if_that_is_enforced() {
    let ca = Ca::new("ca");
    let rules = |enforce_rsa_key_usage| PeerRules { enforce_rsa_key_usage, ..PeerRules::default() };
    let with_usage = |usage| {
        let (chain, key) = ca.leaf_with_key(&["server.example"], &rcgen::PKCS_RSA_SHA256, |params| {
            params.key_usages = vec![usage];
        });
        testing::identity(&chain, &key)
    };
    assert_eq!(of_server(rules(true), with_usage(KeyUsagePurpose::DigitalSignature)), NOT_CHECKED);
    assert_eq!(of_server(rules(true), with_usage(KeyUsagePurpose::KeyEncipherment)), BAD_CHAIN);
    assert_eq!(of_server(rules(false), with_usage(KeyUsagePurpose::KeyEncipherment)), NOT_CHECKED);
    let (chain, key) = ca.leaf_with(&["server.example"], |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    });
    assert_eq!(of_server(rules(true), testing::identity(&chain, &key)), NOT_CHECKED, "RSA only");
}

#[test]
fn certificates_of_version_1_are_accepted() {
    let identity = || testing::identity(testing::V1_CERTIFICATE, testing::SEC1_KEY);
    assert_eq!(leaf_of(&identity()).version, 1);
    let trust = TrustStore::from_pem(testing::V1_CA.as_bytes()).expect("an authority");
    let rules = || PeerRules { trust: None, ..PeerRules::default() };
    assert_eq!(of_server(rules(), identity()), NOT_CHECKED);
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let rules = PeerRules {
            trust: Some(Arc::new(TrustStore::from_pem(testing::V1_CA.as_bytes()).expect("an authority"))),
            ..PeerRules::default()
        };
        assert_eq!(of_client_in(rules, Some(identity()), version), GOOD, "{version:?}");
    }
    assert_eq!(
        of_server(PeerRules { trust: Some(Arc::new(trust)), ..PeerRules::default() }, identity()),
        GOOD
    );
    // Same name, another key.
    let impostor = Ca::new("v1 ca");
    assert_eq!(of_server(trusting(&impostor), identity()), BAD_CHAIN);
}

#[test]
fn a_peer_needs_its_key() {
    // The certificate of one, the key of another.
    let ca = Ca::new("ca");
    let (mut one, two) = (ca.identity(&["server.example"]), ca.identity(&["server.example"]));
    one.key = Arc::new(rustls::sign::CertifiedKey::new(one.chain().to_vec(), Arc::clone(&two.key.key)));
    assert_eq!(of_server(trusting(&ca), one.clone()), BAD_CHAIN);
    assert_eq!(of_client(trusting(&ca), Some(one.clone())), BAD_CHAIN);
    assert_eq!(of_client_in(trusting(&ca), Some(one), TlsVersion::Tls12), BAD_CHAIN);
    let mut old = testing::identity(testing::V1_CERTIFICATE, testing::SEC1_KEY);
    old.key = Arc::new(rustls::sign::CertifiedKey::new(old.chain().to_vec(), Arc::clone(&two.key.key)));
    assert_eq!(
        of_client_in(PeerRules { accept_untrusted: true, ..trusting(&ca) }, Some(old), TlsVersion::Tls12),
        BAD_CHAIN
    );
}

/// A list by which `ca` revokes these serial numbers.
fn revocation_list(ca: &Ca, serials: &[u64], next_update: i32) -> String {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: rcgen::date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(next_update, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&ca.issuer()).expect("a list").pem().expect("PEM")
}

fn with_lists(ca: &Ca, lists: &str) -> PeerRules {
    let mut trust = ca.trust_store();
    trust.add_revocation_lists(lists.as_bytes()).expect("lists");
    PeerRules { trust: Some(Arc::new(trust)), ..PeerRules::default() }
}

#[test]
fn revoked_certificates_are_refused() {
    let ca = Ca::new("ca");
    let client = |serial: u64| {
        let (chain, key) = ca.leaf_with(&["a.b"], |params| params.serial_number = Some(serial.into()));
        Some(testing::identity(&chain, &key))
    };
    let list = revocation_list(&ca, &[7], 2040);
    assert_eq!(of_client(with_lists(&ca, &list), client(7)), BAD_CHAIN);
    assert_eq!(of_client(with_lists(&ca, &list), client(8)), GOOD);
    // A list of somebody else says nothing, and without a word about it a certificate is not accepted.
    let other = revocation_list(&Ca::new("other"), &[7], 2040);
    assert_eq!(of_client(with_lists(&ca, &other), client(8)), BAD_CHAIN);
    // An old list may hide a revocation.
    let old = revocation_list(&ca, &[7], 2027);
    assert_eq!(of_client(with_lists(&ca, &old), client(8)), BAD_CHAIN);
    let mut rules = with_lists(&ca, &old);
    rules.chain.allow_expired = true;
    assert_eq!(of_client(rules, client(8)), GOOD);
    // Lists may stand beside the authorities.
    let trust = TrustStore::from_pem(format!("{}{list}", ca.pem).as_bytes()).expect("both");
    assert_eq!(
        of_client(PeerRules { trust: Some(Arc::new(trust)), ..PeerRules::default() }, client(7)),
        BAD_CHAIN
    );
}

#[test]
fn intermediates_are_looked_up_unless_only_the_leaf_is() {
    let root = Ca::new("root");
    let middle = root.intermediate("middle");
    let (leaf, key) = middle.leaf_pem(&["a.b"]);
    let client = || Some(testing::identity(&format!("{leaf}{}", middle.pem), &key));
    let lists = revocation_list(&middle, &[], 2040);
    // Nothing is known about the intermediate certificate.
    assert_eq!(of_client(with_lists(&root, &lists), client()), BAD_CHAIN);
    let mut rules = with_lists(&root, &lists);
    rules.chain.revocation_of_leaf_only = true;
    assert_eq!(of_client(rules, client()), GOOD);
    let both = lists + &revocation_list(&root, &[], 2040);
    assert_eq!(of_client(with_lists(&root, &both), client()), GOOD);
}

#[test]
fn stores_tell_what_is_wrong_with_them() {
    let ca = Ca::new("ca");
    let error = |pem: &str| TrustStore::from_pem(pem.as_bytes()).expect_err("refused");
    assert_eq!(error(""), TrustError::NoCertificates);
    assert_eq!(error("nonsense"), TrustError::NoCertificates);
    assert!(matches!(error(&ca.pem.replace("-----END", "----END")), TrustError::Pem(_)));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(&format!("{}{damaged}", ca.pem)), TrustError::Certificate { number: 2, .. }));
    let mut trust = ca.trust_store();
    assert_eq!(trust.add_revocation_lists(ca.pem.as_bytes()), Err(TrustError::NoRevocationLists));
    let damaged = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let refused = trust.add_revocation_lists(damaged.as_bytes());
    assert!(matches!(refused, Err(TrustError::RevocationList { number: 1, .. })));
}

#[test]
fn expiry_is_told_for_statistics() {
    let ca = Ca::new("ca");
    let (chain, key) = ca.leaf_with(&["a.b"], |params| params.not_after = rcgen::date_time_ymd(2030, 1, 1));
    let mut options = testing::server_options(&ca);
    options.identities.push(testing::identity(&chain, &key));
    let server = ServerContext::new(options, FixedTime::at(NOW)).expect("a context");
    assert_eq!(server.first_expiry(), 1_893_456_000);
}
