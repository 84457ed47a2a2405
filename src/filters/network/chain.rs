//! The filters of a chain in front of the terminal one, at work on one connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::filters::WorkerContext;
use crate::stream_info::ConnectionInfo;
use crate::transport::{Stream, Tap, TapClosed};

use super::{Closing, Connection, NetworkContext, NetworkFilter, NetworkFilterFactory, Verdict};

/// Filters that let a connection pass; they live as long as this does.
pub struct Admitted {
    _filters: Vec<Box<dyn NetworkFilter>>,
}

/// Shows a new connection to the filters in order.
///
/// # Errors
/// If one of them does not want it, or the client leaves while one of them waits.
pub async fn admit(
    factories: &[Arc<dyn NetworkFilterFactory>],
    connection: &mut Connection,
) -> Result<Admitted, Closing> {
    let mut filters: Vec<_> = factories.iter().map(|factory| factory.create()).collect();
    for filter in &mut filters {
        let cx = NetworkContext { info: &connection.info, worker: &connection.worker };
        let mut verdict = filter.on_new_connection(&cx);
        loop {
            match verdict {
                Verdict::Continue => break,
                Verdict::Await(future) => verdict = while_connected(&mut connection.stream, future).await,
                Verdict::Close(closing) => {
                    note(&closing, &connection.info);
                    return Err(closing);
                }
            }
        }
    }
    if filters.iter().any(|filter| filter.wants_data()) {
        let (info, worker) = (Rc::clone(&connection.info), Rc::clone(&connection.worker));
        let filters = std::mem::take(&mut filters);
        connection.stream.set_tap(Box::new(DataFilters { filters, info, worker, at: 0, awaited: None }));
    }
    Ok(Admitted { _filters: filters })
}

/// Waits for a filter. A client that ends or breaks its direction meanwhile is not waited for.
async fn while_connected(stream: &mut Stream, mut future: Pin<Box<dyn Future<Output = Verdict>>>) -> Verdict {
    poll_fn(|cx| {
        if let Poll::Ready(verdict) = future.as_mut().poll(cx) {
            return Poll::Ready(verdict);
        }
        let _ = stream.poll_readable(cx);
        if stream.poll_failed(cx).is_ready() || stream.is_read_ended() {
            return Poll::Ready(Verdict::Close(Closing::default()));
        }
        Poll::Pending
    })
    .await
}

fn note(closing: &Closing, info: &ConnectionInfo) {
    if let Some(details) = &closing.termination_details {
        info.set_termination_details(Arc::clone(details));
    }
}

/// The filters while bytes pass.
struct DataFilters {
    filters: Vec<Box<dyn NetworkFilter>>,
    info: Rc<ConnectionInfo>,
    worker: Rc<WorkerContext>,
    /// How many have let the present bytes pass.
    at: usize,
    awaited: Option<Pin<Box<dyn Future<Output = Verdict>>>>,
}

impl Tap for DataFilters {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &[u8], end: bool) -> Poll<Result<(), TapClosed>> {
        let surroundings = NetworkContext { info: &self.info, worker: &self.worker };
        while self.at < self.filters.len() {
            let verdict = match &mut self.awaited {
                Some(future) => ready!(future.as_mut().poll(cx)),
                None => self.filters[self.at].on_read(bytes, end, &surroundings),
            };
            self.awaited = None;
            match verdict {
                Verdict::Continue => self.at += 1,
                Verdict::Await(future) => self.awaited = Some(future),
                Verdict::Close(closing) => {
                    note(&closing, &self.info);
                    return Poll::Ready(Err(TapClosed));
                }
            }
        }
        self.at = 0;
        Poll::Ready(Ok(()))
    }

    fn on_write(&mut self, bytes: &[u8]) -> Result<(), TapClosed> {
        let surroundings = NetworkContext { info: &self.info, worker: &self.worker };
        for filter in self.filters.iter_mut().rev() {
            if let Verdict::Close(closing) = filter.on_write(bytes, &surroundings) {
                note(&closing, &self.info);
                return Err(TapClosed);
            }
        }
        Ok(())
    }
}
