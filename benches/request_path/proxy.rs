//! The proxy's worker, from a configuration by the ordinary pipeline, as `tests/sim` has it.

use std::rc::Rc;
use std::sync::Arc;

use ringway::api::Inputs;
use ringway::filters::{ServerState, WorkerContext};
use ringway::io::{self, Listener};
use ringway::listener::{self, AcceptTarget, ActiveListener, CompiledListener};
use ringway::server::Configuration;
use ringway::stats::groups::ListenerWorkerStats;
use ringway::stats::{Registry, install_shard};
use ringway::upstream::discovery::SystemResolver;
use ringway::upstream::{ClusterControl, ClusterManager};

const CONFIGURATION: &str = r#"
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 10.0.0.1, port_value: 80}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          codec_type: CODEC
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: origin}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: origin
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 10.0.1.1, port_value: 8000}}}
"#;

/// A compiled configuration with its statistics.
pub struct Proxy {
    registry: Registry,
    listener: Arc<CompiledListener>,
    clusters: ClusterControl,
    server: Arc<ServerState>,
}

impl Proxy {
    /// For clients of one version; this thread counts for it from now on.
    pub fn compile(is_http2: bool) -> Proxy {
        let yaml = CONFIGURATION.replace("CODEC", if is_http2 { "HTTP2" } else { "HTTP1" });
        let inputs = Inputs { config_yaml: Some(&yaml), ..Inputs::default() };
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
        let stats = ListenerWorkerStats::register(&self.registry, "listener.main.worker_0.");
        let active = AcceptTarget::new(ActiveListener::new(Arc::clone(&self.listener), stats));
        let config = &self.listener.config;
        let socket = Listener::bind(&listener::listen_options(config, &config.addresses[0]));
        io::spawn(listener::serve(Rc::clone(&active), socket.expect("the address is free"), context));
        active
    }
}
