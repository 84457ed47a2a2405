//! A change of one route among ten thousand: from the file to the compiled table, read in part and as a whole. The
//! goal: under 50 ms until all workers have it, so much less here.

#![allow(missing_docs)] // criterion_group! makes an undocumented function

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::config::{Context, ExternalData, RouteConfiguration};
use ringway::filters::network::http_connection_manager::compile_route_table;
use ringway::routing::RouteTable;
use ringway::xds::{self, RouteReader, resources};

const ROUTES: usize = 10_000;

/// A table of ten thousand routes, so many in each virtual host; one of them names the version.
fn text(version: u32, routes_per_host: usize) -> String {
    let mut text = format!(
        "version_info: 'v{version}'\nresources:\n- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: table\n  virtual_hosts:\n"
    );
    for route in 0..ROUTES {
        if route % routes_per_host == 0 {
            writeln!(text, "  - name: host{route}\n    domains: [\"host{route}.example.com\"]\n    routes:")
                .expect("text");
        }
        let cluster = if route == ROUTES / 2 { version } else { 0 };
        writeln!(text, "    - match: {{prefix: /service/{route}/}}\n      route: {{cluster: cluster{cluster}, timeout: 5s}}")
            .expect("text");
    }
    text
}

fn external(_: ExternalData<'_>) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::NotFound.into())
}

fn read_whole(path: &Path) -> (String, Arc<RouteConfiguration>) {
    let response = xds::load(path, resources::ROUTE_CONFIGURATION).expect("a good file");
    let mut context = Context::new(&external);
    let config = resources::route_configuration(&response.resources[0], &mut context);
    let text = response.sources.iter().next().expect("the file").text.clone();
    (text, Arc::new(context.finish(config).expect("a good table")))
}

fn update(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = [0, 1].map(|version| directory.path().join(format!("{version}.yaml")));
    for (name, routes_per_host) in [("one_host", ROUTES), ("a_host_each", 1)] {
        for (version, path) in (0..).zip(&paths) {
            std::fs::write(path, text(version, routes_per_host)).expect("written");
        }
        c.bench_function(&format!("route_update/{name}/whole"), |b| {
            b.iter(|| {
                compile_route_table(&read_whole(&paths[0]).1, &RouteTable::default()).expect("a good table")
            });
        });
        let mut reader = RouteReader::new("table");
        let (text, config) = read_whole(&paths[0]);
        let mut table = compile_route_table(&config, &RouteTable::default()).expect("a good table");
        assert!(reader.keep_whole(&paths[0], text, &config));
        let mut next = 1;
        c.bench_function(&format!("route_update/{name}/one_changed"), |b| {
            b.iter(|| {
                let read = reader.read_again(&paths[next], &external).expect("read in part");
                assert!(read.is_changed);
                table = compile_route_table(&read.config, &table).expect("a good table");
                reader.keep(read);
                next = 1 - next;
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = update
}
criterion_main!(benches);
