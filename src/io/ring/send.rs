//! What one send of a stream carries, and the memory that the kernel reads for it: nothing of its own if that is one
//! piece, else a recycled box. Starts no operation.

use crate::io::stream::{Segment, Transmit};

/// Boxes that are kept for the next sends of several pieces.
const KEPT_BATCHES: usize = 512;

/// What is being sent. While it is, the kernel reads what the segments and the batch hold: only this module's functions
/// change them, which are called when nothing is under way.
#[derive(Default)]
pub(super) enum Sending {
    /// Nothing.
    #[default]
    None,
    /// The rest of one piece, after `skip` bytes that are sent already. The kernel points to its bytes only.
    One { segment: Segment, skip: usize },
    /// Several pieces.
    Many(Box<Batch>),
}

/// Batches that nobody uses; boxed, because the kernel holds pointers into them when they are in use.
pub(super) type FreeBatches = Vec<Box<Batch>>;

/// Several pieces, and the message that describes them to the kernel.
pub(super) struct Batch {
    segments: Vec<Segment>,
    /// Bytes of the first segment that are sent already.
    skip: usize,
    iovecs: Vec<libc::iovec>,
    message: libc::msghdr,
}

impl Sending {
    /// What the next send of a stream is to carry.
    #[inline]
    pub(super) fn take(tx: &mut Transmit, free: &mut FreeBatches) -> Sending {
        if let Some(segment) = tx.take_only() {
            return Sending::One { segment, skip: 0 };
        }
        if tx.is_queue_empty() {
            return Sending::None;
        }
        let mut batch = free.pop().unwrap_or_default();
        tx.take_batch(&mut batch.segments);
        Sending::Many(batch)
    }

    #[inline]
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Sending::None)
    }

    /// The kernel took `bytes`: gives back what is sent whole. Nothing may be under way.
    #[inline]
    pub(super) fn forget_sent(&mut self, bytes: usize, free: &mut FreeBatches) {
        let is_done = match self {
            Sending::None => return,
            Sending::One { segment, skip } => {
                *skip += bytes;
                *skip >= segment.bytes().len()
            }
            Sending::Many(batch) => {
                batch.forget_sent(bytes);
                batch.segments.is_empty()
            }
        };
        if is_done {
            self.recycle(free);
        }
    }

    /// Gives everything back. Nothing may be under way.
    #[inline]
    pub(super) fn recycle(&mut self, free: &mut FreeBatches) {
        match std::mem::take(self) {
            Sending::None => {}
            Sending::One { segment, .. } => segment.recycle(),
            Sending::Many(mut batch) => {
                batch.segments.drain(..).for_each(Segment::recycle);
                batch.skip = 0;
                if free.len() < KEPT_BATCHES {
                    free.push(batch);
                }
            }
        }
    }
}

impl Default for Batch {
    fn default() -> Batch {
        // SAFETY: all zeroes is a valid `msghdr`.
        let message = unsafe { std::mem::zeroed() };
        Batch { segments: Vec::new(), skip: 0, iovecs: Vec::new(), message }
    }
}

impl Batch {
    /// The message for what is left. It points into this batch, which must not be freed or changed as long as the kernel
    /// may read it.
    pub(super) fn message(&mut self) -> *const libc::msghdr {
        self.iovecs.clear();
        let mut skip = self.skip;
        for segment in &self.segments {
            let bytes = &segment.bytes()[std::mem::take(&mut skip)..];
            let iov_base = bytes.as_ptr().cast_mut().cast();
            self.iovecs.push(libc::iovec { iov_base, iov_len: bytes.len() });
        }
        self.message.msg_iov = self.iovecs.as_mut_ptr();
        self.message.msg_iovlen = self.iovecs.len() as _;
        &raw const self.message
    }

    fn forget_sent(&mut self, bytes: usize) {
        let mut left = bytes + self.skip;
        let whole = self.segments.iter().take_while(|segment| {
            let fits = segment.bytes().len() <= left;
            left -= if fits { segment.bytes().len() } else { 0 };
            fits
        });
        let whole = whole.count();
        self.segments.drain(..whole).for_each(Segment::recycle);
        self.skip = left;
    }
}
