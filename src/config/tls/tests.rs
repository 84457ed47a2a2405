//! Contexts from YAML: what each field comes to, and what is refused. `tests/tls` asks Envoy for the same verdicts.

use std::collections::HashMap;
use std::io;

use super::*;
use crate::api::{Inputs, check_support, load_bootstrap};
use crate::config::{BootstrapConfig, Context, ExternalData, SUPPORT, from_bootstrap};
use crate::tls::parameters::cipher_name;
use crate::tls::testing::{self, Ca};
use crate::tls::{DefaultTimeProvider, OcspStaplePolicy, ServerName, TlsVersion};

const DOWNSTREAM: &str = "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config";
const UPSTREAM: &str = "static_resources.clusters[0].transport_socket.typed_config";

/// The files there are.
struct Files(HashMap<String, Vec<u8>>);

impl Files {
    fn new() -> Files {
        let ca = Ca::new("ca");
        let (chain, key) = ca.leaf_pem(&["server.example"]);
        let (other_chain, other_key) = ca.leaf_pem(&["other.example"]);
        let mut expired = Ca::new("expired");
        expired.params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let expired = expired.params.self_signed(&expired.key).expect("a certificate").pem();
        let texts: [(&str, &[u8]); 13] = [
            ("/ca.pem", ca.pem.as_bytes()),
            ("/srv.pem", chain.as_bytes()),
            ("/srv.key", key.as_bytes()),
            ("/other.pem", other_chain.as_bytes()),
            ("/other.key", other_key.as_bytes()),
            ("/expired.pem", expired.as_bytes()),
            ("/weak.pem", testing::RSA_1024_CERTIFICATE.as_bytes()),
            ("/rsa.key", testing::RSA_PKCS1_KEY.as_bytes()),
            (
                "/enc.key",
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            ),
            ("/garbage", b"garbage\n"),
            ("/empty", b""),
            ("/ticket80", &[7; 80]),
            ("/ticket79", &[7; 79]),
        ];
        Files(texts.iter().map(|(name, text)| ((*name).to_owned(), text.to_vec())).collect())
    }

    fn with(mut self, name: &str, text: &str) -> Files {
        self.0.insert(name.to_owned(), text.as_bytes().to_vec());
        self
    }

    fn read(&self, data: ExternalData<'_>) -> io::Result<Vec<u8>> {
        let name = match data {
            ExternalData::File(name) | ExternalData::Existence(name) => name,
            ExternalData::Environment("SRV_KEY") => "/srv.key",
            ExternalData::Environment(_) => "",
        };
        self.0.get(name).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn load(&self, yaml: &str) -> Result<BootstrapConfig, Vec<String>> {
        let inputs = Inputs { config_yaml: Some(yaml), ..Inputs::default() };
        let loaded = load_bootstrap(inputs).map_err(|diagnostics| vec![diagnostics.to_string()])?;
        let report = check_support(&loaded.dynamic, SUPPORT, &loaded.positions);
        let refused: Vec<_> =
            report.refused.iter().map(|item| format!("{}: {}", item.path, item.message)).collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        let read = |data: ExternalData<'_>| self.read(data);
        from_bootstrap(&loaded.bootstrap, &read)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    /// The context of the one listener.
    fn downstream(&self, tls: &str) -> Result<DownstreamTlsContext, Vec<String>> {
        let config = self.load(&listener(tls))?;
        let context = config.listeners[0].filter_chains[0].transport_socket.tls().expect("TLS");
        Ok((**context).clone())
    }

    /// The context of the one cluster.
    fn upstream(&self, tls: &str) -> Result<UpstreamTlsContext, Vec<String>> {
        let config = self.load(&cluster(tls))?;
        Ok((**config.clusters[0].transport_socket.tls().expect("TLS")).clone())
    }
}

fn listener(tls: &str) -> String {
    format!(
        r#"static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, {tls}}}
"#
    )
}

fn cluster(tls: &str) -> String {
    format!(
        r#"static_resources:
  clusters:
  - name: c
    transport_socket:
      name: tls
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, {tls}}}
"#
    )
}

