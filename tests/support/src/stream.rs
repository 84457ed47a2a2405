//! One byte stream, TCP, unix or TLS, so that clients and origins need not care which.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::tls::TlsStream;

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix domain.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Connects over TCP; small writes leave at once.
    pub fn connect(address: SocketAddr) -> io::Result<Stream> {
        let tcp = TcpStream::connect_timeout(&address, crate::PATIENCE)?;
        tcp.set_nodelay(true)?;
        Ok(Stream::Tcp(tcp))
    }

    /// Connects to a unix socket.
    pub fn connect_unix(path: &Path) -> io::Result<Stream> {
        UnixStream::connect(path).map(Stream::Unix)
    }

    /// A second handle of the same socket; for TLS one of what is below it, good for ending it only.
    pub fn try_clone(&mut self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(s) => s.try_clone().map(Stream::Tcp),
            Stream::Unix(s) => s.try_clone().map(Stream::Unix),
            Stream::Tls(s) => s.socket().try_clone().map(Stream::Tcp),
        }
    }

    /// Limit of one blocking read; none waits for ever.
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_read_timeout(limit),
            Stream::Unix(s) => s.set_read_timeout(limit),
            Stream::Tls(s) => s.socket().set_read_timeout(limit),
        }
    }

    /// Limit of one blocking write; none waits for ever.
    pub fn set_write_timeout(&mut self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_write_timeout(limit),
            Stream::Unix(s) => s.set_write_timeout(limit),
            Stream::Tls(s) => s.socket().set_write_timeout(limit),
        }
    }

    /// Ends one or both directions.
    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.shutdown(how),
            Stream::Unix(s) => s.shutdown(how),
            Stream::Tls(s) => s.shutdown(how),
        }
    }

    /// Makes the coming close a reset (RST) instead of an orderly end. TCP only; no effect on unix sockets.
    pub fn arm_reset(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => socket2::SockRef::from(&*s).set_linger(Some(Duration::ZERO)),
            Stream::Unix(_) => Ok(()),
            Stream::Tls(s) => socket2::SockRef::from(&*s.socket()).set_linger(Some(Duration::ZERO)),
        }
    }

    /// Our end's TCP address; none for unix sockets.
    pub fn local_address(&mut self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(s) => s.local_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(s) => s.socket().local_addr().ok(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.read(buffer),
            Stream::Unix(s) => s.read(buffer),
            Stream::Tls(s) => s.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.write(bytes),
            Stream::Unix(s) => s.write(bytes),
            Stream::Tls(s) => s.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
