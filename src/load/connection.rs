//! One of the connections of a load run, whatever its protocol: it connects, takes requests from the dispatch while
//! there is room, tells the recorder what came of them, and connects again when it has to.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::clock::Instant;
use crate::io::{self, Timer};
use crate::transport::Stream;

use super::connect::Connected;
use super::dispatch::Job;
use super::error::ErrorKind;
use super::plan::Reuse;
use super::protocol::{Finished, Protocol};
use super::worker::State;

/// How long a connection waits after its first failure in a row; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const PAUSE_DOUBLINGS_MAX: u32 = 5;
/// How long the target may take to close after the last answer, before we do.
const LINGER: Duration = Duration::from_secs(1);

/// Connection `number` of a worker, until the run is over.
pub(super) async fn drive<P: Protocol>(state: Rc<State>, number: u32) {
    let mut failures = 0;
    let mut waits_at_start = state.plan.reuse == Reuse::KeepAlive;
    loop {
        let mut first = None;
        if state.plan.reuse != Reuse::KeepAlive {
            first = poll_fn(|cx| state.dispatch.borrow_mut().poll_take(number, 1, io::now(), cx)).await;
            if first.is_none() {
                return;
            }
        }
        let begun = io::now();
        let result = state.endpoint.connect(number).await;
        match &result {
            Ok(connected) => state.connected(connected),
            Err(failure) => state.connect_failed(first.as_ref(), failure),
        }
        if std::mem::take(&mut waits_at_start) {
            state.wait_for_start().await;
        }
        let has_answered = match result {
            Ok(Connected { mut stream, .. }) if state.plan.reuse == Reuse::Handshake => {
                let now = io::now();
                if let Some(job) = first {
                    state.recorder.borrow_mut().shook_hands(&job, begun, now);
                }
                state.disconnected(number);
                // A ticket for the next session may still come.
                stream.shutdown_write();
                linger(stream);
                true
            }
            Ok(Connected { stream, .. }) => {
                let mut connection = Connection::<P>::new(&state, number, stream, first);
                poll_fn(|cx| connection.poll_run(cx)).await;
                let has_answered = connection.exchanges.has_answered;
                connection.close();
                has_answered
            }
            Err(_) => false,
        };
        if state.dispatch.borrow().is_over(io::now()) {
            return;
        }
        failures = if has_answered { 0 } else { failures + 1 };
        if failures > 0 {
            // A target that refuses everything must not make this a busy loop.
            let doublings: u32 = (failures - 1).min(PAUSE_DOUBLINGS_MAX);
            io::sleep(FIRST_PAUSE * (1 << doublings)).await;
        }
    }
}

/// A connection that stands.
struct Connection<'a, P> {
    state: &'a Rc<State>,
    number: u32,
    stream: Stream,
    protocol: P,
    exchanges: Exchanges<'a>,
    /// A request that was taken before connecting.
    first: Option<Job>,
    /// No further request is begun here.
    is_over: bool,
    timer: Timer,
    /// What `timer` is armed for. Looked at only when it expires: no request touches the timer.
    armed: Instant,
    is_timer_polled: bool,
}

/// The requests of a connection that have no answer.
struct Exchanges<'a> {
    state: &'a Rc<State>,
    /// By tag.
    in_flight: Vec<Option<InFlight>>,
    free_tags: Vec<u32>,
    has_answered: bool,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    job: Job,
    sent: Instant,
}

