//! What happens before filters serve a connection: listener filters, and the choice of a filter chain.

use std::time::{Duration, Instant};

use ringway_test_support::config::Http;
use ringway_test_support::l4_config::{
    L4, access_log, chain, chain_for, direct_response, listener_filter, tcp_proxy,
};
use ringway_test_support::process::read_file;
use ringway_test_support::{
    Connection, Driver, Origin, PATIENCE, PeerEnd, Proxy, Request, Server, TcpOrigin, TcpPeer, eventually,
};

on_both_drivers! {
    chains_are_chosen_by_what_the_header_tells
    a_connection_that_no_chain_is_for_is_closed
    headers_come_in_any_pieces
    a_header_that_never_ends_is_waited_for_only_so_long
    http_requests_come_from_whom_the_header_names
    hosts_are_told_where_clients_come_from
    the_version_of_http_chooses_the_chain
    listener_filters_limit_rates_for_the_process
}

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn proxy_protocol() -> String {
    format!("listener_filters:\n{}", listener_filter("proxy_protocol.v3.ProxyProtocol", ""))
}

/// What a connection is answered that begins with these bytes.
fn answer(proxy: &Proxy, listener: &str, bytes: impl AsRef<[u8]>) -> String {
    let mut client = TcpPeer::connect(proxy.address_of(listener));
    client.send(bytes);
    assert_ne!(client.await_end(PATIENCE), PeerEnd::Open);
    client.text()
}

fn chains_are_chosen_by_what_the_header_tells(driver: Driver) {
    let chains = [
        ("{destination_port: 443}", "port 443"),
        ("{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}", "10/8"),
        ("{prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]}", "10.1/16"),
        ("{source_prefix_ranges: [{address_prefix: 5.0.0.0, prefix_len: 8}]}", "from 5/8"),
        ("{source_ports: [77]}", "from port 77"),
        ("", "any"),
    ];
    let chains = chains.map(|(criteria, text)| chain_for(criteria, &direct_response(text))).join("\n");
    let l4 = L4::new().listener("main", &format!("{}\nfilter_chains:\n{chains}", proxy_protocol()));
    let proxy = Server::ringway(driver).start(&l4.yaml());
    for (source, destination, expected) in [
        (([1, 1, 1, 1], 1), ([2, 2, 2, 2], 443), "port 443"),
        (([1, 1, 1, 1], 1), ([10, 2, 2, 2], 1), "10/8"),
        (([1, 1, 1, 1], 1), ([10, 1, 2, 2], 1), "10.1/16"),
        (([5, 1, 1, 1], 1), ([2, 2, 2, 2], 1), "from 5/8"),
        (([6, 1, 1, 1], 77), ([2, 2, 2, 2], 1), "from port 77"),
        (([6, 1, 1, 1], 1), ([2, 2, 2, 2], 1), "any"),
    ] {
        let ip = |ip: [u8; 4]| ip.map(|byte| byte.to_string()).join(".");
        let (from, to) = (ip(source.0), ip(destination.0));
        let v1 = format!("PROXY TCP4 {from} {to} {} {}\r\n", source.1, destination.1);
        assert_eq!(answer(&proxy, "main", v1), expected);
        let mut v2 = [V2_SIGNATURE, &[0x21, 0x11, 0, 12], &source.0, &destination.0].concat();
        v2.extend_from_slice(&u16::to_be_bytes(source.1));
        v2.extend_from_slice(&u16::to_be_bytes(destination.1));
        assert_eq!(answer(&proxy, "main", v2), expected);
    }
    assert_eq!(answer(&proxy, "main", "PROXY UNKNOWN\r\n"), "any");
    assert_eq!(proxy.stat("proxy_proto.versions.v1.found"), 7);
    assert_eq!(proxy.stat("proxy_proto.versions.v2.found"), 6);
    proxy.stop();
}

fn a_connection_that_no_chain_is_for_is_closed(driver: Driver) {
    let log = access_log("access.log", "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_LOCAL_ADDRESS%");
    let chains = chain_for("{destination_port: 443}", &direct_response("443"));
    let l4 = L4::new()
        .listener("main", &format!("{log}\n{}\nfilter_chains:\n{chains}", proxy_protocol()))
        .listener("plain", &format!("filter_chains:\n{chains}"));
    let server = Server::ringway(driver).arg("--file-flush-interval-msec").arg("10");
    let proxy = server.start(&l4.yaml());
    assert_eq!(answer(&proxy, "main", "PROXY TCP4 1.1.1.1 2.2.2.2 1 80\r\n"), "");
    assert_eq!(answer(&proxy, "plain", ""), "");
    assert_eq!(proxy.stat("listener.main.no_filter_chain_match"), 1);
    assert_eq!(proxy.stat("listener.plain.no_filter_chain_match"), 1);
    assert_eq!(proxy.stat("listener.main.downstream_cx_total"), 0);
    eventually("a line of the log", || {
        let text = read_file(&proxy.directory().join("access.log"));
        (text == "NR filter_chain_not_found 2.2.2.2:80\n").then_some(())
    });
    proxy.stop();
}

