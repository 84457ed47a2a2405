//! Writing one access log line. The goal: under 500 ns for Envoy's default line.

#![allow(missing_docs)] // criterion_group! makes an undocumented function

use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::base::clock::{Instant, UnixTime};
use ringway::formatter::{DEFAULT_ACCESS_LOG_FORMAT, FormatContext, Formatter, JsonFormatter};
use ringway::http::{Method, RequestHead, ResponseHead, Version};
use ringway::stream_info::{ConnectionInfo, PeerAddress, StreamInfo, Timing, UpstreamInfo};

fn address(port: u16) -> PeerAddress {
    PeerAddress::Ip(([10, 1, 2, 3], port).into())
}

fn stream_info() -> StreamInfo {
    let connection = ConnectionInfo::new(1, address(80), address(40_000));
    let timing = Timing::starting(Instant::from_nanos(1), UnixTime::from_nanos(1_795_249_542_382_757_000));
    let mut info = StreamInfo::new(Rc::new(connection), Some(Version::Http11), timing);
    info.response_code = Some(200);
    info.bytes_sent = 12_345;
    info.timing.complete = Some(Instant::from_nanos(7_654_321));
    info.upstream = Some(UpstreamInfo {
        host_address: address(8080),
        hostname: "".into(),
        local_address: None,
        connection_id: 3,
        protocol: Some(Version::Http11),
        tls: None,
    });
    info
}

fn lines(c: &mut Criterion) {
    let info = stream_info();
    let mut request =
        RequestHead::new(Method::Get, "http", b"www.example.com", b"/some/path/to/a/thing?with=query");
    for (name, value) in [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0"),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-encoding", "gzip, br"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "99f418ed-2d95-4a48-b7c3-e83dccd635f7"),
    ] {
        request.headers.append(name, value.as_bytes());
    }
    let mut response = ResponseHead::new(200);
    response.headers.append("x-envoy-upstream-service-time", b"6");
    let cx = FormatContext {
        request: Some(&request),
        response: Some(&response),
        ..FormatContext::new(&info, info.timing.start + Duration::from_millis(9), info.timing.start_time)
    };
    let default = Formatter::parse(DEFAULT_ACCESS_LOG_FORMAT).expect("Envoy's own");
    let json = serde_json::json!({
        "time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "sent": "%BYTES_SENT%", "duration": "%DURATION%",
        "agent": "%REQ(USER-AGENT)%", "id": "%REQ(X-REQUEST-ID)%", "upstream": "%UPSTREAM_HOST%",
    });
    let json = JsonFormatter::compile(json.as_object().expect("an object"), false).expect("a good format");
    let mut out = Vec::with_capacity(4096);
    c.bench_function("log_format/default", |b| {
        b.iter(|| {
            out.clear();
            default.write(black_box(&cx), &mut out);
        });
    });
    c.bench_function("log_format/json", |b| {
        b.iter(|| {
            out.clear();
            json.write(black_box(&cx), &mut out);
        });
    });
}

criterion_group!(benches, lines);
criterion_main!(benches);
