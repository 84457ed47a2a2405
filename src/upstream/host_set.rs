//! The hosts of a cluster as an immutable snapshot: made on the control thread, sent to workers.
//!
//! A host keeps its identity, and with it health, counters and each worker's connections, from one
//! snapshot to the next while discovery reports the same key.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::alarm::{AlarmBell, HostAlarms};
use super::host_health::{HealthEpoch, HealthFlags, HostHealth};
use super::host_stats::{HostStats, HostStatsTotals};
use super::outlier::{Detector, HostMonitor, HostRates};
use crate::config::Address as ConfigAddress;
use crate::config::cluster::{Endpoint, EndpointHealthCheck, HealthStatus, Locality, OutlierDetection};
use crate::io::Address;

/// What stays of a host while its place in the host set changes.
#[derive(Debug)]
pub struct HostShared {
    /// Why it may not be used.
    pub health: HostHealth,
    /// Counters for `/clusters`.
    pub stats: HostStats,
    /// What outlier detection counts; none where it is off.
    pub outlier: Option<HostMonitor>,
    /// What the control thread has to look at.
    pub alarms: HostAlarms,
}

/// What hosts are given when they are new to a cluster.
#[derive(Debug, Clone, Default)]
pub struct HostTemplate {
    /// Rows of counters.
    pub workers: usize,
    /// They are checked and have failed until they succeed.
    pub is_checked: bool,
    /// They are left out of all shares until their first check.
    pub awaits_first_check: bool,
    /// They stay after discovery has dropped them, until they fail a check.
    pub outlives_discovery: bool,
    /// They are watched with these settings.
    pub outlier: Option<Arc<OutlierDetection>>,
    /// Rung for their alarms.
    pub bell: Option<AlarmBell>,
}

/// How a host is asked for its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostHealthCheck {
    /// Where.
    pub address: Address,
    /// `host` of the request; empty leaves it to the cluster.
    pub hostname: Arc<str>,
    /// It is not asked.
    pub is_disabled: bool,
}

/// A host in one snapshot.
#[derive(Debug, Clone)]
pub struct HostEntry {
    /// Equal keys in successive snapshots mean the same host.
    key: HostKey,
    /// Identity, health, counters.
    pub shared: Arc<HostShared>,
    /// Where new connections go.
    pub address: Address,
    /// Name for `auto_host_rewrite` and `/clusters`; may be empty.
    pub hostname: Arc<str>,
    /// Relative share within its priority, at least 1.
    pub weight: u32,
    /// 0 is used first.
    pub priority: u32,
    /// Where it is.
    pub locality: Arc<Locality>,
    /// Marked as canary.
    pub is_canary: bool,
    /// How it is asked for its health.
    pub health_check: HostHealthCheck,
}

/// What makes a host the same host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostKey {
    /// Its address.
    Address(Address),
    /// A name whose address may change under it (`LOGICAL_DNS`).
    Logical(Arc<str>),
}

/// The hosts of a cluster.
#[derive(Debug, Default)]
pub struct HostSet {
    hosts: Vec<HostEntry>,
    epoch: HealthEpoch,
    overprovisioning_percent: Option<u32>,
}

/// Counts for the gauges `membership_...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Membership {
    /// All hosts.
    pub total: u64,
    /// Those that may serve and are not degraded.
    pub healthy: u64,
    /// Those that may serve and are degraded.
    pub degraded: u64,
    /// Those that count in no share of healthy hosts.
    pub excluded: u64,
}

/// One host as `/clusters` shows it.
#[derive(Debug, Clone)]
pub struct HostStatus {
    /// Where new connections go.
    pub address: Address,
    /// May be empty.
    pub hostname: Arc<str>,
    /// Counters summed over the workers.
    pub stats: HostStatsTotals,
    /// Why it may not be used.
    pub health_flags: HealthFlags,
    /// Relative share.
    pub weight: u32,
    /// Priority.
    pub priority: u32,
    /// Where it is.
    pub locality: Arc<Locality>,
    /// Marked as canary.
    pub is_canary: bool,
    /// What outlier detection found in its last sweep.
    pub rates: HostRates,
}

