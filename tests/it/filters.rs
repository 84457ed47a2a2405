//! HTTP filters: what shows only in the running program, such as statistics, logs, and connections that
//! go on (or do not) around a filter's answer. `configs_filters` has each filter's usual work.

use std::time::{Duration, Instant};

use ringway_test_support::config::Http;
use ringway_test_support::{Answer, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually};

on_both_drivers! {
    a_delayed_client_may_leave
    a_body_is_read_while_a_filter_waits
    a_filter_that_waits_for_long_does_not_hold_more_than_the_limit
    too_large_a_request_is_counted_and_logged
    levels_of_route_configuration_add_up
    a_grant_may_change_the_route
    a_denial_is_charged_to_the_cluster_that_was_asked_for
    cors_counts_origins
}

const LOG: &str = r#"
access_log:
- name: log
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: "{dir}/log"
    log_format: {text_format_source: {inline_string: "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"}}
"#;

fn start(driver: Driver, http: Http) -> Proxy {
    Server::ringway(driver).arg("--file-flush-interval-msec").arg("20").start(&http.hcm(LOG.trim()).yaml())
}

fn await_log(proxy: &Proxy, line: &str) {
    let path = proxy.directory().join("log");
    eventually(&format!("{line:?} in the log"), || {
        std::fs::read_to_string(&path).ok()?.lines().any(|other| other == line).then_some(())
    });
}

fn delaying(port: u16, delay: &str) -> Http {
    let fields = format!("delay: {{fixed_delay: {delay}, percentage: {{numerator: 100}}}}");
    Http::to_origin(port).filter("fault", "fault.v3.HTTPFault", &fields)
}

fn authorizing(routes: &str, origin: u16, authz: u16, more: &str) -> Http {
    let fields = format!(
        "http_service:\n  server_uri: {{uri: \"http://authz.test\", cluster: authz, timeout: 20s}}\n{more}"
    );
    Http::routes(routes).cluster("origin", origin, "").cluster("authz", authz, "").filter(
        "authz",
        "ext_authz.v3.ExtAuthz",
        fields.trim(),
    )
}

const TO_ORIGIN: &str = "- match: {prefix: /}\n  route: {cluster: origin}";

fn a_delayed_client_may_leave(driver: Driver) {
    let origin = Origin::echo();
    let proxy = start(driver, delaying(origin.port(), "100s"));
    let mut connection = Connection::open(proxy.address());
    connection.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    proxy.await_stat("http.test.fault.active_faults", 1);
    connection.reset();
    proxy.await_stat("http.test.fault.active_faults", 0);
    await_log(&proxy, "/left 0 DI,DC downstream_remote_disconnect");
    assert_eq!(origin.request_count(), 0);
    proxy.stop();
}

fn a_body_is_read_while_a_filter_waits(driver: Driver) {
    let (origin, authz) = (Origin::echo(), Origin::start(Answer::status(403, "", "no")));
    let proxy = start(driver, authorizing(TO_ORIGIN, origin.port(), authz.port(), ""));
    let mut connection = Connection::open(proxy.address());
    // The whole request is there before the denial, so the connection can go on.
    for _ in 0..3 {
        let denied = Request::post("/", vec![b'x'; 20_000]).send_on(&mut connection).expect("response");
        assert_eq!((denied.status(), denied.text().as_str()), (403, "no"));
    }
    authz.set_default(Answer::status(200, "", ""));
    let granted = Request::post("/", vec![b'x'; 20_000]).send_on(&mut connection).expect("response");
    assert_eq!(granted.json()["body"].as_str().map(str::len), Some(20_000));
    proxy.stop();
}

fn a_filter_that_waits_for_long_does_not_hold_more_than_the_limit(driver: Driver) {
    let origin = Origin::echo();
    let http = delaying(origin.port(), "0.3s").listener("per_connection_buffer_limit_bytes: 4096");
    let proxy = start(driver, http);
    let began = Instant::now();
    let response = Request::post("/", vec![b'x'; 300_000]).send(proxy.address());
    assert_eq!(response.json()["body"].as_str().map(str::len), Some(300_000));
    assert!(began.elapsed() >= Duration::from_millis(300));
    proxy.stop();
}

fn too_large_a_request_is_counted_and_logged(driver: Driver) {
    let origin = Origin::echo();
    let http = Http::to_origin(origin.port()).filter("buffer", "buffer.v3.Buffer", "max_request_bytes: 10");
    let proxy = start(driver, http);
    assert_eq!(Request::post("/large", "12345678901").send(proxy.address()).status(), 413);
    await_log(&proxy, "/large 413 - request_payload_too_large");
    assert_eq!(proxy.stat("http.test.downstream_rq_too_large"), 1);
    assert_eq!(origin.request_count(), 0);
    proxy.stop();
}