const SERVER: &str = "{certificate_chain: {filename: /srv.pem}, private_key: {filename: /srv.key}}";

/// A context with a good certificate and more fields in `common_tls_context`.
fn common(fields: &str) -> String {
    format!("common_tls_context: {{tls_certificates: [{SERVER}], {fields}}}")
}

fn validation(fields: &str) -> String {
    common(&format!("validation_context: {{{fields}}}"))
}

/// The one error of a downstream context, without its beginning.
#[track_caller]
fn downstream_error(files: &Files, tls: &str) -> String {
    let errors = files.downstream(tls).expect_err("refused");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].replacen(DOWNSTREAM, "", 1)
}

#[test]
fn defaults_are_envoys() {
    let files = Files::new();
    let tls = files.downstream(&common("")).expect("accepted");
    assert_eq!(
        (tls.common.parameters.min_version, tls.common.parameters.max_version),
        (TlsVersion::Tls12, TlsVersion::Tls13)
    );
    assert!(matches!(tls.tickets, Tickets::RandomKeys));
    assert!(!tls.require_client_certificate && !tls.disable_stateful_session_resumption);
    assert!(!tls.full_scan_certs_on_sni_mismatch && !tls.prefer_client_ciphers);
    assert_eq!((tls.session_timeout, tls.ocsp_staple_policy), (None, OcspStaplePolicy::Lenient));
    assert!(tls.common.alpn_protocols.is_empty());
    assert_eq!(tls.path.as_str(), DOWNSTREAM);
    tls.compile(&[], std::sync::Arc::new(DefaultTimeProvider)).expect("compiles");
    let tls = files.upstream("").expect("accepted");
    assert_eq!(
        (tls.common.parameters.min_version, tls.common.parameters.max_version),
        (TlsVersion::Tls12, TlsVersion::Tls12)
    );
    assert_eq!((tls.sni.clone(), tls.max_session_keys), (None, 1));
    assert!(!tls.auto_host_sni && !tls.auto_sni_san_validation && !tls.enforce_rsa_key_usage);
    assert!(tls.common.validation.current().expect("there").is_none(), "nothing is verified");
    tls.compile(std::sync::Arc::new(DefaultTimeProvider)).expect("compiles");
}

