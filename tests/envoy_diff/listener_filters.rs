//! Listener filters: `proxy_protocol`, `http_inspector`, `original_dst`, `local_ratelimit`, and the time that
//! they have.

use std::time::Duration;

use ringway_test_support::PeerEnd;
use ringway_test_support::l4_config::{L4, access_log, chain, chain_for, listener_filter, network_filter};

use crate::l4::{Case, FORMAT, Group, LOG, Outcome, Ports, case, logged};

/// Reasons of several rows.
const STRICT: &str =
    "version 1 of the PROXY protocol as its text has it: no sign before a port, no space at the end";
const NOT_AWAITED: &str = "what cannot become a PROXY header is not waited for";

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// `listener_filters` with a PROXY protocol filter of these fields.
fn proxy_protocol(fields: &str) -> String {
    format!("listener_filters:\n{}", listener_filter("proxy_protocol.v3.ProxyProtocol", fields))
}

fn config(ports: &Ports) -> L4 {
    let log = access_log(LOG, &format!("listener {FORMAT}"));
    let served = chain(&logged("cluster: origin"));
    let plain = [
        ("main", proxy_protocol("")),
        ("allow", proxy_protocol("allow_requests_without_proxy_protocol: true")),
        ("no_v1", proxy_protocol("disallowed_versions: [V1]")),
        ("no_v2", proxy_protocol("disallowed_versions: [V2]")),
        (
            "no_v1_allow",
            proxy_protocol("disallowed_versions: [V1]\nallow_requests_without_proxy_protocol: true"),
        ),
        (
            "no_v2_allow",
            proxy_protocol("disallowed_versions: [V2]\nallow_requests_without_proxy_protocol: true"),
        ),
        ("prefix", proxy_protocol("stat_prefix: edge")),
        (
            "twice",
            format!(
                "{}\n{}",
                proxy_protocol(""),
                listener_filter("proxy_protocol.v3.ProxyProtocol", "stat_prefix: second")
            ),
        ),
        ("short", format!("listener_filters_timeout: 0.2s\n{}", proxy_protocol(""))),
        (
            "go_on",
            format!(
                "listener_filters_timeout: 0.2s\ncontinue_on_listener_filters_timeout: true\n{}",
                proxy_protocol("")
            ),
        ),
        (
            "rate",
            format!(
                "listener_filters:\n{}",
                listener_filter(
                    "local_ratelimit.v3.LocalRateLimit",
                    "stat_prefix: r\ntoken_bucket: {max_tokens: 1, fill_interval: 3600s}"
                )
            ),
        ),
        ("original", format!("listener_filters:\n{}", listener_filter("original_dst.v3.OriginalDst", ""))),
    ];
    let chains: String = ["http/1.0", "http/1.1", "h2c"]
        .map(|protocol| {
            chain_for(&format!("{{application_protocols: [{protocol}]}}"), &logged("cluster: origin"))
                .replacen("- ", &format!("- name: {protocol}\n  "), 1)
        })
        .join("\n");
    let inspector = format!(
        "listener_filters:\n{}\nfilter_chains:\n{chains}\ndefault_filter_chain:\n  name: other\n  filters:\n  {}",
        listener_filter("http_inspector.v3.HttpInspector", ""),
        ringway_test_support::config::indent(&logged("cluster: origin"), 2),
    );
    plain
        .iter()
        .fold(L4::new(), |l4, (name, filters)| l4.listener(name, &format!("{log}\n{filters}\n{served}")))
        .listener("inspector", &format!("{log}\n{inspector}"))
        .listener(
            "inspector_short",
            &format!("{log}\nlistener_filters_timeout: 0.3s\ncontinue_on_listener_filters_timeout: true\n{inspector}"),
        )
        .listener(
            "nobody",
            &format!(
                "{log}\n{}\nfilter_chains:\n{}",
                proxy_protocol(""),
                chain_for("{destination_port: 7}", &network_filter("echo.v3.Echo", ""))
            ),
        )
        .listener("to_v1", &format!("{log}\n{}\n{}", proxy_protocol(""), chain(&logged("cluster: v1"))))
        .listener("to_v2", &format!("{log}\n{}\n{}", proxy_protocol(""), chain(&logged("cluster: v2"))))
        .listener("to_fields", &format!("{log}\n{}\n{}", proxy_protocol(""), chain(&logged("cluster: fields"))))
        .cluster("origin", ports.origin, "")
        .cluster("v1", ports.origin, &upstream_proxy_protocol("{version: V1}"))
        .cluster("v2", ports.origin, &upstream_proxy_protocol("{version: V2}"))
        .cluster("fields", ports.origin, &upstream_proxy_protocol("{version: V2, added_tlvs: [{type: 224, value: YWJj}, {type: 5, value: ZGU=}]}"))
}

