//! Listeners with TLS: certificates, filter chains by server name, application protocols, versions, sessions, and what
//! else connections go through.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{await_rest, client, https_to, server, server_tls, tls_listener, world};
use ringway_test_support::config::{Http, indent};
use ringway_test_support::l4_config::{L4, chain_for, direct_response, listener_filter};
use ringway_test_support::tls_config::{common, downstream, from_files, with_files};
use ringway_test_support::{
    Answer, Connection, Driver, Origin, PATIENCE, Proxy, Request, Then, TlsClient, TlsVersion, eventually,
};

on_both_drivers! {
    certificates_come_from_files_and_from_the_text
    server_names_choose_chains
    certificates_are_chosen_by_name_within_a_chain
    plain_and_tls_share_a_port
    application_protocols_choose_the_codec
    versions_are_limited
    sessions_are_resumed
    a_proxy_header_comes_before_the_handshake
    websockets_pass
    much_is_sent_to_a_slow_reader_in_bounded_memory
    much_is_received_in_bounded_memory
    idle_connections_are_small
    shutting_down_says_good_bye
    requests_finish_before_the_end
}

fn certificates_come_from_files_and_from_the_text(driver: Driver) {
    let text = format!("common_tls_context: {{tls_certificates: [{}]}}", world().server.inline());
    let l4 = tls_listener(L4::new(), "file", "", "", &direct_response("file"));
    let chain = chain_for("", &direct_response("text"));
    let l4 = l4.listener("text", &format!("filter_chains:\n{chain}\n  {}", indent(&downstream(&text), 2)));
    let proxy = server(driver).start(&l4.yaml());
    for name in ["file", "text"] {
        let mut stream = client().connect(proxy.address_of(name)).expect("a handshake");
        assert!(stream.has_seen(&world().server));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert_eq!((answer.as_str(), stream.ended_in_order()), (name, true));
        assert_eq!(proxy.stat(&format!("listener.{name}.ssl.handshake")), 1);
        assert_eq!(proxy.stat(&format!("listener.{name}.ssl.no_certificate")), 1);
    }
    let expiry = "listener.file.ssl.certificate.unnamed_cert_e3b0c442.expiration_unix_time_seconds";
    assert_eq!(proxy.stat(expiry), 4_102_444_800, "2100-01-01");
    await_rest(&proxy);
    proxy.stop();
}

/// A chain that answers with a text, over TLS with this certificate.
fn answering(criteria: &str, answer: &str, certificate: &str) -> String {
    let socket = downstream(&common(certificate, ""));
    format!("{}\n  {}", chain_for(criteria, &direct_response(answer)), indent(&socket, 2))
}

