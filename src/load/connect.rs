//! Connecting to the target of a run, TLS included, for every kind of run.

use std::future::poll_fn;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::io::{self, Address, Socket, SocketOptions, Timer};
use crate::transport::Stream;

use super::error::{ErrorKind, LoadError};
use super::plan::HttpVersion;
use super::tls::{TlsConnector, TlsPlan};

/// Where connections go, and how.
#[derive(Debug)]
pub(super) struct Endpoint {
    target: Address,
    /// As [`Plan::sources`](super::Plan::sources).
    sources: Vec<IpAddr>,
    tls: Option<TlsConnector>,
    protocol: HttpVersion,
    /// For TCP and TLS together.
    timeout: Duration,
}

/// A connection that stands.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// How long TCP took.
    pub(super) connect_time: Duration,
    /// How long TLS took, and what it settled.
    pub(super) handshake: Option<Handshake>,
}

/// What a handshake came to.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) time: Duration,
    pub(super) is_resumed: bool,
    pub(super) version: &'static str,
    pub(super) cipher: &'static str,
}

/// A connection that could not be made.
#[derive(Debug, Clone)]
pub(super) struct ConnectFailure {
    pub(super) kind: ErrorKind,
    /// What to tell people; empty if the kind says all.
    pub(super) reason: String,
}

impl Endpoint {
    /// For connections of one worker.
    ///
    /// # Errors
    /// If TLS cannot be as it was asked for.
    pub(super) fn new(
        target: &Address,
        sources: &[IpAddr],
        tls: Option<&TlsPlan>,
        protocol: HttpVersion,
        timeout: Duration,
    ) -> Result<Endpoint, LoadError> {
        let tls = tls.map(|plan| plan.connector(protocol)).transpose().map_err(LoadError::Tls)?;
        Ok(Endpoint { target: target.clone(), sources: sources.to_vec(), tls, protocol, timeout })
    }

    /// How requests name what they are sent over.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Makes connection `number`.
    pub(super) async fn connect(&self, number: u32) -> Result<Connected, ConnectFailure> {
        let begun = io::now();
        let mut timer = Timer::new();
        timer.arm_after(self.timeout);
        let mut socket = Socket::connect(&self.target, &self.socket_options(number));
        poll_fn(|cx| match socket.poll_connected(cx) {
            Poll::Ready(connected) => Poll::Ready(connected.map_err(|error| ConnectFailure::of(&error))),
            Poll::Pending => poll_timeout(&mut timer, cx),
        })
        .await?;
        let stands = io::now();
        let connect_time = stands.since(begun);
        let Some(tls) = &self.tls else {
            return Ok(Connected { stream: Stream::raw(socket), connect_time, handshake: None });
        };
        let mut stream = tls.connect(socket);
        poll_fn(|cx| match stream.poll_connected(cx) {
            Poll::Ready(connected) => {
                Poll::Ready(connected.map_err(|error| ConnectFailure::of_handshake(&error)))
            }
            Poll::Pending => poll_timeout(&mut timer, cx),
        })
        .await?;
        let handshake = self.handshake(&stream, io::now().since(stands))?;
        Ok(Connected { stream, connect_time, handshake: Some(handshake) })
    }

    fn handshake(&self, stream: &Stream, time: Duration) -> Result<Handshake, ConnectFailure> {
        let facts = stream.tls_facts().ok_or(ConnectFailure::without_reason(ErrorKind::Handshake))?;
        if self.protocol == HttpVersion::Http2 && !facts.is_application_protocol(self.protocol.alpn()) {
            let reason = "the target did not agree to HTTP/2 (ALPN)".to_owned();
            return Err(ConnectFailure { kind: ErrorKind::Handshake, reason });
        }
        let (version, cipher) = (facts.version.name(), facts.cipher_name());
        Ok(Handshake { time, is_resumed: facts.is_resumed, version, cipher })
    }

    /// Options of connection `number`, which has its turn in the sources.
    fn socket_options(&self, number: u32) -> SocketOptions {
        let source = self.sources.get(number as usize % self.sources.len().max(1));
        SocketOptions { source_address: source.map(|ip| (*ip, 0).into()), ..SocketOptions::default() }
    }
}

fn poll_timeout(timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
    let timed_out = std::io::Error::from(std::io::ErrorKind::TimedOut);
    timer.poll_expired(cx).map(|()| Err(ConnectFailure::of(&timed_out)))
}

impl ConnectFailure {
    fn of(error: &std::io::Error) -> ConnectFailure {
        ConnectFailure { kind: ErrorKind::of_connect(error), reason: error.to_string() }
    }

    fn of_handshake(error: &std::io::Error) -> ConnectFailure {
        ConnectFailure { kind: ErrorKind::Handshake, reason: error.to_string() }
    }

    /// A connection that stood and could not be used.
    pub(super) fn without_reason(kind: ErrorKind) -> ConnectFailure {
        ConnectFailure { kind, reason: String::new() }
    }
}
