//! Each attack of the flood table, performed. Where Envoy 1.40 was measured, the attack is cut at the very frame where the
//! program cuts it.

use super::*;

type Sent = Result<(), ConnectionError>;

/// Repeats `step`, which gets 0, 1, ..., until it is refused. How many were accepted, and why no more.
#[track_caller]
fn attack(peer: &mut Peer, mut step: impl FnMut(&mut Peer, u32) -> Sent) -> (u32, ConnectionError) {
    for index in 0..200_000 {
        if let Err(error) = step(peer, index) {
            assert_eq!(error.code(), ErrorCode::ENHANCE_YOUR_CALM);
            assert_eq!(peer.connection.ended(), Some(ConnectionEnd::Error(error)));
            return (index, error);
        }
    }
    panic!("not cut");
}

fn server_with_requests(count: u32) -> Peer {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    for index in 0..count {
        peer.send_request(index * 2 + 1, 0, &POST);
    }
    peer
}

fn reset_bytes(stream: u32) -> Vec<u8> {
    frame_bytes(Kind::RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

#[test]
fn rapid_reset_is_cut_at_the_250th() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let cut = attack(&mut peer, |peer, index| {
        let headers = peer.headers_bytes(index * 2 + 1, END, &GET);
        peer.try_send(&[headers, reset_bytes(index * 2 + 1)].concat())
    });
    assert_eq!(cut, (249, ConnectionError::PrematureResets));
    assert!(peer.connection.next_request().is_none(), "no request was ever handed out");
    assert_eq!(peer.connection.take_counts().reset_before_taken, 250);
    assert!(peer.connection.is_idle());
}

#[test]
fn rapid_reset_of_requests_that_were_taken() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let cut = attack(&mut peer, |peer, index| {
        let stream = peer.send_request(index * 2 + 1, END, &GET);
        let result = peer.try_send(&reset_bytes(stream.get()));
        peer.connection.release(stream);
        result
    });
    assert_eq!(cut, (249, ConnectionError::PrematureResets));
    assert!(peer.connection.is_idle());
}

/// Resets of requests that were answered, or that took long, are no attack; but they have a rate.
#[test]
fn other_resets_have_a_rate() {
    for answered in [true, false] {
        let mut peer = Peer::of_server(H2Settings::SERVER);
        let cut = attack(&mut peer, |peer, index| {
            let stream = peer.send_request(index * 2 + 1, END, &GET);
            if answered {
                peer.connection.send_response(stream, &response(200, &[]), false);
                peer.frames();
            } else if index < 500 {
                peer.wait(Duration::from_secs(2));
            }
            let result = peer.try_send(&reset_bytes(stream.get()));
            peer.connection.release(stream);
            result
        });
        match answered {
            true => assert_eq!(cut, (1_000, ConnectionError::ResetFlood)),
            // Half of all, of which the first 500 took long.
            false => assert_eq!(cut, (999, ConnectionError::PrematureResets)),
        }
    }
}