#[test]
fn certificates_come_from_files_variables_and_the_text_itself() {
    let files = Files::new();
    let text = |name: &str| String::from_utf8(files.0[name].clone()).expect("PEM").replace('\n', "\\n");
    for key in [
        "{filename: /srv.key}".to_owned(),
        "{environment_variable: SRV_KEY}".to_owned(),
        format!("{{inline_string: \"{}\"}}", text("/srv.key")),
    ] {
        let tls = format!(
            "common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: /srv.pem}}, private_key: {key}}}]}}"
        );
        assert_eq!(files.downstream(&tls).expect("accepted").common.certificates.len(), 1);
    }
    let two = format!(
        "common_tls_context: {{tls_certificates: [{SERVER}, {{}}, {{certificate_chain: {{filename: /other.pem}}, private_key: {{filename: /other.key}}, watched_directory: {{path: /d}}}}]}}"
    );
    let tls = files.downstream(&two).expect("accepted");
    assert_eq!(tls.common.certificates.len(), 2, "empty entries are skipped");
    let CertificateSource::Given(second) = &tls.common.certificates[1] else { panic!("given") };
    let names: Vec<_> = tls.common.expiries().map(|(name, _)| name).collect();
    assert_eq!(names, ["unnamed_cert_e3b0c442"; 2], "as in Envoy");
    assert_eq!(second.watched_directory.as_deref(), Some("/d"));
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_at_its_field() {
    let files = Files::new();
    let certificate = |chain: &str, key: &str| {
        let tls = format!(
            "common_tls_context: {{tls_certificates: [{{certificate_chain: {chain}, private_key: {key}}}]}}"
        );
        downstream_error(&files, &tls).replacen(".common_tls_context.tls_certificates[0].", "", 1)
    };
    let (chain, key) = ("{filename: /srv.pem}", "{filename: /srv.key}");
    assert_eq!(
        certificate(chain, "{filename: /other.key}"),
        "private_key: Failed to load private key from /other.key, Cause: the private key does not belong to the \
         certificate (KEY_VALUES_MISMATCH)"
    );
    assert!(certificate(chain, "{inline_string: x}").contains("from <inline>, Cause: no private key in it"));
    assert_eq!(
        certificate(chain, "{filename: /nope}"),
        "private_key.filename: cannot read file '/nope': entity not found"
    );
    assert_eq!(
        certificate(chain, "{environment_variable: NOPE}"),
        "private_key.environment_variable: environment variable does not exist: NOPE"
    );
    assert_eq!(
        certificate(chain, "{filename: /empty}"),
        "private_key: Failed to load incomplete certificate: private key not set"
    );
    assert!(certificate(chain, "{filename: /garbage}").contains("no private key in it"));
    assert!(
        certificate(chain, "{filename: /enc.key}").contains("encrypted private keys are not implemented")
    );
    assert_eq!(
        certificate("{filename: /garbage}", key),
        "certificate_chain: Failed to load certificate chain from /garbage, Cause: no certificate in it"
    );
    assert!(certificate("{filename: /weak.pem}", "{filename: /rsa.key}").contains("this one has 1024 bits"));
    let only = |field: &str| {
        downstream_error(&files, &format!("common_tls_context: {{tls_certificates: [{{{field}}}]}}"))
    };
    assert!(only("certificate_chain: {filename: /srv.pem}").ends_with("private key not set"));
    assert!(only("private_key: {filename: /srv.key}").ends_with("certificate chain not set"));
    for none in ["", "common_tls_context: {}", "common_tls_context: {tls_certificates: [{}]}"] {
        assert_eq!(
            downstream_error(&files, none),
            ".common_tls_context.tls_certificates: No TLS certificates found for server context"
        );
    }
    let staple = |staple: &str| {
        let tls = format!(
            "common_tls_context: {{tls_certificates: [{{certificate_chain: {chain}, private_key: {key}, ocsp_staple: {staple}}}]}}"
        );
        files.downstream(&tls).map(drop).map_err(|errors| errors.join("; "))
    };
    assert!(staple("{filename: /garbage}").expect_err("refused").contains("not an OCSP response in DER"));
    assert!(
        staple("{inline_string: x}").expect_err("refused").contains("cannot be provided via inline_string")
    );
    assert_eq!(staple("{filename: /empty}"), Ok(()));
}

#[test]
fn parameters_are_read_and_what_is_not_there_is_refused_by_name() {
    let files = Files::new();
    let params = |fields: &str| files.downstream(&common(&format!("tls_params: {{{fields}}}")));
    let error = |fields: &str| downstream_error(&files, &common(&format!("tls_params: {{{fields}}}")));
    let tls = params("tls_minimum_protocol_version: TLSv1_3, ecdh_curves: [P-384, X25519MLKEM768]")
        .expect("accepted");
    assert_eq!(tls.common.parameters.min_version, TlsVersion::Tls13);
    assert_eq!(tls.common.parameters.groups.len(), 2);
    let tls = params(
        "cipher_suites: ['[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]', ECDHE-RSA-AES256-GCM-SHA384]",
    );
    let groups: Vec<Vec<_>> = tls
        .expect("accepted")
        .common
        .parameters
        .cipher_suites
        .iter()
        .map(|group| group.iter().map(|suite| cipher_name(suite.suite())).collect())
        .collect();
    assert_eq!(
        groups,
        [
            vec!["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"],
            vec!["ECDHE-RSA-AES256-GCM-SHA384"]
        ]
    );
    const PATH: &str = ".common_tls_context.tls_params";
    assert_eq!(
        error("cipher_suites: [ECDHE-RSA-AES128-SHA]"),
        format!("{PATH}.cipher_suites: the cipher suite ECDHE-RSA-AES128-SHA is not implemented")
    );
    assert!(error("ecdh_curves: [P-521]").contains("the curve P-521 is not implemented"));
    assert!(
        error("signature_algorithms: [rsa_pkcs1_sha1]").contains("the signature algorithm rsa_pkcs1_sha1")
    );
    assert_eq!(
        error("tls_minimum_protocol_version: TLSv1_0"),
        format!("{PATH}.tls_minimum_protocol_version: TLS versions before 1.2 are not implemented")
    );
    assert!(
        error("tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2")
            .contains("newer")
    );
    assert!(error("compliance_policies: [FIPS_202205]").contains("`compliance_policies` is not supported"));
    let upstream =
        files.upstream("common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_3}}");
    assert!(upstream.expect_err("refused")[0].contains("newer than the maximum"), "whose default is 1.2");
    let upstream =
        files.upstream("common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}}");
    assert_eq!(upstream.expect("accepted").common.parameters.max_version, TlsVersion::Tls13);
}

#[test]
fn protocols_are_a_list_of_names() {
    let files = Files::new();
    let protocols = |list: &str| files.downstream(&common(&format!("alpn_protocols: {list}")));
    let tls = protocols("[h2, 'http/1.1,foo']").expect("accepted");
    assert_eq!(tls.common.alpn_protocols, [&b"h2"[..], b"http/1.1", b"foo"]);
    assert!(protocols("['']").expect_err("refused")[0].contains("Invalid ALPN protocol string"));
    assert!(protocols(&format!("[{}]", "x".repeat(256))).is_err());
}

#[test]
fn rules_for_peers_are_read() {
    let files = Files::new();
    let hash = "ab".repeat(32);
    let tls = files
        .downstream(&validation(&format!(
            "trusted_ca: {{filename: /ca.pem}}, verify_certificate_hash: ['{hash}'], \
             verify_certificate_spki: ['AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8='], max_verify_depth: 3, \
             allow_expired_certificate: true, only_verify_leaf_cert_crl: true, suppress_client_ca_list: true, \
             match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{suffix: .example}}}}], \
             match_subject_alt_names: [{{exact: a}}]"
        )))
        .expect("accepted");
    let rules = &tls.common.validation.current().expect("there").expect("given").rules;
    assert!(rules.trust.is_some() && rules.suppress_authorities && !rules.accept_untrusted);
    assert!(rules.chain.allow_expired && rules.chain.revocation_of_leaf_only);
    assert_eq!(rules.chain.max_depth, Some(3));
    assert_eq!((rules.certificate_hashes.len(), rules.key_hashes.len()), (1, 1));
    assert_eq!(rules.san_matchers.len(), 1 + 4, "a matcher without a type is one for each");
    let tls = files.downstream(&validation("trust_chain_verification: ACCEPT_UNTRUSTED")).expect("accepted");
    assert!(tls.common.validation.current().expect("there").expect("given").rules.accept_untrusted);
    files.downstream(&validation("trusted_ca: {filename: /expired.pem}")).expect("as Envoy");
}

#[test]
fn the_systems_authorities_can_be_trusted() {
    let ca = Ca::new("system");
    let bundle = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ca.pem);
    let files = Files::new().with("/etc/ssl/certs/ca-certificates.crt", &bundle);
    let tls = files.downstream(&validation("system_root_certs: {}")).expect("accepted");
    let rules = &tls.common.validation.current().expect("there").expect("given").rules;
    assert_eq!(rules.trust.as_ref().expect("trust").certificates().count(), 1, "what can be read");
    assert_eq!(
        downstream_error(&Files::new(), &validation("system_root_certs: {}")),
        ".common_tls_context.validation_context.system_root_certs: Failed to load trusted CA certificates from the \
         system, Cause: no bundle found"
    );
}

