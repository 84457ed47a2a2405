//! A server's exchanges, as transcripts.

use super::*;
use crate::http::header::{self, PROTOCOL};

#[test]
fn it_begins_as_envoy_does() {
    let mut peer = Peer::unprepared(Connection::server(H2Settings::SERVER));
    assert_eq!(peer.frames(), ["SETTINGS 1=4096 8=0 3=1024 4=16777216", "WINDOW_UPDATE 0 25100289"]);
    peer.send(frame::PREFACE);
    peer.send_frame(Kind::SETTINGS, 0, 0, b"");
    assert_eq!(peer.frames(), ["SETTINGS ACK"]);
    assert!(!peer.connection.is_settings_acknowledged());
    peer.send_frame(Kind::SETTINGS, flag::ACK, 0, b"");
    assert!(peer.connection.is_settings_acknowledged() && peer.connection.is_idle());
}

#[test]
fn a_request_and_its_response() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_headers(1, END, &[&GET[..], &[("accept", "*/*"), ("x-mine", "1")]].concat());
    let request = peer.request();
    assert!(request.end_stream && request.overflow.is_none() && peer.connection.next_request().is_none());
    let expected = [&GET[..], &[("accept", "*/*"), ("x-mine", "1")]].concat();
    assert_eq!(request.head.headers, map(&expected));
    assert_eq!(request.head.version, crate::http::Version::Http2);
    assert_eq!(body(&mut peer.connection, request.stream), ["end"]);

    let head = response(200, &[("server", "ringway"), ("content-length", "5")]);
    peer.connection.send_response(request.stream, &head, false);
    peer.connection.send_data(request.stream, Chunk::from_static(b"hello"), false);
    peer.connection.send_end(request.stream);
    assert_eq!(peer.connection.open_streams(), 1);
    assert_eq!(
        peer.frames(),
        ["HEADERS 1 :status=200 server=ringway content-length=5", "DATA 1 END_STREAM hello"]
    );
    assert_eq!(peer.connection.open_streams(), 0);
    let (received, sent) = peer.connection.wire_bytes(request.stream);
    assert!(received > 20 && sent > 9 + 5 + 20, "{received} {sent}");
    peer.connection.release(request.stream);
    assert!(peer.connection.is_idle());
}

#[test]
fn bodies_and_trailers_both_ways() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, 0, &POST);
    assert_eq!(body(&mut peer.connection, stream), ["pending"]);
    peer.send_data(1, 0, b"one ");
    peer.send_frame(Kind::DATA, flag::PADDED, 1, b"\x03two \0\0\0");
    assert_eq!(body(&mut peer.connection, stream), ["data one two ", "pending"]);
    peer.send_data(1, 0, b"three");
    peer.send_headers(1, END, &[("x-sum", "3")]);
    assert_eq!(body(&mut peer.connection, stream), ["data three", "trailers {\"x-sum\": \"3\"}"]);
    assert_eq!(body(&mut peer.connection, stream), ["end"]);

    peer.connection.send_informational(stream, &response(103, &[("link", "x")]));
    peer.connection.send_response(stream, &response(200, &[]), false);
    peer.connection.send_data(stream, Chunk::from_static(b"abc"), false);
    peer.connection.send_trailers(stream, &map(&[("grpc-status", "0"), (":status", "500")]));
    assert_eq!(
        peer.frames(),
        [
            "HEADERS 1 :status=103 link=x",
            "HEADERS 1 :status=200",
            "DATA 1 abc",
            "HEADERS 1 END_STREAM grpc-status=0"
        ]
    );
    peer.connection.release(stream);
    assert!(peer.connection.is_idle());
    assert_eq!(peer.connection.take_counts(), Counts { trailers: 1, ..Counts::default() });
}

#[test]
fn ends_without_data() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    for (id, end) in [(1, 0), (3, 1), (5, 2), (7, 3)] {
        let stream = peer.send_request(id, END, &GET);
        peer.connection.send_response(stream, &response(204, &[("content-length", "0")]), end == 0);
        match end {
            1 => peer.connection.send_end(stream),
            2 => peer.connection.send_trailers(stream, &HeaderMap::new()),
            3 => peer.connection.send_trailers(stream, &map(&[("a", "b")])),
            _ => {}
        }
        peer.connection.send_end(stream);
        peer.connection.send_data(stream, Chunk::from_static(b"late"), true);
        peer.connection.release(stream);
    }
    assert_eq!(
        peer.frames(),
        [
            "HEADERS 1 END_STREAM :status=204",
            "HEADERS 3 :status=204",
            "DATA 3 END_STREAM ",
            "HEADERS 5 :status=204",
            "DATA 5 END_STREAM ",
            "HEADERS 7 :status=204",
            "HEADERS 7 END_STREAM a=b"
        ]
    );
    assert!(peer.connection.is_idle());
}

