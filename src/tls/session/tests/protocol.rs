//! What peers may do after the handshake, and what they must not.

use proptest::prelude::*;

use super::*;

/// What the server makes of these raw contents, sent by its client in a record each.
fn after(version: TlsVersion, contents: &[(u8, &[u8])]) -> (Result<(), TlsError>, Pair) {
    let mut pair = open_pair(version);
    let mut bytes = Vec::new();
    for (content_type, body) in contents {
        bytes.extend(seal_raw(&mut pair.client, *content_type, body));
    }
    let received = receive(&mut pair.server, &bytes, &mut pair.to_client);
    (received, pair)
}

#[track_caller]
fn assert_refused(version: TlsVersion, contents: &[(u8, &[u8])], alert: rustls::AlertDescription) {
    let (received, mut pair) = after(version, contents);
    assert!(received.is_err(), "{contents:?}");
    // The client learns why.
    assert_eq!(pair.run().expect_err("an alert"), TlsError::Alert(alert));
}

#[test]
fn keys_are_updated_when_the_peer_wants_it() {
    let (client, server) = contexts(TlsVersion::Tls13, None);
    let (session, peer) = with_rustls_client(&server, client.rustls_config());
    let other = with_rustls_server(&client, &server);
    for (mut session, mut peer) in [(session, peer), other] {
        for round in 0..5 {
            let mut out = Vec::new();
            receive(&mut session, &peer.refresh_keys(), &mut out).expect("a key update");
            assert!(!out.is_empty(), "answered");
            peer.receive(&out).expect("our key update");
            let data = [round; 100];
            receive(&mut session, &peer.write(&data), &mut Vec::new()).expect("data");
            assert_eq!(testing::read_all(&mut session), data);
            peer.receive(&sealed(&mut session, &data)).expect("data");
            assert_eq!(peer.read(), data);
        }
    }
}

#[test]
fn worn_keys_are_replaced_before_they_must_not_be_used() {
    let (client, server) = contexts(TlsVersion::Tls13, None);
    let (mut session, mut peer) = with_rustls_client(&server, client.rustls_config());
    // rustls cannot be made to skip records, so the update must come with the very next one.
    let Stage::Established(records_of) = &mut session.stage else { panic!("not established") };
    records_of.wear_out();
    let bytes = sealed(&mut session, b"under the next key");
    assert_eq!(records(&bytes).len(), 2);
    peer.receive(&bytes).expect("data");
    assert_eq!(peer.read(), b"under the next key");
    assert!(!session.is_worn());
}

#[test]
fn worn_keys_of_tls12_end_the_session_in_time() {
    let mut pair = open_pair(TlsVersion::Tls12);
    let set = |session: &mut Session, count| {
        let Stage::Established(records) = &mut session.stage else { panic!("not established") };
        records.set_sent_records(count);
    };
    assert!(!pair.server.is_worn());
    set(&mut pair.server, 1 << 24);
    assert!(pair.server.is_worn());
    pair.server.write([&b"still fine"[..]], &mut Vec::new()).expect("below the hard limit");
    set(&mut pair.server, 23_726_566);
    let mut out = Vec::new();
    assert_eq!(pair.server.write([&b"no more"[..]], &mut out), Err(TlsError::KeysExhausted));
    assert!(out.is_empty());
}

#[test]
fn malformed_and_misplaced_messages_are_refused() {
    use rustls::AlertDescription::{DecodeError, UnexpectedMessage};
    let update: &[u8] = &[24, 0, 0, 1, 0];
    assert_refused(TlsVersion::Tls13, &[(22, &[24, 0, 0, 1, 2])], DecodeError);
    assert_refused(TlsVersion::Tls13, &[(22, &[24, 0, 0, 0])], DecodeError);
    assert_refused(TlsVersion::Tls13, &[(22, &[update, update].concat())], UnexpectedMessage);
    assert_refused(TlsVersion::Tls13, &[(22, &[4, 0, 0, 0])], UnexpectedMessage);
    assert_refused(TlsVersion::Tls13, &[(22, &[1, 0, 0, 0])], UnexpectedMessage);
    assert_refused(TlsVersion::Tls13, &[(22, &[])], UnexpectedMessage);
    assert_refused(TlsVersion::Tls13, &[(20, &[1])], UnexpectedMessage);
    assert_refused(TlsVersion::Tls13, &[(99, &[1])], UnexpectedMessage);
    assert_refused(TlsVersion::Tls13, &[(21, &[1])], DecodeError);
    assert_refused(TlsVersion::Tls12, &[(22, &[24, 0, 0, 1, 0])], UnexpectedMessage);
    assert_refused(TlsVersion::Tls12, &[(20, &[1])], UnexpectedMessage);
    // A message in two records must not be interrupted.
    assert_refused(TlsVersion::Tls13, &[(22, &update[..3]), (23, b"")], UnexpectedMessage);
    assert_refused(TlsVersion::Tls13, &[(22, &update[..3]), (21, &[1, 0])], UnexpectedMessage);
}

