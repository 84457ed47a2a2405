//! An established session: application data in both directions, alerts, and the messages that may still come
//! after the handshake (RFC 8446 4.6, 6; RFC 5246 7.2, 7.4.1.1).
//!
//! rustls makes the keys and knows what follows from key updates and tickets; records are sealed and opened
//! here, because here it is done without allocating and in place.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ExtractedSecrets};

use super::record_key::{HEADER_BYTES, MAX_FRAGMENT_BYTES, RecordKey, content};
use crate::buf::{Chain, Chunk, recycle_vec, take_vec};
use crate::tls::{TlsError, TlsVersion};

/// Records in a row that carry no application data (RFC 8446 leaves the limit to us).
const MAX_USELESS_RECORDS: u8 = 32;
/// Session tickets of one connection that are kept; more are read and forgotten.
const MAX_TICKETS: u8 = 32;
/// Largest message that may come in several records after the handshake.
const MAX_MESSAGE_BYTES: usize = 1 << 16;
/// Beginnings of records below this get no recycled buffer.
const SMALL_BEGINNING_BYTES: usize = 512;
const MESSAGE_HEADER_BYTES: usize = 4;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

const WITHIN_MESSAGE: TlsError = TlsError::Unexpected("a record within a handshake message");

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// What rustls still does after the handshake.
pub(super) enum Kernel {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// How far the peer's direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbound {
    Open,
    /// `close_notify` was received.
    Closed,
}

/// An established session.
pub(super) struct Records {
    sealer: RecordKey,
    opener: RecordKey,
    kernel: Box<Kernel>,
    version: TlsVersion,
    inbound: Inbound,
    sent_close: bool,
    /// The beginning of a record whose end has not come.
    partial: Vec<u8>,
    /// The beginning of a message whose end has not come.
    message: Vec<u8>,
    useless_records: u8,
    tickets: u8,
}

impl Records {
    /// Goes on with the keys of a complete handshake.
    pub(super) fn new(
        version: TlsVersion,
        secrets: ExtractedSecrets,
        kernel: Kernel,
    ) -> Result<Records, TlsError> {
        Ok(Records {
            sealer: RecordKey::new(version, secrets.tx)?,
            opener: RecordKey::new(version, secrets.rx)?,
            kernel: Box::new(kernel),
            version,
            inbound: Inbound::Open,
            sent_close: false,
            partial: Vec::new(),
            message: Vec::new(),
            useless_records: 0,
            tickets: 0,
        })
    }

    /// How far the peer's direction has come.
    pub(super) fn inbound(&self) -> Inbound {
        self.inbound
    }

    /// Whether the connection should end soon because its keys are worn and cannot be replaced.
    pub(super) fn is_worn(&self) -> bool {
        self.version == TlsVersion::Tls12 && self.sealer.is_worn()
    }

    /// Takes bytes from the network; appends what they hold to `plaintext`, and answers that the protocol
    /// wants to `out`. After an error, nothing more may be received.
    pub(super) fn receive(
        &mut self,
        mut input: Chunk,
        plaintext: &mut Chain,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let received = self
            .finish_partial(&mut input, plaintext, out)
            .and_then(|()| if input.is_empty() { Ok(()) } else { self.receive_whole(input, plaintext, out) });
        if let Err(error) = &received {
            self.refuse(error, out);
        }
        received
    }

    /// Tells the peer why the session ends.
    pub(super) fn refuse(&mut self, error: &TlsError, out: &mut Vec<u8>) {
        if let Some(alert) = alert_for(error) {
            self.send_alert(FATAL, alert, out);
        }
    }

