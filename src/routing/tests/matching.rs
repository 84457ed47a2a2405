//! Which route takes which request. Every outcome is what Envoy 1.40 did.

use super::{request, route_name, table};

/// One virtual host whose routes are named and matched as given.
fn routes(routes: &[(&str, &str)]) -> String {
    let mut text = "virtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n".to_owned();
    for (name, route_match) in routes {
        text += &format!("  - {{name: {name}, match: {route_match}, direct_response: {{status: 200}}}}\n");
    }
    text
}

const HOSTS: &[(&str, &str, &str)] = &[
    // Host, virtual host, virtual host with ignore_port_in_host_matching.
    ("a.com", "exact", "exact"),
    ("A.COM", "exact", "exact"),
    ("a.com:80", "pre", "exact"),
    ("a.com:", "pre", "exact"),
    ("a.com:x", "pre", "exact"),
    ("b.com", "star", "star"),
    ("b.com:8080", "exact", "star"),
    ("www.a.com", "suf", "suf"),
    ("www.a.com:123", "star", "suf"),
    (".a.com", "star", "star"),
    ("y.x.a.com", "suflong", "suflong"),
    ("x.a.com", "suf", "suf"),
    ("-bar.foo.com", "star", "star"),
    ("q-bar.foo.com", "dash", "dash"),
    ("a.", "star", "star"),
    ("a.b", "pre", "pre"),
    ("a.b.", "pre", "pre"),
    ("a.b.c", "prelong", "prelong"),
    ("upper.com", "up", "up"),
    ("", "star", "star"),
    ("[::1]:80", "star", "star"),
    ("[::1]", "star", "star"),
    ("foo.bar:99", "up", "star"),
    ("a.com.", "pre", "pre"),
];

#[test]
fn domains_take_hosts_as_in_envoy_1_40() {
    let mut text = "virtual_hosts:\n".to_owned();
    for (name, domains) in [
        ("exact", "'a.com', 'b.com:8080'"),
        ("suf", "'*.a.com'"),
        ("suflong", "'*.x.a.com'"),
        ("dash", "'*-bar.foo.com'"),
        ("pre", "'a.*'"),
        ("prelong", "'a.b.*'"),
        ("star", "'*'"),
        ("up", "'UPPER.com', 'foo.bar:*'"),
    ] {
        text += &format!(
            "- {{name: {name}, domains: [{domains}], routes: [{{name: {name}, match: {{prefix: /}}, \
             direct_response: {{status: 200}}}}]}}\n"
        );
    }
    let with_port = table(&text);
    let without_port = table(&format!("ignore_port_in_host_matching: true\n{text}"));
    for (host, expected, expected_without_port) in HOSTS {
        let head = request("/", host, &[]);
        assert_eq!(route_name(&with_port, &head), *expected, "host {host:?}");
        assert_eq!(route_name(&without_port, &head), *expected_without_port, "host {host:?}, port ignored");
    }
    let by_header = table(&format!("vhost_header: x-vh\n{text}"));
    assert_eq!(route_name(&by_header, &request("/", "q", &[("x-vh", "A.com")])), "exact");
    assert_eq!(route_name(&by_header, &request("/", "a.com", &[])), "-");
}

#[test]
fn long_hosts_are_compared_without_case_too() {
    let domain = format!("{}.com", "d".repeat(400));
    let table = table(&format!(
        "virtual_hosts: [{{name: v, domains: ['{domain}'], routes: [{{name: r, match: {{prefix: /}}, \
         direct_response: {{status: 200}}}}]}}]"
    ));
    assert_eq!(route_name(&table, &request("/", &domain.to_uppercase(), &[])), "r");
}

const PATHS: &[(&str, &str)] = &[
    ("/sep", "sepfoo"),
    ("/sep/", "sepfoo"),
    ("/sep/x", "sepfoo"),
    ("/sepx", "cisep"),
    ("/sep?x", "sepfoo"),
    ("/re/12", "regex"),
    ("/re/12?x", "regex"),
    ("/re/12x", "-"),
    ("/exact", "exact"),
    ("/exact?x", "exact"),
    ("/exact/", "-"),
    ("/EXACT", "-"),
    ("/case", "ci"),
    ("/CASE?x", "ci"),
    ("/prefixyy", "cip"),
    ("/SEPX/a", "cisep"),
    ("/sepxy", "-"),
    ("/q?x=1", "-"),
    ("/pfx", "pfx"),
    ("/pfx?x", "pfx"),
    ("/pfxa", "pfx"),
    ("/ps", "-"),
    ("/ps/", "pfxslash"),
    ("/ps?/", "-"),
    ("/rr", "-"),
    ("/RR", "cir"),
    ("/eq?x=1", "-"),
    ("/exact;a=b", "-"),
    ("//exact", "-"),
    ("/%65xact", "-"),
    ("/sep%2f", "-"),
    ("/sep;x=1", "-"),
    ("/sep/..", "sepfoo"),
    ("/none", "-"),
    ("*", "-"),
    ("", "-"),
];

