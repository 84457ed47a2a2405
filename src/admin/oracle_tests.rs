//! The same questions to the real Envoy's admin server and to ours: status and content type agree.
//! Says so on stderr and passes where no `envoy` is installed.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::admin::tests::{Answer, exchange, on_loopback};
use crate::stats::{HistogramStyle, PrometheusOptions, Registry, TagExtractor, groups, write_prometheus};

const CONFIG: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config: {virtual_hosts: [{name: v, domains: ["*"], virtual_clusters: [{name: c, headers: [{name: a, present_match: true}]}]}]}
          http_filters:
          - name: fault
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
          - name: cors
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
          - name: buffer
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 9}
          - name: ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              http_service: {server_uri: {uri: "http://a", cluster: up.one, timeout: 1s}}
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  - name: t
    stat_prefix: named.t
    address: {socket_address: {address: "::1", port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: t.cp
          cluster: up.one
  clusters:
  - name: up.one
    type: STATIC
    outlier_detection: {}
    circuit_breakers: {thresholds: [{track_remaining: true}]}
    health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]
    load_assignment: {cluster_name: up.one, endpoints: []}
"#;

/// Names that only Ringway has, and those that Envoy lists with traffic or hot restarts only.
const NOT_LISTED: &[&str] =
    &["filesystem.lines_dropped", "cluster.up.one.upstream_rq_time", "server.hot_restart_generation"];

/// Method, target, and whether the bodies are the same too.
const QUESTIONS: &[(&str, &str, bool)] = &[
    ("GET", "/", false),
    ("GET", "/help", false),
    ("GET", "/ready", true),
    ("GET", "/ready?x=y", true),
    ("HEAD", "/ready", true),
    ("PUT", "/ready", true),
    ("GET", "/stats", false),
    ("GET", "/stats?usedonly", false),
    ("GET", "/stats?format=json", false),
    ("GET", "/stats?format=prometheus", false),
    ("GET", "/stats?format=html", false),
    ("GET", "/stats?format=xx", false),
    ("GET", "/stats?type=xx", true),
    ("GET", "/stats?type=Gauges", false),
    ("GET", "/stats?filter=(", false),
    ("GET", "/stats?filter=zzzz", true),
    ("GET", "/stats?filter=zzzz&format=json", true),
    ("GET", "/stats?hidden=xx", true),
    ("GET", "/stats?histogram_buckets=xx", false),
    ("GET", "/stats/prometheus", false),
    ("GET", "/stats/prometheus?histogram_buckets=disjoint", true),
    ("GET", "/clusters", false),
    ("GET", "/clusters?format=json", false),
    ("GET", "/clusters?filter=(", true),
    ("GET", "/listeners", false),
    ("GET", "/listeners?format=json", false),
    ("GET", "/listeners?format=xx", false),
    ("GET", "/config_dump", false),
    ("GET", "/config_dump?mask=bootstrap.node.id", false),
    ("GET", "/server_info", false),
    ("GET", "/memory", false),
    ("GET", "/certs", true),
    ("GET", "/runtime", false),
    ("GET", "/init_dump", true),
    ("GET", "/hot_restart_version", true),
    ("GET", "/nope", false),
    ("POST", "/nope", false),
    ("GET", "/stats/", false),
    ("GET", "/logging", true),
    ("POST", "/logging", false),
    ("POST", "/logging?level=zz", false),
    ("POST", "/logging?nope=info", false),
    ("GET", "/healthcheck/fail", true),
    ("PUT", "/healthcheck/fail", true),
    ("POST", "/healthcheck/fail", true),
    ("GET", "/ready", true),
    ("POST", "/healthcheck/ok", true),
    ("GET", "/ready", true),
    ("GET", "/drain_listeners", true),
    ("POST", "/drain_listeners?graceful&skip_exit", true),
    ("GET", "/reset_counters", true),
    ("POST", "/reset_counters", true),
    ("GET", "/reopen_logs", true),
    ("POST", "/reopen_logs", true),
    ("GET", "/runtime_modify?a=b", true),
    ("POST", "/runtime_modify", false),
    ("GET", "/quitquitquit", true),
    ("POST", "/quitquitquit", true),
];

/// Ends the process whatever happens.
struct Envoy {
    process: Child,
    admin: SocketAddr,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running Envoy; none if there is none on this machine.
fn start_envoy(directory: &std::path::Path) -> Option<Envoy> {
    let address_path = directory.join("admin");
    let mut process = Command::new("envoy")
        .args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--config-yaml",
            CONFIG,
            "--admin-address-path",
        ])
        .arg(&address_path)
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut log = BufReader::new(process.stderr.take()?);
    let mut seen = String::new();
    while !seen.contains("starting main dispatch loop") {
        if log.read_line(&mut seen).ok()? == 0 {
            let _ = process.wait();
            panic!("envoy does not start: {seen}");
        }
    }
    // A pipe that nobody reads would stop it in the end.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let admin = std::fs::read_to_string(address_path).ok()?.trim().parse().ok()?;
    Some(Envoy { process, admin })
}

fn content_type(answer: &Answer) -> Option<&str> {
    answer.head.lines().find_map(|line| line.strip_prefix("content-type: "))
}

