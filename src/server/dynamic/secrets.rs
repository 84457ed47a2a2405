//! Secrets that TLS contexts discover in files (`envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig`). Contexts that
//! name the same secret in the same file share one subscription. When the secret changes, or a file that it refers to is
//! replaced, new connections begin with it; those that are open go on with what they began with. A secret that one of its
//! contexts has no use for comes into force for none of them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::api::{self, ConfigError};
use crate::config::tls::{CommonTlsContext, Secret, SecretDiscovery};
use crate::config::{ConfigSource, ConfigSourceSpecifier, Context, FileSource};
use crate::listener::CompiledListener;
use crate::log_warn;
use crate::server::configuration::read_external;
use crate::stats::{Counter, Scope, StatSource};
use crate::upstream::ClusterInfo;
use crate::xds::{self, FileSubscription, Subscriber, SubscriptionStats, UpdateError, WatchError, resources};

use super::dump::SecretDump;
use super::tls_user::TlsUser;
use super::{Resource, Surroundings, unix_now};

/// All discovered secrets.
pub struct Secrets {
    around: Rc<Surroundings>,
    providers: RefCell<Vec<Weak<Provider>>>,
    users: RefCell<Vec<Weak<TlsUser>>>,
}

/// TLS contexts that follow their secrets for as long as this is there.
#[derive(Default)]
pub struct KeptContexts {
    kept: Vec<(Rc<TlsUser>, Vec<Rc<Provider>>)>,
}

/// One secret in one file.
struct Provider {
    around: Rc<Surroundings>,
    discovery: SecretDiscovery,
    scope: Scope,
    key_rotation_failed: Counter,
    subscription: RefCell<Option<FileSubscription>>,
    users: RefCell<Vec<Weak<TlsUser>>>,
    current: RefCell<Option<Rc<Resource>>>,
    /// It has come, or is not waited for any longer.
    is_settled: watch::Sender<bool>,
    /// Watches over the files that the secret refers to.
    rotation: RefCell<Vec<Rotation>>,
    is_starting: Cell<bool>,
}

/// A watch over a directory; it ends when this is dropped.
struct Rotation {
    directory: String,
    task: AbortHandle,
}

impl Secrets {
    /// None yet.
    pub fn new(around: &Rc<Surroundings>) -> Rc<Secrets> {
        Rc::new(Secrets {
            around: Rc::clone(around),
            providers: RefCell::default(),
            users: RefCell::default(),
        })
    }

    /// Has the contexts of a listener's chains follow their secrets. A chain that an earlier version of the listener had
    /// goes on as it did.
    ///
    /// # Errors
    /// If a file cannot be watched.
    pub fn keep_listener(&self, listener: &CompiledListener) -> Result<KeptContexts, WatchError> {
        let config = &listener.config;
        let configs = config.filter_chains.iter().chain(&config.default_filter_chain);
        let mut kept = KeptContexts::default();
        for (chain, config) in listener.chains().zip(configs) {
            let (Some(tls), Some(context)) = (&chain.tls, config.transport_socket.tls()) else { continue };
            if context.discoveries().next().is_none() {
                continue;
            }
            let user = self.user(TlsUser::of_chain(
                tls,
                context,
                &config.filter_chain_match.server_names,
                (&listener.stat_prefix, &chain.scope),
            ));
            kept.kept.push(self.follow(user, context.discoveries())?);
        }
        Ok(kept)
    }

    /// Has the context of a cluster follow its secrets.
    ///
    /// # Errors
    /// If a file cannot be watched.
    pub fn keep_cluster(&self, info: &Arc<ClusterInfo>) -> Result<KeptContexts, WatchError> {
        let mut kept = KeptContexts::default();
        if let Some(context) = info.config.transport_socket.tls()
            && context.discoveries().next().is_some()
        {
            let user = self.user(TlsUser::of_cluster(info, context, self.around.registry.scope()));
            kept.kept.push(self.follow(user, context.discoveries())?);
        }
        Ok(kept)
    }

    /// What `read` makes of the contexts that follow secrets.
    pub fn map_contexts<R>(&self, read: impl Fn(&CommonTlsContext) -> Option<R>) -> Vec<R> {
        let users = self.users.borrow();
        users.iter().filter_map(Weak::upgrade).filter_map(|user| user.with_common(&read)).collect()
    }

    /// What `/config_dump` shows.
    pub fn dump(&self) -> Vec<SecretDump> {
        let providers = self.providers.borrow();
        providers.iter().filter_map(Weak::upgrade).map(|provider| provider.dump()).collect()
    }

