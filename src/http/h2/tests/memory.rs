//! What a connection costs while it is idle, and what it holds while peers misbehave.

use super::*;
use crate::buf::Pool;

/// A connection that has served many requests at once, with bodies both ways.
fn busy_server() -> Peer {
    let mut peer = Peer::of_server(H2Settings::SERVER);
    peer.send_window_update(0, 1 << 24);
    for round in 0..20u32 {
        let streams: Vec<_> = (0..100)
            .map(|index| {
                let number = (round * 100 + index) * 2 + 1;
                peer.send_request(
                    number,
                    0,
                    &[&POST[..], &[("x-number", &number.to_string()), ("x-a", "b")]].concat(),
                )
            })
            .collect();
        for stream in &streams {
            peer.send_data(stream.get(), 0, &[b'x'; 3_000]);
            peer.send_headers(stream.get(), END, &[("x-trailer", "1")]);
        }
        for stream in streams {
            body(&mut peer.connection, stream);
            peer.connection.send_response(stream, &response(200, &[("x-b", "c")]), false);
            peer.connection.send_data(stream, Chunk::copy_from(&[b'y'; 5_000]), true);
            peer.frames();
            peer.connection.release(stream);
        }
    }
    peer
}

#[test]
fn an_idle_connection_holds_little() {
    let peer = busy_server();
    assert!(peer.connection.is_idle());
    let heap = peer.connection.heap_bytes();
    assert!(heap.others <= 4096, "{heap:?}");
    assert!(heap.hpack_tables <= 24 * 1024, "{heap:?}");
    assert!(size_of::<Connection>() <= 1024, "{}", size_of::<Connection>());
    let fresh = Connection::server(H2Settings::SERVER).heap_bytes();
    assert_eq!(fresh.hpack_tables, 0);
}

#[test]
fn an_idle_connection_holds_no_receive_blocks() {
    let pool = Pool::install(64).expect("a pool");
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, 0, &POST);
    let bytes =
        [frame_bytes(Kind::DATA, 0, 1, &[b'x'; 8_000]), frame_bytes(Kind::PING, 0, 0, b"1234")[..9].to_vec()];
    let block = pool.copy_to_block(&bytes.concat()).expect("a block");
    peer.connection.receive(block, peer.now).expect("accepted");
    assert_eq!(pool.usage().live_blocks, 1, "the data lies where it was received");
    body(&mut peer.connection, stream);
    assert_eq!(pool.usage().live_blocks, 0, "the beginning of a frame was copied");
}

/// A slow reader of uploads, whose data comes in the lesser part of each block.
#[test]
fn blocks_are_not_kept_for_little_data() {
    let pool = Pool::install(4_096).expect("a pool");
    let mut peer = Peer::of_server(H2Settings::SERVER);
    let stream = peer.send_request(1, 0, &POST);
    // Each block: 2,100 bytes of data that stay, and 13 KiB that do not.
    let mut block = frame_bytes(Kind::DATA, 0, 1, &[b'x'; 2_100]);
    block.extend(frame_bytes(Kind(0xbb), 0, 0, &[0; 13_000]));
    for _ in 0..1_000 {
        let chunk = pool.copy_to_block(&block).expect("a block");
        peer.connection.receive(chunk, peer.now).expect("accepted");
    }
    assert_eq!(peer.connection.held_bytes(), 2_100_000);
    let blocks = pool.usage().live_blocks;
    assert!(blocks * crate::buf::BLOCK_BYTES <= 2_200_000, "{blocks} blocks");
    peer.connection.release(stream);
    assert_eq!(pool.usage().live_blocks, 0);
}

#[test]
fn errors_are_small() {
    assert!(size_of::<Result<(), ConnectionError>>() <= 24);
    assert!(size_of::<StreamError>() <= 32);
    assert!(size_of::<H2Settings>() <= 128);
}
