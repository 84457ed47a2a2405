//! Clusters behind TLS: whom they trust, what they show, what they ask for, and how their connections are used again.

use super::{client, server, server_tls, world};
use ringway_test_support::config::Http;
use ringway_test_support::l4_config::access_log;
use ringway_test_support::process::read_file;
use ringway_test_support::tls_config::{common, upstream, validation};
use ringway_test_support::{
    Answer, Connection, Driver, Message, Origin, Proxy, Request, Then, TlsServer, TlsVersion, eventually,
};

on_both_drivers! {
    origins_are_verified
    our_certificate_is_shown
    sessions_are_resumed
    connections_are_used_again
    a_closed_pooled_connection_costs_nothing
    versions_are_limited
    an_origin_that_is_no_tls_server_fails
    an_origin_that_stalls_is_given_up
    names_are_asked_for
    the_host_chooses_the_version_of_http
    application_protocols_are_offered
}

const FORMAT: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% | \
    %UPSTREAM_TRANSPORT_FAILURE_REASON%";

/// Trust in the authority.
fn trusting(more: &str) -> String {
    format!("common_tls_context:\n  {}", validation("ca", more))
}

/// Plain HTTP to clusters, each by the path that is its name.
fn by_path(clusters: &[(&str, u16, String)]) -> Http {
    let routes: Vec<_> = clusters
        .iter()
        .map(|(name, ..)| format!("- match: {{prefix: /{name}}}\n  route: {{cluster: {name}}}"))
        .collect();
    let http = Http::routes(&routes.join("\n")).hcm(&access_log("access.log", FORMAT));
    clusters.iter().fold(http, |http, (name, port, yaml)| http.cluster(name, *port, yaml))
}

fn get(proxy: &Proxy, path: &str) -> Message {
    Request::get(path).send(proxy.address())
}

fn await_line(proxy: &Proxy, start: &str) -> String {
    let path = proxy.directory().join("access.log");
    eventually(&format!("a line {start:?} in {}", read_file(&path)), || {
        read_file(&path).lines().find(|line| line.starts_with(start)).map(str::to_owned)
    })
}

fn origins_are_verified(driver: Driver) {
    let tls = TlsServer::new(&world().server, &[]);
    let good = Origin::start_tls(&tls, Answer::Echo);
    let outdated = Origin::start_tls(&TlsServer::new(&world().expired, &[]), Answer::Echo);
    let strange = Origin::start_tls(&TlsServer::new(&world().stranger, &[]), Answer::Echo);
    let san = |name: &str| {
        let matcher =
            format!("match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {name}}}}}]");
        format!("sni: server.test\n{}", trusting(&matcher))
    };
    let hash = format!("validation_context: {{verify_certificate_hash: ['{}']}}", "ab".repeat(32));
    let proxy = server(driver).start(
        &by_path(&[
            ("trusted", good.port(), upstream(&trusting(""))),
            ("named", good.port(), upstream(&san("server.test"))),
            ("misnamed", good.port(), upstream(&san("other.test"))),
            ("strange", strange.port(), upstream(&trusting(""))),
            ("outdated", outdated.port(), upstream(&trusting(""))),
            ("pinned", good.port(), upstream(&format!("common_tls_context:\n  {hash}"))),
            // Nobody is asked for anything.
            ("careless", strange.port(), upstream("")),
            (
                "auto",
                good.port(),
                upstream(&format!("sni: nobody.test\nauto_sni_san_validation: true\n{}", trusting(""))),
            ),
        ])
        .yaml(),
    );
    for path in ["trusted", "named", "careless"] {
        assert_eq!(get(&proxy, &format!("/{path}")).status(), 200, "{path}");
        assert_eq!(proxy.stat(&format!("cluster.{path}.ssl.handshake")), 1);
        await_line(&proxy, &format!("/{path} 200 - via_upstream | -"));
    }
    let hellos = tls.take_hellos();
    assert_eq!(
        (hellos[0].server_name.as_deref(), hellos[1].server_name.as_deref()),
        (None, Some("server.test"))
    );
    for (path, stat, reason) in [
        ("misnamed", "fail_verify_san", "verify cert failed: SAN matcher"),
        ("strange", "fail_verify_error", "verify cert failed:"),
        ("outdated", "fail_verify_error", "verify cert failed:"),
        ("pinned", "fail_verify_cert_hash", "verify cert failed: cert hash and spki"),
        ("auto", "fail_verify_san", "verify cert failed: SAN matcher"),
    ] {
        let response = get(&proxy, &format!("/{path}"));
        assert_eq!(response.status(), 503, "{path}");
        assert!(response.text().starts_with("upstream connect error or disconnect/reset before headers"));
        let line = await_line(&proxy, &format!("/{path} 503 UF upstream_reset_before_response_started{{"));
        assert!(line.split_once(" | ").expect("a reason").1.contains(&reason.replace(' ', "_")), "{line}");
        assert_eq!(proxy.stat(&format!("cluster.{path}.ssl.{stat}")), 1);
        assert_eq!(proxy.stat(&format!("cluster.{path}.ssl.connection_error")), 0);
        assert_eq!(proxy.stat(&format!("cluster.{path}.upstream_cx_connect_fail")), 1);
        proxy.await_stat(&format!("cluster.{path}.upstream_cx_active"), 0);
    }
    assert_eq!(strange.request_count(), 1, "only what asked for nothing was sent");
    assert_eq!(outdated.request_count(), 0);
    proxy.stop();
}

