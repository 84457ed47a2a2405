//! Back-pressure over HTTP/2: who does not read stops the sender on the other side of the proxy, in bounded memory, and
//! only on the streams concerned.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringway_test_support::config::Http;
use ringway_test_support::h2::{Endpoint, H2Connection, H2Origin, error_code, setting};
use ringway_test_support::stream::Stream;
use ringway_test_support::{Answer, Driver, Origin, Proxy, Server, Then, eventually, procfs};

use super::{H2_CLUSTER, QUICK, before_http1, before_http2};

on_both_drivers! {
    a_stalled_download_does_not_stall_its_siblings a_stalled_upload_does_not_stall_its_siblings
    a_download_stops_when_the_client_opens_no_window many_stalled_downloads_in_bounded_memory
    an_upload_stops_when_the_origin_does_not_read large_bodies_in_bounded_memory single_bytes_in_bounded_memory
    a_client_that_never_reads_its_response_is_reset a_window_that_shrinks_and_grows streams_take_turns
}

/// What the proxy's memory may grow by: an unoptimised build and the allocator's slack are in it.
const MAX_GROWTH_BYTES: u64 = 16 << 20;

/// A window that no test fills.
const WIDE: u32 = 0x7fff_ffff - 65_535;

/// An origin whose responses never end; counts the bytes that it could write.
fn endless_origin(sent: &Arc<AtomicU64>) -> Origin {
    let sent = sent.clone();
    Origin::start(Answer::script(move |connection, request| {
        if request.target() == "/short" {
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshort");
            return Then::Keep;
        }
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        let block = [b'x'; 65_536];
        while let Ok(length) = connection.stream.write(&block) {
            sent.fetch_add(length as u64, Ordering::SeqCst);
        }
        Then::Close
    }))
}

/// Waits until a number does not grow any more, and gives it.
fn settled(number: &AtomicU64) -> u64 {
    let (mut last, mut since) = (number.load(Ordering::SeqCst), Instant::now());
    eventually("a number to stand still", || {
        let now = number.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(500)).then_some(last)
    })
}

/// Small buffers on both sides.
fn narrow(driver: Driver, port: u16, cluster: &str) -> Proxy {
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin, timeout: 0s}").hcm(QUICK);
    let http = http.listener("per_connection_buffer_limit_bytes: 32768");
    let cluster = format!("per_connection_buffer_limit_bytes: 32768\n{cluster}");
    Server::ringway(driver).start(&http.cluster("origin", port, &cluster).yaml())
}

fn a_stalled_download_does_not_stall_its_siblings(driver: Driver) {
    let sent = Arc::default();
    let origin = endless_origin(&sent);
    let proxy = narrow(driver, origin.port(), "");
    let mut client = H2Connection::open(proxy.address());
    client.opens_windows = false;
    client.window_update(0, WIDE);
    let stalled: Vec<u32> = (0..10).map(|_| client.get("/")).collect();
    for stream in &stalled {
        client.until("a full window", |endpoint| endpoint.stream(*stream).body.len() == 65_535);
    }
    for _ in 0..50 {
        assert_eq!(client.fetch("/short").text(), "short");
    }
    // A sibling that reads gets far beyond one window.
    let stream = client.get("/");
    client.until("a body", |endpoint| {
        let length = endpoint.stream(stream).body.len();
        endpoint.window_update(stream, 16_384);
        length > 1_000_000
    });
    for stream in &stalled {
        assert_eq!(client.stream(*stream).body.len(), 65_535, "more than the window allows");
    }
    drop(client);
    proxy.stop();
}

