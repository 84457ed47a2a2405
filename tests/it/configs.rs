//! The configurations of `configs/`, each started and used: routing, rewriting, HTTP/1, listeners, clusters.

use ringway_test_support::message::Message;
use ringway_test_support::origin::RefusedPort;
use ringway_test_support::{
    Answer, Config, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually,
};

on_both_drivers! {
    http_proxy routing redirects_and_rewrites headers weighted_clusters retries http1_options dns unix_sockets
    listeners load_balancing circuit_breakers local_replies edge demo
}

/// Every file must be used by some test; this is the list.
#[test]
fn every_configuration_is_exercised() {
    let here = concat!(
        include_str!("configs.rs"),
        include_str!("configs_filters.rs"),
        include_str!("configs_l4.rs"),
        include_str!("configs_tls.rs")
    );
    let elsewhere = concat!(
        include_str!("access_log.rs"),
        include_str!("timeouts.rs"),
        include_str!("upgrades.rs"),
        include_str!("health.rs"),
        include_str!("http2/requests.rs")
    );
    let directory = ringway_test_support::config::workspace_root().join("configs");
    for entry in std::fs::read_dir(directory).expect("configs").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let quoted = format!("\"{name}\"");
        assert!(
            !name.ends_with(".yaml") || here.contains(&quoted) || elsewhere.contains(&quoted),
            "{name} is not used"
        );
    }
}

/// Starts a file of `configs/` with this origin on port 8001.
pub fn start(driver: Driver, file: &str, origin: &Origin) -> Proxy {
    Server::ringway(driver).start(Config::file(file).port(8001, origin.port()).as_str())
}

fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    message.header(name).unwrap_or("")
}

fn http_proxy(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "http-proxy.yaml", &origin);
    let response = Request::post("/a?b=c", "hello").send(proxy.address());
    assert_eq!((response.status(), response.json()["body"].as_str()), (200, Some("hello")));
    eventually("the access log on standard output", || {
        proxy.stdout().contains("POST /a?b=c HTTP/1.1").then_some(())
    });
    proxy.stop();
}

fn routing(driver: Driver) {
    let proxy = Server::ringway(driver).start(Config::file("routing.yaml").as_str());
    let rows = [
        ("site.test", "/", "", "exact domain"),
        ("www.site.test", "/", "", "suffix wildcard"),
        ("api.any", "/", "", "prefix wildcard"),
        ("x", "/path?q", "", "path"),
        ("x", "/anycase", "", "path in any case"),
        ("x", "/separated/y", "", "separated prefix"),
        ("x", "/separatedy", "", "default"),
        ("x", "/items/12", "", "regex"),
        ("x", "/items/12a", "", "default"),
        ("x", "/h", "x-kind: a", "header exact"),
        ("x", "/h", "x-number: 9", "header range"),
        ("x", "/h", "x-present: y", "header present"),
        ("x", "/h", "x-z: y", "header inverted"),
        ("x", "/q?debug=1", "", "query"),
        ("x", "/always", "", "fraction"),
        ("x", "/prefix/y", "", "prefix"),
        ("x", "/", "", "default"),
    ];
    for (host, target, field, expected) in rows {
        let mut request = Request::get(target).host(host);
        if let Some((name, value)) = field.split_once(": ") {
            request = request.header(name, value);
        }
        assert_eq!(request.send(proxy.address()).text(), expected, "{host}{target} {field}");
    }
    proxy.stop();
}

fn redirects_and_rewrites(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "redirects-and-rewrites.yaml", &origin);
    let redirect = |target: &str| {
        let response = Request::get(target).host("a.test").send(proxy.address());
        (response.status(), header(&response, "location").to_string())
    };
    assert_eq!(redirect("/old/x?y"), (301, "http://a.test/new/x?y".into()));
    assert_eq!(redirect("/https/x"), (301, "https://a.test:8443/https/x".into()));
    assert_eq!(redirect("/elsewhere?y"), (302, "http://other.test/elsewhere".into()));
    assert_eq!(redirect("/pattern/a/b"), (301, "http://a.test/found/a/b".into()));
    assert_eq!(Request::get("/teapot").send(proxy.address()).text(), "short and stout");
    let echo = |request: Request| request.send(proxy.address()).json();
    assert_eq!(echo(Request::get("/api/x?y"))["target"], "/x?y");
    assert_eq!(echo(Request::get("/v1/abc/d"))["target"], "/abc/v1/d");
    let host = |request: Request| {
        echo(request);
        origin.take_requests().pop().and_then(|r| r.header("host").map(str::to_string))
    };
    assert_eq!(host(Request::get("/host")).as_deref(), Some("inner.test"));
    assert_eq!(
        host(Request::get("/header-host").header("x-inner-host", "named.test")).as_deref(),
        Some("named.test")
    );
    proxy.stop();
}

