//! Each attack of the flood table, performed on the program: it ends the connection with a reason that the attacker is
//! told and a statistic that the operator sees, costs bounded memory, and other clients are served all the while.

use std::net::TcpStream;

use ringway_test_support::config::Http;
use ringway_test_support::h2::{
    Endpoint, H2Connection, Incoming, error_code, flag, kind, literal_block, setting,
};
use ringway_test_support::stream::Stream;
use ringway_test_support::{Answer, Driver, Origin, Proxy, Request, Server, Then, procfs};

use super::{H2_CLUSTER, QUICK};

on_both_drivers! {
    rapid_reset rapid_reset_of_answered_streams made_you_reset oversized_heads refused_streams
    continuation_flood continuation_without_end hpack_bomb cookie_crumbs
    ping_flood settings_flood responses_that_nobody_reads priority_flood window_update_flood
    empty_data_frames empty_continuation_frames metadata_flood an_origin_that_attacks
}

/// What the proxy's memory may grow by under an attack. The slack of an unoptimised build is in it, and 100 responses of
/// 64 KiB that some of the attackers leave unread.
const MAX_GROWTH_BYTES: u64 = 20 << 20;

/// A proxy under attack, and a client who is no attacker.
struct Victim {
    proxy: Proxy,
    /// Never answers.
    _origin: Origin,
    bystander: H2Connection,
    before_bytes: u64,
}

impl Victim {
    fn new(driver: Driver) -> Victim {
        Victim::with(driver, "")
    }

    fn with(driver: Driver, hcm: &str) -> Victim {
        let origin = Origin::start(Answer::Raw(Vec::new(), Then::Stall));
        let large = "x".repeat(1 << 16);
        let routes = format!(
            "- match: {{path: /honest}}\n  direct_response: {{status: 200, body: {{inline_string: ok}}}}\n\
             - match: {{path: /empty}}\n  direct_response: {{status: 204}}\n\
             - match: {{path: /large}}\n  direct_response: {{status: 200, body: {{inline_string: {large}}}}}\n\
             - match: {{prefix: /}}\n  route: {{cluster: origin, timeout: 0s}}"
        );
        let http = Http::routes(&routes)
            .hcm(QUICK)
            .hcm(hcm)
            .route_config("max_direct_response_body_size_bytes: 100000");
        let proxy = Server::ringway(driver).start(&http.cluster("origin", origin.port(), "").yaml());
        let mut bystander = H2Connection::open(proxy.address());
        assert_eq!(bystander.fetch("/honest").status(), 200);
        let before_bytes = procfs::rss_bytes(proxy.pid());
        Victim { proxy, _origin: origin, bystander, before_bytes }
    }

    fn attacker(&self) -> H2Connection {
        H2Connection::open(self.proxy.address())
    }

    /// The attacker's connection has ended with ENHANCE_YOUR_CALM, the statistic has counted it, and all else is well.
    #[track_caller]
    fn assert_cut(self, mut attacker: H2Connection, statistic: Option<&str>) {
        assert_eq!(attacker.end_code(), Some(error_code::ENHANCE_YOUR_CALM));
        self.assert_unharmed(statistic);
    }

    #[track_caller]
    fn assert_unharmed(mut self, statistic: Option<&str>) {
        let proxy = &self.proxy;
        if let Some(statistic) = statistic {
            proxy.await_stat(statistic, 1);
        }
        proxy.await_stat("http2.goaway_sent", 1);
        proxy.await_stat("http.test.downstream_rq_active", 0);
        proxy.await_stat("http.test.downstream_cx_active", 1);
        let growth = procfs::peak_rss_bytes(proxy.pid()).saturating_sub(self.before_bytes);
        assert!(growth < MAX_GROWTH_BYTES, "memory grew by {growth} bytes");
        assert_eq!(self.bystander.fetch("/honest").text(), "ok");
        assert_eq!(H2Connection::open(proxy.address()).fetch("/honest").text(), "ok");
        assert_eq!(Request::get("/honest").send(proxy.address()).text(), "ok");
        drop(self.bystander);
        self.proxy.stop();
    }
}