fn our_certificate_is_shown(driver: Driver) {
    let tls = TlsServer::mutual(&world().server, &[], &world().ca);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    let port = origin.port();
    let new = |certificate: &str| {
        let versions = "tls_params: {tls_maximum_protocol_version: TLSv1_3}";
        upstream(&common(certificate, versions))
    };
    let proxy = server(driver).start(
        &by_path(&[
            ("known", port, upstream(&common("client", ""))),
            ("new", port, new("client")),
            ("strange", port, upstream(&common("stranger", ""))),
            ("foreign", port, new("stranger")),
            ("nobody", port, upstream("")),
        ])
        .yaml(),
    );
    assert_eq!(get(&proxy, "/known").status(), 200);
    assert_eq!(get(&proxy, "/new").status(), 200);
    let handshakes = tls.take_handshakes();
    assert!(handshakes.iter().all(|handshake| handshake.has_certificate), "{handshakes:?}");
    assert_eq!((handshakes[0].version.as_str(), handshakes[1].version.as_str()), ("TLSv1_2", "TLSv1_3"));
    // The origin refuses; in TLS 1.3 it does so when this side takes the handshake for complete.
    for path in ["/strange", "/foreign", "/nobody"] {
        assert_eq!(get(&proxy, path).status(), 503, "{path}");
        proxy.await_stat(&format!("cluster.{}.ssl.connection_error", &path[1..]), 1);
    }
    assert_eq!(origin.request_count(), 2);
    proxy.stop();
}

fn sessions_are_resumed(driver: Driver) {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let tls = TlsServer::new(&world().server, &[]);
    let origin = Origin::start_tls(&tls, Answer::Raw(closing.into(), Then::Close));
    let newest = "\n  tls_params: {tls_maximum_protocol_version: TLSv1_3}";
    let proxy = server(driver).start(
        &by_path(&[
            ("old", origin.port(), upstream(&trusting(""))),
            ("new", origin.port(), upstream(&format!("{}{newest}", trusting("")))),
            ("never", origin.port(), upstream(&format!("max_session_keys: 0\n{}", trusting("")))),
        ])
        .yaml(),
    );
    for (path, reused) in [("old", 4), ("new", 4), ("never", 0)] {
        for _ in 0..5 {
            assert_eq!(get(&proxy, &format!("/{path}")).text(), "ok");
        }
        assert_eq!(proxy.stat(&format!("cluster.{path}.ssl.handshake")), 5);
        assert_eq!(proxy.stat(&format!("cluster.{path}.ssl.session_reused")), reused, "{path}");
        let resumed = tls.take_handshakes().iter().filter(|handshake| handshake.is_resumed).count();
        assert_eq!(resumed as u64, reused, "{path}, as the origin sees it");
    }
    proxy.stop();
}