    /// The same user, if it is known already.
    fn user(&self, user: TlsUser) -> Rc<TlsUser> {
        let mut users = self.users.borrow_mut();
        users.retain(|known| known.strong_count() > 0);
        let known = users.iter().filter_map(Weak::upgrade).find(|known| known.is_same_as(&user));
        known.unwrap_or_else(|| {
            let user = Rc::new(user);
            users.push(Rc::downgrade(&user));
            user
        })
    }

    fn follow<'a>(
        &self,
        user: Rc<TlsUser>,
        discoveries: impl Iterator<Item = &'a SecretDiscovery>,
    ) -> Result<(Rc<TlsUser>, Vec<Rc<Provider>>), WatchError> {
        let mut providers: Vec<Rc<Provider>> = Vec::new();
        for discovery in discoveries {
            let provider = self.provider(discovery);
            if !providers.iter().any(|known| Rc::ptr_eq(known, &provider)) {
                providers.push(provider);
            }
        }
        for provider in &providers {
            provider.add(&user);
        }
        // Once all know their user: what they bring may belong together.
        providers.iter().try_for_each(Provider::start)?;
        Ok((user, providers))
    }

    fn provider(&self, discovery: &SecretDiscovery) -> Rc<Provider> {
        let mut providers = self.providers.borrow_mut();
        providers.retain(|known| known.strong_count() > 0);
        let known = providers.iter().filter_map(Weak::upgrade).find(|known| known.provides(discovery));
        known.unwrap_or_else(|| {
            let scope = self.around.registry.scope();
            let provider = Rc::new(Provider {
                around: Rc::clone(&self.around),
                discovery: discovery.clone(),
                key_rotation_failed: scope.counter(&format!("sds.{}.key_rotation_failed", discovery.name)),
                scope,
                subscription: RefCell::default(),
                users: RefCell::default(),
                current: RefCell::default(),
                is_settled: watch::Sender::new(false),
                rotation: RefCell::default(),
                is_starting: Cell::default(),
            });
            providers.push(Rc::downgrade(&provider));
            provider
        })
    }
}

impl KeptContexts {
    /// The secrets that are waited for.
    pub fn awaited(&self) -> impl Iterator<Item = &str> {
        self.providers().filter(|provider| !provider.is_settled()).map(|provider| &*provider.discovery.name)
    }

    /// Whether no secret is waited for any longer.
    pub fn is_ready(&self) -> bool {
        self.awaited().next().is_none()
    }

    /// Completes when no secret is waited for any longer, or nobody follows them.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let waits: Vec<_> = self.providers().map(|provider| provider.is_settled.subscribe()).collect();
        async move {
            for mut wait in waits {
                // An error means that the provider is gone.
                let _ = wait.wait_for(|is_settled| *is_settled).await;
            }
        }
    }

    fn providers(&self) -> impl Iterator<Item = &Rc<Provider>> {
        self.kept.iter().flat_map(|(_, providers)| providers)
    }
}

impl Provider {
    fn provides(&self, discovery: &SecretDiscovery) -> bool {
        let own = &self.discovery;
        own.name == discovery.name
            && own.file == discovery.file
            && own.watched_directory == discovery.watched_directory
    }

    fn is_settled(&self) -> bool {
        *self.is_settled.borrow()
    }

    fn add(&self, user: &Rc<TlsUser>) {
        let mut users = self.users.borrow_mut();
        users.retain(|known| known.strong_count() > 0);
        if !users.iter().any(|known| std::ptr::eq(known.as_ptr(), Rc::as_ptr(user))) {
            users.push(Rc::downgrade(user));
        }
    }

    fn start(self: &Rc<Self>) -> Result<(), WatchError> {
        if self.is_starting.replace(true) {
            return Ok(());
        }
        let SecretDiscovery { name, file, watched_directory, initial_fetch_timeout, path } = &self.discovery;
        let source = ConfigSource {
            specifier: ConfigSourceSpecifier::File(FileSource {
                path: file.clone(),
                watched_directory: watched_directory.clone(),
            }),
            initial_fetch_timeout: *initial_fetch_timeout,
            path: path.clone(),
        };
        let stats = SubscriptionStats::register(&self.scope, &format!("sds.{name}."));
        let updates = Rc::new(Updates { provider: Rc::downgrade(self), name: name.clone() });
        let started = FileSubscription::start(&source, stats, &self.around.watcher()?, updates);
        self.subscription.replace(Some(started.inspect_err(|_| self.is_starting.set(false))?));
        Ok(())
    }