fn headers(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "x-internal: 1\r\n", "ok"));
    let proxy = start(driver, "headers.yaml", &origin);
    let response = Request::get("/x").header("x-secret", "1").send(proxy.address());
    let received = origin.take_requests().remove(0);
    assert_eq!(received.header_all("x-level"), ["route", "host", "table"]);
    assert_eq!(received.header("x-client"), Some("127.0.0.1"));
    assert_eq!(received.header("x-was"), Some("GET /x over HTTP/1.1"));
    assert_eq!(received.header("x-secret"), None);
    assert_eq!((header(&response, "x-upstream"), header(&response, "x-proxy")), ("origin", "ringway"));
    assert_eq!(response.header("x-internal"), None);
    Request::get("/weighted").send(proxy.address());
    assert_eq!(origin.take_requests()[0].header_all("x-level"), ["cluster", "route", "host", "table"]);
    proxy.stop();
}

fn weighted_clusters(driver: Driver) {
    let stable = Origin::start(Answer::status(200, "", "stable"));
    let canary = Origin::start(Answer::status(200, "", "canary"));
    let config = Config::file("weighted-clusters.yaml").port(8001, stable.port()).port(8002, canary.port());
    let proxy = Server::ringway(driver).start(config.as_str());
    let mut connection = Connection::open(proxy.address());
    let total = 400;
    let to_canary = (0..total)
        .filter(|_| Request::get("/").send_on(&mut connection).expect("response").text() == "canary")
        .count();
    // 100 are expected; 50 and 150 are each more than five standard deviations away.
    assert!((50..150).contains(&to_canary), "{to_canary} of {total}");
    let named = Request::get("/named").header("x-cluster", "canary").send(proxy.address());
    assert_eq!(named.text(), "canary");
    assert_eq!(Request::get("/named").header("x-cluster", "none").send(proxy.address()).status(), 503);
    proxy.stop();
}

fn retries(driver: Driver) {
    let origin = Origin::echo();
    let refused = RefusedPort::take();
    let config = Config::file("retries.yaml").port(8001, origin.port()).port(8009, refused.port);
    let proxy = Server::ringway(driver).start(config.as_str());
    origin.expect([Answer::status(503, "", ""), Answer::Raw(Vec::new(), Then::Reset)]);
    let response = Request::post("/", "body").send(proxy.address());
    assert_eq!((response.status(), header(&response, "x-envoy-attempt-count")), (200, "3"));
    let bodies: Vec<_> = origin.take_requests().iter().map(Message::text).collect();
    assert_eq!(bodies, ["body", "body", "body"]);
    // The first try is not answered; the second is.
    origin.expect([Answer::Raw(Vec::new(), Then::Stall)]);
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    assert_eq!(Request::get("/refused").send(proxy.address()).status(), 503);
    assert_eq!(proxy.stat("cluster.nobody.upstream_rq_retry"), 2);
    assert_eq!(proxy.stat("cluster.nobody.upstream_cx_connect_fail"), 3);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_retry_success"), 2);
    proxy.stop();
}

fn http1_options(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "http1-options.yaml", &origin);
    let exchange =
        |listener: &str, bytes: &str| Connection::open(proxy.address_of(listener)).send(bytes).response();
    let old = exchange("http10", "GET / HTTP/1.0\r\n\r\n");
    assert_eq!((old.status(), old.has_token("connection", "close")), (200, true));
    assert_eq!(origin.take_requests()[0].header("host"), Some("default.test"));
    let chunked =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n";
    origin.expect([
        Answer::Echo,
        Answer::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-back: 2\r\n\r\n"),
    ]);
    exchange("trailers", chunked);
    assert_eq!(origin.take_requests()[0].trailer("x-t"), Some("1"));
    assert_eq!(exchange("trailers", chunked).trailer("x-back"), Some("2"));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "v".repeat(2048));
    assert_eq!(exchange("limits", &long).status(), 431);
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    origin.expect([Answer::raw(interim)]);
    let expecting = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx";
    assert_eq!(exchange("continue", expecting).interim.len(), 1);
    assert_eq!(origin.take_requests().last().and_then(|r| r.header("expect")), Some("100-continue"));
    proxy.stop();
}

fn dns(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "dns.yaml", &origin);
    assert_eq!(Request::get("/strict").send(proxy.address()).status(), 200);
    let logical = Request::get("/logical").send(proxy.address());
    assert_eq!(logical.status(), 200);
    let received = origin.take_requests();
    assert_eq!(received[1].header("host"), Some("localhost"), "{received:?}");
    let clusters = proxy.admin_get("/clusters").text();
    assert!(clusters.contains(&format!("strict::127.0.0.1:{}::", origin.port())), "{clusters}");
    proxy.stop();
}

fn unix_sockets(driver: Driver) {
    let directory = tempfile::tempdir().expect("directory");
    let (listening, serving) = (directory.path().join("l.sock"), directory.path().join("o.sock"));
    let origin = Origin::start_unix(&serving, Answer::Echo);
    let config = Config::file("unix-sockets.yaml")
        .replace("/tmp/ringway-listener.sock", &listening.display().to_string())
        .replace("/tmp/ringway-origin.sock", &serving.display().to_string());
    let proxy = Server::ringway(driver).start(config.as_str());
    let mut connection = Connection::open_unix(&listening);
    assert_eq!(
        Request::get("/by-unix").send_on(&mut connection).expect("response").json()["target"],
        "/by-unix"
    );
    assert_eq!(Request::get("/by-tcp").send(proxy.address_of("tcp")).json()["target"], "/by-tcp");
    assert_eq!(origin.request_count(), 2);
    let mode = std::os::unix::fs::PermissionsExt::mode(&listening.metadata().expect("socket").permissions());
    assert_eq!(mode & 0o777, 0o660);
    proxy.stop();
}

