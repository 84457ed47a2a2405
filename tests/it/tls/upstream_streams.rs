//! Raw connections to hosts behind TLS: ends of directions, much data, PROXY headers, and WebSocket.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{await_rest, client, server, tls_listener, world};
use ringway_test_support::config::Http;
use ringway_test_support::l4_config::{L4, access_log, chain, tcp_proxy};
use ringway_test_support::process::read_file;
use ringway_test_support::tls_config::{upstream, upstream_behind_proxy_header, validation};
use ringway_test_support::{
    Driver, PATIENCE, PeerEnd, Server, TcpOrigin, TcpPeer, TlsServer, eventually, procfs,
};

on_both_drivers! {
    the_end_of_a_direction_is_passed_on
    resets_are_passed_on
    much_passes_both_ways_in_bounded_memory
    hosts_are_told_where_clients_come_from_before_tls
    websockets_reach_a_host_behind_tls
    what_a_host_has_said_arrives_though_it_is_gone
}

fn origin_tls() -> Arc<TlsServer> {
    TlsServer::new(&world().server, &[])
}

/// Listeners without and with TLS before the same host, which is behind TLS.
fn to_host(port: u16) -> L4 {
    let proxied = tcp_proxy(&format!(
        "cluster: host\n{}",
        access_log("access.log", "%RESPONSE_FLAGS% %UPSTREAM_TLS_VERSION% %UPSTREAM_PEER_SUBJECT%")
    ));
    let l4 = L4::new().listener("plain", &chain(&proxied));
    tls_listener(l4, "tls", "", "", &proxied).cluster(
        "host",
        port,
        &upstream(&format!("sni: server.test\ncommon_tls_context:\n  {}", validation("ca", ""))),
    )
}

fn the_end_of_a_direction_is_passed_on(driver: Driver) {
    let port = origin_tls().listen(|stream| {
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        let answer = format!("{} bytes, in order {}", got.len(), stream.ended_in_order());
        stream.write_all(answer.as_bytes())?;
        stream.shutdown(Shutdown::Write)
    });
    let proxy = server(driver).start(&to_host(port).yaml());
    for _ in 0..10 {
        let mut peer = TcpPeer::connect(proxy.address_of("plain"));
        peer.send("hello").half_close();
        assert_eq!(peer.await_end(PATIENCE), PeerEnd::Closed);
        assert_eq!(peer.text(), "5 bytes, in order true");
        let mut stream = client().connect(proxy.address_of("tls")).expect("a handshake");
        stream.write_all(b"hello").expect("sent");
        stream.shutdown(Shutdown::Write).expect("ended");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert_eq!((answer.as_str(), stream.ended_in_order()), ("5 bytes, in order true", true));
    }
    await_rest(&proxy);
    let of = |name: &str| proxy.stat(&format!("cluster.host.{name}"));
    assert_eq!((of("upstream_cx_tx_bytes_total"), of("upstream_cx_rx_bytes_total")), (100, 440));
    assert_eq!((of("ssl.handshake"), of("upstream_cx_active")), (20, 0));
    let log = eventually("all lines", || {
        let log = read_file(&proxy.directory().join("access.log"));
        (log.lines().count() == 20).then_some(log)
    });
    assert!(log.lines().all(|line| line == "- TLSv1.2 CN=server.test"), "{log}");
    proxy.stop();
}

fn resets_are_passed_on(driver: Driver) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ends);
    let port = origin_tls().listen(move |stream| {
        let mut got = [0; 5];
        stream.read_exact(&mut got)?;
        let ended = stream.read(&mut got);
        seen.lock().expect("lock").push(ended.map_err(|error| error.kind()));
        Ok(())
    });
    let proxy = server(driver).start(&to_host(port).yaml());
    let mut peer = TcpPeer::connect(proxy.address_of("plain"));
    peer.send("hello");
    proxy.await_stat("cluster.host.upstream_cx_tx_bytes_total", 5);
    peer.reset();
    eventually("the host to have seen the end", || (ends.lock().expect("lock").len() == 1).then_some(()));
    assert_eq!(ends.lock().expect("lock")[0], Err(std::io::ErrorKind::ConnectionReset));
    await_rest(&proxy);
    proxy.stop();
}

const LARGE_BYTES: usize = 48 << 20;
const MAX_GROWTH_BYTES: u64 = 16 << 20;

