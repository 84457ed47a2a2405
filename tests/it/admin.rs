//! The admin server as operators and scripts use it.

use ringway_test_support::config::Http;
use ringway_test_support::{Driver, Origin, Proxy, Request, Server, eventually};

on_both_drivers! {
    pages
    stats_text
    stats_filters
    stats_json
    stats_prometheus
    mutations_need_post
    logging
    reset_counters
    clusters_and_listeners
    unknown_pages
    config_dump
}

fn proxy_to(driver: Driver, origin: &Origin) -> Proxy {
    let proxy = Server::ringway(driver).start(&Http::to_origin(origin.port()).yaml());
    for _ in 0..3 {
        assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    }
    proxy
}

fn pages(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    assert_eq!(proxy.admin_get("/ready").text(), "LIVE\n");
    assert!(proxy.admin_get("/").header("content-type").is_some_and(|t| t.starts_with("text/html")));
    let help = proxy.admin_get("/help").text();
    for path in [
        "/clusters",
        "/config_dump",
        "/drain_listeners",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/listeners",
        "/logging",
        "/memory",
        "/quitquitquit",
        "/ready",
        "/reopen_logs",
        "/reset_counters",
        "/server_info",
        "/stats",
        "/stats/prometheus",
    ] {
        assert!(help.contains(path), "{path} is not in /help");
    }
    let info = proxy.admin_get("/server_info").json();
    assert_eq!(info["state"], "LIVE");
    assert!(info["command_line_options"]["concurrency"] == 1, "{info}");
    assert!(proxy.admin_get("/memory").json()["allocated"].is_string());
    proxy.stop();
}

fn stats_text(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    assert_eq!(proxy.stat("http.test.downstream_rq_total"), 3);
    assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 3);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_200"), 3);
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_total"), 1);
    assert_eq!(proxy.stat("cluster.origin.membership_healthy"), 1);
    assert_eq!(proxy.stat("server.live"), 1);
    let listener = format!("listener.127.0.0.1_{}.downstream_cx_total", proxy.address().port());
    // Ports chosen by the system are 0 in the name, as in Envoy.
    assert_eq!(proxy.stat("listener.127.0.0.1_0.downstream_cx_total") + proxy.stat(&listener), 3);
    // Histograms are merged at each flush of the statistics.
    eventually("the histogram of request times", || {
        let text = proxy.admin_get("/stats").text();
        text.lines().any(|line| line.starts_with("cluster.origin.upstream_rq_time: P0(")).then_some(())
    });
    proxy.stop();
}

fn stats_filters(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let filtered = proxy.admin_get("/stats?filter=^cluster%5C.origin%5C.upstream_rq_2").text();
    assert!(filtered.lines().count() >= 2, "{filtered}");
    assert!(filtered.lines().all(|line| line.starts_with("cluster.origin.upstream_rq_2")), "{filtered}");
    let used = proxy.admin_get("/stats?usedonly").text();
    assert!(used.contains("cluster.origin.upstream_rq_200: 3"));
    assert!(!used.contains("cluster.origin.upstream_rq_retry:"));
    assert_eq!(proxy.admin_get("/stats?filter=(").status(), 400);
    proxy.stop();
}

fn stats_json(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let json = proxy.admin_get("/stats?format=json").json();
    let stats = json["stats"].as_array().expect("stats");
    let total = stats.iter().find(|s| s["name"] == "http.test.downstream_rq_total").expect("counter");
    assert_eq!(total["value"], 3);
    assert!(stats.iter().any(|s| s["histograms"].is_object()));
    proxy.stop();
}

fn stats_prometheus(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let count = "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"origin\"} 3";
    let text = eventually("the histogram of request times", || {
        let text = proxy.admin_get("/stats/prometheus").text();
        text.contains(count).then_some(text)
    });
    let wanted = [
        "# TYPE envoy_http_downstream_rq_total counter",
        "envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"test\"} 3",
        "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"origin\"} 3",
        "# TYPE envoy_cluster_upstream_rq_time histogram",
    ];
    for line in wanted {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    proxy.stop();
}

fn mutations_need_post(driver: Driver) {
    let origin = Origin::echo();
    let mut proxy = proxy_to(driver, &origin);
    for path in [
        "/quitquitquit",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/reset_counters",
        "/drain_listeners",
        "/reopen_logs",
    ] {
        let refused = proxy.admin_get(path);
        assert_eq!(refused.status(), 405, "{path}: {}", refused.text());
    }
    assert!(proxy.is_running());
    assert_eq!(Request::get("/").send(proxy.address()).status(), 200);
    proxy.stop();
}

fn logging(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let levels = proxy.admin_post("/logging?level=debug");
    assert_eq!(levels.status(), 200, "{}", levels.text());
    assert!(levels.text().contains(": debug"), "{}", levels.text());
    assert!(proxy.admin_post("/logging?level=warning").text().contains(": warning"));
    assert_eq!(proxy.admin_post("/logging?level=nonsense").status(), 400);
    proxy.stop();
}

fn reset_counters(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    assert_eq!(proxy.admin_post("/reset_counters").text(), "OK\n");
    assert_eq!(proxy.stat("http.test.downstream_rq_total"), 0);
    Request::get("/").send(proxy.address());
    assert_eq!(proxy.stat("http.test.downstream_rq_total"), 1);
    proxy.stop();
}

fn clusters_and_listeners(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let clusters = proxy.admin_get("/clusters").text();
    let host = format!("origin::127.0.0.1:{}", origin.port());
    for line in [
        format!("{host}::rq_total::3"),
        format!("{host}::health_flags::healthy"),
        "origin::default_priority::max_connections::1024".into(),
    ] {
        assert!(clusters.lines().any(|l| l == line), "{line} is missing in\n{clusters}");
    }
    let json = proxy.admin_get("/clusters?format=json").json();
    assert_eq!(json["cluster_statuses"][0]["name"], "origin");
    assert_eq!(proxy.admin_get("/listeners").text(), format!("main::{}\n", proxy.address()));
    proxy.stop();
}

fn config_dump(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let dump = proxy.admin_get("/config_dump").json();
    let configs = dump["configs"].as_array().expect("configs");
    let types: Vec<_> = configs.iter().filter_map(|c| c["@type"].as_str()).collect();
    for kind in ["BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump"] {
        assert!(types.iter().any(|t| t.ends_with(kind)), "{kind} is not in {types:?}");
    }
    assert!(dump.to_string().contains("\"stat_prefix\":\"test\""));
    proxy.stop();
}

fn unknown_pages(driver: Driver) {
    let origin = Origin::echo();
    let proxy = proxy_to(driver, &origin);
    let response = proxy.admin_get("/nothing");
    assert_eq!(response.status(), 404);
    assert!(response.text().contains("/stats"), "the answer names the pages that exist: {}", response.text());
    proxy.stop();
}
