//! Bodies larger than memory, slow readers on either side, responses that come early: back-pressure must
//! reach the sender, memory must stay bounded, and no byte may be lost.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ringway_test_support::config::Http;
use ringway_test_support::origin::OriginConnection;
use ringway_test_support::{
    Answer, Connection, Driver, Origin, PATIENCE, Proxy, Request, Server, Then, eventually, procfs,
};

on_both_drivers! {
    early_response_ends_the_upload
    a_client_that_goes_away_ends_the_upstream_request
    a_client_that_resets_ends_the_upstream_request
    many_small_chunks
    both_directions_at_once
    download_stops_when_the_client_does_not_read
    large_upload_in_bounded_memory
    upload_stops_when_the_origin_does_not_read
    large_download_in_bounded_memory
}

/// Bytes of the large bodies: many times what the proxy may hold.
const LARGE_BYTES: u64 = 256 << 20;

/// What the proxy's memory may grow by while a large body passes. An instrumented build and the
/// allocator's slack are in it; the body is 16 times larger.
const MAX_GROWTH_BYTES: u64 = 16 << 20;

/// Upper bound of what can be on its way when nobody reads: the kernel's socket buffers on both sides of
/// the proxy and the proxy's own limit.
const MAX_UNDERWAY_BYTES: u64 = 40 << 20;

fn proxy_to(driver: Driver, origin: &Origin) -> Proxy {
    // Small buffers, no timeout.
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin, timeout: 0s}")
        .listener("per_connection_buffer_limit_bytes: 32768")
        .cluster("origin", origin.port(), "per_connection_buffer_limit_bytes: 32768");
    Server::ringway(driver).start(&http.yaml())
}

/// Length after which the test bodies repeat: a prime, so that lost or doubled pieces show.
const PERIOD: usize = 65_537;

/// Longest piece that [`pattern`] gives.
const MAX_PIECE: usize = 256 << 10;

/// A piece of the test bodies. Comparing whole pieces keeps unoptimised builds fast.
fn pattern(from: u64, length: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        (0..PERIOD + MAX_PIECE).map(|i| (((i % PERIOD) * 31) ^ ((i % PERIOD) >> 7)) as u8).collect()
    });
    let start = (from % PERIOD as u64) as usize;
    &bytes[start..start + length]
}

/// Reads a body of known length from the origin's connection; says how many bytes were right.
fn check_body(connection: &mut OriginConnection, length: u64, slow: bool, seen: &AtomicU64) -> u64 {
    let mut block = vec![0; 64 << 10];
    let mut at = 0;
    let mut pending = connection.reader.take_pending();
    while at < length {
        let got = if pending.is_empty() {
            let n = connection.stream.read(&mut block).unwrap_or(0);
            &block[..n]
        } else {
            &pending[..]
        };
        if got.is_empty() || got != pattern(at, got.len()) {
            break;
        }
        at += got.len() as u64;
        pending.clear();
        seen.store(at, Ordering::SeqCst);
        if slow && at % (8 << 20) < (64 << 10) {
            // The origin is slow now and then: that is what fills buffers.
            thread::sleep(Duration::from_millis(5));
        }
    }
    at
}

fn checking_origin(length: u64, slow: bool) -> (Origin, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = seen.clone();
    let origin = Origin::start(Answer::script(move |connection, _| {
        let right = check_body(connection, length, slow, &counter);
        let text = right.to_string();
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        Then::Close
    }));
    (origin, seen)
}

fn upload(connection: &mut Connection, length: u64) -> std::io::Result<()> {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    connection.try_send(head.as_bytes())?;
    let mut at = 0;
    while at < length {
        let block = pattern(at, (length - at).min(MAX_PIECE as u64) as usize);
        connection.try_send(block)?;
        at += block.len() as u64;
    }
    Ok(())
}

fn large_upload_in_bounded_memory(driver: Driver) {
    let (origin, _) = checking_origin(LARGE_BYTES, true);
    let proxy = proxy_to(driver, &origin);
    let before = procfs::rss_bytes(proxy.pid());
    let mut connection = Connection::open(proxy.address());
    upload(&mut connection, LARGE_BYTES).expect("upload");
    assert_eq!(connection.response().text(), LARGE_BYTES.to_string());
    let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
    proxy.stop();
}

fn upload_stops_when_the_origin_does_not_read(driver: Driver) {
    let length = 128 << 20;
    let gate = Arc::new(AtomicBool::new(false));
    let opened = gate.clone();
    let seen = Arc::new(AtomicU64::new(0));
    let counter = seen.clone();
    let origin = Origin::start(Answer::script(move |connection, _| {
        eventually("the gate", || opened.load(Ordering::SeqCst).then_some(()));
        let right = check_body(connection, length, false, &counter).to_string();
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{right}", right.len()));
        Then::Close
    }));
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    // Write until the proxy takes no more for a while.
    connection.stream().set_write_timeout(Some(Duration::from_millis(300))).expect("timeout");
    let mut at = 0;
    while at < length {
        match connection.stream().write(pattern(at, 64 << 10)) {
            Ok(n) => at += n as u64,
            Err(_) => break,
        }
    }
    assert!(at < MAX_UNDERWAY_BYTES, "{at} bytes were taken though the origin reads nothing");
    assert_eq!(proxy.stat("http.test.downstream_rq_active"), 1);
    assert!(proxy.stat("http.test.downstream_flow_control_paused_reading_total") >= 1);
    gate.store(true, Ordering::SeqCst);
    connection.stream().set_write_timeout(Some(PATIENCE)).expect("timeout");
    while at < length {
        let block = pattern(at, (length - at).min(MAX_PIECE as u64) as usize);
        connection.try_send(block).expect("the rest");
        at += block.len() as u64;
    }
    assert_eq!(connection.response().text(), length.to_string());
    proxy.stop();
}

