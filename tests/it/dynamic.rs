//! Clusters, hosts and routes that change while the proxy serves, from files that are moved into place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringway_test_support::xds::{
    Listener, bootstrap, cluster, eds_cluster, load_assignment, response, route_configuration, says,
    to_cluster,
};
use ringway_test_support::{
    Answer, Config, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually, eventually_within,
};

on_both_drivers! {
    everything_may_come_from_files
    the_example_runs_as_it_stands
    a_route_changes_under_a_connection
    a_request_ends_on_the_routes_that_it_began_with
    listeners_that_name_the_same_table_share_it
    hosts_that_stay_keep_connections_and_counters
    a_host_that_goes_finishes_what_it_has
    clusters_come_and_go
    a_changed_cluster_serves_once_its_hosts_are_known
    files_are_seen_when_they_are_moved
    a_watched_directory_tells_of_a_swapped_symlink
    static_listeners_and_clusters_may_discover_too
}

/// A proxy with one listener `main`, one table `table`, one EDS cluster `origin`.
fn proxy_to(driver: Driver, ports: &[u16]) -> Proxy {
    let files = Server::ringway(driver)
        .file("lds.yaml", &response("l1", &[Listener::rds("main", "table", "rds.yaml").resource()]))
        .file("rds.yaml", &response("r1", &[route_configuration("table", &to_cluster("origin"))]))
        .file("cds.yaml", &response("c1", &[eds_cluster("origin", "eds.yaml", "")]))
        .file("eds.yaml", &response("e1", &[load_assignment("origin", ports)]));
    files.start(&bootstrap())
}

fn put_routes(proxy: &Proxy, version: &str, routes: &str) {
    proxy.put("rds.yaml", &response(version, &[route_configuration("table", routes)]));
    proxy.await_text("http.main.rds.table.version_text", version);
}

fn put_hosts(proxy: &Proxy, version: &str, ports: &[u16]) {
    proxy.put("eds.yaml", &response(version, &[load_assignment("origin", ports)]));
    proxy.await_text("cluster.origin.version_text", version);
}

fn named_origin(name: &str) -> Origin {
    Origin::start(Answer::status(200, "", name))
}

/// An origin that answers only after the gate was opened.
fn gated_origin(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = gate.clone();
    let origin = Origin::start(Answer::script(move |connection, request| {
        let _ = connection.read_body(request);
        eventually("the gate", || opened.load(Ordering::SeqCst).then_some(()));
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
        Then::Keep
    }));
    (origin, gate)
}

fn get(proxy: &Proxy) -> String {
    Request::get("/").send(proxy.address()).text()
}

fn everything_may_come_from_files(driver: Driver) {
    let origin = named_origin("a");
    let proxy = proxy_to(driver, &[origin.port()]);
    assert_eq!(get(&proxy), "a");
    for (prefix, version) in [
        ("listener_manager.lds", "l1"),
        ("cluster_manager.cds", "c1"),
        ("http.main.rds.table", "r1"),
        ("cluster.origin", "e1"),
    ] {
        assert_eq!(proxy.find_text(&format!("{prefix}.version_text")).as_deref(), Some(version));
        let stat = |name: &str| proxy.stat(&format!("{prefix}.{name}"));
        assert_eq!(["update_attempt", "update_success", "update_rejected"].map(stat), [1, 1, 0], "{prefix}");
        assert!(stat("version") > 0 && stat("update_time") > 0, "{prefix}");
    }
    let dump = proxy.admin_get("/config_dump?include_eds").json();
    let configs = dump["configs"].as_array().expect("sections");
    let section = |name: &str| {
        let kind = format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump");
        configs.iter().find(|config| config["@type"] == kind.as_str()).expect("a section")
    };
    assert_eq!(section("Listeners")["version_info"], "l1");
    let listener = &section("Listeners")["dynamic_listeners"][0];
    assert_eq!(
        (&listener["name"], &listener["active_state"]["version_info"]),
        (&"main".into(), &"l1".into())
    );
    assert_eq!(section("Clusters")["dynamic_active_clusters"][0]["cluster"]["type"], "EDS");
    let table = &section("Routes")["dynamic_route_configs"][0];
    assert_eq!((&table["version_info"], &table["route_config"]["name"]), (&"r1".into(), &"table".into()));
    let hosts = &section("Endpoints")["dynamic_endpoint_configs"][0]["endpoint_config"];
    let port =
        &hosts["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"];
    assert_eq!(*port, origin.port());
    assert!(proxy.admin_get("/clusters").text().contains("origin::added_via_api::true"));
    proxy.stop();
}