#[test]
fn data_within_a_message_is_refused() {
    let mut pair = open_pair(TlsVersion::Tls13);
    let mut bytes = seal_raw(&mut pair.client, 22, &[24, 0, 0]);
    bytes.extend(sealed(&mut pair.client, b"data"));
    let error = receive(&mut pair.server, &bytes, &mut Vec::new()).expect_err("interrupted");
    assert!(matches!(error, TlsError::Unexpected(_)), "{error:?}");
}

#[test]
fn a_message_may_come_in_several_records() {
    let (received, pair) = after(TlsVersion::Tls13, &[(22, &[24]), (22, &[0, 0, 1]), (22, &[1])]);
    received.expect("a key update");
    assert!(!pair.to_client.is_empty(), "answered");
}

#[test]
fn renegotiation_is_declined() {
    let (received, mut pair) = after(TlsVersion::Tls12, &[(22, &[1, 0, 0, 0])]);
    received.expect("not fatal");
    assert_eq!(records(&pair.to_client).first().map(|(kind, _)| *kind), Some(21));
    pair.run().expect("a warning");
    assert!(pair.server.is_open() && pair.client.is_open());
    let mut pair = open_pair(TlsVersion::Tls12);
    let hello_request = seal_raw(&mut pair.server, 22, &[0, 0, 0, 0]);
    receive(&mut pair.client, &hello_request, &mut pair.to_server).expect("not fatal");
    assert!(!pair.to_server.is_empty());
}

#[test]
fn messages_without_data_are_limited() {
    for content in [(23, &b""[..]), (22, &[24, 0, 0, 1, 1]), (21, &[1, 90])] {
        let flood = vec![content; 40];
        let mut pair = open_pair(TlsVersion::Tls13);
        let mut error = None;
        for (content_type, body) in flood {
            let bytes = seal_raw(&mut pair.client, content_type, body);
            if content_type == 22 {
                let Stage::Established(records) = &mut pair.client.stage else { panic!("not established") };
                records.take_next_sending_key();
            }
            if let Err(found) = receive(&mut pair.server, &bytes, &mut Vec::new()) {
                error = Some(found);
                break;
            }
        }
        assert!(matches!(error, Some(TlsError::Flood(_))), "{content:?}: {error:?}");
    }
}

#[test]
fn data_in_between_resets_the_limit() {
    let mut pair = open_pair(TlsVersion::Tls13);
    for _ in 0..100 {
        let empty = seal_raw(&mut pair.client, 23, b"");
        receive(&mut pair.server, &empty, &mut Vec::new()).expect("an empty record");
        let data = sealed(&mut pair.client, b"x");
        receive(&mut pair.server, &data, &mut Vec::new()).expect("data");
    }
}

#[test]
fn damaged_records_are_refused() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut pair = open_pair(version);
        let good = sealed(&mut pair.client, b"data");
        for at in [5, 7, 14, good.len() - 1] {
            let mut pair = open_pair(version);
            let mut bytes = sealed(&mut pair.client, b"data");
            bytes[at] ^= 1;
            let mut out = Vec::new();
            assert_eq!(receive(&mut pair.server, &bytes, &mut out), Err(TlsError::Decrypt), "byte {at}");
            let told = receive(&mut pair.client, &out, &mut Vec::new());
            assert_eq!(told, Err(TlsError::Alert(rustls::AlertDescription::BadRecordMac)));
        }
        // Replayed.
        receive(&mut pair.server, &good, &mut Vec::new()).expect("once");
        assert_eq!(receive(&mut pair.server, &good, &mut Vec::new()), Err(TlsError::Decrypt));
    }
}

