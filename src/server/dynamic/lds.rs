//! Listeners that come and go with a file (`envoy.config.listener.v3.Listener`). A listener that has changed
//! only in its filter chains keeps the connections on those that it still has.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::api::{self, ConfigError};
use crate::config::{Address, ConfigSource, Context, FieldPath, Listener, check_references};
use crate::listener::{ChainPlace, ReusedChains};
use crate::log_warn;
use crate::server::configuration::ListenerCompiler;
use crate::server::listener_manager::{Candidate, Known, ListenerManager};
use crate::xds::{
    self, FetchState, FileSubscription, Subscriber, SubscriptionStats, UpdateError, WatchError, resources,
};

use super::dump::ListenerDump;
use super::{Clusters, Resource, RouteConfigs, Secrets, Surroundings, unix_now};

/// Fields in which two versions may differ and still be one listener.
const CHAIN_FIELDS: [&str; 2] = ["filter_chains", "default_filter_chain"];

/// The subscription to listeners.
pub struct Lds {
    around: Rc<Surroundings>,
    clusters: Rc<Clusters>,
    routes: Rc<RouteConfigs>,
    secrets: Rc<Secrets>,
    listeners: Rc<ListenerManager>,
    subscription: RefCell<Option<FileSubscription>>,
    own: Weak<Lds>,
}

/// What an update changes.
#[derive(Default)]
struct Update {
    /// All names in it.
    names: HashSet<String>,
    /// All listeners in it, and where they stand.
    configs: Vec<(Arc<Listener>, FieldPath)>,
    changed: Vec<Changed>,
}

struct Changed {
    config: Arc<Listener>,
    resource: Rc<Resource>,
    known: Known,
}

impl Lds {
    /// A subscription that has not begun.
    pub fn new(
        around: &Rc<Surroundings>,
        clusters: &Rc<Clusters>,
        routes: &Rc<RouteConfigs>,
        secrets: &Rc<Secrets>,
        listeners: &Rc<ListenerManager>,
    ) -> Rc<Lds> {
        Rc::new_cyclic(|own| Lds {
            around: Rc::clone(around),
            clusters: Rc::clone(clusters),
            routes: Rc::clone(routes),
            secrets: Rc::clone(secrets),
            listeners: Rc::clone(listeners),
            subscription: RefCell::default(),
            own: Weak::clone(own),
        })
    }

    /// Subscribes to listeners.
    ///
    /// # Errors
    /// If the file cannot be watched.
    pub fn subscribe(&self, source: &ConfigSource) -> Result<(), WatchError> {
        let Some(own) = self.own.upgrade() else { return Ok(()) };
        let scope = self.around.registry.scope();
        let stats = SubscriptionStats::register(&scope, "listener_manager.lds.");
        let subscription = FileSubscription::start(source, stats, &self.around.watcher()?, own)?;
        self.subscription.replace(Some(subscription));
        Ok(())
    }

    /// Whether the first listeners have come, or are not waited for.
    pub fn is_ready(&self) -> bool {
        let subscription = self.subscription.borrow();
        subscription.as_ref().is_none_or(|subscription| subscription.state() != FetchState::Waiting)
    }

    /// What `/config_dump` shows.
    pub fn dump(&self) -> ListenerDump {
        let subscription = self.subscription.borrow();
        ListenerDump {
            version: subscription.as_ref().map(FileSubscription::version).unwrap_or_default(),
            rejected: subscription.as_ref().and_then(FileSubscription::rejected),
            ..self.listeners.dump()
        }
    }

    /// Reads what an update says, as far as listeners are not as they were.
    fn read(&self, response: &api::LoadedResponse) -> Result<Update, Vec<ConfigError>> {
        let statics = self.listeners.static_configs();
        let mut update = Update::default();
        let mut context = self.around.conversion();
        for resource in &response.resources {
            let path = FieldPath(resource.path.clone());
            let json = api::to_json(&resource.message);
            let known = self.listeners.known(&resource.name);
            let config = match known.same(&json) {
                Some(same) => same,
                None => Arc::new(resources::listener(resource, &mut context)),
            };
            if statics.iter().any(|listener| listener.name == config.name) {
                log_warn!(Listener, "lds: listener '{}' is one of the bootstrap and stays", config.name);
                continue;
            }
            if !update.names.insert(config.name.clone()) {
                context
                    .error(&config.path.field("name"), format!("duplicate listener {} found", config.name));
                continue;
            }
            update.configs.push((Arc::clone(&config), path));
            if known.same(&json).is_none() {
                // A listener without a name has one made up from its address.
                let known = self.listeners.known(&config.name);
                let version = response.version.clone();
                let resource = Rc::new(Resource { version, json, updated: unix_now() });
                update.changed.push(Changed { config, resource, known });
            }
        }
        check_addresses(&update.configs, &statics, &mut context);
        let clusters = self.clusters.configs();
        let changed: Vec<_> = update.changed.iter().map(|changed| Arc::clone(&changed.config)).collect();
        check_references(&changed, &clusters, &mut context);
        context.finish(update)
    }

