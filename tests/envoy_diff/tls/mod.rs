//! TLS on both sides: which chain, which protocol, which version; who is let in and what is told of them; what becomes of
//! those who break the protocol; what becomes of hosts that are not who they should be.
//!
//! Clients and origins are plain rustls. Of failures it is compared that there is a reason, not its words.

mod downstream;
mod upstream;
mod world;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use ringway_test_support::l4_config::{L4, network_filter};
use ringway_test_support::tcp::TcpPeer;
use ringway_test_support::{TlsClient, TlsStream};

use crate::l4::{Case, Group, Ports, case};

/// What the access logs tell.
const FORMAT: &str = "%ACCESS_LOG_TYPE% flags=%RESPONSE_FLAGS% \
    end=%CONNECTION_TERMINATION_DETAILS% received=%BYTES_RECEIVED% sent=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER% \
    chain=%FILTER_CHAIN_NAME% code=%RESPONSE_CODE% name=%REQUESTED_SERVER_NAME% \
    tls=%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_GROUP% \
    peer=%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_ISSUER%|%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_PEER_DNS_SAN%|\
    %DOWNSTREAM_PEER_SERIAL%|%DOWNSTREAM_PEER_FINGERPRINT_256%|%DOWNSTREAM_PEER_FINGERPRINT_1%|\
    %DOWNSTREAM_PEER_CERT_V_START%|%DOWNSTREAM_PEER_CERT_V_END% \
    local=%DOWNSTREAM_LOCAL_SUBJECT%|%DOWNSTREAM_LOCAL_URI_SAN%|%DOWNSTREAM_LOCAL_DNS_SAN% \
    failed=%DOWNSTREAM_TRANSPORT_FAILURE_REASON% up=%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% \
    %UPSTREAM_PEER_SUBJECT%|%UPSTREAM_PEER_URI_SAN%|%UPSTREAM_PEER_DNS_SAN%|%UPSTREAM_LOCAL_URI_SAN% \
    %UPSTREAM_PROTOCOL% upfailed=%UPSTREAM_TRANSPORT_FAILURE_REASON%";

pub fn group() -> Group {
    let cases = downstream::cases().into_iter().chain(upstream::cases()).collect();
    Group { name: "tls", config, cases }
}

fn config(_: &Ports) -> L4 {
    upstream::config(downstream::config(L4::new()))
}

/// A row whose client does the handshake and then this; what it has seen is compared.
fn tls_case(
    name: &str,
    listener: &'static str,
    client: fn() -> TlsClient,
    act: impl Fn(&mut TlsStream) -> io::Result<String> + Send + Sync + 'static,
) -> Case {
    case(name).on(listener).any_end().client(move |peer| {
        let told = tell(peer, &client(), &act);
        peer.received = told.into_bytes();
    })
}

fn tell(
    peer: &mut TcpPeer,
    client: &TlsClient,
    act: &(impl Fn(&mut TlsStream) -> io::Result<String> + ?Sized),
) -> String {
    let Ok(socket) = peer.stream().try_clone() else { return "no socket".into() };
    let mut stream = client.over(socket);
    let told = match stream.complete_handshake() {
        Err(error) => format!("handshake: {}", failure(&error)),
        Ok(()) => {
            let settled = format!("{} {:?}", stream.version(), stream.protocol());
            match act(&mut stream) {
                Ok(told) => format!("{settled}, {told}, good-bye {}", stream.ended_in_order()),
                Err(error) => format!("{settled}, {}", failure(&error)),
            }
        }
    };
    // What is left is of no interest, nor could it be compared.
    let _ = stream.socket().set_read_timeout(Some(Duration::from_secs(5)));
    while stream.socket().read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
    told
}

/// How a connection failed: by an alert, or just by its end.
fn failure(error: &io::Error) -> String {
    match error.kind() {
        // Which alert is a matter of the library.
        io::ErrorKind::InvalidData if error.to_string().contains("fatal alert") => "alert".into(),
        io::ErrorKind::InvalidData => error.to_string(),
        io::ErrorKind::WouldBlock => "nothing came".into(),
        _ => "ended".into(),
    }
}

/// Reads to the end.
fn read(stream: &mut TlsStream) -> io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Has an echo, ends its direction, and reads to the end.
fn echo(stream: &mut TlsStream) -> io::Result<String> {
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])?;
    stream.shutdown(Shutdown::Write)?;
    read(stream)
}

/// A row whose client sends something, says that this is all, and reads to the end.
fn nobody_echo(name: &str, listener: &'static str) -> Case {
    tls_case(name, listener, world::nobody, |stream| {
        stream.write_all(b"hello")?;
        stream.shutdown(Shutdown::Write)?;
        read(stream)
    })
}

/// The request for a path, whose response is the last.
fn get(
    path: &'static str,
    fields: &'static str,
) -> impl Fn(&mut TlsStream) -> io::Result<String> + Send + Sync {
    move |stream| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes())?;
        let response = read(stream)?;
        let mut told: Vec<_> = response.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
        told.sort_unstable();
        Ok(told.join("\n"))
    }
}

/// An HTTP connection manager with these routes (a YAML list) that logs.
fn manager(fields: &str, routes: &str) -> String {
    let log = ringway_test_support::l4_config::access_log(crate::l4::LOG, FORMAT);
    let indent = ringway_test_support::config::indent;
    network_filter(
        "http_connection_manager.v3.HttpConnectionManager",
        &format!(
            "stat_prefix: test\n{log}\n{fields}\nroute_config:\n  name: r\n  virtual_hosts:\n  - name: v\n    domains: ['*']\n    \
             routes:\n    {}\nhttp_filters:\n- name: router\n  typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}",
            indent(routes, 4)
        ),
    )
}
