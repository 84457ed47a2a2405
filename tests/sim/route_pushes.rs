//! Route tables as a control thread hands them to its worker: every connection manager has its slot, and all of
//! them are given each version.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use ringway::base::rng::Rng;
use ringway::config::Rds;
use ringway::config::route::Route;
use ringway::filters::network::http_connection_manager::{
    RouteDiscovery, RouteSlotId, Routes, compile_route_table,
};
use ringway::io::sim;
use ringway::routing::RouteTable;
use ringway::server::{Command, Traffic};

use super::control::Control;

/// The table in force and who uses it.
pub struct RouteTables {
    traffic: Rc<RefCell<Traffic>>,
    routes: RefCell<Vec<Arc<Route>>>,
    version: Cell<u64>,
    table: RefCell<Arc<RouteTable>>,
    users: RefCell<Vec<User>>,
    next_slot: Cell<u64>,
}

struct User {
    slot: u64,
    manager: Weak<RouteSlotId>,
    filters: Vec<Arc<str>>,
    routes: Arc<Routes>,
}

impl RouteTables {
    /// No table yet; the first one will have these routes.
    pub fn new(traffic: &Rc<RefCell<Traffic>>, routes: Vec<Arc<Route>>) -> RouteTables {
        RouteTables {
            traffic: Rc::clone(traffic),
            routes: RefCell::new(routes),
            version: Cell::new(0),
            table: RefCell::default(),
            users: RefCell::default(),
            next_slot: Cell::new(0),
        }
    }

    /// Forgets the slots of connection managers that are gone.
    pub fn sweep(&self, control: &Control) {
        self.users.borrow_mut().retain(|user| {
            let is_used = user.manager.strong_count() > 0;
            if !is_used {
                self.tell(Command::RemoveRoutes { slot: user.slot });
                control.retire(format!("the routes of slot {}", user.slot), &user.routes);
            }
            is_used
        });
    }

    /// How many connection managers there are.
    pub fn managers(&self) -> usize {
        self.users.borrow().len()
    }

    fn tell(&self, command: Command) {
        let given_back = self.traffic.borrow_mut().obey(command);
        assert!(given_back.is_none(), "a command that the worker does not know");
    }

    fn give(&self, slot: u64, routes: &Arc<Routes>) {
        self.tell(Command::SetRoutes { slot, routes: Arc::clone(routes) });
    }
}

impl RouteDiscovery for RouteTables {
    fn subscribe(&self, _: &Arc<Rds>, _: &str, filters: Vec<Arc<str>>) -> Arc<RouteSlotId> {
        let slot = self.next_slot.replace(self.next_slot.get() + 1);
        let manager = Arc::new(RouteSlotId(slot));
        let routes = Arc::new(Routes::new(Arc::clone(&self.table.borrow()), &filters));
        self.give(slot, &routes);
        let user = User { slot, manager: Arc::downgrade(&manager), filters, routes };
        self.users.borrow_mut().push(user);
        manager
    }
}

impl Control {
    /// Puts the next version of the route table into force. What has not changed is taken over from the one before.
    pub fn push_routes(&self, rng: &mut Rng) {
        let tables = &self.routes;
        let version = tables.version.replace(tables.version.get() + 1);
        let mut routes = tables.routes.borrow_mut();
        if version > 0 {
            self.templates.change_routes(&mut routes, rng);
        }
        let (config, table) = self.templates.table(&routes, version);
        sim::note(format_args!("push: {table:?}"));
        let compiled = compile_route_table(&config, &tables.table.borrow()).expect("a table");
        let before = tables.table.replace(Arc::new(compiled));
        self.retire(format!("version {version} of the route table's predecessor"), &before);
        for user in &mut *tables.users.borrow_mut() {
            let routes = Arc::new(Routes::new(Arc::clone(&tables.table.borrow()), &user.filters));
            tables.give(user.slot, &routes);
            let before = std::mem::replace(&mut user.routes, routes);
            self.retire(format!("routes before version {version}"), &before);
        }
        self.history.tables.set(table);
    }
}