const PATH_ROUTES: &[(&str, &str)] = &[
    ("sepfoo", "{path_separated_prefix: /sep}"),
    ("regex", "{safe_regex: {regex: '/re/[0-9]+'}}"),
    ("exact", "{path: /exact}"),
    ("ci", "{path: /CaSe, case_sensitive: false}"),
    ("cip", "{prefix: /PreFix, case_sensitive: false}"),
    ("cisep", "{path_separated_prefix: /SepX, case_sensitive: false}"),
    ("qp", "{prefix: '/q?x'}"),
    ("pfx", "{prefix: /pfx}"),
    ("pfxslash", "{prefix: /ps/}"),
    ("cir", "{safe_regex: {regex: '/RR'}, case_sensitive: false}"),
    ("exq", "{path: '/eq?x=1'}"),
];

#[test]
fn paths_are_matched_as_in_envoy_1_40() {
    let table = table(&routes(PATH_ROUTES));
    for (path, expected) in PATHS {
        assert_eq!(route_name(&table, &request(path, "a.com", &[])), *expected, "path {path:?}");
    }
}

#[test]
fn path_parameters_are_ignored_if_told() {
    let table = table(&format!("ignore_path_parameters_in_path_matching: true\n{}", routes(PATH_ROUTES)));
    for (path, expected) in [
        ("/exact;a=b", "exact"),
        ("/exact;a=b?x", "exact"),
        ("/sep;x/1", "sepfoo"),
        ("/re/12;x", "regex"),
        ("/pfx;a/b", "pfx"),
        ("/pf;a/x", "-"),
        ("/ps;a/", "pfxslash"),
    ] {
        assert_eq!(route_name(&table, &request(path, "a.com", &[])), expected, "path {path:?}");
    }
}

#[test]
fn connect_requests_have_no_path_to_match() {
    let table = table(&routes(&[("prefix", "{prefix: ''}"), ("connect", "{connect_matcher: {}}")]));
    assert_eq!(route_name(&table, &request("", "a.com:443", &[])), "connect");
    assert_eq!(route_name(&table, &request("/x", "a.com", &[])), "prefix");
}

/// Header values, and the matchers (by position) that take them.
type HeaderCase = (&'static [&'static str], &'static str);

const HEADER_MATCHERS: &[(char, &str)] = &[
    ('e', "{name: x, string_match: {exact: 'a,b'}}"),
    ('p', "{name: x, present_match: true}"),
    ('a', "{name: x, present_match: false}"),
    ('i', "{name: x, string_match: {exact: a}, invert_match: true}"),
    ('q', "{name: x, present_match: true, invert_match: true}"),
    ('r', "{name: x, range_match: {start: -10, end: 10}}"),
    ('s', "{name: x, range_match: {start: -10, end: 10}, invert_match: true}"),
    ('t', "{name: x, string_match: {exact: ''}, treat_missing_header_as_empty: true}"),
    ('u', "{name: x, string_match: {exact: a}, treat_missing_header_as_empty: true, invert_match: true}"),
    ('v', "{name: x, present_match: false, treat_missing_header_as_empty: true}"),
    ('w', "{name: x, present_match: true, treat_missing_header_as_empty: true}"),
    ('x', "{name: x, string_match: {safe_regex: {regex: 'a+'}}}"),
    ('c', "{name: X, string_match: {contains: AbC, ignore_case: true}}"),
    ('n', "{name: x}"),
];

const HEADER_CASES: &[HeaderCase] = &[
    (&[], "aqtuw"),
    (&["a,b"], "episuwn"),
    (&["a", "b"], "pswxn"),
    (&["a"], "pswxn"),
    (&[""], "pistuwn"),
    (&["-10"], "piruwn"),
    (&["10"], "pisuwn"),
    (&["9x"], "pisuwn"),
    (&["+5"], "piruwn"),
    (&["0x5"], "pisuwn"),
    (&["xaBcx"], "pisuwcn"),
    (&["b", "a", "b"], "pswxn"),
    (&["50", "5"], "piruwn"),
    (&["zabc", "5"], "piruwcn"),
    (&["", "a"], "pstwxn"),
];

#[test]
fn headers_are_matched_value_by_value_as_in_envoy_1_40() {
    for (values, takers) in HEADER_CASES {
        let headers: Vec<_> = values.iter().map(|value| ("x", *value)).collect();
        let head = request("/", "a.com", &headers);
        for (name, matcher) in HEADER_MATCHERS {
            let table = table(&routes(&[("r", &format!("{{prefix: /, headers: [{matcher}]}}"))]));
            let expected = if takers.contains(*name) { "r" } else { "-" };
            assert_eq!(route_name(&table, &head), expected, "values {values:?}, matcher {matcher}");
        }
    }
}

#[test]
fn pseudo_headers_and_host_are_headers() {
    let table = table(&routes(&[
        ("query", "{prefix: /, headers: [{name: ':path', string_match: {suffix: '?z'}}]}"),
        ("host", "{prefix: /, headers: [{name: Host, string_match: {exact: h.com}}]}"),
        ("authority", "{prefix: /, headers: [{name: ':authority', string_match: {exact: i.com}}]}"),
        ("method", "{prefix: /, headers: [{name: ':method', string_match: {exact: GET}}]}"),
    ]));
    assert_eq!(route_name(&table, &request("/?z", "a.com", &[])), "query");
    assert_eq!(route_name(&table, &request("/", "h.com", &[])), "host");
    assert_eq!(route_name(&table, &request("/", "i.com", &[])), "authority");
    assert_eq!(route_name(&table, &request("/", "a.com", &[])), "method");
}

