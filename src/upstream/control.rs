//! The control thread's side of clusters: makes them from configuration, keeps their hosts up to date, tells
//! every change to the workers, and knows what `/clusters` shows. Carries no traffic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use health::Health;

use super::alarm::AlarmBell;
use super::cluster_info::ClusterInfo;
use super::cluster_manager::ClusterCommand;
use super::discovery::{DnsTarget, Refresh, Resolution, Resolver, Targets};
use super::event_log::{EventLog, EventLogs};
use super::host_set::{HostSet, HostShared, HostStatus, HostTemplate};
use super::outlier::{self, DetectorRates};
use crate::api::ConfigError;
use crate::base::rng::Rng;
use crate::config::Runtime;
use crate::config::cluster::{self as config, DiscoveryType, DnsOptions};
use crate::stats::groups::{ClusterManagerStats, ClusterMembershipStats};
use crate::stats::{Counter, Registry};

mod endpoints;
mod warming;

pub use endpoints::Endpoints;
pub use warming::WarmingCluster;

/// All clusters of the process. Used on the control thread, within its tokio runtime.
pub struct ClusterControl {
    registry: Registry,
    workers: usize,
    resolver: Arc<dyn Resolver>,
    publish: Arc<dyn Fn(ClusterCommand) + Send + Sync>,
    clusters: Mutex<Vec<Arc<Controlled>>>,
    stats: ClusterManagerStats,
    seed: u64,
    event_logs: Option<Arc<dyn EventLogs>>,
    outlier_log: Option<Arc<dyn EventLog>>,
}

/// Why a cluster cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A log of its events cannot be opened.
    #[error("event log: {0}")]
    EventLog(String),
    /// Its health checks are wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    HealthCheck(Vec<ConfigError>),
}

/// One cluster as `/clusters` shows it.
pub struct ClusterStatus {
    /// Configuration, statistics, circuit breakers.
    pub info: Arc<ClusterInfo>,
    /// What outlier detection found in its last sweep; none where it is off.
    pub outlier: Option<DetectorRates>,
    /// Its hosts.
    pub hosts: Vec<HostStatus>,
    /// Per cent by which healthy hosts are believed to do more than their share.
    pub overprovisioning_percent: u32,
}

struct Controlled {
    info: Arc<ClusterInfo>,
    membership: ClusterMembershipStats,
    publish: Arc<dyn Fn(ClusterCommand) + Send + Sync>,
    template: HostTemplate,
    health: Health,
    /// The workers know it.
    is_active: AtomicBool,
    cluster_updated: Counter,
    state: Mutex<State>,
    /// Names that were not resolved once, or the load assignment that has not come.
    unresolved: watch::Sender<usize>,
}

struct State {
    targets: Targets,
    hosts: Arc<HostSet>,
    tasks: Vec<AbortHandle>,
}

impl ClusterControl {
    /// No clusters yet. `workers` is the number of rows of per-host counters; `publish` gives a command to
    /// every worker; `seed` makes jitter.
    pub fn new(
        registry: &Registry,
        workers: usize,
        resolver: Arc<dyn Resolver>,
        seed: u64,
        publish: impl Fn(ClusterCommand) + Send + Sync + 'static,
    ) -> ClusterControl {
        ClusterControl {
            registry: registry.clone(),
            workers,
            resolver,
            publish: Arc::new(publish),
            clusters: Mutex::default(),
            stats: ClusterManagerStats::register(registry, "cluster_manager."),
            seed,
            event_logs: None,
            outlier_log: None,
        }
    }

    /// Writes events of hosts to `logs` from now on; ejections to the one at `outlier_log_path`, unless that is
    /// empty.
    ///
    /// # Errors
    /// If that cannot be opened.
    pub fn log_events(
        mut self,
        logs: Arc<dyn EventLogs>,
        outlier_log_path: &str,
    ) -> Result<ClusterControl, ClusterError> {
        if !outlier_log_path.is_empty() {
            self.outlier_log = Some(logs.open(outlier_log_path).map_err(ClusterError::EventLog)?);
        }
        self.event_logs = Some(logs);
        Ok(self)
    }

