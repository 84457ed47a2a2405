//! Network filters that decide whether a connection is served: `rbac`, `connection_limit`, `local_ratelimit`.

use ringway_test_support::TcpPeer;
use ringway_test_support::l4_config::{L4, access_log, chain, direct_response, network_filter};

use crate::l4::{FORMAT, Group, LOG, Ports, case, logged};

/// An RBAC filter with these fields.
fn rbac(fields: &str) -> String {
    network_filter("rbac.v3.RBAC", &format!("stat_prefix: p.\n{fields}"))
}

/// `rules` with this action and one policy `policy` for this permission and this principal.
fn rules(field: &str, action: &str, permission: &str, principal: &str) -> String {
    format!(
        "{field}: {{action: {action}, policies: {{my policy: {{permissions: [{permission}], principals: [{principal}]}}}}}}"
    )
}

const ANY: &str = "{any: true}";

fn config(ports: &Ports) -> L4 {
    let permission = |action: &str, permission: &str| rules("rules", action, permission, ANY);
    let principal = |action: &str, principal: &str| rules("rules", action, ANY, principal);
    let port = ports.origin;
    let rbacs = [
        ("allow_any", permission("ALLOW", ANY)),
        ("deny_any", permission("DENY", ANY)),
        ("log_any", permission("LOG", ANY)),
        ("log_none", permission("LOG", "{not_rule: {any: true}}")),
        ("no_rules", String::new()),
        ("empty_rules", "rules: {}".into()),
        ("empty_deny", "rules: {action: DENY}".into()),
        (
            "shadow",
            format!(
                "{}\n{}\nshadow_rules_stat_prefix: s_",
                permission("ALLOW", ANY),
                rules("shadow_rules", "DENY", ANY, ANY)
            ),
        ),
        ("shadow_plain", rules("shadow_rules", "ALLOW", ANY, ANY)),
        ("shadow_log", rules("shadow_rules", "LOG", ANY, ANY)),
        (
            "destination_ip",
            permission("ALLOW", "{destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}"),
        ),
        (
            "destination_ip_not",
            permission("ALLOW", "{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}"),
        ),
        ("destination_port_not", permission("ALLOW", &format!("{{destination_port: {port}}}"))),
        ("destination_ports", permission("ALLOW", "{destination_port_range: {start: 1, end: 65536}}")),
        ("no_name", permission("ALLOW", "{requested_server_name: {exact: a}}")),
        ("empty_name", permission("ALLOW", "{requested_server_name: {exact: ''}}")),
        ("url_path", permission("ALLOW", "{url_path: {path: {prefix: /}}}")),
        ("not_url_path", permission("ALLOW", "{not_rule: {url_path: {path: {prefix: /}}}}")),
        ("authenticated", principal("ALLOW", "{authenticated: {}}")),
        ("not_authenticated", principal("ALLOW", "{not_id: {authenticated: {}}}")),
        ("source_ip", principal("ALLOW", "{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}")),
        ("remote_ip", principal("DENY", "{remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}")),
        (
            "and_or",
            principal(
                "DENY",
                "{and_ids: {ids: [{any: true}, {or_ids: {ids: [{not_id: {any: true}}, {any: true}]}}]}}",
            ),
        ),
        ("delay", format!("{}\ndelay_deny: 0.3s", permission("DENY", ANY))),
        ("continuous", format!("{}\nenforcement_type: CONTINUOUS", permission("ALLOW", ANY))),
    ];
    let mut l4 = rbacs.iter().fold(L4::new(), |l4, (name, fields)| {
        l4.listener(name, &chain(&format!("{}\n{}", rbac(fields), logged("cluster: origin"))))
    });
    let log = access_log(LOG, FORMAT);
    let deny = rbac(&permission("DENY", ANY));
    l4 = l4
        .listener("greeting", &chain(&format!("{deny}\n{}", logged("cluster: second"))))
        .listener(
            "echo",
            &format!("{log}\n{}", chain(&format!("{deny}\n{}", network_filter("echo.v3.Echo", "")))),
        )
        .listener("direct", &format!("{log}\n{}", chain(&format!("{deny}\n{}", direct_response("bye")))));
    let limits = [
        ("limit_1", "connection_limit.v3.ConnectionLimit", "stat_prefix: l1\nmax_connections: 1"),
        (
            "limit_delay",
            "connection_limit.v3.ConnectionLimit",
            "stat_prefix: ld\nmax_connections: 1\ndelay: 0.3s",
        ),
        (
            "limit_off",
            "connection_limit.v3.ConnectionLimit",
            "stat_prefix: lo\nmax_connections: 1\nruntime_enabled: {default_value: false, runtime_key: a}",
        ),
        (
            "rate",
            "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix: r\ntoken_bucket: {max_tokens: 1, fill_interval: 3600s}",
        ),
        (
            "rate_off",
            "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix: ro\ntoken_bucket: {max_tokens: 1, fill_interval: 3600s}\nruntime_enabled: {default_value: false, runtime_key: a}",
        ),
    ];
    for (name, message, fields) in limits {
        let filters = format!("{}\n{}", network_filter(message, fields), logged("cluster: origin"));
        l4 = l4.listener(
            name,
            &format!("{}\n{}", access_log(LOG, &format!("listener {FORMAT}")), chain(&filters)),
        );
    }
    l4.cluster("origin", ports.origin, "").cluster("second", ports.second, "")
}

