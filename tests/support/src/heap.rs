//! How much memory the process has from `malloc`, whoever asked for it: Rust code or the C libraries in it.

/// Bytes in use, with `malloc`'s own overhead. Only meaningful while the system's allocator is the global one and
/// nothing else runs.
pub fn bytes_in_use() -> usize {
    // SAFETY: the call takes nothing and only reads the allocator's own books.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}
