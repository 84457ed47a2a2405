//! Handshakes: versions, names, application protocols, certificates of both sides, failures.

use rustls::pki_types::ServerName;

use super::*;
use crate::tls::{FailureKind, PeerRules};

fn negotiate(client: ClientOptions, server: ServerOptions) -> Pair {
    Pair::new(&testing::client_context(client), &testing::server_context(server)).open()
}

#[test]
fn both_ends_agree_in_the_facts() {
    let pair = negotiate(testing::client_options(), testing::server_options(&Ca::new("ca")));
    let (client, server) = (pair.client.facts().expect("open"), pair.server.facts().expect("open"));
    for facts in [client, server] {
        assert_eq!(facts.version, TlsVersion::Tls13);
        assert_eq!(facts.cipher_suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(facts.group, Some(rustls::NamedGroup::X25519MLKEM768));
        assert!(!facts.is_resumed && facts.application_protocol.is_none() && !facts.peer_validated);
    }
    assert_eq!(server.server_name.as_deref(), Some("server.example"));
    assert!(server.peer_certificates.is_none() && server.peer_signature_scheme.is_none());
    let peer = client.peer_certificates.as_ref().expect("a certificate");
    assert_eq!(peer.leaf().dns_sans, ["server.example"]);
    assert_eq!(client.peer_signature_scheme, Some(rustls::SignatureScheme::ECDSA_NISTP256_SHA256));
}

#[test]
fn server_names_are_told_in_lower_case_and_addresses_not_at_all() {
    let (client, server) = contexts(TlsVersion::Tls12, None);
    let pair = Pair::to(&client, &server, "Server.EXAMPLE").open();
    assert_eq!(pair.server.facts().expect("open").server_name.as_deref(), Some("server.example"));
    let mut out = Vec::new();
    let address = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    let session = Session::client(&client, address, &mut out).expect("a client");
    let pair =
        Pair { client: session, server: Session::server(&server), to_server: out, to_client: Vec::new() };
    assert_eq!(pair.open().server.facts().expect("open").server_name, None);
}

#[test]
fn the_servers_order_of_protocols_decides() {
    let protocol = |client: &[&str], server: &[&str]| {
        let list = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut client_options = testing::client_options();
        client_options.application_protocols = list(client);
        let mut server_options = testing::server_options(&Ca::new("ca"));
        server_options.application_protocols = list(server);
        let pair = negotiate(client_options, server_options);
        let of = |session: &Session| session.facts().expect("open").application_protocol.clone();
        assert_eq!(of(&pair.client), of(&pair.server));
        of(&pair.server).map(|protocol| String::from_utf8_lossy(&protocol).into_owned())
    };
    assert_eq!(protocol(&["http/1.1", "h2"], &["h2", "http/1.1"]).as_deref(), Some("h2"));
    assert_eq!(protocol(&["http/1.1"], &["h2", "http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(protocol(&["foo"], &["h2"]), None, "served all the same, as by Envoy");
    assert_eq!(protocol(&[], &["h2"]), None);
    assert_eq!(protocol(&["h2"], &[]), None);
}

#[test]
fn orders_of_suites_are_envoys() {
    // What Envoy 1.40 chose for the same lists on the same kind of machine.
    let chosen = |max: TlsVersion, order: &[rustls::SupportedCipherSuite]| {
        let ca = Ca::new("ca");
        let server = testing::server_context(testing::server_options(&ca));
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = order.to_vec();
        let versions = crate::tls::Parameters::new(max, max).versions();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(testing::accept_all())
            .with_no_client_auth();
        let (session, _) = with_rustls_client(&server, Arc::new(config));
        session.facts().expect("open").cipher_suite
    };
    use rustls::crypto::aws_lc_rs::cipher_suite as all;
    let (aes128, aes256, chacha20) =
        (all::TLS13_AES_128_GCM_SHA256, all::TLS13_AES_256_GCM_SHA384, all::TLS13_CHACHA20_POLY1305_SHA256);
    for order in [[chacha20, aes128, aes256], [aes256, aes128, chacha20], [aes128, chacha20, aes256]] {
        assert_eq!(chosen(TlsVersion::Tls13, &order), order[0].suite(), "the client's order");
    }
    let (aes128, aes256, chacha20) = (
        all::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        all::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        all::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    );
    assert_eq!(chosen(TlsVersion::Tls12, &[chacha20, aes128]), chacha20.suite());
    assert_eq!(chosen(TlsVersion::Tls12, &[aes128, chacha20]), aes128.suite());
    assert_eq!(chosen(TlsVersion::Tls12, &[aes256, chacha20, aes128]), chacha20.suite());
    assert_eq!(chosen(TlsVersion::Tls12, &[aes256, aes128]), aes128.suite());
}

#[test]
fn clients_show_certificates_when_asked() {
    let ca = Ca::new("client ca");
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut server = testing::server_options(&Ca::new("ca"));
        server.peer = PeerRules { trust: ca.trust(), require_certificate: true, ..PeerRules::default() };
        let mut client = testing::client_options();
        client.parameters.max_version = version;
        client.identity = Some(ca.identity(&["client.example"]));
        let pair = negotiate(client, server);
        let facts = pair.server.facts().expect("open");
        assert!(facts.peer_validated);
        assert_eq!(facts.peer_signature_scheme, Some(rustls::SignatureScheme::ECDSA_NISTP256_SHA256));
        assert_eq!(facts.peer_certificates.as_ref().expect("one").leaf().dns_sans, ["client.example"]);
    }
}

#[test]
fn a_missing_certificate_fails_only_where_it_is_required() {
    let outcome = |require_certificate, version| {
        let mut server = testing::server_options(&Ca::new("ca"));
        server.peer = PeerRules { trust: Ca::new("a").trust(), require_certificate, ..PeerRules::default() };
        let mut client = testing::client_options();
        client.parameters.max_version = version;
        Pair::new(&testing::client_context(client), &testing::server_context(server)).settle()
    };
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        assert_eq!(outcome(false, version), (None, None));
        let (at_client, at_server) = outcome(true, version);
        assert_eq!(at_server.expect("required").failure_kind(), FailureKind::NoCertificate);
        assert!(matches!(at_client, Some(TlsError::Alert(_))), "{at_client:?}");
    }
}

#[test]
fn groups_are_negotiated() {
    let negotiated = |client: &[&str], server: &[&str]| {
        let mut client_options = testing::client_options();
        client_options.parameters.groups = crate::tls::parameters::parse_groups(client).expect("known");
        let mut server_options = testing::server_options(&Ca::new("ca"));
        server_options.parameters.groups = crate::tls::parameters::parse_groups(server).expect("known");
        negotiate(client_options, server_options).server.facts().expect("open").group
    };
    let (x25519, p256) = (Some(rustls::NamedGroup::X25519), Some(rustls::NamedGroup::secp256r1));
    assert_eq!(negotiated(&["X25519", "P-256"], &["X25519", "P-256"]), x25519);
    // The client's first guess is of no use: a second hello follows.
    assert_eq!(negotiated(&["X25519", "P-256"], &["P-256"]), p256);
    assert_eq!(negotiated(&["P-384", "X25519"], &["X25519"]), x25519);
    let hybrid = negotiated(&["X25519MLKEM768", "X25519"], &["X25519MLKEM768"]);
    assert_eq!(hybrid, Some(rustls::NamedGroup::X25519MLKEM768));
}

#[test]
fn signatures_keep_to_the_configured_schemes() {
    use rustls::SignatureScheme as Scheme;
    let ca = Ca::new("ca");
    let outcome = |server: &[Scheme], client: &[Scheme]| {
        let mut server_options = testing::server_options(&ca);
        server_options.identities = vec![testing::identity(testing::RSA_CERTIFICATE, testing::RSA_PKCS8_KEY)];
        server_options.parameters.signature_schemes = server.to_vec();
        let mut client_options = testing::client_options();
        client_options.parameters.signature_schemes = client.to_vec();
        let contexts = (testing::client_context(client_options), testing::server_context(server_options));
        let mut pair = Pair::new(&contexts.0, &contexts.1);
        pair.settle();
        pair.client.facts().and_then(|facts| facts.peer_signature_scheme)
    };
    let (sha256, sha512) = (Scheme::RSA_PSS_SHA256, Scheme::RSA_PSS_SHA512);
    assert_eq!(outcome(&[sha256], &[]), Some(sha256));
    assert_eq!(outcome(&[], &[sha256]), Some(sha256));
    assert_eq!(outcome(&[sha512, sha256], &[sha256, sha512]), Some(sha512));
    assert_eq!(outcome(&[sha512], &[sha256]), None);
    assert_eq!(outcome(&[Scheme::ECDSA_NISTP256_SHA256], &[]), None, "not with this key");
}

#[test]
fn versions_must_overlap() {
    let mut server = testing::server_options(&Ca::new("ca"));
    server.parameters.min_version = TlsVersion::Tls13;
    let mut client = testing::client_options();
    client.parameters.max_version = TlsVersion::Tls12;
    let mut pair = Pair::new(&testing::client_context(client), &testing::server_context(server));
    let (at_client, at_server) = pair.settle();
    assert_eq!(at_server.expect("refused").failure_kind(), FailureKind::Connection);
    assert_eq!(at_client, Some(TlsError::Alert(rustls::AlertDescription::ProtocolVersion)));
}

#[test]
fn other_protocols_are_refused_with_an_alert() {
    let (_, server) = contexts(TlsVersion::Tls13, None);
    let mut session = Session::server(&server);
    let mut out = Vec::new();
    receive(&mut session, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", &mut out).expect_err("not TLS");
    assert_eq!(records(&out).first().map(|(kind, _)| *kind), Some(21));
    assert!(!session.is_open());
    assert_eq!(session.write([&b"x"[..]], &mut out), Err(TlsError::NotOpen));
}

#[test]
fn data_sent_with_the_last_flight_is_not_lost() {
    // The client's last flight and its first request in one piece.
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let (client, server) = contexts(version, None);
        let mut pair = Pair::new(&client, &server);
        while !pair.client.is_open() {
            let bytes = std::mem::take(&mut pair.to_server);
            receive(&mut pair.server, &bytes, &mut pair.to_client).expect("accepted");
            let bytes = std::mem::take(&mut pair.to_client);
            receive(&mut pair.client, &bytes, &mut pair.to_server).expect("accepted");
        }
        pair.client.write([&b"request"[..]], &mut pair.to_server).expect("open");
        pair.run().expect("data");
        assert_eq!(testing::read_all(&mut pair.server), b"request");
        assert!(matches!(pair.server.stage, Stage::Established(_)));
    }
}

#[test]
fn writing_waits_for_the_handshake() {
    let (client, server) = contexts(TlsVersion::Tls13, None);
    let mut pair = Pair::new(&client, &server);
    assert_eq!(pair.client.write([&b"early"[..]], &mut Vec::new()), Err(TlsError::NotOpen));
    assert_eq!(pair.server.write([&b"early"[..]], &mut Vec::new()), Err(TlsError::NotOpen));
    assert!(pair.client.facts().is_none());
}
