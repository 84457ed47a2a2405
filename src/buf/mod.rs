//! Memory for the data path: reference-counted pieces of received or made bytes.
//!
//! A worker installs a [`Pool`] of 16 KiB blocks on its thread. The I/O driver receives into blocks
//! and hands them on as [`Chunk`]s without copying; the last reference gives a block back. Without a
//! pool (tests, the control thread) chunks live on the heap. Chunks belong to one thread and are
//! not `Send`. Nothing here does I/O.

mod chain;
mod chunk;
mod chunk_mut;
mod memory;
mod pool;
mod vecs;

pub use chain::Chain;
pub use chunk::Chunk;
pub use chunk_mut::ChunkMut;
pub use pool::{BLOCK_BYTES, BlockIndex, Pool, PoolUsage};
pub use vecs::{recycle_vec, take_vec};
