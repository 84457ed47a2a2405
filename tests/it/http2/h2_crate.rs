//! The h2 crate as client and as origin: a codec that is not ours on the far side of both of ours.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, client, server};
use http::{HeaderMap, Request, Response, StatusCode};
use ringway_test_support::{Driver, PATIENCE};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::before_http2;

on_both_drivers! {
    bodies_and_trailers a_hundred_streams a_reset_of_the_origin a_reset_of_the_client goaway_of_the_origin
    goaway_of_the_proxy
}

/// More than all windows on the way together.
const LARGE_BYTES: usize = 2 << 20;

fn bodies_and_trailers(driver: Driver) {
    let origin = Peer::start();
    let proxy = before_http2(driver, origin.port);
    run(async {
        let (mut sender, _connection) = connect(proxy.address()).await;
        let sent: Vec<u8> = (0..LARGE_BYTES).map(|i| (i / 7) as u8).collect();
        let (response, mut upload) = sender.send_request(request("POST", "/echo"), false).expect("sent");
        upload.send_data(Bytes::from(sent.clone()), false).expect("queued");
        let sent_trailers =
            HeaderMap::from_iter([("x-sent".parse().expect("a name"), "yes".parse().expect("a value"))]);
        upload.send_trailers(sent_trailers).expect("queued");
        let response = response.await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        let (received, trailers) = read(response.into_body()).await.expect("a body");
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
        let trailers = trailers.expect("trailers");
        assert_eq!(
            (trailers.get("x-sent"), trailers.get("x-bytes")),
            (
                Some(&"yes".parse().expect("a value")),
                Some(&LARGE_BYTES.to_string().parse().expect("a value")),
            )
        );
    });
    proxy.stop();
}

fn a_hundred_streams(driver: Driver) {
    let origin = Peer::start();
    let proxy = before_http2(driver, origin.port);
    run(async {
        let (sender, _connection) = connect(proxy.address()).await;
        let exchanges: Vec<JoinHandle<()>> = (0..100_usize)
            .map(|number| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut sender = sender.ready().await.expect("room for a stream");
                    let (response, mut upload) =
                        sender.send_request(request("POST", "/echo"), false).expect("sent");
                    let sent = vec![number as u8; 100 * number];
                    upload.send_data(Bytes::from(sent.clone()), true).expect("queued");
                    let response = response.await.expect("a response");
                    let (received, _) = read(response.into_body()).await.expect("a body");
                    assert!(received == sent, "stream {number}");
                })
            })
            .collect();
        for exchange in exchanges {
            exchange.await.expect("no panic");
        }
    });
    assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 100);
    proxy.stop();
}

