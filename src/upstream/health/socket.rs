//! A connection to a host for its checks, on the control thread. Knows no protocol and no time.

use std::io;

use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::consume_budget;

use crate::io::{Address, SocketOptions, client_socket};

/// An open connection.
#[derive(Debug)]
pub enum CheckSocket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl CheckSocket {
    /// Connects to `address`, the socket set up as those for requests.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn connect(address: &Address, options: &SocketOptions) -> io::Result<CheckSocket> {
        match address {
            Address::Ip(ip) => {
                let socket = TcpSocket::from_std_stream(client_socket(address, options, true)?.into());
                socket.connect(*ip).await.map(CheckSocket::Tcp)
            }
            Address::Unix(path) => {
                let path = path.to_string_lossy();
                let stream = match path.strip_prefix('@') {
                    Some(name) => UnixStream::connect(format!("\0{name}")).await,
                    None => UnixStream::connect(&*path).await,
                };
                stream.map(CheckSocket::Unix)
            }
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_send(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives some bytes into `buffer`; 0 at the peer's end. Lets others run now and then, so that a peer who sends
    /// without end is given up in time.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.try_receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                done => return done,
            }
        }
    }

    /// Whether the peer has neither ended the connection nor sent anything, as far as is known.
    pub fn is_quiet(&self) -> bool {
        matches!(self.try_receive(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            CheckSocket::Tcp(stream) => stream.readable().await,
            CheckSocket::Unix(stream) => stream.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            CheckSocket::Tcp(stream) => stream.writable().await,
            CheckSocket::Unix(stream) => stream.writable().await,
        }
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            CheckSocket::Tcp(stream) => stream.try_read(buffer),
            CheckSocket::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            CheckSocket::Tcp(stream) => stream.try_write(bytes),
            CheckSocket::Unix(stream) => stream.try_write(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_sends_without_end_is_given_up() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
        ours.set_nonblocking(true).expect("a flag");
        let socket = CheckSocket::Unix(UnixStream::from_std(ours).expect("a socket"));
        let sender = thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(3) && theirs.write_all(&[0; 4096]).is_ok() {}
        });
        // One byte at a time is slower than any sender.
        let receiving = async { while socket.receive(&mut [0]).await.is_ok_and(|received| received > 0) {} };
        let outcome = tokio::time::timeout(Duration::from_millis(10), receiving).await;
        drop(socket);
        sender.join().expect("no panic");
        assert!(outcome.is_err(), "received until the sender ended");
    }
}
