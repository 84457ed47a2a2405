//! The accept loop of one listener on one worker.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::filters::WorkerContext;
use crate::io::{self, Listener};
use crate::log_warn;

use super::AcceptTarget;
use super::connection::serve_connection;

/// Accepts connections on one socket until it is closed. Each is served by a task of its own, for the listener that has
/// the socket when it comes.
pub async fn serve(target: Rc<AcceptTarget>, mut socket: Listener, worker: Rc<WorkerContext>) {
    loop {
        let accepted = poll_fn(|cx| {
            if target.is_closed() {
                return Poll::Ready(None);
            }
            let polled = socket.poll_accept(cx);
            if polled.is_pending() {
                target.set_waker(cx.waker());
            }
            polled.map(Some)
        })
        .await;
        match accepted {
            None => return,
            Some(Ok(accepted)) => {
                io::spawn(serve_connection(target.listener(), accepted, Rc::clone(&worker)));
            }
            Some(Err(error)) => log_warn!(Listener, "accept failed: {error}"),
        }
    }
}