/// The files of `configs/dynamic`, with the paths of the scratch directory.
fn the_example_runs_as_it_stands(driver: Driver) {
    let origin = named_origin("a");
    let file = |name: &str| {
        let text = Config::file(&format!("dynamic/{name}")).port(8001, origin.port());
        text.as_str()
            .replace("configs/dynamic/", "{dir}/")
            .replace("path: configs/dynamic}", "path: '{dir}'}")
    };
    let server = ["lds.yaml", "cds.yaml", "eds.yaml", "rds.yaml"]
        .into_iter()
        .fold(Server::ringway(driver), |server, name| server.file(name, &file(name)));
    let proxy = server.start(&file("bootstrap.yaml"));
    assert_eq!(get(&proxy), "a");
    let say =
        |word: &str| proxy.put("rds.yaml", &file("rds.yaml").replace("hello\\n", word).replace("v1", word));
    say("bye");
    eventually("the changed answer", || {
        (Request::get("/hello").send(proxy.address()).text() == "bye").then_some(())
    });
    // Anything that is moved into the watched directory may be news of the hosts.
    let attempts = proxy.stat("cluster.origin.update_attempt");
    proxy.put("unrelated", "x");
    eventually("the hosts to be read again", || {
        (proxy.stat("cluster.origin.update_attempt") > attempts).then_some(())
    });
    proxy.stop();
}

fn a_route_changes_under_a_connection(driver: Driver) {
    let origin = named_origin("a");
    let proxy = proxy_to(driver, &[origin.port()]);
    let mut connection = Connection::open(proxy.address());
    let mut ask = || Request::get("/").send_on(&mut connection).expect("response").text();
    assert_eq!(ask(), "a");
    put_routes(&proxy, "r2", &says("two"));
    eventually("the new route", || (ask() == "two").then_some(()));
    put_routes(&proxy, "r3", "- match: {prefix: /x}\n  direct_response: {status: 200}");
    eventually("no route", || (Request::get("/").send(proxy.address()).status() == 404).then_some(()));
    assert_eq!(proxy.stat("http.main.rds.table.config_reload"), 3);
    // The same content under another version is no change.
    put_routes(&proxy, "r4", "- match: {prefix: /x}\n  direct_response: {status: 200}");
    assert_eq!(proxy.stat("http.main.rds.table.config_reload"), 3);
    // Neither is an empty answer, which leaves the table there is.
    proxy.put("rds.yaml", &response("r5", &[]));
    proxy.await_text("http.main.rds.table.version_text", "r5");
    assert_eq!(proxy.stat("http.main.rds.table.update_empty"), 1);
    assert_eq!(Request::get("/x").send(proxy.address()).status(), 200);
    proxy.stop();
}

fn a_request_ends_on_the_routes_that_it_began_with(driver: Driver) {
    let (origin, gate) = gated_origin("slow");
    let proxy = proxy_to(driver, &[origin.port()]);
    let with_header = "- match: {prefix: /}\n  route: {cluster: origin}\n  \
                       response_headers_to_add: [{header: {key: x-table, value: first}}]";
    put_routes(&proxy, "r2", with_header);
    let mut connection = Connection::open(proxy.address());
    eventually("the table with the header", || {
        // Sent until the table is there: before, answers lack the header.
        gate.store(true, Ordering::SeqCst);
        let response = Request::get("/").send(proxy.address());
        (response.header("x-table") == Some("first")).then_some(())
    });
    gate.store(false, Ordering::SeqCst);
    let before = origin.request_count();
    connection.send(Request::get("/").bytes());
    eventually("the request at the origin", || (origin.request_count() > before).then_some(()));
    // Routes, cluster and hosts go; the request has them still.
    put_routes(&proxy, "r3", &says("other"));
    proxy.put("cds.yaml", &response("c2", &[]));
    proxy.await_stat("cluster_manager.active_clusters", 0);
    eventually("the new table", || (get(&proxy) == "other").then_some(()));
    gate.store(true, Ordering::SeqCst);
    let response = connection.response();
    assert_eq!((response.text().as_str(), response.header("x-table")), ("slow", Some("first")));
    assert_eq!(Request::get("/").send_on(&mut connection).expect("response").text(), "other");
    proxy.stop();
}

