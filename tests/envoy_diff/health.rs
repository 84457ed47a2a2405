//! The health of hosts: the same scenario on Envoy and on Ringway, and what can be seen from outside of it, as lines:
//! flags of `/clusters`, statistics, which host got how many requests, what checks sent, what was logged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway_test_support::config::Http;
use ringway_test_support::message::Message;
use ringway_test_support::origin::{RefusedPort, Script};
use ringway_test_support::process::read_file;
use ringway_test_support::{Answer, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually};

/// What a host answers with, fields of its answers included.
const PLAIN: &str = "";
const DEGRADED: &str = "x-envoy-degraded: 1\r\n";
const FAILS_ITSELF: &str = "x-envoy-immediate-health-check-fail: 1\r\n";

/// A host whose answers a scenario changes as it goes.
struct Host {
    origin: Origin,
    /// Status of answers to checks and to requests; 0 gives none.
    checks: Arc<AtomicU16>,
    requests: Arc<AtomicU16>,
    /// Which of the fields above.
    fields: Arc<AtomicUsize>,
}

impl Host {
    fn start() -> Host {
        let (checks, requests) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let fields = Arc::new(AtomicUsize::new(0));
        let shared = (Arc::clone(&checks), Arc::clone(&requests), Arc::clone(&fields));
        let script: Script = Arc::new(move |connection, request: &mut Message| {
            let _ = connection.read_body(request);
            let is_check = request.target().starts_with("/check");
            let status = if is_check { &shared.0 } else { &shared.1 }.load(Ordering::SeqCst);
            let fields = [PLAIN, DEGRADED, FAILS_ITSELF][shared.2.load(Ordering::SeqCst)];
            if status == 0 {
                return Then::Stall;
            }
            connection.write(format!("HTTP/1.1 {status} Any\r\n{fields}content-length: 2\r\n\r\nok"));
            Then::Keep
        });
        Host { origin: Origin::start(Answer::Script(script)), checks, requests, fields }
    }

    fn answer_with(&self, fields: &str) {
        let known = [PLAIN, DEGRADED, FAILS_ITSELF].iter().position(|known| *known == fields);
        self.fields.store(known.expect("known fields"), Ordering::SeqCst);
    }
}

/// One cluster of a proxy with its hosts.
struct World {
    proxy: Arc<Proxy>,
    cluster: String,
    hosts: Vec<Host>,
    /// Also of hosts that nobody is behind.
    ports: Vec<u16>,
    trace: Vec<String>,
}

impl World {
    fn answer_checks(&self, host: usize, status: u16, fields: &str) {
        self.hosts[host].answer_with(fields);
        self.hosts[host].checks.store(status, Ordering::SeqCst);
    }

    fn answer_requests(&self, host: usize, status: u16, fields: &str) {
        self.hosts[host].answer_with(fields);
        self.hosts[host].requests.store(status, Ordering::SeqCst);
    }

    fn stat(&self, name: &str) -> u64 {
        self.proxy.stat(&format!("cluster.{}.{name}", self.cluster))
    }

