//! Raw connections through network filters: every byte, every end, every limit.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ringway_test_support::config::Http;
use ringway_test_support::l4_config::{L4, access_log, chain, direct_response, network_filter, tcp_proxy};
use ringway_test_support::origin::{BlackHole, RefusedPort};
use ringway_test_support::process::read_file;
use ringway_test_support::tcp::TcpScript;
use ringway_test_support::{
    Driver, Origin, PATIENCE, PeerEnd, Proxy, Request, Server, TcpOrigin, TcpPeer, eventually, procfs,
};

on_both_drivers! {
    echo_of_much_for_a_slow_reader
    a_direct_response_ends_the_connection
    much_passes_both_ways_in_bounded_memory
    the_end_of_one_direction_leaves_the_other
    resets_are_passed_on
    what_a_host_has_said_arrives_though_it_is_gone
    a_client_that_does_not_read_holds_the_origin_back
    silence_and_age_end_connections
    clusters_are_chosen_by_weight
    another_host_is_tried
    connecting_takes_no_longer_than_it_may
    hosts_that_refuse_connections_are_ejected
    connections_end_with_their_hosts_health_where_that_is_wanted
    circuit_breakers_limit_connections
    access_logs_tell_what_became_of_connections
    rbac_lets_in_whom_its_policies_name
    rbac_guards_http_too
    connection_limits_hold_for_the_process
    rates_are_limited_for_the_process
    the_drain_time_ends_open_connections
    sigterm_waits_for_nobody_when_no_connection_is_open
}

/// Bytes of the large transfers: many times what the proxy may hold.
const LARGE_BYTES: usize = 64 << 20;

/// What the proxy's memory may grow by meanwhile.
const MAX_GROWTH_BYTES: u64 = 16 << 20;

/// Small buffers, so that their limits are met.
const SMALL_BUFFERS: &str = "per_connection_buffer_limit_bytes: 32768";

/// Length after which the test bytes repeat: a prime, so that lost or doubled pieces show.
const PERIOD: usize = 65_537;

/// Longest piece that [`pattern`] gives.
const MAX_PIECE: usize = 256 << 10;

fn pattern(from: usize, length: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        (0..PERIOD + MAX_PIECE).map(|i| (((i % PERIOD) * 31) ^ ((i % PERIOD) >> 7)) as u8).collect()
    });
    &bytes[from % PERIOD..][..length]
}

/// Writes so much of the pattern and ends the direction.
fn write_pattern(peer: &mut TcpPeer, length: usize) {
    let mut at = 0;
    while at < length {
        let piece = pattern(at, MAX_PIECE.min(length - at));
        if !peer.try_send(piece) {
            return;
        }
        at += piece.len();
    }
    peer.half_close();
}

/// Reads the pattern to its end, with a pause now and then if `slow`; how many bytes were right.
fn read_pattern(peer: &mut TcpPeer, slow: bool) -> usize {
    let mut block = vec![0; MAX_PIECE];
    let mut at = 0;
    loop {
        let read = peer.stream().read(&mut block).expect("a read in time");
        if read == 0 || block[..read] != *pattern(at, read) {
            return at;
        }
        if slow && at / (4 << 20) != (at + read) / (4 << 20) {
            // What fills buffers.
            thread::sleep(Duration::from_millis(10));
        }
        at += read;
    }
}

/// Sends much and reads it again at the same time; asserts that memory stays bounded.
fn round_trip(proxy: &Proxy, slow: bool) {
    let before = procfs::rss_bytes(proxy.pid());
    let mut client = TcpPeer::connect(proxy.address());
    let mut writer = TcpPeer::over(client.stream().try_clone().expect("handle"));
    let sender = thread::spawn(move || write_pattern(&mut writer, LARGE_BYTES));
    assert_eq!(read_pattern(&mut client, slow), LARGE_BYTES);
    sender.join().expect("sender");
    let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
}

