//! What filters may know of the process and of the worker that runs them.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::access_log::{AccessLogManager, AccessLogSet};
use crate::api::ConfigError;
use crate::config::{AccessLog, FieldPath, Node, ReadData, Runtime};
use crate::stats::Scope;
use crate::upstream::ClusterManager;

use super::network::http_connection_manager::{RouteDiscovery, RouteSlots};

/// Facts and switches of the process, shared by all threads.
#[derive(Debug)]
pub struct ServerState {
    /// Who this process is.
    pub node: Node,
    /// Runtime values.
    pub runtime: Runtime,
    health_check_failed: AtomicBool,
    draining: AtomicBool,
}

impl ServerState {
    /// A healthy process.
    pub fn new(node: Node, runtime: Runtime) -> ServerState {
        ServerState {
            node,
            runtime,
            health_check_failed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// Whether `/healthcheck/fail` is in force: health checks of this proxy fail.
    pub fn health_check_failed(&self) -> bool {
        self.health_check_failed.load(Ordering::Relaxed)
    }

    /// Makes health checks of this proxy fail, or succeed again.
    pub fn set_health_check_failed(&self, failed: bool) {
        self.health_check_failed.store(failed, Ordering::Relaxed);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Says that the process is about to end.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// A worker, as filters see it. Never leaves its thread.
pub struct WorkerContext {
    /// The worker's number, from 0.
    pub index: usize,
    /// Its clusters.
    pub clusters: Rc<ClusterManager>,
    /// Its discovered route tables.
    pub routes: RouteSlots,
    /// The process.
    pub server: Arc<ServerState>,
}

impl WorkerContext {
    /// A worker that no route table has been given to.
    pub fn new(index: usize, clusters: Rc<ClusterManager>, server: Arc<ServerState>) -> WorkerContext {
        WorkerContext { index, clusters, routes: RouteSlots::default(), server }
    }
}

/// What compiling a filter's configuration may need.
pub struct BuildContext<'a> {
    /// Where statistics are registered. They go with the listener.
    pub registry: &'a Scope,
    /// Prefix of the connection manager's statistics, with a dot at its end: `http.ingress.`.
    pub stat_prefix: &'a str,
    /// Where discovered route tables come from.
    pub route_discovery: &'a dyn RouteDiscovery,
    /// Names of the clusters that exist.
    pub clusters: &'a dyn Fn(&str) -> bool,
    /// Prefix of the listener's statistics, with a dot at its end.
    pub listener_stat_prefix: &'a str,
    /// Runtime values.
    pub runtime: &'a Runtime,
    /// Reads files and variables that a configuration refers to.
    pub read: &'a ReadData<'a>,
    /// Opens access logs; none when a configuration is only validated.
    pub access_logs: Option<&'a AccessLogManager>,
}

impl BuildContext<'_> {
    /// Compiles the logs in the field `access_log` of the message at `path`; where a configuration is only
    /// validated, they are checked and nothing is opened.
    ///
    /// # Errors
    /// If a format does not compile or a file cannot be opened.
    pub fn compile_access_logs(
        &self,
        logs: &[AccessLog],
        path: &FieldPath,
    ) -> Result<AccessLogSet, ConfigError> {
        let compiled = match self.access_logs {
            Some(manager) => AccessLogSet::compile(logs, self.runtime, manager),
            None => AccessLogSet::check(logs).map(|()| AccessLogSet::default()),
        };
        compiled.map_err(|error| ConfigError::new(path.field("access_log").as_str(), error.to_string()))
    }
}
