//! Updates under load: no request is lost, none gets a wrong answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ringway_test_support::xds::{
    Listener, bootstrap, eds_cluster, load_assignment, response, route_configuration,
};
use ringway_test_support::{Answer, Connection, Driver, Origin, Proxy, Request, Server};

on_both_drivers! { updates_under_load_lose_nothing }

/// Updates of routes, and as many of hosts.
const ROUTE_UPDATES: u32 = 100;
/// Updates of the listener, spread over the others.
const LISTENER_UPDATES: u32 = 20;
const CLIENTS: usize = 4;

/// Two origins behind one cluster each, and a table that says in a header which of them it has chosen.
fn table(version: u32) -> String {
    let cluster = if version.is_multiple_of(2) { "even" } else { "odd" };
    let routes = format!(
        "- match: {{prefix: /}}
  route: {{cluster: {cluster}}}
  response_headers_to_add: [{{header: {{key: x-cluster, value: {cluster}}}}}]"
    );
    response(&format!("r{version}"), &[route_configuration("table", &routes)])
}

fn listener(version: u32) -> String {
    // In turn only the filter chain changes, and the listener itself.
    let limit = format!("per_connection_buffer_limit_bytes: {}", 40_000 + version / 2);
    let listener = Listener::rds("main", "table", "rds.yaml").fields(&limit);
    let resource =
        listener.resource().replace("stat_prefix: main", &format!("stat_prefix: main{}", version % 2));
    response(&format!("l{version}"), &[resource])
}

/// Sends requests one after the other until told to stop; counts them, and connections.
fn client(address: SocketAddr, done: Arc<AtomicBool>) -> JoinHandle<(u32, u32)> {
    std::thread::spawn(move || {
        let (mut requests, mut connections) = (0, 0);
        while !done.load(Ordering::Relaxed) {
            let mut connection = Connection::open(address);
            connections += 1;
            loop {
                let response = Request::get("/").send_on(&mut connection);
                let response = response.unwrap_or_else(|error| panic!("request {requests}: {error:?}"));
                requests += 1;
                assert_eq!(response.status(), 200, "request {requests}: {response:?}");
                let cluster = response.header("x-cluster").expect("a route of some table");
                assert_eq!(response.text(), cluster, "an answer of the cluster that the route names");
                if response.has_token("connection", "close") || done.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        (requests, connections)
    })
}

fn put_and_wait(proxy: &Proxy, file: &str, text: &str, stat: &str, version: &str) {
    proxy.put(file, text);
    proxy.await_text(&format!("{stat}.version_text"), version);
}

fn updates_under_load_lose_nothing(driver: Driver) {
    // Both clusters have two hosts, one of which comes and goes.
    let origins = ["even", "odd"].map(|name| [(), ()].map(|()| Origin::start(Answer::status(200, "", name))));
    let hosts = |version: u32, at: usize| {
        let name = ["even", "odd"][at];
        let ports: Vec<u16> = origins[at].iter().map(Origin::port).collect();
        let shown = match version % 3 {
            0 => &ports[..],
            1 => &ports[..1],
            _ => &ports[1..],
        };
        response(&format!("e{version}"), &[load_assignment(name, shown)])
    };
    let clusters = ["even", "odd"].map(|name| eds_cluster(name, &format!("{name}.yaml"), ""));
    let proxy = Server::ringway(driver)
        .concurrency(2)
        .file("cds.yaml", &response("c1", &clusters))
        .file("even.yaml", &hosts(0, 0))
        .file("odd.yaml", &hosts(0, 1))
        .file("rds.yaml", &table(0))
        .file("lds.yaml", &listener(0))
        .start(&bootstrap());
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS).map(|_| client(proxy.address(), Arc::clone(&done))).collect();
    for version in 1..=ROUTE_UPDATES {
        put_and_wait(&proxy, "rds.yaml", &table(version), "http.main0.rds.table", &format!("r{version}"));
        let (at, name) = if version.is_multiple_of(2) { (0, "even") } else { (1, "odd") };
        let hosts = hosts(version, at);
        put_and_wait(
            &proxy,
            &format!("{name}.yaml"),
            &hosts,
            &format!("cluster.{name}"),
            &format!("e{version}"),
        );
        if version.is_multiple_of(ROUTE_UPDATES / LISTENER_UPDATES) {
            let version = version / (ROUTE_UPDATES / LISTENER_UPDATES);
            put_and_wait(
                &proxy,
                "lds.yaml",
                &listener(version),
                "listener_manager.lds",
                &format!("l{version}"),
            );
        }
    }
    done.store(true, Ordering::Relaxed);
    let counts: Vec<(u32, u32)> =
        clients.into_iter().map(|client| client.join().expect("nothing lost")).collect();
    let (requests, connections) =
        counts.iter().fold((0, 0), |(requests, connections), (r, c)| (requests + r, connections + c));
    assert!(requests > 1000, "{requests} requests are no load");
    assert!(connections > LISTENER_UPDATES, "{connections} connections: the old listeners did not drain");
    assert_eq!(proxy.stat("listener_manager.lds.update_success"), u64::from(LISTENER_UPDATES) + 1);
    assert_eq!(proxy.stat("http.main0.rds.table.config_reload"), u64::from(ROUTE_UPDATES) + 1);
    assert_eq!(proxy.stat("listener_manager.listener_in_place_updated"), u64::from(LISTENER_UPDATES) / 2);
    assert_eq!(proxy.stat("ringway.panics"), 0);
    proxy.stop();
}
