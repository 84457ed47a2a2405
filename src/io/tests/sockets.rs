//! Connections: data, ends, errors.

use super::*;

on_both_drivers!(
    echoes,
    half_close,
    a_peer_that_is_gone_is_told_from_a_half_closed_one,
    unread_bytes_come_first,
    large_both_ways,
    reset_is_seen,
    refused,
    write_before_connected,
    close_after_flush_delivers,
    close_after_flush_times_out,
    dropping_closes,
    reusable,
    unix_sockets,
    accept_pauses,
    addresses,
    sends_are_coalesced,
    dropped_while_everything_is_under_way,
);

async fn echoes() {
    let (mut far, mut near) = pair().await;
    for len in [1, 100, 4_096, 4_097, 16_384, 100_000] {
        let sent = pattern(len, 1);
        near.write(&sent);
        let got = read(&mut far, len).await;
        assert_eq!(got, sent);
        far.with_write_buffer(|buffer| buffer.extend_from_slice(&got));
        assert_eq!(read(&mut near, len).await, sent);
    }
    assert_eq!(near.bytes_sent(), near.bytes_received());
}

async fn half_close() {
    let (mut far, mut near) = pair().await;
    near.write(b"request");
    near.shutdown_write();
    near.write(b"too late");
    assert_eq!(read(&mut far, usize::MAX).await, b"request");
    assert!(far.is_read_ended());
    far.write(b"answer");
    far.shutdown_write();
    assert_eq!(read(&mut near, usize::MAX).await, b"answer");
    assert!(matches!(near.recv().await, Ok(None)), "the end stays");
}

async fn a_peer_that_is_gone_is_told_from_a_half_closed_one() {
    let (mut far, near) = pair().await;
    drop(near);
    assert!(matches!(far.recv().await, Ok(None)), "an orderly end, so far");
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        polls += 1;
        if polls == 1 {
            assert!(far.poll_failed(cx).is_pending(), "nothing was sent that it could refuse");
            far.write(b"x");
        }
        far.poll_failed(cx)
    })
    .await;
    assert!(far.recv().await.is_err() && far.write_error().is_some());
    // One that reads on is not gone.
    let (mut far, mut near) = pair().await;
    near.shutdown_write();
    assert!(matches!(far.recv().await, Ok(None)));
    let is_failed = std::rc::Rc::new(std::cell::Cell::new(false));
    let seen = is_failed.clone();
    let watched = spawn_task(async move {
        let mut written = 0;
        std::future::poll_fn(|cx| {
            while written < 3 {
                far.write(b"still here");
                written += 1;
            }
            far.poll_failed(cx)
        })
        .await;
        seen.set(true);
    });
    assert_eq!(read(&mut near, 30).await.len(), 30);
    sleep(Duration::from_millis(20)).await;
    assert!(!is_failed.get());
    drop(watched);
    assert!(matches!(near.recv().await, Ok(None)), "dropped while watched");
}

async fn unread_bytes_come_first() {
    let (mut far, mut near) = pair().await;
    near.write(b"hello world");
    let mut first = far.recv().await.expect("data").expect("more");
    let rest = first.split_to(6);
    far.unread(first.clone());
    far.unread(rest);
    far.unread(crate::buf::Chunk::new());
    assert_eq!(far.unread_bytes(), 11);
    assert_eq!(read(&mut far, 11).await, b"hello world");
}

/// Each side sends, bounded by what has been drained, and reads slowly.
async fn large_both_ways() {
    const TOTAL: usize = 8 << 20;
    const QUEUED_MAX: usize = 256 << 10;
    async fn side(mut socket: Socket, seed: u8) {
        let (send, expect) = (pattern(TOTAL, seed), pattern(TOTAL, seed ^ 3));
        let (mut sent, mut received, mut turns) = (0, 0, 0);
        while sent < TOTAL || received < TOTAL {
            std::future::poll_fn(|cx| {
                let mut moved = false;
                while sent < TOTAL && socket.poll_drained(cx, QUEUED_MAX).is_ready() {
                    let piece = &send[sent..TOTAL.min(sent + 30_000)];
                    socket.write_chunk(crate::buf::Chunk::copy_from(piece));
                    sent += piece.len();
                    moved = true;
                }
                assert!(socket.queued_bytes() <= QUEUED_MAX + 30_000);
                // One chunk at a time: a slow reader.
                if let std::task::Poll::Ready(chunk) = socket.poll_recv(cx) {
                    let chunk = chunk.expect("data").expect("more");
                    assert_eq!(&chunk[..], &expect[received..received + chunk.len()]);
                    received += chunk.len();
                    moved = true;
                }
                if moved || (sent == TOTAL && received == TOTAL) {
                    return std::task::Poll::Ready(());
                }
                std::task::Poll::Pending
            })
            .await;
            turns += 1;
            if turns % 4 == 0 {
                yield_now().await;
            }
        }
        socket.drained(0).await.expect("sent");
        // The other side may not have read everything yet.
        socket.close_after_flush(HANG);
    }
    let (far, near) = pair().await;
    let far = spawn_task(side(far, 1));
    side(near, 2).await;
    far.await;
}

