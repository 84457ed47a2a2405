//! The admin server over real sockets, with a process that is not there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::access_log::{AccessLogManager, AccessLogOptions, AccessLogSet};
use crate::admin::{
    AdminListener, AdminOptions, AdminServer, AdminState, CircuitBreakerLimits, ClusterStatus, DrainRequest,
    HostReport, ListenerStatus, MemoryReport, OutlierReport, ServerInfo, ServerState, write_address_path,
};
use crate::config::{
    AccessLog, AccessLogSink, AccessLogTarget, Runtime, RuntimeLayer, RuntimeValue, StringMatcher,
    StringPattern,
};
use crate::io::Address;
use crate::stats::groups::FilesystemStats;
use crate::stats::{Registry, Unit};
use crate::upstream::{HealthFlags, HostStatsTotals};

/// A process that remembers what it was told.
#[derive(Default)]
pub(super) struct Fake {
    failed: Cell<bool>,
    drained: Cell<Option<DrainRequest>>,
    reopened: Cell<u32>,
    has_quit: Cell<bool>,
    overrides: RefCell<Vec<(String, String)>>,
}

impl AdminState for Fake {
    fn server_state(&self) -> ServerState {
        if self.failed.get() { ServerState::Draining } else { ServerState::Live }
    }

    fn server_info(&self) -> ServerInfo {
        ServerInfo {
            version: "0/0.1.0/Clean/RELEASE/rustls".to_owned(),
            uptime_current_epoch: Duration::from_millis(10_900),
            hot_restart_version: "disabled".to_owned(),
            ..ServerInfo::default()
        }
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        let limits = CircuitBreakerLimits {
            max_connections: 7,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
        };
        let host = HostReport {
            address: Address::Ip("[::1]:80".parse().unwrap()),
            hostname: "hn".to_owned(),
            health: HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::EDS_STATUS_DRAINING),
            counters: HostStatsTotals { cx_total: 4, rq_active: 1, ..HostStatsTotals::default() },
            weight: 3,
            region: "r1".to_owned(),
            zone: String::new(),
            sub_zone: String::new(),
            canary: false,
            priority: 1,
            success_rate: Some(99.5),
            local_origin_success_rate: None,
        };
        let named = |name: &str, hosts| ClusterStatus {
            name: name.to_owned(),
            observability_name: name.to_owned(),
            default_priority: limits,
            high_priority: limits,
            outlier: Some(OutlierReport::default()),
            hosts,
            ..ClusterStatus::default()
        };
        vec![named("one", vec![host]), named("two", vec![])]
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        vec![
            ListenerStatus { name: "l1".to_owned(), addresses: vec![ip("127.0.0.1:1"), ip("127.0.0.1:2")] },
            ListenerStatus { name: "pipe".to_owned(), addresses: vec![Address::unix("/tmp/l.sock")] },
        ]
    }

    fn config_dump(&self, include_eds: bool) -> Vec<Value> {
        let cluster = |name: &str| json!({"cluster": {"@type": "C", "name": name, "type": "STATIC"}});
        let mut sections = vec![
            json!({"@type": "B", "bootstrap": {"node": {"id": "n", "cluster": "c"}, "admin": {}}}),
            json!({"@type": "K", "static_clusters": [cluster("one"), cluster("two")]}),
        ];
        if include_eds {
            sections.push(json!({"@type": "E", "static_endpoint_configs": [{"endpoint_config": {"cluster_name": "one"}}]}));
        }
        sections
    }

    fn memory(&self) -> MemoryReport {
        MemoryReport { allocated: 5, ..MemoryReport::default() }
    }

    fn runtime(&self) -> Arc<Runtime> {
        let layer = |name: &str, values: &[(&str, f64)]| RuntimeLayer {
            name: name.to_owned(),
            is_admin: false,
            values: values
                .iter()
                .map(|(key, value)| ((*key).to_owned(), RuntimeValue::Number(*value)))
                .collect::<BTreeMap<_, _>>(),
        };
        Arc::new(Runtime {
            layers: vec![layer("base", &[("a", 1.5), ("b", 2.0)]), layer("top", &[("a", 3.0)])],
        })
    }

    fn set_health_check_failed(&self, failed: bool) {
        self.failed.set(failed);
    }

    fn drain_listeners(&self, request: DrainRequest) {
        self.drained.set(Some(request));
    }

    fn reopen_logs(&self) {
        self.reopened.set(self.reopened.get() + 1);
    }

    fn modify_runtime(&self, overrides: &[(String, String)]) -> Result<(), String> {
        self.overrides.borrow_mut().extend_from_slice(overrides);
        Ok(())
    }

    fn quit(&self) {
        self.has_quit.set(true);
    }
}

