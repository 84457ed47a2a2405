//! Finds what of the previous table can be taken over: compiled entries by the address of the configuration
//! that they were compiled from.

use std::collections::HashMap;
use std::sync::Arc;

/// Entries of the previous table. As a rule they are found where they were; the index is made only when one
/// is not.
pub(super) struct Reuse<'a, T, S> {
    entries: &'a [Arc<T>],
    source: fn(&T) -> *const S,
    by_source: Option<HashMap<*const S, usize>>,
}

impl<'a, T, S> Reuse<'a, T, S> {
    /// Of these entries, whose configurations `source` tells.
    pub(super) fn new(entries: &'a [Arc<T>], source: fn(&T) -> *const S) -> Reuse<'a, T, S> {
        Reuse { entries, source, by_source: None }
    }

    /// The entry that was compiled from `source`; it is looked for at `place` first.
    pub(super) fn find(&mut self, place: usize, source: *const S) -> Option<&'a Arc<T>> {
        let at_place = self.entries.get(place).filter(|entry| (self.source)(entry) == source);
        if at_place.is_some() || self.entries.is_empty() {
            return at_place;
        }
        let index = self.by_source.get_or_insert_with(|| {
            let sources = self.entries.iter().map(|entry| (self.source)(entry));
            sources.enumerate().map(|(place, source)| (source, place)).collect()
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
        let entries: Vec<_> =
            sources.iter().map(|source| Arc::new((Arc::clone(source), **source * 10))).collect();
        let mut reuse = Reuse::new(&entries, |entry: &(Arc<i32>, i32)| Arc::as_ptr(&entry.0));
        let mut find = |place, source: &Arc<i32>| reuse.find(place, Arc::as_ptr(source)).map(|entry| entry.1);
        assert_eq!(find(1, &sources[1]), Some(20));
        assert_eq!(find(0, &sources[2]), Some(30));
        assert_eq!(find(9, &sources[0]), Some(10));
        assert_eq!(find(0, &Arc::new(1)), None, "equal, but not the same");
    }
}
