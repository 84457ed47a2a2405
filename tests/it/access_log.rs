//! Access logs as they reach files and streams: `configs/access-logs.yaml`.

use std::path::{Path, PathBuf};

use ringway_test_support::process::read_file;
use ringway_test_support::{
    Answer, Config, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually,
};

on_both_drivers! { every_sink_gets_its_lines sigusr1_reopens_files reopen_logs_reopens_files nothing_is_lost_at_the_end failures_have_flags }

fn start(driver: Driver, origin: &Origin, directory: &Path) -> Proxy {
    let config = Config::file("access-logs.yaml")
        .port(8001, origin.port())
        .replace("/tmp/ringway-access", &directory.join("access").display().to_string());
    Server::ringway(driver).arg("--file-flush-interval-msec").arg("20").start(config.as_str())
}

fn await_line(path: &Path, part: &str) -> String {
    eventually(&format!("a line with {part:?} in {}", path.display()), || {
        read_file(path).lines().find(|line| line.contains(part)).map(str::to_string)
    })
}

fn paths(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("access.log"), directory.join("access.json"))
}

fn every_sink_gets_its_lines(driver: Driver) {
    let directory = tempfile::tempdir().expect("directory");
    let (text, json) = paths(directory.path());
    let origin = Origin::start(Answer::status(200, "", "seven b"));
    let proxy = start(driver, &origin, directory.path());
    Request::post("/a?b", "12345").host("log.test").header("User-Agent", "me \"q\"").send(proxy.address());
    Request::get("/missing").send(proxy.address());
    let line = await_line(&text, "/a?b");
    let after = line.split_once("] ").expect("time").1;
    let upstream = format!("\"127.0.0.1:{}\"", origin.port());
    assert!(after.starts_with("\"POST /a?b HTTP/1.1\" 200 - 5 7 "), "{line}");
    assert!(after.ends_with(&format!("\"log.test\" {upstream}")), "{line}");
    let line = await_line(&json, "/a?b");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!((value["status"].as_u64(), value["method"].as_str()), (Some(200), Some("POST")), "{line}");
    assert_eq!(value["bytes"]["sent"], 7);
    assert_eq!(value["agent"], "me \"q\"");
    eventually("standard output", || {
        (proxy.stdout().contains("out POST /a?b 200\n") && proxy.stdout().contains("out GET /missing 404\n"))
            .then_some(())
    });
    eventually("standard error", || proxy.stderr().contains("failed /missing 404 -\n").then_some(()));
    assert!(!proxy.stderr().contains("failed /a?b"));
    proxy.stop();
}

/// Moves the files away, has them reopened, and sees new lines in new files only.
fn reopens(driver: Driver, reopen: impl Fn(&Proxy)) {
    let directory = tempfile::tempdir().expect("directory");
    let (text, _) = paths(directory.path());
    let origin = Origin::echo();
    let proxy = start(driver, &origin, directory.path());
    Request::get("/before").send(proxy.address());
    await_line(&text, "/before");
    let moved = directory.path().join("moved");
    std::fs::rename(&text, &moved).expect("move");
    reopen(&proxy);
    eventually("the new file", || text.exists().then_some(()));
    Request::get("/after").send(proxy.address());
    await_line(&text, "/after");
    assert!(!read_file(&text).contains("/before"));
    assert!(!read_file(&moved).contains("/after"));
    proxy.stop();
}

fn sigusr1_reopens_files(driver: Driver) {
    reopens(driver, |proxy| proxy.signal(libc::SIGUSR1));
}

fn reopen_logs_reopens_files(driver: Driver) {
    reopens(driver, |proxy| assert_eq!(proxy.admin_post("/reopen_logs").text(), "OK\n"));
}

fn nothing_is_lost_at_the_end(driver: Driver) {
    let directory = tempfile::tempdir().expect("directory");
    let (text, json) = paths(directory.path());
    let origin = Origin::echo();
    let proxy = start(driver, &origin, directory.path());
    let mut connection = Connection::open(proxy.address());
    for i in 0..500 {
        Request::get(&format!("/line/{i}")).send_on(&mut connection).expect("response");
    }
    drop(connection);
    proxy.stop();
    for path in [text, json] {
        let content = read_file(&path);
        assert_eq!(content.lines().count(), 500, "{}", path.display());
        assert!(content.ends_with('\n'));
    }
}

fn failures_have_flags(driver: Driver) {
    let directory = tempfile::tempdir().expect("directory");
    let origin = Origin::echo();
    let proxy = start(driver, &origin, directory.path());
    origin.expect([Answer::Raw(b"nonsense\r\n\r\n".to_vec(), Then::Close)]);
    Request::post("/bad", "x").send(proxy.address());
    eventually("the flag of a protocol error", || {
        proxy.stderr().contains("failed /bad 502 UPE\n").then_some(())
    });
    proxy.stop();
}