async fn reset_is_seen() {
    let (far, mut near) = pair().await;
    far.reset();
    let error = near.recv().await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    near.write(b"into the void");
    assert!(near.drained(0).await.is_err());
    assert!(near.write_error().is_some());
    near.write(b"discarded");
    assert_eq!(near.queued_bytes(), 0);
}

async fn refused() {
    let (listener, address) = listen();
    drop(listener);
    let mut socket = connect(&address);
    socket.write(b"never sent");
    let error = socket.connected().await.expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(socket.recv().await.is_err() && socket.drained(0).await.is_err());
    let mut socket = connect(&Address::unix("/nonexistent/socket"));
    assert_eq!(socket.connected().await.expect_err("no file").kind(), std::io::ErrorKind::NotFound);
    let mut socket = connect(&Address::unix("x".repeat(500)));
    assert!(socket.connected().await.is_err());
}

async fn write_before_connected() {
    let (mut listener, address) = listen();
    let mut near = connect(&address);
    near.write(b"early");
    near.shutdown_write();
    let mut far = listener.accept().await.expect("a connection");
    assert_eq!(read(&mut far, usize::MAX).await, b"early");
}

async fn close_after_flush_delivers() {
    let (mut far, mut near) = pair().await;
    let sent = pattern(3 << 20, 5);
    far.write(&sent);
    // Unread input at close would provoke a reset and destroy what is on its way.
    near.write(b"late input");
    far.close_after_flush(HANG);
    assert_eq!(read(&mut near, usize::MAX).await, sent);
    drop(near);
    while counters().live_sockets.get() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn close_after_flush_times_out() {
    let (far, mut near) = pair().await;
    far.close_after_flush(Duration::from_millis(30));
    assert!(matches!(near.recv().await, Ok(None)));
    let begun = now();
    while counters().live_sockets.get() > 1 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(now() - begun >= Duration::from_millis(20), "the peer keeps its side open");
}

async fn dropping_closes() {
    let (far, mut near) = pair().await;
    drop(far);
    assert!(matches!(near.recv().await, Ok(None)));
}

async fn reusable() {
    let (mut far, mut near) = pair().await;
    near.write(b"x");
    assert!(!near.is_reusable(), "unsent");
    near.drained(0).await.expect("sent");
    assert!(near.is_reusable());
    // Arms receiving, as an idle pooled connection has.
    assert_eq!(futures_poll_once(&mut near), None);
    far.write(b"unasked");
    while near.unread_bytes() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!near.is_reusable(), "unread");
    assert_eq!(near.try_recv().as_deref(), Some(&b"unasked"[..]));
    assert!(near.is_reusable());
    drop(far);
    while !near.is_read_ended() {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!near.is_reusable(), "ended");
}

/// Polls once without waiting.
fn futures_poll_once(socket: &mut Socket) -> Option<Vec<u8>> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match socket.poll_recv(&mut cx) {
        std::task::Poll::Ready(Ok(chunk)) => chunk.map(|chunk| chunk.to_vec()),
        _ => None,
    }
}

async fn unix_sockets() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = Address::unix(directory.path().join("socket"));
    let mut listener = Listener::bind(&ListenOptions::new(address.clone())).expect("a listener");
    assert_eq!(listener.local_address().expect("bound"), address);
    let mut near = connect(&address);
    let mut far = listener.accept().await.expect("a connection");
    assert_eq!(near.peer_address().expect("connected"), address);
    let sent = pattern(1 << 20, 9);
    near.write(&sent);
    near.shutdown_write();
    assert_eq!(read(&mut far, usize::MAX).await, sent);
    far.write(b"done");
    assert_eq!(read(&mut near, 4).await, b"done");
}

async fn accept_pauses() {
    let (mut listener, address) = listen();
    let first = connect(&address);
    let _accepted = listener.accept().await.expect("a connection");
    listener.set_paused(true);
    let mut second = connect(&address);
    second.connected().await.expect("the backlog takes it");
    let mut timer = Timer::new();
    timer.arm_after(Duration::from_millis(30));
    std::future::poll_fn(|cx| {
        assert!(listener.poll_accept(cx).is_pending(), "paused");
        timer.poll_expired(cx)
    })
    .await;
    listener.set_paused(false);
    let _accepted = listener.accept().await.expect("resumed");
    drop(first);
}

async fn addresses() {
    let (mut listener, address) = listen();
    let near = connect(&address);
    let far = listener.accept().await.expect("a connection");
    assert_eq!(near.peer_address().expect("connected"), address);
    assert_eq!(far.peer_address().expect("connected"), near.local_address().expect("bound"));
}

async fn sends_are_coalesced() {
    let (mut far, mut near) = pair().await;
    for _ in 0..50 {
        near.write(b"0123456789");
    }
    near.write_chunk(crate::buf::Chunk::copy_from(&pattern(3_000, 1)));
    let first = far.recv().await.expect("data").expect("data");
    assert_eq!(first.len(), 3_500, "one send, one receive");
}

async fn dropped_while_everything_is_under_way() {
    let (mut far, mut near) = pair().await;
    near.write(&pattern(4 << 20, 1));
    far.write(&pattern(4 << 20, 1));
    assert_eq!(futures_poll_once(&mut near), None);
    sleep(Duration::from_millis(5)).await;
    drop(near);
    drop(far);
    let (listener, address) = listen();
    let never_polled = connect(&address);
    drop(never_polled);
    drop(listener);
}
