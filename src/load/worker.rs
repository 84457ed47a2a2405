//! One worker's part of a load run: its connections, the start line where they wait for each other, the clock that
//! ends the run, and the pacer of an open loop.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::base::clock::Instant;
use crate::io::{self, PreciseTimer, Task, Timer};

use super::connect::{ConnectFailure, Connected, Endpoint};
use super::connection::drive;
use super::cpu_time;
use super::dispatch::{Dispatch, Job, Pacing};
use super::error::{ErrorKind, LoadError};
use super::http1::Http1;
use super::http2::Http2;
use super::plan::{HttpVersion, Limit, Pace, Plan, Reuse};
use super::progress::Control;
use super::recorder::Recorder;
use super::report::{Ending, Report, Usage};
use super::request::Request;
use super::schedule::Schedule;

/// Time between two looks at the clock, the progress, and the wish to stop.
const TICK: Duration = Duration::from_millis(50);
/// Length of a slot of the series, for runs up to `SHORT_RUN` and for longer ones.
const SHORT_INTERVAL: Duration = Duration::from_millis(250);
const INTERVAL: Duration = Duration::from_secs(1);
const SHORT_RUN: Duration = Duration::from_secs(15);

/// A worker's share of a plan.
#[derive(Debug)]
pub(super) struct Share {
    /// With this worker's connections, rate and count.
    pub(super) plan: Plan,
    pub(super) index: usize,
    /// When its first request is due, in gaps of its own schedule.
    pub(super) phase: f64,
}

/// What the connections of a worker share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) plan: Plan,
    /// Where the connections go.
    pub(super) endpoint: Endpoint,
    /// Requests sent and not answered.
    pub(super) in_flight: Cell<u64>,
    pub(super) dispatch: RefCell<Dispatch>,
    pub(super) recorder: RefCell<Recorder>,
    requests: Vec<Request>,
    next_request: Cell<usize>,
    start_line: RefCell<StartLine>,
    open_connections: Cell<u32>,
    connects: Cell<u64>,
    failed_connects: Cell<u64>,
    /// When a connection was seen standing last.
    last_connected: Cell<Instant>,
}

/// Connections wait here until all have tried to connect.
#[derive(Debug, Default)]
struct StartLine {
    arrived: u32,
    is_open: bool,
    waiting: Vec<Waker>,
    main: Option<Waker>,
}

/// Runs a share on this worker.
///
/// # Errors
/// If the plan cannot be carried out; see [`Endpoint::new`].
pub(super) async fn work(share: Share, control: Arc<Control>) -> Result<Report, LoadError> {
    cpu_time::sharpen_sleeps();
    if share.plan.tls.is_some() {
        crate::tls::warm_up();
    }
    let (index, phase) = (share.index, share.phase);
    let state = Rc::new(State::new(share.plan)?);
    let tasks = (0..state.plan.connections).map(|number| match state.plan.protocol {
        HttpVersion::Http1 => io::spawn_task(drive::<Http1>(Rc::clone(&state), number)),
        HttpVersion::Http2 => io::spawn_task(drive::<Http2>(Rc::clone(&state), number)),
    });
    let tasks: Vec<Task> = tasks.collect();
    let mut run = Run {
        state,
        control,
        index,
        tasks,
        timer: Timer::new(),
        started: None,
        cpu_before: None,
        ending: Ending::Complete,
    };
    poll_fn(|cx| run.poll_start(cx, phase)).await;
    let pacer =
        matches!(run.state.plan.pace, Pace::OpenLoop { .. }).then(|| io::spawn_task(pace(run.state.clone())));
    poll_fn(|cx| run.poll_end(cx)).await;
    drop(pacer);
    Ok(run.into_report())
}

/// A run of this worker, seen from its main task.
struct Run {
    state: Rc<State>,
    control: Arc<Control>,
    index: usize,
    tasks: Vec<Task>,
    timer: Timer,
    started: Option<Instant>,
    /// Processor time and time when measuring began.
    cpu_before: Option<(Duration, Instant)>,
    ending: Ending,
}

