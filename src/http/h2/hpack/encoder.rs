//! Encoding header blocks (RFC 7541 section 6).
//!
//! A field enters the dynamic table when it is seen a second time: values that never come again, such as identifiers, would
//! push out those that do. Strings that enter the table are Huffman-coded, since they are sent once and save much;
//! others are sent as they are, which costs a quarter more bytes and a tenth of the time.

use super::static_table::{STATIC_COUNT, full_index, name_index};
use super::table::{DynamicTable, ENTRY_OVERHEAD_BYTES, TableField};
use super::{DEFAULT_TABLE_BYTES, huffman, integer};
use crate::http::header::{self, Known};

/// The encoding side of a connection.
#[derive(Debug)]
pub struct Encoder {
    table: DynamicTable,
    /// Largest table that this side wants.
    own_limit_bytes: usize,
    /// Smallest and last size of the table that the peer has yet to be told.
    update: Option<(usize, usize)>,
    /// Allocated when the first field is looked for.
    memory: Option<Box<Memory>>,
}

/// Where fields may be found. Every answer is checked against the table, so that it may be wrong.
#[derive(Debug)]
struct Memory {
    /// By hash of name and value: the number of the table's entry.
    fields: [u32; FIELD_SLOTS],
    /// By hash of the name: the number of the last entry with it.
    names: [u32; NAME_SLOTS],
    /// Fields seen: by hash of name and value, a part of that hash.
    seen: [u16; SEEN_SLOTS],
}

const FIELD_SLOTS: usize = 128;
const NAME_SLOTS: usize = 64;
const SEEN_SLOTS: usize = 256;

impl Encoder {
    /// An encoder for a new connection. `own_limit_bytes` bounds its table, whatever the peer allows.
    pub fn new(own_limit_bytes: usize) -> Encoder {
        let size = own_limit_bytes.min(DEFAULT_TABLE_BYTES);
        Encoder {
            table: DynamicTable::new(size),
            own_limit_bytes,
            update: (size < DEFAULT_TABLE_BYTES).then_some((size, size)),
            memory: None,
        }
    }

    /// The peer announced this SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_peer_limit(&mut self, bytes: usize) {
        let size = bytes.min(self.own_limit_bytes);
        if size != self.table.max_bytes() || self.update.is_some() {
            let smallest = self.update.map_or(size, |(smallest, _)| smallest.min(size));
            self.update = Some((smallest, size));
            self.table.set_max_bytes(size.min(smallest));
            self.table.set_max_bytes(size);
        }
    }

    /// Heap memory held.
    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes() + if self.memory.is_some() { size_of::<Memory>() } else { 0 }
    }

    /// Begins a block: appends changes of the table's size that the peer does not know (RFC 7541 section 4.2).
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((smallest, last)) = self.update.take() {
            if smallest < last {
                integer::encode(smallest, 5, 0x20, out);
            }
            integer::encode(last, 5, 0x20, out);
        }
    }

    /// Appends a field with a known name, or the name `name`.
    pub fn named_field(
        &mut self,
        known: Option<Known>,
        name: &[u8],
        value: &[u8],
        never_indexed: bool,
        out: &mut Vec<u8>,
    ) {
        self.field(known.map_or(0, Known::id), name, value, never_indexed, out);
    }

    /// Appends a field. `id` is the number of a known name, or zero; `never_indexed`: it came so, or is to be kept out of tables.
    #[inline]
    pub(in crate::http::h2) fn field(
        &mut self,
        id: u8,
        name: &[u8],
        value: &[u8],
        never_indexed: bool,
        out: &mut Vec<u8>,
    ) {
        let policy = policy(id, value);
        if never_indexed || policy == Policy::Never {
            let index = match name_index(id) {
                0 => self.find_name(id, name).unwrap_or(0),
                index => index.into(),
            };
            return put_literal(index, 4, 0x10, name, value, false, out);
        }
        match full_index(id, value) {
            0 => self.search(id, name, value, policy, out),
            index => out.push(0x80 | index),
        }
    }

    /// Appends a field that the static table does not have.
    fn search(&mut self, id: u8, name: &[u8], value: &[u8], policy: Policy, out: &mut Vec<u8>) {
        let static_name = usize::from(name_index(id));
        let size_bytes = name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        if size_bytes > self.table.max_bytes() / 4 {
            let index = if static_name == 0 { self.find_name(id, name).unwrap_or(0) } else { static_name };
            return put_literal(index, 4, 0, name, value, false, out);
        }
        if static_name != 0 && policy == Policy::Unique {
            return put_literal(static_name, 4, 0, name, value, false, out);
        }
        let memory = self.memory.get_or_insert_with(Memory::new);
        let is_named = |field_id, field_name: &[u8]| field_id == id && (id != 0 || field_name == name);
        let name_hash = hash_name(id, name);
        let mut is_known = false;
        let mut field_slot = None;
        if policy == Policy::Usual {
            let hash = hash(name_hash, value);
            let at = slot(hash, FIELD_SLOTS);
            let is_it = |field: &TableField<'_>| field.value == value && is_named(field.id, field.name);
            if let Some(index) = find(&self.table, memory.fields[at], is_it) {
                return integer::encode(index, 7, 0x80, out);
            }
            let seen = &mut memory.seen[slot(hash, SEEN_SLOTS)];
            is_known = std::mem::replace(seen, hash as u16) == hash as u16;
            field_slot = Some(at);
        }
        let name_slot = slot(name_hash, NAME_SLOTS);
        let name_at = match static_name {
            0 => find(&self.table, memory.names[name_slot], |field| is_named(field.id, field.name))
                .unwrap_or(0),
            index => index,
        };
        // A name that no table has enters with its first value, so that it need not be spelt out again.
        if !is_known && name_at != 0 {
            return put_literal(name_at, 4, 0, name, value, false, out);
        }
        put_literal(name_at, 6, 0x40, name, value, true, out);
        let mut draft = self.table.draft(name.len() + value.len());
        if id == 0 {
            draft.buffer().extend_from_slice(name);
            draft.end_name();
        } else {
            draft.set_known_name(id);
        }
        draft.buffer().extend_from_slice(value);
        draft.enter(true);
        memory.names[name_slot] = self.table.newest();
        if let Some(at) = field_slot {
            memory.fields[at] = self.table.newest();
        }
    }

    /// The index of an entry with this name.
    fn find_name(&self, id: u8, name: &[u8]) -> Option<usize> {
        let memory = self.memory.as_deref()?;
        let number = memory.names[slot(hash_name(id, name), NAME_SLOTS)];
        find(&self.table, number, |field| field.id == id && (id != 0 || field.name == name))
    }
}

