//! Messages that are malformed (RFC 9113 section 8.1.1), one after the other, in both modes: `stream_error_on_invalid_message`
//! off, the connection ends, as Envoy 1.40 does by default; on, the stream. Which requests are malformed was compared with the
//! program; where RFC 9113 is stricter, the comment says so.

use super::*;
use InvalidMessage::{
    BodyLength, Characters, ConnectionSpecific, ContentLength, Host, MissingPseudoHeader, PseudoHeaderValue,
    Sequence, UnexpectedPseudoHeader,
};

const STREAM_ERRORS: H2Settings = H2Settings { stream_error_on_invalid_message: true, ..H2Settings::SERVER };

/// A literal without index, whatever its characters.
fn literal(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend_from_slice(name.as_bytes());
        block.push(value.len() as u8);
        block.extend_from_slice(value);
    }
    block
}

#[track_caller]
fn check_block(block: &[u8], expected: Option<InvalidMessage>) {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let result = peer.try_send_frame(Kind::HEADERS, END | flag::END_HEADERS, 1, block);
    assert_eq!(result, expected.map_or(Ok(()), |invalid| Err(invalid.into())), "{}", block.escape_ascii());
    let mut peer = Peer::of_server(STREAM_ERRORS);
    peer.send_frame(Kind::HEADERS, END | flag::END_HEADERS, 1, block);
    assert_eq!(peer.connection.next_request().is_some(), expected.is_none());
    if expected.is_some() {
        assert_eq!(peer.frames(), ["RST_STREAM 1 PROTOCOL_ERROR"]);
        assert_eq!(peer.connection.take_counts().rx_messaging_error, 1);
        assert!(peer.connection.is_idle());
    }
}

/// A request with these fields behind the usual pseudo-headers.
#[track_caller]
fn check_with(fields: &[(&str, &[u8])], expected: Option<InvalidMessage>) {
    let usual = GET.map(|(name, value)| (name, value.as_bytes()));
    check_block(&literal(&[&usual, fields].concat()), expected);
}

/// A request made of these fields.
#[track_caller]
fn check_only(fields: &[(&str, &str)], expected: Option<InvalidMessage>) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    check_block(&literal(&fields), expected);
}

/// A request whose pseudo-header `name` has this value.
#[track_caller]
fn check_pseudo(name: &str, value: &str, expected: Option<InvalidMessage>) {
    check_only(&GET.map(|(other, usual)| (other, if other == name { value } else { usual })), expected);
}

#[test]
fn characters() {
    for (name, value) in [
        ("X-Upper", &b"1"[..]),
        ("a b", b"1"),
        ("a:b", b"1"),
        ("\u{e9}", b"1"),
        ("a", b"b\0c"),
        ("a", b"b\nc"),
        ("a", b"b\rc"),
        ("a", b"b\x01c"),
        ("a", b"b\x7fc"),
        ("a", b" b"),  // RFC 9113 section 8.2.1; Envoy lets it pass
        ("a", b"b "),  // likewise
        ("a", b"b\t"), // likewise
        ("", b"1"),
    ] {
        check_with(&[(name, value)], Some(Characters));
    }
    check_with(&[("a", b"b\tc"), ("b", b"\xff\x80"), ("a_b", b"1"), ("c", b"")], None);
}

#[test]
fn headers_of_the_connection() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        check_with(&[(name, b"x")], Some(ConnectionSpecific));
    }
    check_with(&[("te", b"gzip")], Some(ConnectionSpecific));
    check_with(&[("te", b"trailers"), ("te", b"Trailers")], None);
    check_with(&[("http2-settings", b"x")], None);
}

#[test]
fn hosts() {
    check_with(&[("host", b"a")], None);
    check_with(&[("host", b"A")], None);
    check_with(&[("host", b"b")], Some(Host)); // RFC 9113 section 8.3.1; Envoy takes :authority
    check_with(&[("host", b"a"), ("host", b"a")], Some(Host));
    check_only(&[GET[0], GET[1], GET[3], ("host", "a")], None);
    check_only(&[GET[0], GET[1], GET[3], ("host", "u@a")], Some(Host));
    check_only(&[GET[0], GET[1], GET[3]], Some(MissingPseudoHeader));
}

