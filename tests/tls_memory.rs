//! What an idle TLS connection costs in memory, and that data flows through one without asking for any more. One test
//! in a process of its own, because it looks at the whole process's heap.

use std::sync::Arc;

use ringway::buf::{Chunk, Pool, recycle_vec, take_vec};
use ringway::tls::{
    ClientContext, ClientOptions, DefaultTimeProvider, Identity, OcspStaplePolicy, Parameters, PeerRules,
    ServerContext, ServerOptions, Session, TlsVersion,
};
use ringway_test_support::counting_allocator::{CountingAllocator, count_this_thread, counted};
use ringway_test_support::heap::bytes_in_use;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SESSIONS: usize = 500;
/// What an established session may hold while nothing happens, its own structure and the keys' included.
const MAX_IDLE_BYTES: usize = 8 << 10;
/// A session that waits for the first byte of a hello.
const MAX_NEW_BYTES: usize = 512;
/// A session that waits for the client's second message.
const MAX_HALF_OPEN_BYTES: usize = 8 << 10;

fn contexts(version: TlsVersion, own_records: bool) -> (Arc<ClientContext>, Arc<ServerContext>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["server.example".into()]).expect("names");
    let chain = params.self_signed(&key).expect("a certificate").pem();
    let server = ServerOptions {
        identities: vec![
            Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes(), None).expect("an identity"),
        ],
        parameters: Parameters::new(TlsVersion::Tls12, TlsVersion::Tls13),
        application_protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        peer: PeerRules::default(),
        stateless_resumption: true,
        stateful_resumption: true,
        ticket_keys: Vec::new(),
        session_timeout_s: None,
        ocsp_policy: OcspStaplePolicy::Lenient,
        full_scan: false,
        prefer_client_ciphers: false,
        server_names: Vec::new(),
    };
    let client = ClientOptions {
        identity: None,
        parameters: Parameters::new(TlsVersion::Tls12, version),
        application_protocols: vec![b"h2".to_vec()],
        peer: PeerRules::default(),
        max_session_keys: 0,
    };
    let mut server = ServerContext::new(server, Arc::new(DefaultTimeProvider)).expect("a context");
    if !own_records {
        server = server.without_own_records();
    }
    let client = ClientContext::new(client, Arc::new(DefaultTimeProvider)).expect("a context");
    (Arc::new(client), Arc::new(server))
}

/// An open client with its server.
fn connect(client: &Arc<ClientContext>, server: &Arc<ServerContext>) -> (Session, Session) {
    let mut to_server = take_vec();
    let name = "server.example".try_into().expect("a name");
    let mut client = Session::client(client, name, &mut to_server).expect("a client");
    let mut server = Session::server(server);
    while !to_server.is_empty() {
        let mut to_client = take_vec();
        server.receive(Chunk::copy_from(&to_server), &mut to_client).expect("accepted");
        to_server.clear();
        client.receive(Chunk::copy_from(&to_client), &mut to_server).expect("accepted");
        recycle_vec(to_client);
    }
    recycle_vec(to_server);
    assert!(client.is_open() && server.is_open());
    (client, server)
}

/// Bytes that each of many idle servers holds.
fn idle_bytes(version: TlsVersion, own_records: bool) -> usize {
    let (client, server) = contexts(version, own_records);
    // Whatever is made once is made now.
    drop(connect(&client, &server));
    let mut servers = Vec::with_capacity(SESSIONS);
    let before = bytes_in_use();
    for _ in 0..SESSIONS {
        let (mut client, mut server) = connect(&client, &server);
        exchange(&mut client, &mut server, b"request", b"response");
        servers.push(server);
    }
    let after = bytes_in_use();
    size_of::<Session>() + after.saturating_sub(before) / SESSIONS
}

/// A request and its response.
fn exchange(client: &mut Session, server: &mut Session, request: &[u8], response: &[u8]) {
    send(client, server, request);
    send(server, client, response);
}

fn send(from: &mut Session, to: &mut Session, data: &[u8]) {
    let mut wire = take_vec();
    from.write([data], &mut wire).expect("open");
    let mut answer = take_vec();
    for piece in wire.chunks(4_096) {
        to.receive(Chunk::copy_from(piece), &mut answer).expect("accepted");
    }
    let mut received = 0;
    while let Some(chunk) = to.read() {
        received += chunk.len();
    }
    assert_eq!((received, answer.len()), (data.len(), 0));
    recycle_vec(wire);
    recycle_vec(answer);
}

#[test]
fn an_idle_session_is_small_and_data_needs_no_more_memory() {
    let _pool = Pool::install(64).expect("a pool");
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let (ours, rustls) = (idle_bytes(version, true), idle_bytes(version, false));
        println!("{}: {ours} bytes for an idle session, {rustls} with rustls' records", version.name());
        assert!(ours <= MAX_IDLE_BYTES, "{ours} bytes");
    }

    let (_, server) = contexts(TlsVersion::Tls13, true);
    let mut waiting = Vec::with_capacity(SESSIONS);
    let before = bytes_in_use();
    waiting.extend((0..SESSIONS).map(|_| Session::server(&server)));
    let new = size_of::<Session>() + (bytes_in_use() - before) / SESSIONS;
    println!("{new} bytes for a session that has received nothing");
    assert!(new <= MAX_NEW_BYTES, "{new} bytes");

    let (client, server) = contexts(TlsVersion::Tls13, true);
    let mut waiting = Vec::with_capacity(SESSIONS);
    let before = bytes_in_use();
    for _ in 0..SESSIONS {
        let (mut hello, mut answer) = (take_vec(), take_vec());
        let name = "server.example".try_into().expect("a name");
        drop(Session::client(&client, name, &mut hello).expect("a client"));
        let mut session = Session::server(&server);
        session.receive(Chunk::copy_from(&hello), &mut answer).expect("accepted");
        waiting.push(session);
        recycle_vec(hello);
        recycle_vec(answer);
    }
    let half_open = size_of::<Session>() + (bytes_in_use() - before) / SESSIONS;
    println!("{half_open} bytes for a session within its handshake");
    assert!(half_open <= MAX_HALF_OPEN_BYTES, "{half_open} bytes");
    drop(waiting);

    count_this_thread();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let (client, server) = contexts(version, true);
        let (mut client, mut server) = connect(&client, &server);
        let (request, response) = (vec![b'q'; 300], vec![b'r'; 40_000]);
        for _ in 0..10 {
            exchange(&mut client, &mut server, &request, &response[..10_000]);
        }
        let before = counted();
        for _ in 0..1_000 {
            exchange(&mut client, &mut server, &request, &response[..10_000]);
        }
        assert_eq!(counted() - before, 0, "allocations in 1000 small exchanges, {}", version.name());
    }
}
