//! What the tests of this module share: clusters without YAML, and a worker to run them on.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Cluster, ClusterInfo, HostPick, HostSet, HostTemplate, UpstreamEvent, UpstreamReset, UpstreamStream,
};
use crate::config::cluster::{
    self as config, CircuitBreakers, CommonLbConfig, DiscoveryType, Endpoint, LbPolicy, LoadAssignment,
    LocalityEndpoints,
};
use crate::config::route::RoutingPriority;
use crate::config::{Address, BindConfig, CommonHttpOptions, FieldPath, Http1Options, Http2Options, Runtime};
use crate::http::{HeaderMap, Method, RequestHead, Version};
use crate::io::{self, DriverChoice, WorkerOptions};
use crate::stats::{Registry, install_shard};
use crate::upstream::discovery::Targets;
use crate::upstream::host_set::testing::endpoint;

/// A cluster called `c` with Envoy's defaults.
pub fn cluster_config(discovery: DiscoveryType, addresses: &[Address]) -> config::Cluster {
    let of = |address: &Address| Endpoint { address: address.clone(), ..endpoint(([0, 0, 0, 0], 0).into()) };
    config::Cluster {
        name: "c".to_owned(),
        alt_stat_name: String::new(),
        discovery,
        load_assignment: LoadAssignment {
            localities: vec![LocalityEndpoints {
                locality: Default::default(),
                priority: 0,
                load_balancing_weight: None,
                endpoints: addresses.iter().map(of).collect(),
            }],
            ..LoadAssignment::default()
        },
        lb_policy: LbPolicy::Random,
        common_lb: CommonLbConfig::default(),
        connect_timeout: config::DEFAULT_CONNECT_TIMEOUT,
        per_connection_buffer_limit_bytes: 1 << 20,
        circuit_breakers: CircuitBreakers::default(),
        common_http: CommonHttpOptions::default(),
        http1: Http1Options::default(),
        http2: Http2Options::client(),
        protocol: config::UpstreamProtocol::Http1,
        auto_peer_name: None,
        tcp_keepalive: None,
        bind: BindConfig::default(),
        health_check: None,
        outlier_detection: None,
        ignore_health_on_host_removal: false,
        close_connections_on_host_health_failure: false,
        wait_for_warm_on_init: true,
        transport_socket: Default::default(),
        proxy_protocol: None,
        path: FieldPath::default(),
    }
}

/// One worker's world.
pub struct World {
    pub registry: Registry,
}

impl World {
    /// A static cluster at `addresses`, changed by `edit`.
    pub fn cluster(&self, addresses: &[Address], edit: impl FnOnce(&mut config::Cluster)) -> Rc<Cluster> {
        let mut config = cluster_config(DiscoveryType::Static, addresses);
        edit(&mut config);
        let targets = Targets::new(&config.load_assignment, &config.discovery);
        let template = HostTemplate { workers: 1, ..HostTemplate::default() };
        let hosts = targets.host_set(&HostSet::default(), &template);
        let scope = self.registry.scope();
        let info = Arc::new(ClusterInfo::new(Arc::new(config), &Runtime::default(), &scope));
        io::with_rng(|rng| Cluster::new(info, hosts, 0, rng))
    }

    /// A cluster of one host on a port of 127.0.0.1.
    pub fn cluster_at(&self, port: u16, edit: impl FnOnce(&mut config::Cluster)) -> Rc<Cluster> {
        self.cluster(&[local(port)], edit)
    }

    /// The counter or gauge `cluster.c.<name>`.
    pub fn count(&self, name: &str) -> i64 {
        let name = format!("cluster.c.{name}");
        let counter = self.registry.counter_value(&name).map(|value| value as i64);
        counter.or_else(|| self.registry.gauge_value(&name)).unwrap_or(0)
    }

    /// Waits until the counter or gauge has this value.
    pub async fn until(&self, name: &str, value: i64) {
        self.until_true(name, || self.count(name) == value).await;
    }

    /// Waits until `is_so`, for at most 20 s.
    pub async fn until_true(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
            io::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Runs `test` on a worker of each driver that this machine has.
pub fn on_each_driver<F: Future<Output = ()> + 'static>(test: impl Fn(World) -> F + Copy + Send + 'static) {
    for choice in [DriverChoice::Epoll, DriverChoice::Ring] {
        let kind = match io::probe(choice) {
            Ok(probed) => probed.kind,
            Err(error) => {
                eprintln!("not run on the ring: {error}");
                continue;
            }
        };
        let worker = std::thread::spawn(move || {
            io::run_worker(WorkerOptions::new(kind, 0), move || {
                let registry = Registry::new();
                install_shard(registry.new_shard());
                test(World { registry })
            })
        });
        let outcome = worker.join().expect("the worker's thread does not panic");
        outcome.unwrap_or_else(|error| panic!("on {kind:?}: {error}"));
    }
}

pub fn local(port: u16) -> Address {
    Address::Socket(([127, 0, 0, 1], port).into())
}

/// A stream to any host of the cluster.
pub async fn stream(cluster: &Rc<Cluster>) -> UpstreamStream {
    check_out(cluster).await.expect("a connection")
}

pub fn check_out(cluster: &Rc<Cluster>) -> super::CheckOut {
    let host = io::with_rng(|rng| cluster.pick_host(&HostPick::default(), rng)).expect("a host");
    host.check_out(RoutingPriority::Default, Version::Http11)
}

pub fn get(path: &str) -> RequestHead {
    RequestHead::new(Method::Get, "http", b"host", path.as_bytes())
}

pub fn post(headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new(Method::Post, "http", b"host", b"/");
    headers.iter().for_each(|(name, value)| head.headers.append(*name, value.as_bytes()));
    head
}

/// A complete response.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    pub interim: Vec<u16>,
}

/// The rest of the response.
pub async fn response(stream: &mut UpstreamStream) -> Result<Response, UpstreamReset> {
    let mut response = Response::default();
    loop {
        let event = stream.event().await?;
        let is_end = event.is_end();
        match event {
            UpstreamEvent::Informational(head) => response.interim.push(head.status()),
            UpstreamEvent::Head { head, .. } => response.status = head.status(),
            UpstreamEvent::Data { chunk, .. } => response.body.extend_from_slice(&chunk),
            UpstreamEvent::Trailers(trailers) => response.trailers = Some(trailers),
        }
        if is_end {
            return Ok(response);
        }
    }
}

/// A whole exchange; the connection goes back to its pool.
pub async fn exchange(cluster: &Rc<Cluster>, path: &str) -> (Response, Exchanged) {
    let mut stream = stream(cluster).await;
    stream.send_head(&get(path), true);
    let response = response(&mut stream).await.expect("a whole response");
    (response, Exchanged { connection_id: stream.connection_id(), is_reused: stream.is_reused() })
}

/// What an exchange ran on.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchanged {
    pub connection_id: u64,
    pub is_reused: bool,
}
