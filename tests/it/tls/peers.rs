//! TLS with the programs that people use: curl, openssl, nginx, Python. Missing ones are said aloud.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::{server, server_tls, world};
use ringway_test_support::config::Http;
use ringway_test_support::tls_config::{common, downstream, upstream, validation};
use ringway_test_support::{Driver, Origin, Proxy, Request, eventually};

on_both_drivers! {
    curl_speaks_both_versions_of_http
    openssl_chooses_versions_protocols_names_and_certificates
    openssl_resumes_sessions
    renegotiation_is_refused
    python_speaks_https
    nginx_is_an_origin
}

/// Whether a program is here; says so if not.
fn has(program: &str, argument: &str) -> bool {
    let status = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_here = status.is_ok();
    if !is_here {
        eprintln!("\n*** SKIPPED: no `{program}` program here.\n");
    }
    is_here
}

/// HTTPS with both versions of HTTP, and client certificates for who has one.
fn start(driver: Driver, origin: &Origin) -> Proxy {
    let trust = format!("alpn_protocols: [h2, http/1.1]\n{}", validation("ca", ""));
    let http = Http::to_origin(origin.port())
        .listener("stat_prefix: main")
        .chain(&downstream(&common("server", &trust)))
        .hcm("forward_client_cert_details: SANITIZE_SET\nset_current_client_cert_details: {subject: true}");
    server(driver).start(&http.yaml())
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl_speaks_both_versions_of_http(driver: Driver) {
    if !has("curl", "--version") {
        return;
    }
    let origin = Origin::echo();
    let proxy = start(driver, &origin);
    let port = proxy.address().port();
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "15", "--cacert", "ca.pem", "--resolve"])
            .arg(format!("server.test:{port}:127.0.0.1"))
            .args(["-w", "\n%{http_version} %{num_connects} %{http_code}\n"])
            .args(arguments)
            .current_dir(proxy.directory())
            .output()
            .expect("curl runs");
        (output.status.success(), stdout(&output))
    };
    let url = format!("https://server.test:{port}/a");
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        // Three on one connection.
        let (is_fine, said) = curl(&[flag, &url, &url, &url]);
        assert!(is_fine, "{said}");
        assert_eq!(said.matches(&format!("\n{version} ")).count(), 3, "{said}");
        assert!(said.contains(&format!("\n{version} 1 200")) && said.contains(&format!("\n{version} 0 200")));
        let body = "x".repeat(300_000);
        std::fs::write(proxy.directory().join("body"), &body).expect("written");
        let (is_fine, said) = curl(&[flag, "--data-binary", "@body", &url]);
        assert!(is_fine && said.contains(&body), "{} bytes", said.len());
        for limit in ["--tlsv1.3", "--tls-max"] {
            let arguments: &[&str] =
                if limit == "--tls-max" { &[limit, "1.2", flag, &url] } else { &[limit, flag, &url] };
            assert!(curl(arguments).0, "{limit}");
        }
    }
    origin.take_requests();
    let (is_fine, _) = curl(&["--cert", "client.pem", "--key", "client.key", &url]);
    assert!(is_fine);
    let request = origin.take_requests().remove(0);
    let told = request.header("x-forwarded-client-cert").expect("told");
    assert!(told.contains("Subject=\"CN=client.test\""), "{told}");
    assert!(!curl(&["--cert", "stranger.pem", "--key", "stranger.key", &url]).0);
    assert!(!curl(&["--cacert", "other_ca.pem", &url]).0);
    proxy.stop();
}

/// `openssl s_client`, which says `input` and what it has come to.
fn s_client(proxy: &Proxy, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &proxy.address().to_string(), "-CAfile", "ca.pem"])
        .args(arguments)
        .current_dir(proxy.directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // It may have ended already.
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(input.as_bytes());
    let output = child.wait_with_output().expect("openssl ends");
    drop(stdin);
    stdout(&output) + &String::from_utf8_lossy(&output.stderr)
}

const GET: &str = "GET /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn openssl_chooses_versions_protocols_names_and_certificates(driver: Driver) {
    if !has("openssl", "version") {
        return;
    }
    let origin = Origin::echo();
    let proxy = start(driver, &origin);
    let ask = |arguments: &[&str]| {
        let name = ["-servername", "server.test", "-verify_return_error", "-ign_eof"];
        s_client(&proxy, &[&name[..], arguments].concat(), GET)
    };
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = ask(&[version, "-alpn", "http/1.1"]);
        assert!(said.contains("HTTP/1.1 200 OK") && said.contains(shown), "{said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
        assert!(ask(&[version]).contains("No ALPN negotiated"));
        let said = ask(&[version, "-cert", "client.pem", "-key", "client.key"]);
        assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        let said = ask(&[version, "-cert", "stranger.pem", "-key", "stranger.key"]);
        assert!(!said.contains("HTTP/1.1 200 OK") && said.contains("alert unknown ca"), "{said}");
    }
    for old in ["-tls1", "-tls1_1"] {
        assert!(!ask(&[old, "-cipher", "DEFAULT:@SECLEVEL=0"]).contains("HTTP/1.1 200 OK"), "{old}");
    }
    for suite in ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"] {
        let said = ask(&["-tls1_2", "-cipher", suite]);
        assert!(said.contains(&format!("Cipher is {suite}")), "{said}");
    }
    assert!(
        !ask(&["-tls1_2", "-cipher", "AES128-SHA"]).contains("HTTP/1.1 200 OK"),
        "not among the defaults"
    );
    proxy.await_stat("listener.main.downstream_cx_active", 0);
    proxy.stop();
}

