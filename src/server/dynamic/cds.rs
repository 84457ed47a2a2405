//! Clusters: those of the bootstrap, and those that come and go with a file
//! (`envoy.config.cluster.v3.Cluster`). A cluster that changes serves as it was until the new one knows its
//! hosts.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use crate::api::{self, ConfigError};
use crate::config::{Cluster, ConfigSource, FieldPath};
use crate::log_warn;
use crate::stats::stats_group;
use crate::upstream::{ClusterError, WarmingCluster};
use crate::xds::{
    self, FetchState, FileSubscription, Subscriber, SubscriptionStats, UpdateError, WatchError, resources,
};

use super::dump::ClusterDump;
use super::{KeptContexts, Resource, Secrets, Surroundings, eds, unix_now};

stats_group! {
    /// `cluster_manager.cds.`: what is counted beside the subscription itself.
    struct ReloadStats {
        counters: [config_reload],
        gauges: [config_reload_time_ms],
    }
}

/// All clusters of the process.
pub struct Clusters {
    around: Rc<Surroundings>,
    secrets: Rc<Secrets>,
    statics: RefCell<Vec<StaticCluster>>,
    dynamic: RefCell<BTreeMap<String, DynamicCluster>>,
    subscription: RefCell<Option<FileSubscription>>,
    reloads: Cell<ReloadStats>,
    own: Weak<Clusters>,
}

struct StaticCluster {
    config: Arc<Cluster>,
    context: KeptContexts,
    eds: Option<FileSubscription>,
}

#[derive(Default)]
struct DynamicCluster {
    active: Option<Version>,
    warming: Option<(Version, WarmingCluster)>,
}

/// A cluster as an update brought it.
struct Version {
    config: Arc<Cluster>,
    resource: Rc<Resource>,
    /// Its TLS context, if that follows discovered secrets.
    _context: KeptContexts,
    _eds: Option<FileSubscription>,
}

impl Clusters {
    /// No clusters yet.
    pub fn new(around: &Rc<Surroundings>, secrets: &Rc<Secrets>) -> Rc<Clusters> {
        Rc::new_cyclic(|own| Clusters {
            around: Rc::clone(around),
            secrets: Rc::clone(secrets),
            statics: RefCell::default(),
            dynamic: RefCell::default(),
            subscription: RefCell::default(),
            reloads: Cell::default(),
            own: Weak::clone(own),
        })
    }

    /// Adds a cluster of the bootstrap. Workers know it at once.
    ///
    /// # Errors
    /// If it cannot be, or the file with its hosts cannot be watched.
    pub fn add_static(&self, cluster: &Arc<Cluster>) -> Result<(), AddError> {
        let endpoints = self.around.clusters.set(Arc::clone(cluster), self.around.runtime())?;
        let eds = eds::subscribe(&self.around, cluster, endpoints)?;
        let info = self.around.clusters.info(&cluster.name);
        let context = info.map(|info| self.secrets.keep_cluster(&info)).transpose()?.unwrap_or_default();
        self.statics.borrow_mut().push(StaticCluster { config: Arc::clone(cluster), context, eds });
        Ok(())
    }

    /// Subscribes to clusters.
    ///
    /// # Errors
    /// If the file cannot be watched.
    pub fn subscribe(&self, source: &ConfigSource) -> Result<(), WatchError> {
        let Some(own) = self.own.upgrade() else { return Ok(()) };
        let scope = self.around.registry.scope();
        let stats = SubscriptionStats::register(&scope, "cluster_manager.cds.");
        self.reloads.set(ReloadStats::register(&scope, "cluster_manager.cds."));
        let subscription = FileSubscription::start(source, stats, &self.around.watcher()?, own)?;
        self.subscription.replace(Some(subscription));
        Ok(())
    }

    /// Whether the first clusters have come and know their hosts, or are not waited for.
    pub fn is_ready(&self) -> bool {
        self.awaited().is_empty()
    }

