//! Bytes of a body that wait on a stream, received or to be sent.
//!
//! Large pieces wait as the chunks they came in; small ones are copied together, so that a peer who sends single bytes makes us
//! hold little more than those bytes.

use std::collections::VecDeque;

use crate::buf::{Chunk, recycle_vec, take_vec};

/// Pieces below this size are copied when others wait before them.
pub const COPY_MAX_BYTES: usize = 2_048;
/// A piece of at least this size is half of a receive block or more: keeping the block for it at most doubles what is held.
pub const HALF_BLOCK_BYTES: usize = crate::buf::BLOCK_BYTES / 2;

/// Small pieces are gathered up to this size.
const GATHERED_MAX_BYTES: usize = 16_384;
/// Chunk slots that are kept for the next user.
const KEPT_CHUNKS: usize = 64;

/// Bytes in order.
#[derive(Debug, Default)]
pub struct DataQueue {
    chunks: VecDeque<Chunk>,
    /// Comes behind the chunks.
    gathered: Vec<u8>,
    len_bytes: usize,
}

impl DataQueue {
    /// Bytes that wait.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// Appends a chunk; copied if it is small and others wait. `may_stay`: it is likely to wait for long, and is then copied also
    /// if it would keep a receive block alive of which it is the lesser part.
    #[inline]
    pub fn push(&mut self, chunk: Chunk, may_stay: bool) {
        if chunk.is_empty() {
            return;
        }
        if chunk.len() < COPY_MAX_BYTES && !self.is_empty() {
            return self.push_copy(&chunk);
        }
        self.seal();
        self.len_bytes += chunk.len();
        let is_lesser_part = chunk.len() < HALF_BLOCK_BYTES;
        self.chunks.push_back(if may_stay && is_lesser_part { chunk.into_unpooled() } else { chunk });
    }

    /// Appends a copy of some bytes.
    #[inline]
    pub fn push_copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let was_empty = self.is_empty();
        self.len_bytes += bytes.len();
        if was_empty {
            return self.chunks.push_back(Chunk::copy_from(bytes));
        }
        if self.gathered.len() + bytes.len() > GATHERED_MAX_BYTES {
            self.seal();
        }
        if self.gathered.capacity() == 0 {
            self.gathered = take_vec();
        }
        self.gathered.extend_from_slice(bytes);
    }

    /// Takes bytes from the front: a whole chunk, or `max_bytes` (at least 1) of it.
    #[inline]
    pub fn pop(&mut self, max_bytes: usize) -> Option<Chunk> {
        if self.chunks.is_empty() {
            self.seal();
        }
        let front = self.chunks.front_mut()?;
        let chunk =
            if front.len() <= max_bytes { self.chunks.pop_front()? } else { front.split_to(max_bytes) };
        self.len_bytes -= chunk.len();
        Some(chunk)
    }

    /// Drops everything.
    #[inline]
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.chunks.clear();
            recycle_vec(std::mem::take(&mut self.gathered));
            self.len_bytes = 0;
        }
        if self.chunks.capacity() > KEPT_CHUNKS {
            self.chunks.shrink_to(KEPT_CHUNKS / 2);
        }
    }

    /// Heap memory held for chunks, beside what they point to.
    #[cfg(test)]
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Makes a chunk of what was gathered.
    #[inline]
    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            self.chunks.push_back(Chunk::from_vec(std::mem::take(&mut self.gathered)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::buf::Pool;

    #[test]
    fn single_bytes_cost_little() {
        let mut queue = DataQueue::default();
        for _ in 0..100_000 {
            queue.push_copy(b"x");
        }
        for _ in 0..100_000 {
            queue.push(Chunk::from_static(b"y"), true);
        }
        assert_eq!(queue.len_bytes(), 200_000);
        assert!(queue.chunk_count() <= 1 + 200_000 / (GATHERED_MAX_BYTES - 1), "{}", queue.chunk_count());
        assert!(queue.gathered.capacity() <= 2 * GATHERED_MAX_BYTES);
    }

    #[test]
    fn lesser_parts_of_blocks_do_not_stay() {
        let pool = Pool::install(4).expect("a pool");
        let mut queue = DataQueue::default();
        queue.push(pool.copy_to_block(&[1; 4_000]).expect("a block"), true);
        assert_eq!(pool.usage().live_blocks, 0);
        queue.push(pool.copy_to_block(&[2; 4_000]).expect("a block"), false);
        queue.push(pool.copy_to_block(&[3; HALF_BLOCK_BYTES]).expect("a block"), true);
        assert_eq!(pool.usage().live_blocks, 2);
        queue.clear();
        assert_eq!(pool.usage().live_blocks, 0);
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            ops in prop::collection::vec((0u8..4, 0usize..6_000), 0..60),
        ) {
            let (mut queue, mut model) = (DataQueue::default(), VecDeque::new());
            let mut next = 0u8;
            for (op, size) in ops {
                next = next.wrapping_add(1);
                let bytes = vec![next; size];
                match op {
                    0 => { queue.push_copy(&bytes); model.extend(bytes); }
                    1 => { queue.push(Chunk::from_vec(bytes.clone()), size % 2 == 0); model.extend(bytes); }
                    2 => { queue.push_copy(&bytes[..size.min(10)]); model.extend(&bytes[..size.min(10)]); }
                    _ => match queue.pop(size + 1) {
                        Some(chunk) => {
                            prop_assert!(!chunk.is_empty() && chunk.len() <= size + 1);
                            prop_assert_eq!(chunk.to_vec(), model.drain(..chunk.len()).collect::<Vec<u8>>());
                        }
                        None => prop_assert!(model.is_empty()),
                    },
                }
                prop_assert_eq!(queue.len_bytes(), model.len());
            }
            let mut rest = Vec::new();
            while let Some(chunk) = queue.pop(usize::MAX) { rest.extend_from_slice(&chunk); }
            prop_assert_eq!(rest, Vec::from(model));
        }
    }
}
