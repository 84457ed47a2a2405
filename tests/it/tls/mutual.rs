//! Client certificates: who is let in, what is counted and logged of the others, and what is told of the owner: in
//! headers, in logs, to RBAC.

use std::io::{Read, Write};

use super::{await_rest, client, server, tls_listener, world};
use ringway_test_support::config::{Http, indent};
use ringway_test_support::l4_config::{L4, access_log, direct_response, network_filter};
use ringway_test_support::process::read_file;
use ringway_test_support::tls_config::{common, downstream, validation};
use ringway_test_support::{Driver, Origin, Proxy, Request, TlsClient, TlsVersion, eventually};

on_both_drivers! {
    clients_are_let_in_by_their_certificates
    hashes_and_revocations_are_checked
    a_resumed_session_keeps_its_owner
    hosts_are_told_of_the_certificate
    logs_tell_of_both_certificates
    rbac_lets_in_by_the_certificates_name
}

const REQUIRED: &str = "require_client_certificate: true";

fn nobody() -> TlsClient {
    client()
}

fn known() -> TlsClient {
    client().certificate(&world().client)
}

fn expired() -> TlsClient {
    client().certificate(&world().expired)
}

fn stranger() -> TlsClient {
    client().certificate(&world().stranger)
}

/// A listener that greets whom it lets in, and logs why it does not.
fn greeting(l4: L4, name: &str, rules: &str, fields: &str) -> L4 {
    let socket = downstream(&format!("{}\n{fields}", common("server", rules)));
    let log =
        access_log(&format!("{name}.log"), "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_PEER_URI_SAN%");
    let filters = indent(&direct_response("welcome"), 2);
    l4.listener(name, &format!("{log}\nfilter_chains:\n- filters:\n  {filters}\n  {}", indent(&socket, 2)))
}

fn is_welcome(client: &TlsClient, proxy: &Proxy, listener: &str) -> bool {
    let Ok(mut stream) = client.connect(proxy.address_of(listener)) else { return false };
    let mut answer = String::new();
    // In TLS 1.3 a client learns after its handshake that it is not accepted.
    let ended = stream.read_to_string(&mut answer);
    assert!(ended.is_err() || answer == "welcome", "{answer}");
    ended.is_ok()
}

fn await_line(proxy: &Proxy, listener: &str, part: &str) {
    let path = proxy.directory().join(format!("{listener}.log"));
    eventually(&format!("{part:?} in the log of {listener}: {}", read_file(&path)), || {
        read_file(&path).contains(part).then_some(())
    });
}

fn clients_are_let_in_by_their_certificates(driver: Driver) {
    let trust = validation("ca", "");
    let l4 = greeting(L4::new(), "required", &trust, REQUIRED);
    let l4 = greeting(l4, "optional", &trust, "");
    let matcher = |pattern: &str| {
        let matcher = format!("match_typed_subject_alt_names: [{{san_type: URI, matcher: {pattern}}}]");
        validation("ca", &matcher)
    };
    let l4 = greeting(l4, "named", &matcher("{exact: 'spiffe://test/client'}"), REQUIRED);
    let l4 = greeting(l4, "other", &matcher("{prefix: 'spiffe://other/'}"), REQUIRED);
    let l4 = greeting(l4, "lenient", &validation("ca", "allow_expired_certificate: true"), REQUIRED);
    let anybody = "validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}";
    let l4 = greeting(l4, "anybody", anybody, REQUIRED);
    let proxy = server(driver).start(&l4.yaml());
    let clients = [nobody(), known(), expired(), stranger()];
    // By listener: who is welcome, and what is counted of the others.
    let rows = [
        ("required", ["fail_verify_no_cert", "", "fail_verify_error", "fail_verify_error"]),
        ("optional", ["", "", "fail_verify_error", "fail_verify_error"]),
        ("named", ["fail_verify_no_cert", "", "fail_verify_error", "fail_verify_error"]),
        ("other", ["fail_verify_no_cert", "fail_verify_san", "fail_verify_error", "fail_verify_error"]),
        ("lenient", ["fail_verify_no_cert", "", "", "fail_verify_error"]),
        ("anybody", ["fail_verify_no_cert", "", "", ""]),
    ];
    for (listener, failures) in rows {
        for (i, (client, failure)) in clients.iter().zip(failures).enumerate() {
            for version in [TlsVersion::V12, TlsVersion::V13] {
                let stat = format!("listener.{listener}.ssl.{failure}");
                let before = proxy.stat(&stat);
                let is_let_in = is_welcome(&client.clone().only(version), &proxy, listener);
                assert_eq!(is_let_in, failure.is_empty(), "client {i} by {version:?} at {listener}");
                if !is_let_in {
                    proxy.await_stat(&stat, before + 1);
                }
            }
        }
        proxy.await_stat(&format!("listener.{listener}.ssl.connection_error"), 0);
        proxy.await_stat(&format!("listener.{listener}.downstream_cx_active"), 0);
    }
    await_line(&proxy, "required", "- spiffe://test/client");
    await_line(&proxy, "required", "peer_sent_no_certificates");
    await_line(&proxy, "required", "verify_cert_failed:_");
    await_line(&proxy, "other", "verify_cert_failed:_SAN_matcher");
    proxy.stop();
}

