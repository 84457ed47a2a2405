//! What TLS costs one end of a connection: small exchanges, bulk data both ways, handshakes. The sessions of ours are
//! measured beside rustls' two APIs, which they could be built on instead.
//!
//! Only the server's work is timed. Goals (release, a CPU with instructions for AES): a small request and response below
//! 0.5 us, 16 KiB each way below 3 us.

#![allow(missing_docs, reason = "the macros of criterion make undocumented functions")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::buf::{Chunk, Pool, recycle_vec, take_vec};
use ringway::tls::{
    ClientContext, ClientOptions, Identity, OcspStaplePolicy, Parameters, PeerRules, ServerContext,
    ServerOptions, Session, TlsVersion,
};
use rustls::time_provider::DefaultTimeProvider;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a driver receives at most at once.
const CHUNK_BYTES: usize = 16_384;

/// The server's end, made of one of the APIs.
trait End {
    fn new(server: &Arc<ServerContext>) -> Self;
    fn receive(&mut self, chunks: Vec<Chunk>) -> Vec<u8>;
    /// Takes what was received; its length.
    fn read(&mut self) -> usize;
    fn write(&mut self, parts: &[&[u8]], out: &mut Vec<u8>);
}

/// Ours, as it is used: records are sealed and opened by us after rustls' handshake. With a context `without_own_records`,
/// rustls' unbuffered API does it.
struct Ours(Session);

impl End for Ours {
    fn new(server: &Arc<ServerContext>) -> Ours {
        Ours(Session::server(server))
    }

    fn receive(&mut self, chunks: Vec<Chunk>) -> Vec<u8> {
        let mut out = take_vec();
        for chunk in chunks {
            self.0.receive(chunk, &mut out).expect("accepted");
        }
        out
    }

    fn read(&mut self) -> usize {
        std::iter::from_fn(|| self.0.read()).map(|chunk| black_box(chunk).len()).sum()
    }

    fn write(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        self.0.write(parts.iter().copied(), out).expect("open");
    }
}

/// rustls' buffered API.
struct Buffered {
    connection: rustls::ServerConnection,
    received: usize,
}

impl Buffered {
    /// Takes plaintext out: rustls holds a limited number of bytes.
    fn drain(&mut self) {
        loop {
            let mut piece = take_vec();
            piece.resize(CHUNK_BYTES, 0);
            let read = self.connection.reader().read(&mut piece).unwrap_or(0);
            if read == 0 {
                return recycle_vec(piece);
            }
            let mut chunk = Chunk::from_vec(piece);
            chunk.truncate(read);
            self.received += black_box(chunk).len();
        }
    }

    fn output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            self.connection.write_tls(out).expect("memory");
        }
    }
}

impl End for Buffered {
    fn new(server: &Arc<ServerContext>) -> Buffered {
        let mut connection = rustls::ServerConnection::new(server.rustls_config()).expect("a server");
        connection.set_buffer_limit(None);
        Buffered { connection, received: 0 }
    }

    fn receive(&mut self, chunks: Vec<Chunk>) -> Vec<u8> {
        for chunk in chunks {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                self.connection.read_tls(&mut rest).expect("memory");
                self.connection.process_new_packets().expect("accepted");
                self.drain();
            }
        }
        let mut out = take_vec();
        self.output(&mut out);
        out
    }

    fn read(&mut self) -> usize {
        std::mem::take(&mut self.received)
    }

    fn write(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        let slices: Vec<_> = parts.iter().map(|part| std::io::IoSlice::new(part)).collect();
        let _ = self.connection.writer().write_vectored(&slices).expect("memory");
        self.output(out);
    }
}

fn contexts(
    version: TlsVersion,
    session_keys: u32,
    own_records: bool,
    has_tickets: bool,
) -> (Arc<ClientContext>, Arc<ServerContext>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["server.example".into()]).expect("names");
    let chain = params.self_signed(&key).expect("a certificate").pem();
    let identity =
        Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes(), None).expect("an identity");
    let server = ServerOptions {
        identities: vec![identity],
        parameters: Parameters::new(TlsVersion::Tls12, version),
        application_protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        peer: PeerRules::default(),
        stateless_resumption: has_tickets,
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
        application_protocols: vec![b"http/1.1".to_vec()],
        peer: PeerRules::default(),
        max_session_keys: session_keys,
    };
    let mut server = ServerContext::new(server, Arc::new(DefaultTimeProvider)).expect("a context");
    if !own_records {
        server = server.without_own_records();
    }
    let client = ClientContext::new(client, Arc::new(DefaultTimeProvider)).expect("a context");
    (Arc::new(client), Arc::new(server))
}

