//! What the configuration of a world was at which time, and what may follow from that: which answers of the
//! proxy's own it explains, and which host a request may reach. Whatever it does not explain must not happen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use ringway::base::clock::Instant;
use ringway::io;

use super::timeline::Timeline;

/// How long a request can be on its way from the choice of a host until the host sees it: a connection is made, and
/// the request travels on it.
const ON_ITS_WAY: Duration = Duration::from_millis(60);
/// The same where the first attempt to connect may get no answer (`connect_timeout`).
const ON_ITS_WAY_IF_LOSSY: Duration = Duration::from_millis(1_200);
/// The same where requests wait for others to end (`timeout` of the route).
const IN_A_QUEUE: Duration = Duration::from_secs(6);

/// Everything that was pushed.
#[derive(Default)]
pub struct History {
    /// Route tables.
    pub tables: Timeline<Table>,
    /// By cluster.
    clusters: BTreeMap<&'static str, Timeline<Vec<String>>>,
    drains: RefCell<Vec<Drain>>,
    /// By request, the table that its first attempt had.
    first_seen: RefCell<BTreeMap<u64, u64>>,
}

/// A version of the route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// It is in the header `x-version` of requests and responses.
    pub version: u64,
    /// Where requests go that ask for a route; it has no others.
    pub clusters: BTreeMap<String, String>,
}

/// The connections to one port were told to end.
struct Drain {
    port: u16,
    told: Instant,
    /// When those that were left were cut.
    cut: Option<Instant>,
}

impl History {
    /// Nothing yet, for these clusters.
    pub fn new(clusters: &[&'static str]) -> History {
        let clusters = clusters.iter().map(|name| (*name, Timeline::default())).collect();
        History { clusters, ..History::default() }
    }

    /// Only these hosts may be given requests from now on; there may be none, or no such cluster.
    pub fn set_hosts(&self, cluster: &str, addresses: Vec<String>) {
        self.clusters[cluster].set(addresses);
    }

    /// Connections to the port are told to end; those that come from now on are not.
    pub fn tell(&self, port: u16) {
        self.drains.borrow_mut().push(Drain { port, told: io::now(), cut: None });
    }

    /// The connections that were told to end at `told` and did not are cut.
    pub fn cut(&self, told: Instant) {
        let mut drains = self.drains.borrow_mut();
        drains.iter_mut().filter(|drain| drain.told == told).for_each(|drain| drain.cut = Some(io::now()));
    }

    /// When connections to the port that began at `opened` may have been told to end, for the first time.
    pub fn told(&self, port: u16, opened: Instant) -> Option<Instant> {
        let drains = self.drains.borrow();
        drains.iter().find(|drain| drain.port == port && drain.told >= opened).map(|drain| drain.told)
    }

    /// When such a connection may have been cut, for the first time.
    pub fn was_cut(&self, port: u16, opened: Instant) -> Option<Instant> {
        let drains = self.drains.borrow();
        let cuts = drains.iter().filter(|drain| drain.port == port && drain.told >= opened);
        cuts.filter_map(|drain| drain.cut).min()
    }

    /// Whether a request for `route` that came and was answered between these times may have found no route.
    pub fn had_no_route(&self, route: &str, from: Instant, until: Instant) -> bool {
        self.tables.any(from, until, |table| !table.clusters.contains_key(route))
    }

    /// Whether it may have found no cluster, or one without hosts.
    pub fn had_no_host(&self, route: &str, from: Instant, until: Instant) -> bool {
        self.tables.any(from, until, |table| {
            let cluster = table.clusters.get(route).map(|name| &self.clusters[name.as_str()]);
            cluster.is_some_and(|hosts| hosts.any(from, until, Vec::is_empty))
        })
    }

    /// What is wrong with a request for `route`, under the table of this version, that has reached a host now.
    pub fn check_arrival(
        &self,
        id: u64,
        (route, version): (&str, Option<u64>),
        host: &str,
        is_lossy: bool,
    ) -> Result<(), String> {
        let version = version.ok_or_else(|| format!("request {id} came without a version"))?;
        let first = *self.first_seen.borrow_mut().entry(id).or_insert(version);
        if first != version {
            return Err(format!("request {id} came with version {first} first, and with {version} now"));
        }
        let cluster = self.cluster_of(version, route);
        let cluster = cluster.ok_or_else(|| format!("request {id}: version {version} has no {route}"))?;
        let on_its_way = match is_lossy {
            _ if route == "/limited" => IN_A_QUEUE,
            true => ON_ITS_WAY_IF_LOSSY,
            false => ON_ITS_WAY,
        };
        let now = io::now();
        let from = Instant::from_nanos(now.as_nanos().saturating_sub(on_its_way.as_nanos() as u64));
        let is_host = |hosts: &Vec<String>| hosts.iter().any(|known| known == host);
        if !self.clusters[cluster.as_str()].any(from, now, is_host) {
            return Err(format!("request {id} reached {host}, which {cluster} does not have any more"));
        }
        Ok(())
    }

    /// What is wrong with the versions of a response to a request for `route`: the one that the request had and the
    /// one that the response has.
    pub fn check_versions(
        &self,
        id: u64,
        (request, response): (Option<u64>, Option<u64>),
        (from, until): (Instant, Instant),
    ) -> Result<(), String> {
        if request != response {
            return Err(format!("request {id} had version {request:?}, its response has {response:?}"));
        }
        self.check_version(id, response, (from, until))
    }

    /// What is wrong with a response that has this version, or none.
    pub fn check_version(
        &self,
        id: u64,
        version: Option<u64>,
        (from, until): (Instant, Instant),
    ) -> Result<(), String> {
        let Some(version) = version else { return Ok(()) };
        if self.tables.any(from, until, |table| table.version == version) {
            return Ok(());
        }
        Err(format!(
            "request {id} was served under version {version}, which was not in force from {from:?} on"
        ))
    }

    fn cluster_of(&self, version: u64, route: &str) -> Option<String> {
        let of = |table: &Table| (table.version == version).then(|| table.clusters.get(route).cloned());
        self.tables.find(of).flatten()
    }
}