    /// Adds a cluster, or replaces the one of the same name. Its known hosts are published at once; names are
    /// resolved and hosts are checked from now on.
    ///
    /// # Errors
    /// If it cannot be; nothing is changed then.
    pub fn set(&self, config: Arc<config::Cluster>, runtime: &Runtime) -> Result<Endpoints, ClusterError> {
        let cluster = self.prepare(config, runtime)?;
        cluster.count();
        let endpoints = cluster.endpoints();
        self.activate(cluster);
        Ok(endpoints)
    }

    /// Makes a cluster and begins to find and to check its hosts. Workers do not know it before it is activated.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn prepare(
        &self,
        config: Arc<config::Cluster>,
        runtime: &Runtime,
    ) -> Result<WarmingCluster, ClusterError> {
        let scope = self.registry.scope();
        let prefix = format!("cluster.{}.", config.stat_name());
        scope.set_number(&format!("{prefix}version"), 0);
        let targets = Targets::new(&config.load_assignment, &config.discovery);
        let names: Vec<_> = targets.names().collect();
        let membership = ClusterMembershipStats::register(&scope, &prefix);
        let dns = match &config.discovery {
            DiscoveryType::Static | DiscoveryType::Eds(_) => None,
            DiscoveryType::StrictDns(options) | DiscoveryType::LogicalDns(options) => Some(options.clone()),
        };
        let unresolved = match &config.discovery {
            DiscoveryType::Static => 0,
            // The load assignment.
            DiscoveryType::Eds(_) => 1,
            DiscoveryType::StrictDns(_) | DiscoveryType::LogicalDns(_) => names.len(),
        };
        let (alarmed, mut alarms) = unbounded_channel();
        let bell = AlarmBell::new(move |host| {
            // Nobody listens any more once the cluster is gone.
            let _ = alarmed.send(host);
        });
        let template = host_template(&config, self.workers, runtime, bell);
        let hosts = targets.host_set(&HostSet::default(), &template);
        let info = Arc::new(ClusterInfo::new(config, runtime, &scope));
        let health = Health::new(health::Parts {
            info: Arc::clone(&info),
            source: &scope,
            prefix: &prefix,
            runtime,
            settings: template.outlier.as_deref(),
            check_logs: self.open_check_logs(&info.config)?,
            outlier_log: self.outlier_log.clone(),
            seed: self.seed,
        })?;
        let cluster = Arc::new(Controlled {
            info,
            membership,
            publish: Arc::clone(&self.publish),
            health,
            template,
            is_active: AtomicBool::new(false),
            cluster_updated: self.stats.cluster_updated,
            unresolved: watch::Sender::new(unresolved),
            state: Mutex::new(State { targets, hosts: Arc::default(), tasks: Vec::new() }),
        });
        cluster.health.report_to(&cluster);
        cluster.take_over(hosts);
        let is_new = !self.clusters().iter().any(|other| other.info.name == cluster.info.name);
        let mut tasks = Vec::new();
        if let Some(options) = dns {
            tasks.extend(names.into_iter().map(|name| self.keep_resolved(&cluster, name, options.clone())));
        }
        if cluster.health.is_on() {
            let alarmed = Arc::clone(&cluster);
            let answering = async move {
                while let Some(host) = alarms.recv().await {
                    alarmed.on_alarms(&host);
                }
            };
            tasks.push(tokio::spawn(answering).abort_handle());
            tasks.extend(cluster.keep_swept());
        }
        cluster.state().tasks = tasks;
        let count = if is_new { self.stats.cluster_added } else { self.stats.cluster_modified };
        Ok(WarmingCluster::new(cluster, self.stats.warming_clusters, count))
    }

    /// Tells the workers of a cluster that was prepared; it takes the place of the one of the same name.
    pub fn activate(&self, warming: WarmingCluster) {
        let cluster = warming.into_cluster();
        cluster.is_active.store(true, Ordering::Relaxed);
        let hosts = Arc::clone(&cluster.state().hosts);
        (self.publish)(ClusterCommand::Set { info: Arc::clone(&cluster.info), hosts });
        self.remove_from_list(&cluster.info.name);
        let mut clusters = self.clusters();
        clusters.push(cluster);
        self.stats.active_clusters.set(clusters.len() as u64);
    }

    fn open_check_logs(&self, config: &config::Cluster) -> Result<Vec<Arc<dyn EventLog>>, ClusterError> {
        let (Some(check), Some(logs)) = (&config.health_check, &self.event_logs) else {
            return Ok(Vec::new());
        };
        let paths = check.event_log_paths.iter();
        paths.map(|path| logs.open(path).map_err(ClusterError::EventLog)).collect()
    }

    /// Removes a cluster; false if there is none of that name.
    pub fn remove(&self, name: &str) -> bool {
        let was_there = self.remove_from_list(name);
        if was_there {
            self.stats.cluster_removed.inc();
            self.stats.active_clusters.set(self.clusters().len() as u64);
            (self.publish)(ClusterCommand::Remove { cluster: name.into() });
        }
        was_there
    }

    /// Completes when every name of every present cluster (but those without `wait_for_warm_on_init`) was
    /// resolved once, with whatever outcome, or after `at_most`, and those of type EDS were given hosts, or up; and then
    /// every host was checked once, with whatever outcome. True if all names were resolved.
    pub async fn ready(&self, at_most: Duration) -> bool {
        let mut clusters: Vec<_> = self.clusters().iter().map(Arc::clone).collect();
        clusters.retain(|cluster| cluster.info.config.wait_for_warm_on_init);
        let is_discovered =
            |cluster: &&Arc<Controlled>| matches!(cluster.info.config.discovery, DiscoveryType::Eds(_));
        let (discovered, named): (Vec<_>, Vec<_>) = clusters.iter().partition(is_discovered);
        let resolved = async {
            for cluster in named {
                cluster.resolved().await;
            }
        };
        let all_resolved = tokio::time::timeout(at_most, resolved).await.is_ok();
        for cluster in discovered {
            cluster.resolved().await;
        }
        for cluster in &clusters {
            cluster.health.first_round().await;
        }
        all_resolved
    }

    /// The commands that bring a worker without clusters up to date.
    pub fn commands(&self) -> Vec<ClusterCommand> {
        let of = |cluster: &Arc<Controlled>| ClusterCommand::Set {
            info: Arc::clone(&cluster.info),
            hosts: Arc::clone(&cluster.state().hosts),
        };
        self.clusters().iter().map(of).collect()
    }

    /// What `/clusters` shows, in the order in which clusters were added.
    pub fn statuses(&self) -> Vec<ClusterStatus> {
        self.clusters().iter().map(|cluster| cluster.status()).collect()
    }

    /// A cluster that workers know.
    pub fn info(&self, name: &str) -> Option<Arc<ClusterInfo>> {
        let clusters = self.clusters();
        let cluster = clusters.iter().find(|cluster| &*cluster.info.name == name)?;
        Some(Arc::clone(&cluster.info))
    }

    /// The hosts of a cluster now.
    pub fn hosts(&self, name: &str) -> Option<Arc<HostSet>> {
        let clusters = self.clusters();
        let cluster = clusters.iter().find(|cluster| &*cluster.info.name == name)?;
        Some(Arc::clone(&cluster.state().hosts))
    }

    /// Brings the gauges up to date that nobody maintains all the time (circuit breakers, membership). Call
    /// it before statistics are read.
    pub fn refresh_gauges(&self) {
        for cluster in self.clusters().iter() {
            cluster.info.refresh_breaker_gauges();
            let hosts = Arc::clone(&cluster.state().hosts);
            cluster.refresh_membership(&hosts);
            cluster.health.refresh_gauges();
        }
    }

    fn clusters(&self) -> MutexGuard<'_, Vec<Arc<Controlled>>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_from_list(&self, name: &str) -> bool {
        let mut clusters = self.clusters();
        let Some(position) = clusters.iter().position(|cluster| &*cluster.info.name == name) else {
            return false;
        };
        clusters.remove(position).stop();
        true
    }

    fn keep_resolved(
        &self,
        cluster: &Arc<Controlled>,
        target: DnsTarget,
        options: DnsOptions,
    ) -> AbortHandle {
        let (cluster, resolver) = (Arc::clone(cluster), Arc::clone(&self.resolver));
        let mut rng = Rng::from_seed(self.seed ^ target.index as u64);
        let resolving = async move {
            let family = options.lookup_family;
            let mut refresh = Refresh::new(options);
            let mut is_first = true;
            loop {
                cluster.membership.update_attempt.inc();
                let outcome = resolver.resolve(&target.name, family).await;
                match &outcome {
                    Ok(answer) => {
                        cluster.membership.update_success.inc();
                        let resolution = cluster.state().targets.resolved(target.index, answer);
                        cluster.on_resolution(resolution);
                    }
                    Err(_) => cluster.membership.update_failure.inc(),
                }
                if std::mem::take(&mut is_first) {
                    cluster.unresolved.send_modify(|unresolved| *unresolved = unresolved.saturating_sub(1));
                }
                tokio::time::sleep(refresh.pause_after(outcome.as_ref(), &mut rng)).await;
            }
        };
        tokio::spawn(resolving).abort_handle()
    }
}

