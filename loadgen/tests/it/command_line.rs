//! Arguments, reports and comparisons. What is wrong with arguments is said before anything is sent, with exit code 2.

use ringway_test_support::{Answer, Driver, Origin};

use crate::run::{run, start_bare, url};

#[track_caller]
fn refused(arguments: &[&str], part: &str) {
    let ended = start_bare(arguments).end();
    assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.said());
    assert!(ended.stderr.contains(part), "{part:?} is missing in:\n{}", ended.stderr);
}

#[test]
fn wrong_arguments() {
    let url = "http://127.0.0.1:9/";
    refused(&[], "no URL was given");
    refused(&["127.0.0.1:9"], "begins with http://");
    refused(&[url, "https://127.0.0.1:9/", "-k"], "cannot be mixed");
    refused(&[url, "--streams", "4"], "--http2");
    refused(&[url, "--http2", "--pipeline", "4"], "cannot be used with");
    refused(&[url, "--handshakes"], "https://");
    refused(&[url, "--cacert", "/nowhere"], "https://");
    refused(&["https://127.0.0.1:9/", "--cacert", "/nowhere"], "/nowhere");
    refused(&["https://127.0.0.1:9/", "-k", "--cert", "/nowhere"], "--key");
    refused(&["https://127.0.0.1:9/", "--handshakes", "--new-connection"], "cannot be used with");
    refused(&[url, "-c", "0"], "--connections");
    refused(&[url, "-d", "1y"], "no unit of time");
    refused(&[url, "-d", "1s", "-n", "5"], "cannot be used with");
    refused(&[url, "--arrivals", "poisson"], "--rate");
    refused(&[url, "-H", "no colon"], "colon");
    refused(&[url, "--expect", "9"], "no list of statuses");
    refused(&[url, "--urls", "/nowhere"], "/nowhere");
    refused(&[url, "--body-file", "/nowhere"], "/nowhere");
    refused(&[url, "--cpus", "4000"], "may not run on CPU 4000");
    refused(&[url, "--json", "/nowhere/x.json"], "cannot be written");
    refused(&[url, "--server-pid", "4000000000"], "no process");
    refused(&["http://no such host/"], "no such host");
    refused(&["http://127.0.0.1:9/a b"], "escaped");
    refused(&[url, "--frobnicate"], "--frobnicate");
    refused(&["compare", "one.json"], "2");
    refused(&["compare", "/nowhere/a.json", "/nowhere/b.json"], "/nowhere/a.json");
}

#[test]
fn help_tells_the_common_things() {
    let ended = start_bare(&["--help"]).end();
    assert_eq!(ended.code, Some(0));
    for part in ["--rate", "--hold-idle", "--connect-to", "Exit code", "compare", "http://127.0.0.1:10000/"] {
        assert!(ended.stdout.contains(part), "{part} is missing in:\n{}", ended.stdout);
    }
}

#[test]
fn runs_can_be_compared() {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let target = url(&origin, "/");
    let first = run(
        Driver::Epoll,
        &[&target, "-n", "200", "-c", "2", "--title", "one", "--html", "{dir}/report.html"],
    );
    let second = run(Driver::Epoll, &[&target, "-n", "300", "-c", "3", "--title", "two & more"]);
    let report = std::fs::read_to_string(first.directory.path().join("report.html")).expect("a report");
    assert!(report.starts_with("<!doctype html>") && report.contains("Latency by percentile"));
    let files = [&first, &second].map(|run| run.directory.path().join("results.json").display().to_string());
    let compared =
        start_bare(&["compare", &files[0], &files[1], &files[0], "--html", "{dir}/both.html"]).end();
    assert_eq!(compared.code, Some(0), "{}", compared.said());
    assert!(
        compared.stdout.contains("one (2 rounds)") && compared.stdout.contains("two & more"),
        "{}",
        compared.stdout
    );
    assert!(compared.stdout.contains("requests/s") && compared.stdout.contains("p99.9"));
    let both = std::fs::read_to_string(compared.directory.path().join("both.html")).expect("a page");
    assert!(both.contains("two &amp; more") && both.contains("Side by side"));
}

#[test]
fn results_can_go_to_the_standard_output() {
    let origin = Origin::start(Answer::status(200, "", "hello"));
    let ended =
        start_bare(&[&url(&origin, "/"), "-n", "10", "-c", "1", "-t", "1", "-q", "--json", "-"]).end();
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON and nothing else");
    assert_eq!((ended.code, &json["schema"]), (Some(0), &"ringway-loadgen/1".into()));
    assert_eq!((json["answered"].as_u64(), ended.stderr.as_str()), (Some(10), ""));
}
