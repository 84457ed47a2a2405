//! Clients that do as little as they can: one request after the other on one connection.

use std::future::poll_fn;
use std::task::Poll;

use ringway::http::h2::{Connection, H2Settings, ResponseEvent};
use ringway::http::{Method, RequestHead};
use ringway::io::{self, Address, Socket, SocketOptions};
use ringway::transport::{H2Link, Stream};

/// `count` requests with `more_fields` fields of about 100 bytes.
pub async fn http1(to: &Address, more_fields: usize, count: u64) {
    let fields: String =
        (0..more_fields).map(|n| format!("x-header-{n:02}: {}\r\n", "v".repeat(90))).collect();
    let request =
        format!("GET /path HTTP/1.1\r\nhost: a.test\r\nuser-agent: b\r\naccept: */*\r\n{fields}\r\n");
    let mut socket = Socket::connect(to, &SocketOptions::default());
    for _ in 0..count {
        socket.write(request.as_bytes());
        let mut received = Vec::new();
        while !received.ends_with(b"hello") {
            let chunk = socket.recv().await.expect("a connection").expect("an answer");
            received.extend_from_slice(&chunk);
        }
        assert!(received.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&received));
    }
}

/// `count` requests over HTTP/2, the codec being the proxy's own.
pub async fn http2(to: &Address, count: u64) {
    let codec = Connection::client(H2Settings::CLIENT);
    let link = H2Link::new(codec, Stream::connect(to, &SocketOptions::default()));
    let driver = link.clone();
    let task = io::spawn_task(async move { poll_fn(|cx| driver.poll_drive(cx)).await });
    let mut head = RequestHead::new(Method::Get, "http", b"a.test", b"/path");
    head.headers.append("user-agent", b"b");
    head.headers.append("accept", b"*/*");
    for _ in 0..count {
        let stream = link.with(|codec| codec.open(&head, true)).expect("a stream");
        let mut status = 0;
        poll_fn(|cx| {
            loop {
                match link.with(|codec| codec.poll_response(stream, cx)) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(ResponseEvent::Head { head, .. })) => status = head.status(),
                    Poll::Ready(Ok(ResponseEvent::Data { end_stream: true, .. })) => return Poll::Ready(()),
                    Poll::Ready(event) => drop(event.expect("an answer")),
                }
            }
        })
        .await;
        assert_eq!(status, 200);
        link.with(|codec| codec.release(stream));
    }
    drop(task);
}
