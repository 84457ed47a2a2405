//! A million seeded operations that drop futures, reset peers and close sockets at random must leave
//! nothing behind: no slots, no blocks, no operations, no descriptors, no queue overflow. A binary of
//! its own, because it counts the process's descriptors.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ringway::base::rng::Rng;
use ringway::buf::Chunk;
use ringway::io::{
    self, Address, DriverChoice, DriverCounters, DriverKind, ListenOptions, Listener, Socket, SocketOptions,
    WorkerOptions,
};

const OPERATIONS: usize = 1_000_000;
const ACTORS: usize = 48;
const SOCKETS_EACH: usize = 6;
/// Several, so that closed connections' ports do not run out.
const LOOPBACKS: u8 = 24;
const QUEUED_MAX: usize = 512 << 10;
const SEED: u64 = 0x51ed_270b;

#[test]
fn a_million_random_operations_leave_nothing_behind_on_ring() {
    stress(DriverKind::Ring, OPERATIONS);
}

#[test]
fn nor_on_epoll() {
    stress(DriverKind::Epoll, OPERATIONS / 10);
}

fn stress(kind: DriverKind, operations: usize) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if kind == DriverKind::Ring
        && let Err(error) = io::probe(DriverChoice::Ring)
    {
        return eprintln!("skipped: {error}");
    }
    // glommio 0.9 keeps one eventfd of each executor that has run, whatever ran on it: what an idle
    // worker leaves open is what the busy one may leave open.
    let idle = || io::run_worker(WorkerOptions::new(kind, 0), || async {}).expect("a worker");
    idle();
    let once = descriptors();
    idle();
    let before = descriptors();
    let kept_by_host = before.len() - once.len();
    let options = WorkerOptions { blocks: 128, seed: SEED, ..WorkerOptions::new(kind, 0) };
    let counters = options.counters.clone();
    let begun = Instant::now();
    io::run_worker(options, move || world(operations)).expect("the worker lives to the end");
    let all: Vec<_> = counters.iter().collect();
    println!("{kind:?}: {operations} operations in {:?}\n{all:?}", begun.elapsed());
    check(&counters);
    let after = descriptors();
    assert_eq!(after.len(), before.len() + kept_by_host, "descriptors leaked: {before:?} {after:?}");
    assert!(!after.iter().any(|target| target.starts_with("socket")), "{after:?}");
}

/// The two tests count the same process's descriptors.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn check(counters: &DriverCounters) {
    for (name, value) in counters.iter() {
        let must_be_zero = [
            "live_sockets",
            "live_listeners",
            "live_operations",
            "live_blocks",
            "leaked",
            "cq_overflows",
            "late_completions",
            "panics",
        ];
        assert!(value == 0 || !must_be_zero.contains(&name), "{name} is {value}, seed {SEED}");
    }
    assert!(counters.accepts.get() > 1_000, "the test did not do what it should");
}

/// What the process's descriptors point to.
fn descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    entries.filter_map(target).map(|target| target.to_string_lossy().into_owned()).collect()
}

/// What all actors share.
struct World {
    left: Cell<usize>,
    addresses: Vec<Address>,
    /// Accepted and not taken yet.
    accepted: RefCell<Vec<Socket>>,
}

async fn world(operations: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut addresses: Vec<Address> =
        (1..=LOOPBACKS).map(|i| Address::Ip(([127, 0, 0, i], 0).into())).collect();
    addresses.push(Address::unix(directory.path().join("socket")));
    let listeners: Vec<Listener> = addresses
        .into_iter()
        .map(|address| Listener::bind(&ListenOptions::new(address)).expect("a listener"))
        .collect();
    let addresses = listeners.iter().map(|listener| listener.local_address().expect("bound")).collect();
    let (left, accepted) = (Cell::new(operations), RefCell::default());
    let world = Rc::new(World { left, addresses, accepted });
    let acceptors: Vec<_> =
        listeners.into_iter().map(|listener| io::spawn_task(accept(world.clone(), listener))).collect();
    let actors: Vec<_> = (0..ACTORS)
        .map(|i| io::spawn_task(act(world.clone(), Rng::from_seed(SEED.wrapping_add(i as u64)))))
        .collect();
    for actor in actors {
        actor.await;
    }
    // Acceptors end in the middle of whatever they do; sockets in the shared list with the world.
    drop(acceptors);
}

