//! Simulated origins: read requests, check their bodies, and do what the plan in the request says.

use std::rc::Rc;
use std::time::Duration;

use ringway::base::rng::Rng;
use ringway::io::{self, Listener, Socket};

use super::plan::{Kind, Plan, request_body, response_body};
use super::wire::{Framing, Head, Peer, within, write_body};
use super::world::World;

/// Serves connections until the listener is dropped with the task.
pub async fn serve(world: Rc<World>, mut listener: Listener, name: String) {
    let name: Rc<str> = name.into();
    while let Ok(socket) = listener.accept().await {
        let (world, name) = (Rc::clone(&world), Rc::clone(&name));
        io::spawn(async move { connection(&world, Peer::new(socket), &name).await });
    }
}

async fn connection(world: &World, mut peer: Peer, name: &str) {
    let mut rng = Rng::from_seed(io::random_u64());
    // A connection that is closed at once never was one.
    let mut least_patience = 50;
    loop {
        // Most wait longer than the proxy keeps idle connections, some close under its hands.
        let patience = least_patience + if rng.below(3) == 0 { rng.below(1_500) } else { 20_000 };
        least_patience = 0;
        // A response is out before its connection counts as idle.
        let _ = peer.socket.drained(0).await;
        let Some(head) = within(Duration::from_millis(patience), peer.head()).await else {
            // A reset could overtake the end of a response that has just been sent.
            return if patience > 300 && rng.below(4) == 0 { peer.socket.reset() } else { drop(peer) };
        };
        let Ok(head) = head else { return };
        if let Some(id) = head.number("x-id") {
            let route = head.first_line.split(' ').nth(1).unwrap_or_default();
            world.check_arrival(id, (route, head.number("x-version")), name);
        }
        match exchange(world, peer, &head, &mut rng).await {
            Some(open) => peer = open,
            None => return,
        }
    }
}

/// Answers one request; gives the connection back if it stays open.
async fn exchange(world: &World, mut peer: Peer, head: &Head, rng: &mut Rng) -> Option<Peer> {
    let (Some(id), Some(plan)) = (head.number("x-id"), head.get("x-plan").and_then(Plan::decode)) else {
        world.violation(format_args!("an origin got a request without a plan: {head:?}"));
        return None;
    };
    io::sim::note(format_args!("origin: {id} {:?}", plan.kind));
    let mut kind = plan.kind;
    if kind == Kind::StallInBody && is_bodyless(head, plan) {
        kind = Kind::Normal;
    }
    if kind == Kind::Flaky {
        let choices = [Kind::Normal, Kind::Normal, Kind::CloseBeforeHead, Kind::ResetBeforeHead];
        kind = choices[rng.below(4) as usize];
    }
    if kind == Kind::Early || kind == Kind::EarlyClose {
        answer(&mut peer.socket, head, id, plan, kind, rng).await;
        if kind == Kind::EarlyClose {
            let _ = peer.socket.drained(0).await;
            return None;
        }
    }
    if kind == Kind::ResetBeforeHead && rng.below(2) == 0 {
        peer.socket.reset();
        return None;
    }
    if !read_request(world, &mut peer, head, id, kind == Kind::Early).await {
        return None;
    }
    io::sleep(Duration::from_micros(rng.below(20_000))).await;
    match kind {
        Kind::Early => return Some(peer),
        Kind::ResetBeforeHead => {
            peer.socket.reset();
            return None;
        }
        Kind::CloseBeforeHead => return None,
        Kind::Stall => {
            peer.drain().await;
            return None;
        }
        _ => answer(&mut peer.socket, head, id, plan, kind, rng).await,
    }
    match kind {
        Kind::StallInBody => {
            peer.drain().await;
            None
        }
        Kind::ResetInBody => {
            peer.socket.reset();
            None
        }
        Kind::CloseInBody | Kind::CloseAfter | Kind::CloseSilently | Kind::UntilClose => {
            peer.socket.close_after_flush(Duration::from_secs(5));
            None
        }
        _ => Some(peer),
    }
}

/// Reads the request's body and compares it. False if it did not come whole.
async fn read_request(world: &World, peer: &mut Peer, head: &Head, id: u64, is_answered: bool) -> bool {
    let expected = request_body(id, head.number("x-body").unwrap_or(0) as usize);
    let mut body = Vec::new();
    let read = match head.framing() {
        Some(framing) => peer.body(framing, &mut body).await,
        None => Ok(()),
    };
    let is_right = if read.is_ok() { body == expected } else { expected.starts_with(&body) };
    if !is_right {
        let (is, should) = (body.len(), expected.len());
        world.violation(format_args!("request {id}: its body is wrong ({is} bytes, should be {should})"));
    }
    // Whoever has the whole response may send the next request already.
    if !is_answered && peer.has_excess() {
        world.violation(format_args!("request {id}: more than one request on an origin's connection"));
    }
    read.is_ok()
}

/// The response has no body whatever its headers say.
fn is_bodyless(request: &Head, plan: Plan) -> bool {
    request.first_line.starts_with("HEAD ") || matches!(plan.status, 204 | 304)
}

/// Sends the response, or as much of it as the plan wants.
async fn answer(socket: &mut Socket, request: &Head, id: u64, plan: Plan, kind: Kind, rng: &mut Rng) {
    if kind == Kind::Interim {
        for _ in 0..=rng.below(2) {
            socket.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
            io::sleep(Duration::from_micros(rng.below(2_000))).await;
        }
    }
    let framing = match (kind, plan.chunked) {
        (Kind::UntilClose, _) => Framing::UntilClose,
        (_, true) => Framing::Chunked,
        (_, false) => Framing::Length(plan.len),
    };
    let mut head = format!("HTTP/1.1 {} Planned\r\nx-id: {id}\r\n", plan.status);
    if let Some(version) = request.get("x-version") {
        head += &format!("x-seen-version: {version}\r\n");
    }
    match framing {
        _ if plan.status == 204 => {}
        Framing::Length(len) => head += &format!("content-length: {len}\r\n"),
        Framing::Chunked => head += "transfer-encoding: chunked\r\n",
        Framing::UntilClose => {}
    }
    if kind == Kind::CloseAfter {
        head += "connection: close\r\n";
    }
    socket.write((head + "\r\n").as_bytes());
    if is_bodyless(request, plan) {
        return;
    }
    let body = response_body(id, plan.len);
    let stops_within = matches!(kind, Kind::ResetInBody | Kind::CloseInBody | Kind::StallInBody);
    if stops_within {
        // The framing's end is missing in any case.
        let part = &body[..rng.below(body.len() as u64 + 1) as usize];
        if plan.chunked {
            if !part.is_empty() {
                socket.write(format!("{:x}\r\n", part.len()).as_bytes());
                socket.write(part);
            }
        } else {
            socket.write(&part[..part.len().min(plan.len.saturating_sub(1))]);
        }
        return io::sleep(Duration::from_micros(rng.below(30_000))).await;
    }
    if kind == Kind::Slow {
        io::sleep(Duration::from_millis(rng.below(300))).await;
    }
    if kind == Kind::Slow && !plan.chunked {
        for piece in body.chunks(1 + plan.len / 5) {
            socket.write(piece);
            io::sleep(Duration::from_millis(rng.below(300))).await;
        }
        return;
    }
    write_body(socket, &body, framing == Framing::Chunked);
}
