//! A client's connection to the proxy, and what pushes may do to it and to the requests on it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ringway::base::clock::Instant;
use ringway::io::{self, Address};

use super::client::{Answer, Manner, Sent};
use super::history::History;
use super::world::World;

/// How long a client may take to notice what the proxy has told it, or done to it.
const NOTICED: Duration = Duration::from_millis(100);
/// How long a client of HTTP/2 may go on to open streams after GOAWAY was ordered: it may be reading something else.
const OBEYED: Duration = Duration::from_secs(1);

/// A connection.
pub struct Line {
    pub manner: Manner,
    port: u16,
    opened: Instant,
    /// When the first response came: the listener of that time has the connection.
    served: Cell<Option<Instant>>,
    /// The filter chain that has it.
    chain: RefCell<Option<String>>,
}

impl Line {
    /// A connection that is about to be made.
    pub fn new(to: &Address, manner: Manner) -> Line {
        let port = to.as_ip().map_or(0, |address| address.port());
        Line { manner, port, opened: io::now(), served: Cell::default(), chain: RefCell::default() }
    }

    /// Whether the proxy may have broken the connection off by now.
    pub fn may_break(&self, world: &World) -> bool {
        let was_cut = |history: &History| history.was_cut(self.port, self.opened).is_some();
        world.is_draining() || self.manner == Manner::Slow || world.history().is_some_and(was_cut)
    }

    /// Judges a response's head as far as pushes have to do with it.
    pub fn judge(&self, world: &World, request: &Sent, answer: &Answer) {
        let Some(history) = world.history() else { return };
        let (id, window) = (request.id, (request.began.get(), answer.at));
        let wrong = match answer.id {
            Some(_) => history.check_versions(id, (answer.seen_version, answer.version), window),
            None => history.check_version(id, answer.version, window),
        };
        if let Err(wrong) = wrong {
            world.violation(format_args!("{wrong}"));
        }
        let mut chain = self.chain.borrow_mut();
        if chain.is_some() && *chain != answer.server {
            world.violation(format_args!("request {id}: from {chain:?} to {:?}", answer.server));
        }
        chain.clone_from(&answer.server);
        let served = self.served.get().unwrap_or(answer.at);
        self.served.set(Some(served));
        let cut = history.was_cut(self.port, served);
        if cut.is_some_and(|cut| cut + NOTICED < request.began.get()) {
            world.violation(format_args!(
                "request {id} was served on a connection that was to be cut at {cut:?}"
            ));
        }
    }

    /// Judges whether the response of HTTP/1 says that the connection ends, rightly.
    pub fn judge_close(&self, world: &World, request: &Sent, answer: &Answer) {
        let Some(history) = world.history() else { return };
        let id = request.id;
        if answer.says_close {
            let told = history.told(self.port, self.opened);
            let is_due = world.is_draining() || told.is_some() || request.asks_to_close.get();
            // What is not read of a request would be in the way of the next one.
            let is_simple = answer.id.is_some() && request.is_safe();
            if !is_due && is_simple {
                world.violation(format_args!("request {id}: the connection ends for no reason"));
            }
        } else if self.told_before(history, request.began.get()) && answer.end.is_ok() {
            world.violation(format_args!("request {id}: the connection does not end, but should"));
        }
    }

    /// Judges whether the proxy has said GOAWAY, rightly, when a stream ends.
    pub fn judge_goaway(&self, world: &World, request: &Sent, has_said: bool) {
        let Some(history) = world.history() else { return };
        let id = request.id;
        // To the proxy a connection is idle on which only unread responses are left.
        let is_due = world.is_draining()
            || self.manner == Manner::Slow
            || history.told(self.port, self.opened).is_some();
        if has_said && !is_due {
            world.violation(format_args!("request {id}: GOAWAY for no reason"));
        }
        let since = request.began.get().since(Instant::default() + OBEYED);
        let began = Instant::default() + since;
        if !has_said && self.manner != Manner::Slow && self.told_before(history, began) {
            world.violation(format_args!("request {id}: no GOAWAY, but it is due"));
        }
    }

    /// Whether the connection was told to end before `at`, and was surely there when it was.
    fn told_before(&self, history: &History, at: Instant) -> bool {
        let Some(served) = self.served.get() else { return false };
        history.told(self.port, served + Duration::from_nanos(1)).is_some_and(|told| told < at)
    }
}
