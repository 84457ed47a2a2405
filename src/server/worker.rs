//! A worker thread: one pinned executor that owns its listeners, clusters and statistics shard, and
//! follows the control thread's commands.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::access_log;
use crate::filters::{ServerState, WorkerContext};
use crate::io::{self, DriverCounters, DriverKind, Mailbox, WorkerOptions};
use crate::stats::groups::WorkersStats;
use crate::stats::{Registry, install_shard};
use crate::tls;
use crate::upstream::ClusterManager;

use super::command::{Command, Report};
use super::traffic::Traffic;

/// How often a worker that is about to end looks whether its last connection has gone. The wait is
/// bounded by the drain time, which the control thread keeps.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// What a worker is started with.
pub struct WorkerSetup {
    /// Its number, from 0.
    pub index: usize,
    /// The CPU to stay on; none leaves that to the kernel.
    pub cpu: Option<usize>,
    /// How it does I/O.
    pub driver: DriverKind,
    /// Seed of its randomness.
    pub seed: u64,
    /// Statistics of the process.
    pub registry: Registry,
    /// `ringway.` statistics.
    pub stats: WorkersStats,
    /// The process.
    pub server: Arc<ServerState>,
    /// How long access-log lines may wait to be handed to the writer.
    pub access_log_flush_interval: Duration,
    /// Where the driver counts.
    pub counters: Arc<DriverCounters>,
    /// Called on the worker with each report.
    pub report: Arc<dyn Fn(Report) + Send + Sync>,
}

/// Starts a worker's thread, which follows the commands in `mailbox`.
///
/// # Errors
/// If the operating system gives no thread.
pub fn start(setup: WorkerSetup, mailbox: Mailbox<Command>) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(format!("wrk:{}", setup.index)).spawn(move || {
        let report = Arc::clone(&setup.report);
        let worker = setup.index;
        let options = WorkerOptions {
            cpu: setup.cpu,
            seed: setup.seed,
            counters: Arc::clone(&setup.counters),
            ..WorkerOptions::new(setup.driver, worker)
        };
        install_shard(setup.registry.new_shard());
        tls::warm_up();
        match io::run_worker(options, move || run(setup, mailbox)) {
            Ok(()) => report(Report::Ended { worker }),
            Err(error) => report(Report::Failed { worker, reason: error.to_string() }),
        }
    })
}

async fn run(setup: WorkerSetup, mut commands: Mailbox<Command>) {
    let clusters = ClusterManager::new(setup.index);
    let context = Rc::new(WorkerContext::new(setup.index, clusters, Arc::clone(&setup.server)));
    io::spawn(access_log::flush_periodically(setup.access_log_flush_interval));
    let mut worker = Worker { setup, traffic: Traffic::new(context), exit_when_idle: false };
    loop {
        let command = worker.next_command(&mut commands).await;
        match command {
            None | Some(Command::Exit) => break,
            Some(command) => worker.obey(command),
        }
        if worker.exit_when_idle && worker.traffic.connections() == 0 {
            break;
        }
    }
    access_log::flush_thread();
}

struct Worker {
    setup: WorkerSetup,
    traffic: Traffic,
    exit_when_idle: bool,
}

impl Worker {
    /// The next command. While the worker is to end when idle, it also returns, with a harmless
    /// command, at intervals.
    async fn next_command(&self, commands: &mut Mailbox<Command>) -> Option<Command> {
        if !self.exit_when_idle {
            return commands.recv().await;
        }
        let mut pause = Box::pin(io::sleep(IDLE_CHECK_INTERVAL));
        poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(command) = commands.poll_recv(cx) {
                return Poll::Ready(command);
            }
            pause.as_mut().poll(cx).map(|()| Some(Command::FlushAccessLogs))
        })
        .await
    }

    fn obey(&mut self, command: Command) {
        let began = Instant::now();
        match self.traffic.obey(command) {
            // Its time is the disk's, and the flushes of an ending worker are many.
            Some(Command::FlushAccessLogs) => return access_log::flush_thread(),
            Some(Command::Acknowledge { order }) => (self.setup.report)(Report::Acknowledged { order }),
            Some(Command::ExitWhenIdle) => self.exit_when_idle = true,
            _ => {}
        }
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.setup.stats.command_time_us.record(took_us);
    }
}
