//! One proxy with its origins, and how a case is played on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_test_support::config::Http;
use ringway_test_support::h2::{H2Connection, H2Origin, Incoming, error_code};
use ringway_test_support::{Answer, Origin, Proxy, Server, eventually};

use super::outcome::{Outcome, fields_text};
use super::{Case, Client};

/// How long nothing must happen for a case to be over.
const QUIET: Duration = Duration::from_millis(400);

/// The statistics that are compared.
const COMPARED: &[&str] = &[
    "http2.",
    "cluster.h2.http2.rx_reset:",
    "cluster.h2.http2.header_overflow:",
    "cluster.h2.http2.inbound",
    "cluster.h2.upstream_rq_rx_reset:",
    "cluster.h2.upstream_rq_5",
    "cluster.h2.upstream_rq_retry:",
    "cluster.h2.upstream_cx_close_notify:",
    "http.test.downstream_rq_too_many_premature_resets:",
    "http.test.downstream_cx_protocol_error:",
];

/// Ports that a configuration needs.
pub struct Ports {
    /// Answers `ok` in HTTP/1.1.
    pub h1: u16,
    /// Does in HTTP/2 what the path says.
    pub h2: u16,
}

/// A proxy and its surroundings.
pub struct Side {
    proxy: Proxy,
    h1: Origin,
    _h2: H2Origin,
    received: Arc<Mutex<Vec<String>>>,
}

impl Side {
    /// Starts origins and proxy.
    pub fn start(server: Server, config: fn(&Ports) -> Http) -> Side {
        let h1 = Origin::start(Answer::status(200, "", "ok"));
        let received = Arc::<Mutex<Vec<String>>>::default();
        let noted = received.clone();
        let h2 = H2Origin::start(move |connection, stream, request| {
            let path = request.header(":path").unwrap_or("");
            // Those that get no answer may arrive when the next case is being played.
            if path != "/h2/silent" {
                noted.lock().expect("requests").push(request_text(request));
            }
            act(connection, stream, path);
        });
        let proxy = server.start(&config(&Ports { h1: h1.port(), h2: h2.port() }).yaml());
        Side { proxy, h1, _h2: h2, received }
    }

    /// Plays a case.
    pub fn play(&self, case: &Case) -> Outcome {
        self.h1.take_requests();
        self.received.lock().expect("requests").clear();
        let before = self.statistics();
        let address = self.proxy.address_of(case.listener);
        let mut outcome = match case.client {
            Client::Http1(request) => {
                let mut connection = ringway_test_support::Connection::open(address);
                let told = match connection.send(request).read() {
                    Ok(answer) => format!("{} {:?}\n", answer.start_line, answer.text()),
                    Err(_) => "cut\n".into(),
                };
                Outcome {
                    streams: BTreeMap::new(),
                    goaway: None,
                    connection: "of HTTP/1.1",
                    h1: Some(told),
                    received: Vec::new(),
                    statistics: BTreeMap::new(),
                }
            }
            Client::Http2(play) => play_http2(H2Connection::open(address), play),
        };
        let h1_requests = self.h1.take_requests().into_iter().map(|request| {
            let fields = request.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            let fields = fields_text(&fields);
            format!(
                "at h1: {}\n{fields}  body {:?}\n  trailers {:?}\n",
                request.start_line,
                request.text(),
                request.trailers
            )
        });
        outcome.received = h1_requests.collect();
        outcome.received.extend(std::mem::take(&mut *self.received.lock().expect("requests")));
        let port = address.port().to_string();
        for request in &mut outcome.received {
            *request = crate::side::replace_number(request, &port, "<port>");
        }
        self.await_clients_gone();
        outcome.statistics = self.statistics();
        outcome.statistics.retain(|name, value| {
            *value -= before.get(name).copied().unwrap_or(0).min(*value);
            *value > 0
        });
        outcome
    }

    /// Waits until the proxy is done with the case's connection: until then it may have something to count.
    fn await_clients_gone(&self) {
        eventually("the proxy to be done with the client", || {
            let text = self.proxy.admin_get("/stats?usedonly").text();
            let is_client =
                |name: &str| name.ends_with(".downstream_cx_active") && !name.starts_with("http.admin.");
            let open = text
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, value)| name.starts_with("http.") && is_client(name) && *value != "0");
            open.is_none().then_some(())
        });
    }

    fn statistics(&self) -> BTreeMap<String, u64> {
        let text = self.proxy.admin_get("/stats?usedonly").text();
        let wanted = text.lines().filter(|line| COMPARED.iter().any(|name| line.starts_with(name)));
        let split = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            // Gauges tell of the moment; a library of Envoy's is nobody else's; and who is told why counts it.
            let is_left_out =
                ["_active", "_bytes", "_close", "goaway_sent"].iter().any(|end| name.ends_with(end));
            Some((name.to_string(), value.parse().ok()?))
                .filter(|_| !is_left_out && !name.contains("nghttp2"))
        };
        wanted.filter_map(split).collect()
    }
}

