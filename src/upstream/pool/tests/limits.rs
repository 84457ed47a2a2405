//! Connecting, queueing and circuit breakers.

use std::time::Duration;

use ringway_test_support::origin::{BlackHole, RefusedPort};
use ringway_test_support::{Answer, Origin};

use crate::upstream::testing::{World, check_out, exchange, get, on_each_driver, response, stream};
use crate::upstream::{PoolFailure, UpstreamReset};

#[test]
fn a_refused_connection_fails_the_request() {
    async fn test(world: World) {
        let refused = RefusedPort::take();
        let cluster = world.cluster_at(refused.port, |_| {});
        let failure = check_out(&cluster).await.expect_err("nobody listens");
        assert_eq!(failure, PoolFailure::ConnectFailure("delayed connect error: Connection refused".into()));
        assert!(UpstreamReset::from(failure).is_connect_failure());
        for (name, value) in [
            ("upstream_cx_total", 1),
            ("upstream_cx_connect_fail", 1),
            ("upstream_cx_destroy_remote", 1),
            ("upstream_rq_pending_failure_eject", 1),
            ("upstream_rq_pending_active", 0),
            ("upstream_cx_active", 0),
            ("upstream_rq_total", 0),
        ] {
            assert_eq!(world.count(name), value, "{name}");
        }
        assert_eq!(cluster.hosts()[0].shared().stats.totals().cx_connect_fail, 1);
    }
    on_each_driver(test);
}

#[test]
fn connecting_ends_with_the_connect_timeout() {
    async fn test(world: World) {
        let silent = BlackHole::open();
        let cluster =
            world.cluster_at(silent.port, |config| config.connect_timeout = Duration::from_millis(30));
        assert_eq!(check_out(&cluster).await.expect_err("no answer"), PoolFailure::Timeout);
        assert_eq!(world.count("upstream_cx_connect_timeout"), 1);
        assert_eq!(world.count("upstream_cx_connect_fail"), 1);
        assert_eq!(world.count("upstream_cx_active"), 0);
    }
    on_each_driver(test);
}

#[test]
fn requests_queue_for_the_only_connection() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |config| {
            config.circuit_breakers.default.max_connections = 1;
            config.circuit_breakers.default.max_pending_requests = 1;
        });
        let mut first = stream(&cluster).await;
        let second = check_out(&cluster);
        assert_eq!(world.count("upstream_cx_overflow"), 1);
        assert_eq!(world.count("upstream_rq_pending_active"), 1);
        let third = check_out(&cluster).await.expect_err("the queue is full");
        assert_eq!(third, PoolFailure::Overflow);
        assert_eq!(world.count("upstream_rq_pending_overflow"), 1);

        first.send_head(&get("/"), true);
        response(&mut first).await.expect("an answer");
        let id = first.connection_id();
        drop(first);
        let mut second = second.await.expect("the connection");
        assert!(second.is_reused() && second.connection_id() == id);
        second.send_head(&get("/"), true);
        assert_eq!(response(&mut second).await.expect("an answer").status, 200);
        assert_eq!((origin.accepted(), world.count("upstream_rq_pending_active")), (1, 0));
    }
    on_each_driver(test);
}

#[test]
fn the_first_connection_to_a_host_is_always_allowed() {
    async fn test(world: World) {
        let origins = [(); 2].map(|()| Origin::start(Answer::status(200, "", "x")));
        let addresses = origins.each_ref().map(|origin| crate::upstream::testing::local(origin.port()));
        let cluster = world.cluster(&addresses, |config| {
            config.circuit_breakers.default.max_connections = 0;
        });
        for host in cluster.hosts() {
            host.check_out(crate::config::route::RoutingPriority::Default, crate::http::Version::Http11)
                .await
                .expect("a connection");
        }
        assert_eq!(world.count("upstream_cx_total"), 2);
        assert_eq!(world.count("upstream_cx_overflow"), 2);
    }
    on_each_driver(test);
}

#[test]
fn active_requests_are_limited_and_the_connection_stays() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster =
            world.cluster_at(origin.port(), |config| config.circuit_breakers.default.max_requests = 1);
        let first = stream(&cluster).await;
        assert_eq!(check_out(&cluster).await.expect_err("one is active"), PoolFailure::Overflow);
        assert_eq!(world.count("upstream_rq_active_overflow"), 1);
        drop(first);
        assert_eq!(exchange(&cluster, "/").await.0.status, 200);
        assert_eq!(world.count("upstream_cx_destroy"), 0);
    }
    on_each_driver(test);
}

#[test]
fn a_finished_request_makes_room_for_the_one_that_waits() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |config| {
            config.circuit_breakers.default.max_connections = 1;
            config.circuit_breakers.default.max_requests = 1;
        });
        let first = stream(&cluster).await;
        let second = check_out(&cluster);
        drop(first);
        second.await.expect("the first's connection and its place");
        assert_eq!(world.count("upstream_rq_active_overflow"), 0);
    }
    on_each_driver(test);
}

#[test]
fn who_gives_up_waiting_leaves_the_queue() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        drop(check_out(&cluster));
        assert_eq!(world.count("upstream_rq_cancelled"), 1);
        assert_eq!(world.count("upstream_rq_pending_active"), 0);
        world.until_true("the connection stands", || origin.accepted() == 1).await;
        assert_eq!(exchange(&cluster, "/").await.0.status, 200);
        assert_eq!(world.count("upstream_rq_total"), 1);
    }
    on_each_driver(test);
}

#[test]
fn a_connection_given_to_nobody_serves_the_next() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let forgotten = check_out(&cluster);
        // Assigned to the place in the queue, but never taken.
        world.until("upstream_rq_total", 1).await;
        drop(forgotten);
        assert_eq!(world.count("upstream_rq_active"), 0);
        exchange(&cluster, "/").await;
        assert_eq!(origin.accepted(), 1);
    }
    on_each_driver(test);
}
