//! Dynamic configuration on the control thread: who subscribes to what, and how an update that was read and
//! checked comes into force. An update is checked as a whole before anything of it is applied.

mod cds;
mod dump;
mod eds;
mod lds;
mod propagation;
mod rds;
mod secrets;
mod tls_user;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::sync::Notify;

use crate::access_log::AccessLogManager;
use crate::base::clock::UnixTime;
use crate::config::tls::Secret;
use crate::config::{Context, DynamicResources, Runtime};
use crate::filters::ServerState;
use crate::stats::Registry;
use crate::stats::groups::ListenerManagerStats;
use crate::upstream::ClusterControl;
use crate::xds::{FileWatcher, WatchError};

use super::configuration::read_external;
use super::listener_manager::ListenerManager;
use super::retired::Retired;
use super::workers::WorkerHandles;

pub use cds::Clusters;
pub use dump::{ListenerDump, RouteDump, SecretDump, set_list, timestamp};
pub use lds::Lds;
pub use propagation::Propagation;
pub use rds::RouteConfigs;
pub use secrets::{KeptContexts, Secrets};

/// What everything dynamic needs of the process.
pub struct Surroundings {
    /// The workers.
    pub workers: WorkerHandles,
    /// Where statistics are registered.
    pub registry: Registry,
    /// Opens access logs.
    pub access_logs: AccessLogManager,
    /// Switches and runtime values.
    pub server: Arc<ServerState>,
    /// What workers may still use.
    pub retired: Retired,
    /// The clusters' hosts.
    pub clusters: Rc<ClusterControl>,
    /// Told whenever something came into force, or is not waited for any longer.
    pub progress: Notify,
    /// How long updates take to reach the workers.
    pub propagation: Propagation,
    /// The bootstrap's secrets, which listeners and clusters may refer to.
    pub secrets: Vec<Arc<Secret>>,
    watcher: RefCell<Option<FileWatcher>>,
}

/// A resource that is in force, or is to be.
#[derive(Debug)]
pub struct Resource {
    /// The version of the response that brought it.
    pub version: String,
    /// Itself, without its type. Equal values mean that nothing changed.
    pub json: Value,
    /// When it came.
    pub updated: UnixTime,
}

/// All that can change while the process serves.
pub struct Dynamic {
    /// What all of it needs.
    pub around: Rc<Surroundings>,
    /// Clusters.
    pub clusters: Rc<Clusters>,
    /// Discovered route tables.
    pub routes: Rc<RouteConfigs>,
    /// Discovered secrets.
    pub secrets: Rc<Secrets>,
    /// Listeners.
    pub listeners: Rc<ListenerManager>,
    /// The subscription to listeners.
    pub lds: Rc<Lds>,
}

impl Dynamic {
    /// Nothing yet. Connections of listeners that change or go have `drain_time` to end.
    pub fn new(around: Surroundings, stats: ListenerManagerStats, drain_time: Duration) -> Dynamic {
        let around = Rc::new(around);
        let secrets = Secrets::new(&around);
        let clusters = Clusters::new(&around, &secrets);
        let routes = Rc::new(RouteConfigs::new(&around, &clusters));
        let listeners = ListenerManager::new(&around, &routes, stats, drain_time);
        let lds = Lds::new(&around, &clusters, &routes, &secrets, &listeners);
        Dynamic { around, clusters, routes, secrets, listeners, lds }
    }

    /// Subscribes to clusters, and waits until all clusters can be used, or are not waited for any longer.
    ///
    /// # Errors
    /// If a file cannot be watched.
    pub async fn initialize_clusters(&self, sources: &DynamicResources) -> Result<(), WatchError> {
        if let Some(source) = &sources.cds {
            self.clusters.subscribe(source)?;
        }
        self.until(|| self.clusters.is_ready()).await;
        Ok(())
    }

    /// Subscribes to listeners and route tables, waits until all listeners can serve, and has them serve.
    ///
    /// # Errors
    /// If a file cannot be watched.
    pub async fn initialize_listeners(&self, sources: &DynamicResources) -> Result<(), WatchError> {
        self.routes.start()?;
        if let Some(source) = &sources.lds {
            self.lds.subscribe(source)?;
        }
        self.until(|| self.lds.is_ready() && self.listeners.is_ready_to_start()).await;
        self.listeners.start();
        Ok(())
    }

    /// Has listeners serve when what they wait for comes, and frees what nobody uses; for ever.
    pub async fn keep_up(&self) {
        let settle = async {
            loop {
                self.around.progress.notified().await;
                self.listeners.settle();
            }
        };
        tokio::join!(settle, self.around.retired.sweep(|| self.routes.sweep()));
    }

    /// What is waited for, by who waits.
    pub fn awaited(&self) -> Vec<(String, Vec<String>)> {
        let mut awaited = Vec::new();
        let mut add = |who: &str, what: Vec<String>| {
            if !what.is_empty() {
                awaited.push((who.to_owned(), what));
            }
        };
        add("clusters", self.clusters.awaited());
        let lds = if self.lds.is_ready() { Vec::new() } else { vec!["lds".to_owned()] };
        add("listeners", lds);
        add("routes", self.routes.awaited());
        add("secrets", self.listeners.awaited_secrets());
        awaited
    }

    /// Completes when `is_done`, which is asked whenever something has come.
    async fn until(&self, is_done: impl Fn() -> bool) {
        while !is_done() {
            self.around.progress.notified().await;
        }
    }
}

impl Surroundings {
    /// Everything dynamic of one process.
    pub fn new(
        workers: WorkerHandles,
        registry: &Registry,
        access_logs: &AccessLogManager,
        server: &Arc<ServerState>,
        retired: Retired,
        clusters: Rc<ClusterControl>,
        propagation: Propagation,
    ) -> Surroundings {
        Surroundings {
            workers,
            registry: registry.clone(),
            access_logs: access_logs.clone(),
            server: Arc::clone(server),
            retired,
            clusters,
            progress: Notify::new(),
            propagation,
            secrets: Vec::new(),
            watcher: RefCell::default(),
        }
    }

    /// Lets listeners and clusters refer to these secrets.
    pub fn with_secrets(self, secrets: &[Arc<Secret>]) -> Surroundings {
        Surroundings { secrets: secrets.to_vec(), ..self }
    }

    /// The watcher of files; made when the first file is to be watched.
    fn watcher(&self) -> Result<FileWatcher, WatchError> {
        if let Some(watcher) = &*self.watcher.borrow() {
            return Ok(watcher.clone());
        }
        let started = FileWatcher::start();
        let watcher = started.map_err(|source| WatchError { path: "inotify".into(), source })?;
        self.watcher.replace(Some(watcher.clone()));
        Ok(watcher)
    }

    /// A conversion of listeners or clusters.
    fn conversion(&self) -> Context<'static> {
        Context::with_secrets(&read_external, self.secrets.clone())
    }

    /// Runtime values.
    fn runtime(&self) -> &Runtime {
        &self.server.runtime
    }

    /// An update that began to be read at `began` has been ordered of all workers.
    fn ordered(&self, began: Instant) {
        self.propagation.begin(&self.workers, began);
        self.progress.notify_one();
    }
}

/// The time of day.
pub fn unix_now() -> UnixTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}
