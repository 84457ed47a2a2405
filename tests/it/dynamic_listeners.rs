//! Listeners that come, change and go while the proxy serves.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringway_test_support::client::End;
use ringway_test_support::xds::{
    Listener, bootstrap, cluster, response, route_configuration, says, to_cluster,
};
use ringway_test_support::{
    Answer, Connection, Driver, Origin, Proxy, Request, Server, Then, eventually, eventually_within,
};

on_both_drivers! {
    listeners_come_and_go
    a_changed_listener_keeps_its_socket
    connections_end_with_the_next_response
    the_drain_time_ends_what_is_left
    chains_that_stay_keep_their_connections
    a_listener_of_another_name_takes_an_address_over
    listeners_may_swap_addresses
    a_listener_waits_for_its_routes
    a_changed_listener_waits_for_its_routes
    a_port_in_use_rejects_that_listener_only
    listeners_of_the_bootstrap_stay
    an_ending_process_takes_no_new_listener
}

fn start(driver: Driver, listeners: &[Listener]) -> Proxy {
    start_with(Server::ringway(driver), listeners)
}

fn start_with(server: Server, listeners: &[Listener]) -> Proxy {
    server
        .file("lds.yaml", &lds("l1", listeners))
        .file("cds.yaml", &response("c1", &[]))
        .file("rds.yaml", &response("r1", &[route_configuration("table", &says("table"))]))
        .start(&bootstrap())
}

fn lds(version: &str, listeners: &[Listener]) -> String {
    response(version, &listeners.iter().map(Listener::resource).collect::<Vec<_>>())
}

fn put(proxy: &Proxy, version: &str, listeners: &[Listener]) {
    proxy.put("lds.yaml", &lds(version, listeners));
    proxy.await_text("listener_manager.lds.version_text", version);
}

fn says_it(name: &str, text: &str) -> Listener {
    Listener::inline(name, &says(text))
}

fn get(address: SocketAddr) -> String {
    Request::get("/").send(address).text()
}

fn await_answer(address: SocketAddr, text: &str) {
    eventually(&format!("{text:?} from {address}"), || (get(address) == text).then_some(()));
}

fn await_refusal(address: SocketAddr) {
    eventually("connections to be refused", || TcpStream::connect(address).is_err().then_some(()));
}