fn answer_of(client: &TlsClient, proxy: &Proxy, listener: &str) -> Option<String> {
    let mut stream = client.connect(proxy.address_of(listener)).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn inspected(chains: &[String]) -> String {
    format!(
        "listener_filters:\n{}\nfilter_chains:\n{}",
        listener_filter("tls_inspector.v3.TlsInspector", ""),
        chains.join("\n")
    )
}

fn server_names_choose_chains(driver: Driver) {
    let ca = &world().ca;
    let (one, wild) = (ca.issue(&["one.test"]), ca.issue(&["*.wild.test"]));
    let rest = ca.issue(&["rest.test", "wild.test", "x.one.test"]);
    let chains = [
        answering("{server_names: [one.test]}", "one", "one"),
        answering("{server_names: ['*.wild.test']}", "wild", "wild"),
        answering("{server_names: ['*.deep.wild.test', exact.wild.test]}", "deeper", "wild"),
    ];
    let default = answering("", "rest", "rest");
    let with_default =
        format!("{}\ndefault_filter_chain:\n  {}", inspected(&chains), default.trim_start_matches("- "));
    let l4 = L4::new().listener("main", &with_default).listener("strict", &inspected(&chains));
    let server = with_files(server(driver), &[], &[("one", &one), ("wild", &wild), ("rest", &rest)]);
    let proxy = server.start(&l4.yaml());
    let asking = |name: &str| TlsClient::new(ca, name);
    for (name, expected, certificate) in [
        ("one.test", "one", &one),
        ("ONE.Test", "one", &one),
        ("a.wild.test", "wild", &wild),
        ("exact.wild.test", "deeper", &wild),
        ("wild.test", "rest", &rest),
        ("x.one.test", "rest", &rest),
        ("rest.test", "rest", &rest),
    ] {
        let stream = asking(name).connect(proxy.address_of("main")).expect("a handshake");
        assert!(stream.has_seen(certificate), "{name}");
        assert_eq!(answer_of(&asking(name), &proxy, "main").as_deref(), Some(expected), "{name}");
    }
    let nameless = asking("rest.test").without_sni();
    assert_eq!(answer_of(&nameless, &proxy, "main").as_deref(), Some("rest"));
    assert_eq!(answer_of(&asking("one.test"), &proxy, "strict").as_deref(), Some("one"));
    assert_eq!(answer_of(&asking("rest.test"), &proxy, "strict"), None);
    assert_eq!(answer_of(&nameless, &proxy, "strict"), None);
    assert_eq!(proxy.stat("listener.strict.no_filter_chain_match"), 2);
    assert_eq!(proxy.stat("tls_inspector.tls_found"), 18);
    assert_eq!((proxy.stat("tls_inspector.sni_found"), proxy.stat("tls_inspector.sni_not_found")), (16, 2));
    assert_eq!(proxy.stat("tls_inspector.alpn_not_found"), 18);
    await_rest(&proxy);
    proxy.stop();
}

fn certificates_are_chosen_by_name_within_a_chain(driver: Driver) {
    let ca = &world().ca;
    let (one, two) = (ca.issue(&["one.test"]), ca.issue(&["*.two.test"]));
    let tls = format!(
        "common_tls_context:\n  tls_certificates:\n  - {}\n  - {}",
        from_files("one"),
        from_files("two")
    );
    let chain = format!("{}\n  {}", chain_for("", &direct_response("")), indent(&downstream(&tls), 2));
    let l4 = L4::new().listener("main", &format!("filter_chains:\n{chain}"));
    let proxy = with_files(server(driver), &[], &[("one", &one), ("two", &two)]).start(&l4.yaml());
    for (name, certificate) in [("one.test", &one), ("a.two.test", &two)] {
        let stream = TlsClient::new(ca, name).connect(proxy.address()).expect("a handshake");
        assert!(stream.has_seen(certificate), "{name}");
    }
    // Nobody's name: the first.
    let nameless = TlsClient::new(ca, "one.test").without_sni().connect(proxy.address());
    assert!(nameless.expect("a handshake").has_seen(&one));
    proxy.stop();
}

fn plain_and_tls_share_a_port(driver: Driver) {
    let tls = answering("{transport_protocol: tls}", "over TLS", "server");
    let plain = chain_for("{transport_protocol: raw_buffer}", &direct_response("plain"));
    let proxy = server(driver).start(&L4::new().listener("main", &inspected(&[tls, plain])).yaml());
    assert_eq!(answer_of(&client(), &proxy, "main").as_deref(), Some("over TLS"));
    let mut stream = std::net::TcpStream::connect(proxy.address()).expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "plain");
    assert_eq!((proxy.stat("tls_inspector.tls_found"), proxy.stat("tls_inspector.tls_not_found")), (1, 1));
    proxy.stop();
}

fn application_protocols_choose_the_codec(driver: Driver) {
    let origin = Origin::echo();
    let both = Http::to_origin(origin.port()).chain(&server_tls("alpn_protocols: [h2, http/1.1]"));
    let none = https_to(origin.port()).rename("none");
    let old = Http::to_origin(origin.port()).rename("old").chain(&server_tls("alpn_protocols: [http/1.1]"));
    let proxy = server(driver).start(&both.and(none.without_clusters()).and(old.without_clusters()).yaml());
    for (listener, offered, expected) in [
        ("main", &["h2", "http/1.1"][..], Some("h2")),
        ("main", &["http/1.1", "h2"], Some("h2")),
        ("main", &["http/1.1"], Some("http/1.1")),
        ("main", &["spdy/3", "http/1.1"], Some("http/1.1")),
        ("main", &[], None),
        ("main", &["spdy/3"], None),
        ("old", &["h2", "http/1.1"], Some("http/1.1")),
        ("old", &["h2"], None),
        ("none", &["h2", "http/1.1"], None),
    ] {
        let stream = client().alpn(offered).connect(proxy.address_of(listener)).expect("a handshake");
        assert_eq!(stream.protocol().as_deref(), expected, "{listener} {offered:?}");
        let mut connection = Connection::over(stream.into());
        if expected == Some("h2") {
            // The server's preface: a SETTINGS frame on stream 0 (RFC 9113 3.4).
            connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            connection.read_until(&[4, 0, 0, 0, 0, 0]).expect("SETTINGS");
        } else {
            let response = Request::get("/").send_on(&mut connection).expect("a response");
            assert_eq!(response.status(), 200, "{listener} {offered:?}");
        }
    }
    assert_eq!(proxy.stat("http.test.downstream_cx_http2_total"), 2);
    assert_eq!(proxy.stat("http.test.downstream_cx_http1_total"), 7);
    assert_eq!(proxy.stat("http.test.downstream_cx_ssl_total"), 9);
    await_rest(&proxy);
    assert_eq!(proxy.stat("http.test.downstream_cx_ssl_active"), 0);
    proxy.stop();
}

