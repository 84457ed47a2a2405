//! Active health checks and outlier detection: which hosts get requests, in every worker, and what operators see.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway_test_support::config::{Http, indent};
use ringway_test_support::message::Message;
use ringway_test_support::origin::{RefusedPort, Script};
use ringway_test_support::process::read_file;
use ringway_test_support::{
    Answer, Config, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually,
};

on_both_drivers! {
    health_checks_yaml outlier_detection_yaml hosts_leave_and_return_in_every_worker
    too_few_healthy_hosts_are_ignored a_host_may_fail_itself degraded_hosts_serve_the_rest
    failed_hosts_lose_their_connections nobody_serves_before_the_first_round
    ejection_after_exactly_so_many_errors_and_return broken_answers_and_timeouts_count
    callers_of_filters_count a_check_does_not_disturb_requests
}

/// Settings of a check that comes every 20 ms.
const OFTEN: &str =
    "timeout: 5s, interval: 0.02s, no_traffic_interval: 0.02s, unhealthy_threshold: 1, healthy_threshold: 1";

const ALL: &str = "- match: {prefix: /}\n  route: {cluster: origin}";

/// A host that answers checks of `/health` with one status and requests with another.
struct Host {
    origin: Origin,
    checks: Arc<AtomicU16>,
    requests: Arc<AtomicU16>,
}

impl Host {
    /// With a name that its answers have as their body, and further fields.
    fn start(name: &'static str, fields: &'static str) -> Host {
        let (checks, requests) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let statuses = (Arc::clone(&checks), Arc::clone(&requests));
        let script: Script = Arc::new(move |connection, request: &mut Message| {
            let is_check = request.target() == "/health";
            let status = if is_check { &statuses.0 } else { &statuses.1 }.load(Ordering::SeqCst);
            let length = name.len();
            connection
                .write(format!("HTTP/1.1 {status} Any\r\n{fields}content-length: {length}\r\n\r\n{name}"));
            Then::Keep
        });
        Host { origin: Origin::start(Answer::Script(script)), checks, requests }
    }

    fn address(&self) -> String {
        format!("socket_address: {{address: 127.0.0.1, port_value: {}}}", self.origin.port())
    }

    fn answer_checks(&self, status: u16) {
        self.checks.store(status, Ordering::SeqCst);
    }

    fn answer_requests(&self, status: u16) {
        self.requests.store(status, Ordering::SeqCst);
    }

    /// Requests received since the last time, checks left out.
    fn take_requests(&self) -> usize {
        self.origin.take_requests().iter().filter(|request| request.target() != "/health").count()
    }
}

/// Round robin over these hosts with further fields of the cluster.
fn cluster(hosts: &[&Host], yaml: &str) -> String {
    let addresses: Vec<String> = hosts.iter().map(|host| host.address()).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    Http::routes(ALL).cluster_of("origin", &addresses, yaml).yaml()
}

fn checked(fields: &str) -> String {
    format!("health_checks: [{{{OFTEN}, http_health_check: {{path: /health}}{fields}}}]")
}

/// What `/clusters` says of a host of `cluster`.
fn flags(proxy: &Proxy, cluster: &str, port: u16) -> String {
    let clusters = proxy.admin_get("/clusters").text();
    let key = format!("{cluster}::127.0.0.1:{port}::health_flags::");
    let line = clusters.lines().find_map(|line| line.strip_prefix(&key));
    line.unwrap_or_else(|| panic!("no {key} in {clusters}")).to_owned()
}

fn await_flags(proxy: &Proxy, cluster: &str, port: u16, expected: &str) {
    eventually(&format!("{cluster}, port {port} to be {expected}"), || {
        (flags(proxy, cluster, port) == expected).then_some(())
    });
}

/// Statuses of `count` requests on one connection.
fn statuses(proxy: &Proxy, target: &str, count: usize) -> Vec<u16> {
    let mut connection = Connection::open(proxy.address());
    let request = Request::get(target);
    (0..count).map(|_| request.send_on(&mut connection).expect("response").status()).collect()
}

