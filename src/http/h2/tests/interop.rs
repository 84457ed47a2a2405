//! The h2 crate as peer, in both roles, over an in-memory pipe.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{LocalSet, spawn_local};

use super::*;

type Shared = Rc<RefCell<Connection>>;

/// Runs `test` on one thread, with a limit of time.
fn run<F: Future<Output = ()> + 'static>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("ends in time");
    });
}

/// The loop that an owner of a connection runs: reads, takes requests, writes.
async fn drive(connection: Shared, pipe: DuplexStream, on_request: impl Fn(Shared, IncomingRequest)) {
    let (mut reader, mut writer) = tokio::io::split(pipe);
    let mut buffer = vec![0; 10_000];
    loop {
        let received = tokio::select! {
            received = reader.read(&mut buffer) => Some(received),
            () = poll_fn(|cx| connection.borrow_mut().poll_output(cx)) => None,
        };
        match received {
            None => {}
            Some(Ok(0) | Err(_)) => return connection.borrow_mut().transport_closed(),
            Some(Ok(count)) => {
                // A failed connection still writes its GOAWAY.
                let _ =
                    connection.borrow_mut().receive(Chunk::copy_from(&buffer[..count]), Instant::default());
                loop {
                    let request = connection.borrow_mut().next_request();
                    let Some(request) = request else { break };
                    on_request(Rc::clone(&connection), request);
                }
            }
        }
        let mut written = Written { limit_bytes: 100_000, ..Written::new() };
        connection.borrow_mut().write_output(&mut written);
        if writer.write_all(&written.bytes).await.is_err() {
            return connection.borrow_mut().transport_closed();
        }
        if connection.borrow().ended().is_some() || connection.borrow().is_drained() {
            let _ = writer.shutdown().await;
            return;
        }
    }
}

/// Sends the request's body back, a byte longer each time, with its trailers.
async fn echo(connection: Shared, request: IncomingRequest) {
    let stream = request.stream;
    let mut head = response(200, &[]);
    head.headers.append("x-path", request.head.path());
    connection.borrow_mut().send_response(stream, &head, false);
    loop {
        let event = poll_fn(|cx| connection.borrow_mut().poll_body(stream, cx)).await;
        match event {
            Ok(BodyEvent::Data(chunk)) => {
                if poll_fn(|cx| connection.borrow_mut().poll_send_ready(stream, cx)).await.is_err() {
                    break;
                }
                connection.borrow_mut().send_data(stream, chunk, false);
            }
            Ok(BodyEvent::End) => {
                connection.borrow_mut().send_end(stream);
                break;
            }
            Ok(BodyEvent::Trailers(trailers)) => {
                connection.borrow_mut().send_trailers(stream, &trailers);
                break;
            }
            Err(_) => break,
        }
    }
    connection.borrow_mut().release(stream);
}

/// An h2 client of an echoing server of ours.
async fn echoing_server(settings: H2Settings) -> (h2::client::SendRequest<Bytes>, Shared) {
    let (ours, theirs) = tokio::io::duplex(40_000);
    let connection: Shared = Rc::new(RefCell::new(Connection::server(settings)));
    spawn_local(drive(Rc::clone(&connection), ours, |connection, request| {
        spawn_local(echo(connection, request));
    }));
    let (client, driver) = h2::client::handshake(theirs).await.expect("a connection");
    spawn_local(async {
        let _ = driver.await;
    });
    (client.ready().await.expect("ready"), connection)
}

fn request(path: &str) -> http::Request<()> {
    http::Request::builder().method("POST").uri(format!("http://a{path}")).body(()).expect("valid")
}

/// Bytes that tell where they stand.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index / 7) as u8).collect()
}

/// All of an h2 body, giving the window back as it goes.
async fn collect(body: &mut h2::RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        body.flow_control().release_capacity(data.len()).expect("released");
        all.extend_from_slice(&data);
    }
    all
}

/// Sends `data` as the window allows, and trailers.
async fn send_all(stream: &mut h2::SendStream<Bytes>, data: &[u8]) {
    let mut rest = Bytes::copy_from_slice(data);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await.expect("open").expect("open");
        stream.send_data(rest.split_to(capacity.min(rest.len())), false).expect("sent");
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "1".parse().expect("valid"));
    stream.send_trailers(trailers).expect("sent");
}

#[test]
fn an_h2_client_of_our_server() {
    for (settings, len) in [
        (H2Settings::SERVER, 1_000_000),
        (
            H2Settings { stream_window_bytes: 70_000, connection_window_bytes: 70_000, ..H2Settings::SERVER },
            300_000,
        ),
    ] {
        run(async move {
            let (client, connection) = echoing_server(settings).await;
            let mut tasks = Vec::new();
            for index in 0..30usize {
                let mut client = client.clone();
                tasks.push(spawn_local(async move {
                    let data = pattern(len / (1 + index * index));
                    let (response, mut stream) =
                        client.send_request(request(&format!("/{index}")), false).expect("sent");
                    let sender = data.clone();
                    spawn_local(async move { send_all(&mut stream, &sender).await });
                    let response = response.await.expect("a response");
                    assert_eq!(response.headers()["x-path"], format!("/{index}"));
                    let mut body = response.into_body();
                    assert!(collect(&mut body).await == data);
                    assert_eq!(body.trailers().await.expect("ended").expect("trailers")["x-sum"], "1");
                }));
            }
            for task in tasks {
                task.await.expect("passes");
            }
            let connection = connection.borrow();
            assert!(connection.is_idle() && connection.held_bytes() == 0 && connection.ended().is_none());
        });
    }
}

