//! A chunk that nobody else can see, so that its bytes may be changed in place: decryption does.

use std::ops::{Deref, DerefMut};

use super::Chunk;

/// Some bytes, not shared. Made by [`Chunk::try_into_mut`].
#[derive(Debug)]
pub struct ChunkMut {
    /// No other chunk covers any of its bytes.
    chunk: Chunk,
}

impl ChunkMut {
    /// A chunk to change.
    ///
    /// # Safety
    /// The memory is writable, and no other chunk covers any of the bytes.
    pub(super) unsafe fn new(chunk: Chunk) -> ChunkMut {
        ChunkMut { chunk }
    }

    /// Removes and returns the first `count` bytes; both parts may be changed.
    ///
    /// # Panics
    /// If `count` is larger than the length.
    #[inline]
    pub fn split_to(&mut self, count: usize) -> ChunkMut {
        ChunkMut { chunk: self.chunk.split_to(count) }
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    /// If `count` is larger than the length.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.chunk.advance(count);
    }

    /// Keeps the first `count` bytes; does nothing if there are fewer.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        self.chunk.truncate(count);
    }

    /// The bytes, from now on unchanging.
    #[inline]
    pub fn freeze(self) -> Chunk {
        self.chunk
    }
}

impl Deref for ChunkMut {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.chunk.as_slice()
    }
}

impl DerefMut for ChunkMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the memory is writable and no other chunk covers these bytes, as `new`'s caller promised;
        // splitting keeps the parts apart. The borrow of `self` keeps the memory alive.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.start_ptr().as_ptr(), self.chunk.len()) }
    }
}

#[cfg(test)]
mod tests {
    use crate::buf::{Chunk, Pool};

    #[test]
    fn only_unshared_memory_of_ours_may_be_changed() {
        let chunk = Chunk::copy_from(b"0123456789");
        let copy = chunk.clone();
        let chunk = chunk.try_into_mut().expect_err("shared");
        drop(copy);
        let mut bytes = chunk.try_into_mut().expect("not shared any more");
        let mut front = bytes.split_to(4);
        front[0] = b'a';
        bytes[5] = b'z';
        bytes.advance(1);
        front.truncate(3);
        assert_eq!((&front.freeze()[..], &bytes.freeze()[..]), (&b"a12"[..], &b"5678z"[..]));
        for chunk in [Chunk::from_static(b"x"), Chunk::from_bytes(vec![1].into()), Chunk::from_vec(vec![1])] {
            assert!(chunk.try_into_mut().is_err());
        }
    }

    #[test]
    fn a_part_of_a_block_may_be_changed_once_the_rest_is_gone() {
        let pool = Pool::install(1).expect("a pool");
        let mut chunk = pool.copy_to_block(b"header, body").expect("a block");
        let header = chunk.split_to(8);
        let chunk = chunk.try_into_mut().expect_err("shared");
        drop(header);
        let mut body = chunk.try_into_mut().expect("not shared any more");
        body.reverse();
        let body = body.freeze();
        assert_eq!(&body[..], b"ydob");
        drop(body);
        assert_eq!(pool.usage().live_blocks, 0);
    }
}
