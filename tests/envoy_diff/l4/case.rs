//! One row: what the client does, what the origins do, what may differ.

use std::sync::Arc;

use ringway_test_support::tcp::{TcpPeer, TcpScript};

use super::Outcome;

/// Ringway's own outcome where it differs on purpose.
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
    pub client: TcpScript,
    /// What the origin does with its connections, in order; afterwards it sends back what it receives.
    pub origin: Vec<TcpScript>,
    pub difference: Option<Difference>,
    /// Whether a reset and an orderly end of the client's connection are told apart.
    pub ends_matter: bool,
    /// Statistics left out of the comparison, by the end of their names.
    pub ignored_stats: Vec<&'static str>,
    /// Whether the proxy is left with the connection open for a while, so that it can be seen waiting.
    pub may_stay_open: bool,
    /// The handshake does not become complete.
    pub is_unsettled: bool,
}

/// A row with this name on the listener `main`: the client sends `hello`, reads the same and half-closes.
pub fn case(name: &str) -> Case {
    Case {
        name: name.to_string(),
        listener: "main",
        client: Arc::new(|client| {
            client.send("hello").read_until(5).half_close();
        }),
        origin: Vec::new(),
        difference: None,
        ends_matter: true,
        ignored_stats: Vec::new(),
        may_stay_open: false,
        is_unsettled: false,
    }
}

impl Case {
    /// Connects to this listener.
    pub fn on(self, listener: &'static str) -> Case {
        Case { listener, ..self }
    }

    /// What the client does. Afterwards its connection is read to its end.
    pub fn client(self, script: impl Fn(&mut TcpPeer) + Send + Sync + 'static) -> Case {
        Case { client: Arc::new(script), ..self }
    }

    /// The client sends these bytes and waits for the end.
    pub fn sends(self, bytes: impl AsRef<[u8]>) -> Case {
        let bytes = bytes.as_ref().to_vec();
        self.client(move |client| {
            client.send(&bytes);
        })
    }

    /// What the origin does with its next connection; it is closed afterwards.
    pub fn origin(mut self, script: impl Fn(&mut TcpPeer) + Send + Sync + 'static) -> Case {
        self.origin.push(Arc::new(script));
        self
    }

    /// Does not tell a reset of the client's connection from an orderly end: it depends on whether the proxy's
    /// socket had unread bytes.
    pub fn any_end(self) -> Case {
        Case { ends_matter: false, ..self }
    }

    /// Leaves a statistic out of the comparison.
    pub fn ignore(mut self, end_of_name: &'static str) -> Case {
        self.ignored_stats.push(end_of_name);
        self
    }

    /// The proxy keeps the connection; it is looked at as it stands after a while.
    pub fn stays_open(self) -> Case {
        Case { may_stay_open: true, ..self }
    }

    /// The handshake does not become complete: what it had come to is not compared.
    pub fn unsettled(self) -> Case {
        Case { is_unsettled: true, ..self }
    }

    /// Ringway differs on purpose.
    pub fn differs(self, reason: &'static str, check: fn(&Outcome) -> bool) -> Case {
        Case { difference: Some(Difference { reason, check }), ..self }
    }
}
