//! Route tables that connection managers discover (`envoy.config.route.v3.RouteConfiguration`). All managers
//! that name the same table in the same source share one subscription; each has its own slot on every worker.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use prost_reflect::DynamicMessage;

use crate::api::{self, ConfigError};
use crate::config::{Context, FieldPath, Rds, RouteConfiguration, check_route_references};
use crate::filters::network::http_connection_manager::{
    RouteDiscovery, RouteSlotId, Routes, compile_route_table,
};
use crate::routing::RouteTable;
use crate::server::command::Command;
use crate::server::configuration::read_external;
use crate::stats::{Scope, stats_group};
use crate::xds::{
    self, FetchState, FileSubscription, RouteReader, Subscriber, SubscriptionStats, UpdateError, WatchError,
    resources,
};

use super::dump::RouteDump;
use super::{Clusters, Resource, Surroundings, unix_now};

stats_group! {
    /// `http.<stat_prefix>.rds.<name>.`: what is counted beside the subscription itself.
    struct RouteConfigStats {
        counters: [config_reload, update_empty],
        gauges: [config_reload_time_ms],
    }
}

/// All discovered route tables.
pub struct RouteConfigs {
    around: Rc<Surroundings>,
    clusters: Rc<Clusters>,
    providers: RefCell<Vec<Rc<Provider>>>,
    next_slot: Cell<u64>,
}

/// One table.
struct Provider {
    around: Rc<Surroundings>,
    clusters: Rc<Clusters>,
    rds: Arc<Rds>,
    stat_prefix: String,
    scope: Scope,
    stats: Cell<RouteConfigStats>,
    is_started: Cell<bool>,
    subscription: RefCell<Option<FileSubscription>>,
    reader: RefCell<RouteReader>,
    current: RefCell<Option<Current>>,
    users: RefCell<Vec<User>>,
}

/// What is in force.
struct Current {
    table: Arc<RouteTable>,
    /// The table as it came, unless `reader` knows it.
    message: Option<DynamicMessage>,
    version: String,
    updated: crate::base::clock::UnixTime,
}

/// A connection manager that uses the table.
struct User {
    slot: u64,
    manager: Weak<RouteSlotId>,
    filters: Vec<Arc<str>>,
    routes: Option<Arc<Routes>>,
}

impl RouteConfigs {
    /// No tables yet. Those that ask for it have their clusters looked up in `clusters`.
    pub fn new(around: &Rc<Surroundings>, clusters: &Rc<Clusters>) -> RouteConfigs {
        RouteConfigs {
            around: Rc::clone(around),
            clusters: Rc::clone(clusters),
            providers: RefCell::default(),
            next_slot: Cell::new(0),
        }
    }

    /// Subscribes to the tables that were asked for since the last call.
    ///
    /// # Errors
    /// If a file cannot be watched; the others are subscribed to.
    pub fn start(&self) -> Result<(), WatchError> {
        let providers = self.providers.borrow().clone();
        let new = providers.iter().filter(|provider| !provider.is_started.replace(true));
        new.map(Provider::start).fold(Ok(()), Result::and)
    }

    /// The tables that are waited for.
    pub fn awaited(&self) -> Vec<String> {
        let providers = self.providers.borrow();
        let waiting = providers.iter().filter(|provider| provider.is_waiting());
        waiting.map(|provider| provider.rds.route_config_name.clone()).collect()
    }

    /// Whether the tables for all of these slots are there, or not waited for any longer.
    pub fn are_ready(&self, slots: &[Arc<RouteSlotId>]) -> bool {
        let providers = self.providers.borrow();
        slots.iter().all(|slot| {
            providers.iter().filter(|provider| provider.has(slot)).all(|provider| !provider.is_waiting())
        })
    }

    /// Forgets the slots of connection managers that are gone, and tables that nobody uses.
    pub fn sweep(&self) {
        self.providers.borrow_mut().retain(|provider| {
            provider.users.borrow_mut().retain(|user| {
                let is_used = user.manager.strong_count() > 0;
                if !is_used {
                    self.around.workers.tell(|_| Command::RemoveRoutes { slot: user.slot });
                }
                is_used
            });
            let is_used = !provider.users.borrow().is_empty();
            if !is_used {
                // The subscription's task holds the provider.
                provider.subscription.replace(None);
            }
            is_used
        });
    }

