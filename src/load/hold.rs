//! Holding idle connections and seeing what the server does to them: they are opened at a bounded pace, may carry one
//! request each, and then are left alone until the server ends them or the time is over.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::base::clock::Instant;
use crate::io::{self, Address, Timer};
use crate::transport::Stream;

use super::connect::{ConnectFailure, Connected, Endpoint};
use super::error::{ErrorKind, LoadError};
use super::http1::Http1;
use super::http2::Http2;
use super::plan::{HttpVersion, Reuse};
use super::progress::Control;
use super::protocol::Protocol;
use super::report::{Ending, histogram};
use super::request::{Request, RequestSpec};
use super::run::{Placement, part, spread};
use super::tls::TlsPlan;

/// Time between two looks at the wish to stop, and two points of the timeline.
const TICK: Duration = Duration::from_millis(100);
/// Points of the timeline kept; a longer run keeps every second one.
const POINTS_MAX: usize = 600;

/// Connections to hold.
#[derive(Debug, Clone)]
pub struct HoldPlan {
    /// Where they go.
    pub target: Address,
    /// TLS on them.
    pub tls: Option<TlsPlan>,
    /// What is spoken on them.
    pub protocol: HttpVersion,
    /// How many, all workers together.
    pub connections: u32,
    /// How many are opened in a second, all workers together; above 0.
    pub opens_per_second: f64,
    /// Sent once on each before it is left alone.
    pub request: Option<RequestSpec>,
    /// How long they are held once all were opened.
    pub hold: Duration,
    /// How long connecting and the answer may take.
    pub timeout: Duration,
    /// As [`Plan::sources`](super::Plan::sources).
    pub sources: Vec<IpAddr>,
}

/// What became of them.
#[derive(Debug, Clone)]
pub struct HoldReport {
    /// Connections that came to stand.
    pub opened: u64,
    /// Connections and requests that failed, by [`ErrorKind`].
    pub errors: [u64; ErrorKind::ALL.len()],
    /// Why the first connection failed that did.
    pub connect_error: Option<String>,
    /// Answers to the requests.
    pub answered: u64,
    /// Ended by the server in order while idle.
    pub closed: u64,
    /// Reset by the server while idle.
    pub reset: u64,
    /// Of those that ended, how many were sent something before that nobody had asked for.
    pub spoken_to: u64,
    /// Connections still open at the end.
    pub still_open: u64,
    /// How old those were that the server ended, in nanoseconds.
    pub lifetimes: Histogram<u64>,
    /// How long connecting took, in nanoseconds; without TLS.
    pub connect_times: Histogram<u64>,
    /// How long TLS took on top of that.
    pub handshake_times: Histogram<u64>,
    /// How long opening took, and how long they were held after that.
    pub opening: Duration,
    /// See `opening`.
    pub held: Duration,
    /// Open connections over time.
    pub timeline: Vec<(Duration, u64)>,
    /// How the run ended.
    pub ending: Ending,
    /// Connections whose opening succeeded or failed.
    settled: u64,
}

/// Opens and holds connections. Blocks the calling thread.
///
/// # Errors
/// If a worker cannot start.
pub fn hold(plan: &HoldPlan, placement: &Placement, control: &Arc<Control>) -> Result<HoldReport, LoadError> {
    let workers = (placement.cpus.len().max(1) as u64).min(plan.connections.max(1).into());
    let shares: Vec<(usize, HoldPlan)> = (0..workers)
        .map(|index| {
            let connections = part(plan.connections.into(), workers, index) as u32;
            let opens_per_second = plan.opens_per_second / workers as f64;
            (index as usize, HoldPlan { connections, opens_per_second, ..plan.clone() })
        })
        .collect();
    let reports = spread("hold", placement, shares, |(index, share)| {
        let control = Arc::clone(control);
        move || work(index, share, control)
    })?;
    let mut reports = reports.into_iter();
    let first = reports.next().ok_or(LoadError::Panicked)??;
    reports.try_fold(first, |sum, report| Ok(sum.merge(report?)))
}

struct State {
    plan: HoldPlan,
    endpoint: Endpoint,
    request: Option<Request>,
    report: RefCell<HoldReport>,
    /// Connections that stand.
    live: Cell<u64>,
}

