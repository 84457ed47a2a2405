//! Sessions against each other and against plain rustls.

mod data;
mod end;
mod handshake;
mod protocol;
mod resumption;

use std::sync::Arc;

use super::*;
use crate::tls::parameters::{cipher_names, parse_cipher_suites};
use crate::tls::testing::{self, Ca, End, Pair, Peer, receive};
use crate::tls::{ClientContext, ClientOptions, ServerContext, ServerOptions, TlsVersion};

/// A pair of contexts that negotiate this version (and suite, for TLS 1.2).
fn contexts(version: TlsVersion, suite: Option<&str>) -> (Arc<ClientContext>, Arc<ServerContext>) {
    let ca = Ca::new("ca");
    let mut server = testing::server_options(&ca);
    let mut client = testing::client_options();
    for parameters in [&mut server.parameters, &mut client.parameters] {
        parameters.min_version = version;
        parameters.max_version = version;
        if let Some(suite) = suite.filter(|_| version == TlsVersion::Tls12) {
            parameters.cipher_suites = parse_cipher_suites(&[suite]).expect("known");
        }
    }
    (testing::client_context(client), testing::server_context(server))
}

/// An open pair of this version.
fn open_pair(version: TlsVersion) -> Pair {
    let (client, server) = contexts(version, None);
    Pair::new(&client, &server).open()
}

/// A session of ours with its peer, a plain rustls client.
fn with_rustls_client(server: &Arc<ServerContext>, config: Arc<rustls::ClientConfig>) -> (Session, Peer) {
    let name = "server.example".try_into().expect("a name");
    let mut peer = Peer::new(End::Client(rustls::ClientConnection::new(config, name).expect("a client")));
    let mut session = Session::server(server);
    for _ in 0..4 {
        let mut out = Vec::new();
        receive(&mut session, &peer.output(), &mut out).expect("accepted");
        peer.receive(&out).expect("accepted");
    }
    (session, peer)
}

/// A session of ours with its peer, a plain rustls server.
fn with_rustls_server(client: &Arc<ClientContext>, server: &ServerContext) -> (Session, Peer) {
    let mut out = Vec::new();
    let name = "server.example".try_into().expect("a name");
    let mut session = Session::client(client, name, &mut out).expect("a client");
    let mut peer =
        Peer::new(End::Server(rustls::ServerConnection::new(server.rustls_config()).expect("a server")));
    for _ in 0..4 {
        peer.receive(&std::mem::take(&mut out)).expect("accepted");
        receive(&mut session, &peer.output(), &mut out).expect("accepted");
    }
    (session, peer)
}

/// What `session` encrypts of `data`.
fn sealed(session: &mut Session, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    session.write([data], &mut out).expect("open");
    out
}

/// Types and lengths of the records in `bytes`.
fn records(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    while let Some(&[kind, _, _, high, low]) = bytes.first_chunk::<5>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        found.push((kind, len));
        bytes = &bytes[5 + len..];
    }
    found
}

/// An established session's way to send what it never would.
fn seal_raw(session: &mut Session, content_type: u8, body: &[u8]) -> Vec<u8> {
    let Stage::Established(records) = &mut session.stage else { panic!("not established") };
    let mut out = Vec::new();
    records.seal_raw(content_type, body, &mut out);
    out
}