fn levels_of_route_configuration_add_up(driver: Driver) {
    const TYPE: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3";
    let level = |value: &str| {
        format!(
            "typed_per_filter_config: {{m: {{{TYPE}.HeaderMutationPerRoute, mutations: {{request_mutations: [{{append: {{header: {{key: x-o, value: {value}}}}}}}]}}}}}}"
        )
    };
    let origin = Origin::echo();
    let hosts = format!(
        "- name: all\n  domains: ['*']\n  {}\n  routes:\n  - match: {{prefix: /}}\n    route: {{cluster: origin}}\n    {}",
        level("host"),
        level("route")
    );
    let listener = |name: &str, fields: &str| {
        let own = "mutations: {request_mutations: [{append: {header: {key: x-o, value: own}}}]}";
        Http::named(name).virtual_hosts(&hosts).route_config(&level("table")).filter(
            "m",
            "header_mutation.v3.HeaderMutation",
            &format!("{own}\n{fields}"),
        )
    };
    let http = listener("general", "most_specific_header_mutations_wins: false")
        .and(listener("specific", "most_specific_header_mutations_wins: true"))
        .cluster("origin", origin.port(), "");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let order = |name: &str| {
        Request::get("/").send(proxy.address_of(name));
        origin.take_requests().remove(0).header_all("x-o").join(" ")
    };
    // As Envoy 1.40 does.
    assert_eq!(order("general"), "own route host table");
    assert_eq!(order("specific"), "own table host route");
    proxy.stop();
}

fn a_grant_may_change_the_route(driver: Driver) {
    let (origin, authz) = (Origin::echo(), Origin::start(Answer::status(200, "x-team: blue\r\n", "")));
    let routes = "- match: {prefix: /, headers: [{name: x-team, string_match: {exact: blue}}]}\n  route: {cluster: origin, prefix_rewrite: /blue/}\n- match: {prefix: /}\n  route: {cluster: origin}";
    let more = |clear: bool| {
        format!(
            "  authorization_response: {{allowed_upstream_headers: {{patterns: [{{exact: x-team}}]}}}}\nclear_route_cache: {clear}"
        )
    };
    for (clear, target) in [(true, "/blue/a"), (false, "/a")] {
        let proxy = start(driver, authorizing(routes, origin.port(), authz.port(), &more(clear)));
        let response = Request::get("/a").send(proxy.address());
        assert_eq!(response.json()["target"].as_str(), Some(target));
        proxy.stop();
    }
}

fn a_denial_is_charged_to_the_cluster_that_was_asked_for(driver: Driver) {
    let (origin, authz) = (Origin::echo(), Origin::start(Answer::status(401, "", "")));
    let http = authorizing(TO_ORIGIN, origin.port(), authz.port(), "stat_prefix: waf");
    let proxy = start(driver, http);
    assert_eq!(Request::get("/denied").send(proxy.address()).status(), 401);
    await_log(&proxy, "/denied 401 UAEX ext_authz_denied");
    authz.expect([Answer::Raw(Vec::new(), Then::Close)]);
    assert_eq!(Request::get("/failed").send(proxy.address()).status(), 403);
    await_log(&proxy, "/failed 403 UAEX ext_authz_error");
    assert_eq!(proxy.stat("http.test.ext_authz.waf.denied"), 1);
    assert_eq!(proxy.stat("http.test.ext_authz.waf.error"), 1);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_401"), 1);
    assert_eq!(proxy.stat("cluster.authz.upstream_rq_401"), 1);
    assert_eq!(origin.request_count(), 0);
    proxy.stop();
}

fn cors_counts_origins(driver: Driver) {
    let origin = Origin::echo();
    let routes = "- match: {prefix: /}\n  route: {cluster: origin}\n  typed_per_filter_config: {cors: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: \"http://a\"}], forward_not_matching_preflights: false}}";
    let http = Http::routes(routes).cluster("origin", origin.port(), "").filter("cors", "cors.v3.Cors", "");
    let proxy = start(driver, http);
    let preflight = |from: &str| {
        let request = Request::new("OPTIONS", "/p").header("Access-Control-Request-Method", "PUT");
        request.header("Origin", from).send(proxy.address())
    };
    assert_eq!(preflight("http://a").header("access-control-allow-origin"), Some("http://a"));
    assert_eq!(preflight("http://b").header("access-control-allow-origin"), None);
    await_log(&proxy, "/p 200 - cors_response");
    assert_eq!(proxy.stat("http.test.cors.origin_valid"), 1);
    assert_eq!(proxy.stat("http.test.cors.origin_invalid"), 1);
    assert_eq!(origin.request_count(), 0);
    proxy.stop();
}