fn echo_of_much_for_a_slow_reader(driver: Driver) {
    let echo = chain(&network_filter("echo.v3.Echo", ""));
    let proxy = Server::ringway(driver)
        .start(&L4::new().listener("main", &format!("{SMALL_BUFFERS}\n{echo}")).yaml());
    round_trip(&proxy, true);
    proxy.stop();
}

fn a_direct_response_ends_the_connection(driver: Driver) {
    let l4 = L4::new().listener("main", &chain(&direct_response("good bye")));
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let mut client = TcpPeer::connect(proxy.address());
    assert_eq!(client.await_end(PATIENCE), PeerEnd::Closed);
    assert_eq!(client.text(), "good bye");
    // What it sends is of no interest and does no harm.
    let mut client = TcpPeer::connect(proxy.address());
    client.send("hello").send(vec![b'x'; 100_000]);
    client.await_end(PATIENCE);
    assert_eq!(client.text(), "good bye");
    proxy.stop();
}

fn proxy_to(driver: Driver, origin: &TcpOrigin) -> Proxy {
    Server::ringway(driver).start(&L4::to_origin(origin.port()).yaml())
}

fn much_passes_both_ways_in_bounded_memory(driver: Driver) {
    let origin = TcpOrigin::start(|peer| {
        // Not kept: 64 MB of the test's own memory would do no harm, but comparing them would take time.
        let mut block = vec![0; MAX_PIECE];
        while let Ok(read) = peer.stream().read(&mut block) {
            if read == 0 || peer.stream().write_all(&block[..read]).is_err() {
                return;
            }
        }
    });
    let l4 = L4::new()
        .listener("main", &format!("{SMALL_BUFFERS}\n{}", chain(&tcp_proxy("cluster: origin"))))
        .cluster("origin", origin.port(), SMALL_BUFFERS);
    let proxy = Server::ringway(driver).start(&l4.yaml());
    round_trip(&proxy, true);
    for stat in [
        "tcp.test.downstream_cx_rx_bytes_total",
        "tcp.test.downstream_cx_tx_bytes_total",
        "cluster.origin.upstream_cx_rx_bytes_total",
        "cluster.origin.upstream_cx_tx_bytes_total",
    ] {
        proxy.await_stat(stat, LARGE_BYTES as u64);
    }
    proxy.await_stat("listener.main.downstream_cx_active", 0);
    proxy.await_stat("cluster.origin.upstream_cx_active", 0);
    proxy.stop();
}

fn the_end_of_one_direction_leaves_the_other(driver: Driver) {
    let origin = TcpOrigin::echo();
    let proxy = proxy_to(driver, &origin);
    let answers_at_the_end: TcpScript = std::sync::Arc::new(|peer| {
        assert_eq!(peer.await_end(PATIENCE), PeerEnd::Closed);
        let answer = format!("all of {}", peer.text());
        peer.send(answer).half_close();
    });
    let ends_first: TcpScript = std::sync::Arc::new(|peer| {
        peer.send("bye").half_close().await_end(PATIENCE);
    });
    origin.expect([answers_at_the_end, ends_first]);
    let mut client = TcpPeer::connect(proxy.address());
    client.send("hello").half_close();
    assert_eq!((client.await_end(PATIENCE), client.text().as_str()), (PeerEnd::Closed, "all of hello"));
    let mut client = TcpPeer::connect(proxy.address());
    assert_eq!((client.await_end(PATIENCE), client.text().as_str()), (PeerEnd::Closed, "bye"));
    client.send("still here").half_close();
    assert_eq!(origin.await_seen().text(), "hello");
    let seen = origin.await_seen();
    assert_eq!((seen.text().as_str(), seen.end), ("still here", Some(PeerEnd::Closed)));
    proxy.await_stat("cluster.origin.upstream_cx_active", 0);
    proxy.stop();
}

