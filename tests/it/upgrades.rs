//! Upgrades of HTTP/1.1 connections: WebSocket with a real library at both ends, and what happens around
//! the moment in which the origin accepts or does not.

use std::net::TcpListener;
use std::time::Duration;

use ringway_test_support::config::{Config, Http};
use ringway_test_support::{Answer, Connection, Driver, Origin, Proxy, Server, Then, eventually};
use tungstenite::{Message, WebSocket};

on_both_drivers! {
    websockets_pass_both_ways
    nothing_is_forwarded_before_the_origin_accepts
    an_origin_that_refuses_answers_as_usual
    upgrades_that_are_not_enabled_are_refused
    a_silent_tunnel_ends_after_the_idle_timeout
    both_ends_of_a_tunnel_are_passed_on
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn proxy_to(driver: Driver, origin: &Origin) -> Proxy {
    let http = Http::to_origin(origin.port()).hcm("upgrade_configs: [{upgrade_type: WebSocket}]");
    Server::ringway(driver).start(&http.yaml())
}

fn websockets_pass_both_ways(driver: Driver) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        while let Ok(message) = socket.read() {
            if message.is_close() {
                let _ = socket.flush();
                return;
            }
            socket.send(message).expect("sent");
        }
    });
    let config = Config::file("websocket.yaml").port(8000, port);
    let proxy = Server::ringway(driver).start(config.as_str());
    let stream = std::net::TcpStream::connect(proxy.address()).expect("connected");
    let (mut client, response) =
        tungstenite::client(format!("ws://{}/chat", proxy.address()), stream).expect("a handshake");
    assert_eq!(response.status(), 101);
    let echo = |client: &mut WebSocket<_>, message: Message| {
        client.send(message.clone()).expect("sent");
        assert_eq!(client.read().expect("an echo"), message);
    };
    echo(&mut client, Message::text("hello"));
    for len in [0, 1, 126, 65_536, 1_000_000] {
        echo(&mut client, Message::binary(vec![7; len]));
    }
    assert_eq!(proxy.stat("http.ws.downstream_cx_upgrades_active"), 1);
    client.close(None).expect("a close");
    while client.read().is_ok() {}
    server.join().expect("the server");
    proxy.await_stat("http.ws.downstream_cx_upgrades_active", 0);
    assert_eq!(proxy.stat("http.ws.downstream_cx_upgrades_total"), 1);
    proxy.await_stat("cluster.origin.upstream_cx_active", 0);
    let refused = Connection::open(proxy.address()).send(UPGRADE.replace("/chat", "/plain")).response();
    assert_eq!(refused.status(), 403);
    proxy.stop();
}

fn nothing_is_forwarded_before_the_origin_accepts(driver: Driver) {
    let origin = Origin::start(Answer::script(|connection, request| {
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert!(request.has_token("connection", "upgrade"), "{request:?}");
        // Whatever the client sent meanwhile must not be here.
        let timeout = Some(Duration::from_millis(150));
        connection.stream.set_read_timeout(timeout).expect("a timeout");
        let mut early = [0; 100];
        let got = std::io::Read::read(&mut connection.stream, &mut early);
        assert!(got.is_err(), "{:?}", &early[..got.unwrap_or(0)]);
        connection.stream.set_read_timeout(Some(ringway_test_support::PATIENCE)).expect("a timeout");
        connection.write(ACCEPT);
        connection.write("first");
        let mut late = [0; 10];
        std::io::Read::read_exact(&mut connection.stream, &mut late).expect("the client's bytes");
        connection.write(late);
        Then::Close
    }));
    let proxy = proxy_to(driver, &origin);
    let mut client = Connection::open(proxy.address());
    client.send(format!("{UPGRADE}early"));
    client.send("after");
    let response = client.read_head().expect("a response");
    assert_eq!(response.status(), 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert!(response.has_token("connection", "upgrade"), "{response:?}");
    client.read_until(b"firstearlyafter").expect("both ways");
    assert!(client.is_closed_by_peer());
    proxy.stop();
}

fn an_origin_that_refuses_answers_as_usual(driver: Driver) {
    let origin = Origin::start(Answer::status(426, "Upgrade: chat\r\n", "no"));
    let proxy = proxy_to(driver, &origin);
    let mut client = Connection::open(proxy.address());
    let response = client.send(format!("{UPGRADE}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).response();
    assert_eq!((response.status(), response.text().as_str()), (426, "no"));
    assert!(client.is_closed_by_peer(), "what follows may not be HTTP");
    assert_eq!(origin.request_count(), 1, "and is never sent on");
    assert_eq!(proxy.stat("http.test.downstream_cx_upgrades_total"), 0);
    proxy.stop();
}

fn upgrades_that_are_not_enabled_are_refused(driver: Driver) {
    let origin = Origin::echo();
    let on_route = "- match: {path: /on}\n  route: {cluster: origin, upgrade_configs: [{upgrade_type: chat}]}\n\
                    - match: {prefix: /}\n  route: {cluster: origin}";
    let http = Http::routes(on_route).cluster("origin", origin.port(), "");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let ask = |path: &str, protocol: &str| {
        let request = UPGRADE.replace("/chat", path).replace("websocket", protocol);
        let mut client = Connection::open(proxy.address());
        let status = client.send(request).response().status();
        assert!(client.is_closed_by_peer());
        status
    };
    assert_eq!(ask("/off", "chat"), 403);
    assert_eq!(ask("/on", "websocket"), 403);
    assert_eq!(ask("/on", "chat"), 200, "passed on; the origin does not care");
    assert_eq!(proxy.stat("http.test.downstream_rq_ws_on_non_ws_route"), 2);
    proxy.stop();
}

fn a_silent_tunnel_ends_after_the_idle_timeout(driver: Driver) {
    let origin = Origin::start(Answer::script(|connection, _| {
        connection.write(ACCEPT);
        // Until the proxy ends it.
        let _ = std::io::Read::read(&mut connection.stream, &mut [0; 10]);
        Then::Close
    }));
    let http = Http::to_origin(origin.port())
        .hcm("upgrade_configs: [{upgrade_type: websocket}]\nstream_idle_timeout: 0.3s");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut client = Connection::open(proxy.address());
    assert_eq!(client.send(UPGRADE).read_head().expect("accepted").status(), 101);
    assert!(client.is_closed_by_peer());
    eventually("the origin's connection to end", || (origin.open() == 0).then_some(()));
    assert_eq!(proxy.stat("http.test.downstream_rq_idle_timeout"), 1);
    proxy.stop();
}

fn both_ends_of_a_tunnel_are_passed_on(driver: Driver) {
    let origin = Origin::start(Answer::script(|connection, _| {
        connection.write(ACCEPT);
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut connection.stream, &mut all).expect("the client's end");
        connection.write(format!("{} bytes", all.len()));
        Then::Close
    }));
    let proxy = proxy_to(driver, &origin);
    let mut client = Connection::open(proxy.address());
    assert_eq!(client.send(UPGRADE).read_head().expect("accepted").status(), 101);
    client.send(vec![b'x'; 300_000]).half_close();
    client.read_until(b"300000 bytes").expect("the answer after the end");
    assert!(client.is_closed_by_peer());
    proxy.stop();
}
