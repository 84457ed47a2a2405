//! Counts the bytes that pass a stream, for those who want to know once the stream is gone.

use std::cell::Cell;

/// Bytes of one stream so far, as its user sees them.
#[derive(Debug, Default)]
pub struct ByteMeter {
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl ByteMeter {
    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Bytes handed over to be sent.
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }
}