fn resets_are_passed_on(driver: Driver) {
    let origin = TcpOrigin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut client = TcpPeer::connect(proxy.address());
    client.send("hello").read_until(5).reset();
    assert_eq!(origin.await_seen().end, Some(PeerEnd::Reset));
    let resets: TcpScript = std::sync::Arc::new(|peer| peer.read_until(5).reset());
    origin.expect([resets]);
    let mut client = TcpPeer::connect(proxy.address());
    client.send("hello");
    assert_eq!(client.await_end(PATIENCE), PeerEnd::Reset);
    proxy.await_stat("listener.main.downstream_cx_active", 0);
    proxy.stop();
}

fn what_a_host_has_said_arrives_though_it_is_gone(driver: Driver) {
    // More than the client's socket takes unread, less than the proxy may hold.
    let length = 900 << 10;
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let left = std::sync::Mutex::new(left);
    let origin = TcpOrigin::start(move |peer| {
        write_pattern(peer, length);
        let _ = left.lock().expect("one connection").recv_timeout(PATIENCE);
        // To close without having read what has come resets the connection.
    });
    let proxy = proxy_to(driver, &origin);
    let mut client = TcpPeer::connect(proxy.address());
    client.send("unheard");
    proxy.await_stat("cluster.origin.upstream_cx_rx_bytes_total", length as u64);
    leave.send(()).expect("the origin waits");
    proxy.await_stat("cluster.origin.upstream_cx_active", 0);
    assert_eq!(read_pattern(&mut client, false), length);
    drop(client);
    proxy.await_stat("listener.main.downstream_cx_active", 0);
    proxy.stop();
}

fn a_client_that_does_not_read_holds_the_origin_back(driver: Driver) {
    let origin = TcpOrigin::start(|peer| write_pattern(peer, LARGE_BYTES));
    let proxy = proxy_to(driver, &origin);
    let mut client = TcpPeer::connect(proxy.address());
    let paused = "cluster.origin.upstream_flow_control_paused_reading_total";
    let resumed = "cluster.origin.upstream_flow_control_resumed_reading_total";
    eventually("the origin to be held back", || (proxy.stat(paused) > proxy.stat(resumed)).then_some(()));
    let held = proxy.stat("tcp.test.downstream_cx_tx_bytes_total");
    assert!(held < LARGE_BYTES as u64 / 2, "{held} bytes were taken though the client reads nothing");
    assert_eq!(read_pattern(&mut client, false), LARGE_BYTES);
    drop(client);
    proxy.await_stat("listener.main.downstream_cx_active", 0);
    assert_eq!(proxy.stat(paused), proxy.stat(resumed));
    proxy.stop();
}

fn silence_and_age_end_connections(driver: Driver) {
    let origin = TcpOrigin::echo();
    let l4 = L4::new()
        .listener("idle", &chain(&tcp_proxy("stat_prefix: idle\ncluster: origin\nidle_timeout: 0.3s")))
        .listener(
            "old",
            &chain(&tcp_proxy("stat_prefix: old\ncluster: origin\nmax_downstream_connection_duration: 0.5s")),
        )
        .cluster("origin", origin.port(), "");
    let proxy = Server::ringway(driver).start(&l4.yaml());
    // As long as something is said now and then, a connection is not idle.
    let mut client = TcpPeer::connect(proxy.address_of("idle"));
    let began = Instant::now();
    for i in 1..=5 {
        client.send("x").read_until(i);
        assert_eq!(client.await_end(Duration::from_millis(120)), PeerEnd::Open);
    }
    let last = Instant::now();
    assert!(last - began > Duration::from_millis(500));
    assert_eq!(client.await_end(PATIENCE), PeerEnd::Closed);
    assert!(last.elapsed() > Duration::from_millis(100), "{:?}", last.elapsed());
    proxy.await_stat("tcp.idle.idle_timeout", 1);
    // Age has no regard for activity.
    let mut client = TcpPeer::connect(proxy.address_of("old"));
    let began = Instant::now();
    while client.await_end(Duration::from_millis(10)) == PeerEnd::Open {
        client.send("x");
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    proxy.await_stat("tcp.old.max_downstream_connection_duration", 1);
    assert_eq!(proxy.stat("tcp.old.idle_timeout"), 0);
    proxy.stop();
}

fn clusters_are_chosen_by_weight(driver: Driver) {
    let greet = |text: &'static str| {
        TcpOrigin::start(move |peer| {
            peer.send(text);
        })
    };
    let (stable, canary) = (greet("stable"), greet("canary"));
    let weighted = "weighted_clusters: {clusters: [{name: stable, weight: 3}, {name: canary, weight: 1}]}";
    let l4 = L4::new()
        .listener("main", &chain(&tcp_proxy(weighted)))
        .cluster("stable", stable.port(), "")
        .cluster("canary", canary.port(), "");
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let total = 400;
    let to_canary = (0..total)
        .filter(|_| {
            let mut client = TcpPeer::connect(proxy.address());
            client.await_end(PATIENCE);
            client.text() == "canary"
        })
        .count();
    // 100 are expected; 50 and 150 are each more than five standard deviations away.
    assert!((50..150).contains(&to_canary), "{to_canary} of {total}");
    assert_eq!(proxy.stat("cluster.canary.upstream_cx_total"), to_canary as u64);
    proxy.stop();
}