fn a_reset_of_the_origin(driver: Driver) {
    let origin = Peer::start();
    let proxy = before_http2(driver, origin.port);
    run(async {
        let (mut sender, _connection) = connect(proxy.address()).await;
        // Before the head it is an answer, after it a reset; the connection serves on.
        let (response, _) = sender.send_request(request("GET", "/reset"), true).expect("sent");
        assert_eq!(response.await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
        let (response, mut upload) =
            sender.send_request(request("POST", "/reset-in-body"), false).expect("sent");
        let mut body = response.await.expect("a head").into_body();
        assert_eq!(body.data().await.expect("a piece").expect("no reset yet"), "some");
        upload.send_data(Bytes::new(), true).expect("queued");
        let broken = read(body).await;
        assert!(broken.expect_err("a reset").is_reset());
        let (response, _) = sender.send_request(request("GET", "/echo"), true).expect("sent");
        assert_eq!(response.await.expect("a response").status(), StatusCode::OK);
    });
    assert_eq!(origin.accepted(), 1);
    proxy.stop();
}

fn a_reset_of_the_client(driver: Driver) {
    let mut origin = Peer::start();
    let proxy = before_http2(driver, origin.port);
    run(async {
        let (mut sender, _connection) = connect(proxy.address()).await;
        let (_response, mut upload) = sender.send_request(request("POST", "/wait"), false).expect("sent");
        assert_eq!(origin.events.recv().await, Some("begun"));
        upload.send_reset(Reason::CANCEL);
        assert_eq!(origin.events.recv().await, Some("reset"), "the origin learns of it");
        let (response, _) = sender.send_request(request("GET", "/echo"), true).expect("sent");
        assert_eq!(response.await.expect("a response").status(), StatusCode::OK);
    });
    assert_eq!(origin.accepted(), 1);
    assert_eq!(proxy.stat("http.test.downstream_rq_rx_reset"), 1);
    proxy.stop();
}

fn goaway_of_the_origin(driver: Driver) {
    let origin = Peer::start();
    let proxy = before_http2(driver, origin.port);
    run(async {
        let (mut sender, _connection) = connect(proxy.address()).await;
        for path in ["/goaway", "/echo"] {
            let (response, _) = sender.send_request(request("GET", path), true).expect("sent");
            let response = response.await.expect("a response");
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            read(response.into_body()).await.expect("a body");
            // The connection of the first one ends once it is served.
            while path == "/goaway" && proxy.stat("cluster.origin.upstream_cx_active") > 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(origin.accepted(), 2);
    proxy.stop();
}

fn goaway_of_the_proxy(driver: Driver) {
    let origin = Peer::start();
    let proxy = before_http2(driver, origin.port);
    run(async {
        let (mut sender, connection) = connect(proxy.address()).await;
        let mut begun = 0;
        // Every request that it takes is answered, until it has said that it takes no more.
        while let Ok(ready) = sender.ready().await {
            sender = ready;
            let Ok((response, _)) = sender.send_request(request("GET", "/echo"), true) else { break };
            assert_eq!(response.await.expect("a response").status(), StatusCode::OK);
            if begun == 0 {
                proxy.admin_post("/drain_listeners?graceful");
            }
            begun += 1;
        }
        assert!(begun > 0);
        connection.await.expect("no panic").expect("an end without an error");
    });
    proxy.stop();
}

/// Runs `test` on this thread, for as long as tests may take.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("in time") });
}

type Connected = (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>);

async fn connect(address: SocketAddr) -> Connected {
    let stream = TcpStream::connect(address).await.expect("accepted");
    let (sender, connection) = client::handshake(stream).await.expect("a preface");
    (sender.ready().await.expect("room for a stream"), tokio::spawn(connection))
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://test.local{path}")).body(()).expect("a request")
}

/// A whole body; what was taken is given back as credit piece by piece.
async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        whole.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok((whole, body.trailers().await?))
}

/// An origin; it ends with the process.
struct Peer {
    port: u16,
    accepted: Arc<AtomicUsize>,
    /// What happens to requests for `/wait`.
    events: mpsc::UnboundedReceiver<&'static str>,
}

impl Peer {
    fn start() -> Peer {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let port = listener.local_addr().expect("bound").port();
        let (accepted, (events, receiver)) = (Arc::new(AtomicUsize::new(0)), mpsc::unbounded_channel());
        let counter = Arc::clone(&accepted);
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("registered");
                while let Ok((stream, _)) = listener.accept().await {
                    counter.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(stream, events.clone()));
                }
            });
        });
        Peer { port, accepted, events: receiver }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, events: mpsc::UnboundedSender<&'static str>) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        if request.uri().path() == "/goaway" {
            connection.graceful_shutdown();
        }
        tokio::spawn(answer(request, respond, events.clone()));
    }
}

/// Answers as the path says; else with the request's own body and trailers.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    events: mpsc::UnboundedSender<&'static str>,
) -> Option<()> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let head = Response::new(());
    match &*path {
        "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/reset-in-body" => {
            let mut download = respond.send_response(head, false).ok()?;
            download.send_data(Bytes::from_static(b"some"), false).ok()?;
            // A reset overtakes what is queued: only once the client has it.
            while body.data().await.is_some() {}
            download.send_reset(Reason::INTERNAL_ERROR);
        }
        "/wait" => {
            events.send("begun").ok()?;
            let end = body.data().await;
            events.send(if end.is_some_and(|end| end.is_err()) { "reset" } else { "ended" }).ok()?;
        }
        _ => {
            let mut download = respond.send_response(head, false).ok()?;
            let mut bytes = 0;
            while let Some(piece) = body.data().await {
                let piece = piece.ok()?;
                bytes += piece.len();
                body.flow_control().release_capacity(piece.len()).ok()?;
                download.send_data(piece, false).ok()?;
            }
            let mut trailers = body.trailers().await.ok()?.unwrap_or_default();
            trailers.insert("x-bytes", bytes.to_string().parse().ok()?);
            download.send_trailers(trailers).ok()?;
        }
    }
    Some(())
}
