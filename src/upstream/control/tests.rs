//! Clusters on a control thread, with a resolver that the test answers for.

mod health;

use std::collections::HashMap;
use std::net::IpAddr;

use super::*;
use crate::config::Address;
use crate::upstream::discovery::{DnsAnswer, DnsFailure, ResolveFuture};
use crate::upstream::testing::cluster_config;

/// Answers from a table that the test changes; a name without an entry fails.
#[derive(Default)]
struct Table(Mutex<HashMap<String, Vec<IpAddr>>>);

impl Table {
    fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        self.0.lock().expect("not poisoned").insert(name.to_owned(), addresses);
    }
}

impl Resolver for Table {
    fn resolve<'a>(&'a self, name: &'a str, _: config::DnsLookupFamily) -> ResolveFuture<'a> {
        let found = self.0.lock().expect("not poisoned").get(name).cloned();
        let answer = found
            .map(|addresses| DnsAnswer { addresses, ttl: None })
            .ok_or_else(|| DnsFailure { name: name.to_owned(), reason: "no entry".to_owned() });
        Box::pin(std::future::ready(answer))
    }
}

fn cluster(discovery: DiscoveryType, addresses: &[Address]) -> Arc<config::Cluster> {
    Arc::new(cluster_config(discovery, addresses))
}

fn name(host: &str) -> Address {
    Address::Name { host: host.to_owned(), port: 80 }
}

struct World {
    registry: Registry,
    table: Arc<Table>,
    control: ClusterControl,
    commands: tokio::sync::mpsc::UnboundedReceiver<ClusterCommand>,
}

fn world() -> World {
    let (sender, commands) = tokio::sync::mpsc::unbounded_channel();
    let (registry, table) = (Registry::new(), Arc::new(Table::default()));
    let resolver: Arc<dyn Resolver> = table.clone();
    let control = ClusterControl::new(&registry, 1, resolver, 1, move |command| {
        // The receiver is gone once a test is over.
        let _ = sender.send(command);
    });
    World { registry, table, control, commands }
}

