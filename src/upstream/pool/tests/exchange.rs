//! One exchange: what goes over the wire, and what leaves a connection usable.

use ringway_test_support::{Answer, Origin, Then};

use crate::buf::Chunk;
use crate::http::HeaderMap;
use crate::upstream::testing::{World, exchange, get, on_each_driver, post, response, stream};
use crate::upstream::{UpstreamEvent, UpstreamReset};

#[test]
fn requests_in_turn_share_a_connection() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "", "hello"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let (response, first) = exchange(&cluster, "/a").await;
        assert_eq!((response.status, response.body.as_slice()), (200, &b"hello"[..]));
        assert!(!first.is_reused);
        let (_, second) = exchange(&cluster, "/b").await;
        assert!(second.is_reused && second.connection_id == first.connection_id);
        let targets: Vec<_> = origin.take_requests().iter().map(|r| r.target().to_owned()).collect();
        assert_eq!(targets, ["/a", "/b"]);
        for (name, value) in [
            ("upstream_cx_total", 1),
            ("upstream_cx_http1_total", 1),
            ("upstream_cx_active", 1),
            ("upstream_rq_total", 2),
            ("upstream_rq_active", 0),
            ("upstream_rq_pending_total", 1),
            ("upstream_rq_pending_active", 0),
            ("upstream_cx_destroy", 0),
        ] {
            assert_eq!(world.count(name), value, "{name}");
        }
        assert!(
            world.count("upstream_cx_tx_bytes_total") > 0 && world.count("upstream_cx_rx_bytes_total") > 0
        );
        let host = cluster.hosts()[0].clone();
        let totals = host.shared().stats.totals();
        assert_eq!((totals.rq_total, totals.rq_success, totals.cx_total, totals.rq_active), (2, 2, 1, 0));
    }
    on_each_driver(test);
}

#[test]
fn bodies_pass_in_both_framings_and_directions() {
    async fn test(world: World) {
        let origin = Origin::echo();
        let cluster = world.cluster_at(origin.port(), |config| config.http1.enable_trailers = true);

        let mut with_length = stream(&cluster).await;
        with_length.send_head(&post(&[("content-length", "5")]), false);
        with_length.send_data(Chunk::from_static(b"he"), false);
        with_length.send_data(Chunk::from_static(b"llo"), true);
        let echo = response(&mut with_length).await.expect("an answer");
        assert_eq!(echo.status, 200);
        drop(with_length);

        let mut chunked = stream(&cluster).await;
        assert!(chunked.is_reused());
        chunked.send_head(&post(&[]), false);
        chunked.send_data(Chunk::from_static(b"some"), false);
        chunked.send_data(Chunk::from_static(b"thing"), false);
        let mut trailers = HeaderMap::new();
        trailers.append("x-sum", b"9");
        chunked.send_trailers(&trailers);
        response(&mut chunked).await.expect("an answer");
        drop(chunked);

        let requests = origin.take_requests();
        assert_eq!(requests[0].body, b"hello");
        assert_eq!(requests[0].header("content-length"), Some("5"));
        assert_eq!(requests[1].body, b"something");
        assert_eq!(requests[1].trailer("x-sum"), Some("9"));

        let body = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-end: 1\r\n\r\n";
        origin.set_default(Answer::raw(body));
        let mut download = stream(&cluster).await;
        download.send_head(&get("/"), true);
        let answer = response(&mut download).await.expect("an answer");
        assert_eq!(answer.body, b"abcde");
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers.get("x-end"), Some(&b"1"[..]));
        drop(download);
        assert_eq!(origin.accepted(), 1, "each left the connection usable");
    }
    on_each_driver(test);
}

#[test]
fn the_last_event_says_that_it_is_the_last() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(204, "", ""));
        origin.set_default(Answer::raw("HTTP/1.1 204 Empty\r\n\r\n"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let mut without_body = stream(&cluster).await;
        without_body.send_head(&get("/"), true);
        let event = without_body.event().await.expect("a head");
        assert!(matches!(event, UpstreamEvent::Head { end_stream: true, .. }), "{event:?}");
        assert_eq!(without_body.event().await.expect_err("is over"), UpstreamReset::LocalReset);
    }
    on_each_driver(test);
}

#[test]
fn interim_responses_come_first() {
    async fn test(world: World) {
        let answer =
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let origin = Origin::start(Answer::raw(answer));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let (response, _) = exchange(&cluster, "/").await;
        assert_eq!((response.interim, response.status, response.body), (vec![103], 200, b"ok".to_vec()));
    }
    on_each_driver(test);
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::Raw(b"HTTP/1.1 200 OK\r\n\r\nall of it".to_vec(), Then::Close));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let (response, _) = exchange(&cluster, "/").await;
        assert_eq!(response.body, b"all of it");
        assert_eq!(world.count("upstream_cx_active"), 0);
        assert_eq!(world.count("upstream_cx_destroy_with_active_rq"), 0);
    }
    on_each_driver(test);
}

#[test]
fn a_connection_that_the_origin_will_close_serves_no_other() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::status(200, "connection: close\r\n", "x"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        for _ in 0..2 {
            assert!(!exchange(&cluster, "/").await.1.is_reused);
        }
        assert_eq!(world.count("upstream_cx_total"), 2);
        assert_eq!(world.count("upstream_cx_active"), 0);
    }
    on_each_driver(test);
}

