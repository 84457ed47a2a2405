//! Limits: slow readers, exhausted buffers, no descriptors.

use super::*;

on_both_drivers!(receiving_stops_at_the_limit, many_timers_cost_nothing);

async fn receiving_stops_at_the_limit() {
    let (mut far, mut near) = pair().await;
    far.set_receive_limit(64 << 10);
    let total = 8 << 20;
    near.write_chunk(crate::buf::Chunk::from_vec(pattern(total, 7)));
    let first = far.recv().await.expect("data").expect("data").len();
    sleep(Duration::from_millis(50)).await;
    let queued = far.unread_bytes();
    // Multishot receives deliver what is on its way when they are stopped.
    assert!(queued < 2 << 20, "{queued} bytes queued although nobody reads");
    assert!(counters().rx_paused.get() > 0 && near.queued_bytes() > 0);
    let rest = read(&mut far, total - first).await;
    assert!(rest == pattern(total, 7)[first..], "everything arrives, in order");
}

async fn many_timers_cost_nothing() {
    let mut timers: Vec<Timer> = Vec::new();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for i in 0..100_000 {
        let mut timer = Timer::new();
        timer.arm_after(Duration::from_millis(60_000 + i % 10_000));
        assert!(timer.poll_expired(&mut cx).is_pending());
        timers.push(timer);
    }
    // Warm up, then count what a request does: re-arm to a later deadline.
    yield_now().await;
    // The best of some rounds: the machine may have other things to do.
    let rounds = [80, 90, 100, 110, 120].map(|deadline_s| {
        let begun = std::time::Instant::now();
        for timer in &mut timers {
            timer.arm_after(Duration::from_secs(deadline_s));
        }
        begun.elapsed() / timers.len() as u32
    });
    let each = rounds.into_iter().min().unwrap_or_default();
    assert!(each < Duration::from_micros(2), "{each:?} for a re-arm");
    let turns = counters().loop_turns.get();
    sleep(Duration::from_millis(20)).await;
    assert!(counters().loop_turns.get() - turns < 200, "armed timers do not keep the worker busy");
}

/// Forty stalled readers on sixteen blocks: everything arrives in the end, without spinning.
async fn exhaustion() {
    const READERS: usize = 40;
    const EACH: usize = 512 << 10;
    const LIMIT_BYTES: usize = 256 << 10;
    let mut pairs = Vec::new();
    for i in 0..READERS {
        let (mut far, mut near) = pair().await;
        far.set_receive_limit(LIMIT_BYTES);
        near.write_chunk(crate::buf::Chunk::from_vec(pattern(EACH, i as u8)));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(far.poll_recv(&mut cx).is_pending());
        pairs.push((far, near));
    }
    // Until each has its limit queued.
    while counters().rx_paused.get() < READERS as u64 {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(20)).await;
    let (turns, starved) = (counters().loop_turns.get(), counters().enobufs.get());
    sleep(Duration::from_millis(100)).await;
    let idle_turns = counters().loop_turns.get() - turns;
    assert!(idle_turns < 200, "{idle_turns} turns in 100 ms with all readers stalled");
    assert_eq!(counters().enobufs.get(), starved, "no receive is tried in vain again and again");
    for (i, (far, _near)) in pairs.iter_mut().enumerate() {
        assert!(read(far, EACH).await == pattern(EACH, i as u8), "stream {i} is whole");
    }
}

#[test]
fn exhaustion_on_ring() {
    let counters = run_with(DriverKind::Ring, 16, exhaustion);
    // At most one for each block's worth of data: a stream is tried again only when a block is there.
    assert!(counters.enobufs.get() <= 40 * 512 * 1_024 / 4_096, "{:?}", counters.iter().collect::<Vec<_>>());
}

#[test]
fn exhaustion_on_epoll() {
    run_with(DriverKind::Epoll, 16, exhaustion);
}

/// Small pieces for hundreds of sockets at a time, more than blocks are offered at first.
async fn small_receives() {
    const PAIRS: usize = 300;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push(pair().await);
    }
    let mut starved = 0;
    for round in 0..20_u8 {
        if round == 10 {
            starved = counters().enobufs.get();
        }
        for (_, near) in &mut pairs {
            near.write_chunk(crate::buf::Chunk::from_vec(pattern(100, round)));
        }
        for (far, _) in &mut pairs {
            assert!(read(far, 100).await == pattern(100, round));
        }
    }
    assert_eq!(counters().enobufs.get(), starved, "after some rounds there are blocks for all");
}

#[test]
fn small_receives_on_ring() {
    run_with(DriverKind::Ring, 1_024, small_receives);
}

#[test]
fn small_receives_on_epoll() {
    run_with(DriverKind::Epoll, 1_024, small_receives);
}

/// Chunks that the application keeps: the pool is empty for good, and data still flows.
async fn hoarding() {
    let (mut far, mut near) = pair().await;
    let mut hoard = Vec::new();
    let total = 4 << 20;
    near.write_chunk(crate::buf::Chunk::from_vec(pattern(total, 3)));
    let mut received = 0;
    while received < total {
        let chunk = far.recv().await.expect("data").expect("data");
        received += chunk.len();
        hoard.push(chunk);
    }
    let all: Vec<u8> = hoard.iter().flat_map(|chunk| chunk.iter().copied()).collect();
    assert!(all == pattern(total, 3));
}

#[test]
fn hoarding_on_ring() {
    assert!(run_with(DriverKind::Ring, 16, hoarding).blocks_copied_out.get() > 0);
}

#[test]
fn hoarding_on_epoll() {
    assert!(run_with(DriverKind::Epoll, 16, hoarding).blocks_copied_out.get() > 0);
}
