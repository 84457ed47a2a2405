//! How sessions end: closing, truncation, alerts.

use rustls::AlertDescription;

use super::*;

#[test]
fn both_directions_close_on_their_own() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut pair = open_pair(version);
        pair.client.write([&b"last words"[..]], &mut pair.to_server).expect("open");
        pair.client.close(&mut pair.to_server);
        let sent = pair.to_server.len();
        pair.client.close(&mut pair.to_server);
        assert_eq!(pair.to_server.len(), sent, "said once");
        assert_eq!(pair.server.end_of_input(), EndOfStream::Truncated);
        pair.run().expect("the end");
        assert_eq!(testing::read_all(&mut pair.server), b"last words");
        assert!(pair.server.is_peer_closed());
        assert_eq!(pair.server.end_of_input(), EndOfStream::Clean);
        // The other direction is still open.
        pair.to_client = sealed(&mut pair.server, b"answer");
        pair.server.close(&mut pair.to_client);
        pair.run().expect("the end");
        assert_eq!(testing::read_all(&mut pair.client), b"answer");
        assert_eq!(pair.client.end_of_input(), EndOfStream::Clean);
        assert_eq!(pair.server.write([&b"more"[..]], &mut Vec::new()), Err(TlsError::NotOpen));
    }
}

#[test]
fn rustls_sees_our_end_and_we_see_its() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let (client, server) = contexts(version, None);
        let (mut session, mut peer) = with_rustls_client(&server, client.rustls_config());
        receive(&mut session, &peer.close(), &mut Vec::new()).expect("the end");
        assert!(session.is_peer_closed());
        let mut out = Vec::new();
        session.close(&mut out);
        peer.receive(&out).expect("the end");
        let End::Client(connection) = &mut peer.end else { panic!("a client") };
        assert!(connection.process_new_packets().expect("state").peer_has_closed());
    }
}

#[test]
fn data_behind_the_end_is_ignored() {
    let mut pair = open_pair(TlsVersion::Tls13);
    let alert = seal_raw(&mut pair.client, 21, &[1, 0]);
    let data = sealed(&mut pair.client, b"too late");
    receive(&mut pair.server, &[alert, data].concat(), &mut Vec::new()).expect("the end");
    assert_eq!(testing::read_all(&mut pair.server), b"");
    assert!(pair.server.is_peer_closed());
}

#[test]
fn an_end_within_the_handshake_is_told_apart() {
    let (client, server) = contexts(TlsVersion::Tls13, None);
    let mut pair = Pair::new(&client, &server);
    assert_eq!(pair.server.end_of_input(), EndOfStream::DuringHandshake);
    let hello = std::mem::take(&mut pair.to_server);
    receive(&mut pair.server, &hello, &mut pair.to_client).expect("a hello");
    assert_eq!(pair.server.end_of_input(), EndOfStream::DuringHandshake);
    let mut out = Vec::new();
    pair.server.close(&mut out);
    assert!(out.is_empty(), "nothing to say yet");
}

#[test]
fn a_fatal_alert_is_the_error() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut pair = open_pair(version);
        let alert = seal_raw(&mut pair.client, 21, &[2, 40]);
        let mut out = Vec::new();
        let error = receive(&mut pair.server, &alert, &mut out).expect_err("an alert");
        assert_eq!(error, TlsError::Alert(AlertDescription::HandshakeFailure));
        assert!(out.is_empty(), "no answer to an alert");
        assert_eq!(receive(&mut pair.server, &alert, &mut out), Err(TlsError::NotOpen));
    }
}

#[test]
fn warnings_change_nothing_in_tls12_and_are_fatal_in_tls13() {
    let warn = |version| {
        let mut pair = open_pair(version);
        let alert = seal_raw(&mut pair.client, 21, &[1, 100]);
        receive(&mut pair.server, &alert, &mut Vec::new())
    };
    assert_eq!(warn(TlsVersion::Tls12), Ok(()));
    assert_eq!(warn(TlsVersion::Tls13), Err(TlsError::Alert(AlertDescription::NoRenegotiation)));
    let mut pair = open_pair(TlsVersion::Tls13);
    let cancelled = seal_raw(&mut pair.client, 21, &[1, 90]);
    receive(&mut pair.server, &cancelled, &mut Vec::new()).expect("not fatal");
    assert!(pair.server.is_open());
}
