//! A worker thread's frame: clock, random generator, tasks, timers, sockets, and the loop's turn.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, OnceLock, mpsc};
use std::task::Context;
use std::time::Duration;

use super::driver::{CloseMode, Driver};
use super::executor::{Executor, panic_message};
use super::listener::close_listener;
use super::precise_timer::PreciseTimers;
use super::remote::{Remote, RemoteWake};
use super::socket::close_stream;
use super::table::{SlotId, SocketTable};
use super::timer::TimerTarget;
use super::waiter::Waiter;
use super::wall_clock::{WallClock, WorkerClock};
use super::{DriverCounters, DriverKind, epoll, ring};
use crate::base::clock::{Instant, UnixTime};
use crate::base::rng::Rng;
use crate::base::timer_wheel::TimerWheel;
use crate::buf::Pool;

/// Tasks polled before sockets get their turn.
const TASK_BUDGET: usize = 512;
/// How long a listener waits after running out of descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Receive blocks of a worker unless configured otherwise: 16 MiB of address space.
pub const DEFAULT_BLOCKS: usize = 1_024;
/// How long the kernel may take to end what was under way when a worker ends.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The driver, from [`probe`](super::probe).
    pub kind: DriverKind,
    /// The CPU to pin the thread to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// Seed of the worker's random generator.
    pub seed: u64,
    /// The worker's number, for logs.
    pub index: usize,
    /// Size of the receive pool in blocks of 16 KiB, 4 to 32,768. Lazily touched.
    pub blocks: usize,
    /// Where the worker counts; keep a clone to read from another thread.
    pub counters: Arc<DriverCounters>,
}

impl WorkerOptions {
    /// Defaults for worker `index` on `kind`, not pinned.
    pub fn new(kind: DriverKind, index: usize) -> WorkerOptions {
        let (seed, blocks) = (index as u64, DEFAULT_BLOCKS);
        WorkerOptions { kind, cpu: None, seed, index, blocks, counters: Arc::default() }
    }
}

/// A worker could not start or ended before its main task did.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The driver could not be set up.
    #[error("cannot start the {driver} driver: {reason}")]
    Setup {
        /// The driver's name.
        driver: &'static str,
        /// What failed.
        reason: String,
    },
    /// The kernel refused to go on.
    #[error("the {driver} driver failed: {source}")]
    Driver {
        /// The driver's name.
        driver: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The main task panicked; its message.
    #[error("the worker's main task panicked: {0}")]
    MainPanicked(String),
}

/// What ends a loop early.
#[derive(Debug)]
pub(super) enum RunError {
    Setup(String),
    Driver(io::Error),
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> RunError {
        RunError::Driver(error)
    }
}

/// Runs `main` on the calling thread until it ends, then drops the worker's remaining tasks and
/// closes everything they held.
///
/// # Errors
/// If the driver cannot be set up or fails, or `main` panicked.
///
/// # Panics
/// If the thread is a worker already.
pub fn run_worker<F, T>(options: WorkerOptions, main: impl FnOnce() -> F) -> Result<T, WorkerError>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let kind = options.kind;
    let platform = Platform {
        name: kind.name(),
        clock: WorkerClock::Wall(WallClock::new()),
        make_driver: Box::new(move |pool, remote| {
            Ok(match kind {
                DriverKind::Ring => Driver::Ring(Box::new(ring::RingDriver::new(pool, remote)?)),
                DriverKind::Epoll => Driver::Epoll(Box::new(epoll::EpollDriver::new(pool, remote)?)),
            })
        }),
    };
    run_on(platform, &options, main, |start| match kind {
        DriverKind::Ring => ring::run(options.cpu, start),
        DriverKind::Epoll => epoll::run(options.cpu, start),
    })
}

/// What tells one kind of worker from another.
pub(super) struct Platform<'a> {
    /// The driver's name.
    pub(super) name: &'static str,
    pub(super) clock: WorkerClock,
    pub(super) make_driver: MakeDriver<'a>,
}

/// Makes the driver once the worker's other parts are there.
pub(super) type MakeDriver<'a> = Box<dyn FnOnce(Rc<Pool>, Arc<Remote>) -> io::Result<Driver> + 'a>;
/// Puts the worker on the thread; called by its loop.
pub(super) type Start<'a> = Box<dyn FnOnce() -> Result<Rc<Worker>, RunError> + 'a>;