impl<'a, P: Protocol> Connection<'a, P> {
    fn new(state: &'a Rc<State>, number: u32, stream: Stream, first: Option<Job>) -> Connection<'a, P> {
        let depth = if first.is_some() { 1 } else { state.plan.depth.max(1) };
        Connection {
            state,
            number,
            stream,
            protocol: P::new(depth),
            exchanges: Exchanges {
                state,
                in_flight: vec![None; depth as usize],
                free_tags: (0..depth).rev().collect(),
                has_answered: false,
            },
            first,
            is_over: false,
            timer: Timer::new(),
            armed: Instant::FAR_FUTURE,
            is_timer_polled: false,
        }
    }

    /// Ready when the connection is of no use any more: ended, failed, or the run is over.
    #[inline]
    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = io::now();
        loop {
            self.fill(now, cx);
            if self.exchanges.is_idle() && (self.is_over || self.protocol.is_closing()) {
                return Poll::Ready(());
            }
            match self.stream.poll_recv(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    self.state.recorder.borrow_mut().received(chunk.len(), now);
                    let exchanges = &mut self.exchanges;
                    let received = self.protocol.receive(chunk, now, |done| exchanges.finish(done, now));
                    if let Err(kind) = received {
                        return self.fail(kind, now);
                    }
                }
                Poll::Ready(Ok(None)) => {
                    if self.exchanges.is_idle() {
                        return self.fail(ErrorKind::ClosedEarly, now);
                    }
                    let exchanges = &mut self.exchanges;
                    self.protocol.end(|done| exchanges.finish(done, now));
                    return match self.exchanges.is_idle() {
                        true => Poll::Ready(()),
                        false => self.fail(ErrorKind::ClosedEarly, now),
                    };
                }
                Poll::Ready(Err(_)) => return self.fail(ErrorKind::Reset, now),
                Poll::Pending => {
                    self.protocol.flush(&mut self.stream, cx);
                    return self.poll_timeout(now, cx);
                }
            }
        }
    }

    /// Begins requests while there is room and something to send.
    #[inline]
    fn fill(&mut self, now: Instant, cx: &mut Context<'_>) {
        while !self.is_over && !self.exchanges.free_tags.is_empty() && self.protocol.has_room() {
            let job = match self.first.take() {
                Some(job) => {
                    self.is_over = true;
                    Some(job)
                }
                None => {
                    let room = self.exchanges.free_tags.len() as u32;
                    match self.state.dispatch.borrow_mut().poll_take(self.number, room, now, cx) {
                        Poll::Ready(job) => job,
                        Poll::Pending => return,
                    }
                }
            };
            let Some(job) = job else {
                self.is_over = true;
                return;
            };
            let Some(tag) = self.exchanges.begin(job, now) else { return };
            let bytes = self.protocol.begin(tag, self.state.next_request(), &mut self.stream);
            self.state.recorder.borrow_mut().sent(&job, bytes);
        }
    }

    /// The connection ended: requests without an answer have failed.
    #[cold]
    fn fail(&mut self, kind: ErrorKind, now: Instant) -> Poll<()> {
        if self.exchanges.is_idle() {
            self.state.recorder.borrow_mut().report.closed_by_target += 1;
            // To be replaced at once, not after a pause.
            let is_ordinary = self.state.plan.reuse == Reuse::KeepAlive && kind == ErrorKind::ClosedEarly;
            self.exchanges.has_answered |= is_ordinary;
        }
        self.exchanges.fail_all(kind, now);
        Poll::Ready(())
    }

    #[inline]
    fn poll_timeout(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_timer_polled && now < self.armed {
            return Poll::Pending;
        }
        self.poll_timer(now, cx)
    }

    #[cold]
    fn poll_timer(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.state.plan.timeout;
        while let Some(tag) = self.exchanges.sent_before(now, timeout) {
            if !self.protocol.cancel(tag) {
                return self.fail(ErrorKind::Timeout, now);
            }
            self.exchanges.finish(Finished { tag, outcome: Err(ErrorKind::Timeout) }, now);
            // To go on with the next request at once.
            cx.waker().wake_by_ref();
        }
        let deadlines = self.exchanges.in_flight.iter().flatten().map(|request| request.sent + timeout);
        self.armed = deadlines.min().unwrap_or(now + timeout);
        self.timer.arm(self.armed);
        self.is_timer_polled = true;
        // Not ready, since the deadline is ahead; enters the wheel.
        self.timer.poll_expired(cx)
    }

    fn close(mut self) {
        self.state.disconnected(self.number);
        if self.state.plan.reuse == Reuse::NewConnection
            && self.exchanges.has_answered
            && !self.stream.is_read_ended()
        {
            self.protocol.say_goodbye(&mut self.stream);
            linger(self.stream);
        }
    }
}

impl Exchanges<'_> {
    /// A request is sent; its tag, if one is free.
    #[inline]
    fn begin(&mut self, job: Job, sent: Instant) -> Option<u32> {
        let tag = self.free_tags.pop()?;
        self.in_flight[tag as usize] = Some(InFlight { job, sent });
        self.state.in_flight.set(self.state.in_flight.get() + 1);
        Some(tag)
    }

    #[inline]
    fn finish(&mut self, finished: Finished, now: Instant) {
        let Some(InFlight { job, sent }) = self.in_flight[finished.tag as usize].take() else { return };
        self.free_tags.push(finished.tag);
        self.state.in_flight.set(self.state.in_flight.get() - 1);
        let mut recorder = self.state.recorder.borrow_mut();
        match finished.outcome {
            Ok(status) => {
                self.has_answered = true;
                recorder.answered(&job, sent, status, now);
            }
            Err(kind) => recorder.failed(job.scheduled, kind, now),
        }
    }

    fn fail_all(&mut self, kind: ErrorKind, now: Instant) {
        for tag in 0..self.in_flight.len() as u32 {
            self.finish(Finished { tag, outcome: Err(kind) }, now);
        }
    }

    /// A request that was sent `timeout` ago or earlier.
    fn sent_before(&self, now: Instant, timeout: Duration) -> Option<u32> {
        let is_late =
            |request: &Option<InFlight>| request.is_some_and(|request| request.sent + timeout <= now);
        self.in_flight.iter().position(is_late).map(|tag| tag as u32)
    }

    #[inline]
    fn is_idle(&self) -> bool {
        self.free_tags.len() == self.in_flight.len()
    }
}

/// Lets the target close first, so that the ports in `TIME_WAIT` are on its side.
fn linger(mut stream: Stream) {
    io::spawn(async move {
        let mut timer = Timer::new();
        timer.arm_after(LINGER);
        poll_fn(|cx| {
            loop {
                match stream.poll_recv(cx) {
                    Poll::Ready(Ok(Some(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll_expired(cx),
                }
            }
        })
        .await;
    });
}
