//! What many routes of a table have in common, made once while it is compiled: the names of clusters, and how
//! requests are forwarded by routes that differ only in what they match. A table of thousands of routes is then
//! small enough to stay in a near cache. Knows nothing of the tables before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::cluster_choice::ClusterChoice;
use super::entry::{Action, ForwardAction, ForwardConfig, RouteEntry};
use crate::config::route::RetryPolicy;

/// What was made so far.
#[derive(Debug, Default)]
pub(super) struct Shared {
    clusters: HashSet<Arc<str>>,
    actions: HashMap<ActionKey, Arc<ForwardAction>>,
    /// By the address of their actions, which they keep alive.
    routes: HashMap<*const ForwardAction, Arc<RouteEntry>>,
}

/// All that makes an action without rewrites, and with one cluster, what it is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ActionKey {
    cluster: Arc<str>,
    config: ForwardConfig,
    /// The action keeps it alive.
    retry_policy: Option<*const RetryPolicy>,
}

impl Shared {
    /// A cluster's name.
    pub(super) fn cluster_name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.clusters.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.clusters.insert(Arc::clone(&name));
        name
    }

    /// An action, or one that is the same.
    pub(super) fn action(&mut self, action: ForwardAction) -> Arc<ForwardAction> {
        let ClusterChoice::Fixed(cluster) = &action.cluster else { return Arc::new(action) };
        if action.path_change.is_some() || action.host_change.is_some() {
            return Arc::new(action);
        }
        let key = ActionKey {
            cluster: Arc::clone(cluster),
            config: action.config.clone(),
            retry_policy: action.retry_policy.as_ref().map(Arc::as_ptr),
        };
        Arc::clone(self.actions.entry(key).or_insert_with(|| Arc::new(action)))
    }

    /// A route, or one that does the same.
    pub(super) fn route(&mut self, route: RouteEntry) -> Arc<RouteEntry> {
        let action = match &route.action {
            Action::Forward(action) if route.name.is_none() && route.level.is_empty() => Arc::as_ptr(action),
            _ => return Arc::new(route),
        };
        Arc::clone(self.routes.entry(action).or_insert_with(|| Arc::new(route)))
    }
}
