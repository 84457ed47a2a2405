//! The multishot receive: one operation that goes on receiving, up to a number of bytes where the kernel
//! (since 6.17) can be told one.
//!
//! Without that limit one receive takes all that a peer has sent, half a megabyte at once, before the worker
//! can say that it has enough: memory that a slow reader pins, and that the cache cannot hold.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::{opcode, squeue, types};

use super::buffers::GROUP;
use super::uring::Uring;
use crate::buf::BLOCK_BYTES;

const PROBE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Less than a block is not worth an operation of its own.
const SPAN_BYTES_MIN: usize = BLOCK_BYTES;
/// What a multishot receive takes before others have their turn: 32 blocks (`MULTISHOT_MAX_RETRY`).
const BURST_BYTES: usize = 32 * BLOCK_BYTES;
/// Where `struct io_uring_sqe` has its `optlen`: a multishot receive's limit.
const OPTLEN_OFFSET: usize = 44;

/// How receives are made on this kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receives {
    limited: bool,
}

impl Receives {
    /// Asks the kernel behind `uring`, which must be idle, whether it knows the limit.
    ///
    /// # Errors
    /// The kernel's, if it does not answer.
    pub(super) fn probe(uring: &mut Uring) -> io::Result<Receives> {
        let limited = Receives { limited: true };
        // A kernel that does not know it says so before it looks at the descriptor.
        // SAFETY: there is no descriptor, so nothing is received.
        unsafe { uring.push(&limited.entry(-1, BLOCK_BYTES)) };
        uring.submit_and_wait(PROBE_WAIT_MAX)?;
        let mut completions = Vec::new();
        uring.reap(&mut completions);
        match completions.first() {
            Some(completion) => Ok(Receives { limited: completion.result == -libc::EBADF }),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// A receive on `fd` into offered blocks, that ends after about `allowance_bytes` where that is less than what
    /// the kernel takes in one go anyway. A receive that ends has to be started again, and may cut a message in two.
    #[inline]
    pub(super) fn entry(self, fd: RawFd, allowance_bytes: usize) -> squeue::Entry {
        const { assert!(size_of::<squeue::Entry>() == 64) };
        let mut entry = opcode::RecvMulti::new(types::Fd(fd), GROUP).build();
        if self.limited && allowance_bytes < BURST_BYTES {
            let span_bytes = allowance_bytes.max(SPAN_BYTES_MIN) as u32;
            let bytes = (&raw mut entry).cast::<u8>();
            // SAFETY: the entry is the kernel's structure of 64 bytes (see the assertion), aligned for its
            // eight-byte fields, and this field of it is a plain number.
            unsafe { bytes.add(OPTLEN_OFFSET).cast::<u32>().write(span_bytes) };
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use io_uring::cqueue;

    use super::*;
    use crate::buf::Pool;
    use crate::io::ring::buffers::Buffers;

    #[test]
    fn a_receive_ends_at_its_limit() {
        std::thread::spawn(|| {
            let mut uring = Uring::with_entries(8, 64).expect("a ring");
            let receives = Receives::probe(&mut uring).expect("an answer");
            if !receives.limited {
                eprintln!("SKIPPED: this kernel cannot limit a multishot receive");
                return;
            }
            let mut buffers =
                Buffers::new(&uring, Rc::new(Pool::install(16).expect("memory"))).expect("a ring");
            let (mut near, far) = UnixStream::pair().expect("a pair");
            near.write_all(&[7; 5 * BLOCK_BYTES]).expect("room for it");
            // SAFETY: the kernel writes into offered blocks.
            unsafe { uring.push(&receives.entry(far.as_raw_fd(), 2 * BLOCK_BYTES)) };
            let (mut received, mut ended) = (0, false);
            while !ended {
                uring.submit_and_wait(PROBE_WAIT_MAX).expect("completions");
                let mut completions = Vec::new();
                uring.reap(&mut completions);
                assert!(!completions.is_empty(), "no end after {received} bytes");
                for completion in completions {
                    received += completion.result;
                    ended = !cqueue::more(completion.flags);
                    let block = cqueue::buffer_select(completion.flags).expect("a block");
                    buffers.put_back(block);
                }
            }
            assert_eq!(received as usize, 2 * BLOCK_BYTES);
            buffers.unregister(&uring);
        })
        .join()
        .expect("no panic");
    }
}
