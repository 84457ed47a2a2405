//! Frames that are wrong, and what RFC 9113 says to each: section numbers are its.

use super::*;

/// What a fresh server, with stream 1 open and half-closed stream 3, makes of a frame.
#[track_caller]
fn check(kind: Kind, flags: u8, stream: u32, payload: &[u8], expected: Expected) {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_request(1, 0, &POST);
    peer.send_request(3, END, &GET);
    peer.frames();
    let result = peer.try_send_frame(kind, flags, stream, payload);
    let line = format!("{kind:?} {flags:#x} {stream} {payload:x?}");
    match expected {
        Expected::Ignored => {
            assert_eq!((result, peer.frames()), (Ok(()), vec![]), "{line}");
        }
        Expected::StreamError(code) => {
            assert_eq!(result, Ok(()), "{line}");
            assert_eq!(peer.frames(), [format!("RST_STREAM {stream} {code}")], "{line}");
        }
        Expected::ConnectionError(code) => {
            assert_eq!(result.map_err(ConnectionError::code), Err(code), "{line}");
            assert_eq!(peer.frames(), [format!("GOAWAY 3 {code}")], "{line}");
        }
    }
}

enum Expected {
    Ignored,
    StreamError(ErrorCode),
    ConnectionError(ErrorCode),
}

use Expected::{ConnectionError as Connection_, Ignored, StreamError as Stream_};

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;
const CLOSED: ErrorCode = ErrorCode::STREAM_CLOSED;

#[test]
fn data() {
    check(Kind::DATA, 0, 0, b"x", Connection_(PROTOCOL)); // 6.1
    check(Kind::DATA, 0, 2, b"x", Connection_(PROTOCOL)); // 5.1: idle
    check(Kind::DATA, 0, 5, b"x", Connection_(PROTOCOL)); // 5.1: idle
    check(Kind::DATA, 0, 3, b"x", Stream_(CLOSED)); // 5.1: half-closed
    check(Kind::DATA, flag::PADDED, 1, b"\x03ab", Connection_(PROTOCOL)); // 6.1
    check(Kind::DATA, flag::PADDED, 1, b"\x03abc", Ignored); // padding only
    check(Kind::DATA, flag::PADDED, 1, b"", Connection_(SIZE)); // 4.2
    check(Kind::DATA, 0xf6, 1, b"x", Ignored); // 4.1: unknown flags
}

#[test]
fn headers() {
    check(Kind::HEADERS, flag::END_HEADERS, 0, b"\x82", Connection_(PROTOCOL)); // 6.2
    check(Kind::HEADERS, flag::END_HEADERS, 2, b"\x82", Connection_(PROTOCOL)); // 5.1.1
    check(Kind::HEADERS, flag::END_HEADERS | END, 3, b"", Stream_(CLOSED)); // 5.1: half-closed
    check(Kind::HEADERS, flag::END_HEADERS | flag::PADDED | END, 1, b"\x02a", Connection_(PROTOCOL)); // 6.2
    check(Kind::HEADERS, flag::END_HEADERS | flag::PADDED | END, 1, b"", Connection_(SIZE)); // 4.2
    check(Kind::HEADERS, flag::END_HEADERS | flag::PRIORITY | END, 1, b"\0\0\0\0", Connection_(SIZE));
    check(Kind::HEADERS, flag::END_HEADERS | flag::PRIORITY | END, 1, b"\0\0\0\0\0", Ignored);
    check(Kind::HEADERS, flag::END_HEADERS | END, 1, b"\xff", Connection_(ErrorCode::COMPRESSION_ERROR)); // 4.3
    check(Kind::HEADERS, flag::END_HEADERS | END, 1, b"\xc6", Connection_(ErrorCode::COMPRESSION_ERROR));
    check(Kind::CONTINUATION, flag::END_HEADERS, 1, b"", Connection_(PROTOCOL)); // 6.10
}