impl World {
    /// The hosts of the next command.
    async fn next_hosts(&mut self) -> Vec<String> {
        match self.commands.recv().await.expect("the control side lives") {
            ClusterCommand::Set { hosts, .. } | ClusterCommand::UpdateHosts { hosts, .. } => {
                hosts.hosts().iter().map(|host| host.address.to_string()).collect()
            }
            ClusterCommand::Remove { .. } => vec!["removed".to_owned()],
            ClusterCommand::DrainHost { .. } => vec!["drained".to_owned()],
        }
    }
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn static_clusters_are_ready_at_once() {
    let mut world = world();
    let here = Address::Socket(([127, 0, 0, 1], 8080).into());
    let socket = Address::Pipe(crate::config::Pipe { path: "/tmp/x.sock".into(), mode: 0 });
    world
        .control
        .set(cluster(DiscoveryType::Static, &[here, socket]), &Runtime::default())
        .expect("a cluster");
    assert!(world.control.ready(Duration::ZERO).await);
    assert_eq!(world.next_hosts().await, ["127.0.0.1:8080", "/tmp/x.sock"]);
    assert_eq!(world.control.commands().len(), 1);
    assert_eq!(world.control.statuses()[0].hosts.len(), 2);
    world.control.refresh_gauges();
    assert_eq!(world.registry.gauge_value("cluster.c.membership_total"), Some(2));
    assert_eq!(world.registry.counter_value("cluster.c.membership_change"), Some(1));
    assert!(world.control.remove("c") && !world.control.remove("c"));
    assert_eq!(world.next_hosts().await, ["removed"]);
}

#[tokio::test]
async fn names_are_resolved_again_and_again() {
    let mut world = world();
    world.table.set("a", &["10.0.0.1"]);
    let options = DnsOptions { refresh_rate: Duration::from_millis(1), ..DnsOptions::default() };
    world
        .control
        .set(cluster(DiscoveryType::StrictDns(options), &[name("a")]), &Runtime::default())
        .expect("a cluster");
    assert!(world.control.ready(LONG).await);
    assert!(world.next_hosts().await.is_empty());
    assert_eq!(world.next_hosts().await, ["10.0.0.1:80"]);
    world.table.set("a", &["10.0.0.2", "10.0.0.1"]);
    assert_eq!(world.next_hosts().await, ["10.0.0.2:80", "10.0.0.1:80"]);
    world.table.set("a", &[]);
    assert!(world.next_hosts().await.is_empty());
    let count = |name: &str| world.registry.counter_value(&format!("cluster.c.{name}")).unwrap_or(0);
    assert!(count("update_success") >= 3);
    assert_eq!((count("update_failure"), count("membership_change")), (0, 3));
}

#[tokio::test]
async fn a_failing_name_delays_the_start_only_once() {
    let mut world = world();
    let discovery = DiscoveryType::LogicalDns(DnsOptions::default());
    world.control.set(cluster(discovery, &[name("unknown")]), &Runtime::default()).expect("a cluster");
    assert!(world.control.ready(LONG).await, "a failure is an outcome, too");
    assert!(world.next_hosts().await.is_empty());
    assert_eq!(world.registry.counter_value("cluster.c.update_failure"), Some(1));
}

/// A resolver that never answers.
struct Silent;

impl Resolver for Silent {
    fn resolve<'a>(&'a self, _: &'a str, _: config::DnsLookupFamily) -> ResolveFuture<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn waiting_for_names_is_bounded() {
    let control = ClusterControl::new(&Registry::new(), 1, Arc::new(Silent), 1, |_| {});
    let discovery = DiscoveryType::StrictDns(DnsOptions::default());
    control.set(cluster(discovery, &[name("a")]), &Runtime::default()).expect("a cluster");
    assert!(!control.ready(Duration::from_millis(5)).await);
}

fn eds(name: &str) -> Arc<config::Cluster> {
    let config_source = crate::config::ConfigSource {
        specifier: crate::config::ConfigSourceSpecifier::File(crate::config::FileSource {
            path: String::new(),
            watched_directory: None,
        }),
        initial_fetch_timeout: None,
        path: crate::config::FieldPath::default(),
    };
    let options = config::EdsOptions { config_source, service_name: name.to_owned() };
    cluster(DiscoveryType::Eds(options), &[])
}

fn assignment(ports: &[u16]) -> config::LoadAssignment {
    let addresses: Vec<_> =
        ports.iter().map(|port| Address::Socket(([127, 0, 0, 1], *port).into())).collect();
    cluster_config(DiscoveryType::Static, &addresses).load_assignment
}

impl World {
    fn stat(&self, name: &str) -> i64 {
        let gauge = self.registry.gauge_value(name);
        gauge.or_else(|| self.registry.counter_value(name).map(|value| value as i64)).unwrap_or(-1)
    }
}

#[tokio::test]
async fn a_discovered_cluster_takes_over_once_its_hosts_are_known() {
    let mut world = world();
    let here = Address::Socket(([127, 0, 0, 1], 1).into());
    let before = cluster(DiscoveryType::Static, &[here]);
    world.control.set(before, &Runtime::default()).expect("a cluster");
    assert_eq!(world.next_hosts().await, ["127.0.0.1:1"]);
    let warming = world.control.prepare(eds("c"), &Runtime::default()).expect("a cluster");
    warming.count();
    let endpoints = warming.endpoints();
    assert!(!warming.is_warm() && world.commands.try_recv().is_err(), "workers know nothing of it");
    assert_eq!(world.stat("cluster_manager.warming_clusters"), 1);
    assert_eq!(world.stat("cluster.c.warming_state"), 1);
    endpoints.keep();
    assert!(!warming.is_warm(), "an empty update is no assignment");
    endpoints.assign(&assignment(&[2, 3]));
    assert!(world.commands.try_recv().is_err(), "the old cluster of this name must not get its hosts");
    warming.warmed().await;
    world.control.activate(warming);
    assert_eq!(world.next_hosts().await, ["127.0.0.1:2", "127.0.0.1:3"]);
    endpoints.assign(&assignment(&[3, 4]));
    assert_eq!(world.next_hosts().await, ["127.0.0.1:3", "127.0.0.1:4"]);
    endpoints.assign(&assignment(&[3, 4]));
    assert!(world.commands.try_recv().is_err());
    for (name, value) in [
        ("cluster_manager.warming_clusters", 0),
        ("cluster_manager.active_clusters", 1),
        ("cluster_manager.cluster_added", 1),
        ("cluster_manager.cluster_modified", 1),
        ("cluster_manager.cluster_updated", 1),
        ("cluster.c.warming_state", 0),
        ("cluster.c.update_no_rebuild", 1),
        ("cluster.c.update_empty", 1),
    ] {
        assert_eq!(world.stat(name), value, "{name}");
    }
}

#[tokio::test]
async fn waiting_for_hosts_can_be_given_up_and_so_can_the_cluster() {
    let mut world = world();
    let warming = world.control.prepare(eds("c"), &Runtime::default()).expect("a cluster");
    let endpoints = warming.endpoints();
    endpoints.give_up();
    assert!(warming.is_warm());
    world.control.activate(warming);
    assert!(world.next_hosts().await.is_empty());
    drop(world.control.prepare(eds("c"), &Runtime::default()).expect("a cluster"));
    assert_eq!(world.stat("cluster_manager.warming_clusters"), 0);
    assert!(world.control.remove("c"));
    endpoints.assign(&assignment(&[1]));
    assert_eq!(world.next_hosts().await, ["removed"], "and nothing after it");
    assert!(world.commands.try_recv().is_err());
}