/// The transport socket of a cluster whose hosts are told where clients come from.
fn upstream_proxy_protocol(config: &str) -> String {
    let types = "type.googleapis.com/envoy.extensions.transport_sockets";
    format!(
        "transport_socket:
  name: envoy.transport_sockets.upstream_proxy_protocol
  typed_config:
    '@type': {types}.proxy_protocol.v3.ProxyProtocolUpstreamTransport
    config: {config}
    transport_socket: {{name: raw, typed_config: {{'@type': {types}.raw_buffer.v3.RawBuffer}}}}"
    )
}

/// A binary header with this command, family, addresses (or what follows in their place).
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = V2.to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

/// 1.2.3.4:5 to 6.7.8.9:10.
const V4_ADDRESSES: &[u8] = &[1, 2, 3, 4, 6, 7, 8, 9, 0, 5, 0, 10];

fn v6_addresses() -> Vec<u8> {
    let mut bytes = vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    bytes.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend_from_slice(&[0, 5, 0, 10]);
    bytes
}

/// Sends the header with `hello` behind it, reads that and half-closes.
fn with(name: &str, header: impl AsRef<[u8]>) -> Case {
    let bytes = [header.as_ref(), b"hello"].concat();
    case(name)
        .client(move |client| {
            client.send(&bytes).read_until(5).half_close();
        })
        .any_end()
}

/// Sends the header in two parts.
fn split(name: &str, header: impl AsRef<[u8]>, at: usize) -> Case {
    let bytes = [header.as_ref(), b"hello"].concat();
    case(name).client(move |client| {
        client.send(&bytes[..at]).await_end(Duration::from_millis(50));
        client.send(&bytes[at..]).read_until(5).half_close();
    })
}

fn is_v1_error(outcome: &Outcome) -> bool {
    outcome.stat("proxy_proto.versions.v1.error") == 1 && outcome.received.is_empty()
}

