//! Tells connections that their listener, or the filter chain that serves them, wants them gone.
//!
//! First they are only told to end with their next response, so that no request meets a closed connection;
//! then idle ones end; at last all do. The state of a listener holds those of its filter chains, because a
//! listener may be replaced while some of its chains, and the connections on them, stay.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// How much connections are wanted gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DrainLevel {
    /// Not at all.
    #[default]
    Open,
    /// The next response is the last one (`connection: close`); idle connections stay.
    Announced,
    /// Idle connections end as well.
    CloseIdle,
    /// All connections end, whatever they are doing.
    Closed,
}

/// How much a listener or a filter chain (on one worker) wants its connections gone, and whom to wake when
/// that changes.
#[derive(Debug, Default)]
pub struct DrainState {
    level: Cell<DrainLevel>,
    connections: RefCell<Slab<Option<Waker>>>,
    /// Connections that only wait for [`DrainLevel::Closed`]; the same as above, by another name.
    tasks: RefCell<Slab<Option<Waker>>>,
    children: RefCell<Vec<Rc<DrainState>>>,
}

impl DrainState {
    /// Whether connections should end at the next chance.
    pub fn is_draining(&self) -> bool {
        self.level.get() > DrainLevel::Open
    }

    /// Whether connections should end even though nobody has been told.
    pub fn closes_idle(&self) -> bool {
        self.level.get() >= DrainLevel::CloseIdle
    }

    /// Connections that are registered now, here and with the states below.
    pub fn connections(&self) -> usize {
        let below: usize = self.children.borrow().iter().map(|child| child.connections()).sum();
        self.connections.borrow().len() + below
    }

    /// Has connections end: those in use with their next response, idle ones now.
    pub fn start(&self) {
        self.raise(DrainLevel::CloseIdle);
    }

    /// Raises the level, here and in the states below, and wakes every connection. It never falls.
    pub fn raise(&self, level: DrainLevel) {
        if level > self.level.get() {
            self.level.set(level);
            wake_all(&self.connections);
            if level == DrainLevel::Closed {
                wake_all(&self.tasks);
            }
        }
        let children = self.children.borrow().clone();
        children.iter().for_each(|child| child.raise(level));
    }

    /// Takes `child` under this state: it is counted here, and drains when this does.
    pub fn adopt(&self, child: Rc<DrainState>) {
        child.raise(self.level.get());
        self.children.borrow_mut().push(child);
    }

    /// Lets go of `child`, which another state has adopted.
    pub fn release(&self, child: &Rc<DrainState>) {
        self.children.borrow_mut().retain(|other| !Rc::ptr_eq(other, child));
    }

    /// Registers a connection until the guard is dropped.
    pub fn register(self: &Rc<Self>) -> DrainRegistration {
        let key = self.connections.borrow_mut().insert(None);
        DrainRegistration { state: Rc::clone(self), key }
    }

    /// Runs `connection` to its end, or until the level is [`DrainLevel::Closed`], when it is dropped.
    pub fn until_closed<F: Future + Unpin>(&self, connection: F) -> UntilClosed<'_, F> {
        UntilClosed { connection, place: Place { state: self, key: self.tasks.borrow_mut().insert(None) } }
    }
}

/// A connection that ends when it is wanted gone altogether; gives none then.
#[must_use = "futures do nothing unless polled"]
pub struct UntilClosed<'a, F> {
    connection: F,
    place: Place<'a>,
}

impl<F: Future + Unpin> Future for UntilClosed<'_, F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let Place { state, key } = self.place;
        if state.level.get() == DrainLevel::Closed {
            return Poll::Ready(None);
        }
        if let Some(waker @ None) = state.tasks.borrow_mut().get_mut(key) {
            *waker = Some(cx.waker().clone());
        }
        Pin::new(&mut self.connection).poll(cx).map(Some)
    }
}

fn wake_all(wakers: &RefCell<Slab<Option<Waker>>>) {
    let wakers: Vec<Waker> = wakers.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
    wakers.into_iter().for_each(Waker::wake);
}

/// The place of a connection's task.
struct Place<'a> {
    state: &'a DrainState,
    key: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.state.tasks.borrow_mut().remove(self.key);
    }
}

/// A connection's place in the list of whom to wake.
#[derive(Debug)]
pub struct DrainRegistration {
    state: Rc<DrainState>,
    key: usize,
}

impl DrainRegistration {
    /// Whether the connection should end at the next chance.
    pub fn is_draining(&self) -> bool {
        self.state.is_draining()
    }

    /// As [`DrainState::until_closed`].
    pub fn until_closed<F: Future + Unpin>(&self, connection: F) -> UntilClosed<'_, F> {
        self.state.until_closed(connection)
    }

    /// Whether the connection should end though its peer has not been told.
    pub fn closes_idle(&self) -> bool {
        self.state.closes_idle()
    }

    /// Has `waker` woken when the level rises. Cheap when it is the one that is known already.
    pub fn set_waker(&self, waker: &Waker) {
        let mut connections = self.state.connections.borrow_mut();
        if let Some(known) = connections.get_mut(self.key) {
            match known {
                Some(same) if same.will_wake(waker) => {}
                other => *other = Some(waker.clone()),
            }
        }
    }
}

impl Drop for DrainRegistration {
    fn drop(&mut self) {
        self.state.connections.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn starting_wakes_whoever_is_registered() {
        let state = Rc::new(DrainState::default());
        let count = Arc::new(Count::default());
        let stays = state.register();
        let leaves = state.register();
        stays.set_waker(&Waker::from(Arc::clone(&count)));
        leaves.set_waker(&Waker::from(Arc::clone(&count)));
        drop(leaves);
        assert_eq!(state.connections(), 1);
        state.raise(DrainLevel::Announced);
        assert!(stays.is_draining() && !stays.closes_idle());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        stays.set_waker(&Waker::from(Arc::clone(&count)));
        state.start();
        state.raise(DrainLevel::Announced);
        assert!(stays.closes_idle());
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_chain_outlives_the_listener_that_it_was_part_of() {
        let (old, new) = (DrainState::default(), DrainState::default());
        let (kept, dropped) = (Rc::new(DrainState::default()), Rc::new(DrainState::default()));
        old.adopt(Rc::clone(&kept));
        old.adopt(Rc::clone(&dropped));
        let _connections = [kept.register(), kept.register(), dropped.register()];
        assert_eq!(old.connections(), 3);
        old.release(&kept);
        new.adopt(Rc::clone(&kept));
        old.raise(DrainLevel::Announced);
        assert_eq!((old.connections(), new.connections()), (1, 2));
        assert!(dropped.is_draining() && !kept.is_draining());
        new.start();
        assert!(kept.closes_idle());
    }

    #[test]
    fn closing_drops_a_connection_in_the_middle() {
        let state = Rc::new(DrainState::default());
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let alive = Rc::new(());
        let held = Rc::clone(&alive);
        let connection = async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        let mut task = Box::pin(state.until_closed(Box::pin(connection)));
        assert!(task.as_mut().poll(&mut cx).is_pending());
        state.start();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert!(task.as_mut().poll(&mut cx).is_pending());
        state.raise(DrainLevel::Closed);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(task.as_mut().poll(&mut cx).is_ready());
        drop(task);
        assert_eq!(Rc::strong_count(&alive), 1);
        assert!(state.tasks.borrow().is_empty());
    }
}
