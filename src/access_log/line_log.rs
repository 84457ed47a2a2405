//! A log of lines that are seldom and should be read at once, such as events of hosts. For the control thread.

use std::sync::Arc;

use crate::access_log::buffers::{append_line, flush_thread};
use crate::access_log::manager::{AccessLogError, AccessLogManager};
use crate::access_log::writer::LogFile;
use crate::config::AccessLogTarget;

/// An open log. Each line is handed to the writer at once, with all else that the thread has buffered.
#[derive(Debug, Clone)]
pub struct LineLog(Arc<LogFile>);

impl AccessLogManager {
    /// The log at `target`, opened if it is not open yet.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn line_log(&self, target: &AccessLogTarget) -> Result<LineLog, AccessLogError> {
        self.file(target).map(LineLog)
    }
}

impl LineLog {
    /// Appends a line; its end is added.
    pub fn write_line(&self, line: &str) {
        append_line(&self.0, |buffer| {
            buffer.extend_from_slice(line.as_bytes());
            buffer.push(b'\n');
        });
        flush_thread();
    }
}
