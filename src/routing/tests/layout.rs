//! What a large table takes: requests each meet another route of it, so every cache line is one that is not near.

use std::fmt::Write;
use std::mem::size_of;
use std::sync::Arc;

use super::*;
use crate::config::route::VirtualHost;
use crate::routing::{Action, ForwardAction, RouteEntry, VirtualHostEntry};

/// Virtual hosts with one route each, all forwarded alike.
fn hosts(count: usize) -> String {
    let mut text = "virtual_hosts:\n".to_owned();
    for host in 0..count {
        writeln!(
            text,
            "- {{name: v{host}, domains: [host-{host}.example, '*.{host}.example'], \
             routes: [{{match: {{prefix: /{host}}}, route: {{cluster: c}}}}]}}"
        )
        .expect("text");
    }
    text
}

fn route(table: &RouteTable, host: usize) -> &Arc<RouteEntry> {
    &table.virtual_hosts[host].routes[0]
}

fn action(table: &RouteTable, host: usize) -> &Arc<ForwardAction> {
    match &route(table, host).action {
        Action::Forward(action) => action,
        other => panic!("{other:?}"),
    }
}

#[test]
fn entries_are_small() {
    // A field more may well be worth its place: see whether requests need it, or whether it can stand behind a
    // pointer that is null as a rule. `perf/compare --only routes` tells the price.
    assert!(size_of::<RouteEntry>() <= 40, "{}", size_of::<RouteEntry>());
    assert!(size_of::<VirtualHostEntry>() <= 96, "{}", size_of::<VirtualHostEntry>());
    assert!(size_of::<ForwardAction>() <= 192, "{}", size_of::<ForwardAction>());
}

#[test]
fn routes_that_do_the_same_are_one() {
    let table = table(&hosts(3));
    assert!(
        Arc::ptr_eq(route(&table, 0), route(&table, 1)) && Arc::ptr_eq(route(&table, 0), route(&table, 2))
    );
    for host in 0..3 {
        let (path, name) = (format!("/{host}"), format!("v{host}"));
        let head = request(&path, &format!("host-{host}.example"), &[]);
        match table.match_route(&head, &MatchContext { random: 0, runtime: &Runtime::default() }) {
            RouteMatch::Route(matched) => assert_eq!(*matched.virtual_host.name, *name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn routes_that_differ_share_only_what_is_the_same() {
    let base = hosts(1);
    let host_of = |text: &str| Arc::clone(&configuration(text).virtual_hosts[0]);
    let with = |more: &str| host_of(&base.replace("route: {cluster: c}", more));
    let others = [
        with("route: {cluster: c}, name: other"),
        with("route: {cluster: c}, request_headers_to_remove: [x]"),
        with("route: {cluster: d}"),
        with("route: {cluster: c, timeout: 3s}"),
        with("route: {cluster: c, priority: HIGH}"),
        with("route: {cluster: c, upgrade_configs: [{upgrade_type: websocket}]}"),
        with("route: {cluster: c, prefix_rewrite: /x}"),
        with("route: {cluster: c, retry_policy: {retry_on: 5xx}}"),
        with("route: {cluster: c}, request_body_buffer_limit: 7"),
    ];
    let mut config = configuration(&base);
    for (at, other) in others.iter().enumerate() {
        let domains = vec![format!("other-{at}")];
        config.virtual_hosts.push(Arc::new(VirtualHost { domains, ..(**other).clone() }));
    }
    let table = RouteTable::compile(&config, &|_, _| Ok(Arc::new(()))).expect("a good table");
    for host in 1..=others.len() {
        assert!(!Arc::ptr_eq(route(&table, 0), route(&table, host)), "{host}");
        // Those that differ in name and header changes are forwarded in the same way.
        assert_eq!(Arc::ptr_eq(action(&table, 0), action(&table, host)), host <= 2, "{host}");
    }
    assert_eq!(action(&table, 9).config.request_body_buffer_limit_bytes, Some(7));
}

#[test]
fn every_one_of_many_domains_is_found() {
    let table = table(&hosts(300));
    let runtime = Runtime::default();
    let find = |host: &str, path: &str| {
        let head = request(path, host, &[]);
        match table.match_route(&head, &MatchContext { random: 0, runtime: &runtime }) {
            RouteMatch::Route(matched) => Some(matched.virtual_host.name.to_string()),
            _ => None,
        }
    };
    for host in 0..300 {
        let (path, name) = (format!("/{host}"), Some(format!("v{host}")));
        assert_eq!(find(&format!("Host-{host}.example"), &path), name);
        assert_eq!(find(&format!("x.{host}.EXAMPLE"), &path), name);
        assert_eq!(find(&format!("host-{host}.exampl"), &path), None);
    }
}
