//! An origin closes a connection that the proxy keeps, in the moment in which a request takes it: a
//! request that can safely be sent again must not notice, whether the connection had served one
//! before or had been made for a client that left.

use std::rc::Rc;
use std::time::Duration;

use ringway::io::sim::{self, LinkOptions, SimOptions};
use ringway::io::{self, Address, ListenOptions, Listener, Socket, SocketOptions};

use super::proxy::Proxy;
use super::wire::Peer;

/// When the origin closes its first connection.
const CLOSE_AFTER: Duration = Duration::from_millis(50);

fn address(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

/// Closes its first connection after a while and answers on all of them.
async fn origin(address: Address) {
    let mut listener = Listener::bind(&ListenOptions::new(address)).expect("the address is free");
    let mut is_first = true;
    while let Ok(socket) = listener.accept().await {
        let closes = std::mem::take(&mut is_first);
        io::spawn(async move {
            let mut peer = Peer::new(socket);
            let answering = async {
                while peer.head().await.is_ok() {
                    peer.socket.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                }
            };
            if closes {
                super::wire::within(CLOSE_AFTER, answering).await;
            } else {
                answering.await;
            }
        });
    }
}

async fn ask(peer: &mut Peer) -> String {
    peer.socket.write(b"GET /limited HTTP/1.1\r\nhost: sim\r\n\r\n");
    let head = peer.head().await.expect("a response");
    let mut body = Vec::new();
    peer.body(head.framing().expect("a framing"), &mut body).await.expect("a body");
    head.first_line
}

async fn world(proxy: Rc<Proxy>, is_used: bool) -> String {
    io::spawn(origin(address("10.0.1.1:8000")));
    let active = proxy.start();
    let connect = || Peer::new(Socket::connect(&address("10.0.0.1:80"), &SocketOptions::default()));
    let mut client = connect();
    if is_used {
        ask(&mut client).await;
    } else {
        client.socket.write(b"GET /limited HTTP/1.1\r\nhost: sim\r\n\r\n");
        client.socket.connected().await.expect("connected");
        // The request has arrived, its connection to the origin is under way.
        io::sleep(Duration::from_micros(1_200)).await;
        client.socket.reset();
        client = connect();
    }
    let around = CLOSE_AFTER.saturating_sub(Duration::from_millis(3)).as_micros() as u64;
    io::sleep(Duration::from_micros(around + io::random_u64() % 8_000)).await;
    let status = ask(&mut client).await;
    active.close();
    active.listener().drain.start();
    status
}

#[test]
fn an_idle_connection_that_closes_costs_nothing() {
    let proxy = Rc::new(Proxy::compile());
    let delay = (Duration::from_micros(200), Duration::from_millis(1));
    let options =
        SimOptions { link: LinkOptions { delay, ..LinkOptions::default() }, ..SimOptions::default() };
    for seed in 0..600 {
        let is_used = seed % 2 == 0;
        let report = sim::run(seed, &options, || world(Rc::clone(&proxy), is_used)).expect("a status");
        assert_eq!(report.value, "HTTP/1.1 200 OK", "seed {seed}, used before: {is_used}");
    }
}
