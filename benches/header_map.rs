//! Header map operations. Goal: at most 2 us for each header of a hundred, whatever is done with them.

// criterion_group! makes an undocumented function.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::http::{HeaderMap, header};

fn map_of(count: usize) -> HeaderMap {
    let mut map = HeaderMap::new();
    for number in 0..count {
        map.append(&*format!("x-header-{number}"), b"some value of usual length");
    }
    map
}

fn operations(c: &mut Criterion) {
    let mut map = map_of(12);
    map.append(header::USER_AGENT, b"curl/8");
    c.bench_function("get, known and absent", |b| {
        b.iter(|| black_box(&map).get(header::X_ENVOY_RETRY_ON).is_some())
    });
    c.bench_function("get, known and last of 13", |b| {
        b.iter(|| black_box(&map).get(header::USER_AGENT).is_some())
    });
    c.bench_function("get, by text, last but one of 13", |b| {
        b.iter(|| black_box(&map).get("x-header-11").is_some())
    });
    c.bench_function("new, append four known, drop", |b| {
        b.iter(|| {
            let mut map = HeaderMap::new();
            map.append(header::SERVER, b"envoy");
            map.append(header::DATE, b"Sun, 06 Nov 1994 08:49:37 GMT");
            map.append(header::CONTENT_TYPE, b"text/plain");
            map.append(header::CONTENT_LENGTH, b"0");
            black_box(&map);
        });
    });
    c.bench_function("clone of 13", |b| b.iter(|| black_box(map.clone())));
}

fn hundred(c: &mut Criterion) {
    let names: Vec<String> = (0..100).map(|number| format!("x-header-{number}")).collect();
    c.bench_function("append a hundred", |b| {
        b.iter(|| {
            let mut map = HeaderMap::new();
            names.iter().for_each(|name| map.append(&**name, b"some value"));
            black_box(&map);
        });
    });
    let full = map_of(100);
    c.bench_function("set and get each of a hundred", |b| {
        b.iter(|| {
            let mut map = full.clone();
            for name in &names {
                map.set(&**name, b"another, longer value than before");
                black_box(map.get(&**name));
            }
        });
    });
    c.bench_function("remove each of a hundred", |b| {
        b.iter(|| {
            let mut map = full.clone();
            names.iter().for_each(|name| {
                map.remove(&**name);
            });
            black_box(&map);
        });
    });
}

criterion_group!(benches, operations, hundred);
criterion_main!(benches);