/// A running server, and clients of it.
pub(super) struct World {
    fake: Rc<Fake>,
    registry: Registry,
    address: Address,
}

/// An answer as a client sees it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

fn with_server<F: Future<Output = ()>>(
    options: AdminOptions,
    address: &Address,
    test: impl FnOnce(World) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (fake, registry) = (Rc::new(Fake::default()), Registry::new());
        let server = AdminServer::new(fake.clone(), registry.clone(), options);
        let listener = AdminListener::bind(address, 0o600).unwrap();
        let address = listener.address().clone();
        tokio::select! {
            _ = server.serve(listener) => {}
            () = test(World { fake, registry, address }) => {}
        }
    });
}

pub(super) fn on_loopback<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    with_server(AdminOptions::default(), &Address::Ip("127.0.0.1:0".parse().unwrap()), test);
}

impl World {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address.as_ip().unwrap()).await.unwrap()
    }

    pub(super) async fn ask(&self, method: &str, target: &str) -> Answer {
        exchange(self.connect().await, method, target).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target).await
    }

    async fn body(&self, target: &str) -> String {
        let answer = self.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        answer.body
    }

    async fn json(&self, target: &str) -> Value {
        serde_json::from_str(&self.body(target).await).unwrap()
    }
}

/// One request on a connection of its own.
pub(super) async fn exchange(mut stream: TcpStream, method: &str, target: &str) -> Answer {
    let request = format!("{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

#[test]
fn commands_take_post_only_and_reach_the_process() {
    on_loopback(|world| async move {
        for path in [
            "/healthcheck/fail",
            "/healthcheck/ok",
            "/drain_listeners",
            "/reset_counters",
            "/reopen_logs",
            "/logging",
            "/runtime_modify",
            "/quitquitquit",
        ] {
            let answer = world.get(path).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (405, "Method GET not allowed, POST required.")
            );
        }
        assert_eq!(world.body("/ready").await, "LIVE\n");
        let answer = world.ask("POST", "/healthcheck/fail").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "OK\n"));
        let answer = world.get("/ready").await;
        assert_eq!((answer.status, answer.body.as_str()), (503, "DRAINING\n"));
        world.ask("POST", "/healthcheck/ok").await;
        assert_eq!(world.get("/ready").await.status, 200);
        world.ask("POST", "/drain_listeners?graceful&inboundonly").await;
        let drained = DrainRequest { graceful: true, inbound_only: true, skip_exit: false };
        assert_eq!(world.fake.drained.get(), Some(drained));
        world.ask("POST", "/reopen_logs").await;
        assert_eq!(world.fake.reopened.get(), 1);
        assert_eq!(world.ask("POST", "/runtime_modify").await.status, 400);
        world.ask("POST", "/runtime_modify?a.b=1&c=").await;
        assert_eq!(
            world.fake.overrides.borrow()[..],
            [("a.b".into(), "1".into()), ("c".into(), String::new())]
        );
        assert!(!world.fake.has_quit.get());
        world.ask("POST", "/quitquitquit").await;
        assert!(world.fake.has_quit.get());
    });
}

