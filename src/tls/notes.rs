//! What the callbacks that rustls calls during a handshake leave for the session they run for, and what the session
//! tells them: rustls keeps some facts to itself (the scheme of the peer's signature) and has no place for others.
//!
//! Callbacks run on the session's thread within its call into rustls, so a thread-local note is always about
//! the session that reads it next.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use rustls::SignatureScheme;

use super::FailureKind;

/// Facts that callbacks learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Notes {
    /// Scheme of the signature by which the peer proved that it has its key.
    pub peer_signature: Option<SignatureScheme>,
    /// The peer's certificate was checked against something and found good.
    pub peer_validated: bool,
    /// What happened to the OCSP response, if the client asked for one.
    pub ocsp: Option<OcspOutcome>,
    /// What was wrong with the peer, which was let through as configured.
    pub tolerated: Option<FailureKind>,
    /// Which of its certificates the server has chosen.
    pub chosen: Option<usize>,
}

/// What happened to an OCSP response that the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspOutcome {
    /// It was sent.
    Stapled,
    /// There was none to send.
    Omitted,
    /// There was none and policy requires one.
    Failed,
}

impl Notes {
    /// Adds what is newer.
    pub(super) fn merge(&mut self, newer: Notes) {
        self.peer_signature = newer.peer_signature.or(self.peer_signature);
        self.peer_validated |= newer.peer_validated;
        self.ocsp = newer.ocsp.or(self.ocsp);
        self.tolerated = newer.tolerated.or(self.tolerated);
        self.chosen = newer.chosen.or(self.chosen);
    }
}

/// What the client of a session wants that rustls does not tell its callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ClientWishes {
    /// An OCSP response.
    pub ocsp: bool,
    /// TLS 1.3 rather than an older version.
    pub tls13: bool,
}

thread_local! {
    static EXPECTED_NAME: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    static CLIENT: Cell<ClientWishes> = const { Cell::new(ClientWishes { ocsp: false, tls13: false }) };
    static NOTES: Cell<Notes> = const { Cell::new(Notes {
        peer_signature: None,
        peer_validated: false,
        ocsp: None,
        tolerated: None,
        chosen: None,
    }) };
}

/// Changes the notes for the session that is being served.
pub(super) fn note(change: impl FnOnce(&mut Notes)) {
    let mut notes = NOTES.get();
    change(&mut notes);
    NOTES.set(notes);
}

/// What the client of the session that is being served wants.
pub(super) fn client() -> ClientWishes {
    CLIENT.get()
}

/// Tells callbacks what the client wants; holds until it is said anew.
pub(super) fn set_client(wishes: ClientWishes) {
    CLIENT.set(wishes);
}

/// Tells callbacks which name the server's certificate must have; holds until it is said anew.
pub(super) fn set_expected_name(name: Option<&Arc<str>>) {
    EXPECTED_NAME.with_borrow_mut(|expected| *expected = name.cloned());
}

/// Which name the server's certificate must have.
pub(super) fn expected_name() -> Option<Arc<str>> {
    EXPECTED_NAME.with_borrow(Clone::clone)
}

/// Takes the notes, leaving none.
pub(super) fn take() -> Notes {
    NOTES.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_once() {
        note(|notes| notes.peer_validated = true);
        note(|notes| notes.peer_signature = Some(SignatureScheme::ED25519));
        let notes = take();
        assert!(notes.peer_validated);
        assert_eq!(notes.peer_signature, Some(SignatureScheme::ED25519));
        assert_eq!(take(), Notes::default());
    }
}
