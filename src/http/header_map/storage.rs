//! What a [`HeaderMap`](super::HeaderMap) holds: the bytes, the entries, and which known names are there.

use super::write_safe;
use crate::buf::{recycle_vec, take_vec};
use crate::http::header::{self, HeaderName, is_token, known_text};

/// A range of bytes in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    #[inline]
    pub(in crate::http) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..][..self.len as usize]
    }
}

/// One header.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Entry {
    /// Length of the name, in the low eight bits the number of a known name or zero, and [`NEVER_INDEXED`].
    name_key: u32,
    pub name_start: u32,
    pub value: Span,
}

impl Entry {
    /// The known name's number, or zero.
    #[inline]
    pub(in crate::http) fn id(&self) -> u8 {
        self.name_key as u8
    }

    #[inline]
    pub(in crate::http) fn name_len(&self) -> u32 {
        (self.name_key & !NEVER_INDEXED) >> 8
    }

    /// Whether the header came as one that no table of HPACK may hold.
    #[inline]
    pub(in crate::http) fn is_never_indexed(&self) -> bool {
        self.name_key & NEVER_INDEXED != 0
    }

    /// The name as text; of a known name it need not stand in `bytes`.
    #[inline]
    pub(in crate::http) fn name<'a>(&self, bytes: &'a [u8]) -> &'a str {
        match self.id() {
            0 => std::str::from_utf8(Span { start: self.name_start, len: self.name_len() }.of(bytes))
                .unwrap_or_default(),
            id => known_text(id),
        }
    }
}

/// The number of an unknown name of this length, as an entry has it.
#[inline]
fn name_key(id: u8, len: usize) -> u32 {
    (len as u32) << 8 | u32::from(id)
}

/// Marks an entry as sensitive (RFC 7541 section 7.1.3).
const NEVER_INDEXED: u32 = 1 << 31;

/// Longest name that fits an entry, in bytes; longer ones are refused.
const NAME_MAX_BYTES: usize = (1 << 23) - 1;

/// Bytes that no entry names any more are reclaimed once there are this many, and they are the greater part.
pub(super) const DEAD_MIN_BYTES: usize = 4096;

#[derive(Default)]
pub(super) struct Storage {
    pub bytes: Vec<u8>,
    pub entries: Vec<Entry>,
    /// One bit for each known name's number: set as long as there is an entry of that name.
    present: [u64; 4],
    /// The first entries that are pseudo-headers.
    pub pseudo_count: u32,
    /// Bytes of all names and values.
    pub byte_size: u32,
}

impl Storage {
    pub fn with_capacity(bytes: usize, entries: usize) -> Storage {
        Storage {
            bytes: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(entries),
            ..Storage::default()
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.present = [0; 4];
        self.pseudo_count = 0;
        self.byte_size = 0;
    }

    pub fn copy_from(&mut self, other: &Storage) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.clear();
        self.entries.extend_from_slice(&other.entries);
        self.present = other.present;
        self.pseudo_count = other.pseudo_count;
        self.byte_size = other.byte_size;
    }

    #[inline]
    pub fn value(&self, index: usize) -> &[u8] {
        self.entries[index].value.of(&self.bytes)
    }

    #[inline]
    pub fn is_present(&self, id: u8) -> bool {
        self.present[usize::from(id >> 6)] & (1 << (id & 63)) != 0
    }

    /// Whether there is an entry of that name.
    #[inline]
    pub fn contains(&self, name: &HeaderName<'_>) -> bool {
        match name.id {
            0 => self.find_custom(name.text, 0).is_some(),
            id => self.is_present(id),
        }
    }

    /// The first entry of that name at `from` or later. Most names that are looked for are absent: that is told without
    /// a call.
    #[inline]
    pub fn find(&self, name: &HeaderName<'_>, from: usize) -> Option<usize> {
        match name.id {
            0 => self.find_custom(name.text, from),
            id if self.is_present(id) => self.find_known(id, from),
            _ => None,
        }
    }

    fn find_known(&self, id: u8, from: usize) -> Option<usize> {
        let rest = self.entries.get(from..)?;
        rest.iter().position(|entry| entry.id() == id).map(|offset| from + offset)
    }

    fn find_custom(&self, name: &str, from: usize) -> Option<usize> {
        let rest = self.entries.get(from..)?;
        let name = HeaderName { id: 0, text: name };
        rest.iter().position(|entry| self.is_named(entry, &name)).map(|offset| from + offset)
    }

