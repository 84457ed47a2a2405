//! Logs of what happens to upstream hosts, written as access logs are: by the writer thread, to files that can be
//! reopened.

use std::sync::Arc;

use crate::access_log::{AccessLogManager, LineLog};
use crate::config::AccessLogTarget;
use crate::upstream::{EventLog, EventLogs};

/// Event logs among the process's log files.
pub struct LoggedEvents(pub AccessLogManager);

impl EventLogs for LoggedEvents {
    fn open(&self, path: &str) -> Result<Arc<dyn EventLog>, String> {
        let log = self.0.line_log(&AccessLogTarget::File(path.to_owned()));
        log.map(|log| Arc::new(log) as Arc<dyn EventLog>).map_err(|error| error.to_string())
    }
}

impl EventLog for LineLog {
    fn write_line(&self, line: &str) {
        LineLog::write_line(self, line);
    }
}