impl Drop for ClusterControl {
    fn drop(&mut self) {
        self.clusters().drain(..).for_each(|cluster| cluster.stop());
    }
}

impl Controlled {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when every name was resolved once, or a load assignment has come or is not waited for any longer.
    fn resolved(&self) -> impl Future<Output = ()> + use<> {
        let mut wait = self.unresolved.subscribe();
        async move {
            // An error means that the cluster is gone.
            let _ = wait.wait_for(|unresolved| *unresolved == 0).await;
        }
    }

    fn on_resolution(&self, resolution: Resolution) {
        match resolution {
            Resolution::Unchanged => self.membership.update_no_rebuild.inc(),
            Resolution::Empty => self.membership.update_empty.inc(),
            Resolution::Changed => {
                let hosts = {
                    let state = self.state();
                    state.targets.host_set(&state.hosts, &self.template)
                };
                self.change_hosts(hosts);
            }
        }
    }

    /// Takes other hosts over, and tells workers that know the cluster.
    fn change_hosts(&self, hosts: Arc<HostSet>) {
        let update =
            ClusterCommand::UpdateHosts { cluster: Arc::clone(&self.info.name), hosts: Arc::clone(&hosts) };
        self.take_over(hosts);
        if self.is_active.load(Ordering::Relaxed) {
            self.cluster_updated.inc();
            (self.publish)(update);
        }
    }