fn hashes_and_revocations_are_checked(driver: Driver) {
    let hash = "ab".repeat(32);
    let rules = format!("validation_context: {{verify_certificate_hash: ['{hash}']}}");
    let l4 = greeting(L4::new(), "pinned", &rules, REQUIRED);
    let proxy = server(driver).start(&l4.yaml());
    assert!(!is_welcome(&known(), &proxy, "pinned"));
    proxy.await_stat("listener.pinned.ssl.fail_verify_cert_hash", 1);
    await_rest(&proxy);
    proxy.stop();
}

fn a_resumed_session_keeps_its_owner(driver: Driver) {
    let l4 = greeting(L4::new(), "required", &validation("ca", ""), REQUIRED);
    let proxy = server(driver).start(&l4.yaml());
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let client = known().only(version).resuming();
        assert!(is_welcome(&client, &proxy, "required"));
        let mut stream = client.connect(proxy.address()).expect("a handshake");
        assert!(stream.is_resumed());
        stream.read_to_end(&mut Vec::new()).expect("an answer");
    }
    let lines = eventually("four lines", || {
        let log = read_file(&proxy.directory().join("required.log"));
        (log.lines().count() == 4).then_some(log)
    });
    assert!(lines.lines().all(|line| line == "- spiffe://test/client"), "{lines}");
    assert_eq!(proxy.stat("listener.required.ssl.no_certificate"), 0);
    proxy.stop();
}

fn hosts_are_told_of_the_certificate(driver: Driver) {
    let origin = Origin::echo();
    let tls = downstream(&common("server", &validation("ca", "")));
    let modes = ["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"];
    let listener = |mode: &str| {
        let hcm = format!(
            "forward_client_cert_details: {mode}\nset_current_client_cert_details: {{subject: true, uri: true, dns: true}}"
        );
        Http::to_origin(origin.port()).rename(mode).chain(&tls).hcm(&hcm)
    };
    let http =
        modes[1..].iter().fold(listener(modes[0]), |http, mode| http.and(listener(mode).without_clusters()));
    let proxy = server(driver).start(&http.yaml());
    let element = |value: &str| {
        let rest = value.strip_prefix("By=spiffe://test/server;Hash=").expect("an element");
        let (hash, rest) = rest.split_once(';').expect("more");
        assert_eq!(hash.len(), 64);
        rest.to_owned()
    };
    let told = r#"Subject="CN=client.test";URI=spiffe://test/client;DNS=client.test"#;
    for (mode, of_known, of_nobody) in [
        ("SANITIZE", None, None),
        ("FORWARD_ONLY", Some("By=x"), None),
        ("APPEND_FORWARD", Some("both"), None),
        ("SANITIZE_SET", Some("ours"), None),
        ("ALWAYS_FORWARD_ONLY", Some("By=x"), Some("By=x")),
    ] {
        let request = Request::get("/").header("x-forwarded-client-cert", "By=x");
        for (client, expected) in [(known(), of_known), (nobody(), of_nobody)] {
            assert_eq!(client.send(proxy.address_of(mode), &request).status(), 200);
            let received = origin.take_requests().remove(0);
            let value = received.header("x-forwarded-client-cert");
            match (expected, value) {
                (Some("both"), Some(value)) => {
                    assert_eq!(element(value.strip_prefix("By=x,").expect("theirs")), told);
                }
                (Some("ours"), Some(value)) => assert_eq!(element(value), told),
                (expected, value) => assert_eq!(value, expected, "{mode}"),
            }
        }
    }
    proxy.stop();
}