fn connections_are_used_again(driver: Driver) {
    let origin = Origin::start_tls(&TlsServer::new(&world().server, &[]), Answer::Echo);
    let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin}")
        .chain(&server_tls(""))
        .cluster("origin", origin.port(), &upstream(&trusting("")));
    let proxy = server(driver).start(&http.yaml());
    let mut connection = client().open(proxy.address());
    for _ in 0..20 {
        let response = Request::post("/", "x").send_on(&mut connection).expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(client().send(proxy.address(), &Request::get("/")).status(), 200);
    }
    assert_eq!((origin.accepted(), proxy.stat("cluster.origin.ssl.handshake")), (1, 1));
    proxy.stop();
}

fn a_closed_pooled_connection_costs_nothing(driver: Driver) {
    let origin = Origin::start_tls(&TlsServer::new(&world().server, &[]), Answer::Echo);
    let proxy = server(driver).start(
        &by_path(&[("", origin.port(), upstream(&trusting("")))])
            .yaml()
            .replace("- name: \n", "- name: origin\n")
            .replace("cluster: }", "cluster: origin}")
            .replace("cluster_name: \n", "cluster_name: origin\n"),
    );
    for close in [Then::Close, Then::Reset] {
        assert_eq!(get(&proxy, "/").status(), 200);
        // Closed as by an idle timeout that fires when the request arrives.
        origin.expect([Answer::Raw(Vec::new(), close)]);
        assert_eq!(get(&proxy, "/").status(), 200, "{close:?}");
    }
    // Found closed: even what must not be sent twice goes through.
    origin.close_connections();
    proxy.await_stat("cluster.origin.upstream_cx_active", 0);
    assert_eq!(Request::post("/", "once").send(proxy.address()).status(), 200);
    proxy.stop();
}

fn versions_are_limited(driver: Driver) {
    let new = Origin::start_tls(&TlsServer::only(&world().server, &[], TlsVersion::V13), Answer::Echo);
    let newest = "common_tls_context:\n  tls_params: {tls_maximum_protocol_version: TLSv1_3}";
    let proxy = server(driver)
        .start(&by_path(&[("old", new.port(), upstream("")), ("new", new.port(), upstream(newest))]).yaml());
    // TLS 1.2 unless more is allowed, as in Envoy.
    assert_eq!((get(&proxy, "/old").status(), get(&proxy, "/new").status()), (503, 200));
    assert_eq!(proxy.stat("cluster.old.ssl.connection_error"), 1);
    assert_eq!(proxy.stat("cluster.new.ssl.versions.TLSv1.3"), 1);
    proxy.stop();
}

fn an_origin_that_is_no_tls_server_fails(driver: Driver) {
    let origin = Origin::start(Answer::Echo);
    let says_hello = ringway_test_support::TcpOrigin::start(|peer| {
        peer.send("220 mail.test ESMTP\r\n").read_until(1);
    });
    let proxy = server(driver).start(
        &by_path(&[("smtp", says_hello.port(), upstream("")), ("http", origin.port(), upstream(""))]).yaml(),
    );
    assert_eq!(get(&proxy, "/smtp").status(), 503);
    let line = await_line(&proxy, "/smtp 503 UF ");
    assert!(line.contains("| TLS_error"), "{line}");
    assert_eq!(proxy.stat("cluster.smtp.ssl.connection_error"), 1);
    proxy.stop();
}

