//! The worker's side: a buffer per file in each thread, handed to the writer when it is full.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::access_log::writer::{LogFile, Message};
use crate::io;

/// Room beyond the size at which a buffer is handed over, so that the last line seldom makes it grow.
const HEADROOM_BYTES: usize = 4 * 1024;
/// Buffers that came back from the writer and wait in a thread to be used again.
const MAX_SPARE_BUFFERS: usize = 8;

/// Hands over all lines that this thread has buffered: before the thread ends, and in tests.
/// Forgets files that got no line since the last time.
pub fn flush_thread() {
    // After the thread's end has begun there is nothing left to flush.
    let _ = THREAD.try_with(|thread| thread.borrow_mut().flush_all());
}

/// Flushes this worker's lines every `interval` (`--file-flush-interval-msec`), for ever. Each
/// worker runs one.
pub async fn flush_periodically(interval: Duration) {
    loop {
        io::sleep(interval).await;
        flush_thread();
    }
}

/// Lets `write` append one line (none if it appends nothing) to the thread's buffer for `file`.
pub(super) fn append_line(file: &Arc<LogFile>, write: impl FnOnce(&mut Vec<u8>)) {
    let _ = THREAD.try_with(|thread| thread.borrow_mut().append(file, write));
}

thread_local! {
    static THREAD: RefCell<ThreadBuffers> = RefCell::new(ThreadBuffers::new());
}

struct ThreadBuffers {
    /// By the file's number.
    buffers: Vec<Option<Buffer>>,
    returns: Sender<Vec<u8>>,
    returned: Receiver<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Buffer {
    file: Arc<LogFile>,
    bytes: Vec<u8>,
    lines: u64,
    touched: bool,
}

impl ThreadBuffers {
    fn new() -> ThreadBuffers {
        let (returns, returned) = channel();
        ThreadBuffers { buffers: Vec::new(), returns, returned, spare: Vec::new() }
    }

    fn append(&mut self, file: &Arc<LogFile>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.buffers.len() <= file.number() {
            self.buffers.resize_with(file.number() + 1, || None);
        }
        let buffer = self.buffers[file.number()].get_or_insert_with(|| Buffer {
            file: file.clone(),
            bytes: Vec::new(),
            lines: 0,
            touched: true,
        });
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        let added = buffer.bytes.len() - before;
        buffer.touched = true;
        if added == 0 {
            return;
        }
        buffer.lines += 1;
        file.note_line(added);
        if buffer.bytes.len() >= file.min_flush_bytes() {
            let at = file.number();
            self.hand_over(at);
        }
    }

    fn flush_all(&mut self) {
        for at in 0..self.buffers.len() {
            if let Some(buffer) = self.buffers[at].as_ref().filter(|buffer| !buffer.bytes.is_empty()) {
                buffer.file.note_flushed_by_timer();
            }
            self.hand_over(at);
            let slot = &mut self.buffers[at];
            if slot.as_mut().is_some_and(|buffer| !std::mem::take(&mut buffer.touched)) {
                *slot = None;
            }
        }
    }

    fn hand_over(&mut self, at: usize) {
        let Some(buffer) = self.buffers[at].as_mut().filter(|buffer| !buffer.bytes.is_empty()) else {
            return;
        };
        let lines = std::mem::take(&mut buffer.lines);
        if !buffer.file.reserve(buffer.bytes.len()) {
            buffer.file.note_dropped(lines, buffer.bytes.len());
            buffer.bytes.clear();
            return;
        }
        let room = buffer.file.min_flush_bytes() + HEADROOM_BYTES;
        self.spare.extend(self.returned.try_iter().take(MAX_SPARE_BUFFERS - self.spare.len()));
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(room));
        let bytes = std::mem::replace(&mut buffer.bytes, empty);
        buffer.file.send(Message::Write {
            file: buffer.file.number(),
            bytes,
            lines,
            give_back: self.returns.clone(),
        });
    }
}

impl Drop for ThreadBuffers {
    fn drop(&mut self) {
        self.flush_all();
    }
}