impl HostSet {
    /// The hosts, in the order in which discovery gave them, priorities mixed.
    pub fn hosts(&self) -> &[HostEntry] {
        &self.hosts
    }

    /// Counts health changes of this and all later snapshots of the cluster.
    pub fn epoch(&self) -> &HealthEpoch {
        &self.epoch
    }

    /// Overprovisioning that came with the hosts; none leaves it to the cluster's configuration.
    pub fn overprovisioning_percent(&self) -> Option<u32> {
        self.overprovisioning_percent
    }

    /// Counts by health.
    pub fn membership(&self) -> Membership {
        let mut counts = Membership { total: self.hosts.len() as u64, ..Membership::default() };
        for host in &self.hosts {
            let flags = host.shared.health.flags();
            counts.degraded += u64::from(flags.is_degraded());
            counts.healthy += u64::from(flags.is_healthy() && !flags.is_degraded());
            counts.excluded += u64::from(flags.is_excluded());
        }
        counts
    }

    /// The hosts as `/clusters` shows them, with what `detector` knows of them.
    pub fn statuses(&self, detector: Option<&Detector>) -> impl Iterator<Item = HostStatus> {
        self.hosts.iter().map(move |host| HostStatus {
            address: host.address.clone(),
            hostname: Arc::clone(&host.hostname),
            stats: host.shared.stats.totals(),
            health_flags: host.shared.health.flags(),
            weight: host.weight,
            priority: host.priority,
            locality: Arc::clone(&host.locality),
            is_canary: host.is_canary,
            rates: detector.map(|detector| detector.host_rates(&host.shared)).unwrap_or_default(),
        })
    }

    /// The same hosts without one.
    pub fn without(&self, host: &HostShared) -> Arc<HostSet> {
        let others = self.hosts.iter().filter(|entry| !std::ptr::eq(&*entry.shared, host));
        Arc::new(HostSet {
            hosts: others.cloned().collect(),
            epoch: self.epoch.clone(),
            overprovisioning_percent: self.overprovisioning_percent,
        })
    }

    /// How many of the hosts are not in `other`.
    pub fn count_not_in(&self, other: &HostSet) -> u64 {
        let others: HashSet<_> = other.hosts.iter().map(|host| Arc::as_ptr(&host.shared)).collect();
        self.hosts.iter().filter(|host| !others.contains(&Arc::as_ptr(&host.shared))).count() as u64
    }

    /// Whether `other` has the same hosts with the same properties in the same order.
    pub fn is_same_as(&self, other: &HostSet) -> bool {
        self.hosts.len() == other.hosts.len()
            && self.overprovisioning_percent == other.overprovisioning_percent
            && self.hosts.iter().zip(&other.hosts).all(|(one, two)| {
                Arc::ptr_eq(&one.shared, &two.shared)
                    && one.address == two.address
                    && one.hostname == two.hostname
                    && (one.weight, one.priority, one.is_canary) == (two.weight, two.priority, two.is_canary)
                    && one.locality == two.locality
                    && one.health_check == two.health_check
            })
    }
}

/// Collects the hosts of the next snapshot.
pub struct HostSetBuilder<'a> {
    previous: &'a HostSet,
    known: HashMap<&'a HostKey, &'a HostEntry>,
    next: HostSet,
    positions: HashMap<HostKey, usize>,
    template: &'a HostTemplate,
}