#[test]
fn lengths() {
    check_with(&[("content-length", b"0")], None);
    check_with(&[("content-length", b"5")], Some(BodyLength));
    for value in ["+1", "", "5, 5", "-1", "99999999999999999999"] {
        check_with(&[("content-length", value.as_bytes())], Some(ContentLength));
    }
    check_with(&[("content-length", b"0"), ("content-length", b"0")], Some(ContentLength));
}

#[test]
fn pseudo_headers() {
    check_with(&[(":foo", b"1")], Some(UnexpectedPseudoHeader));
    check_with(&[(":status", b"200")], Some(UnexpectedPseudoHeader));
    check_with(&[(":method", b"GET")], Some(UnexpectedPseudoHeader));
    check_with(&[(":protocol", b"websocket")], Some(UnexpectedPseudoHeader));
    check_with(&[("a", b"1"), (":protocol", b"websocket")], Some(UnexpectedPseudoHeader));
    check_only(&[GET[0], GET[1], GET[2], ("a", "1"), GET[3]], Some(UnexpectedPseudoHeader));
    check_only(&[GET[1], GET[2], GET[3]], Some(MissingPseudoHeader));
    check_only(&[GET[0], GET[2], GET[3]], Some(MissingPseudoHeader));
    check_only(&[GET[0], GET[1], GET[2]], Some(MissingPseudoHeader));
    check_only(&[], Some(MissingPseudoHeader));
}

#[test]
fn values_of_pseudo_headers() {
    for path in ["", "*", "a", "/a b", "/\x7f", "http://a/", "/\t"] {
        check_pseudo(":path", path, Some(PseudoHeaderValue));
    }
    for path in ["/", "/a?b", "/\u{e9}", "/a#b", "/\"<>"] {
        check_pseudo(":path", path, None);
    }
    for authority in ["", "u@a", "a b", "a/b", "a\"", "\u{e9}"] {
        check_pseudo(":authority", authority, Some(PseudoHeaderValue));
    }
    check_pseudo(":authority", "[::1]:80", None);
    for (scheme, expected) in
        [("ftp", None), ("HTTPS", None), ("", Some(PseudoHeaderValue)), ("h t", Some(PseudoHeaderValue))]
    {
        check_pseudo(":scheme", scheme, expected);
    }
    for (method, expected) in
        [("get", None), ("FOO", None), ("", Some(PseudoHeaderValue)), ("G T", Some(PseudoHeaderValue))]
    {
        check_pseudo(":method", method, expected);
    }
    check_only(&[(":method", "OPTIONS"), GET[1], GET[2], (":path", "*")], None);
}

#[test]
fn connect() {
    let (method, authority) = ((":method", "CONNECT"), (":authority", "a:80"));
    check_only(&[method, authority], None);
    check_only(&[method], Some(MissingPseudoHeader));
    check_only(&[method, authority, GET[1], GET[3]], Some(UnexpectedPseudoHeader));
    check_only(&[method, authority, GET[1], GET[3], (":protocol", "x")], Some(UnexpectedPseudoHeader));
    let settings = H2Settings { allow_extended_connect: true, ..H2Settings::SERVER };
    let extended = [method, authority, (":protocol", "x")];
    for (fields, expected) in [
        ([&extended[..], &[GET[1], GET[3]]].concat(), None),
        (extended.to_vec(), Some(MissingPseudoHeader)),
        ([&GET[..], &[(":protocol", "x")]].concat(), Some(UnexpectedPseudoHeader)),
    ] {
        let mut peer = Peer::of_server(settings);
        let result = peer.try_send_headers(1, 0, &fields);
        assert_eq!(result, expected.map_or(Ok(()), |invalid| Err(invalid.into())), "{fields:?}");
    }
}