    /// What `/clusters` says, without the cluster's name.
    fn clusters(&self) -> Vec<String> {
        let prefix = format!("{}::", self.cluster);
        let clusters = self.proxy.admin_get("/clusters").text();
        clusters.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn flags(&self) -> Vec<String> {
        let lines = self.clusters().into_iter();
        lines.filter_map(|line| Some(line.split_once("::health_flags::")?.1.to_owned())).collect()
    }

    /// Waits until every host was checked a few times more, so that what the hosts answer now has its effect.
    fn settle(&self) {
        let (before, wanted) = (self.stat("health_check.attempt"), 5 * self.hosts.len() as u64);
        eventually("further checks", || (self.stat("health_check.attempt") >= before + wanted).then_some(()));
    }

    fn await_flags(&self, host: usize, what: &str, is_so: impl Fn(&str) -> bool) {
        eventually(what, || is_so(&self.flags()[host]).then_some(()));
    }

    fn note(&mut self, line: impl Into<String>) {
        self.trace.push(line.into());
    }

    fn note_flags(&mut self, when: &str) {
        self.note(format!("{when}: {}", self.flags().join(" | ")));
        let membership: Vec<String> = ["healthy", "degraded", "excluded", "total"]
            .iter()
            .map(|name| format!("{name} {}", self.stat(&format!("membership_{name}"))))
            .collect();
        self.note(format!("  membership: {}", membership.join(", ")));
    }

    /// The health of all hosts as JSON.
    fn note_json(&mut self) {
        let status = self.proxy.admin_get("/clusters?format=json").json();
        let statuses = status["cluster_statuses"].as_array().cloned().unwrap_or_default();
        let own = statuses.into_iter().find(|status| status["name"] == self.cluster.as_str());
        let hosts = own.and_then(|status| status["host_statuses"].as_array().cloned()).unwrap_or_default();
        assert!(!hosts.is_empty(), "no hosts");
        for host in hosts {
            let rates = [&host["success_rate"], &host["local_origin_success_rate"]];
            self.note(format!("  {} {rates:?}", host["health_status"]));
        }
    }

    /// Those that are not zero.
    fn note_stats(&mut self, of: &str) {
        let stats = self.proxy.admin_get("/stats").text();
        let prefix = format!("cluster.{}.{of}.", self.cluster);
        let mut lines: Vec<String> = stats
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .filter(|line| !line.ends_with(": 0"))
            .map(|line| format!("  {of}.{line}"))
            .collect();
        lines.sort();
        self.trace.append(&mut lines);
    }

    /// A request that fails soon if a host does not answer, and else has plenty of time.
    fn request(&self) -> Request {
        let is_silent = |host: &Host| host.requests.load(Ordering::SeqCst) == 0;
        let patience = if self.hosts.iter().any(is_silent) { "short" } else { "long" };
        Request::get(&format!("/{}/{patience}", self.cluster))
    }

    /// Sends requests one after the other; notes the statuses and who got how many.
    fn note_requests(&mut self, count: usize) {
        self.hosts.iter().for_each(|host| drop(host.origin.take_requests()));
        let mut connection = Connection::open(self.proxy.address());
        let mut statuses = BTreeMap::<u16, usize>::new();
        for _ in 0..count {
            let status = self.request().send_on(&mut connection).map_or(0, |answer| answer.status());
            *statuses.entry(status).or_default() += 1;
        }
        let at = |host: &Host| {
            host.origin
                .take_requests()
                .iter()
                .filter(|request| !request.target().starts_with("/check"))
                .count()
        };
        let received: Vec<usize> = self.hosts.iter().map(at).collect();
        self.note(format!("  {count} requests: {statuses:?}, by host {received:?}"));
    }

    /// Sends requests until so many failed, or so many more succeeded that no host is left that fails any.
    fn fail(&self, failures: usize) {
        let mut connection = Connection::open(self.proxy.address());
        let (mut failed, mut succeeded_since) = (0, 0);
        while failed < failures && succeeded_since < 4 * self.ports.len() {
            let status = self.request().send_on(&mut connection).expect("an answer").status();
            (failed, succeeded_since) =
                if status >= 500 { (failed + 1, 0) } else { (failed, succeeded_since + 1) };
        }
    }

    /// Lines of a log about this cluster, without times; those of one host after those of the other, as checks of
    /// two hosts may end in any order.
    fn note_log(&mut self, name: &str) {
        // Both write within moments; Envoy in blocks.
        thread::sleep(Duration::from_millis(150));
        let mut lines = Vec::new();
        for line in read_file(&self.proxy.directory().join(name)).lines() {
            let mut event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if event["cluster_name"] != self.cluster.as_str() {
                continue;
            }
            let text = event["timestamp"].as_str().unwrap_or_default();
            assert!(text.len() >= 20 && text.ends_with('Z'), "{text}");
            event["timestamp"] = "<time>".into();
            let host = self.ports.iter().position(|port| line.contains(&port.to_string()));
            lines.push((host, format!("  {event}")));
        }
        lines.sort_by_key(|(host, _)| *host);
        self.trace.extend(lines.into_iter().map(|(_, line)| line));
    }

    /// The trace without what differs from run to run.
    fn into_trace(self) -> String {
        let text = self.trace.join("\n").replace(&format!("\"{}\"", self.cluster), "\"<cluster>\"");
        let text = text.replace(&format!(": {}\n", self.cluster), ": <cluster>\n");
        self.ports
            .iter()
            .enumerate()
            .fold(text, |text, (at, port)| text.replace(&port.to_string(), &format!("<{at}>")))
    }
}

/// Plays a scenario for each of some clusters, given by their fields, on Envoy and on both drivers of Ringway, side by
/// side; the traces must be equal.
fn compare(hosts: usize, clusters: &[&str], bootstrap: &str, scenario: fn(&mut World)) {
    let start = || (0..hosts).map(|_| Host::start()).collect();
    compare_with(&start, &[], clusters, bootstrap, scenario);
}

/// The same with further ports that are hosts of each cluster, too.
fn compare_with(
    hosts: &(dyn Fn() -> Vec<Host> + Sync),
    ports: &[u16],
    clusters: &[&str],
    bootstrap: &str,
    scenario: fn(&mut World),
) {
    let Some(envoy) = Server::envoy() else {
        eprintln!("\n*** SKIPPED: no `envoy` program here; a scenario of health was not compared.\n");
        return;
    };
    let play = |server: Server| {
        let hosts: Vec<Vec<Host>> = clusters.iter().map(|_| hosts()).collect();
        play_on(server, hosts, ports, clusters, bootstrap, scenario)
    };
    let sides = thread::scope(|scope| {
        let sides = [
            ("envoy", envoy.arg("--file-flush-interval-msec").arg("50")),
            ("ring", Server::ringway(Driver::Ring)),
            ("epoll", Server::ringway(Driver::Epoll)),
        ];
        let play = &play;
        let running = sides.map(|(name, server)| (name, scope.spawn(move || play(server))));
        running.map(|(name, side)| (name, side.join().unwrap_or_else(|_| panic!("on {name}"))))
    });
    let [(_, expected), others @ ..] = &sides;
    if std::env::var("ENVOY_DIFF").is_ok_and(|mode| mode == "show") {
        println!("{}", expected.join("\n\n"));
    }
    for (name, traces) in others {
        for ((fields, expected), trace) in clusters.iter().zip(expected).zip(traces) {
            assert!(trace == expected, "{name}, {fields}:\n{}", crate::side_by_side(expected, trace));
        }
    }
}

/// The trace of each cluster.
fn play_on(
    server: Server,
    hosts: Vec<Vec<Host>>,
    more_ports: &[u16],
    clusters: &[&str],
    bootstrap: &str,
    scenario: fn(&mut World),
) -> Vec<String> {
    let names: Vec<String> = (0..clusters.len()).map(|at| format!("cluster{at}")).collect();
    let routes: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "- match: {{path: /{name}/short}}\n  route: {{cluster: {name}, timeout: 0.3s}}\n\
                 - match: {{path: /{name}/long}}\n  route: {{cluster: {name}}}"
            )
        })
        .collect();
    let mut http = Http::routes(&routes.join("\n")).bootstrap(bootstrap);
    let mut parts = Vec::new();
    for ((name, fields), hosts) in names.into_iter().zip(clusters).zip(hosts) {
        let ports: Vec<u16> =
            hosts.iter().map(|host| host.origin.port()).chain(more_ports.iter().copied()).collect();
        let addresses: Vec<String> = ports
            .iter()
            .map(|port| format!("socket_address: {{address: 127.0.0.1, port_value: {port}}}"))
            .collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        // Envoy tells its workers of changes of health once a second unless it is told not to wait.
        let common = "common_lb_config: {update_merge_window: 0s}\n";
        let common = if fields.contains("common_lb_config") { "" } else { common };
        http = http.cluster_of(&name, &addresses, &format!("{common}{fields}"));
        parts.push((name, hosts, ports));
    }
    let proxy = Arc::new(server.start(&http.yaml()));
    let traces = parts.into_iter().map(|(cluster, hosts, ports)| {
        let mut world = World { proxy: Arc::clone(&proxy), cluster, hosts, ports, trace: Vec::new() };
        scenario(&mut world);
        world.into_trace()
    });
    traces.collect()
}