fn play_http2(mut connection: H2Connection, play: fn(&mut H2Connection)) -> Outcome {
    play(&mut connection);
    connection.stream.set_read_timeout(Some(QUIET)).expect("timeout");
    let is_open = loop {
        match connection.read_frame() {
            Ok(_) => {}
            Err(error) => break matches!(error, ringway_test_support::ReadError::Deadline(_)),
        }
    };
    let (streams, goaway) = (connection.streams.clone(), connection.goaway);
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "probe.test"), (":path", "/")];
    // Some cases have used identifiers by hand.
    for _ in 0..20 {
        connection.next_stream();
    }
    let is_kept = is_open && {
        let probe = connection.open(&fields, true);
        connection.try_response(probe).is_ok_and(|answer| answer.text() == "probe")
    };
    Outcome {
        streams,
        goaway,
        connection: if is_kept { "kept" } else { "closed" },
        h1: None,
        received: Vec::new(),
        statistics: BTreeMap::new(),
    }
}

fn request_text(request: &Incoming) -> String {
    let trailers = request.trailers.as_ref().map(fields_text);
    format!("at h2:\n{}  body {:?}\n  trailers {trailers:?}\n", fields_text(&request.head), request.text())
}

/// Does what the path says. Frames in pieces, with a round trip between them, so that they are not seen together.
fn act(connection: &mut H2Connection, stream: u32, path: &str) {
    let ok = [(":status", "200")];
    let begin = |connection: &mut H2Connection| {
        connection.headers(stream, &ok, false);
        connection.data(stream, "part", false);
        (0..3).for_each(|_| connection.sync());
    };
    match path.trim_start_matches("/h2") {
        "/reset" => connection.reset(stream, error_code::INTERNAL_ERROR),
        "/refused" => connection.reset(stream, error_code::REFUSED_STREAM),
        "/cancel" => connection.reset(stream, error_code::CANCEL),
        "/no-error" => connection.reset(stream, error_code::NO_ERROR),
        "/reset-in-body" => {
            begin(connection);
            connection.reset(stream, error_code::INTERNAL_ERROR);
        }
        "/close" => drop(connection.stream.shutdown(std::net::Shutdown::Both)),
        "/close-in-body" => {
            begin(connection);
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
        "/goaway-then-answer" => {
            connection.send_goaway(0x7fff_ffff, error_code::NO_ERROR);
            connection.headers(stream, &ok, true);
        }
        "/goaway-unprocessed" => {
            connection.send_goaway(stream.saturating_sub(2), error_code::NO_ERROR);
        }
        "/goaway-error" => {
            connection.send_goaway(stream, error_code::ENHANCE_YOUR_CALM);
            connection.headers(stream, &ok, true);
        }
        "/trailers" => {
            connection.headers(stream, &ok, false);
            connection.data(stream, "body", false);
            connection.headers(stream, &[("grpc-status", "0"), ("x-trailer", "1")], true);
        }
        "/trailers-only" => connection.headers(stream, &[(":status", "200"), ("grpc-status", "5")], true),
        "/interim" => {
            connection.headers(stream, &[(":status", "103"), ("link", "</x>")], false);
            connection.headers(stream, &ok, true);
        }
        "/204" => connection.headers(stream, &[(":status", "204")], true),
        "/no-status" => connection.headers(stream, &[("x", "1")], true),
        "/bad-status" => connection.headers(stream, &[(":status", "abc")], true),
        "/upper" => connection.headers(stream, &[(":status", "200"), ("X-Upper", "1")], true),
        "/connection" => connection.headers(stream, &[(":status", "200"), ("connection", "close")], true),
        "/long-body" => {
            connection.headers(stream, &[(":status", "200"), ("content-length", "3")], false);
            (0..3).for_each(|_| connection.sync());
            connection.data(stream, "abcdef", true);
        }
        "/short-body" => {
            connection.headers(stream, &[(":status", "200"), ("content-length", "6")], false);
            (0..3).for_each(|_| connection.sync());
            connection.data(stream, "abc", true);
        }
        "/data-first" => connection.data(stream, "abc", true),
        "/many-fields" => {
            let fields: Vec<(String, String)> = std::iter::once((":status".to_string(), "200".to_string()))
                .chain((0..200).map(|at| (format!("x-{at}"), "1".to_string())))
                .collect();
            connection.headers(stream, &fields, true);
        }
        "/silent" => {}
        _ => {
            connection.headers(stream, &[(":status", "200"), ("content-type", "text/plain")], false);
            connection.data(stream, "h2 ok", true);
        }
    }
}
