//! Commands from other threads.

use std::time::Instant;

use super::*;

on_both_drivers!(all_senders_gone, wakers_work_from_other_threads);

async fn all_senders_gone() {
    let (sender, mut mailbox) = mailbox::<u32>();
    let other = sender.clone();
    sender.send(1).expect("received");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        other.send(2).expect("received");
    });
    drop(sender);
    assert_eq!(mailbox.recv().await, Some(1));
    assert_eq!(mailbox.recv().await, Some(2));
    assert_eq!(mailbox.recv().await, None);
    thread.join().expect("the sender");
    let (sender, mailbox) = super::mailbox::<u32>();
    drop(mailbox);
    assert_eq!(sender.send(5), Err(5));
}

async fn wakers_work_from_other_threads() {
    let (sender, receiver) = std::sync::mpsc::channel::<std::task::Waker>();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let set = done.clone();
    let thread = std::thread::spawn(move || {
        let waker = receiver.recv().expect("a waker");
        std::thread::sleep(Duration::from_millis(20));
        set.store(true, std::sync::atomic::Ordering::SeqCst);
        waker.wake();
    });
    std::future::poll_fn(|cx| {
        if done.load(std::sync::atomic::Ordering::SeqCst) {
            return std::task::Poll::Ready(());
        }
        let _ = sender.send(cx.waker().clone());
        std::task::Poll::Pending
    })
    .await;
    thread.join().expect("the waker");
}

/// Sends 200 values; returns the median time from `send` to the receiving task's poll, and the
/// median number of loop turns in between.
fn latency(kind: DriverKind, busy: bool) -> (Duration, u64) {
    let (sender, mut mailbox) = mailbox::<(Instant, u64)>();
    let (answer, answers) = std::sync::mpsc::channel::<(Duration, u64)>();
    let options = WorkerOptions::new(kind, 0);
    let counters = options.counters.clone();
    let worker = std::thread::spawn(move || {
        run_worker(options, move || async move {
            if busy {
                // Traffic that never stops: the loop is always in the middle of something.
                let (far, mut near) = pair().await;
                near.write(&[0; 1_000]);
                spawn(echo(far));
                spawn(echo(near));
            }
            let counters = super::counters();
            while let Some((sent, turns)) = mailbox.recv().await {
                let turns = counters.loop_turns.get() - turns;
                answer.send((sent.elapsed(), turns)).expect("the test waits");
            }
        })
        .expect("the worker runs");
    });
    let answers: Vec<_> = (0..200)
        .map(|_| {
            // Lets the worker go to sleep in between.
            std::thread::sleep(Duration::from_millis(3));
            sender.send((Instant::now(), counters.loop_turns.get())).expect("the worker is there");
            answers.recv().expect("an answer")
        })
        .collect();
    drop(sender);
    worker.join().expect("the worker ends");
    let mut times: Vec<_> = answers.iter().map(|(time, _)| *time).collect();
    let mut turns: Vec<_> = answers.iter().map(|(_, turns)| *turns).collect();
    times.sort();
    turns.sort_unstable();
    eprintln!("{kind:?} busy={busy}: median {:?}, worst {:?}, {} turns", times[100], times[199], turns[100]);
    (times[100], turns[100])
}

async fn echo(mut socket: Socket) {
    while let Ok(Some(chunk)) = socket.recv().await {
        socket.write_chunk(chunk);
    }
}

#[test]
fn wakes_a_parked_or_busy_worker_in_well_under_a_millisecond() {
    for kind in [DriverKind::Ring, DriverKind::Epoll] {
        if kind == DriverKind::Ring && probe(DriverChoice::Ring).is_err() {
            continue;
        }
        let (parked, _) = latency(kind, false);
        assert!(parked < Duration::from_millis(1), "{kind:?}, parked: {parked:?}");
        // A worker that uses its whole CPU is at the mercy of the scheduler on a crowded machine,
        // so that its time says little; its turns take some ten microseconds each.
        let (busy, turns) = latency(kind, true);
        assert!(busy < Duration::from_millis(1) || turns <= 8, "{kind:?}, busy: {busy:?}, {turns} turns");
    }
}
