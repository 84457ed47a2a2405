//! A client's exchanges, as transcripts.

use super::*;

#[test]
fn it_begins_with_the_preface() {
    let mut peer = Peer::unprepared(Connection::client(H2Settings::CLIENT));
    peer.connection.write_output(&mut peer.received);
    assert!(peer.received.bytes.starts_with(frame::PREFACE));
    assert_eq!(peer.frames(), ["SETTINGS 1=4096 2=0 4=16777216", "WINDOW_UPDATE 0 25100289"]);
    assert_eq!(peer.connection.available_streams(), 100, "before the server has said");
    peer.send_frame(Kind::SETTINGS, 0, 0, b"");
    assert_eq!(peer.connection.available_streams(), 1024, "our own limit");
    peer.send_setting(frame::setting::MAX_CONCURRENT_STREAMS, 7);
    assert_eq!(peer.connection.available_streams(), 7);
    assert_eq!(peer.frames(), ["SETTINGS ACK", "SETTINGS ACK"]);
}

#[test]
fn requests_and_responses() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let get = peer.open(Method::Get, true);
    let post = peer.open(Method::Post, false);
    peer.connection.send_data(post, Chunk::from_static(b"body"), true);
    assert_eq!(
        peer.frames(),
        [
            "HEADERS 1 END_STREAM :method=GET :path=/ :authority=a :scheme=http",
            "HEADERS 3 :method=POST :path=/ :authority=a :scheme=http",
            "DATA 3 END_STREAM body"
        ]
    );
    assert!(!peer.connection.response_started(get));
    assert_eq!(events(&mut peer.connection, get), ["pending"]);
    peer.send_headers(3, 0, &[(":status", "100")]);
    peer.send_headers(3, 0, &[(":status", "103"), ("link", "x")]);
    peer.send_headers(3, 0, &[(":status", "200"), ("content-length", "6")]);
    peer.send_data(3, 0, b"abc");
    peer.send_data(3, END, b"def");
    peer.send_headers(1, END, &[(":status", "304"), ("content-length", "6")]);
    assert!(peer.connection.response_started(get));
    assert_eq!(
        events(&mut peer.connection, get),
        ["head {\":status\": \"304\", \"content-length\": \"6\"} end"]
    );
    assert_eq!(
        events(&mut peer.connection, post),
        [
            "informational 100",
            "informational 103",
            "head {\":status\": \"200\", \"content-length\": \"6\"}",
            "data abc",
            "data def end"
        ]
    );
    assert_eq!(events(&mut peer.connection, post), ["error connection closed"]);
    assert_eq!(peer.connection.open_streams(), 0);
    peer.connection.release(get);
    peer.connection.release(post);
    assert!(peer.connection.is_idle());
    assert_eq!(peer.frames(), Vec::<String>::new());
}

#[test]
fn trailers_and_late_ends() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let first = peer.open(Method::Get, true);
    let second = peer.open(Method::Get, true);
    peer.send_headers(1, 0, &[(":status", "200")]);
    peer.send_data(1, 0, b"x");
    peer.send_headers(1, END, &[("grpc-status", "0"), ("content-length", "9"), ("host", "h")]);
    assert_eq!(
        events(&mut peer.connection, first),
        ["head {\":status\": \"200\"}", "data x", "trailers {\"grpc-status\": \"0\"}"]
    );
    // The end comes after everything else was taken; empty trailers are none.
    peer.send_headers(3, 0, &[(":status", "200")]);
    peer.send_data(3, 0, b"x");
    assert_eq!(events(&mut peer.connection, second), ["head {\":status\": \"200\"}", "data x", "pending"]);
    peer.send_headers(3, END, &[]);
    assert_eq!(events(&mut peer.connection, second), ["data  end"]);
}

