//! Fields that the connection manager adds, changes and removes on the way.

use crate::Group;
use crate::case::{Case, case};
use crate::groups::{listener_with_routes, with_clusters};
use crate::side::Ports;

const ROUTES: &str = "
- match: {prefix: /direct}
  direct_response: {status: 200, body: {inline_string: direct}}
- match: {prefix: /}
  route: {cluster: origin}
";

fn config(ports: &Ports) -> String {
    let with = |name: &str, hcm: &str| listener_with_routes(name, ROUTES).hcm(hcm);
    let http = listener_with_routes("main", ROUTES)
        .and(with("edge", "use_remote_address: true"))
        .and(with("edge_hops", "use_remote_address: true\nxff_num_trusted_hops: 1"))
        .and(with("hops", "xff_num_trusted_hops: 2"))
        .and(with("skip_append", "use_remote_address: true\nskip_xff_append: true"))
        .and(with(
            "internal",
            "use_remote_address: true\ninternal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}",
        ))
        .and(with(
            "internal_hops",
            "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
        ))
        .and(with("keep_id", "use_remote_address: true\npreserve_external_request_id: true"))
        .and(with("no_id", "generate_request_id: false"))
        .and(with("id_back", "always_set_request_id_in_response: true"))
        .and(with("server_name", "server_name: mine"))
        .and(with("server_pass", "server_header_transformation: PASS_THROUGH"))
        .and(with("server_absent", "server_header_transformation: APPEND_IF_ABSENT\nserver_name: mine"))
        .and(with("via", "via: ringway-test"))
        .and(with("date_kept", "append_x_forwarded_port: true"))
        .and(with("scheme", "scheme_header_transformation: {scheme_to_overwrite: https}"))
        .and(with("strip_port", "strip_matching_host_port: true"))
        .and(with("strip_any_port", "strip_any_host_port: true"))
        .and(with("strip_dot", "strip_trailing_host_dot: true"));
    with_clusters(http, ports).yaml()
}

pub fn group() -> Group {
    let mut cases = forwarded();
    cases.extend(hop_by_hop());
    cases.extend(request_ids());
    cases.extend(response_fields());
    cases.extend(envoy_fields());
    cases.extend(hosts());
    Group { name: "headers", config, cases }
}

fn forwarded() -> Vec<Case> {
    let xff = "X-Forwarded-For: 10.1.2.3";
    let mut cases = Vec::new();
    for listener in ["main", "edge", "edge_hops", "hops", "skip_append", "internal", "internal_hops"] {
        cases.push(case(&format!("{listener}: no xff")).on(listener));
        cases.push(case(&format!("{listener}: one xff")).on(listener).field(xff));
        cases.push(
            case(&format!("{listener}: three xff"))
                .on(listener)
                .field("X-Forwarded-For: 1.2.3.4, 5.6.7.8,10.0.0.9"),
        );
    }
    cases.extend([
        case("xff in two fields").field(xff).field("x-forwarded-for: 5.6.7.8"),
        case("edge: xff in two fields").on("edge").field(xff).field("x-forwarded-for: 5.6.7.8"),
        case("xff no address").field("X-Forwarded-For: unknown"),
        case("edge: xff no address").on("edge").field("X-Forwarded-For: unknown"),
        case("hops: xff ipv6").on("hops").field("X-Forwarded-For: 2001:db8::1, ::1, 1.1.1.1"),
        case("xfp given").field("X-Forwarded-Proto: https"),
        case("edge: xfp given").on("edge").field("X-Forwarded-Proto: https"),
        case("edge_hops: xfp given").on("edge_hops").field("X-Forwarded-Proto: https"),
        case("xfp nonsense").field("X-Forwarded-Proto: gopher"),
        case("x-forwarded-host given").field("X-Forwarded-Host: other.test"),
        case("x-forwarded-port appended").on("date_kept"),
        case("edge: internal claimed").on("edge").field("x-envoy-internal: true"),
        case("internal claimed").field("x-envoy-internal: true"),
        case("edge: external address claimed").on("edge").field("x-envoy-external-address: 1.1.1.1"),
        case("edge: xfcc").on("edge").field("x-forwarded-client-cert: By=a"),
        case("xfcc").field("x-forwarded-client-cert: By=a"),
        case("scheme overwritten").on("scheme"),
        case("forwarded field").field("Forwarded: for=1.2.3.4"),
        case("via of the client").field("Via: 1.1 other"),
        case("via configured").on("via"),
        case("via configured and given")
            .on("via")
            .field("Via: 1.0 other")
            .origin("HTTP/1.1 200 OK\r\nVia: 1.1 back\r\nContent-Length: 0\r\n\r\n"),
    ]);
    cases
}

