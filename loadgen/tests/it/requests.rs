//! What is sent, and which answers are understood.

use ringway_test_support::{Answer, Driver, Origin, Then};

use crate::run::{run, url};

on_both_drivers! {
    a_count_is_kept_to_the_request
    several_urls_take_turns
    method_headers_and_body_arrive
    every_framing_of_an_answer_is_understood
    answers_to_head_have_no_body
    a_unix_socket_is_a_target
}

fn a_count_is_kept_to_the_request(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let ended = run(driver, &[&url(&origin, "/a"), "-n", "501", "-c", "4"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!((ended.number("/answered"), ended.number("/statuses/200")), (501.0, 501.0));
    assert_eq!((origin.request_count(), origin.accepted()), (501, 4));
    assert_eq!((ended.number("/latency/count"), ended.number("/connections_opened")), (501.0, 4.0));
    let series: f64 = ended.json["series"]["slots"]
        .as_array()
        .expect("slots")
        .iter()
        .filter_map(|s| s["answered"].as_f64())
        .sum();
    assert!((series - 501.0).abs() < 0.5);
    assert!(ended.stdout.contains("p99.99") && ended.stdout.contains("501"), "{}", ended.stdout);
}

fn several_urls_take_turns(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", ""));
    let list = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(list.path(), "# comment\n\n/b\nDELETE http://c.test/c?d\n").expect("written");
    let file = list.path().display().to_string();
    let ended = run(driver, &[&url(&origin, "/a"), "--urls", &file, "-n", "30", "-c", "1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let requests = origin.take_requests();
    let seen: Vec<_> = requests[..4].iter().map(|r| format!("{} {}", r.method(), r.target())).collect();
    assert_eq!(seen, ["GET /a", "GET /b", "DELETE /c?d", "GET /a"]);
    assert_eq!(requests[2].header("host"), Some("c.test"));
}

fn method_headers_and_body_arrive(driver: Driver) {
    let origin = Origin::echo();
    let body = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(body.path(), "z".repeat(100_000)).expect("written");
    let file = body.path().display().to_string();
    let ended = run(
        driver,
        &[
            &url(&origin, "/"),
            "-n",
            "3",
            "-c",
            "1",
            "--body-file",
            &file,
            "-m",
            "PUT",
            "-H",
            "User-Agent: me",
        ],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let requests = origin.take_requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!((request.method(), request.header("user-agent")), ("PUT", Some("me")));
        assert_eq!(request.text(), "z".repeat(100_000));
    }
    assert!(ended.number("/sent_bytes") > 300_000.0);
}

fn every_framing_of_an_answer_is_understood(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "plain"));
    origin.expect([
        Answer::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n"),
        Answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        Answer::raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 OK\r\ncontent-length: 1\r\n\r\nx"),
        Answer::Raw(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec(), Then::Close),
        Answer::Raw(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec(),
            Then::Close,
        ),
    ]);
    let ended = run(driver, &[&url(&origin, "/"), "-n", "8", "-c", "1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(ended.json["statuses"], serde_json::json!({"200": 6, "202": 1, "204": 1}));
    assert_eq!(origin.accepted(), 3, "two answers ended their connections");
}

fn answers_to_head_have_no_body(driver: Driver) {
    let origin = Origin::start(Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"));
    let ended = run(driver, &[&url(&origin, "/"), "-m", "HEAD", "-n", "5", "-c", "1", "--timeout", "5s"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 5.0), "{}", ended.said());
}

fn a_unix_socket_is_a_target(driver: Driver) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("origin.sock");
    let _origin = Origin::start_unix(&path, Answer::status(200, "", "hello"));
    let to = format!("unix:{}", path.display());
    let ended = run(driver, &["http://any.test/", "--connect-to", &to, "-n", "20", "-c", "2"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 20.0), "{}", ended.said());
}