#[test]
fn headers_of_http_1_do_not_leave() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, END, &GET);
    let head = response(
        200,
        &[
            ("connection", "close"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("x-padded", " \tv\t "),
            ("x-empty", "  "),
            (":authority", "a"),
        ],
    );
    peer.connection.send_response(stream, &head, true);
    assert_eq!(peer.frames(), ["HEADERS 1 END_STREAM :status=200 x-padded=v x-empty="]);
}

#[test]
fn a_response_may_come_before_the_end_of_the_request() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, 0, &POST);
    peer.connection.send_response(stream, &response(413, &[]), true);
    peer.connection.release(stream);
    assert_eq!(peer.frames(), ["HEADERS 1 END_STREAM :status=413", "RST_STREAM 1 NO_ERROR"]);
    // The client has not seen that yet.
    peer.send_data(1, 0, b"more");
    peer.send_headers(1, END, &[("x", "y")]);
    assert_eq!(peer.frames(), Vec::<String>::new());
    // The same while the response is still being written.
    let stream = peer.send_request(3, 0, &POST);
    peer.connection.send_response(stream, &response(413, &[]), false);
    peer.connection.send_data(stream, Chunk::from_static(b"too large"), true);
    peer.connection.release(stream);
    peer.send_data(3, 0, b"dropped");
    assert_eq!(
        peer.frames(),
        ["HEADERS 3 :status=413", "DATA 3 END_STREAM too large", "RST_STREAM 3 NO_ERROR"]
    );
    assert!(peer.connection.is_idle() && peer.connection.held_bytes() == 0);
}

#[test]
fn cookies_are_joined_and_host_becomes_the_authority() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        ("cookie", "a=b"),
        ("host", "h:1"),
        ("x", "y"),
        ("cookie", "c=d"),
        ("cookie", "e=f"),
    ];
    peer.send_headers(1, END, &fields);
    let head = peer.request().head;
    assert_eq!(head.authority(), b"h:1");
    assert_eq!(head.headers.get(header::COOKIE), Some(&b"a=b; c=d; e=f"[..]));
    let names: Vec<_> = head.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [":method", ":scheme", ":path", ":authority", "cookie", "x"]);
    peer.send_headers(3, END, &[&GET[..], &[("host", "A")]].concat());
    assert_eq!(peer.request().head.authority(), b"a");
}

#[test]
fn sensitive_headers_are_forwarded_as_such() {
    let mut server = Peer::of_server(H2Settings::SERVER);
    let block = [&server.block(&GET)[..], b"\x10\x01a\x01b\x10\x01c\x01d\x00\x01e\x01f"].concat();
    server.send_frame(Kind::HEADERS, END | flag::END_HEADERS, 1, &block);
    let head = server.request().head;
    let mut client = Peer::of_client(H2Settings::CLIENT);
    client.connection.open(&head, true).expect("a stream");
    client.connection.write_output(&mut client.received);
    let bytes = &client.received.bytes[HEADER_BYTES..];
    let mut never_indexed = Vec::new();
    client
        .decoder
        .decode(bytes, true, |field| never_indexed.push((field.name.to_vec(), field.never_indexed)))
        .expect("a block");
    let expected = [(b"a".to_vec(), true), (b"c".to_vec(), true), (b"e".to_vec(), false)];
    assert_eq!(never_indexed[4..], expected);
}

#[test]
fn connect_and_extended_connect() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, 0, &[(":method", "CONNECT"), (":authority", "a:443")]);
    peer.send_data(1, 0, b"tunnelled");
    assert_eq!(body(&mut peer.connection, stream), ["data tunnelled", "pending"]);
    // Once it is granted, there is nothing but data (RFC 9113 section 8.5).
    peer.connection.send_response(stream, &response(200, &[]), false);
    peer.send_headers(1, END, &[("a", "b")]);
    assert_eq!(peer.frames(), ["HEADERS 1 :status=200", "RST_STREAM 1 PROTOCOL_ERROR"]);

    let settings = H2Settings { allow_extended_connect: true, ..H2Settings::SERVER };
    let mut peer = Peer::unprepared(Connection::server(settings));
    assert!(peer.frames()[0].contains(" 8=1 "));
    let mut peer = Peer::of_server(settings);
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat"),
        (":authority", "a"),
        ("content-length", "7"),
    ];
    peer.send_headers(1, 0, &fields);
    let head = peer.request().head;
    assert_eq!(head.headers.get(PROTOCOL), Some(&b"websocket"[..]));
    assert!(!head.headers.contains(header::CONTENT_LENGTH));
    peer.send_data(1, 0, b"more than seven bytes");
}