/// [`run_worker`] for any platform; `host` is its loop. Of `options`, `kind` and `cpu` are not used.
pub(super) fn run_on<F, T>(
    platform: Platform<'_>,
    options: &WorkerOptions,
    main: impl FnOnce() -> F,
    host: impl FnOnce(Start<'_>) -> Result<Rc<Worker>, RunError>,
) -> Result<T, WorkerError>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let driver = platform.name;
    let result = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&result);
    let outcome = host(Box::new(move || {
        let worker =
            Worker::install(platform, options).map_err(|error| RunError::Setup(error.to_string()))?;
        let (future, ended) = (main(), EndMain(worker.clone()));
        worker.executor.spawn(Box::pin(async move {
            let _ended = ended;
            *kept.borrow_mut() = Some(future.await);
        }));
        Ok(worker)
    }));
    let last_panic = uninstall();
    outcome.map_err(|error| match error {
        RunError::Setup(reason) => WorkerError::Setup { driver, reason },
        RunError::Driver(source) => WorkerError::Driver { driver, source },
    })?;
    let result = result.borrow_mut().take();
    result.ok_or(WorkerError::MainPanicked(last_panic))
}

/// The worker's clock: read once per loop turn. The beginning on a thread that never was a worker's.
#[inline]
pub fn now() -> Instant {
    NOW.get()
}

/// Wall-clock time, read once per loop turn.
#[inline]
pub fn unix_time() -> UnixTime {
    with_worker(|worker| worker.clock.unix_time(now()))
}

/// Lends the worker's random generator. Must not be nested.
pub fn with_rng<R>(use_it: impl FnOnce(&mut Rng) -> R) -> R {
    with_worker(|worker| use_it(&mut worker.rng.borrow_mut()))
}

/// 64 random bits from the worker's generator.
pub fn random_u64() -> u64 {
    with_rng(Rng::next_u64)
}

/// The number of the worker on this thread.
pub fn worker_index() -> usize {
    with_worker(|worker| worker.index)
}

/// The counters of the worker on this thread.
pub fn counters() -> Arc<DriverCounters> {
    with_worker(|worker| worker.counters.clone())
}

/// Has `hook` called with the worker's number and the panic's message whenever a task ends by a
/// panic. The first call in the process wins.
pub fn set_panic_hook(hook: fn(worker: usize, message: &str)) {
    // A second hook is ignored, as documented.
    let _ = PANIC_HOOK.set(hook);
}

static PANIC_HOOK: OnceLock<fn(usize, &str)> = OnceLock::new();

thread_local! {
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
    /// The clock of the worker on this thread, apart from the rest because every request asks for it often.
    static NOW: Cell<Instant> = const { Cell::new(Instant::from_nanos(0)) };
    /// So that handles left over from an ended worker never match a slot of the next one.
    static NEXT_GENERATION: Cell<u32> = const { Cell::new(1) };
}

/// Work that is put off to the end of a loop turn, just before what was written is sent: done once however
/// often it was asked for meanwhile.
pub trait Deferred {
    /// Does it. May write to sockets and defer other work.
    fn run(&self);
}

/// Has `work` done before the worker sends what was written in this loop turn.
pub fn defer(work: Rc<dyn Deferred>) {
    with_worker(|worker| worker.deferred.borrow_mut().push(work));
}

/// The state behind the facade, one per worker thread.
pub(super) struct Worker {
    pub(super) index: usize,
    clock: WorkerClock,
    rng: RefCell<Rng>,
    pub(super) executor: Executor,
    pub(super) reactor: RefCell<Reactor>,
    pub(super) remote: Arc<Remote>,
    remote_wakes: mpsc::Receiver<RemoteWake>,
    pub(super) precise: PreciseTimers,
    mailboxes: RefCell<slab::Slab<Waiter>>,
    deferred: RefCell<Vec<Rc<dyn Deferred>>>,
    pub(super) counters: Arc<DriverCounters>,
    main_ended: Cell<bool>,
    last_panic: RefCell<String>,
}

/// Sockets and timers.
pub(super) struct Reactor {
    pub(super) table: SocketTable,
    pub(super) driver: Driver,
    pub(super) timers: TimerWheel<TimerTarget>,
    pool: Rc<Pool>,
}

/// Calls `use_it` with this thread's worker.
#[inline]
pub(super) fn with_worker<R>(use_it: impl FnOnce(&Worker) -> R) -> R {
    WORKER.with_borrow(|worker| use_it(worker.as_ref().expect("only on a worker thread")))
}