    /// What start-up waits for.
    pub fn awaited(&self) -> Vec<String> {
        let is_waiting = |it: &FileSubscription| it.state() == FetchState::Waiting;
        let cds = self.subscription.borrow().as_ref().is_some_and(is_waiting).then(|| "cds".to_owned());
        let statics = self.statics.borrow();
        let statics = statics
            .iter()
            .filter(|cluster| cluster.config.wait_for_warm_on_init)
            .filter(|cluster| !cluster.context.is_ready() || cluster.eds.as_ref().is_some_and(is_waiting));
        let dynamic = self.dynamic.borrow();
        let dynamic = dynamic.iter().filter(|(_, cluster)| {
            let warming = cluster.warming.as_ref();
            warming.is_some_and(|(version, _)| version.config.wait_for_warm_on_init)
        });
        let names = statics.map(|cluster| &cluster.config.name).chain(dynamic.map(|(name, _)| name)).cloned();
        cds.into_iter().chain(names).collect()
    }

    /// All clusters, in the newest version of each, even if it does not know its hosts yet.
    pub fn configs(&self) -> Vec<Arc<Cluster>> {
        let statics = self.statics.borrow();
        let statics = statics.iter().map(|cluster| &cluster.config);
        let dynamic = self.dynamic.borrow();
        let dynamic = dynamic.values().filter_map(DynamicCluster::newest).map(|version| &version.config);
        statics.chain(dynamic).cloned().collect()
    }

    /// Whether the cluster came with an update.
    pub fn is_dynamic(&self, name: &str) -> bool {
        self.dynamic.borrow().contains_key(name)
    }

    /// What `/config_dump` shows.
    pub fn dump(&self) -> ClusterDump {
        let dynamic = self.dynamic.borrow();
        let subscription = self.subscription.borrow();
        let active = dynamic.values().filter_map(|cluster| cluster.active.as_ref());
        let warming = dynamic.values().filter_map(|cluster| Some(&cluster.warming.as_ref()?.0));
        ClusterDump {
            version: subscription.as_ref().map(FileSubscription::version).unwrap_or_default(),
            active: active.map(|version| Rc::clone(&version.resource)).collect(),
            warming: warming.map(|version| Rc::clone(&version.resource)).collect(),
            rejected: subscription.as_ref().and_then(FileSubscription::rejected),
        }
    }

    /// The clusters of an update that are not as they were.
    fn changed(&self, response: &api::LoadedResponse) -> Result<Update, Vec<ConfigError>> {
        let mut update = Update::default();
        let mut context = self.around.conversion();
        for resource in &response.resources {
            let name = &resource.name;
            if self.statics.borrow().iter().any(|cluster| cluster.config.name == *name) {
                log_warn!(Upstream, "cds: cluster '{name}' is one of the bootstrap and stays as it is");
                continue;
            }
            if !update.names.insert(name.clone()) {
                let path = FieldPath(resource.path.clone()).field("name");
                context.error(&path, format!("duplicate cluster {name} found"));
                continue;
            }
            let json = api::to_json(&resource.message);
            let is_same =
                |known: &DynamicCluster| known.newest().is_some_and(|version| version.resource.json == json);
            if self.dynamic.borrow().get(name).is_some_and(is_same) {
                continue;
            }
            let cluster = resources::cluster(resource, &mut context);
            let resource = Resource { version: response.version.clone(), json, updated: unix_now() };
            update.changed.push((Arc::new(cluster), Rc::new(resource)));
        }
        context.finish(update)
    }

