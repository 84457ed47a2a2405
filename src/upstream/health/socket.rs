//! A connection to a host for its checks, on the control thread, with TLS on it where the cluster has that. Knows no
//! protocol above and no time.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::consume_budget;

use crate::io::{Address, SocketOptions, client_socket};
use crate::stats::groups::TlsStatsSet;
use crate::tls::{BufferedClient, TlsError};
use crate::upstream::cluster_info::ClusterInfo;
use crate::upstream::host_set::HostEntry;

/// Encrypted bytes received at a time.
const BUFFER_BYTES: usize = 4 * 1024;

/// An open connection.
#[derive(Debug)]
pub struct CheckSocket {
    carrier: Carrier,
    tls: Option<Box<CheckTls>>,
}

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// TLS of a connection.
struct CheckTls {
    session: BufferedClient,
    stats: Arc<TlsStatsSet>,
}

/// What is checked.
#[derive(Clone, Copy)]
pub struct CheckTarget<'a> {
    /// The host's cluster.
    pub info: &'a ClusterInfo,
    /// The host.
    pub host: &'a HostEntry,
    /// Offered with TLS; if there are none, those of the cluster are.
    pub protocols: &'a [Vec<u8>],
}

impl CheckSocket {
    /// Connects to where the host is checked, the socket set up as those for requests.
    ///
    /// # Errors
    /// What the kernel says, or TLS.
    pub async fn connect(target: CheckTarget<'_>) -> io::Result<CheckSocket> {
        let CheckTarget { info, host, protocols } = target;
        let address = &host.health_check.address;
        let carrier = Carrier::connect(address, &info.socket_options).await?;
        let Some(tls) = &info.tls else { return Ok(CheckSocket { carrier, tls: None }) };
        let ip = address.as_ip().map(|address| address.ip());
        let stats = Arc::clone(tls.stats());
        let session = tls.begin_buffered(&host.hostname, ip, protocols).map_err(io::Error::other)?;
        let tls = Some(Box::new(CheckTls { session, stats }));
        let mut socket = CheckSocket { carrier, tls };
        socket.handshake().await?;
        Ok(socket)
    }

    async fn handshake(&mut self) -> io::Result<()> {
        let CheckSocket { carrier, tls } = self;
        let Some(tls) = tls else { return Ok(()) };
        let mut buffer = [0; BUFFER_BYTES];
        tls.flush(carrier).await?;
        while !tls.session.is_established() {
            match carrier.receive(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                received => tls.take(&buffer[..received], carrier).await?,
            }
        }
        Ok(())
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.carrier.send(bytes).await,
            Some(tls) => {
                tls.session.write(bytes)?;
                tls.flush(&self.carrier).await
            }
        }
    }

    /// Receives some bytes into `buffer`; 0 at the peer's end. Lets others run now and then, so that a peer who sends
    /// without end is given up in time.
    ///
    /// # Errors
    /// What the kernel says, or TLS.
    pub async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.carrier.receive(buffer).await };
        let mut sealed = [0; BUFFER_BYTES];
        loop {
            match tls.session.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            match self.carrier.receive(&mut sealed).await? {
                0 => return Ok(0),
                received => tls.take(&sealed[..received], &self.carrier).await?,
            }
        }
    }

    /// Whether the peer has neither ended the connection nor sent anything, as far as is known.
    pub fn is_quiet(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return self.carrier.is_quiet() };
        let mut sealed = [0; BUFFER_BYTES];
        loop {
            let is_unread = tls.session.read(&mut [0]);
            if !matches!(is_unread, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                return false;
            }
            // Tickets may have come, which nobody reads.
            match self.carrier.try_receive(&mut sealed) {
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                Ok(0) => return false,
                Ok(received) if tls.receive(&sealed[..received]).is_err() => return false,
                Ok(_) => {}
            }
        }
    }
}

impl Drop for CheckSocket {
    fn drop(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        let mut last = Vec::new();
        tls.session.close();
        tls.session.output(&mut last);
        // As far as the kernel takes it.
        let _ = self.carrier.try_send(&last);
    }
}

impl CheckTls {
    /// Takes what was received, and sends what the protocol has to say to it.
    async fn take(&mut self, sealed: &[u8], carrier: &Carrier) -> io::Result<()> {
        match self.receive(sealed) {
            Ok(()) => self.flush(carrier).await,
            Err(error) => Err(self.fail(&error, carrier).await),
        }
    }

    fn receive(&mut self, sealed: &[u8]) -> Result<(), TlsError> {
        if let Some(facts) = self.session.receive(sealed)? {
            self.stats.record_handshake(&facts);
        }
        Ok(())
    }

    async fn fail(&mut self, error: &TlsError, carrier: &Carrier) -> io::Error {
        self.stats.record_failure(error);
        // The alert; the reason stands, whether it arrives or not.
        let _ = self.flush(carrier).await;
        io::Error::new(io::ErrorKind::InvalidData, error.clone())
    }

    async fn flush(&mut self, carrier: &Carrier) -> io::Result<()> {
        let mut out = Vec::new();
        self.session.output(&mut out);
        carrier.send(&out).await
    }
}

impl std::fmt::Debug for CheckTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.session.fmt(f)
    }
}

impl Carrier {
    async fn connect(address: &Address, options: &SocketOptions) -> io::Result<Carrier> {
        match address {
            Address::Ip(ip) => {
                let socket = TcpSocket::from_std_stream(client_socket(address, options, true)?.into());
                socket.connect(*ip).await.map(Carrier::Tcp)
            }
            Address::Unix(path) => {
                let path = path.to_string_lossy();
                let stream = match path.strip_prefix('@') {
                    Some(name) => UnixStream::connect(format!("\0{name}")).await,
                    None => UnixStream::connect(&*path).await,
                };
                stream.map(Carrier::Unix)
            }
        }
    }

    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_send(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.try_receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                done => return done,
            }
        }
    }

    fn is_quiet(&self) -> bool {
        matches!(self.try_receive(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Carrier::Tcp(stream) => stream.readable().await,
            Carrier::Unix(stream) => stream.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Carrier::Tcp(stream) => stream.writable().await,
            Carrier::Unix(stream) => stream.writable().await,
        }
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Carrier::Tcp(stream) => stream.try_read(buffer),
            Carrier::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Carrier::Tcp(stream) => stream.try_write(bytes),
            Carrier::Unix(stream) => stream.try_write(bytes),
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
        let carrier = Carrier::Unix(UnixStream::from_std(ours).expect("a socket"));
        let mut socket = CheckSocket { carrier, tls: None };
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