    fn compile(&self, changed: &[Changed]) -> Result<Vec<Candidate>, Vec<ConfigError>> {
        let clusters = self.clusters.configs();
        let compiler = ListenerCompiler {
            registry: &self.around.registry,
            access_logs: Some(&self.around.access_logs),
            runtime: self.around.runtime(),
            clusters: &|name| clusters.iter().any(|cluster| cluster.name == name),
            route_discovery: &*self.routes,
        };
        let mut errors = Vec::new();
        let mut candidates = Vec::new();
        for Changed { config, resource, known } in changed {
            let reused = reused_chains(known, &resource.json);
            match compiler.compile(config, reused.as_ref().unwrap_or(&ReusedChains::default())) {
                Ok((compiled, slots)) => candidates.push(Candidate {
                    compiled,
                    slots,
                    resource: Some(Rc::clone(resource)),
                    is_in_place: reused.is_some(),
                }),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(candidates) } else { Err(errors) }
    }

    /// Puts what could be compiled into force. What the system does not allow is left as it was.
    fn apply(&self, update: &Update, candidates: Vec<Candidate>) -> BTreeMap<String, String> {
        let mut not_applied = BTreeMap::new();
        for candidate in candidates {
            let name = candidate.name().to_owned();
            let set = match self.secrets.keep_listener(&candidate.compiled) {
                Ok(contexts) => self.listeners.set(candidate, contexts).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = set {
                not_applied.insert(name, error);
            }
        }
        self.listeners.retain(&update.names);
        if let Err(error) = self.routes.start() {
            log_warn!(Listener, "lds: {error}");
        }
        self.listeners.settle();
        self.routes.sweep();
        not_applied
    }
}

impl Subscriber for Lds {
    fn name(&self) -> String {
        "lds".to_owned()
    }

    fn update(&self, path: &Path) -> Result<String, UpdateError> {
        let began = Instant::now();
        let response = xds::load(path, resources::LISTENER)?;
        let checked = self.read(&response).and_then(|update| {
            let candidates = self.compile(&update.changed)?;
            Ok((update, candidates))
        });
        let (update, candidates) = checked.map_err(|errors| {
            // Slots that were asked for in vain.
            self.routes.sweep();
            UpdateError::refused(&response, errors)
        })?;
        let details = self.apply(&update, candidates);
        self.around.ordered(began);
        if details.is_empty() {
            return Ok(response.version);
        }
        Err(UpdateError::NotApplied { version: response.version, details })
    }

    fn give_up(&self) {
        self.around.progress.notify_one();
    }
}

/// No two listeners may have an address in common.
fn check_addresses(
    configs: &[(Arc<Listener>, FieldPath)],
    statics: &[Arc<Listener>],
    context: &mut Context<'_>,
) {
    let mut seen: Vec<(&Address, &str)> = Vec::new();
    let fixed = statics.iter().map(|listener| (listener, None));
    let all = fixed.chain(configs.iter().map(|(listener, path)| (listener, Some(path))));
    for (listener, path) in all.filter(|(listener, _)| listener.bind_to_port) {
        for at in listener.addresses.iter().filter(|at| at.address.port() != Some(0)) {
            match (seen.iter().find(|(address, _)| **address == at.address), path) {
                (Some((_, other)), Some(path)) => {
                    let message = format!(
                        "listener '{}' has the address '{}' that the listener '{other}' has",
                        listener.name, at.address
                    );
                    context.error(&path.field("address"), message);
                }
                _ => seen.push((&at.address, &listener.name)),
            }
        }
    }
}

/// The chains of the version that serves which a new one still has; none if more than chains has changed.
fn reused_chains(known: &Known, json: &Value) -> Option<ReusedChains> {
    let (active, resource) = known.active.as_ref()?;
    let before = &resource.as_ref()?.json;
    let rest = |json: &Value| {
        let fields = json.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !CHAIN_FIELDS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
    };
    if rest(before) != rest(json) {
        return None;
    }
    let chains_before: Vec<_> = chains_of(before).collect();
    let same = chains_of(json).filter_map(|(place, chain)| {
        let (place_before, _) = chains_before.iter().find(|(_, other)| *other == chain)?;
        Some((place, Arc::clone(active.chain_at(*place_before)?)))
    });
    Some(same.collect())
}

fn chains_of(json: &Value) -> impl Iterator<Item = (ChainPlace, &Value)> {
    let chains = json.get("filter_chains").and_then(Value::as_array).into_iter().flatten();
    let chains = chains.enumerate().map(|(index, chain)| (ChainPlace::Index(index), chain));
    let default = json.get("default_filter_chain").map(|chain| (ChainPlace::Default, chain));
    chains.chain(default)
}
