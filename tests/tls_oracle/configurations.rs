//! Which TLS configurations Envoy 1.40 takes, and that Ringway takes the same ones, or refuses more for a reason that is
//! told. Ringway's answers are always checked; Envoy's where its binary is installed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ringway::api::{Inputs, check_support, load_bootstrap};
use ringway::config::{ExternalData, SUPPORT, from_bootstrap};

/// What both say.
enum Verdict {
    /// Both take it.
    Taken,
    /// Both refuse it.
    Refused,
    /// Envoy takes it; Ringway refuses it with these words.
    OnlyEnvoy(&'static str),
}

use Verdict::{OnlyEnvoy, Refused, Taken};

const SERVER: &str = "{certificate_chain: {filename: srv.pem}, private_key: {filename: srv.key}}";

/// `tls_certificates: [...]` of a listener; chain and key.
const CERTIFICATES: &[(&str, &str, Verdict)] = &[
    ("{filename: srv.pem}", "{filename: srv.key}", Taken),
    ("{filename: srv.pem}", "{filename: other.key}", Refused),
    ("{filename: srv.pem}", "{filename: nope}", Refused),
    ("{filename: srv.pem}", "{filename: empty}", Refused),
    ("{filename: srv.pem}", "{inline_string: ''}", Refused),
    ("{filename: srv.pem}", "{filename: garbage}", Refused),
    ("{filename: srv.pem}", "{filename: encrypted.key}", Refused),
    ("{filename: srv.pem}", "{environment_variable: RINGWAY_NOPE}", Refused),
    ("{filename: garbage}", "{filename: srv.key}", Refused),
    ("{filename: truncated.pem}", "{filename: srv.key}", Refused),
    ("{filename: weak.pem}", "{filename: weak.key}", Refused),
    ("{filename: nameless.pem}", "{filename: nameless.key}", Refused),
    ("{filename: expired.pem}", "{filename: expired.key}", Taken),
    ("{filename: p384.pem}", "{filename: p384.key}", Taken),
    ("{filename: v1.pem}", "{filename: sec1.key}", Taken),
];

/// `common_tls_context` of a listener, whole.
const COMMON: &[(&str, Verdict)] = &[
    ("{}", Refused),
    ("{tls_certificates: [{}]}", Refused),
    ("{tls_certificates: [{certificate_chain: {filename: srv.pem}}]}", Refused),
    ("{tls_certificates: [{private_key: {filename: srv.key}}]}", Refused),
    ("{tls_certificate_sds_secret_configs: [{name: x}]}", Refused),
];

/// More fields of a listener's `common_tls_context`, beside a good certificate.
const MORE_COMMON: &[(&str, Verdict)] = &[
    ("tls_params: {tls_minimum_protocol_version: TLSv1_0}", OnlyEnvoy("TLS versions before 1.2")),
    (
        "tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2}",
        OnlyEnvoy("newer than the maximum"),
    ),
    ("tls_params: {cipher_suites: [ECDHE-RSA-AES128-GCM-SHA256]}", Taken),
    ("tls_params: {cipher_suites: ['[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]']}", Taken),
    ("tls_params: {cipher_suites: ['ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305']}", Taken),
    ("tls_params: {cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}", Taken),
    ("tls_params: {cipher_suites: [TLS_AES_128_GCM_SHA256]}", Refused),
    ("tls_params: {cipher_suites: [nope]}", Refused),
    ("tls_params: {cipher_suites: [ECDHE-RSA-AES128-SHA]}", OnlyEnvoy("is not implemented")),
    ("tls_params: {cipher_suites: [AES128-GCM-SHA256]}", OnlyEnvoy("is not implemented")),
    ("tls_params: {ecdh_curves: [P-384, X25519]}", Taken),
    ("tls_params: {ecdh_curves: [X25519MLKEM768]}", Taken),
    ("tls_params: {ecdh_curves: [nope]}", Refused),
    ("tls_params: {ecdh_curves: [P-521]}", OnlyEnvoy("is not implemented")),
    ("tls_params: {signature_algorithms: [rsa_pss_rsae_sha256]}", Taken),
    ("tls_params: {signature_algorithms: [nope]}", Refused),
    ("tls_params: {signature_algorithms: [rsa_pkcs1_sha1]}", OnlyEnvoy("is not implemented")),
    ("tls_params: {compliance_policies: [FIPS_202205]}", OnlyEnvoy("is not supported")),
    ("alpn_protocols: [h2, http/1.1]", Taken),
    ("alpn_protocols: ['h2,http/1.1']", Taken),
    ("alpn_protocols: ['']", OnlyEnvoy("Invalid ALPN protocol string")),
    (
        "tls_certificate_sds_secret_configs: [{name: s, sds_config: {path_config_source: {path: /dev/null}}}]",
        Refused,
    ),
];

/// `validation_context` of a listener.
const VALIDATION: &[(&str, Verdict)] = &[
    ("{}", Taken),
    ("{trusted_ca: {filename: ca.pem}}", Taken),
    ("{trusted_ca: {filename: empty}}", Refused),
    ("{trusted_ca: {filename: garbage}}", Refused),
    ("{trusted_ca: {filename: srv.key}}", Refused),
    ("{trusted_ca: {filename: nope}}", Refused),
    ("{trusted_ca: {filename: expired.pem}}", Taken),
    ("{match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}", Refused),
    (
        "{trusted_ca: {filename: ca.pem}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}",
        Taken,
    ),
    ("{trusted_ca: {filename: ca.pem}, match_typed_subject_alt_names: [{matcher: {exact: a}}]}", Refused),
    (
        "{trusted_ca: {filename: ca.pem}, match_typed_subject_alt_names: [{san_type: OTHER_NAME, oid: x.y, matcher: {exact: a}}]}",
        Refused,
    ),
    ("{trusted_ca: {filename: ca.pem}, match_subject_alt_names: [{exact: a}]}", Taken),
    ("{allow_expired_certificate: true}", Refused),
    ("{verify_certificate_hash: [HASH]}", Taken),
    ("{verify_certificate_hash: [ab]}", Refused),
    ("{verify_certificate_spki: [AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=]}", Taken),
    ("{verify_certificate_spki: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]}", Refused),
    ("{trusted_ca: {filename: ca.pem}, crl: {filename: garbage}}", OnlyEnvoy("no revocation list in it")),
    ("{trust_chain_verification: ACCEPT_UNTRUSTED}", Taken),
    ("{trusted_ca: {filename: ca.pem}, max_verify_depth: 101}", Refused),
    (
        "{trusted_ca: {filename: ca.pem}, require_signed_certificate_timestamp: true}",
        OnlyEnvoy("is not supported"),
    ),
];

/// More fields of `DownstreamTlsContext`, beside a good certificate.
const DOWNSTREAM: &[(&str, Verdict)] = &[
    ("session_ticket_keys: {keys: [{filename: ticket80}]}", Taken),
    ("session_ticket_keys: {keys: [{filename: ticket79}]}", Refused),
    ("session_ticket_keys: {keys: [{filename: nope}]}", Refused),
    ("session_ticket_keys: {keys: []}", Refused),
    ("session_timeout: 0s", Taken),
    ("session_timeout: -1s", Refused),
    ("session_timeout: 4294967296s", Refused),
    ("disable_stateless_session_resumption: true", Taken),
    ("ocsp_staple_policy: STRICT_STAPLING", Taken),
    ("ocsp_staple_policy: MUST_STAPLE", Refused),
    ("require_client_certificate: true", Taken),
    ("require_sni: true", OnlyEnvoy("is not supported")),
];

/// `UpstreamTlsContext` of a cluster.
const UPSTREAM: &[(&str, Verdict)] = &[
    ("", Taken),
    ("common_tls_context: {tls_certificates: [SERVER]}", Taken),
    ("common_tls_context: {tls_certificates: [SERVER, SERVER]}", Refused),
    ("sni: a.example", Taken),
    ("sni: 1.2.3.4", Taken),
    ("sni: 'bad name!'", OnlyEnvoy("is no DNS name")),
    ("allow_renegotiation: true", OnlyEnvoy("is not supported")),
    ("auto_sni_san_validation: true, sni: a.b", Refused),
    ("auto_sni_san_validation: true, common_tls_context: {validation_context: {}}", Refused),
    (
        "auto_sni_san_validation: true, common_tls_context: {validation_context: {trusted_ca: {filename: ca.pem}}}",
        Taken,
    ),
    ("max_session_keys: 0, enforce_rsa_key_usage: true, auto_host_sni: true", Taken),
    ("common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}}", Taken),
    (
        "common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_3}}",
        OnlyEnvoy("newer than the maximum"),
    ),
];

fn listener(fields: &str) -> String {
    format!(
        "static_resources: {{listeners: [{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}, \
         filter_chains: [{{transport_socket: {{name: tls, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, {fields}}}}}}}]}}]}}\n"
    )
}

fn cluster(fields: &str) -> String {
    format!(
        "static_resources: {{clusters: [{{name: c, transport_socket: {{name: tls, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, {fields}}}}}}}]}}\n"
    )
}

fn cases() -> Vec<(String, &'static Verdict)> {
    let mut cases = Vec::new();
    for (chain, key, verdict) in CERTIFICATES {
        let fields = format!(
            "common_tls_context: {{tls_certificates: [{{certificate_chain: {chain}, private_key: {key}}}]}}"
        );
        cases.push((listener(&fields), verdict));
    }
    for (common, verdict) in COMMON {
        cases.push((listener(&format!("common_tls_context: {common}")), verdict));
    }
    for (more, verdict) in MORE_COMMON {
        let fields = format!("common_tls_context: {{tls_certificates: [{SERVER}], {more}}}");
        cases.push((listener(&fields), verdict));
    }
    for (rules, verdict) in VALIDATION {
        let rules = rules.replace("HASH", &format!("'{}'", "ab".repeat(32)));
        let fields =
            format!("common_tls_context: {{tls_certificates: [{SERVER}], validation_context: {rules}}}");
        cases.push((listener(&fields), verdict));
    }
    for (more, verdict) in DOWNSTREAM {
        let fields = format!("common_tls_context: {{tls_certificates: [{SERVER}]}}, {more}");
        cases.push((listener(&fields), verdict));
    }
    for (fields, verdict) in UPSTREAM {
        cases.push((cluster(&fields.replace("SERVER", SERVER)), verdict));
    }
    cases
}

/// Makes the files that the cases name.
fn write_files(directory: &Path) {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).expect("names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "ca");
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let write = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes).expect("written");
    write("ca.pem", ca.self_signed(&ca_key).expect("a certificate").pem().as_bytes());
    let leaf = |name: &str, algorithm: &'static rcgen::SignatureAlgorithm, names: &[&str], year: i32| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "o");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem().as_bytes());
        write(&format!("{name}.key"), key.serialize_pem().as_bytes());
    };
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    leaf("srv", p256, &["srv.example"], 2100);
    leaf("other", p256, &["other.example"], 2100);
    leaf("expired", p256, &["expired.example"], 2021);
    leaf("nameless", p256, &[], 2100);
    leaf("p384", &rcgen::PKCS_ECDSA_P384_SHA384, &["p384.example"], 2100);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/testing");
    for (from, to) in [
        ("v1.pem", "v1.pem"),
        ("sec1.key", "sec1.key"),
        ("rsa-1024.pem", "weak.pem"),
        ("rsa-pkcs1.key", "weak.key"),
    ] {
        fs::copy(fixtures.join(from), directory.join(to)).expect("copied");
    }
    let chain = fs::read(directory.join("srv.pem")).expect("read");
    write("truncated.pem", &chain[..chain.len() / 2]);
    write(
        "encrypted.key",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    write("garbage", b"garbage\n");
    write("empty", b"");
    write("ticket80", &[7; 80]);
    write("ticket79", &[7; 79]);
}

