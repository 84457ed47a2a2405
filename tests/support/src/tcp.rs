//! Raw byte streams: either end of a connection as a script, and origins that follow one. What was received
//! and how the other side ended is kept. Plain `std::net` on threads.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::eventually;

/// How the other side ended its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEnd {
    /// In order (FIN).
    Closed,
    /// By a reset (RST).
    Reset,
    /// Not at all, for as long as was waited.
    Open,
}

/// One end of a raw connection.
#[derive(Debug)]
pub struct TcpPeer {
    /// None once reset.
    stream: Option<TcpStream>,
    /// All bytes that have come.
    pub received: Vec<u8>,
    end: Option<PeerEnd>,
}

impl TcpPeer {
    /// Connects. A connection that is reset as soon as it stands is one all the same.
    ///
    /// # Panics
    /// When the connection is refused.
    pub fn connect(address: SocketAddr) -> TcpPeer {
        match TcpStream::connect_timeout(&address, crate::PATIENCE) {
            Ok(stream) => TcpPeer::over(stream),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                TcpPeer { stream: None, received: Vec::new(), end: Some(PeerEnd::Reset) }
            }
            Err(error) => panic!("connect {address}: {error}"),
        }
    }

    /// Wraps a connected stream; reads and writes give up after [`crate::PATIENCE`].
    pub fn over(stream: TcpStream) -> TcpPeer {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(crate::PATIENCE));
        let _ = stream.set_write_timeout(Some(crate::PATIENCE));
        TcpPeer { stream: Some(stream), received: Vec::new(), end: None }
    }

    /// Sends bytes; that the other side is gone is no error here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes.as_ref());
        self
    }

    /// Sends bytes as they are and says whether the socket took all of them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.as_mut().is_some_and(|stream| stream.write_all(bytes).is_ok())
    }

    /// Reads until `total` bytes have come since the beginning, or the other side has ended.
    pub fn read_until(&mut self, total: usize) -> &mut Self {
        let mut block = vec![0; 64 << 10];
        while self.received.len() < total && self.end.is_none() {
            self.read_some(&mut block);
        }
        self
    }

    /// Reads until these bytes are among those received, or the other side has ended.
    pub fn read_through(&mut self, text: &str) -> &mut Self {
        let mut block = vec![0; 64 << 10];
        while !self.received.windows(text.len()).any(|part| part == text.as_bytes()) && self.end.is_none() {
            self.read_some(&mut block);
        }
        self
    }

    /// Reads until the other side ends, or `limit` has passed without a byte; says which.
    pub fn await_end(&mut self, limit: Duration) -> PeerEnd {
        self.set_read_timeout(limit.max(Duration::from_millis(1)));
        let mut block = vec![0; 64 << 10];
        while self.end.is_none() {
            self.read_some(&mut block);
        }
        let end = self.end.unwrap_or(PeerEnd::Open);
        if end == PeerEnd::Open {
            self.end = None;
        }
        self.set_read_timeout(crate::PATIENCE);
        end
    }

    fn set_read_timeout(&self, limit: Duration) {
        if let Some(stream) = &self.stream {
            let _ = stream.set_read_timeout(Some(limit));
        }
    }

    /// One read, whatever it brings.
    fn read_some(&mut self, block: &mut [u8]) {
        use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        let Some(stream) = &mut self.stream else {
            self.end = Some(PeerEnd::Open);
            return;
        };
        match stream.read(block) {
            Ok(0) => self.end = Some(PeerEnd::Closed),
            Ok(n) => self.received.extend_from_slice(&block[..n]),
            Err(error) if error.kind() == Interrupted => {}
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => self.end = Some(PeerEnd::Open),
            Err(_) => self.end = Some(PeerEnd::Reset),
        }
    }

    /// Ends our direction (FIN).
    pub fn half_close(&mut self) -> &mut Self {
        let _ = self.stream.as_ref().map(|stream| stream.shutdown(Shutdown::Write));
        self
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Sends back what comes, until the other side ends.
    pub fn echo(&mut self) -> &mut Self {
        let mut block = vec![0; 64 << 10];
        let mut from = 0;
        while self.end.is_none() {
            self.read_some(&mut block);
            let new = self.received.split_off(from);
            self.send(&new);
            self.received.extend_from_slice(&new);
            from = self.received.len();
        }
        self
    }

    /// Received bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// The stream itself, for reads and writes at a test's own pace.
    ///
    /// # Panics
    /// When the connection was reset.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.as_mut().expect("not reset")
    }

    /// Our own address; none once reset.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.stream.as_ref()?.local_addr().ok()
    }
}

/// What one end of a connection does. The connection is closed when it returns.
pub type TcpScript = Arc<dyn Fn(&mut TcpPeer) + Send + Sync>;

