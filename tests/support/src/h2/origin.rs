//! A scripted HTTP/2 origin (prior knowledge): a thread for each connection.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use super::connection::H2Connection;
use super::endpoint::{Endpoint, Incoming};
use crate::stream::Stream;

/// What an origin does with a connection; the second argument counts connections from 1.
type Script = Arc<dyn Fn(&mut H2Connection, usize) + Send + Sync>;

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    accepted: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
    streams: Mutex<Vec<Stream>>,
}

/// A running origin. It ends when it is dropped, and its connections with it.
pub struct H2Origin {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl H2Origin {
    /// An origin on a free port of 127.0.0.1 that announces `settings` and then runs `script` on each connection,
    /// which is closed after it.
    ///
    /// # Panics
    /// When no port is to be had.
    pub fn scripted(
        settings: &[(u16, u32)],
        script: impl Fn(&mut H2Connection, usize) + Send + Sync + 'static,
    ) -> H2Origin {
        H2Origin::run(Arc::default(), settings, Arc::new(script))
    }

    /// An origin that calls `answer` for each complete request; streams without answer stay open.
    pub fn start(answer: impl Fn(&mut H2Connection, u32, &Incoming) + Send + Sync + 'static) -> H2Origin {
        H2Origin::start_with(&[], answer)
    }

    /// Like [`H2Origin::start`] with settings.
    pub fn start_with(
        settings: &[(u16, u32)],
        answer: impl Fn(&mut H2Connection, u32, &Incoming) + Send + Sync + 'static,
    ) -> H2Origin {
        let shared = Arc::<Shared>::default();
        let counted = shared.clone();
        let script = move |connection: &mut H2Connection, _| {
            while let Ok(frame) = connection.read_frame() {
                let Some(request) = connection.streams.get(&frame.stream) else { continue };
                if request.ended && request.reset.is_none() {
                    let request = connection.streams.remove(&frame.stream).unwrap_or_default();
                    counted.requests.fetch_add(1, Ordering::SeqCst);
                    answer(connection, frame.stream, &request);
                    connection.flush();
                }
            }
        };
        H2Origin::run(shared, settings, Arc::new(script))
    }

    /// An origin that answers with a JSON description of the request, as [`crate::Answer::Echo`] does: `method`,
    /// `target`, `headers`, `body`, `trailers`, `connection`, `stream`.
    pub fn echo() -> H2Origin {
        H2Origin::start(|connection, stream, request| {
            let body = echo(stream, request);
            let fields = [(":status", "200"), ("content-type", "application/json"), ("x-origin", "h2")];
            connection.headers(stream, &fields, false);
            connection.send_body(stream, body.as_bytes(), true);
        })
    }

    fn run(shared: Arc<Shared>, settings: &[(u16, u32)], script: Script) -> H2Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("local address");
        let (acceptor, settings) = (shared.clone(), settings.to_vec());
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if acceptor.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let _ = stream.set_nodelay(true);
                let mut stream = Stream::Tcp(stream);
                if let Ok(handle) = stream.try_clone() {
                    acceptor.streams.lock().expect("streams").push(handle);
                }
                let number = acceptor.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                acceptor.open.fetch_add(1, Ordering::SeqCst);
                let (shared, script, settings) = (acceptor.clone(), script.clone(), settings.clone());
                thread::spawn(move || {
                    let mut connection = H2Connection::over(stream, Endpoint::server(&settings));
                    // Idle connections of pools live longer than any test is patient.
                    let _ = connection.stream.set_read_timeout(None);
                    connection.flush();
                    script(&mut connection, number);
                    let _ = connection.stream.shutdown(Shutdown::Both);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        H2Origin { shared, address }
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Complete requests so far; none are counted by [`H2Origin::scripted`].
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        for mut stream in
            self.shared.streams.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn echo(stream: u32, request: &Incoming) -> String {
    json!({
        "method": request.header(":method"),
        "target": request.header(":path"),
        "headers": request.head,
        "body": request.text(),
        "trailers": request.trailers,
        "origin": "h2",
        "stream": stream,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_understand_each_other() {
        let origin = H2Origin::echo();
        let mut client = H2Connection::connect(SocketAddr::from(([127, 0, 0, 1], origin.port())), &[]);
        let body = "x".repeat(200_000);
        let stream = client.upload("/a?b", body.as_bytes());
        let answer = client.response(stream);
        let echo: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((answer.status(), echo["target"].as_str()), (200, Some("/a?b")));
        assert_eq!(echo["body"].as_str().map(str::len), Some(body.len()));
        client.sync();
    }
}