    /// Reads the file, and puts its secret into force.
    fn load(self: &Rc<Self>, path: &Path) -> Result<String, UpdateError> {
        let began = Instant::now();
        let response = xds::load(path, resources::SECRET)?;
        let refused = |errors: Vec<ConfigError>| UpdateError::refused(&response, errors);
        let name = &self.discovery.name;
        let Some(resource) = response.resources.iter().find(|resource| resource.name == *name) else {
            let message = match response.resources.first() {
                Some(other) => format!("Unexpected SDS secret (expecting {name}): {}", other.name),
                None => format!("Missing SDS resources for {name} in onConfigUpdate()"),
            };
            return Err(refused(vec![ConfigError::new("resources", message)]));
        };
        let mut context = Context::new(&read_external);
        let secret = resources::secret(resource, &mut context);
        let secret = context.finish(secret).map_err(refused)?;
        let secrets: Vec<Secret> = secret.into_iter().collect();
        self.apply(&secrets).map_err(refused)?;
        let directories = secrets.iter().flat_map(|secret| &secret.file_directories);
        self.rotate_with(directories.map(String::as_str));
        let json = api::to_json(&resource.message);
        let resource = Resource { version: response.version.clone(), json, updated: unix_now() };
        self.current.replace(Some(Rc::new(resource)));
        self.settle();
        self.around.ordered(began);
        Ok(response.version)
    }

    /// Takes secrets over for all contexts, or for none.
    fn apply(&self, secrets: &[Secret]) -> Result<(), Vec<ConfigError>> {
        let users: Vec<_> = self.users.borrow().iter().filter_map(Weak::upgrade).collect();
        let mut context = Context::new(&read_external);
        let changes: Vec<_> =
            users.iter().map(|user| user.change(&self.discovery.file, secrets, &mut context)).collect();
        context.finish(())?;
        users.iter().zip(changes).for_each(|(user, change)| user.put(change));
        Ok(())
    }

    /// Reads all of it anew whenever something is moved into one of these directories.
    fn rotate_with<'a>(self: &Rc<Self>, directories: impl Iterator<Item = &'a str>) {
        let mut before = self.rotation.take();
        let mut rotation: Vec<Rotation> = Vec::new();
        for directory in directories {
            if rotation.iter().any(|other| other.directory == directory) {
                continue;
            }
            match before.iter().position(|other| other.directory == directory) {
                Some(known) => rotation.push(before.swap_remove(known)),
                None => rotation.extend(self.watch(directory)),
            }
        }
        self.rotation.replace(rotation);
    }

    fn watch(self: &Rc<Self>, directory: &str) -> Option<Rotation> {
        let watcher = self.around.watcher();
        let watch = watcher.and_then(|watcher| watcher.watch_directory(Path::new(directory)));
        let watch =
            watch.map_err(|error| log_warn!(Config, "sds '{}': {error}", self.discovery.name)).ok()?;
        let provider = Rc::downgrade(self);
        let task = tokio::task::spawn_local(async move {
            loop {
                watch.moved().await;
                let Some(provider) = provider.upgrade() else { return };
                provider.rotate();
            }
        });
        Some(Rotation { directory: directory.to_owned(), task: task.abort_handle() })
    }

    /// A file that the secret refers to may have changed.
    fn rotate(self: &Rc<Self>) {
        let path = self.discovery.file.clone();
        if let Err(error) = self.load(Path::new(&path)) {
            self.key_rotation_failed.inc();
            let name = &self.discovery.name;
            log_warn!(Config, "sds '{name}': the files were replaced in vain: {}", error.lines().join("; "));
        }
    }

    fn settle(&self) {
        self.is_settled.send_replace(true);
        self.around.progress.notify_one();
    }

    fn dump(&self) -> SecretDump {
        let subscription = self.subscription.borrow();
        SecretDump {
            name: self.discovery.name.clone(),
            resource: self.current.borrow().clone(),
            rejected: subscription.as_ref().and_then(FileSubscription::rejected),
        }
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the subscription's task holds; the provider holds the subscription.
struct Updates {
    provider: Weak<Provider>,
    name: String,
}

impl Subscriber for Updates {
    fn name(&self) -> String {
        format!("sds '{}'", self.name)
    }

    fn update(&self, path: &Path) -> Result<String, UpdateError> {
        self.provider.upgrade().map_or_else(|| Ok(String::new()), |provider| provider.load(path))
    }

    fn give_up(&self) {
        if let Some(provider) = self.provider.upgrade() {
            provider.settle();
        }
    }
}
