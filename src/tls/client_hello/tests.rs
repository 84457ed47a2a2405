//! Whole, split, fragmented, oversized and hostile client hellos.

use proptest::prelude::*;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError};

use super::*;
use crate::tls::testing;

/// A vector with two bytes of length.
fn vector(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(content)].concat()
}

/// The message with its header.
fn message(suites: &[u16], extensions: &[Vec<u8>]) -> Vec<u8> {
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend(vector(&suites));
    body.extend_from_slice(&[1, 0]);
    body.extend(vector(&extensions.concat()));
    let len = (body.len() as u32).to_be_bytes();
    [&[1, len[1], len[2], len[3]][..], &body].concat()
}

/// Puts `message` into records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &vector(part)].concat()).collect()
}

fn parse(bytes: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
    ClientHelloParser::new().feed(bytes)
}

fn sample() -> Vec<u8> {
    let name = [&[0][..], &vector(b"Www.Example.com")].concat();
    let alpn = [&[2][..], b"h2", &[8], b"http/1.1"].concat();
    message(
        &[0x0a0a, 0x1301, 0xc02f],
        &[
            extension(0x1a1a, &[]),
            extension(0, &vector(&name)),
            extension(16, &vector(&alpn)),
            extension(43, &[6, 0x2a, 0x2a, 3, 4, 3, 3]),
            extension(10, &vector(&[0x3a, 0x3a, 0, 0x1d, 0, 0x17])),
            extension(13, &vector(&[4, 3, 8, 4])),
            extension(5, &[1, 0, 0, 0, 0]),
        ],
    )
}

#[track_caller]
fn assert_is_sample(hello: &ClientHello) {
    assert_eq!(hello.server_name(), Some("Www.Example.com"));
    assert_eq!(hello.alpn_protocols().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(hello.cipher_suites().collect::<Vec<_>>(), [0x1301, 0xc02f]);
    assert_eq!(hello.supported_versions().collect::<Vec<_>>(), [0x0304, 0x0303]);
    assert_eq!(hello.supported_groups().collect::<Vec<_>>(), [0x001d, 0x0017]);
    assert_eq!(hello.signature_schemes().collect::<Vec<_>>(), [0x0403, 0x0804]);
    assert!(hello.requests_ocsp());
}

#[test]
fn a_whole_message_is_read_and_grease_left_out() {
    let hello = parse(&records(&sample(), 1 << 14)).expect("TLS").expect("all of it");
    assert_is_sample(&hello);
}

#[test]
fn a_message_may_be_spread_over_records_and_pieces() {
    for record_size in [1, 2, 3, 5, 50, 1000] {
        let bytes = records(&sample(), record_size);
        for piece_size in [1, 4, 7, 1 << 14] {
            let mut parser = ClientHelloParser::new();
            let mut found = None;
            for piece in bytes.chunks(piece_size) {
                assert!(found.is_none(), "not before the last piece");
                found = parser.feed(piece).expect("TLS");
            }
            assert_is_sample(&found.expect("all of it"));
        }
    }
}

#[test]
fn what_follows_the_message_does_not_matter() {
    let bytes = [records(&sample(), 1 << 14), vec![20, 3, 3, 0, 1, 1]].concat();
    assert_is_sample(&parse(&bytes).expect("TLS").expect("all of it"));
}

#[test]
fn a_message_without_extensions_is_fine() {
    let mut bare = message(&[0xc02f], &[]);
    bare.truncate(bare.len() - 2);
    let len = (bare.len() - 4) as u8;
    bare[3] = len;
    let hello = parse(&records(&bare, 1 << 14)).expect("TLS").expect("all of it");
    assert_eq!(hello.server_name(), None);
    assert_eq!(hello.alpn_protocols().count(), 0);
    assert_eq!(hello.supported_versions().count(), 0);
    assert!(!hello.requests_ocsp());
}

#[test]
fn other_protocols_are_told_by_their_first_bytes() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"P",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x17\x03\x03\x00\x01",
        b"\x16\x03\x01\x00\x04\x02",
        b"\x80\x2e\x01\x03\x01",
    ] {
        assert_eq!(parse(bytes), Err(ClientHelloError::NotTls), "{bytes:02x?}");
    }
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01", b"\x16\x03\x01\x00\x04\x01\x00"] {
        assert_eq!(parse(bytes), Ok(None), "{bytes:02x?}");
    }
}