/// Requests until so many of them failed. Each is a connection of its own, so that all workers have a part in it.
fn fail(proxy: &Proxy, target: &str, failures: usize) {
    let mut seen = 0;
    while seen < failures {
        seen += usize::from(Request::get(target).send(proxy.address()).status() >= 500);
    }
}

fn bodies(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut connection = Connection::open(proxy.address());
    (0..count).map(|_| Request::get("/").send_on(&mut connection).expect("response").text()).collect()
}

fn health_checks_yaml(driver: Driver) {
    let (one, two) = (Origin::echo(), Origin::echo());
    let log = tempfile::NamedTempFile::new().expect("file");
    let path = log.path().display().to_string();
    let config = Config::file("health-checks.yaml")
        .port(8001, one.port())
        .port(8002, two.port())
        .replace("/tmp/ringway-health.log", &path);
    let proxy = Server::ringway(driver).start(config.as_str());
    for target in ["/web", "/tcp", "/aside"] {
        assert_eq!(statuses(&proxy, target, 2), [200, 200], "{target}");
    }
    let asked = |origin: &Origin, target: &str| {
        origin.take_requests().into_iter().find(|request| request.target() == target)
    };
    let check = eventually("a check of web", || asked(&one, "/healthz"));
    assert_eq!((check.header("host"), check.header("x-checked-by")), (Some("web.internal"), Some("ringway")));
    let check = eventually("a check of aside", || asked(&two, "/aside"));
    assert_eq!(check.header("host"), Some("aside.internal"));

    // An unexpected answer is enough; a retriable one counts towards the threshold of two.
    two.set_default(Answer::status(500, "", ""));
    await_flags(&proxy, "web", two.port(), "/failed_active_hc");
    await_flags(&proxy, "aside", one.port(), "/failed_active_hc");
    assert_eq!(statuses(&proxy, "/web", 4), [200; 4], "half of the hosts is enough");
    one.set_default(Answer::status(429, "", ""));
    await_flags(&proxy, "web", one.port(), "/failed_active_hc");
    assert_eq!(flags(&proxy, "tcp", one.port()), "healthy", "any status is an answer");
    let failed = Request::get("/web").send(proxy.address());
    assert_eq!((failed.status(), failed.text().as_str()), (503, "no healthy upstream"));
    assert!(proxy.stat("cluster.web.lb_healthy_panic") > 0);
    one.set_default(Answer::Echo);
    await_flags(&proxy, "web", one.port(), "healthy");

    // The flags change first, then it is logged.
    let returned = r#""add_healthy_event":{"first_check":false}"#;
    let lines = eventually("the last event in the log", || {
        let lines = fs::read_to_string(log.path()).expect("log");
        lines.contains(returned).then_some(lines)
    });
    let of = |port: u16, event: &str| {
        let host = format!(r#""port_value":{port},"#);
        lines.lines().filter(|line| line.contains(&host) && line.contains(event)).count()
    };
    assert_eq!(of(one.port(), r#""add_healthy_event":{"first_check":true}"#), 1, "{lines}");
    assert_eq!(of(one.port(), returned), 1, "{lines}");
    let ejected = r#""eject_unhealthy_event":{"failure_type":"ACTIVE","http_status_code":429}"#;
    assert_eq!(of(one.port(), ejected), 1, "{lines}");
    assert!(of(one.port(), r#""health_check_failure_event":"#) >= 2, "all failures are logged: {lines}");
    proxy.stop();
}

fn outlier_detection_yaml(driver: Driver) {
    let (one, two) = (Host::start("1", ""), Host::start("2", ""));
    let refused = RefusedPort::take();
    let log = tempfile::NamedTempFile::new().expect("file");
    let config = Config::file("outlier-detection.yaml")
        .port(8001, one.origin.port())
        .port(8002, two.origin.port())
        .port(8009, refused.port)
        .replace("/tmp/ringway-ejections.log", &log.path().display().to_string());
    let proxy = Server::ringway(driver).start(config.as_str());

    one.answer_requests(500);
    fail(&proxy, "/errors", 3);
    await_flags(&proxy, "errors", one.origin.port(), "/failed_outlier_check");
    assert_eq!(statuses(&proxy, "/errors", 4), [200; 4]);
    one.answer_requests(200);
    await_flags(&proxy, "errors", one.origin.port(), "healthy");
    assert_eq!(proxy.stat("cluster.errors.outlier_detection.ejections_enforced_consecutive_5xx"), 1);

    fail(&proxy, "/local", 2);
    await_flags(&proxy, "local", refused.port, "/failed_outlier_check");
    assert_eq!(statuses(&proxy, "/local", 4), [200; 4]);

    two.answer_requests(500);
    eventually("an ejection by rates", || {
        statuses(&proxy, "/rates", 20);
        (flags(&proxy, "rates", two.origin.port()) == "/failed_outlier_check").then_some(())
    });
    let types: Vec<String> = read_file(log.path())
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|event| format!("{} {} {}", event["cluster_name"], event["type"], event["action"]))
        .collect();
    let expected = [
        r#""errors" "CONSECUTIVE_5XX" "EJECT""#,
        r#""errors" "CONSECUTIVE_5XX" "UNEJECT""#,
        r#""local" "CONSECUTIVE_LOCAL_ORIGIN_FAILURE" "EJECT""#,
        r#""rates" "SUCCESS_RATE" "EJECT""#,
    ];
    assert_eq!(types, expected);
    proxy.stop();
}

fn hosts_leave_and_return_in_every_worker(driver: Driver) {
    let (one, two) = (Host::start("1", ""), Host::start("2", ""));
    let proxy = Server::ringway(driver).concurrency(2).start(&cluster(&[&one, &two], &checked("")));
    // Enough connections to have some at each worker.
    let mut open: Vec<Connection> = (0..40).map(|_| Connection::open(proxy.address())).collect();
    let mut round = || {
        for connection in &mut open {
            assert_eq!(Request::get("/").send_on(connection).expect("response").status(), 200);
        }
        (one.take_requests(), two.take_requests())
    };
    let both = round();
    assert!(both.0 > 0 && both.1 > 0, "{both:?}");
    for _ in 0..2 {
        one.answer_checks(503);
        await_flags(&proxy, "origin", one.origin.port(), "/failed_active_hc");
        one.take_requests();
        assert_eq!(round(), (0, 40));
        assert_eq!(proxy.stat("cluster.origin.membership_healthy"), 1);
        one.answer_checks(200);
        await_flags(&proxy, "origin", one.origin.port(), "healthy");
        let both = round();
        assert!(both.0 >= 10 && both.1 >= 10, "{both:?}");
    }
    assert_eq!(proxy.stat("cluster.origin.health_check.healthy"), 2);
    assert!(proxy.stat("cluster.origin.health_check.failure") >= 2);
    proxy.stop();
}

fn too_few_healthy_hosts_are_ignored(driver: Driver) {
    let hosts = [Host::start("1", ""), Host::start("2", ""), Host::start("3", "")];
    let all: Vec<&Host> = hosts.iter().collect();
    let yaml = checked("") + "\ncommon_lb_config: {healthy_panic_threshold: {value: 40}}";
    let proxy = Server::ringway(driver).start(&cluster(&all, &yaml));
    hosts[0].answer_checks(503);
    await_flags(&proxy, "origin", hosts[0].origin.port(), "/failed_active_hc");
    assert!(!bodies(&proxy, 12).contains(&"1".to_owned()), "two of three are more than 40 %");
    assert_eq!(proxy.stat("cluster.origin.lb_healthy_panic"), 0);
    hosts[1].answer_checks(503);
    await_flags(&proxy, "origin", hosts[1].origin.port(), "/failed_active_hc");
    let panicking = bodies(&proxy, 12);
    for name in ["1", "2", "3"] {
        assert_eq!(panicking.iter().filter(|body| *body == name).count(), 4, "{panicking:?}");
    }
    assert_eq!(proxy.stat("cluster.origin.lb_healthy_panic"), 12);
    proxy.stop();
}

fn a_host_may_fail_itself(driver: Driver) {
    let good = Host::start("good", "");
    let failing = Host::start("failing", "x-envoy-immediate-health-check-fail: true\r\n");
    // The check itself succeeds, and comes but once.
    let once = "health_checks: [{timeout: 5s, interval: 60s, unhealthy_threshold: 9, healthy_threshold: 1, http_health_check: {path: /health}}]";
    let proxy = Server::ringway(driver).start(&cluster(&[&good, &failing], once));
    assert_eq!(statuses(&proxy, "/", 2), [200, 200]);
    let expected = "/failed_active_hc/excluded_via_immediate_hc_fail";
    await_flags(&proxy, "origin", failing.origin.port(), expected);
    // Workers learn of it a moment later than whoever asks the control thread.
    eventually("the good host to serve all", || (bodies(&proxy, 6) == ["good"; 6]).then_some(()));
    // Each response that says so counts, and more than one may have come before the workers knew.
    assert!(proxy.stat("cluster.origin.health_check.passive_failure") >= 1);
    assert_eq!(proxy.stat("cluster.origin.membership_excluded"), 1);
    let status = proxy.admin_get("/clusters?format=json").json();
    let host = &status["cluster_statuses"][0]["host_statuses"][1]["health_status"];
    assert_eq!(host["failed_active_health_check"], true);
    assert_eq!(host["excluded_via_immediate_hc_fail"], true);
    assert_eq!(host["eds_health_status"], "HEALTHY");
    proxy.stop();
}

fn degraded_hosts_serve_the_rest(driver: Driver) {
    let full = Host::start("full", "");
    let degraded = Host::start("degraded", "x-envoy-degraded: true\r\n");
    let proxy = Server::ringway(driver).start(&cluster(&[&full, &degraded], &checked("")));
    await_flags(&proxy, "origin", degraded.origin.port(), "/degraded_active_hc");
    let found = bodies(&proxy, 1_000);
    // 140 % of a half: 700 stay; 40 are almost three standard deviations.
    let stay = found.iter().filter(|body| *body == "full").count();
    assert!((650..750).contains(&stay), "{stay}");
    full.answer_checks(503);
    await_flags(&proxy, "origin", full.origin.port(), "/failed_active_hc");
    assert_eq!(bodies(&proxy, 10), ["degraded"; 10]);
    assert_eq!(proxy.stat("cluster.origin.membership_degraded"), 1);
    proxy.stop();
}

fn failed_hosts_lose_their_connections(driver: Driver) {
    let (one, two) = (Host::start("1", ""), Host::start("2", ""));
    let proxy = Server::ringway(driver).start(&cluster(&[&one, &two], &checked("")));
    assert_eq!(statuses(&proxy, "/", 4), [200; 4]);
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_active"), 2, "one for each host");
    one.answer_checks(503);
    proxy.await_stat("cluster.origin.upstream_cx_active", 1);
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_destroy_local"), 1);
    assert_eq!(bodies(&proxy, 4), ["2"; 4]);
    proxy.stop();
}

fn nobody_serves_before_the_first_round(driver: Driver) {
    let (good, slow) = (Host::start("good", ""), RefusedPort::take());
    let addresses =
        [good.address(), format!("socket_address: {{address: 127.0.0.1, port_value: {}}}", slow.port)];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let yaml = Http::routes(ALL).cluster_of("origin", &addresses, &checked("")).yaml();
    let proxy = Server::ringway(driver).start(&yaml);
    // Once it is ready, the host that cannot be reached is known as such: nothing fails.
    assert_eq!(statuses(&proxy, "/", 10), [200; 10]);
    assert_eq!(flags(&proxy, "origin", slow.port), "/failed_active_hc");
    proxy.stop();
}

fn ejection_after_exactly_so_many_errors_and_return(driver: Driver) {
    let (bad, good) = (Host::start("bad", ""), Host::start("good", ""));
    bad.answer_requests(502);
    let detection = "outlier_detection: {consecutive_5xx: 4, interval: 0.05s, base_ejection_time: 0.4s, max_ejection_percent: 50}";
    let proxy = Server::ringway(driver).concurrency(2).start(&cluster(&[&bad, &good], detection));
    let ejections = || proxy.stat("cluster.origin.outlier_detection.ejections_enforced_total");
    fail(&proxy, "/", 3);
    assert_eq!(ejections(), 0);
    fail(&proxy, "/", 1);
    proxy.await_stat("cluster.origin.outlier_detection.ejections_enforced_total", 1);
    let ejected = Instant::now();
    assert_eq!(flags(&proxy, "origin", bad.origin.port()), "/failed_outlier_check");
    bad.answer_requests(200);
    bad.take_requests();
    (0..20).for_each(|_| assert_eq!(Request::get("/").send(proxy.address()).text(), "good"));
    assert_eq!(bad.take_requests(), 0);
    await_flags(&proxy, "origin", bad.origin.port(), "healthy");
    assert!(ejected.elapsed() >= Duration::from_millis(300), "{:?}", ejected.elapsed());
    assert_eq!(proxy.stat("cluster.origin.outlier_detection.ejections_active"), 0);
    let found = bodies(&proxy, 10);
    assert!(found.contains(&"bad".to_owned()) && found.contains(&"good".to_owned()), "{found:?}");
    proxy.stop();
}

fn broken_answers_and_timeouts_count(driver: Driver) {
    let routes = "- match: {prefix: /}\n  route: {cluster: origin, timeout: 0.1s}";
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut";
    for (answer, failures) in [
        (Answer::Raw("".into(), Then::Stall), 2),
        (Answer::Raw("".into(), Then::Close), 2),
        // The head is a success, so that such answers never make a row.
        (Answer::Raw(cut.into(), Then::Close), 1),
    ] {
        let detection = format!(
            "outlier_detection: {{consecutive_5xx: 0, consecutive_gateway_failure: {failures}, \
             enforcing_consecutive_gateway_failure: 100, max_ejection_percent: 100}}"
        );
        let origin = Origin::start(answer);
        let proxy = Server::ringway(driver)
            .start(&Http::routes(routes).cluster("origin", origin.port(), &detection).yaml());
        for done in 0..failures {
            assert_eq!(flags(&proxy, "origin", origin.port()), "healthy", "after {done} failures");
            // What the client sees of them is not looked at here.
            let _ = Request::post("/", "x").try_send(proxy.address());
        }
        await_flags(&proxy, "origin", origin.port(), "/failed_outlier_check");
        proxy.stop();
    }
}

/// Calls that filters make themselves are requests to hosts as well.
fn callers_of_filters_count(driver: Driver) {
    let (origin, denied) = (Origin::echo(), Origin::start(Answer::status(503, "", "")));
    let service = "http_service:\n  server_uri: {uri: 'http://authz', cluster: authz, timeout: 5s}";
    let http = Http::to_origin(origin.port())
        .filter("envoy.filters.http.ext_authz", "ext_authz.v3.ExtAuthz", service)
        .cluster(
            "authz",
            denied.port(),
            &format!("outlier_detection:\n  {}", indent("consecutive_5xx: 3\nmax_ejection_percent: 100", 2)),
        );
    let proxy = Server::ringway(driver).start(&http.yaml());
    for _ in 0..3 {
        assert_eq!(Request::get("/").send(proxy.address()).status(), 403);
    }
    await_flags(&proxy, "authz", denied.port(), "/failed_outlier_check");
    proxy.stop();
}

fn a_check_does_not_disturb_requests(driver: Driver) {
    let hosts: Vec<Host> = (0..4).map(|_| Host::start("x", "")).collect();
    let all: Vec<&Host> = hosts.iter().collect();
    let proxy = Server::ringway(driver).concurrency(2).start(&cluster(&all, &checked("")));
    // Hosts fail and recover while requests run; one host is always there, so that none of them fails.
    let address = proxy.address();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    let mut connection = Connection::open(address);
                    (0..600).all(|_| {
                        Request::get("/").send_on(&mut connection).expect("response").status() == 200
                    })
                })
            })
            .collect();
        for round in 0..6 {
            let host = &hosts[round % 3];
            host.answer_checks(503);
            await_flags(&proxy, "origin", host.origin.port(), "/failed_active_hc");
            host.answer_checks(200);
            await_flags(&proxy, "origin", host.origin.port(), "healthy");
        }
        assert!(clients.into_iter().all(|client| client.join().expect("client")));
    });
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_200"), 1_800);
    proxy.stop();
}
