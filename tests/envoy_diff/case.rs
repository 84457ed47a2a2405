//! One row of the table: what a client sends, what the origin answers, what may differ.

use ringway_test_support::Answer;

use crate::outcome::Outcome;

/// A step of the client.
#[derive(Clone)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Reads one response (interim ones included) before it goes on.
    AwaitResponse,
    /// Reads one head before it goes on: the interim response to `Expect`.
    AwaitInterim,
    /// Ends the sending direction.
    HalfClose,
}

/// How a case finds out whether the connection was kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// By sending a further request.
    Probe,
    /// By waiting for the end: the connection must be closed by the proxy.
    AwaitClose,
    /// Not at all.
    Ignore,
}

/// Ringway's own answer where it differs on purpose.
pub struct Difference {
    /// Why, for the reader and the README.
    pub reason: &'static str,
    /// Checks Ringway's outcome.
    pub check: fn(&Outcome) -> bool,
}

/// One row.
pub struct Case {
    pub name: String,
    pub listener: &'static str,
    method: String,
    target: String,
    host: String,
    fields: Vec<String>,
    body: Vec<u8>,
    pub steps: Vec<Step>,
    /// Final responses to read after the steps.
    pub responses: usize,
    pub answers: Vec<Answer>,
    pub after: After,
    pub difference: Option<Difference>,
    /// A known fault of Ringway's, to be mended: the row is compared and reported, but does not fail.
    pub known_bug: Option<&'static str>,
    /// Fields left out of the comparison, lower case.
    pub ignored_fields: Vec<&'static str>,
    /// Whether the requests at the origin are compared.
    pub compare_origin: bool,
}

/// A row with this name: a GET of `/` unless it says otherwise.
pub fn case(name: &str) -> Case {
    Case {
        name: name.to_string(),
        listener: "main",
        method: "GET".into(),
        target: "/".into(),
        host: "test.local".into(),
        fields: Vec::new(),
        body: Vec::new(),
        steps: Vec::new(),
        responses: 1,
        answers: Vec::new(),
        after: After::Probe,
        difference: None,
        known_bug: None,
        ignored_fields: Vec::new(),
        compare_origin: true,
    }
}

impl Case {
    /// Sends to this listener.
    pub fn on(self, listener: &'static str) -> Case {
        Case { listener, ..self }
    }

    /// GET of a target.
    pub fn get(self, target: &str) -> Case {
        self.method("GET", target)
    }

    /// Any method and target.
    pub fn method(mut self, method: &str, target: &str) -> Case {
        self.method = method.into();
        self.target = target.into();
        self
    }

    /// POST with a body and its length.
    pub fn post(self, target: &str, body: &str) -> Case {
        let mut case = self.method("POST", target).field(&format!("Content-Length: {}", body.len()));
        case.body = body.into();
        case
    }

    /// `Host`.
    pub fn host(mut self, host: &str) -> Case {
        self.host = host.into();
        self
    }

    /// A field line.
    pub fn field(mut self, line: &str) -> Case {
        self.fields.push(line.into());
        self
    }

    /// Sends exactly these bytes instead of a built request.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Adds a step after the bytes so far.
    pub fn then(mut self, step: Step) -> Case {
        self.steps.push(step);
        self
    }

    /// Number of final responses to read.
    pub fn responses(self, responses: usize) -> Case {
        Case { responses, ..self }
    }

    /// The origin's next answer (one call for each attempt).
    pub fn answer(mut self, answer: Answer) -> Case {
        self.answers.push(answer);
        self
    }

    /// The origin's next answer as exact bytes on a connection that stays.
    pub fn origin(self, bytes: &str) -> Case {
        self.answer(Answer::raw(bytes))
    }

    /// The connection must be closed by the proxy; no further request is tried.
    pub fn closes(self) -> Case {
        Case { after: After::AwaitClose, ..self }
    }

    /// Does not look whether the connection was kept.
    pub fn no_probe(self) -> Case {
        Case { after: After::Ignore, ..self }
    }

    /// Leaves a field out of the comparison.
    pub fn ignore(mut self, field: &'static str) -> Case {
        self.ignored_fields.push(field);
        self
    }

    /// Does not compare what the origin got: how much of a cut request leaves is a matter of timing.
    /// Needs `Host: cut`, by which requests that arrive late are told from those of the next case.
    pub fn ignore_origin(self) -> Case {
        assert!(self.sends("Host: cut\r\n"), "{}: Host must be cut", self.name);
        Case { compare_origin: false, ..self }
    }

    fn sends(&self, text: &str) -> bool {
        self.steps.iter().any(|step| {
            matches!(step, Step::Send(bytes) if bytes.windows(text.len()).any(|w| w == text.as_bytes()))
        })
    }

    /// Ringway differs on purpose.
    pub fn differs(self, reason: &'static str, check: fn(&Outcome) -> bool) -> Case {
        Case { difference: Some(Difference { reason, check }), ..self }
    }

    /// Ringway has a fault here that is known. To be removed when mended: the run says when that is.
    pub fn bug(self, what: &'static str) -> Case {
        Case { known_bug: Some(what), ..self }
    }

    /// The client's steps.
    pub fn script(&self) -> Vec<Step> {
        if !self.steps.is_empty() {
            return self.steps.clone();
        }
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for line in &self.fields {
            bytes.push_str(line);
            bytes.push_str("\r\n");
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.body);
        vec![Step::Send(bytes)]
    }

    /// Whether the client's first request is a HEAD.
    pub fn is_head(&self) -> bool {
        match self.steps.first() {
            Some(Step::Send(bytes)) => bytes.starts_with(b"HEAD "),
            _ => self.method == "HEAD",
        }
    }
}