#[test]
fn too_large_messages_are_told_by_their_length() {
    let just_fits = MAX_CLIENT_HELLO_BYTES - 9;
    let start = |len: usize| {
        let len = (len as u32).to_be_bytes();
        [22, 3, 1, 0x3f, 0xff, 1, len[1], len[2], len[3]]
    };
    assert_eq!(parse(&start(just_fits)), Ok(None));
    assert_eq!(parse(&start(just_fits + 1)), Err(ClientHelloError::TooLarge));
    // Tiny records make the headers count.
    let padding = extension(21, &[0; 4000]);
    let bytes = records(&message(&[0x1301], &[padding]), 1);
    assert_eq!(parse(&bytes), Err(ClientHelloError::TooLarge));
}

#[test]
fn contradicting_lengths_are_malformed() {
    let good = sample();
    let mut shorter = good.clone();
    shorter[3] -= 1;
    assert_eq!(parse(&records(&shorter, 1 << 14)), Err(ClientHelloError::Malformed));
    let name_too_long = message(&[0x1301], &[extension(0, &[0, 9, 0, 0, 9, b'a'])]);
    assert_eq!(parse(&records(&name_too_long, 1 << 14)), Err(ClientHelloError::Malformed));
    // A list of protocols is read when it is asked for, and ends where it makes no sense.
    let alpn_odd = message(&[0x1301], &[extension(16, &vector(&[2, b'h', b'2', 200, b'x']))]);
    let hello = parse(&records(&alpn_odd, 1 << 14)).expect("TLS").expect("all of it");
    assert_eq!(hello.alpn_protocols().collect::<Vec<_>>(), [b"h2"]);
}

#[test]
fn what_rustls_sends_is_read() {
    let config = testing::client_config(&["h2"]);
    let name = "server.example".try_into().expect("a name");
    let mut client = UnbufferedClientConnection::new(config, name).expect("a client");
    let status = client.process_tls_records(&mut []);
    let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else { panic!("no hello") };
    let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) else { panic!("no size") };
    let mut bytes = vec![0; needed.required_size];
    data.encode(&mut bytes).expect("encoded");
    let hello = parse(&bytes).expect("TLS").expect("all of it");
    assert_eq!(hello.server_name(), Some("server.example"));
    assert_eq!(hello.alpn_protocols().collect::<Vec<_>>(), [b"h2"]);
    assert!(hello.supported_versions().any(|version| version == 0x0304));
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_one_answer(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        looks_right in any::<bool>(),
        sizes in prop::collection::vec(1_usize..40, 1..20),
    ) {
        if looks_right && bytes.len() > 9 {
            bytes[..3].copy_from_slice(&[22, 3, 1]);
            bytes[3] = 0;
            bytes[5] = 1;
            bytes[6..8].copy_from_slice(&[0, 0]);
        }
        let whole = parse(&bytes);
        let mut parser = ClientHelloParser::new();
        let mut rest = &bytes[..];
        let mut pieces = sizes.iter().cycle();
        let mut answer = Ok(None);
        while !rest.is_empty() && answer == Ok(None) {
            let (piece, after) = rest.split_at((*pieces.next().expect("endless")).min(rest.len()));
            answer = parser.feed(piece);
            rest = after;
        }
        prop_assert_eq!(&answer, &whole);
        if let Ok(Some(hello)) = answer {
            let _ = (hello.server_name(), hello.alpn_protocols().count(), hello.cipher_suites().count());
        }
    }

    #[test]
    fn damaged_messages_do_no_harm(at in 0_usize..200, byte: u8, record_size in 1_usize..300) {
        let mut bytes = records(&sample(), record_size);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(Some(hello)) = parse(&bytes) {
            let _ = (hello.server_name(), hello.alpn_protocols().count(), hello.signature_schemes().count());
        }
    }

    #[test]
    fn no_more_than_the_cap_is_kept(sizes in prop::collection::vec(1_usize..3000, 1..40)) {
        let mut parser = ClientHelloParser::new();
        let len = (MAX_CLIENT_HELLO_BYTES - 9) as u32;
        let len = len.to_be_bytes();
        let mut answer = parser.feed(&[22, 3, 1, 0x3f, 0xff, 1, len[1], len[2], len[3]]);
        for size in sizes {
            if answer != Ok(None) {
                break;
            }
            answer = parser.feed(&vec![22; size]);
            prop_assert!(parser.handshake.len() <= MAX_CLIENT_HELLO_BYTES);
        }
    }
}
