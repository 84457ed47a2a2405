//! Which virtual host and which route a request gets.

use crate::Group;
use crate::case::{Case, case};
use crate::groups::{listener, listener_with_routes, with_clusters};
use crate::side::Ports;

const DOMAINS: &str = "
- name: exact
  domains: [a.test, b.test, 'c.test:81', '[::1]']
  routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: exact}}}]
- name: suffix
  domains: ['*.a.test', '*-x.test']
  routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: suffix}}}]
- name: longer suffix
  domains: ['*.b.a.test']
  routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: longer suffix}}}]
- name: prefix
  domains: ['a.*', 'www.*']
  routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: prefix}}}]
- name: longer prefix
  domains: ['www.site.*']
  routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: longer prefix}}}]
";

const ANY: &str = "
- name: any
  domains: ['*']
  routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: any}}}]
";

/// Routes that answer with their own names, so that a match is visible.
fn matchers() -> String {
    let rows: &[(&str, &str)] = &[
        ("path", "path: /path"),
        ("path, any case", "path: /AnyCase, case_sensitive: false"),
        ("prefix", "prefix: /prefix/"),
        ("prefix, any case", "prefix: /PreFix2, case_sensitive: false"),
        ("separated", "path_separated_prefix: /separated"),
        ("regex", "safe_regex: {regex: '/regex/[0-9]+/end'}"),
        ("header exact", "prefix: /h, headers: [{name: x-a, string_match: {exact: one}}]"),
        ("header prefix", "prefix: /h, headers: [{name: x-a, string_match: {prefix: pre-}}]"),
        ("header suffix", "prefix: /h, headers: [{name: x-a, string_match: {suffix: -suf}}]"),
        ("header contains", "prefix: /h, headers: [{name: x-a, string_match: {contains: mid}}]"),
        (
            "header regex",
            "prefix: /h, headers: [{name: x-a, string_match: {safe_regex: {regex: 'r[0-9]+'}}}]",
        ),
        (
            "header any case",
            "prefix: /h, headers: [{name: x-a, string_match: {exact: CASE, ignore_case: true}}]",
        ),
        ("header range", "prefix: /h, headers: [{name: x-n, range_match: {start: -10, end: 10}}]"),
        ("header present", "prefix: /h, headers: [{name: x-present, present_match: true}]"),
        ("header absent", "prefix: /absent, headers: [{name: x-absent, present_match: false}]"),
        (
            "header inverted",
            "prefix: /inv, headers: [{name: x-a, string_match: {exact: one}, invert_match: true}]",
        ),
        (
            "header missing as empty",
            "prefix: /empty, headers: [{name: x-e, string_match: {exact: ''}, treat_missing_header_as_empty: true}]",
        ),
        (
            "two headers",
            "prefix: /two, headers: [{name: x-a, string_match: {exact: one}}, {name: x-b, string_match: {exact: two}}]",
        ),
        ("host header", "prefix: /host, headers: [{name: ':authority', string_match: {prefix: special}}]"),
        ("method header", "prefix: /method, headers: [{name: ':method', string_match: {exact: POST}}]"),
        ("query exact", "prefix: /q, query_parameters: [{name: a, string_match: {exact: '1'}}]"),
        ("query present", "prefix: /q, query_parameters: [{name: p, present_match: true}]"),
        (
            "query regex",
            "prefix: /q, query_parameters: [{name: r, string_match: {safe_regex: {regex: '[a-z]+'}}}]",
        ),
        ("cookie", "prefix: /cookie, headers: [{name: cookie, string_match: {contains: session=abc}}]"),
        ("grpc", "prefix: /grpc, grpc: {}"),
        ("fraction 100", "prefix: /all, runtime_fraction: {default_value: {numerator: 100}}"),
        ("fraction 0", "prefix: /none, runtime_fraction: {default_value: {numerator: 0}}"),
        ("first of two", "prefix: /order"),
        ("second of two", "path: /order"),
    ];
    let mut yaml = String::new();
    for (name, matcher) in rows {
        yaml.push_str(&format!(
            "- match: {{{matcher}}}\n  direct_response: {{status: 200, body: {{inline_string: \"{name}\"}}}}\n"
        ));
    }
    yaml
}

fn config(ports: &Ports) -> String {
    let http = listener("main")
        .virtual_hosts(DOMAINS)
        .virtual_hosts(ANY)
        .and(listener("no_default").virtual_hosts(DOMAINS))
        .and(
            listener("ignore_port").virtual_hosts(DOMAINS).route_config("ignore_port_in_host_matching: true"),
        )
        .and(listener_with_routes("matchers", &matchers()));
    with_clusters(http, ports).yaml()
}

