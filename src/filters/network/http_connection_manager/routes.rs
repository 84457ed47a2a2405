//! How a route table reaches the exchanges of a connection manager.
//!
//! A table that stands in the configuration is part of the manager. One that is discovered comes to each
//! worker as a command and is kept there in a slot: an exchange takes the table that is in the slot when its
//! request has come, and keeps it to its end, whatever comes meanwhile. Taking it counts references of this
//! thread only. Nothing is freed here: the control thread holds whatever workers may still use.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::api::ConfigError;
use crate::config::{Rds, RouteConfiguration, TypedExtension};
use crate::filters::http;
use crate::routing::{FilterConfig, FilterSlot, PerFilterError, RouteTable};

/// A route table, and where in it one manager's filters find their configuration. Immutable.
#[derive(Debug, Default)]
pub struct Routes {
    /// The table.
    pub table: Arc<RouteTable>,
    /// By filter.
    pub(super) filter_slots: Vec<Option<FilterSlot>>,
}

/// Names the slot of one connection manager on every worker, for as long as the manager exists.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct RouteSlotId(pub u64);

/// Where connection managers, when they are compiled, say which route tables they need.
pub trait RouteDiscovery {
    /// A slot for the manager with these statistics (`http.ingress.`) and these filters, in order. The table
    /// of `rds` is put into it once it is known, and whenever it changes.
    fn subscribe(&self, rds: &Arc<Rds>, stat_prefix: &str, filters: Vec<Arc<str>>) -> Arc<RouteSlotId>;
}

/// The slots of one worker.
#[derive(Debug, Default)]
pub struct RouteSlots {
    slots: RefCell<HashMap<u64, Rc<RouteSlot>>>,
}

/// What is in force for one connection manager on one worker.
#[derive(Debug, Default)]
pub struct RouteSlot {
    current: RefCell<Rc<Shared>>,
}

/// Routes that threads share, to be counted by one thread: workers that count the same number in turn wait for
/// each other's caches.
#[derive(Debug, Default)]
struct Shared(Arc<Routes>);

/// Where a manager's routes are.
pub(super) enum RouteSource {
    /// In the manager.
    Fixed(Routes),
    /// In a slot of each worker.
    Slot(Arc<RouteSlotId>),
}

/// What one connection holds of it: the slot, if there is one.
pub(super) struct ConnectionRoutes(Option<Rc<RouteSlot>>);

/// Routes that an exchange holds.
pub(super) struct TakenRoutes(Rc<Shared>);

/// The same for one exchange.
pub(super) enum ExchangeRoutes<'m> {
    Fixed(&'m Routes),
    Taken(TakenRoutes),
}

impl Routes {
    /// The table for a manager with these filters.
    pub fn new(table: Arc<RouteTable>, filters: &[Arc<str>]) -> Routes {
        Routes { filter_slots: filters.iter().map(|name| table.filter_slot(name)).collect(), table }
    }
}

/// Compiles a route table with its filters' configuration. What has not changed since `previous` is taken
/// over from it.
///
/// # Errors
/// All that is wrong with it.
pub fn compile_route_table(
    config: &RouteConfiguration,
    previous: &RouteTable,
) -> Result<RouteTable, Vec<ConfigError>> {
    RouteTable::compile_after(previous, config, &compile_route_config)
}

fn compile_route_config(_: &str, extension: &TypedExtension) -> Result<FilterConfig, PerFilterError> {
    http::build_route_config(extension)
}

impl RouteSlots {
    /// Puts routes into a slot, which is made if there is none. Requests that have begun keep theirs.
    pub fn set(&self, slot: u64, routes: Arc<Routes>) {
        let slot = self.get(slot);
        slot.current.replace(Rc::new(Shared(routes)));
    }

    /// Forgets a slot whose manager is gone.
    pub fn remove(&self, slot: u64) {
        self.slots.borrow_mut().remove(&slot);
    }

    /// The slot. Before its table has come it has one without routes.
    fn get(&self, slot: u64) -> Rc<RouteSlot> {
        Rc::clone(self.slots.borrow_mut().entry(slot).or_default())
    }
}

impl RouteSource {
    /// What a connection on the worker with these slots needs.
    pub(super) fn on_worker(&self, slots: &RouteSlots) -> ConnectionRoutes {
        match self {
            RouteSource::Fixed(_) => ConnectionRoutes(None),
            RouteSource::Slot(id) => ConnectionRoutes(Some(slots.get(id.0))),
        }
    }
}

impl ConnectionRoutes {
    /// The routes in force now; `source` is where the connection's manager has them.
    #[inline]
    pub(super) fn take<'m>(&self, source: &'m RouteSource) -> ExchangeRoutes<'m> {
        match (&self.0, source) {
            (Some(slot), _) => ExchangeRoutes::Taken(TakenRoutes(Rc::clone(&slot.current.borrow()))),
            (None, RouteSource::Fixed(routes)) => ExchangeRoutes::Fixed(routes),
            // Whoever has a slot's manager has its slot.
            (None, RouteSource::Slot(_)) => ExchangeRoutes::Taken(TakenRoutes(Rc::default())),
        }
    }
}

impl Deref for ExchangeRoutes<'_> {
    type Target = Routes;

    #[inline]
    fn deref(&self) -> &Routes {
        match self {
            ExchangeRoutes::Fixed(routes) => routes,
            ExchangeRoutes::Taken(routes) => &routes.0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(name: &str) -> Arc<Routes> {
        let mut table = RouteTable::default();
        table.name.push_str(name);
        Arc::new(Routes::new(Arc::new(table), &[]))
    }

    #[test]
    fn an_exchange_keeps_the_table_that_it_took() {
        let slots = RouteSlots::default();
        let source = RouteSource::Slot(Arc::new(RouteSlotId(7)));
        let connection = source.on_worker(&slots);
        assert!(connection.take(&source).table.virtual_hosts().is_empty(), "no table yet: no route");
        let first = routes("first");
        slots.set(7, Arc::clone(&first));
        let exchange = connection.take(&source);
        slots.set(7, routes("second"));
        assert_eq!(exchange.table.name, "first");
        assert_eq!(connection.take(&source).table.name, "second");
        assert_eq!(Arc::strong_count(&first), 2, "held by the exchange");
        drop(exchange);
        assert_eq!(Arc::strong_count(&first), 1);
        slots.remove(7);
        assert_eq!(connection.take(&source).table.name, "second", "an open connection outlives its manager");
    }
}
