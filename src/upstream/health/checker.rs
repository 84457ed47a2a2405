//! The health checks of one cluster: a task for each host, which comes and goes with the host.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::clock;
use super::event::CheckedHost;
use super::http::{HttpCheck, HttpConnection};
use super::interval::Pauses;
use super::judge::CheckResult;
use super::socket::{CheckSocket, CheckTarget};
use super::state::{Failure, FailureType, HostState, Transition};
use super::tcp;
use crate::api::ConfigError;
use crate::base::rng::Rng;
use crate::config::Runtime;
use crate::config::cluster::{self as config, TcpHealthCheck};
use crate::log_debug;
use crate::stats::groups::HealthCheckStats;
use crate::upstream::cluster_info::ClusterInfo;
use crate::upstream::event_log::EventLog;
use crate::upstream::host_health::HealthFlags;
use crate::upstream::host_set::{HostEntry, HostSet, HostShared};

/// Called after each check, with what it made of the host and whether it succeeded.
type OnCheck = Box<dyn Fn(&Arc<HostShared>, Transition, bool) + Send + Sync>;

/// What a checker is made with.
pub struct CheckerOptions<'a> {
    /// How hosts are checked.
    pub config: config::HealthCheck,
    /// The cluster.
    pub info: Arc<ClusterInfo>,
    /// Its statistics `cluster.<name>.health_check.`.
    pub stats: HealthCheckStats,
    /// Overrides some of the configuration.
    pub runtime: &'a Runtime,
    /// Where events are written.
    pub logs: Vec<Arc<dyn EventLog>>,
    /// Makes jitter.
    pub seed: u64,
}

/// Checks the hosts of one cluster. Used on the control thread, within its tokio runtime.
pub struct HealthChecker {
    shared: Arc<Shared>,
    /// By the host's identity.
    sessions: Mutex<HashMap<usize, Session>>,
    /// What the gauges show: healthy and degraded hosts. One that was never set is not listed as used.
    shown: Mutex<(u64, u64)>,
}

struct Session {
    host: Arc<SessionHost>,
    task: AbortHandle,
}

/// A host under check.
struct SessionHost {
    entry: Mutex<HostEntry>,
    state: Mutex<HostState>,
}

struct Shared {
    config: config::HealthCheck,
    check: Check,
    info: Arc<ClusterInfo>,
    stats: HealthCheckStats,
    pauses: Pauses,
    logs: Vec<Arc<dyn EventLog>>,
    rng: Mutex<Rng>,
    on_check: OnceLock<OnCheck>,
    /// Hosts that were not checked yet.
    unchecked: watch::Sender<usize>,
}

enum Check {
    Http(Box<HttpCheck>),
    Tcp(TcpHealthCheck),
}

/// What a session keeps from one check to the next.
#[derive(Default)]
struct Connections {
    http: Option<HttpConnection>,
    tcp: Option<CheckSocket>,
}

impl HealthChecker {
    /// Checks nothing yet.
    ///
    /// # Errors
    /// Headers of the request that do not compile.
    pub fn new(options: CheckerOptions<'_>) -> Result<HealthChecker, Vec<ConfigError>> {
        let CheckerOptions { config, info, stats, runtime, logs, seed } = options;
        let check = match &config.checker {
            config::HealthChecker::Http(http) => {
                Check::Http(Box::new(HttpCheck::new(config::HttpHealthCheck::clone(http), runtime)?))
            }
            config::HealthChecker::Tcp(tcp) => Check::Tcp(tcp.clone()),
        };
        let shared = Shared {
            check,
            info,
            stats,
            pauses: Pauses::new(config.intervals, runtime),
            logs,
            rng: Mutex::new(Rng::from_seed(seed)),
            on_check: OnceLock::new(),
            unchecked: watch::Sender::new(0),
            config,
        };
        Ok(HealthChecker { shared: Arc::new(shared), sessions: Mutex::default(), shown: Mutex::default() })
    }

    /// Calls `on_check` after each check. Only the first call has an effect.
    pub fn report_to(&self, on_check: impl Fn(&Arc<HostShared>, Transition, bool) + Send + Sync + 'static) {
        let _ = self.shared.on_check.set(Box::new(on_check));
    }

    /// Begins to check hosts that are new, and ends to check those that are gone.
    pub fn update_hosts(&self, hosts: &HostSet) {
        let mut sessions = lock(&self.sessions);
        let mut before = std::mem::take(&mut *sessions);
        for entry in hosts.hosts().iter().filter(|entry| !entry.health_check.is_disabled) {
            let id = id(&entry.shared);
            let session = match before.remove(&id) {
                Some(session) if session.checks_at(entry) => {
                    *lock(&session.host.entry) = entry.clone();
                    session
                }
                // Health at another address is another question.
                Some(session) => {
                    self.shared.end(session);
                    self.shared.begin(entry)
                }
                None => self.shared.begin(entry),
            };
            sessions.insert(id, session);
        }
        drop(sessions);
        before.into_values().for_each(|session| self.shared.end(session));
    }

    /// A host said in the answer to a request that it must not get any more of them.
    pub fn on_immediate_failure(&self, host: &Arc<HostShared>) {
        let session = lock(&self.sessions).get(&id(host)).map(|session| Arc::clone(&session.host));
        if let Some(session) = session {
            let failure = Failure::without_answer(FailureType::Passive);
            // The next check comes when it would have come.
            let _ = self.shared.conclude(&session, CheckResult::Failure(failure));
        }
    }

    /// How long a host's first check may take, the wait before it included.
    pub fn longest_first_check(&self) -> Duration {
        self.shared.config.timeout.saturating_add(self.shared.pauses.longest_before_first())
    }