fn v1_cases() -> Vec<Case> {
    let line = "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n";
    let lines = [
        ("v4", line),
        ("v6", "PROXY TCP6 2001:db8::1 2001:db8::2 5 10\r\n"),
        ("v6 in upper case", "PROXY TCP6 2001:DB8::1 2001:DB8::2 5 10\r\n"),
        ("unknown", "PROXY UNKNOWN\r\n"),
        ("unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"),
        ("unknown and more letters", "PROXY UNKNOWNX\r\n"),
        ("udp", "PROXY UDP4 1.2.3.4 6.7.8.9 5 10\r\n"),
        ("no protocol", "PROXY \r\n"),
        ("no space", "PROXY\r\n"),
        ("five fields", "PROXY TCP4 1.2.3.4 6.7.8.9 5\r\n"),
        ("seven fields", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10 11\r\n"),
        ("two spaces", "PROXY TCP4  1.2.3.4 6.7.8.9 5 10\r\n"),
        ("carriage return only", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r"),
        ("families mixed", "PROXY TCP4 2001:db8::1 2001:db8::2 5 10\r\n"),
        ("v4 as v6", "PROXY TCP6 1.2.3.4 6.7.8.9 5 10\r\n"),
        ("mapped", "PROXY TCP6 ::ffff:1.2.3.4 ::ffff:6.7.8.9 5 10\r\n"),
        ("bad address", "PROXY TCP4 1.2.3.400 6.7.8.9 5 10\r\n"),
        ("short address", "PROXY TCP4 1.2.3 6.7.8.9 5 10\r\n"),
        ("leading zeros", "PROXY TCP4 01.2.3.4 6.7.8.9 5 10\r\n"),
        ("bad port", "PROXY TCP4 1.2.3.4 6.7.8.9 65536 10\r\n"),
        ("port with zeros", "PROXY TCP4 1.2.3.4 6.7.8.9 0005 10\r\n"),
        ("ports zero", "PROXY TCP4 1.2.3.4 6.7.8.9 0 0\r\n"),
        ("broadcast", "PROXY TCP4 255.255.255.255 6.7.8.9 5 10\r\n"),
        ("multicast", "PROXY TCP4 224.0.0.1 6.7.8.9 5 10\r\n"),
        ("any address", "PROXY TCP4 0.0.0.0 0.0.0.0 5 10\r\n"),
        ("v6 any address", "PROXY TCP6 :: :: 5 10\r\n"),
        ("v6 multicast", "PROXY TCP6 ff02::1 2001:db8::2 5 10\r\n"),
        ("lower case", "proxy TCP4 1.2.3.4 6.7.8.9 5 10\r\n"),
    ];
    let mut cases: Vec<_> = lines.iter().map(|(name, line)| with(&format!("v1: {name}"), line)).collect();
    cases.extend([
        with("v1: a space at the end", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10 \r\n").differs(STRICT, is_v1_error),
        with("v1: port with a sign", "PROXY TCP4 1.2.3.4 6.7.8.9 +5 10\r\n").differs(STRICT, is_v1_error),
        with("v1: line feed only", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\n").differs(NOT_AWAITED, is_v1_error),
        split("v1: in two parts", line, 10),
        split("v1: in two parts, early", line, 3),
        split("v1: end of line apart", line, line.len() - 1),
        with("v1: 107 bytes", format!("PROXY UNKNOWN {}\r\n", "x".repeat(91))),
        with("v1: 108 bytes", format!("PROXY UNKNOWN {}\r\n", "x".repeat(92))),
        with("v1: no end", format!("PROXY UNKNOWN {}", "x".repeat(200))),
        with("v1: with a stat prefix", line).on("prefix"),
        with("v1: disallowed", line).on("no_v1"),
        with("v1: the other disallowed", line).on("no_v2"),
        with("v1: disallowed, requests without allowed", line).on("no_v1_allow"),
        with("v1: twice", [line, "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"].concat()).on("twice"),
        with("v1: twice, one is missing", line).on("twice").differs(NOT_AWAITED, |outcome| {
            outcome.stat("proxy_proto.second.not_found_disallowed") == 1 && outcome.received.is_empty()
        }),
    ]);
    cases
}

fn v2_cases() -> Vec<Case> {
    let v4 = v2(0x21, 0x11, V4_ADDRESSES);
    let tlv = [V4_ADDRESSES, &[4, 0, 3, 1, 2, 3]].concat();
    let long_tlv = [V4_ADDRESSES, &[4, 0x10, 0], &[7; 4096]].concat();
    let cut_tlv = [V4_ADDRESSES, &[4, 0, 9, 1]].concat();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("v4", v4.clone()),
        ("v6", v2(0x21, 0x21, &v6_addresses())),
        ("local", v2(0x20, 0, &[])),
        ("local with addresses", v2(0x20, 0x11, V4_ADDRESSES)),
        ("local of an unknown family", v2(0x20, 0x55, &[])),
        ("unspecified", v2(0x21, 0, &[])),
        ("unspecified with bytes", v2(0x21, 0, V4_ADDRESSES)),
        ("udp over v4", v2(0x21, 0x12, V4_ADDRESSES)),
        ("udp over v6", v2(0x21, 0x22, &v6_addresses())),
        ("unspecified transport", v2(0x21, 0x10, V4_ADDRESSES)),
        ("unix", v2(0x21, 0x31, &[0; 216])),
        ("unknown family", v2(0x21, 0x41, V4_ADDRESSES)),
        ("unknown transport", v2(0x21, 0x13, V4_ADDRESSES)),
        ("version 3", v2(0x31, 0x11, V4_ADDRESSES)),
        ("version 1", v2(0x11, 0x11, V4_ADDRESSES)),
        ("unknown command", v2(0x22, 0x11, V4_ADDRESSES)),
        ("too short", v2(0x21, 0x11, &V4_ADDRESSES[..11])),
        ("no addresses", v2(0x21, 0x11, &[])),
        ("v6 with the length of v4", v2(0x21, 0x21, V4_ADDRESSES)),
        ("with a tlv", v2(0x21, 0x11, &tlv)),
        ("with a long tlv", v2(0x21, 0x11, &long_tlv)),
        ("with a cut tlv", v2(0x21, 0x11, &cut_tlv)),
        ("with one byte more", v2(0x21, 0x11, &[V4_ADDRESSES, &[9]].concat())),
        ("broadcast", v2(0x21, 0x11, &[255, 255, 255, 255, 6, 7, 8, 9, 0, 5, 0, 10])),
        ("multicast", v2(0x21, 0x11, &[1, 2, 3, 4, 224, 0, 0, 1, 0, 5, 0, 10])),
    ];
    let mut cases: Vec<_> = rows.iter().map(|(name, header)| with(&format!("v2: {name}"), header)).collect();
    cases.extend([
        split("v2: signature apart", &v4, 12),
        split("v2: in the signature", &v4, 5),
        split("v2: addresses apart", &v4, 16),
        split("v2: in the addresses", &v4, 20),
        with("v2: with a stat prefix", &v4).on("prefix"),
        with("v2: disallowed", &v4).on("no_v2"),
        with("v2: the other disallowed", &v4).on("no_v1"),
        with("v2: disallowed, requests without allowed", &v4).on("no_v2_allow").any_end(),
    ]);
    cases
}

fn other_cases() -> Vec<Case> {
    vec![
        with("no header", "").differs(NOT_AWAITED, |outcome| {
            outcome.stat("proxy_proto.not_found_disallowed") == 1 && outcome.received.is_empty()
        }),
        with("no header, and enough to see that", "hello, hello, "),
        with("no header, allowed", "").on("allow"),
        with("beginning of v1, allowed", "PROX").on("allow"),
        with("beginning of v2, allowed", "\r\n\r\n").on("allow"),
        with("header, allowed to be without", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n").on("allow"),
        with("malformed v1, allowed to be without", "PROXY TCP9 1.2.3.4 6.7.8.9 5 10\r\n").on("allow"),
        with("malformed v2, allowed to be without", v2(0x31, 0x11, V4_ADDRESSES)).on("allow"),
        case("nothing but the end").client(|client| {
            client.half_close();
        }),
        case("cut header and the end").any_end().client(|client| {
            client.send("PROXY TC").half_close();
        }),
        case("short beginning and the end, allowed").on("allow").any_end().client(|client| {
            client.send("PRO").half_close();
        }),
        case("header and the end")
            .client(|client| {
                client.send("PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n").half_close();
            })
            .differs("a client may end its direction as soon as it has said all", |outcome| {
                outcome.stat("cluster.origin.upstream_cx_total") == 1 && outcome.end == PeerEnd::Closed
            }),
        case("reset in the header")
            .client(|client| {
                client.send("PROXY TC").await_end(Duration::from_millis(50));
                client.reset();
            })
            .differs("a client that resets while listener filters wait is not waited for", |outcome| {
                outcome.stat("listener.main.downstream_listener_filter_remote_close") == 1
            }),
        case("too slow").on("short").sends("PROXY TC").any_end(),
        case("too slow, nothing was sent").on("short").client(|_| {}),
        case("too slow, served all the same").on("go_on").client(|client| {
            client.send("PROXY TC").read_until(8).half_close();
        }),
        case("too slow, nothing was sent, served all the same").on("go_on").client(|client| {
            client.await_end(Duration::from_millis(400));
            client.send("hello").read_until(5).half_close();
        }),
        with("no chain", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n").on("nobody"),
        with("a chain for the port of the header", "PROXY TCP4 1.2.3.4 6.7.8.9 5 7\r\n").on("nobody"),
        case("rate, first").on("rate"),
        case("rate, second").on("rate").any_end(),
        case("original destination, not redirected").on("original"),
    ]
}

fn inspector_cases() -> Vec<Case> {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let rows = [
        ("1.1", "GET / HTTP/1.1\r\n"),
        ("1.0", "GET / HTTP/1.0\r\n"),
        ("0.9", "GET /\r\n"),
        ("2", preface),
        ("version 1.2", "GET / HTTP/1.2\r\n"),
        ("version 2.0 in a line", "GET / HTTP/2.0\r\n"),
        ("version 3", "GET / HTTP/3\r\n"),
        ("line feed only", "GET / HTTP/1.1\n"),
        ("lower case", "get / http/1.1\r\n"),
        ("lower-case method", "get / HTTP/1.1\r\n"),
        ("own method", "BREW /pot HTTP/1.1\r\n"),
        ("odd method", "G@T / HTTP/1.1\r\n"),
        ("no target", "GET HTTP/1.1\r\n"),
        ("four words", "GET / a HTTP/1.1\r\n"),
        ("empty line first", "\r\nGET / HTTP/1.1\r\n"),
        ("absolute", "GET http://a/ HTTP/1.1\r\n"),
        ("connect", "CONNECT a:1 HTTP/1.1\r\n"),
        ("options", "OPTIONS * HTTP/1.1\r\n"),
        ("binary", "\x16\x03\x01\x02\x00\x01\n"),
        ("words", "hello world, how are you?\n"),
        ("one word", "hello\n"),
        ("redis", "*1\r\n$4\r\nPING\r\n"),
        ("ssh", "SSH-2.0-OpenSSH_9\r\n"),
        ("smtp", "HELO a\r\n"),
        ("nearly 2", "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"),
        ("tab", "GET\t/\tHTTP/1.1\r\n"),
        ("two spaces", "GET  /  HTTP/1.1\r\n"),
    ];
    let mut cases: Vec<_> = rows
        .into_iter()
        .map(|(name, bytes)| {
            let len = bytes.len();
            case(&format!("http: {name}")).on("inspector").any_end().client(move |client| {
                client.send(bytes).read_until(len).half_close();
            })
        })
        .collect();
    let long = |len: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(len));
    cases.extend([
        case("http: binary without an end of line").on("inspector_short").client(|client| {
            client.send("\x16\x03\x01\x02\x05").read_until(5).half_close();
        }),
        case("http: one word without an end").on("inspector_short").client(|client| {
            client.send("hello").read_until(5).half_close();
        }),
        case("http: four words without an end").on("inspector_short").client(|client| {
            client.send("hello a b c d").read_until(13).half_close();
        }),
        case("http: in two parts").on("inspector").client(|client| {
            client.send("GE").await_end(Duration::from_millis(50));
            client.send("T / HTTP/1.1\r\n").read_until(16).half_close();
        }),
        case("http: preface in two parts").on("inspector").client(move |client| {
            client.send(&preface[..10]).await_end(Duration::from_millis(50));
            client.send(&preface[10..]).read_until(24).half_close();
        }),
        case("http: a long line").on("inspector").client(move |client| {
            client.send(long(9_000)).read_until(9_015).half_close();
        }),
        case("http: too long a line").on("inspector").any_end().client(move |client| {
            client.send(long(70_000)).await_end(Duration::from_secs(5));
        }),
        case("http: cut and the end").on("inspector").any_end().client(|client| {
            client.send("GET / HT").half_close();
        }),
        case("http: nothing but the end").on("inspector").client(|client| {
            client.half_close();
        }),
    ]);
    cases
}

/// What the origin gets in front of `hello`, which it sends back with it.
fn upstream_cases() -> Vec<Case> {
    let v4 = "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n";
    let v6 = "PROXY TCP6 2001:db8::1 2001:db8::2 5 10\r\n";
    let rows: &[(&str, &str, usize)] = &[
        (v4, "to_v1", v4.len()),
        (v6, "to_v1", v6.len()),
        (v4, "to_v2", 28),
        (v6, "to_v2", 52),
        (v4, "to_fields", 39),
        (v6, "to_fields", 63),
    ];
    let case_of = |(header, listener, len): &(&'static str, &'static str, usize)| {
        let (sent, expected) = (format!("{header}hello"), len + 5);
        case(&format!("upstream, {listener} of {header:?}")).on(listener).client(move |client| {
            client.send(&sent).read_until(expected).half_close();
        })
    };
    rows.iter().map(case_of).collect()
}

pub fn group() -> Group {
    let cases = [v1_cases(), v2_cases(), other_cases(), upstream_cases(), inspector_cases()]
        .into_iter()
        .flatten()
        .collect();
    Group { name: "listener_filters", config, cases }
}
