//! What a case showed on one proxy, as text in which everything that may differ has been replaced.

use std::collections::BTreeMap;

use ringway_test_support::h2::{Fields, Goaway, Incoming, error_code};

/// What one proxy did in one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What came on each stream.
    pub streams: BTreeMap<u32, Incoming>,
    /// The last GOAWAY.
    pub goaway: Option<Goaway>,
    /// `kept` or `closed`.
    pub connection: &'static str,
    /// A response of HTTP/1.1, or what came instead.
    pub h1: Option<String>,
    /// Requests as the origins received them.
    pub received: Vec<String>,
    /// Statistics that have grown.
    pub statistics: BTreeMap<String, u64>,
}

impl Outcome {
    /// What came on the first stream.
    pub fn first(&self) -> Incoming {
        self.streams.values().next().cloned().unwrap_or_default()
    }

    /// Whether the connection was ended with this code.
    pub fn ended_with(&self, code: u32) -> bool {
        self.connection == "closed" && self.goaway.is_some_and(|goaway| goaway.code == code)
    }

    /// Whether only the first stream was ended, with this code.
    pub fn reset_with(&self, code: u32) -> bool {
        self.connection == "kept" && self.first().reset == Some(code)
    }

    /// Whether the first stream has this status, and the connection is kept.
    pub fn status_is(&self, status: u16) -> bool {
        self.connection == "kept" && self.first().status() == status && self.first().ended
    }

    /// As text for the comparison. An error of the connection is compared by its being closed: Envoy gives no reason.
    pub fn text(&self, with_received: bool) -> String {
        let mut out = String::new();
        for (id, stream) in &self.streams {
            for head in &stream.interim {
                out.push_str(&format!("{id}: interim\n{}", fields_text(head)));
            }
            if !stream.head.is_empty() {
                out.push_str(&format!("{id}: head\n{}", fields_text(&stream.head)));
            }
            match stream.body.len() {
                0 => {}
                1..300 => out.push_str(&format!("{id}: body {:?}\n", stream.text())),
                length => out.push_str(&format!("{id}: body of {length} bytes\n")),
            }
            if let Some(trailers) = &stream.trailers {
                out.push_str(&format!("{id}: trailers\n{}", fields_text(trailers)));
            }
            let end = match (stream.ended, stream.reset) {
                // After a whole response a reset says only that the rest of the request is not wanted.
                (true, _) => "ended".into(),
                (false, Some(code)) => format!("reset with {code}"),
                (false, None) => "open".to_string(),
            };
            out.push_str(&format!("{id}: {end}\n"));
        }
        if let Some(h1) = &self.h1 {
            out.push_str(h1);
        }
        match self.goaway {
            Some(goaway) if goaway.code == error_code::NO_ERROR => out.push_str("goaway in peace\n"),
            _ => {}
        }
        out.push_str(&format!("connection: {}\n", self.connection));
        for (name, value) in &self.statistics {
            out.push_str(&format!("{name}: +{value}\n"));
        }
        if with_received {
            self.received.iter().for_each(|request| out.push_str(request));
        }
        out
    }
}

/// Fields in order of their names.
pub fn fields_text(fields: &Fields) -> String {
    let mut lines: Vec<String> =
        fields.iter().map(|(name, value)| format!("  {name}: {}\n", normalised(name, value))).collect();
    lines.sort();
    lines.concat()
}

fn normalised(name: &str, value: &str) -> String {
    match name {
        "date" | "x-request-id" | "x-envoy-upstream-service-time" | "x-envoy-expected-rq-timeout-ms" => {
            format!("<{name}>")
        }
        _ if value.len() > 300 => format!("<{} bytes>", value.len()),
        _ => value.to_string(),
    }
}
