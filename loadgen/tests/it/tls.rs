//! TLS: both protocols over it, who is trusted, client certificates, sessions that are resumed, handshakes alone.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ringway_test_support::Driver;
use tempfile::TempDir;

use crate::run::{Running, run, start_bare};

on_both_drivers! {
    both_protocols_run_over_tls
    only_trusted_servers_are_used
    sessions_are_resumed_if_asked_for
    handshakes_alone_can_be_driven
    a_handshake_that_fails_is_told
    connections_over_tls_can_be_held
}

/// An authority, and an origin over TLS with a certificate of its for `origin.test`.
struct Site {
    directory: TempDir,
    address: String,
    _origin: Running,
}

impl Site {
    fn start(driver: Driver) -> Site {
        let directory = TempDir::new().expect("directory");
        let authority = authority();
        let key = KeyPair::generate().expect("key");
        let names = vec!["origin.test".to_owned()];
        let certificate = CertificateParams::new(names).expect("names").signed_by(&key, &authority);
        let save =
            |name: &str, text: String| std::fs::write(directory.path().join(name), text).expect("saved");
        save("ca.pem", authority.pem());
        save("origin.pem", certificate.expect("signed").pem());
        save("origin.key", key.serialize_pem());
        let file = |name: &str| path(directory.path(), name);
        let mut origin = start_bare(&[
            "origin",
            "--listen",
            "127.0.0.1:0",
            "--io-driver",
            driver.as_str(),
            "--cert",
            &file("origin.pem"),
            "--key",
            &file("origin.key"),
        ]);
        let address = origin.first_line().rsplit(' ').next().expect("an address").to_owned();
        Site { directory, address, _origin: origin }
    }

    fn file(&self, name: &str) -> String {
        path(self.directory.path(), name)
    }
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("signed")
}

fn both_protocols_run_over_tls(driver: Driver) {
    let site = Site::start(driver);
    let url = format!("https://{}/bytes/100000", site.address);
    for protocol in [&[][..], &["--http2", "-s", "8"]] {
        let common = [&*url, "-k", "-n", "100", "-c", "2", "--body-size", "40k"];
        let ended = run(driver, &[&common[..], protocol].concat());
        assert_eq!((ended.code, ended.number("/answered")), (Some(0), 100.0), "{}", ended.said());
        assert_eq!(ended.number("/handshake_time/count"), 2.0);
        assert!(ended.number("/received_bytes") > 10e6);
        assert!(
            ended.stdout.contains("TLSv1.3") && ended.stdout.contains("0 of them resumed"),
            "{}",
            ended.stdout
        );
    }
    let old = run(driver, &[&url, "-k", "-n", "5", "-c", "1", "--tls-version", "1.2"]);
    assert_eq!(old.code, Some(0), "{}", old.said());
    assert!(old.stdout.contains("TLSv1.2"), "{}", old.stdout);
}

fn only_trusted_servers_are_used(driver: Driver) {
    let site = Site::start(driver);
    let port = site.address.rsplit(':').next().expect("a port");
    let (named, ca) = (format!("https://origin.test:{port}/"), site.file("ca.pem"));
    let common = ["--connect-to", &site.address, "-n", "5", "-c", "1"];
    let trusted = run(driver, &[&[&*named, "--cacert", &ca], &common[..]].concat());
    assert_eq!(trusted.code, Some(0), "{}", trusted.said());
    let other = run(driver, &[&[&*named, "--cacert", &ca, "--sni", "other.test"], &common[..]].concat());
    assert_eq!((other.code, &other.json["ending"]), (Some(1), &"no_connection".into()), "{}", other.said());
    assert!(other.errors("handshake") >= 1 && other.stderr.contains("SAN"), "{}", other.said());
    let (stranger, strange) = (authority(), site.file("strange.pem"));
    std::fs::write(&strange, stranger.pem()).expect("saved");
    let untrusted = run(driver, &[&[&*named, "--cacert", &strange], &common[..]].concat());
    assert_eq!(untrusted.code, Some(1), "{}", untrusted.said());
    assert!(untrusted.errors("handshake") >= 1, "{}", untrusted.said());
}

fn sessions_are_resumed_if_asked_for(driver: Driver) {
    let site = Site::start(driver);
    let url = format!("https://{}/", site.address);
    let common = [&*url, "-k", "-n", "20", "-c", "1", "--new-connection"];
    let resumed = run(driver, &[&common[..], &["--resume"]].concat());
    assert_eq!((resumed.code, resumed.number("/answered")), (Some(0), 20.0), "{}", resumed.said());
    assert_eq!(resumed.number("/tls_resumed"), 19.0, "{}", resumed.said());
    let full = run(driver, &common);
    assert_eq!((full.code, full.number("/tls_resumed")), (Some(0), 0.0), "{}", full.said());
}

fn handshakes_alone_can_be_driven(driver: Driver) {
    let site = Site::start(driver);
    let url = format!("https://{}/", site.address);
    let ended = run(driver, &[&url, "-k", "--handshakes", "-n", "50", "-c", "4"]);
    assert_eq!((ended.code, ended.number("/answered")), (Some(0), 50.0), "{}", ended.said());
    assert_eq!(
        (ended.number("/handshake_time/count"), &ended.json["statuses"]),
        (50.0, &serde_json::json!({}))
    );
    assert!(ended.number("/latency/min_ns") >= ended.number("/handshake_time/min_ns"));
    let paced = run(driver, &[&url, "-k", "--handshakes", "--resume", "-r", "100", "-d", "500ms", "-c", "8"]);
    assert_eq!((paced.code, paced.number("/answered")), (Some(0), 50.0), "{}", paced.said());
}

fn a_handshake_that_fails_is_told(driver: Driver) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        client.write_all(b"HTTP/1.1 400 this is no TLS\r\n\r\n").expect("open");
        // It may end with a reset.
        let _ = client.read_to_end(&mut Vec::new());
    });
    let ended = run(driver, &[&url, "-k", "-n", "1", "-c", "1", "--timeout", "20s"]);
    assert_eq!((ended.code, &ended.json["ending"]), (Some(1), &"no_connection".into()), "{}", ended.said());
    assert_eq!(ended.errors("handshake"), 1, "{}", ended.said());
    assert!(ended.stderr.contains("TLS"), "{}", ended.stderr);
    server.join().expect("the server has ended");
}

fn connections_over_tls_can_be_held(driver: Driver) {
    let site = Site::start(driver);
    let url = format!("https://{}/", site.address);
    for protocol in [&[][..], &["--http2"]] {
        let common = [&*url, "-k", "--hold-idle", "20", "--first-request", "-d", "300ms"];
        let ended = run(driver, &[&common[..], protocol].concat());
        assert_eq!((ended.code, ended.number("/answered")), (Some(0), 20.0), "{}", ended.said());
        assert_eq!((ended.number("/still_open"), ended.number("/handshake_time/count")), (20.0, 20.0));
    }
}
