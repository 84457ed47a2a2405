//! What can go wrong: kinds of failed requests, and runs that cannot be made.

use crate::io;

/// Kinds of failed requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The target refused the connection.
    ConnectRefused,
    /// The connection did not stand in time.
    ConnectTimeout,
    /// No connection could be made for another reason.
    ConnectFailed,
    /// TLS could not begin, or the target did not agree to the protocol.
    Handshake,
    /// The connection was reset while an answer was awaited.
    Reset,
    /// The request's HTTP/2 stream was reset.
    StreamReset,
    /// HTTP/2: refused, or sent behind the last stream of the target's GOAWAY. It was certainly not acted upon.
    NotProcessed,
    /// The connection ended in order before the answer was complete.
    ClosedEarly,
    /// No complete answer in time.
    Timeout,
    /// The answer was no HTTP.
    Malformed,
    /// An answer with a status that was not expected, or one of gRPC that says that the call failed.
    Status,
    /// Due by the schedule, and not sent in time for lack of a free connection.
    NotSent,
}

impl ErrorKind {
    /// All kinds, in the order of [`Report::errors`](super::Report::errors).
    pub const ALL: [ErrorKind; 12] = [
        ErrorKind::ConnectRefused,
        ErrorKind::ConnectTimeout,
        ErrorKind::ConnectFailed,
        ErrorKind::Handshake,
        ErrorKind::Reset,
        ErrorKind::StreamReset,
        ErrorKind::NotProcessed,
        ErrorKind::ClosedEarly,
        ErrorKind::Timeout,
        ErrorKind::Malformed,
        ErrorKind::Status,
        ErrorKind::NotSent,
    ];

    /// The name in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            ErrorKind::ConnectRefused => "connect_refused",
            ErrorKind::ConnectTimeout => "connect_timeout",
            ErrorKind::ConnectFailed => "connect_failed",
            ErrorKind::Handshake => "handshake",
            ErrorKind::Reset => "reset",
            ErrorKind::StreamReset => "stream_reset",
            ErrorKind::NotProcessed => "not_processed",
            ErrorKind::ClosedEarly => "closed_early",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Malformed => "malformed",
            ErrorKind::Status => "unexpected_status",
            ErrorKind::NotSent => "not_sent",
        }
    }

    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::ConnectRefused => "connection refused",
            ErrorKind::ConnectTimeout => "connect timeout",
            ErrorKind::ConnectFailed => "connect failed",
            ErrorKind::Handshake => "TLS handshake failed",
            ErrorKind::Reset => "connection reset",
            ErrorKind::StreamReset => "stream reset",
            ErrorKind::NotProcessed => "refused or not processed (GOAWAY)",
            ErrorKind::ClosedEarly => "connection closed before the answer",
            ErrorKind::Timeout => "no answer in time",
            ErrorKind::Malformed => "malformed answer",
            ErrorKind::Status => "unexpected status",
            ErrorKind::NotSent => "due but not sent (no free connection)",
        }
    }

    /// Why connecting failed.
    pub(super) fn of_connect(error: &std::io::Error) -> ErrorKind {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ErrorKind::ConnectRefused,
            std::io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
            _ => ErrorKind::ConnectFailed,
        }
    }
}

/// A run that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The I/O layer could not start.
    #[error(transparent)]
    Worker(#[from] io::WorkerError),
    /// No thread for a worker.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// TLS cannot be as it was asked for.
    #[error("TLS: {0}")]
    Tls(String),
    /// A worker's thread panicked: a defect of the generator.
    #[error("a worker of the load generator panicked")]
    Panicked,
}