#[test]
fn what_is_wrong_with_rules_is_told_at_its_field() {
    let files = Files::new();
    let error = |fields: &str| {
        downstream_error(&files, &validation(fields)).replacen(
            ".common_tls_context.validation_context.",
            "",
            1,
        )
    };
    assert_eq!(
        error("trusted_ca: {filename: /garbage}"),
        "trusted_ca: Failed to load trusted CA certificates from /garbage, Cause: no certificate in it"
    );
    assert!(error("trusted_ca: {filename: /empty}").contains("no certificate in it"));
    assert!(error("trusted_ca: {filename: /srv.key}").contains("no certificate in it"));
    assert!(error("trusted_ca: {filename: /nope}").starts_with("trusted_ca.filename: cannot read file"));
    let matcher = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]";
    assert!(
        error(matcher).contains("SAN-based verification of peer certificates without trusted CA is insecure")
    );
    assert!(error("match_subject_alt_names: [{exact: a}]").contains("SAN-based verification"));
    assert!(error("allow_expired_certificate: true").contains("always ignored without trusted CA"));
    assert_eq!(error("crl: {filename: /ca.pem}"), "crl: a CRL without trusted_ca cannot be checked");
    assert_eq!(
        error("trusted_ca: {filename: /ca.pem}, crl: {filename: /garbage}"),
        "crl: Failed to load CRL from /garbage, Cause: no revocation list in it"
    );
    let oid = "trusted_ca: {filename: /ca.pem}, match_typed_subject_alt_names: [{san_type: OTHER_NAME, oid: x.y, matcher: {exact: a}}]";
    assert!(error(oid).ends_with("[0].oid: Failed to create SAN matcher for OTHER_NAME with OID: x.y"));
    let zeds = "zz".repeat(32);
    assert_eq!(
        error(&format!("verify_certificate_hash: ['{zeds}']")),
        format!("verify_certificate_hash[0]: Invalid hex-encoded SHA-256 {zeds}")
    );
    let digits = "a".repeat(44);
    assert!(
        error(&format!("verify_certificate_spki: ['{digits}']")).contains("Invalid base64-encoded SHA-256")
    );
}

