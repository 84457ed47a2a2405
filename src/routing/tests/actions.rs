//! What routes do to requests: redirects, rewrites, clusters. Every outcome is what Envoy 1.40 did.

use std::rc::Rc;

use super::{request, table, try_table};
use crate::base::clock::{Instant, UnixTime};
use crate::config::Runtime;
use crate::formatter::FormatContext;
use crate::http::{RequestHead, ResponseHead, Version};
use crate::routing::{MatchContext, RouteMatch, RouteTable, write_https_location};
use crate::stream_info::{ConnectionInfo, PeerAddress, StreamInfo, Timing};

pub fn stream_info() -> StreamInfo {
    let address = PeerAddress::Ip(([127, 0, 0, 1], 80).into());
    let connection = ConnectionInfo::new(1, address.clone(), address);
    let timing = Timing::starting(Instant::from_nanos(0), UnixTime::from_nanos(0));
    StreamInfo::new(Rc::new(connection), Some(Version::Http11), timing)
}

pub fn context(info: &StreamInfo) -> FormatContext<'_> {
    FormatContext::new(info, Instant::from_nanos(0), UnixTime::from_nanos(0))
}

/// The request as upstream would see it: path, then headers by name.
fn finalize(table: &RouteTable, mut head: RequestHead) -> RequestHead {
    let runtime = Runtime::default();
    let seen = head.clone();
    let RouteMatch::Route(matched) = table.match_route(&seen, &MatchContext { random: 0, runtime: &runtime })
    else {
        panic!("no route takes {seen:?}");
    };
    matched.finalize_request(&mut head, &context(&stream_info()));
    head
}

fn location(table: &RouteTable, head: &RequestHead) -> (u16, String) {
    let runtime = Runtime::default();
    let RouteMatch::Route(matched) = table.match_route(head, &MatchContext { random: 0, runtime: &runtime })
    else {
        panic!("no route takes {head:?}");
    };
    let mut response = ResponseHead::new(301);
    matched.add_location(head, &mut response, &mut Vec::new());
    let code = match &matched.route.action {
        crate::routing::Action::Redirect(redirect) => redirect.response_code,
        crate::routing::Action::DirectResponse(reply) => reply.status,
        other => panic!("{other:?}"),
    };
    (code, response.headers.get_str("location").unwrap_or_default().to_owned())
}

#[test]
fn locations_are_composed_as_in_envoy_1_40() {
    let mut text = "virtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n".to_owned();
    for (route_match, redirect) in [
        ("{prefix: /https}", "{https_redirect: true}"),
        ("{prefix: /sch}", "{scheme_redirect: foo}"),
        ("{prefix: /host}", "{host_redirect: n.com}"),
        ("{prefix: /hp}", "{host_redirect: 'n.com:99'}"),
        ("{prefix: /port}", "{port_redirect: 8080}"),
        ("{prefix: /p80}", "{port_redirect: 80}"),
        ("{prefix: /p443}", "{port_redirect: 443, https_redirect: true}"),
        ("{prefix: /path}", "{path_redirect: /new}"),
        ("{prefix: /pqs}", "{path_redirect: '/new?z=1', strip_query: true}"),
        ("{prefix: /pq}", "{path_redirect: '/new?z=1'}"),
        ("{prefix: /pfq}", "{prefix_rewrite: '/n?a=b'}"),
        ("{prefix: /pf/}", "{prefix_rewrite: /np/}"),
        ("{path: /pe}", "{prefix_rewrite: /npe}"),
        ("{prefix: /re}", "{regex_rewrite: {pattern: {regex: '/re/(.*)/(.*)'}, substitution: '/\\2/\\1'}}"),
        ("{prefix: /sq}", "{strip_query: true, host_redirect: n.com}"),
        ("{prefix: /c302}", "{response_code: FOUND, path_redirect: /x}"),
        ("{prefix: /c303}", "{response_code: SEE_OTHER, path_redirect: /x}"),
        ("{prefix: /c307}", "{response_code: TEMPORARY_REDIRECT, path_redirect: /x}"),
        ("{prefix: /c308}", "{response_code: PERMANENT_REDIRECT, path_redirect: /x}"),
        ("{prefix: /noop}", "{}"),
        ("{prefix: /CI, case_sensitive: false}", "{prefix_rewrite: /x}"),
        ("{path_separated_prefix: /psp}", "{prefix_rewrite: /y}"),
        ("{safe_regex: {regex: '/rxp/.*'}}", "{prefix_rewrite: /y}"),
        ("{prefix: /hash}", "{path_redirect: '/x#frag'}"),
    ] {
        text += &format!("  - {{match: {route_match}, redirect: {redirect}}}\n");
    }
    let table = table(&text);
    let cases = [
        ("/https/a?b", "a.com", 301, "https://a.com/https/a?b"),
        ("/https", "a.com:80", 301, "https://a.com/https"),
        ("/https", "a.com:8080", 301, "https://a.com:8080/https"),
        ("/https", "a.com:443", 301, "https://a.com:443/https"),
        ("/https", "[::1]:80", 301, "https://[::1]/https"),
        ("/https", "[::1]", 301, "https://[::1]/https"),
        ("/sch", "a.com:80", 301, "foo://a.com/sch"),
        ("/host?q", "a.com:80", 301, "http://n.com/host?q"),
        ("/hp", "a.com", 301, "http://n.com:99/hp"),
        ("/port", "a.com:99", 301, "http://a.com:8080/port"),
        ("/port", "a.com", 301, "http://a.com:8080/port"),
        ("/p80", "a.com:99", 301, "http://a.com:80/p80"),
        ("/p443", "a.com", 301, "https://a.com:443/p443"),
        ("/path/x?q=1", "a.com", 301, "http://a.com/new?q=1"),
        ("/pq?q=1", "a.com", 301, "http://a.com/new?z=1"),
        ("/pqs?q=1", "a.com", 301, "http://a.com/new?z=1"),
        ("/pf/a/b?c", "a.com", 301, "http://a.com/np/a/b?c"),
        ("/pe?x", "a.com", 301, "http://a.com/npe?x"),
        ("/pfq/a?b", "a.com", 301, "http://a.com/n?a=b/a?b"),
        ("/re/a/b?q=/re/c/d", "a.com", 301, "http://a.com/b/a?q=/re/c/d"),
        ("/sq?x=1", "a.com", 301, "http://n.com/sq"),
        ("/c302", "a.com", 302, "http://a.com/x"),
        ("/c303", "a.com", 303, "http://a.com/x"),
        ("/c307", "a.com", 307, "http://a.com/x"),
        ("/c308", "a.com", 308, "http://a.com/x"),
        ("/noop?x", "a.com", 301, "http://a.com/noop?x"),
        ("/ci/a", "a.com", 301, "http://a.com/x/a"),
        ("/psp/a", "a.com", 301, "http://a.com/y/a"),
        ("/rxp/a", "a.com", 301, "http://a.com/y"),
        ("/hash?q", "a.com", 301, "http://a.com/x#frag?q"),
        ("/https", "", 301, "https:///https"),
    ];
    for (path, host, code, expected) in cases {
        assert_eq!(location(&table, &request(path, host, &[])), (code, expected.to_owned()), "{path} {host}");
    }
    let secure = [("x-forwarded-proto", "https")];
    for (path, host, expected) in [
        ("/https", "a.com:443", "https://a.com:443/https"),
        ("/sch", "a.com:443", "foo://a.com/sch"),
        ("/port", "a.com", "https://a.com:8080/port"),
    ] {
        assert_eq!(location(&table, &request(path, host, &secure)).1, expected, "{path} {host} over TLS");
    }
}