#[test]
fn resets_and_shutdown_of_our_server() {
    run(async {
        let (mut client, connection) = echoing_server(H2Settings::SERVER).await;
        // The client gives up one request; another one goes on.
        let (response, mut stream) = client.send_request(request("/reset"), false).expect("sent");
        stream.send_data(Bytes::from_static(b"x"), false).expect("sent");
        response.await.expect("a response");
        stream.send_reset(h2::Reason::CANCEL);
        let (response, mut stream) = client.send_request(request("/kept"), false).expect("sent");
        let response = response.await.expect("a response");
        assert_eq!(connection.borrow_mut().take_counts().rx_reset, 1);
        // The server closes: what is under way ends well, nothing new begins.
        connection.borrow_mut().announce_shutdown();
        tokio::task::yield_now().await;
        connection.borrow_mut().shut_down();
        stream.send_data(Bytes::from_static(b"last words"), true).expect("sent");
        assert_eq!(collect(&mut response.into_body()).await, b"last words");
        assert!(client.ready().await.is_err());
        assert!(connection.borrow().is_drained());
    });
}

/// An h2 server that echoes, of a client of ours.
fn echoing_origin() -> Shared {
    let (ours, theirs) = tokio::io::duplex(40_000);
    let connection: Shared = Rc::new(RefCell::new(Connection::client(H2Settings::CLIENT)));
    spawn_local(drive(Rc::clone(&connection), ours, |_, _| {}));
    spawn_local(async move {
        let mut server = h2::server::handshake(theirs).await.expect("a connection");
        while let Some(Ok((request, mut respond))) = server.accept().await {
            match request.uri().path() {
                "/refuse" => respond.send_reset(h2::Reason::REFUSED_STREAM),
                "/close" => {
                    let response = http::Response::builder().status(204).body(()).expect("valid");
                    respond.send_response(response, true).expect("sent");
                    server.graceful_shutdown();
                }
                _ => {
                    spawn_local(async move {
                        let mut body = request.into_body();
                        let response = http::Response::builder().status(200).body(()).expect("valid");
                        let mut stream = respond.send_response(response, false).expect("sent");
                        let data = collect(&mut body).await;
                        send_all(&mut stream, &data).await;
                    });
                }
            }
        }
    });
    connection
}

/// Sends a request with a body, and returns status, body and trailers of the response.
async fn exchange(
    connection: Shared,
    path: &str,
    data: Vec<u8>,
) -> Result<(u16, Vec<u8>, bool), StreamError> {
    let head = RequestHead::new(Method::Post, "http", b"a", path.as_bytes());
    while connection.borrow().available_streams() == 0 {
        tokio::task::yield_now().await;
    }
    let stream = connection.borrow_mut().open(&head, false).expect("a stream");
    let uploading = Rc::clone(&connection);
    spawn_local(async move {
        for piece in data.chunks(9_000) {
            if poll_fn(|cx| uploading.borrow_mut().poll_send_ready(stream, cx)).await.is_err() {
                return;
            }
            uploading.borrow_mut().send_data(stream, Chunk::copy_from(piece), false);
        }
        uploading.borrow_mut().send_end(stream);
    });
    let (mut status, mut body) = (0, Vec::new());
    let result = loop {
        match poll_fn(|cx| connection.borrow_mut().poll_response(stream, cx)).await {
            Ok(ResponseEvent::Informational(_)) => {}
            Ok(ResponseEvent::Head { head, end_stream }) => {
                status = head.status();
                if end_stream {
                    break Ok(false);
                }
            }
            Ok(ResponseEvent::Data { chunk, end_stream }) => {
                body.extend_from_slice(&chunk);
                if end_stream {
                    break Ok(false);
                }
            }
            Ok(ResponseEvent::Trailers(_)) => break Ok(true),
            Err(error) => break Err(error),
        }
    };
    connection.borrow_mut().release(stream);
    result.map(|has_trailers| (status, body, has_trailers))
}

#[test]
fn our_client_of_an_h2_server() {
    run(async {
        let connection = echoing_origin();
        let mut tasks = Vec::new();
        for index in 0..120usize {
            let connection = Rc::clone(&connection);
            tasks.push(spawn_local(async move {
                let data = pattern(500_000 / (1 + index * index));
                let result = exchange(connection, &format!("/{index}"), data.clone()).await;
                assert_eq!(result, Ok((200, data, true)));
            }));
        }
        for task in tasks {
            task.await.expect("passes");
        }
        assert!(connection.borrow().is_idle() && connection.borrow().held_bytes() == 0);
    });
}

#[test]
fn refusals_and_shutdown_of_an_h2_server() {
    run(async {
        let connection = echoing_origin();
        let refused = exchange(Rc::clone(&connection), "/refuse", Vec::new()).await;
        assert_eq!(refused, Err(StreamError::Refused));
        let last = exchange(Rc::clone(&connection), "/close", Vec::new()).await;
        assert_eq!(last, Ok((204, Vec::new(), false)));
        while !connection.borrow().is_exhausted() {
            tokio::task::yield_now().await;
        }
        assert_eq!(connection.borrow().peer_goaway(), Some(ErrorCode::NO_ERROR));
    });
}