#[test]
fn what_the_server_did_not_look_at_is_told_apart() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let streams: Vec<_> = (0..4).map(|_| peer.open(Method::Get, true)).collect();
    peer.send_frame(Kind::RST_STREAM, 0, 1, &ErrorCode::REFUSED_STREAM.0.to_be_bytes());
    peer.send_frame(Kind::RST_STREAM, 0, 3, &ErrorCode::INTERNAL_ERROR.0.to_be_bytes());
    peer.send_frame(Kind::GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\0bye");
    let errors: Vec<_> = streams.iter().map(|stream| peer.connection.stream_ended(*stream)).collect();
    assert_eq!(
        errors,
        [
            Some(StreamError::Refused),
            Some(StreamError::Reset(ErrorCode::INTERNAL_ERROR)),
            None,
            Some(StreamError::Unprocessed)
        ]
    );
    let unprocessed: Vec<_> =
        errors.iter().map(|error| error.is_some_and(StreamError::is_unprocessed)).collect();
    assert_eq!(unprocessed, [true, false, false, true]);
    assert_eq!(peer.connection.peer_goaway(), Some(ErrorCode::NO_ERROR));
    assert_eq!((peer.connection.available_streams(), peer.connection.is_exhausted()), (0, true));
    let head = RequestHead::new(Method::Get, "http", b"a", b"/");
    assert_eq!(peer.connection.open(&head, true), Err(OpenError::Closing));
    // The one that the server works on is finished.
    peer.send_headers(5, END, &[(":status", "200")]);
    assert_eq!(events(&mut peer.connection, streams[2]), ["head {\":status\": \"200\"} end"]);
}

#[test]
fn a_whole_response_survives_what_comes_after() {
    // RFC 9113 section 8.1: the server has no use for the rest of the request.
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let stream = peer.open(Method::Post, false);
    peer.send_headers(1, 0, &[(":status", "413")]);
    peer.send_data(1, END, b"too large");
    peer.send_frame(Kind::RST_STREAM, 0, 1, &0u32.to_be_bytes());
    assert_eq!(
        peer.connection.poll_send_ready(stream, &mut context()),
        Poll::Ready(Err(StreamError::Reset(ErrorCode::NO_ERROR)))
    );
    peer.connection.send_data(stream, Chunk::from_static(b"dropped"), false);
    assert_eq!(events(&mut peer.connection, stream), ["head {\":status\": \"413\"}", "data too large end"]);
    peer.connection.release(stream);
    assert!(peer.connection.is_idle() && peer.connection.held_bytes() == 0);
    // Likewise the end of the connection.
    let stream = peer.open(Method::Get, true);
    let cut_off = peer.open(Method::Get, true);
    peer.send_headers(3, 0, &[(":status", "200")]);
    peer.send_data(3, END, b"whole");
    peer.send_headers(5, 0, &[(":status", "200")]);
    peer.connection.transport_closed();
    assert_eq!(events(&mut peer.connection, stream), ["head {\":status\": \"200\"}", "data whole end"]);
    assert_eq!(events(&mut peer.connection, cut_off), ["error connection closed"]);
    peer.connection.release(stream);
    peer.connection.release(cut_off);
    assert!(peer.connection.is_idle() && peer.connection.held_bytes() == 0);
}

#[test]
fn letting_go_resets() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let stream = peer.open(Method::Post, false);
    peer.connection.send_data(stream, Chunk::from_static(b"x"), false);
    peer.connection.release(stream);
    assert!(peer.connection.is_idle() && peer.connection.open_streams() == 0);
    assert_eq!(
        peer.frames(),
        ["HEADERS 1 :method=POST :path=/ :authority=a :scheme=http", "RST_STREAM 1 CANCEL"]
    );
    // What the server sent meanwhile is read and forgotten; the table of headers stays in order.
    peer.send_headers(1, 0, &[(":status", "200"), ("x-a", "1")]);
    peer.send_data(1, END, b"late");
    let stream = peer.open(Method::Get, true);
    peer.send_headers(3, END, &[(":status", "200"), ("x-a", "1")]);
    assert_eq!(events(&mut peer.connection, stream), ["head {\":status\": \"200\", \"x-a\": \"1\"} end"]);
    assert_eq!(peer.frames(), ["HEADERS 3 END_STREAM :method=GET :path=/ :authority=a :scheme=http"]);
}

