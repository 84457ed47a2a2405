//! Retries and timeouts: how many attempts the origin sees, and what the client gets in the end.

use crate::Group;
use crate::case::{Case, case};
use crate::groups::{RESENT, listener_with_routes, with_clusters};
use crate::side::Ports;
use ringway_test_support::{Answer, Then};

const ROUTES: &str = r#"
- match: {prefix: /none}
  route: {cluster: origin}
- match: {prefix: /5xx}
  route: {cluster: origin, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /one}
  route: {cluster: origin, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /gateway}
  route: {cluster: origin, retry_policy: {retry_on: gateway-error, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /4xx}
  route: {cluster: origin, retry_policy: {retry_on: retriable-4xx, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /reset}
  route: {cluster: origin, retry_policy: {retry_on: reset, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /connect}
  route: {cluster: origin, retry_policy: {retry_on: connect-failure, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /refused}
  route: {cluster: refused, retry_policy: {retry_on: connect-failure, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /codes}
  route: {cluster: origin, retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [418, 429], retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /headers}
  route: {cluster: origin, retry_policy: {retry_on: retriable-headers, retriable_headers: [{name: x-again, present_match: true}], retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /before}
  route: {cluster: origin, retry_policy: {retry_on: reset-before-request, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /try}
  route: {cluster: origin, timeout: 5s, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /timeout}
  route: {cluster: origin, timeout: 0.15s, retry_policy: {retry_on: 5xx, num_retries: 5, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.001s}}}
- match: {prefix: /idle}
  route: {cluster: origin, idle_timeout: 0.1s}
- match: {prefix: /limited}
  route: {cluster: origin, retry_policy: {retry_on: envoy-ratelimited, retry_back_off: {base_interval: 0.001s}}}
"#;

fn config(ports: &Ports) -> String {
    let counted = "
- name: counted
  domains: [counted.test]
  include_request_attempt_count: true
  include_attempt_count_in_response: true
  include_is_timeout_retry_header: true
  retry_policy: {retry_on: 5xx, num_retries: 3, retry_back_off: {base_interval: 0.001s}}
  routes:
  - match: {prefix: /try}
    route: {cluster: origin, retry_policy: {retry_on: 5xx, num_retries: 2, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.001s}}}
  - match: {prefix: /}
    route: {cluster: origin}
";
    // Only internal clients may ask for retries and timeouts.
    let internal = "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}";
    let http = listener_with_routes("main", ROUTES)
        .virtual_hosts(counted)
        .and(listener_with_routes("internal", ROUTES).hcm(internal));
    with_clusters(http, ports).yaml()
}

fn close() -> Answer {
    Answer::Raw(Vec::new(), Then::Close)
}

fn reset() -> Answer {
    Answer::Raw(Vec::new(), Then::Reset)
}

fn stall() -> Answer {
    Answer::Raw(Vec::new(), Then::Stall)
}

fn status(status: u16) -> Answer {
    Answer::status(status, "", "answer")
}

pub fn group() -> Group {
    let with = |name: &str, target: &str, answers: Vec<Answer>| {
        answers.into_iter().fold(case(name).get(target), Case::answer)
    };
    let cases = vec![
        with("no policy, 503", "/none", vec![status(503)]),
        with("5xx, then good", "/5xx", vec![status(503)]),
        with("5xx, 500 then good", "/5xx", vec![status(500)]),
        with("5xx, two bad ones", "/5xx", vec![status(500), status(502)]),
        with("5xx, always bad", "/5xx", vec![status(500), status(501), status(503), status(504)]),
        with("5xx, 404 is no reason", "/5xx", vec![status(404)]),
        with("5xx, close", "/5xx", vec![close()])
            .differs(RESENT, |o| o.status_is(200) && o.received.len() == 2),
        with("5xx, reset twice", "/5xx", vec![reset(), reset()])
            .differs(RESENT, |o| o.status_is(200) && o.received.len() == 3),
        with("5xx, malformed", "/5xx", vec![Answer::Raw(b"HTTP/9 x\r\n\r\n".to_vec(), Then::Close)]),
        with("5xx, default number", "/one", vec![status(503), status(503)]),
        with("5xx with body", "/5xx", vec![status(503)]).post("/5xx", "the body"),
        with("5xx with chunked body", "/5xx", vec![status(503)])
            .raw("POST /5xx HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        with("5xx with large body", "/5xx", vec![status(503)]).post("/5xx", &"z".repeat(200_000)),
        with("5xx overloaded", "/5xx", vec![Answer::status(503, "x-envoy-overloaded: true\r\n", "")]),
        with("5xx with head", "/5xx", vec![Answer::raw("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\n")])
            .method("HEAD", "/5xx"),
        with("gateway, 502", "/gateway", vec![status(502)]),
        with("gateway, 504", "/gateway", vec![status(504)]),
        with("gateway, 500", "/gateway", vec![status(500)]),
        with("4xx, 409", "/4xx", vec![status(409)]),
        with("4xx, 404", "/4xx", vec![status(404)]),
        with("reset, post", "/reset", vec![reset()]).post("/reset", "abc"),
        with("reset, 503", "/reset", vec![status(503)]),
        with(
            "reset in the body",
            "/reset",
            vec![Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec(), Then::Close)],
        )
        .closes(),
        with("connect, post and close", "/connect", vec![close()]).post("/connect", "abc"),
        with("refused", "/refused", vec![]),
        with("codes, listed", "/codes", vec![status(418)]),
        with("codes, other listed", "/codes", vec![status(429)]),
        with("codes, not listed", "/codes", vec![status(503)]),
        with("headers, there", "/headers", vec![Answer::status(200, "x-again: 1\r\n", "first")]),
        with("headers, not there", "/headers", vec![status(200)]),
        with("before, post and close", "/before", vec![close()]).post("/before", "abc"),
        with("per try", "/try", vec![stall()]),
        with("per try, twice", "/try", vec![stall(), stall()]),
        with("timeout over all tries", "/timeout", vec![stall(), stall(), stall()])
            .ignore("x-envoy-expected-rq-timeout-ms"),
        with("idle", "/idle", vec![stall()]).bug("16"),
        with(
            "idle in the body",
            "/idle",
            vec![Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec(), Then::Stall)],
        )
        .closes(),
        with("limited, 429", "/limited", vec![Answer::status(429, "x-envoy-ratelimited: true\r\n", "")]),
        with("limited, plain 429", "/limited", vec![status(429)]),
        with("virtual host's policy, counted", "/", vec![status(503), status(503)]).host("counted.test"),
        with("virtual host's policy, at once good", "/", vec![]).host("counted.test"),
        with("told of timeouts", "/try", vec![stall()]).host("counted.test"),
        with("told of timeouts and others", "/try", vec![stall(), status(503)]).host("counted.test"),
        with("told that it was given before", "/", vec![status(503)])
            .raw("GET / HTTP/1.1\r\nHost: counted.test\r\nx-envoy-is-timeout-retry: mine\r\n\r\n"),
        with("asked by the client", "/none", vec![status(503)])
            .on("internal")
            .field("x-envoy-retry-on: 5xx")
            .field("x-envoy-max-retries: 1"),
        with("asked by a stranger", "/none", vec![status(503)]).field("x-envoy-retry-on: 5xx"),
        with("asked by the client, more than configured", "/one", vec![status(503), status(503)])
            .on("internal")
            .field("x-envoy-max-retries: 2"),
        with("timeout asked by the client", "/none", vec![stall()])
            .on("internal")
            .field("x-envoy-upstream-rq-timeout-ms: 100"),
        with("codes asked by the client", "/none", vec![status(404)])
            .on("internal")
            .field("x-envoy-retry-on: retriable-status-codes")
            .field("x-envoy-retriable-status-codes: 404"),
    ];
    Group { name: "retries", config, cases }
}
