//! A value that changes now and then, and what it was at which time.

use std::cell::RefCell;

use ringway::base::clock::Instant;
use ringway::io;

/// All values so far, with the times from which they held.
pub struct Timeline<T> {
    values: RefCell<Vec<(Instant, T)>>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Timeline<T> {
        Timeline { values: RefCell::default() }
    }
}

impl<T> Timeline<T> {
    /// The value is this from now on.
    pub fn set(&self, value: T) {
        self.values.borrow_mut().push((io::now(), value));
    }

    /// Whether something holds of the value at some instant from `from` to `until`, both included.
    pub fn any(&self, from: Instant, until: Instant, holds: impl Fn(&T) -> bool) -> bool {
        let values = self.values.borrow();
        let ends = values.iter().skip(1).map(|(begin, _)| *begin).chain([Instant::FAR_FUTURE]);
        let overlapping = values.iter().zip(ends).filter(|((begin, _), end)| *begin <= until && *end >= from);
        overlapping.into_iter().any(|((_, value), _)| holds(value))
    }

    /// The first value of which something holds, if any.
    pub fn find<R>(&self, find: impl FnMut(&T) -> Option<R>) -> Option<R> {
        self.values.borrow().iter().map(|(_, value)| value).find_map(find)
    }
}