#[test]
fn grpc_routes_take_grpc_content_types_only() {
    let table = table(&routes(&[("grpc", "{prefix: /, grpc: {}}")]));
    for (content_type, expected) in [
        ("application/grpc", "grpc"),
        ("application/grpc+proto", "grpc"),
        ("application/grpc-web", "-"),
        ("application/grpc;x", "-"),
        ("Application/GRPC", "-"),
    ] {
        let head = request("/", "a.com", &[("content-type", content_type)]);
        assert_eq!(route_name(&table, &head), expected, "{content_type}");
    }
}

#[test]
fn query_parameters_are_matched_as_in_envoy_1_40() {
    let matchers = [
        ('e', "{name: a, string_match: {exact: '1'}}"),
        ('m', "{name: a, string_match: {exact: ''}}"),
        ('p', "{name: a, present_match: true}"),
        ('n', "{name: a, present_match: false}"),
        ('b', "{name: 'a b', present_match: true}"),
        ('d', "{name: a, string_match: {exact: 'x y'}}"),
        ('r', "{name: a, string_match: {exact: 'x%20y'}}"),
        ('o', "{name: a}"),
    ];
    let cases = [
        ("/", "n"),
        ("/?", "n"),
        ("/?a", "mpo"),
        ("/?a=", "mpo"),
        ("/?a=1", "epo"),
        ("/?a=1&a=2", "epo"),
        ("/?a=2&a=1", "po"),
        ("/?a%20b=1", "n"),
        ("/?a=x%20y", "rpo"),
        ("/?a=x+y", "po"),
        ("/?b&a=1", "epo"),
        ("/?&&a=1&", "epo"),
        ("/?a=1=2", "po"),
        ("/?%61=1", "n"),
        ("/?b=a=1", "n"),
        ("/;a=1", "n"),
        ("/?b;a=1", "n"),
    ];
    for (name, matcher) in matchers {
        let table = table(&routes(&[("r", &format!("{{prefix: /, query_parameters: [{matcher}]}}"))]));
        for (path, takers) in cases {
            let expected = if takers.contains(name) { "r" } else { "-" };
            assert_eq!(
                route_name(&table, &request(path, "a.com", &[])),
                expected,
                "{path}, matcher {matcher}"
            );
        }
    }
}

#[test]
fn cookies_are_matched_as_in_envoy_1_40() {
    let matchers = [
        ('e', "{name: a, string_match: {exact: '1'}}"),
        ('i', "{name: a, string_match: {exact: '1'}, invert_match: true}"),
        ('q', "{name: a, string_match: {exact: '\"1\"'}}"),
    ];
    let cases: [(&[&str], char); 13] = [
        (&[], 'i'),
        (&["a=1"], 'e'),
        (&["b=2; a=1"], 'e'),
        (&["b=2;a=1"], 'e'),
        (&["a=2; a=1"], 'i'),
        (&["a=1; a=2"], 'e'),
        (&["b=1", "a=1"], 'e'),
        (&["a=\"1\""], 'e'),
        (&["A=1"], 'i'),
        (&["a = 1"], 'i'),
        (&["xa=1"], 'i'),
        (&["a=1 ;"], 'i'),
        (&["a=\"1"], 'i'),
    ];
    for (name, matcher) in matchers {
        let table = table(&routes(&[("r", &format!("{{prefix: /, cookies: [{matcher}]}}"))]));
        for (cookies, taker) in cases {
            let headers: Vec<_> = cookies.iter().map(|value| ("cookie", *value)).collect();
            let expected = if taker == name { "r" } else { "-" };
            assert_eq!(
                route_name(&table, &request("/", "a.com", &headers)),
                expected,
                "{cookies:?}, matcher {matcher}"
            );
        }
    }
}

#[test]
fn tls_is_required_before_routes_are_looked_at() {
    let text = |requirement| {
        format!(
            "virtual_hosts: [{{name: v, domains: ['*'], require_tls: {requirement}, routes: [{{name: r, \
             match: {{prefix: /only}}, direct_response: {{status: 200}}}}]}}]"
        )
    };
    let (all, external) = (table(&text("ALL")), table(&text("EXTERNAL_ONLY")));
    let plain = request("/nomatch", "a.com", &[]);
    let secure = request("/only", "a.com", &[("x-forwarded-proto", "https")]);
    let internal = request("/only", "a.com", &[("x-envoy-internal", "true")]);
    assert_eq!(route_name(&all, &plain), "tls");
    assert_eq!(route_name(&all, &internal), "tls");
    assert_eq!(route_name(&all, &secure), "r");
    assert_eq!(route_name(&external, &plain), "tls");
    assert_eq!(route_name(&external, &internal), "r");
    assert_eq!(route_name(&external, &secure), "r");
}
