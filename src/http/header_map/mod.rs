//! The headers of one message: one byte buffer, and an entry of 16 bytes for each header.
//!
//! A received head is copied once into the buffer and named in place; added headers are written behind it as they
//! would stand on the wire, so that whole runs of headers are encoded with one copy. A set of the known names
//! present answers most lookups of absent headers without a search. Memory comes from a freelist of the
//! thread and goes back to it: a steady flow of messages allocates nothing.
//!
//! Always holds: names are lower-case tokens, values have no CR, LF or NUL, and pseudo-headers stand first.
//! Header order and repeated headers are kept (RFC 9110 section 5.3). This never joins or splits values by itself.

mod iter;
mod pool;
mod storage;

use std::fmt;

pub use iter::{HeaderIter, ValueIter};
use storage::Storage;
pub(super) use storage::{Entry, Span};

use super::header::{HeaderName, is_safe_value};

/// Headers in order, pseudo-headers first. Eight bytes; an empty map holds no memory.
#[derive(Default)]
pub struct HeaderMap {
    storage: Option<Box<Storage>>,
}

impl HeaderMap {
    /// No headers.
    pub const fn new() -> HeaderMap {
        HeaderMap { storage: None }
    }

    /// Removes all headers and keeps the memory.
    pub fn clear(&mut self) {
        if let Some(storage) = &mut self.storage {
            storage.clear();
        }
    }

