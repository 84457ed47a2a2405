//! What a request pays for outlier detection: counting what became of it.

#![allow(missing_docs, reason = "the macros of criterion make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::config::cluster::OutlierDetection;
use ringway::http::{HeaderMap, ResponseHead};
use ringway::upstream::outlier::{HostMonitor, Outcome};

fn record(criterion: &mut Criterion) {
    let monitor = HostMonitor::new(&OutlierDetection::default(), 2);
    let mut head = ResponseHead::new(200);
    for name in ["content-type", "content-length", "date", "server", "cache-control", "x-request-id"] {
        head.headers.append(name, b"value");
    }
    let request = HeaderMap::default();
    criterion.bench_function("success", |bencher| {
        bencher.iter(|| {
            black_box(monitor.record(0, Outcome::of_response(black_box(&request), black_box(&head))))
        });
    });
    let failure = Outcome::Response { status: 503, is_degraded: false };
    criterion.bench_function("failure", |bencher| {
        bencher.iter(|| black_box(monitor.record(0, black_box(failure))));
    });
}

criterion_group!(benches, record);
criterion_main!(benches);
