//! Network filters on raw connections: the TCP proxy, echo, direct responses.

use std::time::Duration;

use ringway_test_support::TcpPeer;
use ringway_test_support::l4_config::{L4, access_log, chain, direct_response, network_filter};

use crate::l4::{Case, FORMAT, Group, LOG, Ports, case, logged};

/// Long enough for anything that is waited for, short enough to wait for in vain.
const A_WHILE: Duration = Duration::from_secs(2);

const REFUSED_THRICE: &str = "cluster: refused
max_connect_attempts: 3
backoff_options: {base_interval: 0.01s, max_interval: 0.02s}";

const SHORT_WITH_JITTER: &str = "cluster: origin
max_downstream_connection_duration: 0.1s
max_downstream_connection_duration_jitter_percentage: {value: 50}";

/// Listeners by name, each with a TCP proxy of these fields.
const PROXIES: &[(&str, &str)] = &[
    ("main", "cluster: origin"),
    ("refused", "cluster: refused"),
    ("refused_twice", "cluster: refused\nmax_connect_attempts: 2"),
    ("refused_thrice", REFUSED_THRICE),
    ("black_hole", "cluster: black_hole"),
    ("slow_hole", "cluster: slow_hole"),
    ("slow_hole_short", "cluster: slow_hole\nmax_downstream_connection_duration: 0.1s"),
    ("no_hosts", "cluster: no_hosts"),
    ("idle", "cluster: origin\nidle_timeout: 0.2s"),
    ("idle_off", "cluster: origin\nidle_timeout: 0s"),
    ("short", "cluster: origin\nmax_downstream_connection_duration: 0.2s"),
    ("jitter", SHORT_WITH_JITTER),
    ("when_connected", "cluster: origin\naccess_log_options: {flush_access_log_on_connected: true}"),
    ("at_intervals", "cluster: origin\naccess_log_options: {access_log_flush_interval: 0.3s}"),
    ("unknown", "cluster: nowhere"),
    ("weighted", "weighted_clusters: {clusters: [{name: second, weight: 3}]}"),
    ("no_connections", "cluster: no_connections"),
    ("no_pending", "cluster: no_pending"),
    ("no_pending_twice", "cluster: no_pending\nmax_connect_attempts: 2"),
    ("no_requests", "cluster: no_requests"),
];

/// What a listener's own log can tell of HTTP.
const HTTP_FORMAT: &str = "listener %PROTOCOL% flags=%RESPONSE_FLAGS% code=%RESPONSE_CODE% path=%REQ(:PATH)%";

fn manager() -> String {
    network_filter(
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix: test\nroute_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, \
         direct_response: {status: 200}}]}]}\nhttp_filters:\n- name: router\n  typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}",
    )
}

/// A client whose HTTP a listener's own log tells of; what it is answered is another table's affair.
fn http_case(name: &str, bytes: &'static str) -> Case {
    case(&format!("http, told by the listener: {name}")).on("http").any_end().client(move |client| {
        client.send(bytes).half_close().await_end(A_WHILE);
        client.received.clear();
    })
}

fn limit(what: &str) -> String {
    format!("circuit_breakers: {{thresholds: [{{{what}: 0}}]}}")
}

fn config(ports: &Ports) -> L4 {
    let log = access_log(LOG, &format!("listener {FORMAT}"));
    let echo = chain(&network_filter("echo.v3.Echo", ""));
    let direct = chain(&direct_response("bye"));
    PROXIES
        .iter()
        .fold(L4::new(), |l4, (name, fields)| l4.listener(name, &chain(&logged(fields))))
        .listener("echo", &format!("{log}\n{echo}"))
        .listener("direct", &format!("{log}\n{direct}"))
        .listener("logged", &format!("{log}\n{}", chain(&logged("cluster: origin"))))
        .listener("logged_refused", &format!("{log}\n{}", chain(&logged("cluster: refused"))))
        .listener("http", &format!("{}\n{}", access_log(LOG, HTTP_FORMAT), chain(&manager())))
        .listener("no_filters", &format!("{log}\nfilter_chains: [{{name: empty}}]"))
        .cluster("origin", ports.origin, "")
        .cluster("second", ports.second, "")
        .cluster("refused", ports.refused, "")
        .cluster("black_hole", ports.black_hole, "connect_timeout: 0.2s")
        .cluster("slow_hole", ports.black_hole, "connect_timeout: 1s")
        .cluster_of("no_hosts", &[], "")
        .cluster("no_connections", ports.origin, &limit("max_connections"))
        .cluster("no_pending", ports.origin, &limit("max_pending_requests"))
        .cluster("no_requests", ports.origin, &limit("max_requests"))
}

