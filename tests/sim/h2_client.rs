//! Simulated clients of HTTP/2: many requests at once on a connection, resets, windows that stay shut for a while.

use std::rc::Rc;
use std::time::Duration;

use ringway::base::clock::Instant;
use ringway::base::rng::Rng;
use ringway::io::{self, Socket, SocketOptions, sim};
use ringway_test_support::h2::{Endpoint, Incoming, error_code, setting};

use super::client::{Answer, Manner, Sent, judge};
use super::h2_peer::H2Peer;
use super::line::Line;
use super::plan::request_body;
use super::wire::{HANG, ReadError, within};
use super::world::World;

/// A request on its stream.
struct Open {
    sent: Sent,
    stream: u32,
    body: Vec<u8>,
    written: usize,
    /// When the response's head was seen.
    answered: Option<Instant>,
    /// The client resets it after so many further turns.
    reset_in: Option<u64>,
}

/// A client's life: a few connections, one after the other.
pub async fn live(world: Rc<World>, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    for _ in 0..=rng.below(3) {
        connection(&world, &mut rng).await;
        io::sleep(Duration::from_millis(rng.below(800))).await;
    }
}

async fn connection(world: &World, rng: &mut Rng) {
    let manner = match rng.below(8) {
        0 | 1 => Manner::Slow,
        2 => Manner::Vanishing,
        _ => Manner::Steady,
    };
    let address = world.any_address(rng);
    sim::set_link(address, world.random_link(rng));
    let line = Line::new(address, manner);
    let mut socket = Socket::connect(address, &SocketOptions::default());
    match within(HANG, socket.connected()).await {
        Some(Ok(())) => {}
        Some(Err(_)) if world.is_stopped() => return,
        other => return world.violation(format_args!("a client cannot connect: {other:?}")),
    }
    let window = [1_000, 65_535, 200_000][rng.below(3) as usize];
    let mut peer = H2Peer::new(socket, Endpoint::client(&[(setting::INITIAL_WINDOW_SIZE, window)]));
    if manner == Manner::Slow {
        peer.socket.set_receive_limit(1 + rng.below(2_000) as usize);
        peer.pause = Duration::from_millis(rng.below(20));
        peer.endpoint.opens_windows = rng.below(2) == 0;
    }
    let mut waiting: Vec<Sent> = (0..1 + rng.below(8)).map(|_| Sent::random(world, rng)).collect();
    let mut open: Vec<Open> = Vec::new();
    let began = io::now();
    while !(open.is_empty() && waiting.is_empty()) {
        // Nobody may open streams after GOAWAY.
        if peer.endpoint.goaway.is_some() {
            waiting.clear();
        }
        while !waiting.is_empty() && rng.below(3) > 0 {
            open.push(begin(&mut peer, waiting.remove(0), rng));
        }
        for one in &mut open {
            if one.written < one.body.len() {
                one.written += peer.endpoint.data_within_windows(one.stream, &one.body[one.written..], true);
            }
        }
        let limit = if waiting.is_empty() { HANG } else { Duration::from_millis(1 + rng.below(50)) };
        let limit =
            if open.iter().any(|one| one.reset_in.is_some()) { Duration::from_millis(10) } else { limit };
        let result = peer.turn(limit).await;
        if manner == Manner::Vanishing && rng.below(6) == 0 {
            return vanish(peer, rng).await;
        }
        let is_over = match result {
            Ok(has_come) => {
                if !has_come && limit == HANG {
                    let ids: Vec<u64> = open.iter().map(|one| one.sent.id).collect();
                    return world.violation(format_args!("requests {ids:?} hang"));
                }
                false
            }
            Err(ReadError::Malformed(what)) => return world.violation(format_args!("malformed: {what}")),
            Err(_) => true,
        };
        for one in open.iter_mut().filter(|one| one.answered.is_none()) {
            let answer = peer.endpoint.streams.get(&one.stream);
            one.answered = answer.filter(|answer| !answer.head.is_empty()).map(|_| io::now());
        }
        reset_some(&mut peer, &mut open);
        open.retain(|one| !finish(world, &peer, one, &line, is_over));
        if is_over {
            return;
        }
        if !peer.endpoint.opens_windows && io::now().since(began) > Duration::from_millis(500) {
            // What did not come for want of a window comes now.
            peer.endpoint.opens_windows = true;
            peer.endpoint.window_update(0, 1 << 20);
            for one in &open {
                peer.endpoint.window_update(one.stream, 1 << 20);
            }
        }
    }
    if rng.below(3) == 0 {
        // Idle for a while: the proxy may say GOAWAY.
        let _ = peer.turn(Duration::from_millis(rng.below(9_000))).await;
    }
}

