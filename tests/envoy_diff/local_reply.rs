//! Responses that the proxy makes itself, as they are and as `local_reply_config` changes them.

use crate::Group;
use crate::case::case;
use crate::groups::{listener_with_routes, with_clusters};
use crate::side::Ports;
use ringway_test_support::{Answer, Then};

const ROUTES: &str = "
- match: {prefix: /direct}
  direct_response: {status: 403, body: {inline_string: forbidden}}
- match: {prefix: /refused}
  route: {cluster: refused}
- match: {prefix: /short}
  route: {cluster: origin, timeout: 0.05s}
- match: {prefix: /unknown}
  route: {cluster_header: x-cluster}
- match: {prefix: /not_found}
  route: {cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND}
- match: {prefix: /moved}
  redirect: {host_redirect: other.test}
- match: {prefix: /origin}
  route: {cluster: origin}
";

const TEXT: &str = r#"
local_reply_config:
  body_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %LOCAL_REPLY_BODY% path=%REQ(:path)% details=%RESPONSE_CODE_DETAILS%\n"}}
"#;

const JSON: &str = r#"
local_reply_config:
  body_format:
    json_format: {status: "%RESPONSE_CODE%", message: "%LOCAL_REPLY_BODY%", path: "%REQ(:path)%", nested: {flags: "%RESPONSE_FLAGS%"}, none: "%REQ(x-none)%"}
"#;

const MAPPERS: &str = r#"
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: a}}}}
    status_code: 410
    body: {inline_string: "gone"}
    headers_to_add: [{header: {key: x-mapped, value: "%RESPONSE_CODE%"}}]
  - filter: {response_flag_filter: {flags: [UF]}}
    status_code: 598
    body_format_override: {text_format_source: {inline_string: "flagged: %LOCAL_REPLY_BODY%"}, content_type: "text/x-own"}
  - filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: b}}}}
    headers_to_add: [{header: {key: x-mapped, value: server}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
  - filter: {header_filter: {header: {name: x-ask, string_match: {exact: json}}}}
    body_format_override: {json_format: {asked: "%REQ(x-ask)%"}}
  body_format: {text_format_source: {inline_string: "default: %LOCAL_REPLY_BODY%"}}
"#;

fn config(ports: &Ports) -> String {
    let http = listener_with_routes("plain", ROUTES)
        .and(listener_with_routes("text", ROUTES).hcm(TEXT))
        .and(listener_with_routes("json", ROUTES).hcm(JSON))
        .and(listener_with_routes("mappers", ROUTES).hcm(MAPPERS));
    with_clusters(http, ports).yaml()
}

/// Known faults by row.
const KNOWN: &[(&str, &str)] = &[
    ("text: grpc, no route", "28"),
    ("text: grpc, timeout", "28"),
    ("plain: upgrade", "17"),
    ("text: upgrade", "17"),
    ("json: upgrade", "17"),
    ("mappers: upgrade", "17"),
    ("text: grpc, refused", "18"),
];

pub fn group() -> Group {
    let stall = || Answer::Raw(Vec::new(), Then::Stall);
    let cases = ["plain", "text", "json", "mappers"]
        .iter()
        .flat_map(|listener| {
            let on = |name: &str, target: &str| case(&format!("{listener}: {name}")).on(listener).get(target);
            vec![
                on("no route", "/nothing?a=\"b\""),
                on("direct", "/direct"),
                on("refused", "/refused"),
                on("timeout", "/short").answer(stall()),
                on("unknown cluster", "/unknown").field("x-cluster: nowhere"),
                on("unknown cluster, as 404", "/not_found").field("x-cluster: nowhere"),
                on("redirect", "/moved/x"),
                on("grpc, no route", "/nothing").field("content-type: application/grpc"),
                on("grpc, refused", "/refused").field("content-type: application/grpc"),
                on("grpc, timeout", "/short").field("content-type: application/grpc").answer(stall()),
                on("asked for json", "/direct").field("x-ask: json"),
                on("head", "/direct").method("HEAD", "/direct"),
                on("origin's own 404 is no local reply", "/origin").answer(Answer::status(404, "", "theirs")),
                on("fragment", "/a#b"),
                case(&format!("{listener}: malformed"))
                    .on(listener)
                    .raw("GET / HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n"),
                case(&format!("{listener}: too many fields")).on(listener).raw(format!(
                    "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                    (0..150).map(|i| format!("x-{i}: v\r\n")).collect::<String>()
                )),
                case(&format!("{listener}: http 1.0")).on(listener).raw("GET / HTTP/1.0\r\n\r\n"),
                case(&format!("{listener}: upgrade"))
                    .on(listener)
                    .field("Connection: upgrade")
                    .field("Upgrade: websocket"),
            ]
        })
        .map(|row| match KNOWN.iter().find(|(name, _)| *name == row.name) {
            Some((_, bug)) => row.bug(bug),
            None => row,
        })
        .collect();
    Group { name: "local_reply", config, cases }
}