fn another_host_is_tried(driver: Driver) {
    let origin = TcpOrigin::echo();
    let refused = RefusedPort::take();
    let l4 = L4::new()
        .listener("one", &chain(&tcp_proxy("stat_prefix: one\ncluster: both")))
        .listener("many", &chain(&tcp_proxy("stat_prefix: many\ncluster: both\nmax_connect_attempts: 10")))
        .cluster_of("both", &[refused.port, origin.port()], "");
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let reaches = |listener: &str| {
        let mut client = TcpPeer::connect(proxy.address_of(listener));
        client.send("hello").read_until(5).half_close();
        client.await_end(PATIENCE);
        client.text() == "hello"
    };
    // Every other connection meets the host that refuses.
    assert_eq!((0..10).filter(|_| reaches("one")).count(), 5);
    assert_eq!((0..10).filter(|_| reaches("many")).count(), 10);
    assert_eq!(proxy.stat("cluster.both.upstream_cx_connect_attempts_exceeded"), 5);
    assert!(proxy.stat("cluster.both.upstream_cx_connect_fail") >= 10);
    proxy.stop();
}

fn connecting_takes_no_longer_than_it_may(driver: Driver) {
    let hole = BlackHole::open();
    let l4 = L4::new()
        .listener("main", &chain(&tcp_proxy("cluster: hole\nmax_connect_attempts: 3")))
        .cluster("hole", hole.port, "connect_timeout: 0.2s");
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let began = Instant::now();
    let mut client = TcpPeer::connect(proxy.address());
    assert_eq!(client.await_end(PATIENCE), PeerEnd::Closed);
    assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(proxy.stat("cluster.hole.upstream_cx_connect_timeout"), 3);
    proxy.await_stat("cluster.hole.upstream_cx_active", 0);
    proxy.stop();
}

fn hosts_that_refuse_connections_are_ejected(driver: Driver) {
    let origin = TcpOrigin::echo();
    let refused = RefusedPort::take();
    let detection =
        "outlier_detection: {consecutive_5xx: 3, max_ejection_percent: 100, base_ejection_time: 300s}";
    let l4 = L4::new()
        .listener("main", &chain(&tcp_proxy("cluster: both\nmax_connect_attempts: 10")))
        .cluster_of("both", &[refused.port, origin.port()], detection);
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let reach = || {
        let mut client = TcpPeer::connect(proxy.address());
        client.send("hello").read_until(5).half_close();
        client.await_end(PATIENCE);
    };
    eventually("the ejection", || {
        reach();
        (proxy.stat("cluster.both.outlier_detection.ejections_active") == 1).then_some(())
    });
    let failures = proxy.stat("cluster.both.upstream_cx_connect_fail");
    assert!(failures >= 3, "{failures}");
    (0..4).for_each(|_| reach());
    assert_eq!(proxy.stat("cluster.both.upstream_cx_connect_fail"), failures);
    proxy.stop();
}

