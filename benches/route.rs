//! Matching a request against route tables of several sizes. The goal: under 100 ns for a simple match, and 1,000
//! virtual hosts at most 5 % dearer than one.

#![allow(missing_docs)] // criterion_group! makes an undocumented function

use std::fmt::Write;

use criterion::{Criterion, criterion_group, criterion_main};
use envoy_types::pb::envoy::config::route::v3 as proto;
use prost::Message;
use ringway::api::proto_json::{UnknownFields, read};
use ringway::api::{pool, yaml};
use ringway::config::{Context, FieldPath, RouteConfiguration, Runtime};
use ringway::http::{Method, RequestHead};
use ringway::routing::{MatchContext, PerFilterError, RouteMatch, RouteTable};

/// A table of `hosts` virtual hosts with `routes` routes each, the last of which takes everything.
fn table(hosts: usize, routes: usize) -> RouteTable {
    let mut text = "virtual_hosts:\n".to_owned();
    for host in 0..hosts {
        writeln!(text, "- name: host-{host}\n  domains: [host-{host}.example.com]\n  routes:").expect("text");
        for route in 1..routes {
            writeln!(text, "  - {{match: {{prefix: /service-{route}/}}, route: {{cluster: a}}}}")
                .expect("text");
        }
        writeln!(text, "  - {{match: {{prefix: /}}, route: {{cluster: a}}}}").expect("text");
    }
    let document = yaml::parse(&text, 0).expect("YAML");
    let desc = pool::pool()
        .get_message_by_name("envoy.config.route.v3.RouteConfiguration")
        .expect("part of the API");
    let outcome = read(&desc, &document.root.expect("a document"), UnknownFields::Refuse);
    let message =
        proto::RouteConfiguration::decode(&*outcome.message.encode_to_vec()).expect("the same message");
    let refuse = |_: ringway::config::ExternalData<'_>| Err(std::io::ErrorKind::NotFound.into());
    let mut context = Context::new(&refuse);
    let config = RouteConfiguration::from_proto(&message, false, &FieldPath::root(), &mut context);
    RouteTable::compile(&config, &|_, config| Err(PerFilterError::UnknownType(config.type_url.clone())))
        .expect("a good table")
}

/// Requests spread over hosts and routes, so that a large table does not sit in the nearest cache.
fn requests(hosts: usize, routes: usize) -> Vec<RequestHead> {
    (0..64_usize)
        .map(|n| {
            let (host, route) = (n * 7919 % hosts, n * 104_729 % routes);
            let authority = format!("host-{host}.example.com");
            let path = format!("/service-{route}/items?id={n}");
            RequestHead::new(Method::Get, "http", authority.as_bytes(), path.as_bytes())
        })
        .collect()
}

fn match_route(c: &mut Criterion) {
    let runtime = Runtime::default();
    for (hosts, routes) in [(1, 1), (1, 10), (1_000, 10), (1, 10_000)] {
        let (table, requests) = (table(hosts, routes), requests(hosts, routes));
        let mut next = 0;
        c.bench_function(&format!("match_route/{hosts}_hosts/{routes}_routes"), |b| {
            b.iter(|| {
                next = (next + 1) % requests.len();
                let found =
                    table.match_route(&requests[next], &MatchContext { random: 1, runtime: &runtime });
                assert!(matches!(found, RouteMatch::Route(_)));
            });
        });
        // The same request each time: what the walk itself costs.
        c.bench_function(&format!("match_same_route/{hosts}_hosts/{routes}_routes"), |b| {
            b.iter(|| {
                let found = table.match_route(&requests[1], &MatchContext { random: 1, runtime: &runtime });
                assert!(matches!(found, RouteMatch::Route(_)));
            });
        });
    }
}

criterion_group!(benches, match_route);
criterion_main!(benches);