    /// The first value of `name`.
    #[inline]
    pub fn get<'n>(&self, name: impl Into<HeaderName<'n>>) -> Option<&[u8]> {
        let storage = self.storage.as_deref()?;
        storage.find(&name.into(), 0).map(|index| storage.value(index))
    }

    /// The first value of `name`, if it is UTF-8.
    pub fn get_str<'n>(&self, name: impl Into<HeaderName<'n>>) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value of `name`, if it is a decimal number without sign or spaces that fits.
    pub fn get_u64<'n>(&self, name: impl Into<HeaderName<'n>>) -> Option<u64> {
        self.get(name).and_then(super::message::parse_decimal)
    }

    /// All values of `name` in order.
    pub fn get_all<'n>(&self, name: impl Into<HeaderName<'n>>) -> ValueIter<'_, 'n> {
        ValueIter::new(self.storage.as_deref(), name.into())
    }

    /// Appends all values of `name` to `out`, joined by commas as Envoy's matchers do. Whether there was any.
    pub fn get_joined<'n>(&self, name: impl Into<HeaderName<'n>>, out: &mut Vec<u8>) -> bool {
        let mut found = false;
        for value in self.get_all(name) {
            if found {
                out.push(b',');
            }
            out.extend_from_slice(value);
            found = true;
        }
        found
    }

    /// Whether there is a header `name`, be it empty.
    #[inline]
    pub fn contains<'n>(&self, name: impl Into<HeaderName<'n>>) -> bool {
        self.storage.as_deref().is_some_and(|storage| storage.contains(&name.into()))
    }

    /// Adds a header behind the others (behind the other pseudo-headers if it is one).
    ///
    /// CR, LF and NUL in `value` become spaces. A `name` that is no token is refused: nothing is added. So is
    /// what would make the map larger than 4 GiB.
    #[inline]
    pub fn append<'n>(&mut self, name: impl Into<HeaderName<'n>>, value: &[u8]) {
        self.storage_mut().push(&name.into(), value);
    }

    /// Gives `name` this one value; where there was one, its place in the order is kept.
    pub fn set<'n>(&mut self, name: impl Into<HeaderName<'n>>, value: &[u8]) {
        let name = name.into();
        let storage = self.storage_mut();
        match storage.find(&name, 0) {
            None => storage.push(&name, value),
            Some(first) => {
                storage.remove_from(&name, first + 1);
                storage.replace_value(first, value);
            }
        }
    }

    /// Adds the header if there is none of that name. Whether it was added.
    pub fn set_if_absent<'n>(&mut self, name: impl Into<HeaderName<'n>>, value: &[u8]) -> bool {
        let name = name.into();
        let absent = !self.contains(name);
        if absent {
            self.append(name, value);
        }
        absent
    }

    /// Puts `separator` and `value` behind the first value of `name`, or adds the header: what a proxy does with
    /// `x-forwarded-for`.
    pub fn append_to_value<'n>(&mut self, name: impl Into<HeaderName<'n>>, separator: &str, value: &[u8]) {
        let name = name.into();
        let storage = self.storage_mut();
        match storage.find(&name, 0) {
            None => storage.push(&name, value),
            Some(index) => storage.extend_value(index, separator.as_bytes(), value),
        }
    }

    /// Removes every header of that name; how many there were.
    #[inline]
    pub fn remove<'n>(&mut self, name: impl Into<HeaderName<'n>>) -> usize {
        let Some(storage) = &mut self.storage else { return 0 };
        storage.remove_from(&name.into(), 0)
    }

    /// Keeps the headers, pseudo-headers included, for which `keep(name, value)` is true.
    pub fn retain(&mut self, keep: impl FnMut(HeaderName<'_>, &[u8]) -> bool) {
        if let Some(storage) = &mut self.storage {
            storage.retain(keep);
        }
    }

    /// All headers in order as (lower-case name, value).
    pub fn iter(&self) -> HeaderIter<'_> {
        HeaderIter::new(self.storage.as_deref(), 0)
    }

    /// The headers without `:method`, `:path` and so on. The host is a pseudo-header, `:authority`.
    pub fn iter_without_pseudo(&self) -> HeaderIter<'_> {
        HeaderIter::new(self.storage.as_deref(), self.pseudo_count())
    }

    /// How many headers there are, pseudo-headers included.
    pub fn len(&self) -> usize {
        self.storage.as_deref().map_or(0, |storage| storage.entries.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all names and values, without what separates them on the wire. Envoy's `byteSize`.
    pub fn byte_size(&self) -> usize {
        self.storage.as_deref().map_or(0, |storage| storage.byte_size as usize)
    }

    fn pseudo_count(&self) -> usize {
        self.storage.as_deref().map_or(0, |storage| storage.pseudo_count as usize)
    }

    #[inline]
    fn storage_mut(&mut self) -> &mut Storage {
        self.storage.get_or_insert_with(pool::take)
    }
}

/// For the codecs, which name spans of a received head instead of adding headers one by one.
impl HeaderMap {
    /// Copies a received head (or block of trailers) into an empty map; spans below are relative to it.
    pub(super) fn begin_wire(&mut self, head: &[u8]) {
        let storage = self.storage_mut();
        storage.clear();
        storage.bytes.extend_from_slice(head);
    }

    /// Makes a part of the head the value of a pseudo-header.
    #[inline]
    pub(super) fn push_wire_pseudo(&mut self, id: u8, value: Span) {
        self.storage_mut().push_wire_pseudo(id, value);
    }

    /// Makes a line of the head a header; the name, `text` at `name`, is lowered in place. The known name's number, or zero.
    ///
    /// The caller has checked that the name is a token and that the value is safe.
    #[inline]
    pub(super) fn push_wire(&mut self, text: &[u8], name: Span, value: Span) -> u8 {
        self.storage_mut().push_wire(text, name, value)
    }

    /// Adds a decoded header behind the others (behind the other pseudo-headers if it is one): the known name `id`, or if
    /// that is zero the name `name`. `never_indexed`: it is to leave in HTTP/2 as it came, as sensitive.
    ///
    /// The caller has checked that a `name` is a lower-case token, that the value is safe, and that the map stays below 4 GiB.
    #[inline]
    pub(super) fn push_decoded(&mut self, id: u8, name: &[u8], value: &[u8], never_indexed: bool) {
        self.storage_mut().push_decoded(id, name, value, never_indexed);
    }

    /// Makes all headers of that name one, in the place of the first, with `separator` between the values.
    pub(super) fn join<'n>(&mut self, name: impl Into<HeaderName<'n>>, separator: &[u8]) {
        if let Some(storage) = &mut self.storage {
            storage.join(&name.into(), separator);
        }
    }

    /// The whole buffer, the entries and how many of them are pseudo-headers, for encoders.
    #[inline]
    pub(super) fn parts(&self) -> (&[u8], &[Entry], usize) {
        match self.storage.as_deref() {
            Some(storage) => (&storage.bytes, &storage.entries, storage.pseudo_count as usize),
            None => (&[], &[], 0),
        }
    }

    /// Whether a known name is present, by number.
    #[inline]
    pub(super) fn has_id(&self, id: u8) -> bool {
        self.storage.as_deref().is_some_and(|storage| storage.is_present(id))
    }
}

impl Drop for HeaderMap {
    #[inline]
    fn drop(&mut self) {
        if let Some(storage) = self.storage.take() {
            pool::give_back(storage);
        }
    }
}

impl Clone for HeaderMap {
    fn clone(&self) -> HeaderMap {
        let Some(from) = self.storage.as_deref() else { return HeaderMap::new() };
        let mut storage = pool::take();
        storage.copy_from(from);
        HeaderMap { storage: Some(storage) }
    }
}

impl PartialEq for HeaderMap {
    /// The same names and values in the same order.
    fn eq(&self, other: &HeaderMap) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for HeaderMap {}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value))))
            .finish()
    }
}

impl<'n, N: Into<HeaderName<'n>>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> HeaderMap {
        let mut map = HeaderMap::new();
        headers.into_iter().for_each(|(name, value)| map.append(name, value.as_ref()));
        map
    }
}

/// Appends `value` to `out` with spaces for the bytes that could end a header line.
#[inline]
fn write_safe(out: &mut Vec<u8>, value: &[u8]) {
    if is_safe_value(value) {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().map(|&byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte }));
    }
}

#[cfg(test)]
mod tests;
