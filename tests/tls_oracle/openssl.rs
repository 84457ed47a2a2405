//! `openssl s_client` against a server of ours, and a client of ours against `openssl s_server`, over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use ringway::buf::Chunk;
use ringway::tls::{
    ClientContext, ClientOptions, DefaultTimeProvider, FailureKind, Identity, OcspStaplePolicy, Parameters,
    PeerRules, ServerContext, ServerOptions, Session, TlsError, TlsVersion, TrustStore,
};
use ringway_test_support::PATIENCE;

fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("SKIPPED: openssl is not installed");
    }
    found
}

/// A certificate for `server.example`, issued by an authority; all as PEM.
struct World {
    ca: String,
    chain: String,
    key: String,
}

impl World {
    fn new() -> World {
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).expect("names");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "ca");
        let params = rcgen::CertificateParams::new(vec!["server.example".into()]).expect("names");
        let key = rcgen::KeyPair::generate().expect("a key");
        let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
        let chain = params.signed_by(&key, &issuer).expect("a certificate").pem();
        World { ca: ca.self_signed(&ca_key).expect("a certificate").pem(), chain, key: key.serialize_pem() }
    }

    fn write(&self, directory: &Path) {
        for (name, text) in [("ca.pem", &self.ca), ("srv.pem", &self.chain), ("srv.key", &self.key)] {
            std::fs::write(directory.join(name), text).expect("written");
        }
    }

    fn server(&self, peer: PeerRules) -> Arc<ServerContext> {
        let identity = Identity::from_pem(self.chain.as_bytes(), self.key.as_bytes(), None);
        let options = ServerOptions {
            identities: vec![identity.expect("an identity")],
            parameters: Parameters::new(TlsVersion::Tls12, TlsVersion::Tls13),
            application_protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            peer,
            stateless_resumption: true,
            stateful_resumption: true,
            ticket_keys: Vec::new(),
            session_timeout_s: None,
            ocsp_policy: OcspStaplePolicy::Lenient,
            full_scan: false,
            prefer_client_ciphers: false,
            server_names: Vec::new(),
        };
        Arc::new(ServerContext::new(options, Arc::new(DefaultTimeProvider)).expect("a context"))
    }

    fn trust(&self) -> Option<Arc<TrustStore>> {
        Some(Arc::new(TrustStore::from_pem(self.ca.as_bytes()).expect("an authority")))
    }
}

/// Reads once and feeds the session; false at the end of the connection or after an error.
fn pump(socket: &mut TcpStream, session: &mut Session) -> bool {
    let mut bytes = [0; 16_384];
    let Ok(read) = socket.read(&mut bytes) else { return false };
    let mut out = Vec::new();
    let received = session.receive(Chunk::copy_from(&bytes[..read]), &mut out);
    let sent = socket.write_all(&out);
    read > 0 && received.is_ok() && sent.is_ok()
}

/// Serves connections for as long as the test lives: says what was negotiated, echoes what comes, and closes after a line
/// `bye`.
fn serve(context: Arc<ServerContext>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let context = Arc::clone(&context);
            thread::spawn(move || echo(&mut socket, &context));
        }
    });
    port
}

fn echo(socket: &mut TcpStream, context: &Arc<ServerContext>) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut session = Session::server(context);
    while !session.is_open() {
        if !pump(socket, &mut session) {
            return;
        }
    }
    let facts = session.facts().expect("open").clone();
    let protocol = facts.application_protocol.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let peer = facts.peer_certificates.as_ref().map(|peer| peer.leaf().subject.clone()).unwrap_or_default();
    let greeting = format!(
        "version={} resumed={} protocol={protocol} name={} peer={peer}\n",
        facts.version.name(),
        facts.is_resumed,
        facts.server_name.as_deref().unwrap_or_default(),
    );
    let mut out = Vec::new();
    session.write([greeting.as_bytes()], &mut out).expect("open");
    let mut received = Vec::new();
    loop {
        while let Some(chunk) = session.read() {
            session.write([&chunk[..]], &mut out).expect("open");
            received.extend_from_slice(&chunk);
        }
        let is_over = received.ends_with(b"bye\n") || session.is_peer_closed();
        if is_over {
            session.close(&mut out);
        }
        if socket.write_all(&out).is_err() || is_over || !pump(socket, &mut session) {
            return;
        }
        out.clear();
    }
}