    /// Encrypts `parts`, filling records as far as they go; appends them to `out`.
    pub(super) fn write<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        if self.sent_close {
            return Err(TlsError::NotOpen);
        }
        let mut open = None;
        let mut filled = 0;
        for mut part in parts {
            while !part.is_empty() {
                if filled == MAX_FRAGMENT_BYTES
                    && let Some(record) = open.take()
                {
                    self.sealer.seal(record, out)?;
                }
                if open.is_none() {
                    self.replace_worn_key(out)?;
                    out.reserve(part.len().min(MAX_FRAGMENT_BYTES) + self.sealer.overhead_bytes());
                    open = Some(self.sealer.begin(content::APPLICATION_DATA, out));
                    filled = 0;
                }
                let (now, later) = part.split_at(part.len().min(MAX_FRAGMENT_BYTES - filled));
                out.extend_from_slice(now);
                filled += now.len();
                part = later;
            }
        }
        open.map_or(Ok(()), |record| self.sealer.seal(record, out))
    }

    /// Encrypts `content`, at most [`MAX_FRAGMENT_BYTES`], as one record; appends it to `out`.
    pub(super) fn write_record(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.sent_close {
            return Err(TlsError::NotOpen);
        }
        self.replace_worn_key(out)?;
        out.reserve(content.len() + self.sealer.overhead_bytes());
        self.sealer.seal_from(content::APPLICATION_DATA, content, out)
    }

    /// Tells the peer that nothing more will be sent; once.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if !self.sent_close {
            self.send_alert(WARNING, AlertDescription::CloseNotify, out);
        }
    }

    /// Completes the record whose beginning came earlier.
    fn finish_partial(
        &mut self,
        input: &mut Chunk,
        plaintext: &mut Chain,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        if self.partial.is_empty() {
            return Ok(());
        }
        if self.partial.len() < HEADER_BYTES {
            let missing = input.len().min(HEADER_BYTES - self.partial.len());
            self.partial.extend_from_slice(&input.split_to(missing));
        }
        let Some(len) = self.opener.record_len(&self.partial)? else { return Ok(()) };
        let missing = input.len().min(len - self.partial.len());
        make_room(&mut self.partial, missing, len);
        self.partial.extend_from_slice(&input.split_to(missing));
        if self.partial.len() < len {
            return Ok(());
        }
        let mut record = std::mem::take(&mut self.partial);
        let (content_type, place) = self.opener.open(&mut record)?;
        if content_type == content::APPLICATION_DATA && !place.is_empty() {
            let mut chunk = Chunk::from_vec(record);
            chunk.truncate(place.end);
            chunk.advance(place.start);
            return self.data(chunk, plaintext);
        }
        let handled = self.other_content(content_type, &record[place], out);
        recycle_vec(record);
        handled
    }

    /// Handles the records that `input`, which begins with one, holds wholly; keeps the rest.
    fn receive_whole(
        &mut self,
        input: Chunk,
        plaintext: &mut Chain,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let input = input.try_into_mut().or_else(|shared| Chunk::copy_from(&shared).try_into_mut());
        // A copy is shared with nobody.
        let mut input = input.map_err(|_| TlsError::Internal)?;
        while !input.is_empty() {
            let len = self.opener.record_len(&input)?;
            let Some(len) = len.filter(|len| *len <= input.len()) else {
                // A recycled buffer may be large, and what has only begun may never end.
                self.partial = if input.len() < SMALL_BEGINNING_BYTES { Vec::new() } else { take_vec() };
                make_room(&mut self.partial, input.len(), len.unwrap_or(HEADER_BYTES));
                self.partial.extend_from_slice(&input);
                return Ok(());
            };
            let mut record = input.split_to(len);
            let (content_type, place) = self.opener.open(&mut record)?;
            if content_type == content::APPLICATION_DATA && !place.is_empty() {
                record.truncate(place.end);
                record.advance(place.start);
                self.data(record.freeze(), plaintext)?;
            } else {
                self.other_content(content_type, &record[place], out)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn data(&mut self, chunk: Chunk, plaintext: &mut Chain) -> Result<(), TlsError> {
        if !self.message.is_empty() {
            return Err(WITHIN_MESSAGE);
        }
        self.useless_records = 0;
        // RFC 8446 6.1: what follows a closure alert is ignored.
        if self.inbound == Inbound::Open {
            plaintext.push(chunk);
        }
        Ok(())
    }

    /// Handles a record that is not application data, or is empty.
    #[cold]
    fn other_content(&mut self, content_type: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.useless_records += 1;
        if self.useless_records > MAX_USELESS_RECORDS {
            return Err(TlsError::Flood("records without data"));
        }
        if self.inbound == Inbound::Closed {
            return Ok(());
        }
        if content_type != content::HANDSHAKE && !self.message.is_empty() {
            return Err(WITHIN_MESSAGE);
        }
        match content_type {
            content::APPLICATION_DATA => Ok(()),
            content::ALERT => self.alert(body),
            content::HANDSHAKE if !body.is_empty() => self.handshake(body, out),
            content::HANDSHAKE => Err(TlsError::Unexpected("an empty handshake record")),
            content::CHANGE_CIPHER_SPEC => Err(TlsError::Unexpected("change_cipher_spec")),
            _ => Err(TlsError::Unexpected("an unknown type of content")),
        }
    }

    fn alert(&mut self, body: &[u8]) -> Result<(), TlsError> {
        let &[level, description] = body else { return Err(TlsError::Malformed("alert")) };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => {
                self.inbound = Inbound::Closed;
                Ok(())
            }
            AlertDescription::UserCanceled => Ok(()),
            // Only in TLS 1.2 there are warnings that change nothing.
            _ if self.version == TlsVersion::Tls12 && level == WARNING => Ok(()),
            other => Err(TlsError::Alert(other)),
        }
    }

    /// Handles the messages that a handshake record completes.
    fn handshake(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut joined = std::mem::take(&mut self.message);
        let mut rest = if joined.is_empty() {
            body
        } else {
            joined.extend_from_slice(body);
            &joined[..]
        };
        while let Some(&[kind, a, b, c]) = rest.first_chunk::<MESSAGE_HEADER_BYTES>() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > MAX_MESSAGE_BYTES {
                return Err(TlsError::HandshakeTooLarge);
            }
            let Some(message) = rest.get(MESSAGE_HEADER_BYTES..MESSAGE_HEADER_BYTES + len) else { break };
            rest = &rest[MESSAGE_HEADER_BYTES + len..];
            self.message(kind, message, rest.is_empty(), out)?;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    fn message(
        &mut self,
        kind: u8,
        body: &[u8],
        ends_record: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        match (self.version, &mut *self.kernel, kind) {
            (TlsVersion::Tls13, _, KEY_UPDATE) if !ends_record => {
                Err(TlsError::Unexpected("data under the old key behind a key update"))
            }
            (TlsVersion::Tls13, _, KEY_UPDATE) => self.key_update(body, out),
            (TlsVersion::Tls13, Kernel::Client(kernel), NEW_SESSION_TICKET) => {
                self.tickets = self.tickets.saturating_add(1);
                if self.tickets <= MAX_TICKETS { Ok(kernel.handle_new_session_ticket(body)?) } else { Ok(()) }
            }
            (TlsVersion::Tls12, Kernel::Client(_), HELLO_REQUEST)
            | (TlsVersion::Tls12, Kernel::Server(_), CLIENT_HELLO) => {
                // RFC 5246 7.2.2: a peer that will not renegotiate says so and goes on.
                self.append_alert(WARNING, AlertDescription::NoRenegotiation, out)
            }
            _ => Err(TlsError::Unexpected("handshake message")),
        }
    }

    /// RFC 8446 4.6.3
    fn key_update(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let is_requested = match body {
            [0] => false,
            [1] => true,
            _ => return Err(TlsError::Malformed("key update")),
        };
        let secrets = match &mut *self.kernel {
            Kernel::Client(kernel) => kernel.update_rx_secret(),
            Kernel::Server(kernel) => kernel.update_rx_secret(),
        };
        self.opener = RecordKey::new(self.version, secrets?)?;
        if is_requested && !self.sent_close { self.replace_key(out) } else { Ok(()) }
    }

    fn replace_worn_key(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.version == TlsVersion::Tls13 && self.sealer.is_worn() {
            self.replace_key(out)
        } else {
            Ok(())
        }
    }

    /// Announces and takes the next key for sending.
    #[cold]
    fn replace_key(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let record = self.sealer.begin(content::HANDSHAKE, out);
        out.extend_from_slice(&[KEY_UPDATE, 0, 0, 1, 0]);
        self.sealer.seal(record, out)?;
        let secrets = match &mut *self.kernel {
            Kernel::Client(kernel) => kernel.update_tx_secret(),
            Kernel::Server(kernel) => kernel.update_tx_secret(),
        };
        self.sealer = RecordKey::new(self.version, secrets?)?;
        Ok(())
    }

    /// Sends the alert that ends our direction. If even that fails, the peer sees the connection end.
    fn send_alert(&mut self, level: u8, alert: AlertDescription, out: &mut Vec<u8>) {
        let _ = self.append_alert(level, alert, out);
        self.sent_close = true;
    }

    fn append_alert(
        &mut self,
        level: u8,
        alert: AlertDescription,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let record = self.sealer.begin(content::ALERT, out);
        out.extend_from_slice(&[level, u8::from(alert)]);
        self.sealer.seal(record, out)
    }
}

#[cfg(test)]
impl Records {
    /// Pretends that so many records were sent.
    pub(super) fn set_sent_records(&mut self, count: u64) {
        self.sealer.set_sequence(count);
    }

    /// Makes the next record go under a new key.
    pub(super) fn wear_out(&mut self) {
        self.sealer.set_soft_limit(0);
    }

    /// Sends any content.
    pub(super) fn seal_raw(&mut self, content_type: u8, body: &[u8], out: &mut Vec<u8>) {
        let record = self.sealer.begin(content_type, out);
        out.extend_from_slice(body);
        self.sealer.seal(record, out).expect("sealed");
    }

    /// Sends under the next key, as behind a key update.
    pub(super) fn take_next_sending_key(&mut self) {
        self.replace_key(&mut Vec::new()).expect("a key");
    }

    /// Memory that is held for what is incomplete.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.message.capacity()
    }
}

/// Makes room for `added` bytes of a record of `record_len` bytes: all of the record if most of it is there, but no more than
/// twice what has come, because a peer may announce a large record and never send it.
fn make_room(partial: &mut Vec<u8>, added: usize, record_len: usize) {
    let needed = partial.len() + added;
    if partial.capacity() < needed {
        let target = record_len.min(2 * needed).max(needed);
        partial.reserve_exact(target - partial.len());
    }
}

/// What the peer is told about an error; nothing if it ended the session itself.
fn alert_for(error: &TlsError) -> Option<AlertDescription> {
    Some(match error {
        TlsError::Alert(_) => return None,
        TlsError::Decrypt => AlertDescription::BadRecordMac,
        TlsError::RecordTooLarge => AlertDescription::RecordOverflow,
        TlsError::Unexpected(_) | TlsError::Flood(_) => AlertDescription::UnexpectedMessage,
        TlsError::Protocol(rustls::Error::InvalidCertificate(reason)) => reason.clone().into(),
        TlsError::Malformed(_) | TlsError::Protocol(_) => AlertDescription::DecodeError,
        TlsError::HandshakeTooLarge => AlertDescription::IllegalParameter,
        TlsError::KeysExhausted | TlsError::NotOpen | TlsError::SecretsNotReady | TlsError::Internal => {
            AlertDescription::InternalError
        }
    })
}