fn hop_by_hop() -> Vec<Case> {
    vec![
        case("keep-alive field").field("Keep-Alive: timeout=5"),
        case("proxy-connection").field("Proxy-Connection: keep-alive"),
        case("te trailers").field("TE: trailers"),
        case("te gzip").field("TE: gzip"),
        case("te both").field("TE: gzip, trailers"),
        case("connection te").field("Connection: TE").field("TE: trailers"),
        case("proxy-authorization").field("Proxy-Authorization: Basic YTpi"),
        case("proxy-authenticate back")
            .origin("HTTP/1.1 407 Proxy\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"),
        case("trailer field").field("Trailer: x-t"),
        case("connection names a field")
            .field("Connection: x-mine")
            .field("X-Mine: 1")
            .differs("RFC 9110 7.6.1: fields that Connection names end here", |o| {
                o.received.iter().all(|(_, r)| r.header("x-mine").is_none()) && o.status_is(200)
            }),
        case("connection empty").field("Connection:"),
        case("max-forwards options").method("OPTIONS", "/").field("Max-Forwards: 3"),
        case("max-forwards 0 trace").method("TRACE", "/").field("Max-Forwards: 0"),
        case("upgrade-insecure-requests").field("Upgrade-Insecure-Requests: 1"),
        case("fields more than once").field("X-A: 1").field("X-B: 2").field("x-a: 3"),
        case("cookies more than once").field("Cookie: a=1").field("Cookie: b=2"),
        case("accept more than once")
            .field("Accept: a/b")
            .field("Accept: c/d")
            .differs("fields stay as they came", |o| {
                o.received.iter().all(|(_, r)| r.header_all("accept") == ["a/b", "c/d"])
            }),
        case("many blanks").field("X-A:      1      "),
    ]
}

fn request_ids() -> Vec<Case> {
    let given = "X-Request-Id: 0e5d0000-1111-4222-8333-444455556666";
    let mut cases = Vec::new();
    for listener in ["main", "edge", "keep_id", "no_id", "id_back"] {
        cases.push(case(&format!("{listener}: no id")).on(listener));
        let with = case(&format!("{listener}: id given")).on(listener).field(given);
        cases.push(with);
        cases.push(
            case(&format!("{listener}: id of its own kind given"))
                .on(listener)
                .field("x-request-id: mine-17"),
        );
    }
    cases.push(case("id_back: direct response").on("id_back").get("/direct"));
    cases.push(case("client trace id").field("x-client-trace-id: abc"));
    cases
}

fn response_fields() -> Vec<Case> {
    let with_server = "HTTP/1.1 200 OK\r\nServer: theirs\r\nContent-Length: 0\r\n\r\n";
    let mut cases = Vec::new();
    for listener in ["main", "server_name", "server_pass", "server_absent"] {
        cases.push(case(&format!("{listener}: server of the origin")).on(listener).origin(with_server));
        cases.push(case(&format!("{listener}: no server of the origin")).on(listener));
        cases.push(case(&format!("{listener}: server of a direct response")).on(listener).get("/direct"));
    }
    cases.extend([
        case("date of the origin")
            .origin("HTTP/1.1 200 OK\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"),
        case("user agent").field("User-Agent: curl/8"),
        case("empty user agent").field("User-Agent:"),
    ]);
    cases
}

fn envoy_fields() -> Vec<Case> {
    let mut cases = Vec::new();
    for listener in ["main", "edge", "internal"] {
        for line in [
            "x-envoy-upstream-rq-timeout-ms: 5000",
            "x-envoy-upstream-rq-per-try-timeout-ms: 1000",
            "x-envoy-expected-rq-timeout-ms: 77",
            "x-envoy-max-retries: 2",
            "x-envoy-retry-on: 5xx",
            "x-envoy-upstream-alt-stat-name: alt",
            "x-envoy-original-path: /other",
            "x-envoy-decorator-operation: op",
            "x-envoy-downstream-service-cluster: c",
            "x-envoy-force-trace: true",
            "x-envoy-ip-tags: a",
            "x-envoy-attempt-count: 9",
        ] {
            let name = format!("{listener}: {}", line.split(':').next().unwrap_or(""));
            let row = case(&name).on(listener).field(line);
            let faulty = name == "internal: x-envoy-force-trace";
            cases.push(if faulty { row.bug("25") } else { row });
        }
    }
    cases
}

fn hosts() -> Vec<Case> {
    vec![
        case("strip matching port, other port").on("strip_port").host("a.test:1"),
        case("strip any port").on("strip_any_port").host("a.test:1"),
        case("strip any port of ipv6").on("strip_any_port").host("[::1]:80"),
        case("strip any port without port").on("strip_any_port").host("a.test"),
        case("strip trailing dot").on("strip_dot").host("a.test."),
        case("strip trailing dot before port").on("strip_dot").host("a.test.:80"),
        case("trailing dot kept").host("a.test."),
    ]
}
