//! The same files moved into place under the real Envoy and under Ringway: after each update, what is
//! answered, what was counted and which versions are in force must agree, unless the row says why not.

use std::net::SocketAddr;

use ringway_test_support::xds::{
    Listener, bootstrap, cluster, eds_cluster, load_assignment, response, route_configuration, says,
    to_cluster,
};
use ringway_test_support::{Answer, Driver, Origin, Proxy, Request, Server, eventually};

/// The subscriptions, by the file that each follows.
const SUBSCRIPTIONS: [(&str, &str); 4] = [
    ("lds.yaml", "listener_manager.lds"),
    ("cds.yaml", "cluster_manager.cds"),
    ("rds.yaml", "http.main.rds.table"),
    ("eds.yaml", "cluster.origin"),
];

/// What is counted for each subscription.
const COUNTS: [&str; 6] = [
    "update_attempt",
    "update_success",
    "update_rejected",
    "update_failure",
    "update_empty",
    "config_reload",
];

/// What is counted besides.
const TOTALS: [&str; 14] = [
    "cluster_manager.cluster_added",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
    "cluster_manager.active_clusters",
    "cluster_manager.warming_clusters",
    "cluster.origin.membership_total",
    "cluster.origin.membership_change",
    "cluster.origin.update_no_rebuild",
    "listener_manager.listener_added",
    "listener_manager.listener_modified",
    "listener_manager.listener_removed",
    "listener_manager.listener_in_place_updated",
    "listener_manager.listener_create_success",
    "listener_manager.total_listeners_active",
];

/// One update and what is answered after it.
struct Row {
    name: &'static str,
    file: &'static str,
    text: String,
    /// Path and answer: a body, or a status if there is none.
    answer: (&'static str, &'static str),
    /// Why Ringway does otherwise on purpose, and what it answers then. Such rows stand at the end: afterwards
    /// the two are no longer in the same state.
    difference: Option<(&'static str, &'static str)>,
}

fn row(
    name: &'static str,
    file: &'static str,
    resources: &[String],
    answer: (&'static str, &'static str),
) -> Row {
    Row { name, file, text: response(name, resources), answer, difference: None }
}

fn table(routes: &str) -> Vec<String> {
    vec![route_configuration("table", routes)]
}