impl<'a> HostSetBuilder<'a> {
    /// Hosts that `previous` has keep their identity; new ones are made by `template`.
    pub fn new(previous: &'a HostSet, template: &'a HostTemplate) -> HostSetBuilder<'a> {
        HostSetBuilder {
            previous,
            known: previous.hosts.iter().map(|host| (&host.key, host)).collect(),
            next: HostSet {
                hosts: Vec::new(),
                epoch: previous.epoch.clone(),
                overprovisioning_percent: None,
            },
            positions: HashMap::new(),
            template,
        }
    }

    /// Adds a host at `address` with the properties of `endpoint`. A key that was added before is left
    /// out: the same address twice is one host.
    pub fn add(
        &mut self,
        key: HostKey,
        address: Address,
        hostname: Arc<str>,
        endpoint: &Endpoint,
        priority: u32,
        locality: &Arc<Locality>,
    ) {
        if self.positions.contains_key(&key) {
            return;
        }
        self.positions.insert(key.clone(), self.next.hosts.len());
        let health_check = HostHealthCheck::new(&address, &endpoint.health_check);
        let flags = configured_flags(endpoint.health_status);
        let shared = match self.known.get(&key) {
            Some(known) => {
                let mut gone = ALL_CONFIGURED_FLAGS.with(HealthFlags::PENDING_DYNAMIC_REMOVAL);
                if health_check.is_disabled {
                    gone = gone.with(CHECKED_FLAGS);
                }
                known.shared.health.change(flags, gone);
                Arc::clone(&known.shared)
            }
            None => Arc::new(self.template.new_host(flags, !health_check.is_disabled, &self.next.epoch)),
        };
        self.next.hosts.push(HostEntry {
            key,
            shared,
            address,
            hostname,
            weight: endpoint.load_balancing_weight.max(1),
            priority,
            locality: Arc::clone(locality),
            is_canary: endpoint.canary,
            health_check,
        });
    }

    /// Sets the overprovisioning that came with the hosts.
    pub fn overprovisioning_percent(&mut self, percent: u32) {
        self.next.overprovisioning_percent = Some(percent);
    }

    /// The snapshot. Where health checks keep hosts that discovery has dropped, these follow the others.
    pub fn build(mut self) -> Arc<HostSet> {
        if self.template.outlives_discovery {
            let gone = |host: &&HostEntry| !self.positions.contains_key(&host.key);
            let stays = |host: &&HostEntry| {
                let flags = host.shared.health.flags();
                !host.health_check.is_disabled
                    && !flags.intersects(HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::FAILED_EDS_HEALTH))
            };
            for host in self.previous.hosts.iter().filter(gone).filter(stays) {
                host.shared.health.set(HealthFlags::PENDING_DYNAMIC_REMOVAL, true);
                self.next.hosts.push(host.clone());
            }
        }
        Arc::new(self.next)
    }
}

impl HostTemplate {
    fn new_host(&self, configured: HealthFlags, may_be_checked: bool, epoch: &HealthEpoch) -> HostShared {
        let mut flags = configured;
        if self.is_checked && may_be_checked {
            flags = flags.with(HealthFlags::FAILED_ACTIVE_HC);
            if self.awaits_first_check {
                flags = flags.with(HealthFlags::PENDING_ACTIVE_HC);
            }
        }
        HostShared {
            health: HostHealth::new(flags, epoch.clone()),
            stats: HostStats::new(self.workers),
            outlier: self.outlier.as_ref().map(|settings| HostMonitor::new(settings, self.workers)),
            alarms: HostAlarms::new(self.bell.clone()),
        }
    }
}

impl HostHealthCheck {
    /// As configured, for a host at `address`.
    fn new(address: &Address, config: &EndpointHealthCheck) -> HostHealthCheck {
        let mut address = match &config.address {
            Some(ConfigAddress::Socket(address)) => Address::Ip(*address),
            Some(ConfigAddress::Pipe(pipe)) => Address::unix(&pipe.path),
            // There are no names here.
            Some(ConfigAddress::Name { .. }) | None => address.clone(),
        };
        if let (Address::Ip(ip), Some(port)) = (&mut address, config.port) {
            ip.set_port(port);
        }
        HostHealthCheck {
            address,
            hostname: config.hostname.as_str().into(),
            is_disabled: config.disable_active_health_check,
        }
    }
}