fn versions_are_limited(driver: Driver) {
    let limits = |name: &str, fields: &str, l4| {
        tls_listener(l4, name, &format!("tls_params: {{{fields}}}"), "", &direct_response(name))
    };
    let l4 = limits("new", "tls_minimum_protocol_version: TLSv1_3", L4::new());
    let l4 = limits("old", "tls_maximum_protocol_version: TLSv1_2", l4);
    let l4 = limits("any", "", l4);
    let proxy = server(driver).start(&l4.yaml());
    let answer = |listener: &str, version| answer_of(&client().only(version), &proxy, listener);
    for (listener, v12, v13) in [("new", false, true), ("old", true, false), ("any", true, true)] {
        for (version, is_taken) in [(TlsVersion::V12, v12), (TlsVersion::V13, v13)] {
            let expected = is_taken.then(|| listener.to_owned());
            assert_eq!(answer(listener, version), expected, "{listener} {version:?}");
        }
        let refused = u64::from(!v12) + u64::from(!v13);
        assert_eq!(proxy.stat(&format!("listener.{listener}.ssl.connection_error")), refused);
        assert_eq!(proxy.stat(&format!("listener.{listener}.ssl.versions.TLSv1.2")), u64::from(v12));
        assert_eq!(proxy.stat(&format!("listener.{listener}.ssl.versions.TLSv1.3")), u64::from(v13));
    }
    await_rest(&proxy);
    proxy.stop();
}

fn sessions_are_resumed(driver: Driver) {
    let disabled = "disable_stateless_session_resumption: true\ndisable_stateful_session_resumption: true";
    let l4 = tls_listener(L4::new(), "resuming", "", "", &direct_response("hello"));
    let l4 = tls_listener(l4, "forgetful", "", disabled, &direct_response("hello"));
    // Tickets of one worker are good for the other.
    let proxy = server(driver).concurrency(2).start(&l4.yaml());
    for (listener, is_resumed) in [("resuming", true), ("forgetful", false)] {
        for version in [TlsVersion::V12, TlsVersion::V13] {
            let client = client().only(version).resuming();
            for round in 0..6 {
                let mut stream = client.connect(proxy.address_of(listener)).expect("a handshake");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("an answer, and tickets before it");
                assert_eq!((answer.as_str(), stream.is_resumed()), ("hello", is_resumed && round > 0));
            }
        }
        let resumed = if is_resumed { 10 } else { 0 };
        assert_eq!(proxy.stat(&format!("listener.{listener}.ssl.session_reused")), resumed);
        assert_eq!(proxy.stat(&format!("listener.{listener}.ssl.handshake")), 12);
    }
    proxy.stop();
}

