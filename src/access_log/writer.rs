//! The writer thread: it alone writes, reopens and closes log files.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender};

use crate::config::AccessLogTarget;
use crate::stats::groups::FilesystemStats;
use crate::{log_debug, log_warn};

/// A buffer larger than this is not kept for another use.
const MAX_RECYCLED_BYTES: usize = 256 * 1024;

/// What the writer thread is asked to do, in order.
#[derive(Debug)]
pub(super) enum Message {
    /// A file was opened.
    Open { file: usize, target: AccessLogTarget, handle: File },
    /// Append these lines; the buffer goes back to who sent it.
    Write { file: usize, bytes: Vec<u8>, lines: u64, give_back: Sender<Vec<u8>> },
    /// Nobody uses the file any more.
    Close { file: usize },
    /// Open all files anew under their names.
    ReopenAll,
    /// Say when everything before this is done.
    Barrier(Sender<()>),
    /// End the thread.
    Stop,
}

/// One file as the rest of the process sees it. Dropping the last handle closes the file.
#[derive(Debug)]
pub(super) struct LogFile {
    number: usize,
    shared: Arc<Shared>,
}

/// What all files of a manager share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) writer: Sender<Message>,
    pub(super) stats: FilesystemStats,
    pub(super) min_flush_bytes: usize,
    pub(super) max_pending_bytes: usize,
    /// Bytes handed to the writer and not written yet.
    pub(super) pending_bytes: AtomicUsize,
}

impl LogFile {
    pub(super) fn new(number: usize, shared: Arc<Shared>) -> LogFile {
        LogFile { number, shared }
    }

    /// Unique in the process, small.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn min_flush_bytes(&self) -> usize {
        self.shared.min_flush_bytes
    }

    /// Counts a line that was put into a buffer.
    pub(super) fn note_line(&self, bytes: usize) {
        self.shared.stats.write_buffered.inc();
        self.shared.stats.write_total_buffered.add(bytes as i64);
    }

    /// Counts a buffer that was handed over before it was full.
    pub(super) fn note_flushed_by_timer(&self) {
        self.shared.stats.flushed_by_timer.inc();
    }

    /// Counts lines that were thrown away.
    pub(super) fn note_dropped(&self, lines: u64, bytes: usize) {
        self.shared.stats.lines_dropped.add(lines);
        self.shared.stats.write_total_buffered.add(-(bytes as i64));
    }

    /// Takes room in the queue to the writer; false if the writer is too far behind.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let pending = &self.shared.pending_bytes;
        if pending.fetch_add(bytes, Relaxed) >= self.shared.max_pending_bytes {
            pending.fetch_sub(bytes, Relaxed);
            return false;
        }
        true
    }

    pub(super) fn send(&self, message: Message) {
        // Without a writer thread the process is ending; late lines are lost then.
        if let Err(unsent) = self.shared.writer.send(message)
            && let Message::Write { bytes, lines, .. } = unsent.0
        {
            self.shared.pending_bytes.fetch_sub(bytes.len(), Relaxed);
            self.note_dropped(lines, bytes.len());
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.send(Message::Close { file: self.number });
    }
}

/// Opens a file for appending, or a standard stream without any buffering in between.
pub(super) fn open(target: &AccessLogTarget) -> io::Result<File> {
    match target {
        AccessLogTarget::File(path) => OpenOptions::new().create(true).append(true).open(path),
        AccessLogTarget::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        AccessLogTarget::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
    }
}

/// The main loop of the thread; `written` is told how many bytes left the queue.
pub(super) fn run(messages: &Receiver<Message>, written: &dyn Fn(usize), stats: FilesystemStats) {
    let mut files: HashMap<usize, (AccessLogTarget, File)> = HashMap::new();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Open { file, target, handle } => {
                files.insert(file, (target, handle));
            }
            Message::Write { file, mut bytes, lines, give_back } => {
                let length = bytes.len();
                match files.get_mut(&file).map(|(_, file)| file.write_all(&bytes)) {
                    Some(Ok(())) => stats.write_completed.inc(),
                    failure => {
                        stats.write_failed.inc();
                        stats.lines_dropped.add(lines);
                        log_debug!(File, "cannot write access log: {failure:?}");
                    }
                }
                stats.write_total_buffered.add(-(length as i64));
                written(length);
                if bytes.capacity() <= MAX_RECYCLED_BYTES {
                    bytes.clear();
                    // The thread it came from may have ended.
                    let _ = give_back.send(bytes);
                }
            }
            Message::Close { file } => {
                files.remove(&file);
            }
            Message::ReopenAll => files.values_mut().for_each(|(target, file)| reopen(target, file, stats)),
            Message::Barrier(done) => drop(done.send(())),
            Message::Stop => break,
        }
    }
}

fn reopen(target: &AccessLogTarget, file: &mut File, stats: FilesystemStats) {
    match open(target) {
        Ok(fresh) => *file = fresh,
        Err(error) => {
            stats.reopen_failed.inc();
            log_warn!(File, "cannot reopen access log {target:?}, writing to the old file: {error}");
        }
    }
}