async fn work(index: usize, plan: HoldPlan, control: Arc<Control>) -> Result<HoldReport, LoadError> {
    let state = Rc::new(State::new(plan)?);
    let begun = io::now();
    let gap = Duration::from_secs_f64(1.0 / state.plan.opens_per_second);
    let mut tasks = Vec::with_capacity(state.plan.connections as usize);
    let mut watch = Watch { index, control, state: Rc::clone(&state), begun, every: 1, ticks: 0 };
    let mut opened_at = None;
    loop {
        let now = io::now();
        let due = (now.since(begun).as_secs_f64() / gap.as_secs_f64()) as u32 + 1;
        while (tasks.len() as u32) < due.min(state.plan.connections) {
            let (state, number) = (Rc::clone(&state), tasks.len() as u32);
            tasks.push(match state.plan.protocol {
                HttpVersion::Http1 => io::spawn_task(keep::<Http1>(state, number)),
                HttpVersion::Http2 => io::spawn_task(keep::<Http2>(state, number)),
            });
        }
        let all_begun = tasks.len() as u32 == state.plan.connections;
        if all_begun && opened_at.is_none() && state.has_settled() {
            opened_at = Some(now);
        }
        let stopped = watch.tick(opened_at.is_some());
        let over = opened_at.is_some_and(|at| now >= at + state.plan.hold);
        // All opened, and all gone already.
        let nothing_left = opened_at.is_some() && state.live.get() == 0;
        if stopped || over || nothing_left {
            return Ok(state.take_report(begun, opened_at, now, stopped));
        }
        io::sleep(if all_begun { TICK } else { gap.clamp(Duration::from_millis(1), TICK) }).await;
    }
}

/// Shows the state to other threads.
struct Watch {
    index: usize,
    control: Arc<Control>,
    state: Rc<State>,
    begun: Instant,
    /// Ticks for each point of the timeline.
    every: u64,
    ticks: u64,
}

impl Watch {
    /// Whether the run is to stop.
    fn tick(&mut self, all_open: bool) -> bool {
        let now = io::now();
        let tick = (now.since(self.begun).as_nanos() / TICK.as_nanos()) as u64;
        let mut report = self.state.report.borrow_mut();
        if tick >= self.ticks {
            self.ticks = tick + self.every;
            if report.timeline.len() >= POINTS_MAX {
                self.every *= 2;
                let mut index = 0;
                report.timeline.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
            }
            report.timeline.push((now.since(self.begun), self.state.live.get()));
        }
        self.control.publish_hold(
            self.index,
            report.answered,
            report.failed(),
            self.state.live.get(),
            all_open,
        );
        self.control.is_stopped()
    }
}

impl State {
    fn new(plan: HoldPlan) -> Result<State, LoadError> {
        let HoldPlan { target, sources, tls, protocol, timeout, .. } = &plan;
        let endpoint = Endpoint::new(target, sources, tls.as_ref(), *protocol, *timeout)?;
        let scheme = endpoint.scheme();
        Ok(State {
            endpoint,
            request: plan.request.as_ref().map(|spec| Request::encode(spec, Reuse::KeepAlive, scheme)),
            plan,
            report: RefCell::new(HoldReport::new()),
            live: Cell::new(0),
        })
    }

    /// Every connection that was begun stands, or has failed.
    fn has_settled(&self) -> bool {
        let report = self.report.borrow();
        report.settled >= u64::from(self.plan.connections)
    }

    /// Counts what came of opening a connection.
    fn settle(&self, failure: Option<&ConnectFailure>) {
        let mut report = self.report.borrow_mut();
        report.settled += 1;
        if let Some(ConnectFailure { kind, reason }) = failure {
            report.errors[*kind as usize] += 1;
            if !reason.is_empty() {
                report.connect_error.get_or_insert_with(|| reason.clone());
            }
        }
    }

    fn take_report(
        &self,
        begun: Instant,
        opened_at: Option<Instant>,
        now: Instant,
        stopped: bool,
    ) -> HoldReport {
        let mut report = self.report.borrow_mut();
        let opened_at = opened_at.unwrap_or(now);
        report.still_open = self.live.get();
        report.opening = opened_at.since(begun);
        report.held = now.since(opened_at);
        report.timeline.push((now.since(begun), self.live.get()));
        report.ending = match (report.opened, stopped) {
            (_, true) => Ending::Interrupted,
            (0, false) => Ending::NoConnection,
            _ => Ending::Complete,
        };
        report.clone()
    }
}