fn logs_tell_of_both_certificates(driver: Driver) {
    let origin = Origin::echo();
    let format = "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %REQUESTED_SERVER_NAME% \
        %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_ISSUER% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_DNS_SAN% \
        %DOWNSTREAM_LOCAL_SUBJECT% %DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_PEER_CERT_V_START(%%Y)% \
        %DOWNSTREAM_PEER_CERT_V_END(%%Y)% %UPSTREAM_TLS_VERSION% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%";
    let format = format.replace("%%Y", "%Y");
    let http = Http::to_origin(origin.port())
        .chain(&downstream(&common("server", &validation("ca", ""))))
        .hcm(&access_log("access.log", &format));
    let proxy = server(driver).start(&http.yaml());
    known().only(TlsVersion::V13).send(proxy.address(), &Request::get("/"));
    nobody().only(TlsVersion::V12).without_sni().send(proxy.address(), &Request::get("/"));
    let lines = eventually("two lines", || {
        let log = read_file(&proxy.directory().join("access.log"));
        (log.lines().count() == 2).then_some(log)
    });
    let lines: Vec<_> = lines.lines().collect();
    assert!(lines[0].starts_with("TLSv1.3 TLS_AES_"), "{}", lines[0]);
    let known = "- CN=client.test CN=ca spiffe://test/client client.test CN=server.test \
        spiffe://test/server 2020 2100 - -";
    assert!(lines[0].ends_with(known), "{}", lines[0]);
    assert!(lines[1].starts_with("TLSv1.2 ECDHE-ECDSA-"), "{}", lines[1]);
    let nobody = " - - - - - CN=server.test spiffe://test/server - - - -";
    assert!(lines[1].ends_with(nobody), "{}", lines[1]);
    proxy.stop();
}

fn rbac_lets_in_by_the_certificates_name(driver: Driver) {
    let rule = |principal: &str| {
        let rules = format!(
            "stat_prefix: gate\nrules: {{policies: {{p: {{permissions: [{{any: true}}], principals: [{principal}]}}}}}}"
        );
        format!("{}\n{}", network_filter("rbac.v3.RBAC", &rules), network_filter("echo.v3.Echo", ""))
    };
    let trust = validation("ca", "");
    let named = "{authenticated: {principal_name: {exact: 'spiffe://test/client'}}}";
    let other = "{authenticated: {principal_name: {exact: 'spiffe://test/other'}}}";
    let l4 = tls_listener(L4::new(), "named", &trust, "", &rule(named));
    let l4 = tls_listener(l4, "other", &trust, "", &rule(other));
    let l4 = tls_listener(l4, "any", &trust, "", &rule("{authenticated: {}}"));
    let proxy = server(driver).start(&l4.yaml());
    let is_in = |client: &TlsClient, listener: &str| {
        let mut stream = client.connect(proxy.address_of(listener)).expect("a handshake");
        let mut answer = [0; 2];
        stream.write_all(b"in").expect("sent");
        stream.read_exact(&mut answer).is_ok() && answer == *b"in"
    };
    // Envoy takes every TLS connection for an authenticated one where no name is asked for.
    for (listener, known_is_in, nobody_is_in) in
        [("named", true, false), ("other", false, false), ("any", true, true)]
    {
        assert_eq!(is_in(&known(), listener), known_is_in, "{listener}");
        assert_eq!(is_in(&nobody(), listener), nobody_is_in, "{listener}");
    }
    assert_eq!((proxy.stat("gate.rbac.allowed"), proxy.stat("gate.rbac.denied")), (3, 3));
    await_rest(&proxy);
    proxy.stop();
}