/// The streams share the connection to the client and the one to the origin.
fn a_stalled_upload_does_not_stall_its_siblings(driver: Driver) {
    let origin = H2Origin::scripted(&[], |connection, _| {
        connection.opens_windows = false;
        connection.window_update(0, WIDE);
        while let Ok(frame) = connection.read_frame() {
            let request = connection.stream(frame.stream);
            if request.ended {
                connection.streams.remove(&frame.stream);
                connection.headers(frame.stream, &[(":status", "200")], true);
            }
        }
    });
    let proxy = narrow(driver, origin.port(), H2_CLUSTER);
    let mut client = H2Connection::open(proxy.address());
    let stalled: Vec<u32> = (0..10).map(|_| client.post("/")).collect();
    for stream in &stalled {
        // More than the origin's window and what the proxy holds of a stream.
        client.send_body(*stream, &[b'x'; 600_000], false);
    }
    for _ in 0..50 {
        let stream = client.upload("/", b"short");
        assert_eq!(client.response(stream).status(), 200);
    }
    assert_eq!(origin.accepted(), 1);
    drop(client);
    proxy.stop();
}

fn a_download_stops_when_the_client_opens_no_window(driver: Driver) {
    let sent = Arc::default();
    let origin = endless_origin(&sent);
    let proxy = narrow(driver, origin.port(), "");
    let before = procfs::rss_bytes(proxy.pid());
    let mut client = H2Connection::open(proxy.address());
    client.opens_windows = false;
    let stream = client.get("/");
    client.until("a full window", |endpoint| endpoint.stream(stream).body.len() == 65_535);
    let most = settled(&sent);
    // The kernel's buffers between proxy and origin are in it.
    assert!(most < 16 << 20, "{most} bytes were taken from the origin for 65535 that were read");
    let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
    assert!(proxy.stat("cluster.origin.upstream_flow_control_paused_reading_total") > 0);
    // It goes on where it stopped.
    client.opens_windows = true;
    client.window_update(0, 65_535);
    client.window_update(stream, 65_535);
    client.until("more", |endpoint| endpoint.stream(stream).body.len() > 5_000_000);
    drop(client);
    proxy.await_stat("http.test.downstream_rq_active", 0);
    proxy.stop();
}

