//! A reference-counted piece of bytes. Cloning and splitting share the memory.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use bytes::Bytes;

use super::ChunkMut;
use super::memory::{self, Header};

/// Some bytes, shared, immutable. Small to move (24 bytes), cheap to clone; not `Send`.
pub struct Chunk {
    /// `start..start + len` is readable and unchanging while `owner` counts this chunk.
    start: NonNull<u8>,
    len: u32,
    /// `None`: the bytes are static.
    owner: Option<NonNull<Header>>,
    _not_send: PhantomData<*const ()>,
}

const _: () = assert!(size_of::<Chunk>() == 24 && size_of::<Option<Chunk>>() == 24);

impl Chunk {
    /// No bytes.
    pub const fn new() -> Chunk {
        Chunk::from_static(b"")
    }

    /// Bytes that live as long as the program. At most `u32::MAX` bytes.
    pub const fn from_static(bytes: &'static [u8]) -> Chunk {
        assert!(bytes.len() <= u32::MAX as usize, "a chunk holds at most u32::MAX bytes");
        // SAFETY: a slice's address is never null.
        let start = unsafe { NonNull::new_unchecked(bytes.as_ptr().cast_mut()) };
        Chunk { start, len: bytes.len() as u32, owner: None, _not_send: PhantomData }
    }

    /// Bytes shared with other threads, such as a configured body. At most `u32::MAX` bytes.
    pub fn from_bytes(bytes: Bytes) -> Chunk {
        let len = checked_len(bytes.len());
        let (owner, start) = memory::hold_bytes(bytes);
        Chunk::held(owner, start, len)
    }

    /// The contents of a vector, not copied; its memory is recycled by [`take_vec`](super::take_vec).
    /// At most `u32::MAX` bytes.
    pub fn from_vec(bytes: Vec<u8>) -> Chunk {
        let len = checked_len(bytes.len());
        let (owner, start) = memory::hold_vec(bytes);
        Chunk::held(owner, start, len)
    }

    /// A copy of `bytes` in this worker's memory. At most `u32::MAX` bytes.
    #[inline]
    pub fn copy_from(bytes: &[u8]) -> Chunk {
        if bytes.is_empty() {
            return Chunk::new();
        }
        let len = checked_len(bytes.len());
        let owner = memory::allocate(bytes.len());
        let start = memory::data(owner);
        // SAFETY: `start` has room for the bytes and nobody else refers to that memory yet.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Chunk { start, len, owner: Some(owner), _not_send: PhantomData }
    }

    /// A chunk of memory whose reference is already counted.
    ///
    /// # Safety
    /// `start..start + len` is readable and stays unchanged until the reference that `owner` counts
    /// for this chunk is given back.
    pub(super) unsafe fn from_raw(start: NonNull<u8>, len: u32, owner: NonNull<Header>) -> Chunk {
        Chunk { start, len, owner: Some(owner), _not_send: PhantomData }
    }

    /// The same bytes outside the pool of receive blocks: copied if they lie in one. For bytes that
    /// may stay for long, because blocks are few.
    pub fn into_unpooled(self) -> Chunk {
        match self.owner {
            Some(owner) if memory::is_block(owner) => Chunk::copy_from(&self),
            _ => self,
        }
    }

    /// Puts `more` behind these bytes; copies both unless one is empty.
    pub fn append(&mut self, more: Chunk) {
        if self.is_empty() {
            *self = more;
        } else if !more.is_empty() {
            let mut joined = Vec::with_capacity(self.len() + more.len());
            joined.extend_from_slice(self);
            joined.extend_from_slice(&more);
            *self = Chunk::from_vec(joined);
        }
    }

    /// The same bytes for changing them in place, if no other chunk shares their memory and it is this
    /// worker's own (received or copied).
    ///
    /// # Errors
    /// The chunk itself, if its bytes must stay as they are.
    pub fn try_into_mut(self) -> Result<ChunkMut, Chunk> {
        if self.owner.is_some_and(memory::is_writable) {
            // SAFETY: the only reference is this chunk's, and the memory is of a writable kind.
            Ok(unsafe { ChunkMut::new(self) })
        } else {
            Err(self)
        }
    }

