//! A TLS session without I/O: encrypted chunks in, plaintext chunks out, and back.
//!
//! rustls performs the handshake; once it is complete, records are sealed and opened here, in place and without
//! allocating ([`records`]). Nothing is buffered without limit: what a peer may make a session hold during
//! the handshake is bounded, and plaintext is handed on at once. A session never reads a clock and never waits;
//! deadlines are its owner's.

mod buffered;
mod facts;
mod handshake;
mod record_key;
mod records;

#[cfg(test)]
mod tests;

pub use buffered::BufferedClient;
pub use facts::HandshakeFacts;

use std::rc::Rc;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;

use self::handshake::Handshake;
use self::record_key::MAX_FRAGMENT_BYTES;
use self::records::{Inbound, Records};
use super::client_hello::{ClientHello, ClientHelloParser};
use super::notes::{self, ClientWishes, Notes, OcspOutcome};
use super::{ClientContext, LeafFacts, ServerContext, TlsError, TlsVersion};
use crate::buf::{Chain, Chunk, recycle_vec, take_vec};

/// Most undecrypted bytes that are kept during a handshake: a message of 64 KiB, which rustls takes at most,
/// in records of reasonable size, and one more chunk.
const MAX_HANDSHAKE_BYTES: usize = 160 * 1024;

/// A queued chunk of at least this size is a record of its own, which spares copying it.
const ALONE_MIN_BYTES: usize = MAX_FRAGMENT_BYTES / 2;

/// One connection's TLS state.
///
/// Received bytes go in by [`Session::receive`], their plaintext comes out of [`Session::read`]; plaintext to be sent goes in by
/// [`Session::seal`] or [`Session::write`] once [`Session::is_open`]. Whatever is to be sent is appended to the caller's
/// buffers. After an error of any method the connection is to be closed, once what was put into `out` is sent.
pub struct Session {
    stage: Stage,
    /// Bytes of the handshake that were not used yet.
    incoming: Vec<u8>,
    /// Decrypted data that nobody has read.
    plaintext: Chain,
    facts: Option<Rc<HandshakeFacts>>,
    /// What happened to the OCSP response, if the handshake failed.
    failed_ocsp: Option<OcspOutcome>,
    peer_closed: bool,
}

/// Beside what its stage holds on the heap.
const _: () = assert!(size_of::<Session>() <= 104);

enum Stage {
    /// A server that waits for the whole client hello.
    Hello(Box<AwaitedHello>),
    /// rustls is at work.
    Rustls(Box<RustlsStage>),
    /// The handshake is complete.
    Established(Box<Records>),
    /// An error occurred.
    Failed,
}

struct AwaitedHello {
    parser: ClientHelloParser,
    context: Arc<ServerContext>,
}

struct RustlsStage {
    connection: Handshake,
    context: Context,
    /// What callbacks told so far.
    notes: Notes,
    /// What callbacks must know of the client, if this is the server.
    client: ClientWishes,
    /// The name that the client asks for, if this is the server.
    server_name: Option<Box<str>>,
    /// Data may be sent.
    is_open: bool,
}

enum Context {
    Client(Box<ClientContext>, ServerName<'static>),
    Server(Arc<ServerContext>),
}

/// How the peer's direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfStream {
    /// It said so (`close_notify`).
    Clean,
    /// The connection ended without a word: data may be missing (RFC 8446 6.1).
    Truncated,
    /// The connection ended within the handshake.
    DuringHandshake,
}

impl Session {
    /// The server's end of a new connection.
    pub fn server(context: &Arc<ServerContext>) -> Session {
        let awaited = AwaitedHello { parser: ClientHelloParser::new(), context: Arc::clone(context) };
        Session::at(Stage::Hello(Box::new(awaited)))
    }

