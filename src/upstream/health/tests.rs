//! A checker and hosts that answer as a test says, over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_test_support::origin::{BlackHole, RefusedPort};
use ringway_test_support::{Answer, Origin, Then};

use super::interval::tests::config as check_config;
use super::judge::tests::config as http_config;
use super::*;
use crate::config::cluster::{
    DiscoveryType, EndpointHealthCheck, HealthCheck, HealthChecker as Kind, HttpHealthCheck, TcpHealthCheck,
};
use crate::config::{Address, HeaderAppendAction, HeaderMutations, HeaderToAdd, Runtime};
use crate::stats::groups::HealthCheckStats;
use crate::stats::{Registry, install_shard};
use crate::upstream::discovery::Targets;
use crate::upstream::testing::{cluster_config, local};
use crate::upstream::{ClusterInfo, EventLog, HostSet, HostTemplate};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Keeps lines.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl EventLog for Lines {
    fn write_line(&self, line: &str) {
        self.0.lock().expect("not poisoned").push(line.to_owned());
    }
}

struct World {
    registry: Registry,
    info: Arc<ClusterInfo>,
    checker: HealthChecker,
    hosts: Arc<HostSet>,
    lines: Arc<Lines>,
    changes: Arc<AtomicUsize>,
}

impl World {
    fn new(addresses: &[Address], kind: Kind, edit: impl FnOnce(&mut HealthCheck)) -> World {
        let mut check = check_config();
        check.checker = kind;
        // Once is enough unless a test says otherwise; a test that wants more says how fast.
        check.intervals.no_traffic = Duration::from_secs(100);
        check.intervals.no_traffic_healthy = Duration::from_secs(100);
        check.timeout = Duration::from_secs(20);
        edit(&mut check);
        let registry = Registry::new();
        install_shard(registry.new_shard());
        let mut cluster = cluster_config(DiscoveryType::Static, addresses);
        cluster.health_check = Some(check.clone());
        let hosts = host_set(&cluster.load_assignment, &HostSet::default());
        let info = Arc::new(ClusterInfo::new(Arc::new(cluster), &Runtime::default(), &registry.scope()));
        let lines = Arc::new(Lines::default());
        let checker = HealthChecker::new(CheckerOptions {
            config: check,
            info: Arc::clone(&info),
            stats: HealthCheckStats::register(&registry, ""),
            runtime: &Runtime::default(),
            logs: vec![lines.clone()],
            seed: 1,
        });
        let checker = checker.expect("a checker");
        let changes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&changes);
        checker.report_to(move |_, transition, _| {
            counted.fetch_add(usize::from(transition == Transition::Changed), Ordering::Relaxed);
        });
        checker.update_hosts(&hosts);
        World { registry, info, checker, hosts, lines, changes }
    }

    fn http(port: u16, edit: impl FnOnce(&mut HttpHealthCheck)) -> World {
        let mut http = http_config();
        edit(&mut http);
        World::new(&[local(port)], Kind::Http(Box::new(http)), |_| {})
    }

    fn flags(&self) -> Vec<String> {
        self.hosts.hosts().iter().map(|host| host.shared.health.flags().to_string()).collect()
    }

    /// The flags after the first round.
    async fn first_flags(&self) -> Vec<String> {
        let round = tokio::time::timeout(Duration::from_secs(20), self.checker.first_round());
        round.await.expect("a round of checks");
        self.flags()
    }

    fn count(&self, name: &str) -> u64 {
        self.registry.counter_value(name).unwrap_or(0)
    }

    async fn until(&self, name: &str, count: u64) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while self.count(name) < count {
            assert!(std::time::Instant::now() < deadline, "waited in vain for {name}: {}", self.count(name));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn host_set(assignment: &crate::config::cluster::LoadAssignment, previous: &HostSet) -> Arc<HostSet> {
    let template = HostTemplate { workers: 1, is_checked: true, ..HostTemplate::default() };
    Targets::new(assignment, &DiscoveryType::Static).host_set(previous, &template)
}

fn often(check: &mut HealthCheck) {
    check.intervals.no_traffic = Duration::from_millis(1);
    check.intervals.no_traffic_healthy = Duration::from_millis(1);
}

#[tokio::test]
async fn a_healthy_host_is_asked_on_one_connection() {
    let origin = Origin::start(Answer::raw(OK));
    let world = World::new(&[local(origin.port())], Kind::Http(Box::new(http_config())), often);
    assert_eq!(world.first_flags().await, ["healthy"]);
    world.until("success", 5).await;
    assert_eq!((origin.accepted(), world.count("failure")), (1, 0));
    assert_eq!(world.changes.load(Ordering::Relaxed), 1);
    let request = origin.take_requests().remove(0);
    assert_eq!(request.start_line, "GET /hc HTTP/1.1");
    assert_eq!(
        request.headers,
        [("host", "c"), ("user-agent", "Envoy/HC")].map(|(a, b)| (a.into(), b.into()))
    );
    world.checker.refresh_gauges();
    assert_eq!(world.registry.gauge_value("healthy"), Some(1));
    assert!(world.lines.0.lock().expect("lines")[0].contains(r#""add_healthy_event":{"first_check":true}"#));
}

#[tokio::test]
async fn connections_are_not_reused_where_that_is_not_wanted_or_not_possible() {
    let origin = Origin::start(Answer::raw(OK));
    let world = World::new(&[local(origin.port())], Kind::Http(Box::new(http_config())), |check| {
        often(check);
        check.reuse_connection = false;
    });
    world.until("success", 3).await;
    assert!(origin.accepted() >= 3);

    for answer in [
        Answer::raw("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nmore"),
        Answer::Raw("HTTP/1.1 200 OK\r\n\r\nuntil the end".into(), Then::Close),
        Answer::Raw(OK.into(), Then::Close),
    ] {
        let origin = Origin::start(answer);
        let world = World::new(&[local(origin.port())], Kind::Http(Box::new(http_config())), |check| {
            often(check);
            // The end of a connection is seen before the next check.
            check.intervals.no_traffic_healthy = Duration::from_millis(30);
        });
        world.until("success", 3).await;
        assert!(origin.accepted() >= 3);
        assert_eq!(world.count("failure"), 0);
    }
}

#[tokio::test]
async fn every_part_of_a_request_is_as_configured() {
    let origin = Origin::start(Answer::raw(OK));
    let world = World::http(origin.port(), |http| {
        http.host = "some.host".to_owned();
        http.path = "/a b?c".to_owned();
        http.method = "POST";
        http.send = b"body".to_vec();
        let add = |name: &str, value: &str, append_action| HeaderToAdd {
            name: name.to_owned(),
            value: value.to_owned(),
            append_action,
            keep_empty_value: false,
            path: Default::default(),
        };
        http.request_headers = HeaderMutations {
            add: vec![
                add("x-host", "%UPSTREAM_HOST%", HeaderAppendAction::AppendIfExistsOrAdd),
                add("user-agent", "mine", HeaderAppendAction::OverwriteIfExistsOrAdd),
            ],
            remove: vec![],
        };
    });
    assert_eq!(world.first_flags().await, ["healthy"]);
    let request = origin.take_requests().remove(0);
    assert_eq!(request.start_line, "POST /a%20b?c HTTP/1.1");
    assert_eq!((request.header("host"), request.header("user-agent")), (Some("some.host"), Some("mine")));
    assert_eq!(request.header("x-host"), Some(format!("127.0.0.1:{}", origin.port()).as_str()));
    assert_eq!((request.header("content-length"), request.text().as_str()), (Some("4"), "body"));
}

#[tokio::test]
async fn answers_may_come_in_any_framing() {
    let receive = |http: &mut HttpHealthCheck| http.receive = vec![b"one".to_vec(), b"two".to_vec()];
    let chunked = "HTTP/1.1 103 Early\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\none t\r\n2\r\nwo\r\n0\r\n\r\n";
    for (answer, flags) in [
        (Answer::raw(chunked), "healthy"),
        (Answer::Raw("HTTP/1.1 200 OK\r\n\r\none, two".into(), Then::Close), "healthy"),
        (Answer::status(200, "", "two, one"), "/failed_active_hc"),
        (Answer::status(200, "", &format!("{}one two", "x".repeat(1018))), "/failed_active_hc"),
        (Answer::status(503, "", "one two"), "/failed_active_hc"),
    ] {
        let origin = Origin::start(answer);
        let world = World::http(origin.port(), receive);
        assert_eq!(world.first_flags().await, [flags]);
        assert_eq!(world.count("network_failure"), 0);
    }
    let whole = Origin::start(Answer::status(200, "", &format!("{}one two", "x".repeat(100_000))));
    let world = World::http(whole.port(), |http| {
        receive(http);
        http.response_buffer_bytes = None;
    });
    assert_eq!(world.first_flags().await, ["healthy"]);
}

#[tokio::test]
async fn what_is_no_answer_is_a_network_failure() {
    let refused = RefusedPort::take();
    let world = World::http(refused.port, |_| {});
    assert_eq!(world.first_flags().await, ["/failed_active_hc"]);
    assert_eq!((world.count("failure"), world.count("network_failure")), (1, 1));
    for answer in [
        Answer::Raw("".into(), Then::Close),
        Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".into(), Then::Close),
        Answer::Raw("".into(), Then::Reset),
        Answer::raw("nonsense\r\n\r\n"),
        Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"),
    ] {
        let origin = Origin::start(answer);
        let world = World::http(origin.port(), |_| {});
        assert_eq!(world.first_flags().await, ["/failed_active_hc"]);
        assert_eq!(world.count("network_failure"), 1);
    }
}

#[tokio::test]
async fn a_check_takes_no_longer_than_its_timeout() {
    let silent = Origin::start(Answer::Raw("HTTP/1.1 200 OK\r\n".into(), Then::Stall));
    let hole = BlackHole::open();
    let addresses = [local(silent.port()), local(hole.port)];
    let world = World::new(&addresses, Kind::Http(Box::new(http_config())), |check| {
        check.timeout = Duration::from_millis(30);
    });
    assert_eq!(world.first_flags().await, ["/failed_active_hc/active_hc_timeout"; 2]);
    assert_eq!((world.count("attempt"), world.count("network_failure")), (2, 2));
    assert!(world.lines.0.lock().expect("lines")[0].contains(r#""failure_type":"NETWORK_TIMEOUT""#));
}

#[tokio::test]
async fn tcp_checks_send_and_expect_bytes() {
    let echo = |parts: &[&[u8]]| TcpHealthCheck {
        send: b"ping\r\n\r\n".to_vec(),
        receive: parts.iter().map(|part| part.to_vec()).collect(),
    };
    let origin = Origin::start(Answer::script(|connection, _| {
        connection.write("PO");
        connection.write("NG");
        Then::Keep
    }));
    let world = World::new(&[local(origin.port())], Kind::Tcp(echo(&[b"PONG"])), often);
    assert_eq!(world.first_flags().await, ["healthy"]);
    world.until("success", 4).await;
    assert_eq!((origin.accepted(), world.count("failure")), (1, 0));

    let world = World::new(&[local(origin.port())], Kind::Tcp(echo(&[b"NG", b"PO"])), |check| {
        check.timeout = Duration::from_millis(30);
    });
    assert_eq!(world.first_flags().await, ["/failed_active_hc/active_hc_timeout"]);

    let refused = RefusedPort::take();
    let addresses = [local(origin.port()), local(refused.port)];
    let world = World::new(&addresses, Kind::Tcp(TcpHealthCheck::default()), |_| {});
    assert_eq!(world.first_flags().await, ["healthy", "/failed_active_hc"]);
}

#[tokio::test]
async fn the_end_of_a_kept_tcp_connection_is_a_failure() {
    let origin = Origin::start(Answer::raw("pong"));
    let check = TcpHealthCheck { send: b"ping\r\n\r\n".to_vec(), receive: vec![b"pong".to_vec()] };
    let world = World::new(&[local(origin.port())], Kind::Tcp(check), |_| {});
    assert_eq!(world.first_flags().await, ["healthy"]);
    origin.close_connections();
    world.until("network_failure", 1).await;
    assert_eq!((world.flags(), world.count("attempt")), (vec!["/failed_active_hc".to_owned()], 1));
}

#[tokio::test]
async fn hosts_come_go_and_move() {
    let origins = [Origin::start(Answer::raw(OK)), Origin::start(Answer::raw(OK))];
    let silent = Origin::start(Answer::Raw("".into(), Then::Stall));
    let world = World::http(silent.port(), |_| {});
    let set = |ports: &[u16], edit: &dyn Fn(&mut EndpointHealthCheck)| {
        let addresses: Vec<_> = ports.iter().map(|port| local(*port)).collect();
        let mut assignment = cluster_config(DiscoveryType::Static, &addresses).load_assignment;
        assignment.localities[0].endpoints.iter_mut().for_each(|endpoint| edit(&mut endpoint.health_check));
        host_set(&assignment, &world.hosts)
    };
    // A host that goes before it was checked keeps nobody waiting.
    let hosts = set(&[origins[0].port()], &|_| {});
    world.checker.update_hosts(&hosts);
    world.first_flags().await;
    assert_eq!(hosts.hosts()[0].shared.health.flags().to_string(), "healthy");

    let elsewhere = set(&[silent.port()], &|check| {
        check.port = Some(origins[1].port());
        check.hostname = "named".to_owned();
    });
    world.checker.update_hosts(&elsewhere);
    assert_eq!(world.first_flags().await, ["healthy"], "asked at another port");
    assert_eq!(origins[1].take_requests()[0].header("host"), Some("named"));

    let disabled = set(&[silent.port()], &|check| check.disable_active_health_check = true);
    world.checker.update_hosts(&disabled);
    world.checker.refresh_gauges();
    assert_eq!(world.registry.gauge_value("healthy"), Some(0), "nobody is asked");
}

#[tokio::test]
async fn a_host_that_fails_itself_is_unhealthy_at_once() {
    let origin = Origin::start(Answer::raw(OK));
    let world = World::http(origin.port(), |_| {});
    assert_eq!(world.first_flags().await, ["healthy"]);
    let host = Arc::clone(&world.hosts.hosts()[0].shared);
    world.checker.on_immediate_failure(&host);
    assert_eq!(world.flags(), ["/failed_active_hc"]);
    assert_eq!((world.count("passive_failure"), world.count("failure"), world.count("attempt")), (1, 1, 1));
}

#[tokio::test]
async fn unix_sockets_are_checked_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("o.sock");
    let _origin = Origin::start_unix(&path, Answer::raw(OK));
    let pipe = crate::config::Pipe { path: path.display().to_string(), mode: 0 };
    let world = World::new(&[Address::Pipe(pipe)], Kind::Http(Box::new(http_config())), |_| {});
    assert_eq!(world.first_flags().await, ["healthy"]);
}

#[tokio::test]
async fn a_cluster_with_traffic_is_checked_more_often() {
    let origin = Origin::start(Answer::raw(OK));
    let address: SocketAddr = ([127, 0, 0, 1], origin.port()).into();
    let world = World::new(&[Address::Socket(address)], Kind::Http(Box::new(http_config())), |check| {
        check.intervals.no_traffic_healthy = Duration::from_millis(40);
        check.intervals.interval = Duration::from_millis(1);
    });
    assert_eq!(world.first_flags().await, ["healthy"]);
    let began = std::time::Instant::now();
    world.until("success", 4).await;
    assert!(began.elapsed() >= Duration::from_millis(100), "three pauses of 40 ms");

    let world = World::new(&[Address::Socket(address)], Kind::Http(Box::new(http_config())), |check| {
        check.intervals.interval = Duration::from_millis(1);
    });
    world.info.note_traffic();
    world.until("success", 4).await;
}
