//! HPACK: heads to blocks and back, compared with two other crates. Goals (release): a usual request of ten fields below 150 ns
//! each way once the tables are warm.

// criterion_group! makes an undocumented function.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::http::h2::hpack::{Decoder, Encoder};
use ringway::http::{HeaderName, Known};

const REQUEST: [(&str, &str); 12] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.com"),
    (":path", "/static/app.js?v=12345"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.com/index.html"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("x-request-id", "523342a0-5d64-4698-8485-0a34a3e4b4a4"),
    ("x-custom-header", "some-value"),
];

const RESPONSE: [(&str, &str); 8] = [
    (":status", "200"),
    ("server", "origin/1.0"),
    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-type", "application/json"),
    ("content-length", "1234"),
    ("cache-control", "max-age=60"),
    ("vary", "accept-encoding"),
    ("x-envoy-upstream-service-time", "12"),
];

/// A literal of every field, in Huffman code or not: what a peer without a table sends.
fn literals(fields: &[(&str, &str)], compress: bool) -> Vec<u8> {
    let mut encoder = httlib_hpack::Encoder::with_dynamic_size(0);
    let mut block = Vec::new();
    let flags = if compress {
        httlib_hpack::Encoder::HUFFMAN_NAME
            | httlib_hpack::Encoder::HUFFMAN_VALUE
            | httlib_hpack::Encoder::BEST_FORMAT
    } else {
        httlib_hpack::Encoder::BEST_FORMAT
    };
    for (name, value) in fields {
        encoder
            .encode((name.as_bytes().to_vec(), value.as_bytes().to_vec(), flags), &mut block)
            .expect("encoded");
    }
    block
}

/// What names are in a header map: a number, or text.
fn ids(fields: &[(&'static str, &'static str)]) -> Vec<(Option<Known>, &'static str, &'static [u8])> {
    fields
        .iter()
        .map(|(name, value)| {
            (Known::from_name(name.as_bytes()), HeaderName::from(*name).as_str(), value.as_bytes())
        })
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> usize {
    let mut bytes = 0;
    decoder.decode(block, true, |field| bytes += field.name.len() + field.value.len()).expect("valid");
    bytes
}

fn encode(encoder: &mut Encoder, fields: &[(Option<Known>, &str, &[u8])], out: &mut Vec<u8>) {
    out.clear();
    encoder.begin(out);
    for (known, name, value) in fields {
        encoder.named_field(*known, name.as_bytes(), value, false, out);
    }
}

fn benches_of(c: &mut Criterion) {
    for (message, fields) in [("request", &REQUEST[..]), ("response", &RESPONSE[..])] {
        let with_ids = ids(fields);
        let mut encoder = Encoder::new(4096);
        let mut warm = Vec::new();
        let mut decoder = Decoder::default();
        for _ in 0..3 {
            encode(&mut encoder, &with_ids, &mut warm);
            decode(&mut decoder, &warm);
        }
        let plain = literals(fields, false);
        let compressed = literals(fields, true);
        for (kind, block) in [("warm table", &warm), ("literals", &plain), ("Huffman literals", &compressed)]
        {
            c.bench_function(&format!("decode {message}, {kind} ({} bytes)", block.len()), |b| {
                b.iter(|| black_box(decode(&mut decoder, black_box(block))));
            });
        }
        let mut out = Vec::with_capacity(4096);
        c.bench_function(&format!("encode {message}, warm table"), |b| {
            b.iter(|| encode(&mut encoder, black_box(&with_ids), &mut out));
        });
        let mut without = Encoder::new(0);
        c.bench_function(&format!("encode {message}, no table"), |b| {
            b.iter(|| encode(&mut without, black_box(&with_ids), &mut out));
        });

        let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let (mut loona_encoder, mut loona_decoder) =
            (loona_hpack::Encoder::new(), loona_hpack::Decoder::new());
        for _ in 0..3 {
            let block = loona_encoder.encode(pairs.iter().copied());
            loona_decoder.decode(&block).expect("valid");
        }
        let block = loona_encoder.encode(pairs.iter().copied());
        c.bench_function(&format!("loona-hpack: encode {message}, warm table"), |b| {
            b.iter(|| loona_encoder.encode(black_box(&pairs).iter().copied()));
        });
        c.bench_function(&format!("loona-hpack: decode {message}, warm table"), |b| {
            b.iter(|| {
                loona_decoder.decode_with_cb(black_box(&block), |name, value| {
                    black_box((name, value));
                })
            });
        });
        c.bench_function(&format!("loona-hpack: decode {message}, Huffman literals"), |b| {
            b.iter(|| {
                loona_decoder.decode_with_cb(black_box(&compressed), |name, value| {
                    black_box((name, value));
                })
            });
        });
        let mut httlib = httlib_hpack::Decoder::with_dynamic_size(4096);
        c.bench_function(&format!("httlib-hpack: decode {message}, Huffman literals"), |b| {
            b.iter(|| {
                let mut fields = Vec::new();
                httlib.decode(&mut black_box(&compressed).clone(), &mut fields).expect("valid");
                fields
            });
        });
    }
}

criterion_group!(benches, benches_of);
criterion_main!(benches);