fn listeners_that_name_the_same_table_share_it(driver: Driver) {
    let listeners = ["one", "two"].map(|name| Listener::rds(name, "table", "rds.yaml").resource());
    let mut proxy = Server::ringway(driver)
        .concurrency(2)
        .file("lds.yaml", &response("l1", &listeners))
        .file("rds.yaml", &response("r1", &[route_configuration("table", &says("a"))]))
        .file("cds.yaml", &response("c1", &[]))
        .start(&bootstrap());
    assert!(proxy.find_listeners());
    proxy.put("rds.yaml", &response("r2", &[route_configuration("table", &says("b"))]));
    proxy.await_text("http.one.rds.table.version_text", "r2");
    for name in ["one", "two"] {
        let address = proxy.address_of(name);
        for _ in 0..20 {
            eventually("the new table", || (Request::get("/").send(address).text() == "b").then_some(()));
        }
    }
    assert_eq!(proxy.stat("http.one.rds.table.update_attempt"), 2);
    assert_eq!(proxy.find_stat("http.two.rds.table.update_attempt"), None, "one subscription");
    // One listener less: the other still has the table. The last one takes it away.
    proxy.put("lds.yaml", &response("l2", &listeners[1..]));
    proxy.await_stat("listener_manager.total_listeners_active", 1);
    proxy.put("rds.yaml", &response("r3", &[route_configuration("table", &says("c"))]));
    let address = proxy.address_of("two");
    eventually("the new table", || (Request::get("/").send(address).text() == "c").then_some(()));
    proxy.stop();
}

fn hosts_that_stay_keep_connections_and_counters(driver: Driver) {
    let (a, b) = (named_origin("a"), named_origin("b"));
    let proxy = proxy_to(driver, &[a.port()]);
    (0..5).for_each(|_| assert_eq!(get(&proxy), "a"));
    put_hosts(&proxy, "e2", &[a.port(), b.port()]);
    eventually("the new host", || (get(&proxy) == "b").then_some(()));
    put_hosts(&proxy, "e3", &[a.port()]);
    proxy.await_stat("cluster.origin.membership_total", 1);
    (0..5).for_each(|_| assert_eq!(get(&proxy), "a"));
    assert_eq!(a.accepted(), 1, "one connection for all of it");
    let line = format!("origin::127.0.0.1:{}::cx_total::1", a.port());
    assert!(proxy.admin_get("/clusters").text().contains(&line));
    assert_eq!(proxy.stat("cluster.origin.membership_change"), 3);
    put_hosts(&proxy, "e4", &[a.port()]);
    assert_eq!(proxy.stat("cluster.origin.update_no_rebuild"), 1);
    put_hosts(&proxy, "e5", &[]);
    eventually("no host", || (Request::get("/").send(proxy.address()).status() == 503).then_some(()));
    proxy.stop();
}

fn a_host_that_goes_finishes_what_it_has(driver: Driver) {
    let (slow, gate) = gated_origin("slow");
    let other = named_origin("other");
    let proxy = proxy_to(driver, &[slow.port()]);
    let mut connection = Connection::open(proxy.address());
    connection.send(Request::get("/").bytes());
    eventually("the request at the origin", || (slow.request_count() > 0).then_some(()));
    put_hosts(&proxy, "e2", &[other.port()]);
    eventually("the other host", || (get(&proxy) == "other").then_some(()));
    gate.store(true, Ordering::SeqCst);
    assert_eq!(connection.response().text(), "slow");
    eventually("its connection to be closed", || (slow.open() == 0).then_some(()));
    proxy.stop();
}