fn connections_end_with_their_hosts_health_where_that_is_wanted(driver: Driver) {
    let is_well = Arc::new(AtomicBool::new(true));
    let answers = Arc::clone(&is_well);
    let origin = TcpOrigin::start(move |peer| {
        peer.read_until(4);
        if peer.text() != "PING" {
            peer.send("here").await_end(PATIENCE);
        } else if answers.load(Ordering::SeqCst) {
            peer.send("PONG");
        }
    });
    let check = "timeout: 5s, interval: 0.02s, no_traffic_interval: 0.02s, unhealthy_threshold: 1, \
                 healthy_threshold: 1, reuse_connection: false, \
                 tcp_health_check: {send: {text: 50494e47}, receive: [{text: 504f4e47}]}";
    let ends = format!("health_checks: [{{{check}}}]\nclose_connections_on_host_health_failure: true");
    let l4 = L4::new()
        .listener("ends", &chain(&tcp_proxy("stat_prefix: ends\ncluster: ends")))
        .listener("stays", &chain(&tcp_proxy("stat_prefix: stays\ncluster: stays")))
        .cluster("ends", origin.port(), &ends)
        .cluster("stays", origin.port(), &format!("health_checks: [{{{check}}}]"));
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let [mut ending, mut staying] = ["ends", "stays"].map(|listener| {
        let mut client = TcpPeer::connect(proxy.address_of(listener));
        client.send("user").read_through("here");
        client
    });
    is_well.store(false, Ordering::SeqCst);
    assert_eq!(ending.await_end(PATIENCE), PeerEnd::Closed);
    proxy.await_stat("cluster.stays.membership_healthy", 0);
    assert_eq!(proxy.stat("listener.stays.downstream_cx_active"), 1);
    staying.half_close();
    assert_eq!(staying.await_end(PATIENCE), PeerEnd::Closed);
    proxy.stop();
}

fn circuit_breakers_limit_connections(driver: Driver) {
    let origin = TcpOrigin::echo();
    let l4 = L4::new().listener("main", &chain(&tcp_proxy("cluster: origin"))).cluster(
        "origin",
        origin.port(),
        "circuit_breakers: {thresholds: [{max_connections: 2}]}",
    );
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let open = || {
        let mut client = TcpPeer::connect(proxy.address());
        client.send("x").read_until(1);
        client
    };
    let (mut first, second) = (open(), open());
    assert_eq!((first.text().as_str(), second.text().as_str()), ("x", "x"));
    let mut third = open();
    assert_ne!(third.await_end(PATIENCE), PeerEnd::Open);
    assert_eq!((third.text().as_str(), proxy.stat("cluster.origin.upstream_cx_overflow")), ("", 1));
    first.send("y").read_until(2);
    assert_eq!(first.text(), "xy");
    drop(second);
    proxy.await_stat("cluster.origin.upstream_cx_active", 1);
    assert_eq!(open().text(), "x");
    // Raw connections that are open would be waited for.
    drop(first);
    proxy.stop();
}

