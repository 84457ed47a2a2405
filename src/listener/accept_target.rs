//! Who takes the connections that a listening socket accepts: another listener can take a socket over while
//! it accepts, so that no connection is lost, or the socket is closed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::ActiveListener;

/// The listener that the sockets of one address belong to, on one worker.
pub struct AcceptTarget {
    listener: RefCell<Rc<ActiveListener>>,
    closed: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl AcceptTarget {
    /// Sockets of this listener.
    pub fn new(listener: Rc<ActiveListener>) -> Rc<AcceptTarget> {
        Rc::new(AcceptTarget {
            listener: RefCell::new(listener),
            closed: Cell::new(false),
            wakers: RefCell::default(),
        })
    }

    /// The listener that takes the next connection.
    pub fn listener(&self) -> Rc<ActiveListener> {
        Rc::clone(&self.listener.borrow())
    }

    /// Has another listener take the connections from now on.
    pub fn hand_over(&self, to: Rc<ActiveListener>) {
        self.listener.replace(to);
    }

    /// Ends accepting; the sockets are closed. Connections stay.
    pub fn close(&self) {
        self.closed.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// Whether the sockets are to be closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Has the accept loop woken when the sockets are to be closed.
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}
