//! The dynamic table (RFC 7541 section 2.3.2, 4.1 to 4.4), of an encoder or a decoder.
//!
//! Values, and names that have no number, lie one after the other in one buffer that is compacted when it is full, so that
//! entering a field copies it once and allocates nothing. An empty table that was never used holds no memory.

use std::collections::VecDeque;

use crate::http::header::known_text;

/// What an entry costs beside its name and value (RFC 7541 section 4.1).
pub const ENTRY_OVERHEAD_BYTES: usize = 32;

/// Fields seen before, newest first by index, within a limit of bytes.
#[derive(Debug, Default)]
pub struct DynamicTable {
    /// The entries' bytes in order, perhaps dead ones before, between and behind.
    bytes: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Sum of the entries' sizes as RFC 7541 counts them.
    size_bytes: usize,
    max_bytes: usize,
    /// What was cut off the front of `bytes` so far; entries' positions do not change when that happens.
    cut_bytes: u32,
    /// Entries entered so far; the newest has this number.
    inserted: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where its bytes begin, counted from before anything was cut off.
    start: u32,
    name_len: u32,
    value_len: u32,
    /// The number of a known name, whose text is not in the buffer; or zero.
    id: u8,
    is_valid: bool,
}

/// A field of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableField<'a> {
    /// The number of a known name, or zero.
    pub id: u8,
    /// The name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// What [`Draft::enter`] was told.
    pub is_valid: bool,
}

impl DynamicTable {
    /// An empty table.
    pub fn new(max_bytes: usize) -> DynamicTable {
        DynamicTable { max_bytes, ..DynamicTable::default() }
    }

    /// The limit.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Changes the limit; the oldest entries go until the rest fits.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
        self.evict_to(max_bytes);
        if self.entries.is_empty() {
            self.bytes = Vec::new();
            self.entries = VecDeque::new();
        }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all entries as RFC 7541 counts them.
    #[cfg(test)]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Heap memory held.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Number of the newest entry. Numbers go up by one and wrap around.
    #[inline]
    pub fn newest(&self) -> u32 {
        self.inserted
    }

    /// The entry at `index`, the newest at 0.
    #[inline]
    pub fn get(&self, index: usize) -> Option<TableField<'_>> {
        let position = self.entries.len().checked_sub(index + 1)?;
        let entry = self.entries.get(position)?;
        let start = entry.start.wrapping_sub(self.cut_bytes) as usize;
        let stored_name = if entry.id == 0 { entry.name_len as usize } else { 0 };
        let (name, rest) = self.bytes[start..].split_at(stored_name);
        Some(TableField {
            id: entry.id,
            name: if entry.id == 0 { name } else { known_text(entry.id).as_bytes() },
            value: &rest[..entry.value_len as usize],
            is_valid: entry.is_valid,
        })
    }

    /// Begins a field behind all others, with room for `count` bytes of name and value. It is not in the table yet.
    #[inline]
    pub fn draft(&mut self, count: usize) -> Draft<'_> {
        let start = self.make_room(count);
        Draft { table: self, start, value_start: start, name_len: 0, id: 0 }
    }

    /// As [`DynamicTable::draft`], with the name of the entry at `index`, which may be evicted by the new one.
    pub fn draft_named_as(&mut self, index: usize, count: usize) -> Option<Draft<'_>> {
        let (id, name_len) = self.get(index).map(|field| (field.id, field.name.len()))?;
        let start = self.make_room(name_len + count);
        if id == 0 {
            let entry = self.entries[self.entries.len() - 1 - index];
            let name = entry.start.wrapping_sub(self.cut_bytes) as usize;
            self.bytes.extend_from_within(name..name + name_len);
        }
        Some(Draft { value_start: self.bytes.len(), table: self, start, name_len, id })
    }

    /// Compacts the buffer if `count` more bytes do not fit. Where the next byte goes.
    #[inline]
    fn make_room(&mut self, count: usize) -> usize {
        if self.bytes.len() + count > self.bytes.capacity() {
            self.compact(count);
        }
        self.bytes.len()
    }

    #[cold]
    fn compact(&mut self, count: usize) {
        let live = self
            .entries
            .front()
            .map_or(self.bytes.len(), |entry| entry.start.wrapping_sub(self.cut_bytes) as usize);
        self.bytes.drain(..live);
        self.cut_bytes = self.cut_bytes.wrapping_add(live as u32);
        if self.bytes.len() + count > self.bytes.capacity() {
            // Twice the limit, so that compacting happens once for every limit's worth of bytes; less for a small table.
            let wanted =
                (self.bytes.len() * 2).clamp(BUFFER_MIN_BYTES, 2 * self.max_bytes + BUFFER_MIN_BYTES);
            self.bytes.reserve_exact(wanted.max(self.bytes.len() + count) - self.bytes.len());
        }
    }

    fn evict_to(&mut self, limit: usize) {
        while self.size_bytes > limit
            && let Some(entry) = self.entries.pop_front()
        {
            self.size_bytes -= entry.size_bytes();
        }
    }
}

