//! The first message of a TLS client (RFC 8446 4.1.2, RFC 5246 7.4.1.2), read without consuming it: for
//! choosing a filter chain, and for what has to be known before rustls sees the message.
//!
//! Takes bytes as they come, each once, and never keeps more than [`MAX_CLIENT_HELLO_BYTES`]. It decides
//! nothing about the handshake; what it cannot read is left to rustls to refuse.

use std::ops::Range;

/// Most bytes of a connection that are looked at, record headers included; Envoy's limit as well.
pub const MAX_CLIENT_HELLO_BYTES: usize = 16 * 1024;

const RECORD_HEADER_BYTES: usize = 5;
const CONTENT_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const HANDSHAKE_HEADER_BYTES: usize = 4;

const TLS13: u16 = 0x0304;

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_STATUS_REQUEST: u16 = 5;
const EXTENSION_SUPPORTED_GROUPS: u16 = 10;
const EXTENSION_SIGNATURE_ALGORITHMS: u16 = 13;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;

/// Why bytes are no client hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientHelloError {
    /// Another protocol: not a TLS handshake record with a client hello at its beginning.
    #[error("not a TLS client hello")]
    NotTls,
    /// Larger than [`MAX_CLIENT_HELLO_BYTES`].
    #[error("client hello of more than {MAX_CLIENT_HELLO_BYTES} bytes")]
    TooLarge,
    /// A client hello whose lengths contradict each other.
    #[error("malformed client hello")]
    Malformed,
}

/// Collects a client hello from the bytes of a connection.
#[derive(Debug, Default)]
pub struct ClientHelloParser {
    /// What the records hold, without their headers.
    handshake: Vec<u8>,
    /// The header of a record as far as it came.
    header: [u8; RECORD_HEADER_BYTES],
    header_len: usize,
    /// Bytes of the current record that are still to come.
    record_left: usize,
    /// Bytes seen so far.
    seen: usize,
}

/// A client hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The body of the message.
    body: Vec<u8>,
    cipher_suites: Range<usize>,
    server_name: Range<usize>,
    alpn: Range<usize>,
    supported_versions: Range<usize>,
    supported_groups: Range<usize>,
    signature_schemes: Range<usize>,
    requests_ocsp: bool,
}

impl ClientHelloParser {
    /// Nothing seen yet.
    pub fn new() -> ClientHelloParser {
        ClientHelloParser::default()
    }

    /// Looks at the next bytes of the connection. Gives the message once all of it has come; feed no more
    /// after that, or after an error.
    ///
    /// # Errors
    /// If there is no client hello; as early as that can be told.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
        while !bytes.is_empty() {
            if self.record_left == 0 {
                let (part, rest) = bytes.split_at(bytes.len().min(RECORD_HEADER_BYTES - self.header_len));
                self.header[self.header_len..self.header_len + part.len()].copy_from_slice(part);
                self.header_len += part.len();
                self.seen += part.len();
                bytes = rest;
                self.check_header()?;
            } else {
                let (part, rest) = bytes.split_at(bytes.len().min(self.record_left));
                self.handshake.extend_from_slice(part);
                self.record_left -= part.len();
                self.seen += part.len();
                bytes = rest;
                if let Some(len) = self.message_len()?
                    && self.handshake.len() >= len
                {
                    let mut body = std::mem::take(&mut self.handshake);
                    body.truncate(len);
                    body.drain(..HANDSHAKE_HEADER_BYTES);
                    return ClientHello::parse(body).map(Some);
                }
            }
            if self.seen > MAX_CLIENT_HELLO_BYTES {
                return Err(ClientHelloError::TooLarge);
            }
        }
        Ok(None)
    }

    /// Checks the record header as far as it came; a whole one starts its record.
    fn check_header(&mut self) -> Result<(), ClientHelloError> {
        let [content, major, minor, ..] = self.header;
        let so_far = [content == CONTENT_HANDSHAKE, major == 3, minor <= 4];
        if so_far.iter().take(self.header_len).any(|fits| !fits) {
            return Err(ClientHelloError::NotTls);
        }
        if self.header_len == RECORD_HEADER_BYTES {
            self.record_left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            self.header_len = 0;
            // RFC 8446 5.1: handshake records are neither empty nor longer than 2^14 bytes.
            if self.record_left == 0 || self.record_left > 1 << 14 {
                return Err(ClientHelloError::NotTls);
            }
        }
        Ok(())
    }

    /// Length of the message with its header, once that is known.
    fn message_len(&self) -> Result<Option<usize>, ClientHelloError> {
        let Some(&kind) = self.handshake.first() else { return Ok(None) };
        if kind != HANDSHAKE_CLIENT_HELLO {
            return Err(ClientHelloError::NotTls);
        }
        let Some(&[_, a, b, c]) = self.handshake.first_chunk::<HANDSHAKE_HEADER_BYTES>() else {
            return Ok(None);
        };
        let len = HANDSHAKE_HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
        if len + RECORD_HEADER_BYTES > MAX_CLIENT_HELLO_BYTES {
            return Err(ClientHelloError::TooLarge);
        }
        Ok(Some(len))
    }
}

