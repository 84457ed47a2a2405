//! Sessions that go on where earlier ones ended.

use super::*;
use crate::tls::{PeerRules, TicketKey};

struct World {
    server: ServerOptions,
    client: ClientOptions,
}

impl World {
    fn new(version: TlsVersion) -> World {
        let mut client = testing::client_options();
        client.parameters.max_version = version;
        client.max_session_keys = 1;
        World { server: testing::server_options(&Ca::new("ca")), client }
    }

    /// Whether the second of two connections resumes the first.
    fn resumes(self) -> bool {
        let (client, server) = (testing::client_context(self.client), testing::server_context(self.server));
        let first = Pair::new(&client, &server).open();
        assert!(!first.server.facts().expect("open").is_resumed);
        let second = Pair::new(&client, &server).open();
        let (at_client, at_server) =
            (second.client.facts().expect("open"), second.server.facts().expect("open"));
        assert_eq!(at_client.is_resumed, at_server.is_resumed);
        at_server.is_resumed
    }
}

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

#[test]
fn tickets_resume_sessions() {
    for version in BOTH {
        let mut world = World::new(version);
        world.server.stateful_resumption = false;
        assert!(world.resumes(), "{version:?}");
    }
}

#[test]
fn sessions_that_the_server_keeps_are_for_tls12() {
    for (version, expected) in [(TlsVersion::Tls12, true), (TlsVersion::Tls13, false)] {
        let mut world = World::new(version);
        world.server.stateless_resumption = false;
        assert_eq!(world.resumes(), expected, "{version:?}");
    }
}

#[test]
fn either_side_may_turn_it_off() {
    for version in BOTH {
        let mut world = World::new(version);
        world.client.max_session_keys = 0;
        assert!(!world.resumes());
        let mut world = World::new(version);
        world.server.stateless_resumption = false;
        world.server.stateful_resumption = false;
        assert!(!world.resumes());
    }
}

#[test]
fn a_full_handshake_brings_one_ticket() {
    let (client, server) = contexts(TlsVersion::Tls13, None);
    let (_, peer) = with_rustls_client(&server, client.rustls_config());
    let End::Client(connection) = peer.end else { panic!("a client") };
    assert_eq!(connection.tls13_tickets_received(), 1);
}

#[test]
fn data_flows_in_resumed_sessions() {
    for version in BOTH {
        let world = World::new(version);
        let (client, server) = (testing::client_context(world.client), testing::server_context(world.server));
        for _ in 0..4 {
            let mut pair = Pair::new(&client, &server).open();
            pair.to_server = sealed(&mut pair.client, b"request");
            pair.to_client = sealed(&mut pair.server, b"response");
            pair.run().expect("data");
            assert_eq!(testing::read_all(&mut pair.server), b"request");
            assert_eq!(testing::read_all(&mut pair.client), b"response");
        }
    }
}

/// Whether a session with the first server is resumed by the second, both having the same ticket keys.
fn carries_over(version: TlsVersion, change: impl FnOnce(&mut ServerOptions)) -> bool {
    let ca = Ca::new("ca");
    let client_ca = Ca::new("client ca");
    let options = |identity| {
        let mut options = testing::server_options(&ca);
        options.identities = vec![identity];
        options.ticket_keys = vec![TicketKey::from_bytes(&[7; 80]).expect("a key")];
        options.peer = PeerRules { trust: client_ca.trust(), ..PeerRules::default() };
        options
    };
    let first = testing::server_context(options(ca.identity(&["server.example"])));
    let mut second = options(ca.identity(&["server.example"]));
    change(&mut second);
    let second = testing::server_context(second);
    let mut client = World::new(version).client;
    client.identity = Some(client_ca.identity(&["client.example"]));
    let client = testing::client_context(client);
    Pair::new(&client, &first).open();
    let pair = Pair::new(&client, &second).open();
    let facts = pair.server.facts().expect("open");
    if facts.is_resumed {
        assert_eq!(facts.peer_certificates.as_ref().expect("kept").leaf().dns_sans, ["client.example"]);
        assert!(facts.peer_validated, "checked again");
    }
    facts.is_resumed
}

#[test]
fn shared_keys_resume_only_between_equal_servers() {
    let other = Ca::new("other");
    for version in BOTH {
        assert!(carries_over(version, |_| {}), "another certificate for the same name");
        assert!(!carries_over(version, |options| options.identities =
            vec![Ca::new("ca").identity(&["other.example"])]));
        assert!(!carries_over(version, |options| options.server_names = vec!["server.example".into()]));
        assert!(!carries_over(version, |options| options.peer.require_certificate = true));
        assert!(!carries_over(version, |options| options.peer.accept_untrusted = true));
        assert!(!carries_over(version, |options| {
            options.peer.trust = other.trust();
            options.peer.accept_untrusted = true;
        }));
    }
}

#[test]
fn a_certificate_that_expired_meanwhile_is_refused() {
    for version in BOTH {
        let client_ca = Ca::new("client ca");
        let (chain, key) = client_ca.leaf_with(&["client.example"], |params| {
            params.not_after = rcgen::date_time_ymd(2027, 1, 16);
        });
        let mut world = World::new(version);
        world.client.identity = Some(testing::identity(&chain, &key));
        world.server.peer = PeerRules { trust: client_ca.trust(), ..PeerRules::default() };
        world.server.session_timeout_s = Some(u32::MAX);
        let time = testing::FixedTime::at(testing::NOW);
        let server = Arc::new(ServerContext::new(world.server, Arc::clone(&time) as _).expect("a context"));
        let client = testing::client_context(world.client);
        Pair::new(&client, &server).open();
        time.set(testing::NOW + 3 * 24 * 60 * 60);
        let (at_client, at_server) = Pair::new(&client, &server).settle();
        assert_eq!(at_server.expect("expired").failure_kind(), crate::tls::FailureKind::Chain);
        assert_eq!(at_client, Some(TlsError::Alert(rustls::AlertDescription::CertificateExpired)));
    }
}