/// A check that comes every 30 ms, with its kind.
macro_rules! checked {
    ($($fields:literal)*) => {
        concat!(
            "health_checks: [{timeout: 1s, interval: 0.03s, no_traffic_interval: 0.03s, unhealthy_threshold: 2, \
             healthy_threshold: 2, event_log_path: '{dir}/checks', ",
            $($fields,)* "}]"
        )
    };
}

#[test]
fn http_checks_move_hosts() {
    compare(2, &[checked!("http_health_check: {path: /check}")], "", |world| {
        world.note_flags("at the beginning");
        for (what, status, fields) in [
            ("503", 503, PLAIN),
            ("200 again", 200, PLAIN),
            ("degraded", 200, DEGRADED),
            ("degraded no more", 200, PLAIN),
            ("immediate failure", 503, FAILS_ITSELF),
            ("200 again", 200, PLAIN),
            ("immediate failure in a success", 200, FAILS_ITSELF),
            ("no answer", 0, PLAIN),
        ] {
            world.answer_checks(0, status, fields);
            if status == 0 {
                world.await_flags(0, "a timeout", |flags| flags.contains("timeout"));
            } else {
                world.settle();
            }
            world.note_flags(what);
            world.note_json();
        }
        world.note_log("checks");
    });
}

#[test]
fn answers_are_judged_alike() {
    let clusters = [
        checked!(
            "http_health_check: {path: /check, expected_statuses: [{start: 200, end: 202}], \
             retriable_statuses: [{start: 429, end: 430}]}"
        ),
        checked!("http_health_check: {path: /check, receive: [{text: '6f6b'}]}"),
        checked!("http_health_check: {path: /check, receive: [{text: '6b'}, {text: '6f'}]}"),
        checked!("http_health_check: {path: /check, receive: [{text: '6f'}, {text: '6b'}]}"),
        checked!("http_health_check: {path: /check, service_name_matcher: {prefix: some}}"),
    ];
    let scenario: fn(&mut World) = |world| {
        for status in [201, 202, 200, 429, 204, 200] {
            world.answer_checks(0, status, PLAIN);
            world.settle();
            world.note_flags(&status.to_string());
        }
        world.note_log("checks");
    };
    compare(1, &clusters, "", scenario);
    let off = "layered_runtime: {layers: [{name: a, static_layer: {health_check: {verify_cluster: 0}}}]}";
    compare(1, &clusters[4..], off, scenario);
}