/// Bytes as a driver hands them on: small pieces copied, large ones in blocks of the pool.
fn chunks(bytes: &[u8]) -> Vec<Chunk> {
    thread_local! {
        static POOL: Pool = Pool::install(64).expect("a pool");
    }
    let of = |piece: &[u8]| {
        let block = POOL.with(|pool| (piece.len() > 4_096).then(|| pool.copy_to_block(piece)));
        block.flatten().unwrap_or_else(|| Chunk::copy_from(piece))
    };
    bytes.chunks(CHUNK_BYTES).map(of).collect()
}

/// An open connection; the time that the server took for its handshake.
fn connect<E: End>(client: &Arc<ClientContext>, server: &Arc<ServerContext>) -> (Session, E, Duration) {
    let mut to_server = Vec::new();
    let name = "server.example".try_into().expect("a name");
    let mut client = Session::client(client, name, &mut to_server).expect("a client");
    let mut spent = Duration::ZERO;
    let begun = Instant::now();
    let mut end = E::new(server);
    spent += begun.elapsed();
    while !to_server.is_empty() {
        let received = chunks(&to_server);
        let begun = Instant::now();
        let answer = end.receive(received);
        spent += begun.elapsed();
        to_server.clear();
        if !answer.is_empty() {
            client.receive(Chunk::copy_from(&answer), &mut to_server).expect("accepted");
        }
        recycle_vec(answer);
    }
    assert!(client.is_open());
    (client, end, spent)
}

fn data<E: End>(criterion: &mut Criterion, name: &str, own_records: bool) {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let (client, server) = contexts(version, 0, own_records, true);
        let (mut client, mut end, _) = connect::<E>(&client, &server);
        let mut group = criterion.benchmark_group(format!("{} {name}", version.name()));
        let (request, head, body) = ([b'r'; 120], [b'h'; 180], [b'b'; 100]);
        group.bench_function("small request and response", |bencher| {
            bencher.iter_custom(|count| {
                let mut spent = Duration::ZERO;
                for _ in 0..count {
                    let mut wire = take_vec();
                    client.write([&request[..]], &mut wire).expect("open");
                    let mut out = take_vec();
                    let received = chunks(&wire);
                    let begun = Instant::now();
                    recycle_vec(end.receive(received));
                    black_box(end.read());
                    end.write(&[&head, &body], &mut out);
                    spent += begun.elapsed();
                    recycle_vec(out);
                    recycle_vec(wire);
                }
                spent
            });
        });
        for size in [16 << 10, 64 << 10] {
            let bytes = vec![b'x'; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("read {} KiB", size >> 10), |bencher| {
                bencher.iter_custom(|count| {
                    let mut spent = Duration::ZERO;
                    let mut wire = Vec::new();
                    for _ in 0..count {
                        wire.clear();
                        client.write([&bytes[..]], &mut wire).expect("open");
                        let received = chunks(&wire);
                        let begun = Instant::now();
                        recycle_vec(end.receive(received));
                        assert_eq!(end.read(), size);
                        spent += begun.elapsed();
                    }
                    spent
                });
            });
            group.bench_function(format!("write {} KiB", size >> 10), |bencher| {
                bencher.iter_custom(|count| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..count {
                        let begun = Instant::now();
                        // One record at a time, so that its buffer is recycled.
                        for part in bytes.chunks(CHUNK_BYTES) {
                            let mut out = take_vec();
                            end.write(&[part], &mut out);
                            recycle_vec(black_box(out));
                        }
                        spent += begun.elapsed();
                    }
                    spent
                });
            });
        }
        group.finish();
    }
}

fn handshakes<E: End>(criterion: &mut Criterion, name: &str, own_records: bool) {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut group = criterion.benchmark_group(format!("{} {name}", version.name()));
        for (what, session_keys, has_tickets) in [
            ("full handshake", 0, true),
            ("full handshake, no ticket", 0, false),
            ("resumed handshake", 1, true),
        ] {
            let (client, server) = contexts(version, session_keys, own_records, has_tickets);
            connect::<E>(&client, &server);
            group.bench_function(what, |bencher| {
                bencher.iter_custom(|count| (0..count).map(|_| connect::<E>(&client, &server).2).sum());
            });
        }
        group.finish();
    }
}

fn all(criterion: &mut Criterion) {
    data::<Ours>(criterion, "ours", true);
    data::<Ours>(criterion, "unbuffered", false);
    data::<Buffered>(criterion, "buffered", true);
    handshakes::<Ours>(criterion, "ours", true);
    handshakes::<Ours>(criterion, "unbuffered", false);
    handshakes::<Buffered>(criterion, "buffered", true);
}

criterion_group!(benches, all);
criterion_main!(benches);
