//! Windows (RFC 9113 sections 5.2 and 6.9), turns, and what waits where.

use super::*;
use crate::http::h2::frame::setting;

const SMALL: H2Settings =
    H2Settings { stream_window_bytes: 100_000, connection_window_bytes: 300_000, ..H2Settings::SERVER };

fn data(bytes: usize) -> Chunk {
    Chunk::from_vec(vec![b'x'; bytes])
}

fn begin_response(peer: &mut Peer, id: u32) -> StreamId {
    let stream = peer.send_request(id, END, &GET);
    peer.connection.send_response(stream, &response(200, &[]), false);
    peer.frames();
    stream
}

#[test]
fn windows_of_the_peer_are_kept_to() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_setting(setting::INITIAL_WINDOW_SIZE, 10);
    let stream = begin_response(&mut peer, 1);
    peer.connection.send_data(stream, data(25), true);
    assert_eq!(peer.frames(), ["DATA 1 xxxxxxxxxx"]);
    assert!(!peer.connection.wants_output());
    peer.send_window_update(1, 5);
    assert_eq!(peer.frames(), ["DATA 1 xxxxx"]);
    peer.send_window_update(1, 100);
    assert_eq!(peer.frames(), ["DATA 1 END_STREAM xxxxxxxxxx"]);
}

#[test]
fn the_initial_window_may_change_under_way() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_setting(setting::INITIAL_WINDOW_SIZE, 10);
    let stream = begin_response(&mut peer, 1);
    peer.connection.send_data(stream, data(100), true);
    peer.frames();
    // Section 6.9.2: it becomes negative, and is positive again only after as much was added.
    peer.send_setting(setting::INITIAL_WINDOW_SIZE, 4);
    peer.send_window_update(1, 6);
    assert_eq!(peer.frames(), ["SETTINGS ACK"]);
    peer.send_window_update(1, 1);
    assert_eq!(peer.frames(), ["DATA 1 x"]);
    peer.send_setting(setting::INITIAL_WINDOW_SIZE, 24);
    assert_eq!(peer.frames(), ["SETTINGS ACK", "DATA 1 xxxxxxxxxxxxxxxxxxxx"]);
    // Beyond the largest window.
    peer.send_window_update(1, frame::MAX_31_BITS - 100);
    let mut settings = setting::INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    settings.extend(frame::MAX_31_BITS.to_be_bytes());
    let result = peer.try_send_frame(Kind::SETTINGS, 0, 0, &settings);
    assert_eq!(result, Err(ConnectionError::FlowControl));
}

#[test]
fn an_end_needs_no_window() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_setting(setting::INITIAL_WINDOW_SIZE, 0);
    let stream = begin_response(&mut peer, 1);
    peer.connection.send_end(stream);
    assert_eq!(peer.frames(), ["DATA 1 END_STREAM "]);
    let stream = begin_response(&mut peer, 3);
    peer.connection.send_trailers(stream, &map(&[("a", "b")]));
    assert_eq!(peer.frames(), ["HEADERS 3 END_STREAM a=b"]);
    // But trailers come behind data.
    let stream = begin_response(&mut peer, 5);
    peer.connection.send_data(stream, data(2), false);
    peer.connection.send_trailers(stream, &map(&[("a", "b")]));
    assert_eq!(peer.frames(), Vec::<String>::new());
    peer.send_window_update(5, 2);
    assert_eq!(peer.frames(), ["DATA 5 xx", "HEADERS 5 END_STREAM a=b"]);
}

#[test]
fn streams_take_turns() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let streams: Vec<_> = [1, 3, 5].map(|id| begin_response(&mut peer, id)).into();
    for stream in &streams {
        peer.connection.send_data(*stream, data(30_000), true);
    }
    // The connection's window of 65,535 bytes is what is scarce.
    assert_eq!(
        peer.frames(),
        [
            "DATA 1 16384 bytes",
            "DATA 3 16384 bytes",
            "DATA 5 16384 bytes",
            "DATA 1 END_STREAM 13616 bytes",
            "DATA 3 2767 bytes"
        ]
    );
    let late = begin_response(&mut peer, 7);
    peer.connection.send_data(late, data(10), true);
    peer.send_window_update(0, 20_000);
    assert_eq!(
        peer.frames(),
        ["DATA 5 END_STREAM 13616 bytes", "DATA 3 6384 bytes"],
        "whose turn it was, goes on; the late one waits behind"
    );
    peer.send_window_update(0, 20_000);
    assert_eq!(peer.frames(), ["DATA 7 END_STREAM xxxxxxxxxx", "DATA 3 END_STREAM 4465 bytes"]);
}