/// Counts of the listener manager: added, modified, removed, in place.
fn counts(proxy: &Proxy) -> [u64; 4] {
    ["added", "modified", "removed", "in_place_updated"]
        .map(|name| proxy.stat(&format!("listener_manager.listener_{name}")))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn listeners_come_and_go(driver: Driver) {
    let mut proxy = start(driver, &[says_it("one", "1")]);
    let one = proxy.address_of("one");
    put(&proxy, "l2", &[says_it("one", "1"), says_it("two", "2")]);
    eventually("the new listener", || {
        (proxy.find_listeners() && !proxy.addresses_of("two").is_empty()).then_some(())
    });
    let two = proxy.address_of("two");
    assert_eq!((get(one), get(two)), ("1".into(), "2".into()));
    assert_eq!(counts(&proxy), [2, 0, 0, 0]);
    put(&proxy, "l3", &[says_it("two", "2")]);
    await_refusal(one);
    assert_eq!(get(two), "2");
    assert_eq!(counts(&proxy), [2, 0, 1, 0]);
    assert_eq!(proxy.stat("listener_manager.total_listeners_active"), 1);
    assert_eq!(proxy.stat("listener_manager.total_listeners_draining"), 1);
    assert!(!proxy.admin_get("/listeners").text().contains("one"));
    let dump = proxy.admin_get("/config_dump?resource=dynamic_listeners").json();
    assert_eq!(dump["configs"][0]["draining_state"]["listener"]["name"], "one");
    proxy.stop();
}

fn a_changed_listener_keeps_its_socket(driver: Driver) {
    let limit = |kib: u32| format!("per_connection_buffer_limit_bytes: {}", kib * 1024);
    let main = |kib: u32, text: &str| says_it("main", text).fields(&limit(kib));
    let mut proxy = start_with(Server::ringway(driver).concurrency(2), &[main(64, "0")]);
    let address = proxy.address();
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut requests = 0;
                while !done.load(Ordering::SeqCst) {
                    // Each on a connection of its own: none is refused, none is reset.
                    let response = Request::get("/").try_send(address).expect("an answer");
                    assert_eq!(response.status(), 200);
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    for round in 1..=10 {
        // A change of the filter chain, then one of the listener itself.
        put(&proxy, &format!("chain{round}"), &[main(64 + round - 1, &format!("{round}"))]);
        put(&proxy, &format!("whole{round}"), &[main(64 + round, &format!("{round}"))]);
        await_answer(address, &format!("{round}"));
    }
    done.store(true, Ordering::SeqCst);
    let requests: usize = clients.into_iter().map(|client| client.join().expect("no request is lost")).sum();
    assert!(requests > 20, "{requests} requests");
    assert!(proxy.find_listeners());
    assert_eq!(proxy.address(), address);
    assert_eq!(counts(&proxy), [1, 20, 0, 10]);
    proxy.stop();
}

fn connections_end_with_the_next_response(driver: Driver) {
    let main = |text: &str| says_it("main", text).fields("per_connection_buffer_limit_bytes: 9999");
    let proxy = start(driver, &[says_it("main", "old")]);
    let mut used = Connection::open(proxy.address());
    assert_eq!(Request::get("/").send_on(&mut used).expect("response").text(), "old");
    let mut idle = Connection::open(proxy.address());
    proxy.await_stat("http.main.downstream_cx_active", 2);
    put(&proxy, "l2", &[main("new")]);
    await_answer(proxy.address(), "new");
    // Nobody has told them that they are to end: a request that is on its way must find them open.
    let response = Request::get("/").send_on(&mut used).expect("response");
    assert_eq!((response.text().as_str(), response.has_token("connection", "close")), ("old", true));
    assert!(used.is_closed_by_peer());
    let response = Request::get("/").send_on(&mut idle).expect("response");
    assert_eq!((response.text().as_str(), response.has_token("connection", "close")), ("old", true));
    assert_eq!(proxy.stat("listener_manager.total_listeners_draining"), 1);
    assert_eq!(Request::get("/").send(proxy.address()).header("connection"), None);
    proxy.stop();
}

fn the_drain_time_ends_what_is_left(driver: Driver) {
    let origin = Origin::start(Answer::script(|connection, request| {
        let _ = connection.read_body(request);
        // Half an answer, and never the rest.
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        Then::Stall
    }));
    let server = Server::ringway(driver)
        .arg("--drain-time-s")
        .arg("1")
        .file("lds.yaml", &lds("l1", &[Listener::inline("main", &to_cluster("origin"))]))
        .file("cds.yaml", &response("c1", &[cluster("origin", origin.port(), "")]));
    let proxy = server.start(&bootstrap());
    let mut busy = Connection::open(proxy.address());
    busy.send(Request::get("/").bytes());
    assert_eq!(busy.read_head().expect("a head").status(), 200);
    let mut idle = Connection::open(proxy.address());
    proxy.await_stat("http.main.downstream_cx_active", 2);
    let began = std::time::Instant::now();
    put(&proxy, "l2", &[]);
    proxy.await_stat("listener_manager.total_listeners_draining", 1);
    assert!(matches!(idle.end(ringway_test_support::PATIENCE), End::Closed(_) | End::Reset));
    assert!(matches!(busy.end(ringway_test_support::PATIENCE), End::Closed(_) | End::Reset));
    assert!(began.elapsed().as_millis() >= 900, "{:?}", began.elapsed());
    proxy.await_stat("listener_manager.total_listeners_draining", 0);
    eventually("its statistics to be gone", || {
        proxy.find_stat("http.main.downstream_cx_active").is_none().then_some(())
    });
    proxy.stop();
}

fn chains_that_stay_keep_their_connections(driver: Driver) {
    let main = |default: &str| says_it("main", "chain").default_chain(default);
    let proxy = start(driver, &[main("a")]);
    let mut connection = Connection::open(proxy.address());
    let mut ask = || Request::get("/").send_on(&mut connection).expect("response");
    assert_eq!(ask().text(), "chain");
    for round in 0..5 {
        // The other chain changes: this one, its connection and its statistics stay.
        put(&proxy, &format!("l2-{round}"), &[main(&format!("b{round}"))]);
        let response = ask();
        assert_eq!((response.text().as_str(), response.header("connection")), ("chain", None));
    }
    assert_eq!(counts(&proxy), [1, 5, 0, 5]);
    assert_eq!(proxy.stat("listener_manager.total_listeners_draining"), 0);
    assert_eq!(proxy.stat("http.main.downstream_cx_active"), 1);
    // Now the chain itself changes.
    put(&proxy, "l3", &[says_it("main", "other").default_chain("b4")]);
    await_answer(proxy.address(), "other");
    let response = ask();
    assert_eq!((response.text().as_str(), response.has_token("connection", "close")), ("chain", true));
    assert!(connection.is_closed_by_peer());
    proxy.stop();
}

fn a_listener_of_another_name_takes_an_address_over(driver: Driver) {
    let port = free_port();
    let mut proxy = start(driver, &[says_it("old", "old").port(port)]);
    let address = proxy.address();
    let mut connection = Connection::open(address);
    assert_eq!(Request::get("/").send_on(&mut connection).expect("response").text(), "old");
    put(&proxy, "l2", &[says_it("new", "new").port(port)]);
    await_answer(address, "new");
    let response = Request::get("/").send_on(&mut connection).expect("response");
    assert_eq!((response.text().as_str(), response.has_token("connection", "close")), ("old", true));
    assert!(proxy.find_listeners());
    assert_eq!(proxy.address_of("new"), address);
    assert_eq!(counts(&proxy), [2, 0, 1, 0]);
    proxy.stop();
}

fn listeners_may_swap_addresses(driver: Driver) {
    let ports = [free_port(), free_port()];
    let pair =
        |first: usize| [says_it("a", "a").port(ports[first]), says_it("b", "b").port(ports[1 - first])];
    let proxy = start(driver, &pair(0));
    let address = |at: usize| SocketAddr::from(([127, 0, 0, 1], ports[at]));
    assert_eq!((get(address(0)), get(address(1))), ("a".into(), "b".into()));
    put(&proxy, "l2", &pair(1));
    await_answer(address(0), "b");
    await_answer(address(1), "a");
    proxy.stop();
}

fn a_listener_waits_for_its_routes(driver: Driver) {
    let source = |timeout: &str| {
        format!("initial_fetch_timeout: {timeout}, path_config_source: {{path: '{{dir}}/late.yaml'}}")
    };
    let mut proxy = start(driver, &[says_it("main", "main")]);
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    proxy.put("late.yaml", &response("r1", &[route_configuration("another", &says("x"))]));
    let late = |timeout: &str| Listener::rds_from("late", "table", &source(timeout)).port(port);
    put(&proxy, "l2", &[says_it("main", "main"), late("0s")]);
    proxy.await_stat("listener_manager.total_listeners_warming", 1);
    assert!(TcpStream::connect(address).is_err(), "a listener that cannot answer lets nobody in");
    assert!(proxy.admin_get("/init_dump").text().contains("table"));
    proxy.put("late.yaml", &response("r2", &[route_configuration("table", &says("late"))]));
    proxy.await_stat("listener_manager.total_listeners_warming", 0);
    await_answer(address, "late");
    // One that waits for a time only serves without routes after that time.
    put(&proxy, "l3", &[says_it("main", "main")]);
    await_refusal(address);
    proxy.put("late.yaml", &response("r3", &[route_configuration("another", &says("x"))]));
    put(&proxy, "l4", &[says_it("main", "main"), late("0.2s")]);
    eventually("the listener without routes", || {
        Request::get("/").try_send(address).is_ok_and(|it| it.status() == 404).then_some(())
    });
    assert_eq!(proxy.stat("http.late.rds.table.init_fetch_timeout"), 1);
    assert!(proxy.find_listeners());
    proxy.stop();
}

fn a_changed_listener_waits_for_its_routes(driver: Driver) {
    let source = "initial_fetch_timeout: 0s, path_config_source: {path: '{dir}/late.yaml'}";
    let proxy = start(driver, &[says_it("main", "old")]);
    proxy.put("late.yaml", &response("r1", &[route_configuration("another", &says("x"))]));
    put(&proxy, "l2", &[Listener::rds_from("main", "table", source)]);
    proxy.await_stat("listener_manager.total_listeners_warming", 1);
    (0..10).for_each(|_| assert_eq!(get(proxy.address()), "old"));
    let dump = proxy.admin_get("/config_dump?resource=dynamic_listeners").json();
    let state = |name: &str| dump["configs"][0][name]["version_info"].clone();
    assert_eq!((state("active_state"), state("warming_state")), ("l1".into(), "l2".into()));
    // Another change comes before: it is the newest that counts.
    put(&proxy, "l3", &[says_it("main", "newest")]);
    await_answer(proxy.address(), "newest");
    proxy.put("late.yaml", &response("r2", &[route_configuration("table", &says("late"))]));
    put(&proxy, "l4", &[Listener::rds_from("main", "table", source)]);
    await_answer(proxy.address(), "late");
    assert_eq!(proxy.stat("listener_manager.total_listeners_warming"), 0);
    proxy.stop();
}

fn a_port_in_use_rejects_that_listener_only(driver: Driver) {
    let mut proxy = start(driver, &[says_it("main", "1")]);
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("an address").port();
    let listeners = [says_it("main", "2"), says_it("taken", "3").port(port), says_it("good", "4")];
    proxy.put("lds.yaml", &lds("l2", &listeners));
    proxy.await_stat("listener_manager.lds.update_rejected", 1);
    await_answer(proxy.address(), "2");
    eventually("the good listener", || {
        (proxy.find_listeners() && !proxy.addresses_of("good").is_empty()).then_some(())
    });
    assert_eq!(get(proxy.address_of("good")), "4");
    assert_eq!(proxy.find_text("listener_manager.lds.version_text").as_deref(), Some("l1"));
    assert_eq!(proxy.stat("listener_manager.listener_create_failure"), 1);
    let dump = proxy.admin_get("/config_dump?resource=dynamic_listeners").json();
    let taken = dump["configs"].as_array().expect("a list").iter().find(|it| it["name"] == "taken");
    let error = &taken.expect("the listener")["error_state"];
    assert!(
        error["details"].as_str().is_some_and(|it| it.contains("another process listens there")),
        "{error}"
    );
    eventually("a line in the log", || proxy.stderr().contains("lds update rejected").then_some(()));
    // Once the port is free, the same file will do.
    drop(other);
    put(&proxy, "l3", &listeners);
    await_answer(SocketAddr::from(([127, 0, 0, 1], port)), "3");
    proxy.stop();
}

fn listeners_of_the_bootstrap_stay(driver: Driver) {
    let bootstrap = format!(
        "{}static_resources:\n  listeners:\n  - {}",
        bootstrap(),
        says_it("fixed", "fixed").yaml().replace('\n', "\n    ")
    );
    let proxy = Server::ringway(driver)
        .file("lds.yaml", &lds("l1", &[says_it("main", "1"), says_it("fixed", "other")]))
        .file("cds.yaml", &response("c1", &[]))
        .start(&bootstrap);
    let fixed = proxy.address_of("fixed");
    assert_eq!((get(fixed), get(proxy.address_of("main"))), ("fixed".into(), "1".into()));
    put(&proxy, "l2", &[]);
    await_refusal(proxy.address_of("main"));
    assert_eq!(get(fixed), "fixed");
    eventually_within(ringway_test_support::PATIENCE, "a line in the log", || {
        proxy.stderr().contains("'fixed' is one of the bootstrap").then_some(())
    });
    proxy.stop();
}

fn an_ending_process_takes_no_new_listener(driver: Driver) {
    let origin = Origin::start(Answer::script(|_, _| Then::Stall));
    let mut proxy = Server::ringway(driver)
        .file("lds.yaml", &lds("l1", &[Listener::inline("main", &to_cluster("origin"))]))
        .file("cds.yaml", &response("c1", &[cluster("origin", origin.port(), "")]))
        .start(&bootstrap());
    let mut waiting = Connection::open(proxy.address());
    waiting.send(Request::get("/").bytes());
    eventually("the request at the origin", || (origin.request_count() > 0).then_some(()));
    proxy.signal(libc::SIGTERM);
    await_refusal(proxy.address());
    let late = free_port();
    put(&proxy, "l2", &[says_it("late", "late").port(late)]);
    assert!(TcpStream::connect(("127.0.0.1", late)).is_err());
    assert!(proxy.is_running());
    proxy.signal(libc::SIGTERM);
    assert!(proxy.await_end().success());
}