const PREMATURE: Option<&str> = Some("http.test.downstream_rq_too_many_premature_resets");

/// CVE-2023-44487: Envoy 1.40 cuts at the 250th, too.
fn rapid_reset(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    let reset_one = |attacker: &mut H2Connection| {
        let stream = attacker.get("/");
        attacker.reset(stream, error_code::CANCEL);
        attacker.flush();
    };
    for _ in 0..249 {
        reset_one(&mut attacker);
    }
    attacker.sync();
    reset_one(&mut attacker);
    victim.assert_cut(attacker, PREMATURE);
}

/// Requests that had their response are none of that attack, but resets have a rate.
fn rapid_reset_of_answered_streams(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = H2Connection::open_with(victim.proxy.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let mut cut_at = 0;
    for number in 1..=2_000 {
        let stream = attacker.get("/honest");
        let is_answered =
            |endpoint: &Endpoint| endpoint.streams.get(&stream).map_or(0, Incoming::status) == 200;
        while !is_answered(&attacker) && attacker.read_frame().is_ok() {}
        if !is_answered(&attacker) {
            break;
        }
        cut_at = number;
        attacker.reset(stream, error_code::CANCEL);
        attacker.flush();
    }
    // A burst of 1,000 and 33 a second.
    assert!((1_000..1_900).contains(&cut_at), "cut after {cut_at}");
    victim.assert_cut(attacker, None);
}

/// CVE-2025-8671: the proxy resets because of the client's mistakes.
fn made_you_reset(driver: Driver) {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
        ("content-length", "5"),
    ];
    let mistakes: [fn(&mut H2Connection, u32); 3] = [
        |attacker, stream| attacker.data(stream, "abc", true),
        |attacker, stream| attacker.data(stream, "abcdefg", false),
        |attacker, stream| {
            attacker.data(stream, "abcde", true);
            attacker.data(stream, "x", false);
        },
    ];
    for mistake in mistakes {
        let victim = Victim::new(driver);
        let mut attacker = victim.attacker();
        for _ in 0..249 {
            let stream = attacker.open(&fields, false);
            mistake(&mut attacker, stream);
            attacker.flush();
        }
        attacker.sync();
        let stream = attacker.open(&fields, false);
        mistake(&mut attacker, stream);
        victim.assert_cut(attacker, PREMATURE);
    }
}

/// Each head costs the proxy what a whole head costs, and its stream a reset.
fn oversized_heads(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let many = [&base[..], &[("x", "1"); 100]].concat();
    for _ in 0..249 {
        attacker.open(&many, true);
        attacker.flush();
    }
    attacker.sync();
    attacker.open(&many, true);
    victim.assert_cut(attacker, PREMATURE);
}

fn refused_streams(driver: Driver) {
    let victim = Victim::with(driver, "http2_protocol_options: {max_concurrent_streams: 1}");
    let mut attacker = victim.attacker();
    attacker.get("/");
    for _ in 0..250 {
        attacker.get("/");
        attacker.flush();
    }
    victim.assert_cut(attacker, PREMATURE);
}

fn continuation_flood(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    // A field that is too long to end.
    attacker.frame(kind::HEADERS, flag::END_STREAM, 1, vec![0x82, 0, 1, b'a', 0x7f, 0xe1, 0x7f]);
    for _ in 0..513 {
        attacker.frame(kind::CONTINUATION, 0, 1, "x");
    }
    victim.assert_cut(attacker, None);
}

