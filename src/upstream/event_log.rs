//! Where events of hosts are written to: the seam to the process's log writer. Formats no event itself.

use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::base::clock::UnixTime;

/// An open log; called on the control thread.
pub trait EventLog: Send + Sync {
    /// Appends a line; its end is added.
    fn write_line(&self, line: &str);
}

/// Opens event logs by path.
pub trait EventLogs: Send + Sync {
    /// The log at `path`, opened for appending.
    ///
    /// # Errors
    /// Why it cannot be opened.
    fn open(&self, path: &str) -> Result<Arc<dyn EventLog>, String>;
}

/// `2026-11-25T22:03:36.101Z`, as protobuf's JSON has it: no fraction for whole seconds.
pub(super) fn timestamp(at: UnixTime) -> String {
    const WHOLE: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    const MILLIS: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let format = if at.subsec_nanos() < 1_000_000 { WHOLE } else { MILLIS };
    let time = OffsetDateTime::from_unix_timestamp_nanos(at.as_nanos().into());
    time.ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_milliseconds_unless_there_are_none() {
        let at = |nanos: u64| timestamp(UnixTime::from_nanos(1_795_644_216_000_000_000 + nanos));
        assert_eq!(at(120_999_999), "2026-11-25T22:03:36.120Z");
        assert_eq!(at(999_999), "2026-11-25T22:03:36Z");
        assert_eq!(timestamp(UnixTime::from_nanos(0)), "1970-01-01T00:00:00Z");
    }
}
