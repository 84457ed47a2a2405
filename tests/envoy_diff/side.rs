//! One proxy with its origins, and how a case is played on it.

use std::time::Duration;

use ringway_test_support::client::End;
use ringway_test_support::origin::{BlackHole, RefusedPort};
use ringway_test_support::{Answer, Connection, Message, Origin, Proxy, ReadError, Server};

use crate::case::{After, Case, Step};
use crate::outcome::Outcome;

/// The request by which a case finds out whether its connection still serves.
const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: probe.test\r\n\r\n";

/// Longest time for one thing to happen.
const LIMIT: Duration = Duration::from_secs(5);

/// Ports that a configuration needs.
pub struct Ports {
    /// The origin whose answers the cases script.
    pub origin: u16,
    /// A second one that always answers `b`.
    pub second: u16,
    /// The authorization server.
    pub authz: u16,
    /// Refuses connections.
    pub refused: u16,
    /// Never completes a connection.
    pub black_hole: u16,
}

/// A proxy and its surroundings.
pub struct Side {
    proxy: Proxy,
    origins: [(&'static str, Origin); 3],
    ports: Ports,
    machine_address: String,
    _refused: RefusedPort,
    _black_hole: BlackHole,
}

impl Side {
    /// Starts origins and proxy.
    pub fn start(server: Server, config: fn(&Ports) -> String) -> Side {
        let origin = Origin::start(Answer::status(200, "", "ok"));
        let second = Origin::start(Answer::status(200, "", "b"));
        let authz = Origin::start(Answer::status(200, "", ""));
        let (refused, black_hole) = (RefusedPort::take(), BlackHole::open());
        let ports = Ports {
            origin: origin.port(),
            second: second.port(),
            authz: authz.port(),
            refused: refused.port,
            black_hole: black_hole.port,
        };
        let proxy = server.start(&config(&ports));
        let origins = [("origin", origin), ("second", second), ("authz", authz)];
        Side {
            proxy,
            origins,
            ports,
            machine_address: machine_address(),
            _refused: refused,
            _black_hole: black_hole,
        }
    }

    /// Plays a case unless its outcome on Envoy is of no interest.
    pub fn play_unless(&self, skipped: bool, case: &Case) -> Outcome {
        if skipped {
            return Outcome { responses: Vec::new(), connection: "not played".into(), received: Vec::new() };
        }
        self.play(case)
    }

    /// Plays a case.
    pub fn play(&self, case: &Case) -> Outcome {
        // Cases that concern the authorization server script it; the others script the origin.
        let scripted = if case.name.starts_with("authz") && !case.answers.is_empty() { 2 } else { 0 };
        for (_, origin) in &self.origins {
            origin.take_requests();
            origin.expect([]);
        }
        self.origins[scripted].1.expect(case.answers.iter().cloned());
        let address = self.proxy.address_of(case.listener);
        let mut connection = Connection::open(address);
        connection.stream().set_read_timeout(Some(LIMIT)).expect("timeout");
        let mut responses: Vec<Result<Message, String>> = Vec::new();
        let mut interim = Vec::new();
        for step in case.script() {
            match step {
                Step::Send(bytes) => drop(connection.send(bytes)),
                Step::HalfClose => drop(connection.half_close()),
                Step::AwaitResponse => responses.push(connection.read().map_err(describe)),
                Step::AwaitInterim => match connection.read_head() {
                    Ok(head) => interim.push(head),
                    Err(e) => responses.push(Err(describe(e))),
                },
            }
        }
        while responses.len() < case.responses {
            let head = case.is_head() && responses.is_empty();
            let next = if head { connection.read_to_head() } else { connection.read() };
            responses.push(next.map_err(describe));
            if matches!(responses.last(), Some(Err(_))) {
                break;
            }
        }
        if let Some(Ok(first)) = responses.first_mut() {
            first.interim.splice(0..0, interim);
        }
        let connection = match case.after {
            After::Ignore => "not looked at".to_string(),
            After::AwaitClose => match connection.end(LIMIT) {
                End::Closed(rest) if !rest.is_empty() => format!("closed after {} bytes more", rest.len()),
                End::Closed(_) | End::Reset => "closed".to_string(),
                End::Open(_) => "not closed".to_string(),
            },
            After::Probe => match connection.send(PROBE).read() {
                Ok(answer) if answer.text().starts_with("probe") => "kept".to_string(),
                Ok(other) => format!("a further response: {}", other.start_line),
                Err(ReadError::Closed | ReadError::Reset) => "closed".to_string(),
                Err(e) => describe(e),
            },
        };
        let received = self
            .origins
            .iter()
            .flat_map(|(name, origin)| {
                let requests = origin.take_requests().into_iter();
                requests
                    .filter(|r| !matches!(r.header("host"), Some("cut" | "probe.test")))
                    .map(move |r| (name.to_string(), r))
            })
            .collect();
        self.without_ports(Outcome { responses, connection, received }, case)
    }

    /// Replaces the ports of this side by their names.
    fn without_ports(&self, mut outcome: Outcome, case: &Case) -> Outcome {
        let names = [
            (self.proxy.address_of(case.listener).port(), "<port>"),
            (self.ports.origin, "<origin>"),
            (self.ports.second, "<second>"),
            (self.ports.authz, "<authz>"),
            (self.ports.refused, "<refused>"),
            (self.ports.black_hole, "<black hole>"),
        ];
        let clean = |message: &mut Message| {
            for (port, name) in names {
                let port = port.to_string();
                for (_, value) in &mut message.headers {
                    // Envoy writes an address of the machine where a peer on loopback is appended to
                    // x-forwarded-for; Ringway writes the peer's.
                    *value = replace_number(&value.replace(&self.machine_address, "127.0.0.1"), &port, name);
                }
                if message.body.len() < 1000 {
                    message.body = replace_number(&message.text(), &port, name).into_bytes();
                }
            }
        };
        outcome.responses.iter_mut().flatten().for_each(clean);
        outcome.received.iter_mut().for_each(|(_, message)| clean(message));
        outcome
    }
}

fn describe(error: ReadError) -> String {
    match error {
        ReadError::Closed => "closed".into(),
        // A reset and an orderly end differ with the time at which the proxy's socket had unread bytes.
        ReadError::Reset => "closed".into(),
        ReadError::Truncated(got) => format!("cut after {:?}", String::from_utf8_lossy(&got)),
        ReadError::Deadline(_) => "nothing came".into(),
        ReadError::Malformed(what) => format!("malformed: {what}"),
    }
}

/// Replaces a number where it stands by itself, not as part of a longer one or of an id.
pub fn replace_number(text: &str, number: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(number) {
        let (before, after) = (&rest[..at], &rest[at + number.len()..]);
        out.push_str(before);
        let alone = !before.ends_with(|c: char| c.is_ascii_alphanumeric())
            && !after.starts_with(|c: char| c.is_ascii_alphanumeric());
        out.push_str(if alone { name } else { number });
        rest = after;
    }
    out + rest
}

/// The address that this machine would use towards others; connecting a UDP socket sends nothing.
fn machine_address() -> String {
    let towards = |target: &str| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    towards("192.0.2.1:9").unwrap_or_else(|| "127.0.0.1".into())
}