fn many_stalled_downloads_in_bounded_memory(driver: Driver) {
    let sent = Arc::default();
    let origin = endless_origin(&sent);
    let proxy = narrow(driver, origin.port(), "");
    let before = procfs::rss_bytes(proxy.pid());
    let mut client = H2Connection::open(proxy.address());
    client.opens_windows = false;
    let streams: Vec<u32> = (0..200).map(|_| client.get("/")).collect();
    client.flush();
    for stream in &streams {
        client.until("a head", |endpoint| endpoint.stream(*stream).status() == 200);
    }
    settled(&sent);
    // 32 KiB of a response in the codec, as much before it, and blocks that are only partly used. A multishot receive of
    // io_uring takes up to 32 blocks at once, whatever the limit is.
    let each = if driver == Driver::Ring { 700 * 1024 } else { 160 * 1024 };
    let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(growth < 200 * each + MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
    // Other clients do not notice.
    assert_eq!(H2Connection::open(proxy.address()).fetch("/short").text(), "short");
    drop(client);
    proxy.await_stat("http.test.downstream_rq_active", 0);
    proxy.await_stat("cluster.origin.upstream_rq_active", 0);
    proxy.stop();
}

fn an_upload_stops_when_the_origin_does_not_read(driver: Driver) {
    let h1 = Origin::start(Answer::AtHead(Vec::new(), Then::Stall));
    let h2 = H2Origin::scripted(&[], |connection, _| {
        connection.opens_windows = false;
        while connection.read_frame().is_ok() {}
    });
    for (port, cluster) in [(h1.port(), ""), (h2.port(), H2_CLUSTER)] {
        let proxy = narrow(driver, port, cluster);
        let before = procfs::rss_bytes(proxy.pid());
        let mut client = H2Connection::open(proxy.address());
        let stream = client.post("/");
        let mut sent = 0;
        let block = vec![b'x'; 1 << 20];
        // Whoever has no window for half a second will get none.
        client.stream.set_read_timeout(Some(Duration::from_millis(500))).expect("timeout");
        while sent < 256 << 20 {
            let taken = client.data_within_windows(stream, &block, false);
            sent += taken;
            assert!(client.flush(), "the proxy does not read");
            if taken < block.len() && client.read_frame().is_err() {
                break;
            }
        }
        // The window of the stream, the kernel's buffers to the origin, and what the proxy holds.
        assert!(sent < 40 << 20, "{sent} bytes were taken");
        assert!(sent >= 16 << 20, "{sent} bytes are less than the window");
        let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
        assert!(growth < 40 << 20, "memory grew by {growth} bytes");
        drop(client);
        proxy.await_stat("http.test.downstream_rq_active", 0);
        proxy.stop();
    }
}

/// 128 MiB down and up at once, by both kinds of origin.
fn large_bodies_in_bounded_memory(driver: Driver) {
    const LENGTH: usize = 64 << 20;
    let h1 = Origin::start(Answer::script(|connection, _| {
        let mut left = LENGTH - connection.reader.take_pending().len();
        let mut block = vec![0; 65_536];
        while left > 0 {
            match connection.stream.read(&mut block) {
                Ok(length) if length > 0 => left -= length,
                _ => return Then::Close,
            }
        }
        connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n"));
        for _ in 0..LENGTH / block.len() {
            connection.write(&block);
        }
        Then::Keep
    }));
    let h2 = H2Origin::start(|connection, stream, request| {
        assert_eq!(request.body.len(), LENGTH);
        connection.headers(stream, &[(":status", "200")], false);
        connection.send_body(stream, &request.body, true);
    });
    for (port, cluster) in [(h1.port(), ""), (h2.port(), H2_CLUSTER)] {
        let windows = "initial_stream_window_size: 1048576\n    initial_connection_window_size: 1048576";
        let hcm = format!("http2_protocol_options:\n    {windows}");
        let cluster = cluster.replace("http2_protocol_options: {}", "http2_protocol_options: {initial_stream_window_size: 1048576, initial_connection_window_size: 1048576}");
        let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin, timeout: 0s}").hcm(QUICK);
        let http = http.hcm(&hcm).listener("per_connection_buffer_limit_bytes: 32768");
        let proxy = Server::ringway(driver).start(&http.cluster("origin", port, &cluster).yaml());
        let before = procfs::rss_bytes(proxy.pid());
        let mut client = H2Connection::open_with(proxy.address(), &[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
        client.window_update(0, 1 << 20);
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
            ("content-length", &*LENGTH.to_string()),
        ];
        let stream = client.open(&fields, false);
        client.send_body(stream, &vec![0; LENGTH], true);
        let response = client.response(stream);
        assert_eq!((response.status(), response.body.len()), (200, LENGTH));
        // Two windows of 1 MiB on each side, and the bursts of both drivers.
        let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
        assert!(growth < 24 << 20, "memory grew by {growth} bytes");
        proxy.stop();
    }
}

/// A body of single bytes that nobody takes: what is held is in proportion to it (CVE-2020-8659 and its kin).
fn single_bytes_in_bounded_memory(driver: Driver) {
    let origin = Origin::start(Answer::AtHead(Vec::new(), Then::Stall));
    let proxy = narrow(driver, origin.port(), "");
    let before = procfs::rss_bytes(proxy.pid());
    let mut client = H2Connection::open(proxy.address());
    let stream = client.post("/");
    for _ in 0..500 {
        for _ in 0..1_000 {
            client.data(stream, "x", false);
        }
        assert!(client.flush());
    }
    client.sync();
    let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before);
    assert!(growth < 8 << 20, "memory grew by {growth} bytes for 500,000");
    drop(client);
    proxy.stop();
}

