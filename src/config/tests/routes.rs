//! One case for each rule of route tables and HTTP filters beyond the schema. Envoy 1.40 gives the same verdicts, with `--mode validate`, except
//! where a comment says otherwise.

use super::{Parts, inline_table};
use crate::config::route::{ClusterSpecifier, PathRewrite, RouteActionKind};
use crate::config::{NetworkFilter, RouteConfiguration};

fn routes(routes: &str) -> Parts<'_> {
    Parts { routes, ..Parts::default() }
}

/// The error without its path's first part, which is the same for all routes.
fn route_error(parts: &Parts<'_>) -> String {
    const PREFIX: &str = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].";
    let error = parts.error();
    error.strip_prefix(PREFIX).unwrap_or(&error).to_owned()
}

fn action(action: &str) -> String {
    format!("[{{match: {{prefix: /}}, route: {{cluster: backend, {action}}}}}]")
}

#[test]
fn an_unknown_cluster_is_named_with_a_suggestion() {
    assert_eq!(
        route_error(&routes("[{match: {prefix: /}, route: {cluster: backnd}}]")),
        "routes[0].route.cluster: unknown cluster 'backnd'"
    );
    let near = super::errors(&routes("[{match: {prefix: /}, route: {cluster: backnd}}]").yaml());
    assert_eq!(near[0].help.as_deref(), Some("did you mean `backend`?"));
    let weighted = "[{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: backend, weight: 1}, {name: x, weight: 1}]}}}]";
    assert_eq!(
        route_error(&routes(weighted)),
        "routes[0].route.weighted_clusters.clusters[1].name: unknown weighted cluster 'x'"
    );
    let unchecked = Parts {
        routes: "[{match: {prefix: /}, route: {cluster: elsewhere}}]",
        table: "validate_clusters: false",
        ..Parts::default()
    };
    assert!(!table(&unchecked).validate_clusters);
}

