//! The control thread: starts workers, gives them clusters and listeners, serves the admin page,
//! follows signals, and ends the process in good order.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::access_log::{AccessLogManager, AccessLogOptions};
use crate::admin::{
    AdminListener, AdminOptions, AdminServer, DrainRequest, ServerState as AdminServerState,
    write_address_path,
};
use crate::api::Diagnostics;
use crate::base::log;
use crate::config::BootstrapConfig;
use crate::filters::ServerState;
use crate::io::{self, DriverCounters, Mailbox, Probed};
use crate::listener::to_io_address;
use crate::stats::groups::{FilesystemStats, ListenerManagerStats, ServerStats, WorkersStats};
use crate::stats::{Registry, install_shard};
use crate::upstream::discovery::SystemResolver;
use crate::upstream::{ClusterCommand, ClusterControl};
use crate::{log_error, log_info, log_warn};

use super::admin_state::{AdminHandle, Order, Process};
use super::command::{Command, Report};
use super::configuration::Configuration;
use super::dynamic::{Dynamic, Propagation, Surroundings, unix_now};
use super::event_logs::LoggedEvents;
use super::listener_manager::Candidate;
use super::retired::Retired;
use super::signals::{SignalOrder, Signals};
use super::startup::{failed, refused};
use super::stats_options::stats_options;
use super::worker::{self, WorkerSetup};
use super::workers::{ClusterPublisher, WorkerHandles};

/// How long listeners wait for the first resolution of all clusters' names.
const CLUSTER_INIT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the writer of access logs may take at the end.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Statistics are not flushed more often than this.
const MIN_STATS_FLUSH_INTERVAL: Duration = Duration::from_millis(1);
/// How long a worker may take to end once it was told to.
const WORKER_EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the command line says about serving.
pub struct Settings {
    /// Number of workers; none takes one for each CPU allowed.
    pub concurrency: Option<usize>,
    /// Time for connections to end when the process does.
    pub drain_time: Duration,
    /// File for the admin server's address.
    pub admin_address_path: Option<PathBuf>,
    /// How long access-log lines may wait.
    pub access_log_flush_interval: Duration,
    /// How access-log lines are buffered.
    pub access_logs: AccessLogOptions,
    /// The flags, as `/server_info` shows them.
    pub command_line: Map<String, Value>,
    /// Ends the process in good order when notified.
    pub stop: Arc<Notify>,
}

/// Why the process ends with an error. Printed to the operator.
#[derive(Debug)]
enum Fatal {
    /// Something failed.
    Failed(String),
    /// The configuration is refused.
    Refused(Diagnostics),
}

impl Fatal {
    fn from(error: impl std::fmt::Display) -> Fatal {
        Fatal::Failed(error.to_string())
    }
}

/// Serves `configuration` until the process is told to end.
pub fn run(configuration: Configuration, settings: Settings, driver: Probed) -> ExitCode {
    let registry = Registry::with_options(stats_options(&configuration.bootstrap.stats));
    install_shard(registry.new_shard());
    let filesystem = FilesystemStats::register(&registry, "filesystem.");
    let access_logs = match AccessLogManager::start(settings.access_logs, filesystem) {
        Ok(access_logs) => access_logs,
        Err(error) => return failed(&error.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the control thread cannot start: {error}")),
    };
    let control = Control { registry, access_logs, settings, driver };
    let result = LocalSet::new().block_on(&runtime, control.serve(configuration));
    // Blocking look-ups of names may still run; nobody waits for their answers.
    runtime.shutdown_timeout(Duration::ZERO);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fatal::Failed(reason)) => failed(&reason),
        Err(Fatal::Refused(diagnostics)) => refused(&diagnostics),
    }
}

struct Control {
    registry: Registry,
    access_logs: AccessLogManager,
    settings: Settings,
    driver: Probed,
}

/// The workers, seen from the control thread.
struct Workers {
    handles: WorkerHandles,
    threads: Vec<std::thread::JoinHandle<()>>,
    reports: UnboundedReceiver<Report>,
    running: usize,
}

