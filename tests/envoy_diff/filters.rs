//! HTTP filters: fault, cors, buffer, header_mutation, health_check, ext_authz, per-route configuration.

use crate::Group;
use crate::case::{Case, case};
use crate::groups::{RESENT, listener_with_routes, with_clusters};
use crate::side::Ports;
use ringway_test_support::config::Http;
use ringway_test_support::{Answer, Then};

const TYPE: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.http";

const PLAIN: &str = "
- match: {prefix: /direct}
  direct_response: {status: 200, body: {inline_string: direct}}
- match: {prefix: /}
  route: {cluster: origin}
";

/// Routes of which some change or disable a filter.
fn routes_with(filter: &str, rows: &[(&str, &str)]) -> String {
    let mut yaml = String::new();
    for (prefix, config) in rows {
        yaml.push_str(&format!(
            "- match: {{prefix: {prefix}}}\n  route: {{cluster: origin}}\n  typed_per_filter_config:\n    {filter}: {config}\n"
        ));
    }
    yaml + PLAIN.trim_start()
}

fn fault() -> Http {
    let route = |fields: &str| format!("{{{TYPE}.fault.v3.HTTPFault, {fields}}}");
    let rows = [
        ("/delay", route("delay: {fixed_delay: 0.02s, percentage: {numerator: 100}}")),
        ("/abort", route("abort: {http_status: 418, percentage: {numerator: 100}}")),
        (
            "/both",
            route(
                "delay: {fixed_delay: 0.02s, percentage: {numerator: 100}}, abort: {http_status: 503, percentage: {numerator: 100}}",
            ),
        ),
        ("/grpc", route("abort: {grpc_status: 14, percentage: {numerator: 100}}")),
        ("/never", route("abort: {http_status: 418, percentage: {numerator: 0}}")),
        (
            "/matched",
            route(
                "abort: {http_status: 418, percentage: {numerator: 100}}, headers: [{name: x-hit, string_match: {exact: 'yes'}}]",
            ),
        ),
        (
            "/asked",
            route(
                "abort: {header_abort: {}, percentage: {numerator: 100}}, delay: {header_delay: {}, percentage: {numerator: 100}}",
            ),
        ),
        (
            "/elsewhere",
            route("abort: {http_status: 418, percentage: {numerator: 100}}, upstream_cluster: second"),
        ),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(prefix, config)| (*prefix, config.as_str())).collect();
    listener_with_routes("fault", &routes_with("fault", &rows)).filter(
        "fault",
        "fault.v3.HTTPFault",
        "max_active_faults: 100",
    )
}

fn cors() -> Http {
    let policy = format!(
        "{{{TYPE}.cors.v3.CorsPolicy, allow_origin_string_match: [{{exact: 'http://good.test'}}, {{suffix: '.ok.test'}}], allow_methods: 'GET, PUT', allow_headers: x-a, expose_headers: x-b, max_age: '600', allow_credentials: true}}"
    );
    let open = format!(
        "{{{TYPE}.cors.v3.CorsPolicy, allow_origin_string_match: [{{safe_regex: {{regex: '.*'}}}}]}}"
    );
    let off = format!(
        "{{{TYPE}.cors.v3.CorsPolicy, allow_origin_string_match: [{{safe_regex: {{regex: '.*'}}}}], filter_enabled: {{default_value: {{numerator: 0}}}}}}"
    );
    listener_with_routes(
        "cors",
        &routes_with("cors", &[("/policy", &policy), ("/open", &open), ("/off", &off)]),
    )
    .filter("cors", "cors.v3.Cors", "")
}

fn buffer() -> Http {
    let off = format!("{{{TYPE}.buffer.v3.BufferPerRoute, disabled: true}}");
    let larger = format!("{{{TYPE}.buffer.v3.BufferPerRoute, buffer: {{max_request_bytes: 1000}}}}");
    listener_with_routes("buffer", &routes_with("buffer", &[("/off", &off), ("/larger", &larger)])).filter(
        "buffer",
        "buffer.v3.Buffer",
        "max_request_bytes: 10",
    )
}