#[test]
fn sessions_and_tickets_are_configured() {
    let files = Files::new();
    let server = |fields: &str| files.downstream(&format!("{}, {fields}", common("")));
    let error = |fields: &str| downstream_error(&files, &format!("{}, {fields}", common("")));
    let tls = server(
        "session_ticket_keys: {keys: [{filename: /ticket80}, {filename: /ticket80}]}, session_timeout: 90s, \
         require_client_certificate: true, disable_stateful_session_resumption: true, \
         full_scan_certs_on_sni_mismatch: true, prefer_client_ciphers: true, ocsp_staple_policy: STRICT_STAPLING",
    )
    .expect("accepted");
    let Tickets::Keys(keys) = &tls.tickets else { panic!("keys") };
    assert_eq!(keys.keys.len(), 2);
    assert_eq!(tls.session_timeout.map(|timeout| timeout.as_secs()), Some(90));
    assert!(tls.require_client_certificate && tls.disable_stateful_session_resumption);
    assert!(tls.full_scan_certs_on_sni_mismatch && tls.prefer_client_ciphers);
    assert_eq!(tls.ocsp_staple_policy, OcspStaplePolicy::Strict);
    assert!(matches!(
        server("disable_stateless_session_resumption: true").expect("accepted").tickets,
        Tickets::Disabled
    ));
    assert!(matches!(
        server("disable_stateless_session_resumption: false").expect("accepted").tickets,
        Tickets::RandomKeys
    ));
    assert_eq!(
        error("session_ticket_keys: {keys: [{filename: /ticket79}]}"),
        ".session_ticket_keys.keys[0]: Incorrect TLS session ticket key length. Length 79, expected length 80."
    );
    assert!(error("session_ticket_keys: {keys: [{filename: /nope}]}").contains("cannot read file"));
    assert_eq!(
        error("ocsp_staple_policy: MUST_STAPLE"),
        ".common_tls_context: Required OCSP response is missing from TLS context"
    );
    assert!(error("require_sni: true").contains("`require_sni` is not supported"));
}