#[test]
fn oversized_and_undersized_records_are_refused() {
    for (version, most) in [(TlsVersion::Tls12, 16_384 + 24), (TlsVersion::Tls13, 16_384 + 256)] {
        let mut pair = open_pair(version);
        let header = |len: usize| [23, 3, 3, (len >> 8) as u8, len as u8];
        assert_eq!(receive(&mut pair.server, &header(most), &mut Vec::new()), Ok(()), "waits for it");
        let mut pair = open_pair(version);
        let refused = receive(&mut pair.server, &header(most + 1), &mut Vec::new());
        assert_eq!(refused, Err(TlsError::RecordTooLarge));
        let mut pair = open_pair(version);
        let short = [&header(3)[..], &[0; 3]].concat();
        assert_eq!(receive(&mut pair.server, &short, &mut Vec::new()), Err(TlsError::Decrypt));
    }
}

#[test]
fn padding_is_taken_off() {
    let mut pair = open_pair(TlsVersion::Tls13);
    let Stage::Established(records) = &mut pair.client.stage else { panic!("not established") };
    let mut bytes = Vec::new();
    // The type, then zeros, then what the record layer takes for the type.
    records.seal_raw(0, b"padded\x17\0\0\0", &mut bytes);
    receive(&mut pair.server, &bytes, &mut Vec::new()).expect("data");
    assert_eq!(testing::read_all(&mut pair.server), b"padded");
    let mut bytes = Vec::new();
    let Stage::Established(records) = &mut pair.client.stage else { panic!("not established") };
    records.seal_raw(0, &[0; 20], &mut bytes);
    let error = receive(&mut pair.server, &bytes, &mut Vec::new()).expect_err("no type");
    assert!(matches!(error, TlsError::Unexpected(_)));
}

#[test]
fn what_a_peer_may_make_us_keep_is_bounded() {
    // A hello that never ends, in small records.
    let (_, server) = contexts(TlsVersion::Tls13, None);
    let mut session = Session::server(&server);
    let mut out = Vec::new();
    let start = [22, 3, 1, 0, 5, 1, 0, 0xff, 0xff, 0];
    receive(&mut session, &start, &mut out).expect("the start of a hello");
    let record = [&[22, 3, 1, 0, 1][..], &[0]].concat();
    let mut sent = 0;
    let error = loop {
        match receive(&mut session, &record.repeat(1_000), &mut out) {
            Ok(()) => sent += record.len() * 1_000,
            Err(error) => break error,
        }
        assert!(sent < 1_000_000, "no limit");
    };
    assert_eq!(error, TlsError::HandshakeTooLarge);
    assert!(sent <= MAX_HANDSHAKE_BYTES + 6_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a peer sends, at whatever moment: an error at most.
    #[test]
    fn hostile_bytes_do_no_harm(
        is_tls13: bool,
        rounds in 0_usize..4,
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        garbage in prop::collection::vec(any::<u8>(), 0..64),
        piece in 1_usize..600,
    ) {
        let (client, server) = contexts(if is_tls13 { TlsVersion::Tls13 } else { TlsVersion::Tls12 }, None);
        let mut pair = Pair::new(&client, &server);
        let harm = |bytes: &mut Vec<u8>| {
            for (at, byte) in &damages {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            bytes.truncate(bytes.len() - if bytes.is_empty() { 0 } else { cut.index(bytes.len()) / 2 });
            bytes.extend_from_slice(&garbage);
        };
        for round in 0..6 {
            let mut bytes = std::mem::take(&mut pair.to_server);
            if round >= rounds {
                harm(&mut bytes);
            }
            for part in bytes.chunks(piece) {
                let _ = pair.server.receive(Chunk::copy_from(part), &mut pair.to_client);
            }
            let mut bytes = std::mem::take(&mut pair.to_client);
            if round >= rounds {
                harm(&mut bytes);
            }
            for part in bytes.chunks(piece) {
                let _ = pair.client.receive(Chunk::copy_from(part), &mut pair.to_server);
            }
            let _ = pair.client.write([&b"data"[..]], &mut pair.to_server);
            let _ = pair.server.write([&b"data"[..]], &mut pair.to_client);
            testing::read_all(&mut pair.server);
            testing::read_all(&mut pair.client);
        }
        pair.client.close(&mut Vec::new());
        pair.server.close(&mut Vec::new());
    }
}
