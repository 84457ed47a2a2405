//! What one write to a statistic costs: on a worker's shard, and on the cells shared by other threads.

#![allow(missing_docs)] // criterion_group! makes an undocumented function

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::stats::{Registry, ResponseCodeStats, Unit, install_shard};

fn writes(bench: &mut Criterion) {
    let registry = Registry::new();
    let counter = registry.counter("counter");
    let gauge = registry.gauge("gauge");
    let histogram = registry.histogram("histogram", Unit::Milliseconds);
    let codes = ResponseCodeStats::register(&registry, "cluster.x.");
    for place in ["shared", "shard"] {
        if place == "shard" {
            install_shard(registry.new_shard());
        }
        let mut group = bench.benchmark_group(format!("stats/{place}"));
        group.bench_function("counter", |bench| bench.iter(|| black_box(counter).inc()));
        group.bench_function("gauge", |bench| bench.iter(|| black_box(gauge).inc()));
        group.bench_function("histogram", |bench| bench.iter(|| histogram.record(black_box(457))));
        group.bench_function("response code", |bench| bench.iter(|| codes.record(black_box(200))));
        group.finish();
    }
}

criterion_group!(benches, writes);
criterion_main!(benches);
