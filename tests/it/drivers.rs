//! Choosing the I/O driver: by flag, by probing, and where io_uring is forbidden as container runtimes forbid it.

use ringway_test_support::config::Http;
use ringway_test_support::{Connection, Driver, Origin, Proxy, Request, Server, procfs};

on_both_drivers! { the_flag_is_honoured an_idle_process_costs_nothing }

fn driver_of(proxy: &Proxy) -> String {
    proxy.admin_get("/server_info").text()
}

fn use_it(proxy: &Proxy) {
    let mut connection = Connection::open(proxy.address());
    for i in 0..50 {
        let echo = Request::post("/", "x".repeat(i * 100)).send_on(&mut connection).expect("response").json();
        assert_eq!(echo["body"].as_str().map(str::len), Some(i * 100));
    }
}

fn the_flag_is_honoured(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).start(&Http::to_origin(origin.port()).yaml());
    assert!(driver_of(&proxy).contains(&format!("\"{}\"", driver.as_str())), "{}", driver_of(&proxy));
    use_it(&proxy);
    proxy.stop();
}

#[test]
fn auto_takes_the_ring_where_it_can() {
    let origin = Origin::echo();
    let proxy =
        Server::ringway_bare().arg("--io-driver").arg("auto").start(&Http::to_origin(origin.port()).yaml());
    assert!(driver_of(&proxy).contains("\"ring\""), "{}", driver_of(&proxy));
    use_it(&proxy);
    proxy.stop();
}

#[test]
fn epoll_can_be_asked_for_where_the_ring_is_there() {
    let origin = Origin::echo();
    let proxy =
        Server::ringway_bare().arg("--io-driver").arg("epoll").start(&Http::to_origin(origin.port()).yaml());
    assert!(driver_of(&proxy).contains("\"epoll\""), "{}", driver_of(&proxy));
    use_it(&proxy);
    proxy.stop();
}

#[test]
fn auto_falls_back_where_io_uring_is_forbidden() {
    let origin = Origin::echo();
    let proxy =
        Server::ringway_bare().deny_io_uring().concurrency(2).start(&Http::to_origin(origin.port()).yaml());
    assert!(driver_of(&proxy).contains("\"epoll\""), "{}", driver_of(&proxy));
    let said = proxy.stderr();
    let lines: Vec<_> =
        said.lines().filter(|line| line.contains("io_uring") && line.contains("epoll")).collect();
    assert_eq!(lines.len(), 1, "one line says it:\n{said}");
    use_it(&proxy);
    proxy.stop();
}

#[test]
fn the_ring_on_request_is_an_error_where_io_uring_is_forbidden() {
    let exited = Server::ringway(Driver::Ring)
        .deny_io_uring()
        .file("c.yaml", &Http::to_origin(1).yaml())
        .arg("-c")
        .arg("{dir}/c.yaml")
        .run_to_end(ringway_test_support::PATIENCE);
    assert_eq!(exited.status.code(), Some(1), "{}", exited.stderr);
    assert!(exited.stderr.contains("io_uring") && !exited.stderr.contains("panicked"), "{}", exited.stderr);
}

fn an_idle_process_costs_nothing(driver: Driver) {
    let origin = Origin::echo();
    let proxy = Server::ringway(driver).concurrency(2).start(&Http::to_origin(origin.port()).yaml());
    use_it(&proxy);
    let before = procfs::cpu_time(proxy.pid());
    // A second of doing nothing is what is measured here.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let used = procfs::cpu_time(proxy.pid()) - before;
    assert!(used.as_millis() <= 50, "{used:?} in a second of idleness");
    proxy.stop();
}