    /// Where the bytes begin.
    pub(super) fn start_ptr(&self) -> NonNull<u8> {
        self.start
    }

    /// Removes and returns the first `count` bytes, sharing the memory.
    ///
    /// # Panics
    /// If `count` is larger than the length.
    #[inline]
    pub fn split_to(&mut self, count: usize) -> Chunk {
        assert!(count <= self.len(), "split past the end");
        let mut front = if count == self.len() { std::mem::take(self) } else { self.clone() };
        front.len = count as u32;
        if !self.is_empty() {
            self.advance(count);
        }
        front
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    /// If `count` is larger than the length.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance past the end");
        // SAFETY: stays within the chunk's bytes, or one past their end.
        self.start = unsafe { self.start.add(count) };
        self.len -= count as u32;
    }

    /// Keeps the first `count` bytes; does nothing if there are fewer.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        self.len = self.len.min(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the field's invariant.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }

    fn held(owner: NonNull<Header>, start: *const u8, len: u32) -> Chunk {
        let start = NonNull::new(start.cast_mut()).unwrap_or(NonNull::dangling());
        Chunk { start, len, owner: Some(owner), _not_send: PhantomData }
    }
}

fn checked_len(len: usize) -> u32 {
    u32::try_from(len).expect("a chunk holds at most u32::MAX bytes")
}

impl Clone for Chunk {
    #[inline]
    fn clone(&self) -> Chunk {
        if let Some(owner) = self.owner {
            // SAFETY: this chunk's own reference keeps the header alive.
            let refs = unsafe { &owner.as_ref().refs };
            assert!(refs.get() < u32::MAX, "too many references to a chunk");
            refs.set(refs.get() + 1);
        }
        Chunk { start: self.start, len: self.len, owner: self.owner, _not_send: PhantomData }
    }
}

impl Drop for Chunk {
    #[inline]
    fn drop(&mut self) {
        if let Some(owner) = self.owner {
            // SAFETY: this chunk's own reference keeps the header alive.
            let refs = unsafe { &owner.as_ref().refs };
            let left = refs.get() - 1;
            refs.set(left);
            if left == 0 {
                memory::release(owner);
            }
        }
    }
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk::new()
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({:?})", String::from_utf8_lossy(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_kinds() -> Vec<Chunk> {
        vec![
            Chunk::from_static(b"0123456789"),
            Chunk::copy_from(b"0123456789"),
            Chunk::from_bytes(Bytes::from_static(b"0123456789")),
            Chunk::from_vec(b"0123456789".to_vec()),
        ]
    }

    #[test]
    fn every_kind_splits_and_shares() {
        for mut chunk in all_kinds() {
            let front = chunk.split_to(4);
            let mut copy = chunk.clone();
            copy.truncate(3);
            copy.advance(1);
            assert_eq!((&front[..], &chunk[..], &copy[..]), (&b"0123"[..], &b"456789"[..], &b"56"[..]));
            drop((front, chunk));
            assert_eq!(&copy[..], b"56");
            assert_eq!(&copy.split_to(2)[..], b"56");
            assert!(copy.is_empty());
        }
    }

    #[test]
    fn held_memory_is_released_once() {
        let bytes = Bytes::from(vec![7; 100]);
        let chunk = Chunk::from_bytes(bytes.clone());
        let second = chunk.clone();
        drop(chunk);
        assert!(!bytes.is_unique());
        drop(second);
        assert!(bytes.is_unique());
    }

    #[test]
    fn large_copies_are_exact() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        assert_eq!(&Chunk::copy_from(&bytes)[..], &bytes[..]);
        assert!(Chunk::copy_from(b"").is_empty());
        assert!(Chunk::from_vec(Vec::new()).is_empty());
    }
}