    /// What `/config_dump` shows.
    pub fn dump(&self) -> Vec<RouteDump> {
        self.providers.borrow().iter().map(|provider| provider.dump()).collect()
    }

    fn provider(&self, rds: &Arc<Rds>, stat_prefix: &str) -> Rc<Provider> {
        let is_same = |provider: &&Rc<Provider>| {
            let source = &provider.rds.config_source;
            provider.rds.route_config_name == rds.route_config_name
                && source.specifier == rds.config_source.specifier
                && source.initial_fetch_timeout == rds.config_source.initial_fetch_timeout
        };
        if let Some(known) = self.providers.borrow().iter().find(is_same) {
            return Rc::clone(known);
        }
        let provider = Rc::new(Provider {
            around: Rc::clone(&self.around),
            clusters: Rc::clone(&self.clusters),
            rds: Arc::clone(rds),
            stat_prefix: format!("{stat_prefix}rds.{}.", rds.route_config_name),
            scope: self.around.registry.scope(),
            stats: Cell::default(),
            is_started: Cell::default(),
            subscription: RefCell::default(),
            reader: RefCell::new(RouteReader::new(&rds.route_config_name)),
            current: RefCell::default(),
            users: RefCell::default(),
        });
        self.providers.borrow_mut().push(Rc::clone(&provider));
        provider
    }
}

impl RouteDiscovery for RouteConfigs {
    fn subscribe(&self, rds: &Arc<Rds>, stat_prefix: &str, filters: Vec<Arc<str>>) -> Arc<RouteSlotId> {
        let slot = self.next_slot.replace(self.next_slot.get() + 1);
        let manager = Arc::new(RouteSlotId(slot));
        let provider = self.provider(rds, stat_prefix);
        let mut user = User { slot, manager: Arc::downgrade(&manager), filters, routes: None };
        if let Some(current) = &*provider.current.borrow() {
            user.set(&current.table, &self.around);
        }
        provider.users.borrow_mut().push(user);
        manager
    }
}

impl User {
    /// Puts a table into the slot on every worker.
    fn set(&mut self, table: &Arc<RouteTable>, around: &Surroundings) {
        let routes = Arc::new(Routes::new(Arc::clone(table), &self.filters));
        around.workers.tell(|_| Command::SetRoutes { slot: self.slot, routes: Arc::clone(&routes) });
        if let Some(before) = self.routes.replace(routes) {
            around.retired.keep(before);
        }
    }
}

impl Provider {
    fn start(self: &Rc<Self>) -> Result<(), WatchError> {
        let stats = SubscriptionStats::register(&self.scope, &self.stat_prefix);
        self.stats.set(RouteConfigStats::register(&self.scope, &self.stat_prefix));
        let subscriber: Rc<dyn Subscriber> = Rc::clone(self) as Rc<dyn Subscriber>;
        let watcher = self.around.watcher()?;
        let subscription = FileSubscription::start(&self.rds.config_source, stats, &watcher, subscriber)?;
        self.subscription.replace(Some(subscription));
        Ok(())
    }

    fn has(&self, slot: &RouteSlotId) -> bool {
        self.users.borrow().iter().any(|user| user.slot == slot.0)
    }

    fn is_waiting(&self) -> bool {
        let subscription = self.subscription.borrow();
        match subscription.as_ref() {
            Some(subscription) => subscription.state() == FetchState::Waiting,
            // One whose file cannot be watched will never come.
            None => !self.is_started.get(),
        }
    }

    /// Reads and compiles what is in the file, if it is much the same as before. Gives the version; none if the
    /// file has to be read as a whole.
    fn update_in_part(&self, path: &Path) -> Option<String> {
        let read = self.reader.borrow().read_again(path, &read_external)?;
        let version = read.version.clone();
        if read.is_changed {
            let table = self.compile(&read.config, Context::new(&read_external)).ok()?;
            self.put_into_force(table, None, &version);
        }
        self.reader.borrow_mut().keep(read);
        Some(version)
    }

