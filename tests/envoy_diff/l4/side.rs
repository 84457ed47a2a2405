//! One proxy with its origins, and how a case is played on it.

use std::collections::BTreeMap;
use std::time::Duration;

use ringway_test_support::l4_config::{L4, access_log, chain, direct_response};
use ringway_test_support::origin::{BlackHole, RefusedPort};
use ringway_test_support::process::read_file;
use ringway_test_support::{PeerEnd, Proxy, Server, TcpOrigin, TcpPeer, eventually};

use super::{Case, Outcome};
use crate::side::replace_number;

/// Name of the file, in the scratch directory, that all access logs go to.
pub const LOG: &str = "access.log";

/// How long a connection is waited for that the proxy is expected to end.
const LIMIT: Duration = Duration::from_secs(5);

/// How long a connection is looked at that is expected to stay.
const SHORT: Duration = Duration::from_millis(300);

/// The listener whose log line shows that everything before it has been logged.
const MARKER: &str = "marker";

/// The statistics that are compared.
const COMPARED: &str = "^(tcp|cluster|listener|proxy_proto|connection_limit|local_rate_limit|listener_local_ratelimit|http_inspector|tls_inspector)[.]|rbac[.]|proxy_proto_error";

/// What those that are not compared contain: they tell more of how a proxy works than of what it does.
const NOT_COMPARED: &[&str] = &[
    "listener.admin.",
    "listener.marker.",
    ".circuit_breakers.",
    ".worker_",
    "_buffered",
    ".membership_",
    ".update_",
];

/// Ports that a configuration needs.
pub struct Ports {
    /// The origin whose deeds the cases script.
    pub origin: u16,
    /// A second one that greets each connection with `second` and sends back what it receives.
    pub second: u16,
    /// Refuses connections.
    pub refused: u16,
    /// Never completes a connection.
    pub black_hole: u16,
}

/// A proxy and its surroundings.
pub struct Side {
    proxy: Proxy,
    origins: [(&'static str, TcpOrigin); 2],
    ports: Ports,
    _refused: RefusedPort,
    _black_hole: BlackHole,
}

type Stats = BTreeMap<String, i64>;

impl Side {
    /// Starts origins and proxy.
    pub fn start(server: Server, config: fn(&Ports) -> L4) -> Side {
        let origin = TcpOrigin::echo();
        let second = TcpOrigin::start(|peer| {
            peer.send("second").echo();
        });
        let (refused, black_hole) = (RefusedPort::take(), BlackHole::open());
        let ports = Ports {
            origin: origin.port(),
            second: second.port(),
            refused: refused.port,
            black_hole: black_hole.port,
        };
        let server = server.arg("--file-flush-interval-msec").arg("10");
        let marker = format!("{}\n{}", access_log(LOG, MARKER), chain(&direct_response("")));
        let proxy = server.start(&config(&ports).listener(MARKER, &marker).yaml());
        let origins = [("origin", origin), ("second", second)];
        Side { proxy, origins, ports, _refused: refused, _black_hole: black_hole }
    }

    /// Plays a case.
    pub fn play(&self, case: &Case) -> Outcome {
        let (before, lines_before) = self.at_rest(false);
        self.origins[0].1.expect(case.origin.iter().cloned());
        let mut client = TcpPeer::connect(self.proxy.address_of(case.listener));
        let port = client.local_address().map_or(0, |address| address.port());
        (case.client)(&mut client);
        let limit = if case.may_stay_open { SHORT } else { LIMIT };
        let end = client.await_end(limit);
        let received = std::mem::take(&mut client.received);
        let seen_open = case.may_stay_open.then(|| self.at_rest(true));
        if end == PeerEnd::Open {
            client.reset();
        }
        drop(client);
        let (after, lines) = self.at_rest(false);
        let (after, lines) = seen_open.unwrap_or((after, lines));
        let origins = self
            .origins
            .iter()
            .flat_map(|(name, origin)| origin.settle().into_iter().map(move |seen| (*name, seen)))
            .collect();
        let changed = |(name, value): (String, i64)| {
            let change = value - before.get(&name).copied().unwrap_or(0);
            (change != 0).then_some((name, change))
        };
        Outcome {
            received,
            end,
            origins,
            logs: lines[lines_before.len()..]
                .iter()
                .map(|line| self.without_ports(line, case, port))
                .collect(),
            stats: after.into_iter().filter_map(changed).collect(),
        }
    }

    /// Statistics and log lines once all connections are over; with `busy`, some may be open.
    fn at_rest(&self, busy: bool) -> (Stats, Vec<String>) {
        if !busy {
            eventually("the proxy to come to rest", || {
                let stats = self.stats();
                stats.iter().all(|(name, value)| *value == 0 || !name.ends_with("cx_active")).then_some(())
            });
        }
        // There is one worker: what it did before this connection is counted and logged once this is.
        let marks = self.log_lines().iter().filter(|line| *line == MARKER).count();
        TcpPeer::connect(self.proxy.address_of(MARKER)).await_end(LIMIT);
        let lines = eventually("the marker in the log", || {
            let lines = self.log_lines();
            (lines.iter().filter(|line| *line == MARKER).count() > marks).then_some(lines)
        });
        (self.stats(), lines.into_iter().filter(|line| line != MARKER).collect())
    }

    fn stats(&self) -> Stats {
        let text = self.proxy.admin_get(&format!("/stats?usedonly&filter={COMPARED}")).text();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(name, _)| !NOT_COMPARED.iter().any(|part| name.contains(part)))
            .filter_map(|(name, value)| Some((name.to_string(), value.trim().parse().ok()?)))
            .collect()
    }

    fn log_lines(&self) -> Vec<String> {
        read_file(&self.proxy.directory().join(LOG)).lines().map(str::to_string).collect()
    }

    /// Replaces the ports of this side by their names.
    fn without_ports(&self, line: &str, case: &Case, client: u16) -> String {
        let names = [
            (client, "<client>"),
            (self.proxy.address_of(case.listener).port(), "<listener>"),
            (self.ports.origin, "<origin>"),
            (self.ports.second, "<second>"),
            (self.ports.refused, "<refused>"),
            (self.ports.black_hole, "<black hole>"),
        ];
        let line = names
            .iter()
            .filter(|(port, _)| *port != 0)
            .fold(line.to_string(), |line, (port, name)| replace_number(&line, &port.to_string(), name));
        match line.split_once("from=127.0.0.1:") {
            Some((before, after)) if after.starts_with(|c: char| c.is_ascii_digit()) => {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{before}from=127.0.0.1:<another client>{rest}")
            }
            _ => line,
        }
    }
}