#[test]
fn bodies_that_must_not_be() {
    for (method, status, data, is_fine) in [
        (Method::Head, "200", &b""[..], true),
        (Method::Head, "200", b"x", false),
        (Method::Get, "204", b"x", false),
        (Method::Get, "304", b"x", false),
        (Method::Get, "200", b"123456", true),
        (Method::Get, "200", b"12345", false),
        (Method::Get, "200", b"1234567", false),
        (Method::Connect, "200", b"anything", true),
    ] {
        let mut peer = Peer::of_client(H2Settings::CLIENT);
        let stream = peer.open(method, false);
        peer.send_headers(1, 0, &[(":status", status), ("content-length", "6")]);
        peer.send_data(1, END, data);
        let ended = peer.connection.stream_ended(stream);
        let expected = (!is_fine).then_some(StreamError::InvalidMessage(InvalidMessage::BodyLength));
        assert_eq!(ended, expected, "{method:?} {status} {data:?}");
    }
}

#[test]
fn interim_heads_have_a_limit() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let stream = peer.open(Method::Get, true);
    for _ in 0..9 {
        peer.send_headers(1, 0, &[(":status", "103")]);
    }
    assert_eq!(events(&mut peer.connection, stream), ["error stream error: ENHANCE_YOUR_CALM"]);
}

#[test]
fn requests_get_what_they_must_have() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let head = RequestHead {
        headers: map(&[(":method", "GET"), ("te", "trailers"), ("host", "h")]),
        version: crate::http::Version::Http11,
    };
    peer.connection.open(&head, true).expect("a stream");
    let connect = RequestHead::new(Method::Connect, "http", b"a:1", b"/");
    peer.connection.open(&connect, false).expect("a stream");
    assert_eq!(
        peer.frames(),
        [
            "HEADERS 1 END_STREAM :method=GET :authority=h :scheme=http :path=/ te=trailers",
            "HEADERS 3 :method=CONNECT :authority=a:1"
        ]
    );
}

#[test]
fn extended_connect_needs_an_offer() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let mut head = RequestHead::new(Method::Connect, "https", b"a", b"/chat");
    head.headers.set(crate::http::header::PROTOCOL, b"websocket");
    assert_eq!(peer.connection.open(&head, false), Err(OpenError::ExtendedConnectNotOffered));
    peer.send_setting(frame::setting::ENABLE_CONNECT_PROTOCOL, 1);
    assert!(peer.connection.offers_extended_connect());
    peer.connection.open(&head, false).expect("a stream");
    assert_eq!(
        peer.frames(),
        [
            "SETTINGS ACK",
            "HEADERS 1 :method=CONNECT :path=/chat :authority=a :scheme=https :protocol=websocket"
        ]
    );
    // It cannot be taken back.
    let result = peer.try_send_frame(Kind::SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 0]);
    assert!(matches!(result, Err(ConnectionError::Protocol(_))));
}

#[test]
fn no_more_streams_than_allowed() {
    let mut peer = Peer::of_client(H2Settings { max_concurrent_streams: 3, ..H2Settings::CLIENT });
    peer.send_setting(frame::setting::MAX_CONCURRENT_STREAMS, 2);
    let first = peer.open(Method::Get, true);
    peer.open(Method::Get, true);
    let head = RequestHead::new(Method::Get, "http", b"a", b"/");
    assert_eq!(peer.connection.open(&head, true), Err(OpenError::TooManyStreams));
    peer.send_headers(1, END, &[(":status", "200")]);
    assert_eq!(peer.connection.available_streams(), 1, "before the user has taken the response");
    peer.connection.release(first);
    // A server that allows fewer than are open.
    peer.send_setting(frame::setting::MAX_CONCURRENT_STREAMS, 0);
    assert_eq!(peer.connection.available_streams(), 0);
}

#[test]
fn identifiers_run_out() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    peer.connection.skip_streams_to(frame::MAX_31_BITS);
    let last = peer.open(Method::Get, true);
    assert_eq!(last.get(), frame::MAX_31_BITS);
    assert_eq!((peer.connection.available_streams(), peer.connection.is_exhausted()), (0, true));
    let head = RequestHead::new(Method::Get, "http", b"a", b"/");
    assert_eq!(peer.connection.open(&head, true), Err(OpenError::Over));
    peer.send_headers(frame::MAX_31_BITS, END, &[(":status", "200")]);
    assert_eq!(events(&mut peer.connection, last), ["head {\":status\": \"200\"} end"]);
}