impl Control {
    async fn serve(self, configuration: Configuration) -> Result<(), Fatal> {
        let started = Instant::now();
        let mut signals = Signals::listen().map_err(Fatal::from)?;
        let cpus = worker_cpus(self.settings.concurrency);
        let (senders, mailboxes): (Vec<_>, Vec<_>) = cpus.iter().map(|_| io::mailbox()).unzip();
        let handles = WorkerHandles::new(senders);
        let bootstrap = &configuration.bootstrap;
        let server = Arc::new(ServerState::new(bootstrap.node.clone(), bootstrap.runtime.clone()));
        let worker_stats = WorkersStats::register(&self.registry, "ringway.");
        let dynamic = self.dynamic(&handles, &server, worker_stats, bootstrap)?;
        self.add_listeners(&configuration, &dynamic)?;
        let admin_listener = bind_admin(&configuration)?;
        let counters: Vec<Arc<DriverCounters>> = cpus.iter().map(|_| Arc::default()).collect();
        let mut workers = self.start_workers(&cpus, handles, mailboxes, &server, worker_stats, &counters)?;
        let (orders, mut ordered) = unbounded_channel();
        let process = Rc::new(Process {
            server: Arc::clone(&server),
            driver: self.driver.kind,
            driver_fallback: self.driver.fallback_reason.clone(),
            concurrency: cpus.len(),
            command_line: self.settings.command_line.clone(),
            started,
            state: Cell::new(AdminServerState::PreInitializing),
            dynamic,
            configured: unix_now(),
            stats: ServerStats::register(&self.registry, "server."),
            worker_stats,
            raised: RefCell::default(),
            counters,
            orders,
            configuration,
        });
        self.start_admin(admin_listener, &process)?;
        log_info!(
            Main,
            "{} workers on the {} driver; waiting for clusters",
            process.concurrency,
            process.driver.name()
        );
        tokio::select! {
            initialized = initialize(&process) => initialized?,
            () = end_signal(&mut signals) => return self.exit(workers, &process.dynamic, &mut signals).await,
        }
        tokio::task::spawn_local({
            let process = Rc::clone(&process);
            async move { process.dynamic.keep_up().await }
        });
        process.dynamic.around.propagation.measure();
        process.state.set(AdminServerState::Live);
        log_info!(Main, "serving");
        let result = self.follow_orders(&mut signals, &mut ordered, &mut workers, &process).await;
        server.set_draining();
        let ended = self.exit(workers, &process.dynamic, &mut signals).await;
        result.and(ended)
    }

    /// All that can change while the process serves; nothing of it is there yet.
    fn dynamic(
        &self,
        workers: &WorkerHandles,
        server: &Arc<ServerState>,
        worker_stats: WorkersStats,
        bootstrap: &BootstrapConfig,
    ) -> Result<Dynamic, Fatal> {
        let retired = Retired::default();
        let resolver = Arc::new(SystemResolver::new());
        let publisher = ClusterPublisher::new(workers.clone(), retired.clone());
        let publish = move |command: ClusterCommand| publisher.publish(command);
        let clusters = ClusterControl::new(&self.registry, workers.count(), resolver, random_seed(), publish)
            .log_events(Arc::new(LoggedEvents(self.access_logs.clone())), &bootstrap.outlier_event_log_path)
            .map_err(Fatal::from)?;
        let around = Surroundings::new(
            workers.clone(),
            &self.registry,
            &self.access_logs,
            server,
            retired,
            Rc::new(clusters),
            Propagation::new(worker_stats),
        )
        .with_secrets(&bootstrap.secrets);
        let stats = ListenerManagerStats::register(&self.registry, "listener_manager.");
        Ok(Dynamic::new(around, stats, self.settings.drain_time))
    }