fn rows(ports: [u16; 2]) -> Vec<Row> {
    let [one, two] = ports;
    let main = Listener::rds("main", "table", "rds.yaml");
    let eds = eds_cluster("origin", "eds.yaml", "");
    let hosts = |ports: &[u16]| vec![load_assignment("origin", ports)];
    let unreadable = |name, file| Row { text: "resources: [".into(), ..row(name, file, &[], ("/", "one")) };
    vec![
        row("another host", "eds.yaml", &hosts(&[two]), ("/", "two")),
        row("the first again", "eds.yaml", &hosts(&[one]), ("/", "one")),
        row("the same hosts", "eds.yaml", &hosts(&[one]), ("/", "one")),
        row("no resource of hosts", "eds.yaml", &[], ("/", "one")),
        row(
            "a name for an address",
            "eds.yaml",
            &[hosts(&[one])[0].replace("127.0.0.1", "a.example")],
            ("/", "one"),
        ),
        row("hosts of another cluster", "eds.yaml", &[load_assignment("other", &[two])], ("/", "one")),
        row("two assignments", "eds.yaml", &[hosts(&[one]), hosts(&[two])].concat(), ("/", "one")),
        unreadable("hosts that are no YAML", "eds.yaml"),
        row("no hosts", "eds.yaml", &hosts(&[]), ("/", "503")),
        row("hosts again", "eds.yaml", &hosts(&[one]), ("/", "one")),
        row("another route", "rds.yaml", &table(&says("routed")), ("/", "routed")),
        row("the same route", "rds.yaml", &table(&says("routed")), ("/", "routed")),
        row("a route to nowhere", "rds.yaml", &table(&to_cluster("nowhere")), ("/", "503")),
        row("no resource of routes", "rds.yaml", &[], ("/", "503")),
        row("a table of another name", "rds.yaml", &[route_configuration("other", &says("x"))], ("/", "503")),
        row("no domains", "rds.yaml", &[table(&says("x"))[0].replace("['*']", "[]")], ("/", "503")),
        row("a route without an action", "rds.yaml", &table("- match: {prefix: /}"), ("/", "503")),
        row(
            "a wrong expression",
            "rds.yaml",
            &table("- match: {safe_regex: {regex: '('}}\n  route: {cluster: origin}"),
            ("/", "503"),
        ),
        row("routes again", "rds.yaml", &table(&to_cluster("origin")), ("/", "one")),
        row("a second cluster", "cds.yaml", &[eds.clone(), cluster("second", two, "")], ("/", "one")),
        row("a route to it", "rds.yaml", &table(&to_cluster("second")), ("/", "two")),
        row("the cluster changes", "cds.yaml", &[eds.clone(), cluster("second", one, "")], ("/", "one")),
        row("another order", "cds.yaml", &[cluster("second", one, ""), eds.clone()], ("/", "one")),
        row("the cluster goes", "cds.yaml", std::slice::from_ref(&eds), ("/", "503")),
        row("back to the first", "rds.yaml", &table(&to_cluster("origin")), ("/", "one")),
        row("the same listeners", "lds.yaml", &[main.resource()], ("/", "one")),
        row(
            "other chains",
            "lds.yaml",
            &[main.resource().replace("stat_prefix: main", "stat_prefix: other")],
            ("/", "one"),
        ),
        row(
            "the listener itself",
            "lds.yaml",
            &[main.clone().fields("per_connection_buffer_limit_bytes: 5000").resource()],
            ("/", "one"),
        ),
        unreadable("listeners that are no YAML", "lds.yaml"),
        row("no listeners", "lds.yaml", &[], ("/", "refused")),
        row("a listener again", "lds.yaml", &[main.resource()], ("/", "one")),
        Row {
            difference: Some((
                "an update comes into force as a whole or not at all, unless the system refuses a part (a port in use)",
                "one",
            )),
            ..row(
                "one of two clusters is wrong",
                "cds.yaml",
                &[cluster("origin", two, ""), cluster("wrong", one, "").replace("127.0.0.1", "a.example")],
                ("/", "two"),
            )
        },
        Row {
            difference: Some((
                "no field is ignored: what is unknown refuses the update (with Envoy's `--reject-unknown-dynamic-fields`, too)",
                "one",
            )),
            ..row(
                "an unknown field",
                "rds.yaml",
                &[table(&says("unknown"))[0].replace("name: all", "name: all\n  nonsense: 1")],
                ("/", "unknown"),
            )
        },
    ]
}