#[test]
fn created_and_3xx_replies_say_where_they_are() {
    let text = |status| {
        format!(
            "virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, \
             direct_response: {{status: {status}}}}}]}}]"
        )
    };
    assert_eq!(location(&table(&text(201)), &request("/d?q", "a.com", &[])).1, "http://a.com/d?q");
    assert_eq!(location(&table(&text(200)), &request("/d", "a.com", &[])).1, "");
}

#[test]
fn the_redirect_to_tls_keeps_the_port() {
    let mut out = Vec::new();
    write_https_location(&request("/a?b", "a.com:80", &[]), &mut out);
    assert_eq!(out, b"https://a.com:80/a?b");
}

fn rewrites() -> RouteTable {
    let mut text = "virtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n".to_owned();
    for (route_match, action) in [
        ("{prefix: /pr/}", "prefix_rewrite: /"),
        ("{prefix: /pb}", "prefix_rewrite: /"),
        ("{path: /ex}", "prefix_rewrite: /new"),
        ("{path_separated_prefix: /sep}", "prefix_rewrite: /s2"),
        ("{prefix: /pq}", "prefix_rewrite: '/n?x=y'"),
        (
            "{safe_regex: {regex: '/rx/.*'}}",
            "regex_rewrite: {pattern: {regex: '/rx/([^/]*)'}, substitution: '/y/\\1'}",
        ),
        ("{prefix: /rg}", "regex_rewrite: {pattern: {regex: g}, substitution: 'G\\0\\\\'}"),
        ("{safe_regex: {regex: '/rp/.*'}}", "prefix_rewrite: /zz"),
        ("{prefix: /hl}", "host_rewrite_literal: lit.com, append_x_forwarded_host: true"),
        ("{prefix: /hh}", "host_rewrite_header: x-host, append_x_forwarded_host: true"),
        (
            "{prefix: /hp}",
            "host_rewrite_path_regex: {pattern: {regex: '^/hp/([^/]*).*'}, substitution: '\\1.com'}, \
             prefix_rewrite: /gone",
        ),
        ("{prefix: /none}", ""),
        ("{prefix: /CiX, case_sensitive: false}", "prefix_rewrite: /n"),
        ("{prefix: /ns}", "prefix_rewrite: noslash"),
    ] {
        text += &format!("  - {{match: {route_match}, route: {{cluster: a, {action}}}}}\n");
    }
    table(&text)
}

