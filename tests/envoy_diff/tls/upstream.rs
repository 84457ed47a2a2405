//! Clusters behind TLS.

use ringway_test_support::certificates::quoted;
use ringway_test_support::config::indent;
use ringway_test_support::l4_config::{L4, access_log, chain, tcp_proxy};
use ringway_test_support::tcp::TcpPeer;
use ringway_test_support::tls_config::{downstream, upstream};

use super::world::{origins, trust, world};
use super::{FORMAT, manager, nobody_echo};
use crate::l4::{Case, LOG, case};

/// Name, port and fields of each.
fn clusters() -> Vec<(&'static str, u16, String)> {
    let (world, origins) = (world(), origins());
    let trusting =
        |more: &str| format!("common_tls_context: {{validation_context: {{{}, {more}}}}}", trust(&world.ca));
    let san = |name: &str| {
        trusting(&format!("match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {name}}}}}]"))
    };
    let showing = |certificate: &ringway_test_support::Certificate, versions: &str| {
        format!("common_tls_context: {{tls_certificates: [{}], {versions}}}", certificate.inline())
    };
    let newest = "tls_params: {tls_maximum_protocol_version: TLSv1_3}";
    let auto = "typed_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n    \
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n    auto_config: {}";
    let by_request = |fields: &str, tls: &str| {
        let options =
            "explicit_http_config: {http_protocol_options: {}}\n    upstream_http_protocol_options:";
        format!("{}\n{}", auto.replace("auto_config: {}", &format!("{options} {{{fields}}}")), upstream(tls))
    };
    let both = "auto_sni: true, auto_san_validation: true";
    let tls = |fields: &str| upstream(fields);
    vec![
        ("trusted", origins.http, tls(&format!("sni: a.test\n{}", trusting("")))),
        ("named", origins.http, tls(&san("a.test"))),
        ("misnamed", origins.http, tls(&san("nobody.test"))),
        ("untrusted", origins.strange, tls(&trusting(""))),
        ("outdated", origins.outdated, tls(&trusting(""))),
        ("lenient", origins.outdated, tls(&trusting("allow_expired_certificate: true"))),
        ("careless", origins.strange, tls("")),
        (
            "pinned",
            origins.http,
            tls(&format!(
                "common_tls_context: {{validation_context: {{verify_certificate_hash: [{}]}}}}",
                quoted(&"ab".repeat(32))
            )),
        ),
        (
            "auto_san",
            origins.http,
            tls(&format!("sni: nobody.test\nauto_sni_san_validation: true\n{}", trusting(""))),
        ),
        ("shown", origins.mutual, tls(&showing(&world.client, ""))),
        ("shown_new", origins.mutual, tls(&showing(&world.client, newest))),
        ("refused", origins.mutual, tls(&showing(&world.stranger, ""))),
        ("refused_new", origins.mutual, tls(&showing(&world.stranger, newest))),
        ("nothing_shown", origins.mutual, tls("")),
        ("too_new", origins.newest, tls("")),
        ("new", origins.newest, tls(&format!("common_tls_context: {{{newest}}}"))),
        ("auto", origins.http1, format!("{auto}\n{}", tls(""))),
        ("auto_none", origins.http, format!("{auto}\n{}", tls(""))),
        ("request_sni", origins.http, by_request("auto_sni: true", &trusting(""))),
        ("request_san", origins.http, by_request(both, &trusting(""))),
        ("request_san_wrong", origins.http, by_request(both, &trusting(""))),
        ("request_san_address", origins.http, by_request(both, &trusting(""))),
        (
            "request_san_header",
            origins.http,
            by_request(&format!("{both}, override_auto_sni_header: x-sni"), &trusting("")),
        ),
        ("request_san_and_matcher", origins.http, by_request(both, &san("nobody.test"))),
        (
            "request_san_tolerant",
            origins.http,
            by_request(both, &trusting("trust_chain_verification: ACCEPT_UNTRUSTED")),
        ),
    ]
}

