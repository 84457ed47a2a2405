//! HTTP/2: many streams, bodies both ways, gRPC's statuses, and targets that reset streams or say GOAWAY.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use ringway_test_support::Driver;

use crate::run::{Running, run, start_bare};

on_both_drivers! {
    streams_are_answered
    bodies_pass_both_ways
    calls_of_grpc_have_a_status
    an_open_loop_over_streams
    a_new_connection_for_each_request
    resets_and_goaway_are_told_apart
    a_stream_that_takes_too_long_leaves_the_others
    what_is_not_http2_is_malformed
    idle_connections_can_be_held
}

/// The bundled origin, and its address.
fn origin(driver: Driver) -> (Running, String) {
    let mut origin = start_bare(&["origin", "--listen", "127.0.0.1:0", "--io-driver", driver.as_str()]);
    let address = origin.first_line().rsplit(' ').next().expect("an address").to_owned();
    (origin, address)
}

fn streams_are_answered(driver: Driver) {
    let (_origin, address) = origin(driver);
    let ended =
        run(driver, &[&format!("http://{address}/"), "--http2", "-s", "100", "-c", "3", "-n", "5000"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 5_000.0), "{}", ended.said());
    assert_eq!(
        (ended.number("/connections_opened"), &ended.json["plan"]["protocol"]),
        (3.0, &"http2".into())
    );
    assert!(ended.stdout.contains("HTTP/2 with 100 streams on each"), "{}", ended.stdout);
    let status = run(
        driver,
        &[&format!("http://{address}/status/404"), "--http2", "-n", "5", "-c", "1", "--expect", "404"],
    );
    assert_eq!((status.code, status.number("/statuses/404")), (Some(0), 5.0), "{}", status.said());
}

fn bodies_pass_both_ways(driver: Driver) {
    let (_origin, address) = origin(driver);
    let big = format!("http://{address}/bytes/300000");
    let ended = run(driver, &[&big, "--http2", "-s", "4", "-c", "2", "-n", "60", "--body-size", "200k"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 60.0), "{}", ended.said());
    assert!(ended.number("/received_bytes") > 18e6 && ended.number("/sent_bytes") > 12e6);
    let head = run(driver, &[&big, "--http2", "-m", "HEAD", "-c", "1", "-n", "5"]);
    assert_eq!(head.code, Some(0), "{}", head.said());
    assert!(head.number("/received_bytes") < 10_000.0);
}

fn calls_of_grpc_have_a_status(driver: Driver) {
    let (_origin, address) = origin(driver);
    let url = format!("http://{address}/service/Method");
    let call = ["--http2", "-s", "8", "-c", "1", "-n", "100", "--body-size", "50"];
    let ended = run(driver, &[&[&*url, "-H", "content-type: application/grpc"], &call[..]].concat());
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 100.0), "{}", ended.said());
    // An answer without gRPC's status is no success of a call.
    let (target, _server) = scripted(vec![head_frame(1, 5)]);
    let refused =
        run(driver, &[&target, "--http2", "-n", "1", "-c", "1", "-H", "content-type: application/grpc"]);
    assert_eq!((refused.code, refused.errors("unexpected_status")), (Some(1), 1), "{}", refused.said());
}

fn an_open_loop_over_streams(driver: Driver) {
    let (_origin, address) = origin(driver);
    let url = format!("http://{address}/delay/20");
    // 200 a second for 20 ms each are 4 at a time, and one connection is enough for them.
    let ended = run(driver, &[&url, "--http2", "-s", "50", "-c", "1", "-r", "200", "-d", "1s"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 200.0), "{}", ended.said());
    assert!(ended.number("/latency/percentiles_ns/p50") >= 20e6, "{}", ended.said());
}

