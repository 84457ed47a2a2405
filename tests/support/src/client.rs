//! HTTP/1.1 clients: a connection that sends exactly the bytes it is given, and a builder for
//! requests that need nothing special.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::message::{Kind, Message, ReadError, Reader};
use crate::stream::Stream;

/// How a connection looked when a test asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The peer closed in order; bytes that came before.
    Closed(Vec<u8>),
    /// The peer reset.
    Reset,
    /// Still open when the time was over; bytes that came.
    Open(Vec<u8>),
}

/// A raw client connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    reader: Reader,
}

impl Connection {
    /// Connects over TCP.
    ///
    /// # Panics
    /// When the connection is refused.
    pub fn open(address: SocketAddr) -> Connection {
        let stream = Stream::connect(address).unwrap_or_else(|e| panic!("connect {address}: {e}"));
        Connection::over(stream)
    }

    /// Connects to a unix socket.
    ///
    /// # Panics
    /// When the connection is refused.
    pub fn open_unix(path: &Path) -> Connection {
        Connection::over(Stream::connect_unix(path).unwrap_or_else(|e| panic!("connect {path:?}: {e}")))
    }

    /// Wraps a connected stream; reads give up after [`crate::PATIENCE_S`] seconds.
    pub fn over(mut stream: Stream) -> Connection {
        stream.set_read_timeout(Some(crate::PATIENCE)).expect("read timeout");
        stream.set_write_timeout(Some(crate::PATIENCE)).expect("write timeout");
        Connection { stream, reader: Reader::default() }
    }

    /// Sends bytes as they are. A peer that has closed meanwhile is no error here: the reply tells.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends bytes and says whether all of them were taken by the socket.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one final response with the interim ones before it.
    pub fn read(&mut self) -> Result<Message, ReadError> {
        self.reader.read(&mut self.stream, Kind::Response)
    }

    /// Reads one response to a HEAD request.
    pub fn read_to_head(&mut self) -> Result<Message, ReadError> {
        self.reader.read(&mut self.stream, Kind::ResponseToHead)
    }

    /// Reads one response.
    ///
    /// # Panics
    /// When none can be read.
    #[track_caller]
    pub fn response(&mut self) -> Message {
        self.read().unwrap_or_else(|e| panic!("no response: {e:?}"))
    }

    /// Reads only a response head (which may be an interim one); the body stays in the stream.
    pub fn read_head(&mut self) -> Result<Message, ReadError> {
        self.reader.read_head(&mut self.stream)
    }

    /// Reads until these bytes have come; they stay to be read.
    pub fn read_until(&mut self, needle: &[u8]) -> Result<(), ReadError> {
        self.reader.read_until(&mut self.stream, needle)
    }

    /// Takes what has been received and not been used.
    pub fn take_pending(&mut self) -> Vec<u8> {
        self.reader.take_pending()
    }

    /// Reads until the peer closes or `limit` has passed without a byte.
    pub fn end(&mut self, limit: Duration) -> End {
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).expect("read timeout");
        let result = self.reader.read_to_end(&mut self.stream);
        let _ = self.stream.set_read_timeout(Some(crate::PATIENCE));
        match result {
            Ok(rest) => End::Closed(rest),
            Err(ReadError::Deadline(rest)) => End::Open(rest),
            Err(_) => End::Reset,
        }
    }

    /// Whether the peer ends this connection (in order or by reset) within [`crate::PATIENCE_S`] seconds.
    pub fn is_closed_by_peer(&mut self) -> bool {
        !matches!(self.end(crate::PATIENCE), End::Open(_))
    }

    /// Ends our sending direction (FIN).
    pub fn half_close(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Ends the connection with a reset.
    pub fn reset(mut self) {
        let _ = self.stream.arm_reset();
    }

    /// The stream itself, for reads at a test's own pace.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

/// A request built from parts. `Host: test.local` unless set; `Content-Length` when there is a body.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request of any method.
    pub fn new(method: &str, target: &str) -> Request {
        Request { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    /// A GET.
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// A POST with a body.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Request {
        Request { body: Some(body.into()), ..Request::new("POST", target) }
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets `Host`.
    pub fn host(self, value: &str) -> Request {
        self.header("Host", value)
    }

    /// The bytes of this request.
    pub fn bytes(&self) -> Vec<u8> {
        let has = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            out.push_str("Host: test.local\r\n");
        }
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body
            && !has("content-length")
            && !has("transfer-encoding")
        {
            out.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let mut out = (out + "\r\n").into_bytes();
        out.extend_from_slice(self.body.as_deref().unwrap_or(&[]));
        out
    }

    /// Sends on an open connection and reads the response.
    pub fn send_on(&self, connection: &mut Connection) -> Result<Message, ReadError> {
        connection.send(self.bytes());
        if self.method == "HEAD" { connection.read_to_head() } else { connection.read() }
    }

    /// Sends on a connection of its own and reads the response. A refused connection counts as closed.
    pub fn try_send(&self, address: SocketAddr) -> Result<Message, ReadError> {
        let stream = Stream::connect(address).map_err(|_| ReadError::Closed)?;
        self.send_on(&mut Connection::over(stream))
    }

    /// Like [`Request::try_send`].
    ///
    /// # Panics
    /// When no response can be read.
    #[track_caller]
    pub fn send(&self, address: SocketAddr) -> Message {
        self.try_send(address).unwrap_or_else(|e| panic!("{} {}: {e:?}", self.method, self.target))
    }
}