fn a_proxy_header_comes_before_the_handshake(driver: Driver) {
    let origin = Origin::echo();
    let filters = format!(
        "listener_filters:\n{}\n{}",
        listener_filter("proxy_protocol.v3.ProxyProtocol", ""),
        listener_filter("tls_inspector.v3.TlsInspector", "")
    );
    let http = https_to(origin.port()).listener(&filters).hcm("use_remote_address: true");
    let proxy = server(driver).start(&http.yaml());
    // Apart from the hello and in one piece with it.
    for is_joined in [false, true] {
        let socket = std::net::TcpStream::connect(proxy.address()).expect("a connection");
        let mut stream = client().over(socket);
        let mut header = b"PROXY TCP4 10.1.2.3 10.9.9.9 1000 443\r\n".to_vec();
        if is_joined {
            header.extend(stream.take_flight().expect("a hello"));
        }
        stream.socket().write_all(&header).expect("sent");
        stream.complete_handshake().expect("a handshake");
        let mut connection = Connection::over(stream.into());
        assert_eq!(Request::get("/").send_on(&mut connection).expect("a response").status(), 200);
        let request = origin.take_requests().remove(0);
        assert_eq!(request.header("x-forwarded-for"), Some("10.1.2.3"));
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    }
    // TLS instead of the header.
    assert!(client().connect(proxy.address()).is_err());
    await_rest(&proxy);
    proxy.stop();
}

fn websockets_pass(driver: Driver) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let origin = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        while let Ok(message) = socket.read() {
            if message.is_close() {
                let _ = socket.flush();
                return;
            }
            socket.send(message).expect("sent");
        }
    });
    let http = https_to(port).hcm("upgrade_configs: [{upgrade_type: WebSocket}]");
    let proxy = server(driver).start(&http.yaml());
    let stream = client().connect(proxy.address()).expect("a handshake");
    let (mut client, response) = tungstenite::client("wss://server.test/chat", stream).expect("an upgrade");
    assert_eq!(response.status(), 101);
    for length in [0, 1, 126, 65_536, 1_000_000] {
        let message = tungstenite::Message::binary(vec![7; length]);
        client.send(message.clone()).expect("sent");
        assert_eq!(client.read().expect("an echo"), message);
    }
    client.close(None).expect("a close");
    while client.read().is_ok() {}
    origin.join().expect("the origin");
    await_rest(&proxy);
    proxy.stop();
}

/// Many times what the proxy may hold.
const LARGE_BYTES: usize = 48 << 20;
/// What its memory may grow by meanwhile.
const MAX_GROWTH_BYTES: u64 = 12 << 20;

fn growth(proxy: &Proxy, before: u64) -> u64 {
    ringway_test_support::procfs::peak_rss_bytes(proxy.pid()).saturating_sub(before)
}

fn much_is_sent_to_a_slow_reader_in_bounded_memory(driver: Driver) {
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let origin = Origin::start(Answer::script(move |connection, _| {
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n"));
        let block = vec![b'x'; 64 << 10];
        for _ in 0..LARGE_BYTES / block.len() {
            if !connection.write(&block) {
                break;
            }
            counter.fetch_add(block.len(), Ordering::SeqCst);
        }
        Then::Keep
    }));
    let proxy = server(driver).start(&https_to(origin.port()).yaml());
    let before = ringway_test_support::procfs::rss_bytes(proxy.pid());
    let mut connection = client().open(proxy.address());
    connection.send(Request::get("/").bytes());
    // The origin is held back while the client reads nothing.
    let mut last = (0, 0);
    eventually("the origin to be held back", || {
        let now = sent.load(Ordering::SeqCst);
        last = if now == last.0 && now > 0 { (now, last.1 + 1) } else { (now, 0) };
        (last.1 == 50).then_some(())
    });
    assert!(last.0 < LARGE_BYTES / 2, "{} bytes were taken though the client reads nothing", last.0);
    let response = connection.response();
    assert_eq!((response.status(), response.body.len()), (200, LARGE_BYTES));
    assert!(response.body.iter().all(|byte| *byte == b'x'));
    assert!(growth(&proxy, before) < MAX_GROWTH_BYTES, "{} bytes", growth(&proxy, before));
    // The connection serves on.
    drop(response);
    origin.set_default(Answer::Echo);
    assert_eq!(Request::get("/next").send_on(&mut connection).expect("a response").json()["target"], "/next");
    proxy.stop();
}