fn header_mutation() -> Http {
    let route = format!(
        "{{{TYPE}.header_mutation.v3.HeaderMutationPerRoute, mutations: {{request_mutations: [{{append: {{header: {{key: x-order, value: route}}}}}}], response_mutations: [{{remove: x-origin}}]}}}}"
    );
    let filter = r#"
mutations:
  request_mutations:
  - append: {header: {key: x-order, value: filter}}
  - append: {header: {key: x-set, value: "%REQ(:method)%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - append: {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}
  - remove: x-gone
  response_mutations:
  - append: {header: {key: x-code, value: "%RESPONSE_CODE%"}}
  - remove: server
"#;
    listener_with_routes("mutation", &routes_with("mutation", &[("/route", &route)])).filter(
        "mutation",
        "header_mutation.v3.HeaderMutation",
        filter.trim(),
    )
}

fn health_check(name: &str, fields: &str) -> Http {
    let fields = format!("{fields}\nheaders: [{{name: ':path', string_match: {{exact: /health}}}}]");
    listener_with_routes(name, PLAIN).filter("health", "health_check.v3.HealthCheck", &fields)
}

fn ext_authz(name: &str, more: &str) -> Http {
    let fields = format!(
        r#"
http_service:
  server_uri: {{uri: "http://authz.test", cluster: authz, timeout: 1s}}
  path_prefix: /check
  authorization_request:
    headers_to_add: [{{key: x-added, value: "1"}}]
  authorization_response:
    allowed_upstream_headers: {{patterns: [{{exact: x-user}}]}}
    allowed_upstream_headers_to_append: {{patterns: [{{exact: x-more}}]}}
    allowed_client_headers: {{patterns: [{{exact: x-reason}}]}}
    allowed_client_headers_on_success: {{patterns: [{{exact: x-granted}}]}}
allowed_headers: {{patterns: [{{exact: x-token}}]}}
{more}
"#
    );
    let off = format!("{{{TYPE}.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}");
    listener_with_routes(name, &routes_with("authz", &[("/off", &off)])).filter(
        "authz",
        "ext_authz.v3.ExtAuthz",
        fields.trim(),
    )
}

fn disabled() -> Http {
    let on = "{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 418, percentage: {numerator: 100}}}}";
    let off = "{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}";
    let mut routes = routes_with("asleep", &[("/wake", on)]);
    routes.insert_str(
        0,
        routes_with("awake", &[("/off", off)]).split("- match: {prefix: /direct}").next().unwrap_or(""),
    );
    listener_with_routes("disabled", &routes)
        .filter("awake", "fault.v3.HTTPFault", "abort: {http_status: 503, percentage: {numerator: 100}}\nheaders: [{name: x-awake, present_match: true}]")
        .filter("asleep", "fault.v3.HTTPFault", "")
        .disabled_last_filter()
}

fn config(ports: &Ports) -> String {
    let http = fault()
        .and(cors())
        .and(buffer())
        .and(header_mutation())
        .and(health_check("health", "pass_through_mode: false"))
        .and(health_check("health_pass", "pass_through_mode: true"))
        .and(health_check("health_cached", "pass_through_mode: true\ncache_time: 60s"))
        .and(health_check(
            "health_clusters",
            "pass_through_mode: false\ncluster_min_healthy_percentages: {origin: {value: 50}, nowhere: {value: 50}}",
        ))
        .and(health_check("health_good", "pass_through_mode: false\ncluster_min_healthy_percentages: {origin: {value: 50}}"))
        .and(ext_authz("authz", ""))
        .and(ext_authz("authz_allow", "failure_mode_allow: true\nfailure_mode_allow_header_add: true"))
        .and(ext_authz("authz_status", "status_on_error: {code: ServiceUnavailable}"))
        .and(ext_authz("authz_body", "with_request_body: {max_request_bytes: 8, allow_partial_message: true}"))
        .and(ext_authz("authz_strict_body", "with_request_body: {max_request_bytes: 8}"))
        .and(disabled());
    with_clusters(http, ports).cluster("authz", ports.authz, "").yaml()
}

pub fn group() -> Group {
    let mut cases = fault_cases();
    cases.extend(cors_cases());
    cases.extend(buffer_cases());
    cases.extend(mutation_cases());
    cases.extend(health_cases());
    cases.extend(authz_cases());
    cases.extend(disabled_cases());
    Group { name: "filters", config, cases }
}

fn fault_cases() -> Vec<Case> {
    let on = |name: &str, target: &str| case(&format!("fault: {name}")).on("fault").get(target);
    vec![
        on("none", "/"),
        on("delay", "/delay"),
        on("abort", "/abort"),
        on("delay and abort", "/both"),
        on("grpc abort", "/grpc"),
        on("grpc abort for grpc", "/grpc").field("content-type: application/grpc"),
        on("never", "/never"),
        on("matched", "/matched").field("x-hit: yes"),
        on("not matched", "/matched"),
        on("asked to abort", "/asked").field("x-envoy-fault-abort-request: 429"),
        on("asked to abort, but seldom", "/asked")
            .field("x-envoy-fault-abort-request: 429")
            .field("x-envoy-fault-abort-request-percentage: 0"),
        on("asked to delay", "/asked").field("x-envoy-fault-delay-request: 10"),
        on("asked for nonsense", "/asked").field("x-envoy-fault-abort-request: abc"),
        on("not asked", "/asked"),
        on("for another cluster", "/elsewhere"),
        on("abort with a body", "/abort").post("/abort", "abc").no_probe(),
        on("abort head", "/abort").method("HEAD", "/abort"),
    ]
}

fn cors_cases() -> Vec<Case> {
    let on = |name: &str, method: &str, target: &str| {
        case(&format!("cors: {name}")).on("cors").method(method, target)
    };
    let preflight = "Access-Control-Request-Method: PUT";
    vec![
        on("no origin", "GET", "/policy"),
        on("good origin", "GET", "/policy").field("Origin: http://good.test"),
        on("suffix", "GET", "/policy").field("Origin: http://x.ok.test"),
        on("bad origin", "GET", "/policy").field("Origin: http://bad.test"),
        on("preflight", "OPTIONS", "/policy").field("Origin: http://good.test").field(preflight),
        on("preflight, fields asked for", "OPTIONS", "/policy")
            .field("Origin: http://good.test")
            .field(preflight)
            .field("Access-Control-Request-Headers: x-z"),
        on("preflight, bad origin", "OPTIONS", "/policy").field("Origin: http://bad.test").field(preflight),
        on("options, no preflight", "OPTIONS", "/policy").field("Origin: http://good.test"),
        on("preflight without origin", "OPTIONS", "/policy").field(preflight),
        on("empty origin", "GET", "/policy").field("Origin:"),
        on("open", "GET", "/open").field("Origin: http://any.test"),
        on("open preflight", "OPTIONS", "/open").field("Origin: http://any.test").field(preflight),
        on("off", "GET", "/off").field("Origin: http://any.test"),
        on("off preflight", "OPTIONS", "/off").field("Origin: http://any.test").field(preflight),
        on("no policy", "GET", "/other").field("Origin: http://any.test"),
        on("origin's own fields", "GET", "/policy")
            .field("Origin: http://good.test")
            .origin("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n"),
    ]
}

fn buffer_cases() -> Vec<Case> {
    let on = |name: &str| case(&format!("buffer: {name}")).on("buffer");
    let chunked = |target: &str, chunks: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: test.local\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    vec![
        on("no body"),
        on("small body").post("/", "12345"),
        on("exact size").post("/", "1234567890"),
        on("too large").post("/", "12345678901"),
        on("small chunked body gets a length").raw(chunked("/", "2\r\nab\r\n3\r\ncde\r\n")),
        on("chunked too large").raw(chunked("/", "6\r\nabcdef\r\n6\r\nghijkl\r\n")).no_probe(),
        on("off for the route").post("/off", "123456789012345"),
        on("off for the route, chunked").raw(chunked("/off", "2\r\nab\r\n")),
        on("larger for the route").post("/larger", "123456789012345"),
        on("direct response").post("/direct", "12345").no_probe(),
    ]
}

fn mutation_cases() -> Vec<Case> {
    let on = |name: &str, target: &str| {
        case(&format!("mutation: {name}"))
            .on("mutation")
            .get(target)
            .origin("HTTP/1.1 200 OK\r\nx-origin: 1\r\nContent-Length: 0\r\n\r\n")
    };
    vec![
        on("filter", "/"),
        on("filter, fields there", "/")
            .field("x-set: old")
            .field("x-absent: old")
            .field("x-gone: 1")
            .field("x-order: client"),
        on("route", "/route"),
        case("mutation: direct response").on("mutation").get("/direct"),
    ]
}

fn health_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for listener in ["health", "health_pass", "health_cached", "health_clusters", "health_good"] {
        let on = |name: &str| case(&format!("{listener}: {name}")).on(listener);
        cases.push(on("checked").get("/health"));
        cases.push(on("checked again").get("/health"));
        cases.push(on("head").method("HEAD", "/health"));
        cases.push(on("other path").get("/other"));
        cases.push(on("query").get("/health?x"));
    }
    cases.push(
        case("health_pass: bad origin")
            .on("health_pass")
            .get("/health")
            .answer(Answer::status(500, "", "bad")),
    );
    cases
}

fn authz_cases() -> Vec<Case> {
    let on = |name: &str| case(&format!("authz: {name}")).on("authz");
    let granted = Answer::status(200, "x-user: u\r\nx-more: m\r\nx-other: o\r\nx-granted: g\r\n", "");
    let close = || Answer::Raw(Vec::new(), Then::Close);
    let denied = Answer::status(
        401,
        "x-reason: r\r\nx-hidden: h\r\nwww-authenticate: Basic\r\nset-cookie: a=b\r\n",
        "go away",
    );
    vec![
        on("granted")
            .get("/a?b=c")
            .field("x-token: t")
            .field("x-secret: s")
            .field("x-user: fake")
            .field("x-more: 0")
            .answer(granted.clone()),
        on("granted, post").post("/a", "body").answer(granted),
        on("denied").get("/a").answer(denied.clone()),
        on("denied, head").method("HEAD", "/a").answer(denied.clone()),
        on("denied, post").post("/a", "body").answer(denied).no_probe(),
        on("redirected").answer(Answer::status(302, "location: /login\r\n", "")),
        on("server error").answer(Answer::status(500, "", "oops")),
        on("server gone")
            .answer(close())
            .answer(close())
            .differs(RESENT, |o| o.status_is(403) && o.received.iter().all(|(at, _)| at == "authz")),
        on("server malformed").answer(Answer::Raw(b"nonsense\r\n\r\n".to_vec(), Then::Close)),
        on("off for the route").get("/off"),
        on("direct response").get("/direct").answer(Answer::status(200, "", "")),
        case("authz_allow: server gone").on("authz_allow").answer(close()).answer(close()).differs(
            RESENT,
            |o| {
                o.status_is(200)
                    && o.received.iter().any(|(_, r)| r.header("x-envoy-auth-failure-mode-allowed").is_some())
            },
        ),
        case("authz_allow: server error").on("authz_allow").answer(Answer::status(503, "", "")),
        case("authz_allow: denied").on("authz_allow").answer(Answer::status(403, "", "")),
        case("authz_status: server gone")
            .on("authz_status")
            .answer(close())
            .answer(close())
            .differs(RESENT, |o| o.status_is(503) && o.received.iter().all(|(at, _)| at == "authz")),
        case("authz_status: server error").on("authz_status").answer(Answer::status(500, "", "")),
        case("authz_body: small").on("authz_body").post("/", "12345").answer(Answer::status(200, "", "")),
        case("authz_body: large")
            .on("authz_body")
            .post("/", "1234567890")
            .answer(Answer::status(200, "", "")),
        case("authz_body: none").on("authz_body").answer(Answer::status(200, "", "")),
        case("authz_strict_body: small")
            .on("authz_strict_body")
            .post("/", "12345")
            .answer(Answer::status(200, "", "")),
        case("authz_strict_body: large")
            .on("authz_strict_body")
            .post("/", "1234567890")
            .answer(Answer::status(200, "", ""))
            .no_probe(),
    ]
}

fn disabled_cases() -> Vec<Case> {
    let on = |name: &str, target: &str| case(&format!("disabled: {name}")).on("disabled").get(target);
    vec![
        on("asleep", "/"),
        on("woken by the route", "/wake"),
        on("awake", "/").field("x-awake: 1"),
        on("put to sleep by the route", "/off").field("x-awake: 1"),
    ]
}
