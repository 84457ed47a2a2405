//! The simulated network behaves as a network, and a seed names a history.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::io::{self, ListenOptions, Listener, SocketOptions, sleep, spawn, spawn_task};

fn listen() -> (Listener, Address) {
    let options = ListenOptions::new(Address::Ip("10.0.0.1:0".parse().expect("an address")));
    let listener = Listener::bind(&options).expect("a listener");
    let address = listener.local_address().expect("bound");
    (listener, address)
}

/// Sends back what comes, until the end.
async fn echo(mut listener: Listener) {
    while let Ok(mut socket) = listener.accept().await {
        spawn(async move {
            while let Ok(Some(chunk)) = socket.recv().await {
                socket.write_chunk(chunk);
                let _ = socket.drained(20_000).await;
            }
            socket.close_after_flush(Duration::from_secs(1));
        });
    }
}

/// Sends `len` bytes to an echo and checks that the same come back.
async fn ask_echo(address: &Address, len: usize) {
    let mut socket = Socket::connect(address, &SocketOptions::default());
    let sent: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    socket.write(&sent);
    socket.shutdown_write();
    let mut received = Vec::new();
    while let Some(chunk) = socket.recv().await.expect("no error") {
        received.extend_from_slice(&chunk);
    }
    assert!(received == sent, "{} of {len} bytes", received.len());
}

async fn echo_world() {
    let (listener, address) = listen();
    let server = spawn_task(echo(listener));
    let asking: Vec<_> = [0, 1, 1_000, 300_000]
        .map(|len| {
            let address = address.clone();
            spawn_task(async move { ask_echo(&address, len).await })
        })
        .into();
    for task in asking {
        task.await;
    }
    drop(server);
}

fn run_clean<F: Future<Output = ()> + 'static>(seed: u64, main: impl FnOnce() -> F) -> SimReport<()> {
    let report = run(seed, &SimOptions::default(), main).expect("the world ends");
    assert_eq!(report.counters.panics.get(), 0, "seed {seed}");
    assert_eq!(report.counters.leaked.get(), 0, "seed {seed}");
    report
}

#[test]
fn bytes_come_back_whatever_the_order() {
    for seed in 0..20 {
        run_clean(seed, echo_world);
    }
}

#[test]
fn a_seed_names_a_history() {
    let hashes: Vec<_> = [7, 7, 8].map(|seed| run_clean(seed, echo_world).trace_hash).into();
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
}

#[test]
fn an_hour_passes_in_no_time() {
    let began = std::time::Instant::now();
    let report = run_clean(1, || async {
        let before = io::unix_time();
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(io::unix_time().as_secs() - before.as_secs(), 3_600);
    });
    assert!(report.virtual_time >= Duration::from_secs(3_600));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn nobody_listens() {
    run_clean(1, || async {
        let address = Address::Ip("10.0.0.1:1".parse().expect("an address"));
        let error = Socket::connect(&address, &SocketOptions::default()).connected().await;
        assert_eq!(error.expect_err("refused").raw_os_error(), Some(libc::ECONNREFUSED));
        let (_listener, taken) = listen();
        let options = ListenOptions { reuse_port: false, ..ListenOptions::new(taken) };
        let error = Listener::bind(&options).expect_err("in use");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    });
}

#[test]
fn a_lost_connect_and_a_severed_connection_stay_silent() {
    run_clean(3, || async {
        let (mut listener, address) = listen();
        let lost = LinkOptions { lost_connects_percent: 100, ..LinkOptions::default() };
        set_link(&address, lost);
        let done = Rc::new(Cell::new(false));
        let seen = done.clone();
        let target = address.clone();
        let waiting = spawn_task(async move {
            let _ = Socket::connect(&target, &SocketOptions::default()).connected().await;
            seen.set(true);
        });
        sleep(Duration::from_secs(60)).await;
        assert!(!done.get());
        drop(waiting);
        set_link(&address, LinkOptions::default());
        let mut client = Socket::connect(&address, &SocketOptions::default());
        let mut server = listener.accept().await.expect("a connection");
        sever(&client);
        client.write(b"into the void");
        drop(client.connected().await);
        let seen = done.clone();
        let waiting = spawn_task(async move {
            let _ = server.recv().await;
            seen.set(true);
        });
        drop(client);
        sleep(Duration::from_secs(60)).await;
        assert!(!done.get());
        drop(waiting);
    });
}

#[test]
fn closing_with_unread_data_resets_and_a_reset_is_seen() {
    for seed in 0..20 {
        run_clean(seed, || async {
            let (mut listener, address) = listen();
            let mut client = Socket::connect(&address, &SocketOptions::default());
            client.write(b"not read");
            let server = listener.accept().await.expect("a connection");
            sleep(Duration::from_millis(10)).await;
            drop(server);
            let error = client.recv().await.expect_err("a reset");
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        });
    }
}

#[test]
fn a_slow_reader_holds_its_sender_back() {
    run_clean(5, || async {
        let (mut listener, address) = listen();
        let small = LinkOptions { window_bytes: 1_000, ..LinkOptions::default() };
        set_link(&address, small);
        let mut client = Socket::connect(&address, &SocketOptions::default());
        client.write(&[7; 10_000]);
        let mut server = listener.accept().await.expect("a connection");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(client.queued_bytes(), 9_000);
        let mut received = 0;
        while received < 10_000 {
            received += server.recv().await.expect("no error").expect("more").len();
        }
        client.drained(0).await.expect("drained");
    });
}

#[test]
fn failed_accepts_are_tried_again() {
    run_clean(6, || async {
        let (mut listener, address) = listen();
        let rare = LinkOptions { failed_accepts_percent: 60, ..LinkOptions::default() };
        set_link(&address, rare);
        let clients: Vec<_> = (0..10).map(|_| Socket::connect(&address, &SocketOptions::default())).collect();
        for _ in 0..10 {
            listener.accept().await.expect("a connection, after a while");
        }
        assert!(io::counters().accept_errors.get() > 0);
        drop(clients);
    });
}

#[test]
fn a_world_that_is_stuck_ends() {
    let error = run(1, &SimOptions::default(), std::future::pending::<()>).expect_err("stuck");
    assert!(error.to_string().contains("waits for ever"), "{error}");
}