#[test]
fn paths_are_rewritten_as_in_envoy_1_40() {
    let table = rewrites();
    for (path, expected) in [
        ("/pr/a?b=/pr/", "/a?b=/pr/"),
        ("/pb/x", "//x"),
        ("/pb", "/"),
        ("/ex?q", "/new?q"),
        ("/sep", "/s2"),
        ("/sep/a", "/s2/a"),
        ("/pq/a?z", "/n?x=y/a?z"),
        ("/rx/a/b?c=/rx/q", "/y/a/b?c=/rx/q"),
        ("/rg/gg?g", "/rGg\\/Gg\\Gg\\?g"),
        ("/rp/a", "/zz"),
        ("/cix/a", "/n/a"),
        ("/ns/a", "noslash/a"),
    ] {
        let head = finalize(&table, request(path, "a.com", &[("x-envoy-original-path", "/evil")]));
        assert_eq!(String::from_utf8_lossy(head.path()), expected, "{path}");
        assert_eq!(head.headers.get_all("x-envoy-original-path").collect::<Vec<_>>(), [path.as_bytes()]);
    }
    let kept = finalize(&table, request("/none", "a.com", &[("x-envoy-original-path", "/evil")]));
    assert_eq!(kept.path(), b"/none");
    assert_eq!(kept.headers.get_str("x-envoy-original-path"), Some("/evil"));
}

#[test]
fn hosts_are_rewritten_as_in_envoy_1_40() {
    let table = rewrites();
    /// Path, headers, then what authority, `x-envoy-original-host` and `x-forwarded-host` become.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 5] = [
        ("/hl", &[("x-forwarded-host", "old")], "lit.com", Some("a.com"), Some("old,a.com")),
        ("/hh", &[("x-host", "hdr.com")], "hdr.com", Some("a.com"), Some("a.com")),
        ("/hh", &[], "a.com", None, None),
        ("/hh", &[("x-host", "h1"), ("x-host", "h2")], "h1", Some("a.com"), Some("a.com")),
        ("/hp/foo/bar?q", &[], "foo.com", Some("a.com"), None),
    ];
    for (path, headers, host, original, forwarded) in cases {
        let head = finalize(&table, request(path, "a.com", headers));
        assert_eq!(String::from_utf8_lossy(head.authority()), host, "{path}");
        assert_eq!(head.headers.get_str("x-envoy-original-host"), original, "{path}");
        assert_eq!(head.headers.get_str("x-forwarded-host"), forwarded, "{path}");
    }
}

fn cluster(table: &RouteTable, head: &RequestHead, random: u64) -> Option<String> {
    let runtime = Runtime::default();
    match table.match_route(head, &MatchContext { random, runtime: &runtime }) {
        RouteMatch::Route(matched) => {
            assert_eq!(table.resolve(matched.id).map(|again| again.id), Some(matched.id));
            matched.cluster_name(head).map(str::to_owned)
        }
        _ => None,
    }
}

#[test]
fn weights_and_headers_choose_the_cluster() {
    let text = |more: &str| {
        format!(
            "virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /w}}, route: {{\
             weighted_clusters: {{clusters: [{{name: a, weight: 10}}, {{name: b, weight: 20}}, \
             {{name: c, weight: 30}}]{more}}}}}}}, \
             {{match: {{prefix: /h}}, route: {{cluster_header: x-c}}}}]}}]"
        )
    };
    let plain = table(&text(""));
    let head = request("/w", "a.com", &[]);
    for (random, expected) in [(0, "a"), (9, "a"), (10, "b"), (29, "b"), (30, "c"), (59, "c"), (60, "a")] {
        assert_eq!(cluster(&plain, &head, random).as_deref(), Some(expected), "random {random}");
    }
    let by_header = table(&text(", header_name: x-r"));
    for (value, expected) in
        [("0", "a"), ("10", "b"), ("59", "c"), ("70", "b"), ("18446744073709551615", "b"), ("abc", "c")]
    {
        let head = request("/w", "a.com", &[("x-r", value)]);
        assert_eq!(cluster(&by_header, &head, 30).as_deref(), Some(expected), "x-r: {value}");
    }
    assert_eq!(cluster(&plain, &request("/h", "a.com", &[("x-c", "b")]), 0).as_deref(), Some("b"));
    assert_eq!(cluster(&plain, &request("/h", "a.com", &[("x-c", "")]), 0), None);
    assert_eq!(cluster(&plain, &request("/h", "a.com", &[]), 0), None);
}

#[test]
fn wrong_formats_are_reported_with_their_places() {
    let errors = try_table(
        "virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200}, \
         response_headers_to_add: [{header: {key: a, value: '%FOO%'}}, {header: {key: b, value: '%'}}]}]}]",
    )
    .map(|_| ())
    .expect_err("two wrong formats");
    let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "Not supported field in StreamInfo: FOO",
            "Incorrect configuration: %. Couldn't find valid command at position 0"
        ]
    );
    assert!(
        errors[0].path.starts_with("virtual_hosts[0].routes[0].response_headers_to_add[0]"),
        "{errors:?}"
    );
}
