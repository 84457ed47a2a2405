//! One case for each rule beyond the schema. Envoy 1.40 gives the same verdicts, with `--mode validate`, except
//! where a comment says otherwise.

use super::Parts;
use crate::config::{AccessLogSink, AccessLogTarget, NetworkFilter};

fn listener(listener: &str) -> Parts<'_> {
    Parts { listener, ..Parts::default() }
}

fn manager(manager: &str) -> Parts<'_> {
    Parts { manager, ..Parts::default() }
}

fn clusters(clusters: &str) -> Parts<'_> {
    Parts { clusters, ..Parts::default() }
}

#[test]
fn names_and_addresses_may_stand_only_once() {
    assert_eq!(
        clusters("- {name: backend}").error(),
        "static_resources.clusters[1].name: duplicate cluster 'backend'"
    );
    let second = |name: &str, port: u16| {
        format!(
            "filter_chains: [{{}}]\n- name: {name}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\n  filter_chains: [{{}}]"
        )
    };
    // The listener's own chains come twice then: YAML keys may not repeat, so replace the whole list.
    let yaml = |name, port| {
        let listener = second(name, port);
        let (_, listener) = listener.split_once('\n').unwrap_or_default();
        let base = Parts::default().yaml();
        base.replace("  clusters:", &format!("{}  clusters:", super::indent(listener, 4)))
    };
    let error = |name, port| super::load(&yaml(name, port)).expect_err("refused");
    // Envoy replaces the first listener by the second and says nothing.
    assert_eq!(error("main", 10001), ["static_resources.listeners[1].name: duplicate listener 'main'"]);
    assert_eq!(
        error("other", 10000),
        [
            "static_resources.listeners[1].address: listener 'other' has the address '127.0.0.1:10000' that an earlier \
          listener has"
        ]
    );
    assert!(super::load(&yaml("other", 10001)).is_ok());
}

#[test]
fn listener_addresses_are_ip_addresses_or_paths() {
    let replace = |address: &str| {
        let base = Parts::default().yaml();
        let own = "{socket_address: {address: 127.0.0.1, port_value: 10000}}";
        super::load(&base.replace(own, address)).expect_err("refused").join("; ")
    };
    assert_eq!(
        replace("{socket_address: {address: localhost, port_value: 1}}"),
        "static_resources.listeners[0].address.socket_address.address: malformed IP address: localhost"
    );
    assert_eq!(
        replace("{socket_address: {address: '::1', port_value: 1, ipv4_compat: true}}"),
        "static_resources.listeners[0].address.socket_address.ipv4_compat: only the IPv6 address '::' or an \
         IPv4-mapped IPv6 address can set ipv4_compat: [::1]:1"
    );
    assert!(replace("{socket_address: {address: 127.0.0.1, named_port: http}}").contains("has no number"));
    assert!(replace("{socket_address: {protocol: UDP, address: 127.0.0.1, port_value: 1}}").contains("UDP"));
    assert!(
        replace(&format!("{{pipe: {{path: /{}}}}}", "x".repeat(120))).contains("socket path size of 108")
    );
    assert!(replace("{pipe: {path: '@x', mode: 384}}").contains("abstract"));
}

#[test]
fn filter_chains_differ_and_end_with_the_connection_manager() {
    let base = Parts::default().yaml();
    let none = listener("")
        .yaml()
        .replace("      filter_chains:\n        - filters:", "      unused:\n        - filters:");
    assert_ne!(none, base);
    let chains = listener("default_filter_chain: {name: other}");
    assert!(chains.config().listeners[0].default_filter_chain.is_some());
    let second = |chain: &str| {
        let text =
            base.replace("      filter_chains:\n", &format!("      filter_chains:\n        - {chain}\n"));
        super::load(&text)
    };
    let refused = second("{name: first}").expect_err("refused").join("; ");
    assert!(refused.contains("has the same matching rules as \"first\""), "{refused}");
    assert!(second("{filter_chain_match: {destination_port: 5}}").is_ok());
    let twice = base.replace(
        "            - name: http\n",
        "            - {name: early, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, route_config: {}}}\n            - name: http\n",
    );
    assert!(
        super::load(&twice).expect_err("refused")[0]
            .contains("must be the last filter of a network filter chain")
    );
    let empty = "filter_chains: []";
    let text =
        base.split("      filter_chains:\n").next().unwrap_or_default().to_owned() + "      " + empty + "\n";
    assert_eq!(
        super::load(&text).expect_err("refused"),
        ["static_resources.listeners[0]: no filter chains specified"]
    );
}

#[test]
fn the_connection_manager_checks_its_options() {
    const PATH: &str = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    assert_eq!(
        manager("strip_any_host_port: true\nstrip_matching_host_port: true").error(),
        format!(
            "{PATH}.strip_matching_host_port: only one of strip_matching_host_port and strip_any_host_port may be set"
        )
    );
    assert_eq!(
        manager("codec_type: HTTP3").error(),
        format!("{PATH}.codec_type: HTTP/3 is not implemented yet")
    );
    assert!(manager("codec_type: AUTO").load().is_ok());
    assert!(manager("codec_type: HTTP2").load().is_ok());
}

#[test]
fn access_logs_are_opened_and_unknown_flags_named() {
    let log = "access_log:\n- {name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null, log_format: {text_format_source: {filename: /body}}}}";
    let config = manager(log).config();
    let NetworkFilter::HttpConnectionManager(hcm) = &config.listeners[0].filter_chains[0].filters[0] else {
        panic!("no connection manager")
    };
    let AccessLogSink::Lines { target, format: Some(format) } = &hcm.access_log[0].sink else { panic!() };
    assert_eq!(*target, AccessLogTarget::File("/dev/null".into()));
    assert_eq!(format.format, crate::config::FormatTemplate::Text("from a file".into()));
    assert!(format.path.as_str().ends_with("access_log[0].typed_config.log_format.text_format_source"));
}

