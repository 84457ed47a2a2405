//! The steady path of a kept connection takes no memory from the allocator, and holds little of it while nothing
//! happens: a worker serves requests through the ordinary listener, connection manager, router and pool, or passes raw
//! bytes on, and what its thread allocates is counted once everything has grown to its size. Only glommio allocates,
//! each time the ring's worker goes to sleep for lack of work.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringway::api::Inputs;
use ringway::filters::{ServerState, WorkerContext};
use ringway::io::{self, DriverChoice, DriverCounters, DriverKind, Listener, WorkerOptions};
use ringway::listener::{self, AcceptTarget, ActiveListener};
use ringway::server::Configuration;
use ringway::stats::groups::ListenerWorkerStats;
use ringway::stats::{Registry, install_shard};
use ringway::upstream::discovery::SystemResolver;
use ringway::upstream::{ClusterControl, ClusterManager};
use ringway_test_support::counting_allocator::{CountingAllocator, count_this_thread, counted, held};
use ringway_test_support::{Authority, TlsClient, TlsServer};

const WARM_UP_REQUESTS: usize = 2_000;
const ROUNDS: usize = 10;
const REQUESTS_PER_ROUND: usize = 100;
/// So many rounds must allocate nothing. In the others something may have been seen for the first time on a busy
/// machine, such as a time of another order of magnitude, for which a histogram gets memory.
const STEADY_ROUNDS: usize = 8;
/// How long the origin takes for its first answers: histograms get memory for each order of magnitude when
/// they first see a value of it, and on a busy machine any request may be slow.
const SLOW_ANSWERS_MS: [u64; 2] = [20, 120];
/// What glommio allocates when a worker goes to sleep and wakes again, at most.
const ALLOCATIONS_PER_SLEEP: u64 = 32;
/// Connections that are there before others are looked at: tables that all share have grown large enough by then not to
/// be taken for what a connection holds.
const EARLIER_CONNECTIONS: usize = 150;
const IDLE_CONNECTIONS: usize = 200;
/// What an idle connection that has served a request may hold, besides its places in the worker's tables.
const IDLE_BYTES_MAX: i64 = 968;
const IDLE_PIECES_MAX: i64 = 6;
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\ncontent-type: text/plain\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Counts are the process's: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_kept_connection_is_served_without_allocating() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let yaml = configuration(include_str!("allocations.yaml"), &origin);
    thread::spawn(move || answer_all(&origin));
    measure(&yaml, connect, exchange);
}

#[test]
fn an_idle_connection_holds_little() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let yaml = configuration(include_str!("allocations.yaml"), &origin);
    thread::spawn(move || answer_all(&origin));
    for kind in kinds() {
        let proxy = start(kind, &yaml, Arc::default());
        let open = |_| {
            let mut client = BufReader::with_capacity(512, connect(proxy));
            exchange(&mut client);
            client
        };
        let _earlier: Vec<_> = (0..EARLIER_CONNECTIONS).map(open).collect();
        let before = held();
        let _idle: Vec<_> = (0..IDLE_CONNECTIONS).map(open).collect();
        // Each size that connections have, and how many of it: the one that is still at work does not count.
        let per_connection = |((size, count), (_, before)): ((usize, i64), &(usize, i64))| {
            let each = (count - before + IDLE_CONNECTIONS as i64 / 2).div_euclid(IDLE_CONNECTIONS as i64);
            (size as i64, each)
        };
        let pieces: Vec<(i64, i64)> =
            held().into_iter().zip(&before).map(per_connection).filter(|(_, each)| *each != 0).collect();
        let bytes: i64 = pieces.iter().map(|(size, each)| size * each).sum();
        let count: i64 = pieces.iter().map(|(_, each)| each).sum();
        assert!(
            bytes <= IDLE_BYTES_MAX && count <= IDLE_PIECES_MAX,
            "{kind:?}: {bytes} bytes in {count} pieces; size and number of each: {pieces:?}"
        );
    }
}

#[test]
fn a_kept_connection_is_served_over_tls_without_allocating() {
    let authority = Authority::new("ca");
    let certificate = authority.issue(&["server.test"]);
    let directory = tempfile::tempdir().expect("a directory");
    certificate.write(directory.path(), "server");
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("written");
    let port = TlsServer::new(&certificate, &[]).listen(|stream| {
        answer(BufReader::new(stream));
        Ok(())
    });
    let yaml = include_str!("allocations_tls.yaml")
        .replace("DIRECTORY", &directory.path().display().to_string())
        .replace("port_value: 8000", &format!("port_value: {port}"));
    let client = TlsClient::new(&authority, "server.test");
    measure(&yaml, |address| client.connect(address).expect("a handshake"), exchange);
}

#[test]
fn raw_bytes_are_passed_on_without_allocating() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let yaml = configuration(include_str!("allocations_tcp.yaml"), &origin);
    thread::spawn(move || echo_all(&origin));
    // Pieces that are copied because they are small, and pieces that are not.
    let (small, large) = (vec![1; 100], vec![2; 60_000]);
    let mut echo = vec![0; large.len()];
    measure(&yaml, connect, |client: &mut BufReader<TcpStream>| {
        for piece in [&small, &large] {
            client.get_mut().write_all(piece).expect("sent");
            client.read_exact(&mut echo[..piece.len()]).expect("an echo");
            assert!(echo[..piece.len()] == piece[..]);
        }
    });
}

fn configuration(yaml: &str, origin: &TcpListener) -> String {
    let port = origin.local_addr().expect("bound").port();
    yaml.replace("port_value: 8000", &format!("port_value: {port}"))
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("the worker accepts")
}

