//! Certificates, clients and origins that all sides share, made once.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use ringway_test_support::certificates::quoted;
use ringway_test_support::{
    Answer, Authority, Certificate, Leaf, Origin, Then, TlsClient, TlsServer, TlsVersion,
};

pub struct World {
    pub ca: Authority,
    pub server: Certificate,
    /// For `*.wild.test`.
    pub wild: Certificate,
    pub client: Certificate,
    pub expired: Certificate,
    pub stranger: Certificate,
}

pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (ca, other_ca) = (Authority::new("ca"), Authority::new("other"));
        let client = Leaf::new(&["client.test"]).uri("spiffe://test/client").uri("spiffe://test/second");
        let server = Leaf::new(&["a.test", "b.test", "x.wild.test"]).uri("spiffe://test/server");
        World {
            server: ca.issue_leaf(&server),
            wild: ca.issue(&["*.wild.test"]),
            expired: ca.issue_leaf(&client.clone().expired()),
            stranger: other_ca.issue_leaf(&client),
            client: ca.issue_leaf(&client),
            ca,
        }
    })
}

/// `trusted_ca` of an authority.
pub fn trust(authority: &Authority) -> String {
    format!("trusted_ca: {{inline_string: {}}}", quoted(authority.pem()))
}

pub fn nobody() -> TlsClient {
    TlsClient::new(&world().ca, "a.test")
}

pub fn nobody12() -> TlsClient {
    nobody().only(TlsVersion::V12)
}

pub fn nobody13() -> TlsClient {
    nobody().only(TlsVersion::V13)
}

pub fn known() -> TlsClient {
    nobody().certificate(&world().client)
}

pub fn known12() -> TlsClient {
    nobody12().certificate(&world().client)
}

pub fn expired() -> TlsClient {
    nobody().certificate(&world().expired)
}

pub fn expired12() -> TlsClient {
    nobody12().certificate(&world().expired)
}

pub fn stranger() -> TlsClient {
    nobody().certificate(&world().stranger)
}

pub fn stranger12() -> TlsClient {
    nobody12().certificate(&world().stranger)
}

/// Origins with TLS.
pub struct Origins {
    /// Answers requests of HTTP/1; its certificate is the server's.
    pub http: u16,
    /// The same, of the other authority.
    pub strange: u16,
    pub outdated: u16,
    /// Wants the world's certificates.
    pub mutual: u16,
    /// Speaks TLS 1.3 only.
    pub newest: u16,
    /// Knows HTTP/1.1 only by ALPN.
    pub http1: u16,
    /// Sends back what it gets.
    pub echo: u16,
    /// Answers when the client has ended its direction in order.
    pub at_end: u16,
    _running: Vec<Origin>,
}

pub fn origins() -> &'static Origins {
    static ORIGINS: OnceLock<Origins> = OnceLock::new();
    ORIGINS.get_or_init(|| {
        let world = world();
        let mut running = Vec::new();
        let mut http = |server: &Arc<TlsServer>, answer: Answer| {
            running.push(Origin::start_tls(server, answer));
            running.last().map_or(0, Origin::port)
        };
        // Nothing is left open, so that a side comes to rest.
        let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        let ok = || Answer::Raw(closing.into(), Then::Close);
        let plain = TlsServer::new(&world.server, &[]);
        Origins {
            http: http(&plain, ok()),
            strange: http(&TlsServer::new(&world.stranger, &[]), ok()),
            outdated: http(&TlsServer::new(&world.expired, &[]), ok()),
            mutual: http(&TlsServer::mutual(&world.server, &[], &world.ca), ok()),
            newest: http(&TlsServer::only(&world.server, &[], TlsVersion::V13), ok()),
            http1: http(&TlsServer::new(&world.server, &["http/1.1"]), ok()),
            echo: plain.listen(|stream| {
                let mut block = [0; 4096];
                loop {
                    match stream.read(&mut block)? {
                        0 => return Ok(()),
                        read => stream.write_all(&block[..read])?,
                    }
                }
            }),
            at_end: plain.listen(|stream| {
                let mut got = Vec::new();
                stream.read_to_end(&mut got)?;
                let answer = format!("{} bytes, in order {}", got.len(), stream.ended_in_order());
                stream.write_all(answer.as_bytes())?;
                stream.shutdown(std::net::Shutdown::Write)
            }),
            _running: running,
        }
    })
}