fn a_client_that_never_reads_its_response_is_reset(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", &"x".repeat(100_000)));
    let http = Http::to_origin(origin.port()).hcm(QUICK).hcm("stream_flush_timeout: 0.2s");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut client = H2Connection::open(proxy.address());
    client.opens_windows = false;
    let stream = client.get("/");
    let response = client.response(stream);
    assert_eq!((response.body.len(), response.ended), (65_535, false));
    assert!(response.reset.is_some());
    assert_eq!(proxy.stat("http2.tx_flush_timeout"), 1);
    // Those who read slowly are not concerned.
    client.window_update(0, 200_000);
    let stream = client.get("/");
    for _ in 0..8 {
        client.sync();
        std::thread::sleep(Duration::from_millis(100));
        client.window_update(stream, 5_000);
    }
    let response = client.response(stream);
    assert_eq!((response.body.len(), response.ended), (100_000, true));
    assert_eq!(proxy.stat("http2.tx_flush_timeout"), 1);
    proxy.stop();
}

/// SETTINGS may make windows smaller than what is under way (RFC 9113 section 6.9.2).
fn a_window_that_shrinks_and_grows(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", &"x".repeat(100_000)));
    let proxy = before_http1(driver, origin.port());
    let mut client = H2Connection::open(proxy.address());
    client.opens_windows = false;
    client.window_update(0, WIDE);
    let stream = client.get("/");
    client.until("a full window", |endpoint| endpoint.stream(stream).body.len() == 65_535);
    client.settings(&[(setting::INITIAL_WINDOW_SIZE, 10)]);
    // The window is 10 - 65,535 now: this opens it by one byte.
    client.window_update(stream, 65_526);
    client.until("one more byte", |endpoint| endpoint.stream(stream).body.len() == 65_536);
    client.sync();
    assert_eq!(client.stream(stream).body.len(), 65_536);
    client.settings(&[(setting::INITIAL_WINDOW_SIZE, 100_000)]);
    assert_eq!(client.response(stream).body.len(), 100_000);
    // Beyond 2^31 - 1 it is an error: of the stream, and of the connection.
    let stream = client.get("/");
    client.window_update(stream, 0x7fff_ffff);
    assert_eq!(client.response(stream).reset, Some(error_code::FLOW_CONTROL_ERROR));
    client.window_update(0, 0x7fff_ffff);
    assert_eq!(client.end_code(), Some(error_code::FLOW_CONTROL_ERROR));
    proxy.stop();
}

/// Streams of one connection share it evenly: none has to wait for all of another one.
fn streams_take_turns(driver: Driver) {
    let h2 = H2Origin::start(|connection, stream, _| {
        connection.headers(stream, &[(":status", "200")], false);
        connection.send_body(stream, &[b'x'; 400_000], true);
    });
    let proxy = before_http2(driver, h2.port());
    let stream = Stream::connect(proxy.address()).expect("connected");
    let settings = [(setting::INITIAL_WINDOW_SIZE, 1 << 20)];
    let mut client = H2Connection::over(stream, Endpoint::client(&settings));
    client.opens_windows = false;
    let streams: Vec<u32> = (0..4).map(|_| client.get("/")).collect();
    client.flush();
    // All of them have come to the proxy when it may send: it serves them in turns.
    client.until("the windows' end", |endpoint| {
        streams.iter().map(|stream| endpoint.stream(*stream).body.len()).sum::<usize>() == 65_535
    });
    proxy.await_stat("http.test.downstream_rq_active", 0);
    client.window_update(0, 800_000);
    client.until("half of all", |endpoint| {
        streams.iter().map(|stream| endpoint.stream(*stream).body.len()).sum::<usize>() == 865_535
    });
    let lengths: Vec<usize> = streams.iter().map(|stream| client.stream(*stream).body.len()).collect();
    let (least, most) = (lengths.iter().min().copied(), lengths.iter().max().copied());
    assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 2 * 65_536, "not in turns: {lengths:?}");
    client.window_update(0, 800_000);
    for stream in streams {
        assert_eq!(client.response(stream).body.len(), 400_000);
    }
    proxy.stop();
}