    /// Compiles and binds the listeners of the bootstrap.
    fn add_listeners(&self, configuration: &Configuration, dynamic: &Dynamic) -> Result<(), Fatal> {
        let compiled = configuration.compile_with(&self.registry, Some(&self.access_logs), &*dynamic.routes);
        for (compiled, slots) in compiled.map_err(Fatal::Refused)? {
            let candidate = Candidate { compiled, slots, resource: None, is_in_place: false };
            let contexts = dynamic.secrets.keep_listener(&candidate.compiled).map_err(Fatal::from)?;
            dynamic.listeners.set(candidate, contexts).map_err(Fatal::from)?;
        }
        Ok(())
    }

    fn start_workers(
        &self,
        cpus: &[Option<usize>],
        handles: WorkerHandles,
        mailboxes: Vec<Mailbox<Command>>,
        server: &Arc<ServerState>,
        stats: WorkersStats,
        counters: &[Arc<DriverCounters>],
    ) -> Result<Workers, Fatal> {
        let (report, reports): (UnboundedSender<Report>, _) = unbounded_channel();
        let mut workers = Workers { handles, threads: Vec::new(), reports, running: 0 };
        for (index, ((cpu, mailbox), counters)) in cpus.iter().zip(mailboxes).zip(counters).enumerate() {
            let report = report.clone();
            let setup = WorkerSetup {
                index,
                cpu: *cpu,
                driver: self.driver.kind,
                seed: random_seed(),
                registry: self.registry.clone(),
                stats,
                server: Arc::clone(server),
                access_log_flush_interval: self.settings.access_log_flush_interval,
                counters: Arc::clone(counters),
                // The control loop may have ended already; then nobody needs the report.
                report: Arc::new(move |what| drop(report.send(what))),
            };
            workers.threads.push(worker::start(setup, mailbox).map_err(Fatal::from)?);
            workers.running += 1;
        }
        Ok(workers)
    }

    fn start_admin(&self, listener: Option<AdminListener>, process: &Rc<Process>) -> Result<(), Fatal> {
        let Some(listener) = listener else { return Ok(()) };
        if let Some(path) = &self.settings.admin_address_path {
            write_address_path(path, listener.address()).map_err(Fatal::from)?;
        }
        log_info!(Admin, "admin address: {}", listener.address());
        let allow_paths = process
            .configuration
            .bootstrap
            .admin
            .as_ref()
            .map(|admin| admin.allow_paths.clone())
            .unwrap_or_default();
        let options = AdminOptions { allow_paths, ..AdminOptions::default() };
        let server =
            AdminServer::new(Rc::new(AdminHandle(Rc::clone(process))), self.registry.clone(), options);
        tokio::task::spawn_local(async move { server.serve(listener).await });
        Ok(())
    }

    /// Serves until the process is told to end, or a worker died.
    async fn follow_orders(
        &self,
        signals: &mut Signals,
        orders: &mut UnboundedReceiver<Order>,
        workers: &mut Workers,
        process: &Process,
    ) -> Result<(), Fatal> {
        let flush_interval =
            process.configuration.bootstrap.stats_flush_interval.max(MIN_STATS_FLUSH_INTERVAL);
        let mut flush = tokio::time::interval(flush_interval);
        loop {
            tokio::select! {
                _ = flush.tick() => self.registry.end_interval(),
                signal = signals.next() => match signal {
                    SignalOrder::End => return Ok(()),
                    SignalOrder::ReopenLogs => self.reopen_logs(),
                },
                () = self.settings.stop.notified() => return Ok(()),
                order = orders.recv() => match order {
                    Some(Order::Drain(request)) => drain_listeners(process, request),
                    Some(Order::ReopenLogs) => self.reopen_logs(),
                    Some(Order::Quit) | None => return Ok(()),
                },
                report = workers.reports.recv() => if let Some(report) = report {
                    match report {
                        Report::Acknowledged { order } => process.dynamic.around.propagation.acknowledged(order),
                        Report::Ended { worker } => {
                            return Err(Fatal::Failed(format!("worker {worker} ended by itself")));
                        }
                        Report::Failed { worker, reason } => {
                            return Err(Fatal::Failed(format!("worker {worker}: {reason}")));
                        }
                    }
                },
            }
        }
    }

    fn reopen_logs(&self) {
        self.access_logs.reopen_all();
        if let Err(error) = log::reopen() {
            log_error!(Main, "the log cannot be reopened: {error}");
        }
    }

