//! An HTTP/2 end over a blocking socket.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, Goaway, Incoming};
use super::frame::Frame;
use crate::message::ReadError;
use crate::stream::Stream;

/// How a connection came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct H2End {
    /// The last GOAWAY before it.
    pub goaway: Option<Goaway>,
    /// The peer closed or reset the connection.
    pub is_closed: bool,
}

/// A connection: the [`Endpoint`] to which it derefs says what to send, and this sends and receives.
#[derive(Debug)]
pub struct H2Connection {
    /// The socket, for reads and writes at a test's own pace.
    pub stream: Stream,
    endpoint: Endpoint,
}

impl Deref for H2Connection {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl DerefMut for H2Connection {
    fn deref_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }
}

impl H2Connection {
    /// Connects a client without any settings of its own and waits until both sides know each other's settings.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn open(address: SocketAddr) -> H2Connection {
        H2Connection::open_with(address, &[])
    }

    /// Like [`H2Connection::open`] with these settings.
    #[track_caller]
    pub fn open_with(address: SocketAddr, settings: &[(u16, u32)]) -> H2Connection {
        let mut connection = H2Connection::connect(address, settings);
        connection.until("the settings", |c| c.acknowledged_settings > 0 && !c.peer_settings.is_empty());
        connection.flush();
        connection
    }

    /// Connects a client; its preface is not sent yet.
    ///
    /// # Panics
    /// When the connection is refused.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> H2Connection {
        let stream = Stream::connect(address).unwrap_or_else(|e| panic!("connect {address}: {e}"));
        H2Connection::over(stream, Endpoint::client(settings))
    }

    /// Joins an endpoint to a socket; reads and writes give up after [`crate::PATIENCE_S`] seconds.
    pub fn over(mut stream: Stream, endpoint: Endpoint) -> H2Connection {
        stream.set_read_timeout(Some(crate::PATIENCE)).expect("read timeout");
        stream.set_write_timeout(Some(crate::PATIENCE)).expect("write timeout");
        H2Connection { stream, endpoint }
    }

    /// Writes what waits; false if the peer has closed or does not read.
    pub fn flush(&mut self) -> bool {
        let output = std::mem::take(&mut self.endpoint.output);
        self.stream.write_all(&output).is_ok()
    }

    /// Writes what waits, and reads one frame.
    pub fn read_frame(&mut self) -> Result<Frame, ReadError> {
        let mut block = [0; 16_384];
        loop {
            if let Some(frame) = self.endpoint.next_frame().map_err(ReadError::Malformed)? {
                return Ok(frame);
            }
            if !self.endpoint.output.is_empty() {
                self.flush();
            }
            match self.stream.read(&mut block) {
                Ok(0) => return Err(ReadError::Closed),
                Ok(length) => self.endpoint.receive(&block[..length]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(ReadError::Deadline(Vec::new()));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(ReadError::Reset),
            }
        }
    }

    /// Reads until `is_so`, for at most [`crate::PATIENCE_S`] seconds.
    ///
    /// # Panics
    /// When the connection ends before, or time is over.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Endpoint) -> bool) {
        let deadline = Instant::now() + crate::PATIENCE;
        while !is_so(&mut self.endpoint) {
            if let Err(error) = self.read_frame() {
                panic!("no {what}: {error:?}; {:?}", self.endpoint);
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}");
        }
    }

    /// Reads until nothing more can come on a stream, or the connection ends.
    pub fn try_response(&mut self, stream: u32) -> Result<Incoming, ReadError> {
        while !self.endpoint.streams.get(&stream).is_some_and(Incoming::is_over) {
            self.read_frame()?;
        }
        Ok(self.endpoint.stream(stream))
    }

    /// Reads until nothing more can come on a stream.
    ///
    /// # Panics
    /// When the connection ends before.
    #[track_caller]
    pub fn response(&mut self, stream: u32) -> Incoming {
        match self.try_response(stream) {
            Ok(response) => response,
            Err(error) => panic!("stream {stream} does not end: {error:?}; {:?}", self.endpoint),
        }
    }

    /// GET and its response.
    #[track_caller]
    pub fn fetch(&mut self, path: &str) -> Incoming {
        let stream = self.get(path);
        self.response(stream)
    }

    /// Opens a stream with POST and sends the body as the windows allow; the stream's identifier.
    ///
    /// # Panics
    /// When the connection ends before all of it was taken.
    #[track_caller]
    pub fn upload(&mut self, path: &str, body: &[u8]) -> u32 {
        let stream = self.post(path);
        self.send_body(stream, body, true);
        stream
    }

    /// Sends data as the windows allow.
    ///
    /// # Panics
    /// When the connection ends before all of it was taken.
    #[track_caller]
    pub fn send_body(&mut self, stream: u32, body: &[u8], end: bool) {
        let mut rest = body;
        loop {
            let taken = self.data_within_windows(stream, rest, end);
            rest = &rest[taken..];
            self.flush();
            if rest.is_empty() || self.endpoint.streams.get(&stream).is_some_and(|s| s.reset.is_some()) {
                return;
            }
            if let Err(error) = self.read_frame() {
                panic!("{} bytes of a body not taken: {error:?}", rest.len());
            }
        }
    }

    /// Waits until everything that was sent has been looked at: a PING was answered.
    ///
    /// # Panics
    /// When the connection ends before.
    #[track_caller]
    pub fn sync(&mut self) {
        let before = self.pongs;
        self.ping();
        self.until("answer to a PING", |endpoint| endpoint.pongs > before);
    }

    /// Reads until the peer closes, or `limit` has passed without a frame.
    pub fn end(&mut self, limit: Duration) -> H2End {
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).expect("read timeout");
        let is_closed = loop {
            match self.read_frame() {
                Ok(_) => {}
                Err(error) => break matches!(error, ReadError::Closed | ReadError::Reset),
            }
        };
        let _ = self.stream.set_read_timeout(Some(crate::PATIENCE));
        H2End { goaway: self.endpoint.goaway, is_closed }
    }

    /// Reads until the peer closes; the code of its last GOAWAY, if there was one.
    ///
    /// # Panics
    /// When it does not close.
    #[track_caller]
    pub fn end_code(&mut self) -> Option<u32> {
        let end = self.end(crate::PATIENCE);
        assert!(end.is_closed, "not closed by the peer: {:?}", self.endpoint);
        end.goaway.map(|goaway| goaway.code)
    }
}