/// The same, if this thread has a worker.
pub(super) fn try_with_worker<R>(use_it: impl FnOnce(&Worker) -> R) -> Option<R> {
    WORKER.try_with(|worker| worker.borrow().as_deref().map(use_it)).ok().flatten()
}

impl Worker {
    fn install(platform: Platform<'_>, options: &WorkerOptions) -> io::Result<Rc<Worker>> {
        assert!(WORKER.with_borrow(Option::is_none), "the thread is a worker already");
        let (remote, remote_wakes) = Remote::new()?;
        let remote = Arc::new(remote);
        let pool = Rc::new(Pool::install(options.blocks)?);
        let driver = (platform.make_driver)(pool.clone(), remote.clone())?;
        let clock = platform.clock;
        let now = clock.now();
        NOW.set(now);
        let table = SocketTable::new(NEXT_GENERATION.get(), options.counters.clone());
        let reactor = RefCell::new(Reactor { table, driver, timers: TimerWheel::new(now), pool });
        let worker = Rc::new(Worker {
            index: options.index,
            clock,
            rng: RefCell::new(Rng::from_seed(options.seed)),
            executor: Executor::new(remote.clone()),
            reactor,
            remote,
            remote_wakes,
            precise: PreciseTimers::new(),
            mailboxes: RefCell::default(),
            deferred: RefCell::default(),
            counters: options.counters.clone(),
            main_ended: Cell::new(false),
            last_panic: RefCell::default(),
        });
        WORKER.set(Some(worker.clone()));
        Ok(worker)
    }

    /// Polls tasks that can run, within limits; true once the main task has ended.
    #[inline]
    pub(super) fn run_tasks(&self) -> bool {
        self.accept_remote_wakes();
        self.executor.run(TASK_BUDGET, |message| self.task_panicked(message));
        self.main_ended.get()
    }

    /// Polls one of the tasks that can run, chosen by `pick` from their number; true once the main
    /// task has ended.
    pub(super) fn run_one_task(&self, pick: impl FnOnce(usize) -> usize) -> bool {
        self.accept_remote_wakes();
        self.executor.run_picked(pick, |message| self.task_panicked(message));
        self.main_ended.get()
    }

