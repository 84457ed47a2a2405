//! Reading HTTP/1.1 messages from a simulated socket. Independent of the proxy's codec, and strict.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use ringway::io::{self, Socket};

/// Longer than all timeouts of the proxy together: what takes longer hangs.
pub const HANG: Duration = Duration::from_secs(100);

/// A connection and what was read from it.
pub struct Peer {
    pub socket: Socket,
    buffer: Vec<u8>,
    /// A slow reader's rest between two reads.
    pub pause: Duration,
}

/// Why there is no more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// The peer closed.
    Ended,
    Reset,
    /// Nothing came for [`HANG`].
    Hangs,
    /// What came is no HTTP.
    Malformed(&'static str),
}

/// The first line of a message and its headers, names in lower case.
#[derive(Debug, Clone)]
pub struct Head {
    pub first_line: String,
    pub headers: Vec<(String, String)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Head {
    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A header that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The framing that the headers name, if any.
    pub fn framing(&self) -> Option<Framing> {
        match self.get("transfer-encoding") {
            Some("chunked") => Some(Framing::Chunked),
            _ => self.number("content-length").map(|len| Framing::Length(len as usize)),
        }
    }

    /// Whether the connection ends with this message.
    pub fn says_close(&self) -> bool {
        self.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Peer {
    /// A connection from which nothing was read.
    pub fn new(socket: Socket) -> Peer {
        Peer { socket, buffer: Vec::new(), pause: Duration::ZERO }
    }

    /// Whether bytes are there that nobody asked for.
    pub fn has_excess(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next message's head.
    pub async fn head(&mut self) -> Result<Head, ReadError> {
        let len = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let bytes: Vec<u8> = self.buffer.drain(..len).collect();
        let text = String::from_utf8(bytes).map_err(|_| ReadError::Malformed("a head that is no text"))?;
        let mut lines = text.trim_end().split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let split = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.map(split).collect::<Option<Vec<_>>>();
        let headers = headers.ok_or(ReadError::Malformed("a header line without a colon"))?;
        Ok(Head { first_line, headers })
    }

    /// Reads a body to its end; what was read of it is in `body` even after an error.
    pub async fn body(&mut self, framing: Framing, body: &mut Vec<u8>) -> Result<(), ReadError> {
        match framing {
            Framing::Length(len) => self.take(len, body).await,
            Framing::UntilClose => loop {
                body.append(&mut self.buffer);
                match self.more().await {
                    Ok(()) => {}
                    Err(ReadError::Ended) => return Ok(()),
                    Err(error) => return Err(error),
                }
            },
            Framing::Chunked => loop {
                let line = self.line().await?;
                let Ok(len) = usize::from_str_radix(&line, 16) else {
                    return Err(ReadError::Malformed("a chunk's size"));
                };
                if len == 0 {
                    let end = self.line().await?;
                    return if end.is_empty() { Ok(()) } else { Err(ReadError::Malformed("trailers")) };
                }
                self.take(len, body).await?;
                if !self.line().await?.is_empty() {
                    return Err(ReadError::Malformed("a chunk's end"));
                }
            },
        }
    }

    /// Reads and forgets until nothing more comes.
    pub async fn drain(&mut self) {
        while self.more().await.is_ok() {
            self.buffer.clear();
        }
    }

    async fn take(&mut self, len: usize, into: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut left = len;
        loop {
            let taken = left.min(self.buffer.len());
            into.extend(self.buffer.drain(..taken));
            left -= taken;
            if left == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), ReadError> {
        if !self.pause.is_zero() {
            io::sleep(self.pause).await;
        }
        match within(HANG, self.socket.recv()).await {
            None => Err(ReadError::Hangs),
            Some(Ok(Some(chunk))) => {
                self.buffer.extend_from_slice(&chunk);
                Ok(())
            }
            Some(Ok(None)) => Err(ReadError::Ended),
            Some(Err(_)) => Err(ReadError::Reset),
        }
    }
}

/// Writes a body in the given framing, in pieces of random sizes.
pub fn write_body(socket: &mut Socket, body: &[u8], chunked: bool) {
    if !chunked {
        return socket.write(body);
    }
    let mut rest = body;
    while !rest.is_empty() {
        let len = 1 + (io::random_u64() as usize % rest.len());
        let (piece, after) = rest.split_at(len);
        socket.write(format!("{len:x}\r\n").as_bytes());
        socket.write(piece);
        socket.write(b"\r\n");
        rest = after;
    }
    socket.write(b"0\r\n\r\n");
}

/// What the future gives within `limit`, if it does.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut sleep) = (std::pin::pin!(future), std::pin::pin!(io::sleep(limit)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
