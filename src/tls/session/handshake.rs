//! Drives rustls' unbuffered connection: through the handshake, and beyond it where its keys may not be
//! taken out (`enable_secret_extraction` off).
//!
//! It keeps nothing itself: incoming bytes stay in the session's buffer until rustls has used them. rustls remembers
//! places in that buffer, so every call must show it the same bytes.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{CommonState, ExtractedSecrets};

use super::records::Kernel;
use crate::buf::{Chain, Chunk};
use crate::tls::TlsError;

/// rustls' connection of either side.
pub(super) enum Handshake {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What processing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Application data may be sent.
    pub is_open: bool,
    /// The peer has said that it sends nothing more.
    pub peer_closed: bool,
}

impl Handshake {
    /// Processes what is in `incoming` and removes what was used. Appends received data to `plaintext` and
    /// what is to be sent to `out`, also with an error (its alert).
    pub(super) fn process(
        &mut self,
        incoming: &mut Vec<u8>,
        plaintext: &mut Chain,
        out: &mut Vec<u8>,
    ) -> Result<Progress, TlsError> {
        match self {
            Handshake::Client(connection) => process(connection, incoming, plaintext, out),
            Handshake::Server(connection) => process(connection, incoming, plaintext, out),
        }
    }

    /// Encrypts `data`; only when open.
    pub(super) fn write(
        &mut self,
        incoming: &mut [u8],
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        match self {
            Handshake::Client(connection) => write(connection, incoming, data, out),
            Handshake::Server(connection) => write(connection, incoming, data, out),
        }
    }

    /// Says that nothing more will be sent; does nothing before the session is open.
    pub(super) fn close(&mut self, incoming: &mut [u8], out: &mut Vec<u8>) {
        match self {
            Handshake::Client(connection) => close(connection, incoming, out),
            Handshake::Server(connection) => close(connection, incoming, out),
        }
    }

    /// What was negotiated.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Handshake::Client(connection) => connection,
            Handshake::Server(connection) => connection,
        }
    }

    /// Takes the keys out; the handshake must be complete and nothing left to send.
    pub(super) fn into_secrets(self) -> Result<(ExtractedSecrets, Kernel), TlsError> {
        Ok(match self {
            Handshake::Client(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Client(kernel))
            }
            Handshake::Server(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Server(kernel))
            }
        })
    }
}

/// What both sides' connections have in common.
trait Unbuffered {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether there is something to encode.
    fn wants_write(&self) -> bool;
}

impl Unbuffered for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

impl Unbuffered for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }
}

fn process<C: Unbuffered>(
    connection: &mut C,
    incoming: &mut Vec<u8>,
    plaintext: &mut Chain,
    out: &mut Vec<u8>,
) -> Result<Progress, TlsError> {
    let mut used = 0;
    let processed = process_from(connection, incoming, &mut used, plaintext, out);
    incoming.drain(..used);
    processed
}

fn process_from<C: Unbuffered>(
    connection: &mut C,
    incoming: &mut [u8],
    used: &mut usize,
    plaintext: &mut Chain,
    out: &mut Vec<u8>,
) -> Result<Progress, TlsError> {
    let mut progress = Progress::default();
    loop {
        let UnbufferedStatus { mut discard, state } = connection.process(&mut incoming[*used..]);
        let mut is_done = false;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plaintext.push(Chunk::copy_from(record.payload));
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out)?,
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => progress.peer_closed = true,
            Ok(ConnectionState::WriteTraffic(_)) => {
                progress.is_open = true;
                is_done = true;
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => is_done = true,
            Ok(_) => return Err(TlsError::Unexpected("early data")),
            Err(error) => {
                *used += discard;
                drain_alerts(connection, incoming, used, out);
                return Err(error.into());
            }
        }
        *used += discard;
        if is_done {
            return Ok(progress);
        }
    }
}

/// Appends the alerts that rustls has queued with an error; they come before anything else, and nothing more may be
/// processed after them.
fn drain_alerts<C: Unbuffered>(connection: &mut C, incoming: &mut [u8], used: &mut usize, out: &mut Vec<u8>) {
    while connection.wants_write() {
        let UnbufferedStatus { discard, state } = connection.process(&mut incoming[*used..]);
        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
        if encode(&mut data, out).is_err() {
            return;
        }
        *used += discard;
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Result<(), TlsError> {
    let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) else {
        return Err(TlsError::Internal);
    };
    let start = out.len();
    out.resize(start + needed.required_size, 0);
    let written = data.encode(&mut out[start..]).map_err(|_| TlsError::Internal)?;
    out.truncate(start + written);
    Ok(())
}

fn write<C: Unbuffered>(
    connection: &mut C,
    incoming: &mut [u8],
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = connection.process(incoming).state else {
        return Err(TlsError::NotOpen);
    };
    let start = out.len();
    // Room for every record's overhead in any version.
    out.resize(start + data.len() + (data.len() / 16_384 + 1) * 32, 0);
    let written = traffic.encrypt(data, &mut out[start..]);
    out.truncate(start + *written.as_ref().unwrap_or(&0));
    match written {
        Ok(_) => Ok(()),
        Err(EncryptError::EncryptExhausted) => Err(TlsError::KeysExhausted),
        Err(EncryptError::InsufficientSize(_)) => Err(TlsError::Internal),
    }
}

fn close<C: Unbuffered>(connection: &mut C, incoming: &mut [u8], out: &mut Vec<u8>) {
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = connection.process(incoming).state {
        let start = out.len();
        out.resize(start + 64, 0);
        let written = traffic.queue_close_notify(&mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}
