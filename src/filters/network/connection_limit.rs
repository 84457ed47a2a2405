//! At most so many connections at once (`envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit`),
//! counted over all workers, for each filter chain by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3 as proto;

use crate::api::{ConfigError, MessageSupport};
use crate::config::{Context, FieldPath, RuntimeFlag};
use crate::filters::BuildContext;
use crate::io;
use crate::stats::groups::ConnectionLimitStats;

use super::{
    BuiltFilter, Closing, NetworkContext, NetworkFilter, NetworkFilterDefinition, NetworkFilterFactory,
    Verdict,
};

/// The connection-limit filter.
pub struct ConnectionLimit {
    max_connections: u64,
    /// How long a connection over the limit is kept before it is closed. It counts meanwhile.
    delay: Duration,
    /// None is on.
    enabled: Option<RuntimeFlag>,
    /// Connections of all workers that are open, those over the limit included.
    connections: AtomicU64,
    stats: ConnectionLimitStats,
}

impl NetworkFilterDefinition for ConnectionLimit {
    type Config = proto::ConnectionLimit;

    const SUPPORT: &'static [MessageSupport] =
        &[MessageSupport::all("envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit")];

    fn build(
        config: proto::ConnectionLimit,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let mut context = Context::new(cx.read);
        let Some(max_connections) = &config.max_connections else {
            return Err(vec![ConfigError::new(path.field("max_connections").as_str(), "must be set")]);
        };
        let delay = config.delay.as_ref();
        let filter = ConnectionLimit {
            max_connections: max_connections.value,
            delay: delay.map_or(Duration::ZERO, |delay| context.duration(delay, &path.field("delay"))),
            enabled: config.runtime_enabled.as_ref().map(RuntimeFlag::from),
            connections: AtomicU64::new(0),
            stats: ConnectionLimitStats::register(
                cx.registry,
                &format!("connection_limit.{}.", config.stat_prefix),
            ),
        };
        context.finish(BuiltFilter::Filter(Arc::new(Factory(Arc::new(filter)))))
    }
}

struct Factory(Arc<ConnectionLimit>);

impl NetworkFilterFactory for Factory {
    fn create(&self) -> Box<dyn NetworkFilter> {
        Box::new(Guard { filter: Arc::clone(&self.0), place: None })
    }
}

/// The filter at work on one connection.
struct Guard {
    filter: Arc<ConnectionLimit>,
    /// None while the filter is off.
    place: Option<Place>,
}

impl NetworkFilter for Guard {
    fn on_new_connection(&mut self, cx: &NetworkContext<'_>) -> Verdict {
        let filter = &self.filter;
        let runtime = &cx.worker.server.runtime;
        if filter.enabled.as_ref().is_some_and(|flag| !runtime.flag(flag)) {
            return Verdict::Continue;
        }
        let place = Place::take(filter);
        let is_over = place.before >= filter.max_connections;
        self.place = Some(place);
        if !is_over {
            return Verdict::Continue;
        }
        filter.stats.limited_connections.inc();
        if filter.delay.is_zero() {
            return Verdict::Close(Closing::default());
        }
        let delay = filter.delay;
        Verdict::Await(Box::pin(async move {
            io::sleep(delay).await;
            Verdict::Close(Closing::default())
        }))
    }
}

/// One connection among those that are open; given back when dropped.
struct Place {
    filter: Arc<ConnectionLimit>,
    /// How many there were before it.
    before: u64,
}

impl Place {
    fn take(filter: &Arc<ConnectionLimit>) -> Place {
        filter.stats.active_connections.inc();
        let before = filter.connections.fetch_add(1, Ordering::Relaxed);
        Place { filter: Arc::clone(filter), before }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.filter.connections.fetch_sub(1, Ordering::Relaxed);
        self.filter.stats.active_connections.dec();
    }
}