    /// Completes when every host was checked once, or the checker is gone.
    pub fn first_round(&self) -> impl Future<Output = ()> + use<> {
        let mut unchecked = self.shared.unchecked.subscribe();
        async move {
            let _ = unchecked.wait_for(|unchecked| *unchecked == 0).await;
        }
    }

    /// Whether every host was checked once.
    pub fn is_first_round_over(&self) -> bool {
        *self.shared.unchecked.borrow() == 0
    }

    /// Sets the gauges; called before statistics are read.
    pub fn refresh_gauges(&self) {
        let (mut healthy, mut degraded) = (0, 0);
        for session in lock(&self.sessions).values() {
            let flags = lock(&session.host.entry).shared.health.flags();
            healthy += u64::from(!flags.intersects(HealthFlags::FAILED_ACTIVE_HC));
            degraded += u64::from(flags.intersects(HealthFlags::DEGRADED_ACTIVE_HC));
        }
        let shown = std::mem::replace(&mut *lock(&self.shown), (healthy, degraded));
        if shown.0 != healthy {
            self.shared.stats.healthy.set(healthy);
        }
        if shown.1 != degraded {
            self.shared.stats.degraded.set(degraded);
        }
    }
}

impl Drop for HealthChecker {
    fn drop(&mut self) {
        lock(&self.sessions).drain().for_each(|(_, session)| session.task.abort());
    }
}

impl fmt::Debug for HealthChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HealthChecker({})", self.shared.info.name)
    }
}

impl Session {
    fn checks_at(&self, entry: &HostEntry) -> bool {
        lock(&self.host.entry).health_check.address == entry.health_check.address
    }
}

impl Shared {
    fn begin(self: &Arc<Self>, entry: &HostEntry) -> Session {
        let host = Arc::new(SessionHost {
            entry: Mutex::new(entry.clone()),
            state: Mutex::new(HostState::new(&self.config)),
        });
        self.unchecked.send_modify(|unchecked| *unchecked += 1);
        let task = tokio::spawn(run(Arc::clone(self), Arc::clone(&host))).abort_handle();
        Session { host, task }
    }

    fn end(&self, session: Session) {
        session.task.abort();
        if lock(&session.host.state).awaits_first_check() {
            self.note_first_check();
        }
    }

    fn note_first_check(&self) {
        self.unchecked.send_modify(|unchecked| *unchecked = unchecked.saturating_sub(1));
    }

    async fn attempt(&self, host: &SessionHost, connections: &mut Connections) -> CheckResult {
        let entry = lock(&host.entry).clone();
        let random = lock(&self.rng).next_u64();
        let reuses_connection = self.config.reuse_connection;
        let protocols = &self.config.application_protocols;
        let target = CheckTarget { info: &self.info, host: &entry, protocols };
        self.stats.attempt.inc();
        let checking = async {
            match &self.check {
                Check::Http(http) => {
                    let connection = &mut connections.http;
                    http.check(reuses_connection, connection, target, &self.stats, random).await
                }
                Check::Tcp(tcp) => tcp::check(tcp, reuses_connection, &mut connections.tcp, target).await,
            }
        };
        // A check that is given up drops its connection.
        let given_up = Failure::without_answer(FailureType::NetworkTimeout);
        timeout(self.config.timeout, checking).await.unwrap_or(CheckResult::Failure(given_up))
    }

    /// What a result makes of the host; how long until the next check.
    fn conclude(&self, host: &SessionHost, result: CheckResult) -> Duration {
        let entry = lock(&host.entry).clone();
        let mut log = |event| self.log(&entry, event);
        let mut state = lock(&host.state);
        let is_first = state.awaits_first_check();
        let health = &entry.shared.health;
        let (transition, succeeded) = match result {
            CheckResult::Success { is_degraded } => {
                (state.on_success(health, is_degraded, &self.stats, &mut log), true)
            }
            CheckResult::Failure(failure) => {
                (state.on_failure(health, failure, &self.stats, &mut log), false)
            }
        };
        drop(state);
        log_debug!(
            HealthChecker,
            "cluster {}: {} at {}: {result:?}, {transition:?}",
            self.info.name,
            entry.address,
            entry.health_check.address
        );
        if let Some(on_check) = self.on_check.get() {
            on_check(&entry.shared, transition, succeeded);
        }
        if is_first {
            self.note_first_check();
        }
        self.pauses.after(succeeded, transition, self.info.had_traffic(), &mut lock(&self.rng))
    }

    fn log(&self, entry: &HostEntry, event: super::event::HealthEvent) {
        if self.logs.is_empty() {
            return;
        }
        let host = CheckedHost {
            checker_type: match self.check {
                Check::Http(_) => "HTTP",
                Check::Tcp(_) => "TCP",
            },
            cluster_name: &self.info.name,
            address: &entry.address,
            locality: &entry.locality,
        };
        let line = event.to_line(host, clock::unix_time());
        self.logs.iter().for_each(|log| log.write_line(&line));
    }
}

/// Checks one host until the task is ended.
async fn run(shared: Arc<Shared>, host: Arc<SessionHost>) {
    let first = shared.pauses.before_first(&mut lock(&shared.rng));
    sleep(first).await;
    let mut connections = Connections::default();
    loop {
        let result = shared.attempt(&host, &mut connections).await;
        let mut pause = shared.conclude(&host, result);
        // A host that ends a connection of a TCP check fails at once, as in Envoy.
        while tokio::select! {
            () = sleep(pause) => false,
            () = tcp::closed(&mut connections.tcp) => true,
        } {
            connections.tcp = None;
            pause = shared.conclude(&host, CheckResult::NETWORK_FAILURE);
        }
    }
}

fn id(host: &Arc<HostShared>) -> usize {
    Arc::as_ptr(host) as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
