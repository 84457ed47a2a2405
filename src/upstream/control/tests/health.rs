//! Where health checks, outlier detection, discovery and the workers meet.

use ringway_test_support::{Answer, Origin, Then};

use super::*;
use crate::config::cluster::{HealthChecker, OutlierDetection, TcpHealthCheck};
use crate::upstream::health::test_config;
use crate::upstream::host_health::HealthFlags;
use crate::upstream::outlier::{Outcome, OutlierRecorder};

const EJECTED: HealthFlags = HealthFlags::FAILED_OUTLIER_CHECK;

/// Logs that keep their lines; those at `/nowhere` cannot be opened.
#[derive(Default)]
struct Logs(Arc<Mutex<Vec<String>>>);

struct Log(Arc<Mutex<Vec<String>>>, String);

impl EventLogs for Logs {
    fn open(&self, path: &str) -> Result<Arc<dyn EventLog>, String> {
        match path {
            "/nowhere" => Err("no such directory".to_owned()),
            _ => Ok(Arc::new(Log(Arc::clone(&self.0), path.to_owned()))),
        }
    }
}

impl EventLog for Log {
    fn write_line(&self, line: &str) {
        self.0.lock().expect("not poisoned").push(format!("{}: {line}", self.1));
    }
}

/// A cluster that is asked by TCP every millisecond.
fn checked(
    discovery: DiscoveryType,
    addresses: &[Address],
    edit: impl FnOnce(&mut config::Cluster),
) -> Arc<config::Cluster> {
    let mut cluster = cluster_config(discovery, addresses);
    let mut check = test_config();
    check.checker = HealthChecker::Tcp(TcpHealthCheck::default());
    check.timeout = Duration::from_secs(20);
    check.intervals.no_traffic = Duration::from_millis(1);
    check.intervals.no_traffic_healthy = Duration::from_millis(1);
    cluster.health_check = Some(check);
    edit(&mut cluster);
    Arc::new(cluster)
}

fn watched(ports: &[u16], edit: impl FnOnce(&mut OutlierDetection)) -> Arc<config::Cluster> {
    let addresses: Vec<_> =
        ports.iter().map(|port| Address::Socket(([127, 0, 0, 1], *port).into())).collect();
    let mut cluster = cluster_config(DiscoveryType::Static, &addresses);
    let mut detection = OutlierDetection { max_ejection_percent: 100, ..OutlierDetection::default() };
    edit(&mut detection);
    cluster.outlier_detection = Some(detection);
    Arc::new(cluster)
}

fn any_port() -> Address {
    Address::Socket(([127, 0, 0, 1], 1).into())
}

impl World {
    fn set(&self, cluster: Arc<config::Cluster>) {
        self.control.set(cluster, &Runtime::default()).expect("a cluster");
    }

    fn host(&self, at: usize) -> Arc<HostShared> {
        Arc::clone(&self.control.hosts("c").expect("a cluster").hosts()[at].shared)
    }

    fn flags(&self) -> Vec<String> {
        let hosts = self.control.hosts("c").expect("a cluster");
        hosts.hosts().iter().map(|host| format!("{} {}", host.address, host.shared.health.flags())).collect()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&World) -> bool) {
        let deadline = std::time::Instant::now() + LONG;
        while !is_so(self) {
            assert!(std::time::Instant::now() < deadline, "waited in vain for {what}: {:?}", self.flags());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.registry.counter_value(&format!("cluster.c.{name}")).unwrap_or(0)
    }
}

fn fail(host: &Arc<HostShared>, times: usize) {
    let outcome = Outcome::Response { status: 500, is_degraded: false };
    (0..times).for_each(|_| OutlierRecorder::new(host, 0).record(outcome));
}

