//! From the command line's configuration to what workers can use, all errors reported at once.
//! Touches no network; with `--mode validate` it opens no log either.

use std::cell::RefCell;
use std::sync::Arc;

use crate::access_log::AccessLogManager;
use crate::api::{self, ConfigError, Diagnostic, Diagnostics, Inputs, LoadedBootstrap, check_support};
use crate::config::{self, BootstrapConfig, ExternalData, Rds, Runtime};
use crate::filters::network::http_connection_manager::{RouteDiscovery, RouteSlotId};
use crate::filters::{self, BuildContext};
use crate::listener::{self, CompiledListener, ReusedChains};
use crate::stats::Registry;

/// A configuration read and checked.
pub struct Configuration {
    /// The messages, for `/config_dump`.
    pub loaded: LoadedBootstrap,
    /// The runtime model.
    pub bootstrap: BootstrapConfig,
    /// Fields that are accepted without effect.
    pub without_effect: Vec<Diagnostic>,
}

impl Configuration {
    /// Reads, merges and checks a configuration.
    ///
    /// # Errors
    /// All that is wrong with it, as far as the first stage that fails can tell.
    pub fn load(inputs: Inputs<'_>) -> Result<Configuration, Diagnostics> {
        let loaded = api::load_bootstrap(inputs)?;
        let tables: Vec<_> = config::SUPPORT.iter().copied().chain(filters::support_tables()).collect();
        let report = check_support(&loaded.dynamic, &tables, &loaded.positions);
        if !report.refused.is_empty() {
            return Err(Diagnostics::new(report.refused, loaded.sources.clone()));
        }
        match config::from_bootstrap(&loaded.bootstrap, &read_external) {
            Ok(bootstrap) => Ok(Configuration { bootstrap, without_effect: report.no_effect, loaded }),
            Err(errors) => Err(loaded.diagnose(errors)),
        }
    }

    /// Compiles listeners and registers their statistics. Route tables that are to be discovered stay empty.
    ///
    /// # Errors
    /// All that is wrong with filters, routes and logs.
    pub fn compile(
        &self,
        registry: &Registry,
        access_logs: Option<&AccessLogManager>,
    ) -> Result<Vec<Arc<CompiledListener>>, Diagnostics> {
        let compiled = self.compile_with(registry, access_logs, &NoDiscovery)?;
        Ok(compiled.into_iter().map(|(listener, _)| listener).collect())
    }

    /// Likewise; the slots are those of the connection managers that discover their routes, for each listener.
    ///
    /// # Errors
    /// All that is wrong with filters, routes and logs.
    pub fn compile_with(
        &self,
        registry: &Registry,
        access_logs: Option<&AccessLogManager>,
        route_discovery: &dyn RouteDiscovery,
    ) -> Result<Vec<(Arc<CompiledListener>, Slots)>, Diagnostics> {
        let bootstrap = &self.bootstrap;
        let has_cluster = |name: &str| bootstrap.clusters.iter().any(|cluster| cluster.name == name);
        let compiler = ListenerCompiler {
            registry,
            access_logs,
            runtime: &bootstrap.runtime,
            clusters: &has_cluster,
            route_discovery,
        };
        let mut errors = Vec::new();
        let mut listeners = Vec::with_capacity(bootstrap.listeners.len());
        for config in &bootstrap.listeners {
            match compiler.compile(config, &ReusedChains::default()) {
                Ok(compiled) => listeners.push(compiled),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(listeners) } else { Err(self.loaded.diagnose(errors)) }
    }
}

/// Slots of connection managers whose routes are discovered.
pub type Slots = Vec<Arc<RouteSlotId>>;

/// What compiling listeners needs, whether they are the bootstrap's or come later.
pub struct ListenerCompiler<'a> {
    /// Where statistics are registered.
    pub registry: &'a Registry,
    /// Opens access logs; none when a configuration is only validated.
    pub access_logs: Option<&'a AccessLogManager>,
    /// Runtime values.
    pub runtime: &'a Runtime,
    /// Whether there is a cluster of this name.
    pub clusters: &'a dyn Fn(&str) -> bool,
    /// Where discovered route tables come from.
    pub route_discovery: &'a dyn RouteDiscovery,
}

impl ListenerCompiler<'_> {
    /// Compiles a listener; its statistics go with it. Chains in `reused` are taken as they are.
    ///
    /// # Errors
    /// All that is wrong with filters, routes and logs.
    pub fn compile(
        &self,
        config: &Arc<config::Listener>,
        reused: &ReusedChains,
    ) -> Result<(Arc<CompiledListener>, Slots), Vec<ConfigError>> {
        let collector = SlotCollector { discovery: self.route_discovery, slots: RefCell::default() };
        let mut cx = BuildContext {
            registry: &self.registry.scope(),
            stat_prefix: "",
            listener_stat_prefix: "",
            route_discovery: &collector,
            clusters: self.clusters,
            runtime: self.runtime,
            read: &read_external,
            access_logs: self.access_logs,
        };
        let compiled = listener::compile(config, reused, &mut cx)?;
        Ok((Arc::new(compiled), collector.slots.into_inner()))
    }
}

/// Passes requests for route tables on and notes what they were given.
struct SlotCollector<'a> {
    discovery: &'a dyn RouteDiscovery,
    slots: RefCell<Slots>,
}

impl RouteDiscovery for SlotCollector<'_> {
    fn subscribe(&self, rds: &Arc<Rds>, stat_prefix: &str, filters: Vec<Arc<str>>) -> Arc<RouteSlotId> {
        let slot = self.discovery.subscribe(rds, stat_prefix, filters);
        self.slots.borrow_mut().push(Arc::clone(&slot));
        slot
    }
}

/// Finds no tables: for checking a configuration.
struct NoDiscovery;

impl RouteDiscovery for NoDiscovery {
    fn subscribe(&self, _: &Arc<Rds>, _: &str, _: Vec<Arc<str>>) -> Arc<RouteSlotId> {
        Arc::new(RouteSlotId(0))
    }
}

/// Reads what a configuration refers to: files and environment variables.
pub(super) fn read_external(data: ExternalData<'_>) -> std::io::Result<Vec<u8>> {
    match data {
        ExternalData::File(path) => {
            let size = std::fs::metadata(path)?.len();
            if size > config::MAX_DATA_SOURCE_BYTES as u64 {
                return Err(std::io::Error::other(format!("{size} bytes are too many")));
            }
            std::fs::read(path)
        }
        ExternalData::Environment(name) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::NotFound, error)),
        ExternalData::Existence(path) => std::fs::metadata(path).map(|_| Vec::new()),
    }
}