    /// Reads and compiles what is in the file, all of it anew.
    fn update_as_a_whole(&self, path: &Path) -> Result<String, UpdateError> {
        let response = xds::load(path, resources::ROUTE_CONFIGURATION)?;
        let refused = |errors: Vec<ConfigError>| UpdateError::refused(&response, errors);
        let resource = match &response.resources[..] {
            [] => {
                self.stats.get().update_empty.inc();
                return Ok(response.version);
            }
            [resource] => resource,
            more => {
                let message = format!("Unexpected RDS resource length: {}", more.len());
                return Err(refused(vec![ConfigError::new("resources", message)]));
            }
        };
        let is_same = |current: &Current| current.message.as_ref() == Some(&resource.message);
        if self.current.borrow().as_ref().is_some_and(is_same) {
            return Ok(response.version);
        }
        let mut context = Context::new(&read_external);
        let expected = &self.rds.route_config_name;
        if resource.name != *expected {
            let path = FieldPath(resource.path.clone()).field("name");
            let message = format!("Unexpected RDS configuration (expecting {expected}): {}", resource.name);
            context.error(&path, message);
        }
        let config = Arc::new(resources::route_configuration(resource, &mut context));
        let table = self.compile(&config, context).map_err(refused)?;
        let text = response.sources.iter().next().map(|source| source.text.clone()).unwrap_or_default();
        let is_known = self.reader.borrow_mut().keep_whole(path, text, &config);
        let message = (!is_known).then(|| resource.message.clone());
        self.put_into_force(table, message, &response.version);
        Ok(response.version)
    }

    /// Compiles a table; what has not changed is taken over from the one in force.
    fn compile(
        &self,
        config: &Arc<RouteConfiguration>,
        mut context: Context<'_>,
    ) -> Result<RouteTable, Vec<ConfigError>> {
        check_route_references(config, &self.clusters.configs(), &mut context);
        context.finish(())?;
        let current = self.current.borrow();
        let previous = current.as_ref().map(|current| Arc::clone(&current.table)).unwrap_or_default();
        compile_route_table(config, &previous)
    }

    fn put_into_force(&self, table: RouteTable, message: Option<DynamicMessage>, version: &str) {
        let table = Arc::new(table);
        self.users.borrow_mut().iter_mut().for_each(|user| user.set(&table, &self.around));
        let updated = unix_now();
        let stats = self.stats.get();
        stats.config_reload.inc();
        stats.config_reload_time_ms.set(updated.as_nanos() / 1_000_000);
        let current = Current { table, message, version: version.to_owned(), updated };
        if let Some(before) = self.current.replace(Some(current)) {
            self.around.retired.keep(before.table);
        }
    }

    /// The table in force, as it came.
    fn message(&self, current: &Current) -> Option<DynamicMessage> {
        current.message.clone().or_else(|| self.reader.borrow().message())
    }

    fn dump(&self) -> RouteDump {
        let current = self.current.borrow();
        let subscription = self.subscription.borrow();
        RouteDump {
            resource: current.as_ref().map(|current| Resource {
                version: current.version.clone(),
                json: self.message(current).as_ref().map(api::to_json).unwrap_or_default(),
                updated: current.updated,
            }),
            rejected: subscription.as_ref().and_then(FileSubscription::rejected),
        }
    }
}

impl Subscriber for Provider {
    fn name(&self) -> String {
        format!("rds '{}'", self.rds.route_config_name)
    }

    fn update(&self, path: &Path) -> Result<String, UpdateError> {
        let began = Instant::now();
        let version = match self.update_in_part(path) {
            Some(version) => version,
            None => self.update_as_a_whole(path)?,
        };
        self.around.ordered(began);
        Ok(version)
    }

    fn give_up(&self) {
        self.around.progress.notify_one();
    }
}
