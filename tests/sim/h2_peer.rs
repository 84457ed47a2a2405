//! An HTTP/2 end over a simulated socket. The frames are those of the test support, which knows nothing of the proxy's codec.

use std::time::Duration;

use ringway::io::Socket;
use ringway_test_support::h2::Endpoint;

use super::wire::{HANG, ReadError, within};

/// A connection.
pub struct H2Peer {
    pub socket: Socket,
    pub endpoint: Endpoint,
    /// A slow reader's rest between two reads.
    pub pause: Duration,
}

impl H2Peer {
    /// Joins both.
    pub fn new(socket: Socket, endpoint: Endpoint) -> H2Peer {
        H2Peer { socket, endpoint, pause: Duration::ZERO }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        let output = std::mem::take(&mut self.endpoint.output);
        if !output.is_empty() {
            self.socket.write(&output);
        }
    }

    /// Writes what waits, reads what comes within `limit` and acts on it; false if nothing came.
    pub async fn turn(&mut self, limit: Duration) -> Result<bool, ReadError> {
        self.flush();
        if !self.pause.is_zero() {
            ringway::io::sleep(self.pause).await;
        }
        let has_come = match within(limit.min(HANG), self.socket.recv()).await {
            None => false,
            Some(Ok(Some(chunk))) => {
                self.endpoint.receive(&chunk);
                while self.endpoint.next_frame().map_err(|_| ReadError::Malformed("frames"))?.is_some() {}
                true
            }
            Some(Ok(None)) => return Err(ReadError::Ended),
            Some(Err(_)) => return Err(ReadError::Reset),
        };
        self.flush();
        Ok(has_come)
    }
}