fn headers_come_in_any_pieces(driver: Driver) {
    let origin = TcpOrigin::echo();
    let l4 = L4::new()
        .listener("main", &format!("{}\n{}", proxy_protocol(), chain(&tcp_proxy("cluster: origin"))))
        .cluster("origin", origin.port(), "");
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let v2 = [V2_SIGNATURE, &[0x21, 0x11, 0, 12, 1, 1, 1, 1, 2, 2, 2, 2, 0, 1, 0, 2]].concat();
    for header in [&b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"[..], &v2] {
        let bytes = [header, b"hello"].concat();
        for step in [1, 7, bytes.len()] {
            let mut client = TcpPeer::connect(proxy.address());
            for piece in bytes.chunks(step) {
                // Nothing comes before the header is whole; the pause makes pieces of the writes.
                assert_eq!(client.send(piece).await_end(Duration::from_millis(2)), PeerEnd::Open);
            }
            client.read_until(5).half_close();
            assert_eq!((client.await_end(PATIENCE), client.text().as_str()), (PeerEnd::Closed, "hello"));
            assert_eq!(origin.await_seen().text(), "hello");
        }
    }
    proxy.stop();
}

fn a_header_that_never_ends_is_waited_for_only_so_long(driver: Driver) {
    let served = chain(&direct_response("served"));
    let l4 = L4::new()
        .listener("strict", &format!("listener_filters_timeout: 0.3s\n{}\n{served}", proxy_protocol()))
        .listener(
            "lenient",
            &format!(
                "listener_filters_timeout: 0.3s\ncontinue_on_listener_filters_timeout: true\n{}\n{served}",
                proxy_protocol()
            ),
        );
    let proxy = Server::ringway(driver).start(&l4.yaml());
    let began = Instant::now();
    assert_eq!(answer(&proxy, "strict", "PROXY TCP4 1.1"), "");
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(answer(&proxy, "lenient", "PROXY TCP4 1.1"), "served");
    for listener in ["strict", "lenient"] {
        assert_eq!(proxy.stat(&format!("listener.{listener}.downstream_pre_cx_timeout")), 1);
        proxy.await_stat(&format!("listener.{listener}.downstream_pre_cx_active"), 0);
    }
    // What is no header is not waited for.
    let began = Instant::now();
    assert_eq!(answer(&proxy, "strict", "GET / HTTP/1.1\r\n\r\n"), "");
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(proxy.stat("proxy_proto.not_found_disallowed"), 1);
    proxy.stop();
}