#[test]
fn trailers() {
    for (fields, end, expected) in [
        (&[("a", "b")][..], END, None),
        (&[("a", "b")], 0, Some(Sequence)),
        (&[(":path", "/")], END, Some(UnexpectedPseudoHeader)),
        (&[("connection", "close")], END, Some(ConnectionSpecific)),
    ] {
        let mut peer = Peer::of_server(H2Settings::SERVER);
        peer.send_request(1, 0, &POST);
        let result = peer.try_send_headers(1, end, fields);
        assert_eq!(result, expected.map_or(Ok(()), |invalid| Err(invalid.into())), "{fields:?}");
        let mut peer = Peer::of_server(STREAM_ERRORS);
        let stream = peer.send_request(1, 0, &POST);
        peer.send_headers(1, end, fields);
        assert_eq!(peer.connection.stream_ended(stream), expected.map(StreamError::InvalidMessage));
    }
}

/// A body of the wrong length ends the stream only, in both modes, as with Envoy.
#[test]
fn bodies_of_the_wrong_length() {
    for settings in [H2Settings::SERVER, STREAM_ERRORS] {
        for (data, flags, expected) in [
            (&b"12345"[..], END, None),
            (b"1234", END, Some(BodyLength)),
            (b"123456", 0, Some(BodyLength)),
            (b"", END, Some(BodyLength)),
        ] {
            let mut peer = Peer::of_server(settings);
            let stream = peer.send_request(1, 0, &[&POST[..], &[("content-length", "5")]].concat());
            peer.send_data(1, flags, data);
            assert_eq!(peer.connection.stream_ended(stream), expected.map(StreamError::InvalidMessage));
            if expected.is_some() {
                assert_eq!(peer.frames(), ["RST_STREAM 1 PROTOCOL_ERROR"]);
            }
        }
        let mut peer = Peer::of_server(settings);
        let stream = peer.send_request(1, 0, &[&POST[..], &[("content-length", "5")]].concat());
        peer.send_headers(1, END, &[("a", "b")]);
        assert_eq!(peer.connection.stream_ended(stream), Some(StreamError::InvalidMessage(BodyLength)));
    }
}

/// Fields, flags, and what is wrong with them.
type Case = (&'static [(&'static str, &'static str)], u8, Option<InvalidMessage>);

#[test]
fn responses() {
    let all: [Case; 13] = [
        (&[(":status", "200")], END, None),
        (&[(":status", "999")], END, None),
        (&[], END, Some(MissingPseudoHeader)),
        (&[(":status", "20")], END, Some(PseudoHeaderValue)),
        (&[(":status", "2000")], END, Some(PseudoHeaderValue)),
        (&[(":status", "2x0")], END, Some(PseudoHeaderValue)),
        (&[(":status", "099")], END, Some(PseudoHeaderValue)),
        (&[(":status", "101")], 0, Some(PseudoHeaderValue)), // RFC 9113 section 8.6
        (&[(":status", "103")], END, Some(Sequence)),
        (&[(":status", "200"), (":status", "200")], END, Some(UnexpectedPseudoHeader)),
        (&[(":status", "200"), (":path", "/")], END, Some(UnexpectedPseudoHeader)),
        (&[(":status", "200"), ("connection", "close")], END, Some(ConnectionSpecific)),
        (&[(":status", "200"), ("content-length", "5")], END, Some(BodyLength)),
    ];
    for (fields, flags, expected) in all {
        let mut peer = Peer::of_client(H2Settings::CLIENT);
        peer.open(Method::Get, true);
        let result = peer.try_send_headers(1, flags, fields);
        assert_eq!(result, expected.map_or(Ok(()), |invalid| Err(invalid.into())), "{fields:?}");
        let settings = H2Settings { stream_error_on_invalid_message: true, ..H2Settings::CLIENT };
        let mut peer = Peer::of_client(settings);
        let stream = peer.open(Method::Get, true);
        peer.send_headers(1, flags, fields);
        assert_eq!(peer.connection.stream_ended(stream), expected.map(StreamError::InvalidMessage));
    }
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let stream = peer.open(Method::Get, true);
    peer.send_headers(1, END, &[(":status", "200"), ("host", "h")]);
    assert_eq!(events(&mut peer.connection, stream), ["head {\":status\": \"200\"} end"]);
}