#[tokio::test]
async fn a_cluster_is_ready_once_every_host_was_checked() {
    let world = world();
    let silent = Origin::start(Answer::Raw("".into(), Then::Stall));
    let address = Address::Socket(([127, 0, 0, 1], silent.port()).into());
    world.set(checked(DiscoveryType::Static, &[address.clone(), any_port()], |_| {}));
    assert_eq!(world.flags()[0], format!("{address} /failed_active_hc"), "until it was asked");
    assert!(world.control.ready(Duration::ZERO).await);
    assert_eq!(world.flags(), [format!("{address} healthy"), "127.0.0.1:1 /failed_active_hc".to_owned()]);
    world.control.refresh_gauges();
    assert_eq!(world.registry.gauge_value("cluster.c.membership_healthy"), Some(1));
    assert_eq!(world.registry.gauge_value("cluster.c.health_check.healthy"), Some(1));
    // One that waits for nothing does not wait for a host that never answers either.
    let waiting = checked(DiscoveryType::Static, &[address], |cluster| {
        cluster.wait_for_warm_on_init = false;
        if let Some(check) = &mut cluster.health_check {
            let (send, receive) = (b"x".to_vec(), vec![b"y".to_vec()]);
            check.checker = HealthChecker::Tcp(TcpHealthCheck { send, receive });
        }
    });
    world.set(waiting);
    assert!(world.control.ready(Duration::ZERO).await);
}

#[tokio::test]
async fn a_host_that_fails_is_drained() {
    let mut world = world();
    let origin = Origin::start(Answer::Echo);
    let port = origin.port();
    world.set(checked(DiscoveryType::Static, &[Address::Socket(([127, 0, 0, 1], port).into())], |_| {}));
    assert!(world.control.ready(LONG).await);
    drop(origin);
    world.until("the host to fail", |world| world.flags()[0].ends_with("/failed_active_hc")).await;
    assert_eq!(world.next_hosts().await, [format!("127.0.0.1:{port}")]);
    assert_eq!(world.next_hosts().await, ["drained"]);
}

/// What DNS has dropped serves until it fails, unless the configuration says otherwise.
#[tokio::test]
async fn discovery_and_health_agree_in_the_end() {
    let world = world();
    let origin = Origin::start_named("one", "127.0.0.11:0", Answer::Echo);
    let port = origin.port();
    let kept = Origin::start_named("two", &format!("127.0.0.12:{port}"), Answer::Echo);
    let options = DnsOptions { refresh_rate: Duration::from_millis(2), ..DnsOptions::default() };
    let name = Address::Name { host: "a".to_owned(), port };
    let cluster = |edit: fn(&mut config::Cluster)| {
        checked(DiscoveryType::StrictDns(options.clone()), std::slice::from_ref(&name), edit)
    };
    world.table.set("a", &["127.0.0.11", "127.0.0.12"]);
    world.set(cluster(|_| {}));
    assert!(world.control.ready(LONG).await);
    let both = [format!("127.0.0.11:{port} healthy"), format!("127.0.0.12:{port} healthy")];
    assert_eq!(world.flags(), both);

    world.table.set("a", &["127.0.0.12"]);
    let dropped = format!("127.0.0.11:{port} /pending_dynamic_removal");
    world.until("a host to be dropped", |world| world.flags().contains(&dropped)).await;
    assert!(world.host(1).health.flags().is_healthy(), "it serves");
    world.table.set("a", &["127.0.0.12", "127.0.0.11"]);
    world.until("it to be back", |world| world.flags().len() == 2 && !world.flags().contains(&dropped)).await;
    world.table.set("a", &["127.0.0.12"]);
    world.until("it to be dropped again", |world| world.flags().contains(&dropped)).await;
    drop(origin);
    world.until("it to leave", |world| world.flags() == [format!("127.0.0.12:{port} healthy")]).await;

    let _back = Origin::start_named("one", &format!("127.0.0.11:{port}"), Answer::Echo);
    world.table.set("a", &["127.0.0.11", "127.0.0.12"]);
    world.set(cluster(|cluster| cluster.ignore_health_on_host_removal = true));
    world.until("both to be healthy", |world| world.flags() == both).await;
    world.table.set("a", &["127.0.0.12"]);
    world.until("one to leave at once", |world| world.flags().len() == 1).await;
    drop(kept);
}

