//! Updates that are wrong: nothing of them comes into force, and everybody who should know is told.

use ringway_test_support::xds::{
    Listener, bootstrap, cluster, eds_cluster, load_assignment, response, route_configuration, says,
    to_cluster,
};
use ringway_test_support::{Answer, Driver, Origin, Proxy, Request, Server, eventually};

on_both_drivers! {
    a_bad_update_leaves_everything_as_it_was
    a_bad_version_is_told_once
    what_is_wrong_at_the_start_may_come_right
}

fn proxy_to(driver: Driver, port: u16) -> Proxy {
    Server::ringway(driver)
        .file("lds.yaml", &response("l1", &[Listener::rds("main", "table", "rds.yaml").resource()]))
        .file("rds.yaml", &response("r1", &[route_configuration("table", &to_cluster("origin"))]))
        .file("cds.yaml", &response("c1", &[eds_cluster("origin", "eds.yaml", "")]))
        .file("eds.yaml", &response("e1", &[load_assignment("origin", &[port])]))
        .start(&bootstrap())
}

/// An update that must be refused.
struct Bad {
    file: &'static str,
    text: String,
    /// In the log, after the place.
    message: &'static str,
}

fn bad(file: &'static str, resources: &[String], message: &'static str) -> Bad {
    Bad { file, text: response("bad", resources), message }
}

fn bad_updates() -> Vec<Bad> {
    let main = Listener::rds("main", "table", "rds.yaml");
    let listeners = |second: String| vec![Listener::inline("good", &says("x")).resource(), second];
    let origin = eds_cluster("origin", "eds.yaml", "");
    let table = |routes: &str| vec![route_configuration("table", routes)];
    vec![
        bad("lds.yaml", &listeners(main.clone().fields("nonsense: 1").resource()), "has no field `nonsense`"),
        bad(
            "lds.yaml",
            &listeners(main.clone().fields("use_original_dst: true").resource()),
            "`use_original_dst` is not supported by Ringway yet",
        ),
        bad(
            "lds.yaml",
            &listeners(Listener::inline("b", &to_cluster("nowhere")).resource()),
            "unknown cluster 'nowhere'",
        ),
        bad(
            "lds.yaml",
            &listeners(Listener::inline("good", &says("y")).resource()),
            "duplicate listener good found",
        ),
        bad(
            "lds.yaml",
            &[
                Listener::inline("a", &says("x")).port(10077).resource(),
                Listener::inline("b", &says("x")).port(10077).resource(),
            ],
            "has the address '127.0.0.1:10077' that the listener 'a' has",
        ),
        bad(
            "lds.yaml",
            &listeners(
                "\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener
name: twins
address: {socket_address: {address: 127.0.0.1, port_value: 0}}
filter_chains:
- {name: a}
- {name: b}"
                    .to_owned(),
            ),
            "filter chain \"b\" has the same matching rules as \"a\"",
        ),
        bad("lds.yaml", &listeners(cluster("c", 1, "")), "expected a resource of type"),
        bad(
            "lds.yaml",
            &listeners(Listener::rds("b", "table", "missing.yaml").resource()),
            "must exist before it can be watched",
        ),
        bad("cds.yaml", &[cluster("new", 1, ""), cluster("new", 2, "")], "duplicate cluster new found"),
        bad("cds.yaml", &[origin.clone(), cluster("new", 1, "lb_policy: MAGLEV")], "MAGLEV"),
        bad("cds.yaml", &[origin, cluster("new", 1, "connect_timeout: 0s")], "`connect_timeout` must be"),
        bad(
            "eds.yaml",
            &[load_assignment("origin", &[1]).replace("127.0.0.1", "host.example")],
            "malformed IP address: host.example",
        ),
        bad(
            "eds.yaml",
            &[load_assignment("other", &[1])],
            "Unexpected EDS cluster (expecting origin): other",
        ),
        bad(
            "eds.yaml",
            &[load_assignment("origin", &[1]), load_assignment("b", &[1])],
            "Unexpected EDS resource length: 2",
        ),
        bad(
            "rds.yaml",
            &[route_configuration("other", &says("x"))],
            "Unexpected RDS configuration (expecting table): other",
        ),
        bad("rds.yaml", &table("- match: {safe_regex: {regex: '('}}\n  route: {cluster: origin}"), "regex"),
        bad("rds.yaml", &table("- match: {prefix: /}"), "is required"),
        bad(
            "rds.yaml",
            &[format!(
                "{}\n- name: again\n  domains: ['*']\n  routes: []",
                route_configuration("table", &says("x"))
            )],
            "duplicate entry of domain *",
        ),
    ]
}