impl ClientHello {
    /// The server name that the client asks for (RFC 6066 3), as it stands there.
    pub fn server_name(&self) -> Option<&str> {
        let name = std::str::from_utf8(&self.body[self.server_name.clone()]).ok()?;
        (!name.is_empty()).then_some(name)
    }

    /// The application protocols that the client offers (RFC 7301), in its order.
    pub fn alpn_protocols(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Cursor { bytes: &self.body, at: self.alpn.start, end: self.alpn.end };
        std::iter::from_fn(move || rest.short_vector().ok().map(|range| &self.body[range]))
    }

    /// The cipher suites that the client offers, in its order; GREASE values (RFC 8701) are left out, here
    /// and below.
    pub fn cipher_suites(&self) -> impl Iterator<Item = u16> + '_ {
        self.numbers(&self.cipher_suites)
    }

    /// The protocol versions that the client offers in the extension for them; none if it has none.
    pub fn supported_versions(&self) -> impl Iterator<Item = u16> + '_ {
        self.numbers(&self.supported_versions)
    }

    /// The groups that the client can exchange keys with.
    pub fn supported_groups(&self) -> impl Iterator<Item = u16> + '_ {
        self.numbers(&self.supported_groups)
    }

    /// The signature schemes that the client can verify.
    pub fn signature_schemes(&self) -> impl Iterator<Item = u16> + '_ {
        self.numbers(&self.signature_schemes)
    }

    /// Whether the client offers TLS 1.3.
    pub fn offers_tls13(&self) -> bool {
        self.supported_versions().any(|version| version == TLS13)
    }

    /// Whether the client asks for an OCSP response (RFC 6066 8).
    pub fn requests_ocsp(&self) -> bool {
        self.requests_ocsp
    }

    fn numbers(&self, range: &Range<usize>) -> impl Iterator<Item = u16> + '_ {
        let pairs = self.body[range.clone()].chunks_exact(2);
        pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).filter(|number| !is_grease(*number))
    }

    fn parse(body: Vec<u8>) -> Result<ClientHello, ClientHelloError> {
        const NOTHING: Range<usize> = 0..0;
        let mut hello = ClientHello {
            body: Vec::new(),
            cipher_suites: NOTHING,
            server_name: NOTHING,
            alpn: NOTHING,
            supported_versions: NOTHING,
            supported_groups: NOTHING,
            signature_schemes: NOTHING,
            requests_ocsp: false,
        };
        let mut cursor = Cursor { bytes: &body, at: 0, end: body.len() };
        // Version and random bytes.
        cursor.skip(2 + 32)?;
        cursor.short_vector()?;
        hello.cipher_suites = cursor.vector()?;
        cursor.short_vector()?;
        if cursor.at < cursor.end {
            let extensions = cursor.vector()?;
            if cursor.at != cursor.end {
                return Err(ClientHelloError::Malformed);
            }
            hello.read_extensions(Cursor { bytes: &body, at: extensions.start, end: extensions.end })?;
        }
        hello.body = body;
        Ok(hello)
    }

    fn read_extensions(&mut self, mut extensions: Cursor<'_>) -> Result<(), ClientHelloError> {
        while extensions.at < extensions.end {
            let kind = extensions.number()?;
            let content = extensions.vector()?;
            let mut content = Cursor { bytes: extensions.bytes, at: content.start, end: content.end };
            match kind {
                EXTENSION_SERVER_NAME => self.server_name = host_name(content)?,
                EXTENSION_ALPN => self.alpn = content.vector()?,
                EXTENSION_SUPPORTED_VERSIONS => self.supported_versions = content.short_vector()?,
                EXTENSION_SUPPORTED_GROUPS => self.supported_groups = content.vector()?,
                EXTENSION_SIGNATURE_ALGORITHMS => self.signature_schemes = content.vector()?,
                EXTENSION_STATUS_REQUEST => self.requests_ocsp = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first name of type `host_name` in a list of server names.
fn host_name(mut content: Cursor<'_>) -> Result<Range<usize>, ClientHelloError> {
    let names = content.vector()?;
    let mut names = Cursor { bytes: content.bytes, at: names.start, end: names.end };
    while names.at < names.end {
        let is_host = names.bytes[names.at] == 0;
        names.skip(1)?;
        let name = names.vector()?;
        if is_host {
            return Ok(name);
        }
    }
    Ok(0..0)
}

/// Values that clients put in so that servers learn to ignore what they do not know.
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// Walks over `bytes[at..end]`; gives ranges into `bytes`.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, count: usize) -> Result<Range<usize>, ClientHelloError> {
        let end =
            self.at.checked_add(count).filter(|end| *end <= self.end).ok_or(ClientHelloError::Malformed)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn number(&mut self) -> Result<u16, ClientHelloError> {
        let range = self.skip(2)?;
        Ok(u16::from_be_bytes([self.bytes[range.start], self.bytes[range.start + 1]]))
    }

    /// A vector with one byte of length.
    fn short_vector(&mut self) -> Result<Range<usize>, ClientHelloError> {
        let len = self.skip(1)?.start;
        self.skip(usize::from(self.bytes[len]))
    }

    /// A vector with two bytes of length.
    fn vector(&mut self) -> Result<Range<usize>, ClientHelloError> {
        let len = self.number()?;
        self.skip(usize::from(len))
    }
}

#[cfg(test)]
mod tests;