#[test]
fn no_more_is_written_than_there_is_room_for() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_window_update(0, 1 << 20);
    let stream = begin_response(&mut peer, 1);
    peer.connection.send_data(stream, data(60_000), true);
    peer.received.limit_bytes = 20_000;
    assert_eq!(peer.frames(), ["DATA 1 16384 bytes", "DATA 1 16384 bytes"], "one frame beyond");
    assert!(peer.connection.wants_output());
    peer.received.limit_bytes = 0;
    peer.connection.ping();
    assert_eq!(peer.frames(), Vec::<String>::new());
    assert!(peer.connection.poll_output(&mut context()).is_ready());
    peer.received.limit_bytes = usize::MAX;
    assert_eq!(peer.frames().len(), 3);
    assert!(!peer.connection.wants_output());
}

#[test]
fn large_pieces_are_not_copied_and_small_ones_share_frames() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = begin_response(&mut peer, 1);
    for piece in [10, 10, 5_000, 20, 2_048] {
        peer.connection.send_data(stream, data(piece), false);
    }
    assert_eq!(peer.frames(), ["DATA 1 7088 bytes"]);
    assert_eq!(peer.received.chunks, 1, "the piece of 5,000 bytes");
}

#[test]
fn a_stream_tells_when_it_is_full() {
    let settings = H2Settings { stream_send_buffer_bytes: 1_000, ..H2Settings::SERVER };
    let mut peer = Peer::of_server(settings);
    peer.send_setting(setting::INITIAL_WINDOW_SIZE, 100);
    let stream = begin_response(&mut peer, 1);
    let woken = std::sync::Arc::new(Woken::default());
    let waker = Waker::from(std::sync::Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(peer.connection.poll_send_ready(stream, &mut cx).is_ready());
    peer.connection.send_data(stream, data(999), false);
    assert!(peer.connection.poll_send_ready(stream, &mut cx).is_ready());
    peer.connection.send_data(stream, data(201), false);
    assert!(peer.connection.poll_send_ready(stream, &mut cx).is_pending());
    peer.frames();
    peer.send_window_update(1, 400);
    peer.frames();
    assert_eq!((peer.connection.queued_bytes(stream), woken.count()), (700, 0));
    peer.send_window_update(1, 200);
    peer.frames();
    assert_eq!((peer.connection.queued_bytes(stream), woken.count()), (500, 1), "half is left");
    assert!(peer.connection.poll_send_ready(stream, &mut cx).is_ready());
    peer.connection.send_end(stream);
    assert!(peer.connection.poll_flushed(stream, &mut cx).is_pending());
    assert_eq!(peer.connection.pending_send_bytes(), 500);
    peer.send_window_update(1, 500);
    peer.frames();
    assert_eq!(woken.count(), 2);
    assert_eq!(peer.connection.poll_flushed(stream, &mut cx), Poll::Ready(Ok(())));
}

#[test]
fn windows_open_as_data_is_taken() {
    let mut peer = Peer::of_server(SMALL);
    let stream = peer.send_request(1, 0, &POST);
    for _ in 0..6 {
        peer.send_data(1, 0, &[b'x'; 10_000]);
    }
    assert_eq!(peer.frames(), Vec::<String>::new(), "nothing was taken");
    assert_eq!(peer.connection.held_bytes(), 60_000);
    for _ in 0..5 {
        assert!(peer.connection.poll_body(stream, &mut context()).is_ready());
    }
    assert_eq!(peer.frames(), ["WINDOW_UPDATE 1 50000"], "half a window is reported at once");
    // The connection's opens as data arrives.
    for _ in 0..9 {
        peer.send_data(1, 0, &[b'x'; 10_000]);
    }
    assert_eq!(peer.frames(), ["WINDOW_UPDATE 0 150000"]);
    // The stream's last byte may be sent, but no more.
    assert_eq!(peer.connection.held_bytes(), 100_000);
    peer.send_frame(Kind::DATA, 0, 1, b"x");
    assert_eq!(peer.frames(), ["RST_STREAM 1 FLOW_CONTROL_ERROR"]);
    assert_eq!(peer.connection.held_bytes(), 0);
}

#[test]
fn stalled_streams_do_not_stall_others_until_they_hold_a_whole_window() {
    let mut peer = Peer::of_server(SMALL);
    let mut sent = 0;
    let mut fill = |peer: &mut Peer, id: u32| {
        for _ in 0..10 {
            let bytes = frame_bytes(Kind::DATA, 0, id, &[b'x'; 10_000]);
            if peer.try_send(&bytes).is_err() {
                return false;
            }
            sent += 10_000;
        }
        true
    };
    let streams: Vec<_> = (0..8).map(|index| peer.send_request(index * 2 + 1, 0, &POST)).collect();
    // Three stalled streams hold a whole window; the others still have all of it.
    for stream in &streams[..3] {
        assert!(fill(&mut peer, stream.get()));
    }
    let updates: u32 = peer
        .frames()
        .iter()
        .filter_map(|line| line.strip_prefix("WINDOW_UPDATE 0 ")?.parse::<u32>().ok())
        .sum();
    assert!(updates >= 150_000, "{updates}");
    assert!(fill(&mut peer, streams[3].get()) && fill(&mut peer, streams[4].get()));
    // Never more than two windows.
    let last = fill(&mut peer, streams[5].get()) && fill(&mut peer, streams[6].get());
    assert!(!last && sent <= 600_000, "{sent}");
}

#[test]
fn taking_data_of_stalled_streams_opens_the_connection() {
    let mut peer = Peer::of_server(SMALL);
    let streams: Vec<_> = (0..6).map(|index| peer.send_request(index * 2 + 1, 0, &POST)).collect();
    for stream in &streams {
        for _ in 0..9 {
            peer.send_data(stream.get(), 0, &[b'x'; 10_000]);
        }
    }
    peer.frames();
    assert_eq!(peer.connection.held_bytes(), 540_000);
    // Reset by us, taken, let go: each gives the window back.
    peer.connection.reset(streams[0], ErrorCode::CANCEL);
    peer.connection.release(streams[1]);
    for stream in &streams[2..4] {
        body(&mut peer.connection, *stream);
    }
    assert_eq!(peer.connection.held_bytes(), 180_000);
    let lines = peer.frames();
    assert!(lines.iter().any(|line| line.starts_with("WINDOW_UPDATE 0 ")), "{lines:?}");
    assert!(lines.contains(&"WINDOW_UPDATE 5 50000".to_owned()), "{lines:?}");
    // All of the window is there again.
    for stream in &streams[2..5] {
        peer.send_data(stream.get(), 0, &[b'x'; 10_000]);
    }
}

#[test]
fn data_that_nobody_wants_counts_against_the_connection() {
    let mut peer = Peer::of_server(SMALL);
    let stream = peer.send_request(1, 0, &POST);
    peer.connection.reset(stream, ErrorCode::CANCEL);
    for _ in 0..20 {
        peer.send_data(1, 0, &[b'x'; 10_000]);
    }
    assert_eq!(peer.frames(), ["RST_STREAM 1 CANCEL", "WINDOW_UPDATE 0 150000"]);
    let mut peer = Peer::of_server(SMALL);
    peer.send_request(1, 0, &POST);
    peer.connection.skip_window(299_000);
    let result = peer.try_send_frame(Kind::DATA, 0, 1, &[b'x'; 1_001]);
    assert_eq!(result, Err(ConnectionError::FlowControl));
}

#[test]
fn padding_is_given_back() {
    let mut peer = Peer::of_server(SMALL);
    let stream = peer.send_request(1, 0, &POST);
    let padded = [&[255, b'x'][..], &[0; 255]].concat();
    for _ in 0..300 {
        peer.send_frame(Kind::DATA, flag::PADDED, 1, &padded);
    }
    assert_eq!(peer.connection.held_bytes(), 300);
    assert_eq!(peer.frames(), ["WINDOW_UPDATE 1 50176"]);
    assert_eq!(body(&mut peer.connection, stream)[0].len(), "data ".len() + 300);
}