/// Asserts that a worker with this configuration does not allocate for exchanges on a connection.
fn measure<S: Read>(
    yaml: &str,
    connect: impl Fn(SocketAddr) -> S,
    mut exchange: impl FnMut(&mut BufReader<S>),
) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for kind in kinds() {
        let counters: Arc<DriverCounters> = Arc::default();
        let proxy = start(kind, yaml, Arc::clone(&counters));
        let mut client = BufReader::new(connect(proxy));
        for _ in 0..WARM_UP_REQUESTS {
            exchange(&mut client);
        }
        let rounds: Vec<(u64, u64)> = (0..ROUNDS)
            .map(|_| {
                let (before, sleeps) = (counted(), counters.parks.get());
                (0..REQUESTS_PER_ROUND).for_each(|_| exchange(&mut client));
                (counted() - before, counters.parks.get() - sleeps)
            })
            .collect();
        let is_steady = |(allocations, sleeps): &&(u64, u64)| {
            *allocations <= if kind == DriverKind::Ring { sleeps * ALLOCATIONS_PER_SLEEP } else { 0 }
        };
        let steady = rounds.iter().filter(is_steady).count();
        assert!(
            steady >= STEADY_ROUNDS,
            "{kind:?}: {steady} of {ROUNDS} rounds of {REQUESTS_PER_ROUND} requests allocate nothing; allocations and \
             sleeps: {rounds:?}"
        );
    }
}

/// The drivers that there are here.
fn kinds() -> Vec<DriverKind> {
    match io::probe(DriverChoice::Ring) {
        Ok(_) => vec![DriverKind::Ring, DriverKind::Epoll],
        Err(missing) => {
            eprintln!("SKIPPED on ring: {missing}");
            vec![DriverKind::Epoll]
        }
    }
}

/// Starts a worker with this configuration; returns where it listens.
fn start(kind: DriverKind, yaml: &str, counters: Arc<DriverCounters>) -> SocketAddr {
    let (send, receive) = std::sync::mpsc::channel();
    let yaml = yaml.to_owned();
    thread::spawn(move || serve(kind, counters, &yaml, &send));
    receive.recv().expect("the worker listens")
}

fn exchange<S: Read + Write>(client: &mut BufReader<S>) {
    let request =
        b"GET /path?query=1 HTTP/1.1\r\nhost: test.local\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
    client.get_mut().write_all(request).expect("sent");
    let mut line = String::new();
    client.read_line(&mut line).expect("a status line");
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    while line != "\r\n" {
        line.clear();
        client.read_line(&mut line).expect("a header line");
    }
    client.read_exact(&mut [0; 100]).expect("a body");
}

fn answer_all(origin: &TcpListener) {
    for stream in origin.incoming() {
        let Ok(stream) = stream else { return };
        thread::spawn(move || answer(BufReader::new(stream)));
    }
}

fn answer(mut stream: BufReader<impl Read + Write>) {
    let mut line = String::new();
    let mut delays_ms = SLOW_ANSWERS_MS.iter();
    while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line == "\r\n"
            && let Some(&delay_ms) = delays_ms.next()
        {
            thread::sleep(Duration::from_millis(delay_ms));
        }
        if line == "\r\n" && stream.get_mut().write_all(RESPONSE).is_err() {
            return;
        }
        line.clear();
    }
}

fn echo_all(origin: &TcpListener) {
    for stream in origin.incoming() {
        let Ok(mut stream) = stream else { return };
        thread::spawn(move || {
            let mut block = vec![0; 64 << 10];
            while let Ok(read) = stream.read(&mut block) {
                if read == 0 || stream.write_all(&block[..read]).is_err() {
                    return;
                }
            }
        });
    }
}

/// A worker that tells its address and serves for as long as the test lives.
fn serve(
    kind: DriverKind,
    counters: Arc<DriverCounters>,
    yaml: &str,
    ready: &std::sync::mpsc::Sender<SocketAddr>,
) {
    let inputs = Inputs { config_yaml: Some(yaml), ..Inputs::default() };
    let configuration = Configuration::load(inputs).unwrap_or_else(|errors| panic!("{errors}"));
    let registry = Registry::new();
    install_shard(registry.new_shard());
    let compiled =
        configuration.compile(&registry, None).unwrap_or_else(|errors| panic!("{errors}")).remove(0);
    let bootstrap = configuration.bootstrap;
    let server = Arc::new(ServerState::new(bootstrap.node, bootstrap.runtime));
    let control = ClusterControl::new(&registry, 1, Arc::new(SystemResolver::new()), 0, |_| {});
    // Hosts are checked and watched by the control thread.
    let control_thread =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let entered = control_thread.enter();
    for cluster in bootstrap.clusters {
        control.set(cluster, &server.runtime).expect("a cluster");
    }
    drop(entered);
    thread::spawn(move || control_thread.block_on(std::future::pending::<()>()));
    let ready = ready.clone();
    let options = WorkerOptions { counters, ..WorkerOptions::new(kind, 0) };
    let served = io::run_worker(options, move || async move {
        let clusters = ClusterManager::new(0);
        for command in control.commands() {
            io::with_rng(|rng| clusters.apply(command, rng));
        }
        let context = Rc::new(WorkerContext::new(0, clusters, server));
        let stats = ListenerWorkerStats::register(&registry, "listener.test.worker_0.");
        let config = &compiled.config;
        let options = listener::listen_options(config, &config.addresses[0]);
        let socket = Listener::bind(&options).expect("a port");
        let address = socket.local_address().ok().and_then(|address| address.as_ip());
        ready.send(address.expect("an IP address")).expect("the test waits");
        count_this_thread();
        let target = AcceptTarget::new(ActiveListener::new(compiled, stats));
        listener::serve(target, socket, context).await;
    });
    served.expect("the worker runs");
}