fn begin(peer: &mut H2Peer, sent: Sent, rng: &mut Rng) -> Open {
    let Sent { id, method, route, body_len, plan, began, .. } = &sent;
    began.set(io::now());
    sim::note(format_args!("h2 client: {id} {method} {route} {body_len} bytes, {plan:?}"));
    let (id_text, len_text, plan_text) = (id.to_string(), body_len.to_string(), plan.encode());
    let mut fields = vec![
        (":method", *method),
        (":scheme", "http"),
        (":authority", "sim"),
        (":path", *route),
        ("x-id", &*id_text),
        ("x-body", &*len_text),
        ("x-plan", &*plan_text),
    ];
    let has_body = matches!(*method, "POST" | "PUT");
    if has_body && rng.below(2) == 0 {
        fields.push(("content-length", &*len_text));
    }
    let is_bodyless = *body_len == 0;
    let stream = peer.endpoint.open(&fields, is_bodyless);
    let body = request_body(*id, *body_len);
    let reset_in = (rng.below(12) == 0).then(|| rng.below(6));
    Open { written: 0, answered: None, body, stream, reset_in, sent }
}

/// Resets the streams whose time has come.
fn reset_some(peer: &mut H2Peer, open: &mut Vec<Open>) {
    open.retain_mut(|one| match &mut one.reset_in {
        Some(0) => {
            sim::note(format_args!("h2 client: {} is reset", one.sent.id));
            peer.endpoint.reset(one.stream, error_code::CANCEL);
            false
        }
        Some(turns) => {
            *turns -= 1;
            true
        }
        None => true,
    });
}

/// Judges a stream that is over; false if it is not.
fn finish(world: &World, peer: &H2Peer, one: &Open, line: &Line, is_over: bool) -> bool {
    let empty = Incoming::default();
    let answer = peer.endpoint.streams.get(&one.stream).unwrap_or(&empty);
    if !answer.is_over() && !is_over {
        return false;
    }
    let id = one.sent.id;
    if answer.head.is_empty() {
        // A stream beyond the last that GOAWAY names was never looked at.
        let is_ignored = peer.endpoint.goaway.is_some_and(|goaway| goaway.last_stream < one.stream);
        if !is_ignored && !line.may_break(world) {
            let goaway = peer.endpoint.goaway;
            world.violation(format_args!("request {id}: no response: {answer:?}, {goaway:?}"));
        }
        return true;
    }
    sim::note(format_args!("h2 client: {id} got {} {:?} {}", answer.status(), answer.reset, answer.ended));
    let end = match answer {
        Incoming { ended: true, .. } => Ok(()),
        Incoming { reset: Some(_), .. } => Err(ReadError::Reset),
        _ => Err(ReadError::Ended),
    };
    let at = one.answered.unwrap_or_else(io::now);
    let header = |name: &str| answer.header(name);
    let answer = Answer { body: answer.body.clone(), end, ..Answer::new(answer.status(), at, header) };
    judge(world, &one.sent, &answer, line);
    line.judge_goaway(world, &one.sent, peer.endpoint.goaway.is_some());
    true
}

/// Leaves in one of the ways in which clients do.
async fn vanish(mut peer: H2Peer, rng: &mut Rng) {
    match rng.below(4) {
        0 => peer.socket.reset(),
        1 => drop(peer),
        2 => {
            sim::sever(&peer.socket);
            drop(peer);
        }
        _ => {
            peer.endpoint.send_goaway(0, error_code::NO_ERROR);
            peer.flush();
            peer.socket.close_after_flush(Duration::from_secs(1));
        }
    }
}
