//! Walking over a header map.

use super::{HeaderName, Storage};
use crate::http::header_map::Entry;

/// Headers in order as (name, value).
#[derive(Clone)]
pub struct HeaderIter<'a> {
    bytes: &'a [u8],
    entries: std::slice::Iter<'a, Entry>,
}

impl<'a> HeaderIter<'a> {
    pub(super) fn new(storage: Option<&'a Storage>, skip: usize) -> HeaderIter<'a> {
        let (bytes, entries) = storage.map_or((&[][..], &[][..]), |storage| {
            (&storage.bytes[..], storage.entries.get(skip..).unwrap_or_default())
        });
        HeaderIter { bytes, entries: entries.iter() }
    }
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        Some((entry.name(self.bytes), entry.value.of(self.bytes)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

/// The values of one name in order.
#[derive(Clone)]
pub struct ValueIter<'a, 'n> {
    storage: Option<&'a Storage>,
    name: HeaderName<'n>,
    next: usize,
}

impl<'a, 'n> ValueIter<'a, 'n> {
    pub(super) fn new(storage: Option<&'a Storage>, name: HeaderName<'n>) -> ValueIter<'a, 'n> {
        ValueIter { storage, name, next: 0 }
    }
}

impl<'a> Iterator for ValueIter<'a, '_> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let storage = self.storage?;
        let index = storage.find(&self.name, self.next)?;
        self.next = index + 1;
        Some(storage.value(index))
    }
}
