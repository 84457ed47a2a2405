//! Open loop, pipelining, new connections, held connections, warm-up, threads, and the bundled servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringway_test_support::{Answer, Driver, Origin, Then, eventually};

use crate::run::{run, start, start_bare, url};

on_both_drivers! {
    a_stalled_server_cannot_hide_from_an_open_loop
    an_open_loop_keeps_its_rate
    random_arrivals_keep_the_rate_on_average
    what_could_not_be_sent_is_counted
    a_new_connection_for_each_request
    pipelined_requests_are_answered_in_order
    the_warm_up_does_not_count
    several_threads_share_the_work
    held_connections_that_the_server_closes
    held_connections_that_stay
    held_connections_that_are_refused
    origin_and_relay_work_together
}

fn a_stalled_server_cannot_hide_from_an_open_loop(driver: Driver) {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(Answer::script(move |connection, request| {
        let _ = connection.read_body(request);
        if count.fetch_add(1, Ordering::SeqCst) == 100 {
            std::thread::sleep(Duration::from_secs(1));
        }
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        Then::Keep
    }));
    let ended = run(driver, &[&url(&origin, "/"), "-r", "200", "-d", "2s", "-c", "1"]);
    assert_eq!(ended.number("/answered") + ended.number("/failed"), 400.0, "{}", ended.said());
    // For a second nothing was answered: of 400 requests half waited, a quarter for more than half of it.
    let (latency, service) =
        (ended.number("/latency/percentiles_ns/p75"), ended.number("/service_time/percentiles_ns/p75"));
    assert!(latency > 250e6, "{latency}");
    assert!(service < 250e6, "{service}");
    assert!(ended.number("/waited_for_connection") > 100.0);
}

fn an_open_loop_keeps_its_rate(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", ""));
    let ended = run(driver, &[&url(&origin, "/"), "-r", "500", "-d", "2s", "-c", "20"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 1_000.0), "{}", ended.said());
    assert!((430.0..=501.0).contains(&ended.number("/requests_per_second")));
    assert!(ended.number("/schedule_lag/count") > 0.0);
}

fn random_arrivals_keep_the_rate_on_average(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", ""));
    let ended =
        run(driver, &[&url(&origin, "/"), "-r", "500", "--arrivals", "poisson", "-d", "2s", "-c", "20"]);
    assert!((850.0..=1_150.0).contains(&ended.number("/answered")), "{}", ended.said());
    assert_eq!(ended.json["plan"]["arrivals"], "poisson");
}

fn what_could_not_be_sent_is_counted(driver: Driver) {
    let origin = Origin::start(Answer::Raw(Vec::new(), Then::Keep));
    let ended = run(driver, &[&url(&origin, "/"), "-r", "100", "-d", "1s", "-c", "1", "--timeout", "400ms"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.number("/failed"),
        100.0,
        "every scheduled request has an outcome: {}",
        ended.json["errors"]
    );
    assert!(ended.errors("timeout") >= 2 && ended.errors("not_sent") >= 50, "{}", ended.json["errors"]);
}

fn a_new_connection_for_each_request(driver: Driver) {
    let origin = Origin::start(Answer::Raw(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx".into(),
        Then::Close,
    ));
    let ended = run(driver, &[&url(&origin, "/"), "-n", "60", "-c", "3", "--new-connection"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 60.0), "{}", ended.said());
    assert_eq!((origin.accepted(), ended.number("/connect_time/count")), (60, 60.0));
    assert!(origin.take_requests().iter().all(|request| request.header("connection") == Some("close")));
}

fn pipelined_requests_are_answered_in_order(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let ended = run(driver, &[&url(&origin, "/"), "-n", "300", "-c", "2", "--pipeline", "16"]);
    assert_eq!(
        (ended.code, ended.number("/answered"), origin.accepted()),
        (Some(0), 300.0, 2),
        "{}",
        ended.said()
    );
}

fn the_warm_up_does_not_count(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let ended = run(driver, &[&url(&origin, "/"), "--warm-up", "500ms", "-d", "500ms", "-c", "1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let (answered, sent) = (ended.number("/answered"), origin.request_count() as f64);
    assert!(answered > 0.0 && answered < sent, "{answered} of {sent}");
    assert!((0.4..1.5).contains(&ended.number("/elapsed_s")));
}

fn several_threads_share_the_work(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let arguments = [&url(&origin, "/"), "-t", "3", "-n", "100", "-c", "7", "--io-driver", driver.as_str()];
    let ended = start_bare(&[&arguments[..], &["--json", "{dir}/results.json"]].concat()).end();
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 100.0), "{}", ended.said());
    assert_eq!((origin.accepted(), origin.request_count()), (7, 100));
}

fn held_connections_that_the_server_closes(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let running = start(driver, &[&url(&origin, "/"), "--hold-idle", "40", "--first-request", "-d", "30s"]);
    eventually("all connections", || (origin.request_count() == 40).then_some(()));
    origin.close_connections();
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!((ended.number("/opened"), ended.number("/answered")), (40.0, 40.0));
    assert_eq!(
        (ended.number("/closed_by_server"), ended.number("/still_open")),
        (40.0, 0.0),
        "{}",
        ended.said()
    );
    assert!(ended.stdout.contains("closed by the server while idle; age at the end"), "{}", ended.stdout);
}

fn held_connections_that_stay(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let pid = std::process::id().to_string();
    let arguments = [&url(&origin, "/"), "--hold-idle", "30", "-d", "300ms", "--server-pid", &pid];
    let ended = run(driver, &[&arguments[..], &["--html", "{dir}/held.html"]].concat());
    assert_eq!((ended.code, ended.number("/still_open")), (Some(0), 30.0), "{}", ended.said());
    assert_eq!((origin.accepted(), origin.request_count()), (30, 0));
    assert!(ended.number("/server_memory/all_open_bytes") > 100_000.0);
    let page = std::fs::read_to_string(ended.directory.path().join("held.html")).expect("a page");
    assert!(page.contains("Open connections over time") && page.contains("<svg") && !page.contains("NaN"));
}

fn held_connections_that_are_refused(driver: Driver) {
    let refused = ringway_test_support::origin::RefusedPort::take();
    let ended =
        run(driver, &[&format!("http://127.0.0.1:{}/", refused.port), "--hold-idle", "5", "-d", "30s"]);
    assert_eq!((ended.code, ended.errors("connect_refused")), (Some(1), 5), "{}", ended.said());
    assert!(ended.stderr.contains("refused"), "{}", ended.stderr);
}

fn origin_and_relay_work_together(driver: Driver) {
    let mut origin = start_bare(&["origin", "--listen", "127.0.0.1:0", "--io-driver", driver.as_str()]);
    let origin_address = origin.first_line().rsplit(' ').next().expect("an address").to_owned();
    let mut relay = start_bare(&[
        "relay",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &origin_address,
        "--io-driver",
        driver.as_str(),
    ]);
    let relay_address = relay.first_line().rsplit(' ').next().expect("an address").to_owned();
    let big = format!("http://{relay_address}/bytes/1000000");
    let ended = run(driver, &[&big, "-n", "20", "-c", "2", "--body-size", "300k"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 20.0), "{}", ended.said());
    assert!(ended.number("/received_bytes") > 20e6);
    let status = run(
        driver,
        &[&format!("http://{relay_address}/status/418"), "-n", "2", "-c", "1", "--expect", "418"],
    );
    assert_eq!(status.code, Some(0), "{}", status.said());
    for server in [relay, origin] {
        server.signal("TERM");
        assert_eq!(server.end().code, Some(0));
    }
}
