//! Scripted origins: HTTP/1.1 servers on threads that do exactly what a test says, byte by byte, and
//! keep what they received. An origin ends when it is dropped.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::json;

use crate::message::{Kind, Message, ReadError, Reader};
use crate::stream::Stream;
use crate::tls::TlsServer;

/// What an origin does to its connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Waits for the next request.
    Keep,
    /// Closes in order.
    Close,
    /// Resets.
    Reset,
    /// Neither reads nor writes again until the origin ends.
    Stall,
}

/// A function that answers by hand; says what happens to the connection afterwards.
pub type Script = Arc<dyn Fn(&mut OriginConnection, &mut Message) -> Then + Send + Sync>;

/// How an origin answers one request.
#[derive(Clone)]
pub enum Answer {
    /// 200 with a JSON description of the request: `method`, `target`, `headers` (list of pairs),
    /// `body`, `trailers`, `origin` (its name), `connection` (its number).
    Echo,
    /// Bytes as they are, written when the request is complete.
    Raw(Vec<u8>, Then),
    /// Bytes as they are, written when the head has come; the body stays unread.
    AtHead(Vec<u8>, Then),
    /// A function of the test's.
    Script(Script),
}

impl Answer {
    /// Exact bytes on a connection that stays open.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
        Answer::Raw(bytes.into(), Then::Keep)
    }

    /// A plain response: status line, given field lines (each ended by CRLF), content length, body.
    pub fn status(status: u16, fields: &str, body: &str) -> Answer {
        let length = body.len();
        Answer::raw(format!("HTTP/1.1 {status} Any\r\n{fields}content-length: {length}\r\n\r\n{body}"))
    }

    /// A function of the test's.
    pub fn script(f: impl Fn(&mut OriginConnection, &mut Message) -> Then + Send + Sync + 'static) -> Answer {
        Answer::Script(Arc::new(f))
    }
}

/// One accepted connection, as a [`Script`] sees it.
#[derive(Debug)]
pub struct OriginConnection {
    /// Counts the connections of this origin from 1.
    pub number: usize,
    /// The socket.
    pub stream: Stream,
    /// The reader over it.
    pub reader: Reader,
}

impl OriginConnection {
    /// Reads the request's body and trailers into `request`.
    pub fn read_body(&mut self, request: &mut Message) -> Result<(), ReadError> {
        self.reader.read_body(&mut self.stream, Kind::Request, request)
    }

    /// Writes bytes; errors are the peer's affair.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }
}

struct Shared {
    name: String,
    stopping: AtomicBool,
    accepted: AtomicUsize,
    open: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<Answer>,
    default: Answer,
    received: Vec<Message>,
    /// Handles by which open connections are ended when the origin ends.
    streams: Vec<(usize, Stream)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A running origin.
pub struct Origin {
    shared: Arc<Shared>,
    place: Place,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Origin {
    /// An origin on a free port of 127.0.0.1 that gives `answer` to every request.
    ///
    /// # Panics
    /// When no port is to be had.
    pub fn start(answer: Answer) -> Origin {
        Origin::start_named("origin", "127.0.0.1:0", answer)
    }

    /// An echo origin.
    pub fn echo() -> Origin {
        Origin::start(Answer::Echo)
    }

    /// An origin with a name (seen in echoes) on an address.
    ///
    /// # Panics
    /// When the address is not to be had.
    pub fn start_named(name: &str, address: &str, answer: Answer) -> Origin {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("bind {address}: {e}"));
        let place = Place::Tcp(listener.local_addr().expect("local address"));
        Origin::run(name, place, answer, move || {
            let (stream, _) = listener.accept().ok()?;
            let _ = stream.set_nodelay(true);
            Some(Stream::Tcp(stream))
        })
    }

    /// An origin behind TLS.
    ///
    /// # Panics
    /// When no port is to be had.
    pub fn start_tls(server: &Arc<TlsServer>, answer: Answer) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let place = Place::Tcp(listener.local_addr().expect("local address"));
        let server = Arc::clone(server);
        Origin::run("origin", place, answer, move || Some(server.over(listener.accept().ok()?.0).into()))
    }

    /// An origin on a unix socket.
    ///
    /// # Panics
    /// When the path is not to be had.
    pub fn start_unix(path: &Path, answer: Answer) -> Origin {
        let listener = UnixListener::bind(path).unwrap_or_else(|e| panic!("bind {path:?}: {e}"));
        Origin::run("unix", Place::Unix(path.into()), answer, move || {
            listener.accept().ok().map(|(stream, _)| Stream::Unix(stream))
        })
    }

