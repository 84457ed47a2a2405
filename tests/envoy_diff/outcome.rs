//! What a case showed on one proxy, as text in which everything that may differ has been replaced.

use ringway_test_support::Message;

/// What one proxy did in one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Each response, or how the attempt to read one ended.
    pub responses: Vec<Result<Message, String>>,
    /// `kept`, `closed`, or what came instead.
    pub connection: String,
    /// Requests as the origins received them, each with its origin's name.
    pub received: Vec<(String, Message)>,
}

impl Outcome {
    /// Whether the first response has this status.
    pub fn status_is(&self, status: u16) -> bool {
        matches!(self.responses.first(), Some(Ok(message)) if message.status() == status)
    }

    /// The first response, if there was one.
    pub fn first(&self) -> Option<&Message> {
        self.responses.first()?.as_ref().ok()
    }

    /// Whether the first response came after an interim one with this status.
    pub fn interim_is(&self, status: u16) -> bool {
        self.first().is_some_and(|message| message.interim.iter().any(|i| i.status() == status))
    }

    /// Whether the connection was closed by the proxy.
    pub fn closed(&self) -> bool {
        self.connection == "closed"
    }

    /// Whether no origin got a request.
    pub fn nothing_forwarded(&self) -> bool {
        self.received.is_empty()
    }

    /// The usual answer to a malformed request.
    pub fn refused_as_malformed(&self) -> bool {
        self.status_is(400) && self.closed() && self.nothing_forwarded()
    }

    /// As text for the comparison: fields in order of their names, equal names in order of arrival.
    pub fn text(&self, ignored_fields: &[&str], with_received: bool) -> String {
        let mut out = String::new();
        for response in &self.responses {
            match response {
                Ok(message) => {
                    for interim in &message.interim {
                        out.push_str(&message_text("interim", interim, ignored_fields));
                    }
                    out.push_str(&message_text("response", message, ignored_fields));
                }
                Err(why) => out.push_str(&format!("no response: {why}\n")),
            }
        }
        out.push_str(&format!("connection: {}\n", self.connection));
        if with_received {
            for (origin, message) in &self.received {
                out.push_str(&message_text(&format!("at {origin}"), message, ignored_fields));
            }
        }
        out
    }
}

fn message_text(label: &str, message: &Message, ignored_fields: &[&str]) -> String {
    let start_line = &message.start_line;
    let mut out = match start_line.len() {
        0..300 => format!("{label}: {start_line}\n"),
        length => format!("{label}: start line of {length} bytes\n"),
    };
    let mut fields: Vec<(String, &str)> = message
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str()))
        .filter(|(name, _)| !ignored_fields.contains(&name.to_ascii_lowercase().as_str()))
        .collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, value) in fields {
        out.push_str(&format!("  {name}: {}\n", normalised(&name, value)));
    }
    if !message.body.is_empty() {
        let text = message.text();
        if text.len() > 300 {
            out.push_str(&format!("  body of {} bytes\n", text.len()));
        } else {
            out.push_str(&format!("  body {text:?}\n"));
        }
    }
    for (name, value) in &message.trailers {
        out.push_str(&format!("  trailer {name}: {value}\n"));
    }
    out
}

/// The value with what differs from run to run replaced.
fn normalised(name: &str, value: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "date" if value.ends_with(" GMT") && value.len() == 29 => "<date>".into(),
        "x-envoy-upstream-service-time" if value.parse::<u32>().is_ok() => "<ms>".into(),
        // What is left of 15 seconds at a later attempt.
        "x-envoy-expected-rq-timeout-ms"
            if value.parse().is_ok_and(|ms: u32| (14_000..=15_000).contains(&ms)) =>
        {
            "<15000 or less>".into()
        }
        "x-request-id" if is_uuid(value) => "<uuid>".into(),
        _ if value.len() > 300 => format!("<{} bytes>", value.len()),
        _ => value.to_string(),
    }
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}
