//! One request through the whole proxy on the simulated network: listener, connection manager, routes, pool, codecs and
//! our executor, without a kernel. For counting instructions, which do not depend on how busy the machine is; see
//! `perf/guard`. The client's and the origin's own work is in the count, and `direct` is that work alone.
//!
//! `request_path WORKLOAD COUNT` runs one workload; without arguments each is run a little, which shows that they work.

mod client;
mod proxy;

use std::time::Duration;

use ringway::io::sim::{self, LinkOptions, SimOptions};
use ringway::io::{self, Address, ListenOptions, Listener, Socket};

/// Where the proxy listens, and where the origin does.
const PROXY: &str = "10.0.0.1:80";
const ORIGIN: &str = "10.0.1.1:8000";
/// Enough for each workload to have run every path.
const FEW: u64 = 200;
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    /// A small request over HTTP/1.1, straight to the origin.
    Direct,
    /// The same through the proxy.
    Http1,
    /// 40 header fields, about 4 KB.
    Http1Headers,
    /// A small request over HTTP/2, to an origin that speaks HTTP/1.1.
    Http2,
}

const WORKLOADS: [(&str, Workload); 4] = [
    ("direct", Workload::Direct),
    ("h1", Workload::Http1),
    ("h1-40-headers", Workload::Http1Headers),
    ("h2-to-h1", Workload::Http2),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let named = |name: &str| WORKLOADS.into_iter().find(|(known, _)| *known == name);
    match &arguments[..] {
        [] => WORKLOADS.into_iter().for_each(|(_, workload)| run(workload, FEW)),
        [name, count] => {
            let (_, workload) = named(name).expect("a workload: direct, h1, h1-40-headers or h2-to-h1");
            run(workload, count.parse().expect("a count"));
        }
        _ => panic!("usage: request_path [WORKLOAD COUNT]"),
    }
}

fn run(workload: Workload, count: u64) {
    let proxy = proxy::Proxy::compile(workload == Workload::Http2);
    // Whole messages, and no time: what is counted is the proxy's work, not the network's.
    let delay = (Duration::from_micros(10), Duration::from_micros(10));
    let link = LinkOptions {
        delay,
        segment_bytes: 1 << 20,
        window_bytes: 1 << 20,
        cuts: false,
        ..LinkOptions::default()
    };
    let options = SimOptions { link, step_limit: u64::MAX, ..SimOptions::default() };
    let report = sim::run(1, &options, || async move {
        let origin = Listener::bind(&ListenOptions::new(address(ORIGIN))).expect("the address is free");
        io::spawn(serve(origin));
        let active = proxy.start();
        match workload {
            Workload::Direct => client::http1(&address(ORIGIN), 0, count).await,
            Workload::Http1 => client::http1(&address(PROXY), 0, count).await,
            Workload::Http1Headers => client::http1(&address(PROXY), 36, count).await,
            Workload::Http2 => client::http2(&address(PROXY), count).await,
        }
        active.close();
    });
    report.expect("every request is answered");
}

fn address(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

async fn serve(mut listener: Listener) {
    loop {
        let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
        io::spawn(answer(accepted.expect("it listens")));
    }
}

/// Answers each request: they have no bodies and come one after the other, perhaps in pieces.
async fn answer(mut socket: Socket) {
    let mut received = Vec::new();
    while let Ok(Some(chunk)) = socket.recv().await {
        received.extend_from_slice(&chunk);
        if received.ends_with(b"\r\n\r\n") {
            received.clear();
            socket.write(RESPONSE);
        }
    }
}