#[test]
fn clients_are_configured() {
    let files = Files::new();
    let tls = files
        .upstream(&format!(
            "sni: a.example, auto_host_sni: true, auto_sni_san_validation: true, max_session_keys: 0, \
             enforce_rsa_key_usage: true, {}",
            validation("trusted_ca: {filename: /ca.pem}")
        ))
        .expect("accepted");
    assert_eq!(tls.sni, Some(ServerName::try_from("a.example").expect("a name")));
    assert!(tls.auto_host_sni && tls.auto_sni_san_validation && tls.enforce_rsa_key_usage);
    assert_eq!((tls.max_session_keys, tls.common.certificates.len()), (0, 1));
    let error = |fields: &str| {
        let errors = files.upstream(fields).expect_err("refused");
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors[0].replacen(UPSTREAM, "", 1)
    };
    assert!(error("sni: 'bad name!'").contains("is no DNS name"));
    assert!(error("allow_renegotiation: true").contains("`allow_renegotiation` is not supported"));
    for without in ["", "common_tls_context: {validation_context: {}}"] {
        assert!(
            error(&format!("auto_sni_san_validation: true, {without}"))
                .contains("without configuring a trusted CA")
        );
    }
    assert!(
        error(&format!("common_tls_context: {{tls_certificates: [{SERVER}, {SERVER}]}}"))
            .contains("Multiple TLS certificates")
    );
    assert_eq!(files.upstream("sni: 1.2.3.4").expect("accepted").sni, ServerName::try_from("1.2.3.4").ok());
}

#[test]
fn the_name_to_ask_for_is_chosen() {
    let files = Files::new();
    let chosen = |fields: &str, wanted: Option<&str>, host: &str| {
        let tls = files.upstream(fields).expect("accepted");
        tls.server_name(wanted, host, Some([10, 0, 0, 1].into())).to_str().into_owned()
    };
    assert_eq!(chosen("", None, "host.example"), "10.0.0.1", "nothing is sent");
    assert_eq!(chosen("sni: s.example", None, "host.example"), "s.example");
    assert_eq!(chosen("sni: s.example, auto_host_sni: true", None, "host.example"), "host.example");
    assert_eq!(chosen("sni: s.example, auto_host_sni: true", None, ""), "s.example");
    assert_eq!(
        chosen("sni: s.example, auto_host_sni: true", Some("wanted.example"), "host.example"),
        "wanted.example"
    );
    assert_eq!(chosen("sni: s.example", Some("no name!"), ""), "s.example");
}

#[test]
fn sockets_are_raw_or_tls_of_the_right_side() {
    let files = Files::new();
    let chain = |socket: &str| {
        files.load(&format!(
            "static_resources: {{listeners: [{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}, filter_chains: [{{transport_socket: {socket}}}]}}]}}"
        ))
    };
    let typed = |name: &str| {
        format!(
            "{{name: x, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.{name}}}}}"
        )
    };
    let config = chain(&typed("raw_buffer.v3.RawBuffer")).expect("accepted");
    assert!(config.listeners[0].filter_chains[0].transport_socket.tls().is_none());
    assert!(
        chain(&typed("tls.v3.UpstreamTlsContext")).expect_err("refused")[0]
            .contains("is not implemented here")
    );
    assert!(
        chain("{name: envoy.transport_sockets.tls}").expect_err("refused")[0].contains("has no typed_config")
    );
    for other in [
        "quic.v3.QuicDownstreamTransport",
        "alts.v3.Alts",
        "proxy_protocol.v3.ProxyProtocolUpstreamTransport",
    ] {
        let refused = chain(&typed(other));
        assert!(refused.is_err(), "{other}");
    }
}

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

fn discovered(name: &str, file: &str) -> String {
    format!(
        "common_tls_context: {{tls_certificate_sds_secret_configs: [{{name: {name}, sds_config: {{path_config_source: {{path: {file}}}}}}}]}}"
    )
}

