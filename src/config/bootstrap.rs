//! The whole of a configuration file (`envoy.config.bootstrap.v3.Bootstrap`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
use envoy_types::pb::envoy::config::core::v3 as core;

use super::cluster::Locality;
use super::references::check_references;
use super::runtime::struct_to_json;
use super::tls::Secret;
use super::{
    AccessLog, AccessLogSink, AccessLogTarget, Address, Cluster, ConfigSource, Context, FieldPath, Listener,
    ReadData, Runtime, SocketOption, StatsConfig, StringMatcher,
};
use crate::api::ConfigError;

/// Default of `stats_flush_interval`.
pub const DEFAULT_STATS_FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// A configuration: everything that the process is told by its file.
#[derive(Debug, Clone)]
pub struct BootstrapConfig {
    /// Who this process is.
    pub node: Node,
    /// Listeners in order; names are unique.
    pub listeners: Vec<Arc<Listener>>,
    /// Clusters in order; names are unique.
    pub clusters: Vec<Arc<Cluster>>,
    /// Where further listeners and clusters come from.
    pub dynamic_resources: DynamicResources,
    /// Secrets that contexts of TLS may refer to by name.
    pub secrets: Vec<Arc<Secret>>,
    /// The admin server; none has no server.
    pub admin: Option<Admin>,
    /// File that ejections of outlier detection are appended to; empty for none
    /// (`cluster_manager.outlier_detection.event_log_path`).
    pub outlier_event_log_path: String,
    /// Runtime values.
    pub runtime: Runtime,
    /// Statistics.
    pub stats: StatsConfig,
    /// How often statistics are flushed to sinks. Default 5 s.
    pub stats_flush_interval: Duration,
    /// Format of the process's own log; none leaves it to the command line.
    pub application_log_format: Option<String>,
}

/// Sources of listeners and clusters (`envoy.config.bootstrap.v3.Bootstrap.DynamicResources`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DynamicResources {
    /// Of listeners.
    pub lds: Option<ConfigSource>,
    /// Of clusters.
    pub cds: Option<ConfigSource>,
}

/// Who a process is (`envoy.config.core.v3.Node`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Identifier; may be empty.
    pub id: String,
    /// Name of the local service cluster; may be empty.
    pub cluster: String,
    /// Where it runs.
    pub locality: Locality,
    /// Opaque data for control planes.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// The admin server (`envoy.config.bootstrap.v3.Admin`).
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens; none means that there is no server. Never [`Address::Name`].
    pub address: Option<Address>,
    /// Options of the listening socket.
    pub socket_options: Vec<SocketOption>,
    /// Logs of its requests.
    pub access_log: Vec<AccessLog>,
    /// Paths that may be asked for; empty allows all.
    pub allow_paths: Vec<StringMatcher>,
}

/// Converts a bootstrap; files and variables that it refers to are read through `read`:
///
/// ```no_run
/// # use ringway::config::{ExternalData, from_bootstrap};
/// # let bootstrap = Default::default();
/// let read = |data: ExternalData<'_>| match data {
///     ExternalData::File(path) => std::fs::read(path),
///     ExternalData::Environment(name) => {
///         std::env::var(name).map(String::into_bytes).map_err(std::io::Error::other)
///     }
///     ExternalData::Existence(path) => std::fs::metadata(path).map(|_| Vec::new()),
/// };
/// let config = from_bootstrap(&bootstrap, &read);
/// ```
///
/// # Errors
/// Everything that is wrong with it, each with its field path.
pub fn from_bootstrap(
    proto: &bootstrap::Bootstrap,
    read: &ReadData<'_>,
) -> Result<BootstrapConfig, Vec<ConfigError>> {
    let mut context = Context::new(read);
    let config = BootstrapConfig::from_proto(proto, &mut context);
    check_unique(&config, &mut context);
    check_references(&config.listeners, &config.clusters, &mut context);
    context.finish(config)
}

impl BootstrapConfig {
    fn from_proto(proto: &bootstrap::Bootstrap, context: &mut Context<'_>) -> BootstrapConfig {
        let root = FieldPath::root();
        let resources = proto.static_resources.clone().unwrap_or_default();
        let resources_path = root.field("static_resources");
        let listeners = resources.listeners.iter().enumerate();
        let clusters = resources.clusters.iter().enumerate();
        // Listeners and clusters refer to them.
        let secrets = Secret::register_all(&resources.secrets, &resources_path, context);
        let runtime = proto.layered_runtime.as_ref();
        let stats = proto.stats_config.as_ref();
        BootstrapConfig {
            secrets,
            node: proto.node.as_ref().map(Node::from_proto).unwrap_or_default(),
            listeners: listeners
                .map(|(i, listener)| {
                    let path = resources_path.element("listeners", i);
                    Arc::new(Listener::from_proto(listener, &path, context))
                })
                .collect(),
            clusters: clusters
                .map(|(i, cluster)| {
                    let path = resources_path.element("clusters", i);
                    Arc::new(Cluster::from_proto(cluster, &path, context))
                })
                .collect(),
            dynamic_resources: DynamicResources::from_proto(
                &proto.dynamic_resources,
                &root.field("dynamic_resources"),
                context,
            ),
            admin: proto.admin.as_ref().map(|admin| Admin::from_proto(admin, &root.field("admin"), context)),
            outlier_event_log_path: proto
                .cluster_manager
                .as_ref()
                .and_then(|manager| manager.outlier_detection.as_ref())
                .map(|detection| detection.event_log_path.clone())
                .unwrap_or_default(),
            runtime: runtime
                .map(|runtime| Runtime::from_proto(runtime, &root.field("layered_runtime"), context))
                .unwrap_or_default(),
            stats: stats
                .map(|stats| StatsConfig::from_proto(stats, &root.field("stats_config"), context))
                .unwrap_or_default(),
            stats_flush_interval: stats_flush_interval(proto, &root, context),
            application_log_format: log_format(&proto.application_log_config, &root, context),
        }
    }
}