    #[inline]
    pub fn is_named(&self, entry: &Entry, name: &HeaderName<'_>) -> bool {
        match name.id {
            0 => {
                entry.name_key & !NEVER_INDEXED == name_key(0, name.text.len())
                    && Span { start: entry.name_start, len: name.text.len() as u32 }.of(&self.bytes)
                        == name.text.as_bytes()
            }
            id => entry.id() == id,
        }
    }

    pub fn push(&mut self, name: &HeaderName<'_>, value: &[u8]) {
        if name.id == 0 && !is_custom_name(name.text) {
            return;
        }
        if self.make_room(name.text.len() + value.len() + 4) {
            let entry = self.write_line(name.id, name.text.as_bytes(), value);
            self.insert(entry);
        }
    }

    /// `text` is the name as received: the same bytes as at `name`, but not written to just now, which makes
    /// reading them in words cheap.
    #[inline]
    pub fn push_wire(&mut self, text: &[u8], name: Span, value: Span) -> u8 {
        let id = header::lookup_any_case(text);
        let place = &mut self.bytes[name.start as usize..][..name.len as usize];
        header::write_lower_case(text, place);
        let len = if id == 0 { text.len() } else { known_text(id).len() };
        self.insert(Entry { name_key: name_key(id, len), name_start: name.start, value });
        id
    }

    #[inline]
    pub fn push_wire_pseudo(&mut self, id: u8, value: Span) {
        self.insert(Entry { name_key: name_key(id, known_text(id).len()), name_start: value.start, value });
    }