    /// Makes the clusters that an update changes. They begin to look for their hosts.
    fn prepare(&self, update: Update) -> Result<(HashSet<String>, Vec<Prepared>), Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut prepared = Vec::new();
        for (config, resource) in update.changed {
            match self.around.clusters.prepare(Arc::clone(&config), self.around.runtime()) {
                Ok(warming) => prepared.push(Prepared { config, resource, warming }),
                Err(ClusterError::HealthCheck(more)) => errors.extend(more),
                Err(error) => errors.push(ConfigError::new(config.path.as_str(), error.to_string())),
            }
        }
        if errors.is_empty() { Ok((update.names, prepared)) } else { Err(errors) }
    }

    /// Has a cluster serve once it knows its hosts.
    fn warm(&self, prepared: Prepared) -> Result<(), WatchError> {
        let Prepared { config: cluster, resource, warming } = prepared;
        let eds = eds::subscribe(&self.around, &cluster, warming.endpoints())?;
        let context = self.secrets.keep_cluster(warming.info())?;
        warming.count();
        let warmed = warming.warmed();
        let found = context.ready();
        let is_warm = warming.is_warm() && context.is_ready();
        let version = Version {
            config: Arc::clone(&cluster),
            resource: Rc::clone(&resource),
            _context: context,
            _eds: eds,
        };
        self.dynamic.borrow_mut().entry(cluster.name.clone()).or_default().warming = Some((version, warming));
        if is_warm {
            self.activate(&cluster.name, &resource);
            return Ok(());
        }
        let (own, name) = (Weak::clone(&self.own), cluster.name.clone());
        tokio::task::spawn_local(async move {
            warmed.await;
            found.await;
            if let Some(own) = own.upgrade() {
                own.activate(&name, &resource);
                own.around.progress.notify_one();
            }
        });
        Ok(())
    }

    /// Has a cluster serve that knows its hosts now, unless another update has come meanwhile.
    fn activate(&self, name: &str, resource: &Rc<Resource>) {
        let mut dynamic = self.dynamic.borrow_mut();
        let Some(cluster) = dynamic.get_mut(name) else { return };
        let is_meant = |(version, _): &mut (Version, _)| Rc::ptr_eq(&version.resource, resource);
        if let Some((version, warming)) = cluster.warming.take_if(is_meant) {
            self.around.clusters.activate(warming);
            cluster.active = Some(version);
        }
    }

    fn remove(&self, name: &str) {
        let removed = self.dynamic.borrow_mut().remove(name);
        if removed.is_some_and(|cluster| cluster.active.is_some()) {
            self.around.clusters.remove(name);
        }
    }
}

impl DynamicCluster {
    fn newest(&self) -> Option<&Version> {
        self.warming.as_ref().map(|(version, _)| version).or(self.active.as_ref())
    }
}

/// Why a cluster of the bootstrap cannot be.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It is wrong.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The file with its hosts cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// A cluster that an update brings, before the update is in force.
struct Prepared {
    config: Arc<Cluster>,
    resource: Rc<Resource>,
    warming: WarmingCluster,
}

/// What an update changes.
#[derive(Default)]
struct Update {
    /// All names in it.
    names: HashSet<String>,
    changed: Vec<(Arc<Cluster>, Rc<Resource>)>,
}

impl Subscriber for Clusters {
    fn name(&self) -> String {
        "cds".to_owned()
    }

    fn update(&self, path: &Path) -> Result<String, UpdateError> {
        let began = Instant::now();
        let response = xds::load(path, resources::CLUSTER)?;
        let prepared = self.changed(&response).and_then(|update| self.prepare(update));
        let (names, prepared) = prepared.map_err(|errors| UpdateError::refused(&response, errors))?;
        let has_changed = !prepared.is_empty();
        let mut not_applied = BTreeMap::new();
        for cluster in prepared {
            let name = cluster.config.name.clone();
            if let Err(error) = self.warm(cluster) {
                let details = format!("{name}: {error}");
                not_applied.insert(name, details);
            }
        }
        let known: Vec<String> = self.dynamic.borrow().keys().cloned().collect();
        let gone: Vec<_> = known.iter().filter(|name| !names.contains(*name)).collect();
        gone.iter().for_each(|name| self.remove(name));
        // As Envoy: an update that only removes clusters is none.
        if has_changed {
            self.reloads.get().config_reload.inc();
            self.reloads.get().config_reload_time_ms.set(unix_now().as_nanos() / 1_000_000);
        }
        self.around.ordered(began);
        if not_applied.is_empty() {
            return Ok(response.version);
        }
        Err(UpdateError::NotApplied { version: response.version, details: not_applied })
    }

    fn give_up(&self) {
        self.around.progress.notify_one();
    }
}
