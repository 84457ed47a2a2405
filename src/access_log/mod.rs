//! Access logs: which exchanges are logged, in what format, and how lines reach their files.
//!
//! A worker formats a line into a buffer of its own, one per file (`buffers`), and hands full
//! buffers to one writer thread (`writer`), which alone touches files. Logging a line takes no lock
//! and, once buffers have grown, allocates nothing. When the writer cannot keep up, lines are
//! dropped and counted; workers never wait for a disk.
//!
//! Follows `envoy.config.accesslog.v3.AccessLog` and Envoy's `filesystem.` stats.

mod buffers;
mod filter;
mod line_log;
mod logger;
mod manager;
#[cfg(test)]
mod tests;
mod writer;

pub use buffers::{flush_periodically, flush_thread};
pub use filter::LogFilter;
pub use line_log::LineLog;
pub use logger::AccessLogSet;
pub use manager::{AccessLogError, AccessLogManager, AccessLogOptions};