/// The server resets because of the client's mistakes, which others have not counted (CVE-2025-8671).
#[test]
fn made_you_reset() {
    let mistakes: [fn(&mut Peer, u32) -> Vec<u8>; 4] = [
        |peer, stream| {
            let head = peer.headers_bytes(stream, 0, &[&POST[..], &[("content-length", "5")]].concat());
            [head, frame_bytes(Kind::DATA, END, stream, b"abc")].concat()
        },
        |peer, stream| {
            let head = peer.headers_bytes(stream, END, &GET);
            [head, frame_bytes(Kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat()
        },
        |peer, stream| {
            let head = peer.headers_bytes(stream, END, &GET);
            [head, frame_bytes(Kind::DATA, 0, stream, b"x")].concat()
        },
        |peer, stream| {
            let head = peer.headers_bytes(stream, END, &GET);
            [head, frame_bytes(Kind::PRIORITY, 0, stream, b"1234")].concat()
        },
    ];
    for (number, mistake) in mistakes.into_iter().enumerate() {
        let mut peer = Peer::of_server(H2Settings::SERVER);
        let cut = attack(&mut peer, |peer, index| {
            let bytes = mistake(peer, index * 2 + 1);
            let result = peer.try_send(&bytes);
            peer.frames();
            result
        });
        let (accepted, error) = cut;
        // WINDOW_UPDATE and PRIORITY have limits of their own, which are reached before.
        assert!(accepted <= 249, "{number}: {accepted} {error}");
        let is_expected = match number {
            1 => error == ConnectionError::WindowUpdateFlood,
            3 => error == ConnectionError::PriorityFlood || accepted == 249,
            _ => (accepted, error) == (249, ConnectionError::PrematureResets),
        };
        assert!(is_expected, "{number}: {accepted} {error}");
    }
    // Malformed heads, where they do not end the connection.
    let settings = H2Settings { stream_error_on_invalid_message: true, ..H2Settings::SERVER };
    let mut peer = Peer::of_server(settings);
    let cut = attack(&mut peer, |peer, index| {
        let result = peer.try_send_headers(index * 2 + 1, END, &GET[..3]);
        peer.frames();
        result
    });
    assert_eq!(cut, (249, ConnectionError::PrematureResets));
}

/// Streams beyond the limit that the client has acknowledged.
#[test]
fn streams_that_are_refused() {
    let mut peer = Peer::of_server(H2Settings { max_concurrent_streams: 1, ..H2Settings::SERVER });
    peer.send_request(1, 0, &POST);
    let cut = attack(&mut peer, |peer, index| {
        let result = peer.try_send_headers(index * 2 + 3, END, &GET);
        peer.frames();
        result
    });
    assert_eq!(cut, (249, ConnectionError::PrematureResets));
}

#[test]
fn priority() {
    for (open, tolerated) in [(0, 100), (1, 200), (10, 1_100)] {
        let mut peer = server_with_requests(open);
        let cut = attack(&mut peer, |peer, _| peer.try_send_frame(Kind::PRIORITY, 0, 1, b"\0\0\0\0\x10"));
        assert_eq!(cut, (tolerated, ConnectionError::PriorityFlood));
    }
}

#[test]
fn window_updates() {
    for (open, stream, tolerated) in [(0, 0, 5), (1, 0, 7), (1, 1, 7), (10, 1, 25)] {
        let mut peer = server_with_requests(open);
        let cut =
            attack(&mut peer, |peer, _| peer.try_send_frame(Kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]));
        assert_eq!(cut, (tolerated, ConnectionError::WindowUpdateFlood));
    }
    // Data that was sent allows more.
    let mut peer = Peer::of_server(H2Settings::SERVER);
    for index in 0..10 {
        let stream = peer.send_request(index * 2 + 1, END, &GET);
        peer.connection.send_response(stream, &response(200, &[]), false);
        peer.connection.send_data(stream, Chunk::from_static(b"hello"), true);
        peer.frames();
        peer.connection.release(stream);
    }
    let cut = attack(&mut peer, |peer, _| peer.try_send_frame(Kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    assert_eq!(cut, (205, ConnectionError::WindowUpdateFlood));
}

#[test]
fn empty_frames() {
    let mut peer = server_with_requests(1);
    let cut = attack(&mut peer, |peer, _| peer.try_send_frame(Kind::DATA, 0, 1, b""));
    assert_eq!(cut, (1, ConnectionError::EmptyFramesFlood));
    let mut peer = server_with_requests(1);
    let cut = attack(&mut peer, |peer, _| peer.try_send_frame(Kind::DATA, flag::PADDED, 1, b"\x03\0\0\0"));
    assert_eq!(cut, (1, ConnectionError::EmptyFramesFlood));
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let cut = attack(&mut peer, |peer, index| match index {
        0 => peer.try_send_frame(Kind::HEADERS, 0, 1, b"\x82"),
        _ => peer.try_send_frame(Kind::CONTINUATION, 0, 1, b""),
    });
    assert_eq!(cut, (2, ConnectionError::EmptyFramesFlood));
}

/// CVE-2024-27919 and its kin: a block without end.
#[test]
fn continuation() {
    // Few bytes each.
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_frame(Kind::HEADERS, END, 1, b"\x82\x00\x01a\x7f\xe1\x7f");
    let cut = attack(&mut peer, |peer, _| peer.try_send_frame(Kind::CONTINUATION, 0, 1, b"x"));
    assert_eq!(cut, (512, ConnectionError::ContinuationFlood));
    // Whole fields.
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_frame(Kind::HEADERS, END, 1, b"\x82");
    let fields = b"\x00\x01a\x01b".repeat(50);
    let (accepted, error) =
        attack(&mut peer, |peer, _| peer.try_send_frame(Kind::CONTINUATION, 0, 1, &fields));
    assert!(accepted < 10 && error == ConnectionError::HeaderBlockTooLarge, "{accepted} {error}");
    // One field that never ends.
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_frame(Kind::HEADERS, END, 1, b"\x82\x00\x01a\x7f\xff\xff\xff\x7e");
    let (accepted, error) = attack(&mut peer, |peer, _| {
        let result = peer.try_send_frame(Kind::CONTINUATION, 0, 1, &[b'x'; 16_384]);
        let held = peer.connection.heap_bytes().others;
        assert!(held <= 128 * 1024, "{held} bytes held");
        result
    });
    assert!(accepted <= 5 && error == ConnectionError::HeaderBlockTooLarge, "{accepted} {error}");
    // A server may send twice as many frames.
    let mut peer = Peer::of_client(H2Settings::CLIENT);
    peer.open(Method::Get, true);
    peer.send_frame(Kind::HEADERS, END, 1, b"\x88\x00\x01a\x7f\xe1\x7f");
    let cut = attack(&mut peer, |peer, _| peer.try_send_frame(Kind::CONTINUATION, 0, 1, b"x"));
    assert_eq!(cut, (1_024, ConnectionError::ContinuationFlood));
}

/// A single byte on the wire stands for a field of 4,000 bytes.
#[test]
fn hpack_bombs() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let bomb = [&b"\x40\x01a\x7f\x81\x1e"[..], &[b'x'; 3_968]].concat();
    let head = peer.block(&GET[..1]);
    let first = [&peer.block(&GET)[..], &bomb].concat();
    peer.send_frame(Kind::HEADERS, END | flag::END_HEADERS, 1, &first);
    peer.request();
    peer.send_frame(Kind::HEADERS, END, 3, &head);
    let (accepted, error) = attack(&mut peer, |peer, _| {
        let result = peer.try_send_frame(Kind::CONTINUATION, 0, 3, &[0xbe; 16]);
        let held = peer.connection.heap_bytes().others;
        assert!(held <= 128 * 1024, "{held} bytes held");
        result
    });
    assert!(accepted <= 4 && error == ConnectionError::HeaderBlockTooLarge, "{accepted} {error}");
    // Within the grace, the client can be told: pieces of a cookie count, too.
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let crumb = [&b"\x60\x7f\x81\x1e"[..], &[b'x'; 3_968]].concat();
    let block = [&peer.block(&GET)[..], &crumb, &[0xbe; 20]].concat();
    peer.send_frame(Kind::HEADERS, END | flag::END_HEADERS, 1, &block);
    assert_eq!(peer.request().overflow, Some(HeaderOverflow::Bytes));
}

/// The client does not read: answers wait here once the socket's queue is full.
#[test]
fn answers_that_nobody_reads() {
    for (kind, payload) in [(Kind::PING, &b"12345678"[..]), (Kind::SETTINGS, b"")] {
        let mut peer = server_with_requests(1);
        peer.received.limit_bytes = 0;
        let cut = attack(&mut peer, |peer, _| {
            peer.connection.write_output(&mut peer.received);
            peer.try_send_frame(kind, 0, 0, payload)
        });
        assert_eq!(cut, (1_000, ConnectionError::OutboundControlFlood));
        let held = peer.connection.heap_bytes().others;
        assert!(held < 64 * 1024, "{held} bytes held");
    }
}

#[test]
fn responses_that_nobody_reads() {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.received.limit_bytes = 0;
    let cut = attack(&mut peer, |peer, index| {
        let head = peer.headers_bytes(index * 2 + 1, END, &GET);
        peer.try_send(&head)?;
        let stream = peer.request().stream;
        peer.connection.send_response(stream, &response(204, &[]), true);
        peer.connection.release(stream);
        peer.connection.write_output(&mut peer.received);
        Ok(())
    });
    assert_eq!(cut, (10_001, ConnectionError::OutboundFlood));
}

#[test]
fn metadata() {
    let mut peer = server_with_requests(1);
    let cut = attack(&mut peer, |peer, _| peer.try_send_frame(Kind::METADATA, 0, 1, &[0; 16_384]));
    assert_eq!(cut, (64, ConnectionError::MetadataFlood));
}

/// Bytes that come one by one are held together.
#[test]
fn single_bytes_of_data() {
    let mut peer = server_with_requests(1);
    let frames = frame_bytes(Kind::DATA, 0, 1, b"x").repeat(1_000);
    for _ in 0..100 {
        peer.send(&frames);
    }
    assert_eq!(peer.connection.held_bytes(), 100_000);
    let stream = peer.connection.first_stream();
    let (mut chunks, mut bytes) = (0, 0);
    while let Poll::Ready(Ok(BodyEvent::Data(chunk))) = peer.connection.poll_body(stream, &mut context()) {
        chunks += 1;
        bytes += chunk.len();
    }
    assert!(bytes == 100_000 && chunks <= 8, "{bytes} bytes in {chunks} chunks");
}

/// Changing the window of many streams over and over costs one look at them for each call.
#[test]
fn many_changes_of_the_window() {
    let mut peer = server_with_requests(1_000);
    let settings = [
        frame_bytes(Kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]),
        frame_bytes(Kind::SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0, 0]),
    ]
    .concat();
    peer.send(&settings.repeat(400));
    assert_eq!(peer.frames().len(), 800);
}
