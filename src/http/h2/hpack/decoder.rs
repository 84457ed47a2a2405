//! Decoding header blocks (RFC 7541 section 6).

use super::static_table::{self, STATIC_COUNT};
use super::table::{Draft, DynamicTable};
use super::{DEFAULT_TABLE_BYTES, HpackError, huffman, integer};
use crate::http::h2::characters::{is_valid_name, is_valid_value};
use crate::http::header::{self, lookup};

/// One decoded field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The number of a known name, or zero. Unlike in a header map, `host` and `:authority` are two names here.
    pub id: u8,
    /// The name as sent.
    pub name: &'a [u8],
    /// The value as sent.
    pub value: &'a [u8],
    /// Whether both have only characters that RFC 9113 section 8.2.1 allows.
    pub is_valid: bool,
    /// Whether it must not be entered in any table on its further way (RFC 7541 section 6.2.3).
    pub never_indexed: bool,
}

/// The decoding side of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    /// The largest size that the peer may choose: what was announced and acknowledged.
    limit_bytes: usize,
    /// The peer must begin its next block with a size no larger than the limit.
    awaits_update: bool,
    /// A field of the present block was decoded.
    in_fields: bool,
}

impl Default for Decoder {
    /// A decoder for a new connection: until the peer acknowledges another size, the table has 4,096 bytes.
    fn default() -> Decoder {
        Decoder {
            table: DynamicTable::new(DEFAULT_TABLE_BYTES),
            limit_bytes: DEFAULT_TABLE_BYTES,
            awaits_update: false,
            in_fields: false,
        }
    }
}

impl Decoder {
    /// The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_limit(&mut self, bytes: usize) {
        self.awaits_update = bytes < self.table.max_bytes();
        self.limit_bytes = bytes;
    }

    /// Heap memory held by the table.
    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
    }

    /// Decodes the whole fields at the front of `block`, of which `is_last` says whether more follows. Returns how many bytes
    /// were used; the rest is the beginning of a field and has to be given again, with what follows behind it.
    ///
    /// # Errors
    /// The connection must be ended.
    pub fn decode(
        &mut self,
        block: &[u8],
        is_last: bool,
        mut sink: impl FnMut(Field<'_>),
    ) -> Result<usize, HpackError> {
        let mut rest = block;
        while !rest.is_empty() {
            match self.decode_one(rest, &mut sink)? {
                Some(used) => rest = &rest[used..],
                None => break,
            }
        }
        if is_last {
            if !rest.is_empty() {
                return Err(HpackError::Truncated);
            }
            self.in_fields = false;
        }
        Ok(block.len() - rest.len())
    }

    /// Decodes one field, or change of size. Nothing if it is incomplete: then nothing has changed.
    #[inline]
    fn decode_one(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<Option<usize>, HpackError> {
        let first = bytes[0];
        if first & 0xe0 == 0x20 {
            return self.update_size(bytes);
        }
        if self.awaits_update {
            return Err(HpackError::MissingSizeUpdate);
        }
        self.in_fields = true;
        if first & 0x80 != 0 {
            let Some((index, used)) = integer::decode(bytes, 7)? else { return Ok(None) };
            sink(self.indexed(index)?);
            return Ok(Some(used));
        }
        let enters = first & 0x40 != 0;
        let Some((literal, used)) = Literal::read(bytes, if enters { 6 } else { 4 })? else {
            return Ok(None);
        };
        self.literal(&literal, enters, first & 0xf0 == 0x10, sink)?;
        Ok(Some(used))
    }

    /// RFC 7541 section 6.3.
    fn update_size(&mut self, bytes: &[u8]) -> Result<Option<usize>, HpackError> {
        let Some((size, used)) = integer::decode(bytes, 5)? else { return Ok(None) };
        if self.in_fields || size > self.limit_bytes {
            return Err(HpackError::InvalidSizeUpdate);
        }
        self.table.set_max_bytes(size);
        self.awaits_update = false;
        Ok(Some(used))
    }

    /// RFC 7541 section 6.1.
    #[inline]
    fn indexed(&self, index: usize) -> Result<Field<'_>, HpackError> {
        if let Some((name, value)) = static_table::entry(index) {
            return Ok(Field {
                id: name.id(),
                name: name.as_str().as_bytes(),
                value: value.as_bytes(),
                is_valid: true,
                never_indexed: false,
            });
        }
        let entry =
            dynamic_index(index).and_then(|index| self.table.get(index)).ok_or(HpackError::InvalidIndex)?;
        let (id, name, value, is_valid) = (entry.id, entry.name, entry.value, entry.is_valid);
        Ok(Field { id, name, value, is_valid, never_indexed: false })
    }

    /// RFC 7541 section 6.2.
    #[inline]
    fn literal(
        &mut self,
        literal: &Literal<'_>,
        enters: bool,
        never_indexed: bool,
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        if !enters && !literal.value.is_huffman && !literal.name.is_huffman {
            // What can be read where it lies is not copied.
            let (id, name) = self.plain_name(literal)?;
            let value = literal.value.bytes;
            sink(Field { id, name, value, is_valid: is_valid(id, name, value), never_indexed });
            return Ok(());
        }
        let mut draft = self.draft_name(literal)?;
        literal.value.append_to(draft.buffer())?;
        let written = draft.field();
        let (id, name, value) = (written.id, written.name, written.value);
        let is_valid = is_valid(id, name, value);
        sink(Field { id, name, value, is_valid, never_indexed });
        if enters {
            draft.enter(is_valid);
        } else {
            draft.discard();
        }
        Ok(())
    }

    /// The name of a literal that does not have it in Huffman code.
    #[inline]
    fn plain_name<'a>(&'a self, literal: &Literal<'a>) -> Result<(u8, &'a [u8]), HpackError> {
        if literal.name_index == 0 {
            let name = literal.name.bytes;
            return Ok((number_of(name), name));
        }
        if let Some((name, _)) = static_table::entry(literal.name_index) {
            return Ok((name.id(), name.as_str().as_bytes()));
        }
        let entry = dynamic_index(literal.name_index).and_then(|index| self.table.get(index));
        entry.map(|entry| (entry.id, entry.name)).ok_or(HpackError::InvalidIndex)
    }

    /// A draft that has the literal's name, and room for its value.
    #[inline]
    fn draft_name(&mut self, literal: &Literal<'_>) -> Result<Draft<'_>, HpackError> {
        let room = literal.value.max_len();
        if let Some((name, _)) = static_table::entry(literal.name_index) {
            let mut draft = self.table.draft(room);
            draft.set_known_name(name.id());
            return Ok(draft);
        }
        if let Some(index) = dynamic_index(literal.name_index) {
            return self.table.draft_named_as(index, room).ok_or(HpackError::InvalidIndex);
        }
        let mut draft = self.table.draft(literal.name.max_len() + room);
        literal.name.append_to(draft.buffer())?;
        match number_of(draft.written()) {
            0 => draft.end_name(),
            id => draft.set_known_name(id),
        }
        Ok(draft)
    }
}

