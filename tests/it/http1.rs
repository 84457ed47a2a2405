//! HTTP/1.1 with many clients: persistence, pipelining, order, abuse that must not hurt others. What single
//! requests do is the matter of `conformance` and `envoy_diff`.

use std::thread;

use ringway_test_support::config::Http;
use ringway_test_support::message::find;
use ringway_test_support::{Answer, Connection, Driver, Origin, Proxy, Request, Server, Then};

on_both_drivers! {
    many_clients_get_their_own_answers a_hundred_pipelined_requests pipelined_requests_in_single_bytes
    garbage_hurts_nobody_else resets_in_every_phase_hurt_nobody_else a_slow_client_does_not_hold_up_others
    large_heads_pass connections_are_counted_and_given_back head_and_bodiless_answers_keep_the_connection
}

fn proxy_to(driver: Driver, origin: &Origin) -> Proxy {
    Server::ringway(driver).start(&Http::to_origin(origin.port()).yaml())
}

fn many_clients_get_their_own_answers(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).concurrency(2).start(&Http::to_origin(origin.port()).yaml());
    let address = proxy.address();
    thread::scope(|scope| {
        for client in 0..20 {
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for i in 0..50 {
                    let body = format!("{client}/{i}/{}", "b".repeat(i * 200));
                    let request = Request::post(&format!("/{client}/{i}"), body.clone());
                    let echo = request.send_on(&mut connection).expect("response").json();
                    assert_eq!(echo["target"], format!("/{client}/{i}"));
                    assert_eq!(echo["body"], body);
                }
            });
        }
    });
    assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 1000);
    assert_eq!(proxy.stat("http.test.downstream_cx_total"), 20);
    proxy.stop();
}

fn a_hundred_pipelined_requests(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    let mut bytes = Vec::new();
    for i in 0..100 {
        let request = if i % 3 == 0 {
            Request::post(&format!("/{i}"), "x".repeat(i))
        } else {
            Request::get(&format!("/{i}"))
        };
        bytes.extend(request.bytes());
    }
    connection.send(bytes);
    for i in 0..100 {
        assert_eq!(connection.response().json()["target"], format!("/{i}"));
    }
    proxy.stop();
}

fn pipelined_requests_in_single_bytes(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    let mut bytes = Request::get("/1").bytes();
    bytes.extend(Request::post("/2", "body").bytes());
    for byte in bytes {
        connection.send([byte]);
    }
    assert_eq!(connection.response().json()["target"], "/1");
    assert_eq!(connection.response().json()["body"], "body");
    proxy.stop();
}

fn garbage_hurts_nobody_else(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut honest = Connection::open(proxy.address());
    let mut state = 0x1234_5678_u32;
    for _ in 0..200 {
        let garbage: Vec<u8> = (0..200)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let mut connection = Connection::open(proxy.address());
        connection.send(&garbage).half_close();
        assert!(connection.is_closed_by_peer());
        assert_eq!(Request::get("/").send_on(&mut honest).expect("response").status(), 200);
    }
    proxy.await_stat("http.test.downstream_cx_active", 1);
    proxy.stop();
}

fn resets_in_every_phase_hurt_nobody_else(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let whole = Request::post("/", "0123456789").bytes();
    let head = find(&whole, b"\r\n\r\n").expect("head") + 4;
    for cut in [0, 1, head / 2, head, head + 5, whole.len()] {
        for _ in 0..20 {
            let mut connection = Connection::open(proxy.address());
            connection.send(&whole[..cut]);
            connection.reset();
        }
    }
    origin.set_default(Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-".to_vec(), Then::Reset));
    for _ in 0..20 {
        // Origins that reset are answered for.
        assert_eq!(Request::post("/", "x").send(proxy.address()).status() / 100, 5);
    }
    proxy.await_stat("http.test.downstream_cx_active", 0);
    proxy.await_stat("http.test.downstream_rq_active", 0);
    proxy.await_stat("cluster.origin.upstream_rq_active", 0);
    origin.set_default(Answer::Echo);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    proxy.stop();
}

fn a_slow_client_does_not_hold_up_others(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut slow: Vec<Connection> = (0..50).map(|_| Connection::open(proxy.address())).collect();
    for connection in &mut slow {
        connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow");
    }
    for _ in 0..100 {
        assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    }
    for connection in &mut slow {
        connection.send(": done\r\n\r\n");
        assert_eq!(connection.response().status(), 200);
    }
    proxy.stop();
}

fn large_heads_pass(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    for kib in [4, 8, 16, 17, 32, 50] {
        let value = "v".repeat(kib << 10);
        let echo = Request::get("/").header("X-Large", &value).send(proxy.address());
        assert_eq!(echo.status(), 200, "{kib} KiB");
        let received = origin.take_requests().remove(0);
        assert_eq!(received.header("x-large").map(str::len), Some(kib << 10));
    }
    proxy.stop();
}

fn connections_are_counted_and_given_back(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut open: Vec<Connection> = (0..100).map(|_| Connection::open(proxy.address())).collect();
    for connection in &mut open {
        assert_eq!(Request::get("/").send_on(connection).expect("response").status(), 200);
    }
    proxy.await_stat("http.test.downstream_cx_active", 100);
    open.truncate(40);
    proxy.await_stat("http.test.downstream_cx_active", 40);
    drop(open);
    proxy.await_stat("http.test.downstream_cx_active", 0);
    assert_eq!(proxy.stat("http.test.downstream_cx_destroy_remote"), 100);
    proxy.stop();
}

fn head_and_bodiless_answers_keep_the_connection(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    for status in [204, 304] {
        origin.expect([Answer::raw(format!("HTTP/1.1 {status} X\r\n\r\n"))]);
        assert_eq!(Request::get("/").send_on(&mut connection).expect("response").status(), status);
        assert_eq!(Request::new("HEAD", "/").send_on(&mut connection).expect("response").status(), 200);
        assert_eq!(Request::get("/").send_on(&mut connection).expect("response").status(), 200);
    }
    proxy.stop();
}
