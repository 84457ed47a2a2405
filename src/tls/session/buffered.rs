//! The client's end of a session for those who are not on the data path: all of it is rustls', which buffers, and it
//! may move between threads. The same rules and facts as those of [`super::Session`]; sockets and deadlines are its owner's.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use rustls::client::ClientConnection;
use rustls::{HandshakeKind, pki_types::ServerName};

use super::facts::HandshakeFacts;
use crate::tls::notes::{self, Notes};
use crate::tls::{ClientContext, TlsError};

/// A session with buffers of its own. After an error it is to be closed, once [`BufferedClient::output`] is sent.
pub struct BufferedClient {
    connection: ClientConnection,
    context: ClientContext,
    server_name: ServerName<'static>,
    notes: Notes,
    is_established: bool,
    /// Decrypted and not read yet: rustls keeps only about a record of it. Then the end, if that has come.
    plaintext: VecDeque<u8>,
    is_ended: bool,
}

impl BufferedClient {
    /// A new session with `server_name`, which is sent as SNI unless it is an IP address. The first message is to be
    /// had by [`BufferedClient::output`].
    ///
    /// # Errors
    /// If rustls has no random numbers.
    pub fn new(
        context: &ClientContext,
        server_name: ServerName<'static>,
    ) -> Result<BufferedClient, TlsError> {
        let mut connection = ClientConnection::new(context.config(), server_name.clone())?;
        connection.set_buffer_limit(None);
        Ok(BufferedClient {
            connection,
            context: context.clone(),
            server_name,
            notes: Notes::default(),
            is_established: false,
            plaintext: VecDeque::new(),
            is_ended: false,
        })
    }

    /// Takes bytes from the network; what they say is kept until it is read. Gives what the handshake has
    /// settled when it is complete.
    ///
    /// # Errors
    /// If the peer broke the protocol, is not accepted, or ended the session by an alert.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<Option<HandshakeFacts>, TlsError> {
        notes::take();
        notes::set_expected_name(self.context.expected_name());
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).map_err(|_| TlsError::HandshakeTooLarge)?;
            let processed = self.connection.process_new_packets();
            self.notes.merge(notes::take());
            processed?;
            self.take_plaintext();
        }
        if self.is_established || self.connection.is_handshaking() {
            return Ok(None);
        }
        if self.connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            let chain = self.connection.peer_certificates().unwrap_or_default();
            self.context.check_resumed(chain, &self.server_name)?;
            self.notes.merge(notes::take());
        }
        self.is_established = true;
        let mut facts = HandshakeFacts::collect(&self.connection, None).ok_or(TlsError::Internal)?;
        facts.add_notes(self.notes);
        Ok(Some(facts))
    }

    /// Whether the handshake is complete and the peer accepted.
    pub fn is_established(&self) -> bool {
        self.is_established
    }

    /// Appends what is to be sent.
    pub fn output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing to a `Vec` cannot fail.
            if self.connection.write_tls(out).is_err() {
                return;
            }
        }
    }

    /// Encrypts `bytes`; before the handshake is complete they are kept until it is.
    ///
    /// # Errors
    /// None in practice: there is no limit.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.writer().write_all(bytes)
    }

    /// Decrypted bytes that came; 0 once the peer has said that it sends nothing more.
    ///
    /// # Errors
    /// `WouldBlock` if there are none yet.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.plaintext.read(buffer)? {
            0 if !self.is_ended && !buffer.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }

    fn take_plaintext(&mut self) {
        let mut block = [0; 4096];
        loop {
            match self.connection.reader().read(&mut block) {
                Ok(0) => {
                    self.is_ended = true;
                    return;
                }
                Ok(read) => self.plaintext.extend(&block[..read]),
                // There is no more yet.
                Err(_) => return,
            }
        }
    }

    /// Says that nothing more will be sent.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }
}

impl std::fmt::Debug for BufferedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BufferedClient({:?})", self.server_name)
    }
}