fn clusters_come_and_go(driver: Driver) {
    let (a, b) = (named_origin("a"), named_origin("b"));
    let proxy = proxy_to(driver, &[a.port()]);
    put_routes(
        &proxy,
        "r2",
        "- match: {prefix: /b}\n  route: {cluster: b}\n- match: {prefix: /}\n  route: {cluster: origin}",
    );
    let ask_b = || Request::get("/b").send(proxy.address());
    eventually("the route without a cluster", || (ask_b().status() == 503).then_some(()));
    let eds = eds_cluster("origin", "eds.yaml", "");
    proxy.put("cds.yaml", &response("c2", &[eds.clone(), cluster("b", b.port(), "")]));
    proxy.await_text("cluster_manager.cds.version_text", "c2");
    eventually("the new cluster", || (ask_b().text() == "b").then_some(()));
    let counts = ["cluster_added", "cluster_modified", "cluster_removed", "active_clusters"];
    let counts = || counts.map(|name| proxy.stat(&format!("cluster_manager.{name}")));
    assert_eq!(counts(), [2, 0, 0, 2]);
    // A change of one leaves the other alone, connections and all.
    let changed = cluster("b", a.port(), "connect_timeout: 1s");
    proxy.put("cds.yaml", &response("c3", &[eds.clone(), changed.clone()]));
    eventually("the changed cluster", || (ask_b().text() == "a").then_some(()));
    assert_eq!(counts(), [2, 1, 0, 2]);
    assert_eq!(proxy.stat("cluster_manager.cds.config_reload"), 3);
    proxy.put("cds.yaml", &response("c4", &[changed, eds.clone()]));
    proxy.await_text("cluster_manager.cds.version_text", "c4");
    assert_eq!(counts(), [2, 1, 0, 2], "another order is no change");
    proxy.put("cds.yaml", &response("c5", &[eds]));
    eventually("the cluster to be gone", || (ask_b().status() == 503).then_some(()));
    assert_eq!(counts(), [2, 1, 1, 1]);
    // Its statistics go with it, once no request and no connection counts in them.
    let find = || proxy.find_stat("cluster.b.membership_total");
    eventually("its statistics to be gone", || find().is_none().then_some(()));
    assert_eq!(get(&proxy), "a");
    proxy.stop();
}

fn a_changed_cluster_serves_once_its_hosts_are_known(driver: Driver) {
    let (a, b) = (named_origin("a"), named_origin("b"));
    let proxy = proxy_to(driver, &[a.port()]);
    assert_eq!(get(&proxy), "a");
    // The file is there, but what it says of hosts is wrong: the new cluster waits, the old one serves.
    proxy.put("other.yaml", &response("o1", &[load_assignment("someone-else", &[b.port()])]));
    let changed = eds_cluster("origin", "other.yaml", "connect_timeout: 2s");
    proxy.put("cds.yaml", &response("c2", &[changed]));
    proxy.await_stat("cluster_manager.warming_clusters", 1);
    assert_eq!(proxy.stat("cluster.origin.warming_state"), 1);
    let warming = proxy.admin_get("/config_dump?resource=dynamic_warming_clusters").json();
    assert_eq!(warming["configs"][0]["cluster"]["connect_timeout"], "2s");
    (0..10).for_each(|_| assert_eq!(get(&proxy), "a"));
    proxy.put("other.yaml", &response("o2", &[load_assignment("origin", &[b.port()])]));
    proxy.await_stat("cluster_manager.warming_clusters", 0);
    eventually("the new cluster", || (get(&proxy) == "b").then_some(()));
    assert_eq!(proxy.stat("cluster_manager.active_clusters"), 1);
    // The old file is not watched any more.
    proxy.put("eds.yaml", &response("e9", &[load_assignment("origin", &[a.port()])]));
    put_hosts_is_ignored(&proxy);
    proxy.stop();
}

fn put_hosts_is_ignored(proxy: &Proxy) {
    proxy.put("cds.yaml", &response("c9", &[eds_cluster("origin", "other.yaml", "connect_timeout: 2s")]));
    proxy.await_text("cluster_manager.cds.version_text", "c9");
    assert_eq!(proxy.find_text("cluster.origin.version_text").as_deref(), Some("o2"));
    assert_eq!(get(proxy), "b");
}