#[test]
fn answers_agree_with_envoys() {
    let directory = tempfile::tempdir().unwrap();
    let Some(envoy) = start_envoy(directory.path()) else {
        eprintln!("SKIPPED: no envoy on this machine, the admin server was not compared with it");
        return;
    };
    on_loopback(|world| async move {
        let mut differences = Vec::new();
        for (method, target, same_body) in QUESTIONS {
            let stream = TcpStream::connect(envoy.admin).await.unwrap();
            let theirs = exchange(stream, method, target).await;
            let ours = world.ask(method, target).await;
            let same = (theirs.status, content_type(&theirs)) == (ours.status, content_type(&ours));
            if !same || (*same_body && unchunked(&theirs) != ours.body) {
                differences.push(format!(
                    "{method} {target}\n envoy: {} {:?} {:.200?}\n ours:  {} {:?} {:.200?}",
                    theirs.status,
                    content_type(&theirs),
                    unchunked(&theirs),
                    ours.status,
                    content_type(&ours),
                    ours.body,
                ));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}

/// Every name that Envoy lists, with our tags taken out, stands in Envoy's Prometheus listing.
#[test]
fn tags_agree_with_envoys() {
    let directory = tempfile::tempdir().unwrap();
    let Some(envoy) = start_envoy(directory.path()) else {
        eprintln!("SKIPPED: no envoy on this machine, tags were not compared with its own");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |target: &'static str| {
        let stream = TcpStream::connect(envoy.admin);
        runtime.block_on(async { unchunked(&exchange(stream.await.unwrap(), "GET", target).await) })
    };
    let registry = Registry::new();
    let names = ask("/stats");
    let names = names.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name);
    let names: Vec<&str> = names.filter(|name| !name.ends_with("version_text")).collect();
    assert!(names.len() > 300, "{names:?}");
    for name in names {
        registry.counter(name);
    }
    let prometheus = PrometheusOptions {
        tags: &TagExtractor::default(),
        buckets: &|_| Arc::from([]),
        histograms: HistogramStyle::Buckets,
        text_readouts: false,
    };
    let mut ours = String::new();
    write_prometheus(&registry.snapshot(|_| true), &prometheus, &mut ours);
    let theirs = ask("/stats/prometheus");
    let sample = |line: &str| line.rsplit_once(' ').map(|(sample, _)| sample.to_owned());
    let mut theirs: HashSet<String> =
        theirs.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect();
    theirs.extend(theirs.clone().iter().map(|sample| sample.replacen("_count{", "{", 1)));
    let missing: Vec<String> = ours
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
        .filter(|ours| !theirs.contains(ours))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Every name in the predefined groups is one that Envoy lists.
#[test]
fn group_names_are_envoys() {
    let directory = tempfile::tempdir().unwrap();
    let Some(envoy) = start_envoy(directory.path()) else {
        eprintln!("SKIPPED: no envoy on this machine, names of statistics were not compared with its own");
        return;
    };
    let registry = Registry::new();
    groups::ServerStats::register(&registry, "server.");
    groups::ListenerManagerStats::register(&registry, "listener_manager.");
    groups::ClusterManagerStats::register(&registry, "cluster_manager.");
    groups::RuntimeStats::register(&registry, "runtime.");
    groups::FilesystemStats::register(&registry, "filesystem.");
    groups::ListenerStats::register(&registry, "listener.127.0.0.1_0.");
    groups::ListenerWorkerStats::register(&registry, "listener.127.0.0.1_0.worker_0.");
    groups::ListenerHttpStats::register(&registry, "listener.127.0.0.1_0.http.ingress.");
    groups::HttpConnectionStats::register(&registry, "http.ingress.");
    groups::HttpRequestStats::register(&registry, "http.ingress.");
    groups::RouterStats::register(&registry, "http.ingress.");
    groups::TracingStats::register(&registry, "http.ingress.tracing.");
    groups::FaultStats::register(&registry, "http.ingress.fault.");
    groups::CorsStats::register(&registry, "http.ingress.cors.");
    groups::ExtAuthzStats::register(&registry, "http.ingress.ext_authz.");
    groups::TcpProxyStats::register(&registry, "tcp.t.cp.");
    groups::ClusterTrafficStats::register(&registry, "cluster.up.one.");
    groups::ClusterMembershipStats::register(&registry, "cluster.up.one.");
    groups::ClusterBalancerStats::register(&registry, "cluster.up.one.");
    groups::EndpointMatchStats::register(&registry, "cluster.up.one.default.");
    groups::CircuitBreakerStats::register(&registry, "cluster.up.one.circuit_breakers.high.");
    groups::CircuitBreakerRemainingStats::register(&registry, "cluster.up.one.circuit_breakers.default.");
    groups::HealthCheckStats::register(&registry, "cluster.up.one.health_check.");
    groups::OutlierDetectionStats::register(&registry, "cluster.up.one.outlier_detection.");
    groups::VirtualClusterStats::register(&registry, "vhost.v.vcluster.c.");
    groups::WatchdogStats::register(&registry, "server.worker_0.");
    groups::WatchdogStats::register(&registry, "workers.");
    groups::Http1CodecStats::register(&registry, "http1.");
    let ours = registry.snapshot(|_| true);
    let counters = ours.counters.iter().map(|counter| &*counter.name);
    let gauges = ours.gauges.iter().map(|gauge| &*gauge.name);
    let histograms = ours.histograms.iter().map(|histogram| &*histogram.name);
    let ours: HashSet<&str> = counters.chain(gauges).chain(histograms).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let look = || {
        let stream = TcpStream::connect(envoy.admin);
        let text =
            runtime.block_on(async { unchunked(&exchange(stream.await.unwrap(), "GET", "/stats").await) });
        let theirs: HashSet<&str> = text.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        let unknown = ours.difference(&theirs).filter(|name| !NOT_LISTED.contains(name));
        unknown.map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    // Envoy's workers bring some names a moment after its admin server is there.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut unknown = look();
    while !unknown.is_empty() && Instant::now() < deadline {
        unknown = look();
    }
    unknown.sort();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The body without chunk framing, which Envoy uses and we do not.
fn unchunked(answer: &Answer) -> String {
    if !answer.head.contains("transfer-encoding: chunked") {
        return answer.body.clone();
    }
    let mut rest = answer.body.as_str();
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    body
}
