//! Signals as orders: SIGTERM and SIGINT end the process gracefully, SIGUSR1 reopens logs.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process follows.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalOrder {
    /// Finish what is in flight and end.
    End,
    /// Open logs anew.
    ReopenLogs,
}

impl Signals {
    /// Takes the signals over; from now on they do not end the process by themselves.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next order.
    pub async fn next(&mut self) -> SignalOrder {
        tokio::select! {
            _ = self.terminate.recv() => SignalOrder::End,
            _ = self.interrupt.recv() => SignalOrder::End,
            _ = self.reopen.recv() => SignalOrder::ReopenLogs,
        }
    }
}
