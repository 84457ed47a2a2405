//! Starting: flags, `--mode validate`, and every way in which a configuration can be wrong. A wrong one is a
//! clear message and exit code 1, soon and in little memory, never a panic.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use crate::configs_tls::{MadeCertificates, beside_certificates};
use ringway_test_support::config::Http;
use ringway_test_support::{Driver, Exited, Origin, Request, Server};

on_both_drivers! {
    a_port_in_use_is_an_error
    config_yaml_is_merged_over_the_file
    json_is_read_too
    concurrency_is_honoured
    admin_address_path
}

/// Longest time for a configuration to be refused.
const LIMIT: Duration = Duration::from_secs(20);

/// Most memory that refusing may take, in bytes.
const MAX_RSS_BYTES: u64 = 400 << 20;

fn validate(yaml: &str) -> Exited {
    Server::ringway_bare()
        .file("c.yaml", yaml)
        .arg("-c")
        .arg("{dir}/c.yaml")
        .arg("--mode")
        .arg("validate")
        .run_to_end(LIMIT)
}

/// Asserts a refusal whose message has all of these parts.
#[track_caller]
fn refused(exited: &Exited, parts: &[&str]) {
    let said = format!("{}{}", exited.stdout, exited.stderr);
    assert_eq!(exited.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(exited.peak_rss_bytes < MAX_RSS_BYTES, "{} bytes", exited.peak_rss_bytes);
    assert!(said.len() < 100_000, "{} bytes of message", said.len());
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

#[test]
fn validate_says_ok() {
    let exited = validate(&Http::to_origin(1).yaml());
    assert!(exited.status.success(), "{}", exited.stderr);
    let said = format!("{}{}", exited.stdout, exited.stderr);
    assert!(said.contains("configuration '") && said.contains("c.yaml' OK"), "{said}");
}

#[test]
fn validate_opens_no_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port");
    let port = taken.local_addr().expect("address").port();
    let yaml = Http::to_origin(1).yaml().replace(
        "name: main\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}",
        &format!("name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}"),
    );
    assert!(yaml.contains(&port.to_string()));
    let exited = validate(&yaml);
    assert!(exited.status.success(), "{}", exited.stderr);
}

#[test]
fn every_configuration_that_ships_is_valid() {
    let directory = ringway_test_support::config::workspace_root().join("configs");
    let made = MadeCertificates::new();
    for entry in std::fs::read_dir(directory)
        .expect("configs")
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "yaml"))
    {
        let path = entry.path().display().to_string();
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let server = Server::ringway_bare().file("c.yaml", &beside_certificates(&text, &made));
        let exited = server.arg("-c").arg("{dir}/c.yaml").arg("--mode").arg("validate").run_to_end(LIMIT);
        assert!(exited.status.success(), "{path}: {}", exited.stderr);
    }
}

#[test]
fn malformed_yaml() {
    refused(&validate("admin: {address\nstatic_resources:\n  - [\n"), &["c.yaml:"]);
}

#[test]
fn missing_file() {
    let exited = Server::ringway_bare().arg("-c").arg("{dir}/none.yaml").run_to_end(LIMIT);
    refused(&exited, &["none.yaml", "does not exist"]);
}

#[test]
fn a_directory() {
    let exited = Server::ringway_bare().arg("-c").arg("{dir}").run_to_end(LIMIT);
    refused(&exited, &["directory"]);
}

#[test]
fn no_configuration_at_all() {
    let exited = Server::ringway_bare().run_to_end(LIMIT);
    refused(&exited, &["-c"]);
}

#[test]
fn an_empty_bootstrap_is_valid() {
    // As in Envoy: nothing to serve, but not wrong.
    assert!(validate("{}").status.success());
}

#[test]
fn unknown_cluster_in_a_route() {
    let yaml =
        Http::routes("- match: {prefix: /}\n  route: {cluster: orgin}").cluster("origin", 1, "").yaml();
    refused(&validate(&yaml), &["orgin", "c.yaml:", "cluster"]);
}

#[test]
fn unknown_field_with_suggestion_and_place() {
    let yaml = Http::to_origin(1).hcm("stream_idle_timout: 1s").yaml();
    let line = yaml.lines().position(|l| l.contains("stream_idle_timout")).expect("line") + 1;
    refused(&validate(&yaml), &["stream_idle_timout", "stream_idle_timeout", &format!("c.yaml:{line}:")]);
}

#[test]
fn every_error_is_reported_at_once() {
    let yaml = Http::to_origin(1)
        .hcm("stream_idle_timout: 1s\nmax_request_headers_kb: many")
        .route_config("nonsense: 1")
        .yaml();
    refused(&validate(&yaml), &["stream_idle_timout", "max_request_headers_kb", "nonsense"]);
}

#[test]
fn constraints_hold_inside_typed_config() {
    // max_request_headers_kb is at most 8192; a fault's status lies between 200 and 599.
    let fault = "abort: {http_status: 99, percentage: {numerator: 100}}";
    let yaml = Http::to_origin(1)
        .hcm("max_request_headers_kb: 9000")
        .filter("fault", "fault.v3.HTTPFault", fault)
        .yaml();
    refused(&validate(&yaml), &["max_request_headers_kb", "http_status"]);
}

#[test]
fn an_unsupported_feature_is_refused_by_name() {
    let yaml =
        Http::to_origin(1).filter("lua", "lua.v3.Lua", "default_source_code: {inline_string: 'x'}").yaml();
    refused(&validate(&yaml), &["lua"]);
}

#[test]
fn an_unknown_type_is_refused_by_name() {
    let yaml = Http::to_origin(1).filter("none", "none.v3.Nothing", "").yaml();
    refused(&validate(&yaml), &["none.v3.Nothing"]);
}