fn openssl_resumes_sessions(driver: Driver) {
    if !has("openssl", "version") {
        return;
    }
    let origin = Origin::echo();
    let proxy = start(driver, &origin);
    for version in ["-tls1_2", "-tls1_3"] {
        let new = s_client(&proxy, &[version, "-ign_eof", "-sess_out", "session"], GET);
        assert!(new.contains("HTTP/1.1 200 OK") && new.contains("\nNew, "), "{new}");
        let again = s_client(&proxy, &[version, "-ign_eof", "-sess_in", "session"], GET);
        assert!(again.contains("HTTP/1.1 200 OK") && again.contains("\nReused, "), "{again}");
    }
    assert_eq!(proxy.stat("listener.main.ssl.session_reused"), 2);
    proxy.stop();
}

fn renegotiation_is_refused(driver: Driver) {
    if !has("openssl", "version") {
        return;
    }
    let origin = Origin::echo();
    let proxy = start(driver, &origin);
    // A line that is `R` asks for a new handshake.
    let said = s_client(&proxy, &["-tls1_2"], "R\n");
    assert!(said.contains("RENEGOTIATING"), "{said}");
    proxy.await_stat("listener.main.downstream_cx_active", 0);
    assert_eq!(proxy.stat("listener.main.ssl.handshake"), 1);
    assert_eq!(origin.request_count(), 0);
    proxy.stop();
}

const PYTHON: &str = "
import http.client, socket, ssl, sys
context = ssl.create_default_context(cafile='ca.pem')
context.load_cert_chain('client.pem', 'client.key')
connection = http.client.HTTPSConnection('server.test', int(sys.argv[1]), context=context, timeout=15)
connection._create_connection = lambda address, *rest: socket.create_connection(('127.0.0.1', address[1]))
for body in [b'', b'x' * 100000]:
    connection.request('POST', '/p', body)
    response = connection.getresponse()
    assert response.status == 200, response.status
    response.read()
print(connection.sock.version(), 'fine')
";

fn python_speaks_https(driver: Driver) {
    if !has("python3", "--version") {
        return;
    }
    let origin = Origin::echo();
    let proxy = start(driver, &origin);
    let output = Command::new("python3")
        .args(["-c", PYTHON, &proxy.address().port().to_string()])
        .current_dir(proxy.directory())
        .output()
        .expect("python runs");
    assert_eq!(stdout(&output), "TLSv1.3 fine\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(proxy.stat("listener.main.ssl.handshake"), 1);
    proxy.stop();
}

/// nginx until it is dropped.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nginx {
    /// With TLS and client certificates, on a free port.
    fn start(directory: &Path) -> (Nginx, u16) {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let world = world();
        world.server.write(directory, "server");
        std::fs::write(directory.join("ca.pem"), world.ca.pem()).expect("written");
        let place = directory.display();
        let text = format!(
            "daemon off; master_process off; pid {place}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; \
             client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; \
             uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
             server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {place}/server.pem; \
             ssl_certificate_key {place}/server.key; ssl_client_certificate {place}/ca.pem; ssl_verify_client on; ssl_protocols TLSv1.2 TLSv1.3;\n\
             location / {{ return 200 \"$server_protocol $ssl_protocol $ssl_server_name $ssl_client_s_dn \
             $ssl_session_reused\"; }} }} }}\n"
        );
        let path = directory.join("nginx.conf");
        std::fs::write(&path, text).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory).arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let nginx = Nginx(command.spawn().expect("nginx runs"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("nginx to listen", || std::net::TcpStream::connect(address).ok());
        (nginx, port)
    }
}

fn nginx_is_an_origin(driver: Driver) {
    if !has("nginx", "-v") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (_nginx, port) = Nginx::start(directory.path());
    let options = "typed_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n    \
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n    ";
    let newest = "tls_params: {tls_maximum_protocol_version: TLSv1_3}";
    let tls = |versions: &str| {
        let fields = format!("{}\n{versions}", validation("ca", ""));
        upstream(&format!("sni: server.test\n{}", common("client", fields.trim_end())))
    };
    let routes = ["old", "new", "two", "auto"]
        .map(|name| format!("- match: {{prefix: /{name}}}\n  route: {{cluster: {name}}}"))
        .join("\n");
    let http = Http::routes(&routes)
        .chain(&server_tls(""))
        .cluster("old", port, &tls(""))
        .cluster("new", port, &tls(newest))
        .cluster(
            "two",
            port,
            &format!("{options}explicit_http_config: {{http2_protocol_options: {{}}}}\n{}", tls("")),
        )
        .cluster("auto", port, &format!("{options}auto_config: {{}}\n{}", tls(newest)));
    let proxy = server(driver).start(&http.yaml());
    for (path, expected) in [
        ("/old", "HTTP/1.1 TLSv1.2 server.test CN=client.test ."),
        ("/new", "HTTP/1.1 TLSv1.3 server.test CN=client.test ."),
        ("/two", "HTTP/2.0 TLSv1.2 server.test CN=client.test ."),
        ("/auto", "HTTP/2.0 TLSv1.3 server.test CN=client.test ."),
    ] {
        for _ in 0..5 {
            let response = super::client().send(proxy.address(), &Request::get(path));
            assert_eq!((response.status(), response.text().as_str()), (200, expected), "{path}");
        }
        assert_eq!(proxy.stat(&format!("cluster.{}.ssl.handshake", &path[1..])), 1);
    }
    proxy.stop();
}
