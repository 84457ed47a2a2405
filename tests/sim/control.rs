//! The control plane and the worker of a world in which configuration changes: the ordinary parts of the control
//! thread where they need no real sockets, and a worker that obeys the same commands as a real one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};

use ringway::base::rng::Rng;
use ringway::config::cluster::LoadAssignment;
use ringway::filters::{ServerState, WorkerContext};
use ringway::io::sim;
use ringway::server::{Command, Traffic};
use ringway::stats::Registry;
use ringway::upstream::breaker::{BreakerShared, ResourceKind};
use ringway::upstream::discovery::SystemResolver;
use ringway::upstream::{ClusterCommand, ClusterControl, ClusterManager, Endpoints};

use super::history::History;
use super::listener_pushes::Listeners;
use super::proxy::{breakers_in_use, gauges_in_use};
use super::route_pushes::RouteTables;
use super::templates::{CLUSTERS, Templates};

/// A process in a world.
pub struct Control {
    /// What it is made from.
    pub templates: Rc<Templates>,
    /// Where statistics are registered.
    pub registry: Registry,
    /// The process.
    pub server: Arc<ServerState>,
    /// What was pushed.
    pub history: Rc<History>,
    /// Route tables.
    pub routes: RouteTables,
    /// Listeners.
    pub listeners: Listeners,
    /// The worker.
    pub traffic: Rc<RefCell<Traffic>>,
    clusters: ClusterControl,
    published: Arc<Mutex<Vec<ClusterCommand>>>,
    endpoints: RefCell<BTreeMap<&'static str, Endpoints>>,
    /// What was replaced or removed, and should go.
    retired: RefCell<Vec<(String, Weak<dyn Any + Send + Sync>)>>,
    /// Of all versions of all clusters.
    breakers: RefCell<Vec<(String, Arc<BreakerShared>)>>,
    next_id: Cell<u64>,
}

impl Control {
    /// A process without listeners, in the world that runs on this thread.
    pub fn new(templates: &Rc<Templates>, registry: &Registry, history: &Rc<History>) -> Control {
        let bootstrap = &templates.bootstrap;
        let server = Arc::new(ServerState::new(bootstrap.node.clone(), bootstrap.runtime.clone()));
        let context = WorkerContext::new(0, ClusterManager::new(0), Arc::clone(&server));
        let published: Arc<Mutex<Vec<ClusterCommand>>> = Arc::default();
        let publish = {
            let published = Arc::clone(&published);
            move |command| published.lock().expect("not poisoned").push(command)
        };
        let traffic = Rc::new(RefCell::new(Traffic::new(Rc::new(context))));
        Control {
            templates: Rc::clone(templates),
            registry: registry.clone(),
            clusters: ClusterControl::new(registry, 1, Arc::new(SystemResolver::new()), 0, publish),
            server,
            history: Rc::clone(history),
            routes: RouteTables::new(&traffic, templates.first_routes()),
            listeners: Listeners::default(),
            traffic,
            published,
            endpoints: RefCell::default(),
            retired: RefCell::default(),
            breakers: RefCell::default(),
            next_id: Cell::new(0),
        }
    }

    /// Gives the worker a command.
    pub fn tell(&self, command: Command) {
        let given_back = self.traffic.borrow_mut().obey(command);
        assert!(given_back.is_none(), "a command that the worker does not know");
    }

    /// A number for a listener or an address.
    pub fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// Expects that nobody has `old` at the end of the world.
    pub fn retire<T: Any + Send + Sync>(&self, name: String, old: &Arc<T>) {
        let old: Weak<dyn Any + Send + Sync> = Arc::<T>::downgrade(old);
        self.retired.borrow_mut().push((name, old));
    }

    /// Adds all clusters.
    pub fn add_clusters(&self, rng: &mut Rng) {
        CLUSTERS.iter().for_each(|name| self.set_cluster(name, rng));
    }

    /// Adds a cluster, with all its hosts, or replaces it.
    pub fn set_cluster(&self, name: &'static str, rng: &mut Rng) {
        sim::note(format_args!("push: cluster {name}"));
        self.retire_cluster(name);
        let cluster = self.templates.cluster(name, rng);
        let endpoints = self.clusters.set(cluster, &self.server.runtime).expect("a cluster");
        self.endpoints.borrow_mut().insert(name, endpoints);
        let info = self.clusters.info(name).expect("a cluster");
        self.breakers.borrow_mut().push((name.to_owned(), Arc::clone(&info.breakers)));
        self.follow(name, self.templates.hosts(name));
    }

    /// Removes a cluster.
    pub fn remove_cluster(&self, name: &'static str) {
        sim::note(format_args!("push: no cluster {name}"));
        self.retire_cluster(name);
        assert!(self.clusters.remove(name), "the cluster was there");
        self.follow(name, Vec::new());
    }

    /// Gives a cluster some of its hosts.
    pub fn assign(&self, name: &str, rng: &mut Rng) {
        let (assignment, serving) = self.templates.assignment(name, rng);
        sim::note(format_args!("push: hosts of {name}: {serving:?}"));
        self.give_hosts(name, &assignment);
        self.follow(name, serving);
    }

    /// Takes all its hosts from a cluster.
    pub fn assign_none(&self, name: &str) {
        sim::note(format_args!("push: no hosts of {name}"));
        self.give_hosts(name, &LoadAssignment::default());
        self.follow(name, Vec::new());
    }

    /// Versions of the cluster `limited` that have more requests under way than they may.
    pub fn over_limit(&self) -> Vec<String> {
        let breakers = self.breakers.borrow();
        let limited = breakers.iter().filter(|(name, _)| name == "limited");
        let limited = limited.map(|(_, breakers)| breakers.priority(Default::default()));
        let kind = ResourceKind::Requests;
        let over = limited.filter(|breaker| breaker.in_use(kind) > breaker.limit(kind));
        over.map(|breaker| {
            format!("{} requests where {} are allowed", breaker.in_use(kind), breaker.limit(kind))
        })
        .collect()
    }

    /// Gauges of what is active, and circuit breakers of whatever version, that are not back at zero.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = gauges_in_use(&self.registry);
        for (name, breakers) in &*self.breakers.borrow() {
            found.extend(breakers_in_use(name, breakers));
        }
        found
    }

    /// What was replaced or removed and is held nevertheless.
    pub fn not_freed(&self) -> Vec<String> {
        let retired = self.retired.borrow();
        let held = retired.iter().filter(|(_, old)| old.strong_count() > 0);
        held.map(|(name, _)| format!("{name} is not freed")).collect()
    }

    /// Has the worker follow what the cluster has become.
    fn follow(&self, cluster: &str, serving: Vec<String>) {
        let commands = std::mem::take(&mut *self.published.lock().expect("not poisoned"));
        commands.into_iter().for_each(|command| self.tell(Command::Cluster(command)));
        self.history.set_hosts(cluster, serving);
    }

    fn give_hosts(&self, name: &str, assignment: &LoadAssignment) {
        let before = self.clusters.hosts(name).expect("the cluster is there");
        self.endpoints.borrow()[name].assign(assignment);
        let is_same = self.clusters.hosts(name).is_some_and(|now| Arc::ptr_eq(&now, &before));
        if !is_same {
            self.retire(format!("a host set of {name}"), &before);
        }
    }

    fn retire_cluster(&self, name: &str) {
        if let (Some(info), Some(hosts)) = (self.clusters.info(name), self.clusters.hosts(name)) {
            self.retire(format!("a version of cluster {name}"), &info);
            self.retire(format!("a host set of {name}"), &hosts);
        }
    }
}
