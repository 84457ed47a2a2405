//! Programs of others as clients and origins: curl, nghttp, h2load, grpcio, nginx, nghttpd. One that this machine has not
//! is said aloud.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use ringway_test_support::config::Http;
use ringway_test_support::h2::H2Connection;
use ringway_test_support::{Driver, Origin, Proxy, Request, Server, eventually, seccomp};
use tempfile::TempDir;

use super::{H2_CLUSTER, QUICK, before_http1, before_http2};

on_both_drivers! { curl nghttp h2load grpc_through_http2 grpc_errors_of_the_proxy nginx_as_origin nghttpd_as_origin }

/// Whether a program is there; says so if not.
fn has(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("\n*** SKIPPED: no `{program}` here.\n");
    }
    is_there
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().expect(program);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{program} {arguments:?}: {status}\n{stdout}\n{stderr}");
    format!("{stdout}{stderr}")
}

/// A process that ends with this value.
struct Running(Child, #[allow(dead_code)] TempDir);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn curl(driver: Driver) {
    if !has("curl") {
        return;
    }
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let url = |path: &str| format!("http://{}{path}", proxy.address());
    let format = "%{http_version} %{response_code} %{num_connects}\\n";
    let common = ["-sS", "-m", "20", "--http2-prior-knowledge", "-w", format];
    // One URL: curl 7.88 itself fails when it uses such a connection again, before any server.
    let get = run("curl", &[&common[..], &[&url("/a?b")]].concat());
    assert!(get.ends_with("2 200 1\n"), "{get}");
    assert!(get.contains("\"target\":\"/a?b\""), "{get}");
    let body = "x".repeat(300_000);
    let post = run(
        "curl",
        &[&common[..], &["-H", "expect: 100-continue", "-d", &body[..100_000], &url("/")]].concat(),
    );
    assert!(post.ends_with("2 200 1\n") && post.contains(&body[..100_000]), "{} bytes", post.len());
    let head = run("curl", &[&common[..], &["-I", &url("/")]].concat());
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    // A client of HTTP/1 that offers an upgrade is served in HTTP/1.
    let upgrade = run("curl", &["-sS", "-m", "20", "--http2", "-w", format, &url("/")]);
    assert!(upgrade.ends_with("1.1 200 1\n"), "{upgrade}");
    proxy.stop();
}

fn nghttp(driver: Driver) {
    if !has("nghttp") {
        return;
    }
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let url = format!("http://{}/a", proxy.address());
    let directory = TempDir::new().expect("scratch directory");
    let upload = directory.path().join("upload");
    std::fs::write(&upload, vec![b'y'; 1_000_000]).expect("a file");
    let upload = upload.display().to_string();
    let told = run("nghttp", &["-v", "-t", "20", &url]);
    assert!(told.contains(":status: 200") && !told.contains("[ERROR]"), "{told}");
    let told = run("nghttp", &["-ns", "-t", "20", "-m", "20", "-d", &upload, "--trailer", "x-late: 1", &url]);
    assert_eq!(told.matches(" 200 ").count(), 20, "{told}");
    // Padded frames, and no window but what each response needs.
    let told =
        run("nghttp", &["-v", "-t", "20", "--padding=200", "-w", "16", "-W", "16", "-d", &upload, &url]);
    assert!(told.contains(":status: 200"), "{told}");
    assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 22);
    proxy.stop();
}

fn h2load(driver: Driver) {
    if !has("h2load") {
        return;
    }
    let origin = Origin::echo();
    let proxy = before_http1(driver, origin.port());
    let url = format!("http://{}/", proxy.address());
    let told = run("h2load", &["-n", "3000", "-c", "5", "-m", "20", &url]);
    assert!(told.contains("3000 succeeded, 0 failed, 0 errored"), "{told}");
    assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 3_000);
    proxy.await_stat("http.test.downstream_cx_active", 0);
    proxy.stop();
}

/// Where the script for grpcio lies.
const GRPC_PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/http2/grpc_peer.py");

fn has_grpc() -> bool {
    let imported = Command::new("python3").args(["-c", "import grpc"]).stderr(Stdio::null()).status();
    let is_there = imported.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("\n*** SKIPPED: no grpcio here. `pip install grpcio` brings it.\n");
    }
    is_there
}