pub fn group() -> Group {
    let cases = vec![
        http_case("a request", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        http_case("half a head", "GET / HT"),
        http_case("no HTTP at all", "garbage\r\n\r\n"),
        http_case("a version that is not spoken", "GET / HTTP/1.0\r\n\r\n"),
        http_case("nothing", ""),
        http_case("HTTP/2 without a request", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        case("a conversation"),
        case("a megabyte both ways")
            .client(|client| {
                let block = vec![b'x'; 1 << 20];
                let mut writer = TcpPeer::over(client.stream().try_clone().expect("handle"));
                std::thread::scope(|scope| {
                    scope.spawn(|| writer.send(&block).half_close().received.len());
                    client.read_until(1 << 20);
                });
            })
            // A matter of who is faster.
            .ignore("_reading_total")
            .ignore("_backed_up_total")
            .ignore("_drained_total"),
        case("the client ends at once").client(|client| {
            client.half_close();
        }),
        case("the client resets").client(|client| {
            client.send("hello").read_until(5).reset();
        }),
        case("the origin closes first").sends("hello").origin(|origin| {
            origin.read_until(5).send("bye");
        }),
        case("the origin resets").sends("hello").origin(|origin| {
            origin.read_until(5).reset();
        }),
        case("the origin speaks first and resets")
            .client(|client| {
                client.read_until(2).send("x");
            })
            .origin(|origin| {
                origin.send("hi").read_until(1).reset();
            }),
        case("the origin ends, the client goes on")
            .client(|client| {
                client.send("hello").read_until(3).await_end(A_WHILE);
                client.send("more").half_close();
            })
            .origin(|origin| {
                origin.read_until(5).send("bye").half_close().await_end(A_WHILE);
            })
            // Depends on whether data and end are read together.
            .ignore("upstream_flush_total"),
        case("the origin is gone, the client goes on")
            .client(|client| {
                client.send("hello").read_until(3).await_end(A_WHILE);
                // Meets a closed socket.
                client.send("more");
                std::thread::sleep(Duration::from_millis(50));
            })
            .origin(|origin| {
                origin.read_until(5).send("bye");
            })
            .ignore("upstream_flush_total"),
        case("the client ends, the origin goes on")
            .client(|client| {
                client.send("hello").half_close();
            })
            .origin(|origin| {
                origin.await_end(A_WHILE);
                origin.send("a long goodbye").half_close();
            }),
        case("the origin resets after the client's end")
            .client(|client| {
                client.send("hello").half_close();
            })
            .origin(|origin| {
                origin.await_end(A_WHILE);
                origin.reset();
            }),
        case("the client resets after the origin's end")
            .client(|client| {
                client.send("hello").read_until(3).await_end(A_WHILE);
                client.reset();
            })
            .origin(|origin| {
                origin.read_until(5).send("bye").half_close().await_end(A_WHILE);
            }),
        case("refused").on("refused").sends("hello").any_end(),
        case("refused twice").on("refused_twice").sends("hello").any_end(),
        case("refused thrice, with pauses").on("refused_thrice").sends("hello").any_end(),
        case("no answer to connecting").on("black_hole").sends("hello").any_end(),
        case("the client resets while connecting")
            .on("slow_hole")
            .client(|client| {
                client.send("hello").await_end(Duration::from_millis(200));
                client.reset();
            })
            .differs("a client that is gone needs no connection to a host", |outcome| {
                outcome.stat("cluster.slow_hole.upstream_rq_cancelled") == 1
                    && outcome.stat("cluster.slow_hole.upstream_cx_destroy_local") == 1
                    && outcome.logs.len() == 1
                    && outcome.logs[0].contains("flags=- ")
            }),
        case("the client ends while connecting").on("slow_hole").any_end().client(|client| {
            client.send("hello").half_close();
        }),
        case("too long while connecting").on("slow_hole_short").sends("hello").any_end(),
        case("no hosts").on("no_hosts").sends("hello").any_end().ignore("lb_healthy_panic"),
        case("no connection allowed").on("no_connections").sends("hello").any_end(),
        case("no pending request allowed").on("no_pending").sends("hello").any_end(),
        case("no pending request allowed, twice").on("no_pending_twice").sends("hello").any_end(),
        case("no request allowed").on("no_requests"),
        case("idle").on("idle").sends("hello"),
        case("idle, nothing was said").on("idle").client(|_| {}),
        case("idle, the client has ended")
            .on("idle")
            .client(|client| {
                client.send("hello").read_until(5).half_close();
            })
            .origin(|origin| {
                origin.read_until(5).send("world").await_end(A_WHILE);
                origin.await_end(A_WHILE);
            }),
        case("idle, off").on("idle_off").sends("hello").stays_open(),
        case("too long").on("short").sends("hello"),
        case("too long, with jitter").on("jitter").sends("hello"),
        case("log when connected").on("when_connected"),
        case("log at intervals").on("at_intervals").client(|client| {
            client.send("hello").read_until(5).await_end(Duration::from_millis(450));
            client.half_close();
        }),
        case("weighted").on("weighted"),
        case("unknown cluster").on("unknown").client(|_| {}),
        case("echo").on("echo"),
        case("direct response").on("direct").client(|_| {}),
        case("a listener's log").on("logged"),
        case("a listener's log, refused").on("logged_refused").client(|_| {}),
        case("a chain without filters").on("no_filters").client(|_| {}),
    ];
    Group { name: "network", config, cases }
}