#[test]
fn secrets_come_from_the_bootstrap_by_name() {
    let files = Files::new();
    let with = |secrets: &str, tls: &str| {
        files.load(&format!("{}\n  secrets: {secrets}\n", listener(tls).trim_end()))
    };
    let by_name = "common_tls_context: {tls_certificate_sds_secret_configs: [{name: s}]}";
    let secret = format!("{{name: s, tls_certificate: {SERVER}}}");
    let config = with(&format!("[{secret}]"), by_name).expect("accepted");
    assert_eq!(config.secrets.len(), 1);
    let tls = config.listeners[0].filter_chains[0].transport_socket.tls().expect("TLS");
    assert!(matches!(tls.common.certificates[..], [CertificateSource::Given(_)]));
    assert_eq!(tls.discoveries().count(), 0, "nothing to watch");
    let keys = format!("{}, session_ticket_keys_sds_secret_config: {{name: k}}", common(""));
    let config =
        with("[{name: k, session_ticket_keys: {keys: [{filename: /ticket80}]}}]", &keys).expect("accepted");
    let tls = config.listeners[0].filter_chains[0].transport_socket.tls().expect("TLS");
    assert!(matches!(tls.tickets, Tickets::Keys(_)));
    let error = |secrets: &str, tls: &str| with(secrets, tls).expect_err("refused").join("; ");
    assert!(error("[]", by_name).contains("[0].name: Unknown static secret: s"));
    assert!(error("[{name: s, validation_context: {}}]", by_name).contains("Unknown static secret: s"));
    assert!(
        error(&format!("[{secret}, {secret}]"), by_name)
            .contains("Duplicate static TlsCertificate secret name s")
    );
    assert!(error("[{name: t}]", &common("")).contains("secrets[0]: Secret type not implemented"));
    let wrong = "{name: t, tls_certificate: {certificate_chain: {filename: /srv.pem}, private_key: {filename: /other.key}}}";
    assert!(
        error(&format!("[{wrong}]"), &common(""))
            .starts_with("static_resources.secrets[0].tls_certificate.private_key:")
    );
}

#[test]
fn secrets_come_from_files() {
    let yaml = format!("resources:\n- '@type': {SECRET}\n  name: s\n  tls_certificate: {SERVER}\n");
    let json = format!(
        r#"{{"resources": [{{"@type": "{SECRET}", "name": "s", "tls_certificate": {{"certificate_chain": {{"filename": "/srv.pem"}}, "private_key": {{"filename": "/srv.key"}}}}}}]}}"#
    );
    let files = Files::new().with("/sds.yaml", &yaml).with("/sds.json", &json);
    for file in ["/sds.yaml", "/sds.json"] {
        let tls = files.downstream(&discovered("s", file)).expect("accepted");
        let [CertificateSource::Discovered(discovery, Some(_))] = &tls.common.certificates[..] else {
            panic!("found")
        };
        assert_eq!((discovery.name.as_str(), discovery.file.as_str()), ("s", file));
        assert_eq!(tls.common.expiries().next().map(|(name, _)| name), Some("s"));
        assert_eq!(tls.discoveries().count(), 1);
        tls.compile(&[], std::sync::Arc::new(DefaultTimeProvider)).expect("compiles");
    }
    // A secret that is not there yet may come.
    let tls = files.downstream(&discovered("t", "/sds.yaml")).expect("accepted");
    let not_ready = tls.compile(&[], std::sync::Arc::new(DefaultTimeProvider)).expect_err("not ready");
    assert!(not_ready.into_config_error().is_none(), "nothing is wrong with the configuration");
    assert_eq!(
        downstream_error(&files, &discovered("s", "/nope.yaml")),
        ".common_tls_context.tls_certificate_sds_secret_configs[0].sds_config.path_config_source.path: cannot read file \
         '/nope.yaml': entity not found"
    );
    let both = format!(
        "common_tls_context: {{tls_certificates: [{SERVER}], tls_certificate_sds_secret_configs: [{{name: s, sds_config: {{path: /sds.yaml}}}}]}}"
    );
    assert!(downstream_error(&files, &both).contains("may not be mixed"));
}