impl Run {
    /// Ready once every connection has tried to connect, or the run is to stop.
    fn poll_start(&mut self, cx: &mut Context<'_>, phase: f64) -> Poll<()> {
        let stopped = self.control.is_stopped();
        let is_ready = self.state.start_line.borrow_mut().is_complete(&self.state.plan, cx);
        if !is_ready && !stopped {
            self.publish();
            return self.poll_tick(cx);
        }
        let now = io::now();
        self.state.start(now, phase);
        self.started = Some(now);
        Poll::Ready(())
    }

    /// Ready once every connection has ended.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = io::now();
        let measured_from = self.state.recorder.borrow().measured_from;
        if self.cpu_before.is_none() && now >= measured_from {
            self.cpu_before = Some((cpu_time::of_this_thread(), now));
        }
        self.publish();
        if self.ending == Ending::Complete {
            self.ending = self.early_ending(now);
        }
        if self.ending != Ending::Complete || self.state.dispatch.borrow().is_settled(now) {
            self.state.dispatch.borrow_mut().finish(now);
        }
        if self.ending != Ending::Complete {
            return Poll::Ready(());
        }
        self.tasks.retain_mut(|task| Pin::new(task).poll(cx).is_pending());
        if self.tasks.is_empty() { Poll::Ready(()) } else { self.poll_tick(cx) }
    }

    /// Whether the run ends before its time, and why.
    fn early_ending(&self, now: Instant) -> Ending {
        let state = &self.state;
        let never_connected =
            state.connects.get() == 0 && state.failed_connects.get() >= state.plan.connections.into();
        if state.open_connections.get() > 0 {
            state.last_connected.set(now);
        }
        let gone_for_good = matches!(state.plan.limit, Limit::Requests(_))
            && now.since(state.last_connected.get()) > state.plan.timeout;
        if self.control.is_stopped() {
            Ending::Interrupted
        } else if never_connected || gone_for_good {
            Ending::NoConnection
        } else {
            Ending::Complete
        }
    }

    /// Pending; the task is woken at the next tick, or when measuring begins if that is earlier.
    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = io::now();
        let measured_from = self.state.recorder.borrow().measured_from;
        let next = now + TICK;
        self.timer.arm(if measured_from > now { next.min(measured_from) } else { next });
        // Not ready, since the deadline is ahead.
        let _ = self.timer.poll_expired(cx);
        Poll::Pending
    }

    fn publish(&self) {
        let recorder = self.state.recorder.borrow();
        let measuring = io::now() >= recorder.measured_from;
        self.control.publish(self.index, &recorder.report, self.state.open_connections.get(), measuring);
    }

    fn into_report(self) -> Report {
        let now = io::now();
        let cpu = cpu_time::of_this_thread();
        let mut recorder = self.state.recorder.borrow_mut();
        let not_sent = self.state.dispatch.borrow_mut().take_not_sent();
        recorder.report.errors[ErrorKind::NotSent as usize] += not_sent;
        let planned_end = match (self.state.plan.limit, self.ending) {
            (Limit::Duration(duration), Ending::Complete) => recorder.measured_from + duration,
            (Limit::Requests(_), Ending::Complete) => recorder.last,
            _ => now,
        };
        let end = planned_end.max(recorder.last);
        recorder.report.elapsed = end.since(recorder.measured_from);
        recorder.report.in_flight_at_end = self.state.in_flight.get();
        recorder.report.ending = self.ending;
        if let Some((cpu_before, since)) = self.cpu_before {
            let usage = Usage { cpu: cpu.saturating_sub(cpu_before), elapsed: now.since(since) };
            recorder.report.workers.push(usage);
        }
        self.control.publish(self.index, &recorder.report, 0, true);
        recorder.report.clone()
    }
}

