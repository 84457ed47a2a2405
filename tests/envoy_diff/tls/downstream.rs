//! Listeners with TLS.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use ringway_test_support::certificates::quoted;
use ringway_test_support::config::indent;
use ringway_test_support::l4_config::{
    L4, access_log, chain_for, direct_response, listener_filter, network_filter,
};
use ringway_test_support::tcp::TcpPeer;
use ringway_test_support::tls_config::downstream;
use ringway_test_support::{Certificate, TlsClient, TlsStream, TlsVersion};

use super::world::{
    expired, expired12, known, known12, nobody, nobody12, nobody13, stranger, stranger12, trust, world,
};
use super::{FORMAT, echo, get, manager, read, tls_case};
use crate::l4::{Case, LOG, Outcome, case};

/// Reasons of several rows.
const REQUIRED_IS_REQUIRED: &str =
    "a client certificate that is required is asked for, also where nothing says whom to trust";
const GONE: &str = "a client that is gone before it could be looked at was no connection";
const ONE_ERROR: &str = "what breaks an established session is one error";

/// An item of `filter_chains`.
fn chain(
    name: &str,
    criteria: &str,
    certificate: &Certificate,
    common: &str,
    fields: &str,
    filters: &str,
) -> String {
    let tls = downstream(&format!(
        "common_tls_context:\n  tls_certificates:\n  - {}\n  {}\n{fields}",
        certificate.inline(),
        indent(common, 2)
    ));
    let chain = format!("{}\n  {}", chain_for(criteria, filters), indent(&tls, 2));
    chain.replacen("- ", &format!("- name: '{name}'\n  "), 1)
}

fn listener(inspects: bool, chains: &[String]) -> String {
    let log = access_log(LOG, &format!("listener details=%RESPONSE_CODE_DETAILS% {FORMAT}"));
    let inspector = match inspects {
        true => format!("listener_filters:\n{}\n", listener_filter("tls_inspector.v3.TlsInspector", "")),
        false => String::new(),
    };
    format!("{log}\n{inspector}filter_chains:\n{}", chains.join("\n"))
}

/// A listener with one chain.
fn one(common: &str, fields: &str, filters: &str) -> String {
    listener(false, &[chain("only", "", &world().server, common, fields, filters)])
}

