//! What filters for raw connections do not do is refused when the configuration is loaded, and named.

use ringway_test_support::l4_config::{L4, chain, listener_filter, network_filter, tcp_proxy};
use ringway_test_support::{PATIENCE, Server};

/// What `ringway --mode validate` says of a configuration that it must refuse.
#[track_caller]
fn refusal(l4: &L4) -> String {
    let yaml = l4.clone().cluster("origin", 8001, "").yaml();
    let server = Server::ringway_bare().file("c.yaml", &yaml);
    let exited = server.arg("-c").arg("{dir}/c.yaml").arg("--mode").arg("validate").run_to_end(PATIENCE);
    let said = exited.stdout + &exited.stderr;
    assert_eq!(exited.status.code(), Some(1), "accepted:\n{yaml}");
    said
}

#[track_caller]
fn assert_named(l4: &L4, name: &str) {
    let said = refusal(l4);
    let named = said.contains(&format!("`{name}` is not supported by Ringway yet"));
    assert!(named, "{name} is not named:\n{said}");
}

/// A chain of this filter and a TCP proxy.
fn with_filter(message: &str, fields: &str) -> L4 {
    let filters = format!("{}\n{}", network_filter(message, fields), tcp_proxy("cluster: origin"));
    L4::new().listener("main", &chain(&filters))
}

fn with_listener_filter(message: &str, fields: &str) -> L4 {
    let filters = format!("listener_filters:\n{}", listener_filter(message, fields));
    L4::new().listener("main", &format!("{filters}\n{}", chain(&tcp_proxy("cluster: origin"))))
}

fn with_rbac(fields: &str) -> L4 {
    with_filter("rbac.v3.RBAC", &format!("stat_prefix: x\n{fields}"))
}

#[test]
fn rbac() {
    let any = "{any: true}";
    let policy = |permission: &str, principal: &str, more: &str| {
        format!(
            "rules: {{policies: {{p: {{permissions: [{permission}], principals: [{principal}]{more}}}}}}}"
        )
    };
    let metadata = "filter: a, path: [{key: b}], value: {present_match: true}";
    for (name, permission) in [
        ("header", "{header: {name: a, present_match: true}}".to_string()),
        ("metadata", format!("{{metadata: {{{metadata}}}}}")),
        ("sourced_metadata", format!("{{sourced_metadata: {{metadata_matcher: {{{metadata}}}}}}}")),
        (
            "header",
            "{not_rule: {and_rules: {rules: [{header: {name: a, present_match: true}}]}}}".to_string(),
        ),
    ] {
        assert_named(&with_rbac(&policy(&permission, any, "")), name);
    }
    for (name, principal) in [
        ("header", "{header: {name: a, present_match: true}}".to_string()),
        ("metadata", format!("{{metadata: {{{metadata}}}}}")),
        ("filter_state", "{filter_state: {key: a, string_match: {exact: b}}}".to_string()),
        ("sourced_metadata", format!("{{sourced_metadata: {{metadata_matcher: {{{metadata}}}}}}}")),
    ] {
        assert_named(&with_rbac(&policy(any, &principal, "")), name);
    }
    let condition = ", condition: {const_expr: {bool_value: true}}";
    assert_named(&with_rbac(&policy(any, any, condition)), "condition");
    assert_named(&with_rbac("matcher: {}"), "matcher");
    assert_named(&with_rbac("shadow_matcher: {}"), "shadow_matcher");
    assert_named(
        &with_rbac("rules: {audit_logging_options: {audit_condition: ON_DENY}}"),
        "audit_logging_options",
    );
    let ports = policy("{destination_port_range: {start: 10, end: 10}}", any, "");
    let said = refusal(&with_rbac(&ports));
    assert!(said.contains("range start 10 must be less than range end 10"), "{said}");
}

#[test]
fn rate_limits() {
    let bucket = "token_bucket: {max_tokens: 1, fill_interval: 1s}";
    let message = "local_ratelimit.v3.LocalRateLimit";
    let fields = |more: &str| format!("stat_prefix: x\n{bucket}\n{more}");
    assert_named(&with_filter(message, &fields("share_key: a")), "share_key");
    let runtime = fields("runtime_enabled: {default_value: true, runtime_key: a}");
    assert_named(&with_listener_filter(message, &runtime), "runtime_enabled");
    let fast = "stat_prefix: x\ntoken_bucket: {max_tokens: 1, fill_interval: 0.01s}";
    for l4 in [with_filter(message, fast), with_listener_filter(message, fast)] {
        let said = refusal(&l4);
        assert!(said.contains("token_bucket.fill_interval") && said.contains(">= 50ms"), "{said}");
    }
}

#[test]
fn proxy_protocol() {
    let message = "proxy_protocol.v3.ProxyProtocol";
    for (name, fields) in [
        ("rules", "rules: [{tlv_type: 1, on_tlv_present: {key: a}}]"),
        ("pass_through_tlvs", "pass_through_tlvs: {match_type: INCLUDE_ALL}"),
    ] {
        assert_named(&with_listener_filter(message, fields), name);
    }
    let types = "type.googleapis.com/envoy.extensions.transport_sockets";
    let cluster = |config: &str, inner: &str| {
        let socket = format!(
            "transport_socket:\n  name: a\n  typed_config:\n    \
             '@type': {types}.proxy_protocol.v3.ProxyProtocolUpstreamTransport\n    config: {config}\n    \
             transport_socket: {inner}"
        );
        L4::new().cluster("told", 8002, &socket)
    };
    let raw = format!("{{name: raw, typed_config: {{'@type': {types}.raw_buffer.v3.RawBuffer}}}}");
    assert_named(&cluster("{version: V2, pass_through_tlvs: {}}", &raw), "pass_through_tlvs");
    let said = refusal(&cluster("{added_tlvs: [{type: 1, value: YQ==}]}", &raw));
    assert!(said.contains("version 1 cannot carry them"), "{said}");
    let twice = format!(
        "{{name: a, typed_config: {{'@type': {types}.proxy_protocol.v3.ProxyProtocolUpstreamTransport, \
         transport_socket: {raw}}}}}"
    );
    let said = refusal(&cluster("{version: V1}", &twice));
    assert!(said.contains("one PROXY header is enough"), "{said}");
}

#[test]
fn tcp_proxy_and_chains() {
    for (name, fields) in [
        ("tunneling_config", "tunneling_config: {hostname: 'a:1'}"),
        ("metadata_match", "metadata_match: {filter_metadata: {envoy.lb: {a: b}}}"),
    ] {
        let l4 = L4::new().listener("main", &chain(&tcp_proxy(&format!("cluster: origin\n{fields}"))));
        assert_named(&l4, name);
    }
    let echo = network_filter("echo.v3.Echo", "");
    let said = refusal(&L4::new().listener("main", &chain(&format!("{echo}\n{echo}"))));
    assert!(said.contains("must be the last filter of a network filter chain"), "{said}");
    let limit = network_filter("connection_limit.v3.ConnectionLimit", "stat_prefix: x\nmax_connections: 1");
    let said = refusal(&L4::new().listener("main", &chain(&limit)));
    assert!(said.contains("must not be the last filter of a network filter chain"), "{said}");
    let overlapping = format!("{}\n{}", chain(&echo), ringway_test_support::l4_config::chain_for("", &echo));
    let said = refusal(&L4::new().listener("main", &overlapping));
    assert!(said.contains("has the same matching rules"), "{said}");
}