/// Capacity of a buffer at first.
const BUFFER_MIN_BYTES: usize = 512;

impl Entry {
    fn size_bytes(&self) -> usize {
        (self.name_len + self.value_len) as usize + ENTRY_OVERHEAD_BYTES
    }
}

/// A field that is being written behind the table's entries, to be entered or only to be read.
#[derive(Debug)]
pub struct Draft<'a> {
    table: &'a mut DynamicTable,
    start: usize,
    value_start: usize,
    name_len: usize,
    id: u8,
}

impl Draft<'_> {
    /// What the name, and then the value, is to be appended to; nothing before may be changed.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.table.bytes
    }

    /// What was appended so far: the name, if that is not ended yet.
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.table.bytes[self.start..]
    }

    /// Gives the field the known name `id`; what was appended is forgotten.
    #[inline]
    pub fn set_known_name(&mut self, id: u8) {
        self.table.bytes.truncate(self.start);
        self.value_start = self.start;
        self.name_len = known_text(id).len();
        self.id = id;
    }

    /// What was appended is the whole name, and no known one.
    #[inline]
    pub fn end_name(&mut self) {
        self.value_start = self.table.bytes.len();
        self.name_len = self.value_start - self.start;
    }

    /// The field as written so far.
    #[inline]
    pub fn field(&self) -> TableField<'_> {
        let bytes = &self.table.bytes;
        TableField {
            id: self.id,
            name: match self.id {
                0 => &bytes[self.start..self.value_start],
                id => known_text(id).as_bytes(),
            },
            value: &bytes[self.value_start..],
            is_valid: false,
        }
    }

    /// Enters the field as the newest entry. One larger than the whole table empties it (RFC 7541 section 4.4).
    /// `is_valid` is kept beside it.
    #[inline]
    pub fn enter(self, is_valid: bool) {
        let Draft { table, start, value_start, name_len, id } = self;
        let entry = Entry {
            start: table.cut_bytes.wrapping_add(start as u32),
            name_len: name_len as u32,
            value_len: (table.bytes.len() - value_start) as u32,
            id,
            is_valid,
        };
        let size_bytes = entry.size_bytes();
        table.evict_to(table.max_bytes.saturating_sub(size_bytes));
        if size_bytes <= table.max_bytes {
            table.entries.push_back(entry);
            table.size_bytes += size_bytes;
            table.inserted = table.inserted.wrapping_add(1);
        } else {
            Draft { table, start, value_start, name_len, id }.discard();
        }
    }

    /// Forgets the field.
    #[inline]
    pub fn discard(self) {
        self.table.bytes.truncate(self.start);
        // One large field must not leave a large buffer behind.
        if self.table.bytes.capacity() > 4 * self.table.max_bytes + 2 * BUFFER_MIN_BYTES {
            self.table.bytes.shrink_to(2 * self.table.max_bytes + BUFFER_MIN_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::header::SERVER;

    fn enter(table: &mut DynamicTable, id: u8, name: &[u8], value: &[u8]) {
        let mut draft = table.draft(name.len() + value.len());
        draft.buffer().extend_from_slice(name);
        match id {
            0 => draft.end_name(),
            id => draft.set_known_name(id),
        }
        draft.buffer().extend_from_slice(value);
        assert_eq!((draft.field().name, draft.field().value), (name, value));
        draft.enter(true);
    }

    fn listed(table: &DynamicTable) -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..table.len())
            .filter_map(|index| table.get(index))
            .map(|field| (field.name.to_vec(), field.value.to_vec()))
            .collect()
    }

    #[test]
    fn the_oldest_go_first_and_a_huge_one_empties_the_table() {
        let mut table = DynamicTable::new(100);
        enter(&mut table, 0, b"a", b"1");
        enter(&mut table, SERVER.id(), b"server", b"x");
        enter(&mut table, 0, b"b", b"2");
        assert_eq!(listed(&table), [(b"b".to_vec(), b"2".to_vec()), (b"server".to_vec(), b"x".to_vec())]);
        assert_eq!(table.size_bytes(), 34 + 39);
        enter(&mut table, 0, b"c", &[b'x'; 100]);
        assert_eq!((table.len(), table.size_bytes()), (0, 0));
    }

    #[test]
    fn an_entry_may_evict_the_one_that_lent_its_name() {
        let mut table = DynamicTable::new(64);
        enter(&mut table, 0, b"name", b"old");
        let mut draft = table.draft_named_as(0, 20).expect("an entry");
        draft.buffer().extend_from_slice(b"a longer new value");
        draft.enter(false);
        assert_eq!(listed(&table), [(b"name".to_vec(), b"a longer new value".to_vec())]);
        assert!(table.draft_named_as(1, 0).is_none());
    }

    #[test]
    fn memory_stays_within_twice_the_limit_and_an_unused_table_has_none() {
        assert_eq!(DynamicTable::new(4096).heap_bytes(), 0);
        let mut table = DynamicTable::new(4096);
        for round in 0..10_000usize {
            enter(&mut table, 0, b"x-name", &vec![b'v'; round % 500]);
        }
        let draft = table.draft(60_000);
        draft.discard();
        assert!(table.bytes.capacity() <= 3 * 4096, "{}", table.bytes.capacity());
        table.set_max_bytes(0);
        assert_eq!((table.heap_bytes(), table.size_bytes()), (0, 0));
    }

    proptest! {
        /// Against a list that does the same naively.
        #[test]
        fn behaves_as_a_list(
            ops in prop::collection::vec((0u8..10, 0usize..60, 0usize..12), 1..200),
            max in 0usize..400,
        ) {
            let mut table = DynamicTable::new(max);
            let mut model: VecDeque<(Vec<u8>, Vec<u8>)> = VecDeque::new();
            let size = |model: &VecDeque<(Vec<u8>, Vec<u8>)>| -> usize {
                model.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
            };
            for (op, value_len, name) in ops {
                let value = vec![b'a' + name as u8; value_len];
                match op {
                    0 => table.draft(5).discard(),
                    1 => {
                        table.set_max_bytes(value_len * 6);
                        while size(&model) > table.max_bytes() { model.pop_back(); }
                    }
                    _ => {
                        let entered = if op < 5 && name < model.len() {
                            let mut draft = table.draft_named_as(name, value.len()).expect("an entry");
                            draft.buffer().extend_from_slice(&value);
                            draft.enter(true);
                            (model[name].0.clone(), value)
                        } else {
                            let text = format!("x-{name}").into_bytes();
                            enter(&mut table, 0, &text, &value);
                            (text, value)
                        };
                        model.push_front(entered);
                        while size(&model) > table.max_bytes() { model.pop_back(); }
                    }
                }
                prop_assert_eq!(listed(&table), model.iter().cloned().collect::<Vec<_>>());
                prop_assert_eq!(table.size_bytes(), size(&model));
            }
        }
    }
}