#[test]
fn statistics_in_all_formats() {
    on_loopback(|world| async move {
        world.registry.counter("cluster.a.upstream_rq_total").add(3);
        world.registry.counter("cluster.a.unused");
        world.registry.gauge("server.live").set(1);
        world.registry.set_text("server.text", "t");
        let histogram = world.registry.histogram("cluster.a.time", Unit::Milliseconds);
        histogram.record(10);
        assert_eq!(
            world.body("/stats?filter=^(cluster|server).*l").await,
            "cluster.a.upstream_rq_total: 3\nserver.live: 1\n"
        );
        let used = world.body("/stats?usedonly&filter=%5Ecluster").await;
        assert!(!used.contains("unused") && used.contains("cluster.a.time: P0(nan,10.5) "), "{used}");
        assert!(!world.body("/stats?filter=cluster&invert_filter").await.contains("cluster"));
        assert_eq!(world.body("/stats?type=TextReadouts").await, "server.text: \"t\"\n");
        let gauges = world.json("/stats?type=Gauges&format=json&filter=server").await;
        assert_eq!(gauges, json!({"stats": [{"name": "server.live", "value": 1}]}));
        let html = world.get("/stats?format=html&filter=%3Cx%3E").await;
        assert!(html.head.contains("content-type: text/html") && html.body.contains("&lt;x&gt;"));
        for path in ["/stats/prometheus?filter=cluster", "/stats?format=prometheus&filter=cluster"] {
            let text = world.body(path).await;
            assert!(text.contains("# TYPE envoy_cluster_upstream_rq_total counter\nenvoy_cluster_upstream_rq_total{envoy_cluster_name=\"a\"} 3\n"));
            assert!(text.contains("envoy_cluster_time_bucket{envoy_cluster_name=\"a\",le=\"10\"} 1\n"));
        }
        for bad in ["format=xx", "type=xx", "filter=(", "histogram_buckets=xx", "hidden=xx"] {
            assert_eq!(world.get(&format!("/stats?{bad}")).await.status, 400, "{bad}");
        }
        assert_eq!(world.get("/stats/prometheus?histogram_buckets=disjoint").await.status, 400);
        world.ask("POST", "/reset_counters").await;
        assert_eq!(
            world.body("/stats?filter=rq_total$&usedonly").await.lines().next(),
            Some("cluster.a.upstream_rq_total: 0")
        );
        let own = world.registry.counter_value("http.admin.downstream_rq_2xx").unwrap();
        assert!(own > 0 && world.registry.counter_value("listener.admin.downstream_cx_total").unwrap() > 0);
    });
}

