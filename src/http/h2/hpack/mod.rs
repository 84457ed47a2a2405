//! HPACK (RFC 7541): header fields to bytes and back, without allocation once the tables have grown.
//!
//! Knows which characters a field may have, because a field in the table is judged once and used often; knows nothing else
//! of HTTP: order, duplicates, pseudo-headers and limits are the message's.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod static_table;
mod table;

pub use decoder::{Decoder, Field};
pub use encoder::Encoder;
use thiserror::Error;

/// Size of a table before anything else is agreed (RFC 9113 section 6.5.2).
pub const DEFAULT_TABLE_BYTES: usize = 4096;

#[cfg(test)]
mod tests;

/// A block that no encoder makes. The two sides' tables differ from here on: the connection is over (RFC 9113 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HpackError {
    /// An integer beyond 2^28, or padded with zeros.
    #[error("integer too large")]
    IntegerTooLarge,
    /// An index that neither table has.
    #[error("index out of range")]
    InvalidIndex,
    /// A string that is not valid Huffman code.
    #[error("invalid Huffman code")]
    InvalidHuffman,
    /// The block ends within a field.
    #[error("truncated header block")]
    Truncated,
    /// A change of the table's size that is not at the beginning, or exceeds what was announced.
    #[error("invalid table size update")]
    InvalidSizeUpdate,
    /// The table was announced to be smaller, and the peer has not made it so.
    #[error("table size update is missing")]
    MissingSizeUpdate,
}
