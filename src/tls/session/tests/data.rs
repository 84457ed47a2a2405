//! Application data: every suite, both ends, any pieces.

use proptest::prelude::*;

use super::*;
use crate::tls::parameters::cipher_name;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn every_suite_carries_data_both_ways() {
    let ca = Ca::new("ca");
    for suite in cipher_names() {
        let version = if suite.starts_with("TLS_") { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
        let mut server = testing::server_options(&ca);
        server.identities = vec![
            ca.identity(&["server.example"]),
            testing::identity(testing::RSA_CERTIFICATE, testing::RSA_PKCS8_KEY),
        ];
        server.prefer_client_ciphers = true;
        let mut client = testing::client_options();
        client.parameters.max_version = version;
        if version == TlsVersion::Tls12 {
            client.parameters.cipher_suites = parse_cipher_suites(&[suite]).expect("known");
            let is_rsa = suite.contains("RSA") && !suite.contains("ECDSA");
            server.identities.rotate_left(usize::from(is_rsa));
        }
        let mut pair = Pair::new(&testing::client_context(client), &testing::server_context(server)).open();
        if version == TlsVersion::Tls12 {
            assert_eq!(cipher_name(pair.server.facts().expect("open").cipher_suite), suite);
        }
        let data = pattern(100_000);
        pair.to_server = sealed(&mut pair.client, &data);
        pair.to_client = sealed(&mut pair.server, &data[..70_000]);
        pair.run().expect("data");
        assert_eq!(testing::read_all(&mut pair.server), data, "{suite}");
        assert_eq!(testing::read_all(&mut pair.client), data[..70_000], "{suite}");
    }
}

#[test]
fn tls13_suites_are_all_negotiable() {
    // BoringSSL's lists have no names for them; a client's order decides.
    for suite in
        rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some())
    {
        let (_, server) = contexts(TlsVersion::Tls13, None);
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = vec![*suite];
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(testing::accept_all())
            .with_no_client_auth();
        let (mut session, mut peer) = with_rustls_client(&server, Arc::new(config));
        assert_eq!(session.facts().expect("open").cipher_suite, suite.suite());
        peer.receive(&sealed(&mut session, b"from the server")).expect("data");
        assert_eq!(peer.read(), b"from the server");
        receive(&mut session, &peer.write(b"from the client"), &mut Vec::new()).expect("data");
        assert_eq!(testing::read_all(&mut session), b"from the client");
    }
}

#[test]
fn plain_rustls_understands_both_ends() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let (client, server) = contexts(version, None);
        let (session, peer) = with_rustls_client(&server, client.rustls_config());
        let other = with_rustls_server(&client, &server);
        for (mut session, mut peer) in [(session, peer), other] {
            assert!(matches!(session.stage, Stage::Established(_)));
            for len in [1, 100, 16_384, 16_385, 50_000] {
                let data = pattern(len);
                peer.receive(&sealed(&mut session, &data)).expect("data");
                assert_eq!(peer.read(), data);
                receive(&mut session, &peer.write(&data), &mut Vec::new()).expect("data");
                assert_eq!(testing::read_all(&mut session), data);
            }
        }
    }
}

#[test]
fn several_parts_share_a_record() {
    for (version, overhead) in [(TlsVersion::Tls12, 24), (TlsVersion::Tls13, 17)] {
        let mut pair = open_pair(version);
        let mut out = Vec::new();
        let body = pattern(20_000);
        pair.server.write([&b"head"[..], b"", &body], &mut out).expect("open");
        let first = 16_384 + overhead;
        let second = 20_004 - 16_384 + overhead;
        assert_eq!(records(&out), [(23, first), (23, second)]);
        pair.to_client = out;
        pair.run().expect("data");
        assert_eq!(testing::read_all(&mut pair.client), [b"head", &body[..]].concat());
        let mut nothing = Vec::new();
        pair.server.write([&b""[..], b""], &mut nothing).expect("open");
        assert!(nothing.is_empty(), "no data, no record");
    }
}

#[test]
fn queued_chunks_are_sealed_together() {
    for (version, overhead) in [(TlsVersion::Tls12, 24), (TlsVersion::Tls13, 17)] {
        let mut pair = open_pair(version);
        let body = pattern(40_000);
        let mut queue = Chain::new();
        for part in [&b"head"[..], &body[..10], &body[10..30_000], &body[30_000..32_000], &body[32_000..]] {
            queue.push(Chunk::copy_from(part));
        }
        let mut sealed = Chain::new();
        pair.server.seal(&mut queue, &mut sealed).expect("open");
        assert!(queue.is_empty());
        assert_eq!(sealed.iter().count(), 4, "a chunk for each record");
        pair.to_client = sealed.to_vec();
        let contents: Vec<usize> = records(&pair.to_client).iter().map(|(_, len)| len - overhead).collect();
        assert_eq!(contents, [14, 16_384, 29_990 - 16_384, 10_000], "large chunks are not copied together");
        pair.run().expect("data");
        assert_eq!(testing::read_all(&mut pair.client), [b"head", &body[..]].concat());
        pair.server.close(&mut Vec::new());
        queue.push(Chunk::from_static(b"too late"));
        assert_eq!(pair.server.seal(&mut queue, &mut sealed), Err(TlsError::NotOpen));
        assert_eq!(queue.to_vec(), b"too late", "kept");
    }
}