#[test]
fn checks_are_the_same_requests() {
    let clusters = [
        checked!("http_health_check: {path: /check}"),
        checked!("http_health_check: {path: '/check?a=b', host: some.host, method: HEAD}"),
        checked!("http_health_check: {path: /check, method: POST, send: {text: '626f6479'}}"),
        checked!(
            "http_health_check: {path: /check, method: PUT, request_headers_to_add: \
             [{header: {key: x-a, value: '%PROTOCOL%'}}, \
             {header: {key: user-agent, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}"
        ),
        checked!("http_health_check: {path: /check, request_headers_to_remove: [user-agent]}"),
        checked!("reuse_connection: false, http_health_check: {path: /check}"),
    ];
    compare(1, &clusters, "", |world| {
        world.settle();
        let requests = world.hosts[0].origin.take_requests();
        let request = requests.first().expect("a check").clone();
        world.note(request.start_line);
        let mut fields: Vec<String> =
            request.headers.iter().map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect();
        fields.sort();
        world.note(fields.join("\n"));
        world.note(format!("on one connection: {}", world.hosts[0].origin.accepted() == 1));
    });
}

#[test]
fn tcp_checks_move_hosts() {
    compare(2, &[checked!("tcp_health_check: {}")], "", |world| {
        world.settle();
        world.note_flags("connecting is enough");
    });
    // `GET /check HTTP/1.1` and an empty line; ` 200 ` and `ok`.
    const PAYLOAD: &str = checked!(
        "tcp_health_check: {send: {text: '474554202f636865636b20485454502f312e310d0a0d0a'}, \
         receive: [{text: '2032303020'}, {text: '6f6b'}]}"
    );
    compare(2, &[PAYLOAD], "", |world| {
        world.settle();
        world.note_flags("as expected");
        world.answer_checks(1, 201, PLAIN);
        world.await_flags(1, "a timeout", |flags| flags.contains("timeout"));
        world.note_flags("another answer");
        world.answer_checks(1, 200, PLAIN);
        world.await_flags(1, "health", |flags| flags == "healthy");
        let failures = world.stat("health_check.network_failure");
        world.hosts[0].origin.close_connections();
        world.settle();
        world.note_flags("one connection ended");
        let failures = world.stat("health_check.network_failure") - failures;
        world.note(format!("{failures} failures more"));
        world.note_log("checks");
    });
}