pub fn config(l4: L4) -> L4 {
    let world = world();
    // Envoy has a connection served before its handshake, and does not finish that if the filter closes at once: all
    // answers wait for a question.
    let echo = network_filter("echo.v3.Echo", "");
    let answering = |criteria: &str, name: &str| chain(name, criteria, &world.server, "", "", &echo);
    let plain = |criteria: &str, answer: &str| {
        chain_for(criteria, &direct_response(answer)).replacen("- ", &format!("- name: '{answer}'\n  "), 1)
    };
    let names = [
        answering("{server_names: [a.test]}", "a"),
        chain("wild", "{server_names: ['*.wild.test']}", &world.wild, "", "", &echo),
        answering("{server_names: [x.wild.test, '*.deep.wild.test']}", "x"),
    ];
    let with_default = format!(
        "{}\ndefault_filter_chain:\n  {}",
        listener(true, &names),
        answering("", "rest").trim_start_matches("- ")
    );
    let protocols = [
        answering("{application_protocols: [h2]}", "h2"),
        answering("{application_protocols: [http/1.1, http/1.0]}", "http/1"),
        answering("{server_names: [b.test], application_protocols: [acme-tls/1]}", "acme of b"),
        answering("", "any"),
    ];
    let transport =
        [answering("{transport_protocol: tls}", "tls"), plain("{transport_protocol: raw_buffer}", "raw")];
    let direct = |body: &str| {
        format!(
            "- match: {{prefix: /}}\n  direct_response: {{status: 200, body: {{inline_string: {body}}}}}\n  \
             response_headers_to_add: [{{header: {{key: x-xfcc, value: '%REQ(x-forwarded-client-cert)%'}}}}]"
        )
    };
    let http = |details: &str| {
        let fields = format!(
            "forward_client_cert_details: {details}\nset_current_client_cert_details: {{subject: true, uri: true, dns: true}}"
        );
        let common = format!("alpn_protocols: [h2, http/1.1]\nvalidation_context: {{{}}}", trust(&world.ca));
        one(&common, "", &manager(&fields, &direct("hi")))
    };
    let welcome = |rules: &str, fields: &str| one(&format!("validation_context: {{{rules}}}"), fields, &echo);
    let required = "require_client_certificate: true";
    let ca = trust(&world.ca);
    let san = |matcher: &str| {
        format!("{ca}, match_typed_subject_alt_names: [{{san_type: URI, matcher: {matcher}}}]")
    };
    let rbac = |principal: &str| {
        let rules = format!(
            "stat_prefix: gate\nrules: {{policies: {{p: {{permissions: [{{any: true}}], principals: [{principal}]}}}}}}"
        );
        let filters = format!("{}\n{echo}", network_filter("rbac.v3.RBAC", &rules));
        one(&format!("validation_context: {{{ca}}}"), "", &filters)
    };
    let short = one("", "", &echo)
        .replace("- name: 'only'", "- name: 'only'\n  transport_socket_connect_timeout: 0.3s");
    let strict = listener(true, &names)
        .replace("TlsInspector", "TlsInspector\n    close_connection_on_client_hello_parsing_errors: true");
    let listeners = [
        ("names", listener(true, &names)),
        ("names_default", with_default),
        ("names_strict", strict),
        ("protocols", listener(true, &protocols)),
        ("transport", listener(true, &transport)),
        ("sanitize", http("SANITIZE")),
        ("forward", http("FORWARD_ONLY")),
        ("append", http("APPEND_FORWARD")),
        ("set", http("SANITIZE_SET")),
        ("always", http("ALWAYS_FORWARD_ONLY")),
        ("required", welcome(&ca, required)),
        ("optional", welcome(&ca, "")),
        ("named", welcome(&san("{exact: 'spiffe://test/client'}"), required)),
        ("named_second", welcome(&san("{suffix: second}"), required)),
        ("other", welcome(&san("{prefix: 'spiffe://other/'}"), required)),
        ("lenient", welcome(&format!("{ca}, allow_expired_certificate: true"), required)),
        ("anybody", welcome("trust_chain_verification: ACCEPT_UNTRUSTED", required)),
        ("anybody_known", welcome(&format!("{ca}, trust_chain_verification: ACCEPT_UNTRUSTED"), required)),
        ("pinned", welcome(&format!("verify_certificate_hash: [{}]", quoted(&"ab".repeat(32))), required)),
        ("no_rules", one("", required, &echo)),
        ("v12", one("tls_params: {tls_maximum_protocol_version: TLSv1_2}", "", &echo)),
        ("v13", one("tls_params: {tls_minimum_protocol_version: TLSv1_3}", "", &echo)),
        ("h1_only", one("alpn_protocols: [http/1.1]", "", &echo)),
        ("echo", one("", "", &echo)),
        ("short", short),
        ("rbac_name", rbac("{authenticated: {principal_name: {exact: 'spiffe://test/client'}}}")),
        ("rbac_second", rbac("{authenticated: {principal_name: {exact: 'spiffe://test/second'}}}")),
        ("rbac_any", rbac("{authenticated: {}}")),
    ];
    listeners.iter().fold(l4, |l4, (name, yaml)| l4.listener(name, yaml))
}

fn deep() -> TlsClient {
    nobody().name("x.wild.test")
}

fn wild() -> TlsClient {
    TlsClient::new(&world().ca, "y.wild.test")
}

fn of_b() -> TlsClient {
    nobody().name("b.test")
}

fn silent() -> TlsClient {
    nobody().without_sni()
}

fn h2() -> TlsClient {
    nobody().alpn(&["h2", "http/1.1"])
}

fn http1() -> TlsClient {
    nobody().alpn(&["http/1.1"])
}

fn spdy() -> TlsClient {
    nobody().alpn(&["spdy/3"])
}

fn post_quantum() -> TlsClient {
    nobody().post_quantum()
}

fn acme() -> TlsClient {
    of_b().alpn(&["acme-tls/1"])
}