fn stats_flush_interval(
    proto: &bootstrap::Bootstrap,
    root: &FieldPath,
    context: &mut Context<'_>,
) -> Duration {
    let path = root.field("stats_flush_interval");
    if proto.stats_flush_interval.is_some() && proto.stats_flush.is_some() {
        context.error(&path, "only one of stats_flush_interval and stats_flush_on_admin may be set");
    }
    context.duration_or(&proto.stats_flush_interval, DEFAULT_STATS_FLUSH_INTERVAL, &path)
}

fn log_format(
    proto: &Option<bootstrap::bootstrap::ApplicationLogConfig>,
    root: &FieldPath,
    context: &mut Context<'_>,
) -> Option<String> {
    use bootstrap::bootstrap::application_log_config::log_format::LogFormat;
    match proto.as_ref()?.log_format.as_ref()?.log_format.as_ref()? {
        LogFormat::TextFormat(format) => Some(format.clone()),
        LogFormat::JsonFormat(_) => {
            let path = root.field("application_log_config").field("log_format").field("json_format");
            context.error(&path, "JSON process logs are not implemented yet");
            None
        }
    }
}

impl DynamicResources {
    fn from_proto(
        proto: &Option<bootstrap::bootstrap::DynamicResources>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> DynamicResources {
        let Some(proto) = proto else { return DynamicResources::default() };
        let mut source = |source: &Option<core::ConfigSource>, field| {
            let source = source.as_ref()?;
            Some(ConfigSource::from_proto(source, &path.field(field), context))
        };
        DynamicResources {
            lds: source(&proto.lds_config, "lds_config"),
            cds: source(&proto.cds_config, "cds_config"),
        }
    }
}

impl Node {
    fn from_proto(proto: &core::Node) -> Node {
        Node {
            id: proto.id.clone(),
            cluster: proto.cluster.clone(),
            locality: proto.locality.as_ref().map(Locality::from).unwrap_or_default(),
            metadata: proto.metadata.as_ref().map(struct_to_json).unwrap_or_default(),
        }
    }
}

impl Admin {
    fn from_proto(proto: &bootstrap::Admin, path: &FieldPath, context: &mut Context<'_>) -> Admin {
        let mut access_log = AccessLog::list(&proto.access_log, path, "access_log", context);
        if !proto.access_log_path.is_empty() {
            let target = AccessLogTarget::File(proto.access_log_path.clone());
            access_log.push(AccessLog {
                name: "envoy.access_loggers.file".to_owned(),
                filter: None,
                sink: AccessLogSink::Lines { target, format: None },
            });
        }
        let address = proto.address.as_ref();
        Admin {
            address: address.map(|address| {
                Address::from_proto_without_name(address, &path.field("address"), None, context)
            }),
            socket_options: SocketOption::list(&proto.socket_options, path, "socket_options", context),
            access_log,
            allow_paths: StringMatcher::list(&proto.allow_paths, path, "allow_paths", context),
        }
    }
}

/// Names of clusters and listeners, and addresses of listeners, may stand only once.
fn check_unique(config: &BootstrapConfig, context: &mut Context<'_>) {
    let mut seen = HashSet::new();
    for cluster in &config.clusters {
        if !seen.insert(cluster.name.as_str()) {
            context.error(&cluster.path.field("name"), format!("duplicate cluster '{}'", cluster.name));
        }
    }
    let mut seen = HashSet::new();
    for listener in &config.listeners {
        if !seen.insert(listener.name.as_str()) {
            context.error(&listener.path.field("name"), format!("duplicate listener '{}'", listener.name));
        }
    }
    let mut seen = HashSet::new();
    for listener in config.listeners.iter().filter(|listener| listener.bind_to_port) {
        for address in &listener.addresses {
            if address.address.port() != Some(0) && !seen.insert(&address.address) {
                let message = format!(
                    "listener '{}' has the address '{}' that an earlier listener has",
                    listener.name, address.address
                );
                context.error(&listener.path.field("address"), message);
            }
        }
    }
}
