//! Targets that fail: each failure has its kind, results are kept, and the exit code says so.

use std::time::{Duration, Instant};

use ringway_test_support::origin::{BlackHole, RefusedPort};
use ringway_test_support::{Answer, Driver, Origin, Then, eventually};

use crate::run::{run, start, url};

on_both_drivers! {
    a_refused_connection_ends_the_run_at_once
    a_target_that_does_not_accept_times_out
    failures_are_told_apart
    an_unexpected_status_is_a_failure
    a_silent_target_times_out
    an_origin_that_dies_mid_run
    an_origin_that_comes_back
    a_count_against_a_dead_origin_ends
    an_interrupt_keeps_what_was_measured
}

fn a_refused_connection_ends_the_run_at_once(driver: Driver) {
    let refused = RefusedPort::take();
    let began = Instant::now();
    let ended = run(driver, &[&format!("http://127.0.0.1:{}/", refused.port), "-d", "30s", "-c", "3"]);
    assert_eq!(ended.code, Some(1));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(
        ended.stderr.contains("no connection to 127.0.0.1:") && ended.stderr.contains("refused"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.json["ending"], "no_connection");
    assert!(ended.errors("connect_refused") >= 3, "{}", ended.json["errors"]);
}

fn a_target_that_does_not_accept_times_out(driver: Driver) {
    let hole = BlackHole::open();
    let ended = run(
        driver,
        &[&format!("http://127.0.0.1:{}/", hole.port), "-d", "30s", "-c", "2", "--timeout", "200ms"],
    );
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert!(ended.errors("connect_timeout") >= 2, "{}", ended.json["errors"]);
}

fn failures_are_told_apart(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "fine"));
    origin.expect([
        Answer::Raw(Vec::new(), Then::Reset),
        Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc".to_vec(), Then::Close),
        Answer::Raw(b"what is this?\r\n\r\n".to_vec(), Then::Keep),
        Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".to_vec(), Then::Keep),
    ]);
    let ended = run(driver, &[&url(&origin, "/"), "-n", "10", "-c", "1"]);
    assert_eq!(ended.code, Some(1));
    let expected = serde_json::json!({"reset": 1, "closed_early": 1, "malformed": 2});
    assert_eq!((&ended.json["errors"], ended.number("/answered")), (&expected, 6.0), "{}", ended.said());
    assert!(ended.stderr.contains("4 requests failed"), "{}", ended.stderr);
}

fn an_unexpected_status_is_a_failure(driver: Driver) {
    let origin = Origin::start(Answer::status(404, "", "no"));
    let ended = run(driver, &[&url(&origin, "/"), "-n", "10", "-c", "1"]);
    assert_eq!((ended.code, ended.errors("unexpected_status")), (Some(1), 10));
    assert_eq!((ended.number("/statuses/404"), ended.number("/answered")), (10.0, 0.0));
    let ended = run(driver, &[&url(&origin, "/"), "-n", "10", "-c", "1", "--expect", "2xx,404"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 10.0));
}

fn a_silent_target_times_out(driver: Driver) {
    let origin = Origin::start(Answer::Raw(Vec::new(), Then::Keep));
    let ended = run(driver, &[&url(&origin, "/"), "-n", "3", "-c", "3", "--timeout", "300ms"]);
    assert_eq!((ended.code, ended.errors("timeout")), (Some(1), 3), "{}", ended.said());
    assert!(ended.stderr.contains("no request was answered"), "{}", ended.stderr);
}

fn an_origin_that_dies_mid_run(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "fine"));
    let running = start(driver, &[&url(&origin, "/"), "-d", "2s", "-c", "2"]);
    eventually("some answers", || (origin.request_count() > 50).then_some(()));
    drop(origin);
    let ended = running.end();
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert!(ended.number("/answered") > 40.0 && ended.errors("connect_refused") > 0, "{}", ended.said());
    assert_eq!(ended.json["ending"], "complete");
}

fn an_origin_that_comes_back(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "fine"));
    let running = start(driver, &[&url(&origin, "/"), "-n", "2000", "-c", "2"]);
    eventually("some answers", || (origin.request_count() > 50).then_some(()));
    origin.close_connections();
    let ended = running.end();
    assert!((1_990.0..=2_000.0).contains(&ended.number("/answered")), "{}", ended.said());
    assert!(origin.accepted() >= 4);
}

fn a_count_against_a_dead_origin_ends(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "fine"));
    let arguments = [&url(&origin, "/"), "-n", "100m", "-c", "2", "--timeout", "500ms"];
    let running = start(driver, &arguments);
    eventually("some answers", || (origin.request_count() > 50).then_some(()));
    drop(origin);
    let ended = running.end();
    assert_eq!((ended.code, &ended.json["ending"]), (Some(1), &"no_connection".into()), "{}", ended.said());
    assert!(ended.number("/answered") > 40.0);
    assert!(ended.stderr.contains("takes no connections any more"), "{}", ended.stderr);
}

fn an_interrupt_keeps_what_was_measured(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "fine"));
    let running = start(driver, &[&url(&origin, "/"), "-d", "5m", "-c", "2"]);
    eventually("some answers", || (origin.request_count() > 50).then_some(()));
    running.signal("INT");
    let ended = running.end();
    assert_eq!((ended.code, &ended.json["ending"]), (Some(1), &"interrupted".into()), "{}", ended.said());
    assert!(ended.number("/answered") > 40.0 && ended.number("/elapsed_s") < 60.0);
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
}