fn second_choice() -> TlsClient {
    nobody().alpn(&["spdy/3", "http/1.1", "h2"])
}

fn known_h2() -> TlsClient {
    known().alpn(&["h2"])
}

/// The first bytes of a connection of HTTP/2, and what the server's are until it has acknowledged them.
fn preface(stream: &mut TlsStream) -> io::Result<String> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    let mut first = None;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length])?;
        let (kind, flags) = (head[3], head[4]);
        first.get_or_insert(kind);
        if kind == 4 && flags & 1 == 1 {
            break;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(format!("a frame of type {first:?} first"))
}

fn chosen() -> Vec<Case> {
    vec![
        tls_case("names: exact", "names", nobody, echo),
        tls_case("names: wildcard", "names", wild, echo),
        tls_case("names: exact below a wildcard", "names", deep, echo),
        tls_case("names: another, no default", "names", of_b, echo),
        tls_case("names: none, no default", "names", silent, echo),
        tls_case("names: exact, with default", "names_default", nobody, echo),
        tls_case("names: another, default", "names_default", of_b, echo),
        tls_case("names: none, default", "names_default", silent, echo),
        case("names: plain").on("names").any_end().sends("GET / HTTP/1.1\r\n\r\n"),
        case("names: plain, strict").on("names_strict").any_end().sends("GET / HTTP/1.1\r\n\r\n"),
        tls_case("names: exact, strict", "names_strict", nobody, echo),
        tls_case("protocols: h2 and http/1.1", "protocols", h2, echo),
        tls_case("protocols: http/1.1", "protocols", http1, echo),
        tls_case("protocols: another", "protocols", spdy, echo),
        tls_case("protocols: none", "protocols", nobody, echo),
        tls_case("protocols: of a name", "protocols", acme, echo),
        tls_case("protocols: several", "protocols", second_choice, echo),
        tls_case("transport: TLS", "transport", nobody, echo),
        case("transport: raw").on("transport").any_end().sends("GET / HTTP/1.1\r\n\r\n"),
        case("transport: binary").on("transport").any_end().sends([1, 2, 3, 4, 5, 6]),
    ]
}

/// Envoy counts the wish for an OCSP response when it sees the hello, Ringway when it chooses a certificate.
fn without_ocsp(case: Case) -> Case {
    case.ignore("ssl.ocsp_staple_omitted").ignore("ssl.ocsp_staple_requests")
}

fn negotiated() -> Vec<Case> {
    vec![
        tls_case("alpn: h2 is chosen", "set", h2, preface),
        tls_case("alpn: http/1.1 is chosen", "set", http1, get("/", "")),
        tls_case("alpn: none", "set", nobody, get("/", "")),
        tls_case("alpn: no common one", "set", spdy, get("/", "")),
        tls_case("alpn: ours come first", "set", second_choice, preface),
        tls_case("alpn: h2 though only http/1.1 is known", "h1_only", h2, echo),
        tls_case("versions: 1.2 with 1.2", "v12", nobody12, echo),
        tls_case("versions: 1.2 with both", "v12", nobody, echo),
        without_ocsp(tls_case("versions: 1.2 with 1.3", "v12", nobody13, echo)),
        without_ocsp(tls_case("versions: 1.3 with 1.2", "v13", nobody12, echo)),
        tls_case("versions: 1.3 with both", "v13", nobody, echo),
        tls_case("versions: any with 1.2", "echo", nobody12, echo),
        tls_case("versions: any with 1.3", "echo", nobody13, echo),
        tls_case("groups: a hybrid one comes first", "echo", post_quantum, echo),
    ]
}