fn much_passes_both_ways_in_bounded_memory(driver: Driver) {
    let port = origin_tls().listen(|stream| {
        let mut block = vec![0; 64 << 10];
        loop {
            match stream.read(&mut block)? {
                0 => return stream.shutdown(Shutdown::Write),
                read => stream.write_all(&block[..read])?,
            }
        }
    });
    let small = "per_connection_buffer_limit_bytes: 65536\n";
    let yaml = to_host(port).yaml().replace("filter_chains:", &format!("{small}    filter_chains:"));
    let proxy = server(driver).start(&yaml);
    let before = procfs::rss_bytes(proxy.pid());
    let mut peer = TcpPeer::connect(proxy.address_of("plain"));
    let mut writer = TcpPeer::over(peer.stream().try_clone().expect("a handle"));
    let sender = std::thread::spawn(move || {
        for i in 0..LARGE_BYTES / (64 << 10) {
            assert!(writer.try_send(&vec![i as u8; 64 << 10]), "sent");
        }
        writer.half_close();
    });
    let mut block = vec![0; 64 << 10];
    for i in 0..LARGE_BYTES / block.len() {
        if i % 128 == 0 {
            // Slowly, so that buffers fill.
            std::thread::sleep(Duration::from_millis(20));
        }
        peer.stream().read_exact(&mut block).expect("data");
        assert!(block.iter().all(|byte| *byte == i as u8), "block {i}");
    }
    assert_eq!(peer.await_end(PATIENCE), PeerEnd::Closed);
    sender.join().expect("the sender");
    let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
    for name in ["upstream_cx_tx_bytes_total", "upstream_cx_rx_bytes_total"] {
        proxy.await_stat(&format!("cluster.host.{name}"), LARGE_BYTES as u64);
    }
    await_rest(&proxy);
    proxy.stop();
}

fn hosts_are_told_where_clients_come_from_before_tls(driver: Driver) {
    let tls = origin_tls();
    let origin = TcpOrigin::start(move |peer| {
        let mut header = [0; 1];
        while !peer.received.ends_with(b"\r\n") {
            peer.stream().read_exact(&mut header).expect("a header");
            peer.received.push(header[0]);
        }
        let mut stream = tls.over(peer.stream().try_clone().expect("a handle"));
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("data");
        peer.received.extend_from_slice(&got);
    });
    let l4 = L4::new().listener("main", &chain(&tcp_proxy("cluster: host"))).cluster(
        "host",
        origin.port(),
        &upstream_behind_proxy_header("V1", "sni: server.test"),
    );
    let proxy = server(driver).start(&l4.yaml());
    let mut peer = TcpPeer::connect(proxy.address());
    let own = peer.local_address().expect("connected");
    peer.send("hello").half_close().await_end(PATIENCE);
    let expected =
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello", own.port(), proxy.address().port());
    assert_eq!(origin.await_seen().text(), expected);
    proxy.stop();
}

fn websockets_reach_a_host_behind_tls(driver: Driver) {
    let port = origin_tls().listen(|stream| {
        let mut socket =
            tungstenite::accept(stream).map_err(|error| std::io::Error::other(error.to_string()))?;
        while let Ok(message) = socket.read() {
            if message.is_close() {
                let _ = socket.flush();
                break;
            }
            let _ = socket.send(message);
        }
        Ok(())
    });
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: host}")
        .cluster("host", port, &upstream(""))
        .hcm("upgrade_configs: [{upgrade_type: WebSocket}]");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let stream = std::net::TcpStream::connect(proxy.address()).expect("a connection");
    let (mut client, response) =
        tungstenite::client(format!("ws://{}/chat", proxy.address()), stream).expect("an upgrade");
    assert_eq!(response.status(), 101);
    for length in [0, 126, 65_536, 1_000_000] {
        let message = tungstenite::Message::binary(vec![7; length]);
        client.send(message.clone()).expect("sent");
        assert_eq!(client.read().expect("an echo"), message);
    }
    client.close(None).expect("a close");
    while client.read().is_ok() {}
    proxy.await_stat("cluster.host.upstream_cx_active", 0);
    proxy.stop();
}

fn what_a_host_has_said_arrives_though_it_is_gone(driver: Driver) {
    // With and without a good-bye, in one piece with the end.
    for says_good_bye in [true, false] {
        let port = origin_tls().listen(move |stream| {
            stream.read_exact(&mut [0; 5])?;
            stream.write_all(&vec![b'x'; 300_000])?;
            if says_good_bye {
                stream.shutdown(Shutdown::Write)?;
            }
            Ok(())
        });
        let proxy = server(driver).start(&to_host(port).yaml());
        let mut stream = client().connect(proxy.address_of("tls")).expect("a handshake");
        stream.write_all(b"hello").expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert_eq!(answer.len(), 300_000);
        drop(stream);
        await_rest(&proxy);
        proxy.stop();
    }
}