/// Holds the connection while a second one is tried.
fn and_another(client: &mut TcpPeer) {
    client.send("hello").read_until(5);
    let address = client.stream().peer_addr().expect("connected");
    let mut second = TcpPeer::connect(address);
    second.send("again");
    second.await_end(std::time::Duration::from_secs(2));
    client.received.extend_from_slice(b", second got ");
    client.received.extend_from_slice(&second.received);
    client.half_close();
}

pub fn group() -> Group {
    let rbacs = [
        "allow_any",
        "deny_any",
        "log_any",
        "log_none",
        "no_rules",
        "empty_rules",
        "empty_deny",
        "shadow",
        "shadow_plain",
        "shadow_log",
        "destination_ip",
        "destination_ip_not",
        "destination_port_not",
        "destination_ports",
        "no_name",
        "empty_name",
        "url_path",
        "not_url_path",
        "authenticated",
        "not_authenticated",
        "source_ip",
        "remote_ip",
        "and_or",
        "delay",
        "continuous",
    ];
    let mut cases: Vec<_> = rbacs.iter().map(|name| case(&format!("rbac {name}")).on(name)).collect();
    cases.extend([
        case("rbac, the client says nothing and ends").on("deny_any").client(|client| {
            client.half_close();
        }),
        case("rbac, allowed, the client says nothing and ends").on("allow_any").client(|client| {
            client.half_close();
        }),
        case("rbac, the server speaks first").on("greeting").client(|client| {
            client.read_until(6).send("x");
        }),
        case("rbac, echo").on("echo").sends("hello"),
        case("rbac, direct response").on("direct").client(|_| {}),
        case("rbac, direct response, client speaks").on("direct").sends("hello"),
        case("continuous, twice").on("continuous").client(|client| {
            client.send("hello").read_until(5).send("again").read_until(10).half_close();
        }),
        case("limit, one").on("limit_1"),
        case("limit, two").on("limit_1").client(and_another),
        case("limit, one again").on("limit_1"),
        case("limit, delayed").on("limit_delay").client(and_another),
        case("limit, off").on("limit_off").client(and_another),
        case("rate, first").on("rate"),
        case("rate, second").on("rate").any_end(),
        case("rate, off").on("rate_off"),
        case("rate, off, second").on("rate_off"),
    ]);
    Group { name: "network_policies", config, cases }
}