fn table(parts: &Parts<'_>) -> std::sync::Arc<RouteConfiguration> {
    let config = parts.config();
    match &config.listeners[0].filter_chains[0].filters[0] {
        NetworkFilter::HttpConnectionManager(manager) => inline_table(manager),
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_must_sum_to_something() {
    let weights = |clusters: &str| {
        route_error(&routes(&format!(
            "[{{match: {{prefix: /}}, route: {{weighted_clusters: {{clusters: {clusters}}}}}}}]"
        )))
    };
    assert_eq!(
        weights("[{name: backend, weight: 0}]"),
        "routes[0].route.weighted_clusters: the sum of the weights must be greater than 0"
    );
    assert_eq!(
        weights("[{name: backend, weight: 4294967295}, {name: backend, weight: 1}]"),
        "routes[0].route.weighted_clusters: the sum of the weights is 4294967296, more than 4294967295"
    );
    assert_eq!(
        weights("[{name: backend, cluster_header: x, weight: 1}]"),
        "routes[0].route.weighted_clusters.clusters[0]: only one of name and cluster_header may be specified"
    );
    assert_eq!(
        weights("[{weight: 1}]"),
        "routes[0].route.weighted_clusters.clusters[0]: one of name and cluster_header must be specified"
    );
}

#[test]
fn a_domain_may_stand_only_once() {
    let hosts = |virtual_hosts| Parts { virtual_hosts, ..Parts::default() }.error();
    let path =
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts";
    assert_eq!(
        hosts("[{name: a, domains: [a.b]}, {name: b, domains: [c, A.b]}]"),
        format!("{path}[1].domains[1]: duplicate entry of domain a.b in route table \"\"")
    );
    assert_eq!(
        hosts("[{name: a, domains: ['*']}, {name: b, domains: ['*']}]"),
        format!("{path}[1].domains[0]: duplicate entry of domain * in route table \"\"")
    );
    // Names of virtual hosts may repeat, as in Envoy.
    Parts { virtual_hosts: "[{name: a, domains: [a]}, {name: a, domains: [b]}]", ..Parts::default() }
        .config();
}

#[test]
fn expressions_are_compiled_at_load() {
    assert_eq!(
        route_error(&routes("[{match: {safe_regex: {regex: '('}}, route: {cluster: backend}}]")),
        "routes[0].match.safe_regex.regex: invalid regex '(': unclosed group"
    );
    let header = |matcher: &str| {
        route_error(&routes(&format!(
            "[{{match: {{prefix: /, headers: [{{name: a, string_match: {matcher}}}]}}, route: {{cluster: backend}}}}]"
        )))
    };
    assert_eq!(
        header("{safe_regex: {regex: '['}}"),
        "routes[0].match.headers[0].string_match.safe_regex.regex: invalid regex '[': unclosed character class"
    );
    assert_eq!(
        header("{ignore_case: true, safe_regex: {regex: a}}"),
        "routes[0].match.headers[0].string_match.ignore_case: ignore_case has no effect for safe_regex"
    );
    routes("[{match: {safe_regex: {regex: '/x/{id}'}}, route: {cluster: backend}}]").config();
}

#[test]
fn header_mutations_leave_pseudo_headers_and_host_alone() {
    let add = |header: &str| {
        route_error(&routes(&format!(
            "[{{match: {{prefix: /}}, route: {{cluster: backend}}, request_headers_to_add: [{header}]}}]"
        )))
    };
    for name in [":path", "Host", ":authority"] {
        assert_eq!(
            add(&format!("{{header: {{key: '{name}', value: x}}}}")),
            "routes[0].request_headers_to_add[0].header.key: :-prefixed or host headers may not be modified"
        );
    }
    assert_eq!(
        add("{header: {key: a, value: x}, append: true, append_action: ADD_IF_ABSENT}"),
        "routes[0].request_headers_to_add[0].append: append and append_action must not both be set"
    );
    // Envoy takes such a name and sends a head that no peer accepts.
    assert_eq!(
        add("{header: {key: 'a b', value: x}}"),
        "routes[0].request_headers_to_add[0].header.key: \"a b\" is not a valid header name"
    );
    let remove =
        "[{match: {prefix: /}, route: {cluster: backend}, response_headers_to_remove: [x, ':status']}]";
    assert_eq!(
        route_error(&routes(remove)),
        "routes[0].response_headers_to_remove[1]: :-prefixed or host headers may not be removed"
    );
}

#[test]
fn format_strings_must_compile() {
    let header = "[{match: {prefix: /}, route: {cluster: backend}, request_headers_to_add: [{header: {key: a, value: '%NOPE%'}}]}]";
    assert_eq!(
        route_error(&routes(header)),
        "routes[0].request_headers_to_add[0].header.value: Not supported field in StreamInfo: NOPE"
    );
}

#[test]
fn only_one_kind_of_path_rewrite() {
    let both = action("prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}");
    assert_eq!(
        route_error(&routes(&both)),
        "routes[0].route.regex_rewrite: only one of prefix_rewrite and regex_rewrite may be specified"
    );
    // Envoy loads it, but never rewrites.
    let group = action(r"regex_rewrite: {pattern: {regex: a}, substitution: '\1'}");
    assert_eq!(
        route_error(&routes(&group)),
        "routes[0].route.regex_rewrite.pattern.regex: invalid regex 'a': the substitution names group 1, the \
         pattern has 0"
    );
}

#[test]
fn bodies_of_direct_responses_are_read_and_limited() {
    let body = |source: &str| {
        format!("[{{match: {{prefix: /}}, direct_response: {{status: 200, body: {source}}}}}]")
    };
    let read = |source: &str| {
        let table = table(&routes(&body(source)));
        match &table.virtual_hosts[0].routes[0].action {
            RouteActionKind::DirectResponse(response) => response.body.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("{inline_string: hi}"), "hi");
    assert_eq!(read("{filename: /body}"), "from a file");
    assert_eq!(read("{environment_variable: BODY}"), "from the environment");
    assert_eq!(read(&format!("{{inline_string: '{}'}}", "x".repeat(4096))).len(), 4096);
    let error = |source: &str| route_error(&routes(&body(source)));
    assert_eq!(
        error(&format!("{{inline_string: '{}'}}", "x".repeat(4097))),
        "routes[0].direct_response.body.inline_string: size is 4097 bytes; maximum is 4096"
    );
    assert_eq!(
        error("{filename: /nope}"),
        "routes[0].direct_response.body.filename: cannot read file '/nope': entity not found"
    );
    assert_eq!(
        error("{environment_variable: NOPE}"),
        "routes[0].direct_response.body.environment_variable: environment variable does not exist: NOPE"
    );
    let small = Parts {
        routes: &body("{inline_string: four}"),
        table: "max_direct_response_body_size_bytes: 3",
        ..Parts::default()
    };
    assert_eq!(
        route_error(&small),
        "routes[0].direct_response.body.inline_string: size is 4 bytes; maximum is 3"
    );
}

#[test]
fn the_router_ends_the_chain() {
    let base = Parts::default().yaml();
    let with = |filters: &str| {
        let start = base.find("http_filters: [").expect("there is a chain");
        let end = base[start..].find('\n').expect("a line") + start;
        let text = format!("{}http_filters: {filters}{}", &base[..start], &base[end..]);
        super::load(&text).expect_err("refused")
    };
    let router = r#"{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"#;
    let cors = r#"{name: cors, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}"#;
    let path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters";
    assert_eq!(
        with(&format!("[{router}, {router}]")),
        [format!(
            "{path}[0]: the filter router of type envoy.extensions.filters.http.router.v3.Router must be the last \
             filter of an HTTP filter chain"
        )]
    );
    assert_eq!(
        with(&format!("[{cors}]")),
        [format!(
            "{path}[0]: the filter cors of type envoy.extensions.filters.http.cors.v3.Cors is not terminal: the last \
             filter of an HTTP filter chain must be the router"
        )]
    );
    let disabled = router.replace("{name", "{disabled: true, name");
    assert!(with(&format!("[{disabled}]"))[0].ends_with("it cannot be disabled"));
    assert!(with("[{name: router}]")[0].ends_with("the filter \"router\" has no typed_config"));
}

#[test]
fn per_filter_configuration_must_say_something() {
    let per_filter = |config: &str| {
        format!(
            "[{{match: {{prefix: /}}, route: {{cluster: backend}}, typed_per_filter_config: {{cors: {config}}}}}]"
        )
    };
    let filter_config = r#""@type": type.googleapis.com/envoy.config.route.v3.FilterConfig"#;
    assert_eq!(
        route_error(&routes(&per_filter(&format!("{{{filter_config}}}")))),
        "routes[0].typed_per_filter_config[\"cors\"]: empty per-filter configuration for the filter cors"
    );
    let entry = |config: &str| {
        let table = table(&routes(&per_filter(config)));
        table.virtual_hosts[0].routes[0].per_filter.get("cors").cloned().expect("an entry")
    };
    let disabled = entry(&format!("{{{filter_config}, disabled: true}}"));
    assert_eq!((disabled.disabled, disabled.config), (Some(true), None));
    let policy =
        r#"{"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, max_age: '5'}"#;
    let plain = entry(policy).config.expect("a configuration");
    assert_eq!(plain.type_name(), "envoy.extensions.filters.http.cors.v3.CorsPolicy");
    let wrapped = entry(&format!("{{{filter_config}, config: {policy}}}")).config.expect("a configuration");
    assert_eq!(wrapped.value, plain.value);
}

#[test]
fn back_off_intervals_are_ordered() {
    let policy =
        action("retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 1s, max_interval: 0.5s}}");
    assert_eq!(
        route_error(&routes(&policy)),
        "routes[0].route.retry_policy.retry_back_off.max_interval: max_interval must be greater than or equal to the \
         base_interval"
    );
}

#[test]
fn a_route_needs_an_action() {
    let errors = routes("[{match: {prefix: /}}]").load().expect_err("refused");
    assert!(errors.iter().any(|error| error.contains("action")), "{errors:?}");
}

#[test]
fn every_part_of_a_route_is_carried_over() {
    let table = table(&routes(
        r"[{match: {path_separated_prefix: /a, case_sensitive: false, grpc: {},
                  headers: [{name: X-A, exact_match: b, invert_match: true}],
                  query_parameters: [{name: q, string_match: {prefix: p}}],
                  runtime_fraction: {default_value: {numerator: 5, denominator: MILLION}, runtime_key: r}},
           route: {weighted_clusters: {clusters: [{name: backend, weight: 3}, {cluster_header: X-C, weight: 4}],
                                       header_name: X-Pick},
                   regex_rewrite: {pattern: {regex: a}, substitution: b}, host_rewrite_header: X-Host, timeout: 0s,
                   idle_timeout: 0s, priority: HIGH, cluster_not_found_response_code: NOT_FOUND,
                   max_stream_duration: {grpc_timeout_header_max: 0s}}}]",
    ));
    let route = &table.virtual_hosts[0].routes[0];
    assert!(!route.route_match.case_sensitive && route.route_match.grpc);
    assert_eq!(route.route_match.headers[0].name, "x-a");
    let fraction = route.route_match.runtime_fraction.clone().expect("a fraction");
    assert_eq!((fraction.default.denominator, fraction.runtime_key.as_str()), (1_000_000, "r"));
    let RouteActionKind::Route(action) = &route.action else { panic!() };
    assert_eq!((action.timeout, action.idle_timeout), (None, Some(std::time::Duration::ZERO)));
    assert_eq!(action.cluster_not_found_response_code, 404);
    assert_eq!(action.grpc_timeout_header_max, Some(std::time::Duration::ZERO));
    assert!(matches!(action.path_rewrite, Some(PathRewrite::Regex(_))));
    let ClusterSpecifier::Weighted(weighted) = &action.cluster else { panic!() };
    assert_eq!((weighted.total_weight, weighted.random_value_header.as_str()), (7, "x-pick"));
    assert_eq!(weighted.clusters[1].cluster_header, "x-c");
}
