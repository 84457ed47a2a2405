//! What a cluster does about the health of its hosts: health checks, outlier detection, and where both meet
//! discovery and the workers' connections.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::{ClusterError, Controlled};
use crate::base::rng::Rng;
use crate::config::Runtime;
use crate::config::cluster::OutlierDetection;
use crate::log_info;
use crate::stats::StatSource;
use crate::stats::groups::{HealthCheckStats, OutlierDetectionStats};
use crate::upstream::alarm::Alarms;
use crate::upstream::cluster_info::ClusterInfo;
use crate::upstream::cluster_manager::ClusterCommand;
use crate::upstream::event_log::EventLog;
use crate::upstream::health::{CheckerOptions, HealthChecker, Transition, clock};
use crate::upstream::host_health::HealthFlags;
use crate::upstream::host_set::{HostSet, HostShared};
use crate::upstream::outlier::{Action, Detector, EjectionType, OutlierEvent};

/// How long a round of checks may take beyond what its timeouts allow.
const FIRST_ROUND_GRACE: Duration = Duration::from_secs(1);

/// What is needed to look after a cluster's health.
pub(super) struct Parts<'a, S> {
    pub info: Arc<ClusterInfo>,
    pub source: &'a S,
    pub prefix: &'a str,
    pub runtime: &'a Runtime,
    /// Of outlier detection, those in force.
    pub settings: Option<&'a OutlierDetection>,
    pub check_logs: Vec<Arc<dyn EventLog>>,
    pub outlier_log: Option<Arc<dyn EventLog>>,
    pub seed: u64,
}

/// The health of one cluster's hosts.
pub(super) struct Health {
    checker: Option<HealthChecker>,
    outlier: Option<Outlier>,
}

struct Outlier {
    detector: Mutex<Detector>,
    rng: Mutex<Rng>,
    log: Option<Arc<dyn EventLog>>,
    interval: Duration,
}

impl Health {
    /// Looks after nothing yet.
    ///
    /// # Errors
    /// If the health checks are wrong.
    pub fn new(parts: Parts<'_, impl StatSource>) -> Result<Health, ClusterError> {
        let outlier = parts.settings.map(|settings| {
            let stats =
                OutlierDetectionStats::register(parts.source, &format!("{}outlier_detection.", parts.prefix));
            Outlier {
                detector: Mutex::new(Detector::new(settings.clone(), stats)),
                rng: Mutex::new(Rng::from_seed(parts.seed)),
                log: parts.outlier_log,
                interval: settings.interval,
            }
        });
        let checker = match &parts.info.config.health_check {
            None => None,
            Some(config) => {
                let stats =
                    HealthCheckStats::register(parts.source, &format!("{}health_check.", parts.prefix));
                let options = CheckerOptions {
                    config: config.clone(),
                    info: parts.info,
                    stats,
                    runtime: parts.runtime,
                    logs: parts.check_logs,
                    seed: parts.seed,
                };
                Some(HealthChecker::new(options).map_err(ClusterError::HealthCheck)?)
            }
        };
        Ok(Health { checker, outlier })
    }

    /// Tells `cluster` of every check from now on.
    pub fn report_to(&self, cluster: &Arc<Controlled>) {
        if let Some(checker) = &self.checker {
            let cluster = Arc::downgrade(cluster);
            checker.report_to(move |host, transition, succeeded| {
                if let Some(cluster) = cluster.upgrade() {
                    cluster.on_check(host, transition, succeeded);
                }
            });
        }
    }

    /// Whether hosts are checked or watched at all.
    pub fn is_on(&self) -> bool {
        self.checker.is_some() || self.outlier.is_some()
    }

    /// Follows a change of the host set.
    pub fn update_hosts(&self, hosts: &HostSet) {
        if let Some(outlier) = &self.outlier {
            outlier.with_detector(|detector, _| detector.update_hosts(hosts));
        }
        if let Some(checker) = &self.checker {
            checker.update_hosts(hosts);
        }
    }

    /// Completes when every host was checked once, or the cluster is gone.
    pub fn first_round(&self) -> impl Future<Output = ()> + use<> {
        let round = self.checker.as_ref().map(|checker| {
            let at_most = checker.longest_first_check().saturating_add(FIRST_ROUND_GRACE);
            (at_most, checker.first_round())
        });
        async move {
            if let Some((at_most, round)) = round {
                // A round that takes longer has hosts that came later.
                let _ = tokio::time::timeout(at_most, round).await;
            }
        }
    }

