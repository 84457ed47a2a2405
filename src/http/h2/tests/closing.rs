//! How connections and streams end.

use super::*;

#[test]
fn graceful_shutdown_of_a_server() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let first = peer.send_request(1, END, &GET);
    peer.connection.announce_shutdown();
    peer.connection.announce_shutdown();
    assert_eq!(peer.frames(), ["GOAWAY 2147483647 NO_ERROR"]);
    // What was under way is served.
    let second = peer.send_request(3, 0, &POST);
    peer.connection.shut_down();
    peer.connection.shut_down();
    assert_eq!(peer.frames(), ["GOAWAY 3 NO_ERROR"]);
    // What comes later is not, but it is read: its headers change the table, its data the window.
    peer.send_headers(5, 0, &[&POST[..], &[("x-a", "1")]].concat());
    peer.send_data(5, END, b"ignored");
    peer.send_frame(Kind::WINDOW_UPDATE, 0, 5, &1u32.to_be_bytes());
    peer.send_frame(Kind::RST_STREAM, 0, 5, &8u32.to_be_bytes());
    assert!(peer.connection.next_request().is_none());
    peer.send_headers(3, END, &[("x-a", "1")]);
    assert_eq!(body(&mut peer.connection, second), ["trailers {\"x-a\": \"1\"}"]);
    assert!(!peer.connection.is_drained());
    for stream in [first, second] {
        peer.connection.send_response(stream, &response(200, &[]), true);
        peer.connection.release(stream);
    }
    assert!(peer.connection.is_idle() && !peer.connection.is_drained(), "not written yet");
    assert_eq!(peer.frames(), ["HEADERS 1 END_STREAM :status=200", "HEADERS 3 END_STREAM :status=200"]);
    assert!(peer.connection.is_drained());
}

#[test]
fn a_client_that_closes() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let stream = peer.open(Method::Get, true);
    peer.connection.shut_down();
    assert_eq!(peer.connection.available_streams(), 0);
    peer.send_headers(1, END, &[(":status", "200")]);
    peer.connection.release(stream);
    assert_eq!(peer.frames()[1..], ["GOAWAY 0 NO_ERROR"]);
    assert!(peer.connection.is_drained());
}

#[test]
fn goaway_may_only_go_down() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let (first, second) = (peer.open(Method::Get, true), peer.open(Method::Get, true));
    peer.send_frame(Kind::GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0");
    assert_eq!(peer.connection.stream_ended(second), None);
    peer.send_frame(Kind::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0");
    assert_eq!(
        (peer.connection.stream_ended(first), peer.connection.stream_ended(second)),
        (None, Some(StreamError::Unprocessed))
    );
    let result = peer.try_send_frame(Kind::GOAWAY, 0, 0, b"\0\0\0\x03\0\0\0\0");
    assert!(matches!(result, Err(ConnectionError::Protocol(_))));
}

#[test]
fn an_error_ends_all_streams_and_is_told_once() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, 0, &POST);
    peer.send_headers(3, END, &GET);
    peer.send_data(1, 0, b"held");
    let result = peer.try_send_frame(Kind::PING, 0, 0, b"short");
    assert_eq!(result, Err(ConnectionError::FrameSize));
    assert_eq!(peer.try_send(b"more"), Err(ConnectionError::FrameSize));
    assert_eq!(peer.connection.ended(), Some(ConnectionEnd::Error(ConnectionError::FrameSize)));
    assert!(peer.connection.next_request().is_none());
    assert_eq!(body(&mut peer.connection, stream), ["error frame size error"]);
    peer.connection.send_response(stream, &response(200, &[]), true);
    peer.connection.release(stream);
    assert_eq!(peer.frames(), ["GOAWAY 3 FRAME_SIZE_ERROR"]);
    assert!(peer.connection.is_idle() && !peer.connection.wants_output());
    assert_eq!((peer.connection.held_bytes(), peer.connection.open_streams()), (0, 0));
    peer.connection.close(ErrorCode::NO_ERROR);
    peer.connection.ping();
    peer.connection.announce_shutdown();
    assert_eq!(peer.frames(), Vec::<String>::new());
}