/// Unary calls, streams in each direction, errors with trailers, deadlines and cancelled calls.
fn grpc_through_http2(driver: Driver) {
    if !has_grpc() {
        return;
    }
    let mut command = Command::new("python3");
    command.args([GRPC_PEER, "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    seccomp::end_with_parent(&mut command);
    let mut server = Running(command.spawn().expect("python3"), TempDir::new().expect("directory"));
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().expect("stdout")).read_line(&mut line).expect("a port");
    let proxy = before_http2(driver, line.trim().parse().expect("a port"));
    let told = run("python3", &[GRPC_PEER, "call", &proxy.address().port().to_string()]);
    assert!(told.contains("all well"), "{told}");
    proxy.await_stat("http.test.downstream_rq_active", 0);
    assert_eq!(proxy.stat("cluster.origin.upstream_cx_total"), 1);
    proxy.stop();
}

/// What the proxy itself answers to gRPC has a `grpc-status`.
fn grpc_errors_of_the_proxy(driver: Driver) {
    let refused = ringway_test_support::origin::RefusedPort::take();
    let proxy = before_http2(driver, refused.port);
    let mut client = H2Connection::open(proxy.address());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/test.Echo/Unary"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let stream = client.open(&fields, false);
    client.data(stream, [0, 0, 0, 0, 0], true);
    let answer = client.response(stream);
    assert_eq!((answer.status(), answer.header("grpc-status")), (200, Some("14")), "{answer:?}");
    assert!(answer.header("grpc-message").is_some() && answer.body.is_empty());
    proxy.stop();
}

/// Starts a program that listens on a port of its own choice for a moment: the first that is free.
fn start_on_free_port(start: impl Fn(u16, &TempDir) -> Command) -> (Running, u16) {
    eventually("a port for a program", || {
        let port = ringway_test_support::origin::RefusedPort::take().port;
        let directory = TempDir::new().expect("scratch directory");
        let mut command = start(port, &directory);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        seccomp::end_with_parent(&mut command);
        let mut running = Running(command.spawn().expect("a program"), directory);
        eventually("it to listen, or to end", || {
            let is_ended = running.0.try_wait().expect("wait").is_some();
            (is_ended || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(())
        });
        running.0.try_wait().expect("wait").is_none().then_some((running, port))
    })
}

/// Requests of every kind through a proxy before a foreign origin that serves `/small` and `/large` (5 MB).
fn fetch_all(proxy: &Proxy) {
    let mut client = H2Connection::open(proxy.address());
    for _ in 0..20 {
        assert_eq!(client.fetch("/small").text(), "small");
        assert_eq!(client.fetch("/missing").status(), 404);
    }
    let streams: Vec<u32> = (0..10).map(|_| client.get("/large")).collect();
    for stream in streams {
        assert_eq!(client.response(stream).body.len(), 5_000_000);
    }
    assert_eq!(Request::get("/large").send(proxy.address()).body.len(), 5_000_000);
    assert_eq!(Request::new("HEAD", "/small").send(proxy.address()).status(), 200);
}

fn write_files(directory: &TempDir) {
    std::fs::write(directory.path().join("small"), "small").expect("a file");
    std::fs::write(directory.path().join("large"), vec![b'z'; 5_000_000]).expect("a file");
}

fn nginx_as_origin(driver: Driver) {
    if !has("nginx") {
        return;
    }
    let (_nginx, port) = start_on_free_port(|port, directory| {
        let root = directory.path().display();
        write_files(directory);
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 100; }}\n\
             http {{\n\
               access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
               uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; keepalive_requests 25;\n\
               server {{ listen 127.0.0.1:{port} http2; root {root}; }}\n\
             }}\n"
        );
        std::fs::write(directory.path().join("nginx.conf"), config).expect("a file");
        let mut command = Command::new("nginx");
        command.args(["-p", &root.to_string(), "-c", &format!("{root}/nginx.conf")]);
        command
    });
    let proxy = before_http2(driver, port);
    fetch_all(&proxy);
    // It says GOAWAY after 25 requests.
    assert!(proxy.stat("cluster.origin.upstream_cx_close_notify") >= 1);
    assert_eq!(proxy.stat("cluster.origin.upstream_rq_5xx"), 0);
    proxy.stop();
}

fn nghttpd_as_origin(driver: Driver) {
    if !has("nghttpd") {
        return;
    }
    let (_nghttpd, port) = start_on_free_port(|port, directory| {
        write_files(directory);
        let mut command = Command::new("nghttpd");
        command.args(["--no-tls", "-a", "127.0.0.1", "-m", "5", "--trailer=x-trailer: 1", "--echo-upload"]);
        command.args(["-d", &directory.path().display().to_string(), &port.to_string()]);
        command
    });
    // Its limit of streams comes with its settings; whoever is refused before may try again.
    let routes = "- match: {prefix: /}\n  route: {cluster: origin, timeout: 0s, retry_policy: {retry_on: refused-stream}}";
    let http = Http::routes(routes).hcm(QUICK).cluster("origin", port, H2_CLUSTER);
    let proxy = Server::ringway(driver).start(&http.yaml());
    fetch_all(&proxy);
    let mut client = H2Connection::open(proxy.address());
    let body = vec![b'x'; 1_000_000];
    let stream = client.upload("/", &body);
    let answer = client.response(stream);
    assert_eq!((answer.body.len(), answer.trailer("x-trailer")), (body.len(), Some("1")));
    proxy.stop();
}