/// What only health checks set.
const CHECKED_FLAGS: HealthFlags = HealthFlags::FAILED_ACTIVE_HC
    .with(HealthFlags::DEGRADED_ACTIVE_HC)
    .with(HealthFlags::PENDING_ACTIVE_HC)
    .with(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
    .with(HealthFlags::ACTIVE_HC_TIMEOUT);

const ALL_CONFIGURED_FLAGS: HealthFlags = HealthFlags::FAILED_EDS_HEALTH
    .with(HealthFlags::DEGRADED_EDS_HEALTH)
    .with(HealthFlags::EDS_STATUS_DRAINING);

fn configured_flags(status: HealthStatus) -> HealthFlags {
    match status {
        HealthStatus::Unknown | HealthStatus::Healthy => HealthFlags::NONE,
        HealthStatus::Unhealthy | HealthStatus::Timeout => HealthFlags::FAILED_EDS_HEALTH,
        HealthStatus::Draining => HealthFlags::EDS_STATUS_DRAINING,
        HealthStatus::Degraded => HealthFlags::DEGRADED_EDS_HEALTH,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Host sets for the tests of other files.

    use super::*;
    use crate::config::FieldPath;

    pub fn endpoint(address: std::net::SocketAddr) -> Endpoint {
        Endpoint {
            address: crate::config::Address::Socket(address),
            additional_addresses: vec![],
            hostname: String::new(),
            load_balancing_weight: 1,
            health_status: HealthStatus::Unknown,
            health_check: Default::default(),
            canary: false,
            path: FieldPath::default(),
        }
    }

    /// A host of no set.
    pub fn host_with_bell(bell: Option<AlarmBell>) -> Arc<HostShared> {
        let template = HostTemplate { workers: 1, bell, ..HostTemplate::default() };
        Arc::new(template.new_host(HealthFlags::NONE, true, &HealthEpoch::default()))
    }

    pub fn host_set(previous: &HostSet, addresses: &[std::net::SocketAddr]) -> Arc<HostSet> {
        host_set_by(&HostTemplate { workers: 1, ..HostTemplate::default() }, previous, addresses)
    }

    pub fn host_set_by(
        template: &HostTemplate,
        previous: &HostSet,
        addresses: &[std::net::SocketAddr],
    ) -> Arc<HostSet> {
        let mut builder = HostSetBuilder::new(previous, template);
        for &address in addresses {
            let at = Address::Ip(address);
            let key = HostKey::Address(at.clone());
            builder.add(key, at, "".into(), &endpoint(address), 0, &Arc::default());
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{endpoint, host_set};
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<std::net::SocketAddr> {
        ports.iter().map(|&port| ([127, 0, 0, 1], port).into()).collect()
    }

    #[test]
    fn hosts_keep_identity_health_and_counters() {
        let first = host_set(&HostSet::default(), &addresses(&[1, 2]));
        first.hosts()[1].shared.health.set(HealthFlags::FAILED_ACTIVE_HC, true);
        first.hosts()[1].shared.stats.worker(0).rq_total.inc();
        let second = host_set(&first, &addresses(&[2, 3, 2]));
        assert_eq!(second.hosts().len(), 2, "the address given twice is one host");
        assert!(Arc::ptr_eq(&second.hosts()[0].shared, &first.hosts()[1].shared));
        assert_eq!(second.membership(), Membership { total: 2, healthy: 1, ..Membership::default() });
        assert_eq!(second.statuses(None).next().map(|status| status.stats.rq_total), Some(1));
        assert!(!second.is_same_as(&first));
        assert!(second.is_same_as(&host_set(&second, &addresses(&[2, 3]))));
    }

    #[test]
    fn configured_health_follows_the_newest_snapshot() {
        let add = |previous: &HostSet, status| {
            let template = HostTemplate { workers: 1, ..HostTemplate::default() };
            let mut builder = HostSetBuilder::new(previous, &template);
            let address = addresses(&[1])[0];
            let endpoint = Endpoint { health_status: status, ..endpoint(address) };
            let at = Address::Ip(address);
            builder.add(HostKey::Address(at.clone()), at, "".into(), &endpoint, 0, &Arc::default());
            builder.build()
        };
        let first = add(&HostSet::default(), HealthStatus::Draining);
        assert_eq!(first.hosts()[0].shared.health.flags().to_string(), "/eds_status_draining");
        assert_eq!(first.membership(), Membership { total: 1, excluded: 1, ..Membership::default() });
        let second = add(&first, HealthStatus::Degraded);
        assert_eq!(second.membership(), Membership { total: 1, degraded: 1, ..Membership::default() });
    }
}
