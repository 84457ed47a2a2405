//! HTTP/1.1 messages as the tests see them, and a strict reader of them (RFC 9112 sections 2 to 7).
//! It keeps names and values as they came; it repairs nothing: what it cannot read is an error.

use std::io::{self, Read};

/// Bytes of one head that the reader accepts.
const MAX_HEAD_BYTES: usize = 4 << 20;

/// One request or response as it came over the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line, without CRLF.
    pub start_line: String,
    /// Fields in order, names in the case they had.
    pub headers: Vec<(String, String)>,
    /// Content, transfer coding removed.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// Interim (1xx) responses that came before this one.
    pub interim: Vec<Message>,
}

/// Why no message could be read.
#[derive(Debug)]
pub enum ReadError {
    /// The peer closed before the first byte.
    Closed,
    /// The peer closed in the midst of a message; what had come by then.
    Truncated(Vec<u8>),
    /// The peer reset the connection.
    Reset,
    /// Nothing came in time; what had come by then.
    Deadline(Vec<u8>),
    /// The bytes are no HTTP/1 message.
    Malformed(String),
}

/// What a reader must know to find a message's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request: no framing fields means no body.
    Request,
    /// A response: no framing fields means a body until close.
    Response,
    /// A response to HEAD: never a body.
    ResponseToHead,
}

impl Message {
    /// Status code of a response; 0 if this is none.
    pub fn status(&self) -> u16 {
        self.start_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Method of a request.
    pub fn method(&self) -> &str {
        self.start_line.split(' ').next().unwrap_or("")
    }

    /// Request target of a request.
    pub fn target(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or("")
    }

    /// First value of a field, name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of a field in order.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// First value of a trailer field.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Body as text, invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    /// Whether some value of a list-valued field has this token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.header_all(name).iter().any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    }
}

/// Reads messages from a stream, keeping what came after each for the next.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// Bytes received and not yet used.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the bytes received and not yet used.
    pub fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Reads one whole message; interim responses are collected on the way.
    pub fn read(&mut self, stream: &mut impl Read, kind: Kind) -> Result<Message, ReadError> {
        let mut interim = Vec::new();
        loop {
            let mut message = self.read_head(stream)?;
            if kind != Kind::Request && (100..200).contains(&message.status()) && message.status() != 101 {
                interim.push(message);
                continue;
            }
            self.read_body(stream, kind, &mut message)?;
            message.interim = interim;
            return Ok(message);
        }
    }

    /// Reads a head up to its empty line.
    pub fn read_head(&mut self, stream: &mut impl Read) -> Result<Message, ReadError> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(ReadError::Malformed("head does not end".into()));
            }
            if self.fill(stream)? == 0 {
                let got = self.take_pending();
                return Err(if got.is_empty() { ReadError::Closed } else { ReadError::Truncated(got) });
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let text = text_of(&head[..end - 4]);
        let mut lines = text.split("\r\n");
        let start_line = lines.next().unwrap_or("").to_string();
        let headers = fields(lines)?;
        Ok(Message { start_line, headers, ..Message::default() })
    }

    /// Reads the body (and trailers) that belongs to `message`.
    pub fn read_body(
        &mut self,
        stream: &mut impl Read,
        kind: Kind,
        message: &mut Message,
    ) -> Result<(), ReadError> {
        let status = message.status();
        let bodiless = kind == Kind::ResponseToHead
            || (kind == Kind::Response && (status == 204 || status == 304 || status == 101));
        if bodiless {
            return Ok(());
        }
        if message.has_token("transfer-encoding", "chunked") {
            return self.read_chunked(stream, message);
        }
        match message.header("content-length") {
            Some(length) => {
                let length: usize = length
                    .trim()
                    .parse()
                    .map_err(|_| ReadError::Malformed(format!("content-length {length:?}")))?;
                message.body = self.take_exact(stream, length)?;
            }
            None if kind == Kind::Request => {}
            None => {
                while self.fill(stream)? > 0 {}
                message.body = self.take_pending();
            }
        }
        Ok(())
    }

    /// Reads until the peer closes; errors carry what came.
    pub fn read_to_end(&mut self, stream: &mut impl Read) -> Result<Vec<u8>, ReadError> {
        while self.fill(stream)? > 0 {}
        Ok(self.take_pending())
    }

    /// Reads until the unused bytes contain `needle`; they stay unused.
    pub fn read_until(&mut self, stream: &mut impl Read, needle: &[u8]) -> Result<(), ReadError> {
        while find(&self.buffer, needle).is_none() {
            if self.fill(stream)? == 0 {
                return Err(ReadError::Truncated(self.take_pending()));
            }
        }
        Ok(())
    }

    fn read_chunked(&mut self, stream: &mut impl Read, message: &mut Message) -> Result<(), ReadError> {
        loop {
            let line = self.take_line(stream)?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| ReadError::Malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                break;
            }
            message.body.extend(self.take_exact(stream, size)?);
            if !self.take_line(stream)?.is_empty() {
                return Err(ReadError::Malformed("chunk does not end in CRLF".into()));
            }
        }
        let mut lines = Vec::new();
        loop {
            let line = self.take_line(stream)?;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        message.trailers = fields(lines.iter().map(String::as_str))?;
        Ok(())
    }

    fn take_line(&mut self, stream: &mut impl Read) -> Result<String, ReadError> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(text_of(&line[..at]));
            }
            if self.fill(stream)? == 0 {
                return Err(ReadError::Truncated(self.take_pending()));
            }
        }
    }

    fn take_exact(&mut self, stream: &mut impl Read, length: usize) -> Result<Vec<u8>, ReadError> {
        while self.buffer.len() < length {
            if self.fill(stream)? == 0 {
                return Err(ReadError::Truncated(self.take_pending()));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn fill(&mut self, stream: &mut impl Read) -> Result<usize, ReadError> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            match stream.read(&mut chunk) {
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(ReadError::Deadline(self.take_pending()));
                }
                Err(_) => return Err(ReadError::Reset),
            }
        }
    }
}

/// Position of the first `needle` in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Bytes as text, each byte one character (ISO 8859-1), so that nothing is lost.
fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>, ReadError> {
    lines
        .map(|line| match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.contains(' ') => {
                Ok((name.to_string(), value.trim_matches([' ', '\t']).to_string()))
            }
            _ => Err(ReadError::Malformed(format!("field line {line:?}"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], kind: Kind) -> (Result<Message, ReadError>, Vec<u8>) {
        let mut reader = Reader::default();
        let mut stream = bytes;
        let result = reader.read(&mut stream, kind);
        let mut rest = reader.take_pending();
        rest.extend_from_slice(stream);
        (result, rest)
    }

    #[test]
    fn reads_chunks_trailers_and_interim_responses() {
        let bytes = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3;e=1\r\nabc\r\n0\r\nt: 1\r\n\r\nHTTP/1.1";
        let (message, rest) = read(bytes, Kind::Response);
        let message = message.unwrap();
        assert_eq!(
            (message.status(), message.text().as_str(), message.trailer("T")),
            (200, "abc", Some("1"))
        );
        assert_eq!(message.interim[0].status(), 103);
        assert_eq!(rest, b"HTTP/1.1");
    }

    #[test]
    fn a_truncated_body_is_an_error() {
        let (message, _) = read(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", Kind::Response);
        assert!(matches!(message, Err(ReadError::Truncated(_))));
    }

    #[test]
    fn a_head_response_has_no_body() {
        let (message, rest) = read(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nnext", Kind::ResponseToHead);
        assert!(message.unwrap().body.is_empty());
        assert_eq!(rest, b"next");
    }
}