impl State {
    fn new(plan: Plan) -> Result<State, LoadError> {
        let Plan { target, sources, tls, protocol, timeout, .. } = &plan;
        let endpoint = Endpoint::new(target, sources, tls.as_ref(), *protocol, *timeout)?;
        let (tickets, run_length) = match plan.limit {
            Limit::Duration(duration) => (None, duration),
            Limit::Requests(count) => (Some(count), Duration::ZERO),
        };
        let interval = if run_length <= SHORT_RUN { SHORT_INTERVAL } else { INTERVAL };
        let is_open_loop = matches!(plan.pace, Pace::OpenLoop { .. });
        let scheme = endpoint.scheme();
        Ok(State {
            in_flight: Cell::new(0),
            dispatch: RefCell::new(Dispatch::new(plan.connections, tickets, plan.timeout)),
            recorder: RefCell::new(Recorder::new(interval, plan.expected.clone(), is_open_loop)),
            requests: plan.requests.iter().map(|spec| Request::encode(spec, plan.reuse, scheme)).collect(),
            endpoint,
            next_request: Cell::new(0),
            start_line: RefCell::default(),
            open_connections: Cell::new(0),
            connects: Cell::new(0),
            failed_connects: Cell::new(0),
            last_connected: Cell::new(io::now()),
            plan,
        })
    }

    /// The request after the last one that this gave out.
    #[inline]
    pub(super) fn next_request(&self) -> &Request {
        let index = self.next_request.get();
        self.next_request.set(if index + 1 < self.requests.len() { index + 1 } else { 0 });
        &self.requests[index]
    }

    /// A connection stands.
    pub(super) fn connected(&self, connected: &Connected) {
        self.connects.set(self.connects.get() + 1);
        self.open_connections.set(self.open_connections.get() + 1);
        self.recorder.borrow_mut().connected(connected);
    }

    /// A connection could not be made: for `job`, or for requests to come.
    pub(super) fn connect_failed(&self, job: Option<&Job>, failure: &ConnectFailure) {
        self.failed_connects.set(self.failed_connects.get() + 1);
        let now = io::now();
        let mut recorder = self.recorder.borrow_mut();
        if job.is_none() {
            self.dispatch.borrow_mut().charge_failure(now);
        }
        // Before the start everything counts: a target that is not there is no warm-up.
        let scheduled = job.map_or(now.max(recorder.measured_from), |job| job.scheduled);
        if recorder.measured_from == Instant::FAR_FUTURE {
            recorder.report.errors[failure.kind as usize] += 1;
        } else {
            recorder.failed(scheduled, failure.kind, now);
        }
        recorder.report.connect_error.get_or_insert_with(|| failure.reason.clone());
    }

    /// The connection is gone.
    pub(super) fn disconnected(&self, number: u32) {
        self.open_connections.set(self.open_connections.get() - 1);
        self.dispatch.borrow_mut().leave(number);
    }

    /// Completes when the run has started.
    pub(super) async fn wait_for_start(&self) {
        self.start_line.borrow_mut().arrive();
        poll_fn(|cx| {
            let mut line = self.start_line.borrow_mut();
            if line.is_open {
                return Poll::Ready(());
            }
            line.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn start(&self, now: Instant, phase: f64) {
        let measured_from = now + self.plan.warm_up;
        self.recorder.borrow_mut().measured_from = measured_from;
        let mut dispatch = self.dispatch.borrow_mut();
        dispatch.set_counted_from(measured_from);
        if let Limit::Duration(duration) = self.plan.limit {
            dispatch.set_end(measured_from + duration);
        }
        if let Pace::OpenLoop { per_second, arrivals } = self.plan.pace {
            dispatch.set_schedule(Schedule::new(now, per_second, arrivals, phase, self.plan.seed));
        }
        self.start_line.borrow_mut().open();
    }
}

impl StartLine {
    /// Whether the run may start; the task of `cx` is woken when that changes. With new connections for each request
    /// there is nothing to wait for.
    fn is_complete(&mut self, plan: &Plan, cx: &Context<'_>) -> bool {
        self.main = Some(cx.waker().clone());
        plan.reuse != Reuse::KeepAlive || self.arrived >= plan.connections
    }

    fn arrive(&mut self) {
        self.arrived += 1;
        self.main.iter().for_each(Waker::wake_by_ref);
    }

    fn open(&mut self) {
        self.is_open = true;
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// Gives out what is due, when it is due, until the run is over.
async fn pace(state: Rc<State>) {
    let mut timer = PreciseTimer::new();
    poll_fn(|cx| {
        loop {
            match state.dispatch.borrow_mut().pace(io::now(), cx) {
                Pacing::Over => return Poll::Ready(()),
                Pacing::WaitForConnection => return Poll::Pending,
                Pacing::Until(due) => {
                    if timer.poll_until(cx, due).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    })
    .await;
}
