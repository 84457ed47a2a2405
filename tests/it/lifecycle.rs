//! Ending in order, and what operators do to a running process: signals and the admin endpoints that change
//! its state.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringway_test_support::config::Http;
use ringway_test_support::{Answer, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually};

on_both_drivers! {
    sigterm_ends_an_idle_process_at_once
    sigterm_lets_requests_finish
    sigterm_closes_idle_connections
    a_second_sigterm_ends_at_once
    the_drain_time_is_a_limit
    sigint_ends_it_too
    quitquitquit
    drain_listeners_stops_accepting
    failed_health_check_drains_connections
}

/// An origin that answers only after the test has opened the gate.
fn gated_origin() -> (Origin, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = gate.clone();
    let origin = Origin::start(Answer::script(move |connection, request| {
        let _ = connection.read_body(request);
        eventually("the gate", || opened.load(Ordering::SeqCst).then_some(()));
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        Then::Keep
    }));
    (origin, gate)
}

fn proxy_to(driver: Driver, origin: &Origin) -> Proxy {
    Server::ringway(driver).start(&Http::to_origin(origin.port()).yaml())
}

/// A request that is under way at the origin.
fn request_under_way(proxy: &Proxy, origin: &Origin) -> Connection {
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes());
    eventually("the request at the origin", || (origin.request_count() > 0).then_some(()));
    connection
}

fn refuses(proxy: &Proxy) -> bool {
    TcpStream::connect(proxy.address()).is_err()
}

#[track_caller]
fn ends_well(proxy: &mut Proxy) {
    let status = proxy.await_end();
    assert!(status.success(), "{status}\n{}", proxy.stderr());
}

fn sigterm_ends_an_idle_process_at_once(driver: Driver) {
    let origin = Origin::echo();
    let mut proxy = proxy_to(driver, &origin);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    let began = Instant::now();
    proxy.signal(libc::SIGTERM);
    ends_well(&mut proxy);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

fn sigterm_lets_requests_finish(driver: Driver) {
    let (origin, gate) = gated_origin();
    let mut proxy = proxy_to(driver, &origin);
    let mut connection = request_under_way(&proxy, &origin);
    proxy.signal(libc::SIGTERM);
    eventually("the listener to close", || refuses(&proxy).then_some(()));
    assert!(proxy.is_running());
    gate.store(true, Ordering::SeqCst);
    let response = connection.response();
    assert_eq!((response.text().as_str(), response.has_token("connection", "close")), ("done", true));
    assert!(connection.is_closed_by_peer());
    ends_well(&mut proxy);
}

fn sigterm_closes_idle_connections(driver: Driver) {
    let origin = Origin::echo();
    let mut proxy = proxy_to(driver, &origin);
    let mut used = Connection::open(proxy.address());
    assert_eq!(Request::get("/").send_on(&mut used).expect("response").status(), 200);
    let mut unused = Connection::open(proxy.address());
    proxy.await_stat("http.test.downstream_cx_active", 2);
    proxy.signal(libc::SIGTERM);
    assert!(used.is_closed_by_peer() && unused.is_closed_by_peer());
    ends_well(&mut proxy);
}

fn a_second_sigterm_ends_at_once(driver: Driver) {
    let (origin, _gate) = gated_origin();
    let mut proxy = proxy_to(driver, &origin);
    let _connection = request_under_way(&proxy, &origin);
    proxy.signal(libc::SIGTERM);
    eventually("the listener to close", || refuses(&proxy).then_some(()));
    assert!(proxy.is_running());
    let began = Instant::now();
    proxy.signal(libc::SIGTERM);
    proxy.await_end();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

fn the_drain_time_is_a_limit(driver: Driver) {
    let (origin, _gate) = gated_origin();
    let http = Http::to_origin(origin.port());
    let mut proxy = Server::ringway(driver).arg("--drain-time-s").arg("1").start(&http.yaml());
    let _connection = request_under_way(&proxy, &origin);
    let began = Instant::now();
    proxy.signal(libc::SIGTERM);
    ends_well(&mut proxy);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

fn sigint_ends_it_too(driver: Driver) {
    let origin = Origin::echo();
    let mut proxy = proxy_to(driver, &origin);
    proxy.signal(libc::SIGINT);
    ends_well(&mut proxy);
}

fn quitquitquit(driver: Driver) {
    let origin = Origin::echo();
    let mut proxy = proxy_to(driver, &origin);
    assert_eq!(proxy.admin_post("/quitquitquit").text(), "OK\n");
    ends_well(&mut proxy);
}

fn drain_listeners_stops_accepting(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    assert_eq!(proxy.admin_post("/drain_listeners").text(), "OK\n");
    eventually("the listener to close", || refuses(&proxy).then_some(()));
    proxy.await_stat("listener_manager.listener_stopped", 1);
    assert_eq!(proxy.admin_get("/ready").status(), 200);
    proxy.stop();
}

fn failed_health_check_drains_connections(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    assert_eq!(Request::get("/").send_on(&mut connection).expect("response").header("connection"), None);
    assert_eq!(proxy.admin_post("/healthcheck/fail").text(), "OK\n");
    assert_eq!(proxy.admin_get("/ready").status(), 503);
    let response = Request::get("/").send_on(&mut connection).expect("response");
    assert!(response.has_token("connection", "close"), "{response:?}");
    assert!(connection.is_closed_by_peer());
    proxy.admin_post("/healthcheck/ok");
    assert_eq!(proxy.admin_get("/ready").status(), 200);
    assert_eq!(Request::get("/").send(proxy.address()).header("connection"), None);
    proxy.stop();
}
