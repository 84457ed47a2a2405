//! The configurations of `configs/` that show HTTP filters.

use std::time::{Duration, Instant};

use ringway_test_support::{Answer, Config, Connection, Driver, Origin, Request, Server, Then};

use crate::configs::start;

on_both_drivers! {
    fault
    cors
    buffer
    header_mutation
    health_check
    ext_authz
}

fn fault(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "fault.yaml", &origin);
    let began = Instant::now();
    assert_eq!(Request::get("/delayed").send(proxy.address()).status(), 200);
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    let aborted = Request::get("/aborted").send(proxy.address());
    assert_eq!((aborted.status(), aborted.text().as_str()), (503, "fault filter abort"));
    let asked = Request::get("/").header("x-envoy-fault-abort-request", "429");
    assert_eq!(asked.send(proxy.address()).status(), 429);
    let mut connection = Connection::open(proxy.address());
    let aborts = (0..200)
        .filter(|_| Request::get("/half").send_on(&mut connection).expect("response").status() == 503)
        .count();
    assert!((65..=135).contains(&aborts), "{aborts} of 200");
    assert_eq!(proxy.stat("http.fault.fault.delays_injected"), 1);
    assert_eq!(proxy.stat("http.fault.fault.aborts_injected") as usize, aborts + 2);
    proxy.stop();
}

fn cors(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "cors.yaml", &origin);
    let preflight = |target: &str, from: &str| {
        Request::new("OPTIONS", target)
            .header("Origin", from)
            .header("Access-Control-Request-Method", "POST")
            .send(proxy.address())
    };
    let good = preflight("/", "http://www.site.test");
    assert_eq!(good.header("access-control-allow-origin"), Some("http://www.site.test"));
    assert_eq!(good.header("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(origin.request_count(), 0);
    for (target, from) in [("/", "http://evil.test"), ("/closed", "http://site.test")] {
        assert_eq!(preflight(target, from).header("access-control-allow-origin"), None);
    }
    assert_eq!(origin.request_count(), 2);
    let plain = Request::get("/").header("Origin", "http://site.test").send(proxy.address());
    assert_eq!(plain.header("access-control-allow-credentials"), Some("true"));
    proxy.stop();
}

fn buffer(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "buffer.yaml", &origin);
    let status =
        |target: &str, bytes: usize| Request::post(target, vec![b'x'; bytes]).send(proxy.address()).status();
    assert_eq!(status("/", 1024), 200);
    assert_eq!(status("/", 1025), 413);
    assert_eq!(status("/large", 65_536), 200);
    assert_eq!(status("/large", 65_537), 413);
    assert_eq!(status("/streamed", 200_000), 200);
    // A chunked body of known size leaves with a length.
    origin.take_requests();
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(Connection::open(proxy.address()).send(chunked).response().status(), 200);
    assert_eq!(origin.take_requests()[0].header("content-length"), Some("3"));
    proxy.stop();
}

fn header_mutation(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "header-mutation.yaml", &origin);
    let order = |target: &str| {
        let response = Request::get(target).header("x-secret", "1").send(proxy.address());
        assert_eq!(response.header("x-method"), Some("GET"));
        let received = origin.take_requests().remove(0);
        assert_eq!(received.header("x-secret"), None);
        received.header_all("x-order").join(" ")
    };
    assert_eq!(order("/"), "filter");
    assert_eq!(order("/more"), "filter route");
    assert_eq!(order("/awake"), "filter awake");
    proxy.stop();
}

fn health_check(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "fine"));
    let proxy = start(driver, "health-check.yaml", &origin);
    let check = |listener: &str| Request::get("/health").send(proxy.address_of(listener)).status();
    assert_eq!((check("own"), check("by_cluster"), origin.request_count()), (200, 200, 0));
    assert_eq!((check("passed"), check("passed"), origin.request_count()), (200, 200, 2));
    assert_eq!((check("cached"), check("cached"), origin.request_count()), (200, 200, 3));
    assert_eq!(Request::get("/other").send(proxy.address_of("own")).text(), "fine");
    proxy.admin_post("/healthcheck/fail");
    for listener in ["own", "passed", "cached", "by_cluster"] {
        assert_eq!(check(listener), 503, "{listener}");
    }
    proxy.admin_post("/healthcheck/ok");
    assert_eq!(check("own"), 200);
    proxy.stop();
}

fn ext_authz(driver: Driver) {
    let origin = Origin::echo();
    let authz = Origin::start(Answer::status(200, "x-user: alice\r\nx-hidden: 1\r\n", ""));
    let config = Config::file("ext-authz.yaml").port(8001, origin.port()).port(8002, authz.port());
    let proxy = Server::ringway(driver).start(config.as_str());
    let send = |request: Request| request.send(proxy.address());
    assert_eq!(
        send(Request::post("/a?b", "body").header("x-token", "t").header("x-user", "mallory")).status(),
        200
    );
    let (asked, received) = (authz.take_requests().remove(0), origin.take_requests().remove(0));
    assert_eq!((asked.target(), asked.header("x-token")), ("/check/a?b", Some("t")));
    assert_eq!((received.header_all("x-user"), received.header("x-hidden")), (vec!["alice"], None));
    assert_eq!(received.text(), "body");
    authz.expect([Answer::status(401, "x-reason: because\r\n", "who?")]);
    let denied = send(Request::get("/"));
    assert_eq!(
        (denied.status(), denied.text().as_str(), denied.header("x-reason")),
        (401, "who?", Some("because"))
    );
    // A server that does not answer in time, or that is gone, lets nobody pass.
    authz.expect([Answer::Raw(Vec::new(), Then::Stall)]);
    assert_eq!(send(Request::get("/")).status(), 403);
    authz.expect([Answer::Raw(Vec::new(), Then::Close), Answer::Raw(Vec::new(), Then::Close)]);
    assert_eq!(send(Request::get("/")).status(), 403);
    assert_eq!(origin.request_count(), 0);
    authz.take_requests();
    assert_eq!(send(Request::get("/public")).status(), 200);
    assert_eq!(authz.request_count(), 0);
    proxy.stop();
}
