//! The generator's steady path takes no memory from the allocator: twenty times as many requests cost as many
//! allocations, but for those of starting and of one slot of the series now and then.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ringway::io::DriverKind;
use ringway::load::{self, Arrivals, Control, HttpVersion, Limit, Pace, Placement, Plan};
use ringway_test_support::counting_allocator::{CountingAllocator, count_every_thread, counted};

/// On the other driver glommio allocates whenever a worker sleeps; the generator is the same.
const DRIVER: DriverKind = DriverKind::Epoll;
const REQUESTS: u64 = 1_000;
const MANY_REQUESTS: u64 = 20_000;
/// For each slot of 250 milliseconds, and for odds and ends.
const ALLOWED: u64 = 1_000;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn requests_allocate_nothing() {
    // In a process of its own: everything in this one is counted.
    let mut origin = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["origin", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the origin starts");
    let target = address(origin.stdout.as_mut().expect("piped"));
    count_every_thread();
    for pace in [
        Pace::ClosedLoop,
        Pace::OpenLoop { per_second: 20_000.0, arrivals: Arrivals::Constant },
        Pace::OpenLoop { per_second: 20_000.0, arrivals: Arrivals::Poisson },
    ] {
        for protocol in [HttpVersion::Http1, HttpVersion::Http2] {
            let few = allocations(&target, pace, protocol, REQUESTS);
            let many = allocations(&target, pace, protocol, MANY_REQUESTS);
            assert!(
                many < few + ALLOWED,
                "{pace:?}, {protocol:?}: {few} for {REQUESTS} requests, {many} for {MANY_REQUESTS}"
            );
        }
    }
    origin.kill().expect("the origin runs");
    origin.wait().expect("the origin has ended");
}

/// What a run allocates.
fn allocations(target: &str, pace: Pace, protocol: HttpVersion, requests: u64) -> u64 {
    let address = ringway::io::Address::Ip(target.parse().expect("an address"));
    let mut plan = Plan::closed_loop(address, target, "/", 16, Duration::ZERO);
    (plan.pace, plan.protocol, plan.depth) = (pace, protocol, 4);
    plan.limit = Limit::Requests(requests);
    let before = counted();
    let report = load::run(&plan, &Placement::one(DRIVER), &Arc::new(Control::new(1))).expect("a run");
    assert_eq!((report.answered(), report.failed()), (requests, 0));
    counted() - before
}

/// The last word of the first line.
fn address(mut from: impl Read) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while from.read(&mut byte).expect("output") == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).rsplit(' ').next().unwrap_or_default().to_owned()
}