#[test]
fn closed_by_the_owner() {
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    let stream = peer.open(Method::Get, true);
    peer.connection.close(ErrorCode::SETTINGS_TIMEOUT);
    let error = ConnectionError::Local(ErrorCode::SETTINGS_TIMEOUT);
    assert_eq!(peer.connection.stream_ended(stream), Some(StreamError::Connection(error)));
    assert_eq!(peer.frames()[1..], ["GOAWAY 0 SETTINGS_TIMEOUT"]);
    assert_eq!(
        peer.connection.open(&RequestHead::new(Method::Get, "http", b"a", b"/"), true),
        Err(OpenError::Over)
    );
    assert!(peer.connection.is_exhausted());
}

#[test]
fn resets_of_both_sides() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, 0, &POST);
    peer.send_data(1, 0, b"held");
    peer.connection.reset(stream, ErrorCode::REFUSED_STREAM);
    peer.connection.reset(stream, ErrorCode::CANCEL);
    assert_eq!(peer.frames(), ["RST_STREAM 1 REFUSED_STREAM"]);
    assert_eq!(body(&mut peer.connection, stream), ["error reset locally: REFUSED_STREAM"]);
    peer.connection.release(stream);
    let stream = peer.send_request(3, 0, &POST);
    peer.send_data(3, 0, b"held");
    peer.connection.send_response(stream, &response(200, &[]), false);
    peer.connection.send_data(stream, Chunk::from_static(b"never sent"), true);
    peer.send_frame(Kind::RST_STREAM, 0, 3, &8u32.to_be_bytes());
    assert_eq!(body(&mut peer.connection, stream), ["error reset by the peer: CANCEL"]);
    assert_eq!(peer.frames(), ["HEADERS 3 :status=200"]);
    peer.connection.release(stream);
    assert!(peer.connection.is_idle() && peer.connection.held_bytes() == 0);
    // A user that gives up.
    let stream = peer.send_request(5, END, &GET);
    peer.connection.release(stream);
    assert_eq!(peer.frames(), ["RST_STREAM 5 INTERNAL_ERROR"]);
    let counts = peer.connection.take_counts();
    assert_eq!((counts.rx_reset, counts.tx_reset), (1, 2));
}

#[test]
fn a_request_that_is_reset_at_once_is_not_handed_out() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_headers(1, END, &GET);
    peer.send_headers(3, END, &GET);
    peer.send_frame(Kind::RST_STREAM, 0, 1, &8u32.to_be_bytes());
    assert_eq!(peer.request().stream.get(), 3);
    assert!(peer.connection.next_request().is_none());
    assert_eq!(peer.connection.take_counts().reset_before_taken, 1);
    assert_eq!(peer.connection.open_streams(), 1);
}

#[test]
fn late_frames_on_streams_that_are_no_more() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    // Ended by both sides: what comes then is an error of the stream (RFC 9113 section 5.1).
    let stream = peer.send_request(1, END, &GET);
    peer.connection.send_response(stream, &response(200, &[]), true);
    peer.connection.release(stream);
    peer.frames();
    peer.send_data(1, 0, b"x");
    peer.send_data(1, 0, b"x");
    peer.send_window_update(1, 1);
    peer.send_frame(Kind::PRIORITY, 0, 1, b"\0\0\0\0\0");
    assert_eq!(peer.frames(), ["RST_STREAM 1 STREAM_CLOSED"]);
    // After many resets, it is not known any more which streams were reset: nothing is said then.
    for id in 0..50 {
        let stream = peer.send_request(id * 2 + 3, 0, &POST);
        peer.connection.reset(stream, ErrorCode::INTERNAL_ERROR);
        peer.connection.release(stream);
    }
    peer.frames();
    peer.send_data(5, 0, b"x");
    peer.send_headers(5, END, &[("a", "b")]);
    assert_eq!(peer.frames(), Vec::<String>::new());
    // An identifier cannot be used again.
    let stream = peer.send_request(201, END, &GET);
    peer.connection.send_response(stream, &response(200, &[]), true);
    peer.connection.release(stream);
    assert!(matches!(peer.try_send_headers(201, END, &GET), Err(ConnectionError::Protocol(_))));
}

#[test]
fn half_closed_streams_take_no_more() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, END, &GET);
    peer.send_data(1, 0, b"x");
    assert_eq!(peer.frames(), ["RST_STREAM 1 STREAM_CLOSED"]);
    assert_eq!(peer.connection.stream_ended(stream), Some(StreamError::Protocol(ErrorCode::STREAM_CLOSED)));
    peer.send_request(3, END, &GET);
    peer.send_headers(3, END, &[("a", "b")]);
    assert_eq!(peer.frames(), ["RST_STREAM 3 STREAM_CLOSED"]);
}