    /// Lets what is in flight finish, at most for the drain time. A second signal ends it at once.
    async fn exit(self, mut workers: Workers, dynamic: &Dynamic, signals: &mut Signals) -> Result<(), Fatal> {
        log_info!(Main, "ending: connections in flight have {:?}", self.settings.drain_time);
        dynamic.listeners.stop(false);
        workers.handles.tell(|_| Command::DrainConnections { inbound_only: false });
        workers.handles.tell(|_| Command::ExitWhenIdle);
        let drained = tokio::select! {
            () = workers.ended() => true,
            () = tokio::time::sleep(self.settings.drain_time) => false,
            () = end_signal(signals) => false,
        };
        if !drained {
            log_warn!(Main, "ending with connections open");
            workers.handles.tell(|_| Command::Exit);
            // A worker that does not answer must not keep the process.
            let _ = tokio::time::timeout(WORKER_EXIT_TIMEOUT, workers.ended()).await;
        }
        if workers.running == 0 {
            workers.threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        self.access_logs.shutdown(LOG_FLUSH_TIMEOUT).map_err(Fatal::from)
    }
}

impl Workers {
    /// Completes when all workers have ended.
    async fn ended(&mut self) {
        while self.running > 0 {
            match self.reports.recv().await {
                Some(Report::Acknowledged { .. }) => {}
                Some(Report::Ended { .. }) => self.running -= 1,
                Some(Report::Failed { worker, reason }) => {
                    log_error!(Main, "worker {worker}: {reason}");
                    self.running -= 1;
                }
                None => return,
            }
        }
    }
}

async fn end_signal(signals: &mut Signals) {
    while signals.next().await != SignalOrder::End {}
}

fn drain_listeners(process: &Process, request: DrainRequest) {
    let inbound_only = request.inbound_only;
    if request.graceful {
        process.dynamic.around.workers.tell(|_| Command::DrainConnections { inbound_only });
        if request.skip_exit {
            return;
        }
    }
    process.dynamic.listeners.stop(inbound_only);
}

fn bind_admin(configuration: &Configuration) -> Result<Option<AdminListener>, Fatal> {
    let admin = configuration.bootstrap.admin.as_ref();
    let Some(address) = admin.and_then(|admin| admin.address.as_ref()) else { return Ok(None) };
    let (address, mode) = to_io_address(address);
    let bound = AdminListener::bind(&address, mode.unwrap_or(0));
    bound
        .map(Some)
        .map_err(|error| Fatal::Failed(format!("the admin server cannot listen on {address}: {error}")))
}

/// Brings up clusters, then route tables and listeners, as far as they come in time.
async fn initialize(process: &Process) -> Result<(), Fatal> {
    let bootstrap = &process.configuration.bootstrap;
    let dynamic = &process.dynamic;
    for cluster in &bootstrap.clusters {
        let added = dynamic.clusters.add_static(cluster);
        added.map_err(|error| Fatal::Failed(format!("cluster '{}': {error}", cluster.name)))?;
    }
    let sources = &bootstrap.dynamic_resources;
    let (discovered, resolved) = tokio::join!(
        dynamic.initialize_clusters(sources),
        dynamic.around.clusters.ready(CLUSTER_INIT_TIMEOUT)
    );
    discovered.map_err(Fatal::from)?;
    if !resolved {
        log_warn!(
            Main,
            "not all cluster names were resolved within {CLUSTER_INIT_TIMEOUT:?}; serving without them"
        );
    }
    dynamic.initialize_listeners(sources).await.map_err(Fatal::from)
}

/// One CPU for each worker: the ones that this process may use, in turn. More workers than CPUs are
/// not pinned.
fn worker_cpus(concurrency: Option<usize>) -> Vec<Option<usize>> {
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let workers = concurrency.unwrap_or(allowed.len()).max(1);
    (0..workers)
        .map(|index| if workers <= allowed.len() { allowed.get(index).copied() } else { None })
        .collect()
}

/// A seed that differs from run to run.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
