//! Tells raw connections that their host has failed its health checks
//! (`close_connections_on_host_health_failure`). Ends no connection itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// One for each host; silent until it is rung.
#[derive(Default)]
pub(in crate::upstream) struct FailureBell {
    watches: RefCell<Slab<Watched>>,
}

enum Watched {
    Silent(Option<Waker>),
    Rung,
}

/// Of one connection, for as long as it is there.
pub(super) struct FailureWatch {
    bell: Rc<FailureBell>,
    key: usize,
}

impl FailureBell {
    /// Tells everyone who watches now.
    pub fn ring(&self) {
        let rung = |watched: &mut Watched| match std::mem::replace(watched, Watched::Rung) {
            Watched::Silent(waker) => waker,
            Watched::Rung => None,
        };
        // Woken when nothing is borrowed any more.
        let wakers: Vec<Waker> =
            self.watches.borrow_mut().iter_mut().filter_map(|(_, watched)| rung(watched)).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl FailureWatch {
    pub fn new(bell: &Rc<FailureBell>) -> FailureWatch {
        let key = bell.watches.borrow_mut().insert(Watched::Silent(None));
        FailureWatch { bell: Rc::clone(bell), key }
    }

    /// Ready once the bell has been rung.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.bell.watches.borrow_mut()[self.key] {
            Watched::Rung => Poll::Ready(()),
            Watched::Silent(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for FailureWatch {
    fn drop(&mut self) {
        self.bell.watches.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_watch_are_told_and_nobody_else() {
        let bell = Rc::new(FailureBell::default());
        let mut cx = Context::from_waker(Waker::noop());
        let (stays, leaves) = (FailureWatch::new(&bell), FailureWatch::new(&bell));
        assert!(stays.poll_rung(&mut cx).is_pending());
        drop(leaves);
        bell.ring();
        assert!(stays.poll_rung(&mut cx).is_ready());
        let later = FailureWatch::new(&bell);
        assert!(later.poll_rung(&mut cx).is_pending());
        drop((stays, later));
        assert!(bell.watches.borrow().is_empty());
    }
}
