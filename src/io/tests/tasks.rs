//! Tasks, timers, and the worker's end.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::base::clock::Instant;

on_both_drivers!(
    timers_fire_in_time,
    precise_timers_are_never_early,
    cancelled_tasks_stop,
    chains_of_wakes_are_quick,
    rng_is_there,
    deferred_work_is_done_before_sending
);

async fn deferred_work_is_done_before_sending() {
    struct Suffix(std::cell::RefCell<Socket>);
    impl Deferred for Suffix {
        fn run(&self) {
            self.0.borrow_mut().write(b"!");
        }
    }
    let (mut far, near) = pair().await;
    let suffix = Rc::new(Suffix(near.into()));
    for _ in 0..3 {
        suffix.0.borrow_mut().write(b"now");
        defer(suffix.clone());
        let chunk = far.recv().await.expect("data").expect("more");
        assert_eq!(&chunk[..], b"now!", "in one piece");
    }
}

async fn timers_fire_in_time() {
    for ms in [1, 5, 20, 80] {
        let begun = std::time::Instant::now();
        sleep(Duration::from_millis(ms)).await;
        let late = begun.elapsed().checked_sub(Duration::from_millis(ms));
        // The cached clock may lag the true one by a loop turn, hence early by that.
        let late = late.unwrap_or_default();
        assert!(late < Duration::from_millis(50), "{ms} ms timer was {late:?} late");
    }
    let mut timer = Timer::new();
    timer.arm_after(Duration::from_secs(1_000));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(timer.poll_expired(&mut cx).is_pending());
    timer.arm_after(Duration::from_millis(10));
    std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
    assert!(timer.poll_expired(&mut cx).is_ready(), "stays expired");
    timer.disarm();
    assert!(timer.poll_expired(&mut cx).is_pending());
}

async fn precise_timers_are_never_early() {
    let mut timer = PreciseTimer::new();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let deadline = now() + Duration::from_micros(300);
        std::future::poll_fn(|cx| timer.poll_until(cx, deadline)).await;
        assert!(now() >= deadline);
        best = best.min(now().since(deadline));
    }
    // A busy machine may be late now and then, not always. `epoll` waits for whole milliseconds.
    assert!(best < Duration::from_millis(2), "{best:?}");
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(timer.poll_until(&mut cx, now() + Duration::from_secs(1_000)).is_pending());
    let mut other = PreciseTimer::new();
    drop(timer);
    std::future::poll_fn(|cx| other.poll_until(cx, Instant::from_nanos(0))).await;
    let soon = now() + Duration::from_millis(5);
    std::future::poll_fn(|cx| other.poll_until(cx, soon)).await;
}

async fn cancelled_tasks_stop() {
    let held = Rc::new(());
    let inside = held.clone();
    let task = spawn_task(async move {
        let _held = inside;
        sleep(Duration::from_secs(1_000)).await;
    });
    yield_now().await;
    assert_eq!(Rc::strong_count(&held), 2);
    drop(task);
    assert_eq!(Rc::strong_count(&held), 1);
    let ran = Rc::new(Cell::new(false));
    let inside = ran.clone();
    spawn_task(async move {
        yield_now().await;
        inside.set(true);
    })
    .detach();
    yield_now().await;
    yield_now().await;
    yield_now().await;
    assert!(ran.get());
}

/// A task waking the next one, a hundred times: no wait in the kernel in between.
async fn chains_of_wakes_are_quick() {
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        spawn_task(async { spawn_task(yield_now()).await }).await;
    }
    assert!(begun.elapsed() < Duration::from_millis(90), "{:?}", begun.elapsed());
}

async fn rng_is_there() {
    assert_ne!(random_u64(), random_u64());
    assert!(unix_time().as_secs() > 1_600_000_000);
    assert_eq!(worker_index(), 0);
}

fn panics_stay_in_their_task(kind: DriverKind) {
    let options = WorkerOptions::new(kind, 3);
    let counters = options.counters.clone();
    let result = run_worker(options, || async {
        spawn(async { panic!("on purpose") });
        let task = spawn_task(async { panic!("also on purpose") });
        task.await;
        sleep(Duration::from_millis(1)).await;
        17
    });
    assert_eq!((result.expect("main lives on"), counters.panics.get()), (17, 2));
    let error = run_worker(WorkerOptions::new(kind, 0), || async {
        if random_u64() != 0 {
            panic!("main itself");
        }
    });
    assert!(matches!(error, Err(WorkerError::MainPanicked(message)) if message == "main itself"));
}

#[test]
fn panics_on_ring() {
    if probe(DriverChoice::Ring).is_ok() {
        panics_stay_in_their_task(DriverKind::Ring);
    }
}

#[test]
fn panics_on_epoll() {
    panics_stay_in_their_task(DriverKind::Epoll);
}

#[test]
fn what_outlives_its_worker_is_harmless() {
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        let options = WorkerOptions::new(DriverKind::Epoll, 0);
        let (left, chunk) = run_worker(options, || async {
            let (mut far, mut near) = pair().await;
            near.write(&pattern(10_000, 0));
            let chunk = far.recv().await.expect("data").expect("data");
            ((far, near, Timer::new()), chunk)
        })
        .expect("runs");
        assert!(!chunk.is_empty());
        drop((left, chunk));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "the end does not wait for handles");
}