    /// Whether every host was checked once.
    pub fn is_first_round_over(&self) -> bool {
        self.checker.as_ref().is_none_or(HealthChecker::is_first_round_over)
    }

    /// Brings gauges up to date that nobody maintains all the time.
    pub fn refresh_gauges(&self) {
        if let Some(checker) = &self.checker {
            checker.refresh_gauges();
        }
    }

    /// Lends the detector, if there is one.
    pub fn with_detector<R>(&self, read: impl FnOnce(Option<&Detector>) -> R) -> R {
        match &self.outlier {
            Some(outlier) => outlier.with_detector(|detector, _| read(Some(detector))),
            None => read(None),
        }
    }
}

impl Outlier {
    fn with_detector<R>(&self, work: impl FnOnce(&mut Detector, &mut Rng) -> R) -> R {
        let mut detector = self.detector.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut detector, &mut rng)
    }
}

impl Controlled {
    /// Workers have seen something of a host.
    pub(super) fn on_alarms(&self, host: &Arc<HostShared>) {
        let alarms = host.alarms.take();
        if let Some(checker) = &self.health.checker
            && alarms.intersects(Alarms::IMMEDIATE_HEALTH_CHECK_FAIL)
        {
            checker.on_immediate_failure(host);
        }
        if let Some(outlier) = &self.health.outlier {
            let events =
                outlier.with_detector(|detector, rng| detector.on_alarms(host, alarms, clock::now(), rng));
            self.on_outlier_events(outlier, events);
        }
    }

    /// Sweeps over the hosts for ever; none without outlier detection.
    pub(super) fn keep_swept(self: &Arc<Self>) -> Option<AbortHandle> {
        let interval = self.health.outlier.as_ref()?.interval;
        let cluster = Arc::clone(self);
        let sweeping = async move {
            loop {
                tokio::time::sleep(interval).await;
                if let Some(outlier) = &cluster.health.outlier {
                    let events = outlier.with_detector(|detector, rng| detector.sweep(clock::now(), rng));
                    cluster.on_outlier_events(outlier, events);
                }
            }
        };
        Some(tokio::spawn(sweeping).abort_handle())
    }

    /// A host was checked.
    fn on_check(&self, host: &Arc<HostShared>, transition: Transition, succeeded: bool) {
        let flags = host.health.flags();
        let has_failed = flags.intersects(HealthFlags::FAILED_ACTIVE_HC);
        if transition == Transition::Changed && has_failed {
            self.drain(host);
            if flags.intersects(HealthFlags::PENDING_DYNAMIC_REMOVAL) {
                self.remove_host(host);
            }
        }
        if let Some(outlier) = &self.health.outlier
            && succeeded
            && !has_failed
        {
            let event = outlier.with_detector(|detector, _| {
                let unejects = detector.unejects_on_health_check();
                unejects.then(|| detector.on_healthy(host, clock::now())).flatten()
            });
            self.on_outlier_events(outlier, event);
        }
    }

    fn on_outlier_events(&self, outlier: &Outlier, events: impl IntoIterator<Item = OutlierEvent>) {
        for event in events {
            let is_ejection = event.action == Action::Eject
                && event.enforced
                && event.ejection_type != EjectionType::Degraded;
            log_info!(
                Upstream,
                "cluster {}: {}: {:?} ({:?}, enforced: {})",
                self.info.name,
                event.upstream_url,
                event.action,
                event.ejection_type,
                event.enforced
            );
            if let Some(log) = &outlier.log {
                log.write_line(&event.to_line(&self.info.name, clock::unix_time()));
            }
            if is_ejection {
                self.drain(&event.host);
            }
        }
    }

    fn drain(&self, host: &Arc<HostShared>) {
        if !self.is_active.load(Ordering::Relaxed) {
            // Workers have no connections to it.
            return;
        }
        let (cluster, host) = (Arc::clone(&self.info.name), Arc::clone(host));
        (self.publish)(ClusterCommand::DrainHost { cluster, host });
    }
}