fn an_origin_that_stalls_is_given_up(driver: Driver) {
    let silent = ringway_test_support::TcpOrigin::start(|peer| {
        peer.await_end(ringway_test_support::PATIENCE);
    });
    let yaml = format!("connect_timeout: 0.3s\n{}", upstream(""));
    let proxy = server(driver).start(&by_path(&[("silent", silent.port(), yaml)]).yaml());
    assert_eq!(get(&proxy, "/silent").status(), 503);
    await_line(&proxy, "/silent 503 UF upstream_reset_before_response_started{connection_timeout}");
    assert_eq!(proxy.stat("cluster.silent.upstream_cx_connect_timeout"), 1);
    assert_eq!(proxy.stat("cluster.silent.ssl.handshake"), 0);
    let seen = silent.await_seen();
    assert_eq!(seen.bytes.first(), Some(&22), "a hello");
    proxy.stop();
}

fn names_are_asked_for(driver: Driver) {
    let tls = TlsServer::new(&world().server, &[]);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    let http = Http::routes(
        "- match: {path: /set}\n  route: {cluster: set}\n- match: {path: /host}\n  route: {cluster: host}",
    )
    .cluster("set", origin.port(), &upstream("sni: set.test"));
    let yaml = http.cluster("host", origin.port(), &upstream("auto_host_sni: true")).yaml();
    let address = format!(
        "- endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}",
        origin.port()
    );
    let named = address.replace("- endpoint: {", "- endpoint: {hostname: host.test, ");
    let proxy = server(driver).start(&yaml.replace(&address, &named));
    for path in ["/set", "/host"] {
        assert_eq!(get(&proxy, path).status(), 200);
    }
    let names: Vec<_> = tls.take_hellos().into_iter().filter_map(|hello| hello.server_name).collect();
    assert_eq!(names, ["set.test", "host.test"]);
    proxy.stop();
}

/// What lets a host choose.
const AUTO: &str = "typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    ";

fn protocol_options(choice: &str) -> String {
    format!("{AUTO}{choice}")
}

/// Answers in the version of HTTP that was chosen: by name for HTTP/1, with `h2` for HTTP/2, by the fewest bytes that
/// are a response of it (RFC 9113 6, RFC 7541 A).
fn in_either_version() -> Answer {
    Answer::script(|connection, request| {
        if request.method() != "PRI" {
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh1");
            return Then::Keep;
        }
        let _ = serve_http2(connection);
        Then::Close
    })
}

