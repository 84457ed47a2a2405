//! What is wrong with TLS in a configuration is said when it is loaded, with its place: by `--mode validate` as by a start.

use std::fs;
use std::path::Path;
use std::process::Command;

use ringway_test_support::process::ringway_binary;
use ringway_test_support::tls_config::{downstream, upstream};
use ringway_test_support::{Authority, Leaf};
use tempfile::TempDir;

const CHAIN: &str = "static_resources.listeners[0].filter_chains[0]";
const GOOD: &str = "common_tls_context:\n  tls_certificates: [{certificate_chain: {filename: server.pem}, private_key: {filename: server.key}}]";

/// A directory with what the configurations name.
fn files() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path();
    let (ca, outdated) = (Authority::new("ca"), Authority::expired("outdated"));
    fs::write(place.join("ca.pem"), ca.pem()).expect("written");
    fs::write(place.join("outdated.pem"), outdated.pem()).expect("written");
    fs::write(place.join("empty"), "").expect("written");
    fs::write(place.join("garbage"), "garbage\n").expect("written");
    ca.issue(&["server.test"]).write(place, "server");
    ca.issue(&["other.test"]).write(place, "other");
    ca.issue_leaf(&Leaf::new(&["old.test"]).expired()).write(place, "old");
    directory
}

/// What `ringway --mode validate` says, and whether it takes the configuration.
fn validate(place: &Path, yaml: &str) -> (bool, String) {
    fs::write(place.join("c.yaml"), yaml).expect("written");
    let output = Command::new(ringway_binary())
        .args(["-c", "c.yaml", "--mode", "validate", "-l", "error"])
        .current_dir(place)
        .output()
        .expect("ringway runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

fn chain(criteria: &str, context: &str) -> String {
    let socket = downstream(context).replace('\n', "\n      ");
    format!("    - filter_chain_match: {criteria}\n      {socket}\n")
}

fn listener(chains: &str) -> String {
    format!(
        "static_resources:\n  listeners:\n  - name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         filter_chains:\n{chains}"
    )
}

fn cluster(context: &str) -> String {
    let socket = upstream(context).replace('\n', "\n    ");
    format!("static_resources:\n  clusters:\n  - name: c\n    {socket}\n")
}

fn line_of(yaml: &str, text: &str) -> usize {
    1 + yaml.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text:?} in\n{yaml}"))
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let directory = files();
    let of = |chain: &str, key: &str| {
        listener(&self::chain(
            "{}",
            &format!(
                "common_tls_context:\n  tls_certificates:\n  - certificate_chain: {{filename: {chain}}}\n    private_key: {{filename: {key}}}"
            ),
        ))
    };
    let rules = |rules: &str| listener(&chain("{}", &format!("{GOOD}\n  validation_context: {{{rules}}}")));
    let context = format!("{CHAIN}.transport_socket.typed_config.common_tls_context");
    let of_cluster = "static_resources.clusters[0].transport_socket.typed_config".to_owned();
    // The configuration, a part of the line that is shown, the field, and what is said.
    let cases = [
        (
            of("server.pem", "other.key"),
            "private_key:",
            format!("{context}.tls_certificates[0].private_key"),
            "Failed to load private key from other.key, Cause: the private key does not belong to the certificate",
        ),
        (
            of("nowhere.pem", "server.key"),
            "certificate_chain:",
            format!("{context}.tls_certificates[0].certificate_chain.filename"),
            "cannot read file 'nowhere.pem'",
        ),
        (
            of("garbage", "server.key"),
            "certificate_chain:",
            format!("{context}.tls_certificates[0].certificate_chain"),
            "Failed to load certificate chain from garbage",
        ),
        (
            of("server.pem", "server.pem"),
            "private_key:",
            format!("{context}.tls_certificates[0].private_key"),
            "Failed to load private key from server.pem",
        ),
        (
            rules("trusted_ca: {filename: empty}"),
            "validation_context",
            format!("{context}.validation_context.trusted_ca"),
            "Failed to load trusted CA certificates from empty, Cause: no certificate in it",
        ),
        (
            rules("match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]"),
            "validation_context",
            format!("{context}.validation_context.match_typed_subject_alt_names"),
            "without trusted CA is insecure",
        ),
        (
            cluster("common_tls_context: {validation_context: {trusted_ca: {filename: garbage}}}"),
            "validation_context",
            format!("{of_cluster}.common_tls_context.validation_context.trusted_ca"),
            "no certificate in it",
        ),
        (
            listener(
                &[chain("{server_names: [a.test, b.test]}", GOOD), chain("{server_names: [B.test]}", GOOD)]
                    .concat(),
            ),
            "server_names: [B.test]",
            "static_resources.listeners[0].filter_chains[1]".into(),
            "multiple filter chains with overlapping matching rules are defined",
        ),
        (
            listener(&[chain("{}", GOOD), chain("{}", GOOD)].concat()),
            "filter_chain_match",
            "static_resources.listeners[0].filter_chains[1]".into(),
            "has the same matching rules as",
        ),
    ];
    for (yaml, shown, field, words) in cases {
        let (is_taken, said) = validate(directory.path(), &yaml);
        assert!(!is_taken, "taken:\n{yaml}");
        assert!(said.contains(words), "{words}\n{said}\n{yaml}");
        assert!(said.contains(&format!("({field})")), "{field}\n{said}\n{yaml}");
        if yaml.matches(shown).count() == 1 {
            assert!(said.contains(&format!("c.yaml:{}:", line_of(&yaml, shown))), "{shown}\n{said}\n{yaml}");
        }
        assert!(said.contains("c.yaml: 1 error, not loaded"), "{said}");
    }
}

/// As in Envoy: what has expired is found when it is used.
#[test]
fn what_has_expired_is_loaded() {
    let directory = files();
    let old = GOOD.replace("server.", "old.");
    let outdated = format!("{GOOD}\n  validation_context: {{trusted_ca: {{filename: outdated.pem}}}}");
    for context in [&old, &outdated] {
        let (is_taken, said) = validate(directory.path(), &listener(&chain("{}", context)));
        assert!(is_taken, "{said}");
    }
}
