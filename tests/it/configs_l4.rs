//! The configurations of `configs/` for raw connections, each started and used.

use std::time::{Duration, Instant};

use ringway_test_support::{
    Config, Connection, Driver, Origin, PATIENCE, PeerEnd, Proxy, Request, Server, TcpOrigin, TcpPeer,
    eventually,
};

on_both_drivers! { tcp_proxy l4_filters filter_chains proxy_protocol }

/// What a connection is answered that sends these bytes and ends its direction.
fn answer(proxy: &Proxy, listener: &str, bytes: impl AsRef<[u8]>) -> String {
    let mut client = TcpPeer::connect(proxy.address_of(listener));
    client.send(bytes).half_close();
    assert_ne!(client.await_end(PATIENCE), PeerEnd::Open);
    client.text()
}

fn greeter(text: &'static str) -> TcpOrigin {
    TcpOrigin::start(move |peer| {
        peer.send(text);
    })
}

fn tcp_proxy(driver: Driver) {
    let database = TcpOrigin::echo();
    let (stable, canary) = (greeter("stable"), greeter("canary"));
    let config = Config::file("tcp-proxy.yaml")
        .port(6379, database.port())
        .port(8001, stable.port())
        .port(8002, canary.port());
    let proxy = Server::ringway(driver).start(config.as_str());
    assert_eq!(answer(&proxy, "database", "ping"), "ping");
    let told = format!("to 127.0.0.1:{}: 4 up, 4 down in ", database.port());
    eventually("a line of the log", || proxy.stdout().contains(&told).then_some(()));
    let answers: Vec<_> = (0..200).map(|_| answer(&proxy, "service", "")).collect();
    let canaries = answers.iter().filter(|answer| *answer == "canary").count();
    // 50 are expected; 20 and 80 are almost five standard deviations away.
    assert!((20..80).contains(&canaries), "{canaries}");
    proxy.stop();
}

fn l4_filters(driver: Driver) {
    let origin = TcpOrigin::echo();
    let proxy =
        Server::ringway(driver).start(Config::file("l4-filters.yaml").port(8001, origin.port()).as_str());
    let open = || {
        let mut client = TcpPeer::connect(proxy.address_of("guarded"));
        client.send("x").read_until(1);
        client
    };
    let clients = [open(), open()];
    assert!(clients.iter().all(|client| client.text() == "x"));
    let began = Instant::now();
    let mut third = TcpPeer::connect(proxy.address_of("guarded"));
    assert_ne!(third.send("x").await_end(PATIENCE), PeerEnd::Open);
    assert!(third.received.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    assert_eq!(proxy.stat("connection_limit.guarded.limited_connections"), 1);
    assert_eq!(proxy.stat("guarded.rbac.allowed"), 2);
    assert_eq!(proxy.stat("guarded.rbac.trial.shadow_denied"), 2);
    drop(clients);
    assert_eq!(answer(&proxy, "closed", "x"), "");
    assert_eq!(proxy.stat("closed.rbac.denied"), 1);
    assert_eq!(answer(&proxy, "echo", "said"), "said");
    assert_eq!(answer(&proxy, "greeting", ""), "hello and good bye\n");
    proxy.stop();
}

fn filter_chains(driver: Driver) {
    let origin = TcpOrigin::start(|peer| {
        peer.read_until(1).send("origin");
    });
    let proxy =
        Server::ringway(driver).start(Config::file("filter-chains.yaml").port(8001, origin.port()).as_str());
    assert_eq!(Request::get("/").send(proxy.address()).text(), "http\n");
    // Neither HTTP nor redirected, and from this machine.
    assert_eq!(answer(&proxy, "everything", "PING\r\n"), "origin");
    let mut silent = TcpPeer::connect(proxy.address());
    proxy.await_stat("listener.127.0.0.1_0.downstream_pre_cx_active", 1);
    proxy.await_stat("listener.127.0.0.1_0.downstream_pre_cx_timeout", 1);
    silent.send("x");
    assert_eq!((silent.await_end(PATIENCE), silent.text().as_str()), (PeerEnd::Closed, "origin"));
    drop(silent);
    proxy.stop();
}

fn proxy_protocol(driver: Driver) {
    let origin = Origin::echo();
    let told = TcpOrigin::echo();
    let config = Config::file("proxy-protocol.yaml").port(8001, origin.port()).port(8002, told.port());
    let proxy = Server::ringway(driver).start(config.as_str());
    let mut connection = Connection::open(proxy.address_of("http"));
    connection.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n");
    assert_eq!(Request::get("/").send_on(&mut connection).expect("response").status(), 200);
    assert_eq!(origin.take_requests()[0].header("x-forwarded-for"), Some("192.0.2.7"));
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\0\x50";
    answer(&proxy, "raw", "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nhello");
    assert_eq!(told.await_seen().bytes, [&header[..], b"hello"].concat());
    answer(&proxy, "raw", "without");
    let seen = told.await_seen();
    assert!(seen.bytes[16..].starts_with(&[127, 0, 0, 1, 127, 0, 0, 1]), "{seen:?}");
    assert!(seen.bytes[28..] == *b"without", "{seen:?}");
    assert_eq!(proxy.stat("proxy_proto.raw.not_found_allowed"), 1);
    assert_eq!(Request::get("/").try_send(proxy.address_of("http")).map(|r| r.status()).ok(), None);
    proxy.stop();
}