fn continuation_without_end(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    attacker.frame(kind::HEADERS, flag::END_STREAM, 1, vec![0x82]);
    let fields = literal_block(&[("x-field", "value"); 500]);
    for _ in 0..1_000 {
        attacker.frame(kind::CONTINUATION, 0, 1, fields.clone());
        if !attacker.flush() {
            break;
        }
    }
    victim.assert_cut(attacker, Some("http2.header_list_size_too_large"));
}

/// One byte stands for a field of 4,000 bytes.
fn hpack_bomb(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/honest")];
    let mut block = literal_block(&base);
    // A literal that enters the table.
    block.extend([0x40, 1, b'a', 0x7f, 0x81, 0x1e]);
    block.extend([b'x'; 3_968]);
    let stream = attacker.next_stream();
    attacker.block(stream, &block, true);
    assert_eq!(attacker.response(stream).status(), 200);
    let stream = attacker.next_stream();
    attacker.block(stream, &[&literal_block(&base)[..], &[0xbe; 10_000]].concat(), true);
    victim.assert_cut(attacker, Some("http2.header_list_size_too_large"));
}

/// Pieces of a cookie count one by one.
fn cookie_crumbs(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/honest")];
    let stream = attacker.open(&[&base[..], &[("cookie", "a=1"); 100]].concat(), true);
    assert!(attacker.response(stream).reset.is_some());
    assert_eq!(victim.proxy.stat("http2.header_overflow"), 1);
    let stream = attacker.next_stream();
    attacker.block(
        stream,
        &[&literal_block(&base)[..], &literal_block(&[("cookie", "a"); 10_000])].concat(),
        true,
    );
    victim.assert_cut(attacker, Some("http2.header_list_size_too_large"));
}

