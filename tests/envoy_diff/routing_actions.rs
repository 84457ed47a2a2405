//! What a route does: redirects, rewrites, direct responses, header changes, formats, weighted clusters.

use crate::Group;
use crate::case::{Case, case};
use crate::groups::{listener_with_routes, with_clusters};
use crate::side::Ports;

const REDIRECTS: &str = r#"
- match: {prefix: /r/host}
  redirect: {host_redirect: other.test}
- match: {prefix: /r/path}
  redirect: {path_redirect: /new}
- match: {prefix: /r/query}
  redirect: {path_redirect: "/new?x=1"}
- match: {prefix: /r/prefix}
  redirect: {prefix_rewrite: /p2}
- match: {prefix: /r/regex}
  redirect: {regex_rewrite: {pattern: {regex: "^/r/regex/(.*)$"}, substitution: "/x/\\1"}}
- match: {prefix: /r/port}
  redirect: {port_redirect: 8443}
- match: {prefix: /r/https}
  redirect: {https_redirect: true}
- match: {prefix: /r/scheme}
  redirect: {scheme_redirect: ftp}
- match: {prefix: /r/strip}
  redirect: {path_redirect: /s, strip_query: true}
- match: {prefix: /r/302}
  redirect: {host_redirect: b.test, response_code: FOUND}
- match: {prefix: /r/303}
  redirect: {host_redirect: b.test, response_code: SEE_OTHER}
- match: {prefix: /r/307}
  redirect: {host_redirect: b.test, response_code: TEMPORARY_REDIRECT}
- match: {prefix: /r/308}
  redirect: {host_redirect: b.test, response_code: PERMANENT_REDIRECT}
- match: {prefix: /r/all}
  redirect: {host_redirect: b.test, port_redirect: 99, path_redirect: /z, https_redirect: true}
- match: {prefix: /r/none}
  redirect: {}
- match: {prefix: /r/fields}
  redirect: {host_redirect: b.test}
  response_headers_to_add: [{header: {key: x-redirected, value: "yes"}}]
- match: {prefix: /d/empty}
  direct_response: {status: 204}
- match: {prefix: /d/body}
  direct_response: {status: 503, body: {inline_string: "no service"}}
- match: {prefix: /d/201}
  direct_response: {status: 201, body: {inline_string: made}}