/// What an origin saw of one connection.
#[derive(Debug, Clone)]
pub struct Seen {
    /// All bytes that came.
    pub bytes: Vec<u8>,
    /// How the other side ended, as far as the script has looked.
    pub end: Option<PeerEnd>,
    /// Where the connection came from.
    pub peer: Option<SocketAddr>,
}

impl Seen {
    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// An origin for raw bytes on a free port of 127.0.0.1. Ends when it is dropped.
pub struct TcpOrigin {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    stopping: AtomicBool,
    accepted: AtomicUsize,
    finished: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    next: VecDeque<TcpScript>,
    default: TcpScript,
    seen: Vec<Seen>,
    /// By which open connections are ended when the origin ends.
    open: Vec<(SocketAddr, TcpStream)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl TcpOrigin {
    /// An origin that follows `script` with each connection.
    ///
    /// # Panics
    /// When no port is to be had.
    pub fn start(script: impl Fn(&mut TcpPeer) + Send + Sync + 'static) -> TcpOrigin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            state: Mutex::new(State {
                next: VecDeque::new(),
                default: Arc::new(script),
                seen: Vec::new(),
                open: Vec::new(),
            }),
        });
        let acceptor = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                if acceptor.stopping.load(Ordering::SeqCst) {
                    break;
                }
                acceptor.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&acceptor);
                thread::spawn(move || shared.serve(stream, peer));
            }
        });
        TcpOrigin { shared, address }
    }

    /// An origin that sends back what it receives.
    pub fn echo() -> TcpOrigin {
        TcpOrigin::start(|peer| {
            peer.echo();
        })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Follows these scripts with the next connections, one each.
    pub fn expect(&self, scripts: impl IntoIterator<Item = TcpScript>) {
        self.shared.state().next = scripts.into_iter().collect();
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// What was seen of connections whose scripts are done; each is given once.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.state().seen)
    }

    /// Waits until every connection made so far is done, and gives what was seen of those not taken yet.
    ///
    /// # Panics
    /// When one of them is not done in time.
    #[track_caller]
    pub fn settle(&self) -> Vec<Seen> {
        // Connections are accepted in their order: once this one is done, all earlier ones are known.
        self.expect([]);
        let mut marker = TcpPeer::connect(self.address);
        let own = marker.half_close().local_address();
        let mut seen = Vec::new();
        eventually("the origin's connections to be done", || {
            seen.append(&mut self.shared.state().seen);
            let is_done = self.shared.finished.load(Ordering::SeqCst) == self.accepted();
            (is_done && seen.iter().any(|seen: &Seen| seen.peer == own)).then_some(())
        });
        seen.retain(|seen| seen.peer != own);
        seen
    }

    /// Waits for the next connection whose script is done.
    ///
    /// # Panics
    /// When there is none in time.
    #[track_caller]
    pub fn await_seen(&self) -> Seen {
        eventually("a connection at the origin to be done", || {
            let mut state = self.shared.state();
            (!state.seen.is_empty()).then(|| state.seen.remove(0))
        })
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, peer_address: SocketAddr) {
        let script = {
            let mut state = self.state();
            if let Ok(handle) = stream.try_clone() {
                state.open.push((peer_address, handle));
            }
            state.next.pop_front().unwrap_or_else(|| Arc::clone(&state.default))
        };
        let mut peer = TcpPeer::over(stream);
        script(&mut peer);
        let mut state = self.state();
        // The handle must be gone for a close to be one.
        state.open.retain(|(address, _)| *address != peer_address);
        let seen =
            Seen { bytes: std::mem::take(&mut peer.received), end: peer.end, peer: Some(peer_address) };
        drop(peer);
        state.seen.push(seen);
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for TcpOrigin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        for (_, stream) in self.shared.state().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(origin: &TcpOrigin) -> TcpPeer {
        TcpPeer::connect(SocketAddr::from(([127, 0, 0, 1], origin.port())))
    }

    #[test]
    fn an_echo_comes_back_and_is_recorded() {
        let origin = TcpOrigin::echo();
        let mut client = connect(&origin);
        client.send("hello").read_until(5).half_close();
        assert_eq!((client.text().as_str(), client.await_end(crate::PATIENCE)), ("hello", PeerEnd::Closed));
        let seen = origin.await_seen();
        assert_eq!((seen.text().as_str(), seen.end), ("hello", Some(PeerEnd::Closed)));
        assert_eq!(seen.peer, client.local_address());
    }

    #[test]
    fn a_scripted_reset_is_seen_and_a_silent_peer_is_open() {
        let origin = TcpOrigin::echo();
        let reset: TcpScript = Arc::new(|peer| {
            peer.read_until(1).reset();
        });
        origin.expect([reset]);
        let mut client = connect(&origin);
        assert_eq!(client.await_end(Duration::from_millis(20)), PeerEnd::Open);
        client.send("x");
        assert_eq!(client.await_end(crate::PATIENCE), PeerEnd::Reset);
        assert_eq!(origin.accepted(), 1);
    }
}