    /// The client's end of a new connection to `server_name`, which is sent as SNI unless it is an IP address.
    /// The first message is appended to `out`.
    ///
    /// # Errors
    /// If rustls has no random numbers.
    pub fn client(
        context: &ClientContext,
        server_name: ServerName<'static>,
        out: &mut Vec<u8>,
    ) -> Result<Session, TlsError> {
        let asked_name = match &server_name {
            ServerName::DnsName(name) => Some(name.as_ref().into()),
            _ => None,
        };
        let connection = UnbufferedClientConnection::new(context.config(), server_name.clone())?;
        let mut session = Session::at(Stage::Rustls(Box::new(RustlsStage {
            connection: Handshake::Client(connection),
            context: Context::Client(Box::new(context.clone()), server_name),
            notes: Notes::default(),
            client: ClientWishes::default(),
            server_name: asked_name,
            is_open: false,
        })));
        session.drive(out)?;
        Ok(session)
    }

    /// A session that cannot begin.
    pub fn failed() -> Session {
        Session::at(Stage::Failed)
    }

    /// Takes bytes from the network. Afterwards plaintext is to be had by [`Session::read`], and what the protocol
    /// wants to be sent was appended to `out`, also with an error.
    ///
    /// # Errors
    /// If the peer broke the protocol, is not accepted, or ended the session by an alert.
    pub fn receive(&mut self, input: Chunk, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let received = match &mut self.stage {
            Stage::Established(records) => {
                let received = records.receive(input, &mut self.plaintext, out);
                self.peer_closed = records.inbound() == Inbound::Closed;
                received
            }
            Stage::Hello(awaited) => {
                append(&mut self.incoming, &input);
                match awaited.connect(&input) {
                    Ok(None) => Ok(()),
                    Ok(Some(stage)) => {
                        self.stage = Stage::Rustls(stage);
                        self.drive(out)
                    }
                    Err(error) => Err(error),
                }
            }
            Stage::Rustls(_) => {
                append(&mut self.incoming, &input);
                self.drive(out)
            }
            Stage::Failed => Err(TlsError::NotOpen),
        };
        if received.is_err() {
            self.stage = Stage::Failed;
            recycle_vec(std::mem::take(&mut self.incoming));
        }
        received
    }

    /// The next piece of decrypted data.
    #[inline]
    pub fn read(&mut self) -> Option<Chunk> {
        self.plaintext.pop()
    }

    /// Bytes that [`Session::read`] would give now.
    pub fn unread_bytes(&self) -> usize {
        self.plaintext.len_bytes()
    }