#[test]
fn duplicate_cluster() {
    let yaml = Http::to_origin(1).cluster("origin", 2, "").yaml();
    refused(&validate(&yaml), &["origin", "duplicate"]);
}

#[test]
fn duplicate_domain() {
    let host = |name: &str, domain: &str| {
        format!(
            "- name: {name}\n  domains: [{domain}]\n  routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]"
        )
    };
    let yaml =
        Http::default().virtual_hosts(&host("one", "a.test")).virtual_hosts(&host("two", "a.test")).yaml();
    refused(&validate(&yaml), &["a.test"]);
}

#[test]
fn duplicate_key() {
    refused(&validate("admin: {}\nadmin: {}\n"), &["admin", "c.yaml:2:"]);
}

#[test]
fn bad_regex() {
    let yaml =
        Http::routes("- match: {safe_regex: {regex: '/(unclosed'}}\n  direct_response: {status: 200}").yaml();
    refused(&validate(&yaml), &["/(unclosed", "regex"]);
}

#[test]
fn bad_format_string() {
    let routes = "- match: {prefix: /}\n  direct_response: {status: 200}\n  response_headers_to_add: [{header: {key: x, value: '%NONSENSE%'}}]";
    refused(&validate(&Http::routes(routes).yaml()), &["NONSENSE"]);
}

#[test]
fn the_router_must_be_last() {
    let router = "- name: early\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}";
    let yaml = Http::to_origin(1).filter("fault", "fault.v3.HTTPFault", "").yaml();
    let indent = " ".repeat(10);
    let early = format!("http_filters:\n{indent}{}", router.replace('\n', &format!("\n{indent}")));
    refused(&validate(&yaml.replace("http_filters:", &early)), &["early"]);
}

#[test]
fn deep_nesting() {
    refused(&validate(&format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000))), &["c.yaml:1:"]);
    refused(&validate(&format!("a: {}1{}", "{b: ".repeat(50_000), "}".repeat(50_000))), &["c.yaml:1:"]);
}

#[test]
fn a_yaml_bomb() {
    let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(yaml, "a{level}: &a{level} [{items}]").expect("text");
    }
    refused(&validate(&yaml), &["c.yaml:"]);
}

#[test]
fn a_file_of_100_mb() {
    let line = "# nothing but comment, line after line after line, to make the file large\n";
    let yaml = line.repeat((100 << 20) / line.len() + 1);
    refused(&validate(&yaml), &["c.yaml"]);
}

#[test]
fn binary_rubbish() {
    refused(&validate("\u{0}\u{1}\u{2}ELF\u{7f}"), &["c.yaml"]);
}

#[test]
fn help_and_version() {
    let help = Server::ringway_bare().arg("--help").run_to_end(LIMIT);
    assert!(help.status.success());
    for flag in [
        "--config-path",
        "--config-yaml",
        "--mode",
        "--concurrency",
        "--log-level",
        "--log-path",
        "--log-format",
        "--drain-time-s",
        "--admin-address-path",
        "--service-cluster",
        "--service-node",
        "--service-zone",
        "--local-address-ip-version",
        "--file-flush-interval-msec",
        "--io-driver",
        "--base-id",
        "--restart-epoch",
        "--disable-hot-restart",
    ] {
        assert!(help.stdout.contains(flag), "{flag} is not in --help:\n{}", help.stdout);
    }
    let version = Server::ringway_bare().arg("--version").run_to_end(LIMIT);
    assert!(version.status.success() && version.stdout.contains("0.1.0"), "{}", version.stdout);
}

#[test]
fn unknown_flags_are_refused() {
    let exited = Server::ringway_bare().arg("--no-such-flag").run_to_end(LIMIT);
    assert!(!exited.status.success() && exited.stderr.contains("--no-such-flag"), "{}", exited.stderr);
}

fn a_port_in_use_is_an_error(driver: Driver) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port");
    let port = taken.local_addr().expect("address").port();
    let yaml = Http::to_origin(1).listener("enable_reuse_port: false").yaml().replacen(
        "name: main\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}",
        &format!("name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}"),
        1,
    );
    let exited =
        Server::ringway(driver).file("c.yaml", &yaml).arg("-c").arg("{dir}/c.yaml").run_to_end(LIMIT);
    refused(&exited, &["main", &format!("127.0.0.1:{port}"), "in use"]);
}

fn config_yaml_is_merged_over_the_file(driver: Driver) {
    let origin = Origin::echo();
    let yaml = Http::to_origin(origin.port()).yaml();
    let proxy = Server::ringway(driver).arg("--config-yaml").arg("node: {id: merged-node}").start(&yaml);
    assert_eq!(proxy.admin_get("/server_info").json()["node"]["id"], "merged-node");
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    proxy.stop();
}

fn json_is_read_too(driver: Driver) {
    let json = r#"{"admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}}}}"#;
    let mut proxy = Server::ringway(driver)
        .file("c.json", json)
        .arg("-c")
        .arg("{dir}/c.json")
        .arg("--admin-address-path")
        .arg("{dir}/admin")
        .start_without_file();
    assert_eq!(proxy.admin_get("/listeners").text(), "");
    assert!(proxy.is_running());
    proxy.stop();
}

fn concurrency_is_honoured(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).concurrency(3).start(&Http::to_origin(origin.port()).yaml());
    assert_eq!(proxy.stat("server.concurrency"), 3);
    for _ in 0..10 {
        assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    }
    proxy.stop();
}

fn admin_address_path(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).start(&Http::to_origin(origin.port()).yaml());
    let written = std::fs::read_to_string(proxy.directory().join("admin")).expect("file");
    assert_eq!(written.trim(), proxy.admin().to_string());
    proxy.stop();
}