#[test]
fn dynamic_configuration() {
    let Some(envoy) = Server::envoy() else {
        eprintln!("\n*** SKIPPED: no `envoy` program here; dynamic configuration was not compared.\n");
        return;
    };
    let (expected, ring, epoll) = std::thread::scope(|scope| {
        let envoy = scope.spawn(|| play(envoy, Side::Envoy));
        let ring = scope.spawn(|| play(Server::ringway(Driver::Ring), Side::Ringway));
        let epoll = scope.spawn(|| play(Server::ringway(Driver::Epoll), Side::Ringway));
        let join = |side: std::thread::ScopedJoinHandle<'_, Vec<Seen>>| side.join().expect("a side");
        (join(envoy), join(ring), join(epoll))
    });
    let mut differences = Vec::new();
    for (side, found) in [("ring", &ring), ("epoll", &epoll)] {
        assert_eq!(found.len(), expected.len());
        for (expected, found) in expected.iter().zip(found) {
            let facts = expected.facts.iter().zip(&found.facts).filter(|(envoy, ringway)| envoy != ringway);
            differences.extend(
                facts.map(|(envoy, ringway)| format!("{side}, {}: {envoy}, not {ringway}", expected.row)),
            );
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_readme_lists_the_differences_of_dynamic_configuration() {
    let readme = include_str!("../../README.md");
    for (reason, _) in rows([1, 2]).iter().filter_map(|row| row.difference) {
        assert!(readme.contains(reason), "README.md lacks {reason:?}");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Envoy,
    Ringway,
}

/// What is seen after a row.
struct Seen {
    row: &'static str,
    facts: Vec<String>,
}

/// What is seen after each row.
fn play(server: Server, side: Side) -> Vec<Seen> {
    let origins = ["one", "two"].map(|name| Origin::start(Answer::status(200, "", name)));
    let [one, two] = [origins[0].port(), origins[1].port()];
    let mut proxy = server
        .file("lds.yaml", &response("l1", &[Listener::rds("main", "table", "rds.yaml").resource()]))
        .file("rds.yaml", &response("r1", &table(&to_cluster("origin"))))
        .file("cds.yaml", &response("c1", &[eds_cluster("origin", "eds.yaml", "")]))
        .file("eds.yaml", &response("e1", &[load_assignment("origin", &[one])]))
        .start(&bootstrap());
    let mut seen = vec![Seen { row: "start", facts: state(&proxy) }];
    let mut address = proxy.address();
    for row in rows([one, two]) {
        let prefix = SUBSCRIPTIONS.iter().find(|(file, _)| *file == row.file).expect("a subscription").1;
        let attempts = proxy.stat(&format!("{prefix}.update_attempt"));
        proxy.put(row.file, &row.text);
        eventually(&format!("{}: the update", row.name), || {
            (proxy.stat(&format!("{prefix}.update_attempt")) > attempts).then_some(())
        });
        let (path, answer) = row.answer;
        let answer = match row.difference {
            Some((_, answer)) if side == Side::Ringway => answer,
            _ => answer,
        };
        if answer != "refused" && proxy.find_listeners() {
            address = proxy.addresses_of("main").first().copied().unwrap_or(address);
        }
        eventually(&format!("{}: {answer:?} (is {:?})", row.name, ask(address, path)), || {
            (ask(address, path) == answer).then_some(())
        });
        if row.difference.is_none() {
            seen.push(Seen { row: row.name, facts: state(&proxy) });
        }
    }
    seen
}

fn ask(address: SocketAddr, path: &str) -> String {
    match Request::get(path).try_send(address) {
        Ok(response) if response.body.is_empty() => response.status().to_string(),
        Ok(response) if response.status() == 200 => response.text(),
        Ok(response) => response.status().to_string(),
        Err(_) => "refused".to_owned(),
    }
}

fn state(proxy: &Proxy) -> Vec<String> {
    let mut out = Vec::new();
    for (_, prefix) in SUBSCRIPTIONS {
        let counts = COUNTS.map(|name| proxy.find_stat(&format!("{prefix}.{name}")));
        let counts: Vec<String> =
            counts.iter().map(|count| count.map_or("-".to_owned(), |count| count.to_string())).collect();
        let version = proxy.find_text(&format!("{prefix}.version_text"));
        let hash = proxy.find_stat(&format!("{prefix}.version"));
        out.push(format!("{prefix} {} {version:?} {hash:?}", counts.join("/")));
    }
    let totals = TOTALS.map(|name| format!("{name}={:?}", proxy.find_stat(name)));
    out.extend(totals);
    let dump = proxy.admin_get("/config_dump").json();
    for section in dump["configs"].as_array().into_iter().flatten() {
        let kind = section["@type"].as_str().unwrap_or_default();
        if kind.ends_with(".ClustersConfigDump") || kind.ends_with(".RoutesConfigDump") {
            let lists = ["dynamic_active_clusters", "dynamic_route_configs"];
            let resources = lists.iter().filter_map(|list| section[list].as_array()).flatten();
            let versions: std::collections::BTreeSet<String> = resources
                .map(|it| {
                    let name = it["cluster"]["name"].as_str().or(it["route_config"]["name"].as_str());
                    format!("{}@{}", name.unwrap_or("?"), it["version_info"])
                })
                .collect();
            out.push(format!("{versions:?}"));
        }
    }
    out
}