    /// Leaves out a host that discovery has dropped before.
    fn remove_host(&self, host: &HostShared) {
        let hosts = self.state().hosts.without(host);
        self.change_hosts(hosts);
    }

    fn status(&self) -> ClusterStatus {
        let hosts = Arc::clone(&self.state().hosts);
        let configured = self.info.balancer.overprovisioning_percent;
        self.health.with_detector(|detector| ClusterStatus {
            info: Arc::clone(&self.info),
            outlier: detector.map(|detector| detector.rates()),
            overprovisioning_percent: hosts.overprovisioning_percent().unwrap_or(configured),
            hosts: hosts.statuses(detector).collect(),
        })
    }

    fn take_over(&self, hosts: Arc<HostSet>) {
        let before = std::mem::replace(&mut self.state().hosts, Arc::clone(&hosts));
        let added = hosts.count_not_in(&before);
        self.info.stats.endpoint_match.total_match_count.add(added);
        if added > 0 || before.count_not_in(&hosts) > 0 {
            self.membership.membership_change.inc();
        }
        self.refresh_membership(&hosts);
        self.health.update_hosts(&hosts);
    }

    fn refresh_membership(&self, hosts: &HostSet) {
        let counts = hosts.membership();
        self.membership.membership_total.set(counts.total);
        self.membership.membership_healthy.set(counts.healthy);
        self.membership.membership_degraded.set(counts.degraded);
        self.membership.membership_excluded.set(counts.excluded);
    }

    fn stop(&self) {
        self.state().tasks.drain(..).for_each(|task| task.abort());
    }
}

fn host_template(
    config: &config::Cluster,
    workers: usize,
    runtime: &Runtime,
    bell: AlarmBell,
) -> HostTemplate {
    let is_checked = config.health_check.is_some();
    let settings = config.outlier_detection.as_ref();
    HostTemplate {
        workers,
        is_checked,
        awaits_first_check: config.common_lb.ignore_new_hosts_until_first_hc
            && config.discovery != DiscoveryType::Static,
        outlives_discovery: is_checked && !config.ignore_health_on_host_removal,
        outlier: settings.map(|settings| Arc::new(outlier::in_force(settings, runtime))),
        bell: (is_checked || settings.is_some()).then_some(bell),
    }
}

mod health;

#[cfg(test)]
mod tests;