fn a_new_connection_for_each_request(driver: Driver) {
    let (_origin, address) = origin(driver);
    let url = format!("http://{address}/");
    let ended = run(driver, &[&url, "--http2", "-c", "3", "-n", "60", "--new-connection"]);
    assert_eq!((ended.code, ended.number("/connect_time/count")), (Some(0), 60.0), "{}", ended.said());
}

fn resets_and_goaway_are_told_apart(driver: Driver) {
    // Of four streams the first is answered, the second reset, and the others lie behind the last of GOAWAY.
    let (target, _server) = scripted(vec![head_frame(1, 5), reset_frame(3), goaway_frame(3)]);
    let ended = run(driver, &[&target, "--http2", "-s", "4", "-c", "1", "-n", "4", "--timeout", "5s"]);
    let expected = serde_json::json!({"stream_reset": 1, "not_processed": 2});
    assert_eq!((ended.code, ended.number("/answered")), (Some(1), 1.0), "{}", ended.said());
    assert_eq!(ended.json["errors"], expected);
}

fn a_stream_that_takes_too_long_leaves_the_others(driver: Driver) {
    let (origin, address) = origin(driver);
    let list = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(list.path(), "/delay/30000\n/\n/\n/\n").expect("written");
    let (url, file) = (format!("http://{address}/"), list.path().display().to_string());
    let ended = run(
        driver,
        &[&url, "--urls", &file, "--http2", "-s", "5", "-c", "1", "-n", "5", "--timeout", "300ms"],
    );
    assert_eq!((ended.code, ended.errors("timeout")), (Some(1), 1), "{}", ended.said());
    assert_eq!(
        (ended.number("/answered"), ended.number("/connections_opened")),
        (4.0, 1.0),
        "{}",
        ended.said()
    );
    drop(origin);
}

fn what_is_not_http2_is_malformed(driver: Driver) {
    let (target, _server) = scripted(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]);
    let ended = run(driver, &[&target, "--http2", "-n", "2", "-s", "2", "-c", "1", "--timeout", "5s"]);
    assert_eq!((ended.code, ended.errors("malformed")), (Some(1), 2), "{}", ended.said());
}

fn idle_connections_can_be_held(driver: Driver) {
    let (_origin, address) = origin(driver);
    let url = format!("http://{address}/");
    let ended = run(driver, &[&url, "--http2", "--hold-idle", "20", "--first-request", "-d", "300ms"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 20.0), "{}", ended.said());
    assert_eq!(ended.number("/still_open"), 20.0);
}

/// A target that accepts one connection, says SETTINGS, and these frames once a request has come; then it reads on until
/// the client has enough.
fn scripted(frames: Vec<Vec<u8>>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        client.write_all(&frame(4, 0, 0, &[])).expect("open");
        await_headers(&mut client);
        for bytes in frames {
            client.write_all(&bytes).expect("open");
        }
        let mut rest = Vec::new();
        // It may end with a reset.
        let _ = client.shutdown(Shutdown::Write).and_then(|()| client.read_to_end(&mut rest));
    });
    (url, server)
}

/// Reads until the first requests have come: they are sent together, behind the preface.
fn await_headers(client: &mut TcpStream) {
    const PREFACE_BYTES: usize = 24;
    let (mut seen, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let count = client.read(&mut piece).expect("readable");
        assert!(count > 0, "the client ended before it asked");
        seen.extend_from_slice(&piece[..count]);
        let mut rest = seen.get(PREFACE_BYTES..).unwrap_or_default();
        while let [a, b, c, kind, _, _, _, _, _, ..] = *rest {
            if kind == 1 {
                return;
            }
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            rest = rest.get(9 + length..).unwrap_or_default();
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// `:status: 200`, by the static table.
fn head_frame(stream: u32, flags: u8) -> Vec<u8> {
    frame(1, flags, stream, &[0x88])
}

/// RST_STREAM with INTERNAL_ERROR.
fn reset_frame(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &2_u32.to_be_bytes())
}

/// GOAWAY with NO_ERROR.
fn goaway_frame(last: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}