#[test]
fn panics_send_requests_to_the_same_hosts() {
    macro_rules! with_common {
        ($common:literal) => {
            concat!(
                "common_lb_config: {update_merge_window: 0s",
                $common,
                "}\n",
                checked!("http_health_check: {path: /check}")
            )
        };
    }
    let scenario: fn(&mut World) = |world| {
        world.note_requests(12);
        for failed in 0..3 {
            world.answer_checks(failed, 503, PLAIN);
            world.await_flags(failed, "a failure", |flags| flags.contains("/failed_active_hc"));
            // Envoy's workers hear of it a moment later.
            thread::sleep(Duration::from_millis(50));
            world.note(format!("{} failed", failed + 1));
            let before = world.stat("lb_healthy_panic");
            world.note_requests(12);
            let panics = world.stat("lb_healthy_panic") - before;
            world.note(format!("  {panics} panics"));
        }
        let none = world.stat("upstream_cx_none_healthy");
        world.note(format!("{none} times no host"));
    };
    let clusters = [
        with_common!(""),
        with_common!(", healthy_panic_threshold: {value: 30}"),
        with_common!(", healthy_panic_threshold: {value: 33.4}"),
        with_common!(", healthy_panic_threshold: {value: 0}"),
        with_common!(", zone_aware_lb_config: {fail_traffic_on_panic: true}"),
    ];
    compare(3, &clusters, "", scenario);
    let runtime =
        "layered_runtime: {layers: [{name: a, static_layer: {upstream: {healthy_panic_threshold: 30}}}]}";
    compare(3, &clusters[..1], runtime, scenario);
}

#[test]
fn hosts_that_exclude_themselves_count_in_no_share() {
    compare(3, &[checked!("http_health_check: {path: /check}")], "", |world| {
        for host in 0..2 {
            world.answer_checks(host, 503, FAILS_ITSELF);
            world.await_flags(host, "a failure", |flags| flags.contains("/excluded"));
        }
        thread::sleep(Duration::from_millis(50));
        world.note_requests(6);
        world.note_flags("one is left");
    });
}

#[test]
fn requests_fail_hosts_too() {
    const ONCE: &str = "health_checks: [{timeout: 1s, interval: 60s, unhealthy_threshold: 9, healthy_threshold: 1, \
                        event_log_path: '{dir}/checks', http_health_check: {path: /check}}]";
    compare(2, &[ONCE], "", |world| {
        world.answer_requests(1, 200, FAILS_ITSELF);
        let mut connection = Connection::open(world.proxy.address());
        // Which host is first is up to chance.
        let passed_on = (0..2).find_map(|_| {
            let answer = world.request().send_on(&mut connection).expect("an answer");
            let value = answer.header("x-envoy-immediate-health-check-fail")?;
            Some(format!("{} passes {value} on", answer.status()))
        });
        world.note(passed_on.expect("an answer of the host"));
        world.await_flags(1, "a failure", |flags| flags.contains("/excluded"));
        world.note_flags("after a request");
        world.note_stats("health_check");
        world.note_log("checks");
        thread::sleep(Duration::from_millis(50));
        world.note_requests(4);
    });
    // Without health checks it means nothing.
    compare(2, &[""], "", |world| {
        world.answer_requests(1, 200, FAILS_ITSELF);
        world.note_requests(4);
        world.note_flags("not checked");
    });
}

