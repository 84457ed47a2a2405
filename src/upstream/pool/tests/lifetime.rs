//! How long connections live: idle closes of either side, limits, removed hosts.

use std::time::Duration;

use ringway_test_support::{Answer, Origin, Then};

use crate::io;
use crate::upstream::testing::{World, exchange, get, on_each_driver, response, stream};
use crate::upstream::{HostSet, UpstreamReset};

#[test]
fn an_origins_close_while_idle_is_noticed() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        exchange(&cluster, "/").await;
        origin.close_connections();
        world.until("upstream_cx_destroy_remote", 1).await;
        assert_eq!(world.count("upstream_cx_active"), 0);
        assert!(!exchange(&cluster, "/").await.1.is_reused);
        assert_eq!(world.count("upstream_cx_destroy_with_active_rq"), 0);
    }
    on_each_driver(test);
}

#[test]
fn bytes_that_nobody_asked_for_end_an_idle_connection() {
    async fn test(world: World) {
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let origin = Origin::start(Answer::raw(two));
        let cluster = world.cluster_at(origin.port(), |_| {});
        for _ in 0..3 {
            let (response, exchanged) = exchange(&cluster, "/").await;
            assert_eq!((response.status, exchanged.is_reused), (200, false));
        }
        world.until("upstream_cx_destroy_local", 3).await;
    }
    on_each_driver(test);
}

#[test]
fn a_close_that_races_with_a_request_can_be_told_apart() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        origin.expect([Answer::status(200, "", "x"), Answer::Raw(Vec::new(), Then::Close)]);
        let cluster = world.cluster_at(origin.port(), |_| {});
        exchange(&cluster, "/").await;
        let mut raced = stream(&cluster).await;
        raced.send_head(&get("/"), true);
        let end = response(&mut raced).await.expect_err("the origin closed");
        assert_eq!(end, UpstreamReset::ConnectionTermination);
        assert!(raced.is_reused() && !raced.response_started());
        drop(raced);
        assert_eq!(exchange(&cluster, "/").await.0.status, 200);
    }
    on_each_driver(test);
}

#[test]
fn idle_connections_end_after_the_idle_timeout() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |config| {
            config.common_http.idle_timeout = Some(Duration::from_millis(20));
        });
        exchange(&cluster, "/").await;
        exchange(&cluster, "/").await;
        world.until("upstream_cx_idle_timeout", 1).await;
        assert_eq!(world.count("upstream_cx_destroy_local"), 1);
        world.until_true("the origin sees the end", || origin.open() == 0).await;
    }
    on_each_driver(test);
}

#[test]
fn the_origins_keep_alive_timeout_is_honoured() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "keep-alive: timeout=0\r\n", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        exchange(&cluster, "/").await;
        world.until("upstream_cx_idle_timeout", 1).await;
    }
    on_each_driver(test);
}

#[test]
fn connections_end_after_their_last_request() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world
            .cluster_at(origin.port(), |config| config.common_http.max_requests_per_connection = Some(2));
        let mut reused = Vec::new();
        for _ in 0..4 {
            reused.push(exchange(&cluster, "/").await.1.is_reused);
        }
        assert_eq!(reused, [false, true, false, true]);
        assert_eq!(world.count("upstream_cx_max_requests"), 2);
        assert_eq!(world.count("upstream_cx_active"), 0);
    }
    on_each_driver(test);
}

#[test]
fn connections_end_after_their_longest_time() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |config| {
            config.common_http.max_connection_duration = Some(Duration::from_millis(20));
        });
        exchange(&cluster, "/").await;
        world.until("upstream_cx_max_duration_reached", 1).await;
        assert_eq!(world.count("upstream_cx_idle_timeout"), 0);
    }
    on_each_driver(test);
}

#[test]
fn the_connection_used_last_is_used_first() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let mut both = [stream(&cluster).await, stream(&cluster).await];
        for stream in &mut both {
            stream.send_head(&get("/"), true);
            response(stream).await.expect("an answer");
        }
        let [first, second] = both;
        let id = first.connection_id();
        drop(second);
        drop(first);
        assert_eq!(exchange(&cluster, "/").await.1.connection_id, id);
    }
    on_each_driver(test);
}

#[test]
fn connections_of_a_removed_host_end() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let mut busy = stream(&cluster).await;
        let idle = stream(&cluster).await;
        drop(idle);
        io::with_rng(|rng| cluster.update_hosts(HostSet::default().into(), rng));
        assert_eq!(world.count("upstream_cx_active"), 1, "the idle one is closed");
        busy.send_head(&get("/"), true);
        assert_eq!(response(&mut busy).await.expect("an answer").status, 200);
        drop(busy);
        assert_eq!(world.count("upstream_cx_active"), 0);
        assert!(io::with_rng(|rng| cluster.pick_host(&Default::default(), rng)).is_none());
        assert_eq!(world.count("upstream_cx_none_healthy"), 1);
    }
    on_each_driver(test);
}

#[test]
fn connections_of_a_host_that_failed_serve_no_further_request() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let (_, idle) = exchange(&cluster, "/").await;
        let mut busy = stream(&cluster).await;
        assert!(busy.is_reused());
        let mut other = stream(&cluster).await;
        other.send_head(&get("/"), true);
        response(&mut other).await.expect("a whole response");
        drop(other);
        cluster.drain_host(cluster.hosts()[0].shared());
        assert_eq!(world.count("upstream_cx_destroy_local"), 1, "the idle one");
        busy.send_head(&get("/"), true);
        assert_eq!(response(&mut busy).await.expect("a whole response").status, 200);
        drop(busy);
        assert_eq!(world.count("upstream_cx_destroy_local"), 2);
        assert_eq!(world.count("upstream_cx_destroy_with_active_rq"), 0);
        let (_, fresh) = exchange(&cluster, "/").await;
        assert!(!fresh.is_reused && fresh.connection_id != idle.connection_id);
        assert!(exchange(&cluster, "/").await.1.is_reused, "later ones are kept again");
    }
    on_each_driver(test);
}