/// An attacker who has made the proxy's way out to it full, and does not read.
fn deaf_attacker(victim: &Victim) -> H2Connection {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    socket.connect(&victim.proxy.address().into()).expect("connected");
    socket.set_tcp_nodelay(true).expect("no delay");
    let endpoint = Endpoint::client(&[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    let mut attacker = H2Connection::over(Stream::Tcp(TcpStream::from(socket)), endpoint);
    attacker.window_update(0, 0x7fff_ffff - 65_535);
    // More than the kernel and the proxy's queue hold: 4 MiB and 256 KiB at most.
    for _ in 0..100 {
        attacker.get("/large");
    }
    assert!(attacker.flush());
    victim.proxy.await_stat("http.test.downstream_rq_total", 101);
    attacker
}

/// Sends what `step` makes until the proxy has enough of it.
#[track_caller]
fn until_cut(victim: &Victim, attacker: &mut H2Connection, mut step: impl FnMut(&mut H2Connection)) {
    for _ in 0..300 {
        for _ in 0..100 {
            step(attacker);
        }
        if !attacker.flush() || victim.proxy.stat("http2.goaway_sent") > 0 {
            return;
        }
    }
    panic!("not cut");
}

fn ping_flood(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = deaf_attacker(&victim);
    until_cut(&victim, &mut attacker, |attacker| attacker.ping());
    drop(attacker);
    victim.assert_unharmed(Some("http2.outbound_control_flood"));
}

fn settings_flood(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = deaf_attacker(&victim);
    until_cut(&victim, &mut attacker, |attacker| attacker.settings(&[]));
    drop(attacker);
    victim.assert_unharmed(Some("http2.outbound_control_flood"));
}

fn responses_that_nobody_reads(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = deaf_attacker(&victim);
    // Not more than may be open at once, else streams are refused.
    for batch in 1..=25 {
        for _ in 0..400 {
            attacker.get("/empty");
        }
        attacker.flush();
        victim.proxy.await_stat("http.test.downstream_rq_total", 101 + batch * 400);
    }
    until_cut(&victim, &mut attacker, |attacker| {
        attacker.get("/empty");
    });
    drop(attacker);
    victim.assert_unharmed(Some("http2.outbound_flood"));
}

fn priority_flood(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    for _ in 0..100 {
        attacker.frame(kind::PRIORITY, 0, 1, vec![0, 0, 0, 0, 16]);
    }
    attacker.sync();
    attacker.frame(kind::PRIORITY, 0, 1, vec![0, 0, 0, 0, 16]);
    victim.assert_cut(attacker, Some("http2.inbound_priority_frames_flood"));
}

fn window_update_flood(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    let stream = attacker.get("/");
    for _ in 0..7 {
        attacker.window_update(stream, 1);
    }
    attacker.sync();
    attacker.window_update(0, 1);
    victim.assert_cut(attacker, Some("http2.inbound_window_update_frames_flood"));
}

fn empty_data_frames(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    let stream = attacker.post("/");
    attacker.data(stream, "", false);
    attacker.sync();
    attacker.data(stream, "", false);
    victim.assert_cut(attacker, Some("http2.inbound_empty_frames_flood"));
}

fn empty_continuation_frames(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    attacker.frame(kind::HEADERS, 0, 1, vec![0x82]);
    attacker.frame(kind::CONTINUATION, 0, 1, []);
    attacker.frame(kind::CONTINUATION, 0, 1, []);
    victim.assert_cut(attacker, Some("http2.inbound_empty_frames_flood"));
}

fn metadata_flood(driver: Driver) {
    let victim = Victim::new(driver);
    let mut attacker = victim.attacker();
    let stream = attacker.get("/");
    for _ in 0..70 {
        attacker.frame(0x4d, 0, stream, vec![0; 16_384]);
        if !attacker.flush() {
            break;
        }
    }
    victim.assert_cut(attacker, None);
}

/// The same limits hold towards origins: the request fails, the connection ends, and the next one is served.
fn an_origin_that_attacks(driver: Driver) {
    type Attack = (&'static str, fn(&mut H2Connection, u32));
    let attacks: [Attack; 4] = [
        ("inbound_priority_frames_flood", |origin, stream| {
            for _ in 0..201 {
                origin.frame(kind::PRIORITY, 0, stream, vec![0, 0, 0, 0, 16]);
            }
        }),
        ("inbound_window_update_frames_flood", |origin, stream| {
            for _ in 0..8 {
                origin.window_update(stream, 1);
            }
        }),
        ("inbound_empty_frames_flood", |origin, stream| {
            origin.headers(stream, &[(":status", "200")], false);
            origin.data(stream, "", false);
            origin.data(stream, "", false);
        }),
        ("header_list_size_too_large", |origin, stream| {
            let block =
                [&[0x88, 0x40, 1, b'a', 0x7f, 0x81, 0x1e][..], &[b'x'; 3_968], &[0xbe; 10_000]].concat();
            origin.block(stream, &block, true);
        }),
    ];
    for (statistic, attack) in attacks {
        let origin = ringway_test_support::h2::H2Origin::scripted(&[], move |connection, number| {
            while let Ok(frame) = connection.read_frame() {
                if !connection.stream(frame.stream).ended {
                    continue;
                }
                connection.streams.remove(&frame.stream);
                match number {
                    1 => attack(connection, frame.stream),
                    _ => connection.headers(frame.stream, &[(":status", "200")], true),
                }
            }
        });
        let http = Http::routes("- match: {prefix: /}\n  route: {cluster: origin}").hcm(QUICK);
        let proxy = Server::ringway(driver).start(&http.cluster("origin", origin.port(), H2_CLUSTER).yaml());
        let mut client = H2Connection::open(proxy.address());
        let response = client.fetch("/");
        assert!(
            response.reset.is_some() || matches!(response.status(), 502 | 503),
            "{statistic}: {response:?}"
        );
        proxy.await_stat(&format!("cluster.origin.http2.{statistic}"), 1);
        proxy.await_stat("cluster.origin.upstream_cx_protocol_error", 1);
        assert_eq!(client.fetch("/").status(), 200, "after {statistic}");
        proxy.stop();
    }
}