    /// Only what an entry needs is written, not the line: values, and names that have no number.
    #[inline]
    pub fn push_decoded(&mut self, id: u8, name: &[u8], value: &[u8], never_indexed: bool) {
        let name_start = self.bytes.len() as u32;
        if id == 0 {
            self.bytes.extend_from_slice(name);
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        let name_len = if id == 0 { name.len() } else { known_text(id).len() };
        let flag = if never_indexed { NEVER_INDEXED } else { 0 };
        let value = Span { start, len: value.len() as u32 };
        self.insert(Entry { name_key: name_key(id, name_len) | flag, name_start, value });
    }

    /// Makes all entries of that name one, in the place of the first, with `separator` between the values.
    pub fn join(&mut self, name: &HeaderName<'_>, separator: &[u8]) {
        let Some(first) = self.find(name, 0) else { return };
        let mut joined = take_vec();
        joined.extend_from_slice(self.value(first));
        let mut next = first + 1;
        while let Some(index) = self.find(name, next) {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(self.value(index));
            next = index + 1;
        }
        if next > first + 1 {
            self.remove_from(name, first + 1);
            self.replace_value(first, &joined);
        }
        recycle_vec(joined);
    }

    #[inline]
    fn insert(&mut self, entry: Entry) {
        let id = entry.id();
        self.byte_size += entry.name_len() + entry.value.len;
        if id != 0 {
            self.present[usize::from(id >> 6)] |= 1 << (id & 63);
            if header::is_pseudo(id) {
                self.entries.insert(self.pseudo_count as usize, entry);
                self.pseudo_count += 1;
                return;
            }
        }
        self.entries.push(entry);
    }

    /// Writes `name: value` and a line end behind the buffer's end.
    fn write_line(&mut self, id: u8, name: &[u8], value: &[u8]) -> Entry {
        let name_start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let start = self.bytes.len() as u32;
        write_safe(&mut self.bytes, value);
        let len = value.len() as u32;
        self.bytes.extend_from_slice(b"\r\n");
        Entry { name_key: name_key(id, name.len()), name_start, value: Span { start, len } }
    }

    /// Gives the entry another value: in place if it is not longer, else at the buffer's end.
    pub fn replace_value(&mut self, index: usize, value: &[u8]) {
        let old = self.entries[index].value;
        if value.len() <= old.len as usize {
            let place = &mut self.bytes[old.start as usize..][..value.len()];
            place.copy_from_slice(value);
            if !header::is_safe_value(value) {
                place
                    .iter_mut()
                    .filter(|byte| matches!(byte, b'\r' | b'\n' | 0))
                    .for_each(|byte| *byte = b' ');
            }
            self.entries[index].value.len = value.len() as u32;
            self.byte_size = self.byte_size - old.len + value.len() as u32;
        } else if self.make_room(self.entries[index].name_len() as usize + value.len() + 4) {
            self.rewrite(index, |_| (), &[value]);
        }
    }

    /// Puts `separator` and `value` behind the entry's value.
    pub fn extend_value(&mut self, index: usize, separator: &[u8], value: &[u8]) {
        let entry = self.entries[index];
        let longer = (entry.name_len() + entry.value.len) as usize + separator.len() + value.len() + 4;
        if self.make_room(longer) {
            let old = self.entries[index].value;
            let copy_old = |bytes: &mut Vec<u8>| {
                bytes.extend_from_within(old.start as usize..(old.start + old.len) as usize);
            };
            self.rewrite(index, copy_old, &[separator, value]);
        }
    }

    /// Writes the entry's line anew at the buffer's end: what `first` appends, then the pieces.
    fn rewrite(&mut self, index: usize, first: impl FnOnce(&mut Vec<u8>), pieces: &[&[u8]]) {
        let entry = self.entries[index];
        let name_start = self.bytes.len() as u32;
        match entry.id() {
            0 => {
                let name = entry.name_start as usize;
                self.bytes.extend_from_within(name..name + entry.name_len() as usize);
            }
            id => self.bytes.extend_from_slice(known_text(id).as_bytes()),
        }
        self.bytes.extend_from_slice(b": ");
        let start = self.bytes.len() as u32;
        first(&mut self.bytes);
        pieces.iter().for_each(|piece| write_safe(&mut self.bytes, piece));
        let len = self.bytes.len() as u32 - start;
        self.bytes.extend_from_slice(b"\r\n");
        self.byte_size = self.byte_size - entry.value.len + len;
        self.entries[index] = Entry { name_key: entry.name_key, name_start, value: Span { start, len } };
    }

    /// Removes the entries of that name at `from` or later; how many there were.
    #[inline]
    pub fn remove_from(&mut self, name: &HeaderName<'_>, from: usize) -> usize {
        match self.find(name, from) {
            Some(first) => self.remove_found(name, from, first),
            None => 0,
        }
    }

    /// `first` is the first one of them.
    fn remove_found(&mut self, name: &HeaderName<'_>, from: usize, first: usize) -> usize {
        let mut kept = first;
        for index in first..self.entries.len() {
            let entry = self.entries[index];
            if self.is_named(&entry, name) {
                self.byte_size -= entry.name_len() + entry.value.len;
            } else {
                self.entries[kept] = entry;
                kept += 1;
            }
        }
        let removed = self.entries.len() - kept;
        self.entries.truncate(kept);
        if header::is_pseudo(name.id) {
            self.pseudo_count -= removed as u32;
        }
        if name.id != 0 && from == 0 {
            self.present[usize::from(name.id >> 6)] &= !(1 << (name.id & 63));
        }
        removed
    }

    pub fn retain(&mut self, mut keep: impl FnMut(HeaderName<'_>, &[u8]) -> bool) {
        let Storage { bytes, entries, present, pseudo_count, byte_size } = self;
        *present = [0; 4];
        *pseudo_count = 0;
        *byte_size = 0;
        entries.retain(|entry| {
            let id = entry.id();
            let kept = keep(HeaderName { id, text: entry.name(bytes) }, entry.value.of(bytes));
            if kept {
                present[usize::from(id >> 6)] |= u64::from(id != 0) << (id & 63);
                *pseudo_count += u32::from(header::is_pseudo(id));
                *byte_size += entry.name_len() + entry.value.len;
            }
            kept
        });
    }

    /// Makes sure that `count` more bytes fit, first by throwing away what no entry names. Whether they do.
    fn make_room(&mut self, count: usize) -> bool {
        if self.bytes.len() + count <= self.bytes.capacity() {
            return true;
        }
        let live = self.byte_size as usize + self.entries.len() * 4;
        let dead = self.bytes.len().saturating_sub(live);
        if dead >= DEAD_MIN_BYTES && dead > live {
            self.compact();
        }
        self.bytes.len() + count <= u32::MAX as usize
    }

    fn compact(&mut self) {
        let old = std::mem::take(&mut self.bytes);
        let mut entries = std::mem::take(&mut self.entries);
        self.bytes.reserve(old.len() / 2);
        for entry in &mut entries {
            let name_key = entry.name_key;
            *entry = self.write_line(entry.id(), entry.name(&old).as_bytes(), entry.value.of(&old));
            entry.name_key = name_key;
        }
        self.entries = entries;
    }
}

/// Whether an unknown name may stand in a map: a lower-case token.
fn is_custom_name(name: &str) -> bool {
    name.len() <= NAME_MAX_BYTES
        && is_token(name.as_bytes())
        && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

const _: () = assert!(size_of::<Entry>() == 16);