#[tokio::test]
async fn new_hosts_may_wait_for_their_first_check_outside_of_all_shares() {
    let world = world();
    let silent = Origin::start(Answer::Raw("".into(), Then::Stall));
    world.table.set("a", &["127.0.0.1"]);
    let name = Address::Name { host: "a".to_owned(), port: silent.port() };
    world.set(checked(DiscoveryType::StrictDns(DnsOptions::default()), &[name], |cluster| {
        cluster.common_lb.ignore_new_hosts_until_first_hc = true;
        if let Some(check) = &mut cluster.health_check {
            let (send, receive) = (b"x".to_vec(), vec![b"y".to_vec()]);
            check.checker = HealthChecker::Tcp(TcpHealthCheck { send, receive });
        }
    }));
    world.until("the host", |world| world.flags().len() == 1).await;
    assert!(world.flags()[0].ends_with(" /failed_active_hc/pending_active_hc"), "{:?}", world.flags());
    world.control.refresh_gauges();
    assert_eq!(world.registry.gauge_value("cluster.c.membership_excluded"), Some(1));
}

#[tokio::test]
async fn workers_alarms_eject_and_drain_and_are_logged() {
    let mut world = world();
    let logs = Logs::default();
    let lines = Arc::clone(&logs.0);
    let publish_before = world.control;
    world.control = publish_before.log_events(Arc::new(logs), "/ejections").expect("a log");
    world.set(watched(&[1, 2], |_| {}));
    assert_eq!(world.next_hosts().await.len(), 2);
    let host = world.host(0);
    fail(&host, 5);
    assert_eq!(world.next_hosts().await, ["drained"]);
    assert_eq!(world.flags()[0], "127.0.0.1:1 /failed_outlier_check");
    assert_eq!(world.count("outlier_detection.ejections_enforced_consecutive_5xx"), 1);
    let line = lines.lock().expect("lines").remove(0);
    assert!(line.starts_with(r#"/ejections: {"type":"CONSECUTIVE_5XX","#), "{line}");
    let status = &world.control.statuses()[0];
    assert!(status.outlier.is_some() && status.hosts[0].health_flags.intersects(EJECTED));
}

#[tokio::test]
async fn sweeps_end_ejections() {
    let world = world();
    world.set(watched(&[1, 2], |detection| {
        detection.interval = Duration::from_millis(10);
        detection.base_ejection_time = Duration::from_millis(60);
    }));
    let began = std::time::Instant::now();
    fail(&world.host(1), 5);
    world.until("an ejection", |world| world.host(1).health.flags().intersects(EJECTED)).await;
    world.until("its end", |world| !world.host(1).health.flags().intersects(EJECTED)).await;
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_healthy_host_is_not_ejected_for_long() {
    let world = world();
    let origin = Origin::start(Answer::Echo);
    let address = Address::Socket(([127, 0, 0, 1], origin.port()).into());
    let both = |unejects: bool| {
        checked(DiscoveryType::Static, std::slice::from_ref(&address), |cluster| {
            cluster.outlier_detection = Some(OutlierDetection {
                max_ejection_percent: 100,
                successful_active_health_check_uneject_host: unejects,
                ..OutlierDetection::default()
            });
        })
    };
    world.set(both(true));
    assert!(world.control.ready(LONG).await);
    fail(&world.host(0), 5);
    world.until("an ejection", |world| world.count("outlier_detection.ejections_enforced_total") == 1).await;
    world.until("its end", |world| world.flags()[0].ends_with(" healthy")).await;

    world.set(both(false));
    assert!(world.control.ready(LONG).await);
    fail(&world.host(0), 5);
    world.until("an ejection", |world| world.host(0).health.flags().intersects(EJECTED)).await;
    let checks = world.count("health_check.success");
    world.until("further checks", |world| world.count("health_check.success") > checks + 3).await;
    assert!(world.host(0).health.flags().intersects(EJECTED));
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_an_error() {
    let world = world();
    let control = world.control.log_events(Arc::new(Logs::default()), "").expect("no log");
    let cluster = checked(DiscoveryType::Static, &[any_port()], |cluster| {
        if let Some(check) = &mut cluster.health_check {
            check.event_log_paths = vec!["/nowhere".to_owned()];
        }
    });
    let error = control.set(cluster, &Runtime::default()).err().expect("no such log");
    assert_eq!(error.to_string(), "event log: no such directory");
    assert!(control.log_events(Arc::new(Logs::default()), "/nowhere").is_err());
}