pub fn config(l4: L4) -> L4 {
    let clusters = clusters();
    let routes: Vec<_> = clusters
        .iter()
        .map(|(name, ..)| format!("- match: {{path: /{name}}}\n  route: {{cluster: {name}}}"))
        .collect();
    let plain = chain(&manager("", &routes.join("\n")));
    let proxied = |cluster: &str| {
        tcp_proxy(&format!("cluster: {cluster}\nstat_prefix: test\n{}", access_log(LOG, FORMAT)))
    };
    let server = format!("common_tls_context: {{tls_certificates: [{}]}}", world().server.inline());
    let both = format!("{}\n  {}", chain(&proxied("at_end")), indent(&downstream(&server), 2));
    let l4 = l4
        .listener("plain_http", &plain)
        .listener("to_echo", &chain(&proxied("echo")))
        .listener("to_end", &chain(&proxied("at_end")))
        .listener("to_untrusted", &chain(&proxied("untrusted")))
        .listener("to_misnamed", &chain(&proxied("misnamed")))
        .listener("both", &both)
        .cluster("echo", origins().echo, &upstream(""))
        .cluster("at_end", origins().at_end, &upstream(""));
    clusters.iter().fold(l4, |l4, (name, port, yaml)| l4.cluster(name, *port, yaml))
}

/// A request that asks for a cluster, from a client without TLS.
fn request(cluster: &str) -> Case {
    let host = match cluster {
        "request_san_wrong" | "request_san_header" | "request_san_tolerant" => "nobody.test",
        "request_san_address" => "127.0.0.1",
        "request_san" => "B.test:80",
        _ => "a.test",
    };
    let request =
        format!("GET /{cluster} HTTP/1.1\r\nHost: {host}\r\nX-Sni: x.wild.test\r\nConnection: close\r\n\r\n");
    case(&format!("upstream: {cluster}")).on("plain_http").any_end().client(move |client: &mut TcpPeer| {
        client.send(&request).await_end(std::time::Duration::from_secs(5));
        let response = client.text();
        let told: Vec<_> = response
            .split("\r\n")
            .filter(|line| {
                !line.starts_with("date: ") && !line.starts_with("x-envoy-upstream-service-time: ")
            })
            .collect();
        client.received = told.join("\n").into_bytes();
    })
}

/// All of them.
pub fn cases() -> Vec<Case> {
    // Envoy counts connections twice where the host chooses the version of HTTP.
    let mut cases: Vec<_> = clusters()
        .iter()
        .map(|(name, ..)| match *name {
            "auto" | "auto_none" => request(name).ignore(".upstream_cx_total"),
            _ => request(name),
        })
        .collect();
    let again = |mut case: Case, name: &str| {
        case.name = name.into();
        case
    };
    for (cluster, name) in [("trusted", "upstream: resumed"), ("new", "upstream: resumed, 1.3")] {
        // As with clients.
        cases.push(
            again(request(cluster), name)
                .ignore(".curves.X25519")
                .ignore(".curves.X25519MLKEM768")
                .ignore(".sigalgs.ecdsa_secp256r1_sha256"),
        );
    }
    cases.push(case("upstream: raw bytes").on("to_echo"));
    cases.push(case("upstream: the end of a direction is said").on("to_end").client(|client| {
        client.send("hello").half_close();
    }));
    for listener in ["to_untrusted", "to_misnamed"] {
        cases.push(case(&format!("upstream: raw bytes {listener}")).on(listener).any_end().client(
            |client| {
                client.send("hello");
            },
        ));
    }
    // The session is an earlier row's.
    let both = nobody_echo("TLS on both sides", "both");
    cases.push(both.ignore("at_end.ssl.curves.X25519").ignore("at_end.ssl.sigalgs.ecdsa_secp256r1_sha256"));
    cases
}
