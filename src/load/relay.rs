//! A bare L4 relay: the least that a proxy of this I/O layer can do. The floor in comparisons.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::io::{Address, Socket, SocketOptions};

use super::service::{Service, ServiceError, ServiceOptions};

/// What may wait to be sent on before reading pauses.
const UNSENT_MAX_BYTES: usize = 256 * 1_024;

/// Starts a relay that connects each client to `target`.
///
/// # Errors
/// If it cannot listen, or there is no thread.
pub fn start_relay(options: &ServiceOptions, target: Address) -> Result<Service, ServiceError> {
    Service::start("relay", options, move || {
        move |client| {
            let target = Socket::connect(&target, &SocketOptions::default());
            relay(client, target)
        }
    })
}

async fn relay(mut client: Socket, mut target: Socket) {
    let (mut to_target, mut to_client) = (Direction::Flows, Direction::Flows);
    poll_fn(|cx| {
        let forth = to_target.poll(&mut client, &mut target, cx);
        let back = to_client.poll(&mut target, &mut client, cx);
        match (forth, back) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
}

/// Half of a relayed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Flows,
    /// The sender has ended; what it sent may still be on its way.
    Ended,
}

impl Direction {
    /// Ready when everything is sent on, the end included, or one side has failed.
    #[inline]
    fn poll(
        &mut self,
        from: &mut Socket,
        to: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        while *self == Direction::Flows {
            if to.queued_bytes() > UNSENT_MAX_BYTES {
                std::task::ready!(to.poll_drained(cx, UNSENT_MAX_BYTES / 2))?;
            }
            match std::task::ready!(from.poll_recv(cx))? {
                Some(chunk) => to.write_chunk(chunk),
                None => {
                    to.shutdown_write();
                    *self = Direction::Ended;
                }
            }
        }
        to.poll_drained(cx, 0)
    }
}