#[test]
fn other_kinds() {
    check(Kind::PRIORITY, 0, 0, b"\0\0\0\0\0", Connection_(PROTOCOL)); // 6.3
    check(Kind::PRIORITY, 0, 1, b"\0\0\0\0", Stream_(SIZE));
    check(Kind::PRIORITY, 0, 9, b"\0\0\0\0\0", Ignored);
    check(Kind::PRIORITY, 0, 9, b"\0\0\0\0", Connection_(SIZE));
    check(Kind::RST_STREAM, 0, 0, b"\0\0\0\0", Connection_(PROTOCOL)); // 6.4
    check(Kind::RST_STREAM, 0, 5, b"\0\0\0\0", Connection_(PROTOCOL));
    check(Kind::RST_STREAM, 0, 1, b"\0\0\0", Connection_(SIZE));
    check(Kind::SETTINGS, 0, 1, b"", Connection_(PROTOCOL)); // 6.5
    check(Kind::SETTINGS, flag::ACK, 0, b"\0\0\0\0\0\0", Connection_(SIZE));
    check(Kind::SETTINGS, flag::ACK, 0, b"", Connection_(PROTOCOL));
    check(Kind::SETTINGS, 0, 0, b"\0\x01\0\0\0", Connection_(SIZE));
    check(Kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x02", Connection_(PROTOCOL)); // 6.5.2
    check(Kind::SETTINGS, 0, 0, b"\0\x04\x80\0\0\0", Connection_(FLOW));
    check(Kind::SETTINGS, 0, 0, b"\0\x05\0\0\x3f\xff", Connection_(PROTOCOL));
    check(Kind::SETTINGS, 0, 0, b"\0\x05\x01\0\0\0", Connection_(PROTOCOL));
    check(Kind::SETTINGS, 0, 0, b"\0\x08\0\0\0\x02", Connection_(PROTOCOL)); // RFC 8441
    check(Kind::PUSH_PROMISE, flag::END_HEADERS, 1, b"\0\0\0\x02\x82", Connection_(PROTOCOL)); // 8.4
    check(Kind::PING, 0, 1, b"12345678", Connection_(PROTOCOL)); // 6.7
    check(Kind::PING, 0, 0, b"1234567", Connection_(SIZE));
    check(Kind::PING, flag::ACK, 0, b"12345678", Ignored);
    check(Kind::GOAWAY, 0, 1, b"\0\0\0\0\0\0\0\0", Connection_(PROTOCOL)); // 6.8
    check(Kind::GOAWAY, 0, 0, b"\0\0\0\0\0\0\0", Connection_(SIZE));
    check(Kind::GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0debug", Ignored);
    check(Kind::WINDOW_UPDATE, 0, 0, b"\0\0\0\0", Connection_(PROTOCOL)); // 6.9
    check(Kind::WINDOW_UPDATE, 0, 1, b"\0\0\0\0", Stream_(PROTOCOL));
    check(Kind::WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff", Connection_(FLOW)); // 6.9.1
    check(Kind::WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff", Stream_(FLOW));
    check(Kind::WINDOW_UPDATE, 0, 5, b"\0\0\0\x01", Connection_(PROTOCOL));
    check(Kind::WINDOW_UPDATE, 0, 3, b"\0\0\0\x01", Ignored); // half-closed
    check(Kind::WINDOW_UPDATE, 0, 1, b"\0\0\x01", Connection_(SIZE));
    check(Kind(0xbb), 0xff, 77, b"whatever", Ignored); // 5.5
    check(Kind::METADATA, 4, 1, b"whatever", Ignored);
}

#[test]
fn unknown_settings_are_ignored() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_frame(Kind::SETTINGS, 0, 0, b"\x00\x77\xff\xff\xff\xff\0\x06\0\0\0\x10\0\x05\0\x10\0\0");
    assert_eq!(peer.frames(), ["SETTINGS ACK"]);
}

#[test]
fn frames_that_are_too_large_are_noticed_by_their_header() {
    for kind in [Kind::DATA, Kind::HEADERS, Kind::SETTINGS, Kind(0xbb)] {
        let mut peer = Peer::of_server(H2Settings::SERVER);
        let bytes = frame_bytes(kind, 0, 1, &[0; 16_385]);
        assert_eq!(peer.try_send(&bytes[..9]), Err(ConnectionError::FrameSize), "{kind:?}");
    }
}

#[test]
fn a_header_block_is_not_interrupted() {
    for (kind, stream) in [(Kind::DATA, 1), (Kind::CONTINUATION, 3), (Kind::PING, 0), (Kind(0xbb), 0)] {
        let mut peer = Peer::of_server(H2Settings::SERVER);
        peer.send_frame(Kind::HEADERS, END, 1, b"\x82");
        let result = peer.try_send_frame(kind, 0, stream, b"12345678");
        assert!(
            matches!(result, Err(ConnectionError::Protocol("header block interrupted"))),
            "{kind:?} {result:?}"
        );
    }
}

#[test]
fn the_beginning_of_a_connection() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"x"] {
        let mut peer = Peer::unprepared(Connection::server(H2Settings::SERVER));
        assert_eq!(peer.try_send(bytes), Err(ConnectionError::BadPreface));
    }
    let mut peer = Peer::unprepared(Connection::server(H2Settings::SERVER));
    peer.send(&frame::PREFACE[..10]);
    assert!(matches!(
        peer.try_send(&[&frame::PREFACE[10..], &frame_bytes(Kind::PING, 0, 0, b"12345678")].concat()),
        Err(ConnectionError::Protocol(_))
    ));
    let mut peer = Peer::unprepared(Connection::client(H2Settings::CLIENT));
    assert!(matches!(
        peer.try_send_frame(Kind::SETTINGS, flag::ACK, 0, b""),
        Err(ConnectionError::Protocol(_))
    ));
}

#[test]
fn what_only_a_server_may_not_do() {
    let check = |kind, flags, stream, payload: &[u8]| {
        let mut peer = Peer::of_client(H2Settings::CLIENT);
        peer.open(Method::Get, true);
        let result = peer.try_send_frame(kind, flags, stream, payload);
        assert!(matches!(result, Err(ConnectionError::Protocol(_))), "{kind:?} {stream} {result:?}");
    };
    check(Kind::HEADERS, flag::END_HEADERS, 2, b"\x88"); // no stream of its own
    check(Kind::HEADERS, flag::END_HEADERS, 3, b"\x88"); // idle
    check(Kind::DATA, 0, 3, b"x");
    check(Kind::DATA, 0, 2, b"x");
    check(Kind::RST_STREAM, 0, 2, b"\0\0\0\0");
    check(Kind::WINDOW_UPDATE, 0, 3, b"\0\0\0\x01");
    check(Kind::PUSH_PROMISE, flag::END_HEADERS, 1, b"\0\0\0\x02\x88"); // 6.6: refused by SETTINGS
    check(Kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x01"); // 6.5.2: only clients allow to be pushed to
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let stream = peer.open(Method::Get, true);
    peer.send_data(1, 0, b"before the head");
    assert_eq!(
        peer.connection.stream_ended(stream),
        Some(StreamError::InvalidMessage(InvalidMessage::Sequence))
    );
}

#[test]
fn the_size_of_the_table_follows_the_acknowledgement() {
    let settings = H2Settings { header_table_bytes: 100, ..H2Settings::SERVER };
    let mut peer = Peer::unprepared(Connection::server(settings));
    peer.send(frame::PREFACE);
    peer.send_frame(Kind::SETTINGS, 0, 0, b"");
    peer.send_headers(1, END, &GET);
    peer.send_frame(Kind::SETTINGS, flag::ACK, 0, b"");
    // From here on the peer's table has to be small, and it has to say so.
    let mut small = hpack::Encoder::new(100);
    let mut block = Vec::new();
    small.begin(&mut block);
    for (name, value) in GET {
        small.field(lookup(name.as_bytes()), name.as_bytes(), value.as_bytes(), false, &mut block);
    }
    peer.send_frame(Kind::HEADERS, END | flag::END_HEADERS, 3, &block);
    let mut peer = Peer::of_server(settings);
    let result = peer.try_send_frame(Kind::HEADERS, END | flag::END_HEADERS, 1, b"\x82");
    assert_eq!(result, Err(ConnectionError::Compression(hpack::HpackError::MissingSizeUpdate)));
}