/// The dynamic table's own index of an index behind the static entries.
#[inline]
fn dynamic_index(index: usize) -> Option<usize> {
    index.checked_sub(STATIC_COUNT + 1)
}

/// The number of a name, zero if it has none; that of `host` is not that of `:authority`.
#[inline]
fn number_of(name: &[u8]) -> u8 {
    match lookup(name) {
        id if id == header::AUTHORITY.id() && name[0] != b':' => header::HOST_ON_THE_WIRE.id(),
        id => id,
    }
}

#[inline]
fn is_valid(id: u8, name: &[u8], value: &[u8]) -> bool {
    (id != 0 || is_valid_name(name)) && is_valid_value(value)
}

/// A field with its value, and perhaps its name, spelt out.
struct Literal<'a> {
    /// Where the name stands, or zero.
    name_index: usize,
    /// The name if it stands nowhere.
    name: Text<'a>,
    value: Text<'a>,
}

impl<'a> Literal<'a> {
    /// The literal at the front of `bytes`, and its length; nothing if it is incomplete.
    #[inline]
    fn read(bytes: &'a [u8], prefix_bits: u32) -> Result<Option<(Literal<'a>, usize)>, HpackError> {
        let Some((name_index, mut used)) = integer::decode(bytes, prefix_bits)? else { return Ok(None) };
        let mut name = Text { bytes: &[], is_huffman: false };
        if name_index == 0 {
            let Some((text, len)) = Text::read(&bytes[used..])? else { return Ok(None) };
            name = text;
            used += len;
        }
        let Some((value, len)) = Text::read(&bytes[used..])? else { return Ok(None) };
        Ok(Some((Literal { name_index, name, value }, used + len)))
    }
}

/// A string as sent (RFC 7541 section 5.2).
struct Text<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl<'a> Text<'a> {
    #[inline]
    fn read(bytes: &'a [u8]) -> Result<Option<(Text<'a>, usize)>, HpackError> {
        let Some((len, start)) = integer::decode(bytes, 7)? else { return Ok(None) };
        let Some(text) = bytes[start..].get(..len) else { return Ok(None) };
        Ok(Some((Text { bytes: text, is_huffman: bytes[0] & 0x80 != 0 }, start + len)))
    }

    /// Bytes of buffer that decoding may need.
    #[inline]
    fn max_len(&self) -> usize {
        if self.is_huffman { huffman::max_decoded_len(self.bytes.len()) } else { self.bytes.len() }
    }

    #[inline]
    fn append_to(&self, out: &mut Vec<u8>) -> Result<(), HpackError> {
        if self.is_huffman {
            return huffman::decode(self.bytes, out).map_err(|_| HpackError::InvalidHuffman);
        }
        out.extend_from_slice(self.bytes);
        Ok(())
    }
}
