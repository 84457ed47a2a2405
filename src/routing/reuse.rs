//! Finds what of the previous table can be taken over: compiled entries by the address of the configuration
//! that they were compiled from.

use std::collections::HashMap;
use std::sync::Arc;

/// Entries of the previous table. As a rule they are found where they were; the index is made only when one
/// is not.
pub(super) struct Reuse<'a, T, S, F> {
    entries: &'a [Arc<T>],
    source: F,
    by_source: Option<HashMap<*const S, usize>>,
}

impl<'a, T, S, F: Fn(usize) -> *const S> Reuse<'a, T, S, F> {
    /// Of these entries; `source` tells the configuration of the one at a place. It must still be there, or
    /// another could have its address.
    pub(super) fn new(entries: &'a [Arc<T>], source: F) -> Reuse<'a, T, S, F> {
        Reuse { entries, source, by_source: None }
    }

    /// The entry that was compiled from `source`; it is looked for at `place` first.
    pub(super) fn find(&mut self, place: usize, source: *const S) -> Option<&'a Arc<T>> {
        let at_place = self.entries.get(place).filter(|_| (self.source)(place) == source);
        if at_place.is_some() || self.entries.is_empty() {
            return at_place;
        }
        let index = self.by_source.get_or_insert_with(|| {
            (0..self.entries.len()).map(|place| ((self.source)(place), place)).collect()
        });
        index.get(&source).and_then(|place| self.entries.get(*place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_wherever_they_are() {
        let sources = [1, 2, 3].map(Arc::new);
        let entries: Vec<_> = sources.iter().map(|source| Arc::new(**source * 10)).collect();
        let mut reuse = Reuse::new(&entries, |place| Arc::as_ptr(&sources[place]));
        let mut find = |place, source: &Arc<i32>| reuse.find(place, Arc::as_ptr(source)).map(|entry| **entry);
        assert_eq!(find(1, &sources[1]), Some(20));
        assert_eq!(find(0, &sources[2]), Some(30));
        assert_eq!(find(9, &sources[0]), Some(10));
        assert_eq!(find(0, &Arc::new(1)), None, "equal, but not the same");
    }
}