fn http_requests_come_from_whom_the_header_names(driver: Driver) {
    let origin = Origin::echo();
    let http = Http::to_origin(origin.port()).listener(&proxy_protocol()).hcm("use_remote_address: true");
    let proxy = Server::ringway(driver).start(&http.yaml());
    let mut connection = Connection::open(proxy.address());
    // Header and request in one packet.
    connection
        .send([&b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"[..], &Request::get("/a").bytes()].concat());
    assert_eq!(connection.response().status(), 200);
    assert_eq!(Request::get("/b").send_on(&mut connection).expect("response").status(), 200);
    for request in origin.take_requests() {
        assert_eq!(request.header("x-forwarded-for"), Some("2001:db8::1"));
    }
    proxy.stop();
}

fn upstream_header(version: &str) -> String {
    let types = "type.googleapis.com/envoy.extensions.transport_sockets";
    format!(
        "transport_socket:
  name: envoy.transport_sockets.upstream_proxy_protocol
  typed_config:
    '@type': {types}.proxy_protocol.v3.ProxyProtocolUpstreamTransport
    config: {{version: {version}}}
    transport_socket: {{name: raw, typed_config: {{'@type': {types}.raw_buffer.v3.RawBuffer}}}}"
    )
}

fn hosts_are_told_where_clients_come_from(driver: Driver) {
    let origin = TcpOrigin::start(|peer| {
        peer.await_end(PATIENCE);
    });
    let listener = |version: &str| chain(&tcp_proxy(&format!("cluster: {version}")));
    let unix = format!(
        "- name: unix\n  address: {{pipe: {{path: '{{dir}}/socket'}}}}\n  {}",
        ringway_test_support::config::indent(&listener("V2"), 2)
    );
    let l4 = ["V1", "V2"].iter().fold(L4::new(), |l4, version| {
        l4.listener(version, &listener(version)).cluster(version, origin.port(), &upstream_header(version))
    });
    let yaml =
        l4.yaml().replacen("listeners:\n", &format!("listeners:\n  {}\n", unix.replace('\n', "\n  ")), 1);
    let proxy = Server::ringway(driver).start(&yaml);
    let send = |listener: &str| {
        let mut client = TcpPeer::connect(proxy.address_of(listener));
        let own = client.local_address().expect("connected");
        client.send("hello").half_close().await_end(PATIENCE);
        (own, proxy.address_of(listener))
    };
    let (client, listener) = send("V1");
    let header = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello", client.port(), listener.port());
    assert_eq!(origin.await_seen().text(), header);
    let (client, listener) = send("V2");
    let mut header = [V2_SIGNATURE, &[0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]].concat();
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&listener.port().to_be_bytes());
    header.extend_from_slice(b"hello");
    assert_eq!(origin.await_seen().bytes, header);
    // A client on a unix socket has no address: the proxy speaks for itself.
    Connection::open_unix(&proxy.directory().join("socket")).send("hello").half_close();
    assert_eq!(origin.await_seen().bytes, [V2_SIGNATURE, &[0x20, 0, 0, 0], b"hello"].concat());
    proxy.stop();
}

/// Connections for HTTP are shared by clients, and a header can tell of one only.
#[test]
fn http_routes_to_clusters_with_a_header_are_refused_by_name() {
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: told}").cluster(
        "told",
        8001,
        &upstream_header("V1"),
    );
    let server = Server::ringway_bare().file("c.yaml", &http.yaml());
    let exited = server.arg("-c").arg("{dir}/c.yaml").arg("--mode").arg("validate").run_to_end(PATIENCE);
    let said = exited.stdout + &exited.stderr;
    assert_eq!(exited.status.code(), Some(1), "{said}");
    assert!(said.contains("cluster 'told' speaks the PROXY protocol upstream"), "{said}");
}

#[test]
fn a_request_whose_header_names_such_a_cluster_fails() {
    let origin = Origin::echo();
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster_header: x-cluster}").cluster(
        "told",
        origin.port(),
        &upstream_header("V1"),
    );
    let proxy = Server::ringway(Driver::Epoll).start(&http.yaml());
    assert_eq!(Request::get("/").header("x-cluster", "told").send(proxy.address()).status(), 503);
    assert_eq!(origin.request_count(), 0);
    proxy.stop();
}

fn the_version_of_http_chooses_the_chain(driver: Driver) {
    let chains = ["http/1.0", "http/1.1", "h2c"]
        .map(|protocol| {
            chain_for(&format!("{{application_protocols: [{protocol}]}}"), &direct_response(protocol))
        })
        .join("\n");
    let inspector = format!("listener_filters:\n{}", listener_filter("http_inspector.v3.HttpInspector", ""));
    let other = chain_for("", &direct_response("other"));
    let l4 = L4::new().listener("main", &format!("{inspector}\nfilter_chains:\n{chains}\n{other}"));
    let proxy = Server::ringway(driver).start(&l4.yaml());
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\n", "http/1.1"),
        ("GET / HTTP/1.0\r\n", "http/1.0"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c"),
        ("\x16\x03\x01", "other"),
        ("SSH-2.0-x\r\n", "other"),
    ] {
        assert_eq!(answer(&proxy, "main", bytes), expected, "{bytes:?}");
    }
    // In one-byte pieces a line is recognised too.
    let mut client = TcpPeer::connect(proxy.address());
    for byte in b"POST /a/long/path HTTP/1.1\r" {
        assert_eq!(client.send([*byte]).await_end(Duration::from_millis(1)), PeerEnd::Open);
    }
    client.send("\n").await_end(PATIENCE);
    assert_eq!(client.text(), "http/1.1");
    assert_eq!(proxy.stat("http_inspector.http11_found"), 2);
    assert_eq!(proxy.stat("http_inspector.http_not_found"), 2);
    proxy.stop();
}

fn listener_filters_limit_rates_for_the_process(driver: Driver) {
    let fields = "stat_prefix: gate\ntoken_bucket: {max_tokens: 4, fill_interval: 3600s}";
    let filters =
        format!("listener_filters:\n{}", listener_filter("local_ratelimit.v3.LocalRateLimit", fields));
    let l4 = L4::new().listener("main", &format!("{filters}\n{}", chain(&direct_response("served"))));
    let proxy = Server::ringway(driver).concurrency(2).start(&l4.yaml());
    let served = (0..10).filter(|_| answer(&proxy, "main", "") == "served").count();
    assert_eq!((served, proxy.stat("listener_local_ratelimit.gate.rate_limited")), (4, 6));
    proxy.stop();
}