const EJECTIONS: &str = "cluster_manager: {outlier_detection: {event_log_path: '{dir}/ejections'}}";

#[test]
fn rows_of_errors_eject_alike() {
    let clusters = [
        "outlier_detection: {interval: 60s, max_ejection_percent: 50}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 49}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 0, always_eject_one_host: true}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, enforcing_consecutive_5xx: 0}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, consecutive_5xx: 0, \
         enforcing_consecutive_gateway_failure: 100}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, enforcing_consecutive_gateway_failure: 100}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, split_external_local_origin_errors: true, \
         consecutive_gateway_failure: 0}",
    ];
    let scenario: fn(&mut World) = |world| {
        world.answer_requests(0, 503, PLAIN);
        world.fail(3);
        thread::sleep(Duration::from_millis(100));
        world.note_flags("after three failures");
        world.fail(2);
        thread::sleep(Duration::from_millis(100));
        world.note_flags("after five failures");
        world.note_json();
        world.note_stats("outlier_detection");
        world.note_log("ejections");
    };
    compare(2, &clusters, EJECTIONS, scenario);
    let runtime = format!(
        "{EJECTIONS}\nlayered_runtime: {{layers: [{{name: a, static_layer: {{outlier_detection: \
         {{consecutive_5xx: 3, enforcing_consecutive_5xx: 0}}}}}}]}}"
    );
    compare(2, &clusters[..1], &runtime, scenario);
}

#[test]
fn hosts_return_alike() {
    // An interval that passes between the end of an ejection and the next one makes the next one shorter, so it is long.
    let detection = "outlier_detection: {consecutive_5xx: 2, interval: 1s, base_ejection_time: 0.5s, \
                     max_ejection_percent: 50}";
    compare(2, &[detection], EJECTIONS, |world| {
        for round in 0..2 {
            let began = Instant::now();
            world.answer_requests(0, 500, PLAIN);
            world.fail(2);
            world.await_flags(0, "an ejection", |flags| flags.contains("/failed_outlier_check"));
            world.answer_requests(0, 200, PLAIN);
            thread::sleep(Duration::from_millis(50));
            world.note_requests(4);
            world.await_flags(0, "its end", |flags| flags == "healthy");
            // 0.5 s, then twice as long.
            let is_expected = began.elapsed().as_millis() >= 500 * (round + 1);
            world.note(format!("back no sooner than due: {is_expected}"));
            thread::sleep(Duration::from_millis(50));
            world.note_requests(4);
        }
        world.note_stats("outlier_detection");
    });
}

#[test]
fn failures_without_an_answer_count_alike() {
    let clusters = [
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, consecutive_5xx: 2}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, consecutive_5xx: 0, \
         consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, split_external_local_origin_errors: true, \
         consecutive_local_origin_failure: 2}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, split_external_local_origin_errors: true, \
         consecutive_local_origin_failure: 1}",
    ];
    compare(2, &clusters, "", |world| {
        world.answer_requests(0, 0, PLAIN);
        world.fail(2);
        thread::sleep(Duration::from_millis(100));
        world.note_flags("after two timeouts");
        world.note_stats("outlier_detection");
    });
}