fn much_is_received_in_bounded_memory(driver: Driver) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = Origin::start(Answer::script(move |connection, request| {
        eventually("the gate", || opened.load(Ordering::SeqCst).then_some(()));
        connection.read_body(request).expect("a body");
        assert!(request.body.iter().all(|byte| *byte == b'y'));
        let length = request.body.len().to_string();
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len()));
        Then::Keep
    }));
    let proxy = server(driver).start(&https_to(origin.port()).yaml());
    let before = ringway_test_support::procfs::rss_bytes(proxy.pid());
    let connection = client().open(proxy.address());
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let sender = std::thread::spawn(move || {
        let mut connection = connection;
        connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE_BYTES}\r\n\r\n"));
        let block = vec![b'y'; 64 << 10];
        for _ in 0..LARGE_BYTES / block.len() {
            connection.try_send(&block).expect("sent");
            counter.fetch_add(block.len(), Ordering::SeqCst);
        }
        connection
    });
    let mut last = (0, 0);
    eventually("the client to be held back", || {
        let now = sent.load(Ordering::SeqCst);
        last = if now == last.0 && now > 0 { (now, last.1 + 1) } else { (now, 0) };
        (last.1 == 50).then_some(())
    });
    assert!(last.0 < LARGE_BYTES / 2, "{} bytes were taken though the origin reads nothing", last.0);
    gate.store(true, Ordering::SeqCst);
    let mut connection = sender.join().expect("the sender");
    assert_eq!(connection.response().text(), LARGE_BYTES.to_string());
    assert!(growth(&proxy, before) < MAX_GROWTH_BYTES, "{} bytes", growth(&proxy, before));
    proxy.stop();
}

/// What a connection may hold while nothing happens, resident: its socket, session, filters and what allocating costs.
const MAX_IDLE_BYTES: u64 = 12 << 10;

fn idle_connections_are_small(driver: Driver) {
    let origin = Origin::echo();
    let proxy = server(driver).start(&https_to(origin.port()).yaml());
    let open = |count: usize| -> Vec<Connection> {
        let used = |_| {
            let mut connection = client().open(proxy.address());
            let response = Request::get("/").send_on(&mut connection).expect("a response");
            assert_eq!(response.status(), 200);
            connection
        };
        (0..count).map(used).collect()
    };
    // Whatever is made once, or grows by leaps, is there.
    let _first = open(300);
    let before = ringway_test_support::procfs::rss_bytes(proxy.pid());
    let _rest = open(500);
    assert_eq!(proxy.stat("listener.main.downstream_cx_active"), 800);
    let each = ringway_test_support::procfs::rss_bytes(proxy.pid()).saturating_sub(before) / 500;
    println!("{each} bytes for an idle connection");
    assert!(each <= MAX_IDLE_BYTES, "{each} bytes for an idle connection");
    proxy.stop();
}

fn shutting_down_says_good_bye(driver: Driver) {
    let origin = Origin::echo();
    let mut proxy = server(driver).start(&https_to(origin.port()).yaml());
    let mut idle = client().connect(proxy.address()).expect("a handshake");
    idle.write_all(&Request::get("/").bytes()).expect("sent");
    // One that has used nothing yet, one within its handshake.
    let mut unused = client().connect(proxy.address()).expect("a handshake");
    let mut half = std::net::TcpStream::connect(proxy.address()).expect("a connection");
    half.write_all(&[22, 3, 1]).expect("sent");
    proxy.await_stat("listener.main.downstream_cx_active", 3);
    eventually("the answer", || (origin.request_count() == 1).then_some(()));
    proxy.signal(libc::SIGTERM);
    for stream in [&mut idle, &mut unused] {
        stream.read_to_end(&mut Vec::new()).expect("an end");
        assert!(stream.ended_in_order(), "close_notify");
    }
    assert!(proxy.await_end().success());
}

fn requests_finish_before_the_end(driver: Driver) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = Origin::start(Answer::script(move |connection, _| {
        eventually("the gate", || opened.load(Ordering::SeqCst).then_some(()));
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        Then::Keep
    }));
    let mut proxy = server(driver).start(&https_to(origin.port()).yaml());
    let mut connection = client().open(proxy.address());
    connection.send(Request::get("/").bytes());
    eventually("the request at the origin", || (origin.request_count() == 1).then_some(()));
    proxy.signal(libc::SIGTERM);
    eventually("the listener to close", || client().connect(proxy.address()).is_err().then_some(()));
    gate.store(true, Ordering::SeqCst);
    let response = connection.response();
    assert_eq!((response.text().as_str(), response.has_token("connection", "close")), ("done", true));
    assert!(matches!(connection.end(PATIENCE), ringway_test_support::client::End::Closed(_)));
    assert!(proxy.await_end().success());
}