#[test]
fn heads_beyond_the_limits_are_told_apart() {
    let settings = H2Settings { max_header_bytes: 200, max_header_count: 6, ..H2Settings::SERVER };
    let mut peer = Peer::of_server(settings);
    peer.send_headers(1, END, &[&GET[..], &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]].concat());
    let request = peer.request();
    assert_eq!(request.overflow, Some(HeaderOverflow::Count));
    assert_eq!(request.head.path(), b"/");
    peer.connection.send_response(request.stream, &response(431, &[]), true);
    peer.connection.release(request.stream);
    let long = "x".repeat(200);
    peer.send_headers(3, END, &[&GET[..], &[("long", &long)]].concat());
    let request = peer.request();
    assert_eq!(request.overflow, Some(HeaderOverflow::Bytes));
    peer.connection.reset(request.stream, ErrorCode::INTERNAL_ERROR);
    peer.connection.release(request.stream);
    assert_eq!(peer.frames(), ["HEADERS 1 END_STREAM :status=431", "RST_STREAM 3 INTERNAL_ERROR"]);
    // The table is in order: the next request refers to entries of the refused one.
    let stream = peer.send_request(5, 0, &[&POST[..], &[("a", "1"), ("b", "2")]].concat());
    // Every piece of a split cookie counts, and trailers have the same limits.
    peer.send_headers(5, END, &[("cookie", "a"); 7]);
    assert_eq!(body(&mut peer.connection, stream), ["error headers exceed the count limit"]);
    assert_eq!(peer.frames(), ["RST_STREAM 5 INTERNAL_ERROR"]);
    let counts = peer.connection.take_counts();
    assert_eq!((counts.header_overflow, counts.header_list_size_too_large), (2, 1));
}

#[test]
fn as_many_streams_as_announced() {
    let settings = H2Settings { max_concurrent_streams: 2, ..H2Settings::SERVER };
    let mut peer = Peer::of_server(settings);
    let first = peer.send_request(1, END, &GET);
    peer.send_request(3, END, &GET);
    peer.send_headers(5, END, &GET);
    assert!(peer.connection.next_request().is_none());
    assert_eq!(peer.frames(), ["RST_STREAM 5 REFUSED_STREAM"]);
    peer.connection.send_response(first, &response(200, &[]), true);
    peer.send_request(7, END, &GET);
    assert_eq!(peer.connection.take_counts().stream_refused_errors, 1);
}

#[test]
fn pings_are_answered_and_sent() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_frame(Kind::PING, 0, 0, b"12345678");
    assert_eq!(peer.frames(), ["PING ACK 12345678"]);
    peer.connection.ping();
    peer.connection.ping();
    assert_eq!(peer.frames(), ["PING \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01"]);
    peer.send_frame(Kind::PING, flag::ACK, 0, b"12345678");
    assert!(peer.connection.is_ping_outstanding());
    peer.send_frame(Kind::PING, flag::ACK, 0, &1u64.to_be_bytes());
    assert!(!peer.connection.is_ping_outstanding());
}

#[test]
fn users_are_woken() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let woken = std::sync::Arc::new(Woken::default());
    let waker = Waker::from(std::sync::Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(peer.connection.poll_output(&mut cx).is_pending());
    let stream = peer.send_request(1, 0, &POST);
    assert_eq!(woken.count(), 0);
    peer.connection.send_response(stream, &response(200, &[]), false);
    assert_eq!(woken.count(), 1, "there is output");
    assert!(peer.connection.poll_output(&mut cx).is_ready());
    peer.frames();
    assert!(peer.connection.poll_body(stream, &mut cx).is_pending());
    peer.send_data(1, 0, b"x");
    assert_eq!(woken.count(), 2, "data came");
    assert!(peer.connection.poll_body(stream, &mut cx).is_ready());
    assert!(peer.connection.poll_gone(stream, &mut cx).is_pending());
    peer.send_frame(Kind::RST_STREAM, 0, 1, &8u32.to_be_bytes());
    assert_eq!(woken.count(), 3, "the stream is gone");
    assert_eq!(
        peer.connection.poll_gone(stream, &mut cx),
        Poll::Ready(StreamError::Reset(ErrorCode::CANCEL))
    );
}

/// A log that is written before the bytes are tells the same.
#[test]
fn what_waits_counts_as_sent() {
    for length in [0, 1, 16_384, 16_385, 50_000] {
        let mut peer = Peer::of_server(H2Settings::SERVER);
        let stream = peer.send_request(1, END, &GET);
        peer.connection.send_response(stream, &response(200, &[]), false);
        peer.connection.send_data(stream, Chunk::from_vec(vec![b'x'; length]), true);
        let before = peer.connection.wire_bytes(stream);
        peer.frames();
        assert_eq!(peer.connection.wire_bytes(stream), before, "{length} bytes");
        assert!(before.1 >= length as u64 + 18);
    }
}