fn certificates() -> Vec<Case> {
    type Client = fn() -> TlsClient;
    let clients: [(&str, Client); 8] = [
        ("nobody", nobody),
        ("nobody, 1.2", nobody12),
        ("known", known),
        ("known, 1.2", known12),
        ("expired", expired),
        ("expired, 1.2", expired12),
        ("stranger", stranger),
        ("stranger, 1.2", stranger12),
    ];
    let mut cases = Vec::new();
    for listener in [
        "required",
        "optional",
        "named",
        "other",
        "lenient",
        "anybody",
        "anybody_known",
        "pinned",
        "no_rules",
    ] {
        for (name, client) in clients {
            let case = tls_case(&format!("{listener}: {name}"), listener, client, echo);
            let is_failed = |outcome: &Outcome| outcome.stat_ending("ssl.fail_verify_no_cert") == 1;
            let is_counted = |outcome: &Outcome| outcome.stat_ending("ssl.handshake") == 1;
            cases.push(match (listener, name) {
                ("anybody" | "no_rules", "nobody" | "nobody, 1.2") => {
                    case.differs(REQUIRED_IS_REQUIRED, is_failed)
                }
                ("no_rules", _) => case.differs(REQUIRED_IS_REQUIRED, is_counted),
                _ => case,
            });
        }
    }
    cases.push(tls_case("named by the second name", "named_second", known, echo));
    for listener in ["sanitize", "forward", "append", "set", "always"] {
        let claims = "x-forwarded-client-cert: By=me;Hash=00\r\n";
        for (name, client) in [("nobody", nobody as Client), ("known", known)] {
            cases.push(tls_case(&format!("xfcc {listener}: {name}"), listener, client, get("/", "")));
            cases.push(tls_case(
                &format!("xfcc {listener}: {name}, who claims something"),
                listener,
                client,
                get("/", claims),
            ));
        }
    }
    for listener in ["rbac_name", "rbac_second", "rbac_any"] {
        for (name, client) in [("nobody", nobody as Client), ("known", known)] {
            cases.push(tls_case(&format!("{listener}: {name}"), listener, client, echo));
        }
    }
    cases.push(tls_case("h2 by a known client", "set", known_h2, preface));
    cases
}

/// A row whose client sends a part of a hello (as a function of it) and then this.
fn hello_case(
    name: &str,
    listener: &'static str,
    part: fn(&[u8]) -> Vec<u8>,
    then: fn(&mut TcpPeer),
) -> Case {
    without_ocsp(case(name).on(listener).any_end().unsettled()).client(move |peer| {
        let socket = peer.stream().try_clone().expect("a handle");
        let mut stream = nobody().over(socket);
        let hello = stream.take_flight().expect("a hello");
        peer.send(part(&hello));
        then(peer);
        peer.await_end(std::time::Duration::from_secs(5));
        // Whatever was said is encrypted, or an alert, which has its own rows.
        peer.received.clear();
    })
}

/// A row whose client has an echo and then sends this over the bare socket.
fn broken_case(name: &str, client: fn() -> TlsClient, bytes: &'static [u8]) -> Case {
    tls_case(name, "echo", client, move |stream| {
        stream.write_all(b"hello")?;
        stream.read_exact(&mut [0; 5])?;
        stream.socket().write_all(bytes)?;
        let ended = read(stream);
        Ok(if ended.is_ok() { "ended" } else { "failed" }.into())
    })
}

fn is_no_error(outcome: &Outcome) -> bool {
    outcome.received.is_empty() && outcome.stat_ending("ssl.connection_error") == 0
}