pub fn group() -> Group {
    let mut cases = domains();
    cases.extend(paths());
    cases.extend(conditions());
    Group { name: "routing", config, cases }
}

fn domains() -> Vec<Case> {
    let hosts = [
        "a.test",
        "A.TEST",
        "b.test",
        "b.test:80",
        "c.test",
        "c.test:81",
        "x.a.test",
        "x.y.a.test",
        "x.b.a.test",
        ".a.test",
        "b.a.test",
        "y-x.test",
        "-x.test",
        "a.other",
        "a.",
        "www.a",
        "www.site.org",
        "other.test",
        "[::1]",
        "a.test.",
    ];
    ["main", "no_default", "ignore_port"]
        .iter()
        .flat_map(|listener| {
            hosts.iter().map(move |host| case(&format!("{listener}: {host}")).on(listener).host(host))
        })
        .collect()
}

fn paths() -> Vec<Case> {
    let targets = [
        "/path",
        "/path?x=1",
        "/path/",
        "/Path",
        "/pathx",
        "/path;a",
        "/anycase",
        "/ANYCASE?q",
        "/prefix/",
        "/prefix",
        "/prefix/more",
        "/Prefix/",
        "/prefix2",
        "/PREFIX2/x",
        "/separated",
        "/separated/x",
        "/separated?x",
        "/separatedx",
        "/separated/",
        "/regex/12/end",
        "/regex/12/end?x",
        "/regex/a/end",
        "/regex/12/end/",
        "/x/regex/12/end",
        "/order",
        "/order/x",
        "/all",
        "/none",
        "/%70ath",
        "/nothing",
        "/?path",
    ];
    targets.iter().map(|target| case(&format!("path {target}")).on("matchers").get(target)).collect()
}

fn conditions() -> Vec<Case> {
    let header = |name: &str, target: &str, line: &str| case(name).on("matchers").get(target).field(line);
    let query = |target: &str| case(&format!("query {target}")).on("matchers").get(target);
    vec![
        header("header exact", "/h", "x-a: one"),
        header("header exact, other case", "/h", "x-a: One"),
        header("header exact, name in other case", "/h", "X-A: one"),
        header("header prefix", "/h", "x-a: pre-fix"),
        header("header suffix", "/h", "x-a: a-suf"),
        header("header contains", "/h", "x-a: amidst"),
        header("header regex", "/h", "x-a: r123"),
        header("header regex must match all", "/h", "x-a: r123x"),
        header("header any case", "/h", "x-a: cAsE"),
        header("header range, start", "/h", "x-n: -10"),
        header("header range, inside", "/h", "x-n: 9"),
        header("header range, end", "/h", "x-n: 10"),
        header("header range, no number", "/h", "x-n: nine"),
        header("header range, blanks and sign", "/h", "x-n: +5"),
        header("header present", "/h", "x-present: "),
        header("header none", "/h", "x-other: 1"),
        header("header present where absence is asked", "/absent", "x-absent: 1"),
        case("header absent").on("matchers").get("/absent"),
        header("header inverted, equal", "/inv", "x-a: one"),
        header("header inverted, other", "/inv", "x-a: two"),
        case("header inverted, missing").on("matchers").get("/inv"),
        case("header missing as empty").on("matchers").get("/empty"),
        header("header missing as empty, given", "/empty", "x-e: full"),
        header("two headers, one", "/two", "x-a: one"),
        header("two headers, both", "/two", "x-a: one").field("x-b: two"),
        header("header twice, joined", "/h", "x-a: one").field("x-a: two"),
        case("host as header").on("matchers").get("/host").host("special.test"),
        case("method as header, get").on("matchers").get("/method"),
        case("method as header, post").on("matchers").post("/method", ""),
        header("cookie", "/cookie", "cookie: x=1; session=abc"),
        header("cookie, other", "/cookie", "cookie: session=def"),
        header("grpc", "/grpc", "content-type: application/grpc"),
        header("grpc, proto", "/grpc", "content-type: application/grpc+proto"),
        header("grpc, web", "/grpc", "content-type: application/grpc-web"),
        query("/q?a=1"),
        query("/q?a=2"),
        query("/q?b=2&a=1"),
        query("/q?a=%31"),
        query("/q?a=2&a=1"),
        query("/q?a=1&a=2"),
        query("/q?p"),
        query("/q?p="),
        query("/q?r=abc"),
        query("/q?r=abc1"),
        query("/q"),
    ]
}