fn access_logs_tell_what_became_of_connections(driver: Driver) {
    let origin = TcpOrigin::start(|peer| {
        peer.read_until(5).send("goodbye");
    });
    let refused = RefusedPort::take();
    let log = |what: &str| {
        let format = format!(
            "{what} %DOWNSTREAM_REMOTE_ADDRESS% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %BYTES_RECEIVED% %BYTES_SENT% \
             %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %DURATION% %START_TIME(%s)%"
        );
        access_log("access.log", &format)
    };
    let l4 = L4::new()
        .listener("good", &chain(&tcp_proxy(&format!("cluster: origin\n{}", log("good")))))
        .listener("bad", &chain(&tcp_proxy(&format!("cluster: refused\n{}", log("bad")))))
        .cluster("origin", origin.port(), "")
        .cluster("refused", refused.port, "");
    let server = Server::ringway(driver).arg("--file-flush-interval-msec").arg("10");
    let proxy = server.start(&l4.yaml());
    let line = |what: &str| {
        eventually("a line of the log", || {
            let text = read_file(&proxy.directory().join("access.log"));
            text.lines().find(|line| line.starts_with(what)).map(str::to_string)
        })
    };
    let mut client = TcpPeer::connect(proxy.address_of("good"));
    let own = client.local_address().expect("connected");
    client.send("hello").await_end(PATIENCE);
    drop(client);
    let (good, port) = (line("good"), origin.port());
    assert!(
        good.starts_with(&format!("good {own} origin 127.0.0.1:{port} 5 7 - 1 ")),
        "{good}, the client was {own}"
    );
    let numbers: Vec<u64> =
        good.split(' ').skip(8).map(|number| number.parse().unwrap_or_else(|_| panic!("{good}"))).collect();
    assert!(numbers[0] < 15_000 && numbers[1] > 1_700_000_000, "{good}");
    TcpPeer::connect(proxy.address_of("bad")).await_end(PATIENCE);
    let (bad, port) = (line("bad"), refused.port);
    assert!(bad.contains(&format!(" refused 127.0.0.1:{port} 0 0 URX,UF 1 ")), "{bad}");
    proxy.stop();
}

fn rbac_lets_in_whom_its_policies_name(driver: Driver) {
    let origin = TcpOrigin::echo();
    let rbac = |fields: &str| {
        let filters = format!(
            "{}\n{}",
            network_filter("rbac.v3.RBAC", &format!("stat_prefix: gate\n{fields}")),
            tcp_proxy("cluster: origin")
        );
        chain(&filters)
    };
    let from = |prefix: &str| {
        format!(
            "rules: {{action: ALLOW, policies: {{them: {{permissions: [{{any: true}}], \
             principals: [{{direct_remote_ip: {{address_prefix: {prefix}, prefix_len: 8}}}}]}}}}}}"
        )
    };
    let l4 = L4::new()
        .listener("us", &rbac(&from("127.0.0.0")))
        .listener("them", &rbac(&from("10.0.0.0")))
        .listener("late", &rbac(&format!("{}\ndelay_deny: 0.3s", from("10.0.0.0"))))
        .cluster("origin", origin.port(), "");
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let mut client = TcpPeer::connect(proxy.address_of("us"));
    client.send("hello").read_until(5).send(vec![b'x'; 1 << 20]).read_until(5 + (1 << 20));
    assert_eq!(client.received.len(), 5 + (1 << 20));
    for (listener, least) in [("them", Duration::ZERO), ("late", Duration::from_millis(250))] {
        let began = Instant::now();
        let mut client = TcpPeer::connect(proxy.address_of(listener));
        client.send("hello");
        assert_ne!(client.await_end(PATIENCE), PeerEnd::Open);
        assert!(began.elapsed() >= least, "{listener}: {:?}", began.elapsed());
        assert!(client.received.is_empty());
    }
    drop(client);
    proxy.await_stat("cluster.origin.upstream_cx_active", 0);
    assert_eq!((proxy.stat("gate.rbac.allowed"), proxy.stat("gate.rbac.denied")), (1, 2));
    let got: usize = origin.settle().iter().map(|seen| seen.bytes.len()).sum();
    assert_eq!(got, 5 + (1 << 20), "of those that were denied nothing reached the origin");
    proxy.stop();
}

fn rbac_guards_http_too(driver: Driver) {
    let origin = Origin::echo();
    let rules =
        "rules: {action: DENY, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}";
    let rbac = network_filter("rbac.v3.RBAC", &format!("stat_prefix: gate\n{rules}"));
    let open = Http::to_origin(origin.port());
    let filters = format!("filters:\n{}\n", indent_more(&rbac));
    let yaml = open.yaml().replacen("filters:\n", &filters, 1);
    let proxy = Server::ringway(driver).start(&yaml);
    assert!(Request::get("/").try_send(proxy.address()).is_err());
    assert_eq!((proxy.stat("gate.rbac.denied"), proxy.stat("http.test.downstream_rq_total")), (1, 0));
    assert_eq!(origin.request_count(), 0);
    proxy.await_stat("http.test.downstream_cx_active", 0);
    proxy.stop();
}

