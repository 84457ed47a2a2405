//! A queue of chunks with a running byte count: a body that is being held or passed on.

use std::collections::VecDeque;

use super::Chunk;

/// Chunks in order; knows its length without walking.
#[derive(Debug, Default)]
pub struct Chain {
    chunks: VecDeque<Chunk>,
    len_bytes: usize,
}

impl Chain {
    /// No chunks, no memory.
    pub const fn new() -> Chain {
        Chain { chunks: VecDeque::new(), len_bytes: 0 }
    }

    /// Appends a chunk; an empty one is dropped.
    pub fn push(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.len_bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Takes the first chunk.
    pub fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.len_bytes -= chunk.len();
        Some(chunk)
    }

    /// Drops the first `count` bytes; all of them if there are fewer.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.chunks.front_mut() {
            if first.len() > count {
                first.advance(count);
                self.len_bytes -= count;
                return;
            }
            count -= first.len();
            self.pop();
        }
    }

    /// Bytes held.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Whether no bytes are held.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// The chunks in order.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter()
    }

    /// Drops all chunks.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.len_bytes = 0;
    }

    /// A copy of all bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len_bytes);
        self.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_drops_whole_chunks_and_a_part() {
        let mut chain = Chain::new();
        for text in ["abc", "de", "fghi"] {
            chain.push(Chunk::copy_from(text.as_bytes()));
        }
        chain.advance(0);
        chain.advance(4);
        assert_eq!((chain.to_vec(), chain.len_bytes()), (b"efghi".to_vec(), 5));
        chain.advance(1);
        assert_eq!(chain.iter().count(), 1);
        chain.advance(100);
        assert!(chain.is_empty() && chain.pop().is_none());
    }
}