fn a_bad_update_leaves_everything_as_it_was(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "a"));
    let proxy = proxy_to(driver, origin.port());
    let versions = |proxy: &Proxy| {
        ["listener_manager.lds", "cluster_manager.cds", "http.main.rds.table", "cluster.origin"]
            .map(|prefix| proxy.find_text(&format!("{prefix}.version_text")))
    };
    let state = |proxy: &Proxy| {
        let gauges = ["listener_manager.total_listeners_active", "cluster_manager.active_clusters"];
        let gauges = gauges.map(|name| proxy.stat(name));
        (versions(proxy), gauges, proxy.stat("cluster.origin.membership_total"))
    };
    let before = state(&proxy);
    for (number, Bad { file, text, message }) in bad_updates().into_iter().enumerate() {
        // Versions differ, so that each is news to the log.
        let version = format!("bad{number}");
        proxy.put(file, &text.replacen("'bad'", &format!("'{version}'"), 1));
        let line = eventually(&format!("{message:?} in the log"), || {
            let log = proxy.stderr();
            log.lines().find(|line| line.contains(&format!("version '{version}'"))).map(str::to_owned)
        });
        assert!(line.contains(" update rejected, version "), "{line}");
        assert!(line.contains(message), "{message:?} is not in: {line}");
        let place = format!("{file}:");
        let (_, place) = line.split_once(&place).unwrap_or_else(|| panic!("no place: {line}"));
        assert!(place.starts_with(|c: char| c.is_ascii_digit()), "no line number: {line}");
        assert_eq!(state(&proxy), before, "{line}");
        assert_eq!(Request::get("/").send(proxy.address()).text(), "a", "{line}");
        let dump = proxy.admin_get("/config_dump").text();
        // Hosts have no place there.
        assert!(file == "eds.yaml" || dump.contains(&version), "{version} is not in the dump");
    }
    let rejected = ["listener_manager.lds", "cluster_manager.cds", "http.main.rds.table", "cluster.origin"]
        .map(|prefix| proxy.stat(&format!("{prefix}.update_rejected")));
    assert_eq!(rejected, [8, 3, 4, 3]);
    // All of it is forgotten once an update is right.
    proxy.put("lds.yaml", &response("l2", &[Listener::rds("main", "table", "rds.yaml").resource()]));
    proxy.await_text("listener_manager.lds.version_text", "l2");
    assert!(!proxy.admin_get("/config_dump?resource=dynamic_listeners").text().contains("error_state"));
    proxy.stop();
}

fn a_bad_version_is_told_once(driver: Driver) {
    let proxy = proxy_to(driver, 1);
    let bad = response("bad", &[route_configuration("other", &says("x"))]);
    for attempt in 2..5 {
        proxy.put("rds.yaml", &bad);
        proxy.await_stat("http.main.rds.table.update_attempt", attempt);
    }
    assert_eq!(proxy.stat("http.main.rds.table.update_rejected"), 3);
    for attempt in 5..8 {
        proxy.put("rds.yaml", "resources: [");
        proxy.await_stat("http.main.rds.table.update_attempt", attempt);
    }
    assert_eq!(proxy.stat("http.main.rds.table.update_failure"), 3);
    proxy.put("rds.yaml", &response("r2", &[route_configuration("table", &says("good"))]));
    proxy.await_text("http.main.rds.table.version_text", "r2");
    let count = |what: &str| proxy.stderr().lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("rds 'table' update rejected"), 1, "{}", proxy.stderr());
    assert_eq!(count("rds 'table' update failure"), 1, "{}", proxy.stderr());
    proxy.stop();
}

fn what_is_wrong_at_the_start_may_come_right(driver: Driver) {
    let origin = Origin::start(Answer::status(200, "", "a"));
    let timeout = "initial_fetch_timeout: 0.2s";
    let proxy = Server::ringway(driver)
        .file("lds.yaml", "resources: [")
        .file("cds.yaml", &response("c1", &[cluster("origin", 1, "nonsense: 1")]))
        .start(&bootstrap().replace("resource_api_version: V3", timeout));
    assert_eq!(proxy.stat("listener_manager.lds.update_failure"), 1);
    assert_eq!(proxy.stat("cluster_manager.cds.update_rejected"), 1);
    assert_eq!(proxy.stat("cluster_manager.cds.init_fetch_timeout"), 1);
    proxy.put("cds.yaml", &response("c2", &[cluster("origin", origin.port(), "")]));
    proxy.await_text("cluster_manager.cds.version_text", "c2");
    proxy.put("lds.yaml", &response("l1", &[Listener::inline("main", &to_cluster("origin")).resource()]));
    proxy.await_text("listener_manager.lds.version_text", "l1");
    let mut proxy = proxy;
    assert!(proxy.find_listeners());
    assert_eq!(Request::get("/").send(proxy.address()).text(), "a");
    proxy.stop();
}