async fn accept(world: Rc<World>, mut listener: Listener) {
    while let Ok(socket) = listener.accept().await {
        let mut accepted = world.accepted.borrow_mut();
        if accepted.len() < 200 {
            accepted.push(socket);
        }
    }
}

async fn act(world: Rc<World>, mut rng: Rng) {
    let mut sockets: [Option<Socket>; SOCKETS_EACH] = Default::default();
    let noise: Vec<u8> = (0..40_000).map(|_| rng.next_u64() as u8).collect();
    while world.left.get() > 0 {
        world.left.set(world.left.get() - 1);
        let socket = &mut sockets[rng.below(SOCKETS_EACH as u64) as usize];
        match socket {
            None => *socket = Some(open(&world, &mut rng)),
            Some(open) => {
                if let Some(close) = operate(open, &mut rng, &noise).await {
                    close(socket.take().expect("it is open"));
                }
            }
        }
        match rng.below(150) {
            0..25 => io::yield_now().await,
            // Lets the kernel's answers come in.
            25..40 => io::sleep(Duration::from_millis(1)).await,
            _ => {}
        }
    }
}

fn open(world: &World, rng: &mut Rng) -> Socket {
    if rng.below(2) == 0
        && let Some(socket) = world.accepted.borrow_mut().pop()
    {
        return socket;
    }
    let address = &world.addresses[rng.below(world.addresses.len() as u64) as usize];
    let mut socket = Socket::connect(address, &SocketOptions::default());
    socket.set_receive_limit(1 << (8 + rng.below(10)));
    socket
}

/// Does something to a socket; returns how to get rid of it if that is what shall happen.
async fn operate(socket: &mut Socket, rng: &mut Rng, noise: &[u8]) -> Option<fn(Socket)> {
    let mut cx = Context::from_waker(Waker::noop());
    match rng.below(100) {
        0..30 if socket.queued_bytes() < QUEUED_MAX => {
            let bound = 1 << (1 + rng.below(14));
            let len = 1 + rng.below(bound) as usize;
            match rng.below(3) {
                0 => socket.write(&noise[..len]),
                1 => socket.write_chunk(Chunk::copy_from(&noise[..len])),
                _ => socket.with_write_buffer(|buffer| buffer.extend_from_slice(&noise[..len])),
            }
        }
        30..60 => match socket.poll_recv(&mut cx) {
            Poll::Ready(Ok(Some(chunk))) if socket.queued_bytes() < QUEUED_MAX && rng.below(4) == 0 => {
                socket.write_chunk(chunk);
            }
            Poll::Ready(Err(_)) => return Some(drop),
            _ => {}
        },
        60..75 => {
            // A future that is dropped after a poll or two.
            let mut future = pin!(socket.recv());
            if future.as_mut().poll(&mut cx).is_pending() && rng.below(20) == 0 {
                io::yield_now().await;
                let _ = future.as_mut().poll(&mut cx);
            }
        }
        75..85 => {
            let mut future = pin!(socket.drained(rng.below(1_000) as usize));
            let _ = future.as_mut().poll(&mut cx);
        }
        85..87 => io::sleep(Duration::from_millis(rng.below(2))).await,
        87..89 => socket.shutdown_write(),
        89..92 => return Some(Socket::reset),
        92..94 => return Some(|socket| socket.close_after_flush(Duration::from_millis(20))),
        94..97 => return Some(drop),
        97..99 if socket.is_read_ended() && socket.poll_failed(&mut cx).is_ready() => return Some(drop),
        _ => {
            let _ = socket.is_reusable();
        }
    }
    None
}