#[test]
fn clusters_and_listeners() {
    on_loopback(|world| async move {
        let text = world.body("/clusters").await;
        for line in [
            "one::observability_name::one\none::outlier::success_rate_average::-1\n",
            "one::default_priority::max_connections::7\n",
            "one::[::1]:80::cx_total::4\n",
            "one::[::1]:80::health_flags::/failed_active_hc/eds_status_draining\none::[::1]:80::weight::3\n",
            "one::[::1]:80::success_rate::99.5\none::[::1]:80::local_origin_success_rate::-1\n",
            "two::added_via_api::false\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!world.body("/clusters?filter=^two$").await.contains("one::"));
        assert_eq!(world.get("/clusters?filter=(").await.status, 400);
        let clusters = world.json("/clusters?format=json").await;
        let host = &clusters["cluster_statuses"][0]["host_statuses"][0];
        assert_eq!(host["address"], json!({"socket_address": {"address": "::1", "port_value": 80}}));
        assert_eq!(host["stats"][1], json!({"value": "4", "name": "cx_total"}));
        assert_eq!(host["stats"][7], json!({"type": "GAUGE", "value": "1", "name": "rq_active"}));
        let health = json!({"failed_active_health_check": true, "eds_health_status": "DRAINING"});
        assert_eq!((&host["health_status"], &host["locality"]), (&health, &json!({"region": "r1"})));
        assert_eq!(clusters["cluster_statuses"][1].get("host_statuses"), None);
        assert_eq!(world.body("/listeners").await, "l1::127.0.0.1:1\nl1::127.0.0.1:2\npipe::/tmp/l.sock\n");
        let listeners = world.json("/listeners?format=json").await;
        assert_eq!(
            listeners["listener_statuses"][0]["additional_local_addresses"][0]["socket_address"]["port_value"],
            2
        );
        assert_eq!(
            listeners["listener_statuses"][1]["local_address"],
            json!({"pipe": {"path": "/tmp/l.sock"}})
        );
    });
}

#[test]
fn config_dumps_can_be_cut_to_size() {
    on_loopback(|world| async move {
        assert_eq!(world.json("/config_dump").await["configs"].as_array().map(Vec::len), Some(2));
        assert_eq!(world.json("/config_dump?include_eds").await["configs"][2]["@type"], "E");
        let clusters =
            world.json("/config_dump?resource=static_clusters&mask=cluster.name&name_regex=^t").await;
        let kind = "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster";
        let expected = json!({"configs": [{"@type": kind, "cluster": {"@type": "C", "name": "two"}}]});
        assert_eq!(clusters, expected);
        let id = json!({"configs": [{"@type": "B", "bootstrap": {"node": {"id": "n"}}}]});
        assert_eq!(world.json("/config_dump?mask=bootstrap.node.id").await, id);
        assert_eq!(world.json("/config_dump?resource=dynamic_listeners").await, json!({}));
        let one_regex = world.json("/config_dump?name_regex=nope").await;
        assert_eq!(one_regex["configs"][1], json!({"@type": "K"}));
        for (query, status, body) in [
            ("resource=zz", 404, "zz not found in config dump"),
            (
                "resource=bootstrap",
                400,
                "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
            ),
            ("mask=zz", 400, "FieldMask zz could not be successfully applied to any configs."),
        ] {
            let answer = world.get(&format!("/config_dump?{query}")).await;
            assert_eq!((answer.status, answer.body.as_str()), (status, body));
        }
        assert_eq!(world.get("/config_dump?name_regex=(").await.status, 400);
    });
}

#[test]
fn the_other_pages() {
    on_loopback(|world| async move {
        let info = world.json("/server_info").await;
        assert_eq!((&info["state"], &info["uptime_current_epoch"]), (&json!("LIVE"), &json!("10s")));
        assert_eq!(world.json("/memory").await["allocated"], "5");
        assert_eq!(world.body("/certs").await, "{\n \"certificates\": []\n}\n");
        assert_eq!(world.body("/init_dump").await, "{}\n");
        assert_eq!(world.body("/hot_restart_version").await, "disabled");
        let runtime = world.json("/runtime").await;
        assert_eq!(runtime["entries"]["a"], json!({"layer_values": ["1.5", "3"], "final_value": "3"}));
        assert_eq!(runtime["entries"]["b"]["layer_values"], json!(["2", ""]));
        assert_eq!(runtime["layers"], json!(["base", "top"]));
        let home = world.get("/").await;
        assert!(home.head.contains("content-type: text/html; charset=utf-8"), "{}", home.head);
        assert!(home.body.contains("<form action=\"healthcheck/fail\" method=\"post\""));
        let help = world.body("/help").await;
        assert!(help.starts_with("admin commands are:\n  /: Admin home page\n"));
        assert!(help.contains("\n  /quitquitquit (POST): exit the server\n"));
        let levels = world.ask("POST", "/logging").await;
        assert!(levels.status == 200 && levels.body.starts_with("active loggers:\n  admin: "));
        let refused = world.ask("POST", "/logging?level=loud").await;
        assert_eq!((refused.status, refused.body.lines().next()), (400, Some("error: unknown logger level")));
        let unknown = world.get("/nope?x").await;
        assert_eq!(unknown.status, 404);
        assert_eq!(unknown.body, format!("invalid path. {help}"));
        for header in [
            "cache-control: no-cache, max-age=0",
            "x-content-type-options: nosniff",
            "server: envoy",
            "\r\ndate: ",
        ] {
            assert!(unknown.head.contains(header), "{header} in {}", unknown.head);
        }
        assert_eq!(world.ask("HEAD", "/ready").await.body, "");
    });
}

#[test]
fn only_allowed_paths_are_answered() {
    let ready = StringMatcher { pattern: StringPattern::Exact("/ready".to_owned()), ignore_case: false };
    let options = AdminOptions { allow_paths: vec![ready], ..AdminOptions::default() };
    with_server(options, &Address::Ip("127.0.0.1:0".parse().unwrap()), |world| async move {
        assert_eq!(world.get("/ready?x=1").await.status, 200);
        let refused = world.get("/memory").await;
        assert_eq!((refused.status, refused.body.as_str()), (403, "request to path /memory not allowed"));
    });
}

#[test]
fn requests_are_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.log");
    let stats = FilesystemStats::register(&Registry::new(), "filesystem.");
    let manager = AccessLogManager::start(AccessLogOptions::default(), stats).unwrap();
    let target = AccessLogTarget::File(path.to_str().unwrap().to_owned());
    let log =
        AccessLog { name: String::new(), filter: None, sink: AccessLogSink::Lines { target, format: None } };
    let access_log = AccessLogSet::compile(&[log], &Runtime::default(), &manager).unwrap();
    let options = AdminOptions { access_log, ..AdminOptions::default() };
    with_server(options, &Address::Ip("127.0.0.1:0".parse().unwrap()), |world| async move {
        world.get("/ready?x").await;
    });
    manager.shutdown(Duration::from_secs(30)).unwrap();
    let line = std::fs::read_to_string(path).unwrap();
    assert!(
        line.contains("] \"GET /ready?x HTTP/1.1\" 200 - 0 5 0 - \"-\" \"-\" \"-\" \"admin\" \"-\"\n"),
        "{line}"
    );
}