#[test]
fn what_is_wrong_in_a_secrets_file_is_told_with_its_place() {
    let error = |text: &str| {
        let files = Files::new().with("/sds.yaml", text);
        let errors = files.downstream(&discovered("s", "/sds.yaml")).expect_err("refused").join("; ");
        errors.rsplit_once("in '/sds.yaml': ").map(|(_, rest)| rest.to_owned()).unwrap_or(errors)
    };
    assert!(error("garbage: {").starts_with("line "), "{}", error("garbage: {"));
    assert!(error("nonsense: 1").contains("nonsense"));
    assert!(error("[]").contains("DiscoveryResponse") || !error("[]").is_empty());
    assert!(error(&format!("resources: [{{'@type': {SECRET}, name: s, nope: 1}}]")).contains("nope"));
    assert!(
        error("resources: [{'@type': type.googleapis.com/envoy.config.core.v3.Pipe, path: /x}]")
            .starts_with("resources[0]: expected the type")
    );
    assert!(
        error(&format!("resources: [{{'@type': {SECRET}, name: s, tls_certificate: {{certificate_chain: {{filename: /srv.pem}}, private_key: {{filename: /other.key}}}}}}]"))
            .starts_with("resources[0].tls_certificate.private_key: Failed to load private key from /other.key")
    );
    assert!(
        error(&format!("resources: [{{'@type': {SECRET}, name: s, tls_certificate: {{certificate_chain: {{filename: /srv.pem}}, private_key: {{filename: /srv.key}}, password: {{inline_string: x}}}}}}]"))
            .contains("`password` is not supported")
    );
}

#[test]
fn defaults_and_discovered_rules_are_combined() {
    let sds = |text: &str| {
        format!("resources:\n- '@type': {SECRET}\n  name: v\n  validation_context: {{{text}}}\n")
    };
    let tls = |defaults: &str| {
        common(&format!(
            "combined_validation_context: {{default_validation_context: {{{defaults}}}, validation_context_sds_secret_config: {{name: v, sds_config: {{path_config_source: {{path: /v.yaml}}}}}}}}"
        ))
    };
    let files = Files::new().with("/v.yaml", &sds("trusted_ca: {filename: /ca.pem}"));
    let matcher = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]";
    let context = files.downstream(&tls(matcher)).expect("accepted");
    let rules = &context.common.validation.current().expect("there").expect("given").rules;
    assert!(rules.trust.is_some() && rules.san_matchers.len() == 1);
    let incomplete = Files::new().with("/v.yaml", &sds(""));
    assert!(downstream_error(&incomplete, &tls(matcher)).contains("SAN-based verification"));
}

#[test]
fn changed_secrets_are_taken_over() {
    let yaml = |key: &str| {
        format!(
            "resources:\n- '@type': {SECRET}\n  name: s\n  tls_certificate: {{certificate_chain: {{filename: /{key}.pem}}, private_key: {{filename: /{key}.key}}}}\n"
        )
    };
    let files = Files::new().with("/sds.yaml", &yaml("srv"));
    let mut tls = files.downstream(&discovered("s", "/sds.yaml")).expect("accepted");
    let leaf = |tls: &DownstreamTlsContext| {
        let CertificateSource::Discovered(_, Some(found)) = &tls.common.certificates[0] else {
            panic!("found")
        };
        found.identity.chain()[0].clone()
    };
    let before = leaf(&tls);
    let read = |data: ExternalData<'_>| files.read(data);
    let mut context = Context::new(&read);
    let secrets = parse_secrets("/sds.yaml", &yaml("other"), &context).expect("secrets");
    tls.apply("/elsewhere.yaml", &secrets, &mut context);
    assert_eq!(leaf(&tls), before);
    tls.apply("/sds.yaml", &secrets, &mut context);
    assert_ne!(leaf(&tls), before);
    tls.compile(&[], std::sync::Arc::new(DefaultTimeProvider)).expect("compiles");
    assert!(context.errors().is_empty());
    // What cannot be used is refused as a whole; the old secret stays.
    assert!(parse_secrets("/sds.yaml", "resources: 5", &context).is_err());
}