fn listeners(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "listeners.yaml", &origin);
    let both = proxy.addresses_of("two");
    assert_eq!(both.len(), 2, "{both:?}");
    for address in both.into_iter().chain([proxy.address_of("six"), proxy.address_of("options")]) {
        assert_eq!(Request::get("/").send(address).status(), 200, "{address}");
    }
    assert!(proxy.address_of("six").is_ipv6());
    proxy.stop();
}

fn load_balancing(driver: Driver) {
    let one = Origin::start(Answer::status(200, "", "1"));
    let two = Origin::start(Answer::status(200, "", "2"));
    let config = Config::file("load-balancing.yaml").port(8001, one.port()).port(8002, two.port());
    let proxy = Server::ringway(driver).start(config.as_str());
    let mut connection = Connection::open(proxy.address());
    let mut share = |cluster: &str| {
        let request = Request::get(&format!("/{cluster}"));
        (0..200).filter(|_| request.send_on(&mut connection).expect("response").text() == "1").count()
    };
    assert_eq!(share("round_robin"), 100);
    // Random choice: 100 +- five standard deviations of 7.
    assert!((65..=135).contains(&share("random")));
    assert!((65..=135).contains(&share("least_request")));
    assert_eq!(share("weighted_round_robin"), 150);
    let weighted = share("weighted_least_request");
    assert!((140..=160).contains(&weighted), "{weighted}");
    proxy.stop();
}

fn circuit_breakers(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "circuit-breakers.yaml", &origin);
    // Requests that stay unanswered until the limit of two has been seen to hold.
    origin.expect([Answer::Raw(Vec::new(), Then::Stall), Answer::Raw(Vec::new(), Then::Stall)]);
    let mut held: Vec<Connection> = (0..2).map(|_| Connection::open(proxy.address())).collect();
    for connection in &mut held {
        connection.send(Request::get("/requests").bytes());
    }
    eventually("two requests at the origin", || (origin.request_count() == 2).then_some(()));
    let refused = Request::get("/requests").send(proxy.address());
    assert_eq!((refused.status(), header(&refused, "x-envoy-overloaded")), (503, "true"));
    proxy.await_stat("cluster.requests.upstream_rq_active_overflow", 1);
    drop(held);
    eventually("room for a request", || {
        (Request::get("/requests").send(proxy.address()).status() == 200).then_some(())
    });
    // Two requests a connection.
    let accepted = origin.accepted();
    let mut connection = Connection::open(proxy.address());
    for _ in 0..6 {
        assert_eq!(Request::get("/short").send_on(&mut connection).expect("response").status(), 200);
    }
    assert_eq!(origin.accepted() - accepted, 3);
    proxy.stop();
}

fn local_replies(driver: Driver) {
    let refused = RefusedPort::take();
    let config = Config::file("local-replies.yaml").port(8009, refused.port);
    let proxy = Server::ringway(driver).start(config.as_str());
    let missing = Request::get("/nothing").send(proxy.address());
    assert_eq!((missing.status(), header(&missing, "x-mapped")), (410, "yes"));
    assert_eq!(header(&missing, "content-type"), "application/json");
    assert_eq!(missing.json()["path"], "/nothing");
    let refused = Request::get("/refused").send(proxy.address());
    assert_eq!((refused.status(), refused.json()["status"].as_u64()), (503, Some(503)));
    assert_eq!(Request::get("/direct").send(proxy.address()).json()["message"], "forbidden");
    proxy.stop();
}

fn demo(driver: Driver) {
    let proxy = Server::ringway(driver).start(Config::file("demo.yaml").as_str());
    assert_eq!(proxy.admin_get("/ready").status(), 200);
    proxy.stop();
}

fn edge(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, "edge.yaml", &origin);
    let status = |request: Request| request.send(proxy.address()).status();
    assert_eq!(status(Request::get("/x/%2e%2e//admin")), 403);
    assert_eq!(status(Request::get("/a%2Fb")), 400);
    assert_eq!(status(Request::get("/").header("x_y", "1")), 400);
    origin.take_requests();
    let forged = Request::get("/a//b").header("x-request-id", "forged").header("x-envoy-internal", "true");
    let response = forged.send(proxy.address());
    assert_eq!((header(&response, "server"), header(&response, "via")), ("edge", "ringway"));
    let received = origin.take_requests().remove(0);
    assert_eq!(received.target(), "/a/b");
    assert_ne!(received.header("x-request-id"), Some("forged"));
    assert_eq!(received.header("x-envoy-internal"), None);
    assert_eq!(received.header("via"), Some("ringway"));
    proxy.stop();
}
