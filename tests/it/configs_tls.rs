//! The configurations of `configs/` that show TLS, with certificates made by the script beside them.

use std::fs;
use std::path::Path;
use std::process::Command;

use ringway_test_support::config::workspace_root;
use ringway_test_support::{
    Answer, Authority, Certificate, Config, Driver, Leaf, Origin, Proxy, Request, Server, TlsClient,
    TlsServer,
};
use tempfile::TempDir;

on_both_drivers! { tls mutual_tls sni upstream_tls }

/// Where the configurations expect certificates.
const PLACE: &str = "/tmp/ringway-certificates";

/// A configuration of `configs/`, as it would be beside certificates that a test has made.
pub fn beside_certificates(text: &str, made: &MadeCertificates) -> String {
    text.replace(PLACE, &made.directory.path().display().to_string())
}

/// Certificates as the script makes them, in a directory of the test's own.
pub struct MadeCertificates {
    ca: Authority,
    server: Certificate,
    shop: Certificate,
    client: Certificate,
    directory: TempDir,
}

impl MadeCertificates {
    pub fn new() -> MadeCertificates {
        let ca = Authority::new("ca");
        let world = MadeCertificates {
            server: ca.issue(&["server.test"]),
            shop: ca.issue(&["*.shop.test"]),
            client: ca.issue_leaf(&Leaf::new(&["client.test"]).uri("spiffe://test/client")),
            directory: tempfile::tempdir().expect("a directory"),
            ca,
        };
        let place = world.directory.path();
        fs::write(place.join("ca.pem"), world.ca.pem()).expect("written");
        world.server.write(place, "server");
        world.shop.write(place, "shop");
        world.client.write(place, "client");
        world
    }

    fn start(&self, driver: Driver, file: &str, port: (u16, u16)) -> Proxy {
        let config = Config::file(file).port(port.0, port.1);
        Server::ringway(driver).start(&beside_certificates(config.as_str(), self))
    }

    fn client(&self, name: &str) -> TlsClient {
        TlsClient::new(&self.ca, name)
    }
}

fn tls(driver: Driver) {
    let world = MadeCertificates::new();
    let origin = Origin::echo();
    let proxy = world.start(driver, "tls.yaml", (8001, origin.port()));
    let client = world.client("server.test").alpn(&["http/1.1"]);
    let response = client.send(proxy.address_of("https"), &Request::get("/a"));
    assert_eq!((response.status(), response.json()["target"].as_str()), (200, Some("/a")));
    let redirect = Request::get("/a").host("server.test").send(proxy.address_of("http"));
    assert_eq!((redirect.status(), redirect.header("location")), (301, Some("https://server.test/a")));
    let offered = client.alpn(&["h2"]).connect(proxy.address_of("https")).expect("a handshake");
    assert_eq!(offered.protocol().as_deref(), Some("h2"));
    drop(offered);
    proxy.stop();
}

fn mutual_tls(driver: Driver) {
    let world = MadeCertificates::new();
    let origin = Origin::echo();
    let proxy = world.start(driver, "mutual-tls.yaml", (8001, origin.port()));
    let nobody = world.client("server.test");
    let known = nobody.clone().certificate(&world.client);
    let server = nobody.clone().certificate(&world.server);
    let request = Request::get("/").header("x-forwarded-client-cert", "By=me");
    assert_eq!(known.send(proxy.address_of("https"), &request).status(), 200);
    let told = origin.take_requests().remove(0);
    let told = told.header("x-forwarded-client-cert").expect("told");
    assert!(told.ends_with(";Subject=\"CN=client.test\";URI=spiffe://test/client;DNS=client.test"), "{told}");
    for other in [&nobody, &server] {
        assert!(other.try_send(proxy.address_of("https"), &request).is_err());
        assert!(other.try_send(proxy.address_of("raw"), &request).is_err());
    }
    assert_eq!(known.send(proxy.address_of("raw"), &request).status(), 200);
    proxy.stop();
}

fn sni(driver: Driver) {
    let world = MadeCertificates::new();
    let tls = TlsServer::new(&world.ca.issue(&["passthrough.test"]), &[]);
    let origin = Origin::start_tls(&tls, Answer::status(200, "", "passed on\n"));
    let proxy = world.start(driver, "sni.yaml", (8443, origin.port()));
    for (name, expected) in
        [("server.test", "server\n"), ("a.shop.test", "shop\n"), ("passthrough.test", "passed on\n")]
    {
        let response = world.client(name).send(proxy.address(), &Request::get("/"));
        assert_eq!(response.text(), expected, "{name}");
    }
    assert!(world.client("other.test").connect(proxy.address()).is_err());
    let redirect = Request::get("/").host("server.test").send(proxy.address());
    assert_eq!(redirect.header("location"), Some("https://server.test/"));
    proxy.stop();
}

fn upstream_tls(driver: Driver) {
    let world = MadeCertificates::new();
    let tls = TlsServer::mutual(&world.server, &["http/1.1"], &world.ca);
    let origin = Origin::start_tls(&tls, Answer::Echo);
    let proxy = world.start(driver, "upstream-tls.yaml", (8443, origin.port()));
    for (path, version) in [("/", "TLSv1_3"), ("/legacy", "TLSv1_2")] {
        assert_eq!(Request::get(path).send(proxy.address()).status(), 200, "{path}");
        let handshake = tls.take_handshakes().remove(0);
        assert_eq!((handshake.version.as_str(), handshake.has_certificate), (version, true));
        assert_eq!(tls.take_hellos()[0].server_name.as_deref(), Some("server.test"));
    }
    proxy.stop();
}

/// The script makes all that the configurations name, and they are served.
#[test]
fn the_script_makes_what_the_configurations_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = workspace_root().join("configs/certificates/make-certificates.sh");
    let made = match Command::new("sh").arg(&script).arg(directory.path()).output() {
        Ok(made) if Command::new("openssl").arg("version").output().is_ok() => made,
        _ => return eprintln!("\n*** SKIPPED: no `openssl` program here.\n"),
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let place = directory.path().display().to_string();
    for file in ["tls.yaml", "mutual-tls.yaml", "sni.yaml", "upstream-tls.yaml"] {
        let text = Config::file(file).replace(PLACE, &place);
        let missing = named_files(text.as_str()).find(|name| !Path::new(name).is_file());
        assert_eq!(missing, None, "{file}");
    }
    let proxy =
        Server::ringway(Driver::Epoll).start(Config::file("sni.yaml").replace(PLACE, &place).as_str());
    let said = Command::new("openssl")
        .args(["s_client", "-connect", &proxy.address().to_string(), "-servername", "a.shop.test"])
        .args(["-verify_hostname", "a.shop.test", "-verify_return_error", "-CAfile"])
        .arg(directory.path().join("ca.pem"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("Verify return code: 0 (ok)") || said.contains("Verification: OK"), "{said}");
    proxy.stop();
}

/// Values of `filename` in a configuration.
fn named_files(yaml: &str) -> impl Iterator<Item = &str> {
    yaml.split("filename: ").skip(1).filter_map(|rest| rest.split('}').next())
}