    fn run(
        name: &str,
        place: Place,
        answer: Answer,
        accept: impl Fn() -> Option<Stream> + Send + 'static,
    ) -> Origin {
        let shared = Arc::new(Shared {
            name: name.to_string(),
            stopping: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                default: answer,
                received: Vec::new(),
                streams: Vec::new(),
            }),
        });
        let acceptor = shared.clone();
        thread::spawn(move || {
            while let Some(mut stream) = accept() {
                if acceptor.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let number = acceptor.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                acceptor.open.fetch_add(1, Ordering::SeqCst);
                if let Ok(handle) = stream.try_clone() {
                    acceptor.state().streams.push((number, handle));
                }
                let shared = acceptor.clone();
                thread::spawn(move || {
                    let connection = OriginConnection { number, stream, reader: Reader::default() };
                    serve(&shared, connection);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Origin { shared, place }
    }

    /// TCP port; 0 for a unix socket.
    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Tcp(address) => address.port(),
            Place::Unix(_) => 0,
        }
    }

    /// Answers the next requests with these, in order; after them the default applies again.
    pub fn expect(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut state = self.shared.state();
        state.queue.clear();
        state.queue.extend(answers);
    }

    /// Changes the answer to requests that have none queued.
    pub fn set_default(&self, answer: Answer) {
        self.shared.state().default = answer;
    }

    /// Takes the requests received so far. A request is listed when its head has come; its body is
    /// added when complete.
    pub fn take_requests(&self) -> Vec<Message> {
        std::mem::take(&mut self.shared.state().received)
    }

    /// Requests received and not yet taken.
    pub fn request_count(&self) -> usize {
        self.shared.state().received.len()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Closes every open connection in order, also those that wait for a next request.
    pub fn close_connections(&self) {
        for (_, mut stream) in self.shared.state().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => drop(UnixStream::connect(path)),
        }
        self.close_connections();
    }
}

fn serve(shared: &Shared, mut connection: OriginConnection) {
    while let Ok(mut request) = connection.reader.read_head(&mut connection.stream) {
        let (answer, index) = {
            let mut state = shared.state();
            let answer = state.queue.pop_front().unwrap_or_else(|| state.default.clone());
            state.received.push(request.clone());
            (answer, state.received.len() - 1)
        };
        let then = match answer {
            Answer::AtHead(bytes, then) => {
                connection.write(bytes);
                then
            }
            Answer::Script(script) => script(&mut connection, &mut request),
            Answer::Echo | Answer::Raw(..) => {
                if connection.read_body(&mut request).is_err() {
                    break;
                }
                let mut state = shared.state();
                if let Some(received) = state.received.get_mut(index) {
                    received.body.clone_from(&request.body);
                    received.trailers.clone_from(&request.trailers);
                }
                drop(state);
                if let Answer::Raw(bytes, then) = answer {
                    connection.write(bytes);
                    then
                } else {
                    connection.write(echo(&shared.name, connection.number, &request));
                    Then::Keep
                }
            }
        };
        match then {
            Then::Keep => continue,
            Then::Close => break,
            Then::Reset => {
                // Every handle must be gone for the close to happen now.
                let _ = connection.stream.arm_reset();
                break;
            }
            Then::Stall => {
                crate::eventually_within(std::time::Duration::from_secs(120), "the origin's end", || {
                    shared.stopping.load(Ordering::SeqCst).then_some(())
                });
                break;
            }
        }
    }
    let mut state = shared.state();
    state.streams.retain(|(number, _)| *number != connection.number);
    drop(connection);
}

fn echo(name: &str, connection: usize, request: &Message) -> Vec<u8> {
    let body = json!({
        "method": request.method(),
        "target": request.target(),
        "headers": request.headers,
        "body": request.text(),
        "trailers": request.trailers,
        "origin": name,
        "connection": connection,
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-origin: {name}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let body = if request.method() == "HEAD" { "" } else { body.as_str() };
    (head + body).into_bytes()
}

/// A port of 127.0.0.1 that refuses connections for as long as this lives.
#[derive(Debug)]
pub struct RefusedPort {
    _bound: socket2::Socket,
    /// The port.
    pub port: u16,
}

impl RefusedPort {
    /// Takes a free port without listening on it.
    ///
    /// # Panics
    /// When no port is to be had.
    pub fn take() -> RefusedPort {
        let socket = bound_socket();
        let port = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("port").port();
        RefusedPort { _bound: socket, port }
    }
}

/// A port of 127.0.0.1 to which connections never complete: its accept queue is full.
#[derive(Debug)]
pub struct BlackHole {
    _listening: socket2::Socket,
    _fillers: Vec<socket2::Socket>,
    /// The port.
    pub port: u16,
}

impl BlackHole {
    /// Opens one.
    ///
    /// # Panics
    /// When no port is to be had.
    pub fn open() -> BlackHole {
        let socket = bound_socket();
        socket.listen(0).expect("listen");
        let address = socket.local_addr().expect("address");
        let fillers = (0..4)
            .map(|_| {
                let filler =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
                filler.set_nonblocking(true).expect("non-blocking");
                let _ = filler.connect(&address);
                filler
            })
            .collect();
        let port = address.as_socket().expect("port").port();
        BlackHole { _listening: socket, _fillers: fillers, port }
    }
}

fn bound_socket() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Connection, End, Request};

    fn address(origin: &Origin) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], origin.port()))
    }

    #[test]
    fn echoes_and_records() {
        let origin = Origin::echo();
        let answer = Request::post("/a?b", "hello").header("X-One", "1").send(address(&origin));
        let echo = answer.json();
        assert_eq!((echo["target"].as_str(), echo["body"].as_str()), (Some("/a?b"), Some("hello")));
        assert_eq!(origin.take_requests()[0].header("x-one"), Some("1"));
    }

    #[test]
    fn a_queued_answer_comes_first_and_a_reset_is_one() {
        let origin = Origin::echo();
        origin.expect([Answer::status(404, "", "no"), Answer::Raw(Vec::new(), Then::Reset)]);
        let mut connection = Connection::open(address(&origin));
        assert_eq!(Request::get("/").send_on(&mut connection).unwrap().status(), 404);
        connection.send(Request::get("/").bytes());
        assert_eq!(connection.end(crate::PATIENCE), End::Reset);
    }

    #[test]
    fn a_refused_port_refuses_and_a_black_hole_does_not_answer() {
        let refused = RefusedPort::take();
        assert!(TcpStream::connect(("127.0.0.1", refused.port)).is_err());
        let hole = BlackHole::open();
        let short = std::time::Duration::from_millis(50);
        assert!(TcpStream::connect_timeout(&([127, 0, 0, 1], hole.port).into(), short).is_err());
    }
}
