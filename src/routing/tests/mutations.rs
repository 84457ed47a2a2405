//! Changes of headers at all levels. Every outcome is what Envoy 1.40 did.

use super::actions::{context, stream_info};
use super::{request, table};
use crate::config::Runtime;
use crate::http::{RequestHead, ResponseHead};
use crate::routing::{MatchContext, RouteMatch};

/// The values of the `x-` headers in order, as `name=value`.
fn custom_headers(headers: &crate::http::HeaderMap) -> Vec<String> {
    let text = |(name, value): (&str, &[u8])| format!("{name}={}", String::from_utf8_lossy(value));
    headers.iter_without_pseudo().map(text).filter(|line| line.starts_with("x-")).collect()
}

fn finalized(text: &str, mut head: RequestHead) -> (Vec<String>, Vec<String>) {
    let table = table(text);
    let runtime = Runtime::default();
    let seen = head.clone();
    let RouteMatch::Route(matched) = table.match_route(&seen, &MatchContext { random: 0, runtime: &runtime })
    else {
        panic!("no route");
    };
    let info = stream_info();
    matched.finalize_request(&mut head, &context(&info));
    let mut response = ResponseHead::new(200);
    response.headers.append("x-origin", b"o");
    matched.finalize_response(&mut response, &context(&info).with_request(&head));
    (custom_headers(&head.headers), custom_headers(&response.headers))
}

const LEVELS: &str = "
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - match: {prefix: /}
    route:
      weighted_clusters:
        clusters:
        - {name: a, weight: 1, LEVEL wc}
    LEVEL route
  LEVEL vh
LEVEL rc
";

/// Puts the same three additions into every level, each with the level's name as value.
fn levels(most_specific_wins: bool) -> String {
    let mut text = LEVELS.to_owned();
    for (level, indent, flow) in
        [("wc", "", true), ("route", "    ", false), ("vh", "  ", false), ("rc", "", false)]
    {
        let additions = |kind: &str| {
            format!(
                "{kind}_headers_to_add: [{{header: {{key: x-order, value: {level}}}}}, \
                 {{header: {{key: x-ow, value: {level}}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}, \
                 {{header: {{key: x-abs, value: {level}}}, append_action: ADD_IF_ABSENT}}]"
            )
        };
        let separator = if flow { ", ".to_owned() } else { format!("\n{indent}") };
        let both = [additions("request"), additions("response")].join(&separator);
        text = text.replace(&format!("LEVEL {level}"), &both);
    }
    if most_specific_wins {
        text += "most_specific_header_mutations_wins: true\n";
    }
    text
}

#[test]
fn levels_are_applied_in_envoys_order() {
    let (request_headers, response_headers) = finalized(&levels(false), request("/w", "a.com", &[]));
    let outward = ["x-order=wc", "x-abs=wc", "x-order=route", "x-order=vh", "x-ow=rc", "x-order=rc"];
    assert_eq!(sorted(&request_headers), sorted(&outward));
    assert_eq!(order(&request_headers), ["wc", "route", "vh", "rc"]);
    assert_eq!(order(&response_headers), ["wc", "route", "vh", "rc"]);
    let (request_headers, response_headers) = finalized(&levels(true), request("/w", "a.com", &[]));
    assert_eq!(order(&request_headers), ["wc", "rc", "vh", "route"]);
    assert_eq!(order(&response_headers), ["wc", "rc", "vh", "route"]);
    assert!(request_headers.contains(&"x-ow=route".to_owned()), "{request_headers:?}");
}

fn order(headers: &[String]) -> Vec<&str> {
    headers.iter().filter_map(|line| line.strip_prefix("x-order=")).collect()
}

fn sorted(lines: &[impl AsRef<str>]) -> Vec<String> {
    let mut lines: Vec<_> = lines.iter().map(|line| line.as_ref().to_owned()).collect();
    lines.sort();
    lines
}

/// Removals come first, formats see the headers after them, replacing values come before appended ones.
#[test]
fn additions_see_the_headers_as_they_were() {
    let text = "
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - match: {prefix: /h}
    route: {cluster: a, prefix_rewrite: /new}
    request_headers_to_add:
    - {header: {key: x-a, value: '1'}}
    - {header: {key: x-a, value: '2'}}
    - {header: {key: x-ex, value: new}, append_action: OVERWRITE_IF_EXISTS}
    - {header: {key: x-mis, value: new}, append_action: OVERWRITE_IF_EXISTS}
    - {header: {key: x-rm, value: added}}
    - {header: {key: x-emp, value: '%REQ(nope)%'}}
    - {header: {key: x-keep, value: '%REQ(nope)%'}, keep_empty_value: true}
    - {header: {key: x-mix, value: 'a%REQ(nope)%b'}}
    - {header: {key: x-seq, value: '%REQ(x-a)%'}}
    - {header: {key: x-pct, value: '100%%'}}
    - {header: {key: x-two, value: '1'}}
    - {header: {key: x-two, value: '2'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
    - {header: {key: x-two, value: '3'}}
    - {header: {key: x-abs2, value: '1'}, append_action: ADD_IF_ABSENT}
    - {header: {key: x-abs2, value: '2'}, append_action: ADD_IF_ABSENT}
    - {header: {key: x-path, value: '%REQ(:path)%'}}
    request_headers_to_remove: [x-rm, x-del]
    response_headers_to_add:
    - {header: {key: x-code, value: '%RESPONSE_CODE% %RESP(x-origin)% %REQ(:path)% %UPSTREAM_HOST%'}}
    response_headers_to_remove: [x-origin]
";
    let headers = [("x-ex", "o1"), ("x-ex", "o2"), ("x-rm", "orig"), ("x-del", "d"), ("x-two", "0")];
    let (request_headers, response_headers) = finalized(text, request("/h", "a.com", &headers));
    assert_eq!(
        sorted(&request_headers),
        sorted(&[
            "x-ex=new",
            "x-two=2",
            "x-a=1",
            "x-a=2",
            "x-rm=added",
            "x-keep=",
            "x-mix=ab",
            "x-pct=100%",
            "x-two=1",
            "x-two=3",
            "x-abs2=1",
            "x-abs2=2",
            "x-path=/h",
            "x-envoy-original-path=/h",
        ])
    );
    let two: Vec<_> = request_headers.iter().filter(|line| line.starts_with("x-two")).collect();
    assert_eq!(two, ["x-two=2", "x-two=1", "x-two=3"]);
    assert_eq!(response_headers, ["x-code=0  /new "]);
}
