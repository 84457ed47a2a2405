//! What load is driven. Plain data; nothing here does I/O.

use std::net::IpAddr;
use std::time::Duration;

use crate::io::Address;

use super::request::RequestSpec;
use super::tls::TlsPlan;

/// A run. The requests are sent round robin by all connections together.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the connections go.
    pub target: Address,
    /// At least one.
    pub requests: Vec<RequestSpec>,
    /// Connections of all workers together, at least 1.
    pub connections: u32,
    /// TLS on them.
    pub tls: Option<TlsPlan>,
    /// What is spoken on them.
    pub protocol: HttpVersion,
    /// Requests in flight on one connection, at least 1: HTTP/1.1 pipelining, or streams of HTTP/2.
    pub depth: u32,
    /// When requests are sent.
    pub pace: Pace,
    /// When the run ends. Warm-up comes on top.
    pub limit: Limit,
    /// How long requests are sent before they count.
    pub warm_up: Duration,
    /// How long connecting may take, a request that is due wait for a free connection, and an answer take from sending.
    pub timeout: Duration,
    /// What a connection is used for.
    pub reuse: Reuse,
    /// Answers with another status are failures.
    pub expected: ExpectedStatus,
    /// Addresses to connect from, round robin; none leaves it to the kernel. One address has about 28,000 ports.
    pub sources: Vec<IpAddr>,
    /// Of the random arrivals.
    pub seed: u64,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

impl HttpVersion {
    /// The name in TLS (ALPN, RFC 7301).
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            HttpVersion::Http1 => b"http/1.1",
            HttpVersion::Http2 => b"h2",
        }
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each connection sends its next request when an answer came.
    ClosedLoop,
    /// By a schedule that does not wait for answers. Latency counts from the scheduled time.
    OpenLoop {
        /// Requests a second, all workers together; above 0.
        per_second: f64,
        /// The gaps between them.
        arrivals: Arrivals,
    },
}

/// The gaps between the requests of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// All alike.
    Constant,
    /// Exponentially distributed, as of many clients that do not know each other.
    Poisson,
}

/// What ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// No request is begun after this.
    Duration(Duration),
    /// This many requests, all workers together, failed ones included.
    Requests(u64),
}

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// One request after the other.
    KeepAlive,
    /// One request; connecting is part of its latency.
    NewConnection,
    /// None: with TLS, the handshake is what is timed, connecting included.
    Handshake,
}

/// The statuses that count as success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedStatus(Vec<(u16, u16)>);

impl ExpectedStatus {
    /// Any of these ranges, bounds included.
    pub fn ranges(ranges: impl IntoIterator<Item = (u16, u16)>) -> ExpectedStatus {
        ExpectedStatus(ranges.into_iter().collect())
    }

    /// Whether an answer with `status` is a success.
    #[inline]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl Default for ExpectedStatus {
    /// 2xx and 3xx.
    fn default() -> ExpectedStatus {
        ExpectedStatus(vec![(200, 399)])
    }
}

impl Plan {
    /// A closed loop of GET requests for `path`, which begins with `/`.
    pub fn closed_loop(
        target: Address,
        authority: &str,
        path: &str,
        connections: u32,
        duration: Duration,
    ) -> Plan {
        Plan {
            target,
            requests: vec![RequestSpec::get(authority, path)],
            connections,
            tls: None,
            protocol: HttpVersion::Http1,
            depth: 1,
            pace: Pace::ClosedLoop,
            limit: Limit::Duration(duration),
            warm_up: Duration::ZERO,
            timeout: Duration::from_secs(10),
            reuse: Reuse::KeepAlive,
            expected: ExpectedStatus::default(),
            sources: Vec::new(),
            seed: 1,
        }
    }
}
