//! The proxy's worker as a world runs it: the ordinary listener, connection manager, router and
//! pools, made from a YAML configuration by the ordinary pipeline. Compiled once per thread.

use std::rc::Rc;
use std::sync::Arc;

use ringway::api::Inputs;
use ringway::filters::{ServerState, WorkerContext};
use ringway::io::{self, Listener};
use ringway::listener::{self, AcceptTarget, ActiveListener, CompiledListener};
use ringway::server::Configuration;
use ringway::stats::groups::ListenerWorkerStats;
use ringway::stats::{Registry, install_shard};
use ringway::upstream::breaker::{BreakerShared, ResourceKind};
use ringway::upstream::discovery::SystemResolver;
use ringway::upstream::{ClusterControl, ClusterManager};

/// A compiled configuration with its statistics.
pub struct Proxy {
    registry: Registry,
    listener: Arc<CompiledListener>,
    clusters: ClusterControl,
    server: Arc<ServerState>,
}

impl Proxy {
    /// Compiles the worlds' configuration; this thread counts for it from now on.
    pub fn compile() -> Proxy {
        let yaml = include_str!("config.yaml");
        let inputs = Inputs { config_yaml: Some(yaml), ..Inputs::default() };
        let configuration = Configuration::load(inputs).unwrap_or_else(|errors| panic!("{errors}"));
        let registry = Registry::new();
        install_shard(registry.new_shard());
        let listeners = configuration.compile(&registry, None);
        let listener = listeners.unwrap_or_else(|errors| panic!("{errors}")).remove(0);
        let bootstrap = configuration.bootstrap;
        let server = Arc::new(ServerState::new(bootstrap.node, bootstrap.runtime));
        let clusters = ClusterControl::new(&registry, 1, Arc::new(SystemResolver::new()), 0, |_| {});
        for cluster in bootstrap.clusters {
            clusters.set(cluster, &server.runtime).expect("a cluster");
        }
        Proxy { registry, listener, clusters, server }
    }

    /// Begins to serve in the world that runs on this thread.
    pub fn start(&self) -> Rc<AcceptTarget> {
        let clusters = ClusterManager::new(0);
        for command in self.clusters.commands() {
            io::with_rng(|rng| clusters.apply(command, rng));
        }
        let context = Rc::new(WorkerContext::new(0, clusters, Arc::clone(&self.server)));
        let stats = ListenerWorkerStats::register(&self.registry, "listener.sim.worker_0.");
        let active = AcceptTarget::new(ActiveListener::new(Arc::clone(&self.listener), stats));
        let config = &self.listener.config;
        let socket = Listener::bind(&listener::listen_options(config, &config.addresses[0]));
        let socket = socket.expect("the address is free");
        io::spawn(listener::serve(Rc::clone(&active), socket, context));
        active
    }

    /// Requests that the cluster `limited` has under way, and how many it may have.
    pub fn limited_requests(&self) -> (u64, u64) {
        let status = self.clusters.statuses().into_iter().find(|status| &*status.info.name == "limited");
        let breakers = &status.expect("configured").info.breakers;
        let breaker = breakers.priority(Default::default());
        (breaker.in_use(ResourceKind::Requests), breaker.limit(ResourceKind::Requests))
    }

    /// Gauges of what is active, and circuit breakers, that are not back at zero.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = gauges_in_use(&self.registry);
        for status in self.clusters.statuses() {
            found.extend(breakers_in_use(&status.info.name, &status.info.breakers));
        }
        found.extend(unbalanced(&self.registry));
        found
    }
}

/// Gauges of what is active that are not at zero.
pub fn gauges_in_use(registry: &Registry) -> Vec<String> {
    let snapshot = registry.snapshot(|name| name.contains("_active"));
    let gauges = snapshot.gauges.iter().filter(|gauge| gauge.value != 0);
    gauges.map(|gauge| format!("{} is {}", gauge.name, gauge.value)).collect()
}

/// What a cluster's circuit breakers count as in use.
pub fn breakers_in_use(cluster: &str, breakers: &BreakerShared) -> Vec<String> {
    let breaker = breakers.priority(Default::default());
    let kinds = [
        ResourceKind::Connections,
        ResourceKind::PendingRequests,
        ResourceKind::Requests,
        ResourceKind::Retries,
    ];
    let in_use = kinds.into_iter().filter(|kind| breaker.in_use(*kind) != 0);
    in_use.map(|kind| format!("{cluster}: {} {kind:?} in use", breaker.in_use(kind))).collect()
}

/// Connections that were counted when they began and not, or twice, when they ended.
pub fn unbalanced(registry: &Registry) -> Vec<String> {
    let pairs = [
        ("http.sim.", "downstream_cx"),
        ("listener.10.0.0.1_80.", "downstream_cx"),
        ("cluster.origins.", "upstream_cx"),
        ("cluster.limited.", "upstream_cx"),
        ("cluster.h2_origins.", "upstream_cx"),
    ];
    let unbalanced = |(prefix, what): (&str, &str)| {
        let of = |suffix: &str| registry.counter_value(&format!("{prefix}{what}_{suffix}"));
        let (begun, ended) = (of("total"), of("destroy"));
        let is_right = begun.is_some() && begun == ended;
        (!is_right).then(|| format!("{prefix}{what}: {begun:?} begun, {ended:?} ended"))
    };
    pairs.into_iter().filter_map(unbalanced).collect()
}
