//! Clients that stall, break the protocol or are gone: each is closed within a bound and counted, none leaves anything
//! behind, and others are served meanwhile. What is counted is what Envoy counts (`tests/envoy_diff/tls.rs`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{client, server, tls_listener};
use ringway_test_support::l4_config::{L4, access_log, direct_response, network_filter};
use ringway_test_support::process::read_file;
use ringway_test_support::{Driver, PATIENCE, PeerEnd, Proxy, TcpPeer, TlsStream, TlsVersion, eventually};

on_both_drivers! {
    a_stalled_handshake_ends_in_time
    a_handshake_has_ten_seconds_by_default
    hellos_come_in_any_pieces
    what_is_no_tls_is_closed
    clients_that_leave_leave_nothing
    broken_records_end_connections
    a_flood_of_alerts_ends_the_connection
    many_stalled_clients_hold_up_nobody
}

/// An echo over TLS on `main`, with a short time for handshakes on `short`.
fn start(driver: Driver) -> Proxy {
    let log =
        access_log("main.log", "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%");
    let echo = network_filter("echo.v3.Echo", "");
    let l4 = tls_listener(L4::new(), "main", "", "", &echo);
    let l4 = tls_listener(l4, "short", "", "", &echo);
    let yaml = l4.yaml().replacen(
        "filter_chains:",
        &format!("{}\n    filter_chains:", log.replace('\n', "\n    ")),
        1,
    );
    let (main, short) = yaml.split_once("- name: short").expect("two listeners");
    let short = short.replacen("- filters:", "- transport_socket_connect_timeout: 0.3s\n      filters:", 1);
    server(driver).start(&format!("{main}- name: short{short}"))
}

/// A client's hello, and the client that said it.
fn hello(proxy: &Proxy) -> (TlsStream, Vec<u8>) {
    let socket = TcpStream::connect(proxy.address()).expect("a connection");
    let mut stream = client().over(socket);
    let hello = stream.take_flight().expect("a hello");
    (stream, hello)
}

#[track_caller]
fn assert_serves(stream: &mut TlsStream) {
    stream.complete_handshake().expect("a handshake");
    stream.write_all(b"hello").expect("sent");
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).expect("an echo");
    assert_eq!(&echo, b"hello");
}

/// Nothing is left, and the next client is served.
#[track_caller]
fn assert_unharmed(proxy: Proxy) {
    for listener in ["main", "short"] {
        proxy.await_stat(&format!("listener.{listener}.downstream_cx_active"), 0);
    }
    assert_serves(&mut client().connect(proxy.address()).expect("a handshake"));
    proxy.stop();
}

fn a_stalled_handshake_ends_in_time(driver: Driver) {
    let proxy = start(driver);
    let address = proxy.address_of("short");
    // Nothing, a part of a hello, a hello without what must follow it.
    let (_, hello) = hello(&proxy);
    for said in [&[][..], &hello[..hello.len() / 2], &hello] {
        let began = Instant::now();
        let mut peer = TcpPeer::connect(address);
        peer.send(said);
        assert_ne!(peer.await_end(PATIENCE), PeerEnd::Open);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(proxy.stat("listener.short.downstream_cx_transport_socket_connect_timeout"), 3);
    assert_eq!(proxy.stat("listener.short.ssl.connection_error"), 0);
    // One that is slow but in time.
    let mut stream = client().over(TcpStream::connect(address).expect("a connection"));
    assert_serves(&mut stream);
    // Afterwards nobody hurries.
    stream.socket().set_read_timeout(Some(Duration::from_millis(400))).expect("a limit");
    let silence = stream.read(&mut [0]).expect_err("nothing to read, and no end");
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    stream.socket().set_read_timeout(Some(PATIENCE)).expect("a limit");
    assert_serves(&mut stream);
    drop(stream);
    assert_unharmed(proxy);
}

fn a_handshake_has_ten_seconds_by_default(driver: Driver) {
    let proxy = start(driver);
    let began = Instant::now();
    let mut peer = TcpPeer::connect(proxy.address());
    peer.send([22, 3, 1]);
    assert_ne!(peer.await_end(PATIENCE), PeerEnd::Open);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(14), "{took:?}");
    proxy.await_stat("listener.main.downstream_cx_transport_socket_connect_timeout", 1);
    eventually("the reason in the log", || {
        let log = read_file(&proxy.directory().join("main.log"));
        log.contains("- transport socket timeout was reached").then_some(())
    });
    assert_unharmed(proxy);
}

