//! HTTP/2 with prior knowledge on both sides (RFC 9113), over real sockets: what passes, how bodies are held back,
//! what an attacker comes to, and that programs of others agree.

mod attacks;
mod connections;
mod flow_control;
mod h2_crate;
mod peers;
mod requests;
mod upstream;

use ringway_test_support::config::Http;
use ringway_test_support::{Driver, Proxy, Server};

/// Fields of a cluster whose hosts are spoken to in HTTP/2.
const H2_CLUSTER: &str = r#"typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}"#;

/// Fields of the connection manager: what is left of a connection when the process ends is not waited for long.
const QUICK: &str = "drain_timeout: 0.1s";

/// A proxy before a HTTP/1.1 origin at this port.
fn before_http1(driver: Driver, port: u16) -> Proxy {
    Server::ringway(driver).start(&Http::to_origin(port).hcm(QUICK).yaml())
}

/// A proxy before a HTTP/2 origin at this port.
fn before_http2(driver: Driver, port: u16) -> Proxy {
    before_http2_with(driver, port, "")
}

/// The same with further fields of the cluster.
fn before_http2_with(driver: Driver, port: u16, cluster: &str) -> Proxy {
    let routes = "- match: {prefix: /}\n  route: {cluster: origin, timeout: 0s}";
    let cluster = format!("{H2_CLUSTER}\n{cluster}");
    Server::ringway(driver).start(&Http::routes(routes).hcm(QUICK).cluster("origin", port, &cluster).yaml())
}