/// An origin that sends `length` bytes of the pattern and counts what its socket has taken.
fn sending_origin(length: u64) -> (Origin, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let origin = Origin::start(Answer::script(move |connection, _| {
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
        let mut at = 0;
        while at < length {
            let block = pattern(at, (length - at).min(64 << 10) as usize);
            if !connection.write(block) {
                break;
            }
            at += block.len() as u64;
            counter.store(at, Ordering::SeqCst);
        }
        Then::Close
    }));
    (origin, sent)
}

/// Reads the body of a response as it comes and says how many bytes were right.
fn download(connection: &mut Connection, length: u64) -> u64 {
    let head = connection.read_head().expect("head");
    assert_eq!(head.status(), 200);
    let mut pending = connection.take_pending();
    let mut block = vec![0; MAX_PIECE];
    let mut at = 0;
    // A proxy that lets a little through now and then is stuck too.
    let deadline = Instant::now() + 4 * PATIENCE;
    loop {
        if pending != pattern(at, pending.len()) {
            return at;
        }
        at += pending.len() as u64;
        if at >= length || Instant::now() > deadline {
            return at;
        }
        let n = connection.stream().read(&mut block).unwrap_or(0);
        if n == 0 {
            return at;
        }
        pending = block[..n].to_vec();
    }
}

fn large_download_in_bounded_memory(driver: Driver) {
    let (origin, _) = sending_origin(LARGE_BYTES);
    let proxy = proxy_to(driver, &origin);
    let before = procfs::rss_bytes(proxy.pid());
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes());
    assert_eq!(download(&mut connection, LARGE_BYTES), LARGE_BYTES);
    let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
    proxy.stop();
}

fn download_stops_when_the_client_does_not_read(driver: Driver) {
    let length = 128 << 20;
    let (origin, sent) = sending_origin(length);
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes());
    // The origin's progress comes to a halt far below the whole.
    let mut last = u64::MAX;
    let mut same = 0;
    eventually("the origin to be held back", || {
        let now = sent.load(Ordering::SeqCst);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        (same == 100).then_some(())
    });
    assert!(last < MAX_UNDERWAY_BYTES, "{last} bytes were taken though the client reads nothing");
    assert_eq!(download(&mut connection, length), length);
    proxy.stop();
}

fn early_response_ends_the_upload(driver: Driver) {
    let refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".to_vec();
    let origin = Origin::start(Answer::AtHead(refusal, Then::Keep));
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    connection.send(vec![0; 100_000]);
    let response = connection.response();
    assert_eq!((response.status(), response.text().as_str()), (413, "no"));
    assert!(connection.is_closed_by_peer());
    assert_eq!(Request::get("/").send(proxy.address()).status(), 413);
    proxy.stop();
}

fn both_directions_at_once(driver: Driver) {
    // The origin sends back what it receives while it receives it.
    let origin = Origin::start(Answer::script(|connection, _| {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n");
        let mut left = 8 << 20;
        let mut block = connection.reader.take_pending();
        while left > 0 {
            if block.is_empty() {
                block = vec![0; 64 << 10];
                let n = connection.stream.read(&mut block).unwrap_or(0);
                block.truncate(n);
            }
            if block.is_empty() || !connection.write(&block) {
                break;
            }
            left -= block.len();
            block.clear();
        }
        Then::Close
    }));
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    let mut writer = Connection::over(connection.stream().try_clone().expect("handle"));
    let sender = thread::spawn(move || upload(&mut writer, 8 << 20));
    assert_eq!(download(&mut connection, 8 << 20), 8 << 20);
    sender.join().expect("sender").expect("upload");
    proxy.stop();
}

/// An origin that starts a response and says when its connection has ended; it sends on until then if told to.
fn unfinished_origin(sends_on: bool) -> (Origin, mpsc::Receiver<()>) {
    let (ended, end) = mpsc::channel();
    let origin = Origin::start(Answer::script(move |connection, _| {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nstart");
        while sends_on && connection.write([b'x'; 1000]) {}
        // Blocks until the proxy closes.
        let mut rest = Vec::new();
        let _ = connection.stream.read_to_end(&mut rest);
        let _ = ended.send(());
        Then::Close
    }));
    (origin, end)
}

fn a_client_that_resets_ends_the_upstream_request(driver: Driver) {
    let (origin, end) = unfinished_origin(false);
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes()).read_head().expect("head");
    connection.reset();
    end.recv_timeout(PATIENCE).expect("the upstream connection to be closed");
    proxy.await_stat("http.test.downstream_rq_active", 0);
    proxy.await_stat("cluster.origin.upstream_rq_active", 0);
    proxy.stop();
}

/// A closed connection looks like a half-closed one until something is written to it.
fn a_client_that_goes_away_ends_the_upstream_request(driver: Driver) {
    let (origin, end) = unfinished_origin(true);
    let proxy = proxy_to(driver, &origin);
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes()).read_head().expect("head");
    drop(connection);
    end.recv_timeout(PATIENCE).expect("the upstream connection to be closed");
    proxy.await_stat("http.test.downstream_rq_active", 0);
    proxy.stop();
}

fn many_small_chunks(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let mut body = String::new();
    for i in 0..20_000 {
        body.push_str(&format!("1\r\n{}\r\n", i % 10));
    }
    let mut connection = Connection::open(proxy.address());
    connection
        .send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"));
    let echo = connection.response().json();
    assert_eq!(echo["body"].as_str().map(str::len), Some(20_000));
    proxy.stop();
}
