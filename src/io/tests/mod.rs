//! The same tests on both real drivers, with real sockets on the loopback interface.

mod mailbox;
mod pressure;
mod sockets;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use super::*;

/// Makes `name::ring` and `name::epoll` from an async function.
macro_rules! on_both_drivers {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn ring() {
                crate::io::tests::run(crate::io::DriverKind::Ring, super::$name);
            }

            #[test]
            fn epoll() {
                crate::io::tests::run(crate::io::DriverKind::Epoll, super::$name);
            }
        }
    )*};
}
use on_both_drivers;

/// Longer than anything takes, short enough to notice a hang.
const HANG: Duration = Duration::from_secs(20);

/// Runs a test as a worker's main task and checks that nothing leaked.
fn run<F: Future<Output = ()> + 'static>(kind: DriverKind, test: impl FnOnce() -> F) {
    run_with(kind, 256, test);
}

fn run_with<F: Future<Output = ()> + 'static>(
    kind: DriverKind,
    blocks: usize,
    test: impl FnOnce() -> F,
) -> Arc<DriverCounters> {
    if kind == DriverKind::Ring && probe(DriverChoice::Ring).is_err() {
        eprintln!("skipped: no io_uring here");
        return Arc::default();
    }
    let options = WorkerOptions { blocks, ..WorkerOptions::new(kind, 0) };
    let counters = options.counters.clone();
    run_worker(options, || {
        let test = spawn_task(test());
        async move {
            let deadline = now() + HANG;
            spawn(async move {
                sleep_until(deadline).await;
                eprintln!("{:?}", counters_now());
                eprintln!("a test hangs");
                std::process::abort();
            });
            test.await;
        }
    })
    .expect("the worker runs");
    assert_eq!(counters.panics.get(), 0, "the test panicked, see above");
    let zero = |name: &str| counters.iter().find(|(found, _)| *found == name).map(|(_, value)| value);
    for name in ["live_sockets", "live_listeners", "live_operations", "live_blocks", "leaked"] {
        assert_eq!(zero(name), Some(0), "{name}");
    }
    assert_eq!((counters.cq_overflows.get(), counters.late_completions.get()), (0, 0));
    counters
}

fn counters_now() -> Vec<(&'static str, u64)> {
    counters().iter().collect()
}

/// A listener on the loopback interface and its address.
fn listen() -> (Listener, Address) {
    let options = ListenOptions::new(Address::Ip("127.0.0.1:0".parse().expect("an address")));
    let listener = Listener::bind(&options).expect("a listener");
    let address = listener.local_address().expect("bound");
    (listener, address)
}

fn connect(address: &Address) -> Socket {
    Socket::connect(address, &SocketOptions::default())
}

/// A connection: the accepting side and the connecting side.
async fn pair() -> (Socket, Socket) {
    let (mut listener, address) = listen();
    let mut near = connect(&address);
    let far = listener.accept().await.expect("a connection");
    near.connected().await.expect("connected");
    (far, near)
}

/// Receives exactly `count` bytes or up to the end.
async fn read(socket: &mut Socket, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count
        && let Some(chunk) = socket.recv().await.expect("data")
    {
        all.extend_from_slice(&chunk);
    }
    all
}

/// Bytes in which every position can be told.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}