fn serve_http2(connection: &mut ringway_test_support::origin::OriginConnection) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind, Read};
    let mut bytes = connection.reader.take_pending();
    let mut take = |connection: &mut ringway_test_support::origin::OriginConnection, length: usize| {
        while bytes.len() < length {
            let mut block = [0; 4096];
            match connection.stream.read(&mut block)? {
                0 => return Err(Error::from(ErrorKind::UnexpectedEof)),
                read => bytes.extend_from_slice(&block[..read]),
            }
        }
        Ok(bytes.drain(..length).collect::<Vec<u8>>())
    };
    take(connection, b"SM\r\n\r\n".len())?;
    connection.write([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    loop {
        let head = take(connection, 9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        take(connection, length)?;
        let (kind, flags, stream) = (head[3], head[4], &head[5..9]);
        match kind {
            // SETTINGS without ACK.
            4 if flags & 1 == 0 => connection.write([0, 0, 0, 4, 1, 0, 0, 0, 0]),
            // HEADERS: `:status: 200`, then a body that ends the stream.
            1 => {
                let mut answer = vec![0, 0, 1, 1, 4];
                answer.extend_from_slice(stream);
                answer.extend_from_slice(&[0x88, 0, 0, 2, 0, 1]);
                answer.extend_from_slice(stream);
                answer.extend_from_slice(b"h2");
                connection.write(answer)
            }
            _ => true,
        };
    }
}

fn the_host_chooses_the_version_of_http(driver: Driver) {
    let start = |protocols: &[&str]| {
        let tls = TlsServer::new(&world().server, protocols);
        let origin = Origin::start_tls(&tls, in_either_version());
        (tls, origin)
    };
    let (new_tls, new) = start(&["h2", "http/1.1"]);
    let (_old_tls, old) = start(&["http/1.1"]);
    let (_none_tls, none) = start(&[]);
    let (fickle_tls, fickle) = start(&["h2"]);
    let yaml = format!("{}\n{}", protocol_options("auto_config: {}"), upstream(&trusting("")));
    let clusters = [("new", &new), ("old", &old), ("none", &none), ("fickle", &fickle)];
    let clusters = clusters.map(|(name, origin)| (name, origin.port(), yaml.clone()));
    let proxy = server(driver).start(&by_path(&clusters).yaml());
    for (path, version) in [("new", "h2"), ("old", "h1"), ("none", "h1")] {
        for _ in 0..5 {
            assert_eq!(get(&proxy, &format!("/{path}")).text(), version, "{path}");
        }
        let of = |name: &str| proxy.stat(&format!("cluster.{path}.{name}"));
        assert_eq!(of("upstream_cx_total"), 1, "{path}");
        let h2 = u64::from(version == "h2");
        assert_eq!((of("upstream_cx_http2_total"), of("upstream_cx_http1_total")), (h2, 1 - h2), "{path}");
        assert_eq!((of("upstream_rq_total"), of("upstream_cx_active")), (5, 1), "{path}");
    }
    assert_eq!(new_tls.take_hellos()[0].protocols, ["h2", "http/1.1"]);
    // Many at once share a connection of HTTP/2, and have one each of HTTP/1.
    for (path, version) in [("new", "h2"), ("old", "h1")] {
        let mut clients: Vec<_> = (0..8).map(|_| Connection::open(proxy.address())).collect();
        for client in &mut clients {
            client.send(Request::get(&format!("/{path}")).bytes());
        }
        for client in &mut clients {
            assert_eq!(client.response().text(), version);
        }
    }
    assert_eq!(new.accepted(), 1);
    // A host that changes its mind, back and forth.
    for protocols in [&["h2"][..], &["http/1.1"], &["h2"], &[], &["http/1.1"]] {
        fickle_tls.set_alpn(protocols);
        fickle.close_connections();
        proxy.await_stat("cluster.fickle.upstream_cx_active", 0);
        for _ in 0..3 {
            let response = get(&proxy, "/fickle");
            assert_eq!(response.status(), 200, "{protocols:?}: {}", response.text());
        }
    }
    proxy.stop();
}

fn application_protocols_are_offered(driver: Driver) {
    let tls = TlsServer::new(&world().server, &["h2", "http/1.1", "mine"]);
    let origin = Origin::start_tls(&tls, in_either_version());
    let explicit = |version: &str| {
        format!(
            "{}\n{}",
            protocol_options(&format!("explicit_http_config: {{{version}: {{}}}}")),
            upstream("")
        )
    };
    let own = upstream("common_tls_context: {alpn_protocols: [mine, http/1.1]}");
    let proxy = server(driver).start(
        &by_path(&[
            ("plain", origin.port(), upstream("")),
            ("one", origin.port(), explicit("http_protocol_options")),
            ("two", origin.port(), explicit("http2_protocol_options")),
            ("own", origin.port(), own),
        ])
        .yaml(),
    );
    for (path, body, offered) in [
        ("/plain", "h1", &["http/1.1"][..]),
        ("/one", "h1", &["http/1.1"]),
        ("/two", "h2", &["h2"]),
        ("/own", "h1", &["mine", "http/1.1"]),
    ] {
        assert_eq!(get(&proxy, path).text(), body, "{path}");
        assert_eq!(tls.take_hellos()[0].protocols, offered, "{path}");
    }
    proxy.stop();
}