    /// Encrypts `parts` into as few records as they fit in and appends these to `out`.
    ///
    /// # Errors
    /// Before the session is open, after its end, and when its keys were used too often.
    pub fn write<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        match &mut self.stage {
            Stage::Established(records) => records.write(parts, out),
            Stage::Rustls(stage) if stage.is_open => {
                let mut joined = take_vec();
                parts.into_iter().for_each(|part| joined.extend_from_slice(part));
                let written = stage.connection.write(&mut self.incoming, &joined, out);
                recycle_vec(joined);
                written
            }
            _ => Err(TlsError::NotOpen),
        }
    }

    /// Encrypts all of `plaintext`, which is empty afterwards, into records, and appends each of them to `sealed` as a
    /// chunk. A large chunk is a record (or some) by itself, what is smaller shares records of full size. This is what a connection does once per turn of its loop, so that whatever was queued in that
    /// turn shares records: a chunk's memory is recycled, a large vector's would not be.
    ///
    /// # Errors
    /// As [`Session::write`]; what was not encrypted stays in `plaintext`.
    pub fn seal(&mut self, plaintext: &mut Chain, sealed: &mut Chain) -> Result<(), TlsError> {
        while !plaintext.is_empty() {
            let mut record = take_vec();
            match self.seal_next(plaintext, &mut record) {
                Ok(sealed_bytes) => plaintext.advance(sealed_bytes),
                Err(error) => {
                    recycle_vec(record);
                    return Err(error);
                }
            }
            sealed.push(Chunk::from_vec(record));
        }
        Ok(())
    }

    /// Encrypts the next record; how much of `plaintext` it holds.
    fn seal_next(&mut self, plaintext: &Chain, record: &mut Vec<u8>) -> Result<usize, TlsError> {
        if let Some(chunk) = plaintext.iter().next().filter(|chunk| chunk.len() >= ALONE_MIN_BYTES) {
            let content = &chunk[..chunk.len().min(MAX_FRAGMENT_BYTES)];
            self.write_record(content, record)?;
            return Ok(content.len());
        }
        let mut left = MAX_FRAGMENT_BYTES;
        let parts = plaintext.iter().take_while(|chunk| chunk.len() < ALONE_MIN_BYTES).map_while(|chunk| {
            let part = &chunk[..chunk.len().min(left)];
            left -= part.len();
            (!part.is_empty()).then_some(part)
        });
        self.write(parts, record)?;
        Ok(MAX_FRAGMENT_BYTES - left)
    }

    fn write_record(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        match &mut self.stage {
            Stage::Established(records) => records.write_record(content, out),
            _ => self.write([content], out),
        }
    }

    /// Says that nothing more will be sent (`close_notify`), once; before the session is open there is nothing to say.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        match &mut self.stage {
            Stage::Established(records) => records.close(out),
            Stage::Rustls(stage) if stage.is_open => {
                stage.connection.close(&mut self.incoming, out);
                stage.is_open = false;
            }
            _ => {}
        }
    }

    /// What the end of the peer's bytes means.
    pub fn end_of_input(&self) -> EndOfStream {
        if self.peer_closed {
            EndOfStream::Clean
        } else if self.facts.is_some() {
            EndOfStream::Truncated
        } else {
            EndOfStream::DuringHandshake
        }
    }

    /// Whether the peer has said that it sends nothing more.
    #[inline]
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether the handshake is complete and data may be sent.
    #[inline]
    pub fn is_open(&self) -> bool {
        match &self.stage {
            Stage::Established(_) => true,
            Stage::Rustls(stage) => stage.is_open,
            Stage::Hello(_) | Stage::Failed => false,
        }
    }

    /// What the handshake has settled, once it is complete.
    pub fn facts(&self) -> Option<&Rc<HandshakeFacts>> {
        self.facts.as_ref()
    }

    /// What happened to the OCSP response, if the client asked for one and the handshake failed then.
    pub fn ocsp(&self) -> Option<OcspOutcome> {
        self.failed_ocsp
    }

    /// Whether the connection should be replaced soon: a session of TLS 1.2 that has sent 2^24 records. It can go
    /// on for some seven million more; then writing fails.
    pub fn is_worn(&self) -> bool {
        matches!(&self.stage, Stage::Established(records) if records.is_worn())
    }

    fn at(stage: Stage) -> Session {
        Session {
            stage,
            incoming: Vec::new(),
            plaintext: Chain::new(),
            facts: None,
            failed_ocsp: None,
            peer_closed: false,
        }
    }

    /// Lets rustls process what has come.
    fn drive(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let Stage::Rustls(stage) = &mut self.stage else { return Ok(()) };
        // What callbacks noted for another session is not about this one.
        notes::take();
        notes::set_client(stage.client);
        notes::set_expected_name(stage.context.expected_name());
        let progress = stage.connection.process(&mut self.incoming, &mut self.plaintext, out);
        stage.notes.merge(notes::take());
        let progress = progress.inspect_err(|_| self.failed_ocsp = stage.notes.ocsp)?;
        self.peer_closed |= progress.peer_closed;
        if self.incoming.is_empty() {
            recycle_vec(std::mem::take(&mut self.incoming));
        } else if self.incoming.len() > MAX_HANDSHAKE_BYTES {
            return Err(TlsError::HandshakeTooLarge);
        }
        if !progress.is_open || stage.connection.common().is_handshaking() {
            return Ok(());
        }
        let may_take_over =
            stage.context.extracts_secrets() && !self.peer_closed && !holds_whole_record(&self.incoming);
        if self.facts.is_none() {
            match stage.complete() {
                Ok(facts) => self.facts = Some(Rc::new(facts)),
                Err(error) => {
                    // rustls has nothing against this peer: the alert is ours to send.
                    if may_take_over && let Ok(mut records) = self.take_secrets() {
                        records.refuse(&error, out);
                    }
                    return Err(error);
                }
            }
        }
        if may_take_over { self.take_over(out) } else { Ok(()) }
    }

    /// Takes the keys from rustls, which is gone then.
    fn take_secrets(&mut self) -> Result<Box<Records>, TlsError> {
        let Stage::Rustls(stage) = std::mem::replace(&mut self.stage, Stage::Failed) else {
            return Err(TlsError::Internal);
        };
        let version = stage.connection.common().protocol_version().ok_or(TlsError::Internal)?;
        let (secrets, kernel) = stage.connection.into_secrets()?;
        Ok(Box::new(Records::new(TlsVersion::from_rustls(version), secrets, kernel)?))
    }

    /// Takes the keys from rustls and goes on with what is left of the incoming bytes.
    fn take_over(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut records = self.take_secrets()?;
        let left = std::mem::take(&mut self.incoming);
        let received = if left.is_empty() {
            Ok(())
        } else {
            records.receive(Chunk::copy_from(&left), &mut self.plaintext, out)
        };
        recycle_vec(left);
        self.stage = Stage::Established(records);
        received
    }
}