#[test]
fn hosts_that_cannot_be_reached_are_ejected_alike() {
    let clusters = [
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, consecutive_5xx: 3}",
        "outlier_detection: {interval: 60s, max_ejection_percent: 50, split_external_local_origin_errors: true, \
         consecutive_local_origin_failure: 3}",
    ];
    let refused = RefusedPort::take();
    compare_with(&|| vec![Host::start()], &[refused.port], &clusters, "", |world| {
        world.fail(3);
        world.await_flags(1, "an ejection", |flags| flags.contains("/failed_outlier_check"));
        world.note_flags("after three failures");
        world.note_stats("outlier_detection");
        thread::sleep(Duration::from_millis(50));
        world.note_requests(4);
    });
}

#[test]
fn shares_of_errors_eject_alike() {
    let clusters = [
        "outlier_detection: {consecutive_5xx: 0, interval: 1.5s, max_ejection_percent: 20, \
         success_rate_request_volume: 10}",
        "outlier_detection: {consecutive_5xx: 0, interval: 1.5s, max_ejection_percent: 20, enforcing_success_rate: 0, \
         failure_percentage_request_volume: 10, enforcing_failure_percentage: 100}",
        "outlier_detection: {consecutive_5xx: 0, interval: 1.5s, max_ejection_percent: 20, \
         success_rate_request_volume: 10, enforcing_failure_percentage: 100, failure_percentage_threshold: 30}",
    ];
    compare(5, &clusters, EJECTIONS, |world| {
        world.answer_requests(0, 500, PLAIN);
        // Requests of one sweep need not all be in one interval: there are enough for either half.
        let mut connection = Connection::open(world.proxy.address());
        for _ in 0..150 {
            let _ = world.request().send_on(&mut connection);
        }
        world.await_flags(0, "an ejection", |flags| flags.contains("/failed_outlier_check"));
        world.note_flags("after a sweep");
        world.note_json();
        world.note_stats("outlier_detection");
        world.note_log("ejections");
        let rates: Vec<String> =
            world.clusters().into_iter().filter(|line| line.contains("success_rate")).collect();
        world.note(rates.join("\n"));
    });
}

#[test]
fn degraded_hosts_are_detected_alike() {
    let detection =
        "outlier_detection: {interval: 0.1s, base_ejection_time: 0.3s, detect_degraded_hosts: true}";
    compare(2, &[detection], EJECTIONS, |world| {
        world.answer_requests(0, 200, DEGRADED);
        let mut connection = Connection::open(world.proxy.address());
        for _ in 0..2 {
            let _ = world.request().send_on(&mut connection);
        }
        world.await_flags(0, "it", |flags| flags.contains("/degraded_outlier_detection"));
        world.note_flags("degraded");
        world.note_json();
        world.answer_requests(0, 200, PLAIN);
        world.await_flags(0, "its end", |flags| flags == "healthy");
        world.note_flags("no more");
        world.note_stats("outlier_detection");
        world.note_log("ejections");
    });
}

#[test]
fn the_health_that_is_configured_looks_alike() {
    let Some(envoy) = Server::envoy() else { return };
    const STATUSES: [&str; 6] = ["UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"];
    let sides = [envoy, Server::ringway(Driver::Ring)].map(|server| {
        let endpoint = |status: &str| {
            format!(
                "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}}}, health_status: {status}}}"
            )
        };
        let clusters: String = STATUSES
            .iter()
            .map(|status| {
                format!(
                    "\n  - {{name: {status}, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{}]}}]}}}}",
                    endpoint(status)
                )
            })
            .collect();
        let yaml = Http::routes("- match: {prefix: /}\n  route: {cluster: HEALTHY}")
            .yaml()
            .replace("\n  \n", &format!("\n  clusters:{clusters}\n"));
        let proxy = Arc::new(server.start(&yaml));
        let traces = STATUSES.map(|status| {
            let mut world = World {
                proxy: Arc::clone(&proxy),
                cluster: status.to_owned(),
                hosts: Vec::new(),
                ports: Vec::new(),
                trace: Vec::new(),
            };
            world.note_flags(status);
            world.note_json();
            world.trace.join("\n")
        });
        traces.join("\n")
    });
    assert!(sides[1] == sides[0], "{}", crate::side_by_side(&sides[0], &sides[1]));
}