/// One connection, until it ends or its task is dropped.
async fn keep<P: Protocol>(state: Rc<State>, number: u32) {
    let begun = io::now();
    let opened = Held::<P>::open(&state, number).await;
    state.settle(opened.as_ref().err());
    let Ok(mut held) = opened else { return };
    state.live.set(state.live.get() + 1);
    let mut spoken_to = false;
    let end = loop {
        match held.stream.recv().await {
            Ok(Some(chunk)) => {
                // What belongs to the connection itself is no news.
                spoken_to |= held.protocol.receive(chunk, io::now(), |_| {}).is_err();
                held.flush().await;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    state.live.set(state.live.get() - 1);
    let mut report = state.report.borrow_mut();
    report.spoken_to += u64::from(spoken_to);
    match end {
        Ok(()) => report.closed += 1,
        Err(_) => report.reset += 1,
    }
    report.lifetimes.saturating_record((io::now().since(begun).as_nanos() as u64).max(1));
}

/// A connection that stands.
struct Held<P> {
    stream: Stream,
    protocol: P,
}

impl<P: Protocol> Held<P> {
    /// Connects and has its request answered.
    async fn open(state: &State, number: u32) -> Result<Held<P>, ConnectFailure> {
        let Connected { stream, connect_time, handshake } = state.endpoint.connect(number).await?;
        {
            let mut report = state.report.borrow_mut();
            report.opened += 1;
            report.connect_times.saturating_record((connect_time.as_nanos() as u64).max(1));
            if let Some(handshake) = handshake {
                report.handshake_times.saturating_record((handshake.time.as_nanos() as u64).max(1));
            }
        }
        let mut held = Held { stream, protocol: P::new(1) };
        let Some(request) = &state.request else {
            held.flush().await;
            return Ok(held);
        };
        held.protocol.begin(0, request, &mut held.stream);
        let mut timer = Timer::new();
        timer.arm_after(state.plan.timeout);
        poll_fn(|cx| held.poll_answered(&mut timer, cx)).await.map_err(ConnectFailure::without_reason)?;
        state.report.borrow_mut().answered += 1;
        Ok(held)
    }

    async fn flush(&mut self) {
        poll_fn(|cx| {
            self.protocol.flush(&mut self.stream, cx);
            Poll::Ready(())
        })
        .await;
    }

    fn poll_answered(&mut self, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Result<(), ErrorKind>> {
        let mut outcome = None;
        while outcome.is_none() {
            match self.stream.poll_recv(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    let received = self
                        .protocol
                        .receive(chunk, io::now(), |done| outcome = Some(done.outcome.map(drop)));
                    if outcome.is_none() {
                        outcome = received.err().map(Err);
                    }
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(ErrorKind::ClosedEarly)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ErrorKind::Reset)),
                Poll::Pending => {
                    self.protocol.flush(&mut self.stream, cx);
                    return timer.poll_expired(cx).map(|()| Err(ErrorKind::Timeout));
                }
            }
        }
        self.protocol.flush(&mut self.stream, cx);
        Poll::Ready(outcome.unwrap_or(Ok(())))
    }
}

impl HoldReport {
    fn new() -> HoldReport {
        HoldReport {
            opened: 0,
            errors: [0; ErrorKind::ALL.len()],
            connect_error: None,
            answered: 0,
            closed: 0,
            reset: 0,
            spoken_to: 0,
            still_open: 0,
            lifetimes: histogram(),
            connect_times: histogram(),
            handshake_times: histogram(),
            opening: Duration::ZERO,
            held: Duration::ZERO,
            timeline: Vec::new(),
            ending: Ending::Complete,
            settled: 0,
        }
    }

    /// Connections and requests that failed.
    pub fn failed(&self) -> u64 {
        self.errors.iter().sum()
    }

    fn merge(mut self, other: HoldReport) -> HoldReport {
        self.errors.iter_mut().zip(&other.errors).for_each(|(own, theirs)| *own += theirs);
        self.opened += other.opened;
        self.answered += other.answered;
        self.closed += other.closed;
        self.reset += other.reset;
        self.spoken_to += other.spoken_to;
        self.still_open += other.still_open;
        self.connect_error = self.connect_error.or(other.connect_error);
        // All have the same bounds.
        let _ = self.lifetimes.add(&other.lifetimes);
        let _ = self.connect_times.add(&other.connect_times);
        let _ = self.handshake_times.add(&other.handshake_times);
        self.opening = self.opening.max(other.opening);
        self.held = self.held.max(other.held);
        // Workers tick at about the same times.
        self.timeline.truncate(other.timeline.len());
        self.timeline.iter_mut().zip(&other.timeline).for_each(|(own, theirs)| own.1 += theirs.1);
        if self.ending == Ending::Complete {
            self.ending = other.ending;
        }
        self
    }
}
