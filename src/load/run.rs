//! A load run: the plan shared out to workers, one thread each, and their reports added up.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::io::{self, DriverKind, WorkerOptions};

use super::error::LoadError;
use super::plan::{Limit, Pace, Plan};
use super::progress::Control;
use super::report::Report;
use super::worker::{Share, work};

/// Where a run's workers are.
#[derive(Debug, Clone)]
pub struct Placement {
    /// How they do network I/O.
    pub driver: DriverKind,
    /// One worker for each entry, at least one; with a number it is pinned to that CPU.
    pub cpus: Vec<Option<usize>>,
}

impl Placement {
    /// One worker that is not pinned.
    pub fn one(driver: DriverKind) -> Placement {
        Placement { driver, cpus: vec![None] }
    }
}

/// Drives `plan` until it is done. Blocks the calling thread.
///
/// # Errors
/// If a worker cannot start. Failed requests are counted in the report instead.
pub fn run(plan: &Plan, placement: &Placement, control: &Arc<Control>) -> Result<Report, LoadError> {
    let shares = share_out(plan, placement.cpus.len());
    let on_workers = spread("load", placement, shares, |share| {
        let control = Arc::clone(control);
        move || work(share, control)
    })?;
    let mut reports = on_workers.into_iter();
    let mut sum = reports.next().ok_or(LoadError::Panicked)??;
    for report in reports {
        sum.merge(report?);
    }
    Ok(sum)
}

/// Runs one worker for each of `shares` and waits for all.
pub(super) fn spread<S, M, F, T>(
    name: &str,
    placement: &Placement,
    shares: Vec<S>,
    make: impl Fn(S) -> M,
) -> Result<Vec<T>, LoadError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let mut threads: Vec<JoinHandle<Result<T, io::WorkerError>>> = Vec::with_capacity(shares.len());
    for (index, share) in shares.into_iter().enumerate() {
        let cpu = placement.cpus.get(index).copied().flatten();
        let options = WorkerOptions { cpu, ..WorkerOptions::new(placement.driver, index) };
        let main = make(share);
        let thread = std::thread::Builder::new().name(format!("{name}-{index}"));
        threads.push(thread.spawn(move || io::run_worker(options, main)).map_err(LoadError::Thread)?);
    }
    let join = |thread: JoinHandle<_>| thread.join().map_err(|_| LoadError::Panicked);
    threads.into_iter().map(|thread| Ok(join(thread)??)).collect()
}

/// Shares as equal as can be; workers without a connection are left out.
fn share_out(plan: &Plan, workers: usize) -> Vec<Share> {
    let connections = plan.connections.max(1);
    let workers = (workers.max(1) as u64).min(u64::from(connections));
    (0..workers)
        .map(|index| {
            let mut own = plan.clone();
            own.connections = part(connections.into(), workers, index) as u32;
            if let Limit::Requests(count) = &mut own.limit {
                *count = part(*count, workers, index);
            }
            if let Pace::OpenLoop { per_second, .. } = &mut own.pace {
                *per_second /= workers as f64;
            }
            own.seed = plan.seed.wrapping_add(index);
            // Workers with several requests begin at different ones, and sources likewise.
            let requests = own.requests.len();
            own.requests.rotate_left((requests as u64 * index / workers) as usize);
            Share { plan: own, index: index as usize, phase: index as f64 / workers as f64 }
        })
        .collect()
}

/// The share of `index` when `total` is divided among `workers`.
pub(super) fn part(total: u64, workers: u64, index: u64) -> u64 {
    total / workers + u64::from(index < total % workers)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::plan::Arrivals;

    #[test]
    fn shares_add_up_to_the_plan() {
        let target = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
        let mut plan = Plan::closed_loop(target, "a", "/", 10, Duration::from_secs(1));
        plan.limit = Limit::Requests(1_000_001);
        plan.pace = Pace::OpenLoop { per_second: 900.0, arrivals: Arrivals::Constant };
        let shares = share_out(&plan, 3);
        let counts = |share: &Share| match share.plan.limit {
            Limit::Requests(count) => count,
            Limit::Duration(_) => 0,
        };
        assert_eq!(shares.iter().map(|share| share.plan.connections).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(shares.iter().map(counts).sum::<u64>(), 1_000_001);
        let rate = Pace::OpenLoop { per_second: 300.0, arrivals: Arrivals::Constant };
        assert!(shares.iter().all(|share| share.plan.pace == rate));
        assert_eq!(share_out(&plan, 64).len(), 10);
    }
}