fn hostile() -> Vec<Case> {
    let all = |hello: &[u8]| hello.to_vec();
    let half = |hello: &[u8]| hello[..hello.len() / 2].to_vec();
    let start = |hello: &[u8]| hello[..3].to_vec();
    let nothing = |_: &[u8]| Vec::new();
    let mut cases = vec![
        hello_case("nothing, then an end", "echo", nothing, |peer| {
            peer.half_close();
        }),
        hello_case("the start of a hello, then an end", "echo", start, |peer| {
            peer.half_close();
        }),
        hello_case("half a hello, then an end", "echo", half, |peer| {
            peer.half_close();
        }),
        hello_case("a hello, then an end", "echo", all, |peer| {
            peer.read_until(1).half_close();
        }),
        hello_case("nothing, then a reset", "echo", nothing, TcpPeer::reset).differs(GONE, is_no_error),
        hello_case("half a hello, then a reset", "echo", half, TcpPeer::reset).differs(GONE, is_no_error),
        hello_case("a hello, then a reset", "echo", all, |peer| peer.read_until(1).reset()),
        hello_case("a hello, then plain text", "echo", all, |peer| {
            peer.read_until(1).send("GET / HTTP/1.1\r\n\r\n");
        }),
        hello_case("a hello, then an alert", "echo", all, |peer| {
            peer.read_until(1).send([21, 3, 3, 0, 2, 2, 48]);
        }),
        hello_case("nothing for too long", "short", nothing, |_| {}),
        hello_case("half a hello for too long", "short", half, |_| {}),
        hello_case("a hello for too long", "short", all, |_| {}),
        hello_case("half a hello before the chain is chosen, then an end", "names", half, |peer| {
            peer.half_close();
        }),
        hello_case("half a hello before the chain is chosen, then a reset", "names", half, TcpPeer::reset)
            .differs("a client that resets while listener filters wait is not waited for", |outcome| {
                is_no_error(outcome)
            }),
        tls_case("an end without good-bye", "echo", nobody, |stream| {
            stream.write_all(b"hello")?;
            stream.read_exact(&mut [0; 5])?;
            stream.socket().shutdown(Shutdown::Write)?;
            read(stream)
        }),
        tls_case("an end with good-bye", "echo", nobody, echo),
    ];
    for (name, bytes) in [
        ("plain HTTP", &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]),
        ("plain HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("zeros", &[0; 64]),
        ("a record that is too large", &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 0]),
        ("data before the handshake", &[23, 3, 3, 0, 4, 1, 2, 3, 4]),
        ("an alert before the handshake", &[21, 3, 3, 0, 2, 2, 40]),
        ("a hello that is malformed", &[22, 3, 1, 0, 8, 1, 0, 0, 4, 3, 3, 0, 0]),
        ("a message that is no hello", &[22, 3, 1, 0, 4, 20, 0, 0, 0]),
    ] {
        let bytes = bytes.to_vec();
        cases.push(case(name).on("echo").any_end().client(move |peer| {
            peer.send(&bytes).await_end(std::time::Duration::from_secs(5));
            // An alert, or none.
            peer.received.clear();
        }));
    }
    for (version, client) in [("1.2", nobody12 as fn() -> TlsClient), ("1.3", nobody13)] {
        for (name, bytes) in [
            (
                "a record that cannot be decrypted",
                &[23, 3, 3, 0, 24, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7][..],
            ),
            ("a record that is too short", &[23, 3, 3, 0, 1, 0]),
            ("a record of no kind", &[99, 3, 3, 0, 1, 0]),
            ("a record whose length is too large", &[23, 3, 3, 0xff, 0xff, 0, 0, 0]),
        ] {
            let case = broken_case(&format!("after the handshake ({version}): {name}"), client, bytes);
            cases.push(case.differs(ONE_ERROR, |outcome| {
                outcome.stat_ending("ssl.connection_error") == 1
                    && outcome.received.ends_with(b"good-bye false")
            }));
        }
    }
    cases
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let resumption = |name: &str, version: TlsVersion| {
        // Envoy counts again what the session's first handshake had settled.
        let case = case(name).ignore(".curves.X25519").ignore(".sigalgs.ecdsa_secp256r1_sha256");
        case.on("required").any_end().client(move |peer| {
            // The first session of a client of its own, then this connection resumes it.
            let address = peer.stream().peer_addr().expect("connected");
            let client = known().only(version).resuming();
            let mut first = client.connect(address).expect("a handshake");
            let _ = echo(&mut first);
            drop(first);
            let told = super::tell(peer, &client, &|stream: &mut TlsStream| {
                let resumed = stream.is_resumed();
                Ok(format!("resumed {resumed}: {}", echo(stream)?))
            });
            peer.received = told.into_bytes();
        })
    };
    let mut cases: Vec<Case> =
        [chosen(), negotiated(), certificates(), hostile()].into_iter().flatten().collect();
    cases.push(
        resumption("a session is resumed, 1.2", TlsVersion::V12)
            .differs("a session that is resumed without a key exchange has no group", |outcome| {
                outcome.received.windows(12).any(|part| part == b"resumed true")
            }),
    );
    cases.push(resumption("a session is resumed, 1.3", TlsVersion::V13));
    cases
}