#[test]
fn an_early_response_spends_the_connection() {
    async fn test(world: World) {
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
        let origin = Origin::start(Answer::AtHead(answer.to_vec(), Then::Stall));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let mut early = stream(&cluster).await;
        early.send_head(&post(&[("content-length", "100")]), false);
        early.send_data(Chunk::from_static(b"some"), false);
        assert_eq!(response(&mut early).await.expect("an answer").status, 413);
        drop(early);
        assert_eq!(world.count("upstream_cx_active"), 0);
        assert_eq!(world.count("upstream_cx_destroy_local"), 1);
        assert_eq!(world.count("upstream_cx_destroy_with_active_rq"), 0);
    }
    on_each_driver(test);
}

#[test]
fn an_abandoned_exchange_closes_its_connection() {
    async fn test(world: World) {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome";
        let origin = Origin::start(Answer::AtHead(answer.to_vec(), Then::Keep));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let mut abandoned = stream(&cluster).await;
        abandoned.send_head(&get("/"), true);
        let event = abandoned.event().await.expect("a head");
        assert!(matches!(event, UpstreamEvent::Head { end_stream: false, .. }));
        drop(abandoned);
        assert_eq!(world.count("upstream_cx_destroy_local_with_active_rq"), 1);
        world.until_true("the origin sees the end", || origin.open() == 0).await;
    }
    on_each_driver(test);
}

#[test]
fn a_body_that_breaks_off_is_a_protocol_error() {
    async fn test(world: World) {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome";
        let origin = Origin::start(Answer::AtHead(answer.to_vec(), Then::Close));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let mut broken = stream(&cluster).await;
        broken.send_head(&get("/"), true);
        let end = response(&mut broken).await.expect_err("not whole");
        assert!(matches!(end, UpstreamReset::ProtocolError(_)), "{end:?}");
        assert!(broken.response_started());
        drop(broken);
        assert_eq!(world.count("upstream_cx_destroy_remote_with_active_rq"), 1);
        assert_eq!(world.count("upstream_cx_protocol_error"), 1);
    }
    on_each_driver(test);
}

#[test]
fn nonsense_is_a_protocol_error() {
    async fn test(world: World) {
        let origin = Origin::start(Answer::raw("JUNK JUNK\r\n\r\n"));
        let cluster = world.cluster_at(origin.port(), |_| {});
        let mut broken = stream(&cluster).await;
        broken.send_head(&get("/"), true);
        let end = response(&mut broken).await.expect_err("no response");
        assert!(matches!(end, UpstreamReset::ProtocolError(_)), "{end:?}");
        drop(broken);
        assert_eq!(world.count("upstream_cx_protocol_error"), 1);
        assert_eq!(world.count("upstream_cx_destroy_local_with_active_rq"), 1);
        assert_eq!(cluster.hosts()[0].shared().stats.totals().rq_error, 1);
    }
    on_each_driver(test);
}

#[test]
fn a_body_of_another_length_than_announced_fails() {
    async fn test(world: World) {
        let origin = Origin::echo();
        let cluster = world.cluster_at(origin.port(), |_| {});
        for (body, end_stream) in [(&b"too long"[..], false), (b"no", true)] {
            let mut wrong = stream(&cluster).await;
            wrong.send_head(&post(&[("content-length", "5")]), false);
            wrong.send_data(Chunk::copy_from(body), end_stream);
            assert_eq!(response(&mut wrong).await.expect_err("failed"), UpstreamReset::LocalReset);
        }
        assert_eq!(world.count("upstream_cx_active"), 0);
    }
    on_each_driver(test);
}

#[test]
fn a_slow_origin_holds_the_sender() {
    async fn test(world: World) {
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let origin = Origin::start(Answer::script(move |connection, request| {
            wait.lock().expect("one user").recv().expect("the test goes on");
            connection.read_body(request).expect("a whole body");
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            Then::Keep
        }));
        let cluster =
            world.cluster_at(origin.port(), |config| config.per_connection_buffer_limit_bytes = 64 * 1024);
        let mut upload = stream(&cluster).await;
        upload.send_head(&post(&[]), false);
        let piece = Chunk::copy_from(&[b'x'; 16 * 1024]);
        let mut sent = 0_usize;
        // The kernel's buffers take some; then the queue fills up.
        let is_held = |upload: &mut crate::upstream::UpstreamStream| {
            let waker = std::task::Waker::noop();
            upload.poll_send_ready(&mut std::task::Context::from_waker(waker)).is_pending()
        };
        while !is_held(&mut upload) {
            upload.send_data(piece.clone(), false);
            sent += piece.len();
            assert!(sent < 1 << 30, "nothing holds the sender");
            crate::io::yield_now().await;
        }
        assert_eq!(world.count("upstream_flow_control_backed_up_total"), 1);
        go_on.send(()).expect("the origin waits");
        std::future::poll_fn(|cx| upload.poll_send_ready(cx)).await;
        assert_eq!(world.count("upstream_flow_control_drained_total"), 1);
        upload.send_data(Chunk::new(), true);
        assert_eq!(response(&mut upload).await.expect("an answer").status, 200);
    }
    on_each_driver(test);
}

#[test]
fn unix_sockets_are_reached() {
    async fn test(world: World) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("origin.sock");
        let _origin = Origin::start_unix(&path, Answer::status(200, "", "local"));
        let pipe = crate::config::Pipe { path: path.to_string_lossy().into_owned(), mode: 0 };
        let cluster = world.cluster(&[crate::config::Address::Pipe(pipe)], |_| {});
        assert_eq!(exchange(&cluster, "/").await.0.body, b"local");
        assert!(exchange(&cluster, "/").await.1.is_reused);
    }
    on_each_driver(test);
}
