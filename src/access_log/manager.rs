//! The control thread's side: starts the writer, opens files, reopens them, and ends it all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::access_log::writer::{self, LogFile, Message, Shared};
use crate::config::AccessLogTarget;
use crate::formatter::FormatError;
use crate::stats::groups::FilesystemStats;

/// How lines are buffered.
#[derive(Debug, Clone, Copy)]
pub struct AccessLogOptions {
    /// A thread's buffer for a file is handed to the writer at this size
    /// (`--file-flush-min-size-kb`; default 64 KiB).
    pub min_flush_bytes: usize,
    /// With this much waiting to be written, buffers are thrown away and their lines counted as
    /// dropped (default 64 MiB).
    pub max_pending_bytes: usize,
}

impl Default for AccessLogOptions {
    fn default() -> AccessLogOptions {
        AccessLogOptions { min_flush_bytes: 64 * 1024, max_pending_bytes: 64 * 1024 * 1024 }
    }
}

/// What can go wrong with access logs.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be opened for appending.
    #[error("cannot open access log '{path}': {error}")]
    Open {
        /// The file, or a standard stream.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The format does not compile.
    #[error("access log '{name}': {error}")]
    Format {
        /// Name of the log as configured.
        name: String,
        /// Why.
        error: FormatError,
    },
    /// A logger of a type that is not there yet.
    #[error("{path}: access logger '{type_url}' is not supported")]
    Unsupported {
        /// Where the configuration says so.
        path: String,
        /// Its type.
        type_url: String,
    },
    /// The writer thread cannot be started.
    #[error("cannot start the access log writer: {0}")]
    Thread(std::io::Error),
    /// The writer thread did not finish in time.
    #[error("the access log writer did not finish within {0:?}")]
    TooSlow(Duration),
}

/// All access log files of the process, and the thread that writes them. Cloning gives another
/// handle; [`AccessLogManager::shutdown`] ends it.
#[derive(Debug, Clone)]
pub struct AccessLogManager {
    shared: Arc<Shared>,
    files: Arc<Mutex<HashMap<AccessLogTarget, Weak<LogFile>>>>,
}

/// Numbers files, so that threads find their buffers by index.
static NEXT_FILE: AtomicUsize = AtomicUsize::new(0);

impl AccessLogManager {
    /// Starts the writer thread; its stats are `filesystem.`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        options: AccessLogOptions,
        stats: FilesystemStats,
    ) -> Result<AccessLogManager, AccessLogError> {
        let (writer, messages) = channel();
        let shared = Arc::new(Shared {
            writer,
            stats,
            min_flush_bytes: options.min_flush_bytes,
            max_pending_bytes: options.max_pending_bytes,
            pending_bytes: AtomicUsize::new(0),
        });
        let weak = Arc::downgrade(&shared);
        let pending = move |bytes: usize| {
            if let Some(shared) = weak.upgrade() {
                shared.pending_bytes.fetch_sub(bytes, Relaxed);
            }
        };
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer::run(&messages, &pending, stats))
            .map_err(AccessLogError::Thread)?;
        Ok(AccessLogManager { shared, files: Arc::default() })
    }

    /// Opens all files anew under their names (SIGUSR1, `/reopen_logs`). Lines that were handed
    /// over before go to the old files.
    pub fn reopen_all(&self) {
        self.send(Message::ReopenAll);
    }

    /// Waits until everything that threads handed over so far is written. Blocks the caller.
    ///
    /// # Errors
    /// If that takes longer than `timeout`, or the writer has ended.
    pub fn wait_written(&self, timeout: Duration) -> Result<(), AccessLogError> {
        let (done, finished) = channel();
        self.send(Message::Barrier(done));
        match finished.recv_timeout(timeout) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(AccessLogError::TooSlow(timeout))
            }
        }
    }

    /// Writes what was handed over and ends the writer. Workers must have flushed before.
    ///
    /// # Errors
    /// If that takes longer than `timeout`.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), AccessLogError> {
        let written = self.wait_written(timeout);
        self.send(Message::Stop);
        written
    }

    /// The file for a target, opened if it is not open yet.
    pub(super) fn file(&self, target: &AccessLogTarget) -> Result<Arc<LogFile>, AccessLogError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(target).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let handle =
            writer::open(target).map_err(|error| AccessLogError::Open { path: name(target), error })?;
        let number = NEXT_FILE.fetch_add(1, Relaxed);
        self.send(Message::Open { file: number, target: target.clone(), handle });
        let file = Arc::new(LogFile::new(number, self.shared.clone()));
        files.retain(|_, file| file.strong_count() > 0);
        files.insert(target.clone(), Arc::downgrade(&file));
        Ok(file)
    }

    fn send(&self, message: Message) {
        // The writer ends only with the process.
        let _ = self.shared.writer.send(message);
    }
}

fn name(target: &AccessLogTarget) -> String {
    match target {
        AccessLogTarget::File(path) => path.clone(),
        AccessLogTarget::Stdout => "stdout".to_owned(),
        AccessLogTarget::Stderr => "stderr".to_owned(),
    }
}
