//! Workers: every one serves, and what connections took is given back.

use ringway_test_support::config::Http;
use ringway_test_support::{Connection, Driver, Origin, Request, Server, eventually, procfs};

on_both_drivers! { every_worker_serves descriptors_and_memory_come_back many_idle_connections }

fn every_worker_serves(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).concurrency(2).start(&Http::to_origin(origin.port()).yaml());
    let mut open = Vec::new();
    // The kernel spreads connections by a hash of their addresses: 100 all at one worker do not happen.
    for _ in 0..100 {
        let mut connection = Connection::open(proxy.address());
        assert_eq!(Request::get("/").send_on(&mut connection).expect("response").status(), 200);
        open.push(connection);
    }
    // Each worker has a pool of its own.
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_total"), 2);
    assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 100);
    proxy.stop();
}

fn descriptors_and_memory_come_back(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).start(&Http::to_origin(origin.port()).yaml());
    let round = || {
        let mut open: Vec<Connection> = (0..200).map(|_| Connection::open(proxy.address())).collect();
        for connection in &mut open {
            connection.send(Request::post("/", "x".repeat(5_000)).bytes());
        }
        for connection in &mut open {
            assert_eq!(connection.response().status(), 200);
        }
        drop(open);
        proxy.await_stat("http.test.downstream_cx_active", 0);
    };
    let descriptors = procfs::fd_count(proxy.pid());
    round();
    let memory = procfs::rss_bytes(proxy.pid());
    for _ in 0..5 {
        round();
    }
    // Pooled upstream connections stay open, as many as there were requests at a time: at most 200.
    eventually("descriptors to be given back", || {
        (procfs::fd_count(proxy.pid()) <= descriptors + 200 + 20).then_some(())
    });
    let growth = procfs::rss_bytes(proxy.pid()).saturating_sub(memory);
    assert!(growth < 8 << 20, "{growth} bytes more than after the first round");
    proxy.stop();
}

fn many_idle_connections(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).concurrency(2).start(&Http::to_origin(origin.port()).yaml());
    let open = |count: usize| {
        let mut connections: Vec<Connection> =
            (0..count).map(|_| Connection::open(proxy.address())).collect();
        for connection in &mut connections {
            assert_eq!(Request::get("/").send_on(connection).expect("response").status(), 200);
        }
        connections
    };
    // What grows with use, not with connections, has grown after the first of them.
    let first = open(300);
    let before = procfs::rss_bytes(proxy.pid());
    let mut open = open(900);
    // An idle connection holds no buffers: one of 16 KiB would show, and memory grows by pages of 2 MiB.
    let each = procfs::rss_bytes(proxy.pid()).saturating_sub(before) / open.len() as u64;
    assert!(each < 16 << 10, "{each} bytes for each idle connection");
    open.extend(first);
    for connection in open.iter_mut().rev() {
        assert_eq!(Request::get("/").send_on(connection).expect("response").status(), 200);
    }
    proxy.stop();
}