- match: {prefix: /d/html}
  direct_response: {status: 200, body: {inline_string: "<p>"}}
  response_headers_to_add: [{header: {key: content-type, value: text/html}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
"#;

const REWRITES: &str = r#"
- match: {prefix: /w/prefix}
  route: {cluster: origin, prefix_rewrite: /new}
- match: {prefix: /w/slash/}
  route: {cluster: origin, prefix_rewrite: /}
- match: {path: /w/path}
  route: {cluster: origin, prefix_rewrite: /exact}
- match: {prefix: /W/CASE, case_sensitive: false}
  route: {cluster: origin, prefix_rewrite: /lower}
- match: {path_separated_prefix: /w/sep}
  route: {cluster: origin, prefix_rewrite: /sep2}
- match: {prefix: /w/regex}
  route: {cluster: origin, regex_rewrite: {pattern: {regex: "/([a-z]+)/([0-9]+)"}, substitution: "/\\2/\\1/\\0"}}
- match: {safe_regex: {regex: "/w/sr/.*"}}
  route: {cluster: origin, regex_rewrite: {pattern: {regex: "^/w/sr/"}, substitution: "/short/"}}
- match: {prefix: /w/host}
  route: {cluster: origin, host_rewrite_literal: new.test}
- match: {prefix: /w/xhost}
  route: {cluster: origin, host_rewrite_literal: new.test, append_x_forwarded_host: true}
- match: {prefix: /w/hheader}
  route: {cluster: origin, host_rewrite_header: x-host}
- match: {prefix: /w/hpath}
  route: {cluster: origin, host_rewrite_path_regex: {pattern: {regex: "^/w/hpath/([^/]+).*$"}, substitution: "\\1.test"}}
- match: {prefix: /w/second}
  route: {cluster: second}
- match: {prefix: /w/zero}
  route: {weighted_clusters: {clusters: [{name: origin, weight: 0}, {name: second, weight: 1}]}}
- match: {prefix: /w/weighted}
  request_headers_to_add: [{header: {key: x-level, value: route}}]
  route:
    weighted_clusters:
      clusters:
      - name: second
        weight: 100
        request_headers_to_add: [{header: {key: x-level, value: cluster}}]
        response_headers_to_add: [{header: {key: x-level, value: cluster}}]
        request_headers_to_remove: [x-remove-me]
        host_rewrite_literal: weighted.test
"#;

const FIELDS: &str = r#"
- match: {prefix: /h/levels}
  route: {cluster: origin}
  request_headers_to_add: [{header: {key: x-level, value: route}}]
  response_headers_to_add: [{header: {key: x-level, value: route}}]
  request_headers_to_remove: [x-remove-route]
  response_headers_to_remove: [x-origin-route]
- match: {prefix: /h/append}
  route: {cluster: origin}
  request_headers_to_add:
  - {header: {key: x-default, value: b}}
  - {header: {key: x-append, value: b}, append_action: APPEND_IF_EXISTS_OR_ADD}
  - {header: {key: x-absent, value: b}, append_action: ADD_IF_ABSENT}
  - {header: {key: x-over, value: b}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-exists, value: b}, append_action: OVERWRITE_IF_EXISTS}
  - {header: {key: x-empty, value: "%REQ(x-nothing)%"}}
  - {header: {key: x-empty-kept, value: "%REQ(x-nothing)%"}, keep_empty_value: true}
- match: {prefix: /h/format}
  route: {cluster: origin}
  request_headers_to_add:
  - {header: {key: x-req, value: "%REQ(x-in)%"}}
  - {header: {key: x-alt, value: "%REQ(x-missing?x-in)%"}}
  - {header: {key: x-short, value: "%REQ(x-in):3%"}}
  - {header: {key: x-none, value: "%REQ(x-missing)%"}}
  - {header: {key: x-text, value: "a %% b %REQ(:METHOD)% %REQ(:path)% %REQ(:AUTHORITY)%"}}
  - {header: {key: x-protocol, value: "%PROTOCOL%"}}
  - {header: {key: x-address, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}}
  - {header: {key: x-cluster, value: "%UPSTREAM_CLUSTER%"}}
  - {header: {key: x-route, value: "%ROUTE_NAME%"}}
  - {header: {key: x-bytes, value: "%BYTES_RECEIVED%"}}
  name: format-route
  response_headers_to_add:
  - {header: {key: x-code, value: "%RESPONSE_CODE%"}}
  - {header: {key: x-flags, value: "%RESPONSE_FLAGS%"}}
  - {header: {key: x-details, value: "%RESPONSE_CODE_DETAILS%"}}
  - {header: {key: x-host, value: "%UPSTREAM_HOST%"}}
  - {header: {key: x-from-request, value: "%REQ(x-in)%"}}
  - {header: {key: x-from-response, value: "%RESP(x-origin)%"}}
  - {header: {key: x-attempts, value: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"}}
  - {header: {key: x-upstream-protocol, value: "%UPSTREAM_PROTOCOL%"}}
- match: {prefix: /h/host}
  route: {cluster: origin}
  request_headers_to_remove: [user-agent, accept]
  request_headers_to_add: [{header: {key: x-host-was, value: "%REQ(:authority)%"}}]
- match: {prefix: /h/direct}
  direct_response: {status: 200, body: {inline_string: direct}}
  response_headers_to_add: [{header: {key: x-level, value: route}}]
- match: {prefix: /h/timeout}
  route: {cluster: origin, timeout: 3s, max_stream_duration: {max_stream_duration: 7s}}
- match: {prefix: /h/none}
  route: {cluster: origin, timeout: 0s}
"#;

const LEVELS: &str = "
request_headers_to_add: [{header: {key: x-level, value: table}}]
response_headers_to_add: [{header: {key: x-level, value: table}}]
request_headers_to_remove: [x-remove-table]
response_headers_to_remove: [x-origin-table]
internal_only_headers: [x-internal-only]
";

const FIELDS_HOST: &str = "
- name: fields
  domains: ['*']
  request_headers_to_add: [{header: {key: x-level, value: host}}]
  response_headers_to_add: [{header: {key: x-level, value: host}}]
  request_headers_to_remove: [x-remove-host]
  response_headers_to_remove: [x-origin-host]
  include_request_attempt_count: true
  include_attempt_count_in_response: true
  routes:";

fn config(ports: &Ports) -> String {
    let fields = || {
        let routes = ringway_test_support::config::indent(FIELDS, 2);
        crate::groups::listener("fields")
            .virtual_hosts(&format!("{FIELDS_HOST}{routes}"))
            .route_config(LEVELS)
    };
    let mut specific = fields().route_config("most_specific_header_mutations_wins: true");
    specific = specific.rename("specific");
    let tls = "
- name: tls
  domains: [tls.test]
  require_tls: ALL
  routes: [{match: {prefix: /}, direct_response: {status: 200}}]
- name: external tls
  domains: [external.test]
  require_tls: EXTERNAL_ONLY
  routes: [{match: {prefix: /}, direct_response: {status: 200}}]
";
    let http = listener_with_routes("main", &format!("{REDIRECTS}{REWRITES}"))
        .virtual_hosts(tls)
        .and(fields())
        .and(specific);
    with_clusters(http, ports).yaml()
}

pub fn group() -> Group {
    let mut cases = redirects();
    cases.extend(rewrites());
    cases.extend(fields());
    Group { name: "routing_actions", config, cases }
}

fn redirects() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        "host", "path", "query", "prefix", "regex", "port", "https", "scheme", "strip", "302", "303", "307",
        "308", "all", "none", "fields",
    ]
    .iter()
    .flat_map(|kind| {
        [
            case(&format!("redirect {kind}")).get(&format!("/r/{kind}")),
            case(&format!("redirect {kind}, more")).get(&format!("/r/{kind}/more?q=1")).host("a.test:81"),
        ]
    })
    .collect();
    cases.extend([
        case("redirect port of a host with the default port").get("/r/port").host("a.test:80"),
        case("redirect https of a host with port 443").get("/r/https").host("a.test:443"),
        case("redirect https of a host with port 80").get("/r/https").host("a.test:80"),
        case("redirect post").post("/r/307", "abc").no_probe(),
        case("redirect head").method("HEAD", "/r/host"),
        case("direct empty").get("/d/empty"),
        case("direct body").get("/d/body"),
        case("direct body, head").method("HEAD", "/d/body"),
        case("direct 201 names its place").get("/d/201?q"),
        case("direct html").get("/d/html"),
        case("tls required").host("tls.test").get("/x?y"),
        case("tls required, port").host("tls.test:80").get("/x"),
        case("tls required, forwarded proto").host("tls.test").field("x-forwarded-proto: https"),
        case("tls required from outside").host("external.test").get("/x"),
    ]);
    cases
}

fn rewrites() -> Vec<Case> {
    let target = |target: &str| case(&format!("rewrite {target}")).get(target);
    vec![
        target("/w/prefix"),
        target("/w/prefix/more?q=1"),
        target("/w/prefixed"),
        target("/w/slash/a"),
        target("/w/slash/"),
        target("/w/path?q"),
        target("/w/case/X?q=1"),
        target("/w/sep/a?b"),
        target("/w/sep"),
        target("/w/regex/abc/123?abc/123"),
        target("/w/regex"),
        target("/w/sr/long/path?q"),
        target("/w/host"),
        target("/w/xhost"),
        target("/w/hheader"),
        case("rewrite host from a field").get("/w/hheader").field("x-host: from.test"),
        target("/w/hpath/name/rest?q"),
        target("/w/second"),
        target("/w/zero"),
        case("weighted cluster's own fields").get("/w/weighted").field("x-remove-me: 1").field("x-stay: 1"),
        case("x-envoy-original-path given").get("/w/prefix/x").field("x-envoy-original-path: /false"),
        case("x-forwarded-host given and appended").get("/w/xhost").field("x-forwarded-host: first.test"),
    ]
}

fn fields() -> Vec<Case> {
    let origin = "HTTP/1.1 200 OK\r\nx-origin: o\r\nx-origin-route: 1\r\nx-origin-host: 1\r\nx-origin-table: 1\r\nx-level: origin\r\nContent-Length: 0\r\n\r\n";
    ["fields", "specific"]
        .iter()
        .flat_map(|listener| {
            let on = |name: &str, target: &str| {
                case(&format!("{listener}: {name}")).on(listener).get(target).origin(origin)
            };
            vec![
                on("levels", "/h/levels")
                    .field("x-level: client")
                    .field("x-remove-route: 1")
                    .field("x-remove-host: 1")
                    .field("x-remove-table: 1"),
                on("internal only", "/h/levels").field("x-internal-only: 1"),
                on("append, nothing there", "/h/append"),
                on("append, all there", "/h/append")
                    .field("x-default: a")
                    .field("x-append: a")
                    .field("x-absent: a")
                    .field("x-over: a")
                    .field("x-exists: a")
                    .field("x-empty: a"),
                on("format", "/h/format?q=1").field("x-in: hello"),
                on("format, absent", "/h/format"),
                on("remove well-known", "/h/host").field("User-Agent: x").field("Accept: */*"),
                case(&format!("{listener}: direct")).on(listener).get("/h/direct"),
                on("timeout", "/h/timeout"),
                on("no timeout", "/h/none"),
                case(&format!("{listener}: no route")).on(listener).get("/nothing"),
            ]
        })
        .collect()
}