#[test]
fn a_whole_record_is_decrypted_where_it_was_received() {
    let mut pair = open_pair(TlsVersion::Tls13);
    let chunk = Chunk::copy_from(&sealed(&mut pair.client, b"in place"));
    let start = chunk.as_ptr();
    pair.server.receive(chunk, &mut Vec::new()).expect("data");
    let plain = pair.server.read().expect("data");
    assert_eq!((&plain[..], plain.as_ptr()), (&b"in place"[..], start.wrapping_add(5)));
}

#[test]
fn a_shared_chunk_is_left_as_it_is() {
    let mut pair = open_pair(TlsVersion::Tls13);
    let chunk = Chunk::copy_from(&sealed(&mut pair.client, b"not in place"));
    let before = chunk.to_vec();
    let copy = chunk.clone();
    pair.server.receive(chunk, &mut Vec::new()).expect("data");
    assert_eq!(testing::read_all(&mut pair.server), b"not in place");
    assert_eq!(&copy[..], before);
}

#[test]
fn nothing_is_kept_when_nothing_is_pending() {
    let mut pair = open_pair(TlsVersion::Tls13);
    let bytes = sealed(&mut pair.client, &pattern(3_000));
    receive(&mut pair.server, &bytes[..1_000], &mut Vec::new()).expect("a part");
    receive(&mut pair.server, &bytes[1_000..], &mut Vec::new()).expect("the rest");
    testing::read_all(&mut pair.server);
    let Stage::Established(records) = &pair.server.stage else { panic!("not established") };
    assert_eq!((records.held_bytes(), pair.server.incoming.capacity()), (0, 0));
}

#[test]
fn memory_follows_what_has_come_not_what_was_announced() {
    let mut pair = open_pair(TlsVersion::Tls13);
    let bytes = sealed(&mut pair.client, &pattern(16_384));
    let held = |session: &Session| {
        let Stage::Established(records) = &session.stage else { panic!("not established") };
        records.held_bytes()
    };
    receive(&mut pair.server, &bytes[..100], &mut Vec::new()).expect("a part");
    assert!(held(&pair.server) <= 4_096, "{}", held(&pair.server));
    receive(&mut pair.server, &bytes[100..6_000], &mut Vec::new()).expect("a part");
    assert!(held(&pair.server) <= 12_000, "{}", held(&pair.server));
    receive(&mut pair.server, &bytes[6_000..], &mut Vec::new()).expect("the rest");
    assert_eq!(testing::read_all(&mut pair.server), pattern(16_384));
}

#[test]
fn rustls_may_keep_the_records() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let ca = Ca::new("ca");
        let mut options = testing::client_options();
        options.parameters.max_version = version;
        let client = ClientContext::new(options, testing::FixedTime::at(testing::NOW)).expect("a context");
        let server = ServerContext::new(testing::server_options(&ca), testing::FixedTime::at(testing::NOW));
        let (client, server) =
            (client.without_own_records(), server.expect("a context").without_own_records());
        let mut pair = Pair::new(&Arc::new(client), &Arc::new(server)).open();
        assert!(matches!(pair.server.stage, Stage::Rustls(_)));
        let data = pattern(50_000);
        pair.to_client = sealed(&mut pair.server, &data);
        pair.to_server = sealed(&mut pair.client, b"request");
        pair.run().expect("data");
        assert_eq!(testing::read_all(&mut pair.client), data);
        assert_eq!(testing::read_all(&mut pair.server), b"request");
        pair.client.close(&mut pair.to_server);
        pair.run().expect("the end");
        assert!(pair.server.is_peer_closed());
        assert!(pair.client.write([&b"more"[..]], &mut Vec::new()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the network cuts the bytes, from the first of the handshake to the last of the data, the same
    /// plaintext comes out.
    #[test]
    fn pieces_make_no_difference(
        is_tls13: bool,
        lens in prop::collection::vec(prop_oneof![0_usize..300, 16_000_usize..17_000], 1..6),
        cuts in prop::collection::vec(prop_oneof![1_usize..20, 100_usize..5_000, 16_384_usize..16_500], 1..40),
    ) {
        let (client, server) = contexts(if is_tls13 { TlsVersion::Tls13 } else { TlsVersion::Tls12 }, None);
        let mut pair = Pair::new(&client, &server);
        let mut cuts = cuts.iter().cycle();
        let mut deliver = |session: &mut Session, bytes: Vec<u8>, out: &mut Vec<u8>| {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().expect("endless")).min(rest.len()));
                session.receive(Chunk::copy_from(piece), out).expect("accepted");
                rest = after;
            }
        };
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        let mut lens = lens.iter();
        loop {
            if pair.client.is_open()
                && let Some(len) = lens.next()
            {
                let data = pattern(*len);
                pair.client.write([&data[..]], &mut pair.to_server).expect("open");
                sent.extend(data);
            }
            if pair.to_server.is_empty() && pair.to_client.is_empty() {
                break;
            }
            let bytes = std::mem::take(&mut pair.to_server);
            deliver(&mut pair.server, bytes, &mut pair.to_client);
            got.extend(testing::read_all(&mut pair.server));
            let bytes = std::mem::take(&mut pair.to_client);
            deliver(&mut pair.client, bytes, &mut pair.to_server);
        }
        prop_assert!(pair.server.is_open());
        prop_assert_eq!(got, sent);
    }
}