impl Memory {
    fn new() -> Box<Memory> {
        Box::new(Memory { fields: [0; FIELD_SLOTS], names: [0; NAME_SLOTS], seen: [0; SEEN_SLOTS] })
    }
}

/// The index of the entry with this number, if it is still there and is what is looked for.
#[inline]
fn find(table: &DynamicTable, number: u32, is_it: impl Fn(&TableField<'_>) -> bool) -> Option<usize> {
    let age = table.newest().wrapping_sub(number) as usize;
    let field = table.get(age)?;
    is_it(&field).then_some(STATIC_COUNT + 1 + age)
}

/// How a field is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Enters the table when it comes a second time.
    Usual,
    /// Hardly ever comes a second time.
    Unique,
    /// Secret: is kept out of all tables, so that nobody can guess it by looking at sizes (RFC 7541 section 7.1).
    Never,
}

/// Shorter cookies can be guessed byte by byte.
const GUESSABLE_COOKIE_BYTES: usize = 20;

#[inline]
fn policy(id: u8, value: &[u8]) -> Policy {
    const COOKIE: u8 = header::COOKIE.id();
    match POLICIES[id as usize] {
        Policy::Usual if id == COOKIE && value.len() < GUESSABLE_COOKIE_BYTES => Policy::Never,
        policy => policy,
    }
}

static POLICIES: [Policy; 256] = {
    let mut policies = [Policy::Usual; 256];
    let never = [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
        header::X_FORWARDED_CLIENT_CERT,
    ];
    let unique = [
        header::PATH,
        header::ETAG,
        header::IF_NONE_MATCH,
        header::IF_MATCH,
        header::CONTENT_RANGE,
        header::RANGE,
        header::LOCATION,
        header::X_REQUEST_ID,
        header::TRACEPARENT,
        header::X_B3_TRACEID,
        header::X_B3_SPANID,
        header::X_B3_PARENTSPANID,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_ACCEPT,
    ];
    let mut index = 0;
    while index < never.len() {
        policies[never[index].id() as usize] = Policy::Never;
        index += 1;
    }
    index = 0;
    while index < unique.len() {
        policies[unique[index].id() as usize] = Policy::Unique;
        index += 1;
    }
    policies
};

/// Appends a literal; its name is spelt out if `index` is zero.
#[inline]
fn put_literal(
    index: usize,
    prefix_bits: u32,
    pattern: u8,
    name: &[u8],
    value: &[u8],
    compress: bool,
    out: &mut Vec<u8>,
) {
    integer::encode(index, prefix_bits, pattern, out);
    if index == 0 {
        put_text(name, compress, out);
    }
    put_text(value, compress, out);
}

/// Appends a string (RFC 7541 section 5.2).
#[inline]
fn put_text(text: &[u8], compress: bool, out: &mut Vec<u8>) {
    if compress {
        let len = huffman::encoded_len(text);
        if len < text.len() {
            integer::encode(len, 7, 0x80, out);
            return huffman::encode(text, out);
        }
    }
    integer::encode(text.len(), 7, 0, out);
    out.extend_from_slice(text);
}

#[inline]
fn hash_name(id: u8, name: &[u8]) -> u64 {
    if id == 0 { hash(0, name) } else { u64::from(id).wrapping_mul(HASH_FACTOR) }
}

const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the length of `text` and eight bytes from its beginning, middle and end into `seed`. Collisions cost bytes, never
/// correctness.
#[inline]
fn hash(seed: u64, text: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| (state.rotate_left(23) ^ word).wrapping_mul(HASH_FACTOR);
    let state = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let middle = text[text.len() / 2 - 4..].first_chunk::<8>().unwrap_or(last);
            let ends = u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29);
            mix(mix(seed ^ text.len() as u64, ends), u64::from_le_bytes(*middle))
        }
        _ => mix(seed ^ text.len() as u64, text.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))),
    };
    state ^ state >> 32
}

/// A place by the hash's upper bits; its lower 16 tell fields apart that share one.
#[inline]
fn slot(hash: u64, count: usize) -> usize {
    (hash >> 40) as usize & (count - 1)
}