#[test]
fn clients_that_stall_or_flood_are_cut_off() {
    let options = AdminOptions {
        max_connections: 2,
        request_head_timeout: Duration::from_millis(50),
        max_request_head_bytes: 0,
        ..AdminOptions::default()
    };
    with_server(options, &Address::Ip("127.0.0.1:0".parse().unwrap()), |world| async move {
        let mut rest = Vec::new();
        let mut slow = world.connect().await;
        slow.write_all(b"GET /ready HTTP/1.1\r\nhost:").await.unwrap();
        slow.read_to_end(&mut rest).await.unwrap();
        let mut silent = world.connect().await;
        silent.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        let mut kept = world.connect().await;
        kept.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        kept.read_to_end(&mut rest).await.unwrap();
        assert!(rest.starts_with(b"HTTP/1.1 200"), "answered first, then closed");
        let mut long = world.connect().await;
        // The server may close while we still write.
        let _ = long.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes()).await;
        rest.clear();
        let _ = long.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
        let mut idle = [world.connect().await, world.connect().await];
        assert_eq!(world.get("/ready").await.status, 200);
        rest.clear();
        idle[0].read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    });
}

#[test]
fn unix_sockets_replace_stale_files_and_the_address_is_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    for _ in 0..2 {
        with_server(AdminOptions::default(), &Address::unix(&path), |world| {
            let path = path.clone();
            async move {
                let mut stream = UnixStream::connect(&path).await.unwrap();
                stream.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
                let mut start = [0; 15];
                stream.read_exact(&mut start).await.unwrap();
                assert_eq!(&start, b"HTTP/1.1 200 OK");
                let written = path.with_extension("address");
                write_address_path(&written, &world.address).unwrap();
                assert_eq!(std::fs::read_to_string(&written).unwrap(), path.to_str().unwrap());
                assert!(AdminListener::bind(&Address::unix(&path), 0).is_err(), "somebody listens there");
            }
        });
    }
    assert!(write_address_path(Path::new("/nowhere/x"), &Address::unix(&path)).is_err());
}