impl AwaitedHello {
    /// Looks at more bytes; once the hello is complete (or none that can be read), the connection for it.
    fn connect(&mut self, bytes: &[u8]) -> Result<Option<Box<RustlsStage>>, TlsError> {
        let hello = match self.parser.feed(bytes) {
            Ok(None) => return Ok(None),
            Ok(hello) => hello,
            // rustls knows best what to answer.
            Err(_) => None,
        };
        let config =
            hello.as_ref().map_or_else(|| self.context.config(), |hello| self.context.config_for(hello));
        Ok(Some(Box::new(RustlsStage {
            connection: Handshake::Server(UnbufferedServerConnection::new(config)?),
            context: Context::Server(Arc::clone(&self.context)),
            notes: Notes::default(),
            client: ClientWishes {
                ocsp: hello.as_ref().is_some_and(ClientHello::requests_ocsp),
                tls13: hello.as_ref().is_some_and(ClientHello::offers_tls13),
            },
            server_name: hello
                .as_ref()
                .and_then(ClientHello::server_name)
                .map(|name| name.to_ascii_lowercase().into()),
            is_open: false,
        })))
    }
}

impl RustlsStage {
    /// Collects what a complete handshake has settled. The certificates of a peer whose earlier session was resumed are
    /// checked as in a full handshake: they may have expired since.
    fn complete(&mut self) -> Result<HandshakeFacts, TlsError> {
        let facts = HandshakeFacts::collect(self.connection.common(), self.server_name.take());
        let mut facts = facts.ok_or(TlsError::Internal)?;
        if facts.is_resumed {
            let chain = facts.peer_certificates.as_ref().map(|peer| peer.chain()).unwrap_or_default();
            self.context.check_resumed(chain)?;
            self.notes.merge(notes::take());
        }
        facts.add_notes(self.notes);
        facts.local_certificate = self.context.local_certificate(self.notes.chosen).cloned();
        self.is_open = true;
        Ok(facts)
    }
}

impl Context {
    /// What the certificate says that is shown to the peer.
    fn local_certificate(&self, chosen: Option<usize>) -> Option<&Arc<LeafFacts>> {
        match self {
            Context::Client(context, _) => context.local_certificate(),
            Context::Server(context) => context.local_certificate(chosen?),
        }
    }

    fn expected_name(&self) -> Option<&Arc<str>> {
        match self {
            Context::Client(context, _) => context.expected_name(),
            Context::Server(_) => None,
        }
    }

    fn extracts_secrets(&self) -> bool {
        match self {
            Context::Client(context, _) => context.extracts_secrets(),
            Context::Server(context) => context.extracts_secrets(),
        }
    }

    fn check_resumed(&self, chain: &[CertificateDer<'static>]) -> Result<(), TlsError> {
        match self {
            Context::Client(context, server_name) => context.check_resumed(chain, server_name),
            Context::Server(context) => context.check_resumed(chain),
        }
    }
}

fn append(incoming: &mut Vec<u8>, bytes: &[u8]) {
    if incoming.capacity() == 0 {
        *incoming = take_vec();
    }
    incoming.extend_from_slice(bytes);
}

/// Whether rustls has left a record that is complete: it holds the beginning of a message and must stay with it.
fn holds_whole_record(incoming: &[u8]) -> bool {
    incoming.first_chunk::<5>().is_some_and(|&[_, _, _, high, low]| {
        incoming.len() >= 5 + usize::from(u16::from_be_bytes([high, low]))
    })
}
