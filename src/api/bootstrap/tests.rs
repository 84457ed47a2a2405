//! Files by their extension, `--config-yaml` merged over them, and the speed of a large one.

use super::*;
use crate::api::to_json;
use prost::Message;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

fn write(dir: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("written");
    path
}

fn load(path: &Path) -> Result<LoadedBootstrap, Diagnostics> {
    load_bootstrap(Inputs { config_path: Some(path), ..Inputs::default() })
}

#[test]
fn the_syntax_follows_from_the_extension() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = envoy_types::pb::envoy::config::core::v3::Node { id: "a".into(), ..Default::default() };
    let binary = Bootstrap { node: Some(node), ..Default::default() }.encode_to_vec();
    let yaml = "node: {id: a}\n";
    let json = r#"{"node": {"id": "a"}}"#;
    for (name, content) in [
        ("a.yaml", yaml.as_bytes()),
        ("a.YML", yaml.as_bytes()),
        ("a.json", json.as_bytes()),
        ("a", json.as_bytes()),
        ("a.conf", yaml.as_bytes()),
        ("a.pb", &binary),
    ] {
        let loaded = load(&write(&dir, name, content)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(loaded.bootstrap.node.map(|node| node.id).as_deref(), Some("a"), "{name}");
    }
    assert!(load(&write(&dir, "b.json", yaml)).is_err());
    assert!(load(&write(&dir, "b.pb", b"\xff\xff")).is_err());
    let text = load(&write(&dir, "b.pb_text", "node {}")).expect_err("refused").to_string();
    assert!(text.contains("text format is not supported"), "{text}");
}

#[test]
fn constraints_of_a_binary_file_are_reported_by_path() {
    let dir = tempfile::tempdir().expect("a directory");
    let resources = envoy_types::pb::envoy::config::bootstrap::v3::bootstrap::StaticResources {
        clusters: vec![Default::default()],
        ..Default::default()
    };
    let bootstrap = Bootstrap { static_resources: Some(resources), ..Default::default() };
    let text = load(&write(&dir, "a.pb", bootstrap.encode_to_vec())).expect_err("refused").to_string();
    assert!(text.contains("a.pb (static_resources.clusters[0].name)"), "{text}");
}

#[test]
fn nothing_to_read_and_unreadable_files() {
    assert!(load_bootstrap(Inputs::default()).expect_err("refused").to_string().contains("no configuration"));
    for path in ["/nonexistent.yaml", "/", "/dev/zero"] {
        let error = load(Path::new(path)).expect_err(path);
        assert_eq!((error.error_count(), error.items[0].pos), (1, None), "{error}");
    }
}

/// The expected result is what Envoy 1.40 prints for the same two texts.
#[test]
fn the_command_line_is_merged_over_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = "
node: {id: a, metadata: {x: {p: 1}, z: [1]}}
static_resources: {clusters: [{name: a}]}
stats_flush_interval: 1s
";
    let overlay = "{node: {cluster: b, metadata: {x: {q: 1}, y: 2, z: [3]}},
      static_resources: {clusters: [{name: b}]}, stats_flush_interval: 0.5s}";
    let path = write(&dir, "a.yaml", file);
    let loaded =
        load_bootstrap(Inputs { config_path: Some(&path), config_yaml: Some(overlay), ..Inputs::default() })
            .unwrap_or_else(|error| panic!("{error}"));
    let expected = json!({
        "node": {"id": "a", "cluster": "b", "metadata": {"x": {"q": 1}, "y": 2, "z": [3]}},
        "static_resources": {"clusters": [{"name": "a"}, {"name": "b"}]},
        "stats_flush_interval": "1.500s",
    });
    assert_eq!(to_json(&loaded.dynamic), expected);
    let place = |path: &str| loaded.positions.nearest(path).map(|pos| (pos.source, pos.line));
    assert_eq!(place("static_resources.clusters[0].name"), Some((0, 3)));
    assert_eq!(place("static_resources.clusters[1].name"), Some((1, 2)));
}

#[test]
fn an_alternative_in_the_overlay_replaces_that_of_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write(&dir, "a.yaml", "dynamic_resources: {lds_config: {ads: {}}}");
    let overlay = "dynamic_resources: {lds_config: {path_config_source: {path: /x}}}";
    let loaded =
        load_bootstrap(Inputs { config_path: Some(&path), config_yaml: Some(overlay), ..Inputs::default() })
            .unwrap_or_else(|error| panic!("{error}"));
    let expected = json!({"dynamic_resources": {"lds_config": {"path_config_source": {"path": "/x"}}}});
    assert_eq!(to_json(&loaded.dynamic), expected);
}

#[test]
fn errors_of_both_texts_are_shown_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write(&dir, "a.yaml", "nod: {}\n");
    let error = load_bootstrap(Inputs {
        config_path: Some(&path),
        config_yaml: Some("{admi: {}}"),
        ..Inputs::default()
    })
    .expect_err("refused");
    assert_eq!(error.error_count(), 2);
    let text = error.to_string();
    assert!(text.contains("a.yaml:1:1") && text.contains("--config-yaml:1:2"), "{text}");
}

#[test]
fn later_stages_get_places_for_their_errors() {
    let loaded = load_bootstrap(Inputs {
        config_yaml: Some("static_resources:\n  clusters:\n  - name: a\n    connect_timeout: 1s\n"),
        ..Inputs::default()
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let error =
        ConfigError::new("lb_policy", "is odd").with_help("change it").under("static_resources.clusters[0]");
    assert_eq!(error.path, "static_resources.clusters[0].lb_policy");
    let text = loaded.diagnose([error]).to_string();
    assert!(text.contains("--> --config-yaml:3:5 (static_resources.clusters[0].lb_policy)"), "{text}");
    assert!(text.contains("= help: change it"), "{text}");
}

#[test]
fn ten_thousand_routes_load_quickly() {
    let mut text = String::from(
        "static_resources:\n  listeners:\n  - name: l\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    \
         filter_chains:\n    - filters:\n      - name: hcm\n        typed_config:\n          \
         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
         stat_prefix: x\n          route_config:\n            virtual_hosts:\n            - name: v\n              domains: ['*']\n              routes:\n",
    );
    for i in 0..10_000 {
        text += &format!(
            "              - match: {{prefix: /a/{i}, headers: [{{name: x-h, string_match: {{exact: 'v{i}'}}}}]}}\n                \
             route: {{cluster: c{i}, timeout: 1s, retry_policy: {{num_retries: 2}}}}\n"
        );
    }
    let start = Instant::now();
    let loaded = load_bootstrap(Inputs { config_yaml: Some(&text), ..Inputs::default() });
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    let taken = start.elapsed();
    println!("{} KiB, {} places: {taken:?}", text.len() / 1024, loaded.positions.len());
    // Unoptimised; release is about ten times as fast. Quadratic behaviour would take minutes.
    assert!(taken.as_secs() < 30, "{taken:?}");
}