/// The handshake message of one record, in records of at most so many bytes.
fn in_records(record: &[u8], most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in record[5..].chunks(most) {
        out.extend_from_slice(&record[..3]);
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

fn hellos_come_in_any_pieces(driver: Driver) {
    let proxy = start(driver);
    // A byte at a time.
    let (mut stream, bytes) = hello(&proxy);
    for byte in bytes {
        stream.socket().write_all(&[byte]).expect("sent");
    }
    assert_serves(&mut stream);
    // Over records of any size.
    for most in [1, 3, 4, 100] {
        let (mut stream, bytes) = hello(&proxy);
        stream.socket().write_all(&in_records(&bytes, most)).expect("sent");
        assert_serves(&mut stream);
    }
    drop(stream);
    assert_eq!(proxy.stat("listener.main.ssl.connection_error"), 0);
    assert_unharmed(proxy);
}

fn what_is_no_tls_is_closed(driver: Driver) {
    let proxy = start(driver);
    let long_record = [&[22, 3, 1, 0x40, 1][..], &vec![1; 0x4001]].concat();
    let sslv2 = [0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 3, 0, 0x80, 7, 0, 0xc0];
    let cases: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &[0; 64],
        &[0xff; 20_000],
        &long_record,
        &sslv2,
        // A record of application data, as if the handshake were over.
        &[23, 3, 3, 0, 4, 1, 2, 3, 4],
    ];
    for (i, bytes) in cases.iter().enumerate() {
        let mut peer = TcpPeer::connect(proxy.address());
        let began = Instant::now();
        peer.send(bytes);
        assert_ne!(peer.await_end(PATIENCE), PeerEnd::Open);
        assert!(began.elapsed() < Duration::from_secs(8), "case {i}: not waited for");
        proxy.await_stat("listener.main.ssl.connection_error", i as u64 + 1);
        // At most an alert.
        assert!(peer.received.is_empty() || peer.received[0] == 21, "case {i}: {:?}", peer.received);
    }
    eventually("the reasons in the log", || {
        let log = read_file(&proxy.directory().join("main.log"));
        (log.lines().filter(|line| line.starts_with("TLS_error")).count() == cases.len()).then_some(())
    });
    assert_eq!(proxy.stat("listener.main.ssl.handshake"), 0);
    assert_unharmed(proxy);
}

fn clients_that_leave_leave_nothing(driver: Driver) {
    let proxy = start(driver);
    let (_, hello) = hello(&proxy);
    for said in [&[][..], &hello[..3], &hello[..hello.len() - 1], &hello] {
        for resets in [false, true] {
            let mut peer = TcpPeer::connect(proxy.address());
            peer.send(said);
            if said.len() == hello.len() {
                peer.read_until(1);
            }
            if resets {
                peer.reset();
            }
            drop(peer);
        }
    }
    // The end of a direction is the end of a handshake.
    let mut peer = TcpPeer::connect(proxy.address());
    peer.send(&hello[..3]).half_close();
    assert_ne!(peer.await_end(PATIENCE), PeerEnd::Open);
    proxy.await_stat("listener.main.downstream_cx_active", 0);
    assert_eq!(proxy.stat("listener.main.ssl.connection_error"), 0, "nobody broke the protocol");
    assert_eq!(proxy.stat("listener.main.downstream_cx_transport_socket_connect_timeout"), 0);
    assert_unharmed(proxy);
}

fn broken_records_end_connections(driver: Driver) {
    let proxy = start(driver);
    let mut errors = 0;
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let bad: [(&str, Vec<u8>); 4] = [
            ("not decryptable", [&[23, 3, 3, 0, 64][..], &[7; 64]].concat()),
            ("too short", vec![23, 3, 3, 0, 1, 0]),
            ("too large", [&[23, 3, 3, 0x48, 1][..], &vec![0; 0x4801]].concat()),
            ("of no kind", vec![99, 3, 3, 0, 1, 0]),
        ];
        for (what, bytes) in bad {
            let mut stream = client().only(version).connect(proxy.address()).expect("a handshake");
            assert_serves(&mut stream);
            stream.socket().write_all(&bytes).expect("sent");
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            assert!(rest.is_empty() && (ended.is_err() || !stream.ended_in_order()), "{version:?} {what}");
            errors += 1;
            proxy.await_stat("listener.main.ssl.connection_error", errors);
        }
        // Cut within a record: no more than an end without good-bye.
        let mut stream = client().only(version).connect(proxy.address()).expect("a handshake");
        assert_serves(&mut stream);
        stream.socket().write_all(&[23, 3, 3, 0, 64, 1, 2, 3]).expect("sent");
        stream.socket().shutdown(std::net::Shutdown::Write).expect("ended");
        stream.read_to_end(&mut Vec::new()).expect("an end");
        proxy.await_stat("listener.main.downstream_cx_active", 0);
        assert_eq!(proxy.stat("listener.main.ssl.connection_error"), errors, "{version:?}");
    }
    assert_unharmed(proxy);
}

fn a_flood_of_alerts_ends_the_connection(driver: Driver) {
    let proxy = start(driver);
    // Warnings that nobody encrypts (`user_canceled`), before the hello.
    let mut peer = TcpPeer::connect(proxy.address());
    for _ in 0..100 {
        peer.send([21, 3, 3, 0, 2, 1, 90].repeat(100));
    }
    assert_ne!(peer.await_end(PATIENCE), PeerEnd::Open);
    // And records of a handshake that have nothing in them.
    let mut peer = TcpPeer::connect(proxy.address());
    for _ in 0..100 {
        peer.send([22, 3, 3, 0, 0].repeat(100));
    }
    assert_ne!(peer.await_end(PATIENCE), PeerEnd::Open);
    proxy.await_stat("listener.main.ssl.connection_error", 2);
    assert_unharmed(proxy);
}

fn many_stalled_clients_hold_up_nobody(driver: Driver) {
    let proxy = start(driver);
    let stalled: Vec<_> = (0..200)
        .map(|_| {
            let mut peer = TcpPeer::connect(proxy.address_of("short"));
            peer.send([22, 3, 1, 2]);
            peer
        })
        .collect();
    for _ in 0..5 {
        assert_serves(&mut client().connect(proxy.address()).expect("a handshake"));
    }
    proxy.await_stat("listener.short.downstream_cx_transport_socket_connect_timeout", 200);
    drop(stalled);
    assert_unharmed(proxy);
}

#[test]
fn an_answer_is_never_plain() {
    let l4 = tls_listener(L4::new(), "main", "", "", &direct_response("secret"));
    let proxy = server(Driver::Epoll).start(&l4.yaml());
    let mut peer = TcpPeer::connect(proxy.address());
    peer.send("GET / HTTP/1.1\r\n\r\n").await_end(PATIENCE);
    assert!(!peer.text().contains("secret"), "{}", peer.text());
    proxy.stop();
}