fn ringways_answer(text: &str, directory: &Path) -> Result<(), String> {
    let inputs = Inputs { config_yaml: Some(text), ..Inputs::default() };
    let loaded = load_bootstrap(inputs).map_err(|error| error.to_string())?;
    let report = check_support(&loaded.dynamic, SUPPORT, &loaded.positions);
    if let Some(refused) = report.refused.first() {
        return Err(refused.message.clone());
    }
    let read = |data: ExternalData<'_>| match data {
        ExternalData::File(name) | ExternalData::Existence(name) => fs::read(directory.join(name)),
        ExternalData::Environment(_) => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    };
    let converted = from_bootstrap(&loaded.bootstrap, &read);
    converted
        .map(drop)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Starts Envoy on a text; none where there is no Envoy.
fn ask_envoy(text: &str, directory: &Path) -> Option<std::process::Child> {
    let mut command = Command::new("envoy");
    command.args(["--mode", "validate", "--disable-hot-restart", "-l", "off", "--config-yaml", text]);
    command.current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

#[test]
fn ringway_takes_the_tls_that_envoy_takes() {
    let directory = tempfile::tempdir().expect("a directory");
    write_files(directory.path());
    let cases = cases();
    let mut wrong = Vec::new();
    for (text, verdict) in &cases {
        let answer = ringways_answer(text, directory.path());
        let is_right = match (verdict, &answer) {
            (Taken, answer) => answer.is_ok(),
            (Refused, answer) => answer.is_err(),
            (OnlyEnvoy(words), Err(error)) => error.contains(words),
            (OnlyEnvoy(_), Ok(())) => false,
        };
        if !is_right {
            wrong.push(format!("Ringway says {answer:?} to\n{text}"));
        }
    }
    // Two at a time: there may be no more CPUs.
    for pair in cases.chunks(2) {
        let children: Option<Vec<_>> =
            pair.iter().map(|(text, _)| ask_envoy(text, directory.path())).collect();
        let Some(children) = children else {
            println!("SKIPPED: Envoy is not installed; the table was checked against Ringway only");
            break;
        };
        for ((text, verdict), mut child) in pair.iter().zip(children) {
            let takes = child.wait().is_ok_and(|status| status.success());
            if takes == matches!(verdict, Refused) {
                wrong.push(format!("Envoy says {takes} to\n{text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