fn files_are_seen_when_they_are_moved(driver: Driver) {
    let proxy = proxy_to(driver, &[1]);
    let table = |version: &str| response(version, &[route_configuration("table", &says(version))]);
    // Written in place: half of it might be seen. Nothing happens.
    let file = proxy.directory().join("rds.yaml");
    std::fs::write(&file, table("written")).expect("written");
    proxy.put("unrelated.yaml", "x");
    proxy.put("cds.yaml", &response("c2", &[]));
    proxy.await_text("cluster_manager.cds.version_text", "c2");
    assert_eq!(proxy.stat("http.main.rds.table.update_attempt"), 1);
    // Moved from another directory.
    std::fs::create_dir(proxy.directory().join("elsewhere")).expect("a directory");
    let elsewhere = proxy.directory().join("elsewhere/file");
    std::fs::write(&elsewhere, table("moved")).expect("written");
    std::fs::rename(&elsewhere, &file).expect("moved");
    proxy.await_text("http.main.rds.table.version_text", "moved");
    // A symlink in its place.
    std::fs::write(proxy.directory().join("target"), table("linked")).expect("written");
    std::os::unix::fs::symlink("target", proxy.directory().join("link")).expect("a link");
    std::fs::rename(proxy.directory().join("link"), &file).expect("moved");
    proxy.await_text("http.main.rds.table.version_text", "linked");
    // Removed: what is in force stays, and the next one is seen.
    std::fs::remove_file(&file).expect("removed");
    eventually("the linked table", || (get(&proxy) == "linked").then_some(()));
    proxy.put("rds.yaml", &table("again"));
    proxy.await_text("http.main.rds.table.version_text", "again");
    assert_eq!(proxy.stat("http.main.rds.table.update_attempt"), 4);
    proxy.stop();
}

/// As Kubernetes updates a ConfigMap: the files are links through `..data`, which is swapped.
fn a_watched_directory_tells_of_a_swapped_symlink(driver: Driver) {
    let source = "path_config_source: {path: '{dir}/map/rds.json', watched_directory: {path: '{dir}/map'}}";
    let proxy = Server::ringway(driver)
        .file("cds.yaml", &response("c1", &[]))
        .file("lds.yaml", &response("l1", &[]))
        .start(&bootstrap());
    let map = proxy.directory().join("map");
    let publish = |version: &str| {
        let data = map.join(version);
        std::fs::create_dir_all(&data).expect("a directory");
        // A `.json` file that holds no JSON would be refused.
        let json = serde_json::json!({"version_info": version, "resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "table",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": version}}},
            ]}],
        }]});
        std::fs::write(data.join("rds.json"), json.to_string()).expect("written");
        let _ = std::fs::remove_file(map.join("..next"));
        std::os::unix::fs::symlink(version, map.join("..next")).expect("a link");
        std::fs::rename(map.join("..next"), map.join("..data")).expect("moved");
    };
    publish("one");
    std::os::unix::fs::symlink("..data/rds.json", map.join("rds.json")).expect("a link");
    proxy.put("lds.yaml", &response("l2", &[Listener::rds_from("main", "table", source).resource()]));
    proxy.await_text("http.main.rds.table.version_text", "one");
    publish("two");
    proxy.await_text("http.main.rds.table.version_text", "two");
    proxy.stop();
}

fn static_listeners_and_clusters_may_discover_too(driver: Driver) {
    let origin = named_origin("a");
    // Nothing of it is dynamic but the table and the hosts; the old way to name a file.
    let bootstrap = format!(
        "node: {{id: test-node, cluster: test-cluster}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  clusters:
  - name: origin
    type: EDS
    eds_cluster_config: {{service_name: service, eds_config: {{path: '{{dir}}/eds.yaml', resource_api_version: V3}}}}
  listeners:
  - {}",
        Listener::rds("main", "table", "rds.yaml").yaml().replace('\n', "\n    ")
    );
    let proxy = Server::ringway(driver)
        .file("rds.yaml", &response("r1", &[route_configuration("table", &to_cluster("origin"))]))
        .file("eds.yaml", &response("e1", &[load_assignment("service", &[origin.port()])]))
        .start(&bootstrap);
    assert_eq!(get(&proxy), "a");
    put_routes(&proxy, "r2", &says("new"));
    eventually_within(Duration::from_secs(5), "the new table", || (get(&proxy) == "new").then_some(()));
    proxy.stop();
}