/// An item as it stands in the list of filters of [`Http`].
fn indent_more(item: &str) -> String {
    format!("      {}", item.replace('\n', "\n      "))
}

/// A filter before a TCP proxy, on a proxy of two workers.
fn gated(driver: Driver, origin: &TcpOrigin, message: &str, fields: &str) -> Proxy {
    let filters = format!("{}\n{}", network_filter(message, fields), tcp_proxy("cluster: origin"));
    let l4 = L4::new().listener("main", &chain(&filters)).cluster("origin", origin.port(), "");
    Server::ringway(driver).concurrency(2).start(&l4.yaml())
}

/// Connections that were let through, of so many.
fn admitted(proxy: &Proxy, connections: usize) -> Vec<TcpPeer> {
    let mut clients: Vec<_> = (0..connections).map(|_| TcpPeer::connect(proxy.address())).collect();
    for client in &mut clients {
        client.send("x").read_until(1);
    }
    clients.retain(|client| client.text() == "x");
    clients
}

fn connection_limits_hold_for_the_process(driver: Driver) {
    let origin = TcpOrigin::echo();
    let fields = "stat_prefix: few\nmax_connections: 5";
    let proxy = gated(driver, &origin, "connection_limit.v3.ConnectionLimit", fields);
    let mut clients = admitted(&proxy, 20);
    assert_eq!(clients.len(), 5);
    proxy.await_stat("connection_limit.few.limited_connections", 15);
    proxy.await_stat("connection_limit.few.active_connections", 5);
    clients.truncate(3);
    proxy.await_stat("connection_limit.few.active_connections", 3);
    assert_eq!(admitted(&proxy, 4).len(), 2);
    drop(clients);
    proxy.await_stat("connection_limit.few.active_connections", 0);
    proxy.stop();
}

fn rates_are_limited_for_the_process(driver: Driver) {
    let origin = TcpOrigin::echo();
    let fields = "stat_prefix: slow\ntoken_bucket: {max_tokens: 3, tokens_per_fill: 1, fill_interval: 3600s}";
    let proxy = gated(driver, &origin, "local_ratelimit.v3.LocalRateLimit", fields);
    assert_eq!(admitted(&proxy, 10).len(), 3);
    proxy.await_stat("local_rate_limit.slow.rate_limited", 7);
    proxy.await_stat("tcp.test.downstream_cx_total", 10);
    proxy.stop();
}

fn the_drain_time_ends_open_connections(driver: Driver) {
    let origin = TcpOrigin::echo();
    let server = Server::ringway(driver).arg("--drain-time-s").arg("1");
    let mut proxy = server.start(&L4::to_origin(origin.port()).yaml());
    let mut client = TcpPeer::connect(proxy.address());
    client.send("hello").read_until(5);
    let address = proxy.address();
    let began = Instant::now();
    proxy.signal(libc::SIGTERM);
    eventually("the listener to close", || std::net::TcpStream::connect(address).is_err().then_some(()));
    // A connection that is open is served until then.
    client.send("again").read_until(10);
    assert_eq!(client.text(), "helloagain");
    assert_ne!(client.await_end(PATIENCE), PeerEnd::Open);
    let status = proxy.await_end();
    assert!(status.success(), "{status}\n{}", proxy.stderr());
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

fn sigterm_waits_for_nobody_when_no_connection_is_open(driver: Driver) {
    let origin = TcpOrigin::echo();
    let mut proxy = proxy_to(driver, &origin);
    let mut client = TcpPeer::connect(proxy.address());
    client.send("hello").read_until(5).half_close().await_end(PATIENCE);
    let began = Instant::now();
    proxy.signal(libc::SIGTERM);
    let status = proxy.await_end();
    assert!(status.success(), "{status}\n{}", proxy.stderr());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
