//! A table that takes over what it can of the one before is the table that it would be without.

use std::sync::Arc;

use super::*;
use crate::config::route::VirtualHost;

fn compile_after(previous: &RouteTable, config: &RouteConfiguration) -> RouteTable {
    let compiled = RouteTable::compile_after(previous, config, &|_, _| Ok(Arc::new(())));
    compiled.unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn compile(config: &RouteConfiguration) -> RouteTable {
    compile_after(&RouteTable::default(), config)
}

const TABLE: &str = "
virtual_hosts:
- name: a
  domains: [a]
  retry_policy: {retry_on: 5xx}
  routes:
  - {name: one, match: {prefix: /one}, route: {cluster: c}}
  - {name: two, match: {prefix: /two}, route: {cluster: c}}
  - {name: three, match: {prefix: /}, route: {cluster: c}}
- name: b
  domains: [b]
  routes: [{name: only, match: {prefix: /}, route: {cluster: c}}]
";

/// The table with one virtual host changed.
fn with_host(
    config: &RouteConfiguration,
    at: usize,
    change: impl FnOnce(&mut VirtualHost),
) -> RouteConfiguration {
    let mut host = (*config.virtual_hosts[at]).clone();
    change(&mut host);
    let mut changed = config.clone();
    changed.virtual_hosts[at] = Arc::new(host);
    changed
}

#[test]
fn entries_whose_configuration_is_the_same_are_taken_over() {
    let config = configuration(TABLE);
    let first = compile(&config);
    let changed = with_host(&config, 0, |host| drop(host.routes.remove(1)));
    let second = compile_after(&first, &changed);
    assert!(Arc::ptr_eq(&first.virtual_hosts[1], &second.virtual_hosts[1]));
    let routes = [&first, &second].map(|table| &table.virtual_hosts[0].routes);
    assert!(Arc::ptr_eq(&routes[0][0], &routes[1][0]) && Arc::ptr_eq(&routes[0][2], &routes[1][1]));
    let names = ["/one", "/two", "/x"].map(|path| route_name(&second, &request(path, "a", &[])));
    assert_eq!(names, ["one", "three", "three"]);
    assert_eq!(route_name(&second, &request("/", "b", &[])), "only");
}

#[test]
fn routes_that_get_something_else_from_their_virtual_host_are_not() {
    let config = configuration(TABLE);
    let first = compile(&config);
    let changed = with_host(&config, 0, |host| host.retry_policy = None);
    let second = compile_after(&first, &changed);
    let route = |table: &RouteTable| match table
        .match_route(&request("/one", "a", &[]), &MatchContext { random: 0, runtime: &Runtime::default() })
    {
        RouteMatch::Route(matched) => matched.forward().is_some_and(|action| action.retry_policy.is_some()),
        _ => panic!("no route"),
    };
    assert_eq!((route(&first), route(&second)), (true, false));
}

#[test]
fn nor_are_those_that_get_another_buffer_limit() {
    let config = configuration(TABLE);
    let first = compile(&config);
    let changed = with_host(&config, 1, |host| host.request_body_buffer_limit_bytes = Some(9));
    let limit = |table: &RouteTable| match table
        .match_route(&request("/", "b", &[]), &MatchContext { random: 0, runtime: &Runtime::default() })
    {
        RouteMatch::Route(matched) => matched.request_body_buffer_limit_bytes(),
        _ => panic!("no route"),
    };
    assert_eq!((limit(&first), limit(&compile_after(&first, &changed))), (None, Some(9)));
}

#[test]
fn filters_keep_their_slots() {
    let filter = "typed_per_filter_config: {X: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}";
    let with =
        |name: &str, at: &str| TABLE.replacen(at, &format!("{at}\n  {}", filter.replace('X', name)), 1);
    let both = configuration(&with("second", "domains: [b]").replacen(
        "domains: [a]",
        &format!("domains: [a]\n  {}", filter.replace('X', "first")),
        1,
    ));
    let first = compile(&both);
    // The first name goes; what was compiled with the slot of the second must find it there still.
    let mut one = configuration(TABLE);
    one.virtual_hosts[1] = Arc::clone(&both.virtual_hosts[1]);
    let second = compile_after(&first, &one);
    assert!(Arc::ptr_eq(&first.virtual_hosts[1], &second.virtual_hosts[1]));
    let slot = second.filter_slot("second").expect("the table mentions it");
    assert_eq!(first.filter_slot("second"), Some(slot));
    assert_eq!(second.virtual_hosts[1].level.filter(slot).and_then(|entry| entry.disabled), Some(true));
    assert_eq!(compile_after(&second, &both).filter_slot("first"), first.filter_slot("first"));
}