#[test]
fn names_of_hosts_need_a_cluster_that_resolves_them() {
    let cluster = |kind: &str, endpoints: &str| {
        format!(
            "- {{name: c, {kind}, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{endpoints}]}}]}}}}"
        )
    };
    let named = "{endpoint: {address: {socket_address: {address: some.host, port_value: 80}}}}";
    assert_eq!(
        clusters(&cluster("type: STATIC", named)).error(),
        "static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.\
         address: malformed IP address: some.host"
    );
    let config = clusters(&cluster("type: STRICT_DNS", named)).config();
    assert_eq!(config.clusters[1].load_assignment.localities[0].endpoints[0].hostname, "some.host");
    assert_eq!(
        clusters(&cluster("type: LOGICAL_DNS", &format!("{named}, {named}"))).error(),
        "static_resources.clusters[1].load_assignment: LOGICAL_DNS clusters must have a single locality_lb_endpoint \
         and a single lb_endpoint"
    );
    let newer = r#"cluster_type: {name: envoy.cluster.dns, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, dns_lookup_family: V4_ONLY, all_addresses_in_single_endpoint: true}}"#;
    let config = clusters(&cluster(newer, named)).config();
    match &config.clusters[1].discovery {
        crate::config::cluster::DiscoveryType::LogicalDns(dns) => {
            assert_eq!(dns.lookup_family, crate::config::cluster::DnsLookupFamily::V4Only);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn clusters_check_their_options() {
    let error = |fields: &str| {
        clusters(&format!("- {{name: c, {fields}}}")).error().replace("static_resources.clusters[1]", "")
    };
    assert_eq!(error("lb_policy: MAGLEV"), ".lb_policy: the policy MAGLEV is not implemented yet");
    assert_eq!(
        error("lb_policy: LOAD_BALANCING_POLICY_CONFIG"),
        ".lb_policy: the field load_balancing_policy needs to be set"
    );
    assert_eq!(error("lb_policy: CLUSTER_PROVIDED"), ".lb_policy: this type of cluster provides no balancer");
    assert_eq!(
        error("load_balancing_policy: {}"),
        ".load_balancing_policy: no policy of the list is implemented: []"
    );
    let http1 = r#"{"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}"#;
    assert!(
        error(&format!("typed_extension_protocol_options: {{nope: {http1}}}"))
            .contains("no protocol options")
    );
    assert_eq!(error("type: ORIGINAL_DST"), ".type: the type ORIGINAL_DST is not implemented yet");
    assert_eq!(
        error("cluster_type: {name: envoy.clusters.static}"),
        ".cluster_type: the cluster type \"envoy.clusters.static\" is not implemented"
    );
    assert_eq!(
        error("circuit_breakers: {per_host_thresholds: [{max_pending_requests: 1}]}"),
        ".circuit_breakers.per_host_thresholds[0]: only max_connections can be limited for each host"
    );
    assert_eq!(
        error(
            "max_requests_per_connection: 1, common_http_protocol_options: {max_requests_per_connection: 2}"
        ),
        ".common_http_protocol_options.max_requests_per_connection: max_requests_per_connection must be set only once: \
         here or in the cluster"
    );
    assert_eq!(
        error("type: STRICT_DNS, dns_failure_refresh_rate: {base_interval: 5s, max_interval: 1s}"),
        ".dns_failure_refresh_rate.max_interval: max_interval must be greater than or equal to the base_interval"
    );
}

#[test]
fn bootstrap_options_are_checked() {
    let bootstrap = |bootstrap: &str| Parts { bootstrap, ..Parts::default() }.error();
    assert_eq!(
        bootstrap("layered_runtime: {layers: [{name: a, static_layer: {}}, {name: a, static_layer: {}}]}"),
        "layered_runtime.layers[1].name: duplicate layer name: a"
    );
    assert_eq!(
        bootstrap("layered_runtime: {layers: [{name: a, admin_layer: {}}, {name: b, admin_layer: {}}]}"),
        "layered_runtime.layers[1].admin_layer: at most one admin layer may be specified"
    );
    assert_eq!(
        bootstrap("layered_runtime: {layers: [{name: a, static_layer: {x: [1]}}]}"),
        "layered_runtime.layers[0].static_layer: invalid runtime entry value for x"
    );
    assert_eq!(
        bootstrap("admin: {address: {socket_address: {address: localhost, port_value: 1}}}"),
        "admin.address.socket_address.address: malformed IP address: localhost"
    );
    assert_eq!(
        bootstrap("stats_flush_interval: 5s\nstats_flush_on_admin: true"),
        "stats_flush_interval: only one of stats_flush_interval and stats_flush_on_admin may be set"
    );
    assert!(
        bootstrap("stats_config: {stats_tags: [{tag_name: x, regex: '('}]}").contains("invalid regex '('")
    );
}

#[test]
fn all_errors_are_reported_at_once() {
    let parts = Parts {
        routes: "[{match: {safe_regex: {regex: '('}}, route: {cluster: nope, prefix_rewrite: /, regex_rewrite: {pattern: {regex: '['}, substitution: ''}}}]",
        clusters: "- {name: backend, lb_policy: MAGLEV}",
        ..Parts::default()
    };
    let errors = parts.load().expect_err("refused");
    assert_eq!(errors.len(), 5, "{errors:#?}");
}

#[test]
fn formats_of_access_logs_must_compile() {
    let log = "access_log: [{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {json_format: {a: '%NOPE%'}}}}]";
    assert!(manager(log).error().contains("log_format.json_format: "));
}