/// What `openssl s_client` prints when it sends `input`.
fn s_client(port: u16, directory: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}"), "-CAfile", "ca.pem"])
        .args(["-servername", "server.example", "-verify_return_error", "-verify_hostname", "server.example"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("sent");
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn openssls_client_talks_to_our_server() {
    if !has_openssl() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::new();
    world.write(directory.path());
    let port = serve(world.server(PeerRules::default()));
    let long_line = "x".repeat(40_000);
    let versions = [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")];
    for (option, version) in versions {
        let said = s_client(port, directory.path(), &[option], &format!("{long_line}\nbye\n"));
        assert!(
            said.contains(&format!("version={version} resumed=false protocol= name=server.example")),
            "{said}"
        );
        assert!(said.contains(&format!("{long_line}\nbye\n")), "the echo");
        let said = s_client(port, directory.path(), &[option, "-alpn", "http/1.1,h2"], "bye\n");
        assert!(said.contains("protocol=h2 "), "{said}");
        let said = s_client(port, directory.path(), &[option, "-alpn", "foo"], "bye\n");
        assert!(said.contains("protocol= "), "{said}");
        // A session of an earlier connection.
        let said = s_client(port, directory.path(), &[option, "-sess_out", "session.pem"], "bye\n");
        assert!(said.contains("resumed=false"), "{said}");
        let said = s_client(port, directory.path(), &[option, "-sess_in", "session.pem"], "bye\n");
        assert!(said.contains("resumed=true"), "{said}");
        let said = s_client(port, directory.path(), &[option, "-no_ticket"], "bye\n");
        assert!(said.contains("resumed=false"), "{said}");
    }
    for suite in
        ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
    {
        let said = s_client(port, directory.path(), &["-tls1_2", "-cipher", suite], "bye\n");
        assert!(said.contains("bye\n"), "{suite}: {said}");
    }
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        let said = s_client(port, directory.path(), &["-tls1_3", "-ciphersuites", suite], "bye\n");
        assert!(said.contains("bye\n"), "{suite}: {said}");
    }
    // What is not implemented ends with an alert, not with silence.
    let said = s_client(port, directory.path(), &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "");
    assert!(said.contains(" alert ") || said.contains("no protocols available"), "{said}");
    let said = s_client(port, directory.path(), &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "");
    assert!(said.contains("alert handshake failure"), "{said}");
}

#[test]
fn openssls_client_shows_its_certificate() {
    if !has_openssl() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::new();
    world.write(directory.path());
    let rules = PeerRules { trust: world.trust(), require_certificate: true, ..PeerRules::default() };
    let port = serve(world.server(rules));
    for option in ["-tls1_2", "-tls1_3"] {
        let shown = [option, "-cert", "srv.pem", "-key", "srv.key"];
        let said = s_client(port, directory.path(), &shown, "bye\n");
        assert!(said.contains("peer=CN=rcgen self signed cert"), "{said}");
        let said = s_client(port, directory.path(), &[option], "bye\n");
        let alerts = ["alert certificate required", "alert handshake failure"];
        assert!(alerts.iter().any(|alert| said.contains(alert)), "{said}");
    }
}

/// A running `openssl s_server` that answers each line reversed.
struct Server {
    child: std::process::Child,
    port: u16,
}

impl Server {
    fn start(directory: &Path, arguments: &[&str]) -> Server {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "srv.pem", "-key", "srv.key", "-rev"])
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.find_map(|line| line.ok()?.strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok());
        // It must be able to write on.
        thread::spawn(move || lines.for_each(drop));
        Server { child, port: port.expect("a port") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection of ours: what the server answered to a line, and whether an earlier session was resumed.
fn ask(context: &Arc<ClientContext>, port: u16, line: &str) -> Result<(String, bool), TlsError> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut out = Vec::new();
    let name = "server.example".try_into().expect("a name");
    let mut session = Session::client(context, name, &mut out).expect("a client");
    let mut bytes = [0; 16_384];
    let mut answer = Vec::new();
    let mut has_asked = false;
    loop {
        if session.is_open() && !has_asked {
            session.write([line.as_bytes(), b"\n"], &mut out).expect("open");
            has_asked = true;
        }
        if answer.ends_with(b"\n") {
            let is_resumed = session.facts().expect("open").is_resumed;
            session.close(&mut out);
            socket.write_all(&out).expect("sent");
            return Ok((String::from_utf8_lossy(&answer).trim().to_owned(), is_resumed));
        }
        socket.write_all(&out).expect("sent");
        out.clear();
        let read = socket.read(&mut bytes).expect("an answer");
        assert!(read > 0, "closed: {:?}", session.end_of_input());
        let received = session.receive(Chunk::copy_from(&bytes[..read]), &mut out);
        if received.is_err() {
            let _ = socket.write_all(&out);
        }
        received?;
        while let Some(chunk) = session.read() {
            answer.extend_from_slice(&chunk);
        }
    }
}

#[test]
fn our_client_talks_to_openssls_server() {
    if !has_openssl() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::new();
    world.write(directory.path());
    let context = |version, peer| {
        let options = ClientOptions {
            identity: Identity::from_pem(world.chain.as_bytes(), world.key.as_bytes(), None).ok(),
            parameters: Parameters::new(TlsVersion::Tls12, version),
            application_protocols: vec![b"http/1.1".to_vec()],
            peer,
            max_session_keys: 1,
        };
        Arc::new(ClientContext::new(options, Arc::new(DefaultTimeProvider)).expect("a context"))
    };
    let trusting = || PeerRules { trust: world.trust(), match_server_name: true, ..PeerRules::default() };
    for arguments in [&[][..], &["-Verify", "1", "-CAfile", "ca.pem"], &["-num_tickets", "4"]] {
        let server = Server::start(directory.path(), arguments);
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let context = context(version, trusting());
            for round in 0..3 {
                let (answer, is_resumed) = ask(&context, server.port, "hello").expect("accepted");
                assert_eq!(answer, "olleh");
                assert_eq!(is_resumed, round > 0, "{version:?} {arguments:?}");
            }
        }
        let stranger = PeerRules { trust: World::new().trust(), ..PeerRules::default() };
        let refused = ask(&context(TlsVersion::Tls13, stranger), server.port, "hello");
        assert_eq!(refused.expect_err("untrusted").failure_kind(), FailureKind::Chain);
    }
}