    /// Whether tasks can run.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        self.executor.has_ready()
    }

    /// Whether tasks can run or operations wait to be submitted.
    pub(super) fn has_work(&self) -> bool {
        self.has_ready() || self.reactor.borrow_mut().driver.has_queued()
    }

    /// Before and after a sleep inside a host executor; false if the worker must not sleep.
    pub(super) fn set_asleep(&self, asleep: bool) -> bool {
        self.executor.set_parked(asleep);
        self.remote.set_asleep(asleep)
    }

    /// The time until a timer may expire; `None` if none is armed.
    pub(super) fn time_to_deadline(&self) -> Option<Duration> {
        let coarse = self.reactor.borrow().timers.next_deadline().map(|at| at.since(now()));
        // The loop's time may be a whole turn old: too old for these.
        let precise = self.precise.next_deadline().map(|at| at.since(self.clock.now()));
        coarse.into_iter().chain(precise).min()
    }

    /// Sends what was written, where the driver does that by itself.
    #[inline]
    pub(super) fn flush(&self) {
        self.run_deferred();
        let Reactor { table, driver, .. } = &mut *self.reactor.borrow_mut();
        driver.flush(table);
    }

    /// One turn of the loop: sends, waits for events at most `longest` and no longer than the next
    /// timer allows, tells the tasks. Returns the number of events.
    pub(super) fn turn(&self, longest: Duration) -> io::Result<usize> {
        self.run_deferred();
        // What was deferred may have woken somebody.
        let longest = if self.has_ready() { Duration::ZERO } else { longest };
        let Reactor { table, driver, timers, pool } = &mut *self.reactor.borrow_mut();
        let mut wait = longest;
        if let Some(deadline) = timers.next_deadline() {
            wait = wait.min(deadline.since(now()));
        }
        if let Some(deadline) = self.precise.next_deadline() {
            wait = wait.min(deadline.since(self.clock.now()));
        }
        let events = driver.turn(table, wait)?;
        NOW.set(self.clock.now());
        self.precise.expire(now());
        self.expire(table, driver, timers);
        let counters = &*self.counters;
        counters.loop_turns.add(1);
        counters.live_operations.set(driver.operations() as u64);
        let usage = pool.usage();
        counters.live_blocks.set(usage.live_blocks as u64);
        counters.peak_blocks.set(usage.peak_blocks as u64);
        Ok(events)
    }

    #[inline]
    fn run_deferred(&self) {
        while !self.deferred.borrow().is_empty() {
            let mut work = self.deferred.take();
            work.drain(..).for_each(|work| {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.run())) {
                    self.task_panicked(panic_message(&*panic));
                }
            });
            // Keeps the list's memory.
            let added = self.deferred.replace(work);
            self.deferred.borrow_mut().extend(added);
        }
    }

    /// Makes a number for a mailbox.
    pub(super) fn add_mailbox(&self) -> u32 {
        self.mailboxes.borrow_mut().insert(Waiter::default()) as u32
    }

    /// The task of `cx` waits for the mailbox.
    pub(super) fn register_mailbox(&self, number: u32, cx: &Context<'_>) {
        if let Some(waiter) = self.mailboxes.borrow_mut().get_mut(number as usize) {
            waiter.register(cx);
        }
    }

    /// The mailbox is gone.
    pub(super) fn remove_mailbox(&self, number: u32) {
        let _ = self.mailboxes.borrow_mut().try_remove(number as usize);
    }

    #[inline]
    fn expire(&self, table: &mut SocketTable, driver: &mut Driver, timers: &mut TimerWheel<TimerTarget>) {
        let mut retries: Vec<SlotId> = Vec::new();
        timers.advance(now(), |target| match target {
            TimerTarget::Task(waiter) => waiter.wake(),
            TimerTarget::Accept(id) => retries.push(*id),
        });
        for id in retries {
            let listener = &mut table.listeners[id.index as usize];
            if listener.generation == id.generation && listener.open {
                listener.backing_off = false;
                driver.update_accept(table, id.index);
            }
        }
        while let Some(id) = table.new_backoffs.pop() {
            let timer = timers.insert(TimerTarget::Accept(id));
            timers.arm(&timer, now() + ACCEPT_BACKOFF);
        }
    }

    /// Queues what other threads have woken.
    pub(super) fn accept_remote_wakes(&self) {
        if !self.remote.take_notice() {
            return;
        }
        while let Ok(wake) = self.remote_wakes.try_recv() {
            match wake {
                RemoteWake::Task(index) => self.executor.queue_remote(index),
                RemoteWake::Mailbox(number) => {
                    if let Some(waiter) = self.mailboxes.borrow_mut().get_mut(number as usize) {
                        waiter.wake();
                    }
                }
            }
        }
    }

    fn task_panicked(&self, message: &str) {
        self.counters.panics.add(1);
        message.clone_into(&mut self.last_panic.borrow_mut());
        if let Some(hook) = PANIC_HOOK.get() {
            hook(self.index, message);
        }
    }

    /// Closes sockets whose handles outlive the worker; the handles are stale from now on.
    fn close_all(&self) {
        let Reactor { table, driver, .. } = &mut *self.reactor.borrow_mut();
        for id in table.open_streams() {
            close_stream(table, driver, id, CloseMode::Normal);
        }
        for id in table.open_listeners() {
            close_listener(table, driver, id);
        }
    }

    /// Drops tasks and lets the kernel end what is under way.
    fn shut_down(&self) {
        self.executor.clear(|message| self.task_panicked(message));
        self.close_all();
        let begun = self.clock.now();
        while self.clock.now().since(begun) < SHUTDOWN_MAX {
            let reactor = self.reactor.borrow();
            if reactor.table.is_empty() && reactor.driver.operations() == 0 {
                break;
            }
            drop(reactor);
            if self.turn(Duration::from_millis(10)).is_err() {
                break;
            }
        }
        let reactor = self.reactor.borrow();
        let sockets = reactor.table.live_streams + reactor.table.live_listeners;
        let leaked = sockets + reactor.driver.operations() + reactor.pool.usage().live_blocks;
        self.counters.leaked.add(leaked as u64);
        self.counters.live_blocks.set(reactor.pool.usage().live_blocks as u64);
        NEXT_GENERATION.set(reactor.table.next_generation());
    }
}

/// Takes the worker off the thread; returns the last panic's message.
fn uninstall() -> String {
    let Some(worker) = WORKER.with_borrow(Option::clone) else { return String::new() };
    worker.shut_down();
    WORKER.set(None);
    worker.last_panic.take()
}

/// Notes that the main task is over, however it ended.
struct EndMain(Rc<Worker>);

impl Drop for EndMain {
    fn drop(&mut self) {
        self.0.main_ended.set(true);
    }
}
