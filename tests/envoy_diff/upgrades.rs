//! Upgrades of HTTP/1.1 connections: where they are allowed, what the origin sees, what becomes of the
//! answer.

use crate::Group;
use crate::case::{Case, case};
use crate::groups::{listener_with_routes, with_clusters};
use crate::side::Ports;

const ROUTES: &str = "
- match: {prefix: /off}
  route: {cluster: origin, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}
- match: {prefix: /chat}
  route: {cluster: origin, upgrade_configs: [{upgrade_type: Chat}]}
- match: {prefix: /direct}
  direct_response: {status: 200, body: {inline_string: direct}}
- match: {prefix: /redirect}
  redirect: {path_redirect: /elsewhere}
- match: {prefix: /nowhere}
  route: {cluster: refused}
- match: {prefix: /rewrite}
  route: {cluster: origin, prefix_rewrite: /new, host_rewrite_literal: other.test}
- match: {prefix: /ws}
  route: {cluster: origin}
";

fn config(ports: &Ports) -> String {
    let with = |name: &str, hcm: &str| listener_with_routes(name, ROUTES).hcm(hcm);
    let http = with("main", "upgrade_configs: [{upgrade_type: websocket}]")
        .and(with("disabled", "upgrade_configs: [{upgrade_type: websocket, enabled: false}]"))
        .and(with("none", ""));
    with_clusters(http, ports).yaml()
}

const ACCEPTED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

const DECLINED: &str = "RFC 9110 7.8: a declined upgrade is an ordinary request, and its connection ends";

pub fn group() -> Group {
    let mut cases = vec![
        upgrade("accepted", "/ws").origin(ACCEPTED).no_probe(),
        upgrade("accepted in another case", "/ws")
            .origin(&ACCEPTED.replace("websocket", "WebSocket"))
            .no_probe(),
        upgrade("rewritten", "/rewrite/x").origin(ACCEPTED).no_probe(),
        upgrade("with more options", "/ws").field("Keep-Alive: x").origin(ACCEPTED).no_probe(),
        upgrade("refused with a body", "/ws")
            .origin("HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno")
            .closes(),
        upgrade("answered 200", "/ws")
            .origin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .closes()
            .differs(DECLINED, |outcome| outcome.text(&[], false).contains("body \"ok\"")),
        upgrade("answered 426", "/ws")
            .origin("HTTP/1.1 426 No\r\nUpgrade: chat\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n")
            .closes()
            .differs(DECLINED, |outcome| outcome.text(&[], false).contains("upgrade: chat")),
        case("among other options")
            .get("/ws")
            .field("Connection: keep-alive, Upgrade, x-gone")
            .field("Upgrade: websocket")
            .field("X-Gone: 1")
            .origin(ACCEPTED)
            .no_probe()
            .differs("RFC 9110 7.6.1: fields that Connection names end here", |outcome| {
                let text = outcome.text(&[], true);
                !text.contains("x-gone") && text.matches("connection: Upgrade").count() == 2
            }),
        upgrade("origin refuses connections", "/nowhere").closes(),
        upgrade("to a direct response", "/direct").closes(),
        upgrade("to a redirect", "/redirect").closes(),
        upgrade("without a route", "/unknown").closes(),
        upgrade("disabled on the route", "/off").closes(),
        upgrade("disabled in the manager", "/ws").on("disabled").closes(),
        upgrade("not configured", "/ws").on("none").closes(),
        case("another protocol, allowed on the route")
            .get("/chat")
            .field("Connection: upgrade")
            .field("Upgrade: chat")
            .origin(&ACCEPTED.replace("websocket", "chat"))
            .no_probe(),
        case("another protocol, not allowed")
            .get("/ws")
            .field("Connection: upgrade")
            .field("Upgrade: chat")
            .closes(),
        case("websocket where the route names chat")
            .get("/chat")
            .field("Connection: upgrade")
            .field("Upgrade: websocket")
            .origin(ACCEPTED)
            .no_probe(),
        case("an upgrade header without connection").get("/ws").field("Upgrade: websocket"),
        case("connection: upgrade without an upgrade header").get("/ws").field("Connection: upgrade"),
    ];
    cases.extend(["main", "none"].map(|listener| {
        case(&format!("{listener}: h2c is not upgraded to"))
            .on(listener)
            .get("/ws")
            .field("Connection: Upgrade, HTTP2-Settings")
            .field("Upgrade: h2c")
            .field("HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    }));
    Group { name: "upgrades", config, cases }
}

fn upgrade(name: &str, path: &str) -> Case {
    case(name)
        .get(path)
        .field("Connection: Upgrade")
        .field("Upgrade: websocket")
        .field("Sec-WebSocket-Version: 13")
}
